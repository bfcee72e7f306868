package sampler

import (
	"fmt"
	"math"
	"slices"
)

// Above is the probability that a token whose logit leads another's by lead (negative where it trails) is above it under
// utility noise of standard deviation σ:
//
//	P(zᵢ + εᵢ > zⱼ + εⱼ) = Φ((zᵢ - zⱼ)/(σ√2))
//
// since the difference of the two deviates is N(0, 2σ²). Without noise it is 1, 0, or ½ for equals. It is NaN if σ is negative
// or lead NaN.
func Above(lead, sigma float64) float64 {
	switch {
	case !(sigma >= 0) || math.IsNaN(lead):
		return math.NaN()
	case lead == 0:
		return 0.5
	case sigma == 0:
		return distribution(math.Inf(1) * lead)
	case math.IsInf(lead, 0) && math.IsInf(sigma, 0):
		return math.NaN()
	}
	return distribution(lead / (sigma * math.Sqrt2))
}

// maxOrder bounds k of OrderRetention.
const maxOrder = 64

// OrderRetention is the probability that the k best tokens stay the k best, in their order, under utility noise of standard
// deviation σ. The gaps are those of all tokens but the best to it, in any order (see [Gaps]). With z₁ ≥ … ≥ z_k the best
// and the rest behind them,
//
//	P = P(y₁ > y₂ > … > y_k > yⱼ for all j of the rest), y = z + ε
//	  = ∫ f₁(x₁) ∫^x₁ f₂(x₂) … ∫^x_{k-1} f_k(x_k) Π Φ((x_k - zⱼ)/σ) dx_k … dx₁
//
// where f_i is the density of y_i: k integrals, each over the running integral of the next. For k = 1 it is [Retention]; for all n
// tokens and n equal logits it is 1/n!. It falls as σ rises, because the cone of the order is convex and holds z itself. The
// error is below 10⁻⁶, and the cost one pass over the gaps, a constant, and a pass over the grid for each of the k.
//
// It is NaN where Retention is, and where k is not in [1, min(64, number of tokens)].
func OrderRetention(gaps []float64, k int, sigma float64) float64 {
	if k < 1 || k > min(maxOrder, len(gaps)+1) || !(sigma >= 0) {
		return math.NaN()
	}
	var nearest [maxOrder]float64
	lead, ok := smallest(nearest[:1], gaps, k) // gaps to the best of the k best; 0 is its own
	if !ok {
		return math.NaN()
	}
	if sigma == 0 {
		return 1
	}
	last := lead[k-1]
	// Of the rest, all but those that are not nearer than the last of the leaders; as many as equal it were taken.
	ties := 0
	for _, g := range lead[1:] {
		if g == last {
			ties++
		}
	}
	var rest crowd
	for _, g := range gaps {
		if g < last {
			continue
		}
		if g == last && ties > 0 {
			ties--
			continue
		}
		if a := (g - last) / sigma; a < farGap { // not so NaN, from Inf-Inf and Inf/Inf
			spread(rest[:], a*gridPerUnit, 1)
		}
	}
	return ordered(lead, &rest, sigma)
}

// smallest appends the k-1 smallest gaps, sorted, to dst, which holds the best's own gap of 0. It is false where a gap is
// negative or NaN.
func smallest(dst, gaps []float64, k int) ([]float64, bool) {
	for _, g := range gaps {
		if !(g >= 0) {
			return nil, false
		}
		switch {
		case len(dst) < k:
			dst = append(dst, g)
		case k > 1 && g < dst[k-1]:
			dst[k-1] = g
		default:
			continue
		}
		for i := len(dst) - 1; i > 1 && dst[i] < dst[i-1]; i-- {
			dst[i], dst[i-1] = dst[i-1], dst[i]
		}
	}
	return dst, true
}

