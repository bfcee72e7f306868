package grammar

import (
	"errors"
	"slices"
	"unicode/utf8"
)

// ErrBudget says that a grammar is so ambiguous, or its text nested so deep, that a step would cost more than is allowed.
var ErrBudget = errors.New("grammar: the grammar needs more than the time or memory allowed for a token")

// What an automaton may cost. Beyond a soft bound the tables are emptied between two steps, beyond a hard one the step fails.
const (
	// stepWork is the work of a step: one for each character set looked at, costNode for each node passed.
	stepWork = 1 << 20
	costNode = 4

	softStates, hardStates   = 1 << 12, 1 << 14
	softConfigs, hardConfigs = 1 << 16, 1 << 18
	softFrames, hardFrames   = 1 << 13, 1 << 16
	maxPlaces, maxSeen       = 1 << 13, 1 << 15 // of a set, and passed on the way to it
	maxRows                  = 1 << 10
)

// The states that every automaton has.
const (
	unknown int32 = 0 // in a row: not computed yet
	dead    int32 = -1
)

// state is a set of places, or such a set and the first bytes of a rune.
type state struct {
	lo, hi   int32     // in configs
	base     int32     // inside a rune: the state before it
	value    int32     // the bits of the rune so far
	need     int8      // how many bytes are missing
	size     int8      // how many bytes the rune has
	complete bool      // the text may end here
	beyond   bool      // some place reads code points beyond ASCII
	first    [2]uint64 // the ASCII characters that some place reads, as bits
	row      int32     // index of its row, -1 without
	mask     int32     // index of its mask, -1 without
	hash     uint32
	chain    int32 // the next state of the same bucket
}

// automaton steps through texts of a grammar byte by byte. Its tables grow as it is used; states keep their numbers until
// reclaim.
type automaton struct {
	*Grammar
	stacks
	configs []config
	states  []state // the first one is no state
	buckets []int32
	rows    [][256]int32
	kept    int // frames that the last reclaim left
	work    int
	err     error

	// Scratch of a step.
	seen  places
	todo  []config
	found []config
}

const stateBuckets = 1 << 10

// newAutomaton returns an automaton and the state before the text.
func newAutomaton(g *Grammar) (*automaton, int32) {
	a := &automaton{Grammar: g, buckets: make([]int32, stateBuckets), work: stepWork}
	a.stacks.reset()
	a.reset()
	a.begin()
	a.enter(g.start, 0)
	return a, a.intern()
}

func (a *automaton) reset() {
	clear(a.buckets)
	a.states = append(a.states[:0], state{})
	a.rows = a.rows[:0]
}

// clone returns a copy that has only state s, and its number there.
func (a *automaton) clone(s int32) (*automaton, int32) {
	b := &automaton{Grammar: a.Grammar, buckets: make([]int32, stateBuckets), work: a.work, err: a.err}
	b.stacks.reset()
	b.frames = slices.Clone(a.frames)
	if s <= 0 {
		b.reset()
		return b, s
	}
	st := a.states[s]
	b.configs = slices.Clone(a.configs[st.lo:st.hi])
	st.lo, st.hi = 0, int32(len(b.configs))
	return b, b.restart(st)
}

// full reports whether the tables have reached their soft bounds.
func (a *automaton) full() bool {
	return len(a.states) > softStates || len(a.configs) > softConfigs || len(a.frames) > softFrames+2*a.kept || len(a.rows) == maxRows
}

// reclaim empties the tables, if they are full, but for state s, and returns its new number.
func (a *automaton) reclaim(s int32) int32 {
	if !a.full() || s <= 0 {
		return s
	}
	st := a.states[s]
	a.configs = a.configs[:copy(a.configs, a.configs[st.lo:st.hi])]
	st.lo, st.hi = 0, int32(len(a.configs))
	return a.restart(st)
}

