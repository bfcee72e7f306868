package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"aim/internal/account"
)

const (
	// batchSize bounds the records of one transaction.
	batchSize = 256
	// statementRows bounds the rows of one statement, so that few different ones are prepared.
	statementRows = 64
	// maxText bounds the texts of a record in bytes. Request IDs are the server's; the other texts are cut.
	maxText = 256
	// maxTokens bounds the tokens of a record: what no request can have must not make sums overflow, which would stop all records of the batch.
	maxTokens = 1 << 40
)

// pending is a record on its way to the writer, and where to answer that it is kept. The channel has room, so that the writer never waits.
type pending struct {
	usage account.Usage
	done  chan error
}

// Record keeps a record of usage for good: when it returns nil, the record is in the database, or in a journal on disk that gets there once the
// database is back. Records of the same request count once. Concurrent calls share transactions, so a call takes about the time of an fsync;
// where the database hangs, at most [Options.Timeout] longer.
//
// A ctx that ends only ends the waiting, with its error; the record is kept nevertheless, because it is often the client's leaving that ends
// both. Other errors are [ErrVolatile], [ErrLost], [ErrClosed], or say which field cannot be.
func (l *Ledger) Record(ctx context.Context, u account.Usage) error {
	if err := clean(&u); err != nil {
		return err
	}
	p := pending{u, make(chan error, 1)}
	l.closing.RLock()
	if l.closed {
		l.closing.RUnlock()
		return ErrClosed
	}
	l.queue <- p // the writer always comes to it
	l.closing.RUnlock()
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// clean makes a record one that any database takes, or says which field cannot be.
func clean(u *account.Usage) error {
	if u.Request == "" || len(u.Request) > maxText {
		return fmt.Errorf("request: %q: want an ID of 1 to %d bytes", u.Request, maxText)
	}
	if u.Began.Year() < 1970 || u.Began.Year() > 9999 {
		return fmt.Errorf("began: %v: want a time in the years 1970 to 9999", u.Began)
	}
	for _, n := range []struct {
		field string
		value int
	}{{"prompt_tokens", u.PromptTokens}, {"cached_tokens", u.CachedTokens}, {"completion_tokens", u.CompletionTokens}} {
		if n.value < 0 || n.value > maxTokens {
			return fmt.Errorf("%s: %d: want 0 to %d", n.field, n.value, maxTokens)
		}
	}
	if u.Status < 0 || u.Status > 999 {
		return fmt.Errorf("status: %d: want 0 to 999", u.Status)
	}
	u.Began, u.Duration = u.Began.UTC().Truncate(time.Microsecond), max(u.Duration, 0)
	for _, text := range []*string{&u.Request, &u.Key, &u.Model, &u.Endpoint, &u.Code} {
		*text = plain(*text)
	}
	return nil
}

// plain is text that PostgreSQL takes, too: UTF-8, without NUL, and not too long for an index.
func plain(text string) string {
	if len(text) > maxText {
		text = text[:maxText]
	}
	if utf8.ValidString(text) && !strings.Contains(text, "\x00") {
		return text
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, ""), "\x00", "")
}

// write is the writer's goroutine. It ends when the queue is closed and empty.
func (l *Ledger) write() {
	defer close(l.written)
	batch := make([]pending, 0, batchSize)
	usages := make([]account.Usage, 0, batchSize)
	for first := range l.queue {
		batch = append(batch[:0], first)
		for more := true; more && len(batch) < batchSize; {
			select {
			case p, ok := <-l.queue:
				if more = ok; ok {
					batch = append(batch, p)
				}
			default:
				more = false
			}
		}
		usages = usages[:0]
		for _, p := range batch {
			usages = append(usages, p.usage)
		}
		err := l.keep(usages)
		for _, p := range batch {
			p.done <- err
		}
		clear(batch)
	}
}

// keep puts records where they are safest.
func (l *Ledger) keep(usages []account.Usage) error {
	if l.up() {
		err := l.insert(context.Background(), usages)
		if err == nil {
			return nil
		}
		l.goDown(err)
	}
	defer l.call()
	return l.spool(usages)
}

