package sampler

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestDynamicTemperature against entropies by the book, and at the ends of its range.
func TestDynamicTemperature(t *testing.T) {
	for name, row := range selectionRows(300) {
		if name == "steep" {
			continue
		}
		best, err := largest(row)
		if err != nil {
			t.Fatal(err)
		}
		ids, probs := reference(Params{Temperature: 1}, row)
		entropy := 0.0
		for _, p := range probs {
			entropy -= p * math.Log(p)
		}
		share := entropy / math.Log(float64(len(ids)))
		for _, c := range []struct{ temperature, width, exponent, low, high float64 }{
			{0.8, 0.5, 1, 0.3, 1.3}, {0.8, 0.5, 2.5, 0.3, 1.3}, {0.5, 1, 1, 0, 1.5}, {1, 0.5, 0, 0.5, 1.5},
		} {
			want := c.low + (c.high-c.low)*math.Pow(share, c.exponent)
			if got := dynamic(row, row[best], c.temperature, c.width, c.exponent); !near(got, want, 1e-9) {
				t.Errorf("%s, %+v: temperature %g, want %g", name, c, got, want)
			}
		}
	}
	if got := dynamic([]float32{negInf, 3, negInf}, 3, 1, 0.5, 1); got != 0.5 {
		t.Errorf("of a single token the temperature is %g, want 0.5", got)
	}
	if got := chosen(t, Params{Temperature: 0.5, DynatempRange: 2}, []float32{negInf, 3, negInf}); !slices.Equal(got, []Token{1}) {
		t.Errorf("chose %v", got)
	}
}

// TestMirostat follows the algorithm by the book, with the sampler's own draws, and the mean surprise comes to what is asked for.
func TestMirostat(t *testing.T) {
	const vocab, tau, eta = 400, 3.0, 0.1
	steps := sampleSize(5000)
	p := Params{Temperature: 1.2, Mirostat: 2, MirostatTau: tau, MirostatEta: eta, Seed: 5, TopK: 1, TopP: 0.01, MinP: 1} // these are off
	s := mustNew(t, p, vocab)
	bound, sum := 2*tau, 0.0
	for step := range steps {
		row := testRow(uint64(step), vocab)
		ids, probs := reference(Params{Temperature: p.Temperature}, row)
		kept := 0.0
		for i := range ids {
			if -math.Log2(probs[i]) <= bound {
				kept += probs[i]
			}
		}
		c := mustSample(t, s, row)
		s.Accept(c.Token)
		surprise := -math.Log2(probs[c.Token])
		if surprise > bound+1e-9 && kept > 0 {
			t.Fatalf("step %d: chose a token of %g bits, the bound is %g", step, surprise, bound)
		}
		if kept == 0 {
			if best, _ := largest(row); best != c.Token {
				t.Fatalf("step %d: below the bound is none, and not the best token was chosen", step)
			}
			kept = probs[c.Token]
		}
		bound -= eta * (surprise + math.Log2(kept) - tau)
		sum += surprise + math.Log2(kept)
		if !near(s.surprise.bound, bound, 1e-6) {
			t.Fatalf("step %d: the bound is %g, want %g", step, s.surprise.bound, bound)
		}
		bound = s.surprise.bound
	}
	// Σ(s - τ) = (μ₀ - μ)/η, so that the mean is off by little more than μ₀/(η·steps).
	if got := sum / float64(steps); !near(got, tau, 3*tau/(eta*float64(steps))) {
		t.Errorf("the mean surprise is %g bits, want %g", got, tau)
	}
}

// TestXTCActsAsOften as its probability says, and independently of the draw.
func TestXTCActsAsOften(t *testing.T) {
	n := sampleSize(100_000)
	row := []float32{2, 1, 0.5, -3}
	probs := softmax(row, []Token{0, 1, 2, 3}, 1)
	s := mustNew(t, Params{Temperature: 1, XTCProbability: 0.3, XTCThreshold: 0.2, Seed: 3}, len(row))
	counts := make([]int, len(row))
	for range n {
		counts[mustSample(t, s, row).Token]++
	}
	rest := probs[1] + probs[2] + probs[3] // of at least 0.2 are the first two, and the second one stays
	expected := []float64{0.7 * probs[0] * float64(n)}
	for _, p := range probs[1:] {
		expected = append(expected, (0.7*p+0.3*p/rest)*float64(n))
	}
	if got, bound := chiSquare(counts, expected), chiSquareBound(3); !(got <= bound) {
		t.Errorf("χ² is %.1f, want at most %.1f: %v, want %v", got, bound, counts, expected)
	}
	// With the same seed, the draw is the one without XTC.
	a, b := mustNew(t, Params{Temperature: 1, Seed: 3}, 4), mustNew(t, Params{Temperature: 1, Seed: 3, XTCProbability: 1, XTCThreshold: 0.9}, 4)
	for range 100 {
		if x, y := mustSample(t, a, row).Token, mustSample(t, b, row).Token; x != y {
			t.Fatalf("XTC that removes nothing changes %d to %d", x, y)
		}
	}
}

// endless are parameters that keep answers going, with tokens 3 and 4 as their ends.
func endless(p Params) Params {
	p.Utility.End = []Token{3, 4}
	return p
}

