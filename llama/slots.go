package llama

import (
	"slices"
	"sync"
)

// SlotStats is what a slot of an engine is at, in numbers of tokens. It tells nothing of their text.
type SlotStats struct {
	// Busy says that an answer, or a twin of one, holds the slot.
	Busy bool
	// Cached counts the tokens in the KV cache, also those that a former answer left there; Prompt those of the answer's prompt and
	// Completion those of the answer so far.
	Cached, Prompt, Completion int
}

// slots publishes what the slots are at.
type slots struct {
	mu   sync.Mutex
	list []SlotStats
}

// Slots returns what each slot is at, as of the last decode and without waiting for the next.
func (e *Engine) Slots() []SlotStats {
	e.slots.mu.Lock()
	defer e.slots.mu.Unlock()
	return slices.Clone(e.slots.list)
}

// Occupancy is how many tokens are in the KV cache, those of former answers included, and for how many it has room.
func (e *Engine) Occupancy() (used, cells int) {
	for _, slot := range e.Slots() {
		used += slot.Cached
	}
	return used, (e.cfg.Slots + e.cfg.Parked) * e.cfg.Context
}

// publish replaces what is told about the slots.
func (s *slots) publish(running []*sequence, held []*prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.list)
	for slot, p := range held {
		if p != nil && p.lane == nil {
			s.list[slot].Cached = len(p.tokens)
		}
	}
	for _, seq := range running {
		for lane := range seq.lanes {
			s.list[lane.slot] = SlotStats{true, lane.done, seq.usage.PromptTokens, seq.usage.CompletionTokens}
		}
	}
}
