package sampler

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestPenaltiesByRecount compares the tallies with penalties that look at the whole history at each step.
func TestPenaltiesByRecount(t *testing.T) {
	const vocab = 12
	rng := rand.New(rand.NewPCG(1, 0))
	for _, lastN := range []int{-1, 0, 1, 3, 7, math.MaxInt} {
		p := Params{FrequencyPenalty: 0.75, PresencePenalty: -0.5, RepeatPenalty: 1.25, RepeatLastN: lastN} // exact in binary
		s := mustNew(t, p, vocab)
		var prompt, tokens []Token
		for range 5 {
			prompt = append(prompt, Token(rng.IntN(vocab)))
		}
		s.Prime(prompt)
		for step := range 100 {
			raw := testRow(uint64(step), vocab)
			want := recount(p, raw, prompt, tokens)
			mustSample(t, s, raw)
			if !sameBits(raw, want) {
				t.Fatalf("repeat_last_n %d, step %d:\n%v, want\n%v", lastN, step, raw, want)
			}
			next := Token(rng.IntN(vocab))
			s.Accept(next)
			tokens = append(tokens, next)
		}
	}
}

func recount(p Params, raw []float32, prompt, tokens []Token) []float32 {
	row := slices.Clone(raw)
	history := append(slices.Clone(prompt), tokens...)
	switch n := p.RepeatLastN; {
	case n == 0:
		history = history[max(len(history)-64, 0):]
	case n > 0:
		history = history[max(len(history)-n, 0):]
	}
	for i := range row {
		n := 0
		for _, t := range tokens {
			if t == Token(i) {
				n++
			}
		}
		if n > 0 {
			row[i] = float32(float64(row[i]) - p.FrequencyPenalty*float64(n) - p.PresencePenalty)
		}
		if slices.Contains(history, Token(i)) {
			if row[i] > 0 {
				row[i] = float32(float64(row[i]) / p.RepeatPenalty)
			} else {
				row[i] = float32(float64(row[i]) * p.RepeatPenalty)
			}
		}
	}
	return row
}

// TestRepeatPenaltyIsOffAtOne and its zero: neither may cost a tally.
func TestRepeatPenaltyIsOffAtOne(t *testing.T) {
	for _, penalty := range []float64{0, 1} {
		s := mustNew(t, Params{RepeatPenalty: penalty}, 10)
		s.Prime([]Token{1, 2, 3})
		row := testRow(1, 10)
		mustSample(t, s, row)
		if !sameBits(row, testRow(1, 10)) || s.penalties.recent.last != nil {
			t.Errorf("repeat_penalty %g does something", penalty)
		}
	}
}

// TestTinyRepeatPenaltyStaysFinite: a caller cannot turn a sound row into a broken one.
func TestTinyRepeatPenaltyStaysFinite(t *testing.T) {
	s := mustNew(t, Params{RepeatPenalty: 1e-300, Temperature: 1, Logprobs: true}, 3)
	s.Prime([]Token{0, 1})
	if c := mustSample(t, s, []float32{5, -5, 1}); c.Token != 0 || c.Logprob != 0 {
		t.Errorf("chose %d with %g, want token 0 with certainty", c.Token, c.Logprob)
	}
}

// TestForeignTokens: a prompt may contain what has no logit, an image's placeholder, say.
func TestForeignTokens(t *testing.T) {
	s := mustNew(t, combinations()["everything"], 10)
	s.Prime([]Token{-1, 10, 1 << 30})
	mustSample(t, s, testRow(1, 10))
}
