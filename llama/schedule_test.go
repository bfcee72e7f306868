package llama

import (
	"slices"
	"testing"

	"aim/sampler"
)

func newTestScheduler(slots, batch, chunk int) *scheduler {
	return newScheduler(Config{Slots: slots, Batch: batch, Chunk: chunk})
}

// arrive lets a sequence with a prompt of n tokens wait.
func arrive(s *scheduler, n int) *sequence {
	seq := &sequence{tokens: make([]sampler.Token, n)}
	s.add(seq)
	return seq
}

// share counts the planned rows of each sequence, 0 for those without.
func share(rows []Row, seqs ...*sequence) (n []int) {
	for _, seq := range seqs {
		n = append(n, 0)
		for _, r := range rows {
			if r.Seq == seq.slot {
				n[len(n)-1]++
			}
		}
	}
	return n
}

// decoded says that the plan was carried out: each sequence with logits gets its next token.
func decoded(s *scheduler) {
	s.commit()
	for _, out := range s.outs {
		out.seq.tokens = append(out.seq.tokens, 0)
	}
}

func TestPlanIsFirstInFirstOut(t *testing.T) {
	s := newTestScheduler(3, 100, 10)
	a, b, c := arrive(s, 60), arrive(s, 60), arrive(s, 60)
	s.admit()
	rows, outs := s.plan()
	if got := share(rows, a, b, c); !slices.Equal(got, []int{60, 0, 0}) {
		t.Errorf("rows %v: the oldest prompt goes first, and has no company beyond a chunk", got)
	}
	if len(outs) != 1 || outs[0].seq != a || outs[0].row != 59 || !rows[59].Logits || rows[58].Logits {
		t.Errorf("outputs %v: only a finished prompt gets logits", outs)
	}
}

func TestPlanNeverStarvesAnswers(t *testing.T) {
	s := newTestScheduler(3, 100, 10)
	a, b := arrive(s, 5), arrive(s, 1)
	s.admit()
	s.plan()
	decoded(s)
	long := arrive(s, 1000)
	s.admit()
	for step := range 100 {
		rows, outs := s.plan()
		if got := share(rows, a, b, long); !slices.Equal(got, []int{1, 1, 10}) {
			t.Fatalf("step %d: rows %v, want one for each answer and a chunk of the prompt", step, got)
		}
		if rows[0].Seq != a.slot || rows[1].Seq != b.slot {
			t.Fatalf("step %d: answers do not come first: %v", step, rows[:3])
		}
		if want := 2; len(outs) != want && step != 99 {
			t.Fatalf("step %d: %d outputs, want %d", step, len(outs), want)
		}
		decoded(s)
	}
	if long.done != 1000 || len(long.tokens) != 1001 {
		t.Errorf("the prompt has %d of 1000 tokens done", long.done)
	}
}

func TestPlanPositionsContinue(t *testing.T) {
	s := newTestScheduler(2, 7, 3)
	arrive(s, 20)
	arrive(s, 10)
	next := map[int]int{}
	s.admit()
	for range 30 {
		rows, _ := s.plan()
		if len(rows) > 7 {
			t.Fatalf("%d rows in a batch of 7", len(rows))
		}
		for _, r := range rows {
			if r.Pos != next[r.Seq] {
				t.Fatalf("sequence %d continues at %d, want %d", r.Seq, r.Pos, next[r.Seq])
			}
			next[r.Seq]++
		}
		decoded(s)
	}
}

func TestPlanWithMoreAnswersThanRows(t *testing.T) {
	s := newTestScheduler(4, 2, 2)
	for range 4 {
		arrive(s, 1)
	}
	s.admit()
	if rows, outs := s.plan(); len(rows) != 2 || len(outs) != 2 {
		t.Errorf("%d rows and %d outputs in a batch of 2", len(rows), len(outs))
	}
}

func TestAdmitInOrder(t *testing.T) {
	s := newTestScheduler(1, 10, 10)
	a, b, c := arrive(s, 1), arrive(s, 1), arrive(s, 1)
	s.admit()
	if a.slot != 0 || b.slot != -1 {
		t.Fatalf("slots %d and %d", a.slot, b.slot)
	}
	if slot := s.remove(b); slot != -1 {
		t.Errorf("a waiting sequence held slot %d", slot)
	}
	if slot := s.remove(a); slot != 0 {
		t.Errorf("the running sequence held slot %d", slot)
	}
	s.admit()
	if c.slot != 0 {
		t.Errorf("the next in line has slot %d", c.slot)
	}
	s.remove(c)
	if !s.idle() {
		t.Error("not idle")
	}
}

