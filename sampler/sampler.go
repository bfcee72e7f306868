package sampler

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// Sampler chooses the tokens of one answer. It is not safe for concurrent use.
//
// Its scratch is allocated by New; Prime, Sample, Score and Accept allocate nothing.
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
	luck      *rand.Rand // the coin of xtc; nil without
	surprise  mirostat
	walk      walk
	looked    bool // somebody looks at the whole row after stage 5
	ends      marks
	answered  int
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
		surprise:  mirostat{bound: 2 * p.MirostatTau, tau: p.MirostatTau, rate: p.MirostatEta},
		report:    newReport(&p, vocab),
		audit:     newAudit(&p, vocab),
	}
	if p.XTCProbability > 0 {
		s.luck = rand.New(rand.NewPCG(p.Seed, 1))
	}
	s.modulated, _ = p.Observer.(RowObserver)
	s.looked = p.Logprobs || p.Report || s.modulated != nil
	s.walk = newWalk(&p, vocab, s.looked)
	if (p.MinTokens > 0 || p.IgnoreEnd) && len(p.Utility.End) > 0 {
		s.ends.at = make([]uint32, vocab)
		s.ends.clear()
		for _, t := range p.Utility.End {
			s.ends.add(t)
		}
	}
	for t, b := range p.Bias {
		s.bias = append(s.bias, biased{t, b})
	}
	slices.SortFunc(s.bias, func(a, b biased) int { return cmp.Compare(a.token, b.token) })
	s.lone = s.selection.heap != nil && !s.moves() && (p.Mask == nil || s.walk.kind == walkTopK)
	if err := s.addNoise(); err != nil {
		return nil, err
	}
	s.p.Bias, s.p.Focus, s.p.Spans = nil, nil, nil
	return s, nil
}

// moves reports whether a stage after the first may move single logits.
func (s *Sampler) moves() bool {
	return len(s.bias) > 0 || s.penalties.any() || len(s.p.Focus)+len(s.p.Spans) > 0 || s.ends.at != nil
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
	if err := s.modulate(row, twins); err != nil {
		return Choice{}, err
	}
	var c coins
	if s.p.Temperature > 0 {
		c.draw = s.entropy.Float64()
		c.xtc = s.luck != nil && s.luck.Float64() < s.p.XTCProbability
	}
	chosen, done := s.lazily(&c)
	if done && !s.looked {
		return Choice{Token: chosen}, nil
	}
	top, err := s.forbid() // 5, 6
	if err != nil {
		return Choice{}, err
	}
	if s.looked {
		s.view.all()
	}
	if !done {
		chosen = s.choose(top, c)
	}
	return s.report.choice(&s.view, top, chosen), nil // 16
}

// coins are what a step leaves to chance beside noise: one draw, and whether xtc acts.
type coins struct {
	draw float64
	xtc  bool
}

// choose runs stages 7 to 15 on a row of which top is the first-ranked token.
func (s *Sampler) choose(top Token, c coins) Token {
	if s.p.Temperature == 0 {
		return top
	}
	if b := s.selection.bracket; !s.p.nucleus() && b.try() {
		t, ok := b.draw(&s.view, s.temper(s.view.at(top)), c.draw)
		if b.tried(ok); ok {
			return t
		}
	}
	left := s.left(top, c.xtc)
	total := s.selection.sum(left)
	i := s.selection.pick(left, c.draw) // 15
	if s.p.Mirostat != 0 {
		s.surprise.observe(left.depth(left.logits[i]), total)
	}
	return left.id(i)
}

// left runs stages 7 to 14.
func (s *Sampler) left(top Token, xtc bool) candidates {
	to := s.temper(s.view.at(top))
	if s.p.Mirostat != 0 {
		return s.surprise.candidates(&s.selection, &s.view, top, to)
	}
	return s.selection.truncate(&s.view, &s.p, to, s.lone && s.p.Mask == nil, xtc)
}

