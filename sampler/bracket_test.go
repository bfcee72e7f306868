package sampler

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestBracketIsDense: what is drawn, and from what, is that of the whole row, be it flat or steep; and as a rule the whole row is
// not needed.
func TestBracketIsDense(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 0))
	steps := 4000
	if raceEnabled {
		steps /= 20
	}
	tries, decided := 0, 0
	for range steps / 8 {
		vocab := 300 + rng.IntN(20000)
		p := Params{Temperature: 0.5 + rng.Float64(), TopP: 1 - float64(rng.IntN(2))*0.3*rng.Float64(), Seed: rng.Uint64()}
		if rng.IntN(4) > 0 {
			p.Utility = Utility{
				Sigma: 2 * rng.Float64(), Key: FocusKey(rng.Uint64()),
				Pinned: []Token{7, 80, 299}, End: []Token{5, 200}, EndNoise: EndNoise(rng.IntN(3)),
			}
		}
		if rng.IntN(4) == 0 {
			p.Bias = map[Token]float64{Token(rng.IntN(vocab)): 30 * rng.Float64()}
		}
		lazy, dense := mustNew(t, p, vocab), mustNew(t, p, vocab)
		width := 1 + 8*rng.Float64()
		for range 8 {
			raw := make([]float32, vocab)
			for i := range raw {
				raw[i] = float32(width * rng.NormFloat64())
				if rng.IntN(50) == 0 {
					raw[i] = negativeInfinity
				}
			}
			dense.early = true
			want, err := dense.Sample(slices.Clone(raw))
			if err != nil {
				t.Fatal(err)
			}
			got, err := lazy.Sample(raw)
			if err != nil || got.Token != want.Token {
				t.Fatalf("chose %d (%v), densely %d, of %d tokens under %+v", got.Token, err, want.Token, vocab, p)
			}
			if width > 5 && p.Temperature < 1 {
				tries++
				if lazy.selection.bracket.misses == 0 {
					decided++
				}
			}
			lazy.Accept(got.Token)
			dense.Accept(want.Token)
		}
	}
	t.Logf("of %d steps with steep rows %d needed no whole row", tries, decided)
	if decided < tries*8/10 {
		t.Error("too many steps need the whole row")
	}
}

// TestBracketHolds: the bounds contain the weight of the noisy row.
func TestBracketHolds(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 0))
	for range 200 {
		p := Params{Temperature: 0.3 + rng.Float64(), Utility: Utility{Sigma: 3 * rng.Float64(), Key: FocusKey(rng.Uint64())}}
		s := mustNew(t, p, 5000)
		raw := testRow(rng.Uint64(), 5000)
		for i := range raw {
			raw[i] *= 2
		}
		if err := s.modulate(raw, nil); err != nil {
			t.Fatal(err)
		}
		to := s.temper(s.view.top.logit)
		if !s.selection.bracket.weigh(&s.view, to) {
			continue
		}
		lo, hi := slices.Clone(s.selection.bracket.lo), slices.Clone(s.selection.bracket.hi)
		s.selection.sum(candidates{logits: s.view.all(), scale: to})
		for b, w := range s.selection.sums {
			if w < lo[b]*(1-1e-12) || w > hi[b]*(1+1e-12) {
				t.Errorf("block %d weighs %g, outside [%g, %g]", b, w, lo[b], hi[b])
			}
		}
	}
}
