package sampler

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// shapedRow is a raw row of one of the shapes that make a difference to a scan.
func shapedRow(rng *rand.Rand, n int) []float32 {
	row := make([]float32, n)
	shape, spread := rng.IntN(6), math.Exp(4*rng.Float64()-2)
	for i := range row {
		z := spread * rng.NormFloat64()
		switch shape {
		case 0: // ties
			z = math.Round(z)
		case 1: // the best in front
			z -= 10 * float64(i) / float64(n)
		case 2: // the best at the end
			z += 10 * float64(i) / float64(n)
		case 3: // flat
			z = 1
		case 4: // holes
			if rng.IntN(3) > 0 {
				z = math.Inf(-1)
			}
		}
		row[i] = float32(z)
	}
	row[rng.IntN(n)] = 5 // so that there is a candidate
	return row
}

// fullyNoisy is stage 1 by the book, token by token.
func fullyNoisy(u *utility, p Utility, raw []float32) []float32 {
	best, err := largest(raw)
	if err != nil {
		panic(err)
	}
	row := make([]float32, len(raw))
	for i, z := range raw {
		row[i] = float32(float64(z) + p.Sigma*u.field.at(Token(i)))
	}
	if p.EndNoise == EndExempt {
		for _, t := range p.End {
			row[t] = raw[t]
		}
	}
	pinned := slices.Clone(p.Pinned)
	if p.EndNoise == EndKept {
		pinned = append(pinned, p.End...)
		if slices.Contains(p.End, best) {
			row[best] = negInf
			for i, z := range row { // the largest of those that may be large
				if !slices.Contains(pinned, Token(i)) && z >= row[best] {
					row[best] = z
				}
			}
			own := float32(float64(raw[best]) + p.Sigma*u.field.at(best))
			if i, _ := largest(row); i < best && own <= row[best] { // an equal one with a lower id
				row[best] = math.Nextafter32(row[best], math.MaxFloat32)
			}
			row[best] = max(row[best], own)
		}
	}
	for _, t := range pinned {
		if t != best {
			z := float32(float64(min(raw[t], row[best])) - p.Sigma*math.Abs(u.field.at(t)))
			row[t] = min(z, math.Nextafter32(row[best], negInf))
		}
	}
	return row
}

// randomUtility has some pinned tokens and ends, in any of the modes.
func randomUtility(rng *rand.Rand, n int) Utility {
	u := Utility{Sigma: math.Exp(6*rng.Float64() - 3), Key: FocusKey(rng.Uint64()), EndNoise: EndNoise(rng.IntN(3))}
	for t := range min(n/2, 20) {
		switch rng.IntN(3) {
		case 0:
			u.Pinned = append(u.Pinned, Token(t))
		case 1:
			u.End = append(u.End, Token(t))
		}
	}
	return u
}

// TestLazyIsDense: on 10 000 rows of all shapes, what a view tells is what the row with all of its noise holds: the first-ranked
// token, the k first-ranked, single logits, and the first-ranked outside a set.
func TestLazyIsDense(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	rows := 10_000
	if raceEnabled {
		rows /= 10
	}
	lazily := uint64(0)
	for round := range rows {
		n := 1 + rng.IntN(700)
		if round%50 == 0 {
			n = chunkTokens - 100 + rng.IntN(2*chunkTokens) // several chunks, and crowds
		}
		p := Params{Utility: randomUtility(rng, n)}
		s := mustNew(t, p, n)
		s.Prime([]Token{Token(round)})
		raw := shapedRow(rng, n)
		k := 1 + rng.IntN(60)
		v := &s.view
		h, err := v.survey(slices.Clone(raw), make([]ranked, 0, k))
		if err != nil {
			t.Fatal(err)
		}
		want := fullyNoisy(v.noise, p.Utility, raw)
		name := fmt.Sprintf("round %d: %d tokens, σ = %g, ends %v", round, n, p.Utility.Sigma, p.Utility.EndNoise)
		if best, _ := largest(raw); v.raw != best {
			t.Fatalf("%s: the model's best is %d, want %d", name, v.raw, best)
		}
		checkLeaders(t, name+", survey", h, want, k)
		lazily += s.counts.Exact
		checkLeaders(t, name+", leaders", v.leaders(make([]ranked, 0, k)), want, k)
		skip := &marks{at: make([]uint32, n)}
		skip.clear()
		for range rng.IntN(n) {
			skip.add(Token(rng.IntN(n)))
		}
		skip.add(Token(v.top.at))
		rest := slices.Clone(want)
		for i := range rest {
			if skip.has(Token(i)) {
				rest[i] = negInf
			}
		}
		r, err := v.bestBut(skip)
		if best, none := largest(rest); err != nil || none == nil && Token(r.at) != best || none != nil && r.at >= 0 {
			t.Fatalf("%s: outside a set %d is best, want %d; %v", name, r.at, best, err)
		}
		for range 10 {
			if i := Token(rng.IntN(n)); v.at(i) != want[i] {
				t.Fatalf("%s: token %d is at %g, want %g", name, i, v.at(i), want[i])
			}
		}
		checkSameRow(t, name, v.all(), want)
	}
	t.Logf("%.1f noise values a row", float64(lazily)/float64(rows))
}

