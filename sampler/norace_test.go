//go:build !race

package sampler

// raceEnabled reduces samples where the race detector makes everything ten times as slow.
const raceEnabled = false
