package sampler

import "math"

// dry is DRY at work (p-e-w, "DRY: A modern repetition penalty that reliably prevents looping", 2024), with llama.cpp's definition
// of its edges.
type dry struct {
	multiplier, base float64
	allowed          int
	window           int // tokens looked at
	most             int // the largest exponent; 0 for any

	ring []Token // the last tokens; its length is a power of two, at least window
	seen int     // tokens told so far
	// match[k] is for how many tokens, up to the limit of a step, the sequence that ended k tokens ago is the one that ends now.
	match []int32
	// longest[t] is the longest such sequence that t followed; 0 says that t is no member.
	longest []int32
	members []Token

	heads  bitset // the tokens that a breaker begins with
	single bitset // the tokens that are one
	tails  map[Token][][]Token
}

const (
	// maxDRYWindow is how many tokens "all" are at most: two rings of so many are kept.
	maxDRYWindow = 1 << 16
	// maxBreaker bounds the tokens of a breaker.
	maxBreaker = 64

	defaultDRYBase    = 1.75
	defaultDRYAllowed = 2
	// logMaxFloat32 is what the logarithm of a penalty stays below.
	logMaxFloat32 = 88.7228391
)

// newDRY returns nil where there is no penalty.
func newDRY(p *DRY, vocab int) *dry {
	if p.Multiplier == 0 || p.LastN == 0 {
		return nil
	}
	d := &dry{multiplier: p.Multiplier, base: p.Base, allowed: p.AllowedLength, window: p.LastN}
	if d.base == 0 {
		d.base = defaultDRYBase
	}
	if d.allowed == 0 {
		d.allowed = defaultDRYAllowed
	}
	if d.window == -1 || d.window > maxDRYWindow {
		d.window = maxDRYWindow
	}
	if d.base > 1.000001 {
		d.most = int(logMaxFloat32 / math.Log(d.base))
	}
	size := 1
	for size < d.window {
		size *= 2
	}
	d.ring, d.match = make([]Token, size), make([]int32, d.window)
	d.longest, d.members = make([]int32, vocab), make([]Token, 0, min(vocab, d.window))
	d.heads, d.single, d.tails = newBitset(vocab), newBitset(vocab), map[Token][][]Token{}
	for _, b := range p.Breakers {
		d.heads.add(b[0])
		if len(b) == 1 {
			d.single.add(b[0])
		}
		d.tails[b[0]] = append(d.tails[b[0]], append([]Token{}, b[1:]...))
	}
	return d
}

// see tells a token of the prompt or of the answer.
func (d *dry) see(t Token) {
	if d != nil {
		d.ring[d.seen&(len(d.ring)-1)] = t
		d.seen++
	}
}

// back is the token i before the last one.
func (d *dry) back(i int) Token { return d.ring[(d.seen-1-i)&(len(d.ring)-1)] }

// apply lowers each token that would continue a repeated sequence of length ≥ allowed, the longest one counting:
//
//	z ← z - multiplier·base^(length - allowed)
func (d *dry) apply(v *view) {
	if d == nil {
		return
	}
	n := min(d.seen, d.window)
	limit := d.limit(n)
	if n <= d.allowed || limit < d.allowed {
		return
	}
	d.compare(n, limit)
	for k := 1; k < n; k++ {
		if length := d.match[k]; int(length) >= d.allowed {
			d.note(d.back(k-1), length)
		}
	}
	for _, t := range d.members {
		if !d.single.has(t) {
			v.set(t, float32(max(float64(v.at(t))-d.penalty(int(d.longest[t])), bottom(v.at(t)))))
		}
		d.longest[t] = 0
	}
	d.members = d.members[:0]
}

// bottom is how low a logit may get: a large penalty may not turn a finite one into an infinite one.
func bottom(z float32) float64 { return min(float64(z), -math.MaxFloat32) }

// note says that t followed a sequence that is repeated now.
func (d *dry) note(t Token, length int32) {
	if uint(t) >= uint(len(d.longest)) {
		return // it has no logit
	}
	if d.longest[t] == 0 {
		d.members = append(d.members, t)
	}
	d.longest[t] = max(d.longest[t], length)
}

func (d *dry) penalty(length int) float64 {
	exponent := length - d.allowed
	if d.most > 0 {
		exponent = min(exponent, d.most)
	}
	return d.multiplier * math.Pow(d.base, float64(exponent))
}

// limit is the number of tokens after the last breaker among the last n.
func (d *dry) limit(n int) int {
	if len(d.tails) == 0 {
		return n
	}
	for i := range n {
		t := d.back(i)
		if uint(t) >= uint(len(d.longest)) || !d.heads.has(t) {
			continue
		}
		longest := -1
		for _, tail := range d.tails[t] {
			if len(tail) > longest && len(tail) <= i && d.follows(tail, i) {
				longest = len(tail)
			}
		}
		if longest >= 0 {
			return i - longest
		}
	}
	return n
}

// follows reports whether tail is what follows the token i before the last one.
func (d *dry) follows(tail []Token, i int) bool {
	for j, t := range tail {
		if d.back(i-1-j) != t {
			return false
		}
	}
	return true
}

// compare fills match[1:n], by the algorithm Z on the last n tokens, from the last to the first: its cost is n (Gusfield,
// Algorithms on Strings, Trees, and Sequences, 1997).
func (d *dry) compare(n, limit int) {
	left, right := 0, 0 // the tokens before right are known to match those left before them
	for k := 1; k < n; k++ {
		length := 0
		if k < right {
			length = min(int(d.match[k-left]), right-k)
		}
		if k+length >= right && length < limit {
			for k+length < n && length < limit && d.back(length) == d.back(k+length) {
				length++
			}
			left, right = k, k+length
		}
		d.match[k] = int32(min(length, limit))
	}
}
