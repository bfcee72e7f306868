package grammar

import (
	"cmp"
	"math/bits"
	"slices"
	"unicode/utf8"
)

// span is the code points from lo to hi, both included.
type span struct{ lo, hi rune }

// set is a set of code points. The first 128 are bits, the others sorted spans that do not touch. Surrogates are no members.
type set struct {
	ascii [2]uint64
	spans []span
}

// newSet returns the set of the code points in spans, or of those in none.
func newSet(spans []span, negated bool) *set {
	spans = merge(spans)
	if negated {
		spans = complement(spans)
	}
	s := &set{}
	for _, p := range spans {
		for r := p.lo; r <= min(p.hi, utf8.RuneSelf-1); r++ {
			s.ascii[r>>6] |= 1 << (r & 63)
		}
		if p.hi >= utf8.RuneSelf {
			s.spans = append(s.spans, span{max(p.lo, utf8.RuneSelf), p.hi})
		}
	}
	return s
}

// merge sorts spans and joins those that overlap or touch.
func merge(spans []span) []span {
	spans = slices.Clone(spans)
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.lo, b.lo) })
	var merged []span
	for _, p := range spans {
		if last := len(merged) - 1; last >= 0 && p.lo <= merged[last].hi+1 {
			merged[last].hi = max(merged[last].hi, p.hi)
		} else {
			merged = append(merged, p)
		}
	}
	return merged
}

// complement returns what sorted spans leave out.
func complement(spans []span) []span {
	var rest []span
	from := rune(0)
	for _, p := range spans {
		if p.lo > from {
			rest = append(rest, span{from, p.lo - 1})
		}
		from = p.hi + 1
	}
	if from <= utf8.MaxRune {
		rest = append(rest, span{from, utf8.MaxRune})
	}
	return rest
}

// has reports whether r, a valid code point, is a member.
func (s *set) has(r rune) bool {
	if r < utf8.RuneSelf {
		return s.ascii[r>>6]>>(r&63)&1 != 0
	}
	return s.touches(r, r)
}

// touches reports whether a code point from lo to hi is a member; lo is at least 0x80.
func (s *set) touches(lo, hi rune) bool {
	i, _ := slices.BinarySearchFunc(s.spans, lo, func(p span, lo rune) int { return cmp.Compare(p.hi, lo) })
	return i < len(s.spans) && s.spans[i].lo <= hi
}

// single returns the only member of s, where it has one.
func (s *set) single() (rune, bool) {
	n := bits.OnesCount64(s.ascii[0]) + bits.OnesCount64(s.ascii[1])
	switch {
	case n == 1 && len(s.spans) == 0:
		if s.ascii[0] != 0 {
			return rune(bits.TrailingZeros64(s.ascii[0])), true
		}
		return 64 + rune(bits.TrailingZeros64(s.ascii[1])), true
	case n == 0 && len(s.spans) == 1 && s.spans[0].lo == s.spans[0].hi:
		return s.spans[0].lo, true
	}
	return 0, false
}
