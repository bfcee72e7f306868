package sampler

import "math"

// Step is what modulation did at one step of an answer.
type Step struct {
	// Token is the chosen token, Best the model's own: the first-ranked one of the raw row.
	Token, Best Token
	// Flip says that utility noise replaced the best token: after stage 1 another one ranks first.
	Flip bool
	// Retention in (0, 1] is the probability, over the noise, that it does not; see [Retention].
	Retention float64
	// KL ≥ 0 is the Kullback–Leibler divergence, in nats, of the modulated distribution q (the row after stage 5) from the plain
	// one p (the raw row), both at temperature 1 and before truncation:
	//
	//	D(p ‖ q) = Σ pᵢ ln(pᵢ/qᵢ)
	//
	// The sum is over the tokens that modulation leaves possible, and p is normalized over these: a token whose logit it
	// sets to -Inf would make the divergence infinite. What p gives to such tokens is Excluded.
	KL float64
	// Excluded in [0, 1] is the plain probability of the tokens that modulation makes impossible, as a mask does.
	Excluded float64
	// Hits is the number of targets of a raising focus that the chosen token completed.
	Hits uint64
	// Forced says that focus changed the best token.
	Forced bool
}

// Report sums up the steps of an answer. The zero value is that of none.
type Report struct {
	// Steps, Flips, Hits and Forced are numbers of steps, Hits that of targets.
	Steps, Flips, Hits, Forced uint64
	// Retention, KL and Excluded are the means of those of the steps, 0 without any.
	Retention, KL, Excluded float64
}

// Add takes in another step.
func (r *Report) Add(s Step) {
	one := Report{Steps: 1, Hits: s.Hits, Retention: s.Retention, KL: s.KL, Excluded: s.Excluded}
	if s.Flip {
		one.Flips = 1
	}
	if s.Forced {
		one.Forced = 1
	}
	r.Merge(one)
}

// Merge takes in the steps of another answer.
func (r *Report) Merge(o Report) {
	r.Steps += o.Steps
	r.Flips += o.Flips
	r.Hits += o.Hits
	r.Forced += o.Forced
	if r.Steps == 0 {
		return
	}
	part := float64(o.Steps) / float64(r.Steps)
	r.Retention += part * (o.Retention - r.Retention)
	r.KL += part * (o.KL - r.KL)
	r.Excluded += part * (o.Excluded - r.Excluded)
}

// audit compares each row with what the pipeline makes of it. It serves Params.Report and observers that ask for both rows.
type audit struct {
	sigma float64
	plain []float32 // the raw row
	gaps  []float64 // scratch; nil where σ is 0
	step  Step
	total Report
	// before are the counts when the step began.
	before Counts
}

func newAudit(p *Params, vocab int) *audit {
	if !p.Report {
		return nil
	}
	a := &audit{sigma: p.Utility.Sigma, plain: make([]float32, vocab)}
	if a.sigma > 0 {
		a.gaps = make([]float64, 0, vocab)
	}
	return a
}

// begin sees the raw row; c are the counts before it.
func (a *audit) begin(row []float32, c Counts) {
	copy(a.plain, row)
	a.before = c
}

// end sees the row after stage 5, in which some logit is finite; best is the first-ranked token of the raw one.
func (a *audit) end(row []float32, best Token) {
	a.step = Step{Best: best, Retention: 1}
	if a.sigma > 0 {
		a.gaps, _ = Gaps(a.plain, a.gaps[:0])
		a.step.Retention = Retention(a.gaps, a.sigma)
	}
	a.step.KL, a.step.Excluded = divergence(a.plain, row)
}

// accept completes the step; c are the counts after it.
func (a *audit) accept(t Token, c Counts) {
	a.step.Token = t
	a.step.Flip = c.Flips > a.before.Flips
	a.step.Forced = c.Forced > a.before.Forced
	a.step.Hits = c.Hits - a.before.Hits
	a.total.Add(a.step)
}

// Step is the last step of the answer, complete after its Accept; the zero value unless Params.Report.
func (s *Sampler) Step() Step {
	if s.audit == nil {
		return Step{}
	}
	return s.audit.step
}

// Report sums up all steps so far; the zero value unless Params.Report.
func (s *Sampler) Report() Report {
	if s.audit == nil {
		return Report{}
	}
	return s.audit.total
}

// divergence is D(p ‖ q) of the softmax p of plain over the tokens that are possible in modulated, and the softmax q of
// modulated; and the probability of the other tokens by the softmax of plain. Both rows are finite or -Inf, and both have a
// finite logit.
func divergence(plain, modulated []float32) (kl, excluded float64) {
	possible, impossible, top := negativeInfinity, negativeInfinity, negativeInfinity // the largest logits
	for i, m := range modulated {
		if m > negativeInfinity {
			possible = max(possible, plain[i])
			top = max(top, m)
		} else {
			impossible = max(impossible, plain[i])
		}
	}
	if possible == negativeInfinity { // no stage does that
		return 0, 1
	}
	// With wᵢ = e^(zᵢ - possible): p = w/Σw, so that D = Σ w(z - m)/Σw - ln Σ e^z + ln Σ e^m.
	var weights, moved, norm, lost float64
	for i, m := range modulated {
		z := float64(plain[i])
		if m > negativeInfinity {
			if w := decay(float64(possible) - z); w > 0 {
				weights += w
				moved += w * (z - float64(m))
			}
			norm += decay(float64(top) - float64(m))
		} else if impossible > negativeInfinity {
			lost += decay(float64(impossible) - z)
		}
	}
	kl = moved/weights - (float64(possible) + math.Log(weights)) + (float64(top) + math.Log(norm))
	if lost > 0 { // lost·e^impossible against weights·e^possible, without overflow
		excluded = 1 / (1 + weights/lost*math.Exp(float64(possible)-float64(impossible)))
	}
	return max(kl, 0), excluded
}
