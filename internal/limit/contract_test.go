package limit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"aim/internal/account"
)

// clock is a clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

// newClock is at noon, in the middle of a month.
func newClock() *clock { return &clock{now: time.Date(2026, 11, 15, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// books are a ledger.
type books struct {
	mu    sync.Mutex
	spent map[time.Time]int64 // by the beginning of the period
	err   error
	asked int
}

func (b *books) Spent(_ context.Context, _ string, from time.Time) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	return b.spent[from], b.err
}

func (b *books) set(from time.Time, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent[from] = n
}

// contract is what all limiters do. open returns one whose clock is that of the options.
func contract(t *testing.T, open func(t *testing.T, o Options) Limiter) {
	s := suite{open}
	t.Run("no limits", s.none)
	t.Run("requests", s.requests)
	t.Run("debt", s.debt)
	t.Run("refund", s.refund)
	t.Run("more than a minute's worth", s.large)
	t.Run("concurrency", s.concurrency)
	t.Run("budgets", s.budgets)
	t.Run("budgets without a ledger", s.unledgered)
	t.Run("a ledger that fails", s.ledgerDown)
	t.Run("a refusal takes nothing", s.refusal)
	t.Run("keys are apart", s.apart)
	t.Run("grants change", s.grants)
	t.Run("never more than the limit", s.windows)
	t.Run("as x/time/rate", s.reference)
	t.Run("a clock that jumps", s.jumps)
	t.Run("a clock that goes back", s.backwards)
	t.Run("many at once", s.many)
}

type suite struct {
	open func(t *testing.T, o Options) Limiter
}

// admit fails the test where the request is refused.
func admit(t testing.TB, l Limiter, key string, g *account.Grant, tokens int) Hold {
	t.Helper()
	h, _, err := l.Take(t.Context(), key, g, tokens)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	return h
}

// refuse fails the test where the request is admitted, or refused for something else.
func refuse(t testing.TB, l Limiter, key string, g *account.Grant, tokens int, what string) *Refused {
	t.Helper()
	_, _, err := l.Take(t.Context(), key, g, tokens)
	var r *Refused
	if !errors.As(err, &r) {
		t.Fatalf("error %v, want a refusal for %s", err, what)
	}
	if r.What != what || r.RetryAfter <= 0 {
		t.Fatalf("%+v, want a refusal for %s", r, what)
	}
	return r
}

// about says that two durations are the same but for rounding.
func about(a, b time.Duration) bool { return (a - b).Abs() <= time.Millisecond }

func (s suite) none(t *testing.T) {
	l := s.open(t, Options{})
	for range 100 {
		h, state, err := l.Take(t.Context(), "k", &account.Grant{}, 1<<30)
		if err != nil || state != (State{}) {
			t.Fatal(state, err)
		}
		h.Settle(t.Context(), 1<<30)
	}
	admit(t, l, "k", nil, 1)
}

func (s suite) requests(t *testing.T) {
	c := newClock()
	l := s.open(t, Options{Now: c.Now})
	g := &account.Grant{RequestsPerMinute: 6}
	for i := range 6 {
		h, state, err := l.Take(t.Context(), "k", g, 0)
		want := Rate{6, 5 - i, time.Duration(i+1) * 10 * time.Second}
		if err != nil || state.Requests.Limit != 6 || state.Requests.Remaining != want.Remaining || !about(state.Requests.Reset, want.Reset) {
			t.Fatalf("request %d: %+v, want %+v; error %v", i, state.Requests, want, err)
		}
		if state.Tokens != (Rate{}) {
			t.Fatalf("a rate of tokens: %+v", state.Tokens)
		}
		h.Settle(t.Context(), 1000)
	}
	r := refuse(t, l, "k", g, 0, Requests)
	if !about(r.RetryAfter, 10*time.Second) || r.Limit != 6 {
		t.Fatalf("%+v", r)
	}
	c.move(r.RetryAfter / 2)
	refuse(t, l, "k", g, 0, Requests)
	c.move(r.RetryAfter / 2)
	admit(t, l, "k", g, 0)
	refuse(t, l, "k", g, 0, Requests)
}

func (s suite) debt(t *testing.T) {
	c := newClock()
	l := s.open(t, Options{Now: c.Now})
	g := &account.Grant{TokensPerMinute: 100}
	h := admit(t, l, "k", g, 10)
	c.move(time.Minute) // the bucket is empty; a debt counts from when it is known
	h.Settle(t.Context(), 510)
	h.Settle(t.Context(), 510)
	r := refuse(t, l, "k", g, 0, Tokens)
	if want := 4*time.Minute + 600*time.Millisecond; !about(r.RetryAfter, want) { // 500 - 99 tokens
		t.Fatalf("%+v, want %v", r, want)
	}
	c.move(r.RetryAfter)
	admit(t, l, "k", g, 1)
}

func (s suite) refund(t *testing.T) {
	l := s.open(t, Options{Now: newClock().Now})
	g := &account.Grant{TokensPerMinute: 100, TokensPerDay: 150}
	admit(t, l, "k", g, 100).Settle(t.Context(), 0)
	admit(t, l, "k", g, 90).Settle(t.Context(), 90)
	_, state, err := l.Take(t.Context(), "k", g, 11)
	if err == nil || state.Tokens.Remaining != 10 {
		t.Fatal(state, err)
	}
	admit(t, l, "k", g, 10)
}

func (s suite) large(t *testing.T) {
	c := newClock()
	l := s.open(t, Options{Now: c.Now})
	g := &account.Grant{TokensPerMinute: 100}
	admit(t, l, "k", g, 1)
	r := refuse(t, l, "k", g, 300, Tokens)
	c.move(r.RetryAfter)
	admit(t, l, "k", g, 300)
	if r := refuse(t, l, "k", g, 1, Tokens); !about(r.RetryAfter, 2*time.Minute+600*time.Millisecond) {
		t.Fatalf("%+v", r)
	}
}

func (s suite) concurrency(t *testing.T) {
	l := s.open(t, Options{Now: newClock().Now})
	g := &account.Grant{Concurrency: 3}
	var holds []Hold
	for range 3 {
		holds = append(holds, admit(t, l, "k", g, 5))
	}
	refuse(t, l, "k", g, 5, Concurrency)
	holds[0].Settle(t.Context(), 5)
	holds[0].Settle(t.Context(), 5)
	admit(t, l, "k", g, 5)
	refuse(t, l, "k", g, 5, Concurrency)
}

func (s suite) budgets(t *testing.T) {
	c := newClock()
	today, month := dayOf(c.Now()), monthOf(c.Now())
	b := &books{spent: map[time.Time]int64{today: 90, month: 500}}
	l := s.open(t, Options{Now: c.Now, Spent: b.Spent})
	g := &account.Grant{TokensPerDay: 100, TokensPerMonth: 620}
	h := admit(t, l, "k", g, 4)
	h.Settle(t.Context(), 7)
	admit(t, l, "k", g, 3)
	if r := refuse(t, l, "k", g, 0, Day); !about(r.RetryAfter, 12*time.Hour) || r.Limit != 100 {
		t.Fatalf("%+v", r)
	}
	c.move(12 * time.Hour)
	admit(t, l, "k", g, 100)
	refuse(t, l, "k", g, 1, Day)
	c.move(24 * time.Hour)
	r := refuse(t, l, "k", g, 20, Month) // 500 + 10 + 100
	if want := month.AddDate(0, 1, 0).Sub(c.Now()); !about(r.RetryAfter, want) {
		t.Fatalf("%+v, want %v", r, want)
	}
	admit(t, l, "k", g, 10)
	c.move(r.RetryAfter)
	admit(t, l, "k", g, 100)
	if b.asked > 6 {
		t.Errorf("the ledger was asked %d times, want once for each period", b.asked)
	}
}

func (s suite) unledgered(t *testing.T) {
	c := newClock()
	l := s.open(t, Options{Now: c.Now})
	g := &account.Grant{TokensPerDay: 10}
	admit(t, l, "k", g, 10).Settle(t.Context(), 10)
	refuse(t, l, "k", g, 1, Day)
	c.move(24 * time.Hour)
	admit(t, l, "k", g, 10)
	refuse(t, l, "k", g, 1, Day)
}

func (s suite) ledgerDown(t *testing.T) {
	c := newClock()
	b := &books{err: errors.New("down")}
	l := s.open(t, Options{Now: c.Now, Spent: b.Spent})
	g := &account.Grant{TokensPerDay: 10}
	admit(t, l, "k", g, 10).Settle(t.Context(), 10)
	refuse(t, l, "k", g, 1, Day) // what was seen counts
	if b.asked != 1 {
		t.Errorf("the ledger was asked %d times at once, want 1", b.asked)
	}
}

func (s suite) refusal(t *testing.T) {
	l := s.open(t, Options{Now: newClock().Now})
	g := &account.Grant{RequestsPerMinute: 10, TokensPerMinute: 100, Concurrency: 1, TokensPerDay: 1000, TokensPerMonth: 1000}
	h := admit(t, l, "k", g, 10)
	for range 20 {
		refuse(t, l, "k", g, 10, Concurrency)
	}
	h.Settle(t.Context(), 10)
	_, state, err := l.Take(t.Context(), "k", g, 10)
	if err != nil || state.Requests.Remaining != 8 || state.Tokens.Remaining != 80 {
		t.Fatalf("%+v, %v", state, err)
	}
}

func (s suite) apart(t *testing.T) {
	l := s.open(t, Options{Now: newClock().Now})
	g := &account.Grant{RequestsPerMinute: 1}
	for i := range 50 {
		admit(t, l, fmt.Sprint(i), g, 0)
	}
	refuse(t, l, "7", g, 0, Requests)
}

func (s suite) grants(t *testing.T) {
	l := s.open(t, Options{Now: newClock().Now})
	admit(t, l, "k", &account.Grant{RequestsPerMinute: 10}, 0)
	refuse(t, l, "k", &account.Grant{RequestsPerMinute: 1}, 0, Requests)
	admit(t, l, "k", &account.Grant{RequestsPerMinute: 10}, 0)
	_, state, err := l.Take(t.Context(), "k", &account.Grant{RequestsPerMinute: 20, TokensPerMinute: 5}, 5)
	if err != nil || state.Requests.Remaining != 17 || state.Tokens.Remaining != 0 {
		t.Fatalf("%+v, %v", state, err)
	}
}

// windows: over random arrivals, no window has more than its limit and a bucket, and who waits as told is admitted.
func (s suite) windows(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		c := newClock()
		l := s.open(t, Options{Now: c.Now})
		g := &account.Grant{RequestsPerMinute: 1 + rng.IntN(100), TokensPerMinute: 50 + rng.IntN(5000)}
		var at []time.Duration
		var took []int
		var now time.Duration
		for range 400 {
			step := time.Duration(rng.ExpFloat64() * float64(time.Minute) / float64(2*g.RequestsPerMinute))
			c.move(step)
			now += step
			n := rng.IntN(min(g.TokensPerMinute, 2*g.TokensPerMinute/g.RequestsPerMinute+1)) + 1
			h, _, err := l.Take(t.Context(), "k", g, n)
			if r := new(Refused); errors.As(err, &r) && rng.IntN(4) == 0 {
				c.move(r.RetryAfter)
				now += r.RetryAfter
				if h, _, err = l.Take(t.Context(), "k", g, n); err != nil {
					t.Fatalf("after %v of waiting: %v", r.RetryAfter, err)
				}
			}
			if err != nil {
				continue
			}
			h.Settle(t.Context(), n)
			at, took = append(at, now), append(took, n)
		}
		checkWindows(t, g, at, took)
	}
}

func checkWindows(t *testing.T, g *account.Grant, at []time.Duration, took []int) {
	t.Helper()
	if len(at) < 20 {
		t.Fatalf("only %d requests of %+v were admitted", len(at), g)
	}
	for i := range at {
		tokens := 0
		for j := i; j < len(at); j++ {
			tokens += took[j]
			share := 1 + (at[j] - at[i]).Minutes()
			if n := float64(j - i + 1); n > float64(g.RequestsPerMinute)*share+1e-3 {
				t.Fatalf("%v requests in %v, the limit is %d", n, at[j]-at[i], g.RequestsPerMinute)
			}
			if float64(tokens) > float64(g.TokensPerMinute)*share+1e-3 {
				t.Fatalf("%d tokens in %v, the limit is %d", tokens, at[j]-at[i], g.TokensPerMinute)
			}
		}
	}
}

// reference: without debts a bucket is that of golang.org/x/time/rate, which knows neither debts nor several limits at once.
func (s suite) reference(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	c := newClock()
	l := s.open(t, Options{Now: c.Now})
	g := &account.Grant{TokensPerMinute: 240}
	ref := rate.NewLimiter(rate.Every(time.Minute/240), 240)
	ref.AllowN(c.Now(), 0)
	for i := range 600 {
		c.move(time.Duration(rng.IntN(3000)) * time.Millisecond)
		n := 1 + rng.IntN(12)
		if left := ref.TokensAt(c.Now()) - float64(n); math.Abs(left) < 1e-3 {
			continue // which of them is right depends on the last bit
		}
		h, _, err := l.Take(t.Context(), "k", g, n)
		if want := ref.AllowN(c.Now(), n); (err == nil) != want {
			t.Fatalf("request %d of %d tokens: error %v, the reference admits: %v", i, n, err, want)
		}
		if err == nil {
			h.Settle(t.Context(), n)
		}
	}
}

// jumps: whatever the clock does, a key that waits as told is admitted, and gets no more than a bucket for each step forward.
func (s suite) jumps(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	c := newClock()
	b := &books{spent: map[time.Time]int64{}}
	l := s.open(t, Options{Now: c.Now, Spent: b.Spent})
	g := &account.Grant{RequestsPerMinute: 10, TokensPerMinute: 1000}
	admitted, allowed := 0, 10.0
	for range 300 {
		step := time.Duration(rng.Int64N(int64(4 * time.Second)))
		if rng.IntN(10) == 0 {
			step = time.Duration((rng.Float64() - 0.5) * float64(20*time.Hour))
		}
		c.move(step)
		allowed += min(10, max(0, step.Minutes()*10))
		h, _, err := l.Take(t.Context(), "k", g, 100)
		r := new(Refused)
		if errors.As(err, &r) {
			if r.RetryAfter > time.Minute {
				t.Fatalf("%+v: longer than a bucket takes", r)
			}
			c.move(r.RetryAfter)
			allowed += r.RetryAfter.Minutes() * 10
			h, _, err = l.Take(t.Context(), "k", g, 100)
		}
		if err != nil {
			t.Fatalf("after the wait: %v", err)
		}
		h.Settle(t.Context(), 100)
		if admitted++; float64(admitted) > allowed+1e-3 {
			t.Fatalf("%d requests, the limit allows %v", admitted, allowed)
		}
	}
}

func (s suite) backwards(t *testing.T) {
	c := newClock()
	b := &books{spent: map[time.Time]int64{}}
	for d := dayOf(c.Now()); d.After(c.Now().AddDate(0, -2, 0)); d = d.AddDate(0, 0, -1) {
		b.set(d, 40) // each day has had its share
	}
	l := s.open(t, Options{Now: c.Now, Spent: b.Spent})
	g := &account.Grant{RequestsPerMinute: 5, Concurrency: 5, TokensPerDay: 41}
	h := admit(t, l, "k", g, 0)
	for range 4 {
		c.move(-5 * time.Hour)
		admit(t, l, "k", g, 0).Settle(t.Context(), 0)
	}
	refuse(t, l, "k", g, 0, Requests)
	c.move(-5 * time.Hour)
	refuse(t, l, "k", g, 0, Requests)
	h.Settle(t.Context(), 3) // of another day
	c.move(time.Minute)
	admit(t, l, "k", g, 1).Settle(t.Context(), 1)
	refuse(t, l, "k", g, 1, Day)
}

// many: of 200 at once exactly as many are admitted as there is room for.
func (s suite) many(t *testing.T) {
	c := newClock()
	b := &books{spent: map[time.Time]int64{dayOf(c.Now()): 400}}
	for _, tt := range []struct {
		g    account.Grant
		want int
	}{
		{account.Grant{RequestsPerMinute: 50}, 50},
		{account.Grant{TokensPerMinute: 700}, 70},
		{account.Grant{Concurrency: 37}, 37},
		{account.Grant{TokensPerDay: 1000}, 60},
		{account.Grant{RequestsPerMinute: 90, Concurrency: 80, TokensPerDay: 750}, 35},
	} {
		l := s.open(t, Options{Now: c.Now, Spent: b.Spent})
		if n := flood(t, &tt.g, 10, l); n != tt.want {
			t.Errorf("%+v admits %d of 200, want %d", tt.g, n, tt.want)
		}
	}
}

// flood sends 200 requests at once, to the limiters by turns, and returns how many are admitted.
func flood(t testing.TB, g *account.Grant, tokens int, limiters ...Limiter) int {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	admitted := 0
	for i := range 200 {
		wg.Go(func() {
			_, _, err := limiters[i%len(limiters)].Take(t.Context(), "k", g, tokens)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				admitted++
			} else if !errors.As(err, new(*Refused)) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	return admitted
}
