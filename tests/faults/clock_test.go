package faults

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"aim/internal/account"
)

// TestClockJumps: whatever the clock does, a revoked key stays so, an expired one is only valid at times before its end, and limits neither lock a key out
// nor let through more than the time that has passed by the clock allows.
func TestClockJumps(t *testing.T) {
	began := time.Date(2026, 11, 15, 12, 0, 0, 0, time.UTC)
	var jumped atomic.Int64 // what the clock is ahead, in nanoseconds
	now := func() time.Time { return began.Add(time.Duration(jumped.Load())) }
	s := open(t, options{slots: 4, queue: 16, now: now})
	ends, ending, err := s.ledger.CreateKey(t.Context(), "ends", began.Add(time.Hour), account.Grant{})
	if err != nil {
		t.Fatal(err)
	}
	revoked, gone := s.key(t, "revoked", account.Grant{})
	if _, err := s.ledger.Revoke(t.Context(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	_, rated := s.key(t, "rated", account.Grant{RequestsPerMinute: 5})
	_, budgeted := s.key(t, "budgeted", account.Grant{TokensPerDay: 100})
	_, few := s.key(t, "few", account.Grant{Concurrency: 1})
	status := func(secret string, want int) {
		t.Helper()
		if got, body := s.post(t, secret, textPath, `{"prompt": "x", "max_tokens": 20}`); got != want {
			t.Errorf("%v by the clock: status %d, want %d: %s", now(), got, want, body)
		}
	}
	// spend asks until the key is refused, and returns how many were answered.
	spend := func(secret string) (n int) {
		t.Helper()
		for ; n < 50; n++ {
			if got, _ := s.post(t, secret, textPath, `{"prompt": "x", "max_tokens": 20}`); got != http.StatusOK {
				return n
			}
		}
		return n
	}
	jumps := 0
	at := func(d time.Duration) {
		jumps++
		jumped.Store(int64(d))
		status(gone, http.StatusUnauthorized)
		status(few, http.StatusOK) // no hold was lost
	}
	at(0)
	status(ending, http.StatusOK)
	if n := spend(rated); n != 5 {
		t.Errorf("a rate of 5 let %d through", n)
	}
	first := spend(budgeted) // 22 tokens each, so the fifth is admitted and ends the budget
	if first < 4 || first > 5 {
		t.Errorf("a budget of 100 tokens let %d requests of 22 through", first)
	}
	at(-48 * time.Hour) // back: no time passes
	status(ending, http.StatusOK)
	if n := spend(rated); n != 0 {
		t.Errorf("a clock that was set back let %d through", n)
	}
	at(-47*time.Hour - 59*time.Minute) // and then time passes again
	if n := spend(rated); n != 5 {
		t.Errorf("a minute after, %d of 5 are let through", n)
	}
	at(0)
	if n := spend(budgeted); n != 0 {
		t.Errorf("back on the day whose budget was spent, %d more are let through", n)
	}
	at(2 * time.Hour)
	status(ending, http.StatusUnauthorized)
	at(10 * 365 * 24 * time.Hour) // far ahead: buckets are empty once, budgets are new
	status(ending, http.StatusUnauthorized)
	if n := spend(rated); n != 5 {
		t.Errorf("ten years later %d of 5 are let through", n)
	}
	at(3 * time.Hour) // and back: not locked out until then
	if n := spend(rated); n > 5 {
		t.Errorf("set back, %d of 5 are let through", n)
	}
	at(3*time.Hour + time.Minute)
	if n := spend(rated); n != 5 {
		t.Errorf("a minute after that, %d of 5 are let through", n)
	}
	if _, total := records(t, s.dsn); total == 0 || !strings.HasPrefix(ends.ID, "key_") {
		t.Error("nothing was recorded")
	}
	figure("A clock that jumps", "jumps, from two days back to ten years ahead", "%d; each key was refused and admitted as it should be", jumps)
}
