package server

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// skilled is the fake with what other models can do, too.
type skilled struct{ *llamatest.Model }

// Infill implements [llama.Infiller].
func (s skilled) Infill(prefix, suffix string) ([]sampler.Token, error) {
	if suffix == "unknown" {
		return nil, llama.ErrUnsupported
	}
	return s.Tokenize([]llama.Part{{Text: suffix}, {Text: marker, Trusted: true}, {Text: prefix}}, true)
}

// SchemaToGrammar implements [llama.SchemaConverter] for one schema.
func (s skilled) SchemaToGrammar(schema []byte) (string, error) {
	if !strings.Contains(string(schema), "integer") {
		return "", errors.New("no schema of the tests")
	}
	return `root ::= "{\"n\": " [1-9]{1,3} "}"`, nil
}

// scoredText are the log-probabilities of a completion, where those of the prompt begin with null.
type scoredText struct {
	Tokens        []string
	TokenLogprobs []*float64           `json:"token_logprobs"`
	TopLogprobs   []map[string]float64 `json:"top_logprobs"`
	TextOffset    []int                `json:"text_offset"`
}

// TestScoredPrompts: with echo and logprobs each token of the prompt has its name, its place in the echoed text and the
// log-probability that the model gives it after the tokens before; then the answer goes on in the same lists.
func TestScoredPrompts(t *testing.T) {
	s := start(t, options{})
	for _, c := range []struct {
		prompt  string
		names   []string
		offsets []int
	}{
		{`"a water"`, []string{"<|bos|>", "a", " water"}, []int{0, 0, 1}},
		{`"né<|ctl|>x"`, []string{"<|bos|>", "n", `bytes:\xc3`, `bytes:\xa9`, "<|ctl|>", "x"}, []int{0, 0, 1, 1, 2, 9}},
		{`[97, 195, 169, 258, 98]`, []string{"a", `bytes:\xc3`, `bytes:\xa9`, "<|ctl|>", "b"}, []int{0, 1, 1, 2, 2}},
		{`[97]`, []string{"a"}, []int{0}},
	} {
		for _, most := range []int{0, 1, 3} {
			body := fmt.Sprintf(`{"prompt": %s, "echo": true, "logprobs": 2, "max_tokens": %d, "seed": 1`, c.prompt, most)
			r := s.do(t, "POST", textPath, body+"}")
			got := logprobsOf[scoredText](t, r)
			answer := decode[completion](t, r.body)
			n := len(c.names)
			if !slices.Equal(got.Tokens[:n], c.names) || !slices.Equal(got.TextOffset[:n], c.offsets) {
				t.Errorf("%s: %q at %v, want %q at %v", c.prompt, got.Tokens, got.TextOffset, c.names, c.offsets)
			}
			if len(got.Tokens) != n+most || len(got.TokenLogprobs) != n+most || len(got.TopLogprobs) != n+most || len(got.TextOffset) != n+most {
				t.Errorf("%s, %d more: lists of %d, %d, %d, %d entries", c.prompt, most, len(got.Tokens), len(got.TokenLogprobs), len(got.TopLogprobs), len(got.TextOffset))
			}
			if most == 0 && (answer.Usage.Completion != 0 || *answer.Choices[0].FinishReason != "length") {
				t.Errorf("%s: without an answer %+v, %s", c.prompt, answer.Usage, *answer.Choices[0].FinishReason)
			}
			if got.TokenLogprobs[0] != nil || got.TopLogprobs[0] != nil {
				t.Errorf("%s: the first token has %v, %v", c.prompt, got.TokenLogprobs[0], got.TopLogprobs[0])
			}
			for i := 1; i < len(got.Tokens); i++ {
				top := got.TopLogprobs[i]
				if p, ok := top[got.Tokens[i]]; !ok || got.TokenLogprobs[i] == nil || p != *got.TokenLogprobs[i] || len(top) < 2 || len(top) > 3 {
					t.Errorf("%s: token %d has %v among %v", c.prompt, i, got.TokenLogprobs[i], top)
				}
			}
			streamed, text := scoredText{}, ""
			for _, chunk := range assemble(t, s.do(t, "POST", textPath, body+`, "stream": true}`)).chunks {
				text += chunk.Choices[0].Text
				if raw := string(chunk.Choices[0].Logprobs); raw != "null" {
					part := decode[scoredText](t, raw)
					streamed.Tokens = append(streamed.Tokens, part.Tokens...)
					streamed.TextOffset = append(streamed.TextOffset, part.TextOffset...)
					streamed.TokenLogprobs = append(streamed.TokenLogprobs, part.TokenLogprobs...)
				}
			}
			same := func(a, b *float64) bool { return a == b || a != nil && b != nil && *a == *b }
			if text != answer.Choices[0].Text || !slices.Equal(streamed.Tokens, got.Tokens) || !slices.Equal(streamed.TextOffset, got.TextOffset) ||
				!slices.EqualFunc(streamed.TokenLogprobs, got.TokenLogprobs, same) {
				t.Errorf("%s: streamed %q %+v, whole %q %+v", c.prompt, text, streamed, answer.Choices[0].Text, got)
			}
		}
	}
}

