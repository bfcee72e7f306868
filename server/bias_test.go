package server

import (
	"slices"
	"strings"
	"testing"

	"aim/llama/llamatest"
	"aim/sampler"
)

// TestBias: tokens by id and by text, as members and as pairs; what falls on one token is summed up, within its bounds.
func TestBias(t *testing.T) {
	for raw, want := range map[string]struct {
		add map[sampler.Token]float64
		ban []sampler.Token
	}{
		`{"97": 5, "98": -100, "99": null}`:        {add: map[sampler.Token]float64{97: 5, 98: -100}},
		`{"ab": 2, "97": 3}`:                       {add: map[sampler.Token]float64{97: 5, 98: 2}},
		`[[97, 5], ["b", -1], ["97", 1]]`:          {add: map[sampler.Token]float64{97: 5, 98: -1, '9': 1, '7': 1}},
		`[["a", 90], [97, 90], ["bbb", -40]]`:      {add: map[sampler.Token]float64{97: 100, 98: -100}},
		`{"97": false, "b": false}`:                {ban: []sampler.Token{97, 98}},
		`[["ba", false], [99, 1], ["<", 1]]`:       {add: map[sampler.Token]float64{99: 1, '<': 1}, ban: []sampler.Token{97, 98}},
		`{" water": 1, "<|ctl|>": 0, "1e2x": 0.5}`: {add: map[sampler.Token]float64{259: 1, '<': 0, '|': 0, 'c': 0, 't': 0, 'l': 0, '>': 0, '1': 0.5, 'e': 0.5, '2': 0.5, 'x': 0.5}},
		`{}`: {},
		`[]`: {},
	} {
		o, err := parseBody([]byte(`{"logit_bias": ` + raw + `}`))
		if err != nil {
			t.Fatal(err)
		}
		add, ban := o.bias(fake)
		if *o.err != nil || !slices.Equal(ban, want.ban) || len(add) != len(want.add) {
			t.Errorf("%s: %v, %v, %v; want %v", raw, add, ban, *o.err, want)
		}
		for token, v := range want.add {
			if got, ok := add[token]; !ok || got != v {
				t.Errorf("%s: token %d has %v, want %v", raw, token, got, v)
			}
		}
	}
}

// TestBans: a forbidden token is not in the answer, whatever raises it.
func TestBans(t *testing.T) {
	s := start(t, options{})
	if got := s.ask(t, "x", `"max_tokens": 5, "logit_bias": {"97": 100}`).text(t); got != "aaaaa" {
		t.Fatalf("without a ban: %q", got)
	}
	got := s.ask(t, "x", `"max_tokens": 50, "logit_bias": [[97, 100], ["a", false]]`).text(t)
	others := strings.NewReplacer("water", "", "Water", "", " a", "") // tokens of their own
	if strings.Contains(others.Replace(got), "a") {
		t.Errorf("a forbidden token is in %q", got)
	}
}

// TestBreakers: a text is found in every token that holds it and across tokens.
func TestBreakers(t *testing.T) {
	m := llamatest.New()
	water, spaced := tokens(t, "water")[0], tokens(t, " water")[0]
	for text, want := range map[string][][]sampler.Token{
		":":      {{':'}},
		"wat":    {{'w', 'a', 't'}, {water}, {spaced}},
		"rx":     {{'r', 'x'}, {water, 'x'}, {spaced, 'x'}, tokens(t, " riverx")[:2]},
		"\u00e9": {{0xc3, 0xa9}},
	} {
		got := (&breakers{}).of(m, text)
		for _, w := range want {
			if !slices.ContainsFunc(got, func(g []sampler.Token) bool { return slices.Equal(g, w) }) {
				t.Errorf("%q: %v is not among %v", text, w, got)
			}
		}
	}
	var b breakers
	first := b.of(m, "\n")
	if again := b.of(m, "\n"); &again[0] != &first[0] {
		t.Error("a breaker is searched again")
	}
	for i := range 2 * maxCachedBreakers {
		b.of(m, strings.Repeat("x", i%maxBreaker+1)+string(rune('a'+i%26)))
	}
	if len(b.known) > maxCachedBreakers {
		t.Errorf("%d breakers are remembered", len(b.known))
	}
}
