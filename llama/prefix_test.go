package llama

import (
	"math/rand/v2"
	"slices"
	"testing"

	"aim/sampler"
)

// The tree agrees with a list that is searched from end to end, through any order of insertions and removals.
func TestPrefixTreeIsTheList(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 1))
	random := func() []sampler.Token {
		tokens := make([]sampler.Token, 1+rng.IntN(12))
		for i := range tokens {
			tokens[i] = sampler.Token(rng.IntN(3)) // few, so that much is common
		}
		return tokens
	}
	var tree prefixTree
	var list []*prefix
	for step := range 20000 {
		in := []domain{{}, {name: "a"}, {adapters: 1}}[rng.IntN(3)]
		if len(list) < 40 && rng.IntN(2) == 0 {
			p := &prefix{domain: in, tokens: random(), slot: -1}
			tree.insert(p)
			list = append(list, p)
		} else if len(list) > 0 {
			i := rng.IntN(len(list))
			tree.remove(list[i])
			list = slices.Delete(list, i, i+1)
		}
		query := random()
		want := map[*prefix]int{}
		for _, p := range list {
			if p.domain == in {
				want[p] = common(p.tokens, query)
			}
		}
		last := len(query)
		for p, n := range tree.alike(in, query) {
			if want[p] != n || n > last {
				t.Fatalf("step %d: %v and %v have %d tokens in common, want %d; before it %d", step, p.tokens, query, n, want[p], last)
			}
			delete(want, p)
			last = n
		}
		if len(want) > 0 {
			t.Fatalf("step %d: %d prefixes were not found", step, len(want))
		}
	}
	for _, p := range list {
		tree.remove(p)
	}
	if len(tree.roots) != 0 {
		t.Errorf("an empty tree has %d roots", len(tree.roots))
	}
}

// No node is left that nothing ends or parts at.
func TestPrefixTreeStaysSmall(t *testing.T) {
	var tree prefixTree
	a := &prefix{tokens: []sampler.Token{1, 2, 3, 4}}
	b := &prefix{tokens: []sampler.Token{1, 2, 5}}
	c := &prefix{tokens: []sampler.Token{1, 2}}
	for _, p := range []*prefix{a, b, c} {
		tree.insert(p)
	}
	if n := nodes(tree.roots[domain{}]); n != 4 { // root, 1 2, 3 4, 5
		t.Errorf("%d nodes, want 4", n)
	}
	tree.remove(c)
	if n := nodes(tree.roots[domain{}]); n != 4 { // the others still part there
		t.Errorf("%d nodes, want 4", n)
	}
	tree.remove(b)
	if n := nodes(tree.roots[domain{}]); n != 2 || !slices.Equal(a.at.edge, a.tokens) {
		t.Errorf("%d nodes, want 2; the edge is %v", n, a.at.edge)
	}
}

func nodes(n *node) int {
	total := 1
	for _, child := range n.children {
		total += nodes(child)
	}
	return total
}

func TestCacheChoosesSlots(t *testing.T) {
	prompt := make([]sampler.Token, 100)
	for i := range prompt {
		prompt[i] = sampler.Token(i)
	}
	other := slices.Clone(prompt)
	slices.Reverse(other)
	lane := &sequence{tokens: prompt, slot: -1}
	for _, c := range []struct {
		name string
		held map[int][]sampler.Token // in order of use
		busy []int
		want int
	}{
		{"all empty", nil, nil, 0},
		{"beside a busy one", nil, []int{2}, 1},
		{"between busy ones", nil, []int{1, 3}, 2},
		{"where the prompt is", map[int][]sampler.Token{2: prompt[:90]}, nil, 2},
		{"the prompt is a small part of it", map[int][]sampler.Token{2: slices.Concat(prompt[:40], other)}, nil, 0},
		{"between busy ones rather than where the prompt is", map[int][]sampler.Token{4: prompt[:90]}, []int{1, 3}, 2},
		{"not where something else is", map[int][]sampler.Token{0: other, 1: other[5:]}, nil, 2},
		{"oldest", map[int][]sampler.Token{0: other[1:], 1: other[2:], 2: other, 3: other[3:], 4: other[4:]}, nil, 0},
	} {
		k := newCache(5, Config{})
		busy := make([]bool, 5)
		for slot := range busy {
			if tokens := c.held[slot]; tokens != nil {
				k.hold(slot, &prefix{tokens: tokens})
			}
		}
		var free []int
		for slot := range busy {
			if busy[slot] = slices.Contains(c.busy, slot); !busy[slot] {
				free = append(free, slot)
			}
		}
		if got := free[k.choose(free, busy, lane)]; got != c.want {
			t.Errorf("%s: slot %d, want %d", c.name, got, c.want)
		}
	}
}

