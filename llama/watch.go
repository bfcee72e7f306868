package llama

import (
	"sync/atomic"
	"time"
)

// watch tells others since when the goroutine of Run has been at work on one decode and what belongs to it, without a lock: whoever asks
// must not depend on who may be stuck.
type watch struct {
	epoch time.Time
	since atomic.Int64 // ns after epoch, 0 while it waits for requests
}

func (w *watch) begin() { w.since.Store(max(1, int64(time.Since(w.epoch)))) }

func (w *watch) end() { w.since.Store(0) }

// Stalled is how long the engine has been at work on the current decode, 0 where it is not at work. It takes no lock and never waits. The
// clock of now must be the process's own, as that of [time.Now] is.
func (e *Engine) Stalled(now time.Time) time.Duration {
	since := e.watch.since.Load()
	if since == 0 {
		return 0
	}
	return max(0, now.Sub(e.watch.epoch)-time.Duration(since))
}
