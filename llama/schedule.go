package llama

import (
	"slices"

	"aim/sampler"
)

// sequence is one answer in the making. The scheduler owns the fields named here; the rest of it belongs to the engine.
type sequence struct {
	*answer

	// tokens are the prompt and the answer so far; the first done of them are in the KV cache.
	tokens []sampler.Token
	done   int
	// slot is the sequence's number in the KV cache, -1 while it waits.
	slot int
}

// output says that a row of logits belongs to a sequence.
type output struct {
	seq *sequence
	// row is the index into the planned rows.
	row int
}

// scheduler decides what the next decode carries. It has no goroutine, channel, clock or log: the engine turns each event
// into a call.
type scheduler struct {
	batch, chunk int

	// free holds slot numbers in ascending order; waiting and running are in order of arrival.
	free             []int
	waiting, running []*sequence
	// full is set when the cache overflowed: nobody enters until somebody leaves.
	full bool

	rows []Row
	outs []output
}

func newScheduler(cfg Config) *scheduler {
	s := &scheduler{batch: cfg.Batch, chunk: cfg.Chunk}
	for slot := range cfg.Slots {
		s.free = append(s.free, slot)
	}
	return s
}

// idle says that there is nothing to do.
func (s *scheduler) idle() bool { return len(s.waiting) == 0 && len(s.running) == 0 }

// add lets a sequence wait for a slot.
func (s *scheduler) add(seq *sequence) {
	seq.slot = -1
	s.waiting = append(s.waiting, seq)
}

// admit gives free slots, the lowest first, to those who wait longest. Drivers compute neighbouring slots together.
func (s *scheduler) admit() {
	for !s.full && len(s.waiting) > 0 && len(s.free) > 0 {
		seq := s.waiting[0]
		s.waiting = s.waiting[1:]
		seq.slot = s.free[0]
		s.free = s.free[1:]
		s.running = append(s.running, seq)
	}
}

// remove takes a sequence out, wherever it is, and returns the slot it held, -1 without one.
func (s *scheduler) remove(seq *sequence) int {
	s.waiting = without(s.waiting, seq)
	s.running = without(s.running, seq)
	s.full = false
	return s.vacate(seq)
}

// preempt sends the youngest running sequence back to wait, where nothing of it is lost but the time to compute it again,
// and returns it with the slot it held. It returns nil where that would leave nobody running.
func (s *scheduler) preempt() (*sequence, int) {
	if len(s.running) < 2 {
		return nil, -1
	}
	seq := s.running[len(s.running)-1]
	s.running = s.running[:len(s.running)-1]
	s.waiting = append([]*sequence{seq}, s.waiting...)
	s.full = true
	seq.done = 0
	return seq, s.vacate(seq)
}

// plan lays out the next decode: every running answer first, one row each, then prompts in order of arrival. While
// answers run, prompts get at most chunk rows, so that a long prompt delays nobody's next token by more than that.
// The result is valid until the next call.
func (s *scheduler) plan() ([]Row, []output) {
	s.rows, s.outs = s.rows[:0], s.outs[:0]
	for _, seq := range s.running {
		if len(seq.tokens)-seq.done == 1 && len(s.rows) < s.batch {
			s.take(seq, 1)
		}
	}
	room := s.batch - len(s.rows)
	if len(s.rows) > 0 {
		room = min(room, s.chunk)
	}
	for _, seq := range s.running {
		if left := len(seq.tokens) - seq.done; left > 1 && room > 0 {
			n := min(left, room)
			s.take(seq, n)
			room -= n
		}
	}
	return s.rows, s.outs
}

// take plans the next n tokens of a sequence; logits are wanted after its last one.
func (s *scheduler) take(seq *sequence, n int) {
	for pos := seq.done; pos < seq.done+n; pos++ {
		last := pos == len(seq.tokens)-1
		if last {
			s.outs = append(s.outs, output{seq, len(s.rows)})
		}
		s.rows = append(s.rows, Row{Token: seq.tokens[pos], Seq: seq.slot, Pos: pos, Logits: last})
	}
}

// commit says that the planned rows are in the cache.
func (s *scheduler) commit() {
	for _, row := range s.rows {
		s.bySlot(row.Seq).done = row.Pos + 1
	}
}

// planned returns the sequences that have rows in the plan.
func (s *scheduler) planned() (seqs []*sequence) {
	for i, row := range s.rows {
		if i == 0 || row.Seq != s.rows[i-1].Seq {
			seqs = append(seqs, s.bySlot(row.Seq))
		}
	}
	return seqs
}

func (s *scheduler) bySlot(slot int) *sequence {
	for _, seq := range s.running {
		if seq.slot == slot {
			return seq
		}
	}
	return nil
}

func (s *scheduler) vacate(seq *sequence) int {
	slot := seq.slot
	if slot >= 0 {
		at, _ := slices.BinarySearch(s.free, slot)
		s.free = slices.Insert(s.free, at, slot)
		seq.slot = -1
	}
	return slot
}

func without(seqs []*sequence, seq *sequence) []*sequence {
	if i := slices.Index(seqs, seq); i >= 0 {
		return slices.Delete(seqs, i, i+1)
	}
	return seqs
}
