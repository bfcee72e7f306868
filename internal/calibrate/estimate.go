package calibrate

import (
	"errors"
	"math"
	"slices"
)

// summary is what estimation needs of an answer.
type summary struct {
	prompt int
	sigma  float64
	// weight is how many steps it stands for, and p their mean probability at each σ of the curve.
	weight float64
	p      []float64
}

// summarize takes the means of answers.
func summarize(answers []answer) []summary {
	var list []summary
	for _, a := range answers {
		if len(a.steps) == 0 {
			continue
		}
		s := summary{prompt: a.prompt, sigma: a.sigma, weight: float64(len(a.steps)), p: make([]float64, len(a.steps[0].p))}
		for _, st := range a.steps {
			for j, p := range st.p {
				s.p[j] += p / s.weight
			}
		}
		list = append(list, s)
	}
	return list
}

// Answers generated under noise are less certain than others: text that went astray is harder to continue. The logit of their
// mean probability, at whatever σ it is taken, falls by drift·(1-u)², where u is the level at which they were generated. On
// SmolLM2 that holds well from u = 1 down to 0.15 (docs/dial.md). A quick measurement alone could hardly tell the drift, so it
// starts from what was seen there.
const (
	usualDrift  = 1.5
	driftSpread = 0.8 // standard deviation that other models may have from it
)

// maxGroups bounds the rounds of the jackknife.
const maxGroups = 64

// estimate fits R at each σ. With u_i the level of the noise of answer i, and u = R(σ), what the answers would have
// averaged under noise σ is the R for which
//
//	Σ wᵢ pᵢ(σ) = Σ wᵢ expit(logit R - drift·((1-uᵢ)² - (1-R)²))
//
// The standard errors are by jackknife: all is estimated again without each prompt in turn. Prompts are numbered from 0.
func estimate(sigmas []float64, answers []summary) (list []Point, drift float64, err error) {
	if len(answers) == 0 || len(sigmas) < 2 {
		return nil, 0, errors.New("too little was measured")
	}
	full, drift := fit(sigmas, nil, answers, 12)
	points := make([]Point, len(sigmas))
	for i := range points {
		points[i] = Point{Sigma: sigmas[i], Retention: full[i]}
	}
	prompts := map[int]bool{}
	for _, a := range answers {
		prompts[a.prompt] = true
	}
	// So many prompts that each alone would take long are left out in groups.
	groups := min(len(prompts), maxGroups)
	if groups < 2 { // of one prompt nothing can be said
		return falling(points), drift, nil
	}
	for out := range groups {
		var rest []summary
		for _, a := range answers {
			if a.prompt%groups != out {
				rest = append(rest, a)
			}
		}
		without, _ := fit(sigmas, full, rest, 4)
		for i, r := range without {
			points[i].StdErr += (r - full[i]) * (r - full[i]) * float64(groups-1) / float64(groups)
		}
	}
	for i := range points {
		points[i].StdErr = math.Sqrt(points[i].StdErr)
	}
	return falling(points), drift, nil
}

// fit estimates R at each σ, and the drift, from a first guess of the curve.
func fit(sigmas, guess []float64, answers []summary, rounds int) (curve []float64, drift float64) {
	means := make([]float64, len(sigmas))
	for i := range means {
		means[i] = mean(answers, i)
	}
	if guess == nil {
		guess = means
	}
	curve = slices.Clone(guess)
	groups := byNoise(answers)
	for range rounds {
		// The levels of the answers depend on the curve, which depends on them.
		for i := range groups {
			u := interpolate(sigmas, curve, groups[i].sigma)
			groups[i].strain = (1 - u) * (1 - u)
		}
		drift = fitDrift(curve, answers, groups)
		for i := range curve {
			// Half a step: a curve that is too low at one end makes the next drift too small, and so on to and fro.
			curve[i] = (curve[i] + solve(means[i], groups, drift)) / 2
		}
	}
	return curve, drift
}

// mean is the weighted mean of the answers' probabilities at the i-th σ.
func mean(answers []summary, i int) float64 {
	sum, weight := 0.0, 0.0
	for _, a := range answers {
		sum += a.weight * a.p[i]
		weight += a.weight
	}
	return sum / weight
}

