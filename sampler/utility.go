package sampler

// utility is stage 1 at work: the noise, and which tokens of the current row have it.
type utility struct {
	field  *rowField
	window *window // nil where the context is all tokens so far
	sigma  float64
	// upper is σ times the largest noise that the leading byte of a uniform allows.
	upper [256]float64
	// settled has a bit per token; whole says that all are settled.
	settled bitset
	whole   bool
	exact   *uint64 // counts the noise values computed

	exempt tokenSet // have no noise
	capped tokenSet // never come to rank before the model's best token
	keep   tokenSet // stay first-ranked where the model ranks them so
	// ceiling is the logit of the model's best token after stage 1.
	ceiling float32
}

// newUtility returns nil where σ is 0.
func newUtility(p *Utility, vocab int, context *chain, exact *uint64) (*utility, error) {
	if p.Sigma == 0 {
		return nil, nil
	}
	at := context.digest()
	var w *window
	if p.Scope.Window > 0 {
		var err error
		if w, err = newWindow(p.Scope.Window, p.Key); err != nil {
			return nil, err
		}
		at = &w.context
	}
	f, err := newRowFieldAt(p.Key, at)
	if err != nil {
		return nil, err
	}
	u := &utility{field: f, window: w, sigma: p.Sigma, settled: newBitset(vocab), exact: exact}
	for hi := range u.upper {
		u.upper[hi] = p.Sigma * normal(uint32(hi)<<wordBits+(1<<wordBits-1))
	}
	u.capped.add(p.Pinned, vocab)
	switch p.EndNoise {
	case EndModulated: // as all others
	case EndExempt:
		u.exempt.add(p.End, vocab)
	case EndKept:
		u.capped.add(p.End, vocab)
		u.keep.add(p.End, vocab)
	}
	return u, nil
}

// chained says that the noise depends on all tokens so far.
func (u *utility) chained() bool { return u != nil && u.window == nil }

// see tells a token of the prompt or of the answer to a window; who has a chain pushes it there.
func (u *utility) see(t Token, prompt bool) {
	if u != nil {
		u.window.see(t, prompt)
	}
}

// begin starts a row.
func (u *utility) begin() {
	clear(u.settled)
	u.whole = false
	if u.window != nil {
		u.window.refresh()
	}
	u.field.load()
	for _, t := range u.exempt.list {
		u.settled.add(t)
	}
}

func (u *utility) isSettled(t Token) bool { return u.whole || u.settled.has(t) }

// bitset is a set of tokens, a bit each.
type bitset []uint64

func newBitset(vocab int) bitset { return make(bitset, (vocab+63)/64) }

func (b bitset) has(t Token) bool { return b[t/64]>>(t%64)&1 != 0 }
func (b bitset) add(t Token)      { b[t/64] |= 1 << (t % 64) }
func (b bitset) remove(t Token)   { b[t/64] &^= 1 << (t % 64) }

// tokenSet is a set that never changes; the zero value is empty.
type tokenSet struct {
	list []Token // each once
	bits bitset
}

func (s *tokenSet) has(t Token) bool { return s.bits != nil && s.bits.has(t) }

func (s *tokenSet) add(tokens []Token, vocab int) {
	if s.bits == nil && len(tokens) > 0 {
		s.bits = newBitset(vocab)
	}
	for _, t := range tokens {
		if !s.has(t) {
			s.list = append(s.list, t)
			s.bits.add(t)
		}
	}
}