// restart makes st, whose places are all the configs there are, the only state.
func (a *automaton) restart(st state) int32 {
	a.keep(a.configs)
	a.kept = len(a.frames)
	a.found = append(a.found[:0], a.configs...)
	a.configs = a.configs[:0]
	a.reset()
	s := a.intern()
	if st.need > 0 && s > 0 {
		s = a.partial(s, st.value, st.need, st.size)
	}
	return s
}

// fail stops the automaton.
func (a *automaton) fail() int32 {
	if a.err == nil {
		a.err = ErrBudget
	}
	return dead
}

// step returns the state after a byte, dead if no text goes on like that. After an error everything is dead.
func (a *automaton) step(s int32, b byte) int32 {
	r := a.states[s].row
	if r >= 0 {
		if t := a.rows[r][b]; t != unknown {
			return t
		}
	}
	t := a.next(s, b)
	if a.err != nil {
		return dead
	}
	if r < 0 && len(a.rows) < maxRows {
		a.rows = append(a.rows, [256]int32{})
		r = int32(len(a.rows) - 1)
		a.states[s].row = r
	}
	if r >= 0 {
		a.rows[r][b] = t
	}
	return t
}

// next computes what step remembers.
func (a *automaton) next(s int32, b byte) int32 {
	st := a.states[s]
	if st.need == 0 {
		switch {
		case b < utf8.RuneSelf:
			if st.first[b>>6]>>(b&63)&1 == 0 {
				return dead
			}
			return a.advance(st, rune(b))
		case !st.beyond:
			return dead
		case b >= 0xC2 && b < 0xE0:
			return a.partial(s, int32(b&0x1F), 1, 2)
		case b >= 0xE0 && b < 0xF0:
			return a.partial(s, int32(b&0x0F), 2, 3)
		case b >= 0xF0 && b < 0xF5:
			return a.partial(s, int32(b&0x07), 3, 4)
		}
		return dead
	}
	if b&0xC0 != 0x80 {
		return dead
	}
	value := st.value<<6 | int32(b&0x3F)
	if st.need > 1 {
		return a.partial(st.base, value, st.need-1, st.size)
	}
	if least := leastRune[st.size]; value < least || !utf8.ValidRune(value) {
		return dead
	}
	return a.advance(st, value)
}

// leastRune is the smallest code point that needs so many bytes.
var leastRune = [...]rune{2: 0x80, 3: 0x800, 4: 0x10000}

// partial returns the state inside a rune that begins at base, if some place there can read such a rune.
func (a *automaton) partial(base, value int32, need, size int8) int32 {
	lo := max(value<<(6*need), leastRune[size])
	hi := min(value<<(6*need)|(1<<(6*need)-1), utf8.MaxRune)
	if lo > hi || lo >= 0xD800 && hi <= 0xDFFF {
		return dead
	}
	st := a.states[base]
	st.base, st.value, st.need, st.size, st.complete = base, value, need, size, false
	for _, c := range a.configs[st.lo:st.hi] {
		a.work--
		if n := a.nodes[c.node()]; n.op == opSet && a.sets[n.arg].touches(lo, hi) {
			return a.addState(st, hash(uint64(uint32(base)), uint64(uint32(value))<<8|uint64(need)<<4|uint64(size)))
		}
	}
	return a.check(dead)
}

// advance returns the state after a whole rune.
func (a *automaton) advance(st state, r rune) int32 {
	a.begin()
	for i := st.lo; i < st.hi; i++ {
		c := a.configs[i]
		a.work--
		if n := a.nodes[c.node()]; n.op == opSet && a.sets[n.arg].has(r) {
			a.enter(n.next, c.stack())
		}
	}
	return a.intern()
}

// begin starts a set of places.
func (a *automaton) begin() {
	a.seen.reset()
	a.found = a.found[:0]
}

// enter adds the places that are reached from a node without reading.
func (a *automaton) enter(n, stack int32) {
	a.visit(n, stack)
	for len(a.todo) > 0 && !a.spent() {
		c := a.todo[len(a.todo)-1]
		a.todo = a.todo[:len(a.todo)-1]
		a.pass(c.node(), c.stack())
	}
	a.todo = a.todo[:0]
}