// A hole is closed by the highest sequence, once it has stayed for a while.
func TestHoles(t *testing.T) {
	s := newTestScheduler(5, 100, 20)
	var seqs []*sequence
	for range 5 {
		seqs = append(seqs, arrive(s, 3))
	}
	s.admit()
	s.plan()
	decoded(s)
	if lane, _ := s.hole(); lane != nil || s.holeFor != 0 {
		t.Fatal("a hole where all slots are busy")
	}
	s.remove(seqs[1])
	s.remove(seqs[3])
	lane, to := s.hole()
	if lane != seqs[4] || to != 1 || s.holeFor != 1 {
		t.Fatalf("slot %v moves to %d", lane, to)
	}
	s.move(lane, to)
	if lane, _ := s.hole(); lane != nil || s.holeFor != 0 || !slices.Equal(s.free, []int{3, 4}) || seqs[4].slot != 1 {
		t.Errorf("free %v, slot %d", s.free, seqs[4].slot)
	}
}

func TestTurns(t *testing.T) {
	s := newTestScheduler(1, 100, 10)
	ask := func(group string, n int) *sequence {
		seq := &sequence{tokens: make([]sampler.Token, n), group: group}
		s.add(seq)
		return seq
	}
	var greedy []*sequence
	for range 4 {
		greedy = append(greedy, ask("greedy", 50))
	}
	serve := func() *sequence {
		s.admit()
		seq := s.running[0]
		for seq.done < 50 {
			s.plan()
			decoded(s)
		}
		s.remove(seq)
		return seq
	}
	if got := serve(); got != greedy[0] {
		t.Fatal("the first does not go first")
	}
	modest := []*sequence{ask("modest", 50), ask("modest", 50)}
	// Who comes begins where those present are, and then they take turns: who came first within a group goes first.
	for i, want := range []*sequence{greedy[1], modest[0], greedy[2], modest[1], greedy[3]} {
		if got := serve(); got != want {
			t.Errorf("turn %d: group %q", i, got.group)
		}
	}
	ask("late", 50)
	if len(s.turns.served) != 0 {
		t.Errorf("groups that have left are still counted: %v", s.turns.served)
	}
}

// TestTurnsByShare: of two groups that always have somebody waiting, one of three times the share gets three times the turns.
func TestTurnsByShare(t *testing.T) {
	s := newTestScheduler(1, 100, 10)
	turns := map[string]int{}
	for range 50 {
		for group, weight := range map[string]float64{"one": 0, "three": 3} {
			s.add(&sequence{tokens: make([]sampler.Token, 20), group: group, weight: weight})
		}
	}
	for range 40 {
		s.admit()
		seq := s.running[0]
		for seq.done < 20 {
			s.plan()
			decoded(s)
		}
		s.remove(seq)
		turns[seq.group]++
	}
	if turns["one"] != 10 || turns["three"] != 30 {
		t.Errorf("turns %v, want 10 and 30", turns)
	}
}

func TestPace(t *testing.T) {
	var p pace
	if got := p.chunk(300e6, 512); got != 100 {
		t.Errorf("a chunk of %d before anything is known, want 100", got)
	}
	p.observe(0, 0.02, 20e6)
	for range 50 {
		p.observe(100, 0.02, 220e6) // 2 ms a row beside answers
	}
	p.observe(1, 0.02, 900e6) // too few to tell
	if got := p.chunk(200e6, 512); got < 99 || got > 100 {
		t.Errorf("a chunk of %d, want 100", got)
	}
	if got := p.chunk(200e6, 64); got != 64 {
		t.Errorf("a chunk of %d in a batch of 64", got)
	}
	if got := p.chunk(1, 512); got != leastChunk {
		t.Errorf("a chunk of %d for no pause at all, want %d", got, leastChunk)
	}
}
