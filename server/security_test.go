package server

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"aim/internal/account"
	"aim/internal/chat"
	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// The tests of docs/security.md: each is a way to undo a tier, tried. Those of the mathematics are in sampler/security_test.go.

const (
	ownersSecret = "of the tests"
	tierSigma    = 1.0
)

// product runs a server that offers one base model as several: base itself, fine and fine-too at the same σ, lite at twice that, and shy, which hides
// what it can. Keys are named after the models they may use; two has fine, fine-too and lite, lower may lower fine's utility, and admin may do all.
func product(t testing.TB, o options) *site {
	t.Helper()
	return productAt(t, o, tierSigma)
}

func productAt(t testing.TB, o options, sigma float64) *site {
	t.Helper()
	ring := &keyring{}
	for key, g := range map[string]account.Grant{
		"base": {Models: []string{"base"}}, "fine": {Models: []string{"fine"}}, "other": {Models: []string{"fine"}}, "shy": {Models: []string{"shy"}},
		"two": {Models: []string{"fine", "fine-too", "lite"}}, "lower": {Models: []string{"fine"}, LowerUtility: true}, "admin": {Admin: true, LowerUtility: true},
	} {
		ring.set(key, g)
	}
	o.server.Keys = ring
	s := start(t, o)
	tmpl, err := chat.Compile(template, chat.Options{Specials: []string{"<|bos|>", "<|end|>", "<|ctl|>"}})
	if err != nil {
		t.Fatal(err)
	}
	model := func(id string, sigma float64) Model {
		return Model{ID: id, Base: "base", Engine: s.engine, Template: tmpl, BOS: "<|bos|>", EOS: "<|end|>", Created: time.Unix(1700000000, 0), Sigma: sigma}
	}
	base, shy := model("base", 0), model("shy", sigma)
	base.Embedder = llamatest.NewEmbedder(fake)
	shy.Policy = Policy{NoLogprobs: true, NoReports: true, NoPreviews: true, NoTemplate: true}
	// The base model is listed first: a request without a model's name must not get it.
	list := []Model{base, model("fine", sigma), model("fine-too", sigma), model("lite", 2*sigma), shy}
	if err := s.api.Serve(Serving{Models: list, Secret: []byte(ownersSecret)}); err != nil {
		t.Fatal(err)
	}
	return s
}

// chatPrompt is the prompt of a conversation of one message.
func chatPrompt(content string) []sampler.Token {
	p, err := fake.Tokenize([]llama.Part{{Text: "[user]", Trusted: true}, {Text: content}, {Text: marker, Trusted: true}}, true)
	if err != nil {
		panic(err)
	}
	return p
}

// rows are the row behind a prompt as the model gives it, and as it is under σ.
func (s *site) rows(t testing.TB, prompt []sampler.Token, sigma float64) (raw, noisy []float32) {
	t.Helper()
	seen := &bothRows{}
	u := sampler.Utility{Sigma: sigma, Key: sampler.UtilityKey([]byte(ownersSecret), "base", sigma)}
	for _, err := range s.engine.Generate(t.Context(), llama.Request{Prompt: prompt, MaxTokens: 1, Params: sampler.Params{Utility: u, Observer: seen}}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	return seen.before, seen.after
}

// told is a token with its log-probability, as a caller sees it.
type told struct {
	Token   string
	Logprob float64
	Bytes   []int
}

// first asks for a token and returns the most probable ones for it.
func (s *site) first(t testing.TB, key, model, content, fields string) []told {
	t.Helper()
	body := chatBody(content, `"model": "`+model+`", "logprobs": true, "top_logprobs": 20, "max_tokens": 1`+fields)
	a := decode[struct {
		Choices []struct {
			Logprobs struct {
				Content []struct {
					Top []told `json:"top_logprobs"`
				}
			}
		}
	}](t, s.as(t, key, "POST", chatPath, body).ok(t).body)
	list := a.Choices[0].Logprobs.Content[0].Top
	for _, c := range a.Choices[1:] {
		if !sameTold(c.Logprobs.Content[0].Top, list, 0) {
			t.Errorf("choices see different rows: %v and %v", list, c.Logprobs.Content[0].Top)
		}
	}
	return list
}

func sameTold(a, b []told, tolerance float64) bool {
	return slices.EqualFunc(a, b, func(x, y told) bool { return x.Token == y.Token && math.Abs(x.Logprob-y.Logprob) <= tolerance })
}

// byteOf is the token of a single byte, -1 for others.
func (c *told) byteOf() int {
	if len(c.Bytes) != 1 {
		return -1
	}
	return c.Bytes[0]
}

// leading are the n most probable of a row's tokens of single printable bytes.
func leading(row []float32, n int) []sampler.Token {
	var list []sampler.Token
	for b := sampler.Token('!'); b < 127; b++ {
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b sampler.Token) int { return int(math.Copysign(1, float64(row[b]-row[a]))) })
	return list[:n]
}

