//go:build race

package calibrate

// The race detector makes arithmetic twenty times as slow.
const raced = true
