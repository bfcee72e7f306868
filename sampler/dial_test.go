package sampler

import (
	"math"
	"slices"
	"testing"
)

// story is Words of one word, whose pieces are the tokens 1 and 2, in a vocabulary where 0 goes on with a word and 9 ends the
// answer. It may also be completed at once, by 3.
type story struct{}

func (story) String() string   { return "story" }
func (story) Follow() Follower { return &reader{} }

type reader struct{ last Token }

var storyLists = [][]Token{{2}, {2, 1, 3}, {1, 3}, {2, 3}, {3}, {0}}

func (r *reader) Next(onward bool) []Token {
	switch {
	case r.last == 1 && onward:
		return storyLists[0]
	case r.last == 1:
		return storyLists[1]
	case onward:
		return nil
	}
	return storyLists[2]
}

func (r *reader) Complete() []Token {
	if r.last == 1 {
		return storyLists[3]
	}
	return storyLists[4]
}

func (r *reader) Glue() []Token { return storyLists[5] }

func (r *reader) Moment(t Token) Moment {
	switch t {
	case 0:
		return Within
	case 9:
		return Ending
	}
	return Between
}

func (r *reader) Accept(t Token) (p Progress) {
	if r.last == 2 || r.last == 3 {
		p.Hits = 1
	}
	p.Begun = t == 1
	p.Whole = t == 2 || t == 3
	r.last = t
	return p
}

const (
	other = 5 // a token that has nothing to do with the word
	ender = 9
	tiny  = 12
)

// dialed is a sampler with a focus on story after waited tokens.
func dialed(t testing.TB, strength float64, seed uint64, waited int) *Sampler {
	t.Helper()
	s := mustNew(t, Params{Focus: []Focus{{Words: story{}, Strength: strength}}, FocusKey: FocusKey(seed)}, tiny)
	for range waited {
		s.Accept(other)
	}
	return s
}

// gapRow has a best token 0 logits high, the word's tokens gap below it, and all others far below.
func gapRow(best Token, gap float32) []float32 {
	row := make([]float32, tiny)
	for i := range row {
		row[i] = -60
	}
	row[1], row[2], row[3] = -gap-30, -gap-30, -gap
	row[best] = 0
	return row
}

// share is how often the word's token is chosen, over n seeds.
func share(t *testing.T, strength float64, waited int, best Token, gap float32, n int) float64 {
	t.Helper()
	won := 0
	for seed := range n {
		if mustSample(t, dialed(t, strength, uint64(seed), waited), gapRow(best, gap)).Token == 3 {
			won++
		}
	}
	return float64(won) / float64(n)
}

// TestDialWinsAsOftenAsWanted: the closed form gives the noise the σ for the probability of the dial.
func TestDialWinsAsOftenAsWanted(t *testing.T) {
	n := sampleSize(4000)
	for _, c := range []struct {
		strength float64
		waited   int
		want     float64
	}{{1, 30, 0.3}, {1, 200, 0.9}, {0.5, 60, 0.6}, {0.25, 100, 0.05}} {
		d := dial{strength: c.strength, since: c.waited}
		gap := float32(d.gate(Between) + dialWidth*math.Log(1-c.want))
		got := share(t, c.strength, c.waited, other, gap, n)
		if tol := sigmas * math.Sqrt(c.want*(1-c.want)/float64(n)); !near(got, c.want, tol) {
			t.Errorf("%+v, gap %g: the word won %.4f of the rows, want ± %.4f", c, gap, got, tol)
		}
	}
}

// TestDialTurnsOneWay: the longer the wait, the stronger the dial and the smaller the gap, the more often the word wins, and
// for each noise it wins where it did.
func TestDialTurnsOneWay(t *testing.T) {
	for seed := range uint64(50) {
		wins := func(strength float64, waited int, gap float32) bool {
			return mustSample(t, dialed(t, strength, seed, waited), gapRow(other, gap)).Token == 3
		}
		for waited := range 80 {
			last := false
			for _, strength := range []float64{0, 0.1, 0.25, 0.5, 0.75, 1} {
				won := wins(strength, waited, 4)
				if last && !won {
					t.Fatalf("seed %d, %d tokens: strength %g loses what a smaller one won", seed, waited, strength)
				}
				last = won
			}
			if wins(1, waited, 5) && !wins(1, waited, 4) {
				t.Fatalf("seed %d, %d tokens: a smaller gap loses what a larger one won", seed, waited)
			}
		}
	}
	last := -1.0
	for _, waited := range []int{0, 10, 20, 40, 80} {
		got := share(t, 1, waited, other, 5, 200)
		if got < last {
			t.Errorf("after %d tokens the word won %g, less than before", waited, got)
		}
		last = got
	}
	if last < 0.9 {
		t.Errorf("after a long wait it won %g only", last)
	}
}

