package sampler

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// reference is stages 7 to 13 by the book: everything sorted, everything normalised. It returns the candidates in ascending
// order of id, with their probabilities.
func reference(p Params, row []float32) (ids []Token, probs []float64) {
	for i, z := range row {
		if z != negInf {
			ids = append(ids, Token(i))
		}
	}
	slices.SortStableFunc(ids, func(a, b Token) int { return -compare(row[a], row[b]) })
	if p.TopNSigma > 0 {
		var logits []float64
		for _, t := range ids {
			logits = append(logits, float64(row[t]))
		}
		m, variance := mean(logits), 0.0
		for _, z := range logits {
			variance += (z - m) * (z - m) / float64(len(logits))
		}
		floor := logits[0] - p.TopNSigma*math.Sqrt(variance)
		ids = slices.DeleteFunc(ids, func(t Token) bool { return float64(row[t]) < floor })
	}
	if p.TopK > 0 {
		ids = ids[:min(p.TopK, len(ids))]
	}
	if p.typical() {
		ids = typicalReference(p, row, ids)
	}
	probs = softmax(row, ids, p.Temperature)
	if p.TopP > 0 {
		sum := 0.0
		for i := range ids {
			sum += probs[i]
			if sum >= p.TopP {
				ids = ids[:i+1]
				break
			}
		}
	}
	best := float64(row[ids[0]])
	ids = slices.DeleteFunc(ids, func(t Token) bool { return math.Exp((float64(row[t])-best)/p.Temperature) < p.MinP })
	if p.XTCProbability == 1 {
		probs = softmax(row, ids, p.Temperature)
		last := 0
		for i, q := range probs {
			if q > 0 && q >= p.XTCThreshold {
				last = i
			}
		}
		ids = ids[last:]
	}
	slices.Sort(ids)
	return ids, softmax(row, ids, p.Temperature)
}

// typicalReference keeps the ranking.
func typicalReference(p Params, row []float32, ids []Token) []Token {
	probs := softmax(row, ids, p.Temperature)
	entropy := 0.0
	for _, q := range probs {
		if q > 0 {
			entropy -= q * math.Log(q)
		}
	}
	order := make([]int, len(ids))
	for i := range order {
		order[i] = i
	}
	distance := func(i int) float64 { return math.Abs(-math.Log(probs[i]) - entropy) }
	slices.SortStableFunc(order, func(a, b int) int {
		switch d := distance(a) - distance(b); {
		case d < -1e-9: // what differs in rounding only is equally far
			return -1
		case d > 1e-9:
			return 1
		}
		return 0
	})
	sum, n := 0.0, 0
	for sum <= p.TypicalP+1e-12 && n < len(order) {
		sum += probs[order[n]]
		n++
	}
	kept := order[:n]
	slices.Sort(kept)
	var list []Token
	for _, i := range kept {
		list = append(list, ids[i])
	}
	return list
}

// softmax is the probabilities of the listed tokens among themselves.
func softmax(row []float32, ids []Token, temperature float64) []float64 {
	best := math.Inf(-1)
	for _, t := range ids {
		best = max(best, float64(row[t]))
	}
	sum := 0.0
	probs := make([]float64, len(ids))
	for i, t := range ids {
		probs[i] = math.Exp((float64(row[t]) - best) / temperature)
		sum += probs[i]
	}
	for i := range probs {
		probs[i] /= sum
	}
	return probs
}

// survivors runs stages 7 to 13 and returns what is left.
func survivors(t *testing.T, p Params, row []float32) (candidates, *selection) {
	t.Helper()
	v := newView(len(row), 0, nil)
	if _, err := v.survey(row, make([]ranked, 0, 1)); err != nil {
		t.Fatal(err)
	}
	s := newSelection(&p, len(row))
	return s.truncate(&v, &p, temper(v.top.logit, p.Temperature), false, p.XTCProbability == 1), &s
}

// listed are the ids of the candidates that have a finite logit.
func listed(c candidates) []Token {
	var ids []Token
	for i, z := range c.logits {
		if z != negInf {
			ids = append(ids, c.id(i))
		}
	}
	return ids
}

