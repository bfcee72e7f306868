package llama_test

import (
	"context"
	"testing"
	"time"

	"aim/llama"
	"aim/llama/llamatest"
)

// TestStalled: a decode that does not end is seen from outside, and one that does is over.
func TestStalled(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	first := true
	dec := llamatest.NewDecoder(fake, llamatest.Options{Before: func([]llama.Row) error {
		if first {
			first = false
			close(began)
			<-release
		}
		return nil
	}})
	e := llama.New(fake, dec, llama.Config{})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1) // one send
	go func() { ended <- e.Run(ctx) }()

	if d := e.Stalled(time.Now().Add(time.Hour)); d != 0 {
		t.Errorf("an idle engine is stalled for %v", d)
	}
	answered := make(chan error, 1) // one send
	go func() {
		var last error
		for _, err := range e.Generate(ctx, llama.Request{Prompt: tokens(t, "a"), MaxTokens: 2}) {
			last = err
		}
		answered <- last
	}()
	<-began
	if d := e.Stalled(time.Now().Add(time.Hour)); d < time.Hour-time.Minute || d > time.Hour+time.Minute {
		t.Errorf("after an hour of one decode it is stalled for %v", d)
	}
	if d := e.Stalled(time.Now().Add(-time.Hour)); d != 0 {
		t.Errorf("before the decode it is stalled for %v", d)
	}
	close(release)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if d := e.Stalled(time.Now().Add(time.Hour)); d != 0 {
		t.Errorf("an engine that has ended is stalled for %v", d)
	}
}
