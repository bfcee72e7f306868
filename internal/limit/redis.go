package limit

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"aim/internal/account"
)

var (
	//go:embed take.lua
	takeSource string
	//go:embed settle.lua
	settleSource string
	//go:embed renew.lua
	renewSource string

	takeScript, settleScript, renewScript = redis.NewScript(takeSource), redis.NewScript(settleSource), redis.NewScript(renewSource)
)

// Redis is a Limiter whose limits are shared by all who use the same Redis or Valkey. Each Take is one script, and so atomic; the clock is
// that of Redis. Requests that run hold leases, which a replica renews while it lives.
//
// While Redis is away, each replica limits for itself: rates and requests at once then hold per replica, and begin anew; budgets begin with what
// the ledger knows, and what the other replicas spend meanwhile is not seen. When it is back, budgets are read from the ledger once more.
type Redis struct {
	opt    Options
	client *redis.Client
	local  *Local
	ledger *ledger
	// clock is the time in µs for tests; nil for that of Redis.
	clock func() int64

	// down is when Redis may be tried again, in ns since began; 0 while it answers.
	down  atomic.Int64
	began time.Time

	mu sync.Mutex
	// leases are the keys of the requests that run, by the names of their leases.
	leases map[string]string
	// stale are the keys whose budgets Redis may know too little of.
	stale map[string]bool

	stop chan struct{}
	done sync.WaitGroup
}

// quiet stops the client from printing what is logged here. There is no switch but the global one.
var quiet = sync.OnceFunc(func() { redis.SetLogger(silence{}) })

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// NewRedis returns a Limiter over a Redis or Valkey server, such as redis://:password@host:6379/0. It fails only where url is not one: a
// server that does not answer is away, as it may be later. Close must be called.
func NewRedis(url string, o Options) (*Redis, error) {
	quiet()
	o = o.withDefaults()
	c, err := redis.ParseURL(url)
	if err != nil {
		return nil, errors.New("the address of Redis is malformed: want redis://[user:password@]host:port[/database], rediss:// with TLS, or unix://path")
	}
	c.DialTimeout, c.ReadTimeout, c.WriteTimeout, c.PoolTimeout = o.Wait, o.Wait, o.Wait, o.Wait
	c.ContextTimeoutEnabled = true
	c.MaxRetries, c.DialerRetries = -1, 1 // who fails is left alone
	c.PoolSize = max(c.PoolSize, connections)
	c.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	r := &Redis{
		opt: o, client: redis.NewClient(c), local: NewLocal(o), began: time.Now(),
		leases: map[string]string{}, stale: map[string]bool{}, stop: make(chan struct{}),
	}
	r.ledger = r.local.ledger
	r.done.Go(r.renew)
	return r, nil
}

// Close gives the connections up. Leases of requests that still run end by themselves.
func (r *Redis) Close() error {
	close(r.stop)
	r.done.Wait()
	return r.client.Close()
}

// Shared says that limits are shared at present, that is that Redis answered when it was last asked.
func (r *Redis) Shared() bool { return r.down.Load() == 0 }

// connections is how many there may be. Those who wait for one hold up their requests.
const connections = 64

// names are those of a key in Redis; the braces keep them on one node of a cluster.
func (r *Redis) names(key string) []string {
	base := r.opt.Prefix + "{" + key + "}"
	return []string{base + ":used", base + ":leases"}
}

// time is the argument that says what time it is.
func (r *Redis) time() any {
	if r.clock == nil {
		return ""
	}
	return r.clock()
}

// Take implements [Limiter].
func (r *Redis) Take(ctx context.Context, key string, g *account.Grant, tokens int) (Hold, State, error) {
	if unlimited(g) {
		return free{}, State{}, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, State{}, err
	}
	lease := ""
	if g.Concurrency > 0 {
		lease = newLease()
	}
	if r.answers() {
		a, err := r.ask(ctx, key, g, tokens, lease)
		r.heard(err)
		if err == nil {
			state := State{rateOf(g.RequestsPerMinute, a.requests), rateOf(g.TokensPerMinute, a.tokens)}
			if refused := a.refused(g); refused != nil {
				return nil, state, refused
			}
			r.hold(lease, key)
			return &redisHold{limiter: r, key: key, lease: lease, charged: tokens, answer: a, rpm: g.RequestsPerMinute, tpm: g.TokensPerMinute}, state, nil
		}
	}
	hold, state, err := r.local.Take(ctx, key, g, tokens)
	if err != nil {
		return nil, state, err
	}
	r.hold(lease, key)
	r.overspent(key)
	return &awayHold{Hold: hold, limiter: r, key: key, lease: lease}, state, nil
}

// answer is what the script of Take says.
type answer struct {
	what int64
	// wait is in µs; where what is -1, its bits say which budgets are unknown: 1 the day's, 2 the month's.
	wait             int64
	requests, tokens float64
	day, month       int64
}

// refused is nil for an answer that admits.
func (a *answer) refused(g *account.Grant) *Refused {
	list := [...]Refused{
		{Concurrency, int64(g.Concurrency), 0},
		{Requests, int64(g.RequestsPerMinute), 0},
		{Tokens, int64(g.TokensPerMinute), 0},
		{Day, g.TokensPerDay, 0},
		{Month, g.TokensPerMonth, 0},
	}
	if a.what < 1 || a.what > int64(len(list)) {
		return nil
	}
	refused := list[a.what-1]
	refused.RetryAfter = time.Duration(a.wait) * time.Microsecond
	return &refused
}

