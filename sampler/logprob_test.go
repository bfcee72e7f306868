package sampler

import (
	"maps"
	"math"
	"slices"
	"testing"
)

// logSoftmax is ln p over the whole row, by the book.
func logSoftmax(row []float32) []float64 {
	best := float64(slices.Max(row))
	sum := 0.0
	for _, z := range row {
		sum += math.Exp(float64(z) - best)
	}
	lp := make([]float64, len(row))
	for i, z := range row {
		lp[i] = float64(z) - best - math.Log(sum)
	}
	return lp
}

// TestLogprobsDescribeTheModulatedRow: stage 16 is the log-softmax of what stages 1 to 5 left, whatever temperature and
// truncation do afterwards.
func TestLogprobsDescribeTheModulatedRow(t *testing.T) {
	const vocab = 3000
	all := combinations()
	maps.Copy(all, furtherCombinations())
	for name, p := range all {
		if p.Utility.Scope.Window > 0 {
			continue // refuses them
		}
		p.Logprobs, p.TopLogprobs = true, 20
		s := mustNew(t, p, vocab)
		for step := range 10 {
			row := testRow(uint64(step), vocab)
			c := mustSample(t, s, row)
			want := logSoftmax(s.view.all())
			if !near(c.Logprob, want[c.Token], 1e-10) {
				t.Fatalf("%s: token %d has %.12g, want %.12g", name, c.Token, c.Logprob, want[c.Token])
			}
			if len(c.Top) != 20 {
				t.Fatalf("%s: %d top tokens, want 20", name, len(c.Top))
			}
			order := make([]Token, vocab)
			for i := range order {
				order[i] = Token(i)
			}
			slices.SortStableFunc(order, func(a, b Token) int { return -compare(row[a], row[b]) })
			for i, top := range c.Top {
				if top.Token != order[i] || !near(top.Logprob, want[order[i]], 1e-10) {
					t.Fatalf("%s: top %d is %v, want %d with %.12g", name, i, top, order[i], want[order[i]])
				}
			}
			s.Accept(c.Token)
		}
	}
}

func compare(a, b float32) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// TestUtilityChangesLogprobs: the raw distribution would give the modulation away.
func TestUtilityChangesLogprobs(t *testing.T) {
	row := testRow(1, 100)
	p := Params{Utility: Utility{Sigma: 1, Key: FocusKey(1)}, Logprobs: true}
	c := mustSample(t, mustNew(t, p, 100), slices.Clone(row))
	if raw := logSoftmax(row)[c.Token]; near(c.Logprob, raw, 1e-3) {
		t.Errorf("the log-probability %g is the raw one %g", c.Logprob, raw)
	}
}

// TestLogprobsStayFinite even for a token that the others drown, with certainty 0 among equals.
func TestLogprobsStayFinite(t *testing.T) {
	row := []float32{-math.MaxFloat32, math.MaxFloat32, negInf, 0}
	s := mustNew(t, Params{Logprobs: true, TopLogprobs: 20}, len(row))
	c := mustSample(t, s, row)
	if c.Token != 1 || c.Logprob != 0 {
		t.Errorf("token %d has %g, want token 1 with 0", c.Token, c.Logprob)
	}
	var ids []Token
	for _, top := range c.Top {
		ids = append(ids, top.Token)
		if math.IsInf(top.Logprob, 0) || math.IsNaN(top.Logprob) {
			t.Errorf("token %d has %g", top.Token, top.Logprob)
		}
	}
	if want := []Token{1, 3, 0}; !slices.Equal(ids, want) { // 20 > 4, and token 2 is forbidden
		t.Errorf("the top tokens are %v, want %v", ids, want)
	}
}

func TestNoLogprobsUnlessAsked(t *testing.T) {
	if c := mustSample(t, mustNew(t, Params{}, 4), testRow(1, 4)); c.Logprob != 0 || c.Top != nil {
		t.Errorf("got %v", c)
	}
}
