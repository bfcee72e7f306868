package sampler

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// observed records pairs of rows.
type observed struct {
	plain, modulated []float32
	chosen           Token
}

func (o *observed) Observe(raw []float32)   { o.plain = slices.Clone(raw) }
func (o *observed) Modulated(row []float32) { o.modulated = slices.Clone(row) }
func (o *observed) Accept(t Token)          { o.chosen = t }

// naiveDivergence is D(p ‖ q) and the excluded probability as they are defined.
func naiveDivergence(plain, modulated []float32) (kl, excluded float64) {
	softmax := func(row []float32, keep func(i int) bool) []float64 {
		best, sum := math.Inf(-1), 0.0
		for i, z := range row {
			if keep(i) {
				best = max(best, float64(z))
			}
		}
		p := make([]float64, len(row))
		for i, z := range row {
			if keep(i) {
				p[i] = math.Exp(float64(z) - best)
				sum += p[i]
			}
		}
		for i := range p {
			p[i] /= sum
		}
		return p
	}
	possible := func(i int) bool { return modulated[i] > negInf }
	p, q := softmax(plain, possible), softmax(modulated, possible)
	for i, all := range softmax(plain, func(int) bool { return true }) {
		switch {
		case !possible(i):
			excluded += all
		case p[i] > 0:
			kl += p[i] * math.Log(p[i]/q[i])
		}
	}
	return kl, excluded
}

func TestDivergence(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		plain := testRow(seed, 2+int(seed))
		modulated := slices.Clone(plain)
		for i := range modulated {
			modulated[i] += float32(rng.NormFloat64())
			if seed%3 == 1 && rng.Float64() < 0.3 && i > 0 {
				modulated[i] = negInf
				if rng.Float64() < 0.3 {
					plain[i] = negInf
				}
			}
		}
		kl, excluded := divergence(plain, modulated)
		wantKL, wantExcluded := naiveDivergence(plain, modulated)
		if !near(kl, wantKL, 1e-9*(1+wantKL)) || !near(excluded, wantExcluded, 1e-12) {
			t.Errorf("row %d: D = %g, excluded %g, want %g, %g", seed, kl, excluded, wantKL, wantExcluded)
		}
	}
}

// TestDivergenceInClosedForm: raising one token by b gives D = ln(1 - p + p·e^b) - p·b; excluding tokens alone gives 0.
func TestDivergenceInClosedForm(t *testing.T) {
	plain := testRow(1, 50)
	for _, b := range []float64{-100, -3, 0, 0.5, 4, 100} {
		modulated := slices.Clone(plain)
		modulated[7] += float32(b)
		p := math.Exp(float64(plain[7]) - logSum(plain, slices.Max(plain)))
		want := math.Log(1-p+p*math.Exp(b)) - p*b
		if kl, excluded := divergence(plain, modulated); !near(kl, want, 1e-5*(1+want)) || excluded != 0 { // float32 logits
			t.Errorf("b = %g: D = %g, excluded %g, want %g, 0", b, kl, excluded, want)
		}
	}
	for _, c := range []struct {
		plain, modulated []float32
		kl, excluded     float64
	}{
		{[]float32{1, 2, 3}, []float32{1, 2, 3}, 0, 0},
		{[]float32{0, 0, 0, 0}, []float32{0, negInf, 0, negInf}, 0, 0.5},
		// What is left had next to no probability: nothing under- or overflows.
		{[]float32{0, 2000, 0}, []float32{5, negInf, 5}, 0, 1},
		{[]float32{-3e38, 3e38}, []float32{-3e38, negInf}, 0, 1},
		{[]float32{negInf, 1}, []float32{negInf, 7}, 0, 0},
		{[]float32{0, 0}, []float32{1000, 0}, 500 - math.Ln2, 0},
	} {
		if kl, excluded := divergence(c.plain, c.modulated); !near(kl, c.kl, 1e-9) || !near(excluded, c.excluded, 1e-12) {
			t.Errorf("%v to %v: D = %g, excluded %g, want %g, %g", c.plain, c.modulated, kl, excluded, c.kl, c.excluded)
		}
	}
}

