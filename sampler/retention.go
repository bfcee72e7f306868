package sampler

import (
	"math"
	"sync"
)

// Gaps appends to dst the gaps z_best - zⱼ ≥ 0 of all tokens but the best to it, the input of [Retention]. Forbidden
// tokens (-Inf) are left out, since no noise brings them back. The row is left alone.
func Gaps(row []float32, dst []float64) ([]float64, error) {
	if err := checkRow(row); err != nil {
		return dst, err
	}
	top, err := largest(row)
	if err != nil {
		return dst, err
	}
	for i, z := range row {
		if Token(i) != top && !math.IsInf(float64(z), -1) {
			dst = append(dst, float64(row[top])-float64(z))
		}
	}
	return dst, nil
}

// The integral of Retention is taken on a grid of one step for both x and the gaps in units of σ, so that ln Φ is needed on
// that grid only.
const (
	gridPerUnit = 32
	gridEnd     = 9  // |x| up to which φ counts: Φ(-9) = 1.1·10⁻¹⁹
	farGap      = 12 // σ; overtaking from farther has a chance of Φ(-12/√2) = 1.1·10⁻¹⁷

	gridNodes = 2*gridEnd*gridPerUnit + 1
	gapNodes  = farGap*gridPerUnit + 4 // cubic interpolation looks one step down and two up
)

// Retention is the probability that the best token stays best under utility noise of standard deviation σ, given the gaps
// gⱼ ≥ 0 by which it leads the others (see [Gaps]):
//
//	P = ∫ φ(x) · Π Φ(x + gⱼ/σ) dx
//
// It falls from 1 at σ = 0 to 1/n for n tokens as σ → ∞, and is NaN if σ or a gap is negative or NaN. The error is below
// 10⁻⁶, and the cost one pass over the gaps and a constant.
func Retention(gaps []float64, sigma float64) float64 {
	if !(sigma >= 0) {
		return math.NaN()
	}
	var crowd crowd
	for _, g := range gaps {
		if !(g >= 0) {
			return math.NaN()
		}
		if a := g / sigma; a < farGap { // not so NaN, from Inf/Inf and 0/0
			spread(crowd[:], a*gridPerUnit, 1)
		}
	}
	if sigma == 0 {
		return 1 // among equals, too: the lower id stays best
	}
	return crowd.retention()
}

// crowd is a set of tokens as weights on the nodes of a grid of gaps in units of σ; node b stands for b-1 steps.
type crowd [gapNodes]float64

// stride is how many nodes apart the integral of retention looks. An integrand that is smooth and vanishes at both ends needs
// no more: the narrowest one, with everybody tied, is about a fifth of a unit wide.
const stride = 3

// retention is ∫ φ(x) Π Φ(x + gⱼ/σ) dx.
func (c *crowd) retention() float64 {
	const nothing = 1e-20 // what is left out is less than a hundred times this
	p := 0.0
	for k := gridNodes - 1; k >= 0; k -= stride { // from where the crowd is surely behind, ever less
		f := c.behind(k)
		if f < nothing {
			break
		}
		p += gridDensity(k) * f
	}
	return min(p*stride/gridPerUnit, 1)
}

// behind is Π Φ(x + gⱼ/σ), the probability that the whole crowd stays behind one that is x·σ ahead of where it leads by gⱼ; x
// is the k-th node of the integral.
func (c *crowd) behind(k int) float64 {
	exponent := 0.0
	for b, w := range logDistribution()[k : k+gapNodes] {
		exponent += c[b] * w
	}
	return math.Exp(exponent)
}

// spread adds a token of some weight at a ≥ 0, in steps of the grid, as the weights of cubic (Lagrange) interpolation between
// the four nodes around it; node b stands for b-1 steps.
func spread(nodes []float64, a, weight float64) {
	b := int(a)
	f := a - float64(b)
	four := nodes[b : b+4 : b+4]
	four[0] -= weight * (f * (f - 1) * (f - 2) / 6)
	four[1] += weight * ((f + 1) * (f - 1) * (f - 2) / 2)
	four[2] -= weight * ((f + 1) * f * (f - 2) / 2)
	four[3] += weight * ((f + 1) * f * (f - 1) / 6)
}

// gridDensity is φ at the k-th node of the integral.
func gridDensity(k int) float64 { return density(float64(k)/gridPerUnit - gridEnd) }

// logDistribution tabulates ln Φ from one step below -gridEnd on, as far as a node of x and one of the gaps add up to.
var logDistribution = sync.OnceValue(func() *[gridNodes + gapNodes]float64 {
	var table [gridNodes + gapNodes]float64
	for i := range table {
		x := float64(i-1)/gridPerUnit - gridEnd
		if x < 0 {
			table[i] = math.Log(distribution(x))
		} else {
			table[i] = math.Log1p(-distribution(-x))
		}
	}
	return &table
})
