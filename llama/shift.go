package llama

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
)

// When an answer has filled its context, it ends, or goes on without what it can do without: the middle of what has been said
// so far. What is kept of the beginning stays where it is, half of the rest is forgotten, and what follows moves up. The
// sampler keeps all of it: penalties and noise depend on every token of the answer, forgotten or not.

// Shifter is a [Decoder] that can forget the middle of a sequence.
type Shifter interface {
	// CanShift says whether this model's cache can do that.
	CanShift() bool
	// Shift removes the positions keep .. keep+discard-1 of a sequence, all of which are there, and moves those after them up, so that
	// they continue the first keep. What the model knows of the tokens after them is still what it understood when it saw
	// those removed. It may fail with [ErrUnsupported], and the sequence is then unchanged.
	Shift(seq, keep, discard int) error
}

// maxShifted bounds an answer that may shift its context, in contexts: some models never end by themselves.
const maxShifted = 10

// CheckShift is for drivers: it says what is wrong with the arguments of a Shift of a sequence of so many tokens.
func CheckShift(seq, slots, keep, discard, tokens int) error {
	switch {
	case seq < 0 || seq >= slots:
		return fmt.Errorf("shift sequence %d of %d", seq, slots)
	case keep < 0 || discard < 1 || discard > tokens-keep:
		return fmt.Errorf("shift %d tokens after %d of the %d of sequence %d", discard, keep, tokens, seq)
	}
	return nil
}

// prepareShift decides whether a new sequence may outlive its context, and lets its answer be longer if so. Twins must go on
// forgetting the same part of the answer, so their prompts have to be kept whole.
func (e *Engine) prepareShift(seq *sequence, r *Request) {
	if r.NoAnswer || !e.shifts {
		return
	}
	for lane := range seq.lanes {
		lane.keep = e.kept(len(lane.tokens))
		if len(seq.twins) > 0 && lane.keep < len(lane.tokens) {
			seq.keep = 0
			return
		}
	}
	seq.max = maxShifted * e.cfg.Context
	if r.MaxTokens > 0 {
		seq.max = min(seq.max, r.MaxTokens)
	}
}

// kept is how much of a prompt of so many tokens is kept, and never nothing: models rely on the first token.
func (e *Engine) kept(prompt int) int {
	keep := min(prompt, e.cfg.Context/2)
	if e.cfg.Keep > 0 {
		keep = min(keep, e.cfg.Keep)
	}
	return max(1, keep)
}

// shift makes room for the running answers that have filled their contexts. Those for which that fails end.
func (e *Engine) shift() {
	if !e.shifts {
		return
	}
	var stuck []*sequence
	for _, seq := range e.loop.sched.running {
		most := 0
		for lane := range seq.lanes {
			most = max(most, len(lane.tokens))
		}
		if most <= e.cfg.Context || seq.keep == 0 {
			continue
		}
		discard := e.cfg.Context
		for lane := range seq.lanes {
			discard = min(discard, max(1, (len(lane.tokens)-lane.keep)/2))
		}
		for lane := range seq.lanes {
			if err := e.shiftLane(lane, discard); err != nil {
				if !errors.Is(err, ErrUnsupported) {
					slog.Error("a context could not be shifted", "slot", lane.slot, "error", err)
				}
				stuck = append(stuck, seq)
				break
			}
		}
	}
	for _, seq := range stuck {
		e.drop(seq)
		seq.box.put(seq.cutShort(), nil)
	}
}

// shiftLane forgets the discard tokens of a sequence or twin after those that it keeps. Where the cache has only a part of
// them, that goes, too.
func (e *Engine) shiftLane(lane *sequence, discard int) error {
	switch {
	case lane.done <= lane.keep:
	case lane.done >= lane.keep+discard:
		if err := e.callShift(lane.slot, lane.keep, discard); err != nil {
			return err
		}
		lane.done -= discard
		lane.shifted = true
	default:
		lane.shifted = true
		e.unshift(lane)
	}
	lane.tokens = slices.Concat(lane.tokens[:lane.keep], lane.tokens[lane.keep+discard:]) // others may hold the old ones
	lane.next = lane.done
	if c := &e.loop.cache; !lane.awaits && c.held[lane.slot] != nil {
		c.vacate(lane.slot)
		c.hold(lane.slot, &prefix{domain: lane.domain, tokens: lane.tokens[:lane.keep:lane.keep], lane: lane})
	}
	return nil
}

// unshift leaves of a shifted lane what it kept of its prompt, for others to take over: the rest is not what its tokens alone would give.
func (e *Engine) unshift(lane *sequence) {
	if !lane.shifted {
		return
	}
	lane.shifted = false
	if lane.done <= lane.keep {
		return
	}
	if err := e.cut(lane.slot, lane.keep); err != nil {
		e.forget(lane.slot)
		lane.done = 0
		return
	}
	lane.done = lane.keep
}

// callShift calls the Decoder; a panic in it is an error.
func (e *Engine) callShift(slot, keep, discard int) (err error) {
	defer recovered("shift", &err)
	return e.loop.dec.(Shifter).Shift(slot, keep, discard)
}

// cutShort is the last delta of an answer that ends for want of context.
func (seq *sequence) cutShort() Delta {
	a := seq.answer
	d := Delta{Finish: FinishLength, Usage: a.usage, Counts: a.sampler.Counts(), Report: a.finalReport()}
	d.Text, d.Tokens = a.text.flush()
	return d
}
