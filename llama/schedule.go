package llama

import (
	"slices"

	"aim/sampler"
)

// sequence is one answer in the making. The scheduler owns the fields named here; the rest of it belongs to the engine.
type sequence struct {
	*answer

	// tokens are the prompt and the answer so far; the first done of them are in the KV cache, and those up to next as well
	// once the plan is carried out.
	tokens     []sampler.Token
	done, next int
	// slot is the sequence's number in the KV cache, -1 while it waits.
	slot int

	// twins are the same answer after other prompts; see twin.go. Twins have neither an answer nor twins of their own.
	twins []*sequence
	// share is the number of tokens at the start of a twin's prompt that it takes over from the cache of its sequence
	// instead of computing them.
	share int
	// idle says that the next token is chosen without the twin's row of logits.
	idle bool
}

// output says that the rows of logits for a sequence's next token are there: its own and those of its twins.
type output struct {
	seq *sequence
	// row is the index into the planned rows; those of the twins follow, in their order.
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
	// stepped is the number of rows that belong to answers.
	stepped int
	// freed are the slots that the last call of remove or preempt emptied.
	freed []int
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
	for lane := range seq.lanes {
		lane.slot = -1
	}
	s.waiting = append(s.waiting, seq)
}

// admit gives free slots, the lowest first, to those who wait longest. Drivers compute neighbouring slots together. Who
// needs several gets all of them or none, and meanwhile nobody overtakes him.
func (s *scheduler) admit() {
	for !s.full && len(s.waiting) > 0 && len(s.free) >= s.waiting[0].width() {
		seq := s.waiting[0]
		s.waiting = s.waiting[1:]
		for lane := range seq.lanes {
			lane.slot = s.free[0]
			s.free = s.free[1:]
		}
		s.running = append(s.running, seq)
	}
}

// remove takes a sequence out, wherever it is, and returns the slot it held, -1 without one; freed has those of its twins,
// too.
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
	for lane := range seq.lanes {
		lane.done = 0
	}
	return seq, s.vacate(seq)
}

// plan lays out the next decode: every running answer first, one row for each of its prompts, then prompts in order of
// arrival. While answers run, prompts get at most chunk rows, so that a long prompt delays nobody's next token by more than
// that. The result is valid until the next call.
func (s *scheduler) plan() ([]Row, []output) {
	s.rows, s.outs, s.stepped = s.rows[:0], s.outs[:0], 0
	for _, seq := range s.running {
		for lane := range seq.lanes {
			lane.next = lane.done
		}
		if seq.ready() && len(s.rows)+seq.width() <= s.batch {
			s.step(seq)
		}
	}
	room := s.batch - len(s.rows)
	if len(s.rows) > 0 {
		room = min(room, s.chunk)
	}
	for _, seq := range s.running {
		if seq.next < len(seq.tokens) && room > 0 {
			room -= s.enter(seq, room)
		}
	}
	return s.rows, s.outs
}

// enter plans up to room rows of a sequence's prompts and returns how many. The last token of each prompt waits for those
// of the others, since all of them have to be there for the first token of the answer.
func (s *scheduler) enter(seq *sequence, room int) int {
	before, whole := len(s.rows), true
	for lane := range seq.lanes {
		if !lane.waitsFor(seq) {
			s.take(lane, min(len(lane.tokens)-1-lane.next, room-(len(s.rows)-before)))
		}
		whole = whole && lane.next == len(lane.tokens)-1
	}
	if whole && len(s.rows)-before+seq.width() <= room {
		s.step(seq)
	}
	return len(s.rows) - before
}

// step plans the last token of a sequence and of its twins; logits are wanted after it unless a twin is idle.
func (s *scheduler) step(seq *sequence) {
	s.outs = append(s.outs, output{seq, len(s.rows)})
	for lane := range seq.lanes {
		s.take(lane, 1)
		s.rows[len(s.rows)-1].Logits = !lane.idle
	}
	s.stepped += seq.width()
}

// take plans the next n tokens of a sequence.
func (s *scheduler) take(seq *sequence, n int) {
	for range n {
		s.rows = append(s.rows, Row{Token: seq.tokens[seq.next], Seq: seq.slot, Pos: seq.next})
		seq.next++
	}
}

// commit says that the planned rows are in the cache.
func (s *scheduler) commit() {
	for _, seq := range s.running {
		for lane := range seq.lanes {
			lane.done = lane.next
		}
	}
}

// planned returns the sequences that have rows in the plan.
func (s *scheduler) planned() (seqs []*sequence) {
	for _, row := range s.rows {
		if seq := s.bySlot(row.Seq); !slices.Contains(seqs, seq) {
			seqs = append(seqs, seq)
		}
	}
	return seqs
}

// bySlot returns the sequence that holds a slot, itself or through a twin.
func (s *scheduler) bySlot(slot int) *sequence {
	for _, seq := range s.running {
		for lane := range seq.lanes {
			if lane.slot == slot {
				return seq
			}
		}
	}
	return nil
}

// vacate takes the slots away from a sequence and its twins.
func (s *scheduler) vacate(seq *sequence) int {
	slot := seq.slot
	s.freed = s.freed[:0]
	for lane := range seq.lanes {
		if lane.slot < 0 {
			continue
		}
		at, _ := slices.BinarySearch(s.free, lane.slot)
		s.free = slices.Insert(s.free, at, lane.slot)
		s.freed = append(s.freed, lane.slot)
		lane.slot = -1
	}
	return slot
}

func without(seqs []*sequence, seq *sequence) []*sequence {
	if i := slices.Index(seqs, seq); i >= 0 {
		return slices.Delete(seqs, i, i+1)
	}
	return seqs
}
