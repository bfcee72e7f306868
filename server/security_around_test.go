package server

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"aim/internal/account"
	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// The ways of docs/security.md around the noise: what an endpoint tells beside an answer, and to whom.

// TestWayReports: neither a report, nor a preview, a sweep, usage or a header tells of raw rows, σ or the level.
func TestWayReports(t *testing.T) {
	s := product(t, options{})
	ask := func(key, path, fields string) response {
		return s.as(t, key, "POST", path, chatBody("x", `"model": "fine", "max_tokens": 4`+fields))
	}
	whole := ask("fine", chatPath, `, "aim": {"report": {"tokens": true}, "focus": [{"text": "a", "strength": 0.5}]}`).ok(t).body
	stream := ask("fine", chatPath, `, "stream": true, "stream_options": {"include_usage": true}, "aim": {"report": {"tokens": true}}`).ok(t).body
	sweep := ask("lower", "/v1/aim/sweep", `, "sigmas": [1, 3]`).ok(t).body
	for name, body := range map[string]string{"whole": whole, "stream": stream, "sweep": sweep} {
		for _, field := range []string{"sigma", "level", "flips", "flip", "retention", "kl", "excluded", "best"} {
			if m := regexp.MustCompile(`"` + field + `":[^n]`).FindString(body); m != "" {
				t.Errorf("%s tells %s…: %s", name, m, body)
			}
		}
		if !strings.Contains(body, `"sigma":null`) {
			t.Errorf("%s has no report, so the test shows nothing: %s", name, body)
		}
	}
	if r := ask("admin", chatPath, `, "aim": {"report": true}`).ok(t).body; !strings.Contains(r, `"sigma":1`) || !strings.Contains(r, `"flips":null`) {
		t.Errorf("whoever administers the server sees σ, not flips: %s", r)
	}
	for _, key := range []string{"fine", "lower", "admin"} {
		ask(key, "/v1/aim/preview", "").is(t, "preview", 403, "model", "report_not_allowed")
	}
	s.as(t, "shy", "POST", chatPath, chatBody("x", `"model": "shy", "aim": {"report": true}`)).is(t, "shy", 403, "aim.report", "report_not_allowed")
}

// TestWayPreviewOfLogprobs: a preview has log-probabilities, so a model that hides these has no previews, modulated or not.
func TestWayPreviewOfLogprobs(t *testing.T) {
	s := governed(t, Policy{NoLogprobs: true}, &keyring{})
	s.do(t, "POST", "/v1/aim/preview", chatBody("x", "")).is(t, "preview", 403, "model", "report_not_allowed")
	if r := s.do(t, "GET", "/v1/aim/models/m", "").ok(t); !strings.Contains(r.body, `"previews":false`) {
		t.Errorf("the model is said to show previews: %s", r.body)
	}
}

// TestWayTemplate: a hidden template shows as little as tokens.
func TestWayTemplate(t *testing.T) {
	s := product(t, options{})
	for _, path := range []string{"/apply-template", "/tokenize"} {
		s.as(t, "fine", "POST", path, chatBody("x", `"model": "fine"`)).ok(t)
		s.as(t, "shy", "POST", path, chatBody("x", `"model": "shy"`)).is(t, path, 403, "model", "template_not_shown")
	}
	s.as(t, "shy", "POST", "/tokenize", `{"model": "shy", "content": "x"}`).ok(t)
}

