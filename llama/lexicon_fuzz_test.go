package llama

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"aim/internal/words"
	"aim/sampler"
)

// FuzzKeptOut: at strength −1 no sampler ever writes a word, over a vocabulary of all short pieces of the word and its
// neighbours, bytes of characters included, and rows that leave everything to chance.
func FuzzKeptOut(f *testing.F) {
	f.Add("ab", uint64(1))
	f.Add("a b", uint64(2))
	f.Add("é", uint64(3))
	f.Add("aa", uint64(4))
	f.Add("Ab-", uint64(5))
	f.Fuzz(func(t *testing.T, word string, seed uint64) {
		word = strings.TrimSpace(word)
		set, err := words.New([]string{word})
		if err != nil || len(word) > 12 || !utf8.ValidString(word) {
			t.Skip()
		}
		var v vocabulary
		for _, form := range []string{word, " " + words.Capitalize(word) + " x,"} {
			for from := range len(form) {
				for to := from + 1; to <= min(len(form), from+4); to++ {
					v = append(v, form[from:to])
				}
			}
		}
		v = append(v, "end")
		w, err := NewLexicon(v).Words([]string{word})
		if err != nil {
			t.Fatal(err)
		}
		s, err := sampler.New(sampler.Params{Temperature: 1, Seed: seed, Focus: []sampler.Focus{{Words: w, Strength: -1}}}, len(v))
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(seed, 0))
		row := make([]float32, len(v))
		text := ""
		for range 60 {
			for i := range row {
				row[i] = float32(rng.NormFloat64())
			}
			row[len(v)-1] = -100 // go on
			c, err := s.Sample(row)
			if errors.Is(err, sampler.ErrNoCandidate) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if int(c.Token) == len(v)-1 {
				return
			}
			s.Accept(c.Token)
			if text += v[c.Token]; set.Count(text) > 0 {
				t.Fatalf("%q is in %q", word, text)
			}
		}
	})
}
