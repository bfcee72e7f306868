package calibrate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
)

// Verdict is how well a curve holds at one level, on prompts that it was not measured on.
type Verdict struct {
	// Level was wanted, and Sigma is its σ by the curve.
	Level, Sigma float64
	// Answers and Steps were looked at.
	Answers, Steps int
	// Mean is the mean exact probability of the steps that the best token stays best.
	Mean float64
	// Share is the share of steps at which it did, and Low and High its 95 % band, by bootstrap over prompts.
	Share, Low, High float64
	// Excess is Share - Mean, and ExcessLow and ExcessHigh its band, by the same bootstrap. Since probabilities and outcomes
	// of one prompt go together, it is much narrower: 0 within it says that the noise does what the integral says.
	Excess, ExcessLow, ExcessHigh float64
	// Length is the median length of the answers in tokens, and Ended the share of them that ended by themselves.
	Length int
	Ended  float64
}

// Verify answers prompts at a level and compares. Answers have up to maxTokens tokens, of which the first AnswerLength are
// looked at. Level 1 is no noise.
func Verify(ctx context.Context, s Subject, c *Curve, prompts []string, level float64, maxTokens int, progress func(fraction float64)) (Verdict, error) {
	v := Verdict{Level: level}
	var err error
	if v.Sigma, err = c.Sigma(level); err != nil {
		return v, err
	}
	answers, err := s.answerAll(ctx, prompts, v.Sigma, maxTokens, progress)
	if err != nil {
		return v, err
	}
	sums := make([]promptSum, len(answers))
	lengths := make([]int, len(answers))
	for i, a := range answers {
		lengths[i] = len(a.steps)
		if a.ended {
			v.Ended += 1 / float64(len(answers))
		}
		for _, st := range a.steps[:min(len(a.steps), AnswerLength)] {
			sums[i].steps++
			if v.Sigma > 0 {
				sums[i].expected += st.p[0]
			} else {
				sums[i].expected++
			}
			if st.kept {
				sums[i].kept++
			}
		}
	}
	all := total(sums)
	if all.steps == 0 {
		return v, errors.New("the model answers nothing")
	}
	slices.Sort(lengths)
	v.Length = lengths[len(lengths)/2]
	v.Answers, v.Steps = len(answers), int(all.steps)
	v.Mean, v.Share = all.expected/all.steps, all.kept/all.steps
	v.Excess = v.Share - v.Mean
	v.Low, v.High = band(sums, func(t promptSum) float64 { return t.kept / t.steps })
	v.ExcessLow, v.ExcessHigh = band(sums, func(t promptSum) float64 { return (t.kept - t.expected) / t.steps })
	return v, nil
}

// answerAll answers each prompt once.
func (s Subject) answerAll(ctx context.Context, prompts []string, sigma float64, maxTokens int, progress func(float64)) ([]answer, error) {
	var at []float64
	if sigma > 0 {
		at = []float64{sigma}
	}
	jobs := make([]job, len(prompts))
	for i, p := range prompts {
		tokens, err := s.Render(p)
		if err != nil {
			return nil, fmt.Errorf("prompt %d: %w", i+1, err)
		}
		jobs[i] = job{i, tokens, sigma, at, maxTokens, key(sigma)}
	}
	done := 0
	return s.generate(ctx, jobs, func(int) {
		done++
		if progress != nil {
			progress(float64(done) / float64(len(jobs)))
		}
	})
}

// promptSum is the steps of the answers to one prompt, added up.
type promptSum struct{ steps, expected, kept float64 }

func total(sums []promptSum) (t promptSum) {
	for _, s := range sums {
		t.steps += s.steps
		t.expected += s.expected
		t.kept += s.kept
	}
	return t
}

// resamples is how many times the prompts are drawn anew for a band.
const resamples = 4000

// band is the 95 % band of a statistic of all steps: its percentiles over prompts drawn with replacement.
func band(sums []promptSum, statistic func(promptSum) float64) (low, high float64) {
	rng := rand.New(rand.NewPCG(1, uint64(len(sums))))
	values := make([]float64, resamples)
	drawn := make([]promptSum, len(sums))
	for i := range values {
		for j := range drawn {
			drawn[j] = sums[rng.IntN(len(sums))]
		}
		values[i] = statistic(total(drawn))
	}
	slices.Sort(values)
	return values[resamples*25/1000], values[resamples*975/1000-1]
}
