package sampler

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestAbove has P = ½ for equals, P(i) + P(j) = 1, and Φ(1) one standard deviation of the difference ahead.
func TestAbove(t *testing.T) {
	const phi1 = 0.8413447460685429 // Φ(1), Abramowitz and Stegun, table 26.1
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct{ lead, sigma, want float64 }{
		{0, 3, 0.5},
		{math.Sqrt2, 1, phi1},
		{-math.Sqrt2, 1, 1 - phi1},
		{3 * math.Sqrt2, 3, phi1},
		{1, 0, 1},
		{-1, 0, 0},
		{0, 0, 0.5},
		{5, inf, 0.5},
		{inf, 1, 1},
		{inf, inf, nan},
		{nan, 1, nan},
		{1, nan, nan},
		{1, -1, nan},
	} {
		got := Above(c.lead, c.sigma)
		if math.IsNaN(c.want) != math.IsNaN(got) || !math.IsNaN(c.want) && !near(got, c.want, 1e-12) {
			t.Errorf("lead %g, σ = %g: %.15g, want %.15g", c.lead, c.sigma, got, c.want)
		}
	}
	for lead := -4.0; lead <= 4; lead += 0.37 {
		if sum := Above(lead, 1.3) + Above(-lead, 1.3); !near(sum, 1, 1e-12) {
			t.Errorf("lead %g: the two ways add up to %g", lead, sum)
		}
		last := Above(lead, 0)
		for sigma := 0.05; sigma < 100; sigma *= 1.3 { // towards ½ from either side
			p := Above(lead, sigma)
			if math.Abs(p-0.5) > math.Abs(last-0.5) {
				t.Errorf("lead %g: %g at σ = %g after %g", lead, p, sigma, last)
			}
			last = p
		}
	}
}

func TestAboveByMonteCarlo(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 0))
	n := sampleSize(200_000)
	for _, c := range []struct{ lead, sigma float64 }{{0.5, 0.5}, {1, 2}, {-2, 1}, {3, 1.5}} {
		above := 0
		for range n {
			if c.lead+c.sigma*rng.NormFloat64() > c.sigma*rng.NormFloat64() {
				above++
			}
		}
		want := Above(c.lead, c.sigma)
		if got, tol := float64(above)/float64(n), 3*math.Sqrt(want*(1-want)/float64(n)); !near(got, want, tol) {
			t.Errorf("lead %g, σ = %g: %.4f, want %.4f ± %.4f", c.lead, c.sigma, got, want, tol)
		}
	}
}

// TestOrderOfTwo is Φ(g/(σ√2)), as for Above.
func TestOrderOfTwo(t *testing.T) {
	for _, sigma := range []float64{1e-300, 1e-3, 0.1, 0.5, 1, 3, 100, math.Inf(1)} {
		for g := 0.0; g < 15; g += 0.4371 { // off the grid
			got, want := OrderRetention([]float64{g}, 2, sigma), Above(g, sigma)
			if g == 0 {
				want = 0.5
			}
			if !near(got, want, 1e-6) {
				t.Fatalf("gap %g, σ = %g: %.9f, want %.9f", g, sigma, got, want)
			}
		}
	}
}

// TestOrderOfThree has a closed form where three logits are g apart: y₁-y₂ and y₂-y₃ are N(g, 2σ²) with correlation -½, and
// by Owen (1956) the chance that both are positive follows from Φ and his T function; here by one integral over y₂:
// ∫ φ(x) Φ(g/σ - x) Φ(g/σ + x) dx.
func TestOrderOfThree(t *testing.T) {
	for _, a := range []float64{0, 0.3, 1, 2.7, 8} {
		want := 0.0
		const step = 1. / 64
		for x := -10.0; x <= 10; x += step {
			want += step * density(x) * distribution(a-x) * distribution(a+x)
		}
		if got := OrderRetention([]float64{2 * a * 0.7, a * 0.7}, 3, 0.7); !near(got, want, 1e-6) {
			t.Errorf("g/σ = %g: %.9f, want %.9f", a, got, want)
		}
	}
}

