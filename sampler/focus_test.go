package sampler

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestFocusMovesItsTargets and nothing else, by exactly ±σ|ε|.
func TestFocusMovesItsTargets(t *testing.T) {
	const vocab = 5000
	key := FocusKey(1)
	focus := []Focus{
		{Targets: [][]Token{{7}}, Sigma: 2},
		{Targets: [][]Token{{8}, {4999}, {7}}, Sigma: 3, Direction: Lower},
	}
	s := mustNew(t, Params{Focus: focus, FocusKey: key}, vocab)
	s.Prime([]Token{1})
	raw, row := testRow(1, vocab), testRow(1, vocab)
	mustSample(t, s, row)
	first, second := mustField(t, key.entry(0), &s.context), mustField(t, key.entry(1), &s.context)
	want := slices.Clone(raw)
	want[7] = float32(float64(want[7]) + 2*math.Abs(first.at(7)))
	for _, token := range []Token{8, 4999, 7} {
		want[token] = float32(float64(want[token]) - 3*math.Abs(second.at(token)))
	}
	if !sameBits(row, want) {
		for i := range row {
			if row[i] != want[i] {
				t.Errorf("token %d: %g, want %g (raw %g)", i, row[i], want[i], raw[i])
			}
		}
	}
}

func TestFocusOnAll(t *testing.T) {
	const vocab = 5000
	for _, d := range []Direction{Raise, Lower} {
		sign := map[Direction]float64{Raise: 1, Lower: -1}[d]
		s := mustNew(t, Params{Focus: []Focus{{All: true, Sigma: 0.5, Direction: d}}, FocusKey: FocusKey(1)}, vocab)
		row, noise := testRow(1, vocab), mustField(t, FocusKey(1).entry(0), &s.context)
		mustSample(t, s, row)
		for i, z := range testRow(1, vocab) {
			if want := float32(float64(z) + sign*0.5*math.Abs(noise.at(Token(i)))); row[i] != want {
				t.Fatalf("%v, token %d: %g, want %g", d, i, row[i], want)
			}
		}
	}
}

// TestFocusIsHalfNormal over steps: mean σ√(2/π), never against its direction.
func TestFocusIsHalfNormal(t *testing.T) {
	const sigma = 4
	n := sampleSize(500_000)
	s := mustNew(t, Params{
		Focus:    []Focus{{Targets: [][]Token{{1}}, Sigma: sigma}, {Targets: [][]Token{{2}}, Sigma: sigma, Direction: Lower}},
		FocusKey: FocusKey(2),
	}, 4)
	var up, down float64
	row := make([]float32, 4)
	for i := range n {
		clear(row)
		mustSample(t, s, row)
		if row[1] < 0 || row[2] > 0 || row[0] != 0 || row[3] != 0 {
			t.Fatalf("the shifts are %v", row)
		}
		up += float64(row[1])
		down += float64(row[2])
		s.Accept(Token(i % 4))
	}
	want := sigma * math.Sqrt(2/math.Pi)
	tol := sigmas * sigma * math.Sqrt((1-2/math.Pi)/float64(n)) // Var|ε| = σ²(1-2/π)
	if !near(up/float64(n), want, tol) || !near(down/float64(n), -want, tol) {
		t.Errorf("mean shifts %.4f and %.4f, want ±%.4f ± %.4f", up/float64(n), down/float64(n), want, tol)
	}
}

// TestFocusTargetsAreMovedOnce per entry, however many words ask for them.
func TestFocusTargetsAreMovedOnce(t *testing.T) {
	one := mustNew(t, Params{Focus: []Focus{{Targets: [][]Token{{3}}, Sigma: 2}}}, 10)
	many := mustNew(t, Params{Focus: []Focus{{Targets: [][]Token{{3}, {3, 4}, {3}, {3, 5, 6}}, Sigma: 2}}}, 10)
	a, b := testRow(1, 10), testRow(1, 10)
	mustSample(t, one, a)
	mustSample(t, many, b)
	if !sameBits(a, b) {
		t.Errorf("moved to %v, want %v", b, a)
	}
}

// TestFocusEntriesDoNotDisturbEachOther: adding an entry leaves the noise of those before it.
func TestFocusEntriesDoNotDisturbEachOther(t *testing.T) {
	first := Focus{Targets: [][]Token{{1}}, Sigma: 2}
	alone := mustNew(t, Params{Focus: []Focus{first}}, 10)
	both := mustNew(t, Params{Focus: []Focus{first, {Targets: [][]Token{{2}}, Sigma: 5}}}, 10)
	a, b := testRow(1, 10), testRow(1, 10)
	mustSample(t, alone, a)
	mustSample(t, both, b)
	if a[1] != b[1] || a[2] == b[2] {
		t.Errorf("alone %v, with another %v", a, b)
	}
}

// TestWordProgress compares the automaton with the definition, on words and answers over two letters, which overlap a lot.
func TestWordProgress(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	for range 300 {
		pieces := make([]Token, 1+rng.IntN(6))
		for i := range pieces {
			pieces[i] = Token(rng.IntN(2))
		}
		w := newWord(pieces)
		var said []Token
		for range 40 {
			want := 0
			for k := 1; k < len(pieces); k++ {
				if k <= len(said) && slices.Equal(said[len(said)-k:], pieces[:k]) {
					want = k
				}
			}
			if w.done != want || w.target() != pieces[want] {
				t.Fatalf("word %v after %v: %d pieces done, want %d", pieces, said, w.done, want)
			}
			next := Token(rng.IntN(2))
			w.accept(next)
			said = append(said, next)
		}
	}
}

// TestFocusFollowsAWord piece by piece, through Accept, and does not count the prompt.
func TestFocusFollowsAWord(t *testing.T) {
	s := mustNew(t, Params{Focus: []Focus{{Targets: [][]Token{{5, 6, 7}}, Sigma: 3}}}, 10)
	s.Prime([]Token{5, 6})
	for i, step := range []struct{ moved, accept Token }{
		{5, 1}, {5, 5}, {6, 6}, {7, 5}, {6, 6}, {7, 7}, {5, 6}, {5, 0},
	} {
		row := make([]float32, 10)
		mustSample(t, s, row)
		for token, z := range row {
			if (z > 0) != (Token(token) == step.moved) {
				t.Fatalf("step %d moved %v, want token %d only", i, row, step.moved)
			}
		}
		s.Accept(step.accept)
	}
}

func TestMarksWrap(t *testing.T) {
	m := marks{at: make([]uint32, 2), round: math.MaxUint32 - 1}
	for range 4 {
		m.clear()
		if !m.add(1) || m.add(1) || !m.add(0) {
			t.Fatalf("round %d: a new token is old, or an old one new", m.round)
		}
	}
}

func TestDirectionNames(t *testing.T) {
	for d, want := range map[Direction]string{Raise: "raise", Lower: "lower", 2: "Direction(2)"} {
		if d.String() != want {
			t.Errorf("%d is %q, want %q", int(d), d, want)
		}
	}
}
