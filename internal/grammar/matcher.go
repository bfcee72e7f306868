package grammar

import (
	"errors"
	"fmt"
	"math"
	"math/bits"

	"aim/sampler"
)

// ErrStuck says that no token of the vocabulary continues the text, which is not complete either.
var ErrStuck = errors.New("grammar: no token of the model can continue the text")

// Matcher holds an answer to a grammar; it is a [sampler.Mask]. It is not safe for concurrent use. In the steady state it
// allocates nothing.
type Matcher struct {
	v     *Vocabulary
	a     *automaton
	at    int32 // the state after what was accepted
	ended bool

	path  []int32 // scratch: the states along a path of the trie
	masks []mask
	turn  int
	none  []uint64
}

// mask is the tokens allowed in a state, ends aside, as bits.
type mask struct {
	state int32
	bits  []uint64
}

// cachedMasks is how many masks are remembered: a text moves between few kinds of places, and comes back to them.
const cachedMasks = 16

// Matcher returns a matcher at the start of a text.
func (g *Grammar) Matcher(v *Vocabulary) *Matcher {
	a, start := newAutomaton(g)
	return &Matcher{v: v, a: a, at: start}
}

// Clone returns a matcher in the same place, which goes its own way.
func (m *Matcher) Clone() *Matcher {
	c := &Matcher{v: m.v, ended: m.ended}
	c.a, c.at = m.a.clone(m.at)
	return c
}

// Err says why the text cannot go on: [ErrBudget], [ErrStuck], or an error that names a token which was accepted although the
// grammar forbids it. From then on only the tokens that end an answer are allowed.
func (m *Matcher) Err() error { return m.a.err }

// Complete reports whether the text so far is a text of the grammar.
func (m *Matcher) Complete() bool { return m.a.err == nil && m.at > 0 && m.a.states[m.at].complete }

// mayEnd reports whether the ends are allowed.
func (m *Matcher) mayEnd() bool { return m.a.err != nil || m.ended || m.Complete() }

// Allows implements [sampler.Mask]. It changes nothing, but that the tables grow and the step's budget shrinks.
func (m *Matcher) Allows(t sampler.Token) bool {
	switch {
	case t < 0 || int(t) >= m.v.size:
		return false
	case m.v.ending(t):
		return m.mayEnd()
	case m.stopped():
		return false
	}
	m.at = m.reclaim(m.at)
	return m.follow(m.v.piece(t)) > 0 && m.a.err == nil
}

// stopped reports whether only ends are allowed.
func (m *Matcher) stopped() bool { return m.a.err != nil || m.ended || m.at <= 0 }

// follow returns the state after a piece, dead after none.
func (m *Matcher) follow(piece []byte) int32 {
	if len(piece) == 0 {
		return dead
	}
	s := m.at
	for _, b := range piece {
		if s = m.a.step(s, b); s == dead {
			return dead
		}
	}
	return s
}

// Accept implements [sampler.Mask].
func (m *Matcher) Accept(t sampler.Token) {
	if m.stopped() || t < 0 || int(t) >= m.v.size {
		return
	}
	if m.v.ending(t) {
		m.ended = true
		return
	}
	m.at = m.reclaim(m.at)
	m.a.work = max(m.a.work, stepWork/2) // what choosing the token has cost must not keep it from being taken
	s := m.follow(m.v.piece(t))
	if m.a.err == nil && s == dead {
		m.a.err = fmt.Errorf("grammar: token %d (%q) does not continue the text", t, m.v.piece(t))
	}
	m.at = s
	m.a.work = stepWork
}

// Apply implements [sampler.Mask]: logits, one for each token, becomes -Inf where a token is not allowed.
func (m *Matcher) Apply(logits []float32) {
	allowed := m.allowed()
	ends := m.mayEnd()
	inf := float32(math.Inf(-1))
	for w, word := range allowed {
		if ends {
			word |= m.v.isEnd[w]
		}
		rest := ^word
		row := logits[min(w*64, len(logits)):min(w*64+64, len(logits))]
		if rest == math.MaxUint64 {
			for i := range row {
				row[i] = inf
			}
			continue
		}
		for ; rest != 0; rest &= rest - 1 {
			if i := bits.TrailingZeros64(rest); i < len(row) {
				row[i] = inf
			}
		}
	}
}

// allowed returns the tokens with text that may come next, as bits.
func (m *Matcher) allowed() []uint64 {
	if !m.stopped() {
		m.at = m.reclaim(m.at)
		if b := m.maskOf(m.at); m.a.err == nil {
			return b
		}
	}
	if m.none == nil {
		m.none = make([]uint64, len(m.v.isEnd))
	}
	return m.none
}

// reclaim is the automaton's; masks of states that are gone are, too.
func (m *Matcher) reclaim(s int32) int32 {
	if m.a.full() {
		m.forget()
	}
	return m.a.reclaim(s)
}

func (m *Matcher) forget() {
	for i := range m.masks {
		m.masks[i].state = 0
	}
}

// maskOf returns the mask of the present state.
func (m *Matcher) maskOf(s int32) []uint64 {
	if i := m.a.states[s].mask; i >= 0 {
		return m.masks[i].bits
	}
	if len(m.masks) < cachedMasks {
		m.masks = append(m.masks, mask{bits: make([]uint64, len(m.v.isEnd))})
		m.turn = len(m.masks) - 1
	} else {
		m.turn = (m.turn + 1) % cachedMasks
	}
	slot := &m.masks[m.turn]
	if slot.state > 0 {
		m.a.states[slot.state].mask = -1
	}
	clear(slot.bits)
	if !m.walk(slot.bits) && !m.Complete() && m.a.err == nil {
		m.a.err = ErrStuck
	}
	slot.state = m.at
	m.a.states[m.at].mask = int32(m.turn)
	return slot.bits
}

// walk sets the bits of the tokens that may come next, and reports whether there are any.
func (m *Matcher) walk(bits []uint64) bool {
	v, found := m.v, false
	if cap(m.path) <= v.depth {
		m.path = make([]int32, v.depth+1)
	}
	path := m.path[:v.depth+1]
	for i := int32(0); int(i) < len(v.nodes) && m.a.err == nil; {
		n := &v.nodes[i]
		if n.depth == 0 { // nothing but the start is held here
			m.at = m.reclaim(m.at)
			path[0] = m.at
		}
		s := m.a.step(path[n.depth], n.label)
		if s == dead {
			i = n.skip
			continue
		}
		path[n.depth+1] = s
		for _, t := range v.tokens[n.lo:n.hi] {
			bits[t/64] |= 1 << (t % 64)
			found = true
		}
		i++
	}
	return found
}
