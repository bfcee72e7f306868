package calibrate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// near is false for NaN.
func near(got, want, tol float64) bool { return math.Abs(got-want) <= tol }

var fake = llamatest.New()

// subject runs an engine over the fake until the test ends.
func subject(t *testing.T, o llamatest.Options) Subject {
	t.Helper()
	o.Slots, o.Context = 4, 512
	engine := llama.New(fake, llamatest.NewDecoder(fake, o), llama.Config{Slots: 4, Context: 512})
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = engine.Run(ctx) // always nil
	}()
	t.Cleanup(func() { end(); <-ended })
	return Subject{Engine: engine, Streams: 4, Render: func(text string) ([]sampler.Token, error) {
		return fake.Tokenize([]llama.Part{{Text: text}}, true)
	}}
}

// babble is R(σ) of the fake when it babbles: of rows of independent logits from N(0, 3²), whatever came before.
func babble(t *testing.T, sigmas []float64) []float64 {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, 7))
	r, err := sampler.NewRetentions(sigmas)
	if err != nil {
		t.Fatal(err)
	}
	sum := make([]float64, len(sigmas))
	const rows = 200
	row := make([]float32, fake.Vocab()-3) // the control tokens are no rivals, and the end is out of reach
	for range rows {
		for i := range row {
			row[i] = float32(3 * rng.NormFloat64())
		}
		gaps, err := sampler.Gaps(row, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range r.Of(gaps, nil) {
			sum[i] += p / rows
		}
	}
	return sum
}

