package sampler

import (
	"math"
	"slices"
)

// candidates are the tokens that may still be chosen, in ascending order of id, with their logits before temperature.
type candidates struct {
	logits []float32
	ids    []Token // of the logits; nil while all tokens are candidates

	scale
}

// scale turns logits into weights: z weighs e^-depth(z) = e^((z-best)/T).
type scale struct {
	best float64 // the largest logit
	rate float64 // 1/T
}

// depth is (best-z)/T ≥ 0.
func (s scale) depth(z float32) float64 { return (s.best - float64(z)) * s.rate }

// floor is a logit below all those of at most a depth, but hardly.
func (s scale) floor(depth float64) float32 {
	z := float32(s.best - depth/s.rate)
	return math.Nextafter32(math.Nextafter32(z, negativeInfinity), negativeInfinity)
}

// minTemperature keeps 1/T finite. Far above it already all weights but those of the largest logits are 0.
const minTemperature = 1e-300

// temper makes the scale of a temperature T > 0, given the largest logit.
func temper(best float32, temperature float64) scale {
	return scale{best: float64(best), rate: 1 / max(temperature, minTemperature)}
}

func (c *candidates) id(i int) Token {
	if c.ids == nil {
		return Token(i)
	}
	return c.ids[i]
}

// The depths are sorted into buckets of equal width. A softmax over any vocabulary has its mass well within the 64 nats that
// they cover; the last bucket also holds what lies deeper.
const (
	buckets        = 1024
	bucketsPerUnit = 16 // a power of two, so that the product below is exact
)

func bucket(depth float64) int {
	if depth >= (buckets-1.0)/bucketsPerUnit {
		return buckets - 1
	}
	return int(depth * bucketsPerUnit)
}

// bucketEnd is the largest depth in a bucket.
func bucketEnd(b int) float64 {
	if b == buckets-1 {
		return math.MaxFloat64
	}
	return math.Nextafter(float64(b+1)/bucketsPerUnit, 0)
}

// selection is the scratch of stages 8 to 15.
type selection struct {
	heap   []ranked  // top-k: capacity k
	near   []ranked  // min-p alone: the tokens within depth of the best, where they are few
	depth  float64   // min-p: the largest depth that stays
	logits []float32 // survivors of a truncation
	ids    []Token
	mass   []float64 // typical and top-p: weight per bucket
	edge   []ranked  // typical and top-p: the bucket in which the kept ones end
	sums   []float64 // draw: weight per block
	// bracket serves top-p and the draw without the whole row; nil where it cannot.
	bracket *bracket
}

func newSelection(p *Params, vocab int) selection {
	var s selection
	if p.Temperature == 0 {
		return s
	}
	n := vocab
	if p.TopK > 0 && p.TopK < vocab && p.Mirostat == 0 {
		n = p.TopK
		s.heap = make([]ranked, 0, n)
	}
	s.sums = make([]float64, (n+drawBlock-1)/drawBlock)
	s.bracket = newBracket(p, vocab)
	if n < vocab || p.truncates() {
		s.logits, s.ids = make([]float32, 0, n), make([]Token, 0, n)
	}
	if p.Mirostat != 0 {
		return s
	}
	if p.MinP > 0 {
		s.depth = -math.Log(p.MinP)
		if n == vocab && !p.nucleus() && !p.typical() {
			s.near = make([]ranked, 0, vocab/nearShare)
		}
	}
	if p.nucleus() || p.typical() {
		s.mass, s.edge = make([]float64, buckets), make([]ranked, 0, n)
	}
	return s
}

// nearShare is the share of the vocabulary up to which tokens are looked for one by one.
const nearShare = 8

// nucleus reports whether top-p can remove anything.
func (p *Params) nucleus() bool { return p.TopP > 0 && p.TopP < 1 }

// typical reports whether typical can remove anything.
func (p *Params) typical() bool { return p.TypicalP > 0 && p.TypicalP < 1 }

// truncates reports whether a stage other than top-k can remove anything.
func (p *Params) truncates() bool {
	return p.nucleus() || p.typical() || p.MinP > 0 || p.TopNSigma > 0 || p.XTCProbability > 0 || p.Mirostat != 0
}

// truncate runs stages 8 to 13; filled is that of topK.
func (s *selection) truncate(v *view, p *Params, to scale, filled, xtc bool) candidates {
	if p.nucleus() && s.bracket.try() {
		c, ok := s.nucleus(v, to, p.TopP) // 9 to 11
		if s.bracket.tried(ok); ok {
			return s.afterTopP(c, p, xtc)
		}
	}
	floor := negativeInfinity
	if p.TopNSigma > 0 {
		floor = nSigma(v.all(), float32(to.best), p.TopNSigma) // 8
	}
	c := s.topK(v, to, filled) // 9
	if p.TopNSigma > 0 {
		c = s.above(c, floor)
	}
	return s.afterTopK(c, p, xtc)
}

func (s *selection) afterTopK(c candidates, p *Params, xtc bool) candidates {
	c = s.typical(c, p.TypicalP) // 10
	c = s.topP(c, p.TopP)        // 11
	return s.afterTopP(c, p, xtc)
}

func (s *selection) afterTopP(c candidates, p *Params, xtc bool) candidates {
	c = s.minP(c, p.MinP) // 12
	if xtc {
		c = s.xtc(c, p.XTCThreshold) // 13
	}
	return c
}