// TestReportDescribesTheSteps: each step's account follows from the rows that an observer sees, and the report sums them up.
func TestReportDescribesTheSteps(t *testing.T) {
	const vocab, steps, sigma = 300, 400, 2.0
	seen := &observed{}
	s := mustNew(t, Params{
		Utility:  Utility{Sigma: sigma, Key: UtilityKey([]byte("x"), "m", sigma)},
		Bias:     map[Token]float64{5: 3, 6: -100},
		Mask:     forbid(1, 2, 3),
		Observer: seen,
		Report:   true,
		Focus:    []Focus{{Targets: [][]Token{{9}}, Sigma: 4}},
	}, vocab)
	s.Prime([]Token{1})
	var want Report
	var variance float64
	for i := range steps {
		row := testRow(uint64(i), vocab)
		raw := slices.Clone(row)
		flips := s.Counts().Flips
		c := mustSample(t, s, row)
		s.Accept(c.Token)
		step := s.Step()
		if !sameBits(seen.plain, raw) || seen.chosen != c.Token {
			t.Fatalf("step %d: the observer saw other rows", i)
		}
		best, _ := largest(raw)
		kl, excluded := naiveDivergence(raw, seen.modulated)
		gaps, _ := Gaps(raw, nil)
		retention := Retention(gaps, sigma)
		if step.Token != c.Token || step.Best != best || step.Flip != (s.Counts().Flips > flips) {
			t.Errorf("step %d: %+v, want token %d, best %d", i, step, c.Token, best)
		}
		if !near(step.KL, kl, 1e-9*(1+kl)) || !near(step.Excluded, excluded, 1e-12) || step.Retention != retention {
			t.Errorf("step %d: %+v, want D %g, excluded %g, retention %g", i, step, kl, excluded, retention)
		}
		if excluded == 0 || kl == 0 {
			t.Errorf("step %d: nothing is modulated, so the test shows nothing", i)
		}
		want.KL += kl / steps
		want.Excluded += excluded / steps
		want.Retention += retention / steps
		variance += retention * (1 - retention)
	}
	r := s.Report()
	if r.Steps != steps || r.Flips != s.Counts().Flips || r.Hits != s.Counts().Hits || r.Forced != s.Counts().Forced {
		t.Errorf("report %+v, counts %+v", r, s.Counts())
	}
	if !near(r.KL, want.KL, 1e-9) || !near(r.Excluded, want.Excluded, 1e-12) || !near(r.Retention, want.Retention, 1e-12) {
		t.Errorf("report %+v, want the means %+v", r, want)
	}
	if share := 1 - float64(r.Flips)/steps; !near(share, r.Retention, sigmas*math.Sqrt(variance)/steps) {
		t.Errorf("the best token stayed best in %.3f of the steps, the integral says %.3f", share, r.Retention)
	}
}

// TestForcedStepsCountOnce: where a span and words both change the best token, that is one step.
func TestForcedStepsCountOnce(t *testing.T) {
	const vocab, steps = 50, 40
	s := mustNew(t, Params{
		Spans: []Span{{Without: []Token{1}, Strength: -1}}, Focus: []Focus{{Targets: [][]Token{{3}, {4}}, Sigma: 40}}, Report: true,
	}, vocab)
	for i := range uint64(steps) {
		c, err := s.Sample(testRow(i, vocab), testRow(i+1000, vocab))
		if err != nil {
			t.Fatal(err)
		}
		s.Accept(c.Token)
	}
	if c, r := s.Counts(), s.Report(); c.Forced > steps || c.Forced < steps/2 || c.Forced != r.Forced {
		t.Errorf("%d steps, %d of them forced, %d by the report", steps, c.Forced, r.Forced)
	}
}

