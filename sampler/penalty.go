package sampler

import "math"

// penalties lowers tokens that occurred before. Its tallies are dense over the vocabulary, made once, and list their
// members, so that a step costs as much as there are distinct tokens, not as the vocabulary is long.
type penalties struct {
	frequency, presence float64
	repeat              float64
	window              int

	answer counts    // nil without frequency and presence
	recent sightings // nil without repeat
	now    int
	dry    *dry
}

// any reports whether a logit may be moved.
func (p *penalties) any() bool { return p.answer.of != nil || p.recent.last != nil || p.dry != nil }

const defaultRepeatLastN = 64

func newPenalties(p *Params, vocab int) penalties {
	pen := penalties{frequency: p.FrequencyPenalty, presence: p.PresencePenalty, repeat: p.RepeatPenalty, dry: newDRY(&p.DRY, vocab)}
	if pen.frequency != 0 || pen.presence != 0 {
		pen.answer = counts{of: make([]int32, vocab), members: make([]Token, 0, vocab)}
	}
	if pen.repeat != 0 && pen.repeat != 1 {
		pen.recent = sightings{last: make([]int32, vocab), members: make([]Token, 0, vocab)}
	}
	switch p.RepeatLastN {
	case 0:
		pen.window = defaultRepeatLastN
	case -1:
		pen.window = math.MaxInt
	default:
		pen.window = p.RepeatLastN
	}
	return pen
}

// prompt counts a token of the prompt: only the repeat penalty and DRY look at those.
func (p *penalties) prompt(t Token) {
	p.now++
	p.recent.see(t, p.now)
	p.dry.see(t)
}

// accept counts a token of the answer.
func (p *penalties) accept(t Token) {
	p.prompt(t)
	p.answer.add(t)
}

// apply runs the penalties in the pipeline's order, with llama.cpp's signs:
//
//	z ← z - frequency·count - presence        for tokens of the answer
//	z ← z/repeat if z > 0, else z·repeat      for tokens among the last window ones
//
// and then DRY.
func (p *penalties) apply(v *view) {
	for _, t := range p.answer.members {
		v.set(t, float32(float64(v.at(t))-float64(p.frequency*float64(p.answer.of[t]))-p.presence))
	}
	p.recent.forget(p.now - p.window)
	for _, t := range p.recent.members {
		v.set(t, repeated(v.at(t), p.repeat))
	}
	p.dry.apply(v)
}

// repeated is the repeat penalty of one logit. A tiny penalty may not turn a finite logit into an infinite one.
func repeated(z float32, penalty float64) float32 {
	if z > 0 {
		return float32(min(float64(z)/penalty, math.MaxFloat32))
	}
	return float32(float64(z) * penalty)
}

// counts is a multiset of tokens.
type counts struct {
	of      []int32
	members []Token // each once
}

func (c *counts) add(t Token) {
	if uint(t) >= uint(len(c.of)) {
		return // no tally is kept, or the token has no logit
	}
	if c.of[t] == 0 {
		c.members = append(c.members, t)
	}
	c.of[t]++
}

// sightings remembers when each token was last seen. Positions count from 1; 0 says that the token is no member.
type sightings struct {
	last    []int32
	members []Token // each once
}

func (s *sightings) see(t Token, now int) {
	if uint(t) >= uint(len(s.last)) {
		return // no record is kept, or the token has no logit
	}
	if s.last[t] == 0 {
		s.members = append(s.members, t)
	}
	s.last[t] = int32(now)
}

// forget drops the tokens that were last seen at or before a position.
func (s *sightings) forget(position int) {
	kept := s.members[:0]
	for _, t := range s.members {
		if int(s.last[t]) <= position {
			s.last[t] = 0
		} else {
			kept = append(kept, t)
		}
	}
	s.members = kept
}