// TestMeasure: what is measured on the fake is what its rows say, and the standard errors are no smaller than the truth.
func TestMeasure(t *testing.T) {
	s := subject(t, llamatest.Options{})
	last, calls, n := 0.0, 0, 4
	if raced {
		n = 2 // only the goroutines matter then
	}
	c, err := Measure(t.Context(), s, Options{Steps: n * 64, Prompts: Prompts()[:n], Progress: func(f float64) {
		if !(f >= last && f <= 1) {
			t.Errorf("progress %g after %g", f, last)
		}
		last, calls = f, calls+1
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.check(); err != nil {
		t.Error(err)
	}
	if c.Answers != n || c.Steps != n*64 || c.Prompts != n || calls == 0 || last != 1 {
		t.Errorf("%d answers to %d prompts, %d steps; progress told %d times, last %g", c.Answers, c.Prompts, c.Steps, calls, last)
	}
	if raced {
		return
	}
	sigmas := make([]float64, len(c.Points))
	for i, p := range c.Points {
		sigmas[i] = p.Sigma
	}
	for i, want := range babble(t, sigmas) {
		// The rows are independent, so a mean over 256 has a standard error of less than 0.3/√256 = 0.019. At low levels counts
		// what is supposed of the drift, of which the fake has none, and of which four answers tell little.
		if p := c.Points[i]; want > 0.6 && !near(p.Retention, want, 0.06) || !(p.StdErr < 0.1) {
			t.Errorf("σ = %g: %.3f ± %.3f, want %.3f", p.Sigma, p.Retention, p.StdErr, want)
		}
	}
	if high, low := c.Points[0].Retention, c.Lowest(); !(high > 0.97) || !(low < 0.1) {
		t.Errorf("the curve runs from %g to %g", high, low)
	}
}

// TestVerify: the noise does what the integral says.
func TestVerify(t *testing.T) {
	s := subject(t, llamatest.Options{})
	c := &Curve{Points: []Point{{0.5, 0.8, 0}, {3, 0.3, 0}}}
	prompts := Prompts()[:24]
	for _, level := range []float64{0.8, 0.4} {
		v, err := Verify(t.Context(), s, c, prompts, level, 16, nil)
		if err != nil {
			t.Fatal(err)
		}
		sigma, _ := c.Sigma(level)
		want := babble(t, []float64{sigma})[0]
		if !near(v.Mean, want, 0.06) || v.Steps != 24*16 || v.Answers != 24 || v.Length != 16 || v.Ended != 0 {
			t.Errorf("level %g: %+v, want a mean of %.3f", level, v, want)
		}
		if !(v.Low < v.Share && v.Share < v.High && v.High-v.Low < 0.2) || !(v.ExcessLow < 0 && 0 < v.ExcessHigh) {
			t.Errorf("level %g: bands %+v", level, v)
		}
	}
	v, err := Verify(t.Context(), s, c, prompts[:2], 1, 8, nil)
	if err != nil || v.Mean != 1 || v.Share != 1 || v.Sigma != 0 {
		t.Errorf("without noise: %+v, %v", v, err)
	}
	if _, err := Verify(t.Context(), s, c, prompts, 0.1, 8, nil); err == nil {
		t.Error("a level out of reach: no error")
	}
}

// TestStepsOfKnownProbability: where the model is sure, all steps are kept; an end is a step, too.
func TestStepsOfKnownProbability(t *testing.T) {
	s := subject(t, llamatest.Options{Say: llamatest.Say(fake, "!", map[string]string{"hello": "world"})})
	v, err := Verify(t.Context(), s, &Curve{Points: []Point{{0.5, 0.8, 0}, {3, 0.3, 0}}}, []string{"hello!"}, 0.8, 32, nil)
	if err != nil || v.Steps != len("world")+1 || !near(v.Mean, 1, 1e-6) || v.Share != 1 || v.Ended != 1 || v.Length != 6 {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestMeasureFails(t *testing.T) {
	broken := errors.New("broken")
	s := subject(t, llamatest.Options{Before: func([]llama.Row) error { return broken }})
	if _, err := Measure(t.Context(), s, Options{}); !errors.Is(err, broken) {
		t.Errorf("a broken decoder: %v", err)
	}
	s = subject(t, llamatest.Options{})
	if _, err := Measure(t.Context(), s, Options{Prompts: []string{strings.Repeat("long ", 200)}}); err == nil {
		t.Error("a prompt longer than the context: no error")
	}
	if _, err := Measure(t.Context(), s, Options{Prompts: []string{}}); err == nil {
		t.Error("no prompts: no error")
	}
	s.Render = func(string) ([]sampler.Token, error) { return nil, broken }
	if _, err := Measure(t.Context(), s, Options{}); !errors.Is(err, broken) {
		t.Errorf("a prompt that cannot be rendered: %v", err)
	}
	ctx, end := context.WithCancel(t.Context())
	s = subject(t, llamatest.Options{Before: func([]llama.Row) error { end(); return nil }})
	if _, err := Measure(ctx, s, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestMeasureWaitsForPlaces: an engine that others keep busy is no error.
func TestMeasureWaitsForPlaces(t *testing.T) {
	s := subject(t, llamatest.Options{})
	o := Options{Steps: 64, Prompts: Prompts()[:4]}
	if raced {
		o.Prompts = o.Prompts[:1]
	}
	first, err := Measure(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	s.Streams = 12 // of 4 places
	again, err := Measure(t.Context(), s, o)
	if err != nil || !slices.Equal(again.Points, first.Points) {
		t.Errorf("%v, or other points: %v, %v", err, again, first)
	}
}

// TestEstimate recovers what answers were made of: a curve, prompts that differ, and a past that costs certainty.
func TestEstimate(t *testing.T) {
	sigmas := []float64{0.1, 0.25, 0.5, 1, 1.5, 2, 3}
	truth := []float64{0.97, 0.92, 0.84, 0.71, 0.58, 0.46, 0.28}
	rng := rand.New(rand.NewPCG(3, 1))
	drifts := []float64{0.6, 1.2, 1.8}
	if raced {
		drifts = drifts[:1]
	}
	for _, drift := range drifts {
		var answers []summary
		const prompts = 96
		for i := range prompts {
			sigma := []float64{0.3, 0.9, 1.5, 2.2}[i%4]
			strain := math.Pow(1-interpolate(sigmas, truth, sigma), 2)
			a := summary{prompt: i, sigma: sigma, weight: float64(60 + rng.IntN(68)), p: make([]float64, len(sigmas))}
			sure := 0.2 * rng.NormFloat64()
			for j, r := range truth {
				// The prompts differ in the logit; which mean of R that gives is made right by subtracting what it shifts.
				p := drifted(r, strain, drift)
				a.p[j] = p + p*(1-p)*sure
			}
			answers = append(answers, a)
		}
		points, got, err := estimate(sigmas, answers)
		if err != nil || len(points) != len(truth) {
			t.Fatal(err, points)
		}
		if !near(got, drift, 0.4) {
			t.Errorf("drift %g, want %g", got, drift)
		}
		for i, p := range points {
			// The last lies below the levels of all answers; a drift that is off by a tenth makes it that much wrong.
			tol := 4 * p.StdErr
			if i == len(points)-1 {
				tol += 0.02
			}
			if !near(p.Retention, truth[i], tol) || !(p.StdErr > 0) || !(p.StdErr < 0.03) {
				t.Errorf("drift %g, σ = %g: %.4f ± %.4f, want %.4f", drift, p.Sigma, p.Retention, p.StdErr, truth[i])
			}
		}
	}
	if _, _, err := estimate(sigmas, nil); err == nil {
		t.Error("no answers: no error")
	}
}

// TestStandardErrors: they are those of a mean over prompts, and somewhat more for the drift.
func TestStandardErrors(t *testing.T) {
	sigmas := []float64{0.1, 0.25, 0.5, 1, 1.5, 2}
	truth := []float64{0.97, 0.92, 0.84, 0.71, 0.58, 0.46}
	rng := rand.New(rand.NewPCG(4, 1))
	const n, spread, runs = 32, 0.4, 4
	told := 0.0
	for range runs {
		var answers []summary
		for i := range n {
			sigma := []float64{0.3, 0.9, 1.5, 2.2}[i%4]
			strain := math.Pow(1-interpolate(sigmas, truth, sigma), 2)
			a := summary{prompt: i, sigma: sigma, weight: 128, p: make([]float64, len(sigmas))}
			sure := spread * rng.NormFloat64()
			for j, r := range truth {
				p := drifted(r, strain, usualDrift)
				a.p[j] = p + p*(1-p)*sure
			}
			answers = append(answers, a)
		}
		points, _, err := estimate(sigmas, answers)
		if err != nil {
			t.Fatal(err)
		}
		told += points[3].StdErr / runs
	}
	mean := spread * truth[3] * (1 - truth[3]) / math.Sqrt(n)
	if !(told > 0.8*mean && told < 1.6*mean) {
		t.Errorf("standard error %.4f, that of a mean is %.4f", told, mean)
	}
}

func TestSummarize(t *testing.T) {
	a := answer{prompt: 3, sigma: 0.5, steps: []step{{p: []float64{1, 0.5}}, {p: []float64{0.5, 0}}}}
	got := summarize([]answer{a, {}})
	if len(got) != 1 || got[0].prompt != 3 || got[0].sigma != 0.5 || got[0].weight != 2 || !slices.Equal(got[0].p, []float64{0.75, 0.25}) {
		t.Errorf("%+v", got)
	}
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		prompts, steps int
		want           planned
	}{
		{48, DefaultSteps, planned{16, 128}},
		{48, 6144, planned{48, 128}},
		{48, 24576, planned{192, 128}},
		{10, 2048, planned{16, 128}},
		{1, 64, planned{1, 64}},
		{3, 64, planned{3, 32}},
		{1000, 300, planned{4, 75}},
	} {
		if got := plan(c.prompts, c.steps); got != c.want {
			t.Errorf("%d prompts, %d steps: %+v, want %+v", c.prompts, c.steps, got, c.want)
		}
	}
}

func TestPrompts(t *testing.T) {
	prompts := Prompts()
	if len(prompts) < 40 {
		t.Errorf("%d built-in prompts", len(prompts))
	}
	seen := map[string]bool{}
	for _, p := range prompts {
		if seen[p] || strings.TrimSpace(p) != p {
			t.Errorf("%q occurs twice, or is not trimmed", p)
		}
		seen[p] = true
	}
	got, err := ParsePrompts("# a comment\n\n  one \r\ntwo\\nlines\\\\n\n")
	if want := []string{"one", "two\nlines\\n"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	if _, err := ParsePrompts("# nothing\n"); err == nil {
		t.Error("no prompts: no error")
	}
}

func TestCurve(t *testing.T) {
	c := &Curve{Points: []Point{{0.1, 0.97, 0.01}, {0.5, 0.85, 0.02}, {2, 0.45, 0.03}, {4, 0.2, 0.01}}}
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	for _, p := range c.Points {
		if got, err := c.Sigma(p.Retention); err != nil || !near(got, p.Sigma, 1e-12) {
			t.Errorf("level %g: σ = %g, %v, want %g", p.Retention, got, err, p.Sigma)
		}
		if level, stdErr := c.At(p.Sigma); !near(level, p.Retention, 1e-12) || !near(stdErr, p.StdErr, 1e-12) {
			t.Errorf("σ = %g: level %g ± %g, want %g ± %g", p.Sigma, level, stdErr, p.Retention, p.StdErr)
		}
	}
	last := math.Inf(1)
	for level := 0.2; level <= 1; level += 0.001 {
		sigma, err := c.Sigma(level)
		if err != nil || !(sigma < last) {
			t.Fatalf("level %g: σ = %g after %g, %v", level, sigma, last, err)
		}
		last = sigma
		if back, _ := c.At(sigma); !near(back, level, 1e-9) {
			t.Errorf("level %g: σ = %g, which is level %g", level, sigma, back)
		}
	}
	if sigma, err := c.Sigma(1); sigma != 0 || err != nil {
		t.Errorf("level 1: %g, %v", sigma, err)
	}
	if level, _ := c.At(100); level != 0.2 {
		t.Errorf("beyond the end: %g", level)
	}
	for _, bad := range []float64{0.19, 0, -1, 1.01, math.NaN()} {
		_, err := c.Sigma(bad)
		if domain := new(sampler.DomainError); !errors.As(err, &domain) || domain.Param != "utility.level" || !strings.Contains(domain.Want, "[0.2, 1]") {
			t.Errorf("level %g: %v", bad, err)
		}
	}
}

func TestCurveRefusesDamage(t *testing.T) {
	for name, points := range map[string][]Point{
		"nothing":       nil,
		"one point":     {{1, 0.5, 0}},
		"rises":         {{1, 0.5, 0}, {2, 0.6, 0}},
		"flat":          {{1, 0.5, 0}, {2, 0.5, 0}},
		"σ falls":       {{2, 0.5, 0}, {1, 0.4, 0}},
		"σ = 0":         {{0, 0.5, 0}, {1, 0.4, 0}},
		"σ is infinite": {{1, 0.5, 0}, {math.Inf(1), 0.4, 0}},
		"level 1":       {{1, 1, 0}, {2, 0.4, 0}},
		"level 0":       {{1, 0.5, 0}, {2, 0, 0}},
		"NaN":           {{1, math.NaN(), 0}, {2, 0.4, 0}},
		"NaN error":     {{1, 0.5, 0}, {2, 0.4, math.NaN()}},
	} {
		if err := (&Curve{Points: points}).check(); err == nil {
			t.Errorf("%s: %s", name, fmt.Sprint(points))
		}
	}
}

// TestQuietTokens: what noise cannot bring to the front is no rival, and an end that it leaves alone is certain.
func TestQuietTokens(t *testing.T) {
	s := subject(t, llamatest.Options{})
	at := []float64{1}
	observed := func(ends sampler.EndNoise, row []float32) float64 {
		t.Helper()
		s.EndNoise = ends
		retentions, err := sampler.NewRetentions(at)
		if err != nil {
			t.Fatal(err)
		}
		o := &probe{quiet: s.quiet(), at: len(at), retentions: retentions}
		before := slices.Clone(row)
		o.Observe(row)
		if o.err != nil || len(o.p) != 1 || !slices.Equal(row, before) {
			t.Fatalf("%v, %v; the row is changed: %v", o.err, o.p, !slices.Equal(row, before))
		}
		return o.p[0]
	}
	row := func(logits map[sampler.Token]float32) []float32 {
		row := slices.Repeat([]float32{-1000}, fake.Vocab())
		for tok, z := range logits {
			row[tok] = z
		}
		return row
	}
	alone := row(map[sampler.Token]float32{5: 3, 9: 2})
	control := row(map[sampler.Token]float32{5: 3, 9: 2, llamatest.Control: 3})
	end := row(map[sampler.Token]float32{5: 3, 9: 2, llamatest.EOS: 2.5})
	ends := row(map[sampler.Token]float32{5: 3, 9: 2, llamatest.EOS: 3.5})
	want := sampler.Above(1, 1)
	for name, got := range map[string]float64{
		"two tokens":                  observed(sampler.EndModulated, alone),
		"a control token":             observed(sampler.EndModulated, control),
		"an end that cannot overtake": observed(sampler.EndKept, end),
	} {
		if !near(got, want, 1e-5) {
			t.Errorf("%s: %g, want %g", name, got, want)
		}
	}
	if got := observed(sampler.EndKept, ends); got != 1 {
		t.Errorf("an end that is kept: %g", got)
	}
	if got := observed(sampler.EndModulated, end); !(got < want-0.05) {
		t.Errorf("an end that may overtake: %g, want less than %g", got, want)
	}
}