// selectionRows are rows of every shape that makes a difference to a truncation.
func selectionRows(n int) map[string][]float32 {
	random := testRow(uint64(n), n)
	peaked, ties, flat, holes, steep := slices.Clone(random), slices.Clone(random), make([]float32, n), slices.Clone(random), slices.Clone(random)
	peaked[n/2] = 40
	for i := range n {
		ties[i] = float32(math.Round(float64(ties[i]))) // a few values, each many times
		if i%3 == 1 {
			holes[i] = negInf
		}
		steep[i] *= 1e4 // beyond the buckets and beyond decay
	}
	return map[string][]float32{"random": random, "peaked": peaked, "ties": ties, "flat": flat, "holes": holes, "steep": steep}
}

func TestSelectionIsTheTextbook(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	rounds := sampleSize(3000)
	for _, n := range []int{1, 2, 10, 300, 5000} {
		for name, row := range selectionRows(n) {
			for range max(rounds/n, 20) {
				p := Params{Temperature: math.Exp(4*rng.Float64() - 3.3)} // 0.04 to 2
				if rng.IntN(2) == 0 {
					p.TopK = 1 + rng.IntN(n+n/4+1)
				}
				if rng.IntN(2) == 0 {
					p.TopP = rng.Float64()
				}
				if rng.IntN(3) == 0 {
					p.MinP = rng.Float64() * rng.Float64()
				}
				if rng.IntN(4) == 0 {
					p.TopNSigma = 3 * rng.Float64()
				}
				if rng.IntN(4) == 0 && name != "steep" && name != "ties" { // where rounding decides which of equally distant ones are kept
					p.TypicalP = rng.Float64()
				}
				if rng.IntN(4) == 0 {
					p.XTCProbability, p.XTCThreshold = 1, 0.5*rng.Float64()*rng.Float64()
				}
				c, _ := survivors(t, p, row)
				want, _ := reference(p, row)
				if got := listed(c); !slices.Equal(got, want) {
					t.Fatalf("%s of %d, %s: %d candidates, want %d\n%v\n%v", name, n, settings(p), len(got), len(want), head(got), head(want))
				}
			}
		}
	}
}

func settings(p Params) string {
	return fmt.Sprintf("temperature %g, top_n_sigma %g, top_k %d, typical_p %g, top_p %g, min_p %g, xtc %g", p.Temperature, p.TopNSigma, p.TopK, p.TypicalP, p.TopP, p.MinP, p.XTCThreshold)
}

func head(ids []Token) []Token { return ids[:min(len(ids), 20)] }