// TestDialLeavesRowsAlone bit for bit, where the word must not come.
func TestDialLeavesRowsAlone(t *testing.T) {
	for name, c := range map[string]struct {
		strength float64
		accept   []Token
		row      []float32
	}{
		"strength 0":      {0, make([]Token, 100), gapRow(other, 0.5)},
		"at the start":    {1, nil, gapRow(other, 0.5)},
		"before its rest": {1, slices.Repeat([]Token{other}, dialRest), gapRow(other, 0.5)},
		"right after it":  {1, append(slices.Repeat([]Token{other}, 99), 3), gapRow(other, 0.5)},
		"resting":         {1, append(slices.Repeat([]Token{other}, 99), 3, other, other), gapRow(other, 0.5)},
		"implausible":     {1, slices.Repeat([]Token{other}, 500), gapRow(other, 25)},
		"inside a word":   {1, slices.Repeat([]Token{other}, 500), gapRow(0, 0.5)},
		"the best anyway": {1, slices.Repeat([]Token{other}, 500), gapRow(3, 0)},
		"at a second end": {1, append([]Token{3}, slices.Repeat([]Token{other}, 500)...), gapRow(ender, 3)},
	} {
		s := dialed(t, c.strength, 1, 0)
		for _, token := range c.accept {
			s.Accept(token)
		}
		row := slices.Clone(c.row)
		mustSample(t, s, row)
		if !sameBits(row, c.row) {
			t.Errorf("%s: %v became %v", name, c.row, row)
		}
		if s.Counts().Forced != 0 {
			t.Errorf("%s: counted as forced", name)
		}
	}
}

// TestDialMovesNothingElse: only tokens of the word, and those only up.
func TestDialMovesNothingElse(t *testing.T) {
	for seed := range uint64(100) {
		row := gapRow(other, 3)
		mustSample(t, dialed(t, 1, seed, 100), row)
		for i, z := range gapRow(other, 3) {
			if i != 3 && row[i] != z || row[i] < z {
				t.Fatalf("seed %d: token %d went from %g to %g", seed, i, z, row[i])
			}
		}
	}
}

// TestDialHoldsAnAnswerOpen that would end without the word.
func TestDialHoldsAnAnswerOpen(t *testing.T) {
	if got := share(t, 1, 20, ender, dialGate-4*dialWidth, 200); got < 0.9 {
		t.Errorf("the word came %g of the times before an end", got)
	}
}

// TestDialCarriesAWordThrough once the dial has begun it, at any gap and temperature, and leaves one alone that the model began.
func TestDialCarriesAWordThrough(t *testing.T) {
	begin := func(gap float32) []float32 {
		row := gapRow(other, 50)
		row[1] = -gap
		return row
	}
	onward := gapRow(other, 50) // piece 2 is 80 below the best
	for _, temperature := range []float64{0, 1} {
		won := 0
		for seed := range uint64(300) {
			s := mustNew(t, Params{
				Focus: []Focus{{Words: story{}, Strength: 1}}, FocusKey: FocusKey(seed), Temperature: temperature, Seed: seed,
			}, tiny)
			for range 100 {
				s.Accept(other)
			}
			if mustSample(t, s, begin(3)).Token != 1 {
				continue
			}
			s.Accept(1)
			if s.Counts().Forced == 0 {
				t.Fatal("a raised token is not counted as forced")
			}
			if c := mustSample(t, s, slices.Clone(onward)); c.Token == 2 {
				won++
			} else if temperature == 0 {
				t.Fatalf("seed %d: the word was left for %d", seed, c.Token)
			}
			s.Accept(2)
			s.Accept(other)
			if s.Counts().Hits != 1 {
				t.Fatalf("%d hits counted", s.Counts().Hits)
			}
		}
		if won < 200 {
			t.Errorf("temperature %g: carried through %d times of 300", temperature, won)
		}
	}
	s := dialed(t, 1, 1, 3)
	mustSample(t, s, begin(0))
	s.Accept(1)
	row := slices.Clone(onward)
	if mustSample(t, s, row); !sameBits(row, onward) {
		t.Error("a word that the model began is carried")
	}
}

