package llama

import (
	"fmt"

	"aim/sampler"
)

// A twin is the same answer after another prompt: span focus compares what the model says with a part of the prompt and
// without it (see sampler.Span). It is decoded in the same batch as its sequence and fed with the same tokens, in a slot of
// its own. A sequence and its twins are scheduled as one: they enter together, step together, and leave together. Where the
// sampler does without a twin's row at a step, the twin is idle: its token is decoded, so that all slots stay in step and
// go through the model in one pass, but the logits are not computed, a fifth of a small model's work.

// newTwins returns the twins that the request's spans need.
func newTwins(r *Request, room int) (twins []*sequence) {
	for _, span := range r.Params.Spans {
		twin := &sequence{
			tokens:   append(make([]sampler.Token, 0, len(span.Without)+min(room, 256)), span.Without...),
			slot:     -1,
			adapters: r.Adapters,
			awaits:   true,
			domain:   domain{r.CacheDomain, r.Adapters},
			alone:    r.NoCache,
		}
		twins = append(twins, twin)
	}
	return twins
}

// reduced is r itself, or where a span is all to be taken away, and nobody looks at the rows of the whole prompt, the request
// of the prompt without it: the same answer at half the cost.
func reduced(r Request) Request {
	if spans := r.Params.Spans; len(spans) == 1 && spans[0].Strength == -1 && r.Params.Observer == nil && !r.Params.Report {
		r.Prompt, r.Params.Spans = spans[0].Without, nil
	}
	return r
}

// common is the number of tokens that a and b begin with.
func common(a, b []sampler.Token) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// lanes ranges over a sequence and its twins.
func (seq *sequence) lanes(yield func(*sequence) bool) {
	if !yield(seq) {
		return
	}
	for _, twin := range seq.twins {
		if !yield(twin) {
			return
		}
	}
}

// width is the number of slots that a sequence takes.
func (seq *sequence) width() int { return 1 + len(seq.twins) }

// width is the number of slots that sequences take in all.
func width(seqs []*sequence) (n int) {
	for _, seq := range seqs {
		n += seq.width()
	}
	return n
}

// ready says that one more token of each prompt completes what the next token of the answer needs.
func (seq *sequence) ready() bool {
	if seq.mute {
		return false
	}
	for lane := range seq.lanes {
		if len(lane.tokens)-lane.done != 1 {
			return false
		}
	}
	return true
}

// extend appends a token of the answer, for the twins, too.
func (seq *sequence) extend(t sampler.Token) {
	for lane := range seq.lanes {
		lane.tokens = append(lane.tokens, t)
	}
	if seq.answer != nil && seq.lookup != nil {
		seq.lookup.add(t)
	}
	seq.rouse()
}

// rouse asks the sampler whose row it reads for the next token.
func (seq *sequence) rouse() {
	for i, twin := range seq.twins {
		twin.idle = seq.answer != nil && !seq.sampler.Wants(i)
	}
}

// checkTwins bounds the twins of a request by what the engine can hold.
func (e *Engine) checkTwins(r *Request) error {
	spans := r.Params.Spans
	if most := min(e.cfg.Slots, e.cfg.Batch, cap(e.arrivals)) - 1; len(spans) > most {
		return &sampler.DomainError{
			Param: "spans", Value: fmt.Sprintf("a list of %d", len(spans)),
			Want: fmt.Sprintf("at most %d long: each takes a slot beside the answer's own, and there are %d", most, e.cfg.Slots),
		}
	}
	for _, span := range spans {
		if len(span.Without) >= e.cfg.Context {
			return &TooLongError{Prompt: len(span.Without), Context: e.cfg.Context}
		}
	}
	return nil
}

// longest is the length of the longest prompt of a request, those of its twins included.
func longest(r *Request) int {
	n := len(r.Prompt)
	for _, span := range r.Params.Spans {
		n = max(n, len(span.Without))
	}
	return n
}
