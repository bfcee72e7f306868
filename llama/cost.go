package llama

import (
	"math"
	"slices"
	"time"
)

// costs is what decodes take by their number of rows, as measured. It reads no clock: durations are told. The zero value
// knows nothing, and then expects rows to be cheaper by the dozen than they are on most processors, so that it is tried out.
type costs struct {
	list []cost // ascending by rows
	tick int    // the number of durations told
}

// cost is what decodes of about as many rows take.
type cost struct {
	rows    int
	seconds float64
	// seen is when the last one was.
	seen int
}

const (
	// costLearns is by how much a duration moves what is known of decodes of its size, in logarithms, and costDrifts by how
	// much that of all others: a machine that gets busy, or a cache that fills, changes all of them.
	costLearns, costDrifts = 0.25, 0.125
	// costFirst is the share of a first row's cost that each further one is expected to add where that is not known.
	costFirst = 0.3
	// costForgets is after how many decodes a cost that was not seen again is taken for half of what it was, so that one
	// bad measurement is repeated some day.
	costForgets = 8192
)

// costSize rounds a number of rows to those that are told apart: an eighth.
func costSize(rows int) int {
	step := 1
	for step*16 <= rows {
		step *= 2
	}
	return rows / step * step
}

// learn is told how long a decode of rows rows of logits took.
func (c *costs) learn(rows int, took time.Duration) {
	c.tick++
	size, d := costSize(rows), max(took.Seconds(), 1e-7)
	i, found := slices.BinarySearchFunc(c.list, size, func(a cost, n int) int { return a.rows - n })
	if !found {
		c.list = slices.Insert(c.list, i, cost{size, d, c.tick})
		return
	}
	ratio := max(0.5, min(2, d/c.list[i].seconds)) // no hiccup counts for more
	drift := math.Pow(ratio, costDrifts)
	for j := range c.list {
		if j == i {
			c.list[j].seconds *= math.Pow(ratio, costLearns)
			c.list[j].seen = c.tick
		} else {
			c.list[j].seconds *= drift
		}
	}
}

// of is how many seconds a decode of rows rows is expected to take, 0 where nothing is known at all, or for no rows. Between sizes that are
// known it is a straight line.
func (c *costs) of(rows int) float64 {
	n := len(c.list)
	if n == 0 || rows == 0 {
		return 0
	}
	i, _ := slices.BinarySearchFunc(c.list, rows, func(a cost, n int) int { return a.rows - n })
	switch {
	case i == 0 && c.list[0].rows >= rows: // fewer rows than ever
		least := c.list[0]
		return c.now(0) * (1 + costFirst*float64(rows-1)) / (1 + costFirst*float64(least.rows-1))
	case i == n && n == 1:
		return c.now(0) * (1 + costFirst*float64(rows-1)) / (1 + costFirst*float64(c.list[0].rows-1))
	case i == n:
		return c.line(n-2, n-1, rows)
	}
	return c.line(i-1, i, rows)
}

// line is the straight line through two sizes; beyond them it does not fall.
func (c *costs) line(i, j, rows int) float64 {
	a, b := c.now(i), c.now(j)
	slope := max(0, b-a) / float64(c.list[j].rows-c.list[i].rows)
	if rows > c.list[j].rows {
		return b + slope*float64(rows-c.list[j].rows)
	}
	return a + (b-a)*float64(rows-c.list[i].rows)/float64(c.list[j].rows-c.list[i].rows)
}

// now is what an entry is believed to be: the less the longer it was not seen.
func (c *costs) now(i int) float64 {
	age := float64(c.tick-c.list[i].seen) / costForgets
	return c.list[i].seconds / (1 + age)
}
