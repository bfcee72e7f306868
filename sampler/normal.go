package sampler

import "math"

// The quantile function of N(0,1) is tabulated over p ∈ (0, ½); symmetry gives the rest. The segments are those of a
// float64: every power of two of p is cut into segments equal parts, so that the segments shrink towards the tail as
// the function steepens, and exponent and leading mantissa bits of p are the index.
const (
	segmentBits = 5
	segments    = 1 << segmentBits
	octaves     = 32 // p·2³² runs from ½ to 2³¹ - ½

	mantissaBits = 52
	indexShift   = mantissaBits - segmentBits
	// first is the leading bits of ½, the smallest p·2³²: biased exponent 1022, mantissa 0. The table is a ring, so that the
	// leading bits of p modulo its length are the index.
	first = 1022 << segmentBits
)

// cubic is a + bt + ct² + dt³ on t ∈ [0, 1).
type cubic struct{ a, b, c, d float64 }

var quantiles = tabulate()

// normal is the (u+½)/2³² quantile of N(0,1) for a uniform 32-bit u. It is odd about the middle of its range and strictly
// increasing; its values lie in ±6.34, and differ from the exact quantile by less than 10⁻⁸.
func normal(u uint32) float64 { return -signed(1, u) * lowerQuantile(fold(u)) }

// halfNormal is |normal(u)|, whose mean is √(2/π).
func halfNormal(u uint32) float64 { return -lowerQuantile(fold(u)) }

// fold mirrors the upper half of the uniforms onto the lower one.
func fold(u uint32) uint32 { return u ^ uint32(int32(u)>>31) }

// signed is x > 0 with the sign of normal(u).
func signed(x float64, u uint32) float64 {
	return math.Float64frombits(math.Float64bits(x) | uint64(^u)>>31<<63)
}

// lowerQuantile is the (u+½)/2³² quantile of N(0,1) for u < 2³¹, where it is negative.
func lowerQuantile(u uint32) float64 {
	const (
		one  = 1023 << mantissaBits
		unit = 1075 << mantissaBits // the float64 2⁵², whose last mantissa bit counts 1
	)
	p := math.Float64frombits(unit|uint64(u)) - (1<<52 - 0.5) // u + ½, exactly, and faster than a conversion
	bits := math.Float64bits(p)
	k := &quantiles[bits>>indexShift%(octaves*segments)]
	t := math.Float64frombits(bits<<segmentBits&(1<<mantissaBits-1)|one) - 1
	return k.a + t*(k.b+t*(k.c+t*k.d))
}

// tabulate fits each segment to the exact quantile and its slope 1/φ(q) at both ends (cubic Hermite interpolation), which
// makes the whole increasing without gaps.
func tabulate() (table [octaves * segments]cubic) {
	for i := uint64(first); i < first+octaves*segments; i++ {
		lo := math.Float64frombits(i << indexShift)
		hi := math.Float64frombits((i + 1) << indexShift)
		q0, q1 := exactQuantile(math.Ldexp(lo, -32)), exactQuantile(math.Ldexp(hi, -32))
		width := math.Ldexp(hi-lo, -32)
		d0, d1 := width/density(q0), width/density(q1)
		table[i%(octaves*segments)] = cubic{q0, d0, 3*(q1-q0) - 2*d0 - d1, d0 + d1 - 2*(q1-q0)}
	}
	return table
}

// exactQuantile is Φ⁻¹(p) = -√2·erfc⁻¹(2p). Go's erfc⁻¹ is Wichura's algorithm AS 241, good to about 16 digits; since it goes
// through 1-2p, p should be a multiple of 2⁻⁵⁴, as it is here.
func exactQuantile(p float64) float64 { return -math.Sqrt2 * math.Erfcinv(2*p) }

// density is φ(x) = e^(-x²/2)/√(2π).
func density(x float64) float64 { return math.Exp(-x*x/2) / math.Sqrt(2*math.Pi) }

// distribution is Φ(x) = ½·erfc(-x/√2).
func distribution(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }
