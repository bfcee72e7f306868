package llama

import (
	"slices"
	"testing"

	"aim/sampler"
)

// arriveWithTwins lets a sequence wait that has twins with prompts of these lengths, which await the first shared tokens of its own.
func arriveWithTwins(s *scheduler, n, shared int, twins ...int) *sequence {
	seq := &sequence{tokens: make([]sampler.Token, n)}
	for _, n := range twins {
		seq.twins = append(seq.twins, &sequence{tokens: make([]sampler.Token, n), scored: shared, awaits: shared > 0})
	}
	s.add(seq)
	return seq
}

// copied does for the scheduler what the engine does: twins take over what is there. How much that is stands in a field that twins have
// no use for.
func copied(s *scheduler) {
	for _, seq := range s.running {
		for _, twin := range seq.twins {
			if twin.awaits && seq.done >= twin.scored {
				twin.done, twin.awaits = twin.scored, false
			}
		}
	}
}

// stepped carries the plan out.
func stepped(s *scheduler) {
	s.commit()
	for _, out := range s.outs {
		out.seq.extend(0)
	}
	copied(s)
}

func TestTwinsTakeAllTheirSlotsOrNone(t *testing.T) {
	s := newTestScheduler(4, 100, 10)
	first := arrive(s, 5)
	group := arriveWithTwins(s, 5, 0, 4, 4, 4)
	last := arrive(s, 5)
	s.admit()
	if first.slot != 0 || group.slot != -1 || group.twins[0].slot != -1 || last.slot != -1 {
		t.Fatalf("slots %d, %d, %d, %d: four do not fit into three, and nobody overtakes", first.slot, group.slot, group.twins[0].slot, last.slot)
	}
	s.remove(first)
	s.admit()
	for i, twin := range group.twins {
		if group.slot != 0 || twin.slot != 1+i {
			t.Errorf("twin %d has slot %d beside %d", i, twin.slot, group.slot)
		}
	}
	if slot := s.remove(group); slot != 0 || !slices.Equal(s.free, []int{0, 1, 2, 3}) {
		t.Errorf("slot %d, free %v", slot, s.free)
	}
	s.admit()
	if last.slot != 0 {
		t.Errorf("the next in line has slot %d", last.slot)
	}
}

// All rows of a step are in one decode, the sequence's own first, however the prompts are cut.
func TestTwinsStepTogether(t *testing.T) {
	for _, batch := range []int{4, 5, 7, 16, 100} {
		for _, shared := range []int{0, 1, 9} {
			s := newTestScheduler(4, batch, 2)
			single := arrive(s, 6)
			group := arriveWithTwins(s, 20, shared, 11, 30)
			s.admit()
			next, steps := map[int]int{}, 0
			for range 60 {
				rows, outs := s.plan()
				if len(rows) == 0 || len(rows) > batch {
					t.Fatalf("batch %d: %d rows", batch, len(rows))
				}
				for _, r := range rows {
					if want, there := next[r.Seq]; there && r.Pos != want {
						t.Fatalf("batch %d: slot %d continues at %d, want %d", batch, r.Seq, r.Pos, want)
					}
					next[r.Seq] = r.Pos + 1
				}
				checkOutputs(t, s)
				for _, out := range outs {
					if out.seq == group {
						steps++
					}
				}
				stepped(s)
			}
			if steps < 20 || len(group.tokens) != 20+steps || len(group.twins[0].tokens) != 11+steps || len(group.twins[1].tokens) != 30+steps {
				t.Errorf("batch %d, shared %d: %d steps, %d tokens", batch, shared, steps, len(group.tokens))
			}
			if len(single.tokens) < 6+50 {
				t.Errorf("batch %d, shared %d: the answer beside it got %d tokens", batch, shared, len(single.tokens)-6)
			}
		}
	}
}

// checkOutputs makes sure that each step has the last row of its sequence and after it those of its twins, and that nobody
// else asked for logits.
func checkOutputs(t *testing.T, s *scheduler) {
	t.Helper()
	wanted := 0
	for _, out := range s.outs {
		at := out.row
		for lane := range out.seq.lanes {
			if r := s.rows[at]; r.Seq != lane.slot || r.Pos != len(lane.tokens)-1 || r.Logits == lane.idle {
				t.Fatalf("row %d of the plan is %+v, want the last of slot %d", at, r, lane.slot)
			}
			if !lane.idle {
				wanted++
			}
			at++
		}
	}
	for _, r := range s.rows {
		if r.Logits {
			wanted--
		}
	}
	if wanted != 0 {
		t.Fatalf("%d rows of logits too few", wanted)
	}
}

// An idle twin is fed like the others, but its logits are not computed.
func TestIdleTwins(t *testing.T) {
	s := newTestScheduler(3, 100, 2)
	group := arriveWithTwins(s, 20, 18, 19, 25)
	s.admit()
	for step := range 40 {
		rows, outs := s.plan()
		checkOutputs(t, s)
		if step > 5 && (len(rows) != 3 || len(outs) != 1) {
			t.Fatalf("step %d: %d rows, %d outputs", step, len(rows), len(outs))
		}
		stepped(s)
		group.twins[0].idle, group.twins[1].idle = step%4 != 0, step%3 != 0
	}
}

// A twin computes only what it does not share.
func TestTwinsShareTheirPrefix(t *testing.T) {
	s := newTestScheduler(2, 100, 10)
	group := arriveWithTwins(s, 40, 30, 35)
	s.admit()
	rows, outs := s.plan()
	if got := share(rows, group, group.twins[0]); !slices.Equal(got, []int{39, 0}) || len(outs) != 0 {
		t.Fatalf("rows %v: the twin waits for the prefix, the last token for the twin", got)
	}
	stepped(s)
	rows, outs = s.plan()
	if got := share(rows, group, group.twins[0]); !slices.Equal(got, []int{1, 5}) || len(outs) != 1 {
		t.Fatalf("rows %v, outputs %v", got, outs)
	}
	if rows[0].Seq != group.twins[0].slot || rows[0].Pos != 30 {
		t.Errorf("rows %v: the twin begins at 30", rows)
	}
}

func TestTwinsArePreemptedTogether(t *testing.T) {
	s := newTestScheduler(4, 100, 10)
	old, group := arrive(s, 3), arriveWithTwins(s, 5, 2, 4, 4)
	s.admit()
	for range 3 {
		s.plan()
		stepped(s)
	}
	n := len(group.tokens)
	if seq, _ := s.preempt(); seq != group || !slices.Equal(s.free, []int{1, 2, 3}) {
		t.Fatalf("preempted %p, free %v", seq, s.free)
	}
	for lane := range group.lanes {
		if lane.slot != -1 || lane.done != 0 {
			t.Errorf("slot %d, %d done", lane.slot, lane.done)
		}
	}
	s.remove(old)
	s.admit()
	for range 3 {
		s.plan()
		stepped(s)
	}
	if len(group.tokens) <= n || group.twins[0].done == 0 {
		t.Errorf("%d tokens after %d: the group does not go on", len(group.tokens), n)
	}
}

// planned names a group once, also where its rows lie apart.
func TestPlannedNamesAGroupOnce(t *testing.T) {
	s := newTestScheduler(4, 12, 12)
	group, other := arriveWithTwins(s, 4, 0, 3), arrive(s, 3)
	s.admit()
	s.plan()
	if got := s.planned(); !slices.Equal(got, []*sequence{group, other}) {
		t.Errorf("planned %v", got)
	}
}