// TestOrderOfEquals is one of the n·(n-1)···(n-k+1) equally likely orders.
func TestOrderOfEquals(t *testing.T) {
	for _, n := range []int{2, 3, 5, 8, 1000, 49152} {
		want := 1.0
		for k := 1; k <= min(n, 8); k++ {
			want /= float64(n - k + 1)
			tol := 1e-9
			if n < 10 {
				tol = 1e-5 * want
			}
			if got := OrderRetention(make([]float64, n-1), k, 2); !near(got, want, tol) {
				t.Errorf("%d of %d equals: %.9g, want %.9g", k, n, got, want)
			}
		}
	}
}

// TestOrderOfOne is retention, and no order is likelier than a shorter one.
func TestOrderOfOne(t *testing.T) {
	for _, n := range []int{2, 100, 1000} {
		gaps, err := Gaps(testRow(uint64(n), n), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, sigma := range []float64{0.01, 0.1, 0.5, 1, 3, 10} {
			last := Retention(gaps, sigma)
			if got := OrderRetention(gaps, 1, sigma); !near(got, last, 1e-9) {
				t.Errorf("%d tokens, σ = %g: %.9f, want %.9f", n, sigma, got, last)
			}
			for k := 2; k <= min(n, maxOrder); k += 1 + k/4 {
				p := OrderRetention(gaps, k, sigma)
				if !(p >= 0 && p <= last+1e-9) {
					t.Fatalf("%d tokens, k = %d, σ = %g: %g after %g", n, k, sigma, p, last)
				}
				last = p
			}
		}
	}
}

func TestOrderByMonteCarlo(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 0))
	n := sampleSize(20_000)
	row := testRow(9, 40)
	slices.SortFunc(row, func(a, b float32) int { return int(math.Copysign(1, float64(b-a))) })
	gaps, err := Gaps(row, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []int{2, 3, 5} {
		for _, sigma := range []float64{0.05, 0.2, 0.5, 1} {
			kept := 0
			y := make([]float64, len(row))
			for range n {
				for i, z := range row {
					y[i] = float64(z) + sigma*rng.NormFloat64()
				}
				stays := true
				for i := 1; i < len(y) && stays; i++ {
					stays = y[i] < y[min(i, k)-1]
				}
				if stays {
					kept++
				}
			}
			want := OrderRetention(gaps, k, sigma)
			tol := 3 * math.Sqrt(want*(1-want)/float64(n))
			if got := float64(kept) / float64(n); !near(got, want, tol) {
				t.Errorf("k = %d, σ = %g: kept %.4f, want %.4f ± %.4f", k, sigma, got, want, tol)
			}
		}
	}
}