// TestSelectionEdges has the cases in which a bound is met exactly, worked out by hand.
func TestSelectionEdges(t *testing.T) {
	flat := []float32{2, 2, 2, 2, 2, 2, 2, 2}
	mixed := []float32{1, 3, 2, 3, 0}
	for _, c := range []struct {
		name string
		p    Params
		row  []float32
		want []Token
	}{
		{"top_p met exactly by half of equal tokens", Params{TopP: 0.5}, flat, []Token{0, 1, 2, 3}},
		{"top_p just above that", Params{TopP: 0.5000001}, flat, []Token{0, 1, 2, 3, 4}},
		{"top_p met exactly by the tokens of one bucket", Params{TopP: 2 / (2 + math.Exp(-4))}, []float32{5, 1, 5}, []Token{0, 2}},
		{"the smallest top_p keeps the first-ranked", Params{TopP: 5e-324}, mixed, []Token{1}},
		{"top_p 1 keeps all", Params{TopP: 1}, mixed, []Token{0, 1, 2, 3, 4}},
		{"of equal logits top_k keeps the lower id", Params{TopK: 1}, mixed, []Token{1}},
		{"top_k 3", Params{TopK: 3}, mixed, []Token{1, 2, 3}},
		{"min_p 1 keeps the equally best", Params{MinP: 1}, mixed, []Token{1, 3}},
		{"the smallest min_p keeps all", Params{MinP: 5e-324}, mixed, []Token{0, 1, 2, 3, 4}},
		{"typical keeps no forbidden token", Params{TypicalP: 0.99}, []float32{negInf, 1, negInf, 1}, []Token{1, 3}},
		{"typical_p met exactly by half of equal tokens is not exceeded", Params{TypicalP: 0.5}, flat, []Token{0, 1, 2, 3, 4}},
		{"one far more probable than expected is not typical", Params{TypicalP: 0.3}, []float32{1, 0, 0, 0, 0, 0, 0, 0}, []Token{1, 2, 3}},
		{"min_p is a share of the best that is typical", Params{TypicalP: 0.3, MinP: 0.9}, []float32{1, 0, 0, 0, 0, 0, 0, 0}, []Token{1, 2, 3}},
		{"top_n_sigma keeps the equally best", Params{TopNSigma: 5e-324}, mixed, []Token{1, 3}},
		{"top_n_sigma counts no forbidden token", Params{TopNSigma: 1}, []float32{negInf, 2, negInf, -1, 2, -1}, []Token{1, 4}},
		{"xtc leaves a lone one alone", Params{XTCProbability: 1, XTCThreshold: 0.5}, []float32{4, 1, 1}, []Token{0, 1, 2}},
		{"xtc keeps the last of two, of equals the higher id", Params{XTCProbability: 1, XTCThreshold: 0.3}, []float32{4, 1, 4}, []Token{1, 2}},
		{"xtc from 0 on keeps the least probable", Params{XTCProbability: 1}, []float32{4, 1, 4, negInf}, []Token{1}},
		{"top_k counts no forbidden token", Params{TopK: 3}, []float32{negInf, 1, negInf, 0}, []Token{1, 3}},
		{"the smallest temperature leaves the equally best", Params{Temperature: 5e-324, TopP: 0.99}, mixed, []Token{1, 3}},
	} {
		if c.p.Temperature == 0 {
			c.p.Temperature = 1
		}
		got, _ := survivors(t, c.p, c.row)
		if !slices.Equal(listed(got), c.want) {
			t.Errorf("%s: %v, want %v", c.name, listed(got), c.want)
		}
	}
}

// TestBuckets: bucketEnd draws the line exactly where bucket does.
func TestBuckets(t *testing.T) {
	for b := range buckets - 1 {
		end := bucketEnd(b)
		if bucket(end) != b || bucket(math.Nextafter(end, math.Inf(1))) != b+1 {
			t.Fatalf("bucket %d ends at %g, which lies in %d", b, end, bucket(end))
		}
	}
	for _, depth := range []float64{64, 1e300, math.Inf(1)} {
		if got := bucket(depth); got != buckets-1 {
			t.Errorf("depth %g is in bucket %d", depth, got)
		}
	}
	if end := bucketEnd(buckets - 1); end != math.MaxFloat64 {
		t.Errorf("the last bucket ends at %g", end)
	}
}

// TestNucleusMissedByRounding: should the weights of a bucket sum up to less than was counted on, all of it stays.
func TestNucleusMissedByRounding(t *testing.T) {
	row := []float32{3, 2.99, 3, 2.98, -4}
	c := candidates{logits: row, scale: temper(row[0], 1)}
	s := newSelection(&Params{Temperature: 1, TopP: 0.5}, len(row))
	if got, want := s.edgeEnd(c, 0, 1000), (ranked{2.98, 3}); got != want {
		t.Errorf("the nucleus ends with %v, want %v", got, want)
	}
}

// TestDrawInvertsTheDistribution tosses every coin of a fine grid, so that the share of each token is its probability to
// within the grid.
func TestDrawInvertsTheDistribution(t *testing.T) {
	const coins = 20_000
	for name, row := range selectionRows(700) { // more than two blocks
		for _, p := range []Params{{Temperature: 1}, {Temperature: 0.5, TopP: 0.9}, {Temperature: 2, TopK: 50}, {Temperature: 1, MinP: 0.1}} {
			c, s := survivors(t, p, row)
			counts := make([]int, len(row))
			last := Token(0)
			for i := range coins {
				token := s.draw(c, (float64(i)+0.5)/coins)
				if token < last {
					t.Fatalf("%s, %s: a larger coin gives the lower id %d after %d", name, settings(p), token, last)
				}
				counts[token]++
				last = token
			}
			ids, probs := reference(p, row)
			for i, id := range ids {
				if !near(float64(counts[id]), coins*probs[i], 1.001) {
					t.Errorf("%s, %s: token %d is drawn %d times, want %.1f", name, settings(p), id, counts[id], coins*probs[i])
				}
				counts[id] = 0
			}
			if i := slices.IndexFunc(counts, func(n int) bool { return n > 0 }); i >= 0 {
				t.Errorf("%s, %s: token %d is no candidate, but was drawn", name, settings(p), i)
			}
		}
	}
}

