package llama_test

import (
	"slices"
	"testing"

	"aim/llama"
	"aim/llama/llamatest"
)

// TestSlots: the slots that answers hold are told, with their tokens, and no others.
func TestSlots(t *testing.T) {
	g := newGate()
	e := start(t, llama.Config{Slots: 3, Context: 256, Batch: 4, Queue: 2}, llamatest.Options{Before: g.before})
	if got := e.Slots(); !slices.Equal(got, make([]llama.SlotStats, 3)) {
		t.Errorf("before any request: %+v", got)
	}
	prompt := tokens(t, "abcdefgh")
	done := make(chan result, 1)
	go func() { done <- generate(t.Context(), e, llama.Request{Prompt: prompt, MaxTokens: 40}) }()
	<-g.hits
	if got := e.Slots(); !slices.Equal(got, []llama.SlotStats{{Busy: true, Prompt: len(prompt)}, {}, {}}) {
		t.Errorf("in the first decode of a prompt of %d: %+v", len(prompt), got)
	}
	g.open <- struct{}{}
	<-g.hits
	if got := e.Slots()[0]; got.Cached != 4 || got.Completion != 0 {
		t.Errorf("after a batch of 4: %+v", got)
	}
	for range 5 {
		g.open <- struct{}{}
		<-g.hits
	}
	if got := e.Slots()[0]; got.Completion < 2 || got.Cached != len(prompt)+got.Completion-1 {
		t.Errorf("in the answer: %+v", got)
	}
	close(g.open)
	if got := <-done; got.err != nil {
		t.Fatal(got.err)
	}
	if got := e.Slots(); got[0].Busy || got[0].Prompt != 0 || got[0].Cached < len(prompt) || got[1] != (llama.SlotStats{}) {
		t.Errorf("after the end: %+v", got)
	}
}