func TestOrderFallsWithSigma(t *testing.T) {
	for _, n := range []int{3, 50, 1000} {
		gaps, err := Gaps(testRow(uint64(n), n), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range []int{2, 3, 10} {
			if k > n {
				continue
			}
			last := OrderRetention(gaps, k, 0)
			if last != 1 {
				t.Errorf("%d tokens, k = %d: %g at σ = 0, want 1", n, k, last)
			}
			for sigma := 0.01; sigma < 100; sigma *= 1.3 {
				p := OrderRetention(gaps, k, sigma)
				if !(p <= last+1e-9 && p >= 0) {
					t.Fatalf("%d tokens, k = %d: %.12g at σ = %g after %.12g", n, k, p, sigma, last)
				}
				last = p
			}
		}
	}
}

func TestOrderEdges(t *testing.T) {
	for name, got := range map[string]float64{
		"k = 0":        OrderRetention([]float64{1}, 0, 1),
		"k too large":  OrderRetention([]float64{1}, 3, 1),
		"k beyond 64":  OrderRetention(make([]float64, 100), 65, 1),
		"negative gap": OrderRetention([]float64{1, 2, -1}, 2, 1),
		"NaN gap":      OrderRetention([]float64{1, 2, math.NaN()}, 2, 1),
		"negative σ":   OrderRetention([]float64{1}, 2, -1),
		"NaN σ":        OrderRetention([]float64{1}, 2, math.NaN()),
	} {
		if !math.IsNaN(got) {
			t.Errorf("%s: %g, want NaN", name, got)
		}
	}
	if got := OrderRetention([]float64{1e6, 2e6, 2e6 + 1, math.Inf(1)}, 3, 1); !near(got, distribution(1/math.Sqrt2), 1e-6) {
		t.Errorf("leaders out of reach of each other: %g", got)
	}
}

func TestRetentionsAgreeWithRetention(t *testing.T) {
	sigmas := []float64{0.05, 0.1, 0.23, 0.5, 1, 1.7, 3, 8}
	for _, n := range []int{2, 10, 1000, 49152} {
		gaps, err := Gaps(testRow(uint64(n), n), nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewRetentions(sigmas)
		if err != nil {
			t.Fatal(err)
		}
		var got []float64
		for range 2 { // the second time over used scratch
			got = r.Of(gaps, got[:0])
		}
		for i, s := range sigmas {
			if want := Retention(gaps, s); !near(got[i], want, 1e-5) {
				t.Errorf("%d tokens, σ = %g: %.8f, want %.8f", n, s, got[i], want)
			}
		}
		if n := testing.AllocsPerRun(3, func() { got = r.Of(gaps, got[:0]) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
	r, err := NewRetentions(sigmas)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Of([]float64{1, -1}, nil); !math.IsNaN(got[0]) {
		t.Errorf("a negative gap: %v", got)
	}
	for _, bad := range [][]float64{{0}, {-1}, {1, 1}, {2, 1}, {math.NaN()}, {1, math.NaN()}, {1e-3, 2}, {math.Inf(1)}} {
		var domain *DomainError
		if _, err := NewRetentions(bad); !errors.As(err, &domain) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// TestModulationOfClasses applies both modes to the logits of classifiers, as the paper does to images: of 10 classes and of
// 150, as many as CIFAR-10 and ADE20K have. The package knows no vocabulary.
func TestModulationOfClasses(t *testing.T) {
	for _, classes := range []int{10, 150} {
		t.Run(fmt.Sprint(classes), func(t *testing.T) {
			n := sampleSize(1_000)
			const sigma = 1.5
			target := Token(classes / 3)
			kept, expected, raised, won := 0, 0.0, 0.0, 0
			variance, focusVariance := 0.0, 0.0
			for i := range n {
				// One image: the classifier's logits, and the tokens so far are its number.
				row := testRow(uint64(i), classes)
				best, gaps := mustBest(t, row)
				p := Retention(gaps, sigma)
				expected += p
				variance += p * (1 - p)
				s := mustNew(t, Params{Utility: Utility{Sigma: sigma, Key: UtilityKey([]byte("classes"), "", sigma)}}, classes)
				s.Prime([]Token{Token(i % classes), Token(i / classes % classes), Token(i / classes / classes)})
				if mustSample(t, s, slices.Clone(row)).Token == best {
					kept++
				}
				if best == target {
					continue
				}
				// P(the target wins) = P(|ε| > gap) = 2 - 2Φ(gap/σ).
				q := 2 * distribution(-(float64(row[best])-float64(row[target]))/sigma)
				raised += q
				focusVariance += q * (1 - q)
				f := mustNew(t, Params{
					Focus: []Focus{{Targets: [][]Token{{target}}, Sigma: sigma}}, FocusKey: FocusKey(uint64(i)),
				}, classes)
				if mustSample(t, f, row).Token == target {
					won++
				}
			}
			if tol := 4 * math.Sqrt(variance); !near(float64(kept), expected, tol) {
				t.Errorf("utility keeps %d of %d best classes, want %.0f ± %.0f", kept, n, expected, tol)
			}
			if tol := 4 * math.Sqrt(focusVariance); !near(float64(won), raised, tol) {
				t.Errorf("focus makes class %d win %d times, want %.0f ± %.0f", target, won, raised, tol)
			}
		})
	}
}

func mustBest(t *testing.T, row []float32) (Token, []float64) {
	t.Helper()
	best, err := largest(row)
	if err != nil {
		t.Fatal(err)
	}
	gaps, err := Gaps(row, nil)
	if err != nil {
		t.Fatal(err)
	}
	return best, gaps
}
