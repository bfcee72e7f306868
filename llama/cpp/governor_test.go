package cpp

import (
	"testing"
	"time"
)

// machine is a computer with some cores on which other processes are busy, and how decodes fare there: its cores are shared
// out evenly, and where threads take turns with others, all of them wait for each.
type machine struct {
	cores, busy int
	// serial is the part of a decode's work that one thread does while the others sleep.
	serial float64
	// patient says that taking turns costs nothing but the processor time that others get.
	patient bool
}

// decode returns duration and processor time of a decode of n rows by threads.
func (m machine) decode(n, threads int) (wall, cpu time.Duration) {
	work := 0.004 * float64(1+n) // seconds of one thread
	share := min(1, float64(m.cores)/float64(threads+m.busy))
	together := (1 - m.serial) * work / float64(threads) / share
	if threads > 1 && !m.patient {
		together /= share
	}
	seconds := together + m.serial*work
	used := together*share*float64(threads) + m.serial*work
	return time.Duration(seconds * 1e9), time.Duration(used * 1e9)
}

// play lets a governor see decodes of 4 rows for some time, and returns the part of it that each number of threads had.
func (m machine) play(g *governor, span time.Duration) map[int]float64 {
	parts := map[int]float64{}
	for at := time.Duration(0); at < span; {
		n := g.threads()
		wall, cpu := m.decode(4, n)
		g.observe(4, wall, cpu)
		at += wall
		parts[n] += wall.Seconds() / span.Seconds()
	}
	return parts
}

// Undisturbed, all threads compute all the time; beside busy processes fewer do, as long as that is faster; and soon after
// those have ended all are back.
func TestGovernorFollowsTheMachine(t *testing.T) {
	for _, c := range []struct {
		name          string
		m             machine
		threads, busy int
		best          int // with the busy processes
	}{
		{"two cores, one busy", machine{cores: 2}, 2, 1, 1},
		{"two cores, two busy", machine{cores: 2}, 2, 2, 1},
		{"four cores, two busy", machine{cores: 4}, 4, 2, 2},
		{"64 cores with a serial part, 16 busy", machine{cores: 64, serial: 0.001}, 64, 16, 48},
		{"fewer threads than cores", machine{cores: 4}, 2, 2, 2},
		{"turns that cost nothing", machine{cores: 2, patient: true}, 2, 1, 2},
		{"one thread", machine{cores: 1}, 1, 3, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGovernor(c.threads)
			c.m.play(g, 5*time.Second) // to learn what is missing of a decode anyway
			if alone := c.m.play(g, 20*time.Second); alone[c.threads] < 0.98 {
				t.Errorf("undisturbed, the threads have %v of the time", alone)
			}
			c.m.busy = c.busy
			c.m.play(g, 10*time.Second) // to get used to it
			crowded := c.m.play(g, 60*time.Second)
			near := 0.0
			for n, part := range crowded {
				if n >= c.best*5/6 && n <= c.best*6/5 {
					near += part
				}
			}
			if near < 0.9 {
				t.Errorf("beside %d busy processes the threads have %v of the time, want %d", c.busy, crowded, c.best)
			}
			c.m.busy = 0
			c.m.play(g, 2*maxPause)
			if again := c.m.play(g, 20*time.Second); again[c.threads] < 0.98 {
				t.Errorf("undisturbed again, the threads have %v of the time", again)
			}
		})
	}
}

// Rows come and go, which is no reason to try anything but once or twice.
func TestGovernorIgnoresTheLoad(t *testing.T) {
	g, m := newGovernor(4), machine{cores: 4, serial: 0.05}
	const decodes = 5000
	others := 0
	for i := range decodes {
		rows := 1 + i/7%13
		n := g.threads()
		if n != 4 {
			others++
		}
		wall, cpu := m.decode(rows, n)
		g.observe(rows, wall, cpu)
	}
	if others > decodes/100 {
		t.Errorf("%d of %d decodes by fewer threads", others, decodes)
	}
}
