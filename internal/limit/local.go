package limit

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"aim/internal/account"
)

// Local is a Limiter that counts in the process. It keeps what it knows of keys in use alone.
type Local struct {
	opt    Options
	ledger *ledger

	mu      sync.Mutex
	entries map[string]*entry
	// sweep is the number of entries at which those that are idle are looked for.
	sweep int
}

// NewLocal returns a Limiter for one process.
func NewLocal(o Options) *Local {
	o = o.withDefaults()
	return &Local{opt: o, ledger: &ledger{ask: o.Spent, log: o.Log}, entries: map[string]*entry{}, sweep: firstSweep}
}

const (
	firstSweep = 1024
	// idleFor is how long a key must have been idle to be forgotten; the ledger has heard of all its requests by then.
	idleFor = 10 * time.Minute
	// concurrencyRetry is when to try again where all requests at once are taken: nobody knows.
	concurrencyRetry = time.Second
)

// entry is what is known of a key.
type entry struct {
	// seen is when the buckets were last brought up to date.
	seen             time.Time
	requests, tokens bucket
	// running counts the holds that are not settled.
	running    int
	day, month budget
	// loading is closed when the ledger has answered; nil where nobody asks.
	loading chan struct{}
}

// bucket is a rate: used leaks away at limit per minute.
type bucket struct {
	limit int
	used  float64
}

// pass lets time pass under the limit in force.
func (b *bucket) pass(d time.Duration, limit int) {
	b.limit = limit
	if limit <= 0 {
		b.used = 0
		return
	}
	b.used = max(0, b.used-d.Minutes()*float64(limit))
}

// slack is how much two sums of floating-point numbers may differ that are the same.
const slack = 1e-6

// wait is the time until there is room for n, 0 if there is. More than a minute's worth needs all the room there can be.
func (b *bucket) wait(n int) time.Duration {
	if b.limit <= 0 {
		return 0
	}
	over := b.used + float64(min(max(n, 1), b.limit)) - float64(b.limit)
	if over <= slack {
		return 0
	}
	return minutes(over / float64(b.limit))
}

// add takes n, or gives -n back.
func (b *bucket) add(n int) {
	if b.limit > 0 {
		b.used = max(0, b.used+float64(n))
	}
}

func (b *bucket) rate() Rate { return rateOf(b.limit, b.used) }

func rateOf(limit int, used float64) Rate {
	if limit <= 0 {
		return Rate{}
	}
	return Rate{limit, int(max(0, math.Floor(float64(limit)-used+slack))), minutes(used / float64(limit))}
}

// minutes is a duration, the longest there is for more than that.
func minutes(m float64) time.Duration {
	if d := m * float64(time.Minute); d < math.MaxInt64 {
		return time.Duration(d)
	}
	return math.MaxInt64
}

// budget is what a period of the calendar has had of its tokens.
type budget struct {
	from time.Time
	// counted is all that is known, pending what of it belongs to requests that run, which the ledger has not heard of.
	counted, pending int64
	// known says that the ledger was asked, or that there is none.
	known bool
}

// turn begins a new period when it comes. Where no ledger can tell, a clock that was set back gives no new budget.
func (b *budget) turn(from time.Time, ledger bool) {
	switch {
	case b.from.Equal(from):
	case !ledger && from.Before(b.from):
		b.from = from
	default:
		*b = budget{from: from, known: !ledger}
	}
}

func (b *budget) learn(spent int64) {
	b.counted, b.known = max(b.counted, spent+b.pending), true
}

func (b *budget) take(n int64) {
	b.counted += n
	b.pending += n
}

// settle replaces what a request was charged by what it took, if that was charged to this period.
func (b *budget) settle(from time.Time, charged, took int64) {
	if b.from.Equal(from) {
		b.counted, b.pending = max(0, b.counted+took-charged), max(0, b.pending-charged)
	}
}

func (b *budget) full(limit int64, tokens int) bool {
	return limit > 0 && b.counted+int64(max(tokens, 1)) > limit
}

