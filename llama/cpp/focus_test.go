package cpp

import (
	"os"
	"strings"
	"testing"

	"aim/internal/eval"
	"aim/internal/words"
	"aim/llama"
	"aim/sampler"
)

// ownTopics reads the project's own prompts and topics.
func ownTopics(t testing.TB) *eval.FocusSet {
	t.Helper()
	f, err := os.Open("../../internal/eval/testdata/topics.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	set, err := eval.ReadFocusSet(f)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestFocusOnWords: on the real model, words come in at strength 1 and more often than at ½, which costs less; and words of the
// plain answers stay out at −1. The counters agree with the text.
func TestFocusOnWords(t *testing.T) {
	m := open(t)
	e, prompt := spanEngine(t, m, 16)
	set := ownTopics(t)
	answers := func(strength float64) []eval.Tried {
		focus := func(list []string) (sampler.Params, error) {
			w, err := e.Lexicon().Words(list)
			return sampler.Params{Focus: []sampler.Focus{{Words: w, Strength: strength}}}, err
		}
		tries, err := set.Lexical(2, 6, prompt, focus, 64)
		if err != nil {
			t.Fatal(err)
		}
		got, err := eval.Answer(t.Context(), e, tries, nil)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	plain, half, full := answers(0), answers(0.5), answers(1)
	rows := []eval.FocusRow{
		eval.Judge("lexical", "lexical", 0, plain, plain), eval.Judge("lexical", "lexical", 0.5, half, plain), eval.Judge("lexical", "lexical", 1, full, plain),
	}
	for i, row := range rows {
		t.Logf("strength %g: include %.2f, rate %.4f, ppl ratio %.2f, d2 %.2f", row.Strength, row.Include, row.Rate, row.PPLRatio, row.D2)
		if i > 0 && (row.Rate < rows[i-1].Rate || row.Include < rows[i-1].Include) {
			t.Errorf("strength %g has fewer hits than %g", row.Strength, rows[i-1].Strength)
		}
	}
	if last := rows[2]; last.Include < 0.75 || last.PPLRatio > 1.6 {
		t.Errorf("strength 1: %+v", last.FocusFigures)
	}
}

// TestWordsKeptOut: the commonest words of the plain answers do not come at strength −1, by any cut.
func TestWordsKeptOut(t *testing.T) {
	m := open(t)
	e, prompt := spanEngine(t, m, 16)
	for _, text := range ownTopics(t).Prompts[:2] {
		tokens, err := prompt(text)
		if err != nil {
			t.Fatal(err)
		}
		said := func(p sampler.Params) string {
			var b strings.Builder
			for d, err := range e.Generate(t.Context(), llama.Request{Prompt: tokens, MaxTokens: 64, Params: p}) {
				if err != nil {
					t.Fatal(err)
				}
				b.WriteString(d.Text)
			}
			return b.String()
		}
		longest := strings.Fields(said(sampler.Params{}))
		var list []string
		for _, word := range longest {
			if word = strings.Trim(word, `.,:;!?"'()*`); len(word) >= 3 && len(list) < 12 {
				list = append(list, word)
			}
		}
		set, err := words.New(list)
		if err != nil {
			t.Fatal(err)
		}
		w, err := e.Lexicon().Words(list)
		if err != nil {
			t.Fatal(err)
		}
		answer := said(sampler.Params{Focus: []sampler.Focus{{Words: w, Strength: -1}}})
		if n := set.Count(answer); n != 0 || answer == "" {
			t.Errorf("%q without %q: %d hits in %q", text, list, n, answer)
		}
	}
}
