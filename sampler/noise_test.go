package sampler

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"
)

func mustRowField(t testing.TB, k Key, context *chain) *rowField {
	t.Helper()
	f, err := newRowField(k, context)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func mustField(t testing.TB, k Key, context *chain) *field {
	t.Helper()
	f, err := newField(k, context)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestRowNoiseEqualsTokenNoise: a later lazy evaluation of single tokens must see what the whole row got.
func TestRowNoiseEqualsTokenNoise(t *testing.T) {
	var context chain
	context.push(7)
	whole, single := mustRowField(t, FocusKey(1), &context), mustField(t, FocusKey(1), &context)
	for _, vocab := range []int{1, 10, chunkTokens - 1, chunkTokens, chunkTokens + 1, 49152} {
		raw := testRow(uint64(vocab), vocab)
		sum, shifted := slices.Clone(raw), slices.Clone(raw)
		whole.add(sum, 0.7, make([]uint64, (vocab+63)/64))
		whole.addAbs(shifted, -0.7)
		for i, z := range raw {
			e := single.at(Token(i))
			if want := float32(float64(z) + 0.7*e); sum[i] != want {
				t.Fatalf("vocab %d, token %d: add gives %g, at gives %g", vocab, i, sum[i], want)
			}
			if want := float32(float64(z) - 0.7*math.Abs(e)); shifted[i] != want {
				t.Fatalf("vocab %d, token %d: addAbs gives %g, at gives %g", vocab, i, shifted[i], want)
			}
		}
	}
}

// TestUniformsAreCounterModeAES derives the uniforms as noise.go documents them, by other means: the hash of the context
// link by link, and the standard library's counter mode from the block with counter 2 on.
func TestUniformsAreCounterModeAES(t *testing.T) {
	key := UtilityKey([]byte("secret"), "model", 0.5)
	var context chain
	var digest [sha256.Size]byte
	for _, token := range []Token{5, 0, 262143} {
		context.push(token)
		digest = sha256.Sum256(binary.LittleEndian.AppendUint32(digest[:], uint32(token)))
	}
	const vocab, chunk = 3*8192 + 5, 8192
	block, err := aes.NewCipher(key[:16])
	if err != nil {
		t.Fatal(err)
	}
	f := mustField(t, key, &context)
	for first := 0; first < vocab; first += chunk {
		plane := func(nonce byte, size int) []byte {
			iv := append(slices.Clone(digest[:11]), nonce, 0, 0, 0, 2)
			stream := make([]byte, size)
			cipher.NewCTR(block, iv).XORKeyStream(stream, stream)
			return stream
		}
		his, words := plane(byte(first/chunk), chunk), plane(128+byte(first/chunk), 4*chunk)
		for i := range min(chunk, vocab-first) {
			want := uint32(his[i])<<24 | binary.LittleEndian.Uint32(words[4*i:])>>8
			if got := f.uniform(Token(first + i)); got != want {
				t.Fatalf("token %d: uniform %d, want %d", first+i, got, want)
			}
		}
	}
}

// noises returns n deviates of one key, from rows of consecutive contexts.
func noises(t *testing.T, k Key, n int) []float64 {
	t.Helper()
	const vocab = 49152
	var context chain
	f := mustRowField(t, k, &context)
	row, none := make([]float32, vocab), make([]uint64, vocab/64)
	all := make([]float64, 0, n+vocab)
	for len(all) < n {
		clear(row)
		f.add(row, 1, none)
		for _, e := range row {
			all = append(all, float64(e))
		}
		context.push(Token(len(all) % vocab))
	}
	return all[:n]
}

// draws calls see with all noise of n deviates or a little more, made on all processors; each has a key and a tally of its own.
func draws[T any](t *testing.T, n int, see func(tally *T, row []float32)) (tallies []T, drawn int) {
	t.Helper()
	const vocab = 1 << 16
	workers := runtime.GOMAXPROCS(0)
	rows := (n + workers*vocab - 1) / (workers * vocab)
	tallies = make([]T, workers)
	var wg sync.WaitGroup
	for w := range workers {
		var context chain
		f := mustRowField(t, FocusKey(uint64(w)), &context)
		wg.Go(func() {
			row, none := make([]float32, vocab), make([]uint64, vocab/64)
			for i := range rows {
				clear(row)
				f.add(row, 1, none)
				see(&tallies[w], row)
				context.push(Token(i))
			}
		})
	}
	wg.Wait()
	return tallies, workers * rows * vocab
}

func TestNoiseMoments(t *testing.T) {
	type moments struct{ sum, squares, abs float64 }
	tallies, drawn := draws(t, drawCount(10_000_000), func(m *moments, row []float32) {
		for _, x := range row {
			m.sum += float64(x)
			m.squares += float64(x) * float64(x)
			m.abs += math.Abs(float64(x))
		}
	})
	var all moments
	for _, m := range tallies {
		all.sum += m.sum
		all.squares += m.squares
		all.abs += m.abs
	}
	n := float64(drawn)
	// Standard errors for N(0,1): mean 1/√n; mean square √(2/n); mean |ε| √((1-2/π)/n) about √(2/π).
	for _, c := range []struct {
		name            string
		got, want, each float64
	}{
		{"mean", all.sum / n, 0, 1},
		{"variance", all.squares / n, 1, math.Sqrt2},
		{"half-normal mean", all.abs / n, math.Sqrt(2 / math.Pi), math.Sqrt(1 - 2/math.Pi)},
	} {
		if !near(c.got, c.want, sigmas*c.each/math.Sqrt(n)) {
			t.Errorf("%s of %g draws is %.6f, want %.6f ± %.2g", c.name, n, c.got, c.want, sigmas*c.each/math.Sqrt(n))
		}
	}
}

// TestNoiseTails counts what lies beyond some bounds on either side, among 10⁸ draws.
func TestNoiseTails(t *testing.T) {
	bounds := [...]float32{1, 2, 3, 4, 4.5, 5}
	type tally struct{ above, below [len(bounds)]int }
	tallies, drawn := draws(t, drawCount(100_000_000), func(c *tally, row []float32) {
		for _, x := range row {
			if x > -bounds[0] && x < bounds[0] {
				continue
			}
			for i, b := range bounds {
				if x > b {
					c.above[i]++
				} else if x < -b {
					c.below[i]++
				} else {
					break
				}
			}
		}
	})
	for i, bound := range bounds {
		above, below := 0, 0
		for _, c := range tallies {
			above += c.above[i]
			below += c.below[i]
		}
		p := math.Erfc(float64(bound)/math.Sqrt2) / 2 // P(ε > bound), and P(ε < -bound)
		want := p * float64(drawn)
		tol := sigmas * math.Sqrt(want*(1-p)) // binomial
		t.Logf("beyond %gσ: %d and %d of %d, want %.1f ± %.1f", bound, above, below, drawn, want, tol)
		if !near(float64(above), want, tol) || !near(float64(below), want, tol) {
			t.Errorf("%d draws above %gσ and %d below -%gσ, want %.1f ± %.1f", above, bound, below, bound, want, tol)
		}
	}
}

func TestNoiseDistribution(t *testing.T) {
	e := noises(t, FocusKey(3), sampleSize(2_000_000))
	const bins = 256 // of equal probability
	observed, expected := make([]int, bins), make([]float64, bins)
	for _, x := range e {
		observed[min(int(distribution(x)*bins), bins-1)]++
	}
	for i := range expected {
		expected[i] = float64(len(e)) / bins
	}
	if got, bound := chiSquare(observed, expected), chiSquareBound(bins-1); !(got <= bound) {
		t.Errorf("χ² is %.1f over %d bins, want at most %.1f", got, bins, bound)
	}

	// Kolmogorov and Smirnov: D√n exceeds x with chance 2·e^(-2x²), 6·10⁻⁵ at 2.28.
	slices.Sort(e)
	d := 0.0
	for i, x := range e {
		p := distribution(x)
		d = max(d, p-float64(i)/float64(len(e)), float64(i+1)/float64(len(e))-p)
	}
	if got := d * math.Sqrt(float64(len(e))); !(got <= 2.28) {
		t.Errorf("D√n is %.3f, want at most 2.28", got)
	}
}

// TestNoiseIndependence correlates values, and magnitudes: dependence in scale alone would leave the former at 0.
func TestNoiseIndependence(t *testing.T) {
	const vocab = 49152
	n := sampleSize(1_000_000)
	e := noises(t, UtilityKey([]byte("secret"), "model", 0.5), n+vocab)
	seed := FocusKey(4)
	for _, c := range []struct {
		name string
		a, b []float64
	}{
		{"neighbour tokens of a block", e[:n], e[1 : n+1]},
		{"tokens two apart", e[:n], e[2 : n+2]},
		{"tokens of neighbour blocks of words", e[:n], e[4 : n+4]},
		{"tokens of neighbour blocks of bytes", e[:n], e[16 : n+16]},
		{"tokens of neighbour chunks", e[:n], e[chunkTokens : n+chunkTokens]},
		{"one token in consecutive steps", e[:n], e[vocab : n+vocab]},
		{"two σ of one model", e[:n], noises(t, UtilityKey([]byte("secret"), "model", 1), n)},
		{"a window of the model", e[:n], noises(t, Scope{Window: 8}.Key([]byte("secret"), "model", 0.5), n)},
		{"two models", e[:n], noises(t, UtilityKey([]byte("secret"), "model 2", 0.5), n)},
		{"two secrets", e[:n], noises(t, UtilityKey([]byte("secret 2"), "model", 0.5), n)},
		{"utility and focus", e[:n], noises(t, seed, n)},
		{"two seeds", noises(t, FocusKey(5), n), noises(t, seed, n)},
		{"two entries of one request", noises(t, seed.entry(0), n), noises(t, seed.entry(1), n)},
	} {
		tol := sigmas / math.Sqrt(float64(n))
		if r := correlation(c.a, c.b); !near(r, 0, tol) {
			t.Errorf("%s: correlation %.5f, want 0 ± %.5f", c.name, r, tol)
		}
		if r := correlation(magnitudes(c.a), magnitudes(c.b)); !near(r, 0, tol) {
			t.Errorf("%s: correlation of magnitudes %.5f, want 0 ± %.5f", c.name, r, tol)
		}
	}
}

func magnitudes(x []float64) []float64 {
	m := make([]float64, len(x))
	for i, v := range x {
		m[i] = math.Abs(v)
	}
	return m
}

func TestKeysDiffer(t *testing.T) {
	keys := map[Key]string{}
	add := func(name string, k Key) {
		if other, ok := keys[k]; ok {
			t.Errorf("%s and %s have the same key", name, other)
		}
		keys[k] = name
	}
	for _, secret := range []string{"", "a", "ab"} {
		for _, model := range []string{"", "b", "bc", "bc\x00"} {
			for _, sigma := range []float64{0.5, 1, math.Nextafter(1, 2)} {
				for _, window := range []int{0, 1, 8} {
					add(fmt.Sprintf("utility %q %q %v %d", secret, model, sigma, window), Scope{window}.Key([]byte(secret), model, sigma))
				}
			}
		}
	}
	for seed := range uint64(3) {
		add(fmt.Sprintf("focus %d", seed), FocusKey(seed))
		for i := range 3 {
			add(fmt.Sprintf("focus %d entry %d", seed, i), FocusKey(seed).entry(i))
		}
	}
}

// TestContextIsTheTokensSoFar: the same tokens make the same context however they arrive, and any other tokens another.
func TestContextIsTheTokensSoFar(t *testing.T) {
	seen := map[chain]string{}
	for _, tokens := range [][]Token{{}, {0}, {0, 0}, {1}, {0, 1}, {1, 0}, {256}, {1, 2, 3}} {
		var c chain
		for _, token := range tokens {
			c.push(token)
		}
		clear(c.link[sha256.Size:]) // the last token is no part of the digest
		if other, ok := seen[c]; ok {
			t.Errorf("%v and %s have the same context", tokens, other)
		}
		seen[c] = fmt.Sprint(tokens)
	}
	p := Params{Utility: Utility{Sigma: 1, Key: FocusKey(1)}}
	prompted, accepted, split := mustNew(t, p, 10), mustNew(t, p, 10), mustNew(t, p, 10)
	prompted.Prime([]Token{1, 2, 3})
	split.Prime([]Token{1})
	split.Prime([]Token{2})
	split.Accept(3)
	for _, token := range []Token{1, 2, 3} {
		accepted.Accept(token)
	}
	if prompted.context != accepted.context || prompted.context != split.context {
		t.Error("one sequence of tokens has several contexts")
	}
}
