package sampler

import (
	"fmt"
	"math"
	"slices"
)

// Span shifts attention to a part of the prompt, or from it. Beside the row z of the prompt, each step then needs the row y of
// the same answer after the prompt without the span, its twin; their difference says which tokens owe their logit to the
// span. Both rows pass stages 1 to 3 before they are compared.
//
// Strength s < 0 takes the difference away,
//
//	zᵢ ← zᵢ + s·(zᵢ − yᵢ)
//
// so that -1 leaves y itself: what the model says without the span. Between 0 and -1 the two rows' noises would average, and a
// caller with spans that mean nothing would undo a part of utility: what they lose, [1 − Σw²]·σ² with w the rows' weights, is made up
// by noise of its own. Strength s > 0 does not simply add it: that makes the
// model recite the span. It moves tokens up along the difference, partly by half-normal noise as in AIM (arXiv 2603.12755),
//
//	zᵢ ← zᵢ + (1−ρ)·mᵢ + ρ·|εᵢ|,  E|εᵢ| = mᵢ = s·min(spanCap, spanGain·max(0, dᵢ − d₀)),  ρ = spanChance
//
// where dᵢ is the mean over the answer's steps so far of log p(i) − log p⁻(i), p of z and p⁻ of y, and d₀ is spanLeast and what
// utility's noise alone may make of d. The tokens that the span makes likelier again and again are those of its meaning,
// while its mere wording and punctuation average out. Only plausible tokens move, those within spanGate of the best, only if
// they were not used of late, and none that end an answer ([Utility.End]); a token that would carry on a run of more than
// spanRun of the span's own tokens is lowered to spanHush·s below what y says of it.
type Span struct {
	// Without is the prompt without the span, at least one token long.
	Without []Token
	// Strength is s in [-1, 1].
	Strength float64
	// Pieces is the span itself, one entry for each of its tokens: that token and all that spell it otherwise (in another
	// case, with a leading space or without).
	Pieces [][]Token
}

// MaxSpans bounds Params.Spans: each takes another row for each token.
const MaxSpans = 4

// The form of the positive side; see docs/focus-span.md for the measurements.
const (
	spanGain   = 3.5  // logits per nat of the mean difference
	spanCap    = 7    // the most logits
	spanLeast  = 0.3  // nats of the mean difference that move nothing
	spanDoubt  = 2    // standard errors that utility's noise leaves in the mean difference, which move nothing either
	spanChance = 0.25 // share of the shift that is noise
	spanGate   = 6    // logits below the best within which a token is plausible
	spanRest   = 32   // steps for which a token is not raised after its last use
	spanHush   = 3    // logits below what the twin says of a token that would recite the span
	spanRun    = 2    // tokens in a row that may be the span's own
	spanLag    = 4    // rows of difference 0 that the mean has at first
	spanLast   = 256  // rows after which the mean begins to forget
	headGap    = 8    // logits below the best within which a token counts for the normalizer

	// The difference is looked at in each of the first spanEager steps, and then in every spanEvery-th.
	spanEager = 16
	spanEvery = 4
)

// spans is all entries of Params.Spans at work.
type spans struct {
	list []*span
	// raises says that some entry has a positive strength. used[t] is the step after which t was last chosen, 0 for never;
	// it is kept only then.
	raises bool
	used   []uint32
	step   uint32
	// blend makes up with a standard deviation of lost for the noise that a blend of rows loses; nil where it loses none.
	blend *utility
	lost  float64
}

// span is one entry.
type span struct {
	strength float64
	// twin is the row of the twin. It has its own noise of utility, in the context of its own tokens.
	twin    view
	context chain

	noise *field
	// owed is d, over the vocabulary, and seen the number of rows in it; level is the step's difference of the rows'
	// normalizers.
	owed  []float32
	seen  int
	level float64
	// sigma is that of utility, and least what of d moves nothing.
	sigma, least float64
	// run[i] is the number of tokens at the end of the answer that are those of the span up to pieces[i].
	pieces [][]Token
	run    []int
	// fixed tokens, which end an answer, are never raised, barred ones not in this step.
	fixed, barred []Token
}

