package cpp

import (
	"context"
	"math"
	"strings"
	"testing"

	"aim/llama"
	"aim/sampler"
)

// running returns an engine over a decoder of the real model's that runs until the test ends.
func running(t *testing.T, m *Model, cfg llama.Config) *llama.Engine {
	t.Helper()
	e := llama.New(m, decoder(t, m, DecoderOptions{Slots: cfg.Slots, Context: cfg.Context, Batch: cfg.Batch}), cfg)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return e
}

// TestScoresAreTheModels: without modulation the scores of a prompt are the log-softmax of the rows that llama.cpp computes for it one
// by one.
func TestScoresAreTheModels(t *testing.T) {
	m := open(t)
	const context = 256
	prompt, err := m.Tokenize([]llama.Part{{Text: strings.Repeat("The cat sat on the mat, and the dog ran off with 42 of its fish. ", 6)}}, true)
	if err != nil {
		t.Fatal(err)
	}
	e := running(t, m, llama.Config{Slots: 2, Context: context, Batch: 64, ScoreRows: 37})
	request := llama.Request{Prompt: prompt, ScorePrompt: true, NoAnswer: true, Params: sampler.Params{Logprobs: true, TopLogprobs: 3}}
	var got []llama.Sampled
	for d, err := range e.Generate(t.Context(), request) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, d.Prompt...)
		if d.Finish != llama.FinishLength || d.Usage.CompletionTokens != 0 || d.Text != "" {
			t.Errorf("delta %+v", d)
		}
	}
	if len(got) != len(prompt) {
		t.Fatalf("%d scores of %d tokens", len(got), len(prompt))
	}
	dec := decoder(t, m, DecoderOptions{Slots: 1, Context: context, Batch: 1})
	worst, sum := 0.0, 0.0
	for i, tok := range prompt[:len(prompt)-1] {
		if err := dec.Decode([]llama.Row{{Token: tok, Pos: i, Logits: true}}); err != nil {
			t.Fatal(err)
		}
		row, s := dec.Logits(0), got[i+1]
		norm := 0.0
		for _, z := range row {
			norm += math.Exp(float64(z) - float64(row[s.Token]))
		}
		worst = max(worst, math.Abs(s.Logprob+math.Log(norm)))
		sum += s.Logprob
		if s.Token != prompt[i+1] || len(s.Top) != 3 || !(s.Top[0].Logprob >= s.Logprob) {
			t.Errorf("score %d is %+v", i+1, s)
		}
	}
	t.Logf("%d tokens: log-probability %.2f, scores differ by at most %.3g", len(prompt), sum, worst)
	if !(worst <= 0.02) {
		t.Errorf("scores differ from llama.cpp's rows by up to %g, want at most 0.02", worst)
	}
}