// TestWayAskingAgain: repeats, choices, seeds, names, salts, streams of keys, other tiers of the same σ: all see the same noise, so that nothing averages out.
func TestWayAskingAgain(t *testing.T) {
	s := product(t, options{})
	want := s.first(t, "fine", "fine", "x", "")
	if plain := s.first(t, "base", "base", "x", ""); sameTold(want, plain, 0.1) {
		t.Fatal("the tier has no noise, so the test shows nothing")
	}
	for _, fields := range []string{
		``, `, "n": 4`, `, "seed": 7`, `, "seed": -1`, `, "user": "someone else"`, `, "cache_salt": "z"`, `, "cache_prompt": false`, `, "temperature": 0`,
		`, "temperature": 2, "top_k": 1`, `, "top_p": 0.1`, `, "frequency_penalty": 2, "presence_penalty": 2`, `, "mirostat": 2`, `, "max_tokens": 1, "stop": "q"`,
		`, "prediction": {"type": "content", "content": "guess"}`, `, "min_p": 0.5, "xtc_probability": 1`, `, "aim": {"focus": []}`,
		// What other servers would tell raw figures for is no field here.
		`, "n_probs": 50, "post_sampling_probs": false, "return_logits": true, "return_hidden_states": true, "prompt_logprobs": 5, "logits_all": true, "samplers": ["temperature"]`,
		`, "aim": {"utility": {"sigma": 1}}`,
	} {
		key := "fine"
		if strings.Contains(fields, "sigma") {
			key = "lower"
		}
		if got := s.first(t, key, "fine", "x", fields); !sameTold(got, want, 1e-9) {
			t.Errorf("%s: %v, want %v", fields, got, want)
		}
	}
	if got := s.first(t, "other", "fine", "x", ""); !sameTold(got, want, 1e-9) {
		t.Error("another key sees other noise")
	}
	if got := s.first(t, "two", "fine-too", "x", ""); !sameTold(got, want, 1e-9) {
		t.Error("another tier of the same base and σ is another look")
	}
	// A request of the completion endpoint by tokens is the same prompt, and best_of is no other noise.
	ids, _ := json.Marshal(chatPrompt("x"))
	for _, more := range []string{"", `, "best_of": 4`} {
		r := s.as(t, "fine", "POST", textPath, fmt.Sprintf(`{"model": "fine", "prompt": %s, "max_tokens": 1, "logprobs": 20, "temperature": 0%s}`, ids, more)).ok(t)
		got := decode[struct {
			Choices []struct{ Logprobs textLogprobs }
		}](t, r.body).Choices[0].Logprobs
		if p := *got.Logprobs[0]; got.Tokens[0] != want[0].Token || math.Abs(p-want[0].Logprob) > 1e-6 {
			t.Errorf("by token ids%s: %s at %v, want %v", more, got.Tokens[0], p, want[0])
		}
	}
}

