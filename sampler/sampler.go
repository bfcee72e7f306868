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
	hashing   bool // whether some noise depends on context
	view      view
	bias      []biased
	penalties penalties
	spans     spans
	focus     []stage4
	selection selection
	one       [1]ranked
	early     bool // settle every token in stage 1: what the tests hold the lazy evaluation against
	lone      bool // top-k is the first stage after utility that can matter
	entropy   *rand.Rand
	report    report
	audit     *audit      // nil without Params.Report
	modulated RowObserver // Params.Observer, where it is one
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
		audit:     newAudit(&p, vocab),
	}
	s.modulated, _ = p.Observer.(RowObserver)
	for t, b := range p.Bias {
		s.bias = append(s.bias, biased{t, b})
	}
	slices.SortFunc(s.bias, func(a, b biased) int { return cmp.Compare(a.token, b.token) })
	s.lone = s.selection.heap != nil && !s.moves() && p.Mask == nil
	if err := s.addNoise(); err != nil {
		return nil, err
	}
	s.p.Bias, s.p.Focus, s.p.Spans = nil, nil, nil
	return s, nil
}

// moves reports whether a stage after the first may move single logits.
func (s *Sampler) moves() bool {
	return len(s.bias) > 0 || s.penalties.any() || len(s.p.Focus)+len(s.p.Spans) > 0
}

// addNoise makes the noise of utility and focus. What has σ = 0 gets none.
func (s *Sampler) addNoise() error {
	utility, err := newUtility(&s.p.Utility, s.vocab, &s.context, &s.counts.Exact)
	if err != nil {
		return err
	}
	most := 0
	if s.moves() {
		most = s.vocab
	}
	s.view = newView(s.vocab, most, utility)
	moved := &marks{}
	for i, f := range s.p.Focus {
		if f.Sigma == 0 && f.Strength == 0 {
			continue
		}
		if !f.All && moved.at == nil {
			moved.at = make([]uint32, s.vocab)
		}
		e, err := newStage4(f, s.p.FocusKey.entry(i), s, moved)
		if err != nil {
			return err
		}
		s.focus = append(s.focus, e)
	}
	s.hashing = utility.chained() || len(s.focus)+len(s.p.Spans) > 0
	return s.newSpans()
}

// Prime tells the prompt, before the first Accept. Called again, it appends to it.
func (s *Sampler) Prime(prompt []Token) {
	for _, t := range prompt {
		s.see(t, true)
		s.penalties.prompt(t)
	}
}

// see tells the contexts of the noises about a token.
func (s *Sampler) see(t Token, prompt bool) {
	if s.hashing {
		s.context.push(t)
	}
	s.view.noise.see(t, prompt)
	s.spans.blend.see(t, prompt)
}

// Sample modulates row and chooses a token; the numbers are those of the package comment. With [Params.Spans] it needs the rows
// of the twins, too, one for each. All rows are scratch: afterwards they hold some of the modulated logits and some of the raw
// ones. The error is [ErrNotFinite], [ErrNoCandidate], [ErrRowLength] or [ErrTwins]. At a temperature above 0 each call
// consumes one draw.
func (s *Sampler) Sample(row []float32, twins ...[]float32) (Choice, error) {
	top, err := s.modulate(row, twins)
	if err != nil {
		return Choice{}, err
	}
	chosen := top
	if s.p.Temperature > 0 {
		scale := temper(s.view.at(top), s.p.Temperature)  // 7
		c := s.selection.topK(&s.view, scale, s.lone)     // 8
		c = s.selection.topP(c, s.p.TopP)                 // 9
		c = s.selection.minP(c, s.p.MinP)                 // 10
		chosen = s.selection.draw(c, s.entropy.Float64()) // 11
	}
	return s.report.choice(&s.view, top, chosen), nil // 12
}

// Score is Sample for a token that was chosen elsewhere: stages 7 to 11 do not run and no draw is consumed.
func (s *Sampler) Score(row []float32, t Token, twins ...[]float32) (Choice, error) {
	top, err := s.modulate(row, twins)
	if err != nil {
		return Choice{}, err
	}
	return s.report.choice(&s.view, top, t), nil
}

// modulate runs stages 1 to 6 and returns the token with the largest logit.
func (s *Sampler) modulate(row []float32, twins [][]float32) (Token, error) {
	if len(row) != s.vocab {
		return 0, ErrRowLength
	}
	if s.p.Observer != nil {
		if err := checkRow(row); err != nil {
			return 0, err
		}
		s.p.Observer.Observe(row)
	}
	if s.audit != nil {
		s.audit.begin(row, s.counts)
	}
	if err := s.applyUtility(row); err != nil { // 1
		return 0, err
	}
	s.applyBias(&s.view)       // 2
	s.penalties.apply(&s.view) // 3
	forced := s.counts.Forced
	if err := s.applySpans(twins); err != nil { // 4, and 1 to 3 for the twins
		return 0, err
	}
	s.applyFocus()                                   // 4
	s.counts.Forced = min(s.counts.Forced, forced+1) // a step counts once
	s.applyMask()                                    // 5
	top, err := s.view.best()                        // 6
	if err == nil {
		s.show()
	}
	return top, err
}

// show lets those who compare rows see what became of one.
func (s *Sampler) show() {
	if s.audit != nil {
		s.audit.end(s.view.all(), s.view.raw)
	}
	if s.modulated != nil {
		s.modulated.Modulated(s.view.all())
	}
}

// applyUtility looks for as many of the first-ranked as the later stages need, where none of them moves a logit.
func (s *Sampler) applyUtility(row []float32) error {
	h := s.one[:0]
	if s.lone {
		h = s.selection.heap
	}
	h, err := s.view.survey(row, h)
	if err != nil {
		return err
	}
	if s.lone {
		s.selection.heap = h
	}
	s.counts.Steps++
	if s.view.raw != Token(s.view.top.at) {
		s.counts.Flips++
	}
	if s.early {
		s.view.all()
		s.view.rewritten()
	}
	return nil
}

func (s *Sampler) applyBias(v *view) {
	for _, b := range s.bias {
		v.set(b.token, float32(float64(v.at(b.token))+b.bias))
	}
}

func (s *Sampler) applyFocus() {
	if len(s.focus) == 0 {
		return
	}
	before, failed := s.view.best()
	for _, e := range s.focus {
		e.apply(&s.view)
	}
	if after, err := s.view.best(); failed == nil && err == nil && after != before {
		s.counts.Forced++
	}
}

func (s *Sampler) applyMask() {
	if s.p.Mask != nil {
		s.p.Mask.Apply(s.view.row)
		s.view.rewritten()
	}
}

// Accept appends the chosen token to the answer.
func (s *Sampler) Accept(t Token) {
	s.see(t, false)
	s.penalties.accept(t)
	s.spans.accept(t)
	for _, e := range s.focus {
		e.accept(t)
	}
	if s.p.Mask != nil {
		s.p.Mask.Accept(t)
	}
	if s.p.Observer != nil {
		s.p.Observer.Accept(t)
	}
	if s.audit != nil {
		s.audit.accept(t, s.counts)
	}
}

// Counts returns the totals so far.
func (s *Sampler) Counts() Counts { return s.counts }
