package cpp

import "time"

// governor chooses how many threads compute, by what it sees of the decodes.
//
// ggml's threads meet after every operation, so a thread that has lost its processor to another process holds up all others:
// beside a busy process fewer threads, each with a processor of its own, are faster than more that take turns. How much is
// missing shows in the processor time of a decode, which is less than its duration times the threads where somebody else got
// some. That is the signal for a trial with fewer threads; what decides is the measured speed. With threads left out nothing
// tells that the others are gone, so from time to time there is a trial with more. A trial that failed is repeated after twice
// the time, up to maxPause. Undisturbed there are no trials at all.
//
// It has no clock and no goroutine: see observe.
type governor struct {
	// most is the number of threads to use when nobody disturbs; now is in force, a trial aside.
	most, now int
	// trial is the number being tried, 0 for none.
	trial int
	// all says that the last trial with more threads was one of all of them, instead of one more.
	all bool

	// lost is how many threads had no processor, on average over some decodes. least is what of it is nobody's fault, since parts of
	// a decode are computed by one thread: the least that was seen, and half of what a trial with fewer threads could not mend.
	lost, least float64
	// steady and tried are the speeds with now and with trial threads.
	steady, tried pace
	// until is the time for which no trial is due, and pause what it will be after the next that fails.
	until, pause time.Duration
}

const (
	// paceSpan is the duration over which a speed is averaged.
	paceSpan = 150 * time.Millisecond
	// minDecodes and trialSpan are how much a trial measures at least.
	minDecodes = 6
	trialSpan  = 100 * time.Millisecond
	// lostEnough is the number of processors that must be missing for a trial with fewer threads.
	lostEnough = 0.15
	// gain is how much faster a trial must be to be kept.
	gain = 1.03
	// Pauses between trials that fail.
	minPause = 400 * time.Millisecond
	maxPause = 6400 * time.Millisecond
)

// pace is a speed, averaged over the last paceSpan or so.
type pace struct {
	work    float64
	took    time.Duration
	decodes int
}

func (p *pace) add(rows int, wall time.Duration) {
	// The time of a decode is about linear in its rows: on two cores one row takes 11 ms, 4 take 29, 8 take 54 and 16 take 91.
	p.work += float64(1 + rows)
	p.took += wall
	p.decodes++
	if p.took > 2*paceSpan { // forget the older half
		p.work /= 2
		p.took /= 2
	}
}

func (p *pace) speed() float64 { return p.work / max(p.took.Seconds(), 1e-9) }

func newGovernor(most int) *governor {
	return &governor{most: most, now: most, pause: minPause}
}

// threads is how many shall compute the next decode.
func (g *governor) threads() int {
	if g.trial > 0 {
		return g.trial
	}
	return g.now
}

// observe tells of a decode of some rows by threads() threads: its duration, and the processor time that the process used in it.
func (g *governor) observe(rows int, wall, cpu time.Duration) {
	if wall <= 0 || g.most < 2 {
		return
	}
	n := g.threads()
	lost := max(0, float64(n)-cpu.Seconds()/wall.Seconds())
	if n == g.most {
		g.least = min(lost, g.least+0.02*wall.Seconds()) // it rises slowly, as when the work changes
	}
	if g.trial > 0 {
		g.tried.add(rows, wall)
		if t := g.tried; t.took >= trialSpan && (t.decodes >= minDecodes || t.took >= 3*trialSpan) {
			g.conclude()
		}
		return
	}
	g.steady.add(rows, wall)
	weight := min(1, wall.Seconds()/paceSpan.Seconds())
	g.lost += weight * (lost - g.lost)
	if g.until -= wall; g.until > 0 || g.steady.took < trialSpan {
		return
	}
	switch {
	case g.now > 1 && g.lost-g.least > lostEnough:
		g.try(max(1, g.now-max(1, int(g.lost-g.least+0.5))))
	case g.now < g.most:
		g.all = !g.all
		if g.all {
			g.try(g.most)
		} else {
			g.try(g.now + 1)
		}
	}
}

func (g *governor) try(n int) { g.trial, g.tried = n, pace{} }

// conclude ends a trial: the faster number of threads stays.
func (g *governor) conclude() {
	if g.tried.speed() > gain*g.steady.speed() {
		g.now, g.steady = g.trial, g.tried
		g.lost = 0
		g.pause = minPause
	} else {
		if g.trial < g.now {
			g.least += max(0, g.lost-g.least) / 2
		}
		g.pause = min(2*g.pause, maxPause)
	}
	g.trial, g.until = 0, g.pause
}
