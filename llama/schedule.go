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
	// adapters is the set that its tokens are computed under, and its twins' as well. What is in its cache is of no use to sequences
	// of another set.
	adapters AdapterSet

	// twins are the same answer after other prompts; see twin.go. Twins have neither an answer nor twins of their own.
	twins []*sequence
	// awaits says that it has yet to take over what is in the cache of its prompt; nothing of it is computed before.
	awaits bool
	// alone says that it takes over nothing and leaves nothing.
	alone bool
	// domain is that of the prefixes which it may take over, and group whom its work is charged to; weight > 0 is the group's share, 0 for 1.
	domain domain
	group  string
	weight float64
	// resumed says that it was preempted: it goes first.
	resumed bool
	// idle says that the next token is chosen without the twin's row of logits.
	idle bool

	// keep is how many tokens of the beginning stay when the context is full and the answer goes on; 0 is none, and it ends. See
	// shift.go. Where shifted is set, what the cache has of the tokens after those is not what the tokens alone would give.
	keep    int
	shifted bool

	// The first toScore tokens of the prompt need the rows of logits that follow them, which tell the log-probabilities of the
	// tokens after them. Of these rows the first scored have been looked at. Both are 0 for those whose prompt is not scored.
	scored, toScore int
	// mute says that no token is chosen: the sequence is done when its tokens are in the cache.
	mute bool
}

// output says which rows of logits of a sequence are there.
type output struct {
	seq *sequence
	// row is the index into the planned rows of the one for the sequence's next token, -1 without one; those of the twins follow,
	// in their order.
	row int
	// score is the index of the first of n rows that score its prompt.
	score, n int
	// draft is the index of the first of drafted rows that are guesses; see speculate.go.
	draft, drafted int
}

// scheduler decides what the next decode carries. It has no goroutine, channel, clock or log: the engine turns each event
// into a call.
type scheduler struct {
	// batch is the most rows of a decode, and chunk the most prompt rows of one with which an answer or another prompt waits.
	batch, chunk int
	// most is the number of rows of logits beyond which no prompt gets more of them in a decode than one.
	most int

	// free holds slot numbers in ascending order, of which spare may be given away, and busy tells the others; waiting and running are
	// in order of arrival.
	free             []int
	busy             []bool
	sets             []AdapterSet // of the lanes that the slots were given to last
	spare            int
	waiting, running []*sequence
	// place picks one of the free slots by its index, nil the lowest.
	place func(*sequence) int
	// scattered says that holes between busy slots do not matter, and holeFor for how many plans there has been one.
	scattered bool
	holeFor   int
	turns     turns
	// full is set when the cache overflowed: nobody enters until somebody leaves.
	full bool
	// set is that of the plan; see turn.
	set AdapterSet

	rows []Row
	outs []output
	// stepped is the number of rows that belong to answers.
	stepped int
	// room is how many rows of logits there is room for.
	room int
	spec speculation
}

