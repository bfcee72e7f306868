package sampler

import "math"

// Words is words to focus on, as text. It never changes, and is safe for concurrent use.
type Words interface {
	// Follow begins an answer.
	Follow() Follower
	// String tells different lists of words apart.
	String() string
}

// Follower follows the text of one answer and says what its words have to do with each token. The lists it returns are
// valid until the next call of the same method.
type Follower interface {
	// Next lists tokens by which a word begins where one can begin now, and those by which a word that has begun goes on;
	// the latter only, where onward is true.
	Next(onward bool) []Token
	// Complete lists every token after which the answer would contain one more word, or end in one.
	Complete() []Token
	// Glue lists every token that would make a word in which the answer ends part of another one.
	Glue() []Token
	// Moment says what kind of moment it is when t would come next.
	Moment(t Token) Moment
	// Accept appends to the answer.
	Accept(t Token) Progress
}

// Moment is a place in an answer.
type Moment int

const (
	// Between words, another one may begin.
	Between Moment = iota
	// Within a word none may.
	Within
	// Ending is the end of the answer.
	Ending
)

// Progress is what a token did.
type Progress struct {
	// Hits is the number of words that are now certain to be in the answer.
	Hits int
	// Begun says that the answer ends in the beginning of a word, and Whole that it ends in a word which the next token
	// may still make part of another one.
	Begun, Whole bool
}

// The form of the dial; docs/focus-lexical.md has the measurements.
const (
	dialRest  = 6     // tokens after a hit, or at the beginning, without any raise
	dialBase  = 4.5   // logits that a word may be below the best at any other time, at strength 1; it falls with its square
	dialGate  = 14    // the most logits that this grows by …
	dialFirst = 60    // … in that many tokens before an answer's first hit, at strength 1,
	dialLater = 150   // and in that many between later ones
	dialPower = 2.5   // to this power of the time
	dialWidth = 0.5   // logits inside the gate at which the wanted probability is 1 − 1/e
	dialSure  = 0.999 // the largest wanted probability
	dialKin   = 1     // logits below the best of the words' tokens within which others take part

	dialHeadroom = 4 // logits above the best other token, times the temperature, that the words must reach
	dialLower    = 2 // logits of σ at strength −½, where the words do not lead
)

// dial is an entry of Params.Focus with Words at work.
type dial struct {
	strength, headroom float64

	noise  *field
	follow Follower
	moved  *marks
	hits   *uint64

	taking  []Token // the tokens that take part in a step
	gaps    []float64
	since   int // tokens since the last hit
	hit     bool
	started bool // the word that has begun was raised
	whole   bool // the answer ends in a word that may become part of another one
	sealed  bool // it was raised
}

func newDial(f Focus, key Key, s *Sampler, moved *marks) (*dial, error) {
	noise, err := newField(key, &s.context)
	if err != nil {
		return nil, err
	}
	return &dial{
		strength: f.Strength, headroom: dialHeadroom * s.p.Temperature,
		noise: noise, follow: f.Words.Follow(), moved: moved, hits: &s.counts.Hits,
	}, nil
}

func (d *dial) apply(v *view) {
	switch {
	case d.strength < 0:
		d.lower(v)
	case d.started:
		d.carry(v)
	case d.sealed:
		d.seal(v)
	default:
		d.raise(v)
	}
}

// raise lifts the words' tokens, with the probability that is due, above all others.
func (d *dial) raise(v *view) {
	d.taking = d.taking[:0]
	if d.whole {
		return
	}
	top, err := v.best()
	if err != nil {
		return
	}
	gate := d.gate(d.follow.Moment(top))
	if gate <= 0 {
		return
	}
	best, ok := d.rivals(v, d.follow.Next(false))
	if !ok {
		return
	}
	gap := float64(best) - float64(d.strongest(v))
	if gap < 0 || gap >= gate {
		d.taking = d.taking[:0]
		return
	}
	p := 1 - math.Exp((gap-gate)/dialWidth)
	d.lift(v, float64(best)+d.headroom, p)
}

