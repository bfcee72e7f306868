package server

import (
	"encoding/json"
	"fmt"
	"math"
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

// rows are the row behind a prompt as the model gives it, and as it is under tierSigma.
func (s *site) rows(t testing.TB, prompt []sampler.Token) (raw, noisy []float32) {
	t.Helper()
	seen := &bothRows{}
	u := sampler.Utility{Sigma: tierSigma, Key: sampler.UtilityKey([]byte(ownersSecret), "base", tierSigma)}
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
	_, noisy := s.rows(t, chatPrompt(content))
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
		raw, noisy := s.rows(t, chatPrompt(content))
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
	raw, noisy := s.rows(t, chatPrompt("x"))
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
	_, noisy := s.rows(t, prompt)
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
		raw, noisy := s.rows(t, append(chatPrompt(content), 'a', 'b'))
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