// Neighbouring slots are cheapest to decode, so a hole is filled before a new end is opened.
func TestAdmitLowestSlot(t *testing.T) {
	s := newTestScheduler(4, 10, 10)
	var seqs []*sequence
	for range 4 {
		seqs = append(seqs, arrive(s, 1))
	}
	s.admit()
	for _, i := range []int{2, 0, 3} {
		s.remove(seqs[i])
	}
	for _, want := range []int{0, 2, 3} {
		seq := arrive(s, 1)
		s.admit()
		if seq.slot != want {
			t.Errorf("slot %d, want %d", seq.slot, want)
		}
	}
}

func TestPreempt(t *testing.T) {
	s := newTestScheduler(2, 10, 10)
	old, young := arrive(s, 3), arrive(s, 3)
	s.admit()
	s.plan()
	decoded(s)
	seq, slot := s.preempt()
	if seq != young || slot != 1 || young.slot != -1 || young.done != 0 || len(young.tokens) != 4 {
		t.Fatalf("preempted %p in slot %d: %+v", seq, slot, young)
	}
	s.admit()
	if young.slot != -1 {
		t.Error("let in again before anybody left")
	}
	if seq, _ := s.preempt(); seq != nil {
		t.Error("preempted the last one running")
	}
	s.remove(old)
	s.admit()
	rows, outs := s.plan()
	if len(rows) != 4 || len(outs) != 1 || rows[3].Pos != 3 {
		t.Errorf("rows %v: prompt and answer so far are computed again", rows)
	}
}

func TestPlannedNamesEachSequenceOnce(t *testing.T) {
	s := newTestScheduler(3, 10, 10)
	a, b := arrive(s, 2), arrive(s, 3)
	arrive(s, 30)
	s.admit()
	s.plan()
	s.rows = s.rows[:5] // as if the third had no room
	if got := s.planned(); !slices.Equal(got, []*sequence{a, b}) {
		t.Errorf("planned %v", got)
	}
}

// A scored prompt enters no faster than there is room for its rows of logits, answers beside it keep theirs, and what is computed
// again after a preemption is not scored again.
func TestPlanBoundsRowsOfLogits(t *testing.T) {
	s := newScheduler(Config{Slots: 3, Batch: 100, Chunk: 50, ScoreRows: 8})
	answer := arrive(s, 1)
	s.admit()
	s.plan()
	decoded(s)
	a, b := arrive(s, 30), arrive(s, 3)
	a.toScore, b.toScore = 29, 2
	s.admit()
	seen := map[*sequence][]int{}
	plan := func(most int) {
		t.Helper()
		rows, outs := s.plan()
		logits := 0
		for _, r := range rows {
			if r.Logits {
				logits++
			}
		}
		if logits > most {
			t.Fatalf("%d rows of logits, want at most %d", logits, most)
		}
		for _, out := range outs {
			for i := range out.n {
				if r := rows[out.score+i]; r.Seq != out.seq.slot || !r.Logits {
					t.Fatalf("row %+v scores sequence %d", r, out.seq.slot)
				}
				seen[out.seq] = append(seen[out.seq], rows[out.score+i].Pos)
			}
			out.seq.scored += out.n
		}
		s.commit()
		for _, out := range outs {
			if out.row >= 0 {
				out.seq.tokens = append(out.seq.tokens, 0)
			}
		}
	}
	for range 2 {
		plan(8)
	}
	if n := len(answer.tokens); n != 4 || a.scored != 14 || b.scored != 0 {
		t.Fatalf("the answer has %d tokens, the prompts %d and %d scores", n, a.scored, b.scored)
	}
	b.done, a.done = 0, 0 // as preemption leaves them
	plan(8)
	if a.scored != 21 || a.done != 21 {
		t.Errorf("after a preemption %d of %d tokens are scored", a.scored, a.done)
	}
	for range 4 {
		plan(9) // with the first token of an answer
	}
	for seq, n := range map[*sequence]int{a: 29, b: 2} {
		if len(seen[seq]) != n || !slices.IsSorted(seen[seq]) || len(slices.Compact(seen[seq])) != n {
			t.Errorf("scored positions %v, want each of %d once", seen[seq], n)
		}
	}
	s.most = 1
	c := arrive(s, 4)
	s.remove(b)
	s.admit()
	c.toScore = 3
	plan(3)
	if c.scored != 1 {
		t.Errorf("%d scores where the answers have all the room, want 1", c.scored)
	}
}

func TestPlanOfAMutePromptHasNoStep(t *testing.T) {
	s := newScheduler(Config{Slots: 1, Batch: 8, Chunk: 8, ScoreRows: 100})
	a := arrive(s, 9)
	a.mute, a.toScore = true, 9
	s.admit()
	for _, want := range []int{8, 1, 0} {
		rows, outs := s.plan()
		if len(rows) != want {
			t.Fatalf("%d rows, want %d", len(rows), want)
		}
		for _, out := range outs {
			if out.row != -1 || out.n != want {
				t.Errorf("output %+v, want %d scores and no step", out, want)
			}
			out.seq.scored += out.n
		}
		s.commit()
	}
}
