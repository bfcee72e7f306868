package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"aim/internal/account"
	"aim/internal/limit"
	"aim/llama"
	"aim/llama/llamatest"
)

// keyring is a Keys and an Admin in memory; those of internal/ledger are tested there and in cmd/aim.
type keyring struct {
	mu   sync.Mutex
	keys map[string]account.Key // by secret
	down bool
}

func (k *keyring) Find(_ context.Context, secret string) (account.Key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.down {
		return account.Key{}, account.ErrUnavailable
	}
	key, ok := k.keys[secret]
	if !ok || !key.Active(time.Now()) {
		return account.Key{}, account.ErrNoKey
	}
	return key, nil
}

func (k *keyring) HasKeys(context.Context) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.keys) > 0, nil
}

func (k *keyring) set(secret string, g account.Grant) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys == nil {
		k.keys = map[string]account.Key{}
	}
	k.keys[secret] = account.Key{ID: "id-" + secret, Grant: g}
}

// book is a Ledger in memory.
type book struct {
	mu   sync.Mutex
	list []account.Usage
	sick error
}

func (b *book) Record(_ context.Context, u account.Usage) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, u)
	return nil
}

func (b *book) Healthy() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sick
}

func (b *book) records() []account.Usage {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.list)
}

// as sends a request with an API key.
func (s *site) as(t testing.TB, secret, method, path, body string) response {
	t.Helper()
	return s.with(t, method, path, body, "Authorization", "Bearer "+secret)
}