// Candidates returns the tokens that Sample would draw from, in ascending order, with their log-probabilities among themselves: what
// stages 1 to 14 leave of a row. It draws nothing, but tosses the coin of stage 13. At temperature 0 there is one.
func (s *Sampler) Candidates(row []float32, twins ...[]float32) ([]Candidate, error) {
	if err := s.modulate(row, twins); err != nil {
		return nil, err
	}
	top, err := s.forbid()
	if err != nil {
		return nil, err
	}
	if s.p.Temperature == 0 {
		return []Candidate{{Token: top}}, nil
	}
	left := s.left(top, s.luck != nil && s.luck.Float64() < s.p.XTCProbability)
	norm := math.Log(s.selection.sum(left))
	var list []Candidate
	for i, z := range left.logits {
		if z > negativeInfinity {
			list = append(list, Candidate{left.id(i), -left.depth(z) - norm})
		}
	}
	return list, nil
}

// temper runs stage 7.
func (s *Sampler) temper(best float32) scale {
	t := s.p.Temperature
	if s.p.DynatempRange > 0 {
		t = dynamic(s.view.all(), best, t, s.p.DynatempRange, s.p.DynatempExponent)
	}
	return temper(best, t)
}

// Score is Sample for a token that was chosen elsewhere: stages 7 to 15 do not run and no draw is consumed. The token may be one
// of the prompt, if Prime tells it afterwards.
func (s *Sampler) Score(row []float32, t Token, twins ...[]float32) (Choice, error) {
	if err := s.modulate(row, twins); err != nil {
		return Choice{}, err
	}
	top, err := s.forbid()
	if err != nil {
		return Choice{}, err
	}
	return s.report.choice(&s.view, top, t), nil
}

// modulate runs stages 1 to 4.
func (s *Sampler) modulate(row []float32, twins [][]float32) error {
	if len(row) != s.vocab {
		return ErrRowLength
	}
	if s.p.Observer != nil {
		if err := checkRow(row); err != nil {
			return err
		}
		s.p.Observer.Observe(row)
	}
	if s.audit != nil {
		s.audit.begin(row, s.counts)
	}
	if err := s.applyUtility(row); err != nil { // 1
		return err
	}
	s.applyBias(&s.view)       // 2
	s.penalties.apply(&s.view) // 3
	forced := s.counts.Forced
	if err := s.applySpans(twins); err != nil { // 4, and 1 to 3 for the twins
		return err
	}
	s.applyFocus()                                   // 4
	s.counts.Forced = min(s.counts.Forced, forced+1) // a step counts once
	return nil
}

// forbid runs stages 5 and 6 on the whole row, and returns the token with the largest logit.
func (s *Sampler) forbid() (Token, error) {
	if s.p.Mask != nil {
		s.p.Mask.Apply(s.view.row)
		s.view.rewritten()
	}
	s.forbidEnds()
	top, err := s.view.best()
	if err == nil {
		s.show()
	}
	return top, err
}

// forbidEnds is the part of stage 5 that keeps an answer from ending, unless nothing else is possible.
func (s *Sampler) forbidEnds() {
	if !s.unending() {
		return
	}
	if r, err := s.view.bestBut(&s.ends); err != nil || r.at < 0 {
		return
	}
	for _, t := range s.p.Utility.End {
		s.view.at(t) // to be set, it must have its noise
		s.view.set(t, negativeInfinity)
	}
}

// unending reports whether the answer must go on.
func (s *Sampler) unending() bool {
	return s.ends.at != nil && (s.p.IgnoreEnd || s.answered < s.p.MinTokens)
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
	found := s.found()
	h := s.one[:0]
	if found != nil {
		h = *found
	}
	h, err := s.view.survey(row, h)
	if err != nil {
		return err
	}
	if found != nil {
		*found = h
	}
	s.counts.Steps++
	if s.view.raw != Token(s.view.top.at) {
		s.counts.Flips++
	}
	if s.early {
		s.view.all()
		s.view.rewritten()
		s.selection.bracket = nil
	}
	return nil
}

// found is where the survey may put the first-ranked; nil where later stages look for them again.
func (s *Sampler) found() *[]ranked {
	switch {
	case !s.lone:
		return nil
	case s.p.Mask != nil:
		return &s.walk.ranking
	}
	return &s.selection.heap
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

// Accept appends the chosen token to the answer.
func (s *Sampler) Accept(t Token) {
	s.answered++
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
