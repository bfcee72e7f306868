package llama

import (
	"fmt"
	"iter"
	"slices"

	"aim/sampler"
)

// AdapterSet names one of the sets of adapters that a driver has loaded: changes to the model's weights or hidden states, under which
// it is another model. Set 0 is what applies where nobody asks for one, often nothing at all.
type AdapterSet int

// Adapter is a Decoder that computes under one of several sets of adapters. What is in the cache of a sequence was computed under
// one set; rows under another must not be appended to it, nor may sequences of different sets share.
type Adapter interface {
	// Sets is the number of sets, at least 1: they are 0 .. Sets-1. It never changes, and any goroutine may ask.
	Sets() int
	// Adapt makes the following Decodes compute under a set. Where that is in force it costs nothing. After an error it is unknown
	// which set is in force.
	Adapt(set AdapterSet) error
}

// setsOf is the number of sets of a Decoder's.
func setsOf(d Decoder) int {
	if a, ok := d.(Adapter); ok {
		return a.Sets()
	}
	return 1
}

// checkAdapters bounds a request's set by what the driver has.
func (e *Engine) checkAdapters(set AdapterSet) error {
	if set < 0 || int(set) >= e.sets {
		return &sampler.DomainError{Param: "adapters", Value: int(set), Want: fmt.Sprintf("in [0, %d]: so many sets are loaded", e.sets-1)}
	}
	return nil
}

// adapt makes the Decoder compute under the set of the plan.
func (e *Engine) adapt() error {
	if a, ok := e.loop.dec.(Adapter); ok && e.sets > 1 {
		return a.Adapt(e.loop.sched.set)
	}
	return nil
}

// turn passes the next decode on to the set after the last one's, in a circle over the sets of running sequences: a decode carries
// rows of one set only. As every answer of a set gets a row in its turn, answers advance at the same rate whichever set they are of.
// Where nobody answers yet, the oldest prompt goes first.
func (s *scheduler) turn() {
	if len(s.running) == 0 {
		return
	}
	first, next := s.running[0].adapters, AdapterSet(-1)
	if !s.answering() {
		s.set = first
		return
	}
	for _, seq := range s.running {
		first = min(first, seq.adapters)
		if seq.adapters > s.set && (next < 0 || seq.adapters < next) {
			next = seq.adapters
		}
	}
	if s.set = next; next < 0 {
		s.set = first
	}
}

// inTurn ranges over the running sequences of the set whose turn it is.
func (s *scheduler) inTurn() iter.Seq[*sequence] {
	return func(yield func(*sequence) bool) {
		for _, seq := range s.running {
			if seq.adapters == s.set && !yield(seq) {
				return
			}
		}
	}
}

// answering says that an answer waits for its next token, of whatever set.
func (s *scheduler) answering() bool { return slices.ContainsFunc(s.running, (*sequence).ready) }

// mixed says that sequences of several sets run.
func (s *scheduler) mixed() bool {
	return slices.ContainsFunc(s.running, func(seq *sequence) bool { return seq.adapters != s.running[0].adapters })
}

// kin tells which slots are busy with lanes of a set. Only these are ever decoded together.
func (s *scheduler) kin(set AdapterSet) []bool {
	busy := make([]bool, len(s.busy))
	for slot := range busy {
		busy[slot] = s.busy[slot] && s.sets[slot] == set
	}
	return busy
}
