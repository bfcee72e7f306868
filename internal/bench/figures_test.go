package bench

import (
	"math"
	"testing"
	"time"
)

// at is a moment so many seconds after a fixed one.
func at(seconds float64) time.Time {
	return time.Unix(0, 0).Add(time.Duration(seconds * float64(time.Second)))
}

// answer was sent at a moment, and its pieces came at others.
func answer(sent float64, pieces ...float64) *Answer {
	a := &Answer{Sent: at(sent), Usage: Usage{Prompt: 10, Cached: 4, Tokens: len(pieces)}}
	for _, p := range pieces {
		a.Pieces = append(a.Pieces, at(p))
	}
	a.End = at(pieces[len(pieces)-1])
	return a
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9 }

func TestFigures(t *testing.T) {
	l := load{took: 10 * time.Second, answers: [][]*Answer{
		{answer(0, 1, 1.5, 2), answer(2, 6, 7)},
		{answer(0, 3, 4, 10)},
	}}
	f := figures(l)
	if f.Requests != 3 || f.Tokens != 8 || f.PromptTokens != 30 || f.CachedTokens != 12 || f.Cut {
		t.Errorf("counts of %+v", f)
	}
	if !near(f.TokensPerSecond, 0.8) || !near(f.Seconds, 10) {
		t.Errorf("%g tokens/s in %g s, want 0.8 in 10", f.TokensPerSecond, f.Seconds)
	}
	// Sorted, the times to the first token are 1, 3, 4, those of first requests 1, 3, and the gaps 0.5, 0.5, 1, 1, 6.
	for _, c := range []struct {
		what      string
		got, want Quantiles
	}{
		{"first token", f.FirstToken, Quantiles{3, 4}},
		{"at once", f.AtOnce, Quantiles{1, 3}},
		{"inter-token", f.InterToken, Quantiles{1, 6}},
	} {
		if !near(c.got.P50, c.want.P50) || !near(c.got.P95, c.want.P95) {
			t.Errorf("%s %+v, want %+v", c.what, c.got, c.want)
		}
	}
	if both := figures(l, l); both.Tokens != 16 || !near(both.TokensPerSecond, 0.8) || both.InterToken != f.InterToken {
		t.Errorf("twice the same load: %+v", both)
	}
}

func TestFiguresOfCutAnswers(t *testing.T) {
	a := answer(0, 1, 2)
	a.cut()
	f := figures(load{took: time.Second, answers: [][]*Answer{{answer(0, 1)}, {a}, {{Sent: at(0), Cut: true}}}})
	if !f.Cut || f.Tokens != 3 || f.CachedTokens != 4 {
		t.Errorf("%+v: want it to be cut, with 3 tokens and 4 cached ones", f)
	}
	unknown := answer(0, 1)
	unknown.Usage.Cached = -1
	if f := figures(load{answers: [][]*Answer{{answer(0, 1), unknown, answer(0, 1)}}}); f.CachedTokens != -1 {
		t.Errorf("%d cached tokens, want -1 where one answer does not tell", f.CachedTokens)
	}
	if f := figures(); f != (Figures{}) {
		t.Errorf("%+v of nothing", f)
	}
}

func TestGapsOverlap(t *testing.T) {
	a := answer(0, 1, 2, 5, 6, 9)
	for _, c := range []struct {
		from, to float64
		want     int
	}{{0, 10, 4}, {2.5, 3, 1}, {1.5, 5.5, 3}, {6.5, 7, 1}, {9.5, 20, 0}, {0, 0.5, 0}} {
		if got := a.gaps(at(c.from), at(c.to)); len(got) != c.want {
			t.Errorf("from %g to %g: gaps %v, want %d", c.from, c.to, got, c.want)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{3, 1}, 2}, {[]float64{9, 1, 2}, 2}} {
		if got := median(c.values); !near(got, c.want) {
			t.Errorf("median of %v is %g, want %g", c.values, got, c.want)
		}
	}
}
