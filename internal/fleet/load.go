package fleet

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// All functions here but those that say so want the lock held, and none waits.

// join takes part in the load of a model that is not loaded, which begins where there is none.
func (f *Fleet[T]) join(m *model[T]) (*flight[T], error) {
	if m.flight != nil {
		m.flight.waiters++
		return m.flight, nil
	}
	if pause := m.retryAt.Sub(f.o.Now()); m.phase == Failed && pause > 0 {
		if most := pauseAfter(m.failures); pause > most { // the clock was set back
			pause = most
			m.retryAt = f.o.Now().Add(pause)
		}
		return nil, &LoadError{Name: m.spec.Name, Err: m.failure, RetryAfter: pause}
	}
	if f.o.Memory > 0 && m.spec.Size > f.o.Memory {
		return nil, f.shortage(m)
	}
	l := &flight[T]{model: m, waiters: 1, done: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(context.Background()) // #nosec G118 -- whoever ends the flight calls it
	m.flight = l
	if m.phase == Unloaded || m.phase == Failed {
		m.phase = Waiting
	}
	f.queue = append(f.queue, l)
	f.admit()
	if slices.Contains(f.queue, l) {
		l.patience = f.after(l, f.o.Patience, func() { f.refuse(l) })
		l.turn = f.after(l, f.o.Turn, func() { l.due = true; f.admit() })
	}
	return l, nil
}

// after calls do, with the lock, if a load still waits for memory then. It returns nil where d is forever.
func (f *Fleet[T]) after(l *flight[T], d time.Duration, do func()) *time.Timer {
	if d < 0 {
		return nil
	}
	return time.AfterFunc(d, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if slices.Contains(f.queue, l) {
			do()
		}
	})
}

// stop ends the timers of a load that no longer waits.
func (l *flight[T]) stop() {
	for _, t := range []*time.Timer{l.patience, l.turn} {
		if t != nil {
			t.Stop()
		}
	}
}

// leave is for a caller whose context ended while it waited.
func (f *Fleet[T]) leave(ctx context.Context, l *flight[T]) error {
	l.waiters--
	err := ctx.Err()
	if !slices.Contains(f.queue, l) {
		f.admit() // somebody may wait for the memory of a load that nobody needs any more
		return err
	}
	short := f.shortage(l.model)
	short.Err = err
	if l.waiters == 0 {
		f.dequeue(l)
		f.finish(l, errAgain)
		f.admit()
	}
	return short
}

// refuse ends a load that got no memory.
func (f *Fleet[T]) refuse(l *flight[T]) {
	f.dequeue(l)
	f.finish(l, f.shortage(l.model))
	f.admit()
}

func (f *Fleet[T]) dequeue(l *flight[T]) {
	f.queue = slices.DeleteFunc(f.queue, func(x *flight[T]) bool { return x == l })
}

// admit does what can be done for those who wait: after each change of what is loaded, used or asked for.
func (f *Fleet[T]) admit() {
	first := f.serve()
	over := f.ahead != nil && f.ahead != first
	if over {
		for m := range f.all() {
			m.yields = false
		}
	}
	f.ahead = nil
	if first != nil && first.due {
		f.ahead = first
		f.yield(first.model.spec.Size)
	}
	if over {
		f.serve() // who waited for models that yield no longer
	}
}

// serve begins the loads for which there is memory, and puts out models for the first for which there is none. It returns that one where
// no memory becomes free for it before others are released.
func (f *Fleet[T]) serve() (first *flight[T]) {
	for _, l := range slices.Clone(f.queue) {
		m := l.model
		switch {
		case m.phase == Unloading || m.phase == Loaded && m.yields:
			// Its turn comes when it is closed, or yields no longer.
		case m.phase == Loaded:
			f.dequeue(l)
			f.use(m, l.waiters)
			f.finish(l, nil)
		case f.free() >= m.spec.Size:
			f.dequeue(l)
			f.begin(l)
		case first == nil:
			if f.reclaim(m.spec.Size) {
				return nil // what becomes free is for this one
			}
			first = l
		}
	}
	return first
}

