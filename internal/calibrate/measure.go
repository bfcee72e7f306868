package calibrate

import (
	"context"
	"errors"
	"fmt"
	"math"

	"aim/sampler"
)

// Options say how to measure. The zero value is the quick measurement that is made by itself.
type Options struct {
	// Prompts are those to answer; by default the built-in ones.
	Prompts []string
	// Steps is about how many steps to look at, in all; default DefaultSteps. More lower the standard errors.
	Steps int
	// Progress, when set, is told how much of the work is done, in [0, 1]. The calls do not overlap.
	Progress func(fraction float64)
}

// DefaultSteps is a compromise: on a model that decodes 130 tokens/s, about fifteen seconds of work. The levels of its answers
// are known to 0.01 near level 0.9 and 0.03 near 0.5.
const DefaultSteps = 16 * AnswerLength

// What is measured is the retention over the steps of answers of up to AnswerLength tokens. Shorter ones would mislead: a
// model that talks itself into a loop is surer at the end than at the beginning, and one led astray by noise less sure.
const AnswerLength = 128

// shortest is the length of answers where there are too few steps for whole ones under noise of each strength.
const shortest = 32

// The pilot finds the scale of a model's logits: answers to a few prompts without noise, looked at over the widest range of σ.
const (
	pilotPrompts = 4
	pilotLength  = 8
)

// Levels by the pilot, at which the curve is measured, and of the noise under which the answers are generated.
var (
	curveLevels = [...]float64{
		0.995, 0.99, 0.98, 0.97, 0.96, 0.95, 0.93, 0.91, 0.89, 0.87, 0.84, 0.81, 0.78, 0.75, 0.71, 0.67,
		0.63, 0.59, 0.55, 0.51, 0.47, 0.43, 0.39, 0.35, 0.31, 0.27, 0.23, 0.19, 0.15, 0.11, 0.07, 0.04,
	}
	answerLevels = [...]float64{0.9, 0.7, 0.5, 0.4}
)

// Measure measures the curve of a model.
func Measure(ctx context.Context, s Subject, o Options) (*Curve, error) {
	prompts := o.Prompts
	if prompts == nil {
		prompts = Prompts()
	}
	if len(prompts) == 0 {
		return nil, errors.New("no prompts to calibrate on")
	}
	if o.Steps == 0 {
		o.Steps = DefaultSteps
	}
	tokens := make([][]sampler.Token, len(prompts))
	for i, p := range prompts {
		var err error
		if tokens[i], err = s.Render(p); err != nil {
			return nil, fmt.Errorf("prompt %d: %w", i+1, err)
		}
	}
	p := plan(len(prompts), o.Steps)
	total, done := float64(min(pilotPrompts, len(prompts))*pilotLength+p.answers*p.length), 0.0
	tick := func(most int) func(int) {
		return func(int) {
			done += float64(most) // an answer that ended early is as much of the work
			if o.Progress != nil {
				o.Progress(min(done/total, 1))
			}
		}
	}
	scale, err := pilot(ctx, s, tokens, tick(pilotLength))
	if err != nil {
		return nil, err
	}
	sigmas := scale.sigmas(curveLevels[:])
	under := scale.sigmas(answerLevels[:])
	jobs := make([]job, p.answers)
	for i := range jobs {
		// In the first round neighbours, which are of different kinds, get different σ; each round moves on by one.
		prompt, round := i%len(prompts), i/len(prompts)
		sigma := under[(prompt+prompt/len(under)+round)%len(under)]
		jobs[i] = job{prompt, tokens[prompt], sigma, sigmas, p.length, key(sigma)}
	}
	answers, err := s.generate(ctx, jobs, tick(p.length))
	if err != nil {
		return nil, err
	}
	c := &Curve{Prompts: min(len(prompts), p.answers), Answers: len(answers)}
	for _, a := range answers {
		c.Steps += len(a.steps)
	}
	if c.Points, c.Drift, err = estimate(sigmas, summarize(answers)); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("noise does not change what this model says as it should: %w", err)
	}
	return c, nil
}

// key is that of the noise of all measurements: what is measured is the same whichever noise it was.
func key(sigma float64) sampler.Key { return sampler.UtilityKey([]byte("calibrate"), "", sigma) }

// planned is how many answers of which length to generate.
type planned struct{ answers, length int }

// plan divides steps over prompts: first over as many prompts as there are, then into several answers to each. Without steps
// enough for whole answers they become shorter, which is only good to see that it works.
func plan(prompts, steps int) planned {
	answers := max(steps/AnswerLength, min(prompts, len(answerLevels)))
	return planned{answers, min(max(steps/answers, shortest), AnswerLength)}
}

// pilot is a rough curve from the first tokens of a few answers. The range is what [sampler.NewRetentions] takes at once.
func pilot(ctx context.Context, s Subject, tokens [][]sampler.Token, tick func(int)) (*pilotCurve, error) {
	const from, to = 0.02, 20
	var c pilotCurve
	for s := from; s < to; s *= math.Sqrt2 {
		c.at = append(c.at, s)
	}
	var jobs []job
	for i := range min(pilotPrompts, len(tokens)) {
		jobs = append(jobs, job{i, tokens[i], 0, c.at, pilotLength, sampler.Key{}})
	}
	answers, err := s.generate(ctx, jobs, tick)
	if err != nil {
		return nil, err
	}
	for i := range c.at {
		sum, n := 0.0, 0
		for _, a := range answers {
			for _, st := range a.steps {
				sum += st.p[i]
				n++
			}
		}
		if n == 0 {
			return nil, errors.New("the model answers nothing")
		}
		c.retention = append(c.retention, sum/float64(n))
	}
	return &c, nil
}

// pilotCurve is a rough curve.
type pilotCurve struct{ at, retention []float64 }

// sigmas are the σ of falling levels, increasing and inside the range of the pilot.
func (c *pilotCurve) sigmas(levels []float64) []float64 {
	var list []float64
	for _, level := range levels {
		i := 0
		for i < len(c.at)-1 && c.retention[i] > level {
			i++
		}
		s := c.at[i]
		if i > 0 && c.retention[i] < level {
			part := (c.retention[i-1] - level) / (c.retention[i-1] - c.retention[i])
			s = c.at[i-1] * math.Pow(c.at[i]/c.at[i-1], part)
		}
		if n := len(list); n == 0 || s > list[n-1]*1.001 {
			list = append(list, s)
		}
	}
	return list
}
