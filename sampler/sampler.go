package sampler

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// Sampler chooses the tokens of one answer. It is not safe for concurrent use.
//
// Its scratch is allocated by New; Prime, Sample and Accept allocate nothing.
type Sampler struct {
	p     Params
	vocab int

	context   chain
	hashing   bool      // whether some noise depends on context
	utility   *rowField // nil without
	bias      []biased
	penalties penalties
	focus     []*focus
	selection selection
	entropy   *rand.Rand
	report    report
	counts    Counts
}

type biased struct {
	token Token
	bias  float64
}

// New returns a Sampler for rows of vocab logits, or a [DomainError]. It keeps no reference to the maps and slices of p.
func New(p Params, vocab int) (*Sampler, error) {
	if err := p.Validate(vocab); err != nil {
		return nil, err
	}
	s := &Sampler{
		p:         p,
		vocab:     vocab,
		penalties: newPenalties(&p, vocab),
		selection: newSelection(&p, vocab),
		entropy:   rand.New(rand.NewPCG(p.Seed, 0)),
		report:    newReport(&p, vocab),
	}
	for t, b := range p.Bias {
		s.bias = append(s.bias, biased{t, b})
	}
	slices.SortFunc(s.bias, func(a, b biased) int { return cmp.Compare(a.token, b.token) })
	if err := s.addNoise(); err != nil {
		return nil, err
	}
	s.p.Bias, s.p.Focus = nil, nil
	return s, nil
}

// addNoise makes the noise of utility and focus. What has σ = 0 gets none.
func (s *Sampler) addNoise() error {
	if s.p.Utility.Sigma > 0 {
		f, err := newRowField(s.p.Utility.Key, &s.context)
		if err != nil {
			return err
		}
		s.utility = f
	}
	moved := &marks{}
	for i, f := range s.p.Focus {
		if f.Sigma == 0 {
			continue
		}
		if !f.All && moved.at == nil {
			moved.at = make([]uint32, s.vocab)
		}
		e, err := newFocus(f, s.p.FocusKey.entry(i), &s.context, moved)
		if err != nil {
			return err
		}
		s.focus = append(s.focus, e)
	}
	s.hashing = s.utility != nil || len(s.focus) > 0
	return nil
}

// Prime tells the prompt, before the first Accept. Called again, it appends to it.
func (s *Sampler) Prime(prompt []Token) {
	for _, t := range prompt {
		if s.hashing {
			s.context.push(t)
		}
		s.penalties.prompt(t)
	}
}

// Sample modulates row in place and chooses a token; the numbers are those of the package comment. The error is
// [ErrNotFinite], [ErrNoCandidate] or [ErrRowLength]. At a temperature above 0 each call consumes one draw.
func (s *Sampler) Sample(row []float32) (Choice, error) {
	top, err := s.modulate(row)
	if err != nil {
		return Choice{}, err
	}
	chosen := top
	if s.p.Temperature > 0 {
		c := temper(row, top, s.p.Temperature)            // 7
		c = s.selection.topK(c)                           // 8
		c = s.selection.topP(c, s.p.TopP)                 // 9
		c = s.selection.minP(c, s.p.MinP)                 // 10
		chosen = s.selection.draw(c, s.entropy.Float64()) // 11
	}
	return s.report.choice(row, top, chosen), nil // 12
}

// Score is Sample for a token that was chosen elsewhere: stages 7 to 11 do not run and no draw is consumed.
func (s *Sampler) Score(row []float32, t Token) (Choice, error) {
	top, err := s.modulate(row)
	if err != nil {
		return Choice{}, err
	}
	return s.report.choice(row, top, t), nil
}

// modulate runs stages 1 to 6 and returns the token with the largest logit.
func (s *Sampler) modulate(row []float32) (Token, error) {
	if len(row) != s.vocab {
		return 0, ErrRowLength
	}
	if err := checkRow(row); err != nil {
		return 0, err
	}
	s.counts.Steps++
	if s.p.Observer != nil {
		s.p.Observer.Observe(row)
	}
	s.applyUtility(row)    // 1
	s.applyBias(row)       // 2
	s.penalties.apply(row) // 3
	s.applyFocus(row)      // 4
	s.applyMask(row)       // 5
	return largest(row)    // 6
}

func (s *Sampler) applyUtility(row []float32) {
	if s.utility != nil {
		s.utility.add(row, s.p.Utility.Sigma)
	}
}

func (s *Sampler) applyBias(row []float32) {
	for _, b := range s.bias {
		row[b.token] = float32(float64(row[b.token]) + b.bias)
	}
}

func (s *Sampler) applyFocus(row []float32) {
	for _, e := range s.focus {
		e.apply(row)
	}
}

func (s *Sampler) applyMask(row []float32) {
	if s.p.Mask != nil {
		s.p.Mask.Apply(row)
	}
}

// Accept appends the chosen token to the answer.
func (s *Sampler) Accept(t Token) {
	if s.hashing {
		s.context.push(t)
	}
	s.penalties.accept(t)
	for _, e := range s.focus {
		e.accept(t)
	}
	if s.p.Mask != nil {
		s.p.Mask.Accept(t)
	}
	if s.p.Observer != nil {
		s.p.Observer.Accept(t)
	}
}

// Counts returns the totals so far.
func (s *Sampler) Counts() Counts { return s.counts }
