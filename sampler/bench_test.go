package sampler

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// benchVocabs are the vocabularies of SmolLM2, Llama 3 and Gemma 3.
var benchVocabs = []int{49152, 128256, 262144}

func BenchmarkSample(b *testing.B) {
	kinds := []struct {
		name string
		p    Params
	}{
		{"greedy", Params{}},
		{"top_k40_top_p0.95", Params{Temperature: 0.8, TopK: 40, TopP: 0.95}},
		{"top_p1", Params{Temperature: 1, TopP: 1}},
		{"top_p0.95", Params{Temperature: 1, TopP: 0.95}},
		{"logprobs20", Params{Logprobs: true, TopLogprobs: 20}},
	}
	for _, vocab := range benchVocabs {
		for _, k := range kinds {
			for _, sigma := range []float64{0, 1} {
				p := k.p
				p.Utility = Utility{Sigma: sigma, Key: FocusKey(1)}
				b.Run(fmt.Sprintf("vocab=%d/%s/sigma=%g", vocab, k.name, sigma), func(b *testing.B) { benchmarkSample(b, p, vocab) })
			}
		}
	}
}

// benchmarkSample includes the copy of the row, since Sample overwrites it.
func benchmarkSample(b *testing.B, p Params, vocab int) {
	s := mustNew(b, p, vocab)
	raw, row := testRow(1, vocab), make([]float32, vocab)
	b.ReportAllocs()
	for b.Loop() {
		copy(row, raw)
		c, err := s.Sample(row)
		if err != nil {
			b.Fatal(err)
		}
		s.Accept(c.Token)
	}
}

// BenchmarkNormFloat64 is the baseline of dense noise: the standard library's generator, without key or context.
func BenchmarkNormFloat64(b *testing.B) {
	for _, vocab := range benchVocabs {
		b.Run(fmt.Sprintf("vocab=%d", vocab), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 1))
			row := make([]float32, vocab)
			for b.Loop() {
				for i, z := range row {
					row[i] = float32(float64(z) + rng.NormFloat64())
				}
			}
		})
	}
}

// BenchmarkRetention is what calibration pays per step and σ.
func BenchmarkRetention(b *testing.B) {
	for _, vocab := range benchVocabs {
		b.Run(fmt.Sprintf("vocab=%d", vocab), func(b *testing.B) {
			gaps, err := Gaps(testRow(1, vocab), nil)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				Retention(gaps, 3)
			}
		})
	}
}

// A step with a span, by how much of the twin it looks at: "read" steps compare the rows, "idle" ones use what they know.
func BenchmarkSpan(b *testing.B) {
	const vocab = 49152
	row, twin := testRow(1, vocab), testRow(2, vocab)
	z, y := make([]float32, vocab), make([]float32, vocab)
	for _, c := range []struct {
		name     string
		strength float64
		spans    int
	}{{"none", 0, 0}, {"towards", 1, 1}, {"away", -0.5, 1}} {
		b.Run(c.name, func(b *testing.B) {
			p := Params{}
			var twins [][]float32
			for range c.spans {
				p.Spans = append(p.Spans, Span{Without: []Token{0}, Strength: c.strength})
				twins = append(twins, y)
			}
			s := mustNew(b, p, vocab)
			for b.Loop() {
				copy(z, row)
				copy(y, twin)
				choice, err := s.Sample(z, twins...)
				if err != nil {
					b.Fatal(err)
				}
				s.Accept(choice.Token)
			}
		})
	}
}
