package sampler

import "math"

// Wins is the probability that half-normal noise lifts at least one of several tokens above the best other one:
//
//	P = 1 − Π (2Φ(gᵢ/σ) − 1)
//
// for their gaps gᵢ to it, in logits, and σ ≥ 0. It rises with σ; where a gap is not positive it is 1.
func Wins(gaps []float64, sigma float64) float64 { return 1 - stays(gaps, sigma) }

// stays is Π (2Φ(gᵢ/σ) − 1) = Π erf(gᵢ/(σ√2)).
func stays(gaps []float64, sigma float64) float64 {
	product := 1.0
	for _, g := range gaps {
		if !(g > 0) {
			return 0
		}
		if sigma > 0 {
			product *= math.Erf(g / (sigma * math.Sqrt2))
		}
	}
	return product
}

// WinningSigma is the σ for which [Wins] is p, within a relative 10⁻⁶; p in (0, 1), and the gaps positive. Without gaps there is none, and
// it is 0.
//
// One gap has the solution g/Φ⁻¹(1−p/2). It bounds that of several from above, for the smallest of them, and the solution
// of n such gaps from below; between the bounds it is found by the Illinois form of false position (Dowell and Jarratt, BIT 11,
// 1971) on log σ, where the function is close to a line.
func WinningSigma(gaps []float64, p float64) float64 {
	if len(gaps) == 0 {
		return 0
	}
	least := gaps[0]
	for _, g := range gaps {
		least = min(least, g)
	}
	hi := least / deviate(p)
	if len(gaps) == 1 {
		return hi
	}
	each := -math.Expm1(math.Log1p(-p) / float64(len(gaps))) // 1 − (1−p)^(1/n)
	lo := least / deviate(each)
	excess := func(x float64) float64 { return Wins(gaps, math.Exp(x)) - p }
	a, b := math.Log(lo), math.Log(hi)
	fa, fb := excess(a), excess(b)
	if fa >= 0 {
		return lo
	}
	const tolerance, most = 1e-6, 60
	for range most {
		if b-a <= tolerance || fb <= 0 {
			break
		}
		x := (a*fb - b*fa) / (fb - fa)
		f := excess(x)
		switch {
		case f > 0:
			if b-x <= tolerance && f < 1e-9 {
				return math.Exp(x)
			}
			b, fb = x, f
			fa /= 2
		case f < 0:
			a, fa = x, f
			fb /= 2
		default:
			return math.Exp(x)
		}
	}
	return math.Exp(b)
}

// deviate is the x for which |ε| > x has probability p, ε ~ N(0, 1): Φ⁻¹(1−p/2).
func deviate(p float64) float64 { return math.Sqrt2 * math.Erfcinv(p) }
