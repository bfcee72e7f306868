package sampler

import (
	"errors"
	"slices"
	"testing"
)

// TestScoreIsSampleForAGivenToken: stages 1 to 5 and the log-probabilities are those of Sample, and no draw is consumed.
func TestScoreIsSampleForAGivenToken(t *testing.T) {
	const vocab = 500
	p := Params{
		Utility: Utility{Sigma: 1.5, Key: Key{1}}, Bias: map[Token]float64{3: 2}, PresencePenalty: 0.5, FrequencyPenalty: 0.25,
		Temperature: 0.8, TopK: 50, TopP: 0.9, Seed: 4, Logprobs: true, TopLogprobs: 5,
	}
	newSampler := func() *Sampler {
		t.Helper()
		s, err := New(p, vocab)
		if err != nil {
			t.Fatal(err)
		}
		s.Prime([]Token{1, 2, 3})
		return s
	}
	sampled, scored := newSampler(), newSampler()
	row := make([]float32, vocab)
	for step := range 20 {
		for i := range row {
			row[i] = float32((i*7919+step*104729)%1000) / 100
		}
		other := slices.Clone(row)
		want, err := sampled.Sample(row)
		if err != nil {
			t.Fatal(err)
		}
		got, err := scored.Score(other, want.Token)
		if err != nil {
			t.Fatal(err)
		}
		if got.Token != want.Token || got.Logprob != want.Logprob || !slices.Equal(got.Top, want.Top) {
			t.Fatalf("step %d: Score %+v, Sample %+v", step, got, want)
		}
		sampled.Accept(want.Token)
		scored.Accept(want.Token)
	}
}

func TestScoreDrawsNothing(t *testing.T) {
	p := Params{Temperature: 1, Seed: 9}
	a, errA := New(p, 8)
	b, errB := New(p, 8)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	for range 5 {
		if c, err := a.Score(make([]float32, 8), 3); err != nil || c.Token != 3 {
			t.Fatal(c, err)
		}
	}
	for range 100 {
		x, errX := a.Sample(make([]float32, 8))
		y, errY := b.Sample(make([]float32, 8))
		if errX != nil || errY != nil || x.Token != y.Token {
			t.Fatalf("after five scores %v (%v), without %v (%v)", x.Token, errX, y.Token, errY)
		}
	}
	row := make([]float32, 8)
	if n := testing.AllocsPerRun(100, func() { _, _ = a.Score(row, 3) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if _, err := a.Score(row[:7], 3); !errors.Is(err, ErrRowLength) {
		t.Errorf("a short row: %v", err)
	}
}

// TestScorePromptRowByRow: a prompt that is told token by token, each after the row that predicts it was scored, is to penalties and
// noise what a prompt told at once is: what follows has the same rows, and its tokens count as prompt, not as answer.
func TestScorePromptRowByRow(t *testing.T) {
	const vocab = 300
	p := Params{
		Utility:         Utility{Sigma: 1, Key: Key{1}},
		PresencePenalty: 1, FrequencyPenalty: 0.5, RepeatPenalty: 1.5, DRY: DRY{Multiplier: 2, LastN: -1},
		Temperature: 1, TopK: 20, Seed: 4, Logprobs: true, TopLogprobs: 3,
	}
	prompt := []Token{1, 2, 3, 1, 2, 3, 1, 2}
	whole, stepwise := mustNew(t, p, vocab), mustNew(t, p, vocab)
	whole.Prime(prompt)
	stepwise.Prime(prompt[:1])
	for i := 1; i < len(prompt); i++ {
		// The row is what a sampler that knows the tokens before as its prompt makes of it.
		fresh := mustNew(t, p, vocab)
		fresh.Prime(prompt[:i])
		row := testRow(uint64(i), vocab)
		want, err := fresh.Score(slices.Clone(row), prompt[i])
		if err != nil {
			t.Fatal(err)
		}
		got, err := stepwise.Score(row, prompt[i])
		if err != nil {
			t.Fatal(err)
		}
		if got.Logprob != want.Logprob || !slices.Equal(got.Top, want.Top) {
			t.Fatalf("token %d of the prompt has %+v, want %+v", i, got, want)
		}
		if !sameBits(stepwise.view.all(), fresh.view.all()) {
			t.Fatalf("token %d of the prompt has another row", i)
		}
		stepwise.Prime(prompt[i : i+1])
	}
	if stepwise.answered != 0 || len(stepwise.penalties.answer.members) != 0 {
		t.Errorf("the prompt counts as an answer of %d tokens", stepwise.answered)
	}
	for step := range 20 {
		row := testRow(uint64(100+step), vocab)
		a, b := mustSample(t, whole, slices.Clone(row)), mustSample(t, stepwise, row)
		if a.Token != b.Token || a.Logprob != b.Logprob {
			t.Fatalf("step %d: %d with %g after a prompt told row by row, else %d with %g", step, b.Token, b.Logprob, a.Token, a.Logprob)
		}
		whole.Accept(a.Token)
		stepwise.Accept(a.Token)
	}
}
