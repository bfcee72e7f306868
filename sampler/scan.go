package sampler

import (
	"encoding/binary"
	"math"
	"math/bits"
)

var negativeInfinity = float32(math.Inf(-1))

// scan is one pass over a view's row in search of the first-ranked logits. The noise of a token is at most σ times the largest
// that its leading byte allows, so what cannot reach the last of those found so far, even so, is passed over; the more
// have been found, the higher the bar. Where many tokens clear the bar, a chunk's bytes are made at once, and the 1 in 256
// with the largest byte are looked at first: the others have a far tighter bound.
type scan struct {
	view *view
	heap []ranked // the first-ranked so far, up to its capacity; the root ranks last
	// floor takes the place of the root where all logits from it on are wanted; the heap is then a list in no order.
	floor    float32
	floored  bool
	overflow bool   // the list was too short
	skip     *marks // tokens to leave out; may be nil

	bar   float32 // what is not above it is of no interest
	reach float64 // the largest noise of the tokens that the bar is for
	noisy float32 // the bar for the heap alone

	fresh bool    // the row is as it left the model: find its best, too
	best  float32 // the largest raw logit so far
	bad   bool    // NaN or +Inf was seen
}

// throng is how many tokens of a chunk are looked at one by one, at the cost of a block each, before the chunk's bytes are
// made at once.
const throng = chunkTokens / 64

// run returns ErrNotFinite, or nil.
func (s *scan) run() error {
	u := s.view.noise
	if u != nil {
		s.reach = u.upper[255]
	}
	s.reset()
	crowded := false
	for lo := 0; lo < len(s.view.row); lo += chunkTokens {
		part := s.view.row[lo:min(lo+chunkTokens, len(s.view.row))]
		if u == nil || u.whole {
			s.plain(lo, part)
		} else {
			passed := 0
			if !crowded {
				passed = s.sparse(lo, part)
			}
			if crowded = passed < len(part); crowded {
				crowded = s.bulk(lo, part, passed)
			}
		}
		if s.bad {
			return ErrNotFinite
		}
	}
	return nil
}

// above is the index, from i on, of the next logit that is not at most bar, as NaN never is; or the number of logits. It is
// where a step spends its time, so it looks at several at a time.
func above(part []float32, i int, bar float32) int {
	rest := part[i:]
	for len(rest) >= 8 {
		b := (*[8]float32)(rest)
		at := len(part) - len(rest)
		switch {
		case !(b[0] <= bar):
			return at
		case !(b[1] <= bar):
			return at + 1
		case !(b[2] <= bar):
			return at + 2
		case !(b[3] <= bar):
			return at + 3
		case !(b[4] <= bar):
			return at + 4
		case !(b[5] <= bar):
			return at + 5
		case !(b[6] <= bar):
			return at + 6
		case !(b[7] <= bar):
			return at + 7
		}
		rest = rest[8:]
	}
	for k, z := range rest {
		if !(z <= bar) {
			return len(part) - len(rest) + k
		}
	}
	return len(part)
}

// plain looks at tokens that have their logits.
func (s *scan) plain(lo int, part []float32) {
	for i := above(part, 0, s.bar); i < len(part); i = above(part, i+1, s.bar) {
		if t := Token(lo + i); s.wanted(t, part[i]) {
			s.offer(t, part[i])
		}
	}
}

// sparse looks at tokens one by one, and stops early where it had to look at a throng. It returns how many it passed.
func (s *scan) sparse(lo int, part []float32) int {
	seen := 0
	for i := above(part, 0, s.bar); i < len(part); i = above(part, i+1, s.bar) {
		if seen++; seen > throng {
			return i
		}
		if t := Token(lo + i); s.wanted(t, part[i]) {
			s.consider(t, part[i], s.view.noise.field.hi(t))
		}
	}
	return len(part)
}

// bulk looks at the tokens of a chunk from the i-th on, with the bytes of the chunk at hand. It reports whether the next
// chunk will be crowded, too: those with the largest byte are a sample of all.
func (s *scan) bulk(lo int, part []float32, i int) bool {
	const most = 255
	u := s.view.noise
	his := u.field.chunkHi(lo/chunkTokens, len(part))
	crowded := s.extremes(lo, part, his, i) > 0
	s.reach = u.upper[most-1]
	s.reset()
	for i = above(part, i, s.bar); i < len(part); i = above(part, i+1, s.bar) {
		if t := Token(lo + i); his[i] != most && s.wanted(t, part[i]) {
			s.consider(t, part[i], his[i])
		}
	}
	s.reach = u.upper[most]
	s.reset()
	return crowded
}

