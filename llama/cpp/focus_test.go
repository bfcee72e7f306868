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

// TestFocusOnWords: on the real model, words come in at strength 1 that the plain answers have not, at a bearable price.
func TestFocusOnWords(t *testing.T) {
	m := open(t)
	e, prompt := spanEngine(t, m, 16)
	set := ownTopics(t)
	const prompts, topics, length = 2, 6, 64
	answers := func(topics int, strength float64) []eval.Tried {
		tries, err := set.Lexical(prompts, topics, prompt, func(list []string) (sampler.Params, error) {
			w, err := e.Lexicon().Words(list)
			return sampler.Params{Focus: []sampler.Focus{{Words: w, Strength: strength}}}, err
		}, length)
		if err != nil {
			t.Fatal(err)
		}
		got, err := eval.Answer(t.Context(), e, tries, nil)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	var plain []eval.Tried
	for _, a := range answers(1, 0) { // one for all topics
		for _, topic := range set.Topics[:topics] {
			a.Hits = eval.Hits(a.Text, topic.Words)
			plain = append(plain, a)
		}
	}
	without, with := eval.Judge("none", "lexical", 0, plain, plain), eval.Judge("lexical", "lexical", 1, answers(topics, 1), plain)
	t.Logf("include %.2f and %.2f, ppl ratio %.2f", without.Include, with.Include, with.PPLRatio)
	if without.Include > 0.3 || with.Include < 0.7 || with.PPLRatio > 1.6 {
		t.Errorf("without %+v, with %+v", without.FocusFigures, with.FocusFigures)
	}
}

// TestWordsKeptOut: a dozen words of a plain answer do not come at strength −1, by any cut.
func TestWordsKeptOut(t *testing.T) {
	m := open(t)
	e, prompt := spanEngine(t, m, 16)
	for _, text := range ownTopics(t).Prompts[:1] {
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
		spoken := strings.Fields(said(sampler.Params{}))
		var list []string
		for _, word := range spoken {
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
