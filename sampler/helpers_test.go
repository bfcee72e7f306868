package sampler

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// near reports whether got is within tol of want; NaN is near nothing.
func near(got, want, tol float64) bool { return math.Abs(got-want) <= tol }

// negInf is the logit of a forbidden token.
var negInf = float32(math.Inf(-1))

// testRow returns n logits from N(0, 3²).
func testRow(seed uint64, n int) []float32 {
	rng := rand.New(rand.NewPCG(seed, 0))
	row := make([]float32, n)
	for i := range row {
		row[i] = float32(3 * rng.NormFloat64())
	}
	return row
}

func mustNew(t testing.TB, p Params, vocab int) *Sampler {
	t.Helper()
	s, err := New(p, vocab)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustSample(t testing.TB, s *Sampler, row []float32) Choice {
	t.Helper()
	c, err := s.Sample(row)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// answer lets s choose steps tokens, the i-th from testRow(i).
func answer(t testing.TB, s *Sampler, steps int) []Token {
	t.Helper()
	var tokens []Token
	for i := range steps {
		c := mustSample(t, s, testRow(uint64(i), s.vocab))
		s.Accept(c.Token)
		tokens = append(tokens, c.Token)
	}
	return tokens
}

// sameBits reports whether two rows are equal bit for bit.
func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

// sampleSize is n, or a tenth of it where time is short.
func sampleSize(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// drawCount is sampleSize for draws by the million, of which the race detector sees a tenth.
func drawCount(n int) int {
	if raceEnabled {
		n /= 10
	}
	return sampleSize(n)
}

// sigmas is how many standard errors a statistic may be off. The seeds are fixed, so a test that passes does so always;
// a bound of 4 says that the seed is no unusual one (chance 6·10⁻⁵).
const sigmas = 4

// chiSquareBound is the quantile of χ² with df degrees of freedom at which a normal deviate reaches sigmas, by the
// approximation of Wilson and Hilferty (PNAS 17, 1931).
func chiSquareBound(df float64) float64 {
	v := 2 / (9 * df)
	return df * math.Pow(1-v+sigmas*math.Sqrt(v), 3)
}

// chiSquare is Σ (observed - expected)²/expected.
func chiSquare(observed []int, expected []float64) float64 {
	sum := 0.0
	for i, e := range expected {
		d := float64(observed[i]) - e
		sum += d * d / e
	}
	return sum
}

// correlation is Pearson's r.
func correlation(a, b []float64) float64 {
	ma, mb := mean(a), mean(b)
	var ab, aa, bb float64
	for i := range a {
		x, y := a[i]-ma, b[i]-mb
		ab += x * y
		aa += x * x
		bb += y * y
	}
	return ab / math.Sqrt(aa*bb)
}

func mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}
