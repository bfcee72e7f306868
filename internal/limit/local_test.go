package limit

import (
	"context"
	"fmt"
	"testing"
	"time"

	"aim/internal/account"
)

func TestLocal(t *testing.T) {
	contract(t, func(_ *testing.T, o Options) Limiter { return NewLocal(o) })
}

// TestLocalForgets: keys that are idle leave memory, those with something to remember do not.
func TestLocalForgets(t *testing.T) {
	c := newClock()
	l := NewLocal(Options{Now: c.Now})
	admit(t, l, "running", &account.Grant{Concurrency: 1}, 0)
	admit(t, l, "in debt", &account.Grant{TokensPerMinute: 1}, 0).Settle(t.Context(), 10_000)
	admit(t, l, "spent", &account.Grant{TokensPerMonth: 1}, 1).Settle(t.Context(), 1)
	g := &account.Grant{RequestsPerMinute: 1}
	for i := range 20_000 {
		c.move(time.Second)
		admit(t, l, fmt.Sprint(i), g, 0).Settle(t.Context(), 0)
	}
	if n := len(l.entries); n > 2*600+firstSweep { // 600 are not idle for ten minutes
		t.Errorf("%d keys are kept", n)
	}
	c.move(time.Hour)
	l.mu.Lock()
	l.forget(c.Now())
	n := len(l.entries)
	l.mu.Unlock()
	if n != 3 {
		t.Errorf("%d keys are kept, want 3", n)
	}
	refuse(t, l, "running", &account.Grant{Concurrency: 1}, 0, Concurrency)
	refuse(t, l, "in debt", &account.Grant{TokensPerMinute: 1}, 0, Tokens)
	refuse(t, l, "spent", &account.Grant{TokensPerMonth: 1}, 1, Month)
}

// TestLocalAsksOnce: of many first requests of a key one asks the ledger, the others wait for it; who leaves stops waiting.
func TestLocalAsksOnce(t *testing.T) {
	answer, asked := make(chan struct{}), make(chan struct{}, 300)
	l := NewLocal(Options{Spent: func(context.Context, string, time.Time) (int64, error) {
		asked <- struct{}{}
		<-answer
		return 95, nil
	}})
	g := &account.Grant{TokensPerDay: 100}
	done := make(chan int, 1) // one send
	go func() { done <- flood(t, g, 1, l) }()
	<-asked
	ctx, leave := context.WithCancel(t.Context())
	leave()
	if _, _, err := l.Take(ctx, "k", g, 1); err != context.Canceled { //nolint:errorlint // it is returned as it is
		t.Errorf("who left was told %v", err)
	}
	admit(t, l, "another", &account.Grant{RequestsPerMinute: 1}, 1) // nobody else waits
	close(answer)
	if n := <-done; n != 5 {
		t.Errorf("%d were admitted, want 5", n)
	}
	if len(asked) > 1 { // midnight may come between
		t.Errorf("the ledger was asked %d times", 1+len(asked))
	}
}
