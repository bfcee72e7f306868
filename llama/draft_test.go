package llama

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"aim/sampler"
)

// plainModel has tokens of no special kind but one.
type plainModel struct{ Model }

const plainEnd sampler.Token = 99

func (plainModel) Kind(t sampler.Token) Kind {
	if t == plainEnd {
		return End
	}
	return Normal
}

// longestSuffix is what lookup finds, the slow way: the longest match of the end of text that occurred before, if it has at
// least two tokens, of several the latest.
func longestSuffix(text []sampler.Token) (at, match int) {
	at = -1
	for c := len(text) - 1; c >= 2; c-- {
		n := 0
		for n < longestMatch && n < c && text[c-1-n] == text[len(text)-1-n] {
			n++
		}
		if n >= 2 && n > match && text[c] != separator {
			at, match = c, n
		}
	}
	return at, match
}

// Among few enough candidates, what is found is the longest match.
func TestLookupFindsTheLongestMatch(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		draw := func(n int) (list []sampler.Token) {
			for range n {
				list = append(list, sampler.Token(rng.IntN(8)))
			}
			return list
		}
		prompt, answer := draw(1+rng.IntN(80)), draw(60)
		if rng.IntN(2) == 0 { // one that repeats a piece of the prompt
			answer = append(answer, prompt[len(prompt)/2:]...)
		}
		l := newLookup(plainModel{}, prompt, nil, len(answer))
		for i, tok := range answer {
			before := *l
			l.add(tok)
			text := slices.Concat(prompt, answer[:i+1])
			at, match := longestSuffix(text)
			followed := before.at >= 0 && l.at == before.at+1
			if !followed && (l.match != match || l.at != at) && match < longestMatch {
				t.Fatalf("after %v: place %d of a match of %d, want %d of %d", text, l.at, l.match, at, match)
			}
			if followed && min(l.match, longestMatch) < match {
				t.Fatalf("after %v: followed a match of %d, there is one of %d", text, l.match, match)
			}
		}
	}
}

func TestLookupOfAPredictedText(t *testing.T) {
	predicted := []sampler.Token{1, 2, 3, 4, 5, plainEnd, 6, 7}
	l := newLookup(plainModel{}, []sampler.Token{10, 11}, predicted, 10)
	for k, want := range []sampler.Token{1, 2, 3, 4, 5} {
		if got := l.draft(k); got != want {
			t.Errorf("guess %d is %d, want %d", k, got, want)
		}
	}
	if n := l.reach(10); n != 5 {
		t.Errorf("%d guesses up to the end of an answer, want 5", n)
	}
	for _, tok := range []sampler.Token{1, 2, 30, 3, 4} { // another token in between
		l.add(tok)
	}
	if l.at < 0 || l.draft(0) != 5 {
		t.Errorf("place %d, want to be back in the predicted text", l.at)
	}
	l.add(5)
	if l.at >= 0 {
		t.Errorf("what would end an answer is guessed: place %d", l.at)
	}
}

