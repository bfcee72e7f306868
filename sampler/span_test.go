package sampler

import (
	"errors"
	"math"
	"slices"
	"testing"
)

// spanSampler returns a sampler with one span over a vocabulary, and a twin whose prompt is token 0.
func spanSampler(t testing.TB, vocab int, s Span, p Params) *Sampler {
	t.Helper()
	s.Without = []Token{0}
	p.Spans = []Span{s}
	return mustNew(t, p, vocab)
}

// At strength -1 the twin's row is chosen from, with utility's noise in the twin's own context, bias and penalties, as a
// sampler does that knows only the twin's prompt.
func TestSpanAtMinusOneIsTheTwin(t *testing.T) {
	const vocab = 1000
	params := Params{
		Temperature: 1, TopP: 0.9, Seed: 3, FrequencyPenalty: 0.5, Logprobs: true,
		Utility: Utility{Sigma: 0.8, Key: UtilityKey([]byte("secret"), "m", 0.8)},
		Bias:    map[Token]float64{7: 3, 8: -3},
	}
	s := spanSampler(t, vocab, Span{Strength: -1}, params)
	plain := mustNew(t, params, vocab)
	s.Prime([]Token{5, 6})
	plain.Prime([]Token{0})
	for i := range uint64(50) {
		got, err := s.Sample(testRow(i, vocab), testRow(i+1000, vocab))
		if err != nil {
			t.Fatal(err)
		}
		want := mustSample(t, plain, testRow(i+1000, vocab))
		if got.Token != want.Token || got.Logprob != want.Logprob {
			t.Fatalf("step %d: %+v, want %+v", i, got, want)
		}
		s.Accept(got.Token)
		plain.Accept(got.Token)
	}
}

// A step at which the span changed the best token is counted.
func TestSpanCountsForced(t *testing.T) {
	s := spanSampler(t, 16, Span{Strength: -1}, Params{})
	for i := range uint64(3) {
		row, twin := testRow(i, 16), testRow(i, 16)
		if i == 1 {
			twin[2] = 30
		}
		if _, err := s.Sample(row, twin); err != nil {
			t.Fatal(err)
		}
	}
	if c := s.Counts(); c.Forced != 1 || c.Steps != 3 {
		t.Errorf("%+v, want one forced step of three", c)
	}
}

// modulatedBySpan is the row after stage 4 of one step.
func modulatedBySpan(t *testing.T, s *Sampler, row, twin []float32) []float32 {
	t.Helper()
	z := slices.Clone(row)
	if _, err := s.Sample(z, slices.Clone(twin)); err != nil {
		t.Fatal(err)
	}
	return z
}

func TestSpanBlends(t *testing.T) {
	row, twin := testRow(1, 100), testRow(2, 100)
	row[4], twin[5] = negInf, negInf
	z := modulatedBySpan(t, spanSampler(t, 100, Span{Strength: -0.25}, Params{}), row, twin)
	for i := range z {
		want := float64(row[i]) - 0.25*(float64(row[i])-float64(twin[i]))
		if i == 4 || i == 5 { // forbidden in one of the two
			want = math.Inf(-1)
		}
		if float64(z[i]) != want && !near(float64(z[i]), want, 1e-5) {
			t.Errorf("token %d: %g, want %g", i, z[i], want)
		}
	}
	row, twin = testRow(1, 100), testRow(2, 100)
	if z := modulatedBySpan(t, spanSampler(t, 100, Span{}, Params{}), row, twin); !sameBits(z, row) {
		t.Error("strength 0 moves the row")
	}
	third := testRow(3, 100)
	s := mustNew(t, Params{Spans: []Span{{Without: []Token{0}, Strength: -1}, {Without: []Token{0}, Strength: -0.5}}}, 100)
	z = slices.Clone(row)
	if _, err := s.Sample(z, slices.Clone(twin), slices.Clone(third)); err != nil {
		t.Fatal(err)
	}
	for i := range z {
		want := float64(row[i]) - (float64(row[i]) - float64(twin[i])) - 0.5*(float64(row[i])-float64(third[i]))
		if !near(float64(z[i]), want, 1e-5) {
			t.Errorf("two spans, token %d: %g, want %g", i, z[i], want)
		}
	}
}