// Take implements [Limiter].
func (l *Local) Take(ctx context.Context, key string, g *account.Grant, tokens int) (Hold, State, error) {
	if unlimited(g) {
		return free{}, State{}, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e, now, err := l.ready(ctx, key, g)
	if err != nil {
		return nil, State{}, err
	}
	if r := e.refuse(now, g, tokens); r != nil {
		return nil, e.state(), r
	}
	e.requests.add(1)
	e.tokens.add(tokens)
	e.day.take(int64(tokens))
	e.month.take(int64(tokens))
	e.running++
	return &localHold{limiter: l, key: key, charged: tokens, day: e.day.from, month: e.month.from}, e.state(), nil
}

// ready is the key's entry, up to date. The lock is held, but not while the ledger is asked.
func (l *Local) ready(ctx context.Context, key string, g *account.Grant) (*entry, time.Time, error) {
	for {
		now := l.opt.Now()
		e := l.entry(key, now)
		e.pass(now, g, l.opt.Spent != nil)
		b := e.unknown(g)
		if b == nil || !l.ledger.ready() {
			return e, now, nil
		}
		if asked := e.loading; asked != nil {
			l.mu.Unlock()
			select {
			case <-asked:
			case <-ctx.Done():
			}
			l.mu.Lock()
			if err := ctx.Err(); err != nil {
				return nil, now, err
			}
			continue
		}
		from := b.from
		e.loading = make(chan struct{}) // keeps the entry
		l.mu.Unlock()
		spent, err := l.ledger.spent(ctx, key, from)
		l.mu.Lock()
		close(e.loading)
		e.loading = nil
		if err == nil && b.from.Equal(from) {
			b.learn(spent)
		}
	}
}

// entry returns a key's entry, a new one where there is none.
func (l *Local) entry(key string, now time.Time) *entry {
	e := l.entries[key]
	if e == nil {
		if len(l.entries) >= l.sweep {
			l.forget(now)
		}
		e = &entry{seen: now}
		l.entries[key] = e
	}
	return e
}

// forget drops what says nothing that a new entry would not.
func (l *Local) forget(now time.Time) {
	for key, e := range l.entries {
		if e.idle(now, l.opt.Spent != nil) {
			delete(l.entries, key)
		}
	}
	l.sweep = max(firstSweep, 2*len(l.entries))
}

// idle says that an entry may be forgotten. Budgets that no ledger knows are kept until they are over.
func (e *entry) idle(now time.Time, ledger bool) bool {
	if now.Before(e.seen) {
		e.seen = now
	}
	d := now.Sub(e.seen)
	if e.running > 0 || e.loading != nil || d < idleFor || d < e.requests.rate().Reset || d < e.tokens.rate().Reset {
		return false
	}
	return ledger || e.month.counted == 0 || monthOf(now).After(e.month.from)
}

// pass brings an entry up to date. A clock that was set back lets no time pass.
func (e *entry) pass(now time.Time, g *account.Grant, ledger bool) {
	d := max(0, now.Sub(e.seen))
	e.seen = now
	e.requests.pass(d, g.RequestsPerMinute)
	e.tokens.pass(d, g.TokensPerMinute)
	e.day.turn(dayOf(now), ledger)
	e.month.turn(monthOf(now), ledger)
}

// unknown is a budget that bounds the key and that the ledger has yet to tell about; nil for none.
func (e *entry) unknown(g *account.Grant) *budget {
	switch {
	case g.TokensPerDay > 0 && !e.day.known:
		return &e.day
	case g.TokensPerMonth > 0 && !e.month.known:
		return &e.month
	}
	return nil
}

// refuse tells which limit makes the request wait longest, nil for none.
func (e *entry) refuse(now time.Time, g *account.Grant, tokens int) *Refused {
	var worst *Refused
	refuse := func(what string, limit int64, wait time.Duration) {
		if wait > 0 && (worst == nil || wait > worst.RetryAfter) {
			worst = &Refused{what, limit, wait}
		}
	}
	if g.Concurrency > 0 && e.running >= g.Concurrency {
		refuse(Concurrency, int64(g.Concurrency), concurrencyRetry)
	}
	refuse(Requests, int64(g.RequestsPerMinute), e.requests.wait(1))
	refuse(Tokens, int64(g.TokensPerMinute), e.tokens.wait(tokens))
	if e.day.full(g.TokensPerDay, tokens) {
		refuse(Day, g.TokensPerDay, e.day.from.AddDate(0, 0, 1).Sub(now))
	}
	if e.month.full(g.TokensPerMonth, tokens) {
		refuse(Month, g.TokensPerMonth, e.month.from.AddDate(0, 1, 0).Sub(now))
	}
	return worst
}

func (e *entry) state() State { return State{e.requests.rate(), e.tokens.rate()} }

// relearn makes the ledger be asked again about all keys.
func (l *Local) relearn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		e.day.known, e.month.known = l.opt.Spent == nil, l.opt.Spent == nil
	}
}

// localHold is an admitted request. It keeps its key's entry.
type localHold struct {
	limiter    *Local
	key        string
	charged    int
	day, month time.Time
	settled    atomic.Bool
}

// Settle implements [Hold].
func (h *localHold) Settle(_ context.Context, tokens int) {
	if h.settled.Swap(true) {
		return
	}
	h.limiter.mu.Lock()
	defer h.limiter.mu.Unlock()
	e := h.limiter.entries[h.key]
	now := h.limiter.opt.Now()
	d := max(0, now.Sub(e.seen))
	e.seen = now
	e.requests.pass(d, e.requests.limit)
	e.tokens.pass(d, e.tokens.limit)
	e.running--
	e.tokens.add(tokens - h.charged)
	e.day.settle(h.day, int64(h.charged), int64(tokens))
	e.month.settle(h.month, int64(h.charged), int64(tokens))
}
