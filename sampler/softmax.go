package sampler

import "math"

// decay is computed as 2^(n/decayParts)·e^r with |r| ≤ ln2/(2·decayParts).
const (
	decayParts = 64
	// decayEnd bounds the depths: what is deeper weighs less than 10⁻²⁹⁹, which no sum that contains e⁰ can tell from 0.
	decayEnd = 690
	// integer added to a float64 leaves the nearest integer in the low mantissa bits.
	integer = 3 << 51
)

// decayTable holds the bits of 2^(i/decayParts).
var decayTable = func() (t [decayParts]uint64) {
	for i := range t {
		t[i] = math.Float64bits(math.Exp2(float64(i) / decayParts))
	}
	return t
}()

// decay is e^-depth for depth ≥ 0, +Inf included, to 10⁻¹² relative; 0 from decayEnd on. It is several times as fast as
// math.Exp, since it is inlined, and weighing a vocabulary is the most expensive part of a draw.
func decay(depth float64) float64 {
	if depth > decayEnd {
		return 0
	}
	y := integer - depth*(decayParts/math.Ln2)
	n := math.Float64bits(y) // in its low bits the integer, in two's complement
	r := (integer-y)*(math.Ln2/decayParts) - depth
	return (1 + r*(1+r*(1./2+r*(1./6+r*(1./24))))) * math.Float64frombits(decayTable[n%decayParts]+n/decayParts<<52)
}

// largest returns the token with the largest logit, of equal ones the lowest id.
func largest(row []float32) (Token, error) {
	best, top := float32(math.Inf(-1)), Token(-1)
	for i, z := range row {
		if !(z <= best) { // NaN comes in, so that it is seen
			if !(z <= math.MaxFloat32) {
				return 0, ErrNotFinite
			}
			best, top = z, Token(i)
		}
	}
	if top < 0 {
		return 0, ErrNoCandidate
	}
	return top, nil
}

// checkRow returns ErrNotFinite if a logit is NaN or +Inf.
func checkRow(row []float32) error {
	for _, z := range row {
		if !(z <= math.MaxFloat32) {
			return ErrNotFinite
		}
	}
	return nil
}

// logSum is ln Σ e^zᵢ, given the largest logit.
func logSum(row []float32, best float32) float64 {
	plain := scale{best: float64(best), rate: 1}
	sum := 0.0
	for _, z := range row {
		sum += decay(plain.depth(z))
	}
	return plain.best + math.Log(sum)
}
