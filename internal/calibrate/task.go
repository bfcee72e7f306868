package calibrate

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"aim/internal/eval"
)

// TaskPoint is a task's score at a level.
type TaskPoint struct {
	// Level is the level and Mean the mean score of the items there.
	Level, Mean float64
	// Fit is the isotonic fit at the level, with its 95 % band by bootstrap over items.
	Fit eval.Estimate
}

// TaskLevel is the level that a wanted score takes.
type TaskLevel struct {
	// Share is the wanted score as a share of the full one, and Score that score.
	Share, Score float64
	// Level is the lowest level that reaches it by the fit, with its band. NaN says that all levels that were measured do, so
	// that it is below them all.
	Level eval.Estimate
}

// TaskCurve is a task's score by level.
type TaskCurve struct {
	Items  int
	Points []TaskPoint // of falling level, from 1
	// Loss is the full score less that of the lowest level, item by item, with its band.
	Loss eval.Estimate
}

// FlatError says that a task cannot tell levels apart.
type FlatError struct {
	// Items were scored: Full at level 1, Least at Lowest.
	Items               int
	Full, Least, Lowest float64
	Loss                eval.Estimate
}

func (e *FlatError) Error() string {
	return fmt.Sprintf("the task cannot tell levels apart: its %d items score %.3f at level 1 and %.3f at level %.2g, "+
		"a loss of %.3f whose 95 %% band from %.3f to %.3f holds 0; it takes more items, or other ones",
		e.Items, e.Full, e.Least, e.Lowest, e.Loss.Value, e.Loss.Low, e.Loss.High)
}

// taskSeed starts the resampling of items.
const taskSeed = 1

// NewTaskCurve fits a task's score by level: scores[i][j] is item i's at levels[j], which fall from 1. The fit is isotonic, the
// least squares fit among all that do not fall as the level rises (pool adjacent violators: Ayer et al., Ann. Math. Stat. 26,
// 1955), because noise cannot be supposed to help. It fails with [FlatError] where the items do not lose anything for sure
// from the first level to the last.
func NewTaskCurve(levels []float64, scores [][]float64) (*TaskCurve, error) {
	last := len(levels) - 1
	if last < 1 || levels[0] != 1 || len(scores) == 0 {
		return nil, errors.New("a task's curve takes items, and levels that fall from 1")
	}
	means := weighted(scores, nil)
	c := &TaskCurve{Items: len(scores), Points: make([]TaskPoint, len(levels))}
	fit := fallingFit(means)
	fits := c.resample(scores, func(means []float64) []float64 { return fallingFit(means) })
	for j, level := range levels {
		p := TaskPoint{Level: level, Mean: means[j], Fit: eval.Estimate{Value: fit[j]}}
		p.Fit.Low, p.Fit.High = eval.Band(column(fits, j))
		c.Points[j] = p
	}
	loss := c.resample(scores, func(means []float64) []float64 { return []float64{means[0] - means[last]} })
	c.Loss = eval.Estimate{Value: means[0] - means[last]}
	c.Loss.Low, c.Loss.High = eval.Band(column(loss, 0))
	if !(c.Loss.Low > 0) {
		return nil, &FlatError{len(scores), means[0], means[last], levels[last], c.Loss}
	}
	return c, nil
}

// Levels are the levels for shares of the full score.
func (c *TaskCurve) Levels(scores [][]float64, shares []float64) []TaskLevel {
	levels := make([]float64, len(c.Points))
	for j, p := range c.Points {
		levels[j] = p.Level
	}
	reach := func(fit []float64) []float64 {
		list := make([]float64, len(shares))
		for i, share := range shares {
			list[i] = lowestLevel(levels, fit, share*fit[0])
		}
		return list
	}
	full := fallingFit(weighted(scores, nil))
	at := reach(full)
	fits := c.resample(scores, func(means []float64) []float64 { return reach(fallingFit(means)) })
	list := make([]TaskLevel, len(shares))
	for i, share := range shares {
		l := TaskLevel{Share: share, Score: share * full[0], Level: eval.Estimate{Value: at[i]}}
		drawn := column(fits, i)
		for k, v := range drawn {
			if math.IsNaN(v) { // below all levels
				drawn[k] = levels[len(levels)-1]
			}
		}
		l.Level.Low, l.Level.High = eval.Band(drawn)
		list[i] = l
	}
	return list
}

// resample computes a statistic of the means of items drawn with replacement, many times.
func (c *TaskCurve) resample(scores [][]float64, statistic func(means []float64) []float64) [][]float64 {
	return eval.Bootstrap(len(scores), eval.Resamples, taskSeed, func(counts []int) []float64 {
		return statistic(weighted(scores, counts))
	})
}

// lowestLevel is where a falling fit, linear between the levels, falls to score; NaN if it does not.
func lowestLevel(levels, fit []float64, score float64) float64 {
	for j := 1; j < len(fit); j++ {
		if fit[j] < score {
			part := (fit[j-1] - score) / (fit[j-1] - fit[j])
			return levels[j-1] + part*(levels[j]-levels[j-1])
		}
	}
	return math.NaN()
}

// fallingFit is the isotonic fit of means that should fall.
func fallingFit(means []float64) []float64 {
	type block struct {
		mean float64
		n    int
	}
	var blocks []block
	for _, m := range means {
		blocks = append(blocks, block{m, 1})
		for k := len(blocks) - 1; k > 0 && blocks[k].mean > blocks[k-1].mean; k-- {
			a, b := blocks[k-1], blocks[k]
			n := a.n + b.n
			blocks = append(blocks[:k-1], block{(a.mean*float64(a.n) + b.mean*float64(b.n)) / float64(n), n})
		}
	}
	fit := make([]float64, 0, len(means))
	for _, b := range blocks {
		fit = append(fit, slices.Repeat([]float64{b.mean}, b.n)...)
	}
	return fit
}

// weighted are the means over items, each counted counts[i] times; nil counts each once.
func weighted(scores [][]float64, counts []int) []float64 {
	means := make([]float64, len(scores[0]))
	for i, row := range scores {
		n := 1.0
		if counts != nil {
			n = float64(counts[i])
		}
		for j, v := range row {
			means[j] += n * v
		}
	}
	for j := range means {
		means[j] /= float64(len(scores))
	}
	return means
}

func column(rows [][]float64, j int) []float64 {
	list := make([]float64, len(rows))
	for i, r := range rows {
		list[i] = r[j]
	}
	return list
}
