package sampler

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestExactQuantile(t *testing.T) {
	// The values that Wichura gives to check an implementation: "Algorithm AS 241", Applied Statistics 37 (1988) 477-484.
	for p, want := range map[float64]float64{0.25: -0.6744897501960817, 0.001: -3.090232306167814} {
		if got := exactQuantile(p); !near(got, want, 1e-13) {
			t.Errorf("quantile of %g is %.17g, want %.17g", p, got, want)
		}
	}
	// Φ is computed by other means, so it checks the tail.
	for k := 1; k <= 33; k++ {
		p := math.Ldexp(1, -k)
		if got := distribution(exactQuantile(p)); !near(got/p, 1, 1e-13) {
			t.Errorf("Φ(Φ⁻¹(2^-%d)) = %.17g", k, got)
		}
	}
}

// exactNormal is what normal approximates.
func exactNormal(u uint32) float64 {
	if u>>(uniformBits-1) == 1 {
		return -exactNormal(^u)
	}
	return exactQuantile((float64(u) + 0.5) / (1 << uniformBits))
}

// edges are the uniforms around every seam of the tables, in both halves.
func edges() []uint32 {
	var us []uint32
	around := func(seam uint32) {
		for d := range uint32(5) {
			us = append(us, seam+d-2, ^(seam + d - 2)) // around 0, too
		}
	}
	for octave := range uniformBits {
		for segment := range uint64(segments) {
			around(uint32((segments + segment) << octave >> segmentBits))
		}
	}
	for segment := range uint32(centers) {
		around(segment << centerShift)
	}
	return us
}

// someUniforms are n uniforms, down to the ends of the tails.
func someUniforms(seed uint64, n int) []uint32 {
	rng := rand.New(rand.NewPCG(seed, 0))
	us := make([]uint32, n)
	for i := range us {
		us[i] = rng.Uint32() >> (i / 2 % uniformBits)
		if i%2 == 1 {
			us[i] = ^us[i]
		}
	}
	return us
}

func TestNormalIsTheQuantileFunction(t *testing.T) {
	worst, worstTail := 0.0, 0.0
	us := append(edges(), someUniforms(1, sampleSize(1_000_000))...)
	for _, u := range us {
		got, want := normal(u), exactNormal(u)
		tol := 2e-7
		if inTail(byte(u >> wordBits)) {
			tol = 1e-8
			worstTail = max(worstTail, math.Abs(got-want))
		}
		if !near(got, want, tol) {
			t.Fatalf("normal(%d) = %.17g, want %.17g", u, got, want)
		}
		worst = max(worst, math.Abs(got-want))
	}
	t.Logf("largest error %.2g, in the tail %.2g, over %d uniforms", worst, worstTail, len(us))
}

// TestNormalIsIncreasing: the bounds of the lazy evaluation are the values at the ends of a byte.
func TestNormalIsIncreasing(t *testing.T) {
	for _, u := range append(edges(), someUniforms(2, sampleSize(1_000_000))...) {
		if u == math.MaxUint32 {
			continue
		}
		if a, b := normal(u), normal(u+1); !(a <= b) {
			t.Fatalf("normal(%d) = %.17g, normal(%d) = %.17g", u, a, u+1, b)
		}
	}
}

func TestNormalIsOdd(t *testing.T) {
	for _, u := range edges() {
		mirrored := ^u
		if !near(normal(u), -normal(mirrored), 1e-12) {
			t.Fatalf("normal(%d) = %g, normal(%d) = %g", u, normal(u), mirrored, normal(mirrored))
		}
		if halfNormal(u) != math.Abs(normal(u)) {
			t.Fatalf("halfNormal(%d) = %g, normal = %g", u, halfNormal(u), normal(u))
		}
	}
}

func TestNormalRange(t *testing.T) {
	// The extreme is Φ⁻¹(2⁻³³) = -6.3379: the doc comment promises ±6.34.
	if low := normal(0); !near(low, -6.3379, 1e-3) || normal(math.MaxUint32) != -low {
		t.Errorf("the range is [%g, %g]", low, normal(math.MaxUint32))
	}
}

func TestDecayIsExp(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 0))
	worst := 0.0
	for i := range sampleSize(1_000_000) {
		depth := rng.Float64() * math.Ldexp(decayEnd, -(i%40))
		got, want := decay(depth), math.Exp(-depth)
		if !near(got/want, 1, 1e-12) {
			t.Fatalf("decay(%g) = %.17g, want %.17g", depth, got, want)
		}
		worst = max(worst, math.Abs(got/want-1))
	}
	t.Logf("largest relative error %.2g", worst)
	for depth, want := range map[float64]float64{0: 1, 691: 0, 1e300: 0, math.Inf(1): 0} { // by definition
		if got := decay(depth); got != want {
			t.Errorf("decay(%g) = %g, want %g", depth, got, want)
		}
	}
}
