package llama

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"aim/sampler"
)

// Drafter guesses what a model will say, by other means than [Config.Draft] has by itself: a second, smaller model. Only the
// goroutine of [Engine.Run] uses it.
type Drafter interface {
	// Draft appends up to n tokens that may follow tokens, which are the whole sequence in a slot so far, to guesses, the
	// next one first. It may give none, such as while a prompt is not computed yet.
	Draft(guesses []Guess, slot int, tokens []sampler.Token, n int) ([]Guess, error)
}

// Guess is a token, and how sure the Drafter is of it if the guesses before it are right: in [0, 1].
type Guess struct {
	Token      sampler.Token
	Confidence float32
}

// ModelDrafter is a [Drafter] over a second model with a Decoder of its own.
type ModelDrafter struct {
	model Model
	dec   Decoder
	vocab int // tokens that both models have
	// seats are the sequences in dec.
	seats          []seat
	tick           uint64
	context, batch int
	rows           []Row
}

// seat is a sequence of a draft model.
type seat struct {
	slot   int // the engine's slot that it is for
	used   uint64
	cached []sampler.Token
}

// unsure is the confidence, of all guesses so far together, below which a ModelDrafter stops.
const unsure = 0.3

// mostPadding is by how many tokens at the end two vocabularies may differ, which are room for more in models of one family.
const mostPadding = 128

// NewModelDrafter returns a drafter for an engine over main. draft is the second model and d a Decoder of it for so many sequences (as
// many as the engine answers at once), of context tokens each, in batches of batch rows. The vocabularies must be the same.
func NewModelDrafter(main, draft Model, d Decoder, sequences, context, batch int) (*ModelDrafter, error) {
	if err := sameVocabulary(main, draft); err != nil {
		return nil, err
	}
	return &ModelDrafter{
		model: draft, dec: d, vocab: min(main.Vocab(), draft.Vocab()),
		seats: make([]seat, sequences), context: context, batch: batch,
	}, nil
}

// sameVocabulary says what distinguishes the vocabularies of two models.
func sameVocabulary(main, draft Model) error {
	a, b := main.Vocab(), draft.Vocab()
	if d := a - b; d > mostPadding || d < -mostPadding {
		return fmt.Errorf("a draft model has to have the model's vocabulary: it has %d tokens, the model %d", b, a)
	}
	for t := range sampler.Token(min(a, b)) {
		if p, q := main.Piece(t), draft.Piece(t); !bytes.Equal(p, q) {
			return fmt.Errorf("a draft model has to have the model's vocabulary: its token %d is %q, the model's %q", t, q, p)
		}
	}
	return nil
}

// Draft implements [Drafter]. Its guesses are those of greedy decoding. Of a sequence of which much is new to it, such as a
// prompt, it computes one batch in a call, and guesses nothing until the rest is done.
func (d *ModelDrafter) Draft(guesses []Guess, slot int, tokens []sampler.Token, n int) ([]Guess, error) {
	n = min(n, d.context-len(tokens))
	if n < 1 {
		return guesses, nil
	}
	at := d.seat(slot)
	if err := d.rewind(at, tokens); err != nil {
		return guesses, err
	}
	row, err := d.feed(at, tokens[len(d.seats[at].cached):])
	if err != nil || row == nil {
		return guesses, err
	}
	for sure := float32(1); ; {
		g := surest(row)
		if sure *= g.Confidence; sure < unsure || int(g.Token) >= d.vocab || d.model.Kind(g.Token) == End {
			return guesses, nil
		}
		guesses = append(guesses, g)
		if n--; n == 0 {
			return guesses, nil
		}
		if row, err = d.feed(at, []sampler.Token{g.Token}); err != nil {
			return guesses, err
		}
	}
}

// seat is the sequence for a slot: its own, or the one that was not used for longest.
func (d *ModelDrafter) seat(slot int) int {
	d.tick++
	at := 0
	for i := range d.seats {
		if d.seats[i].used > 0 && d.seats[i].slot == slot {
			at = i
			break
		}
		if d.seats[i].used < d.seats[at].used {
			at = i
		}
	}
	d.seats[at].slot, d.seats[at].used = slot, d.tick
	return at
}

// rewind forgets what a sequence has and tokens have not, and their last one in any case, whose logits are needed.
func (d *ModelDrafter) rewind(at int, tokens []sampler.Token) error {
	have := d.seats[at].cached
	keep := min(common(have, tokens), len(tokens)-1)
	if keep == len(have) {
		return nil
	}
	err := d.dec.Forget(at, keep)
	if err != nil { // it cannot be cut there
		keep, err = 0, d.dec.Forget(at, 0)
	}
	if err == nil {
		d.seats[at].cached = have[:keep]
	}
	return err
}

