package sampler

import (
	"math"
	"slices"
)

// dynamic is a temperature that follows the entropy H of the row at temperature 1, of n finite logits:
//
//	low + (high-low)·(H/ln n)^exponent,  low = max(0, temperature-width), high = temperature+width
func dynamic(row []float32, best float32, temperature, width, exponent float64) float64 {
	plain := scale{best: float64(best), rate: 1}
	n, sum, deep := 0, 0.0, 0.0 // H = ln Σw + Σ w·depth/Σw
	for _, z := range row {
		if z == negativeInfinity {
			continue
		}
		n++
		if w := decay(plain.depth(z)); w > 0 {
			sum += w
			deep += w * plain.depth(z)
		}
	}
	low, high := max(0, temperature-width), temperature+width
	flatness := 0.0
	if n > 1 {
		flatness = min(1, (math.Log(sum)+deep/sum)/math.Log(float64(n)))
	}
	return low + (high-low)*math.Pow(flatness, exponent)
}

// nSigma is the logit n standard deviations of all finite logits below the best (Tang et al., "Top-nσ: Not All Logits Are You
// Need", 2024). Temperature, a factor, would not change whom it keeps.
func nSigma(row []float32, best float32, n float64) float32 {
	count, mean := 0.0, 0.0 // of the distances to the best
	for _, z := range row {
		if z > negativeInfinity {
			count++
			mean += float64(best) - float64(z)
		}
	}
	mean /= count
	variance := 0.0
	for _, z := range row {
		if z > negativeInfinity {
			d := float64(best) - float64(z) - mean
			variance += d * d
		}
	}
	floor := float64(best) - n*math.Sqrt(variance/count)
	z := float32(floor)
	if float64(z) < floor {
		z = math.Nextafter32(z, math.MaxFloat32)
	}
	return z
}

// above keeps the candidates of at least a logit.
func (s *selection) above(c candidates, floor float32) candidates {
	logits, ids := s.logits[:0], s.ids[:0]
	for i, z := range c.logits {
		if z >= floor {
			logits, ids = append(logits, z), append(ids, c.id(i))
		}
	}
	c.logits, c.ids = logits, ids
	return c
}

// typical keeps the candidates whose surprise -ln p is closest to the expected one, as few as have more than p of the weight
// (Meister et al., "Locally Typical Sampling", TACL 2023). As both surprises contain the same ln Σw, it is their depth that
// is close to the mean depth. Of equally close ones the first-ranked stay.
func (s *selection) typical(c candidates, p float64) candidates {
	if p == 0 || p == 1 {
		return c
	}
	total, deep := 0.0, 0.0
	for _, z := range c.logits {
		if w := decay(c.depth(z)); w > 0 {
			total += w
			deep += w * c.depth(z)
		}
	}
	center := deep / total
	clear(s.mass)
	for _, z := range c.logits {
		if w := decay(c.depth(z)); w > 0 {
			s.mass[bucket(math.Abs(c.depth(z)-center))] += w
		}
	}
	need, end := p*total, 0
	for end < buckets-1 && s.mass[end] <= need {
		need -= s.mass[end]
		end++
	}
	last := s.typicalEdge(c, center, end, need)
	logits, ids, best := s.logits[:0], s.ids[:0], negativeInfinity
	for i, z := range c.logits {
		if r := (ranked{z, int32(i)}); c.depth(z) <= decayEnd && c.compareTypical(r, last, center) <= 0 {
			logits, ids, best = append(logits, z), append(ids, c.id(i)), max(best, z)
		}
	}
	c.logits, c.ids, c.best = logits, ids, float64(best)
	return c
}

// typicalEdge ranks the candidates of one bucket, and returns the one with which their weight exceeds need.
func (s *selection) typicalEdge(c candidates, center float64, end int, need float64) ranked {
	edge := s.edge[:0]
	for i, z := range c.logits {
		if depth := c.depth(z); depth <= decayEnd && bucket(math.Abs(depth-center)) == end {
			edge = append(edge, ranked{z, int32(i)})
		}
	}
	slices.SortFunc(edge, func(a, b ranked) int { return c.compareTypical(a, b, center) })
	for _, r := range edge {
		need -= decay(c.depth(r.logit))
		if need < 0 {
			return r
		}
	}
	return edge[len(edge)-1] // need is exceeded but for rounding
}

// compareTypical orders by the distance of the depth from a center, then by rank.
func (c *candidates) compareTypical(a, b ranked, center float64) int {
	x, y := math.Abs(c.depth(a.logit)-center), math.Abs(c.depth(b.logit)-center)
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return compareRank(a, b)
}

// xtc removes all but the last-ranked of the candidates that have at least threshold of the weight ("exclude top choices", p-e-w
// 2024). Of fewer than two it removes none.
func (s *selection) xtc(c candidates, threshold float64) candidates {
	total := 0.0
	for _, z := range c.logits {
		total += decay(c.depth(z))
	}
	many, last := 0, ranked{at: -1}
	for i, z := range c.logits {
		if w := decay(c.depth(z)); w > 0 && w >= threshold*total {
			many++
			if r := (ranked{z, int32(i)}); many == 1 || compareRank(r, last) > 0 {
				last = r
			}
		}
	}
	if many < 2 {
		return c
	}
	logits, ids := s.logits[:0], s.ids[:0]
	for i, z := range c.logits {
		if compareRank(ranked{z, int32(i)}, last) >= 0 {
			logits, ids = append(logits, z), append(ids, c.id(i))
		}
	}
	c.logits, c.ids, c.best = logits, ids, float64(last.logit)
	return c
}

// mirostat is Mirostat 2 (Basu et al., "Mirostat: A Neural Text Decoding Algorithm that Directly Controls Perplexity", ICLR
// 2021, algorithm 2). Surprises are in bits.
type mirostat struct {
	bound     float64 // the most surprise of a candidate, μ; 2τ at first
	tau, rate float64
}

// candidates are the tokens of at most the bound's surprise, or else the first-ranked one.
func (m *mirostat) candidates(s *selection, v *view, top Token, to scale) candidates {
	c := candidates{logits: v.all(), scale: to}
	depth := m.bound*math.Ln2 - math.Log(s.sum(c)) // -log2 p = (depth + ln Σw)/ln 2
	if depth >= 0 {
		return s.within(c, depth)
	}
	c.logits, c.ids = append(s.logits[:0], c.logits[top]), append(s.ids[:0], top)
	return c
}

// observe moves the bound after a draw, μ ← μ - η·(s - τ), with s the surprise among the candidates, given the token's depth and
// their weight.
func (m *mirostat) observe(depth, weight float64) {
	surprise := (depth + math.Log(weight)) / math.Ln2
	m.bound -= m.rate * (surprise - m.tau)
}
