package llama

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// under lets a sequence of a set wait.
func under(s *scheduler, set AdapterSet, n int) *sequence {
	seq := arrive(s, n)
	seq.adapters = set
	return seq
}

// setsIn are the sets of the planned rows.
func setsIn(s *scheduler) (sets []AdapterSet) {
	for _, seq := range s.planned() {
		if !slices.Contains(sets, seq.adapters) {
			sets = append(sets, seq.adapters)
		}
	}
	return sets
}

func TestSetsTakeTurns(t *testing.T) {
	s := newTestScheduler(6, 100, 10)
	for _, set := range []AdapterSet{2, 0, 2, 5, 2, 0} {
		under(s, set, 1)
	}
	s.admit()
	running := slices.Clone(s.running)
	for turn := range 30 {
		rows, _ := s.plan()
		want := []AdapterSet{2, 5, 0}[turn%3]
		if got := setsIn(s); !slices.Equal(got, []AdapterSet{want}) || s.set != want {
			t.Fatalf("turn %d: sets %v and %d, want %d", turn, got, s.set, want)
		}
		if n := map[AdapterSet]int{0: 2, 2: 3, 5: 1}[want]; len(rows) != n {
			t.Fatalf("turn %d: %d rows, want one for each of %d answers", turn, len(rows), n)
		}
		decoded(s)
	}
	for i, seq := range running {
		if len(seq.tokens) != 11 {
			t.Errorf("answer %d of set %d got %d tokens in ten rounds", i, seq.adapters, len(seq.tokens)-1)
		}
	}
}

// A long prompt of one set comes in chunks while another set answers, and whole batches where nobody does.
func TestPromptsSpareOtherSets(t *testing.T) {
	s := newTestScheduler(2, 100, 10)
	a := under(s, 1, 1)
	s.admit()
	s.plan()
	decoded(s)
	b := under(s, 2, 1000)
	s.admit()
	for turn := range 20 {
		rows, _ := s.plan()
		if want := [][]int{{0, 10}, {1, 0}}[turn%2]; !slices.Equal(share(rows, a, b), want) {
			t.Fatalf("turn %d: rows %v, want %v", turn, share(rows, a, b), want)
		}
		decoded(s)
	}
	s.remove(a)
	if rows, _ := s.plan(); len(rows) != 100 {
		t.Errorf("%d rows of the prompt once nobody answers, want a batch", len(rows))
	}
}

// Where nobody answers yet, prompts are first in first out, whichever their sets are.
func TestPromptsOfSetsAreFirstInFirstOut(t *testing.T) {
	s := newTestScheduler(3, 100, 10)
	a, b, c := under(s, 1, 250), under(s, 0, 250), under(s, 1, 100)
	s.admit()
	for turn, want := range [][]int{{100, 0, 0}, {100, 0, 0}, {50, 0, 0}, {0, 10, 0}, {1, 0, 10}, {0, 10, 0}, {1, 0, 10}} {
		rows, _ := s.plan()
		if got := share(rows, a, b, c); !slices.Equal(got, want) {
			t.Errorf("turn %d: rows %v, want %v", turn, got, want)
		}
		decoded(s)
	}
}

// Sequences of a set get neighbouring slots, with their twins, also where those of other sets come in between.
func TestSetsGetNeighbouringSlots(t *testing.T) {
	e := New(nothing{}, nil, Config{Slots: 8})
	s := e.loop.sched
	var seqs []*sequence
	for i, set := range []AdapterSet{0, 1, 0, 1, 1, 0} {
		seq := under(s, set, 20)
		if i == 3 {
			seq.twins = []*sequence{{adapters: set, slot: -1}}
		}
		seqs = append(seqs, seq)
		s.admit()
	}
	slots := map[AdapterSet][]int{}
	for _, seq := range seqs {
		for lane := range seq.lanes {
			slots[seq.adapters] = append(slots[seq.adapters], lane.slot)
		}
	}
	if !slices.Equal(slots[0], []int{0, 1, 2}) || !slices.Equal(slots[1], []int{7, 6, 5, 4}) {
		t.Errorf("slots by set: %v", slots)
	}
	for range 2 * holeAge { // the gap in the middle is on purpose
		if lane, _ := s.hole(); lane != nil {
			t.Fatalf("slot %d is to be moved", lane.slot)
		}
	}
}

// nothing is a model without tokens.
type nothing struct{ Model }

func (nothing) Vocab() int { return 0 }

// Whatever arrives, leaves and is preempted, no decode mixes sets, no position is left out, and each set with work has its turn.
func TestTurnsAtRandom(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 0))
		s := newTestScheduler(5, 12, 4)
		cache := map[*sequence]int{} // tokens that a driver would have
		waited := map[AdapterSet]int{}
		for range 300 {
			if rng.IntN(4) == 0 {
				under(s, AdapterSet(rng.IntN(4)), 1+rng.IntN(30))
			}
			if len(s.running) > 0 && rng.IntN(9) == 0 {
				seq := s.running[rng.IntN(len(s.running))]
				s.remove(seq)
				delete(cache, seq)
			}
			if rng.IntN(15) == 0 {
				if seq, _ := s.preempt(); seq != nil {
					delete(cache, seq)
				}
			}
			s.admit()
			rows, _ := s.plan()
			if len(s.running) > 0 && (len(rows) == 0 || len(setsIn(s)) != 1) {
				t.Fatalf("seed %d: %d rows of the sets %v for %d running sequences", seed, len(rows), setsIn(s), len(s.running))
			}
			for set := range AdapterSet(4) {
				if slices.ContainsFunc(s.running, func(seq *sequence) bool { return seq.adapters == set }) && set != s.set {
					waited[set]++
				} else {
					waited[set] = 0
				}
				// Four older prompts of 30 tokens may go first while nobody answers, then three other sets.
				if waited[set] > 4*3+3 {
					t.Fatalf("seed %d: set %d has no turn", seed, set)
				}
			}
			for _, r := range rows {
				seq := s.bySlot(r.Seq)
				if r.Pos != cache[seq] {
					t.Fatalf("seed %d: position %d where the cache ends at %d", seed, r.Pos, cache[seq])
				}
				cache[seq]++
			}
			decoded(s)
		}
	}
}
