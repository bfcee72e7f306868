// Package calibrate measures how far a model's utility dial has to be turned: the retention R(σ), which is the share of
// steps at which the model's own best token stays best under utility noise of standard deviation σ. Its inverse is the σ for a
// level.
//
// The probability of each step is exact, an integral over its row of logits (see [sampler.Retention]); what is measured is
// which rows a model meets. It meets other ones under noise than without, because text that went astray is less certain how
// to go on, so the rows are those of modulated answers. See docs/dial.md.
package calibrate

import (
	"fmt"
	"math"
	"sort"

	"aim/sampler"
)

// Point is the retention at one σ.
type Point struct {
	// Sigma > 0 is the standard deviation of the noise, in logits.
	Sigma float64 `json:"sigma"`
	// Retention in [0, 1] is R(σ).
	Retention float64 `json:"retention"`
	// StdErr is its standard error, over the choice of prompts.
	StdErr float64 `json:"std_err"`
}

// Curve is R(σ) of a model, by points of increasing σ and falling R.
type Curve struct {
	Points []Point `json:"points"`
	// Prompts, Answers and Steps are how many it was measured on.
	Prompts int `json:"prompts"`
	Answers int `json:"answers"`
	Steps   int `json:"steps"`
	// Drift is how much noise in an answer's past costs its later steps; see estimate.
	Drift float64 `json:"drift"`
}

// check tells why a curve, which may come from a file, is none.
func (c *Curve) check() error {
	if len(c.Points) < 2 {
		return fmt.Errorf("%d points", len(c.Points))
	}
	last := Point{0, 1, 0}
	for i, p := range c.Points {
		if !(p.Sigma > last.Sigma) || math.IsInf(p.Sigma, 0) || !(p.Retention < last.Retention) || !(p.Retention > 0) || !(p.StdErr >= 0) {
			return fmt.Errorf("point %d (σ = %g, R = %g ± %g) does not follow (σ = %g, R = %g)",
				i, p.Sigma, p.Retention, p.StdErr, last.Sigma, last.Retention)
		}
		last = p
	}
	return nil
}

// Lowest is the lowest level that the curve reaches.
func (c *Curve) Lowest() float64 { return c.Points[len(c.Points)-1].Retention }

// Sigma is the standard deviation of the noise at which the share level of the best tokens stays best. Level 1 is no noise, and
// levels outside [Lowest, 1] are a [sampler.DomainError].
//
// Between two points the logit of R is taken to be linear in ln σ. Before the first, 1-R is taken to be proportional to σ, which
// it is as σ → 0: only gaps of the order of σ can be overcome then, and their number grows with σ.
func (c *Curve) Sigma(level float64) (float64, error) {
	if !(level <= 1) || !(level >= c.Lowest()) {
		// Rounded up, so that what it says is in the domain.
		lowest := math.Ceil(c.Lowest()*1000) / 1000
		return 0, &sampler.DomainError{Param: "utility.level", Value: level, Want: fmt.Sprintf("in [%g, 1]: below it this model is not calibrated", lowest)}
	}
	if level == 1 {
		return 0, nil
	}
	first := c.Points[0]
	if level >= first.Retention {
		return first.Sigma * (1 - level) / (1 - first.Retention), nil
	}
	// The first point that is not above level; there is one, and one before it.
	i := sort.Search(len(c.Points), func(i int) bool { return c.Points[i].Retention <= level })
	a, b := c.Points[i-1], c.Points[i]
	part := (logit(level) - logit(a.Retention)) / (logit(b.Retention) - logit(a.Retention))
	return math.Exp(math.Log(a.Sigma) + part*(math.Log(b.Sigma)-math.Log(a.Sigma))), nil
}

// At is the retention at σ with its standard error, the inverse of Sigma. Beyond the last point both are that point's.
func (c *Curve) At(sigma float64) (level, stdErr float64) {
	first, last := c.Points[0], c.Points[len(c.Points)-1]
	switch {
	case sigma <= first.Sigma:
		part := sigma / first.Sigma
		return 1 - part*(1-first.Retention), part * first.StdErr
	case sigma >= last.Sigma:
		return last.Retention, last.StdErr
	}
	i := sort.Search(len(c.Points), func(i int) bool { return c.Points[i].Sigma >= sigma })
	a, b := c.Points[i-1], c.Points[i]
	part := (math.Log(sigma) - math.Log(a.Sigma)) / (math.Log(b.Sigma) - math.Log(a.Sigma))
	return expit(logit(a.Retention) + part*(logit(b.Retention)-logit(a.Retention))), a.StdErr + part*(b.StdErr-a.StdErr)
}

func logit(p float64) float64 { return math.Log(p) - math.Log1p(-p) }

func expit(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
