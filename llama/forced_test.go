package llama_test

import (
	"errors"
	"slices"
	"testing"

	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// witness records what an observer is told.
type witness struct {
	best   []sampler.Token // of each raw row
	chosen []sampler.Token
}

func (w *witness) Observe(raw []float32) {
	w.best = append(w.best, sampler.Token(slices.Index(raw, slices.Max(raw))))
}
func (w *witness) Accept(t sampler.Token) { w.chosen = append(w.chosen, t) }

func TestForcedBeginsTheAnswer(t *testing.T) {
	e := start(t, llama.Config{Slots: 2, Context: 256}, llamatest.Options{})
	prompt := tokens(t, "once")
	forced := tokens(t, " upon a time")[1:] // without the token before a prompt
	w := &witness{}
	got := generate(t.Context(), e, llama.Request{Prompt: prompt, Forced: forced, MaxTokens: len(forced) + 8, Params: sampler.Params{
		Observer: w, Logprobs: true, TopLogprobs: 1, Utility: sampler.Utility{Sigma: 2, Key: sampler.Key{1}},
	}})
	if got.err != nil || len(got.tokens) != len(forced)+8 || !slices.Equal(got.tokens[:len(forced)], forced) {
		t.Fatalf("answer %v, error %v, want it to begin with %v", got.tokens, got.err, forced)
	}
	if !slices.Equal(w.chosen, got.tokens) || len(w.best) != len(got.tokens) {
		t.Errorf("the observer saw %d rows and the tokens %v", len(w.best), w.chosen)
	}
	// What follows the forced tokens is what follows them as a part of the prompt: the noise depends on the tokens alone.
	after := generate(t.Context(), e, llama.Request{Prompt: slices.Concat(prompt, forced), MaxTokens: 8, Params: sampler.Params{
		Utility: sampler.Utility{Sigma: 2, Key: sampler.Key{1}},
	}})
	if !slices.Equal(after.tokens, got.tokens[len(forced):]) {
		t.Errorf("after forced tokens %v, after the same in the prompt %v", got.tokens[len(forced):], after.tokens)
	}
	// Forcing what the model would say changes nothing, and the logits of both are the same.
	plain := generate(t.Context(), e, llama.Request{Prompt: prompt, MaxTokens: 8})
	again := &witness{}
	same := generate(t.Context(), e, llama.Request{Prompt: prompt, Forced: plain.tokens, MaxTokens: 8, Params: sampler.Params{Observer: again}})
	if !slices.Equal(same.tokens, plain.tokens) || !slices.Equal(again.best, plain.tokens) {
		t.Errorf("plain %v, forced %v, largest %v", plain.tokens, same.tokens, again.best)
	}
}

func TestForcedConsumesNoDraw(t *testing.T) {
	e := start(t, llama.Config{Slots: 1, Context: 256}, llamatest.Options{})
	p := sampler.Params{Temperature: 1, Seed: 7}
	forced := tokens(t, "abc")[1:]
	got := generate(t.Context(), e, llama.Request{Prompt: tokens(t, "x"), Forced: forced, MaxTokens: 9, Params: p})
	want := generate(t.Context(), e, llama.Request{Prompt: tokens(t, "xabc"), MaxTokens: 6, Params: p})
	if got.err != nil || !slices.Equal(got.tokens[3:], want.tokens) {
		t.Errorf("draws after forced tokens %v (%v), want %v", got.tokens, got.err, want.tokens)
	}
}

func TestForcedEndEndsTheAnswer(t *testing.T) {
	e := start(t, llama.Config{Slots: 1, Context: 256}, llamatest.Options{})
	got := generate(t.Context(), e, llama.Request{Prompt: tokens(t, "x"), Forced: []sampler.Token{'a', llamatest.EOS, 'b'}})
	if got.err != nil || got.text != "a" || got.finish != llama.FinishStop || got.usage.CompletionTokens != 2 {
		t.Errorf("got %+v", got)
	}
	var domain *sampler.DomainError
	bad := llama.Request{Prompt: tokens(t, "x"), Forced: []sampler.Token{sampler.Token(fake.Vocab())}}
	if got := generate(t.Context(), e, bad); !errors.As(got.err, &domain) || domain.Param != "forced" {
		t.Errorf("a token outside the vocabulary: %v", got.err)
	}
}