// extremes looks at the tokens with the largest byte, a stride of bytes at a time, and returns how many of them are above the bar.
func (s *scan) extremes(lo int, part []float32, his []byte, from int) (above int) {
	const most, stride = 255, 32
	n := len(his) - len(his)%stride
	for i := from - from%stride; i < n; i += stride {
		b := (*[stride]byte)(his[i:])
		w0, w1 := binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])
		w2, w3 := binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
		m0, m1, m2, m3 := full(w0), full(w1), full(w2), full(w3)
		if m0|m1|m2|m3 == 0 {
			continue
		}
		for j, m := range [...]uint64{m0, m1, m2, m3} {
			for ; m != 0; m &= m - 1 {
				k := i + 8*j + bits.TrailingZeros64(m)/8
				if his[k] == most && k >= from && s.extreme(Token(lo+k), part[k]) {
					above++
				}
			}
		}
	}
	for k := max(n, from); k < len(his); k++ {
		if his[k] == most && s.extreme(Token(lo+k), part[k]) {
			above++
		}
	}
	return above
}

// full has the leading bit of the lowest byte of w that is 255, perhaps of higher bytes that are not, and is 0 if none is.
func full(w uint64) uint64 { return (^w - 0x0101010101010101) & w & 0x8080808080808080 }

// extreme looks at a token with the largest byte, and reports whether it is above the bar.
func (s *scan) extreme(t Token, z float32) bool {
	if z <= s.bar {
		return false
	}
	if s.wanted(t, z) {
		s.consider(t, z, 255)
	}
	return true
}

// wanted notes what a logit above the bar says about the model's row, and reports whether the token takes part.
func (s *scan) wanted(t Token, z float32) bool {
	if !(z <= math.MaxFloat32) {
		s.bad = true
		s.bar = float32(math.Inf(1))
		return false
	}
	if s.fresh && (z > s.best || z == s.best && t < s.view.raw) {
		s.best, s.view.raw = z, t
		s.bar = min(s.noisy, s.best)
	}
	return s.skip == nil || !s.skip.has(t)
}

// consider offers a token if its byte lets it reach the heap.
func (s *scan) consider(t Token, z float32, hi byte) {
	u := s.view.noise
	if !u.isSettled(t) {
		if s.fresh && u.capped.has(t) {
			return // its logit is bounded by that of the model's best token; see exceptions
		}
		if root, full := s.root(); full && float32(float64(z)+u.upper[hi]) < root {
			return
		}
		z = s.view.settle(t, hi)
	}
	s.offer(t, z)
}

// offer puts a logit into the heap if it ranks among the first.
func (s *scan) offer(t Token, z float32) {
	r := ranked{z, int32(t)}
	switch {
	case s.floored:
		if z < s.floor || s.overflow {
			return
		}
		if s.overflow = len(s.heap) == cap(s.heap); s.overflow {
			s.bar = float32(math.Inf(1)) // nothing more is wanted
			return
		}
		s.heap = append(s.heap, r)
		return
	case len(s.heap) < cap(s.heap):
		s.heap = append(s.heap, r)
		siftUp(s.heap)
	case compareRank(r, s.heap[0]) < 0:
		s.heap[0] = r
		siftDown(s.heap)
	default:
		return
	}
	s.reset()
}

// root is the logit that a token must reach, if there is one.
func (s *scan) root() (float32, bool) {
	if s.floored {
		return s.floor, true
	}
	if len(s.heap) < cap(s.heap) {
		return 0, false
	}
	return s.heap[0].logit, true
}

// reset computes the bar anew: the largest logit that noise of at most reach leaves below the root of a full heap. Without
// noise it is the root itself, which an equal logit with a higher id does not outrank.
func (s *scan) reset() {
	s.noisy = negativeInfinity
	if s.overflow {
		return
	}
	if root, full := s.root(); full {
		if s.view.noise == nil || s.view.noise.whole {
			s.noisy = root
		} else {
			s.noisy = float32(float64(root) - s.reach)
			for !(float32(float64(s.noisy)+s.reach) < root) {
				s.noisy = math.Nextafter32(s.noisy, negativeInfinity)
			}
		}
	}
	s.bar = s.noisy
	if s.fresh {
		s.bar = min(s.bar, s.best)
	}
}

// exceptions ends a survey: it adds what the noise of a token may depend on only once the model's best is known.
func (s *scan) exceptions() {
	v, u := s.view, s.view.noise
	s.fresh = false
	s.reset()
	raw := v.raw
	if !u.isSettled(raw) {
		v.settle(raw, u.field.hi(raw))
	}
	if u.keep.has(raw) { // an end of the answer that nothing may postpone
		top := foremost(s.heap)
		if z := v.row[raw]; top.at >= 0 && compareRank(top, ranked{z, int32(raw)}) < 0 {
			v.row[raw] = top.logit
			if top.at < int32(raw) {
				v.row[raw] = min(math.Nextafter32(top.logit, math.MaxFloat32), math.MaxFloat32)
			}
		}
	}
	u.ceiling = v.row[raw]
	if u.capped.has(raw) {
		s.offer(raw, v.row[raw])
	}
	if cap(s.heap) == 1 {
		return // no capped token ranks before the model's best
	}
	for _, t := range u.capped.list {
		if t != raw && v.row[t] > s.bar {
			s.consider(t, v.row[t], u.field.hi(t))
		}
	}
}