func newScheduler(cfg Config) *scheduler {
	s := &scheduler{
		batch: cfg.Batch, chunk: cfg.Chunk, most: cfg.ScoreRows, spare: cfg.Slots, scattered: cfg.Parked > 0,
		busy: make([]bool, cfg.Slots+cfg.Parked), sets: make([]AdapterSet, cfg.Slots+cfg.Parked),
		spec: speculation{most: cfg.Draft, context: cfg.Context, always: cfg.DraftAlways},
	}
	for slot := range s.busy {
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
	s.turns.arrive(seq.group, s.waiting, s.running)
}

// admit gives free slots to those who wait, in turns between groups and in order of arrival within them. Who needs several gets all of
// them or none, and meanwhile nobody overtakes him.
func (s *scheduler) admit() {
	for !s.full && len(s.waiting) > 0 {
		at := s.turns.next(s.waiting)
		seq := s.waiting[at]
		if s.spare < seq.width() {
			return
		}
		s.waiting = slices.Delete(s.waiting, at, at+1)
		for lane := range seq.lanes {
			s.occupy(lane, s.choose(lane))
		}
		s.running = append(s.running, seq)
	}
}

// choose picks a free slot.
func (s *scheduler) choose(lane *sequence) int {
	if s.place == nil {
		return s.free[0]
	}
	return s.free[s.place(lane)]
}

// occupy gives a free slot to a lane.
func (s *scheduler) occupy(lane *sequence, slot int) {
	at, _ := slices.BinarySearch(s.free, slot)
	s.free = slices.Delete(s.free, at, at+1)
	s.busy[slot], s.sets[slot] = true, lane.adapters
	s.spare--
	lane.slot = slot
}

// release takes a lane's slot away.
func (s *scheduler) release(lane *sequence) {
	at, _ := slices.BinarySearch(s.free, lane.slot)
	s.free = slices.Insert(s.free, at, lane.slot)
	s.busy[lane.slot] = false
	s.spare++
	lane.slot = -1
}

// hole returns the lane with the highest slot and the lowest free slot below it, and counts for how many calls there has been one. The
// lane is nil where nothing is to be gained, where the lane has not begun, or where sets of adapters are placed apart on purpose.
func (s *scheduler) hole() (top *sequence, to int) {
	groups := 0
	for slot, busy := range s.busy {
		if busy && (slot == 0 || !s.busy[slot-1]) {
			groups++
		}
	}
	if s.scattered || groups < 2 || s.mixed() {
		s.holeFor = 0
		return nil, -1
	}
	s.holeFor++
	for _, seq := range s.running {
		for lane := range seq.lanes {
			if top == nil || lane.slot > top.slot {
				top = lane
			}
		}
	}
	to = slices.Index(s.busy, true)
	to += slices.Index(s.busy[to:], false)
	if top.awaits || top.done == 0 {
		return nil, -1
	}
	return top, to
}

// move gives a lane another slot.
func (s *scheduler) move(lane *sequence, to int) {
	s.release(lane)
	s.occupy(lane, to)
}

// precedes says whether a lane belongs to the sequence at an index of those that run, before another lane of it, or to a sequence before it.
func (s *scheduler) precedes(other, lane *sequence, at int) bool {
	for _, seq := range s.running[:at+1] {
		for l := range seq.lanes {
			if l == lane {
				return false
			}
			if l == other {
				return true
			}
		}
	}
	return false
}

// remove takes a sequence out, wherever it is, and returns the slot it held, -1 without one. Those of its
// twins are free, too.
func (s *scheduler) remove(seq *sequence) int {
	s.waiting = without(s.waiting, seq)
	s.running = without(s.running, seq)
	s.full, s.spec.quiet = false, false
	return s.vacate(seq)
}

// preempt sends the youngest running sequence back to wait, where nothing of it is lost but the time to compute it again,
// and returns it with the slot it held. It returns nil where that would leave nobody running.
func (s *scheduler) preempt() (*sequence, int) {
	seq := s.youngest()
	if seq == nil {
		return nil, -1
	}
	s.running = s.running[:len(s.running)-1]
	seq.resumed = true
	s.waiting = append([]*sequence{seq}, s.waiting...)
	s.full = true
	for lane := range seq.lanes {
		lane.done = 0
	}
	return seq, s.vacate(seq)
}

// youngest is the running sequence that came last, nil if it is the only one.
func (s *scheduler) youngest() *sequence {
	if len(s.running) < 2 {
		return nil
	}
	return s.running[len(s.running)-1]
}

// plan lays out the next decode, of the set whose turn it is: every running answer first, one row for each of its prompts, then prompts
// in order of arrival. While answers run, prompts get at most chunk rows, so that a long prompt delays nobody's next token by more than
// that. Where none runs, the first prompt gets all the room, so that it is answered early; those after it get no more than what is left
// of a chunk. Prompts that are scored get rows of logits as long as there is room for them, and one in any case. Guesses come
// last. The result is valid until the next call.
func (s *scheduler) plan() ([]Row, []output) {
	s.rows, s.outs, s.stepped = s.rows[:0], s.outs[:0], 0
	s.turn()
	for _, seq := range s.running {
		for lane := range seq.lanes {
			lane.next = lane.done
		}
	}
	for seq := range s.inTurn() {
		if seq.ready() && len(s.rows)+seq.width() <= s.batch {
			s.outs = append(s.outs, output{seq: seq})
			s.step(seq)
		}
	}
	s.room = max(1, s.most-s.stepped)
	room := s.batch - len(s.rows)
	if s.answering() {
		room = min(room, s.chunk)
	}
	entered := 0
	for seq := range s.inTurn() {
		if seq.next < len(seq.tokens) && room > 0 {
			entered += s.enter(seq, room-entered)
			room = min(room, max(s.chunk, entered))
		}
	}
	s.draft()
	return s.rows, s.outs
}

// enter plans up to room rows of a sequence's prompts and returns how many. The last token of each prompt waits for those
// of the others, since all of them have to be there for the first token of the answer.
func (s *scheduler) enter(seq *sequence, room int) int {
	before, whole := len(s.rows), true
	s.outs = append(s.outs, output{seq: seq, row: -1})
	out := &s.outs[len(s.outs)-1]
	for lane := range seq.lanes {
		if !lane.awaits {
			s.take(lane, s.scorable(lane, min(lane.entry()-lane.next, room-(len(s.rows)-before))))
		}
		whole = whole && lane.next == len(lane.tokens)-1
	}
	s.score(out, before)
	switch {
	case whole && !seq.mute && len(s.rows)-before+seq.width() <= room:
		s.step(seq)
	case out.n == 0:
		s.outs = s.outs[:len(s.outs)-1]
	}
	return len(s.rows) - before
}

// entry is the number of tokens that enter the cache before the one whose logits choose the next token.
func (seq *sequence) entry() int {
	if seq.mute {
		return len(seq.tokens)
	}
	return len(seq.tokens) - 1
}

// scorable is how many of the next n tokens of a sequence there is room for, with the rows of logits that they need.
func (s *scheduler) scorable(seq *sequence, n int) int {
	if seq.next+n <= seq.scored || seq.next >= seq.toScore {
		return n
	}
	return min(n, max(0, seq.scored-seq.next)+s.room)
}

// score asks for logits after those of the rows from an index on that out's sequence needs to score its prompt.
func (s *scheduler) score(out *output, from int) {
	for i := from; i < len(s.rows); i++ {
		if p := s.rows[i].Pos; p < out.seq.scored || p >= out.seq.toScore {
			continue
		}
		if out.n == 0 {
			out.score = i
		}
		s.rows[i].Logits = true
		out.n++
	}
	s.room -= out.n
}

// step plans the last token of a sequence and of its twins, which is that of the last output; logits are wanted after it
// unless a twin is idle.
func (s *scheduler) step(seq *sequence) {
	s.outs[len(s.outs)-1].row = len(s.rows)
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
			s.turns.charge(seq, lane.next-lane.done)
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
	for lane := range seq.lanes {
		if lane.slot < 0 {
			continue
		}
		s.release(lane)
	}
	return slot
}

func without(seqs []*sequence, seq *sequence) []*sequence {
	if i := slices.Index(seqs, seq); i >= 0 {
		return slices.Delete(seqs, i, i+1)
	}
	return seqs
}
