package cpp

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"aim/internal/testmodel"
	"aim/llama"
	"aim/sampler"
)

// vocabularies are the rows that the noise is measured on: those of SmolLM2 as they are, those of Gemma 3 270M as they are
// where AIM_TEST_MODEL_2 names its file, and, for the vocabulary of Llama 3, those of the larger model with tokens left out
// at random, but for the best, or of SmolLM2 with tokens repeated at random. Leaving out and repeating keep the shares of
// the gaps.
func vocabularies(tb testing.TB) map[int][][]float32 {
	tb.Helper()
	small := realRows(tb, testmodel.Path(tb), "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n")
	large := small
	rows := map[int][][]float32{}
	if path := os.Getenv("AIM_TEST_MODEL_2"); path != "" {
		large = realRows(tb, path, "%s\n")
	}
	for _, r := range [][][]float32{small, large} {
		rows[len(r[0])] = r
	}
	for _, vocab := range []int{128256, 262144} {
		if rows[vocab] == nil {
			rows[vocab] = resized(large, vocab)
		}
	}
	return rows
}

// realRows are the rows of some answers' steps, four questions with eight tokens each.
func realRows(tb testing.TB, path, format string) (rows [][]float32) {
	tb.Helper()
	m, err := Load(path, ModelOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	defer m.Close()
	d, err := m.NewDecoder(DecoderOptions{Context: 512, Batch: 512})
	if err != nil {
		tb.Fatal(err)
	}
	defer d.Close()
	for _, q := range questions[:4] {
		tokens, err := m.Tokenize([]llama.Part{{Text: fmt.Sprintf(format, q), Trusted: true}}, true)
		if err != nil {
			tb.Fatal(err)
		}
		if err := d.Forget(0, 0); err != nil {
			tb.Fatal(err)
		}
		var batch []llama.Row
		for pos, t := range tokens {
			batch = append(batch, llama.Row{Token: t, Pos: pos, Logits: pos == len(tokens)-1})
		}
		for step := range 8 {
			if err := d.Decode(batch); err != nil {
				tb.Fatal(err)
			}
			row := slices.Clone(d.Logits(len(batch) - 1))
			rows = append(rows, row)
			batch = []llama.Row{{Token: argmax(row), Pos: len(tokens) + step, Logits: true}}
		}
	}
	return rows
}

// resized makes rows of vocab logits, each a random sample of an original one that contains its best token.
func resized(rows [][]float32, vocab int) (sized [][]float32) {
	rng := rand.New(rand.NewPCG(1, uint64(vocab)))
	for _, row := range rows {
		var picks []int
		for len(picks) < vocab {
			picks = append(picks, rng.Perm(len(row))...)
		}
		picks = picks[:vocab]
		best := int(argmax(row))
		if !slices.Contains(picks, best) {
			picks[0] = best
		}
		slices.Sort(picks) // the order of a vocabulary: frequent tokens first
		r := make([]float32, vocab)
		for i, p := range picks {
			r[i] = row[p]
		}
		sized = append(sized, r)
	}
	return sized
}

// sigmaFor is the σ at which the mean probability over the rows that the best token stays best is the level.
func sigmaFor(tb testing.TB, rows [][]float32, level float64) float64 {
	tb.Helper()
	var gaps [][]float64
	for _, row := range rows {
		g, err := sampler.Gaps(row, nil)
		if err != nil {
			tb.Fatal(err)
		}
		gaps = append(gaps, g)
	}
	lo, hi := 0.0, 20.0
	for range 20 {
		mid := (lo + hi) / 2
		sum := 0.0
		for _, g := range gaps {
			sum += sampler.Retention(g, mid)
		}
		if sum/float64(len(gaps)) > level {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// BenchmarkNoise measures a step with noise against the same step without and against dense noise of NormFloat64, in turns
// over real rows: medians over all steps. The step is Sample and Accept; the copy of the row is not counted.
func BenchmarkNoise(b *testing.B) {
	rows := vocabularies(b)
	for _, vocab := range []int{49152, 128256, 262144} {
		for _, level := range []float64{0.9, 0.5} {
			sigma := sigmaFor(b, rows[vocab], level)
			for _, c := range []struct {
				name string
				p    sampler.Params
			}{
				{"greedy", sampler.Params{}},
				{"top_k=40,top_p=0.95", sampler.Params{Temperature: 0.8, TopK: 40, TopP: 0.95}},
				{"top_p=1", sampler.Params{Temperature: 1, TopP: 1}},
				{"top_p=0.95", sampler.Params{Temperature: 1, TopP: 0.95}},
				{"min_p=0.05", sampler.Params{Temperature: 1, MinP: 0.05}},
				{"top_p=1,logprobs", sampler.Params{Temperature: 1, TopP: 1, Logprobs: true, TopLogprobs: 5}},
				{"top_p=0.95,logprobs", sampler.Params{Temperature: 1, TopP: 0.95, Logprobs: true, TopLogprobs: 5}},
				{"greedy,logprobs", sampler.Params{Logprobs: true, TopLogprobs: 5}},
			} {
				b.Run(fmt.Sprintf("vocab=%d/level=%g/%s", vocab, level, c.name), func(b *testing.B) {
					benchmarkNoise(b, rows[vocab], sigma, c.p)
				})
			}
		}
	}
}

func benchmarkNoise(b *testing.B, rows [][]float32, sigma float64, p sampler.Params) {
	vocab := len(rows[0])
	rng := rand.New(rand.NewPCG(1, 1))
	row := make([]float32, vocab)
	step := func(s *sampler.Sampler, dense bool, raw []float32) time.Duration {
		copy(row, raw)
		start := time.Now()
		if dense {
			for i, z := range row {
				row[i] = float32(float64(z) + sigma*rng.NormFloat64())
			}
		}
		c, err := s.Sample(row)
		if err != nil {
			b.Fatal(err)
		}
		s.Accept(c.Token)
		return time.Since(start)
	}
	newSampler := func(p sampler.Params) *sampler.Sampler {
		s, err := sampler.New(p, vocab)
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	plain, dense := newSampler(p), newSampler(p)
	p.Utility = sampler.Utility{Sigma: sigma, Key: sampler.FocusKey(1)}
	noisy := newSampler(p)
	var took [3][]time.Duration
	for b.Loop() {
		for _, raw := range rows {
			took[0] = append(took[0], step(plain, false, raw))
			took[1] = append(took[1], step(noisy, false, raw))
			took[2] = append(took[2], step(dense, true, raw))
		}
	}
	median := func(k int) float64 {
		slices.Sort(took[k])
		return took[k][len(took[k])/2].Seconds()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(1e6*median(0), "plain-µs")
	b.ReportMetric(1e6*median(1), "noise-µs")
	b.ReportMetric(median(1)/median(0), "of-plain")
	b.ReportMetric(median(2)/median(1), "dense-of-it")
	b.ReportMetric(float64(noisy.Counts().Exact)/float64(noisy.Counts().Steps), "exact/step")
}
