package sampler

import (
	"math"
	"math/bits"
)

// bracket weighs a row without the noise, and the exact weight, of the tokens that hardly weigh anything. A token's leading byte
// bounds its noise on both sides, and so its weight; where all that lie deep below the best are known so, their sum is known to
// some 10⁻⁵ of the whole. What a draw or a nucleus asks of the sum is, as a rule, the same for both ends of such a bracket, and
// then it is what the whole row would answer. Where it is not, the step turns to the whole row.
type bracket struct {
	// The tables are for a scale; made is its rate, 0 before. A logit counts unit in them, which is parts of a doubling of the weight,
	// and the best one counts zero.
	made       float64
	unit, zero float32
	// most is the largest noise that a leading byte allows, in the same unit; up is the same with zero taken off, and span the weight
	// of the smallest noise relative to that of the largest. Tokens with the largest byte, whose noise has hardly a bound,
	// all count as near.
	most     [256]float64
	up, span [256]float32

	// lo and hi are bounds of the weight of each block of drawBlock tokens.
	lo, hi []float64
	near   int // tokens that were weighed exactly
	// logits and ids are these tokens in ascending order, where somebody wants to know.
	listing bool
	logits  []float32
	ids     []Token

	// pause is how many steps are not tried, since the last misses in a row failed.
	pause, misses int
}

const (
	// nearDepth is the depth up to which all tokens are weighed exactly, and farDepth that from which on none is: they weigh less
	// than massDoubt allows, all together.
	nearDepth, farDepth = 13, 60
	// weightParts is into how many parts a doubling of weights is cut.
	weightParts = 1024
	depthUnit   = weightParts / math.Ln2
	// weightDoubt is what the table below makes of a weight, relatively: 2^(1/2/weightParts), and more.
	weightDoubt = 1e-3
	// integer32 is integer for a float32.
	integer32 = 3 << 22
	// mostPause is the most steps that are not tried.
	mostPause = 31
)

// weightTable holds the bits of 2^(i/weightParts). Weights as rough as these need no more than a float32.
var weightTable = func() (t [weightParts]uint32) {
	for i := range t {
		t[i] = math.Float32bits(float32(math.Exp2(float64(i) / weightParts)))
	}
	return t
}()

// open is the bits of depths between near and far, which are negative: the larger the depth, the larger they are. nearBits is the
// first of them.
var (
	nearBits = math.Float32bits(-nearDepth * depthUnit)
	openBits = math.Float32bits(-farDepth*depthUnit) - nearBits
)

// newBracket returns nil where nothing asks for it: it serves top-p, and the draw from a row that nothing truncates.
func newBracket(p *Params, vocab int) *bracket {
	if p.Temperature == 0 || p.TopK > 0 && p.TopK < vocab || p.typical() || p.TopNSigma > 0 || p.Mirostat != 0 || p.DynatempRange > 0 {
		return nil
	}
	if !p.nucleus() && p.truncates() {
		return nil
	}
	blocks := (vocab + drawBlock - 1) / drawBlock
	return &bracket{lo: make([]float64, blocks), hi: make([]float64, blocks), listing: p.nucleus()}
}

// try reports whether the step is worth trying.
func (b *bracket) try() bool {
	if b == nil {
		return false
	}
	if b.pause > 0 {
		b.pause--
		return false
	}
	return true
}

// tried notes how it went.
func (b *bracket) tried(ok bool) {
	if ok {
		b.misses = 0
		return
	}
	b.pause = min(b.misses, mostPause)
	b.misses = 2*b.misses + 1
}

// weigh fills the bounds. It is false where too many tokens are near.
func (b *bracket) weigh(v *view, to scale) bool {
	u := v.noise
	if u != nil && u.whole {
		u = nil
	}
	b.near, b.logits, b.ids = 0, b.logits[:0], b.ids[:0]
	// The table's doubt, and that of three roundings to 24 bits.
	doubt := weightDoubt + 4e-7*(math.Abs(to.best)*to.rate+farDepth)
	if doubt > 10*weightDoubt {
		return false
	}
	b.prepare(u, to)
	if u != nil {
		for _, t := range u.capped.list { // whose noise has other bounds
			v.at(t)
		}
	}
	var his []byte
	for lo := 0; lo < len(v.row); lo += chunkTokens {
		n := min(len(v.row)-lo, chunkTokens)
		if u != nil {
			his = u.field.chunkHi(lo/chunkTokens, n)
		}
		for i := 0; i < n; i += drawBlock {
			b.block(v, to, u, lo+i, min(lo+i+drawBlock, lo+n), his[min(i, len(his)):], doubt)
		}
		if b.near > len(v.row)/nearShare {
			return false
		}
	}
	return true
}

// prepare makes the tables.
func (b *bracket) prepare(u *utility, to scale) {
	if b.made != to.rate {
		b.made = to.rate
		b.unit = float32(to.rate * depthUnit)
		for hi := range b.most {
			if u != nil {
				least := u.sigma * normal(uint32(hi)<<wordBits)
				b.most[hi] = u.upper[hi] * to.rate * depthUnit
				b.span[hi] = float32(math.Exp((least - u.upper[hi]) * to.rate))
			}
		}
	}
	zero := to.best * float64(b.unit)
	b.zero = float32(zero)
	for hi, most := range b.most {
		b.up[hi] = float32(most - zero)
	}
	b.up[255] = math.MaxFloat32
}