// TestReportOfAnUnmodulatedAnswer: it is exactly nothing.
func TestReportOfAnUnmodulatedAnswer(t *testing.T) {
	s := mustNew(t, Params{Temperature: 1, TopP: 0.9, Report: true}, 300)
	answer(t, s, 50)
	if got, want := s.Report(), (Report{Steps: 50, Retention: 1}); got != want {
		t.Errorf("report %+v, want %+v", got, want)
	}
	if s := mustNew(t, Params{}, 300); s.Report() != (Report{}) || s.Step() != (Step{}) {
		t.Error("a report nobody asked for")
	}
}

// TestReportChangesNothing: the tokens are those without it.
func TestReportChangesNothing(t *testing.T) {
	for _, p := range []Params{
		{},
		{Utility: Utility{Sigma: 1.5}},
		{Utility: Utility{Sigma: 1.5}, Temperature: 1, TopK: 40, TopP: 0.9, Seed: 3},
		{Utility: Utility{Sigma: 0.5}, Temperature: 0.8, Logprobs: true, Focus: []Focus{{Targets: [][]Token{{4}}, Sigma: 5}}, RepeatPenalty: 1.3},
	} {
		plain := answer(t, mustNew(t, p, 300), 100)
		p.Report, p.Observer = true, &observed{}
		if got := answer(t, mustNew(t, p, 300), 100); !slices.Equal(got, plain) {
			t.Errorf("%+v: %v with a report, %v without", p, got, plain)
		}
	}
}

func TestMergeReports(t *testing.T) {
	steps := make([]Step, 30)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range steps {
		steps[i] = Step{
			Flip: rng.Float64() < 0.5, Forced: rng.Float64() < 0.5, Hits: rng.Uint64N(3),
			Retention: rng.Float64(), KL: rng.ExpFloat64(), Excluded: rng.Float64(),
		}
	}
	sum := func(steps []Step) (r Report) {
		for _, s := range steps {
			r.Add(s)
		}
		return r
	}
	all, merged := sum(steps), sum(steps[:7])
	merged.Merge(Report{})
	merged.Merge(sum(steps[7:]))
	if merged.Steps != all.Steps || merged.Flips != all.Flips || merged.Hits != all.Hits || merged.Forced != all.Forced {
		t.Errorf("%+v, want %+v", merged, all)
	}
	for _, f := range [][2]float64{{merged.Retention, all.Retention}, {merged.KL, all.KL}, {merged.Excluded, all.Excluded}} {
		if !near(f[0], f[1], 1e-14) {
			t.Errorf("%+v, want %+v", merged, all)
		}
	}
}

func TestReportAllocatesNothing(t *testing.T) {
	s := mustNew(t, Params{Utility: Utility{Sigma: 1}, Temperature: 1, Report: true}, 5000)
	row, work := testRow(1, 5000), make([]float32, 5000)
	if n := testing.AllocsPerRun(20, func() {
		copy(work, row)
		c, err := s.Sample(work)
		if err != nil {
			t.Fatal(err)
		}
		s.Accept(c.Token)
	}); n != 0 {
		t.Errorf("%g allocations per step", n)
	}
}

// BenchmarkReport is a greedy step with a report beside one without, with and without utility.
func BenchmarkReport(b *testing.B) {
	const vocab = 49152
	row, work := testRow(1, vocab), make([]float32, vocab)
	for _, c := range []struct {
		name string
		p    Params
	}{
		{"plain", Params{}},
		{"plain/report", Params{Report: true}},
		{"utility", Params{Utility: Utility{Sigma: 1}}},
		{"utility/report", Params{Utility: Utility{Sigma: 1}, Report: true}},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := mustNew(b, c.p, vocab)
			b.ReportAllocs()
			for b.Loop() {
				copy(work, row)
				s.Accept(mustSample(b, s, work).Token)
			}
		})
	}
}