// TestMinTokens: before the least length no answer ends, after it any may, and what ends ranks first throughout.
func TestMinTokens(t *testing.T) {
	raw := []float32{0, 1, 2, 8, 9}
	for _, temperature := range []float64{0, 0.1} {
		for _, mask := range []Mask{nil, forbid(0)} {
			for _, logprobs := range []bool{false, true} {
				s := mustNew(t, endless(Params{MinTokens: 3, Temperature: temperature, Mask: mask, Logprobs: logprobs}), len(raw))
				s.Prime([]Token{1, 1, 1, 1}) // the prompt does not count
				for i, want := range []Token{2, 2, 2, 4, 4} {
					row := slices.Clone(raw)
					c := mustSample(t, s, row)
					if ended := c.Token >= 3; ended != (want == 4) {
						t.Fatalf("temperature %g, mask %v, token %d is %d", temperature, mask, i, c.Token)
					}
					if logprobs && i < 3 && (row[3] != negInf || row[4] != negInf) {
						t.Errorf("the ends have the logits %v", row)
					}
					s.Accept(c.Token)
				}
			}
		}
	}
}

// TestMaskWinsOverMinTokens: where a grammar is complete, or the model knows nothing else, an answer ends.
func TestMaskWinsOverMinTokens(t *testing.T) {
	for _, temperature := range []float64{0, 1} {
		for _, p := range []Params{{MinTokens: 10}, {IgnoreEnd: true}} {
			p.Temperature = temperature
			p.Mask = forbid(0, 1, 2, 3)
			if got := chosen(t, endless(p), []float32{9, 9, 9, 1, 0}); !slices.Equal(got, []Token{4}) {
				t.Errorf("temperature %g: chose %v, want the end", temperature, got)
			}
			p.Mask = nil
			if got := chosen(t, endless(p), []float32{negInf, negInf, negInf, negInf, 0}); !slices.Equal(got, []Token{4}) {
				t.Errorf("temperature %g: chose %v, want the end", temperature, got)
			}
			if got := chosen(t, endless(p), []float32{0, negInf, negInf, 50, 50}); !slices.Equal(got, []Token{0}) {
				t.Errorf("temperature %g: chose %v, want 0", temperature, got)
			}
		}
	}
}

// TestMinTokensWithNoise: what has to go on is the noisy row without its ends.
func TestMinTokensWithNoise(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 0))
	for round := range 300 {
		p := endless(Params{IgnoreEnd: true, Utility: Utility{Sigma: 2, Key: FocusKey(uint64(round))}, Temperature: float64(round % 2), TopK: round % 7})
		if round%3 == 0 {
			p.Utility.EndNoise = EndKept
		}
		lazy, dense := mustNew(t, p, 300), mustNew(t, p, 300)
		dense.early = true
		for range 5 {
			raw := shapedRow(rng, 300)
			a, err := lazy.Sample(slices.Clone(raw))
			b, wrong := dense.Sample(raw)
			if (err == nil) != (wrong == nil) || a.Token != b.Token || err == nil && (a.Token == 3 || a.Token == 4) {
				t.Fatalf("round %d: lazily %d (%v), densely %d (%v)", round, a.Token, err, b.Token, wrong)
			}
			if err != nil {
				break
			}
			lazy.Accept(a.Token)
			dense.Accept(a.Token)
		}
	}
}

// TestCandidates are what draws come from, whatever the mask forbids; asking for them consumes no draw.
func TestCandidates(t *testing.T) {
	for _, p := range []Params{{}, {Temperature: 0.7, TopP: 0.8, Seed: 2}, {Temperature: 1, TypicalP: 0.5, TopK: 30}, {Temperature: 1, XTCProbability: 1, XTCThreshold: 0.02}} {
		p.Mask = forbid(1, 2, 3)
		row := testRow(4, 60)
		masked := slices.Clone(row)
		p.Mask.Apply(masked)
		s := mustNew(t, p, len(row))
		list, err := s.Candidates(slices.Clone(row))
		if err != nil {
			t.Fatal(err)
		}
		best, _ := largest(masked)
		ids, probs := []Token{best}, []float64{1}
		if p.Temperature > 0 {
			ids, probs = reference(p, masked)
		}
		if len(list) != len(ids) {
			t.Fatalf("%s: %d candidates, want %d", settings(p), len(list), len(ids))
		}
		for i, c := range list {
			if c.Token != ids[i] || !near(math.Exp(c.Logprob), probs[i], 1e-9) {
				t.Errorf("%s: candidate %d is %v, want %d with probability %g", settings(p), i, c, ids[i], probs[i])
			}
		}
		if fresh := mustNew(t, p, len(row)); s.entropy.Uint64() != fresh.entropy.Uint64() {
			t.Errorf("%s: a draw was made", settings(p))
		}
	}
	if _, err := mustNew(t, Params{}, 3).Candidates([]float32{negInf, negInf, negInf}); !errors.Is(err, ErrNoCandidate) {
		t.Errorf("of no candidates: %v", err)
	}
	if _, err := mustNew(t, Params{}, 3).Candidates(nil); !errors.Is(err, ErrRowLength) {
		t.Errorf("of no row: %v", err)
	}
}
