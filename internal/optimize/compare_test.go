package optimize

import (
	"math"
	"testing"

	"aim/llama/llamatest"
	"aim/sampler"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// Two tokens, with chances of 3/4 and 1/4 in the original and 1/2 each in the candidate, shifted by constants that must not matter:
// KL = 3/4·log(3/2) + 1/4·log(1/2).
func TestDifferIsTheTextbooks(t *testing.T) {
	p := []float32{float32(math.Log(3)) + 7, 7}
	q := []float32{-300, -300}
	d := differ(p, q, 1)
	near(t, "the original's -log p", d.original, math.Log(4), 1e-6)
	near(t, "the candidate's -log p", d.candidate, math.Log(2), 1e-6)
	near(t, "the divergence", d.kl, 0.75*math.Log(1.5)+0.25*math.Log(0.5), 1e-6)
	if !d.same { // of equal logits the first counts as the largest
		t.Error("the first of both is not the largest")
	}
	if d := differ([]float32{1, 2}, []float32{2, 1}, 0); d.same || d.kl <= 0 {
		t.Errorf("of opposite rows %+v", d)
	}
}

func TestDifferTakesExtremeRows(t *testing.T) {
	masked := float32(math.Inf(-1))
	d := differ([]float32{1e4, masked, -1e4}, []float32{1e4, masked, 0}, 0)
	near(t, "the divergence of rows with a masked token", d.kl, 0, 1e-12)
	if d := differ([]float32{0, 0}, []float32{float32(math.NaN()), 0}, 0); !math.IsNaN(d.candidate) {
		t.Errorf("NaN is not seen: %+v", d)
	}
}

func TestSummarize(t *testing.T) {
	q, err := summarize([]difference{{1, 1.5, 0.2, true}, {3, 2.5, 0, false}, {2, 3, 0.1, true}, {2, 3, 0.1, true}})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "the original's perplexity", q.Original, math.Exp(2), 1e-12)
	near(t, "the perplexity", q.Perplexity, math.Exp(2.5), 1e-12)
	near(t, "the loss", q.Loss(), math.Expm1(0.5), 1e-12)
	// Of 0.5, -0.5, 1, 1 the variance is 0.5, so that of the mean is 0.125.
	near(t, "the standard error", q.StdErr, math.Sqrt(0.125), 1e-12)
	near(t, "the divergence", q.KL, 0.1, 1e-12)
	near(t, "the share of equal tops", q.SameTop, 0.75, 1e-12)
	for _, bad := range [][]difference{nil, {{}}, {{1, math.NaN(), 0, true}, {}}, {{1, math.Inf(1), 0, true}, {}}} {
		if q, err := summarize(bad); err == nil {
			t.Errorf("%v gave %+v", bad, q)
		}
	}
}

// fake is a subject of the fake model.
func fake() *Subject {
	m := llamatest.New()
	return &Subject{Model: m, Decoder: llamatest.NewDecoder(m, llamatest.Options{Slots: Streams, Context: Window, Batch: 512})}
}

func TestCompareWithItself(t *testing.T) {
	var tokens []sampler.Token
	for i := range 1300 { // over the end of two windows
		tokens = append(tokens, sampler.Token('a'+i*i%26))
	}
	for name, c := range map[string]struct {
		tokens []sampler.Token
		pairs  int
	}{
		"without a start": {tokens, 1300 - 3},
		"with a start":    {append([]sampler.Token{llamatest.BOS}, tokens...), 1300},
		"one window":      {tokens[:100], 99},
	} {
		last := 0.0
		q, err := Compare(t.Context(), fake(), fake(), c.tokens, func(done float64) { last = done })
		if err != nil {
			t.Fatal(err)
		}
		if q.Tokens != c.pairs || last != 1 {
			t.Errorf("%s: %d tokens were compared, want %d; progress ended at %v", name, q.Tokens, c.pairs, last)
		}
		if q.LogRatio != 0 || q.StdErr != 0 || q.KL != 0 || math.Abs(q.SameTop-1) > 1e-9 || q.Perplexity != q.Original {
			t.Errorf("%s: a model is not like itself: %+v", name, q)
		}
	}
}
