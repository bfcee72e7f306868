package sampler

import (
	"math"
	"math/rand/v2"
	"slices"
)

// walk is how a step gets by without the whole row of a mask, which for a grammar costs far more than the questions about a few
// tokens. Each way has the distribution that the masked row gives; all but walkDraw choose, for the same coin, the same token.
// Where the mask refuses too much, a step turns to the whole row.
type walk struct {
	kind    walkKind
	ranking []ranked  // scratch: its capacity is how many tokens are looked at
	mass    []float64 // top-p: weight of the allowed tokens up to each
	spare   rand.PCG  // coins after the first of a step, from which they follow
}

type walkKind int

const (
	// walkNone is for what needs the whole row, be it that somebody looks at it or that a stage does.
	walkNone walkKind = iota
	// walkBest looks for the first-ranked token that is allowed.
	walkBest
	// walkTopK looks for the k first-ranked ones.
	walkTopK
	// walkTopP goes down the ranking until what it has not asked about cannot change where the nucleus ends.
	walkTopP
	// walkDraw draws as if there were no mask, and again without the token if that is refused: what is left keeps its
	// proportions. Somebody who looks at the row must not change the token, so that it is used then as well.
	walkDraw
)

const (
	// mostRefusals is after how many of them a step turns to the whole row.
	mostRefusals = 64
	// mostNucleus is how many tokens walkTopP asks about at most.
	mostNucleus = 256
	// massDoubt is what rounding may make of a sum of weights, relatively, and more.
	massDoubt = 1e-9
)

func newWalk(p *Params, vocab int, looked bool) (w walk) {
	if p.Mask == nil {
		return w
	}
	room := 0
	needsRow := p.Mirostat != 0 || p.DynatempRange > 0 || p.TopNSigma > 0
	switch {
	case p.Temperature == 0:
		w.kind, room = walkBest, 1+mostRefusals
	case needsRow:
	case p.TopK > 0 && p.TopK < vocab:
		w.kind, room = walkTopK, p.TopK+mostRefusals
	case p.typical():
	case p.nucleus():
		w.kind, room = walkTopP, mostNucleus
	case p.XTCProbability == 0:
		w.kind, room = walkDraw, 1+mostRefusals
	}
	if looked && w.kind != walkDraw {
		return walk{}
	}
	w.ranking = make([]ranked, 0, min(room, vocab))
	if w.kind == walkTopP {
		w.mass = make([]float64, 0, cap(w.ranking))
	}
	return w
}

// allows asks the mask about one token, which the model or a stage before has not forbidden.
func (s *Sampler) allows(t Token) bool {
	return (!s.unending() || !s.ends.has(t)) && s.p.Mask.Allows(t)
}

// lazily runs stages 5 to 15 without the whole row of the mask. It is false where that cannot be done; c is then what is left to
// draw with.
func (s *Sampler) lazily(c *coins) (Token, bool) {
	if s.walk.kind == walkNone {
		return 0, false
	}
	if _, err := s.view.best(); err != nil {
		return 0, false
	}
	switch s.walk.kind {
	case walkTopK:
		if list, to, ok := s.walkTopK(); ok {
			left := s.selection.afterTopK(s.selection.listed(list, to), &s.p, c.xtc)
			return s.selection.draw(left, c.draw), true
		}
	case walkTopP:
		if list, to, ok := s.walkTopP(); ok {
			left := s.selection.afterTopP(s.selection.listed(list, to), &s.p, c.xtc)
			return s.selection.draw(left, c.draw), true
		}
	default:
		top, ok := s.walkBest()
		if !ok || s.walk.kind == walkBest {
			return Token(top.at), ok
		}
		return s.walkDraw(top, c)
	}
	return 0, false
}

// rank fills the ranking with the first-ranked tokens, in order.
func (s *Sampler) rank() []ranked {
	if !s.lone {
		s.walk.ranking = s.view.leaders(s.walk.ranking)
	}
	slices.SortFunc(s.walk.ranking, compareRank)
	return s.walk.ranking
}

// walkBest returns the first-ranked token that is allowed, and forbids those before it.
func (s *Sampler) walkBest() (ranked, bool) {
	top, err := s.view.best()
	if err != nil {
		return ranked{}, false
	}
	if s.allows(top) {
		return ranked{s.view.at(top), int32(top)}, true
	}
	list := s.rank()
	for i := 1; i < len(list); i++ {
		if s.allows(Token(list[i].at)) {
			s.view.drop(list[:i], list[i])
			return list[i], true
		}
	}
	return ranked{}, false
}

// walkTopK returns the k first-ranked tokens that are allowed, in ascending order.
func (s *Sampler) walkTopK() ([]ranked, scale, bool) {
	list := s.rank()
	kept, refused := list[:0], 0
	for _, r := range list {
		if !s.allows(Token(r.at)) {
			if refused++; refused > mostRefusals {
				break
			}
			continue
		}
		if kept = append(kept, r); len(kept) == s.p.TopK {
			to := s.temper(kept[0].logit)
			slices.SortFunc(kept, compareID)
			return kept, to, true
		}
	}
	return nil, scale{}, false
}

// walkTopP returns the tokens of the nucleus, in ascending order.
//
// Of the weight W of all allowed tokens it knows that A ≤ W ≤ A+U, with A that of the allowed tokens so far and U that of all
// tokens to come. The nucleus ends with the first token up to which there is pW; once that is the same one for both bounds,
// it is known.
func (s *Sampler) walkTopP() (nucleus []ranked, to scale, ok bool) {
	list := s.rank()
	first := 0
	for ; first < len(list) && !s.allows(Token(list[first].at)); first++ {
		if first == mostRefusals {
			return nil, to, false
		}
	}
	if first == len(list) {
		return nil, to, false
	}
	s.view.drop(list[:first], list[first])
	to = s.temper(list[first].logit)
	p, rest, allowed := s.p.TopP, s.selection.sum(candidates{logits: s.view.all(), scale: to}), 0.0
	doubt := massDoubt * rest
	kept, mass := list[:0], s.walk.mass[:0]
	end := 0
	for i := first; i < len(list); i++ {
		r := list[i]
		w := decay(to.depth(r.logit))
		rest -= w
		if i == first || s.allows(Token(r.at)) {
			allowed += w
			kept, mass = append(kept, r), append(mass, allowed)
		}
		for mass[end] < p*allowed-doubt { // ends, since the last is all that is allowed
			end++
		}
		if mass[end] >= p*(allowed+max(rest, 0))+doubt {
			nucleus = kept[:end+1]
			slices.SortFunc(nucleus, compareID)
			return nucleus, to, true
		}
	}
	return nil, to, false
}

// walkDraw draws from the row, of which top is the first-ranked token that is allowed and those before it are forbidden. What else
// is refused is forbidden as well, and the next coin follows from the first one.
func (s *Sampler) walkDraw(top ranked, coin *coins) (Token, bool) {
	sel := &s.selection
	c := sel.minP(sel.topK(&s.view, s.temper(top.logit), false), s.p.MinP)
	sel.sum(c)
	s.walk.spare.Seed(math.Float64bits(coin.draw), 0)
	for range mostRefusals {
		i := sel.pick(c, coin.draw)
		if t := c.id(i); int32(t) == top.at || s.allows(t) {
			return t, true
		}
		c.logits[i] = negativeInfinity
		sel.resum(c, i/drawBlock)
		coin.draw = float64(s.walk.spare.Uint64()>>11) / (1 << 53)
	}
	return 0, false
}