// seeds are the ledger's figures, arguments of the script.
type seeds struct{ day, dayTokens, month, monthTokens any }

// ask runs the script of Take. Where it wants to know what was spent, the ledger is asked, and it runs again; once more where midnight
// came between, and then without asking.
func (r *Redis) ask(ctx context.Context, key string, g *account.Grant, tokens int, lease string) (a *answer, err error) {
	mode, known := "ask", seeds{"", "", "", ""}
	if stale := r.refresh(key); stale {
		mode = "always"
		defer func() {
			if mode == "" || err != nil {
				r.overspent(key)
			}
		}()
	}
	for range 3 {
		if !r.ledger.ready() {
			mode = ""
		}
		if a, err = r.run(ctx, key, g, tokens, lease, mode, known); err != nil || a.what >= 0 {
			return a, err
		}
		mode = "ask"
		var failed error
		if known, failed = r.seeds(ctx, key, a); failed != nil {
			mode = ""
		}
	}
	mode = ""
	return r.run(ctx, key, g, tokens, lease, mode, known)
}

// seeds asks the ledger for what is unknown.
func (r *Redis) seeds(ctx context.Context, key string, a *answer) (s seeds, err error) {
	s = seeds{"", "", "", ""}
	if a.wait&1 != 0 {
		n, err := r.ledger.spent(ctx, key, dayNumber(a.day))
		if err != nil {
			return s, err
		}
		s.day, s.dayTokens = a.day, n
	}
	if a.wait&2 != 0 {
		n, err := r.ledger.spent(ctx, key, dayNumber(a.month))
		if err != nil {
			return s, err
		}
		s.month, s.monthTokens = a.month, n
	}
	return s, nil
}

// dayNumber is when a day began, counted from 1970.
func dayNumber(n int64) time.Time { return time.Unix(n*24*60*60, 0).UTC() }

// run runs the script of Take once. It does not end with ctx: what it takes must not be lost when a client leaves.
func (r *Redis) run(ctx context.Context, key string, g *account.Grant, tokens int, lease, mode string, s seeds) (*answer, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.opt.Wait)
	defer cancel()
	list, err := takeScript.Run(ctx, r.client, r.names(key),
		max(g.RequestsPerMinute, 0), max(g.TokensPerMinute, 0), max(g.Concurrency, 0), max(g.TokensPerDay, 0), max(g.TokensPerMonth, 0), tokens,
		lease, r.opt.Lease.Microseconds(), r.time(), mode, s.day, s.dayTokens, s.month, s.monthTokens).Slice()
	if err != nil {
		return nil, err
	}
	return readAnswer(list)
}

func readAnswer(list []any) (*answer, error) {
	var a answer
	for i, to := range []any{&a.what, &a.wait, &a.requests, &a.tokens, &a.day, &a.month} {
		if i >= len(list) {
			return nil, fmt.Errorf("an answer of %d values from the script", len(list))
		}
		var err error
		switch to := to.(type) {
		case *int64:
			n, ok := list[i].(int64)
			if !ok {
				err = fmt.Errorf("the script's value %d is %v", i, list[i])
			}
			*to = n
		case *float64:
			text, _ := list[i].(string)
			*to, err = strconv.ParseFloat(text, 64)
		}
		if err != nil {
			return nil, err
		}
	}
	return &a, nil
}

// redisHold is a request that Redis has admitted.
type redisHold struct {
	limiter    *Redis
	key, lease string
	charged    int
	answer     *answer
	rpm, tpm   int
	settled    atomic.Bool
}

// Settle implements [Hold].
func (h *redisHold) Settle(ctx context.Context, tokens int) {
	if h.settled.Swap(true) {
		return
	}
	r := h.limiter
	r.letGo(h.lease)
	if tokens == h.charged && h.lease == "" {
		return
	}
	if !r.answers() || !r.settle(ctx, h.key, h.lease, h.charged, tokens, h.answer.day, h.answer.month, h.rpm, h.tpm) {
		r.overspent(h.key)
	}
}

func (r *Redis) settle(ctx context.Context, key, lease string, charged, took int, day, month int64, rpm, tpm int) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.opt.Wait)
	defer cancel()
	err := settleScript.Run(ctx, r.client, r.names(key), lease, charged, took, day, month, rpm, tpm, r.time()).Err()
	r.heard(err)
	return err == nil
}

// awayHold is a request that was admitted while Redis was away.
type awayHold struct {
	Hold
	limiter    *Redis
	key, lease string
	settled    atomic.Bool
}

// Settle implements [Hold]. Redis has heard of its lease at most.
func (h *awayHold) Settle(ctx context.Context, tokens int) {
	if h.settled.Swap(true) {
		return
	}
	h.Hold.Settle(ctx, tokens)
	r := h.limiter
	r.letGo(h.lease)
	r.overspent(h.key)
	if h.lease != "" && r.Shared() {
		r.settle(ctx, h.key, h.lease, 0, 0, 0, 0, 0, 0)
	}
}