// A blend of rows has as much noise as each of them: spans that take nothing away do not undo utility.
func TestSpanKeepsTheNoise(t *testing.T) {
	const vocab, sigma = 16384, 1.5
	for _, strengths := range [][]float64{{-0.5}, {-0.2, -0.2, -0.2, -0.2}, {-1}, {-1, -1}, {0.7, -0.5}} {
		for _, window := range []int{0, 4} {
			p := Params{Utility: Utility{Sigma: sigma, Key: UtilityKey([]byte("secret"), "m", sigma), Scope: Scope{Window: window}, Pinned: []Token{3}}}
			rows := [][]float32{make([]float32, vocab)}
			for i, s := range strengths {
				p.Spans = append(p.Spans, Span{Without: []Token{Token(7 + i)}, Strength: s})
				rows = append(rows, make([]float32, vocab))
			}
			s := mustNew(t, p, vocab)
			s.Prime([]Token{1, 2})
			if _, err := s.Sample(rows[0], rows[1:]...); err != nil {
				t.Fatal(err)
			}
			sum := 0.0
			for _, z := range s.view.all() {
				sum += float64(z) * float64(z)
			}
			// The variance of a variance's estimate is 2σ⁴/n. Two whole rows taken away leave more noise than there was.
			if got := sum / vocab; !(got >= sigma*sigma*(1-sigmas*math.Sqrt(2.0/vocab))) {
				t.Errorf("strengths %v, window %d: variance %.3f, want %.3f", strengths, window, got, sigma*sigma)
			}
		}
	}
}

// owing returns a row of 0 to which a few tokens owe something, and its twin: token 1 owes 2 nats, token 2 as much but is
// implausible, token 3 owes less than nothing. The rest are improbable, so that the normalizers agree.
func owing() (row, twin []float32) {
	const vocab = 16
	row, twin = make([]float32, vocab), make([]float32, vocab)
	for i := range row {
		row[i], twin[i] = -30, -30
	}
	row[0], twin[0] = 5, 5
	row[1], twin[1] = 1, -1
	row[2], twin[2] = -7, -9
	row[3], twin[3] = 1, 2
	return row, twin
}

// Only plausible tokens that owe something are raised, by half-normal noise of the mean that the dial says.
func TestSpanRaises(t *testing.T) {
	const vocab, steps = 16, 4000
	for _, strength := range []float64{0.25, 1} {
		var sum, squares float64
		n := 0
		for seed := range uint64(steps) {
			s := spanSampler(t, vocab, Span{Strength: strength}, Params{FocusKey: FocusKey(seed)})
			row, twin := owing()
			z := modulatedBySpan(t, s, row, twin)
			x := float64(z[1] - row[1])
			sum, squares, n = sum+x, squares+x*x, n+1
			z[0], z[1] = row[0], row[1] // the best owes what the normalizers differ by, almost nothing
			if !sameBits(z, row) {
				t.Fatalf("seed %d: other tokens moved: %v, was %v", seed, z, row)
			}
		}
		row, twin := owing()
		d := (float64(row[1]-twin[1]) - normalizer(row) + normalizer(twin)) / (1 + spanLag)
		want := strength * min(spanCap, spanGain*(d-spanLeast))
		mean := sum / float64(n)
		se := math.Sqrt((squares/float64(n) - mean*mean) / float64(n))
		if !near(mean, want, sigmas*se) {
			t.Errorf("strength %g: the mean shift is %g ± %g, want %g", strength, mean, se, want)
		}
		// The variance of a half-normal with mean m is m²·(π/2 - 1).
		variance, noise := squares/float64(n)-mean*mean, want*want*spanChance*spanChance*(math.Pi/2-1)
		if !near(variance, noise, 0.1*noise) {
			t.Errorf("strength %g: variance %g, want %g", strength, variance, noise)
		}
	}
}

// What utility's noise makes of a difference moves next to nothing.
func TestSpanDoubtsNoise(t *testing.T) {
	const vocab, steps = 4096, 40
	p := Params{Utility: Utility{Sigma: 2, Key: UtilityKey([]byte("secret"), "m", 2)}}
	s := spanSampler(t, vocab, Span{Strength: 1}, p)
	s.Prime([]Token{1, 2})
	for range steps {
		if _, err := s.Sample(make([]float32, vocab), make([]float32, vocab)); err != nil {
			t.Fatal(err)
		}
		s.Accept(9)
	}
	moved := 0
	for t := range Token(vocab) {
		if s.spans.list[0].shift(t) > 0 {
			moved++
		}
	}
	// Beyond two standard errors, and spanLeast, lies less than a fortieth.
	if moved == 0 || moved > vocab/40 {
		t.Errorf("%d of %d tokens owe something to a span that says nothing", moved, vocab)
	}
}

// The difference is a mean over the steps: what the span makes likelier once is forgotten, what it makes likelier again and
// again counts in full, up to the cap.
func TestSpanLearns(t *testing.T) {
	s := spanSampler(t, 16, Span{Strength: 1}, Params{})
	e := s.spans.list[0]
	for step := range 40 {
		row, twin := owing()
		if step == spanEager+spanEvery-1 { // the next one that is looked at after the first
			row[5], twin[5] = 1, -5
		}
		if _, err := s.Sample(row, twin); err != nil {
			t.Fatal(err)
		}
		s.Accept(9)
	}
	n := spanEager + (40-spanEager)/float64(spanEvery) // steps that are looked at
	if d := float64(e.owed[1]); !near(d, 2*n/(n+spanLag), 0.05) {
		t.Errorf("after forty steps d is %g", d)
	}
	if d := float64(e.owed[5]); !near(d, 6/(n+spanLag), 0.05) {
		t.Errorf("of a token that owed once d is %g", d)
	}
}