func checkSameRow(t *testing.T, name string, got, want []float32) {
	t.Helper()
	for i, z := range got {
		if z != want[i] {
			t.Fatalf("%s: token %d is at %g, want %g", name, i, z, want[i])
		}
	}
}

func checkLeaders(t *testing.T, name string, got []ranked, row []float32, k int) {
	t.Helper()
	got = slices.Clone(got)
	slices.SortFunc(got, compareRank)
	want := leaders(row, make([]ranked, 0, k))
	slices.SortFunc(want, compareRank)
	if !slices.Equal(got, want) {
		t.Fatalf("%s: the first-ranked are\n%v, want\n%v", name, got, want)
	}
}

// TestLazyStepsAreDense: a whole step, with whatever touches a logit, chooses the same token whether the noise is computed
// where it is needed or beforehand, for every token.
func TestLazyStepsAreDense(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 0))
	rounds := 3500 // of up to three rows
	if raceEnabled {
		rounds /= 10
	}
	const vocab = 600
	for round := range rounds {
		p := randomParams(rng, vocab)
		lazy, dense := mustNew(t, p, vocab), mustNew(t, p, vocab)
		prompt := []Token{Token(rng.IntN(vocab)), Token(rng.IntN(vocab))}
		lazy.Prime(prompt)
		dense.Prime(prompt)
		for range 3 {
			raw := shapedRow(rng, vocab)
			a, err := lazy.Sample(slices.Clone(raw))
			dense.early = true
			b, wrong := dense.Sample(raw)
			if !errors.Is(err, wrong) || a.Token != b.Token {
				t.Fatalf("round %d: lazily %d (%v), densely %d (%v), of %+v", round, a.Token, err, b.Token, wrong, p)
			}
			if err != nil {
				break
			}
			lazy.Accept(a.Token)
			dense.Accept(a.Token)
		}
		if l, d := lazy.Counts(), dense.Counts(); l.Flips != d.Flips || l.Exact > d.Exact {
			t.Fatalf("round %d: lazily %+v, densely %+v", round, l, d)
		}
	}
}

// randomParams switches each stage on or off.
func randomParams(rng *rand.Rand, vocab int) Params {
	p := Params{Utility: randomUtility(rng, vocab), Seed: rng.Uint64(), FocusKey: FocusKey(rng.Uint64())}
	some := func() Token { return Token(rng.IntN(vocab)) }
	if rng.IntN(2) == 0 {
		p.Bias = map[Token]float64{}
		for range 1 + rng.IntN(5) {
			p.Bias[some()] = 20*rng.Float64() - 10
		}
	}
	if rng.IntN(2) == 0 {
		p.FrequencyPenalty, p.RepeatPenalty = rng.Float64(), 1+rng.Float64()
	}
	if rng.IntN(2) == 0 {
		p.Focus = append(p.Focus, Focus{Targets: [][]Token{{some()}, {some(), some()}}, Sigma: 5 * rng.Float64(), Direction: Direction(rng.IntN(2))})
	}
	if rng.IntN(8) == 0 {
		p.Focus = append(p.Focus, Focus{All: true, Sigma: rng.Float64()})
	}
	if rng.IntN(3) == 0 {
		var list []Token
		for range rng.IntN(vocab) {
			list = append(list, some())
		}
		p.Mask = forbid(list...)
	}
	if rng.IntN(2) == 0 {
		p.Temperature = 0.2 + rng.Float64()
		p.TopK = rng.IntN(3) * rng.IntN(50)
		p.TopP = float64(rng.IntN(2)) * rng.Float64()
		p.MinP = float64(rng.IntN(2)) * 0.2 * rng.Float64()
	}
	return p
}

