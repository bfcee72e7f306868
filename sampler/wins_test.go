package sampler

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestWinsAgainstMonteCarlo: the closed form is the share of rows in which half-normal noise lifts a token of the set to the top.
func TestWinsAgainstMonteCarlo(t *testing.T) {
	n := sampleSize(200_000)
	rng := rand.New(rand.NewPCG(1, 0))
	for _, gaps := range [][]float64{{1}, {0.5, 0.5}, {1, 2, 5}, {3, 3.5, 4, 8, 12}} {
		for _, sigma := range []float64{0.3, 1, 3, 10} {
			won := 0
			for range n {
				for _, g := range gaps {
					if sigma*math.Abs(rng.NormFloat64()) > g {
						won++
						break
					}
				}
			}
			want := Wins(gaps, sigma)
			tol := sigmas*math.Sqrt(want*(1-want)/float64(n)) + 1e-9
			if got := float64(won) / float64(n); !near(got, want, tol) {
				t.Errorf("gaps %v, σ = %g: %.4f of the rows, want %.4f ± %.4f", gaps, sigma, got, want, tol)
			}
		}
	}
}

func TestWinsAtTheEnds(t *testing.T) {
	for _, c := range []struct {
		gaps  []float64
		sigma float64
		want  float64
	}{{nil, 1, 0}, {[]float64{1}, 0, 0}, {[]float64{1, 0}, 1, 1}, {[]float64{1, -2}, 0, 1}, {[]float64{3}, math.Inf(1), 1}} {
		if got := Wins(c.gaps, c.sigma); got != c.want {
			t.Errorf("Wins(%v, %g) = %g, want %g", c.gaps, c.sigma, got, c.want)
		}
	}
}

// TestWinningSigmaInvertsWins on random sets, and rises with the probability.
func TestWinningSigmaInvertsWins(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	for range 2000 {
		gaps := make([]float64, 1+rng.IntN(20))
		for i := range gaps {
			gaps[i] = math.Exp(3*rng.Float64() - 1.5)
			if rng.IntN(4) == 0 {
				gaps[i] *= 20
			}
		}
		last := 0.0
		for _, p := range []float64{1e-6, 0.01, 0.3, 0.5, 0.9, 0.999} {
			sigma := WinningSigma(gaps, p)
			if got := Wins(gaps, sigma); !near(got, p, 1e-4*p) || !(sigma > last) {
				t.Fatalf("gaps %v, p = %g: σ = %g wins with %g, after σ = %g", gaps, p, sigma, got, last)
			}
			last = sigma
		}
	}
	if got := WinningSigma(nil, 0.5); got != 0 {
		t.Errorf("without gaps: %g", got)
	}
	// P(|ε| > 1) of N(0,1) is 0.3173105078629141 (Abramowitz and Stegun, table 26.1).
	if got := WinningSigma([]float64{2}, 0.3173105078629141); !near(got, 2, 1e-12) {
		t.Errorf("one gap of 2: %g, want 2", got)
	}
}

func BenchmarkWinningSigma(b *testing.B) {
	gaps := []float64{5, 5.2, 5.9, 6.4, 6.6, 7, 7.4, 7.9}
	b.ReportAllocs()
	for b.Loop() {
		WinningSigma(gaps, 0.4)
	}
}