// TestWayScaling: biases and penalties act behind the noise: a bias moves a token by what it says, and a penalty that stretches the row, as repeat_penalty below 1
// does, stretches the noise with it.
func TestWayScaling(t *testing.T) {
	s := product(t, options{})
	const content = "!#%&()*+-/0123456789:;=?@ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" // so that penalties concern them all
	_, noisy := s.rows(t, chatPrompt(content), tierSigma)
	lead := leading(noisy, 8)
	check := func(fields string, want func(token sampler.Token) float64) {
		t.Helper()
		got, seen := map[int]float64{}, 0
		for _, c := range s.first(t, "fine", "fine", content, fields) {
			got[c.byteOf()] = c.Logprob
		}
		for _, token := range lead[1:] {
			p, ok := got[int(token)]
			if d := want(token) - want(lead[0]); ok && math.Abs(p-got[int(lead[0])]-d) > 1e-3 {
				t.Errorf("%s: token %c is %v beside the best, want %v", fields, token, p-got[int(lead[0])], d)
			}
			if ok {
				seen++
			}
		}
		if seen < 3 {
			t.Errorf("%s: %d tokens are seen", fields, seen)
		}
	}
	for _, bias := range []float64{-2, 0.25, 4} {
		check(fmt.Sprintf(`, "logit_bias": {"%d": %v}`, lead[3], bias), func(token sampler.Token) float64 {
			if token == lead[3] {
				return float64(noisy[token]) + bias
			}
			return float64(noisy[token])
		})
	}
	check(`, "repeat_penalty": 0.0625, "repeat_last_n": -1`, func(token sampler.Token) float64 {
		if noisy[token] > 0 && strings.ContainsRune(content, rune(token)) {
			return float64(noisy[token]) * 16
		}
		return float64(noisy[token])
	})
}

// TestWayBisection: a bias at temperature 0 flips the answer at the noisy gap. It can be found to any precision where no log-probability is shown, and the raw
// one stays hidden behind it.
func TestWayBisection(t *testing.T) {
	s := product(t, options{})
	queries := 0
	gap := func(a, b sampler.Token, content string) float64 { // of a before b, both biased up so that they alone compete
		low, high := -20.0, 20.0
		for high-low > 1e-4 {
			mid := (low + high) / 2
			fields := fmt.Sprintf(`"model": "shy", "temperature": 0, "max_tokens": 1, "logit_bias": {"%d": 50, "%d": %v}`, a, b, 50+mid)
			queries++
			if s.as(t, "shy", "POST", chatPath, chatBody(content, fields)).text(t) == string(rune(a)) {
				low = mid
			} else {
				high = mid
			}
		}
		return low
	}
	squares, n := 0.0, 0
	for _, content := range []string{"x", "y", "z", "u"} {
		raw, noisy := s.rows(t, chatPrompt(content), tierSigma)
		lead := leading(noisy, 4)
		for _, b := range lead[1:] {
			got := gap(lead[0], b, content)
			if want := float64(noisy[lead[0]] - noisy[b]); math.Abs(got-want) > 1e-3 {
				t.Errorf("%s: a gap of %v was measured, the noisy one is %v", content, got, want)
			}
			d := got - float64(raw[lead[0]]-raw[b])
			squares += d * d
			n++
		}
	}
	if rms := math.Sqrt(squares / float64(n)); rms < 0.5*tierSigma {
		t.Errorf("what is measured is within %v of the raw gaps, where the noise of two tokens is %v", rms, tierSigma*math.Sqrt2)
	}
	t.Logf("%d queries for a gap to 10⁻⁴", queries/n)
}

// TestWayGrammar: where a grammar leaves two tokens, the answer tells the order of the noisy row.
func TestWayGrammar(t *testing.T) {
	s := product(t, options{})
	raw, noisy := s.rows(t, chatPrompt("x"), tierSigma)
	turned := 0
	lead := leading(noisy, 10)
	for i, a := range lead {
		for _, b := range lead[i+1:] {
			fields := fmt.Sprintf(`"model": "fine", "temperature": 0, "max_tokens": 1, "structured_outputs": {"choice": [%s, %s]}`, quote(string(rune(b))), quote(string(rune(a))))
			if got := s.as(t, "fine", "POST", chatPath, chatBody("x", fields)).text(t); got != string(rune(a)) {
				t.Errorf("of %c and %c it chose %s", a, b, got)
			}
			if raw[a] < raw[b] {
				turned++
			}
		}
	}
	if turned == 0 {
		t.Error("the noise turns no order around, so the test shows nothing")
	}
}

