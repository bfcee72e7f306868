package cpp

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"aim/internal/testmodel"
	"aim/llama"
)

// After a shift the model goes on nearly as if it had read only what is left, whatever the format of the keys: what it understood
// of the tokens after the hole still depends on those that are gone, which makes the rest of the difference. Unshifted, the same
// row is further away.
func TestShiftKeepsTheRest(t *testing.T) {
	path := testmodel.Path(t)
	t.Run(filepath.Base(path), func(t *testing.T) {
		shiftKeepsTheRest(t, open(t), []DecoderOptions{
			{},
			{Unified: true},
			{FlashAttention: FlashOn},
			{CacheK: CacheF32},
			{CacheK: CacheQ8_0, CacheV: CacheQ8_0},
			{CacheK: CacheQ4_0, CacheV: CacheQ4_0},
			{CacheK: CacheQ8_0, FlashAttention: FlashOff},
		})
	})
	t.Run("sliding window", func(t *testing.T) {
		gemma := filepath.Join(filepath.Dir(path), testmodel.Gemma)
		if _, err := os.Stat(gemma); err != nil {
			t.Skip(err)
		}
		m, err := Load(gemma, ModelOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		shiftKeepsTheRest(t, m, []DecoderOptions{{}})
	})
}

func shiftKeepsTheRest(t *testing.T, m *Model, options []DecoderOptions) {
	tokens, err := m.Tokenize([]llama.Part{{Text: cacheText}}, true)
	if err != nil {
		t.Fatal(err)
	}
	n, keep, discard := len(tokens)-1, 8, 24
	left := append(slices.Clone(tokens[:keep]), tokens[keep+discard:]...)
	rows := func(from, to int, all bool) (list []llama.Row) {
		for pos := from; pos < to; pos++ {
			list = append(list, llama.Row{Token: tokens[pos], Pos: pos, Logits: all || pos == to-1})
		}
		return list
	}
	for _, o := range options {
		o.Context, o.Slots = 256, 2
		d := decoder(t, m, o)
		if err := d.Decode(rows(0, n, false)); err != nil {
			t.Fatal(err)
		}
		if err := d.Shift(0, keep, discard); err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		if err := d.Decode([]llama.Row{{Token: tokens[n], Pos: n - discard, Logits: true}}); err != nil {
			t.Fatal(err)
		}
		got := slices.Clone(d.Logits(0))
		fresh := cacheRows(t, m, left, o)
		far := cacheRows(t, m, tokens[keep:keep+discard], o)
		near := cacheDistanceOf([][]float32{fresh[len(fresh)-1]}, [][]float32{got}).kl
		apart := cacheDistanceOf([][]float32{fresh[len(fresh)-1]}, [][]float32{far[len(far)-1]}).kl
		t.Logf("K %v V %v flash %v: divergence %.3f from the rest alone; another text's is %.3f", o.CacheK, o.CacheV, o.FlashAttention, near, apart)
		if !(near < apart/4) {
			t.Errorf("%+v: divergence %.3f from the rest alone, and %.3f from another text", o, near, apart)
		}
	}
}

// What cannot be shifted says so instead of ending the process: keys that ggml cannot turn, and cells that another sequence shares.
func TestShiftUnsupported(t *testing.T) {
	refused := func(t *testing.T, d *Decoder, can bool) {
		t.Helper()
		rows := make([]llama.Row, 8)
		for i := range rows {
			rows[i] = llama.Row{Token: 100, Pos: i, Logits: i == 7}
		}
		if err := d.Decode(rows); err != nil {
			t.Fatal(err)
		}
		if d.opt.Slots > 1 {
			if err := d.Share(0, 1, 6); err != nil {
				t.Fatal(err)
			}
		}
		if d.CanShift() != can {
			t.Errorf("CanShift is %v", d.CanShift())
		}
		if err := d.Shift(0, 2, 2); !errors.Is(err, llama.ErrUnsupported) {
			t.Errorf("error %v", err)
		}
		if err := d.Decode([]llama.Row{{Token: 100, Pos: 8, Logits: true}}); err != nil {
			t.Error("the sequence has changed: ", err)
		}
	}
	m := open(t)
	t.Run("bf16", func(t *testing.T) { refused(t, decoder(t, m, DecoderOptions{Context: 256, CacheK: CacheBF16}), false) })
	t.Run("shared cells", func(t *testing.T) {
		refused(t, decoder(t, m, DecoderOptions{Context: 256, Slots: 2, Unified: true}), true)
	})
}