// TestScoresAreTheModels: the score of a token is its log-probability as the first of an answer to the tokens before, with
// and without noise.
func TestScoresAreTheModels(t *testing.T) {
	s := start(t, options{})
	prompt := []int{256, 97, 264, 98, 99}
	list := strings.ReplaceAll(fmt.Sprint(prompt), " ", ",")
	for _, extra := range []string{"", `, "aim": {"utility": {"sigma": 2}}`} {
		got := logprobsOf[scoredText](t, s.do(t, "POST", textPath, `{"prompt": `+list+`, "echo": true, "logprobs": 1, "max_tokens": 0`+extra+`}`))
		for i := 1; i < len(prompt); i++ {
			before := strings.ReplaceAll(fmt.Sprint(prompt[:i]), " ", ",")
			body := fmt.Sprintf(`{"prompt": %s, "max_tokens": 1, "logprobs": 20, "temperature": 0%s}`, before, extra)
			top := logprobsOf[scoredText](t, s.do(t, "POST", textPath, body)).TopLogprobs[0]
			best := slices.MaxFunc(slices.Collect(func(yield func(float64) bool) {
				for _, p := range top {
					if !yield(p) {
						return
					}
				}
			}), func(a, b float64) int { return cmp.Compare(a, b) })
			if p, ok := top[got.Tokens[i]]; ok && math.Abs(p-*got.TokenLogprobs[i]) > 1e-5 {
				t.Errorf("token %d scores %g, the answer says %g", i, *got.TokenLogprobs[i], p)
			}
			most := math.Inf(-1)
			for _, p := range got.TopLogprobs[i] {
				most = max(most, p)
			}
			if math.Abs(most-best) > 1e-5 {
				t.Errorf("%s: the best token in place of %d scores %g, the answer says %g", extra, i, most, best)
			}
		}
	}
}

// TestScoredPromptAndEnd: the token that ends an answer has an entry, so that who cuts off max_tokens entries is right.
func TestScoredPromptAndEnd(t *testing.T) {
	s := start(t, options{})
	const body = `{"prompt": "nothing<|ctl|>", "echo": true, "logprobs": 1, "max_tokens": 1`
	got := logprobsOf[scoredText](t, s.do(t, "POST", textPath, body+"}"))
	want := []string{"<|bos|>", "n", "o", "t", "h", "i", "n", "g", "<|ctl|>", "<|end|>"}
	if !slices.Equal(got.Tokens, want) || got.TextOffset[9] != len("nothing<|ctl|>") {
		t.Errorf("tokens %q at %v", got.Tokens, got.TextOffset)
	}
	chunks := assemble(t, s.do(t, "POST", textPath, body+`, "stream": true}`)).chunks
	if last := decode[scoredText](t, string(chunks[len(chunks)-1].Choices[0].Logprobs)); !slices.Equal(last.Tokens, want[9:]) {
		t.Errorf("the last chunk has %q", last.Tokens)
	}
}

// TestScoresOfSeveralPrompts: each choice has those of its prompt.
func TestScoresOfSeveralPrompts(t *testing.T) {
	s := start(t, options{})
	r := s.do(t, "POST", textPath, `{"prompt": [[97, 98], [99]], "n": 2, "echo": true, "logprobs": 0, "max_tokens": 1, "seed": 1}`)
	for i, c := range decode[completion](t, r.ok(t).body).Choices {
		got := decode[scoredText](t, string(c.Logprobs))
		want := [][]string{{"a", "b"}, {"c"}}[i/2]
		if !slices.Equal(got.Tokens[:len(want)], want) || len(got.Tokens) != len(want)+1 || !strings.HasPrefix(c.Text, strings.Join(want, "")) {
			t.Errorf("choice %d: %q of %q", i, got.Tokens, c.Text)
		}
	}
}