// TestDrawAtTheEnds: the extreme coins never give a token without weight.
func TestDrawAtTheEnds(t *testing.T) {
	for _, n := range []int{5, drawBlock, 4 * drawBlock} {
		row := make([]float32, n)
		for i := range row {
			row[i] = -1e6 // weighs nothing
		}
		row[n/3], row[n/2] = 0, negInf
		row[2*n/3] = -0.25
		c, s := survivors(t, Params{Temperature: 1}, row)
		if got := s.draw(c, 0); got != Token(n/3) {
			t.Errorf("of %d, coin 0 gives %d, want %d", n, got, n/3)
		}
		for _, coin := range []float64{math.Nextafter(1, 0), 1} { // 1 is no coin, but what rounding could make of one
			if got := s.draw(c, coin); got != Token(2*n/3) {
				t.Errorf("of %d, coin %v gives %d, want %d", n, coin, got, 2*n/3)
			}
		}
	}
}

// TestDrawsFollowTheSoftmax goes the whole way: seeds, generator, selection.
func TestDrawsFollowTheSoftmax(t *testing.T) {
	row := testRow(5, 40)
	for _, p := range []Params{
		{Temperature: 1, Seed: 1},
		{Temperature: 1.5, TopP: 0.8, Seed: 2},
		{Temperature: 0.7, TopK: 12, TopP: 0.95, Seed: 3},
		{Temperature: 1, MinP: 0.05, Seed: 4},
	} {
		s := mustNew(t, p, len(row))
		n := sampleSize(200_000)
		counts := make([]int, len(row))
		for range n {
			counts[mustSample(t, s, row).Token]++
		}
		ids, probs := reference(p, row)
		observed, expected := pool(ids, probs, counts, n)
		if got, bound := chiSquare(observed, expected), chiSquareBound(float64(len(observed)-1)); !(got <= bound) {
			t.Errorf("%s: χ² is %.1f over %d cells, want at most %.1f", settings(p), got, len(observed), bound)
		}
		for _, id := range ids {
			counts[id] = 0
		}
		if i := slices.IndexFunc(counts, func(n int) bool { return n > 0 }); i >= 0 {
			t.Errorf("%s: token %d is no candidate, but was drawn", settings(p), i)
		}
	}
}

// pool joins the tokens that are expected less than 10 times into one cell, as χ² needs.
func pool(ids []Token, probs []float64, counts []int, n int) (observed []int, expected []float64) {
	rareObserved, rareExpected := 0, 0.0
	for i, id := range ids {
		e := probs[i] * float64(n)
		if e < 10 {
			rareObserved += counts[id]
			rareExpected += e
			continue
		}
		observed, expected = append(observed, counts[id]), append(expected, e)
	}
	if rareExpected > 0 {
		observed, expected = append(observed, rareObserved), append(expected, rareExpected)
	}
	return observed, expected
}

func TestLeaders(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 0))
	for range 500 {
		n := 1 + rng.IntN(60)
		row := make([]float32, n)
		for i := range row {
			row[i] = float32(rng.IntN(20)) // ties
			if row[i] == 0 {
				row[i] = negInf
			}
		}
		var want []ranked
		for i, z := range row {
			if z != negInf {
				want = append(want, ranked{z, int32(i)})
			}
		}
		slices.SortFunc(want, compareRank)
		k := 1 + rng.IntN(n)
		want = want[:min(k, len(want))]
		got := leaders(row, make([]ranked, 0, k))
		if len(got) > 0 && got[0] != want[len(want)-1] {
			t.Fatalf("the root is %v, want %v", got[0], want[len(want)-1])
		}
		slices.SortFunc(got, compareRank)
		if !slices.Equal(got, want) {
			t.Fatalf("the first %d of %v are %v, want %v", k, row, got, want)
		}
	}
}
