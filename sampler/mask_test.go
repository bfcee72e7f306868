package sampler

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// wholeRow makes a sampler ask its mask for whole rows alone.
func wholeRow(s *Sampler) *Sampler {
	s.walk = walk{}
	s.lone = false
	return s
}

// walked are parameters for each way of asking a mask about single tokens, with what else may come with it.
func walked(rng *rand.Rand, kind walkKind, vocab int) Params {
	p := Params{Utility: randomUtility(rng, vocab), Seed: rng.Uint64(), Temperature: 0.2 + rng.Float64(), FocusKey: FocusKey(1)}
	if rng.IntN(2) == 0 {
		p.Bias = map[Token]float64{Token(rng.IntN(vocab)): 6, Token(rng.IntN(vocab)): -6}
		p.RepeatPenalty = 1.2
	}
	if rng.IntN(3) == 0 {
		p.MinTokens = 2
	}
	switch kind {
	case walkBest:
		p.Temperature = 0
	case walkTopK:
		p.TopK, p.TopP, p.TypicalP = 1+rng.IntN(50), rng.Float64(), float64(rng.IntN(2))*rng.Float64()
	case walkTopP:
		p.TopP = rng.Float64()
	case walkNone:
		p.TypicalP = rng.Float64()
	case walkDraw: // without truncation
	}
	if kind != walkDraw && rng.IntN(2) == 0 {
		p.XTCProbability, p.XTCThreshold = 0.5, 0.05
	}
	if rng.IntN(2) == 0 {
		p.MinP = 0.1 * rng.Float64()
	}
	return p
}

// TestWalkIsTheMaskedRow: for the same coin, a mask that is asked about single tokens and one that is asked for its whole row
// give the same token, whatever share of the vocabulary it allows.
func TestWalkIsTheMaskedRow(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	const vocab = 600
	for kind, name := range map[walkKind]string{walkBest: "greedy", walkTopK: "top-k", walkTopP: "top-p"} {
		alone, all := 0, 0
		for round := range sampleSize(2000) {
			p := walked(rng, kind, vocab)
			var list []Token
			share := rng.Float64() * rng.Float64()
			for i := range vocab {
				if rng.Float64() < share {
					list = append(list, Token(i))
				}
			}
			masks := []*forbidden{forbid(list...), forbid(list...)}
			p.Mask = masks[0]
			lazy := mustNew(t, p, vocab)
			p.Mask = masks[1]
			dense := wholeRow(mustNew(t, p, vocab))
			if lazy.walk.kind != kind {
				t.Fatalf("%s: the way is %d", name, lazy.walk.kind)
			}
			for range 3 {
				raw := shapedRow(rng, vocab)
				before := masks[0].applied
				a, err := lazy.Sample(slices.Clone(raw))
				b, wrong := dense.Sample(raw)
				if (err == nil) != (wrong == nil) || a.Token != b.Token {
					t.Fatalf("%s, round %d: token by token %d (%v), by the row %d (%v), of %+v", name, round, a.Token, err, b.Token, wrong, p)
				}
				if err != nil {
					break
				}
				lazy.Accept(a.Token)
				dense.Accept(a.Token)
				if all++; masks[0].applied == before {
					alone++
				}
			}
		}
		t.Logf("%s: %d of %d steps without the whole row", name, alone, all)
		if alone < all/2 {
			t.Errorf("%s: %d of %d steps without the whole row", name, alone, all)
		}
	}
}

// TestWalkDraws: what is drawn and redrawn has the distribution of the masked row, be little forbidden, or nearly all.
func TestWalkDraws(t *testing.T) {
	row := testRow(5, 200)
	order := make([]Token, len(row))
	for i := range order {
		order[i] = Token(i)
	}
	slices.SortFunc(order, func(a, b Token) int { return -compare(row[a], row[b]) })
	var even []Token
	for i := 0; i < len(order); i += 2 {
		even = append(even, order[i])
	}
	masks := map[string][]Token{
		"none": nil, "the best": order[:1], "every other": even, "all but the last 100": order[:100], "one rare token allowed": order[:199],
	}
	for name, list := range masks {
		masked := slices.Clone(row)
		forbid(list...).Apply(masked)
		for _, p := range []Params{{Temperature: 1, Seed: 1}, {Temperature: 1.5, Seed: 2}, {Temperature: 1, MinP: 0.02, Seed: 3}} {
			p.Mask = forbid(list...)
			s := mustNew(t, p, len(row))
			n := sampleSize(10_000)
			counts := make([]int, len(row))
			for range n {
				counts[mustSample(t, s, slices.Clone(row)).Token]++
			}
			ids, probs := reference(p, masked)
			observed, expected := pool(ids, probs, counts, n)
			if got, bound := chiSquare(observed, expected), chiSquareBound(max(1, float64(len(observed)-1))); len(observed) > 1 && !(got <= bound) {
				t.Errorf("%s, %s: χ² is %.1f over %d cells, want at most %.1f", name, settings(p), got, len(observed), bound)
			}
			for _, id := range ids {
				counts[id] = 0
			}
			if i := slices.IndexFunc(counts, func(n int) bool { return n > 0 }); i >= 0 {
				t.Errorf("%s, %s: token %d is no candidate, but was drawn", name, settings(p), i)
			}
		}
	}
}

