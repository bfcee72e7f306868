package eval

import (
	"math"
	"strings"
	"testing"

	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// near compares numbers; NaN is near nothing.
func near(got, want, tol float64) bool { return math.Abs(got-want) <= tol }

func TestHits(t *testing.T) {
	for _, c := range []struct {
		text  string
		words []string
		want  int
	}{
		{"The sea in this season. Sea!", []string{"sea"}, 2},
		{"sea-side, sea's, undersea, 2sea", []string{"sea"}, 2},
		{"A Lighthouse Keeper and two lighthouse keepers", []string{"lighthouse keeper"}, 1},
		{"It costs $5, or 5$.", []string{"$"}, 2},
		{"water, water", []string{"water", "river"}, 2},
		{"Ärger ärgert", []string{"ärger"}, 1},
		{"anything", []string{""}, 0},
	} {
		if got := Hits(c.text, c.words); got != c.want {
			t.Errorf("Hits(%q, %q) = %d, want %d", c.text, c.words, got, c.want)
		}
	}
}

func TestReadFocusSetRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`[]`:                 "not a focus set",
		`{"prompts": ["a"]}`: "neither prompts with topics nor span_cases",
		`{"prompts": ["a"], "topics": [{"name": "b", "words": []}]}`:       "topics[0].words",
		`{"span_cases": [{"prompt": "Be brief.", "span": "Be verbose."}]}`: `"Be verbose." does not occur`,
	} {
		if _, err := ReadFocusSet(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
}

// Answers come in the order of their tries, with the likelihood that the engine's own log-probabilities add up to.
func TestAnswer(t *testing.T) {
	e := startEngine(t, 3, llamatest.Options{})
	var tries []Try
	for i, prompt := range []string{"one", "two", "three", "four", "five"} {
		tokens, err := e.Model().Tokenize([]llama.Part{{Text: prompt}}, true)
		if err != nil {
			t.Fatal(err)
		}
		tries = append(tries, Try{Group: i, Request: llama.Request{Prompt: tokens, MaxTokens: 8, Params: sampler.Params{Logprobs: true}}})
	}
	answers, err := Answer(t.Context(), e, tries, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range answers {
		want, text := 0.0, ""
		for d, err := range e.Generate(t.Context(), tries[i].Request) {
			if err != nil {
				t.Fatal(err)
			}
			text += d.Text
			for _, tok := range d.Tokens {
				want -= tok.Logprob
			}
		}
		if a.Group != i || a.Text != text || len(a.Tokens) != 8 || !near(a.NLL, want, 1e-6) {
			t.Errorf("answer %d is %+v, want text %q and NLL %g", i, a, text, want)
		}
	}
}

func TestJudge(t *testing.T) {
	tokens := func(n int) []sampler.Token { return make([]sampler.Token, n) }
	base := []Tried{{Group: 0, Tokens: tokens(10), NLL: 10, D2: 1}, {Group: 1, Tokens: tokens(10), NLL: 10, D2: 1}}
	focused := []Tried{{Group: 0, Tokens: tokens(10), NLL: 20, D2: 0.5, Hits: 3}, {Group: 1, Tokens: tokens(10), NLL: 10, D2: 1}}
	r := Judge("m", "lexical", 1, focused, base)
	want := FocusFigures{Include: 0.5, Rate: 0.15, PPL: math.Exp(1.5), PPLRatio: r.PPLRatio, D2: 0.75}
	if r.FocusFigures != want || !near(r.PPLRatio, math.Exp(0.5), 1e-12) || r.Answers != 2 || r.Tokens != 20 {
		t.Errorf("row %+v, want %+v", r, want)
	}
	// Two groups: a quarter of the resamples has the first one twice, a quarter the other.
	if b := r.Bands["include"]; b != [2]float64{0, 1} {
		t.Errorf("band of include is %v", b)
	}
	if b := r.Bands["ppl_ratio"]; !near(b[0], 1, 1e-12) || !near(b[1], math.E, 1e-12) {
		t.Errorf("band of ppl_ratio is %v", b)
	}
	if same := Judge("m", "lexical", 1, focused, base); same.Bands["d2"] != r.Bands["d2"] {
		t.Error("the bands of the same answers differ")
	}
}