// insert records usage in one transaction. What is recorded already is passed over, and counts no second time in the totals.
func (l *Ledger) insert(ctx context.Context, usages []account.Usage) (err error) {
	ctx, cancel := context.WithTimeout(ctx, l.options.Timeout)
	defer cancel()
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back, and else an error is returned already
	fresh := make(map[string]bool, len(usages))
	for chunk := range slices.Chunk(usages, statementRows) {
		rows, err := tx.QueryContext(ctx, insertUsage+l.db.tuples(len(chunk), 12)+` ON CONFLICT DO NOTHING RETURNING request`, usageValues(chunk)...)
		if err != nil {
			return err
		}
		for rows.Next() {
			var request string
			if err := rows.Scan(&request); err != nil {
				return errors.Join(err, rows.Close())
			}
			fresh[request] = true
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
	}
	for chunk := range slices.Chunk(sums(usages, fresh), statementRows) {
		if _, err := tx.ExecContext(ctx, insertDays+l.db.tuples(len(chunk), 8)+addDays, dayValues(chunk)...); err != nil {
			return err
		}
	}
	return tx.Commit()
}

const (
	insertUsage = `INSERT INTO aim_usage (request, key_id, model, endpoint, began, day, duration, status, code,
	prompt_tokens, cached_tokens, completion_tokens) VALUES `
	insertDays = `INSERT INTO aim_usage_days (day, key_id, model, requests, failed, prompt_tokens, cached_tokens, completion_tokens) VALUES `
	addDays    = ` ON CONFLICT (day, key_id, model) DO UPDATE SET
	requests = aim_usage_days.requests + excluded.requests, failed = aim_usage_days.failed + excluded.failed,
	prompt_tokens = aim_usage_days.prompt_tokens + excluded.prompt_tokens,
	cached_tokens = aim_usage_days.cached_tokens + excluded.cached_tokens,
	completion_tokens = aim_usage_days.completion_tokens + excluded.completion_tokens`
)

func usageValues(usages []account.Usage) []any {
	values := make([]any, 0, 12*len(usages))
	for _, u := range usages {
		values = append(values, u.Request, u.Key, u.Model, u.Endpoint, micros(u.Began), dayOf(u.Began), u.Duration.Microseconds(), u.Status, u.Code,
			u.PromptTokens, u.CachedTokens, u.CompletionTokens)
	}
	return values
}

// daySum is what is added to one row of aim_usage_days.
type daySum struct {
	day        int
	key, model string
	account.Total
}

// sums are the totals of those records that are fresh, each once, in an order that is the same in all replicas: two that update the same rows in
// different orders would wait for each other.
func sums(usages []account.Usage, fresh map[string]bool) []daySum {
	var list []daySum
	for _, u := range usages {
		if !fresh[u.Request] {
			continue
		}
		delete(fresh, u.Request) // it may be there twice
		s := daySum{day: dayOf(u.Began), key: u.Key, model: u.Model}
		place, ok := slices.BinarySearchFunc(list, s, compareSums)
		if !ok {
			list = slices.Insert(list, place, s)
		}
		t := &list[place]
		t.Requests++
		if u.Status >= 400 || u.Code != "" {
			t.Failed++
		}
		t.PromptTokens += int64(u.PromptTokens)
		t.CachedTokens += int64(u.CachedTokens)
		t.CompletionTokens += int64(u.CompletionTokens)
	}
	return list
}

func compareSums(a, b daySum) int {
	return cmp.Or(cmp.Compare(a.day, b.day), strings.Compare(a.key, b.key), strings.Compare(a.model, b.model))
}

func dayValues(list []daySum) []any {
	values := make([]any, 0, 8*len(list))
	for _, s := range list {
		values = append(values, s.day, s.key, s.model, s.Requests, s.Failed, s.PromptTokens, s.CachedTokens, s.CompletionTokens)
	}
	return values
}

// tuples are placeholders for rows of values: (?, ?), (?, ?). The two drivers each find theirs fast in one way only.
func (db *database) tuples(rows, columns int) string {
	if !db.postgres {
		tuple := "(" + strings.Repeat("?,", columns-1) + "?)"
		return strings.Repeat(tuple+",", rows-1) + tuple
	}
	var text strings.Builder
	for i := range rows * columns {
		switch {
		case i == 0:
			text.WriteByte('(')
		case i%columns == 0:
			text.WriteString("),(")
		default:
			text.WriteByte(',')
		}
		text.WriteByte('$')
		text.WriteString(strconv.Itoa(i + 1))
	}
	text.WriteByte(')')
	return text.String()
}

// dayOf is a day of the calendar in UTC as a number: 20261127.
func dayOf(t time.Time) int {
	year, month, day := t.UTC().Date()
	return 10_000*year + 100*int(month) + day
}