// visit puts a place on the list, if it is new. Edges of a split are work.
func (a *automaton) visit(n, stack int32) {
	a.work -= costNode
	if c := newConfig(n, stack); !a.spent() && a.seen.add(c) {
		a.todo = append(a.todo, c)
	}
}

// pass goes through a node that reads nothing.
func (a *automaton) pass(at, stack int32) {
	n := &a.nodes[at]
	switch n.op {
	case opSet, opEnd:
		a.found = append(a.found, newConfig(at, stack))
	case opReturn:
		if stack == 0 {
			a.visit(nodeEnd, 0)
			return
		}
		f := a.frames[stack]
		a.visit(f.node, f.parent)
	case opCall:
		a.visit(n.arg, a.push(stack, n.next, 0))
	case opTail:
		a.visit(n.arg, stack)
	case opSplit:
		for _, e := range a.edges[n.arg : n.arg+n.min] {
			a.visit(e, stack)
		}
	case opLoop:
		if n.min == 0 {
			a.visit(n.next, stack)
		}
		a.visit(n.arg, a.push(stack, at, 0))
	case opAgain:
		f := a.frames[stack]
		a.again(n.arg, f.parent, f.count+1)
	}
}

// again goes on after a loop's body was there count times.
func (a *automaton) again(loop, stack, count int32) {
	n := &a.nodes[loop]
	if count >= n.min {
		a.visit(n.next, stack)
	}
	if n.max == unbounded {
		a.visit(n.arg, a.push(stack, loop, min(count, n.min)))
	} else if count < n.max {
		a.visit(n.arg, a.push(stack, loop, count))
	}
}

// spent reports whether the set that is being made costs too much.
func (a *automaton) spent() bool {
	return a.work <= 0 || len(a.frames) >= hardFrames || len(a.found) >= maxPlaces || a.seen.used >= maxSeen
}

// check turns a spent budget into an error.
func (a *automaton) check(s int32) int32 {
	if a.spent() || len(a.states) >= hardStates || len(a.configs) >= hardConfigs {
		return a.fail()
	}
	return s
}

// intern returns the state of the places found.
func (a *automaton) intern() int32 {
	if a.check(dead); a.err != nil || len(a.found) == 0 {
		return dead
	}
	slices.Sort(a.found)
	h := uint64(0)
	for _, c := range a.found {
		h = uint64(hash(h, uint64(c))) | h<<32
	}
	lo := int32(len(a.configs))
	a.configs = append(a.configs, a.found...)
	st := state{lo: lo, hi: int32(len(a.configs)), complete: a.found[0].node() == nodeEnd}
	a.readers(&st)
	s := a.addState(st, uint32(h))
	if s > 0 && a.states[s].lo != lo { // there already
		a.configs = a.configs[:lo]
	}
	return s
}

// readers notes what the places of a new state read, so that most bytes are refused without asking each.
func (a *automaton) readers(st *state) {
	for _, c := range a.found {
		if n := a.nodes[c.node()]; n.op == opSet {
			set := a.sets[n.arg]
			st.first[0] |= set.ascii[0]
			st.first[1] |= set.ascii[1]
			st.beyond = st.beyond || len(set.spans) > 0
		}
	}
}

// addState returns the state like st.
func (a *automaton) addState(st state, h uint32) int32 {
	b := &a.buckets[h%stateBuckets]
	for i := *b; i != 0; i = a.states[i].chain {
		if a.states[i].hash == h && a.same(&a.states[i], &st) {
			return i
		}
	}
	st.row, st.mask, st.hash, st.chain = -1, -1, h, *b
	a.states = append(a.states, st)
	*b = int32(len(a.states) - 1)
	return a.check(*b)
}

func (a *automaton) same(x, y *state) bool {
	if x.need != y.need || x.need > 0 {
		return x.need == y.need && x.base == y.base && x.value == y.value && x.size == y.size
	}
	return slices.Equal(a.configs[x.lo:x.hi], a.configs[y.lo:y.hi])
}
