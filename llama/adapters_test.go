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
			for _, seq := range s.running {
				waited[seq.adapters]++
			}
			for _, r := range rows {
				seq := s.bySlot(r.Seq)
				if r.Pos != cache[seq] {
					t.Fatalf("seed %d: position %d where the cache ends at %d", seed, r.Pos, cache[seq])
				}
				cache[seq]++
				waited[seq.adapters] = 0
			}
			for set, n := range waited {
				if n > 5*5 { // at most four other sets come first, while up to five of its sequences wait
					t.Fatalf("seed %d: set %d has no turn", seed, set)
				}
			}
			decoded(s)
		}
	}
}
