package main

import (
	"context"
	"math"
	"sync"
	"sync/atomic"

	"aim/llama"
	"aim/llama/cpp"
	"aim/sampler"
)

// embedder is a [llama.Embedder] whose context is made when it is first needed, since it takes memory that most servers have
// better use for.
type embedder struct {
	once    sync.Once
	model   *cpp.Model
	threads int
	set     llama.AdapterSet
	made    *cpp.Embedder // nil until then, and where it failed
	err     error
	// running counts the calls of Embed, for which a server that ends waits.
	running atomic.Int64
}

func (e *embedder) make() (*cpp.Embedder, error) {
	e.once.Do(func() { e.made, e.err = e.model.NewEmbedder(cpp.EmbedderOptions{Threads: e.threads, Adapters: e.set}) })
	return e.made, e.err
}

// Embed implements [llama.Embedder].
func (e *embedder) Embed(ctx context.Context, inputs [][]sampler.Token) ([][]float32, error) {
	e.running.Add(1)
	defer e.running.Add(-1)
	made, err := e.make()
	if err != nil {
		return nil, err
	}
	return made.Embed(ctx, inputs)
}

// Dimensions implements [llama.Embedder].
func (e *embedder) Dimensions() int {
	if made, err := e.make(); err == nil {
		return made.Dimensions()
	}
	return math.MaxInt // so that it is Embed that tells
}

// Context implements [llama.Embedder].
func (e *embedder) Context() int {
	if made, err := e.make(); err == nil {
		return made.Context()
	}
	return math.MaxInt
}

// close frees the context once nobody computes; who asks later gets [llama.ErrClosed].
func (e *embedder) close() {
	e.once.Do(func() { e.err = llama.ErrClosed }) // waits for a context in the making, and lets no other be made
	if e.made != nil {
		e.made.Close()
	}
}