// topK makes the k first-ranked tokens candidates; k is the heap's capacity, and without a heap all are. With filled, the
// heap holds them already. What min-p will remove anyway, without top-p in between, it may leave out.
func (s *selection) topK(v *view, to scale, filled bool) candidates {
	if s.heap == nil {
		if s.near != nil {
			if list, ok := v.from(to.floor(s.depth), s.near); ok {
				return s.listed(list, to)
			}
		}
		return candidates{logits: v.all(), scale: to}
	}
	if !filled {
		s.heap = v.leaders(s.heap)
	}
	slices.SortFunc(s.heap, compareID)
	return s.listed(s.heap, to)
}

// listed makes candidates of a list in ascending order of ids.
func (s *selection) listed(list []ranked, to scale) candidates {
	c := candidates{logits: s.logits[:0], ids: s.ids[:0], scale: to}
	for _, r := range list {
		c.logits, c.ids = append(c.logits, r.logit), append(c.ids, Token(r.at))
	}
	return c
}

// topP keeps the shortest prefix of the ranking whose share of the weight reaches p; 0 and 1 keep all. The bucket in which
// the prefix ends is found by weight alone, so no more than that bucket is ever sorted.
func (s *selection) topP(c candidates, p float64) candidates {
	if p == 0 || p == 1 {
		return c
	}
	need := p * s.weigh(c)
	end, before := 0, 0.0
	for before+s.mass[end] < need { // ends, since the sum of all is computed in the same order
		before += s.mass[end]
		end++
	}
	c = s.within(c, bucketEnd(end))
	return s.upTo(c, s.edgeEnd(c, end, need-before))
}

// weigh sorts the weights into the buckets and returns their sum.
func (s *selection) weigh(c candidates) float64 {
	clear(s.mass)
	for _, z := range c.logits {
		depth := c.depth(z)
		s.mass[bucket(depth)] += decay(depth)
	}
	total := 0.0
	for _, m := range s.mass {
		total += m
	}
	return total
}

// edgeEnd ranks the candidates of one bucket and returns the one with which their weight reaches need.
func (s *selection) edgeEnd(c candidates, end int, need float64) ranked {
	edge := s.edge[:0]
	for i, z := range c.logits {
		if bucket(c.depth(z)) == end {
			edge = append(edge, ranked{z, int32(i)})
		}
	}
	slices.SortFunc(edge, compareRank)
	for _, r := range edge {
		need -= decay(c.depth(r.logit))
		if need <= 0 {
			return r
		}
	}
	return edge[len(edge)-1] // need is met but for rounding
}

// minP keeps the candidates of at least p times the weight of the best.
func (s *selection) minP(c candidates, p float64) candidates {
	if p == 0 {
		return c
	}
	return s.within(c, -math.Log(p))
}

// within keeps the candidates up to a depth.
func (s *selection) within(c candidates, depth float64) candidates {
	logits, ids := s.logits[:0], s.ids[:0]
	for i, z := range c.logits {
		if c.depth(z) <= depth {
			logits, ids = append(logits, z), append(ids, c.id(i))
		}
	}
	c.logits, c.ids = logits, ids
	return c
}

// upTo keeps the candidates that rank no later than the last.
func (s *selection) upTo(c candidates, last ranked) candidates {
	logits, ids := s.logits[:0], s.ids[:0]
	for i, z := range c.logits {
		if z > last.logit || z == last.logit && i <= int(last.at) {
			logits, ids = append(logits, z), append(ids, c.id(i))
		}
	}
	c.logits, c.ids = logits, ids
	return c
}

// drawBlock is the number of candidates whose weight is summed up at a time.
const drawBlock = 256

// draw returns the first candidate, in order of id, at which the sum of the weights exceeds coin times their total;
// coin ∈ [0, 1).
func (s *selection) draw(c candidates, coin float64) Token {
	s.sum(c)
	return c.id(s.pick(c, coin))
}

// sum weighs the candidates. The sums of blocks are kept, so that only one block is weighed again.
func (s *selection) sum(c candidates) (total float64) {
	s.sums = s.sums[:(len(c.logits)+drawBlock-1)/drawBlock]
	for b := range s.sums {
		total += s.resum(c, b)
	}
	return total
}

// resum weighs the candidates of one block.
func (s *selection) resum(c candidates, b int) (sum float64) {
	for _, z := range c.logits[b*drawBlock : min((b+1)*drawBlock, len(c.logits))] {
		sum += decay(c.depth(z))
	}
	s.sums[b] = sum
	return sum
}

// pick is draw after sum; it returns the place of the candidate. Should rounding leave the total out of reach, it is the last
// candidate with a weight.
func (s *selection) pick(c candidates, coin float64) int {
	total := 0.0
	for _, w := range s.sums {
		total += w
	}
	block, rest, left := 0, 0.0, coin*total
	for b, w := range s.sums {
		if w == 0 {
			continue
		}
		block, rest = b, left
		if left -= w; left < 0 {
			break
		}
	}
	chosen := 0
	for i := block * drawBlock; i < min((block+1)*drawBlock, len(c.logits)); i++ {
		w := decay(c.depth(c.logits[i]))
		if w == 0 {
			continue
		}
		chosen = i
		if rest -= w; rest < 0 {
			break
		}
	}
	return chosen
}