// A token that was used rests; one that ends an answer never moves.
func TestSpanRests(t *testing.T) {
	s := spanSampler(t, 16, Span{Strength: 1}, Params{Utility: Utility{End: []Token{4}}})
	moved := map[Token][]int{}
	for step := range 2 * spanRest {
		row, twin := owing()
		row[4], twin[4] = 2, -4
		row[6], twin[6] = 2, 0
		z := modulatedBySpan(t, s, row, twin)
		for i := range z {
			if i > 0 && z[i] != row[i] {
				moved[Token(i)] = append(moved[Token(i)], step)
			}
		}
		if step == 3 {
			s.Accept(1)
		} else {
			s.Accept(9)
		}
	}
	if got := moved[1]; len(got) != spanRest || got[3] != 3 || got[4] != 4+spanRest {
		t.Errorf("the token that was used after step 3 moved at %v", got)
	}
	if got := moved[6]; len(got) != 2*spanRest {
		t.Errorf("a token that was not used moved at %v", got)
	}
	if len(moved) != 2 {
		t.Errorf("moved: %v", moved)
	}
}

// After two tokens of the span in a row, the next one is not raised but held to what the twin says of it.
func TestSpanDoesNotRecite(t *testing.T) {
	const vocab = 16
	pieces := [][]Token{{10, 11}, {12}, {1, 13}, {6}}
	s := spanSampler(t, vocab, Span{Strength: 1, Pieces: pieces}, Params{})
	step := func(accept Token) []float32 {
		row, twin := owing()
		row[6], twin[6] = 2, 1
		z := modulatedBySpan(t, s, row, twin)
		s.Accept(accept)
		return z
	}
	step(12)
	step(11)
	if z := step(12); z[1] <= 1 {
		t.Errorf("after one token of the span: %v", z[:8])
	}
	if z := step(3); !near(float64(z[1]), -1-spanHush, 0.2) || z[6] <= 2 {
		t.Errorf("after two tokens of the span: %v, want token 1 as the twin has it", z[:8])
	}
	if z := step(3); z[1] <= 1 {
		t.Errorf("after another token: %v", z[:8])
	}
}

func TestSpanErrors(t *testing.T) {
	s := spanSampler(t, 16, Span{Strength: 1}, Params{})
	if _, err := s.Sample(testRow(1, 16)); !errors.Is(err, ErrTwins) {
		t.Errorf("without the twin's row: %v", err)
	}
	if _, err := s.Sample(testRow(1, 16), testRow(1, 15)); !errors.Is(err, ErrRowLength) {
		t.Errorf("a short row: %v", err)
	}
	broken := testRow(1, 16)
	broken[3] = float32(math.NaN())
	if _, err := s.Sample(testRow(1, 16), broken); !errors.Is(err, ErrNotFinite) {
		t.Errorf("NaN in the twin's row: %v", err)
	}
	if _, err := mustNew(t, Params{}, 16).Sample(testRow(1, 16), testRow(1, 16)); !errors.Is(err, ErrTwins) {
		t.Errorf("a row too many: %v", err)
	}
	good := []Token{1}
	for name, spans := range map[string][]Span{
		"spans[0].strength": {{Without: good, Strength: 1.01}},
		"spans[1].strength": {{Without: good}, {Without: good, Strength: math.NaN()}},
		"spans[0].without":  {{}},
		"spans[0]":          {{Without: good, Pieces: [][]Token{{16}}}},
		"spans":             make([]Span, MaxSpans+1),
	} {
		var domain *DomainError
		if err := (Params{Spans: spans}).Validate(16); !errors.As(err, &domain) || domain.Param != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSpanAllocatesNothing(t *testing.T) {
	const vocab = 4096
	utility := Utility{Sigma: 0.5, Key: UtilityKey(nil, "m", 0.5)}
	pieces := [][]Token{{1, 2}, {3}, {4, 5}}
	s := mustNew(t, Params{Utility: utility, Spans: []Span{
		{Without: []Token{0}, Strength: 0.7, Pieces: pieces}, {Without: []Token{1}, Strength: -0.5},
	}}, vocab)
	rows := [3][]float32{testRow(1, vocab), testRow(2, vocab), testRow(3, vocab)}
	z := [3][]float32{make([]float32, vocab), make([]float32, vocab), make([]float32, vocab)}
	twins := z[1:]
	if n := testing.AllocsPerRun(100, func() {
		for i := range rows {
			copy(z[i], rows[i])
		}
		c, err := s.Sample(z[0], twins...)
		if err != nil {
			t.Fatal(err)
		}
		s.Accept(c.Token)
	}); n != 0 {
		t.Errorf("%g allocations a step", n)
	}
}
