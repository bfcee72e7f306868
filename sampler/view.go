package sampler

import (
	"math"
	"slices"
)

// view is a row as the stages see it: after stage 1, but with the noise of a token computed only where somebody looks. A token
// that has its noise is settled; for the others the row holds the raw logit. Every value, and every order of tokens, that
// a view tells is that of the row with all of its noise: what it leaves out is what a bound proves irrelevant.
//
// survey begins a step; after it stages use at, set, best and leaders, or all for the whole row. Who writes to the row itself
// calls rewritten afterwards.
type view struct {
	row []float32
	raw Token  // the model's own first-ranked token; -1 if no logit is finite
	top ranked // the first-ranked token after stage 1; its place is -1 if there is none

	lead    []ranked // the first-ranked of the tokens not set since it was found: one, or none if no logit is finite
	stale   bool     // lead must be found again
	changed []Token  // the tokens set since, each once
	isSet   bitset   // the same as a set
	err     error    // ErrNotFinite, once a logit was set to NaN or +Inf

	noise *utility // nil without
	one   [1]ranked
}

// newView returns a view of rows of vocab logits, of which most different ones may be set without an allocation.
func newView(vocab, most int, noise *utility) view {
	return view{
		lead:    make([]ranked, 0, 1),
		changed: make([]Token, 0, most),
		isSet:   newBitset(vocab),
		noise:   noise,
	}
}

// survey takes a row as it left the model: it finds raw and top and checks that no logit is NaN or +Inf. The heap h is
// filled with the cap(h) ≥ 1 first-ranked finite logits after stage 1; its root ranks last of them.
func (v *view) survey(row []float32, h []ranked) ([]ranked, error) {
	v.row, v.raw, v.top, v.err = row, -1, ranked{at: -1}, nil
	v.lead = v.lead[:0]
	v.unset()
	if v.noise != nil {
		v.noise.begin()
	}
	s := scan{view: v, heap: h[:0], fresh: true, best: negativeInfinity}
	if err := s.run(); err != nil || v.raw < 0 {
		return s.heap, err
	}
	if v.noise != nil {
		s.exceptions()
	}
	v.top = foremost(s.heap)
	v.lead = append(v.lead, v.top)
	return s.heap, nil
}

// unset forgets what was set.
func (v *view) unset() {
	for _, t := range v.changed {
		v.isSet.remove(t)
	}
	v.changed = v.changed[:0]
	v.stale = false
}

// at is the logit of a token.
func (v *view) at(t Token) float32 {
	if v.noise != nil && !v.noise.isSettled(t) {
		v.settle(t, v.noise.field.hi(t))
	}
	return v.row[t]
}

// set replaces the logit of a token, which at has told before.
func (v *view) set(t Token, z float32) {
	if !(z <= math.MaxFloat32) {
		v.err = ErrNotFinite
	}
	v.row[t] = z
	if !v.isSet.has(t) {
		v.isSet.add(t)
		v.changed = append(v.changed, t)
	}
}

// rewritten says that any logits were set to -Inf behind the view's back, or after all to anything.
func (v *view) rewritten() {
	v.unset()
	v.stale = true
}

// best returns the first-ranked token, or ErrNotFinite or ErrNoCandidate.
func (v *view) best() (Token, error) {
	r, err := v.bestBut(nil)
	if err == nil && r.at < 0 {
		err = ErrNoCandidate
	}
	return Token(r.at), err
}

// bestBut returns the first-ranked token outside a set, which may be nil; its place is -1 if no logit there is finite.
func (v *view) bestBut(skip *marks) (ranked, error) {
	if v.stale || len(v.lead) > 0 && v.isSet.has(Token(v.lead[0].at)) {
		v.unset()
		s := scan{view: v, heap: v.lead[:0]}
		if err := s.run(); err != nil {
			v.err = err
		}
		v.lead = s.heap
	}
	if v.err != nil {
		return ranked{at: -1}, v.err
	}
	lead := v.lead
	if skip != nil && len(lead) > 0 && skip.has(Token(lead[0].at)) {
		s := scan{view: v, heap: v.one[:0], skip: skip}
		err := s.run()
		return foremost(s.heap), err
	}
	r := foremost(lead)
	for _, t := range v.changed {
		if skip != nil && skip.has(t) || v.row[t] == negativeInfinity {
			continue
		}
		if c := (ranked{v.row[t], int32(t)}); r.at < 0 || compareRank(c, r) < 0 {
			r = c
		}
	}
	return r, nil
}

// leaders fills h[:0] with the cap(h) first-ranked finite logits, as a heap whose root ranks last of them.
func (v *view) leaders(h []ranked) []ranked {
	s := scan{view: v, heap: h[:0]}
	if err := s.run(); err != nil {
		v.err = err
	}
	return s.heap
}

// from fills list[:0] with the tokens whose logit is at least floor, in ascending order. It is false if there are more than the
// list has room for.
func (v *view) from(floor float32, list []ranked) ([]ranked, bool) {
	s := scan{view: v, heap: list[:0], floor: floor, floored: true}
	if err := s.run(); err != nil {
		v.err = err
	}
	slices.SortFunc(s.heap, compareID)
	return s.heap, !s.overflow
}

// all settles every token and returns the row.
func (v *view) all() []float32 {
	if v.noise != nil && !v.noise.whole {
		v.settleAll()
	}
	return v.row
}

// foremost is the first-ranked of a heap, or of none one whose place is -1.
func foremost(h []ranked) ranked {
	if len(h) == 0 {
		return ranked{at: -1}
	}
	r := h[0]
	for _, c := range h[1:] {
		if compareRank(c, r) < 0 {
			r = c
		}
	}
	return r
}

// settle adds a token's noise; hi is the leading byte of its uniform.
func (v *view) settle(t Token, hi byte) float32 {
	u := v.noise
	e := normal(u.field.complete(t, hi))
	z := noisy(v.row[t], u.sigma, e)
	if u.capped.has(t) && t != v.raw {
		// Not the noise of the model's best token: who sees the difference of the two would see it without noise, and so know which token that is.
		z = min(noisy(min(v.row[t], u.ceiling), u.sigma, -math.Abs(e)), math.Nextafter32(u.ceiling, negativeInfinity))
	}
	v.row[t] = z
	u.settled.add(t)
	*u.exact++
	return z
}

// settleAll settles what is not.
func (v *view) settleAll() {
	u := v.noise
	for _, t := range u.capped.list {
		v.at(t)
	}
	*u.exact += uint64(u.field.add(v.row, u.sigma, u.settled))
	u.whole = true
}

// drop forbids the tokens that rank before one that is known to be the first of the others.
func (v *view) drop(before []ranked, first ranked) {
	if len(before) == 0 {
		return
	}
	for _, r := range before {
		v.row[r.at] = negativeInfinity
	}
	v.unset()
	v.lead = append(v.lead[:0], first)
}
