package sampler

// stage4 is an entry of Params.Focus at work.
type stage4 interface {
	apply(v *view)
	accept(t Token)
}

// focus is an entry as in the paper: either on all tokens or on the words' next pieces.
type focus struct {
	shift float64 // σ with the sign of the direction

	all *rowField // nil for words

	noise *field
	words []word
	moved *marks // of the entry that runs; the entries share it
	hits  *uint64
}

func newStage4(f Focus, key Key, s *Sampler, moved *marks) (stage4, error) {
	if f.Words != nil {
		return newDial(f, key, s, moved)
	}
	return newFocus(f, key, s, moved)
}

func newFocus(f Focus, key Key, s *Sampler, moved *marks) (*focus, error) {
	e := &focus{shift: f.Sigma, moved: moved, hits: &s.counts.Hits}
	if f.Direction == Lower {
		e.shift = -f.Sigma
	}
	var err error
	if f.All {
		e.all, err = newRowField(key, &s.context)
	} else {
		e.noise, err = newField(key, &s.context)
	}
	if err != nil {
		return nil, err
	}
	for _, pieces := range f.Targets {
		e.words = append(e.words, newWord(pieces))
	}
	return e, nil
}

// apply moves the entry's targets: zᵢ ← zᵢ ± |εᵢ|. A token that several words ask for is moved once.
func (e *focus) apply(v *view) {
	if e.all != nil {
		e.all.addAbs(v.all(), e.shift)
		v.rewritten()
		return
	}
	e.moved.clear()
	for i := range e.words {
		if t := e.words[i].target(); e.moved.add(t) {
			v.set(t, noisy(v.at(t), e.shift, halfNormal(e.noise.uniform(t))))
		}
	}
}

func (e *focus) accept(t Token) {
	for i := range e.words {
		if e.words[i].accept(t) && e.shift > 0 {
			*e.hits++
		}
	}
}

// word follows how many of its first pieces end the answer so far: the largest such number below the word's length. It
// is the automaton of Knuth, Morris and Pratt (SIAM J. Comput. 6, 1977), a constant amortized cost per token.
type word struct {
	pieces []Token
	border []int // border[i]: the longest proper prefix of pieces[:i+1] that also ends it
	done   int   // pieces produced, 0 ≤ done < len(pieces)
}

func newWord(pieces []Token) word {
	w := word{pieces: append([]Token{}, pieces...), border: make([]int, len(pieces))}
	for i := 1; i < len(pieces); i++ {
		k := w.border[i-1]
		for k > 0 && pieces[k] != pieces[i] {
			k = w.border[k-1]
		}
		if pieces[k] == pieces[i] {
			k++
		}
		w.border[i] = k
	}
	return w
}

// target is the piece to move now.
func (w *word) target() Token { return w.pieces[w.done] }

// accept reports whether the word is complete.
func (w *word) accept(t Token) bool {
	for w.done > 0 && w.pieces[w.done] != t {
		w.done = w.border[w.done-1]
	}
	if w.pieces[w.done] == t {
		w.done++
	}
	if w.done < len(w.pieces) {
		return false
	}
	w.done = w.border[w.done-1]
	return true
}

// marks is a set of tokens that empties in constant time.
type marks struct {
	at    []uint32 // the round in which the token was added
	round uint32
}

func (m *marks) clear() {
	m.round++
	if m.round == 0 { // wrapped: old marks would read as new ones
		clear(m.at)
		m.round = 1
	}
}

// has reports whether t is in the set.
func (m *marks) has(t Token) bool { return m.at[t] == m.round }

// add reports whether t is new.
func (m *marks) add(t Token) bool {
	if m.at[t] == m.round {
		return false
	}
	m.at[t] = m.round
	return true
}
