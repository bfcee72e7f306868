package llama_test

import (
	"errors"
	"testing"
	"time"

	"aim/llama"
	"aim/llama/llamatest"
)

// TestTimesUp: who has waited for a slot as long as it wants is told so, who is past its deadline too, wherever it is, and both
// leave their places to others.
func TestTimesUp(t *testing.T) {
	g := newGate()
	e := start(t, llama.Config{Slots: 1, Queue: 3, Context: 64}, llamatest.Options{Before: g.before})
	ask := func(r llama.Request) chan error {
		ended := make(chan error, 1) // buffered: nobody need wait for it
		r.Prompt = tokens(t, "babble")
		go func() {
			var last error
			for _, err := range e.Generate(t.Context(), r) {
				last = err
			}
			ended <- last
		}()
		return ended
	}
	first := ask(llama.Request{MaxTokens: 8, Deadline: time.Now().Add(50 * time.Millisecond)})
	<-g.hits // it holds the slot, in the first decode
	queued := ask(llama.Request{MaxTokens: 1, Patience: time.Millisecond})
	late := ask(llama.Request{MaxTokens: 1, Deadline: time.Now().Add(time.Millisecond)})
	patient := ask(llama.Request{MaxTokens: 1, Patience: time.Hour, Deadline: time.Now().Add(time.Hour)})
	eventually(t, "the others wait", func() bool { return e.Stats().Queued == 3 })
	time.Sleep(60 * time.Millisecond)
	close(g.open)
	for name, c := range map[string]struct {
		ended chan error
		want  error
	}{"queued": {queued, llama.ErrQueued}, "late": {late, llama.ErrDeadline}, "running": {first, llama.ErrDeadline}, "patient": {patient, nil}} {
		if err := <-c.ended; !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
