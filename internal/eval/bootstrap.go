package eval

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Resamples is the number of bootstrap resamples behind a band.
const Resamples = 2000

// Estimate is a figure with its 95 % bootstrap band.
type Estimate struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// Bootstrap draws n items with replacement, resamples times, and returns the counts of the items to statistic, whose
// results it returns for each (Efron, 1979). statistic must not keep the counts. A seed gives the same draws every time.
func Bootstrap(n, resamples int, seed uint64, statistic func(counts []int) []float64) [][]float64 {
	rng := rand.New(rand.NewPCG(seed, 0))
	counts := make([]int, n)
	out := make([][]float64, resamples)
	for i := range out {
		clear(counts)
		for range n {
			counts[rng.IntN(n)]++
		}
		out[i] = statistic(counts)
	}
	return out
}

// Band is the interval between the 2.5 % and the 97.5 % quantile of values: the percentile interval. NaN values are left out.
func Band(values []float64) (low, high float64) {
	sorted := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(sorted) == 0 {
		return math.NaN(), math.NaN()
	}
	slices.Sort(sorted)
	return quantile(sorted, 0.025), quantile(sorted, 0.975)
}

// quantile interpolates linearly between the order statistics of sorted.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// weightedMeans are the means of rows[item][k] over items, each counted counts[item] times; nil counts each once.
func weightedMeans(rows [][]float64, counts []int) []float64 {
	means := make([]float64, len(rows[0]))
	total := 0
	for i, row := range rows {
		c := 1
		if counts != nil {
			c = counts[i]
		}
		total += c
		if c == 0 {
			continue
		}
		for k, x := range row {
			means[k] += float64(c) * x
		}
	}
	for k := range means {
		means[k] /= float64(total)
	}
	return means
}

// column is the k-th entry of every row.
func column(rows [][]float64, k int) []float64 {
	out := make([]float64, len(rows))
	for i, row := range rows {
		out[i] = row[k]
	}
	return out
}