// yield sees to it that so many bytes become free when those who use models now are done. It does nothing where that would not be enough.
func (f *Fleet[T]) yield(want int64) {
	soon := f.free()
	var used []*model[T]
	for m := range f.all() {
		switch {
		case m.phase == Loaded && m.users > 0 && !m.retired && !m.yields:
			used = append(used, m)
		case m.phase != Loading || m.flight.waiters == 0 || m.flight.dropped:
			soon += m.held
		}
	}
	most := soon
	for _, m := range used {
		most += m.held
	}
	if most < want {
		return
	}
	slices.SortStableFunc(used, func(a, b *model[T]) int { return a.lastUsed.Compare(b.lastUsed) })
	for _, m := range used {
		if soon >= want {
			return
		}
		soon += m.held
		m.yields = true
	}
}

// free is the memory that no model holds; without a budget it is endless.
func (f *Fleet[T]) free() int64 {
	if f.o.Memory == 0 {
		return 1<<63 - 1
	}
	return f.o.Memory - f.used
}

// reclaim sees to it that so many bytes become free, and reports whether they will: models that nobody uses are put out, the longest
// unused first. It does nothing where that would not be enough.
func (f *Fleet[T]) reclaim(want int64) bool {
	soon := f.free()
	var idle []*model[T]
	for m := range f.all() {
		switch {
		case m.phase == Unloading, m.phase == Loading && m.flight.dropped:
			soon += m.held
		case m.phase == Loading && m.flight.waiters == 0, m.phase == Loaded && m.users == 0:
			idle = append(idle, m)
		}
	}
	if soon >= want {
		return true
	}
	most := soon
	for _, m := range idle {
		most += m.held
	}
	if most < want {
		return false
	}
	// Loads that nobody waits for were never used, so they come first.
	slices.SortStableFunc(idle, func(a, b *model[T]) int {
		if (a.phase == Loading) != (b.phase == Loading) {
			if a.phase == Loading {
				return -1
			}
			return 1
		}
		return a.lastUsed.Compare(b.lastUsed)
	})
	for _, m := range idle {
		if soon >= want {
			break
		}
		soon += m.held
		if m.phase == Loading {
			f.drop(m.flight)
		} else {
			f.unload(m, "another model needs its memory")
		}
	}
	return true
}

// begin loads a model, in a goroutine that ends with the load.
func (f *Fleet[T]) begin(l *flight[T]) {
	m := l.model
	m.phase, m.held = Loading, m.spec.Size
	f.used += m.held
	f.live++
	l.stop()
	go f.load(l, m.spec.Name)
}

// drop gives a load up.
func (f *Fleet[T]) drop(l *flight[T]) {
	l.dropped = true
	l.cancel()
}

// load runs a load to its end. It wants no lock.
func (f *Fleet[T]) load(l *flight[T], name string) {
	begun := f.o.Now()
	f.o.Log.Info("loading a model", "model", name)
	value, err := f.try(l, name)
	took := f.o.Now().Sub(begun)
	f.mu.Lock()
	pause := f.land(l, value, err)
	dropped := l.dropped
	f.mu.Unlock()
	// A log may be slow, so it is told without the lock.
	switch {
	case dropped:
		f.o.Log.Info("the load of a model was given up", "model", name, "after", took)
	case err != nil:
		f.o.Log.Error("a model cannot be loaded", "model", name, "error", err, "retry_after", pause)
	default:
		f.o.Log.Info("model loaded", "model", name, "took", took)
	}
}

// land ends a load with what it returned, and tells the pause after a failure.
func (f *Fleet[T]) land(l *flight[T], value T, err error) (pause time.Duration) {
	m := l.model
	switch {
	case err == nil && !l.dropped:
		m.value, m.phase, m.failure, m.failures = value, Loaded, nil, 0
		m.lastUsed = f.o.Now()
		f.use(m, l.waiters)
		f.finish(l, nil)
		f.rest(m)
		f.admit() // it may have nobody to wait for it
	case err == nil:
		m.value = value
		f.unload(m, "nobody needs it any more")
		f.finish(l, errAgain)
	case l.dropped:
		f.gone(m, Unloaded)
		f.finish(l, errAgain)
		f.admit()
	default:
		m.failure = err
		m.failures++
		pause = pauseAfter(m.failures)
		m.retryAt = f.o.Now().Add(pause)
		f.gone(m, Failed)
		f.finish(l, &LoadError{Name: m.spec.Name, Err: err, RetryAfter: pause})
		f.admit()
	}
	return pause
}