// leave sends a request with an API key and leaves after the first byte of the answer.
func (s *site) leave(t testing.TB, secret, body string) {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, err := http.NewRequestWithContext(ctx, "POST", s.URL+chatPath, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	res, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := res.Body.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestKeys(t *testing.T) {
	ring := &keyring{}
	s := start(t, options{server: Config{Keys: ring}})
	s.ask(t, "hello", "").ok(t) // no keys yet: whoever is here is the owner
	ring.set("all", account.Grant{})
	ring.set("one", account.Grant{Models: []string{"fake/plain", "fake/i*"}})
	ring.set("far", account.Grant{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	ring.set("near", account.Grant{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}})

	for _, path := range []string{"/v1/models", "/v1/models/fake", "/props", "/slots", "/tokenizer_info"} {
		s.do(t, "GET", path, "").is(t, path, 401, "", "invalid_api_key")
	}
	r := s.ask(t, "hello", "")
	r.is(t, "no key", 401, "", "invalid_api_key")
	if r.header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("headers %v", r.header)
	}
	s.as(t, "wrong", "POST", chatPath, chatBody("hello", "")).is(t, "wrong", 401, "", "invalid_api_key")
	if r := s.do(t, "POST", messagesPath, `{}`); r.status != 401 || !strings.Contains(r.body, `"authentication_error"`) {
		t.Errorf("Anthropic's: %d %s", r.status, r.body)
	}
	for _, path := range []string{"/health", "/openapi.json", "/"} {
		s.do(t, "GET", path, "").ok(t)
	}
	s.as(t, "all", "POST", chatPath, chatBody("hello", "")).ok(t)
	s.with(t, "POST", messagesPath, chatBody("hello", `"max_tokens": 3`), "X-Api-Key", "all").ok(t)
	s.as(t, "near", "POST", chatPath, chatBody("hello", "")).ok(t)
	s.as(t, "far", "POST", chatPath, chatBody("hello", "")).is(t, "far", 403, "", "address_not_allowed")

	// A key's models are all that there is for it.
	var list modelList
	if err := json.Unmarshal([]byte(s.as(t, "one", "GET", "/v1/models", "").ok(t).body), &list); err != nil || len(list.Data) != 2 {
		t.Errorf("models %+v, %v", list, err)
	}
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/v1/models/fake", ""},
		{"GET", "/props?model=fake", ""},
		{"POST", chatPath, chatBody("x", `"model": "fake"`)},
		{"POST", textPath, `{"model": "fake", "prompt": "x"}`},
		{"POST", "/tokenize", `{"model": "fake", "content": "x"}`},
		{"POST", "/v1/embeddings", `{"model": "fake", "input": "x"}`},
		{"POST", "/v1/aim/preview", `{"model": "fake", "prompt": "x"}`},
	} {
		r := s.as(t, "one", c.method, c.path, c.body)
		r.is(t, c.path, 404, "model", "model_not_found")
		if other := s.as(t, "one", c.method, c.path, strings.ReplaceAll(c.body, `"fake"`, `"fakf"`)); c.method == "POST" && strings.ReplaceAll(other.body, "fakf", "fake") != r.body {
			t.Errorf("%s tells a model that is there from one that is not: %s", c.path, r.body)
		}
	}
	// Without a name it is the first of them.
	if r := s.as(t, "one", "POST", chatPath, chatBody("hello", "")); !strings.Contains(r.ok(t).body, `"model":"fake/imposed"`) {
		t.Errorf("got %s", r.body)
	}
	ring.mu.Lock()
	ring.keys["all"] = account.Key{ID: "id-all", Revoked: time.Now().Add(-time.Second)}
	ring.mu.Unlock()
	s.as(t, "all", "POST", chatPath, chatBody("hello", "")).is(t, "revoked", 401, "", "invalid_api_key")
	ring.down = true
	s.as(t, "near", "POST", chatPath, chatBody("hello", "")).is(t, "down", 503, "", "accounts_unavailable")
	if log := s.log.String(); strings.Contains(log, "Bearer") || strings.Contains(log, `"near"`) || !strings.Contains(log, `"key":"id-near"`) {
		t.Error("the log has a key, or does not say whose a request was")
	}
}

// TestGrants: what a key may not ask for is refused by name, and a request's utility is one of these things.
func TestGrants(t *testing.T) {
	ring := &keyring{}
	half := 0.5
	ring.set("plain", account.Grant{})
	ring.set("lower", account.Grant{LowerUtility: true})
	ring.set("focus", account.Grant{MaxFocus: &half})
	ring.set("admin", account.Grant{Admin: true, LowerUtility: true})
	s := start(t, options{sigma: 1, server: Config{Keys: ring}})
	chat := func(key, fields string) response {
		return s.as(t, key, "POST", chatPath, chatBody("hello polite", fields))
	}
	utility := `"model": "fake/imposed", "aim": {"utility": {"sigma": 2}}`
	chat("plain", utility).is(t, "plain", 403, "aim.utility", "utility_not_allowed")
	chat("lower", utility).ok(t)
	better := `"model": "fake/imposed", "aim": {"utility": {"sigma": 0.25}}`
	r := chat("lower", better)
	r.is(t, "better", 403, "aim.utility.sigma", "utility_imposed")
	if strings.Contains(r.body, "1") {
		t.Errorf("the refusal tells σ: %s", r.body)
	}
	if r := chat("admin", better); !strings.Contains(r.body, "at least 1") {
		t.Errorf("the owner is not told the bound: %s", r.body)
	}
	s.as(t, "plain", "POST", "/v1/aim/sweep", `{"prompt": "x", "sigmas": [1, 2]}`).is(t, "sweep", 403, "sigmas[0]", "utility_not_allowed")

	focus := func(strength string) string {
		return `"aim": {"focus": [{"text": "water", "strength": ` + strength + `}]}`
	}
	chat("focus", focus("0.5")).ok(t)
	chat("focus", focus("-0.6")).is(t, "focus", 403, "aim.focus[0]", "focus_not_allowed")
	chat("focus", `"aim": {"focus": [{"span": "polite", "strength": 0.7}]}`).is(t, "span", 403, "aim.focus[0]", "focus_not_allowed")
	s.as(t, "focus", "POST", "/v1/aim/sweep", `{"prompt": "x", "strengths": [0.2, 0.8], "aim": {"focus": [{"text": "a", "strength": 0.1}]}}`).
		is(t, "strengths", 403, "strengths[1]", "focus_not_allowed")
	s.as(t, "plain", "GET", "/admin/keys", "").is(t, "no administrator", 404, "", "not_found") // this server has no Admin
}

// TestUsageIsRecorded: once for each request, before its answer has ended, and also where it fails or its client leaves.
func TestUsageIsRecorded(t *testing.T) {
	ring, b := &keyring{}, &book{}
	ring.set("a", account.Grant{Models: []string{"fake*"}})
	slow := func([]llama.Row) error { time.Sleep(time.Millisecond); return nil } // so that who leaves does so before the end
	s := start(t, options{decoder: llamatest.Options{Before: slow}, server: Config{Keys: ring, Ledger: b}})
	check := func(what string, want account.Usage) {
		t.Helper()
		eventually(t, what, func() bool { return len(b.records()) > 0 })
		got := b.records()
		b.mu.Lock()
		b.list = nil
		b.mu.Unlock()
		if len(got) != 1 {
			t.Fatalf("%s: %d records", what, len(got))
		}
		u := got[0]
		if u.Request == "" || u.Began.IsZero() || u.Duration <= 0 {
			t.Errorf("%s: %+v", what, u)
		}
		u.Request, u.Began, u.Duration = "", time.Time{}, 0
		if u != want {
			t.Errorf("%s: %+v, want %+v", what, u, want)
		}
	}
	of := func(status int, code string, prompt, completion int) account.Usage {
		return account.Usage{Key: "id-a", Model: "fake", Endpoint: chatPath, Status: status, Code: code, PromptTokens: prompt, CompletionTokens: completion}
	}
	for _, fields := range []string{"", `"stream": true`} {
		s.as(t, "a", "POST", chatPath, chatBody("hello", fields)).ok(t)
		if n := len(b.records()); n != 1 {
			t.Errorf("%d records when the answer has ended", n)
		}
		check("answered", of(200, "", 12, 12))
	}
	s.as(t, "a", "POST", chatPath, chatBody("hello", `"n": 2`)).ok(t)
	check("two choices", of(200, "", 12, 24))
	s.as(t, "a", "POST", chatPath, chatBody("hello", `"temperature": 9`))
	check("refused", of(400, codeValue, 0, 0))
	s.as(t, "a", "POST", chatPath, chatBody("hello", `"model": "nobody knows this one"`))
	check("unknown", account.Usage{Key: "id-a", Endpoint: chatPath, Status: 404, Code: "model_not_found"})
	s.as(t, "wrong", "POST", chatPath, chatBody("hello", "")) // nobody's

	s.leave(t, "a", chatBody("babble", `"stream": true, "max_tokens": 400`))
	eventually(t, "recorded", func() bool { return len(b.records()) == 1 })
	u := b.records()[0]
	if u.Status != 499 || u.Code != "client_gone" || u.PromptTokens == 0 || u.CompletionTokens == 0 || u.CompletionTokens >= 400 {
		t.Errorf("cut off: %+v", u)
	}
	b.sick = account.ErrUnavailable
	s.as(t, "a", "POST", chatPath, chatBody("hello", "")).is(t, "unhealthy", 503, "", "accounts_unavailable")
}

// TestLimits: a key beyond its limits is told which, when to come back and what remains; others are not concerned.
func TestLimits(t *testing.T) {
	ring := &keyring{}
	ring.set("few", account.Grant{RequestsPerMinute: 2, TokensPerMinute: 1000})
	ring.set("day", account.Grant{TokensPerDay: 40})
	ring.set("free", account.Grant{})
	s := start(t, options{server: Config{Keys: ring, Limits: limit.NewLocal(limit.Options{})}})
	ask := func(key string) response { return s.as(t, key, "POST", chatPath, chatBody("hello", "")) }
	if h := ask("few").ok(t).header; h.Get("X-Ratelimit-Limit-Requests") != "2" || h.Get("X-Ratelimit-Remaining-Requests") != "1" || h.Get("X-Ratelimit-Limit-Tokens") != "1000" {
		t.Errorf("headers %v", h)
	}
	s.as(t, "few", "POST", chatPath, `{"no": "messages"}`) // counts, too
	r := ask("few")
	r.is(t, "too many", 429, "", "rate_limit_exceeded")
	if r.header.Get("Retry-After") == "" || !strings.Contains(r.body, "requests_per_minute") || !strings.Contains(r.body, "2") {
		t.Errorf("%v %s", r.header, r.body)
	}
	ask("day").ok(t)
	ask("day").ok(t) // overdraws
	if r := ask("day"); r.status != 429 || !strings.Contains(r.body, `"insufficient_quota"`) || r.header.Get("X-Should-Retry") != "false" {
		t.Errorf("%d %v %s", r.status, r.header, r.body)
	}
	if h := ask("free").ok(t).header; h.Get("X-Ratelimit-Limit-Requests") != "" {
		t.Errorf("headers %v of a key without limits", h)
	}
}

// TestOneKeyLeavesRoom: a key that sends more than it gets leaves places to others.
func TestOneKeyLeavesRoom(t *testing.T) {
	ring := &keyring{}
	ring.set("greedy", account.Grant{})
	ring.set("modest", account.Grant{})
	s := start(t, options{
		engine: llama.Config{Slots: 1, Context: 64, Batch: 64, Queue: 15}, server: Config{Keys: ring},
	})
	places := s.api.engines.of(s.engine).places
	taken := 0
	for places.take("id-greedy", 1) {
		taken++
	}
	if taken != 8 {
		t.Errorf("one key has %d of 16 places", taken)
	}
	others := 0
	for places.take("modest", 1) {
		others++
	}
	if others != 4 {
		t.Errorf("the next one has %d of the 8 that are left", others)
	}
	if r := s.as(t, "greedy", "POST", chatPath, chatBody("hello", "")); r.status != 429 {
		t.Errorf("%d %s", r.status, r.body)
	}
	for range taken {
		places.give("id-greedy", 1)
	}
	for range others {
		places.give("modest", 1)
	}
	s.as(t, "greedy", "POST", chatPath, chatBody("hello", "")).ok(t)
}

// TestPrefixesStayWithinAKey: what one key has sent is not cached for another, unless the owner says so.
func TestPrefixesStayWithinAKey(t *testing.T) {
	ring := &keyring{}
	ring.set("a", account.Grant{})
	ring.set("b", account.Grant{})
	body := chatBody("hello "+strings.Repeat("a long text ", 10), `"max_tokens": 1`)
	cached := func(s *site, key string) int {
		t.Helper()
		var v struct{ Usage usage }
		if err := json.Unmarshal([]byte(s.as(t, key, "POST", chatPath, body).ok(t).body), &v); err != nil {
			t.Fatal(err)
		}
		return v.Usage.PromptDetails.Cached
	}
	size := llama.Config{Slots: 4, Context: 512, Batch: 64, Queue: 16}
	apart := start(t, options{engine: size, server: Config{Keys: ring}})
	if n := []int{cached(apart, "a"), cached(apart, "b")}; n[0] != 0 || n[1] != 0 {
		t.Errorf("cached %v", n)
	}
	if n := cached(apart, "a"); n == 0 {
		t.Error("a key's own prompt is not cached")
	}
	together := start(t, options{engine: size, server: Config{Keys: ring, SharePrefixes: true}})
	cached(together, "a")
	if n := cached(together, "b"); n == 0 {
		t.Error("shared prefixes are not cached")
	}
}

// TestLoadedOnDemand: a model that is not loaded is listed, loaded for a request, and let go of afterwards, also where the request fails.
func TestLoadedOnDemand(t *testing.T) {
	s := start(t, options{})
	here := s.api.table.Load().entries[0].Model
	var mu sync.Mutex
	held, loads := 0, 0
	var broken error
	lazy := Model{ID: "lazy", Facts: Facts{Served: 77}, Load: func(context.Context) (Model, func(), error) {
		mu.Lock()
		defer mu.Unlock()
		if broken != nil {
			return Model{}, nil, broken
		}
		held++
		loads++
		m := here
		m.ID = "lazy"
		return m, func() { mu.Lock(); held--; mu.Unlock() }, nil
	}}
	if err := s.api.Serve(Serving{Models: []Model{here, lazy}, Secret: []byte("of the tests")}); err != nil {
		t.Fatal(err)
	}
	var info modelInfo
	if err := json.Unmarshal([]byte(s.do(t, "GET", "/v1/models/lazy", "").ok(t).body), &info); err != nil || info.Max != 77 || loads != 0 {
		t.Errorf("%+v, %v, %d loads", info, err, loads)
	}
	if got := s.ask(t, "hello", `"model": "lazy"`).text(t); got != answers["hello"] {
		t.Errorf("got %q", got)
	}
	s.ask(t, "hello", `"model": "lazy", "temperature": 9`).is(t, "bad", 400, "temperature", codeValue)
	eventually(t, "released", func() bool { mu.Lock(); defer mu.Unlock(); return held == 0 && loads == 2 })
	if tiers := s.api.Tiers(); len(tiers) != 2 {
		t.Errorf("loaded are %+v", tiers)
	}
	s.api.Unloaded(here.Engine)
	if tiers := s.api.Tiers(); len(tiers) != 1 || tiers[0].Model != "fake" {
		t.Errorf("loaded are %+v after one has left", tiers)
	}
	mu.Lock()
	broken = &LoadError{RetryAfter: 3 * time.Second, Err: errors.New("no such file")}
	mu.Unlock()
	r := s.ask(t, "hello", `"model": "lazy"`)
	r.is(t, "broken", 503, "model", "model_not_loaded")
	if r.header.Get("Retry-After") != "3" || strings.Contains(r.body, "no such file") {
		t.Errorf("%v %s", r.header, r.body)
	}
	s.ask(t, "hello", `"model": "fake"`).ok(t)
	if s.api.Serve(Serving{Models: []Model{{ID: "x", Policy: Policy{Bounds: map[string]Bound{"nonsense": {}}}}}, Secret: nil}) == nil {
		t.Error("a policy that cannot be is served")
	}
	s.ask(t, "hello", `"model": "fake"`).ok(t)
}

// order notes who was told first of a request's end.
type order struct {
	book
	mu   sync.Mutex
	told []string
}

func (o *order) note(what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = append(o.told, what)
}

func (o *order) Record(ctx context.Context, u account.Usage) error {
	o.note("ledger")
	return o.book.Record(ctx, u)
}

func (o *order) Take(context.Context, string, *account.Grant, int) (limit.Hold, limit.State, error) {
	return o, limit.State{}, nil
}

func (o *order) Settle(context.Context, int) { o.note("limits") }

// TestLedgerHearsFirst: limits that ask the ledger what was spent would miss a request that was settled, but not recorded yet.
func TestLedgerHearsFirst(t *testing.T) {
	ring, o := &keyring{}, &order{}
	ring.set("one", account.Grant{TokensPerDay: 1000})
	s := start(t, options{server: Config{Keys: ring, Limits: o, Ledger: o}})
	s.as(t, "one", "POST", chatPath, chatBody("hello", "")).ok(t)
	s.as(t, "one", "POST", chatPath, chatBody("hello", `"stream": true`)).ok(t)
	s.as(t, "one", "POST", chatPath, chatBody("hello", `"temperature": 3`)).is(t, "mistaken", 400, "temperature", codeValue)
	eventually(t, "all is told", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return len(o.told) == 6
	})
	if want := []string{"ledger", "limits", "ledger", "limits", "ledger", "limits"}; !slices.Equal(o.told, want) {
		t.Errorf("told %v, want %v", o.told, want)
	}
}
