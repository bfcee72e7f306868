package llamatest

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"aim/llama"
	"aim/sampler"
)

// Embedder is a fake that counts tokens: texts with the same words are near each other. It implements [llama.Embedder].
type Embedder struct {
	model *Model
	// Before runs at the start of each Embed: to watch, to delay, or to fail it. It may be nil.
	Before func(inputs [][]sampler.Token) error
}

var _ llama.Embedder = (*Embedder)(nil)

// NewEmbedder returns a fake embedder for m.
func NewEmbedder(m *Model) *Embedder { return &Embedder{model: m} }

// Dimensions implements [llama.Embedder].
func (e *Embedder) Dimensions() int { return 64 }

// Context implements [llama.Embedder].
func (e *Embedder) Context() int { return 256 }

// Embed implements [llama.Embedder].
func (e *Embedder) Embed(ctx context.Context, inputs [][]sampler.Token) ([][]float32, error) {
	for _, input := range inputs {
		if err := llama.CheckInput(e, e.model, input); err != nil {
			return nil, err
		}
	}
	if e.Before != nil {
		if err := e.Before(inputs); err != nil {
			return nil, err
		}
	}
	vectors := make([][]float32, 0, len(inputs))
	for _, input := range inputs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		v := make([]float32, e.Dimensions())
		for _, t := range input {
			v[int(t)%len(v)]++
		}
		norm := length(v)
		for i := range v {
			v[i] /= float32(norm)
		}
		vectors = append(vectors, v)
	}
	return vectors, nil
}

func length(v []float32) float64 {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum)
}

// RunEmbedder checks that an embedder over m keeps the promises of [llama.Embedder]. Tolerance is the most by which an entry may depend
// on what else is in its batch.
func RunEmbedder(t *testing.T, m llama.Model, e llama.Embedder, tolerance float64) {
	var inputs [][]sampler.Token
	for _, text := range texts {
		tokens, err := m.Tokenize([]llama.Part{{Text: text}}, true)
		if err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, tokens)
	}
	inputs = append(inputs, slices.Repeat(inputs[0], e.Context())[:e.Context()])
	together, err := e.Embed(t.Context(), inputs)
	if err != nil || len(together) != len(inputs) {
		t.Fatalf("%d vectors of %d inputs, error %v", len(together), len(inputs), err)
	}
	for i, input := range inputs {
		alone, err := e.Embed(t.Context(), [][]sampler.Token{input})
		if err != nil || len(alone) != 1 {
			t.Fatalf("input %d: %d vectors, error %v", i, len(alone), err)
		}
		if n := length(together[i]); len(together[i]) != e.Dimensions() || !(math.Abs(n-1) < 1e-5) {
			t.Errorf("input %d: a vector of %d entries and length %g", i, len(together[i]), n)
		}
		if d := distance(alone[0], together[i]); !(d <= tolerance) {
			t.Errorf("input %d: alone and in company it differs by %g, tolerance %g", i, d, tolerance)
		}
		if i > 0 && !(distance(alone[0], together[0]) > 2*tolerance) {
			t.Errorf("inputs 0 and %d have the same vector", i)
		}
	}
	if got, err := e.Embed(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("no inputs: %d vectors, error %v", len(got), err)
	}
	for name, bad := range map[string][]sampler.Token{
		"empty": {}, "too long": make([]sampler.Token, e.Context()+1), "token -1": {-1}, "token beyond the last": {sampler.Token(m.Vocab())},
	} {
		var domain *sampler.DomainError
		if _, err := e.Embed(t.Context(), [][]sampler.Token{inputs[0], bad}); !errors.As(err, &domain) || domain.Param != "input" {
			t.Errorf("%s: error %v", name, err)
		}
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, err := e.Embed(gone, inputs); !errors.Is(err, context.Canceled) {
		t.Errorf("for somebody who left: error %v", err)
	}
}