// block weighs the tokens from lo up to end; his are their leading bytes, if u is there.
func (b *bracket) block(v *view, to scale, u *utility, lo, end int, his []byte, doubt float64) {
	low, high, exact := 0.0, 0.0, 0.0
	var open [group]float32
	for i := lo; i < end; i += group {
		near := ^uint64(0) >> (group - min(group, end-i))
		if near == math.MaxUint64 {
			var l, h float64
			part := (*[group]float32)(v.row[i:])
			if u == nil {
				near, h = b.plain(part)
				l = h
			} else {
				done := u.settled[i/group]
				if done != 0 { // these have their logit: they count as near, and not among the others
					open = *part
					for d := done; d != 0; d &= d - 1 {
						open[bits.TrailingZeros64(d)%group] = negativeInfinity
					}
					part = &open
				}
				near, l, h = b.noisy(part, (*[group]byte)(his[i-lo:]))
				near |= done
			}
			low += l
			high += h
		}
		b.near += bits.OnesCount64(near)
		for ; near != 0; near &= near - 1 {
			t := Token(i + bits.TrailingZeros64(near))
			z := v.row[t]
			if u != nil && !u.settled.has(t) {
				z = v.settle(t, his[int(t)-lo])
			}
			exact += decay(to.depth(z))
			if b.listing {
				b.logits, b.ids = append(b.logits, z), append(b.ids, t)
			}
		}
	}
	b.lo[lo/drawBlock], b.hi[lo/drawBlock] = exact+low*(1-doubt), exact+high*(1+doubt)
}

// plain returns which of a group's tokens are near, a bit each, and the weight of the others.
func (b *bracket) plain(row *[group]float32) (near uint64, sum float64) {
	unit, zero, from, open := b.unit, b.zero, nearBits, openBits
	var even, odd float32
	for i := 0; i < group; i += 2 {
		x, y := row[i]*unit-zero, row[i+1]*unit-zero
		if math.Float32bits(x)-from <= open {
			even += weight(x)
		} else if !(x < -nearDepth*depthUnit) {
			near |= 1 << i
		}
		if math.Float32bits(y)-from <= open {
			odd += weight(y)
		} else if !(y < -nearDepth*depthUnit) {
			near |= 2 << i
		}
	}
	return near, float64(even) + float64(odd)
}

// noisy is plain for tokens with noise, of which leading bytes are known: the weight of the others lies between low and high.
func (b *bracket) noisy(row *[group]float32, his *[group]byte) (near uint64, low, high float64) {
	unit, from, open := b.unit, nearBits, openBits
	var even, odd, evenLow, oddLow float32
	for i := 0; i < group; i += 2 {
		h, k := his[i], his[i+1]
		x, y := row[i]*unit+b.up[h], row[i+1]*unit+b.up[k]
		if math.Float32bits(x)-from <= open {
			w := weight(x)
			even += w
			evenLow += w * b.span[h]
		} else if !(x < -nearDepth*depthUnit) {
			near |= 1 << i
		}
		if math.Float32bits(y)-from <= open {
			w := weight(y)
			odd += w
			oddLow += w * b.span[k]
		} else if !(y < -nearDepth*depthUnit) {
			near |= 2 << i
		}
	}
	return near, float64(evenLow) + float64(oddLow), float64(even) + float64(odd)
}

// weight is 2^(x/weightParts), roughly.
func weight(x float32) float32 {
	n := math.Float32bits(x + integer32)
	return math.Float32frombits(weightTable[n%weightParts] + n/weightParts<<23)
}

// total is the bounds of the whole row's weight.
func (b *bracket) total() (lo, hi float64) {
	for i, w := range b.lo {
		lo += w
		hi += b.hi[i]
	}
	return lo * (1 - massDoubt), hi * (1 + massDoubt)
}

// draw is [selection.draw] for all tokens. It is false where the bounds leave it open.
func (b *bracket) draw(v *view, to scale, coin float64) (Token, bool) {
	if !b.weigh(v, to) {
		return 0, false
	}
	from, upTo := b.total()
	doubt := massDoubt * upTo
	from, upTo = coin*from-doubt, coin*upTo+doubt
	low, high := 0.0, 0.0
	for k := range b.lo {
		if low+b.lo[k] <= upTo {
			low += b.lo[k]
			high += b.hi[k]
			continue
		}
		sum := 0.0
		for i := k * drawBlock; i < min((k+1)*drawBlock, len(v.row)); i++ {
			w := decay(to.depth(v.at(Token(i))))
			if sum+w > upTo-low {
				return Token(i), sum <= from-high
			}
			sum += w
		}
		break
	}
	return 0, false
}

// nucleus is topP for all tokens. It is false where the bounds leave it open.
func (s *selection) nucleus(v *view, to scale, p float64) (candidates, bool) {
	b := s.bracket
	b.logits, b.ids = s.logits, s.ids
	if !b.weigh(v, to) {
		return candidates{}, false
	}
	lo, hi := b.total()
	lo, hi = p*lo, p*hi
	c := candidates{logits: b.logits, ids: b.ids, scale: to}
	s.weigh(c)
	end, before := 0, 0.0
	for end < buckets-1 && before+s.mass[end] < lo {
		before += s.mass[end]
		end++
	}
	if before+s.mass[end] < hi || bucketEnd(end) >= nearDepth-1 {
		return candidates{}, false
	}
	c = s.within(c, bucketEnd(end))
	last := s.edgeEnd(c, end, lo-before)
	if last != s.edgeEnd(c, end, hi-before) {
		return candidates{}, false
	}
	return s.upTo(c, last), true
}
