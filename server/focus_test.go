package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"aim/internal/words"
	"aim/llama"
	"aim/sampler"
)

// TestStrength: a dial of words reaches the sampler, on both endpoints, as a word and as a list.
func TestStrength(t *testing.T) {
	s := start(t, options{})
	list, err := s.engine.Lexicon().Words([]string{"water", "river"})
	if err != nil {
		t.Fatal(err)
	}
	prompt, err := fake.Tokenize([]llama.Part{{Text: "x"}}, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, strength := range []float64{1, -1} {
		var want strings.Builder
		for d, err := range s.engine.Generate(t.Context(), llama.Request{Prompt: prompt, MaxTokens: 120, Params: sampler.Params{
			FocusKey: sampler.FocusKey(3), Focus: []sampler.Focus{{Words: list, Strength: strength}},
		}}) {
			if err != nil {
				t.Fatal(err)
			}
			want.WriteString(d.Text)
		}
		body := fmt.Sprintf(
			`{"prompt": "x", "temperature": 0, "seed": 3, "max_tokens": 120, "aim": {"focus": [{"text": ["water", "river"], "strength": %g}]}}`, strength,
		)
		if got := s.do(t, "POST", textPath, body).text(t); got != want.String() {
			t.Errorf("strength %g: got %q, want %q", strength, got, want.String())
		}
	}
	set, err := words.New([]string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	const bias = `"temperature": 0, "max_tokens": 60, "logit_bias": {"97": 50, "32": 50}`
	if set.Count(s.ask(t, "x", bias).text(t)) == 0 {
		t.Fatal("without a focus the word does not come, so the test shows nothing")
	}
	if got := s.ask(t, "x", bias+`, "aim": {"focus": [{"text": "a", "strength": -1}]}`).text(t); set.Count(got) != 0 {
		t.Errorf("a word that is kept out is in %q", got)
	}
}

func TestStrengthErrors(t *testing.T) {
	s := start(t, options{})
	many := `["a"` + strings.Repeat(`, "a"`, maxWords) + `]`
	for _, c := range []struct{ entry, param, code, message string }{
		{`{"text": "water", "strength": 1.01}`, "aim.focus[0].strength", codeValue, "is 1.01, must be in [-1, 1]"},
		{`{"text": "water", "strength": -2}`, "aim.focus[0].strength", codeValue, "is -2, must be in [-1, 1]"},
		{`{"text": "water", "strength": "1"}`, "aim.focus[0].strength", codeType, "must be a number"},
		{`{"text": "water", "strength": 1, "sigma": 2}`, "aim.focus[0].sigma", codeValue, "cannot go with strength"},
		{`{"text": "water", "strength": 1, "direction": "raise"}`, "aim.focus[0].direction", codeValue, "cannot go with strength"},
		{`{"tokens": [1], "strength": 1}`, "aim.focus[0].strength", codeValue, "needs text"},
		{`{"all": true, "strength": 1}`, "aim.focus[0].strength", codeValue, "needs text"},
		{`{"strength": 1}`, "aim.focus[0]", codeValue, "it has 0"},
		{`{"text": [], "strength": 1}`, "aim.focus[0].text", codeValue, "at least one word"},
		{`{"text": ["water", " "], "strength": 1}`, "aim.focus[0].text[1]", codeValue, "is empty"},
		{`{"text": ["water", 1], "strength": 1}`, "aim.focus[0].text[1]", codeType, "must be a string"},
		{`{"text": ` + many + `, "strength": 1}`, "aim.focus[0].text", codeValue, "has 65 entries, the most is 64"},
		{`{"text": ["water"]}`, "aim.focus[0].sigma", codeMissing, "is required, or strength"},
		{`{"text": ["` + strings.Repeat("x", 257) + `"], "sigma": 1}`, "aim.focus[0].text[0]", codeValue, "has 257 bytes"},
	} {
		r := s.ask(t, "x", `"aim": {"focus": [`+c.entry+`]}`)
		r.is(t, c.entry, http.StatusBadRequest, c.param, c.code)
		if !strings.Contains(r.body, c.message) {
			t.Errorf("%s: %s, want %q", c.entry, r.body, c.message)
		}
	}
}

// TestListOfWordsByNoise: the paper's form takes several words, too, as one entry.
func TestListOfWordsByNoise(t *testing.T) {
	s := start(t, options{})
	p := sampler.Params{Temperature: 1, TopP: 1, Seed: 3, FocusKey: sampler.FocusKey(3)}
	p.Focus = []sampler.Focus{{Sigma: 50, Targets: [][]sampler.Token{
		tokens(t, " water"), tokens(t, "water"), tokens(t, " Water"), tokens(t, "Water"), tokens(t, " river"),
	}}}
	got := s.ask(t, "x", `"seed": 3, "max_tokens": 20, "aim": {"focus": [{"text": ["water", "river"], "sigma": 50}]}`).text(t)
	if want := s.babble(t, 20, p); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestStrengthHasItsOwnNoise: without a seed, each strength and each list of words has a noise of its own.
func TestStrengthHasItsOwnNoise(t *testing.T) {
	l := llama.NewLexicon(fake)
	seen := map[sampler.Key]string{}
	for _, list := range [][]string{{"water"}, {"water", "river"}, {"a b"}, {"a", "b"}} {
		w, err := l.Words(list)
		if err != nil {
			t.Fatal(err)
		}
		for _, strength := range []float64{1, 0.5, -1} {
			key := seed{}.focusKey([]sampler.Token{1}, []sampler.Focus{{Words: w, Strength: strength}})
			name := fmt.Sprint(list, strength)
			if other, ok := seen[key]; ok {
				t.Errorf("%s and %s have one key", name, other)
			}
			seen[key] = name
		}
	}
}