// group is the answers generated under one σ.
type group struct {
	sigma float64
	share float64 // of the weight of all
	// strain is (1-u)² at their level u.
	strain float64
}

// groupOf is the group of an answer, -1 if there is none yet.
func groupOf(groups []group, a summary) int {
	return slices.IndexFunc(groups, func(g group) bool { return g.sigma == a.sigma })
}

func byNoise(answers []summary) []group {
	var groups []group
	total := 0.0
	for _, a := range answers {
		total += a.weight
	}
	for _, a := range answers {
		i := groupOf(groups, a)
		if i < 0 {
			i = len(groups)
			groups = append(groups, group{sigma: a.sigma})
		}
		groups[i].share += a.weight / total
	}
	return groups
}

// drifted is what answers of some strain average where R is r.
func drifted(r, strain, drift float64) float64 {
	return expit(logit(r) - drift*(strain-(1-r)*(1-r)))
}

// solve finds the R at which all answers together average mean, by bisection: what they average rises with R, for any drift
// below 3.
func solve(mean float64, groups []group, drift float64) float64 {
	lo, hi := 0.0, 1.0
	for range 30 {
		r := (lo + hi) / 2
		average := 0.0
		for _, g := range groups {
			average += g.share * drifted(r, g.strain, drift)
		}
		if average > mean {
			hi = r
		} else {
			lo = r
		}
	}
	return (lo + hi) / 2
}

// fitDrift finds the drift that explains the answers' probabilities at the σ of medium level best, with what is known of
// other models as a prior: a normal one, so that the sum below is twice the negative logarithm of the posterior.
func fitDrift(curve []float64, answers []summary, groups []group) float64 {
	const medium = 0.6
	mid := 0
	for i, r := range curve {
		if math.Abs(r-medium) < math.Abs(curve[mid]-medium) {
			mid = i
		}
	}
	average, weight := mean(answers, mid), 0.0
	for _, a := range answers {
		weight += a.weight / float64(len(answers))
	}
	squares := func(drift float64) (sum float64) {
		r := solve(average, groups, drift)
		want := make([]float64, len(groups))
		for i, g := range groups {
			want[i] = drifted(r, g.strain, drift)
		}
		for _, a := range answers {
			e := a.p[mid] - want[groupOf(groups, a)]
			sum += a.weight / weight * e * e
		}
		return sum
	}
	const step, most = 0.05, 58 // below 3, where R would no longer be unique
	var sums [most + 1]float64
	for i := range sums {
		sums[i] = squares(step * float64(i))
	}
	variance := slices.Min(sums[:]) / max(float64(len(answers)-2), 1)
	least := 0
	for i, s := range sums {
		prior := (step*float64(i) - usualDrift) / driftSpread
		sums[i] = s/variance + prior*prior
		if math.IsNaN(sums[i]) { // of answers without variance
			return usualDrift
		}
		if sums[i] < sums[least] {
			least = i
		}
	}
	if least == 0 || least == most {
		return step * float64(least)
	}
	// The lowest point of the parabola through the three.
	before, at, after := sums[least-1], sums[least], sums[least+1]
	return step * (float64(least) + (before-after)/(2*(before-2*at+after)))
}

// interpolate is the curve at σ, linear in ln σ, and constant outside.
func interpolate(sigmas, curve []float64, sigma float64) float64 {
	last := len(sigmas) - 1
	if sigma <= sigmas[0] {
		return 1 - (1-curve[0])*sigma/sigmas[0]
	}
	for i := 1; i <= last; i++ {
		if sigma <= sigmas[i] {
			part := math.Log(sigma/sigmas[i-1]) / math.Log(sigmas[i]/sigmas[i-1])
			return curve[i-1] + part*(curve[i]-curve[i-1])
		}
	}
	return curve[last]
}

// falling leaves out the points that do not lie below the one before by anything that could be told apart.
func falling(points []Point) []Point {
	const least = 1e-6
	var list []Point
	last := 1.0
	for _, p := range points {
		if p.Retention > least && p.Retention < last-least {
			list = append(list, p)
			last = p.Retention
		}
	}
	return list
}
