// Package measure holds what a server measures of a request: when it went from one stage to the next, when its tokens came, and how it ended.
// internal/metrics and internal/tracing make figures and spans of it. It never holds what was asked or answered, nor anything that a client
// can choose at will.
package measure

import (
	"slices"
	"time"
)

// Stages of a request, in their order; those that a request never reached are missing.
const (
	// Parse is reading the request and its body.
	Parse = "parse"
	// Compute is the work of endpoints that generate nothing.
	Compute = "compute"
	// Policy is deciding what is imposed, and Limits admitting the request under those of its key.
	Policy = "policy"
	Limits = "limits"
	// Queue is waiting for a slot, Prompt the time to the first token from there, and Decode that of the rest.
	Queue  = "queue"
	Prompt = "prompt"
	Decode = "decode"
	// Write is what remains: sending what is left and ending.
	Write = "write"
)

// Request is what is known of a request when it is over. Its times have a monotonic clock.
type Request struct {
	// ID is the request's, which it may have from a proxy in front.
	ID string
	// Method and Endpoint are the method and the path as it is registered; Endpoint is "" where there is none such.
	Method, Endpoint string
	// Model is the model that was found, "" for none; Key is the ID of the API key, "" for none.
	Model, Key string
	// Status is that of HTTP, 499 for a client that left; Code says what failed and Refused which limit did, "" for nothing.
	Status        int
	Code, Refused string
	// Answers says that it was handed over to be answered by a model, and Stream that the answer was to be one.
	Answers, Stream bool
	// Traceparent and Tracestate are the headers of W3C Trace Context, as they came.
	Traceparent, Tracestate string

	Began, Ended time.Time
	Stages       []Stage
	// First is when the first token came, and Last the last one; zero for none.
	First, Last time.Time
	// Queued is how long the choice that waited longest waited for a slot; negative where it is not known.
	Queued time.Duration
	// Gaps are the times between the tokens of each choice.
	Gaps Gaps

	// PromptTokens, CachedTokens and CompletionTokens are as in the request's usage.
	PromptTokens, CachedTokens, CompletionTokens int

	marked  time.Time
	choices []arrivals
}

// Stage is a stretch of a request's time.
type Stage struct {
	Name     string
	From, To time.Time
}

// arrivals are those of a choice's tokens: how many have been chosen, and how many of them came by the last time.
type arrivals struct {
	last           time.Time
	chosen, before int
}

// Begin starts the clock.
func (r *Request) Begin(now time.Time) { r.Began, r.marked, r.Queued = now, now, -1 }

// Mark ends the stage that began at the last mark.
func (r *Request) Mark(stage string, now time.Time) {
	if now.Before(r.marked) {
		now = r.marked
	}
	r.Stages = append(r.Stages, Stage{stage, r.marked, now})
	r.marked = now
}

// Tokens notes that a choice has n tokens by now; see Arrived.
func (r *Request) Tokens(choice, n int) {
	if n <= 0 {
		return
	}
	if choice >= len(r.choices) {
		r.choices = append(r.choices, make([]arrivals, choice+1-len(r.choices))...)
	}
	r.choices[choice].chosen = max(r.choices[choice].chosen, n)
}

// Arrived says when those of Tokens came. Several that came together share the time since the one before; of a choice's first ones only the
// first is known to have taken what it took.
func (r *Request) Arrived(now time.Time) {
	for i := range r.choices {
		c := &r.choices[i]
		n := c.chosen - c.before
		if n == 0 {
			continue
		}
		if r.First.IsZero() {
			r.First = now
		}
		r.Last = now
		if !c.last.IsZero() {
			r.Gaps.add(now.Sub(c.last)/time.Duration(n), n)
		}
		c.last, c.before = now, c.chosen
	}
}

// Waited says how long a choice waited for its slot.
func (r *Request) Waited(d time.Duration) { r.Queued = max(r.Queued, d) }

// Generated ends the stages of generating: from the last mark, when the request was handed over, to its last token.
func (r *Request) Generated(now time.Time) {
	start := r.marked
	if r.First.IsZero() {
		r.Mark(Queue, now) // nobody told when it ended
		return
	}
	if r.Queued >= 0 {
		queued := start.Add(r.Queued)
		if queued.After(r.First) { // of another choice
			queued = r.First
		}
		r.Mark(Queue, queued)
	}
	r.Mark(Prompt, r.First)
	r.Mark(Decode, r.Last)
}

// End stops the clock.
func (r *Request) End(now time.Time) {
	r.Ended = now
	if len(r.Stages) > 0 {
		r.Mark(Write, now)
	}
}

// GapBounds are the upper bounds of [Gaps.Counts] in seconds.
var GapBounds = [...]float64{.001, .0025, .005, .01, .025, .05, .075, .1, .15, .25, .5, 1, 2.5, 10}

// Gaps is a histogram of times between tokens.
type Gaps struct {
	// Counts has one more entry than there are bounds, for what is above all.
	Counts [len(GapBounds) + 1]uint64
	// Sum is that of all, in seconds.
	Sum float64
}

func (g *Gaps) add(d time.Duration, n int) {
	i, _ := slices.BinarySearch(GapBounds[:], d.Seconds())
	g.Counts[i] += uint64(n) //nolint:gosec // not negative
	g.Sum += d.Seconds() * float64(n)
}

// Add adds another histogram.
func (g *Gaps) Add(other *Gaps) {
	for i, n := range other.Counts {
		g.Counts[i] += n
	}
	g.Sum += other.Sum
}

// Count is the number of times.
func (g *Gaps) Count() (n uint64) {
	for _, c := range g.Counts {
		n += c
	}
	return n
}
