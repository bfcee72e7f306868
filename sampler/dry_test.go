package sampler

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// dryReference is DRY by the book: for each token of the window, how long the sequence before it is that also ends the window.
func dryReference(d DRY, tokens []Token, vocab int) (penalties []float64) {
	penalties = make([]float64, vocab)
	if d.LastN >= 0 {
		tokens = tokens[max(0, len(tokens)-d.LastN):]
	}
	limit := 0 // tokens after the last breaker
	for limit < len(tokens) && !breaks(d, tokens[len(tokens)-limit-1:]) {
		limit++
	}
	if limit < len(tokens) {
		limit -= longestBreaker(d, tokens[len(tokens)-limit-1:]) - 1
	}
	longest := make([]int, vocab)
	for i, next := range tokens {
		n := 0
		for n < i && n < limit && tokens[i-1-n] == tokens[len(tokens)-1-n] {
			n++
		}
		longest[next] = max(longest[next], n)
	}
	for t, n := range longest {
		if n >= d.AllowedLength && !slices.ContainsFunc(d.Breakers, func(b []Token) bool { return len(b) == 1 && b[0] == Token(t) }) {
			penalties[t] = d.Multiplier * math.Pow(d.Base, float64(n-d.AllowedLength))
		}
	}
	return penalties
}

func breaks(d DRY, tokens []Token) bool { return longestBreaker(d, tokens) > 0 }

// longestBreaker is the length of the longest breaker that tokens begin with.
func longestBreaker(d DRY, tokens []Token) (n int) {
	for _, b := range d.Breakers {
		if len(b) > n && len(b) <= len(tokens) && slices.Equal(b, tokens[:len(b)]) {
			n = len(b)
		}
	}
	return n
}

// TestDRYIsTheTextbook on texts of few different tokens, so that much is repeated, in windows, with breakers.
func TestDRYIsTheTextbook(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	lowered := 0
	for round := range sampleSize(5000) {
		vocab := 2 + rng.IntN(4)
		d := DRY{Multiplier: 0.5, Base: 1 + rng.Float64(), AllowedLength: 1 + rng.IntN(3), LastN: rng.IntN(80) - 1}
		for range rng.IntN(3) {
			b := make([]Token, 1+rng.IntN(3))
			for i := range b {
				b[i] = Token(rng.IntN(vocab))
			}
			d.Breakers = append(d.Breakers, b)
		}
		s := mustNew(t, Params{DRY: d, Logprobs: true}, vocab)
		tokens := make([]Token, rng.IntN(60))
		for i := range tokens {
			tokens[i] = Token(rng.IntN(vocab))
		}
		at := len(tokens) / 2
		s.Prime(tokens[:at])
		for _, token := range tokens[at:] {
			s.Accept(token)
		}
		row, want := make([]float32, vocab), dryReference(d, tokens, vocab)
		if d.LastN == 0 {
			clear(want)
		}
		mustSample(t, s, row)
		for i, z := range row {
			if !near(float64(z), -want[i], 1e-5*(1+want[i])) {
				t.Fatalf("round %d, %+v after %v: the row is %v, want -%v", round, d, tokens, row, want)
			}
			if z < 0 {
				lowered++
			}
		}
	}
	t.Logf("%d logits were lowered", lowered)
	if lowered < 100 {
		t.Error("next to nothing is repeated, so the test shows nothing")
	}
}

// TestDRYByHand is the example of the proposal: after "a b c ... a b", c has a match of two.
func TestDRYByHand(t *testing.T) {
	text := []Token{0, 1, 2, 3, 0, 1}
	for _, c := range []struct {
		name string
		d    DRY
		want []float32
	}{
		{"a match as long as allowed costs the multiplier", DRY{Multiplier: 3, LastN: -1}, []float32{0, 0, -3, 0}},
		{"one longer costs the base more", DRY{Multiplier: 3, Base: 2, AllowedLength: 1, LastN: -1}, []float32{0, 0, -6, 0}},
		{"a window that the first match leaves", DRY{Multiplier: 3, LastN: 4}, []float32{0, 0, 0, 0}},
		{"a breaker between the two", DRY{Multiplier: 3, LastN: -1, Breakers: [][]Token{{3}}}, []float32{0, 0, -3, 0}},
		{"a breaker inside the match", DRY{Multiplier: 3, LastN: -1, Breakers: [][]Token{{0}}}, []float32{0, 0, 0, 0}},
		{"a breaker of two tokens", DRY{Multiplier: 3, LastN: -1, Breakers: [][]Token{{0, 1}}}, []float32{0, 0, 0, 0}},
		{"a token that is a breaker is spared", DRY{Multiplier: 3, LastN: -1, Breakers: [][]Token{{2}}}, []float32{0, 0, 0, 0}},
		{"none are looked at", DRY{Multiplier: 3}, []float32{0, 0, 0, 0}},
	} {
		s := mustNew(t, Params{DRY: c.d, Logprobs: true}, 4)
		s.Prime(text)
		row := make([]float32, 4)
		mustSample(t, s, row)
		if !slices.Equal(row, c.want) {
			t.Errorf("%s: %v, want %v", c.name, row, c.want)
		}
	}
}

// TestDRYStaysFinite however long the repetition is; and a forbidden token stays forbidden.
func TestDRYStaysFinite(t *testing.T) {
	s := mustNew(t, Params{DRY: DRY{Multiplier: 100, Base: 100, LastN: -1}, Logprobs: true}, 3)
	s.Prime(make([]Token, maxDRYWindow+5))
	row := []float32{1, 0, negInf}
	if c := mustSample(t, s, row); c.Token != 1 || row[0] != -math.MaxFloat32 || row[2] != negInf {
		t.Errorf("chose %d from %v", c.Token, row)
	}
	s = mustNew(t, Params{DRY: DRY{Multiplier: 1, LastN: -1}, Logprobs: true}, 3)
	s.Prime([]Token{2, 2, 2, 2, 7, -1, 2, 2}) // a prompt may hold tokens without a logit
	row = []float32{0, -1, negInf}
	if c := mustSample(t, s, row); c.Token != 0 || row[2] != negInf {
		t.Errorf("chose %d from %v", c.Token, row)
	}
}
