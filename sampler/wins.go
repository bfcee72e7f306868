package sampler

import "math"

// Wins is the probability that half-normal noise lifts at least one of several tokens above the best other one:
//
//	P = 1 − Π (2Φ(gᵢ/σ) − 1)
//
// for their gaps gᵢ to it, in logits, and σ ≥ 0. It rises with σ; where a gap is not positive it is 1.
func Wins(gaps []float64, sigma float64) float64 {
	for _, g := range gaps {
		if !(g > 0) {
			return 1
		}
	}
	if sigma == 0 {
		return 0
	}
	wins, _ := winsSlope(gaps, sigma)
	return wins
}

// WinningSigma is the σ for which [Wins] is p, within a relative 10⁻⁶; p in (0, 1), and the gaps positive. Without gaps there
// is none, and it is 0.
//
// One gap has the solution g/Φ⁻¹(1−p/2). That bounds the solution of several from above, taken for the smallest of them, and
// the solution of n such gaps bounds it from below. Between the bounds Newton's method finds the zero of log P − log p in
// log σ; log P is nearly concave there, so that it comes from below in a few steps. Where it would leave the bounds, they
// are halved instead.
func WinningSigma(gaps []float64, p float64) float64 {
	if len(gaps) == 0 {
		return 0
	}
	least := gaps[0]
	for _, g := range gaps {
		least = min(least, g)
	}
	hi := math.Log(least / deviate(p))
	if len(gaps) == 1 {
		return least / deviate(p)
	}
	each := -math.Expm1(math.Log1p(-p) / float64(len(gaps))) // 1 − (1−p)^(1/n)
	lo := math.Log(least / deviate(each))
	const tolerance, most = 1e-7, 60
	x := lo
	for range most {
		wins, slope := winsSlope(gaps, math.Exp(x))
		if wins < p {
			lo = max(lo, x)
		} else {
			hi = min(hi, x)
		}
		next := x - math.Log(wins/p)*wins/slope
		if !(lo <= next && next <= hi) {
			next = (lo + hi) / 2
		}
		if math.Abs(next-x) <= tolerance {
			return math.Exp(next)
		}
		x = next
	}
	return math.Exp(x)
}

// winsSlope is P of [Wins] and its derivative by log σ, Π erf(uᵢ) · Σ 2uᵢ exp(−uᵢ²)/(√π erf(uᵢ)), for uᵢ = gᵢ/(σ√2).
func winsSlope(gaps []float64, sigma float64) (wins, slope float64) {
	// 1 − Π is lost to rounding where P is small: add up, token by token, what each wins of what is left.
	left := 1.0
	for _, g := range gaps {
		u := g / (sigma * math.Sqrt2)
		lost := math.Erfc(u)
		wins += left * lost
		left *= 1 - lost
		if lost < 1 {
			slope += 2 / math.SqrtPi * u * math.Exp(-u*u) / (1 - lost)
		}
	}
	return wins, slope * left
}

// deviate is the x for which |ε| > x has probability p, ε ~ N(0, 1): Φ⁻¹(1−p/2).
func deviate(p float64) float64 { return math.Sqrt2 * math.Erfcinv(p) }