// TestWalkDrawTurnsToTheRow: where each redraw is refused again, the row decides, and no token gains by it.
func TestWalkDrawTurnsToTheRow(t *testing.T) {
	row := make([]float32, 2000) // all equally probable
	var list []Token
	for i := range Token(2000) {
		if i != 0 && i != 7 && i != 1500 {
			list = append(list, i)
		}
	}
	mask := forbid(list...)
	s := mustNew(t, Params{Temperature: 1, Mask: mask, Seed: 8}, len(row))
	n := sampleSize(5_000)
	observed := make([]int, 3)
	for range n {
		observed[slices.Index([]Token{0, 7, 1500}, mustSample(t, s, slices.Clone(row)).Token)]++
	}
	third := float64(n) / 3
	if got, bound := chiSquare(observed, []float64{third, third, third}), chiSquareBound(2); !(got <= bound) {
		t.Errorf("χ² is %.1f, want at most %.1f: %v", got, bound, observed)
	}
	if most := n * (2 + mostRefusals); mask.asked > most || mask.applied < n*3/4 {
		t.Errorf("%d questions and %d whole rows in %d steps", mask.asked, mask.applied, n)
	}
}

// TestLookingChangesNoMaskedDraw: log-probabilities, for which the whole row is masked, and reports come with the same tokens.
func TestLookingChangesNoMaskedDraw(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 0))
	const vocab = 300
	for kind := walkNone; kind <= walkDraw; kind++ {
		for range 100 {
			p := walked(rng, kind, vocab)
			var list []Token
			for range rng.IntN(2 * vocab) {
				list = append(list, Token(rng.IntN(vocab)))
			}
			p.Mask = forbid(list...)
			plain := mustNew(t, p, vocab)
			p.Logprobs, p.Report, p.Observer = true, true, &observed{}
			looking := mustNew(t, p, vocab)
			for range 5 {
				raw := shapedRow(rng, vocab)
				a, err := plain.Sample(slices.Clone(raw))
				b, wrong := looking.Sample(raw)
				if (err == nil) != (wrong == nil) || a.Token != b.Token {
					t.Fatalf("%d: unseen %d (%v), seen %d (%v), of %+v", kind, a.Token, err, b.Token, wrong, p)
				}
				if err != nil {
					break
				}
				for _, z := range list {
					if looking.view.all()[z] != negInf {
						t.Fatalf("the row that was described allows token %d", z)
					}
				}
				plain.Accept(a.Token)
				looking.Accept(a.Token)
			}
		}
	}
}

// questions is how often a mask that forbids a share of the tokens at random is asked, and for its whole row, a step.
func questions(tb testing.TB, p Params, share float64) (asked, applied float64) {
	tb.Helper()
	const vocab, steps = 5000, 200
	rng := rand.New(rand.NewPCG(9, 0))
	mask := forbid()
	p.Mask = mask
	s := mustNew(tb, p, vocab)
	for step := range steps {
		clear(mask.tokens)
		for i := range vocab {
			if rng.Float64() < share {
				mask.tokens[Token(i)] = true
			}
		}
		delete(mask.tokens, Token(step)) // one at least is allowed
		mustSample(tb, s, testRow(uint64(step), vocab))
	}
	return float64(mask.asked) / steps, float64(mask.applied) / steps
}

// TestFewQuestions: a mask is asked little, and for its row only where it forbids nearly all.
func TestFewQuestions(t *testing.T) {
	for _, c := range []struct {
		name           string
		p              Params
		share          float64
		asked, applied float64 // the most
	}{
		{"greedy, a tenth forbidden", Params{}, 0.1, 1.3, 0},
		{"greedy, four fifths forbidden", Params{}, 0.8, 6, 0},
		{"greedy, noise, four fifths forbidden", Params{Utility: Utility{Sigma: 1}}, 0.8, 6, 0},
		{"greedy, all but one in 2000 forbidden", Params{}, 0.9995, 2 + mostRefusals, 1},
		{"top-k 40, a fifth forbidden", Params{Temperature: 1, TopK: 40}, 0.2, 55, 0},
		{"top-k 40, all but one in 2000 forbidden", Params{Temperature: 1, TopK: 40}, 0.9995, 2 + mostRefusals, 1},
		{"top-p 0.5, a fifth forbidden", Params{Temperature: 0.5, TopP: 0.5}, 0.2, 200, 0.1},
		{"plain draw, half forbidden", Params{Temperature: 1}, 0.5, 4, 0},
		{"min-p 0.1, half forbidden", Params{Temperature: 1, MinP: 0.1}, 0.5, 5, 0},
	} {
		asked, applied := questions(t, c.p, c.share)
		t.Logf("%s: %.2f questions and %.2f whole rows a step", c.name, asked, applied)
		if asked > c.asked || applied > c.applied {
			t.Errorf("%s: %.2f questions and %.2f whole rows a step, want at most %g and %g", c.name, asked, applied, c.asked, c.applied)
		}
	}
}

func BenchmarkMask(b *testing.B) {
	const vocab = 49152
	var half, rare []Token
	for i := range Token(vocab) {
		if i%2 == 0 {
			half = append(half, i)
		}
		if i != 77 {
			rare = append(rare, i)
		}
	}
	for _, p := range []struct {
		name string
		p    Params
	}{{"greedy", Params{}}, {"top_k40", Params{Temperature: 1, TopK: 40}}, {"top_p0.9", Params{Temperature: 0.5, TopP: 0.9}}, {"draw", Params{Temperature: 1}}} {
		for _, m := range []struct {
			name string
			list []Token
		}{{"half", half}, {"rare", rare}} {
			for _, sigma := range []float64{0, 1} {
				b.Run(fmt.Sprintf("%s/%s/sigma=%g", p.name, m.name, sigma), func(b *testing.B) {
					q := p.p
					mask := forbid(m.list...)
					q.Mask, q.Utility = mask, Utility{Sigma: sigma, Key: FocusKey(1)}
					benchmarkSample(b, q, vocab)
					b.ReportMetric(float64(mask.asked)/float64(b.N), "asked/op")
					b.ReportMetric(float64(mask.applied)/float64(b.N), "rows/op")
				})
			}
		}
	}
}