// TestDialSealsAWord that it raised, so that nothing makes it another one, and not one that the model wrote.
func TestDialSealsAWord(t *testing.T) {
	for _, raised := range []bool{true, false} {
		s := dialed(t, 1, 1, 100)
		if raised {
			if got := mustSample(t, s, gapRow(other, 1)).Token; got != 3 {
				t.Fatalf("token %d was chosen, so the test shows nothing", got)
			}
		} else {
			mustSample(t, s, gapRow(3, 0))
		}
		s.Accept(3)
		row := gapRow(0, 9)
		mustSample(t, s, row)
		if want := gapRow(0, 9); raised {
			if want[0] = negInf; !sameBits(row, want) {
				t.Errorf("after a raised word the row is %v", row)
			}
		} else if !sameBits(row, want) {
			t.Errorf("after a word of the model the row is %v", row)
		}
	}
}

// TestDialLowersByShare: a word that leads stays with probability 1 − |strength|, and at −1 never comes.
func TestDialLowersByShare(t *testing.T) {
	n := sampleSize(4000)
	for _, s := range []float64{-0.1, -0.25, -0.5, -0.9, -1} {
		stayed := 0
		for seed := range n {
			row := gapRow(other, 0)
			row[3] = 4
			stays := mustSample(t, dialed(t, s, uint64(seed), 0), row).Token == 3
			if stays {
				stayed++
			}
			if s == -1 && row[3] != negInf || row[1] != gapRow(other, 0)[1] {
				t.Fatalf("strength %g made the row %v", s, row)
			}
		}
		want := 1 + s
		if got := float64(stayed) / float64(n); !near(got, want, sigmas*math.Sqrt(want*(1-want)/float64(n))) {
			t.Errorf("strength %g: the word stayed in %.4f of the rows, want %.4f", s, got, want)
		}
	}
}

func TestDialLowersOneWay(t *testing.T) {
	for seed := range uint64(100) {
		last := float32(10)
		for _, s := range []float64{0, -0.1, -0.3, -0.5, -0.7, -0.9, -0.99, -1} {
			for _, lead := range []float32{4, -2} {
				row := gapRow(other, 0)
				row[3] = lead
				mustSample(t, dialed(t, s, seed, 0), row)
				if lead == 4 && row[3] > last {
					t.Fatalf("seed %d: strength %g leaves %g, a weaker one %g", seed, s, row[3], last)
				}
				if lead == 4 {
					last = row[3]
				} else if row[3] > lead {
					t.Fatalf("seed %d: strength %g raised the word", seed, s)
				}
			}
		}
	}
}

func TestDialAllocatesNothing(t *testing.T) {
	for _, strength := range []float64{1, 0.3, -0.5, -1} {
		s := dialed(t, strength, 1, 0)
		row := make([]float32, tiny)
		i := 0
		if n := testing.AllocsPerRun(500, func() {
			copy(row, gapRow0)
			c, err := s.Sample(row)
			if err != nil {
				t.Fatal(err)
			}
			s.Accept(c.Token)
			i++
		}); n != 0 {
			t.Errorf("strength %g: %g allocations per step", strength, n)
		}
	}
}

var gapRow0 = gapRow(other, 2)

func TestDialDomains(t *testing.T) {
	words := story{}
	for _, c := range []struct {
		f     Focus
		param string
	}{
		{Focus{Words: words, Strength: 1.1}, "focus[0].strength"},
		{Focus{Words: words, Strength: -1.1}, "focus[0].strength"},
		{Focus{Words: words, Strength: math.NaN()}, "focus[0].strength"},
		{Focus{Strength: 0.5}, "focus[0].strength"},
		{Focus{Words: words, Strength: 0.5, Sigma: 1}, "focus[0].sigma"},
		{Focus{Words: words, Strength: 0.5, Direction: Lower}, "focus[0].direction"},
		{Focus{Words: words, Strength: 0.5, All: true}, "focus[0].tokens"},
		{Focus{Words: words, Strength: 0.5, Targets: [][]Token{{1}}}, "focus[0].tokens"},
	} {
		_, err := New(Params{Focus: []Focus{c.f}}, tiny)
		if domain, ok := err.(*DomainError); !ok || domain.Param != c.param { //nolint:errorlint // New does not wrap
			t.Errorf("%+v: %v, want an error about %s", c.f, err, c.param)
		}
	}
}
