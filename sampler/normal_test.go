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
func exactNormal(u uint64) float64 {
	const all = 1<<uniformBits - 1
	if u>>(uniformBits-1) == 1 {
		return -exactNormal(all - u)
	}
	return exactQuantile((float64(u) + 0.5) / (1 << uniformBits))
}

// edges are the uniforms around every seam of the tables, in both halves.
func edges() []uint64 {
	const all = 1<<uniformBits - 1
	us := []uint64{0, 1, 2, all - 2, all - 1, all}
	around := func(seam uint64) {
		for d := range uint64(5) {
			if u := seam + d - 2; u <= all { // wraps below 0
				us = append(us, u, all-u)
			}
		}
	}
	for octave := range uniformBits {
		for segment := range uint64(segments) {
			around((segments + segment) << octave >> segmentBits)
		}
	}
	for segment := range uint64(centers) {
		around(segment << centerShift)
	}
	return us
}

// someUniforms are n uniforms, down to the ends of the tails.
func someUniforms(seed uint64, n int) []uint64 {
	rng := rand.New(rand.NewPCG(seed, 0))
	us := make([]uint64, n)
	for i := range us {
		us[i] = rng.Uint64() >> (64 - uniformBits) >> (i / 2 % uniformBits)
		if i%2 == 1 {
			us[i] = 1<<uniformBits - 1 - us[i]
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
		if u == 1<<uniformBits-1 {
			continue
		}
		if a, b := normal(u), normal(u+1); !(a <= b) {
			t.Fatalf("normal(%d) = %.17g, normal(%d) = %.17g", u, a, u+1, b)
		}
	}
}

func TestNormalIsOdd(t *testing.T) {
	for _, u := range edges() {
		mirrored := uint64(1<<uniformBits - 1 - u)
		if !near(normal(u), -normal(mirrored), 1e-12) {
			t.Fatalf("normal(%d) = %g, normal(%d) = %g", u, normal(u), mirrored, normal(mirrored))
		}
		if halfNormal(u) != math.Abs(normal(u)) {
			t.Fatalf("halfNormal(%d) = %g, normal = %g", u, halfNormal(u), normal(u))
		}
	}
}

func TestNormalRange(t *testing.T) {
	// The extreme is Φ⁻¹(2⁻⁴¹) = -7.1441: the doc comment promises ±7.15.
	if low := normal(0); !near(low, -7.1441, 1e-3) || normal(1<<uniformBits-1) != -low {
		t.Errorf("the range is [%g, %g]", low, normal(1<<uniformBits-1))
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
