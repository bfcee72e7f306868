package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"aim/internal/account"
)

// Totals sums up usage. Without a breakdown it returns one total, also where there was no usage; else one for each combination that occurs,
// ordered by period, key and model.
//
// Whole days are read from totals that are kept up as usage is recorded, a row for each day, key and model; only the parts of days at the ends of
// the query are added up from records. So a year of ten keys and ten models costs tens of milliseconds, whatever the number of requests.
func (l *Ledger) Totals(ctx context.Context, q account.Query) ([]account.Total, error) {
	s, err := breakdown(q.By)
	if err != nil {
		return nil, err
	}
	filter := conditions{}
	if q.Key != "" {
		filter.add("key_id = ", q.Key)
	}
	if q.Model != "" {
		filter.add("model = ", q.Model)
	}
	from := filter.source(q.From, q.To)
	query := `SELECT ` + strings.Join(append(s.columns,
		total("requests"), total("failed"), total("prompt_tokens"), total("cached_tokens"), total("completion_tokens")), ", ") +
		` FROM (` + from + `) AS counted` + s.suffix()
	rows, err := l.db.QueryContext(ctx, query, filter.values...)
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err tells
	var totals []account.Total
	for rows.Next() {
		var t account.Total
		var period int
		targets := s.targets(&t, &period)
		if err := rows.Scan(append(targets, &t.Requests, &t.Failed, &t.PromptTokens, &t.CachedTokens, &t.CompletionTokens)...); err != nil {
			return nil, unavailable(ctx, err)
		}
		t.Period = periodName(period)
		totals = append(totals, t)
	}
	return totals, unavailable(ctx, rows.Err())
}

// Spent returns the tokens of a key's requests that began at a time or later, those of prompts and of answers. "" stands for requests without a
// key. It reads one row for each day and model, and the records of from's day where from is not its beginning. What waits in a journal is not
// counted yet.
func (l *Ledger) Spent(ctx context.Context, key string, from time.Time) (int64, error) {
	filter := conditions{}
	filter.add("key_id = ", key)
	source := filter.source(from, time.Time{})
	var tokens int64
	err := l.db.QueryRowContext(ctx, `SELECT `+total("prompt_tokens + completion_tokens")+` FROM (`+source+`) AS counted`, filter.values...).Scan(&tokens)
	return tokens, unavailable(ctx, err)
}

func total(expression string) string { return "CAST(COALESCE(SUM(" + expression + "), 0) AS BIGINT)" }

// split is how totals are told apart.
type split struct {
	columns            []string // of the database, in the order of the result: period, key, model
	period, key, model bool
}

func breakdown(by []string) (s split, err error) {
	for _, b := range by {
		if !slices.Contains(account.Groupings, b) {
			return split{}, fmt.Errorf("by: %q: want one of %s", b, strings.Join(account.Groupings, ", "))
		}
	}
	day, month := slices.Contains(by, "day"), slices.Contains(by, "month")
	s.period, s.key, s.model = day || month, slices.Contains(by, "key"), slices.Contains(by, "model")
	switch {
	case day && month:
		return split{}, errors.New(`by: "day" and "month": want one of them`)
	case day:
		s.columns = append(s.columns, "day AS period")
	case month:
		s.columns = append(s.columns, "day / 100 AS period")
	}
	if s.key {
		s.columns = append(s.columns, "key_id")
	}
	if s.model {
		s.columns = append(s.columns, "model")
	}
	return s, nil
}

// suffix groups and orders by the first columns.
func (s split) suffix() string {
	if len(s.columns) == 0 {
		return ""
	}
	numbers := "1"
	for i := 2; i <= len(s.columns); i++ {
		numbers += ", " + strconv.Itoa(i)
	}
	return " GROUP BY " + numbers + " ORDER BY " + numbers
}

// targets are where the columns go.
func (s split) targets(t *account.Total, period *int) (targets []any) {
	if s.period {
		targets = append(targets, period)
	}
	if s.key {
		targets = append(targets, &t.Key)
	}
	if s.model {
		targets = append(targets, &t.Model)
	}
	return targets
}

// periodName writes 20261127 as 2026-11-27, and 202611 as 2026-11.
func periodName(period int) string {
	switch {
	case period == 0:
		return ""
	case period > 999_999:
		return fmt.Sprintf("%04d-%02d-%02d", period/10_000, period/100%100, period%100)
	}
	return fmt.Sprintf("%04d-%02d", period/100, period%100)
}

// conditions collects the values of a query, and what holds for all of its parts.
type conditions struct {
	common []string
	values []any
}

// value makes a value a placeholder.
func (c *conditions) value(v any) string {
	c.values = append(c.values, v)
	return "$" + strconv.Itoa(len(c.values))
}

func (c *conditions) add(condition string, v any) { c.common = append(c.common, condition+c.value(v)) }

func (c *conditions) where(more ...string) string {
	if all := append(slices.Clone(c.common), more...); len(all) > 0 {
		return " WHERE " + strings.Join(all, " AND ")
	}
	return ""
}

// source selects what is to be added up of [from, to): whole days from their totals, and parts of days from records. A zero time is no bound.
func (c *conditions) source(from, to time.Time) string {
	const columns = "day, key_id, model, "
	const counts = "requests, failed, prompt_tokens, cached_tokens, completion_tokens"
	const days = "SELECT " + columns + counts + " FROM aim_usage_days"
	const records = "SELECT " + columns + "1 AS requests, CASE WHEN status >= 400 OR code <> '' THEN 1 ELSE 0 END AS failed, " +
		"prompt_tokens, cached_tokens, completion_tokens FROM aim_usage"
	part := func(from, to time.Time) string {
		return records + c.where("began >= "+c.value(micros(from)), "began < "+c.value(micros(to)))
	}
	first, last := midnight(from), midnight(to) // of the whole days, the latter not included
	if first.Before(from) {
		first = first.AddDate(0, 0, 1)
	}
	if !from.IsZero() && !to.IsZero() && first.After(last) { // within one day, or nothing at all
		return part(from, to)
	}
	var whole []string
	if !from.IsZero() {
		whole = append(whole, "day >= "+c.value(dayOf(first)))
	}
	if !to.IsZero() {
		whole = append(whole, "day < "+c.value(dayOf(last)))
	}
	parts := []string{days + c.where(whole...)}
	if !from.IsZero() && from.Before(first) {
		parts = append(parts, part(from, first))
	}
	if !to.IsZero() && last.Before(to) {
		parts = append(parts, part(last, to))
	}
	return strings.Join(parts, " UNION ALL ")
}

// midnight is when a time's day begins in UTC.
func midnight(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.Date(t.UTC().Year(), t.UTC().Month(), t.UTC().Day(), 0, 0, 0, 0, time.UTC)
}