// TestNoTokens: max_tokens 0 answers nothing.
func TestNoTokens(t *testing.T) {
	s := start(t, options{})
	for fields, want := range map[string]string{`"echo": true`: "hello", `"n": 2`: "", `"stream": true, "echo": true`: "hello"} {
		r := s.do(t, "POST", textPath, `{"prompt": "hello", "max_tokens": 0, `+fields+`}`)
		if strings.Contains(fields, "stream") {
			if a := assemble(t, r); a.text[0] != want || a.finish[0] != "length" {
				t.Errorf("%s: %q (%s)", fields, a.text[0], a.finish[0])
			}
			continue
		}
		if got := r.text(t); got != want {
			t.Errorf("%s: %q, want %q", fields, got, want)
		}
	}
}

// TestBestOf: the answers given are those of the highest mean log-probability, in that order, and usage counts all.
func TestBestOf(t *testing.T) {
	s := start(t, options{})
	const base = `"prompt": ["one", "two"], "seed": 5, "max_tokens": 6`
	all := decode[completion](t, s.do(t, "POST", textPath, `{`+base+`, "n": 5, "logprobs": 0}`).ok(t).body)
	best := decode[completion](t, s.do(t, "POST", textPath, `{`+base+`, "n": 2, "best_of": 5}`).ok(t).body)
	if len(best.Choices) != 4 || best.Usage.Completion != all.Usage.Completion || best.Usage.Prompt != all.Usage.Prompt {
		t.Fatalf("%d choices, usage %+v of %+v", len(best.Choices), best.Usage, all.Usage)
	}
	for p := range 2 {
		type scored struct {
			text string
			mean float64
		}
		var list []scored
		for _, c := range all.Choices[5*p : 5*p+5] {
			sum, tokens := 0.0, decode[textLogprobFields](t, string(c.Logprobs)).TokenLogprobs
			for _, x := range tokens {
				sum += x
			}
			list = append(list, scored{c.Text, sum / float64(len(tokens))})
		}
		slices.SortFunc(list, func(a, b scored) int { return cmp.Compare(b.mean, a.mean) })
		for i := range 2 {
			c := best.Choices[2*p+i]
			if c.Text != list[i].text || c.Index != 2*p+i || string(c.Logprobs) != "null" {
				t.Errorf("prompt %d: place %d has %q, want %q", p, i, c.Text, list[i].text)
			}
		}
	}
	r := s.do(t, "POST", textPath, `{"prompt": "x", "best_of": 3, "max_tokens": 4, "logprobs": 1, "echo": true, "aim": {"report": true}}`)
	if got := reportOf(t, r.ok(t).body); len(got.Choices) != 1 || got.Choices[0].Index != 0 {
		t.Errorf("the report has %d choices", len(got.Choices))
	}
	s.do(t, "POST", textPath, `{"prompt": "x", "best_of": 3, "stream": true}`).is(t, "stream", http.StatusBadRequest, "best_of", codeValue)
	window := start(t, options{sigma: 1, scope: sampler.Scope{Window: 4}})
	window.do(t, "POST", textPath, `{"model": "fake/imposed", "prompt": "x", "best_of": 3}`).is(t, "window", http.StatusBadRequest, "best_of", codeUnsupported)
}

// TestSuffix: the prompt is what the model makes of both sides.
func TestSuffix(t *testing.T) {
	s := start(t, options{model: skilled{fake}, decoder: llamatest.Options{Say: llamatest.Say(fake, "fill hello", map[string]string{"end" + marker: "gap"})}})
	if got := s.do(t, "POST", textPath, `{"prompt": "fill hello", "suffix": "end", "max_tokens": 20}`).text(t); got != "gap" {
		t.Errorf("filled with %q", got)
	}
	for fields, param := range map[string]string{
		`"prompt": "x", "suffix": "unknown"`:         "suffix",
		`"prompt": [1, 2], "suffix": "y"`:            "suffix",
		`"prompt": "x", "suffix": "y", "echo": true`: "echo",
	} {
		r := s.do(t, "POST", textPath, `{`+fields+`}`)
		if f := failed(t, r.body); r.status != http.StatusBadRequest || *f.Param != param {
			t.Errorf("%s: %d %s", fields, r.status, r.body)
		}
	}
	if r := s.do(t, "POST", textPath, `{"prompt": "x", "suffix": ""}`); r.status != http.StatusOK {
		t.Errorf("an empty suffix: %s", r.body)
	}
}