// ordered integrates from the last leader to the first. Each integral is tabulated on the nodes within gridEnd of its leader;
// below them it is 0, above them its total.
func ordered(lead []float64, rest *crowd, sigma float64) float64 {
	var sum, f [gridNodes]float64
	for n := range f {
		f[n] = gridDensity(n) * rest.behind(n)
	}
	total := accumulate(&sum, &f)
	// All leaders share one grid, of which the last sits on a node and the others beside one, by a part of a step.
	part := 0.0
	for i := len(lead) - 2; i >= 0; i-- {
		ahead := (lead[i+1]-lead[i])/sigma*gridPerUnit + part
		shift := gridNodes // out of reach of the one behind
		part = 0
		if ahead < gridNodes-1 {
			shift = int(math.Round(ahead))
			part = ahead - float64(shift)
		}
		for n := range f {
			behind := total
			if n+shift < gridNodes {
				behind = sum[n+shift]
			}
			f[n] = density((float64(n)-part)/gridPerUnit-gridEnd) * behind
		}
		total = accumulate(&sum, &f)
	}
	return max(0, min(total, 1)) // the cubics of a chance of 10⁻¹⁰⁰ may fall below 0
}

// accumulate tabulates the integral of f up to each node, and returns all of it. Between two nodes it integrates the cubic
// through them and their neighbours: ∫ = (-f₋₁ + 13f₀ + 13f₁ - f₂)/24 steps. Outside the grid f is 0.
func accumulate(sum, f *[gridNodes]float64) float64 {
	at := func(n int) float64 {
		if n < 0 || n >= gridNodes {
			return 0
		}
		return f[n]
	}
	total := 0.0
	for n := range f {
		total += (13*(at(n-1)+at(n)) - at(n-2) - at(n+1)) / (24 * gridPerUnit)
		sum[n] = total
	}
	return total
}

// Retentions computes [Retention] at several σ at once, which costs one pass over the gaps instead of one for each. It is not
// safe for concurrent use.
type Retentions struct {
	sigmas []float64
	step   float64   // of the grid of gaps, in logits
	nodes  []float64 // scratch: the gaps, spread over that grid
}

// coarse is how many steps of the shared grid the smallest σ has. Spreading twice adds an error of the same order, (1/16)⁴.
const coarse = 16

// NewRetentions makes room for increasing σ > 0, of which the last may be at most a thousand times the first.
func NewRetentions(sigmas []float64) (*Retentions, error) {
	for i, s := range sigmas {
		if !(s > 0) || i > 0 && !(s > sigmas[i-1]) || !(s <= 1000*sigmas[0]) || math.IsInf(s, 0) {
			return nil, &DomainError{
				Param: fmt.Sprintf("sigmas[%d]", i), Value: s, Want: "positive, larger than the one before and at most a thousand times the first",
			}
		}
	}
	r := &Retentions{sigmas: slices.Clone(sigmas)}
	if n := len(sigmas); n > 0 {
		r.step = sigmas[0] / coarse
		r.nodes = make([]float64, int(farGap*sigmas[n-1]/r.step)+4)
	}
	return r, nil
}

// Of appends the retention at each σ to dst. The error is below 10⁻⁵; gaps that are negative or NaN make them NaN.
func (r *Retentions) Of(gaps, dst []float64) []float64 {
	clear(r.nodes)
	far := float64(len(r.nodes) - 3)
	scale, bad := 1/r.step, false
	for _, g := range gaps {
		bad = bad || !(g >= 0)
		if a := g * scale; a < far && !bad {
			spread(r.nodes, a, 1)
		}
	}
	for _, s := range r.sigmas {
		if bad {
			dst = append(dst, math.NaN())
			continue
		}
		dst = append(dst, r.at(s))
	}
	return dst
}

// at is the retention at one σ of the gaps on the grid.
func (r *Retentions) at(sigma float64) float64 {
	var c crowd
	steps := r.step / sigma * gridPerUnit
	for b, w := range r.nodes {
		// The first node stands for a gap of -1 step, which the grid of a σ does not have. It is moved, by the cubic through
		// the four nodes next to it, onto those.
		a := float64(b-1) * steps
		if w == 0 {
			continue
		}
		if a >= farGap*gridPerUnit {
			break
		}
		if b == 0 {
			for i, part := range [...]float64{4, -6, 4, -1} { // f(-1) = 4f(0) - 6f(1) + 4f(2) - f(3)
				spread(c[:], float64(i)*steps, w*part)
			}
			continue
		}
		spread(c[:], a, w)
	}
	return c.retention()
}