func (s *Sampler) newSpans() error {
	for i, p := range s.p.Spans {
		e := &span{strength: p.Strength, fixed: s.p.Utility.End, sigma: s.p.Utility.Sigma}
		utility, err := newUtility(&s.p.Utility, s.vocab, &e.context, &s.counts.Exact)
		if err != nil {
			return err
		}
		e.twin = newView(s.vocab, s.vocab, utility)
		for _, t := range p.Without {
			e.see(t, true)
		}
		if p.Strength > 0 {
			if e.noise, err = newField(s.p.FocusKey.span(i), &s.context); err != nil {
				return err
			}
			e.owed = make([]float32, s.vocab)
			e.run = make([]int, len(p.Pieces))
			room := 0
			for _, same := range p.Pieces {
				e.pieces = append(e.pieces, slices.Clone(same))
				room += len(same)
			}
			e.barred = make([]Token, 0, room)
			s.spans.raises = true
		}
		s.spans.list = append(s.spans.list, e)
	}
	if s.spans.raises {
		s.spans.used = make([]uint32, s.vocab)
	}
	return s.newBlend()
}

// newBlend makes the noise that a blend of rows with independent noise lacks. Tokens that structure or end an answer get none.
func (s *Sampler) newBlend() error {
	keep, squares := 1.0, 0.0
	for _, e := range s.spans.list {
		w := min(e.strength, 0)
		keep += w
		squares += w * w
	}
	u := s.p.Utility
	if squares += keep * keep; squares >= 1 || u.Sigma == 0 {
		return nil
	}
	u.Key, u.EndNoise, u.End = u.Key.blend(), EndExempt, slices.Concat(u.End, u.Pinned)
	var err error
	s.spans.blend, err = newUtility(&u, s.vocab, &s.context, &s.counts.Exact)
	s.spans.lost = u.Sigma * math.Sqrt(1-squares)
	return err
}

// applySpans runs stages 1 to 3 on the rows of the twins and then stage 4.
func (s *Sampler) applySpans(twins [][]float32) error {
	if len(twins) != len(s.spans.list) {
		return ErrTwins
	}
	if len(twins) == 0 {
		return nil
	}
	for i, twin := range twins {
		v := &s.spans.list[i].twin
		v.row = nil
		if !s.Wants(i) {
			continue
		}
		if len(twin) != s.vocab {
			return ErrRowLength
		}
		if _, err := v.survey(twin, s.one[:0]); err != nil {
			return err
		}
		s.applyBias(v)
		s.penalties.apply(v)
		v.all()
	}
	row := s.view.all()
	before := first(row)
	s.spans.apply(row)
	if first(row) != before {
		s.counts.Forced++
	}
	s.view.rewritten()
	return nil
}

// first is the place of the first-ranked logit.
func first(row []float32) int {
	at := 0
	for i, z := range row {
		if z > row[at] {
			at = i
		}
	}
	return at
}

// Wants says whether the next step reads the row of the i-th of Params.Spans; Sample ignores the row of the others. It
// depends on the answer so far alone.
func (s *Sampler) Wants(i int) bool {
	e := s.spans.list[i]
	switch next := s.spans.step + 1; {
	case e.strength < 0:
		return true
	case e.strength > 0:
		return next <= spanEager || next%spanEvery == 0 || e.reciting()
	}
	return false
}

// reciting says that the answer ends in a run of the span's own tokens that can go on.
func (e *span) reciting() bool {
	for i := 1; i < len(e.run); i++ {
		if e.run[i-1] >= spanRun {
			return true
		}
	}
	return false
}

// apply moves the row by its difference to the twins' rows.
func (s *spans) apply(row []float32) {
	for _, e := range s.list {
		if e.strength > 0 {
			e.observe(row)
		}
	}
	s.step++
	s.lower(row)
	if s.raises {
		s.raise(row)
	}
}

// lower performs z ← z + Σ s·(z − y) over the entries with s < 0.
func (s *spans) lower(row []float32) {
	keep := 1.0
	for _, e := range s.list {
		keep += min(e.strength, 0)
	}
	if keep == 1 {
		return
	}
	for t, z := range row {
		if math.IsInf(float64(z), -1) {
			continue
		}
		sum := 0.0
		if keep != 0 {
			sum = keep * float64(z)
		}
		for _, e := range s.list {
			if e.strength < 0 {
				sum -= e.strength * float64(e.twin.row[t])
			}
		}
		row[t] = float32(sum)
	}
	if u := s.blend; u != nil {
		u.begin()
		*u.exact += uint64(u.field.add(row, s.lost, u.settled))
	}
}