// rivals takes the tokens that may take part, and returns the largest logit of all others; false where there are none.
func (d *dial) rivals(v *view, next []Token) (float32, bool) {
	d.moved.clear()
	for _, t := range next {
		if v.at(t) != negativeInfinity && d.moved.add(t) {
			d.taking = append(d.taking, t)
		}
	}
	if len(d.taking) == 0 {
		return 0, false
	}
	best, err := v.bestBut(d.moved)
	return best.logit, err == nil && best.at >= 0
}

// strongest is the largest logit of the tokens that take part.
func (d *dial) strongest(v *view) float32 {
	z := negativeInfinity
	for _, t := range d.taking {
		z = max(z, v.at(t))
	}
	return z
}

// lift raises the strongest of the tokens and those near it by half-normal noise, with the σ for which one of them reaches
// level with probability p.
func (d *dial) lift(v *view, level, p float64) {
	least := d.strongest(v) - dialKin
	n := 0
	d.gaps = d.gaps[:0]
	for _, t := range d.taking {
		if z := v.at(t); z >= least {
			d.taking[n] = t
			n++
			d.gaps = append(d.gaps, level-float64(z))
		}
	}
	d.taking = d.taking[:n]
	sigma := WinningSigma(d.gaps, min(p, dialSure))
	for _, t := range d.taking {
		v.set(t, noisy(v.at(t), sigma, halfNormal(d.noise.uniform(t))))
	}
}

// carry takes a word that has begun further: whatever goes on with it is lifted above all others, and by half-normal noise of
// σ = 1 beyond.
func (d *dial) carry(v *view) {
	d.taking = d.taking[:0]
	best, ok := d.rivals(v, d.follow.Next(true))
	if !ok {
		return
	}
	shift := max(0, float64(best)-float64(d.strongest(v))) + d.headroom
	for _, t := range d.taking {
		v.set(t, float32(float64(v.at(t))+shift+halfNormal(d.noise.uniform(t))))
	}
}

// seal ends a word that was raised: nothing may make it another one.
func (d *dial) seal(v *view) {
	d.taking = d.taking[:0]
	for _, t := range d.follow.Glue() {
		v.row[t] = negativeInfinity
	}
	v.rewritten()
}

// gate is how many logits below the best a word may be now; not positive while it must not come.
func (d *dial) gate(m Moment) float64 {
	switch {
	case m == Within || d.whole:
		return 0
	case m == Ending && !d.hit:
		return (dialBase + dialGate) * d.strength
	case m == Ending || d.since <= dialRest:
		return 0
	}
	patience := dialFirst
	if d.hit {
		patience = dialLater
	}
	x := min(1, float64(d.since-dialRest)*d.strength/float64(patience))
	return dialBase*d.strength*d.strength + dialGate*math.Pow(x, dialPower)
}

// lower pushes the tokens that would complete a word down: for ever at strength −1, else all by one half-normal |ε|, so that
// their order stays. Where the strongest leads the best other token by l > 0 logits, σ is the one for which it still does with
// probability
//
//	2Φ(l/σ) − 1 = 1 − |strength|
//
// and never less than 2|strength|/(1 − |strength|), for the draws at which they do not lead.
func (d *dial) lower(v *view) {
	d.taking = d.taking[:0]
	list := d.follow.Complete()
	if d.strength == -1 {
		for _, t := range list {
			v.set(t, negativeInfinity)
		}
		return
	}
	best, ok := d.rivals(v, list)
	if !ok {
		return
	}
	s := -d.strength
	strongest := d.taking[0]
	for _, t := range d.taking {
		if v.at(t) > v.at(strongest) {
			strongest = t
		}
	}
	lead := max(0, float64(v.at(strongest))-float64(best))
	sigma := max(dialLower*s/(1-s), lead/deviate(s))
	e := halfNormal(d.noise.uniform(strongest))
	for _, t := range d.taking {
		v.set(t, noisy(v.at(t), -sigma, e))
	}
}

func (d *dial) accept(t Token) {
	p := d.follow.Accept(t)
	d.since++
	if p.Hits > 0 {
		*d.hits += uint64(p.Hits)
		d.since, d.hit = 0, true
	}
	raised := false
	for _, taken := range d.taking {
		raised = raised || taken == t
	}
	d.started = raised && p.Begun && !p.Whole
	d.whole, d.sealed = p.Whole, raised && p.Whole
	d.taking = d.taking[:0]
}
