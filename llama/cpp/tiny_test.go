package cpp

import (
	"errors"
	"math"
	"slices"
	"testing"

	"aim/internal/testmodel"
	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// tiny loads a model that was made for the test.
func tiny(t testing.TB, g *testmodel.GGUF) *Model {
	t.Helper()
	m, err := Load(g.Write(t), ModelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// The contract holds for models whose cache is of another kind than that of the real ones, with adapters and without.
func TestTinyContracts(t *testing.T) {
	for name, g := range map[string]*testmodel.GGUF{
		"llama": testmodel.TinyLlama(1), "mamba": testmodel.TinyMamba(2), "hybrid": testmodel.TinyHybrid(3),
	} {
		t.Run(name, func(t *testing.T) {
			m := tiny(t, g)
			if err := m.LoadAdapters([]Adapters{{}, {ControlVectors: []AdapterFile{{testmodel.ControlVector(g, 1, 2).Write(t), 1}}}}); err != nil {
				t.Fatal(err)
			}
			llamatest.Run(t, llamatest.Driver{
				Model: m,
				Open: func(t testing.TB, slots, context, batch int) llama.Decoder {
					return decoder(t, m, DecoderOptions{Slots: slots, Context: context, Batch: batch})
				},
				Tolerance: 0.05, // of logits with a standard deviation of 6; keys and values are kept in 16 bits
			})
		})
	}
}

// A state of constant size cannot be taken back, and the driver says so instead of going on with a wrong one.
func TestRecurrentForget(t *testing.T) {
	for name, g := range map[string]*testmodel.GGUF{"mamba": testmodel.TinyMamba(2), "hybrid": testmodel.TinyHybrid(3)} {
		t.Run(name, func(t *testing.T) {
			m := tiny(t, g)
			d := decoder(t, m, DecoderOptions{Slots: 2, Context: 64, Batch: 64})
			history := []sampler.Token{65, 66, 67, 68, 69, 70}
			want := after(t, d, 1, history...)
			after(t, d, 0, history[:5]...)
			for _, from := range []int{1, 4} {
				if err := d.Forget(0, from); !errors.Is(err, llama.ErrUnsupported) {
					t.Errorf("Forget(0, %d) of five tokens: error %v", from, err)
				}
			}
			if err := d.Forget(0, 5); err != nil { // there is nothing to forget
				t.Error(err)
			}
			if err := d.Decode([]llama.Row{{Token: history[5], Seq: 0, Pos: 5, Logits: true}}); err != nil {
				t.Fatal(err)
			}
			if d := apart(d.Logits(0), want); d > 0.05 {
				t.Errorf("after what could not be forgotten the next row differs by %g", d)
			}
		})
	}
}

// after is the row of logits after tokens in an empty sequence.
func after(t *testing.T, d *Decoder, seq int, tokens ...sampler.Token) []float32 {
	t.Helper()
	if err := d.Forget(seq, 0); err != nil {
		t.Fatal(err)
	}
	rows := make([]llama.Row, len(tokens))
	for i, tok := range tokens {
		rows[i] = llama.Row{Token: tok, Seq: seq, Pos: i, Logits: i == len(tokens)-1}
	}
	if err := d.Decode(rows); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(d.Logits(len(rows) - 1))
}

// apart is the largest difference of two rows.
func apart(a, b []float32) (worst float64) {
	for i := range a {
		worst = math.Max(worst, math.Abs(float64(a[i])-float64(b[i])))
	}
	return worst
}
