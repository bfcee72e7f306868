package sampler

import "math"

// A uniform is an integer u in [0, 2³²), drawn as a byte and 24 bits of a word: u = byte·2²⁴ + word. It stands for the
// probability (u+½)/2³².
const (
	uniformBits = 32
	wordBits    = 24
)

// The quantile function of N(0,1) is tabulated twice. The middle of the uniforms is cut into centers equal segments, found by
// the leading bits of u alone; what remains of them, tailBytes bytes at either end, belongs to the tail's table, whose
// segments are those of a float64: every power of two of p ∈ (0, ½) is cut into segments equal parts, so that they shrink as the
// function steepens, and exponent and leading mantissa bits of p are the index. The seams are exact values of the
// quantile in both.
const (
	centerBits  = 10
	centers     = 1 << centerBits
	centerShift = uniformBits - centerBits
	tailBytes   = 4

	segmentBits = 5
	segments    = 1 << segmentBits
	octaves     = uniformBits // p·2³² runs from ½ to 2³¹ - ½

	mantissaBits = 52
	indexShift   = mantissaBits - segmentBits
	// lowest is the leading bits of ½, the smallest p·2³²: biased exponent 1022, mantissa 0. The table is a ring, so that the
	// leading bits of p modulo its length are the index.
	lowest = 1022 << segmentBits
)

// cubic is a + bt + ct² + dt³; t runs through [0, 1) in the tail, and through the integers [0, 2^centerShift) in the center.
type cubic struct{ a, b, c, d float64 }

// at rounds after every operation, as the conversions say, so that processors with fused ones agree with the others.
func (k *cubic) at(t float64) float64 {
	return k.a + float64(t*(k.b+float64(t*(k.c+float64(t*k.d)))))
}

var (
	centerTable = tabulateCenter()
	tailTable   = tabulateTail()
)

// normal is the (u+½)/2³² quantile of N(0,1) for a uniform u. It is strictly increasing; its values lie in ±6.34, and
// differ from the exact quantile by less than 2·10⁻⁷ in the center, where |ε| < 2.16, and by less than 10⁻⁸ beyond.
func normal(u uint32) float64 {
	if inTail(byte(u >> wordBits)) {
		return tail(u)
	}
	return center(u)
}

// halfNormal is |normal(u)|, whose mean is √(2/π).
func halfNormal(u uint32) float64 { return math.Abs(normal(u)) }

// inTail reports whether the uniforms with this leading byte belong to the tail.
func inTail(hi byte) bool { return hi-tailBytes >= 256-2*tailBytes }

// center is normal for uniforms in the center, and 0 in the tail.
func center(u uint32) float64 {
	k := &centerTable[u>>centerShift%centers]
	t := float64(int32(u & (1<<centerShift - 1)))
	return k.at(t)
}

// tail is normal for any uniform. It is odd about their middle.
func tail(u uint32) float64 {
	if u>>(uniformBits-1) == 0 {
		return lowerQuantile(u)
	}
	return -lowerQuantile(^u)
}

// lowerQuantile is the (u+½)/2³² quantile of N(0,1) for u < 2³¹, where it is negative.
func lowerQuantile(u uint32) float64 {
	const (
		one  = 1023 << mantissaBits
		unit = 1075 << mantissaBits // the float64 2⁵², whose last mantissa bit counts 1
	)
	p := math.Float64frombits(unit|uint64(u)) - (1<<52 - 0.5) // u + ½, exactly, and faster than a conversion
	bits := math.Float64bits(p)
	k := &tailTable[bits>>indexShift%(octaves*segments)]
	t := math.Float64frombits(bits<<segmentBits&(1<<mantissaBits-1)|one) - 1
	return k.at(t)
}

// hermite fits a segment of width w, in units of probability, to the exact quantile at its ends p and p+w and to the slope
// 1/φ(q) there, which makes the whole increasing without gaps. The value counts from 0 to 1.
func hermite(p, w float64) cubic {
	q0, q1 := exactQuantile(p), exactQuantile(p+w)
	d0, d1 := w/density(q0), w/density(q1)
	return cubic{q0, d0, 3*(q1-q0) - 2*d0 - d1, d0 + d1 - 2*(q1-q0)}
}

// tabulateCenter scales the argument of each segment to the integers, and moves it by the half in (u+½). A segment in the
// tail stays 0.
func tabulateCenter() (table [centers]cubic) {
	for i := range table {
		if inTail(byte(i >> (centerBits - 8))) {
			continue
		}
		k := hermite(math.Ldexp(float64(i), -centerBits), math.Ldexp(1, -centerBits))
		s := math.Ldexp(1, -centerShift)
		h := s / 2
		table[i] = cubic{
			k.a + h*(k.b+h*(k.c+h*k.d)),
			s * (k.b + h*(2*k.c+h*3*k.d)),
			s * s * (k.c + 3*h*k.d),
			s * s * s * k.d,
		}
	}
	return table
}

func tabulateTail() (table [octaves * segments]cubic) {
	for i := uint64(lowest); i < lowest+octaves*segments; i++ {
		lo := math.Float64frombits(i << indexShift)
		hi := math.Float64frombits((i + 1) << indexShift)
		table[i%(octaves*segments)] = hermite(math.Ldexp(lo, -uniformBits), math.Ldexp(hi-lo, -uniformBits))
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
