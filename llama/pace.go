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

// pace learns what rows cost on this machine. It reads no clock: durations are told.
type pace struct {
	// row and step are moving averages, in seconds: of a prompt row, and of a decode that carries one row for each of so many answers.
	row  float64
	step map[int]float64
}

// observe tells how long a decode took that carried prompt rows and one row for each of some answers.
func (p *pace) observe(prompt, answers int, took time.Duration) {
	const keep = 0.8
	t := took.Seconds()
	average := func(old, now float64) float64 {
		if old == 0 {
			return now
		}
		return keep*old + (1-keep)*now
	}
	switch {
	case prompt == 0:
		if p.step == nil {
			p.step = map[int]float64{}
		}
		p.step[answers] = average(p.step[answers], t)
	case prompt >= telling:
		p.row = average(p.row, max(0, t-p.step[answers])/float64(prompt))
	}
}

// chunk is how many prompt rows fit into a pause, at most a whole batch.
func (p *pace) chunk(pause time.Duration, batch int) int {
	row := p.row
	if row == 0 {
		row = startRow.Seconds()
	}
	return max(min(leastChunk, batch), min(batch, int(pause.Seconds()/row)))
}
