package llama

import "time"

const (
	// startRow is what a prompt row is taken to cost before any was seen.
	startRow = 3 * time.Millisecond
	// leastChunk is the fewest prompt rows of a decode beside answers: fewer would not use the processor.
	leastChunk = 16
	// telling is the least number of prompt rows of a decode that says what one costs.
	telling = 8
)

// pace learns what prompt rows cost on this machine. It reads no clock: durations are told.
type pace struct {
	// row is a moving average, in seconds.
	row float64
}

// observe tells how long a decode took that carried prompt rows, and of it the seconds that the rest of its rows take by themselves.
func (p *pace) observe(prompt int, rest float64, took time.Duration) {
	const keep = 0.8
	if prompt < telling {
		return
	}
	row := max(0, took.Seconds()-rest) / float64(prompt)
	if p.row > 0 {
		row = keep*p.row + (1-keep)*row
	}
	p.row = row
}

// chunk is how many prompt rows fit into a pause, at most a whole batch.
func (p *pace) chunk(pause time.Duration, batch int) int {
	row := p.row
	if row == 0 {
		row = startRow.Seconds()
	}
	return max(min(leastChunk, batch), min(batch, int(pause.Seconds()/row)))
}