func TestLookupFollowsALoop(t *testing.T) {
	l := newLookup(plainModel{}, []sampler.Token{1, 2, 3, 1, 2}, nil, 10)
	for k := range 12 {
		if got, want := l.draft(k), sampler.Token((k+2)%3+1); got != want {
			t.Errorf("guess %d is %d, want %d", k, got, want)
		}
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	l := newLookup(plainModel{}, make([]sampler.Token, 100), nil, 256)
	i := 0
	if n := testing.AllocsPerRun(200, func() {
		l.add(sampler.Token(i * i % 7))
		l.reach(32)
		i++
	}); n > 0 {
		t.Errorf("%v allocations a token", n)
	}
}

func TestCostsAreLearned(t *testing.T) {
	truth := func(rows int) float64 { return 0.004 + 0.0055*float64(rows) }
	var c costs
	if c.of(3) != 0 {
		t.Error("a cost of nothing known")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		rows := []int{1, 1, 1, 9, 17, 33}[rng.IntN(6)]
		c.learn(rows, time.Duration(truth(rows)*(0.9+0.2*rng.Float64())*1e9))
	}
	for _, rows := range []int{1, 4, 9, 12, 17, 33, 60} {
		if got, want := c.of(rows), truth(rows); math.Abs(got/want-1) > 0.15 {
			t.Errorf("%d rows: %v s, want %v", rows, got, want)
		}
	}
	// On a machine that got three times as slow, what is not seen has changed as well.
	for range 100 {
		c.learn(1, time.Duration(3*truth(1)*1e9))
	}
	if got := c.of(33) / truth(33); got < 1.5 || got > 3 {
		t.Errorf("33 rows cost %v of what they did, 1 row 3 times as much", got)
	}
}

// planned makes a scheduler with answers that run, of which each knows so many guesses, right with chance p.
func planned(cost func(rows int) time.Duration, p float64, known ...int) *scheduler {
	s := newScheduler(Config{Slots: 8, Batch: 512, Chunk: 64, ScoreRows: 512, Draft: 32, Context: 4096})
	for rows := 1; rows <= 256; rows++ {
		s.spec.costs.learn(rows, cost(rows))
	}
	for _, n := range known {
		seq := arrive(s, 50)
		seq.done = 49
		seq.answer = &answer{max: 200}
		text := make([]sampler.Token, 0, 60)
		for i := range n {
			text = append(text, sampler.Token(i+1))
		}
		seq.lookup = &lookup{text: append(text, separator), match: 40, at: -1}
		if n > 0 {
			seq.lookup.at = 0
		}
		for i := range seq.lookup.own.all {
			seq.lookup.own.all[i], seq.lookup.own.right[i] = 1e6, float32(p*1e6)
		}
	}
	s.admit()
	return s
}

func TestDraftsPay(t *testing.T) {
	cpu := func(rows int) time.Duration { return time.Duration(5*rows+5) * time.Millisecond }
	gpu := func(int) time.Duration { return 10 * time.Millisecond }
	for _, c := range []struct {
		name  string
		cost  func(int) time.Duration
		p     float64
		known []int
		want  []int // the least and the most guesses of each
	}{
		{"surely right", cpu, 1, []int{20}, []int{20, 20}},
		{"mostly right", cpu, 0.97, []int{32}, []int{4, 31}},
		{"too often wrong", cpu, 0.5, []int{32}, []int{0, 0}},
		{"nothing known", cpu, 1, []int{0}, []int{0, 0}},
		{"one of two", cpu, 1, []int{20, 0}, []int{0, 0, 0, 0}},
		{"both of two", cpu, 1, []int{20, 20}, []int{20, 20, 20, 20}},
		{"rows for nothing", gpu, 0.5, []int{32, 0}, []int{1, 32, 0, 0}},
	} {
		s := planned(c.cost, c.p, c.known...)
		rows, outs := s.plan()
		for i, out := range outs {
			if out.drafted < c.want[2*i] || out.drafted > c.want[2*i+1] {
				t.Errorf("%s: %d guesses for answer %d, want %d to %d", c.name, out.drafted, i, c.want[2*i], c.want[2*i+1])
			}
		}
		for i, r := range rows[:len(outs)] {
			if r.Pos != 49 || r.Seq != i {
				t.Errorf("%s: row %d is %+v, want the last tokens of the answers first", c.name, i, r)
			}
		}
	}
}

// Prompts and answers come first; guesses get what is left of a batch.
func TestGuessesComeLast(t *testing.T) {
	for _, batch := range []int{8, 20, 75, 512} {
		s := planned(func(int) time.Duration { return time.Millisecond }, 1, 20, 20)
		s.batch = batch
		prompt := arrive(s, 300)
		s.admit()
		s.spec.off = true
		rows, _ := s.plan()
		plain, without := slices.Clone(rows), len(rows)
		s.spec.off = false
		rows, _ = s.plan()
		if !slices.Equal(rows[:without], plain) || len(rows) > batch || prompt.next == 0 && batch > 2 {
			t.Errorf("batch %d: %d rows, of which %d are no guesses", batch, len(rows), without)
		}
		if s.spec.drafted != len(rows)-without || s.spec.drafted == 0 && batch > 66 {
			t.Errorf("batch %d: %d guesses in %d rows", batch, s.spec.drafted, len(rows))
		}
	}
}