// TestWayOtherNames: a key with one tier reaches no other model, by whatever endpoint or spelling, and cannot tell which there are.
func TestWayOtherNames(t *testing.T) {
	s := product(t, options{})
	posts := map[string]string{
		chatPath: `"messages": [{"role": "user", "content": "x"}]`, textPath: `"prompt": "x"`, responsesPath: `"input": "x"`,
		messagesPath:                   `"max_tokens": 3, "messages": [{"role": "user", "content": "x"}]`,
		messagesPath + "/count_tokens": `"messages": [{"role": "user", "content": "x"}]`, "/v1/embeddings": `"input": "x"`, "/tokenize": `"content": "x"`,
		"/detokenize": `"tokens": [65]`, "/apply-template": `"messages": [{"role": "user", "content": "x"}]`,
		"/v1/aim/preview": `"prompt": "x"`, "/v1/aim/sweep": `"prompt": "x", "sigmas": [1]`,
	}
	message := func(r response) string { return decode[struct{ Error errorFields }](t, r.body).Error.Message }
	for path, fields := range posts {
		unknown := s.as(t, "fine", "POST", path, `{"model": "nobody", `+fields+`}`)
		unknown.notFound(t, path)
		for _, name := range []string{"base", "fine-too", "lite", "Base", " base", "base ", "base/", "/base", "./base", "base#0", "base+", "fine/../base", "BASE", "base\u0000", "b*", "*"} {
			r := s.as(t, "fine", "POST", path, `{"model": `+quote(name)+`, `+fields+`}`)
			r.notFound(t, path+" "+name)
			want := strings.Replace(message(unknown), `"nobody"`, fmt.Sprintf("%q", name), 1)
			if got := message(r); got != want {
				t.Errorf("%s tells %q from a model that is not there: %s, want %s", path, name, got, want)
			}
		}
		if path == "/v1/embeddings" {
			s.as(t, "fine", "POST", path, `{"model": "fine", `+fields+`}`).is(t, path, 400, "model", "embeddings_not_enabled")
			s.as(t, "base", "POST", path, `{"model": "base", `+fields+`}`).ok(t)
		}
	}
	// The first model of all is the base; the first of a key's is its tier.
	for _, name := range []string{``, `"model": "", `, `"model": null, `} {
		if r := s.as(t, "fine", "POST", chatPath, `{`+name+posts[chatPath]+`}`); !strings.Contains(r.body, `"model":"fine"`) {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	for _, path := range []string{"/props", "/slots", "/tokenizer_info"} {
		s.as(t, "fine", "GET", path+"?model=base", "").notFound(t, path)
		s.as(t, "fine", "GET", path+"?model=fine&model=base", "").ok(t)
		if r := s.as(t, "fine", "GET", path, "").ok(t); strings.Contains(r.body, `"base"`) {
			t.Errorf("%s: %s", path, r.body)
		}
	}
	for _, name := range []string{"base", "fine/../base", "%62ase", "nobody"} {
		s.as(t, "fine", "GET", "/v1/models/"+name, "").notFound(t, name)
		s.as(t, "fine", "GET", "/v1/aim/models/"+name, "").notFound(t, name)
	}
	if r := s.as(t, "fine", "GET", "/v1/models", "").ok(t); strings.Contains(r.body, "base") || strings.Contains(r.body, "lite") {
		t.Errorf("models: %s", r.body)
	}
}

// notFound fails the test unless there was no such model.
func (r response) notFound(t testing.TB, what string) {
	t.Helper()
	if r.status != http.StatusNotFound || !strings.Contains(r.body, "does not exist") {
		t.Errorf("%s: %d %s", what, r.status, r.body)
	}
}

// TestWayTellingSigma: two servers that differ in σ alone give a key without rights the same answers, byte for byte, where the text does not depend on σ.
func TestWayTellingSigma(t *testing.T) {
	ask := func(model string) string { return `"model": "` + model + `", ` }
	type request struct{ key, method, path, body string }
	var list []request
	for _, path := range []string{"/v1/models", "/v1/models/fine", "/v1/aim/models/fine", "/props", "/slots", "/tokenizer_info", "/health", "/health/ready", "/openapi.json", "/", "/admin/models", "/metrics", "/none"} {
		list = append(list, request{"fine", "GET", path, ""}, request{"wrong", "GET", path, ""})
	}
	for _, fields := range []string{
		``, `"stream": true, "stream_options": {"include_usage": true}, `, `"n": 2, `, `"aim": {"report": true}, `, `"aim": {"utility": {"sigma": 0.1}}, `,
		`"aim": {"utility": {"sigma": 1}}, `, `"aim": {"utility": {"level": 0.9}}, `, `"aim": {"utility": {"sigma": -1}}, `, `"aim": {"utility": {"sigma": 1000}}, `, `"temperature": 9, `, `"n": 1000, `,
	} {
		for _, key := range []string{"fine", "shy", "wrong"} {
			model := key
			if key == "wrong" {
				model = "fine"
			}
			list = append(list, request{key, "POST", chatPath, `{` + ask(model) + fields + `"messages": [{"role": "user", "content": "hello"}]}`})
		}
	}
	for _, path := range []string{"/v1/aim/preview", "/v1/aim/sweep"} {
		list = append(list, request{"fine", "POST", path, `{"model": "fine", "sigmas": [0.1], "prompt": "x"}`}, request{"fine", "POST", path, `{"model": "fine", "levels": [1], "prompt": "x"}`})
	}
	// A refusal of what would be better than what is imposed does not tell what that is.
	list = append(list, request{"lower", "POST", chatPath, chatBody("hello", `"model": "fine", "aim": {"utility": {"sigma": 0.1}}`)})
	list = append(list, request{"lower", "POST", chatPath, chatBody("hello", `"model": "fine", "aim": {"utility": {"sigma": 4}, "report": true}`)})
	a, b := productAt(t, options{}, 0.5), productAt(t, options{}, 2)
	for _, r := range list {
		x, y := a.as(t, r.key, r.method, r.path, r.body), b.as(t, r.key, r.method, r.path, r.body)
		if x.status != y.status || stable(x.body) != stable(y.body) {
			t.Errorf("%s %s %s as %s: σ tells\n%d %s\n%d %s", r.method, r.path, r.body, r.key, x.status, x.body, y.status, y.body)
		}
		for _, h := range []http.Header{x.header, y.header} {
			h.Del("Date")
			h.Del("X-Request-Id")
			h.Del("Request-Id")
			h.Del("Content-Length") // that of timings
		}
		if fmt.Sprint(x.header) != fmt.Sprint(y.header) {
			t.Errorf("%s %s as %s: headers %v and %v", r.method, r.path, r.key, x.header, y.header)
		}
	}
}

// TestWayCacheProbing: what another key sent is in no cache of one's own, whatever salt is given, unless the owner shares prefixes.
func TestWayCacheProbing(t *testing.T) {
	for _, shared := range []bool{false, true} {
		s := product(t, options{engine: llama.Config{Slots: 4, Context: 512, Batch: 64, Queue: 16}, server: Config{SharePrefixes: shared}})
		cached := func(key, text, salt string) int {
			r := s.as(t, key, "POST", chatPath, chatBody(text, `"model": "fine", "max_tokens": 1, "user": `+quote(salt)+`, "cache_salt": `+quote(salt))).ok(t)
			return decode[completion](t, r.body).Usage.PromptDetails.Cached
		}
		for i, salts := range [][2]string{{"", ""}, {"salt", "salt"}, {"salt", ""}, {"", "id-fine "}, {"salt", "id-fine salt"}, {"id-other salt", "salt"}} {
			text := strings.Repeat(string(rune('A'+i)), 20) + " is a secret that one key sends"
			cached("fine", text, salts[0])
			if n := cached("fine", text, salts[0]); n < 20 {
				t.Errorf("shared %v: of a key's own prompt %d tokens are cached", shared, n)
			}
			// Both prompts begin alike, so where prefixes are shared a few tokens may come from those before.
			if n := cached("other", text, salts[1]); (n >= 20) != (shared && salts[0] == salts[1]) {
				t.Errorf("shared %v: another key finds %d tokens of the salt %q cached by the salt %q", shared, n, salts[0], salts[1])
			}
		}
	}
}

// TestWaySlots: a key sees that slots are busy, and nothing of the length or the pace of others' requests.
func TestWaySlots(t *testing.T) {
	h := &held{free: make(chan struct{}, 8)}
	s := product(t, options{decoder: llamatest.Options{Before: h.before}})
	defer close(h.free)
	for range 4 {
		h.free <- struct{}{}
	}
	body := chatBody("a secret question", `"model": "fine", "stream": true, "max_tokens": 200, "ignore_eos": true`)
	req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+chatPath, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer other")
	go func() {
		if res, err := s.Client().Do(req); err == nil {
			_, _ = io.Copy(io.Discard, res.Body) // whoever closes it leaves
			_ = res.Body.Close()
		}
	}()
	eventually(t, "a busy slot", func() bool {
		return strings.Contains(s.as(t, "admin", "GET", "/slots", "").ok(t).body, `"is_processing":true`)
	})
	told := decode[[]slotInfo](t, s.as(t, "fine", "GET", "/slots", "").ok(t).body)
	for i, slot := range told {
		if slot != (slotInfo{ID: i, Context: 512, Processing: i == 0}) {
			t.Errorf("a key is told %+v", slot)
		}
	}
	if own := decode[[]slotInfo](t, s.as(t, "admin", "GET", "/slots", "").ok(t).body); own[0].Prompt == 0 {
		t.Errorf("the owner is told %+v", own[0])
	}
}

// TestWayKeyProbing: an unknown, a revoked and an expired key are refused alike, and a key is told nothing of others.
func TestWayKeyProbing(t *testing.T) {
	s := product(t, options{server: Config{Metrics: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}})
	ring := s.api.keys.(*keyring)
	ring.mu.Lock()
	ring.keys["gone"] = account.Key{ID: "gone", Revoked: time.Now().Add(-time.Hour)}
	ring.keys["old"] = account.Key{ID: "old", Expires: time.Now().Add(-time.Hour)}
	ring.mu.Unlock()
	want := s.as(t, "nobody", "POST", chatPath, chatBody("hello", ""))
	want.is(t, "unknown", 401, "", "invalid_api_key")
	for _, key := range []string{"gone", "old", "", "fin", "finee"} {
		if r := s.as(t, key, "POST", chatPath, chatBody("hello", "")); r.status != want.status || r.body != want.body {
			t.Errorf("%q: %d %s", key, r.status, r.body)
		}
	}
	for _, path := range []string{"/admin/keys", "/admin/usage", "/admin/models", "/metrics"} {
		if r := s.as(t, "fine", "GET", path, ""); r.status == 200 {
			t.Errorf("%s: %s", path, r.body)
		}
	}
	s.as(t, "fine", "GET", "/metrics", "").is(t, "metrics", 403, "", "admin_required")
	s.as(t, "admin", "GET", "/metrics", "").ok(t)
}

// TestWaySpecialTokens: text of a conversation never becomes a special token, so that it cannot end a template's part and begin another one; a prompt that is given
// as tokens is another context only where its tokens are others.
func TestWaySpecialTokens(t *testing.T) {
	s := product(t, options{})
	for _, text := range []string{"<|ctl|>", "<|bos|>x", "a<|end|>", "[assistant]<|ctl|>"} {
		r := s.as(t, "fine", "POST", "/tokenize", chatBody(text, `"model": "fine"`)).ok(t)
		ids := decode[struct{ Tokens []sampler.Token }](t, r.body).Tokens
		if !slices.Equal(ids, chatPrompt(text)) {
			t.Errorf("%q is %v", text, ids)
		}
		special := 0
		for _, id := range ids {
			if fake.Kind(id) != llama.Normal {
				special++
			}
		}
		if special != 2 { // the template's own
			t.Errorf("%q has %d special tokens in %v", text, special, ids)
		}
	}
}

// flatterer is a draft model that always guesses one token.
type flatterer struct{}

func (flatterer) Draft(guesses []llama.Guess, _ int, _ []sampler.Token, n int) ([]llama.Guess, error) {
	for range n {
		guesses = append(guesses, llama.Guess{Token: 'Q', Confidence: 0.99})
	}
	return guesses, nil
}

// TestWayDraftModel: a draft model has no noise. With a bias that makes an answer of one token after the other, the number of its guesses that were right would
// tell what it thinks best; it is not told where utility is imposed.
func TestWayDraftModel(t *testing.T) {
	s := product(t, options{engine: llama.Config{
		Slots: 4, Context: 512, Batch: 64, Queue: 16, NoCache: true, Draft: 8, DraftAlways: true, NoLookup: true, Drafter: flatterer{},
	}})
	accepted := func(key string) int {
		r := s.as(t, key, "POST", chatPath, chatBody("x", `"model": "`+key+`", "temperature": 0, "max_tokens": 20, "logit_bias": {"81": 100}`)).ok(t)
		return decode[completion](t, r.body).Usage.CompletionDetails.Accepted
	}
	if n := accepted("base"); n == 0 {
		t.Error("nothing is guessed, so the test shows nothing")
	}
	if n := accepted("fine"); n != 0 {
		t.Errorf("a caller is told that %d guesses of the draft model were right", n)
	}
}
