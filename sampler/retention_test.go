package sampler

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestRetentionOfTwo has the closed form P = Φ(g/(σ√2)): the difference of two deviates is N(0, 2σ²).
func TestRetentionOfTwo(t *testing.T) {
	for _, sigma := range []float64{1e-3, 0.1, 0.5, 1, 3, 100} {
		for g := 0.0; g < 15; g += 0.0371 { // off the grid
			got, want := Retention([]float64{g}, sigma), distribution(g/(sigma*math.Sqrt2))
			if !near(got, want, 1e-6) {
				t.Fatalf("gap %g, σ = %g: %.9f, want %.9f", g, sigma, got, want)
			}
		}
	}
}

// TestRetentionOfEquals is 1/n by symmetry.
func TestRetentionOfEquals(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10, 1000, 49152, 262144} {
		got, want := Retention(make([]float64, n-1), 1), 1/float64(n)
		if !near(got/want, 1, 1e-9) {
			t.Errorf("%d tokens: %.12g, want %.12g", n, got, want)
		}
	}
}

// directRetention is the integral with every gap's Φ in every node.
func directRetention(gaps []float64, sigma float64) float64 {
	const step = 1. / 16
	p := 0.0
	for x := -9.0; x <= 9; x += step {
		product := density(x)
		for _, g := range gaps {
			product *= distribution(x + g/sigma)
		}
		p += product * step
	}
	return p
}

func TestRetentionByDirectIntegration(t *testing.T) {
	for _, n := range []int{5, 100, 3000} {
		gaps, err := Gaps(testRow(uint64(n), n), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, sigma := range []float64{0.1, 0.5, 1, 2, 3, 10} {
			if got, want := Retention(gaps, sigma), directRetention(gaps, sigma); !near(got, want, 1e-6) {
				t.Errorf("%d tokens, σ = %g: %.9f, want %.9f", n, sigma, got, want)
			}
		}
	}
}

// TestRetentionByMonteCarlo adds noise from another generator and counts, to 3 standard errors.
func TestRetentionByMonteCarlo(t *testing.T) {
	row := testRow(4, 50)
	gaps, err := Gaps(row, nil)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 0))
	n := sampleSize(200_000)
	for _, sigma := range []float64{0.5, 1, 2, 3} {
		kept := 0
		for range n {
			lead, stays := sigma*rng.NormFloat64(), true
			for _, g := range gaps {
				if sigma*rng.NormFloat64() > lead+g {
					stays = false
					break
				}
			}
			if stays {
				kept++
			}
		}
		want := Retention(gaps, sigma)
		tol := 3 * math.Sqrt(want*(1-want)/float64(n))
		if got := float64(kept) / float64(n); !near(got, want, tol) {
			t.Errorf("σ = %g: kept %.4f, want %.4f ± %.4f", sigma, got, want, tol)
		}
	}
}

func TestRetentionFallsWithSigma(t *testing.T) {
	for _, n := range []int{2, 10, 49152} {
		gaps, err := Gaps(testRow(uint64(n), n), nil)
		if err != nil {
			t.Fatal(err)
		}
		last := Retention(gaps, 0)
		if last != 1 {
			t.Errorf("%d tokens: %g at σ = 0, want 1", n, last)
		}
		for sigma := 0.05; sigma < 100; sigma *= 1.1 {
			p := Retention(gaps, sigma)
			if !(p <= last && p >= 0) {
				t.Fatalf("%d tokens: %.12g at σ = %g after %.12g", n, p, sigma, last)
			}
			last = p
		}
	}
}

func TestRetentionEdges(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct {
		name  string
		gaps  []float64
		sigma float64
		want  float64
	}{
		{"no rival", nil, 3, 1},
		{"rivals out of reach", []float64{1000, inf}, 1, 1},
		{"no noise among equals: the lower id stays", []float64{0, 0}, 0, 1},
		{"infinite noise", []float64{1, 2, 3}, inf, 0.25},
		{"negative gap", []float64{1, -1}, 1, nan},
		{"NaN gap", []float64{nan}, 1, nan},
		{"negative σ", []float64{1}, -1, nan},
		{"NaN σ", []float64{1}, nan, nan},
	} {
		got := Retention(c.gaps, c.sigma)
		if math.IsNaN(c.want) != math.IsNaN(got) || !math.IsNaN(c.want) && !near(got, c.want, 1e-9) {
			t.Errorf("%s: %g, want %g", c.name, got, c.want)
		}
	}
}

func TestGaps(t *testing.T) {
	row := []float32{1, 4, negInf, 4, 2.5}
	raw := slices.Clone(row)
	got, err := Gaps(row, []float64{9})
	if want := []float64{9, 3, 0, 1.5}; err != nil || !slices.Equal(got, want) { // 4 - {1, 4, 2.5}, after what was there
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	if !sameBits(row, raw) {
		t.Error("the row has changed")
	}
	for want, row := range map[error][]float32{
		ErrNotFinite:   {1, float32(math.NaN())},
		ErrNoCandidate: {negInf, negInf},
	} {
		if _, err := Gaps(row, nil); !errors.Is(err, want) {
			t.Errorf("%v: error %v, want %v", row, err, want)
		}
	}
}
