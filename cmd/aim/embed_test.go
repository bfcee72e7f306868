package main

import (
	"errors"
	"sync"
	"testing"

	"aim/internal/testmodel"
	"aim/llama"
	"aim/llama/cpp"
	"aim/sampler"
)

// TestEmbedderCloses: whoever asks for vectors while a server ends gets them, or hears that it does; nobody uses what is freed.
func TestEmbedderCloses(t *testing.T) {
	m, err := cpp.Load(testmodel.Path(t), cpp.ModelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	idle := &engine{Engine: llama.New(m, nil, llama.Config{}), vectors: []*embedder{{model: m, threads: 1}}}
	if !idle.idle() {
		t.Error("an engine without work is not idle")
	}
	idle.vectors[0].running.Add(1)
	if idle.idle() {
		t.Error("an engine whose embedder is at work is idle")
	}
	for range 3 {
		e := &embedder{model: m, threads: 1}
		var asking sync.WaitGroup
		for range 2 {
			asking.Go(func() {
				v, err := e.Embed(t.Context(), [][]sampler.Token{{1, 2, 3}})
				if !errors.Is(err, llama.ErrClosed) && (err != nil || len(v) != 1) {
					t.Errorf("%d vectors, error %v", len(v), err)
				}
			})
		}
		e.close()
		if _, err := e.Embed(t.Context(), [][]sampler.Token{{1}}); !errors.Is(err, llama.ErrClosed) {
			t.Errorf("after the end: error %v", err)
		}
		asking.Wait()
	}
	used := &embedder{model: m, threads: 1}
	size := used.Dimensions()
	used.close()
	m.Close()
	if got := used.Dimensions(); got != size || size < 1 {
		t.Errorf("%d dimensions, after the model is gone %d", size, got)
	}
}