// raise moves the plausible tokens of the entries with s > 0 up, and lowers what would recite a span.
func (s *spans) raise(row []float32) {
	bar := row[first(row)] - spanGate
	for t, z := range row {
		if z < bar || s.resting(Token(t)) {
			continue
		}
		shift := 0.0
		for _, e := range s.list {
			if e.strength > 0 {
				shift += e.shift(Token(t))
			}
		}
		row[t] = float32(float64(z) + shift)
	}
	for _, e := range s.list {
		if e.strength > 0 {
			e.hush(row)
		}
	}
}

// resting says that a token was used too shortly ago to be raised.
func (s *spans) resting(t Token) bool {
	u := s.used[t]
	return u != 0 && s.step-u <= spanRest
}

// observe updates d with a step's difference, if there is one, and finds the tokens that would recite the span.
func (e *span) observe(z []float32) {
	e.barred = e.barred[:0]
	y := e.twin.row
	if y == nil {
		return
	}
	e.seen = min(e.seen+1, spanLast)
	e.level = normalizer(z) - normalizer(y)
	// Each difference has the noise of two rows.
	e.least = spanLeast + spanDoubt*e.sigma*math.Sqrt(2*float64(e.seen))/float64(e.seen+spanLag)
	rate, level := 1/float32(e.seen+spanLag), float32(e.level)
	for t, d := range e.owed {
		if delta := z[t] - y[t] - level; delta-delta == 0 { // finite
			e.owed[t] = d + rate*(delta-d)
		}
	}
	for i := 1; i < len(e.pieces); i++ {
		if e.run[i-1] >= spanRun {
			e.barred = append(e.barred, e.pieces[i]...)
		}
	}
}

// hush lowers the tokens that would recite the span to what the twin says of them, and a little further.
func (e *span) hush(row []float32) {
	for _, t := range e.barred {
		row[t] = min(row[t], float32(float64(e.twin.row[t])+e.level)) - float32(e.strength*spanHush)
	}
}

// normalizer is log Σ exp(zᵢ), of which it leaves out the tokens that are far below the best.
func normalizer(row []float32) float64 {
	best := row[first(row)]
	sum := 0.0
	for _, z := range row {
		if z > best-headGap {
			sum += math.Exp(float64(z - best))
		}
	}
	return float64(best) + math.Log(sum)
}

// shift is the half-normal step of one token.
func (e *span) shift(t Token) float64 {
	d := float64(e.owed[t])
	if d <= e.least || slices.Contains(e.fixed, t) || slices.Contains(e.barred, t) {
		return 0
	}
	mean := e.strength * min(spanCap, spanGain*(d-e.least))
	noise := math.Sqrt(math.Pi/2) * halfNormal(e.noise.uniform(t)) // its mean is 1
	return mean * (1 - spanChance + spanChance*noise)
}

// see tells the context of the twin's noise about a token.
func (e *span) see(t Token, prompt bool) {
	if e.twin.noise.chained() {
		e.context.push(t)
	}
	e.twin.noise.see(t, prompt)
}

// accept tells the token that was chosen.
func (s *spans) accept(t Token) {
	for _, e := range s.list {
		e.see(t, false)
		e.follow(t)
	}
	if s.raises {
		s.used[t] = s.step
	}
}

// follow moves the runs on: those that end in t grow by one, the others are over.
func (e *span) follow(t Token) {
	for i := len(e.run) - 1; i >= 0; i-- { // run[i-1] is still that of before
		switch {
		case !slices.Contains(e.pieces[i], t):
			e.run[i] = 0
		case i == 0:
			e.run[i] = 1
		default:
			e.run[i] = e.run[i-1] + 1
		}
	}
}

func (p *Span) valid(name string, vocab int) error {
	if err := within(name+".strength", p.Strength, -1, 1); err != nil {
		return err
	}
	if len(p.Without) == 0 {
		return &DomainError{name + ".without", "empty", "at least one token long"}
	}
	for _, list := range append([][]Token{p.Without}, p.Pieces...) {
		for _, t := range list {
			if err := validToken(name, t, vocab); err != nil {
				return err
			}
		}
	}
	return nil
}

func validSpans(spans []Span, vocab int) error {
	if len(spans) > MaxSpans {
		return &DomainError{"spans", fmt.Sprintf("a list of %d", len(spans)), fmt.Sprintf("at most %d long", MaxSpans)}
	}
	for i := range spans {
		if err := spans[i].valid(fmt.Sprintf("spans[%d]", i), vocab); err != nil {
			return err
		}
	}
	return nil
}