// try calls Load. It wants no lock.
func (f *Fleet[T]) try(l *flight[T], name string) (value T, err error) {
	defer func() {
		if r := recover(); r != nil {
			f.o.Log.Error("panic while a model was loaded", "model", name, "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return f.o.Load(l.ctx, name, func(share float64) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if share > l.progress { // so NaN is none
			l.progress = min(share, 1)
		}
	})
}

// pauseAfter is the time from the n-th failure in a row to the next try.
func pauseAfter(n int) time.Duration {
	return min(maxPause, firstPause<<min(n-1, 16))
}

// finish ends a load and tells all who wait for it.
func (f *Fleet[T]) finish(l *flight[T], err error) {
	l.stop()
	l.cancel()
	l.ended, l.err = true, err
	close(l.done)
	m := l.model
	m.flight = nil
	if m.phase == Waiting {
		m.phase = Unloaded
		if m.failure != nil {
			m.phase = Failed
		}
	}
}

// use adds users to a loaded model.
func (f *Fleet[T]) use(m *model[T], users int) {
	m.users += users
	if m.users > 0 && m.idle != nil {
		m.idle.Stop()
		m.idle = nil
	}
}

// releaser is what a user calls to be none any more. It takes the lock.
func (f *Fleet[T]) releaser(m *model[T]) func() {
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.release(m)
	})
}

func (f *Fleet[T]) release(m *model[T]) {
	m.users--
	m.lastUsed = f.o.Now()
	if m.users > 0 {
		return
	}
	if m.retired {
		f.unload(m, f.retirement())
		return
	}
	f.rest(m)
	f.admit()
}

// rest starts the keep-alive of a model that nobody uses.
func (f *Fleet[T]) rest(m *model[T]) {
	if m.phase != Loaded || m.users > 0 || m.retired {
		return
	}
	if m.idle != nil {
		m.idle.Stop()
		m.idle = nil
	}
	keep := m.spec.KeepAlive
	if keep == 0 {
		keep = f.o.KeepAlive
	}
	if keep < 0 {
		return
	}
	// A clock that was set back must not keep it longer.
	left := max(0, min(keep, keep-f.o.Now().Sub(m.lastUsed)))
	var timer *time.Timer
	timer = time.AfterFunc(left, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if m.idle != timer {
			return
		}
		f.unload(m, "nobody used it for "+keep.String())
	})
	m.idle = timer
}

// unload closes a model that nobody uses, in a goroutine that ends with that.
func (f *Fleet[T]) unload(m *model[T], why string) {
	if m.idle != nil {
		m.idle.Stop()
		m.idle = nil
	}
	m.phase, m.yields = Unloading, false
	m.unloaded = make(chan struct{})
	value := m.value
	var none T
	m.value = none
	go f.shut(m, m.spec.Name, value, why)
}

// shut wants no lock.
func (f *Fleet[T]) shut(m *model[T], name string, value T, why string) {
	f.o.Log.Info("unloading a model", "model", name, "reason", why)
	f.dispose(name, value)
	f.mu.Lock()
	defer f.mu.Unlock()
	close(m.unloaded)
	m.unloaded = nil
	f.gone(m, Unloaded)
	f.admit()
}

// dispose calls Close. It wants no lock.
func (f *Fleet[T]) dispose(name string, value T) {
	defer func() {
		if r := recover(); r != nil {
			f.o.Log.Error("panic while a model was closed", "model", name, "panic", r, "stack", string(debug.Stack()))
		}
	}()
	f.o.Close(value)
}

// gone frees the memory of a model that is no longer there.
func (f *Fleet[T]) gone(m *model[T], phase Phase) {
	f.used -= m.held
	f.live--
	m.held, m.phase = 0, phase
	if m.flight != nil && phase == Unloaded && slices.Contains(f.queue, m.flight) {
		m.phase = Waiting // somebody asked for it while it was closed
	}
	delete(f.retired, m)
	f.calm()
}

// calm tells Close that nothing is left.
func (f *Fleet[T]) calm() {
	if f.closed && f.live == 0 {
		select {
		case <-f.quiet:
		default:
			close(f.quiet)
		}
	}
}
