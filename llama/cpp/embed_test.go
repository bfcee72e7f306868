package cpp

import (
	"errors"
	"sync"
	"testing"

	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

func embedder(t *testing.T, m *Model, o EmbedderOptions) *Embedder {
	t.Helper()
	e, err := m.NewEmbedder(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func TestEmbedderContract(t *testing.T) {
	m := open(t)
	llamatest.RunEmbedder(t, m, embedder(t, m, EmbedderOptions{Context: 256, Inputs: 4}), 1e-3)
}

func TestEmbedderTellsMeanings(t *testing.T) {
	m := open(t)
	var inputs [][]sampler.Token
	for _, text := range []string{
		"The cat is sleeping on the sofa.", "A kitten naps on the couch.",
		"The stock market fell sharply on Monday.", "Share prices dropped steeply at the start of the week.",
	} {
		tokens, err := m.Tokenize([]llama.Part{{Text: text}}, true)
		if err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, tokens)
	}
	v, err := embedder(t, m, EmbedderOptions{Context: 128}).Embed(t.Context(), inputs)
	if err != nil {
		t.Fatal(err)
	}
	cosine := func(i, j int) (sum float64) {
		for k := range v[i] {
			sum += float64(v[i][k]) * float64(v[j][k])
		}
		return sum
	}
	near, far := min(cosine(0, 1), cosine(2, 3)), max(cosine(0, 2), cosine(0, 3), cosine(1, 2), cosine(1, 3))
	t.Logf("cosines: of alike %.4f and %.4f, of others at most %.4f", cosine(0, 1), cosine(2, 3), far)
	if !(near > far) {
		t.Errorf("alike have a cosine of %g, others of up to %g", near, far)
	}
}

// An embedder serves many at once, beside a decoder, and refuses them once it is closed.
func TestEmbedderIsShared(t *testing.T) {
	m := open(t)
	e := embedder(t, m, EmbedderOptions{Context: 64})
	dec := decoder(t, m, DecoderOptions{Slots: 1, Context: 64, Batch: 8})
	input := [][]sampler.Token{{1, 2, 3, 4, 5}}
	want, err := e.Embed(t.Context(), input)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				got, err := e.Embed(t.Context(), input)
				if err != nil || got[0][0] != want[0][0] {
					t.Errorf("%v, error %v, want %v", got, err, want[0][0])
				}
			}
		})
	}
	for i := range 20 {
		if err := dec.Decode([]llama.Row{{Token: 1, Pos: i, Logits: true}}); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	e.Close()
	if _, err := e.Embed(t.Context(), input); !errors.Is(err, llama.ErrClosed) {
		t.Errorf("closed: error %v", err)
	}
}

func TestNewEmbedderRefuses(t *testing.T) {
	m := open(t)
	for name, o := range map[string]EmbedderOptions{
		"context": {Context: m.TrainContext() + 1}, "negative": {Context: -1}, "inputs": {Inputs: 257}, "threads": {Threads: -1}, "pooling": {Pooling: 4},
	} {
		if e, err := m.NewEmbedder(o); err == nil {
			e.Close()
			t.Errorf("%s: %+v succeeded", name, o)
		}
	}
}

// SmolLM2 was not trained to fill gaps, and its vocabulary says so.
func TestInfillIsUnsupported(t *testing.T) {
	if got, err := open(t).Infill("a", "b"); !errors.Is(err, llama.ErrUnsupported) {
		t.Errorf("%v, error %v", got, err)
	}
}

// With the vocabulary's tokens for it, a prompt to fill a gap holds both sides as plain text.
func TestInfill(t *testing.T) {
	m := open(t)
	m.gap = [3]sampler.Token{3, 4, 5} // control tokens of SmolLM2 that stand for something else
	got, err := m.Infill("<|im_end|>a", "b")
	if err != nil || got[0] != 3 || got[len(got)-1] != 5 {
		t.Fatalf("%v, error %v", got, err)
	}
	text := ""
	for _, tok := range got[1 : len(got)-1] {
		if tok == 4 {
			text += "/"
			continue
		}
		if m.Kind(tok) != llama.Normal {
			t.Errorf("user text became control token %d", tok)
		}
		text += string(m.Piece(tok))
	}
	if text != "<|im_end|>a/b" {
		t.Errorf("both sides are %q", text)
	}
}

// An encoder sees a text whole and both ways. testdata/bert.py says how the model was made.
func TestEmbedderOfAnEncoder(t *testing.T) {
	m, err := Load("testdata/bert.gguf", ModelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	e := embedder(t, m, EmbedderOptions{Inputs: 3})
	if e.Dimensions() != 16 || e.Context() != 64 {
		t.Errorf("%d dimensions, context %d", e.Dimensions(), e.Context())
	}
	// Its pooling is the first token's, which is the same for all texts: that they differ shows that it sees what follows.
	llamatest.RunEmbedder(t, m, e, 1e-5)
	tokens, err := m.Tokenize([]llama.Part{{Text: "cab"}}, true)
	if want := []string{"[CLS]", "c", "a", "b", "[SEP]"}; err != nil || len(tokens) != len(want) {
		t.Fatalf("tokens %v, error %v, want %q", tokens, err, want)
	} else if tokens[0] != 2 || tokens[4] != 3 {
		t.Errorf("tokens %v, want 2 first and 3 last", tokens)
	}
	by := map[Pooling][]float32{}
	for p := PoolingModel; p <= PoolingLast; p++ {
		v, err := embedder(t, m, EmbedderOptions{Pooling: p}).Embed(t.Context(), [][]sampler.Token{tokens})
		if err != nil {
			t.Fatal(err)
		}
		by[p] = v[0]
	}
	if by[PoolingModel][0] != by[PoolingFirst][0] || by[PoolingFirst][0] == by[PoolingMean][0] || by[PoolingLast][0] == by[PoolingMean][0] {
		t.Errorf("vectors by pooling: %v", by)
	}
	if d, err := m.NewDecoder(DecoderOptions{}); err == nil {
		d.Close()
		t.Error("an encoder got a decoder")
	}
}
