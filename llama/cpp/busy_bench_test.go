package cpp

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"aim/llama"
)

// TestBusyLoop is no test but another process that wants all of a core, for the benchmarks below: they run this binary again.
func TestBusyLoop(t *testing.T) {
	if os.Getenv("AIM_BUSY_LOOP") == "" {
		t.Skip("only as a child of the benchmarks")
	}
	for start := time.Now(); time.Since(start) < 10*time.Minute; { // it shall do nothing
	}
}

// busyCores keeps n cores busy until the function that it returns is called.
func busyCores(b *testing.B, n int) (stop func()) {
	b.Helper()
	var loops []*exec.Cmd
	for range n {
		c := exec.Command(os.Args[0], "-test.run=^TestBusyLoop$")
		c.Env = append(os.Environ(), "AIM_BUSY_LOOP=1", "GOMAXPROCS=1")
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		loops = append(loops, c)
	}
	time.Sleep(50 * time.Millisecond)
	return func() {
		for _, c := range loops {
			_ = c.Process.Kill() // it never ends by itself
			_ = c.Wait()
		}
	}
}

// Decodes of four answers beside busy processes: by one thread, by one for each of two cores, and by as many as the decoder
// finds best, in turns of half a second. "of-two" is the median speed against that of two threads.
func BenchmarkBusyMachine(b *testing.B) {
	m := open(b)
	for _, busy := range []int{0, 1, 2} {
		b.Run(fmt.Sprintf("busy=%d", busy), func(b *testing.B) {
			runs := map[string]*busyRun{}
			for name, o := range map[string]DecoderOptions{
				"one": {Threads: 1}, "two": {Threads: 2, KeepThreads: true}, "adapting": {Threads: 2},
			} {
				o.Slots, o.Context = 4, 1024
				runs[name] = &busyRun{d: decoder(b, m, o)}
			}
			defer busyCores(b, busy)()
			for b.Loop() {
				for _, name := range []string{"one", "two", "adapting", "adapting", "two", "one"} {
					runs[name].turn(b, 500*time.Millisecond)
				}
			}
			b.ReportMetric(0, "ns/op")
			for name, r := range runs {
				slices.Sort(r.speeds)
				b.ReportMetric(r.speeds[len(r.speeds)/2], name+"-tok/s")
			}
			two := runs["two"].speeds
			for _, name := range []string{"one", "adapting"} {
				b.ReportMetric(runs[name].speeds[len(two)/2]/two[len(two)/2], name+"-of-two")
			}
		})
	}
}

// busyRun decodes one token after the other in all slots.
type busyRun struct {
	d      *Decoder
	pos    int
	speeds []float64 // tokens/s of each turn
}

func (r *busyRun) turn(b *testing.B, span time.Duration) {
	b.Helper()
	rows := make([]llama.Row, r.d.opt.Slots)
	start, tokens := time.Now(), 0
	for time.Since(start) < span {
		if r.pos == 512 {
			r.pos = 0
			for s := range rows {
				_ = r.d.Forget(s, 0) // never fails
			}
		}
		for s := range rows {
			rows[s] = llama.Row{Token: 100, Seq: s, Pos: r.pos, Logits: true}
		}
		if err := r.d.Decode(rows); err != nil {
			b.Fatal(err)
		}
		r.pos++
		tokens += len(rows)
	}
	r.speeds = append(r.speeds, float64(tokens)/time.Since(start).Seconds())
}