// TestWayEcho: what a prompt is scored with is the noisy row, the same as an answer at that place has.
func TestWayEcho(t *testing.T) {
	s := product(t, options{})
	prompt := chatPrompt("x")
	_, noisy := s.rows(t, prompt, tierSigma)
	best := leading(noisy, 1)[0]
	score := func(key, model string) (float64, response) {
		ids, _ := json.Marshal(append(slices.Clone(prompt), best))
		r := s.as(t, key, "POST", textPath, fmt.Sprintf(`{"model": %q, "prompt": %s, "max_tokens": 0, "echo": true, "logprobs": 1}`, model, ids))
		if r.status != 200 {
			return 0, r
		}
		list := decode[struct {
			Choices []struct{ Logprobs textLogprobs }
		}](t, r.body).Choices[0].Logprobs.Logprobs
		return *list[len(list)-1], r
	}
	got, _ := score("fine", "fine")
	norm := 0.0
	for _, z := range noisy {
		norm += math.Exp(float64(z))
	}
	if want := float64(noisy[best]) - math.Log(norm); math.Abs(got-want) > 1e-4 {
		t.Errorf("scored %v, the noisy row has %v", got, want)
	}
	if plain, _ := score("base", "base"); math.Abs(plain-got) < 0.01 {
		t.Error("base and tier score alike, so the test shows nothing")
	}
	_, r := score("shy", "shy")
	r.is(t, "shy", 403, "logprobs", "logprobs_not_allowed")
}

// TestWayForcedTokens: ends forbidden by min_tokens or ignore_eos, and tokens forced by a grammar before, leave the noise of the others as it is.
func TestWayForcedTokens(t *testing.T) {
	s := product(t, options{})
	want := s.first(t, "fine", "fine", "x", "")
	for _, fields := range []string{`, "min_tokens": 1`, `, "ignore_eos": true`} {
		if got := s.first(t, "fine", "fine", "x", fields); !sameTold(got, want, 1e-3) { // the end's own share is gone
			t.Errorf("%s: %v, want %v", fields, got, want)
		}
	}
	// After forced tokens the row is that of a prompt with them.
	moved := false
	for _, content := range []string{"x", "y", "z", "u", "v", "w"} {
		raw, noisy := s.rows(t, append(chatPrompt(content), 'a', 'b'), tierSigma)
		next := leading(noisy, 1)[0]
		moved = moved || next != leading(raw, 1)[0]
		const grammar = `"model": "fine", "temperature": 0, "max_tokens": 3, "grammar": "root ::= \"ab\" [!-~]"`
		if got := s.as(t, "fine", "POST", chatPath, chatBody(content, grammar)).text(t); got != "ab"+string(rune(next)) {
			t.Errorf("after forced tokens: %q, want ab%c", got, next)
		}
	}
	if !moved {
		t.Error("the noise moves no token, so the test shows nothing")
	}
}

// TestWaySpans: a span taken away is the shorter prompt with that prompt's own noise: no second look at a row.
func TestWaySpans(t *testing.T) {
	s := product(t, options{})
	want := s.first(t, "fine", "fine", "x", "")
	for _, nonce := range []string{" k3x9", " abc", " zz9"} {
		for _, strength := range []string{"-1", "-0.999999"} {
			got := s.first(t, "fine", "fine", "x"+nonce, `, "aim": {"focus": [{"span": `+quote(nonce)+`, "strength": `+strength+`}]}`)
			if !sameTold(got, want, 0.02) {
				t.Errorf("without %q at %s: %v, want %v", nonce, strength, got, want)
			}
		}
	}
}

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
