package limit

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"aim/internal/account"
)

// Options configures a Limiter. Zero fields take the defaults given.
type Options struct {
	// Spent is what a key has taken since a time in UTC, in tokens, as the ledger has it. It is asked when a key is first used in a period. While it
	// fails, budgets bound only what was counted since. Without it they bound what this limiter has seen.
	Spent func(ctx context.Context, key string, from time.Time) (int64, error)
	// Now is the clock of a local limiter; default time.Now. It may jump: a step back lets no time pass, a step forward as much as it says, which
	// empties a bucket once. With Redis, its own clock decides, and Now only while it is away.
	Now func() time.Time
	// Log is told when Redis or the ledger goes away and when it is back; default slog.Default().
	Log *slog.Logger

	// Wait bounds how long a call waits for Redis; default 250 ms. Retry is for how long Redis is left alone after it failed; default 1 s.
	Wait, Retry time.Duration
	// Lease is after what time the running requests of a replica that died no longer count; default 30 s. It must be the same for all replicas.
	Lease time.Duration
	// Prefix is how the names of all keys in Redis begin; default "aim:limit:".
	Prefix string
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	set(&o.Wait, 250*time.Millisecond)
	set(&o.Retry, time.Second)
	set(&o.Lease, 30*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Prefix == "" {
		o.Prefix = "aim:limit:"
	}
	return o
}

// Periods of a ledger that does not answer.
const (
	ledgerWait  = 2 * time.Second
	ledgerRetry = 5 * time.Second
)

var errLedgerDown = errors.New("the ledger does not answer")

// ledger asks what was spent, and leaves who does not answer alone for a while.
type ledger struct {
	ask func(ctx context.Context, key string, from time.Time) (int64, error)
	log *slog.Logger

	mu     sync.Mutex
	failed time.Time // zero while it answers
}

// ready says that it may be asked.
func (l *ledger) ready() bool {
	if l.ask == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed.IsZero() || time.Since(l.failed) >= ledgerRetry
}

// spent does not end with ctx: a client that leaves would have its budget unknown.
func (l *ledger) spent(ctx context.Context, key string, from time.Time) (int64, error) {
	if !l.ready() {
		return 0, errLedgerDown
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ledgerWait)
	defer cancel()
	n, err := l.ask(ctx, key, from)
	l.mu.Lock()
	defer l.mu.Unlock()
	was := !l.failed.IsZero()
	switch {
	case err != nil:
		l.failed = time.Now()
		if !was {
			l.log.Error("budgets bound only what is counted from now on: the ledger does not answer", "error", err)
		}
	case was:
		l.failed = time.Time{}
		l.log.Info("budgets hold again: the ledger answers")
	}
	return max(n, 0), err
}

// unlimited says that a grant bounds nothing that is counted here.
func unlimited(g *account.Grant) bool {
	return g == nil || g.RequestsPerMinute <= 0 && g.TokensPerMinute <= 0 && g.Concurrency <= 0 && g.TokensPerDay <= 0 && g.TokensPerMonth <= 0
}

// free is the hold of who has no limits.
type free struct{}

func (free) Settle(context.Context, int) {}

// dayOf and monthOf are when a time's day and month began, in UTC.
func dayOf(t time.Time) time.Time {
	y, m, d := t.UTC().Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

func monthOf(t time.Time) time.Time {
	y, m, _ := t.UTC().Date()
	return time.Date(y, m, 1, 0, 0, 0, 0, time.UTC)
}