// feed computes tokens, up to a batch of them, and returns the row of logits after the last; nil where there are more.
func (d *ModelDrafter) feed(at int, tokens []sampler.Token) ([]float32, error) {
	s, more := &d.seats[at], false
	if len(tokens) > d.batch {
		tokens, more = tokens[:d.batch], true
	}
	d.rows = d.rows[:0]
	for i, t := range tokens {
		if int(t) >= d.vocab {
			return nil, nil // the model said what this one does not know
		}
		d.rows = append(d.rows, Row{Token: t, Seq: at, Pos: len(s.cached) + i, Logits: i == len(tokens)-1 && !more})
	}
	if err := d.dec.Decode(d.rows); err != nil {
		s.cached = s.cached[:0]
		return nil, errors.Join(err, d.dec.Forget(at, 0))
	}
	s.cached = append(s.cached, tokens...)
	if more {
		return nil, nil
	}
	return d.dec.Logits(len(d.rows) - 1), nil
}

// surest is the token with the largest logit, with its probability.
func surest(row []float32) Guess {
	best := 0
	for i, z := range row {
		if z > row[best] {
			best = i
		}
	}
	sum := 0.0
	for _, z := range row {
		if d := z - row[best]; d > -16 { // the rest are e⁻¹⁶ each and no more than an estimate needs
			sum += math.Exp(float64(d))
		}
	}
	return Guess{sampler.Token(best), float32(1 / sum)} //nolint:gosec // a token
}

// confidenceClass is the class of a confidence among chances.
func confidenceClass(c float32) int {
	for class, most := range [matchClasses - 1]float32{0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.86, 0.92, 0.96, 0.98, 0.99} {
		if c <= most {
			return class
		}
	}
	return matchClasses - 1
}

// drafting is what the engine knows of its Drafter's use for an answer.
type drafting struct {
	// ahead are its guesses for the next decode.
	ahead []Guess
	// gain is by what share drafts made steps faster lately; paused is for how many steps none is made.
	gain   float64
	paused int
	// asked says that there was a draft for this step, and spent how many seconds all drafts for it took.
	asked bool
	spent float64
}

const (
	// draftPause is how many steps pass without a draft after drafts that did not pay.
	draftPause = 32
	// mostLoss is the gain at which they do not pay.
	mostLoss = -0.2
	// sureEnough is the chance of a guess by lookup from which no Drafter is asked: it costs nothing.
	sureEnough = 0.8
)

// propose asks the Drafter for the guesses of the next decode.
func (e *Engine) propose() {
	s := e.loop.sched
	if e.cfg.Drafter == nil || !s.spec.active() {
		return
	}
	var spent float64
	for _, seq := range s.running {
		seq.drafting.ahead, seq.drafting.asked = seq.drafting.ahead[:0], false
		if !seq.ready() || len(seq.twins) > 0 || len(seq.forced) > 0 {
			continue
		}
		if n := s.spec.guesses(seq); !s.spec.always && n > 0 && s.spec.chance(seq, 0) > sureEnough {
			continue
		}
		if seq.drafting.paused > 0 {
			seq.drafting.paused--
			continue
		}
		if n := min(s.spec.most, seq.max-seq.usage.CompletionTokens-1); n > 0 {
			spent += e.ask(seq, n)
		}
	}
	for _, seq := range s.running {
		seq.drafting.spent = spent // it delays all of them
	}
}

// ask asks the Drafter about one answer and returns how many seconds it took. What fails there costs no answer anything: there
// are just no guesses.
func (e *Engine) ask(seq *sequence, n int) float64 {
	var err error
	start := time.Now()
	func() {
		defer recovered("draft", &err)
		seq.drafting.ahead, err = e.cfg.Drafter.Draft(seq.drafting.ahead, seq.slot, seq.tokens, n)
	}()
	seq.drafting.asked = true
	if err != nil {
		slog.Error("the draft model failed", "error", err)
		seq.drafting.ahead = seq.drafting.ahead[:0]
	}
	known := len(seq.drafting.ahead)
	for i, g := range seq.drafting.ahead {
		if int(g.Token) >= e.model.Vocab() || g.Token < 0 || e.model.Kind(g.Token) == End {
			known = i
			break
		}
	}
	seq.drafting.ahead = seq.drafting.ahead[:known]
	return time.Since(start).Seconds()
}

// review learns from a step for which the Drafter was asked: how good guesses of its confidence are, and whether they paid.
// A decode without them would have taken plain seconds, that of the step took as many as took.
func (d *drafting) review(st *step, known *chances, plain, took float64, always bool) {
	if !d.asked {
		return
	}
	if len(d.ahead) > 0 {
		for i := range min(len(st.drafted), st.chosen) {
			right := st.seq.tokens[len(st.seq.tokens)-st.chosen+i] == st.drafted[i].Token
			known.learn(confidenceClass(d.ahead[i].Confidence), right)
		}
	}
	d.gain += (float64(st.chosen)*plain/(took+d.spent) - 1 - d.gain) / 8
	if d.gain < mostLoss && !always {
		d.paused, d.gain = draftPause, mostLoss/2
	}
}