// TestNoiseCannotPromoteControlTokens: however much noise there is, a pinned token is chosen only where the model itself ranks
// it first, and it never comes to rank before the model's best.
func TestNoiseCannotPromoteControlTokens(t *testing.T) {
	const vocab = 50
	pinned := []Token{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	p := Params{Utility: Utility{Sigma: 5, Key: FocusKey(1), Pinned: pinned}}
	s := mustNew(t, p, vocab)
	free := mustNew(t, Params{Utility: Utility{Sigma: 5, Key: FocusKey(1)}}, vocab)
	chosen, best, freely := 0, 0, 0
	for step := range 5000 {
		raw := testRow(uint64(step), vocab)
		first, _ := largest(raw)
		c := mustSample(t, s, slices.Clone(raw)).Token
		if c < 10 {
			chosen++
			if c != first {
				t.Fatalf("step %d: control token %d was chosen, the model's best is %d", step, c, first)
			}
		}
		for _, z := range pinned {
			if row := s.view.all(); z != first && !(row[z] < row[first]) {
				t.Fatalf("step %d: control token %d has %g, the model's best %g", step, z, row[z], row[first])
			}
		}
		if first < 10 {
			best++
		}
		if mustSample(t, free, raw).Token < 10 {
			freely++
		}
		s.Accept(c)
		free.Accept(c)
	}
	t.Logf("control tokens: best in %d steps, chosen in %d, without the rule in %d", best, chosen, freely)
	if chosen == 0 || freely <= best/2 {
		t.Error("the test does not see what it is for")
	}
}

// TestEndNoise: exempt ends keep their logits, and kept ones end the answer exactly where the model would.
func TestEndNoise(t *testing.T) {
	const vocab = 20
	ends := []Token{3, 12}
	for _, mode := range []EndNoise{EndModulated, EndExempt, EndKept} {
		s := mustNew(t, Params{Utility: Utility{Sigma: 2, Key: FocusKey(1), End: ends, EndNoise: mode}}, vocab)
		postponed, hurried, moved := 0, 0, 0
		for step := range 3000 {
			raw := testRow(uint64(step), vocab)
			first, _ := largest(raw)
			c := mustSample(t, s, slices.Clone(raw)).Token
			row := s.view.all()
			for _, e := range ends {
				if row[e] != raw[e] {
					moved++
				}
			}
			wanted, ended := slices.Contains(ends, first), slices.Contains(ends, c)
			if wanted && !ended {
				postponed++
			}
			if ended && c != first {
				hurried++
			}
			s.Accept(c)
		}
		t.Logf("%v: %d ends postponed, %d hurried, %d logits moved", mode, postponed, hurried, moved)
		switch {
		case mode == EndKept && postponed+hurried > 0:
			t.Errorf("noise decided over %d ends of answers", postponed+hurried)
		case mode == EndExempt && moved > 0:
			t.Errorf("noise moved %d exempt logits", moved)
		case mode == EndModulated && (postponed == 0 || hurried == 0 || moved < 5000):
			t.Error("noise leaves the ends alone")
		}
	}
}

// TestCounts: flips are as frequent as Retention says, and a greedy step computes few noise values.
func TestCounts(t *testing.T) {
	const vocab, steps = 20_000, 1000
	s := mustNew(t, Params{Utility: Utility{Sigma: 1, Key: FocusKey(1)}}, vocab)
	whole := mustNew(t, Params{Utility: Utility{Sigma: 1, Key: FocusKey(1)}, Temperature: 1}, vocab)
	var expected, variance float64
	raw := testRow(1, vocab)
	gaps, err := Gaps(raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	kept := Retention(gaps, 1)
	for range steps {
		c := mustSample(t, s, slices.Clone(raw))
		s.Accept(c.Token)
		expected += 1 - kept
		variance += kept * (1 - kept)
	}
	mustSample(t, whole, slices.Clone(raw))
	got := s.Counts()
	if got.Steps != steps || !near(float64(got.Flips), expected, sigmas*math.Sqrt(variance)) {
		t.Errorf("%d flips in %d steps, want %.1f ± %.1f in %d", got.Flips, got.Steps, expected, sigmas*math.Sqrt(variance), steps)
	}
	if got.Exact < steps || got.Exact > steps*vocab/100 {
		t.Errorf("%d noise values in %d steps", got.Exact, steps)
	}
	if exact := whole.Counts().Exact; exact != vocab {
		t.Errorf("%d noise values for a whole row, want %d", exact, vocab)
	}
}
