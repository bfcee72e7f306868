package calibrate

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestFallingFit(t *testing.T) {
	for _, c := range []struct{ means, want []float64 }{
		{[]float64{3, 2, 1}, []float64{3, 2, 1}},
		{[]float64{1, 2, 3}, []float64{2, 2, 2}},
		{[]float64{3, 1, 2, 0}, []float64{3, 1.5, 1.5, 0}},
		// By hand: 2 and 4 pool to 3, with the 1 before them to 7/3.
		{[]float64{1, 2, 4, 0}, []float64{7. / 3, 7. / 3, 7. / 3, 0}},
		{[]float64{1}, []float64{1}},
	} {
		if got := fallingFit(c.means); !slices.EqualFunc(got, c.want, func(a, b float64) bool { return near(a, b, 1e-12) }) {
			t.Errorf("%v: %v, want %v", c.means, got, c.want)
		}
	}
	// The fit is the nearest falling sequence: no small change that keeps it falling comes nearer.
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		means := make([]float64, 6)
		for i := range means {
			means[i] = rng.Float64()
		}
		fit := fallingFit(means)
		far := distance(means, fit)
		for range 50 {
			other := slices.Clone(fit)
			for i := range other {
				other[i] += 0.02 * rng.NormFloat64()
			}
			slices.SortFunc(other, func(a, b float64) int { return int(math.Copysign(1, b-a)) })
			if distance(means, other) < far-1e-12 {
				t.Fatalf("%v: %v is nearer than %v", means, other, fit)
			}
		}
	}
}

func distance(a, b []float64) (sum float64) {
	for i := range a {
		sum += (a[i] - b[i]) * (a[i] - b[i])
	}
	return sum
}

var taskLevels = []float64{1, 0.9, 0.8, 0.6, 0.4, 0.2}

// items are right with the given chances, level by level.
func items(n int, chances []float64) [][]float64 {
	rng := rand.New(rand.NewPCG(5, uint64(n)))
	scores := make([][]float64, n)
	for i := range scores {
		hard := rng.Float64() // an item that is right under much noise is so under little
		for _, p := range chances {
			right := 0.0
			if hard < p {
				right = 1
			}
			scores[i] = append(scores[i], right)
		}
	}
	return scores
}

func TestTaskCurve(t *testing.T) {
	chances := []float64{0.8, 0.72, 0.6, 0.4, 0.2, 0.05}
	const n = 1000
	scores := items(n, chances)
	c, err := NewTaskCurve(taskLevels, scores)
	if err != nil {
		t.Fatal(err)
	}
	for j, p := range c.Points {
		se := math.Sqrt(chances[j] * (1 - chances[j]) / n)
		if !near(p.Fit.Value, chances[j], 4*se) || !(p.Fit.Low < p.Fit.Value && p.Fit.Value < p.Fit.High) || !near(p.Fit.High-p.Fit.Low, 2*1.96*se, se) {
			t.Errorf("level %g: %+v, want %g ± %g", p.Level, p, chances[j], se)
		}
	}
	// Half of the full score, 0.4, is reached at level 0.6; three quarters, 0.6, at 0.8; 1 % nowhere.
	got := c.Levels(scores, []float64{0.75, 0.5, 0.01})
	for i, want := range []float64{0.8, 0.6} {
		if l := got[i].Level; !near(l.Value, want, 0.05) || !(l.Low < want && want < l.High) || l.High-l.Low > 0.2 {
			t.Errorf("for %g of the score: level %+v, want %g", got[i].Share, l, want)
		}
	}
	if !math.IsNaN(got[2].Level.Value) {
		t.Errorf("a hundredth of the score: level %+v", got[2].Level)
	}
}

func TestTaskCurveRefusesWhatTellsNothing(t *testing.T) {
	for name, scores := range map[string][][]float64{
		"chance":    items(300, []float64{0.25, 0.25, 0.25, 0.25, 0.25, 0.25}),
		"all right": items(50, []float64{1, 1, 1, 1, 1, 1}),
		"few items": items(3, []float64{0.8, 0.72, 0.6, 0.4, 0.3, 0.2}),
		"better":    items(100, []float64{0.2, 0.3, 0.4, 0.5, 0.6, 0.7}),
	} {
		_, err := NewTaskCurve(taskLevels, scores)
		var flat *FlatError
		if !errors.As(err, &flat) || !strings.Contains(err.Error(), "cannot tell levels apart") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, levels := range map[string][]float64{"one level": {1}, "no full score": {0.9, 0.5}} {
		if _, err := NewTaskCurve(levels, [][]float64{{1, 0}}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
