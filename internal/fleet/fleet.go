// Package fleet keeps several models in one process: each is loaded when it is first asked for, shared by all who use it, unloaded when
// nobody did for a while, and put out for another one where memory is short. It knows nothing of what a model is.
//
// The life of a model:
//
//	unloaded ─► waiting ─► loading ─► loaded ─► unloading ─► unloaded
//	   ▲           │          │
//	   └───────────┴──────────┴─► failed (asked again no sooner than its pause is over)
//
// What holds throughout:
//
//   - The bytes of models that are loading, loaded or unloading never exceed the budget.
//   - A model is closed exactly once, and never while somebody uses it.
//   - All callers share one load. A caller that gives up leaves at once. A load that has begun goes on without callers, because who
//     comes back would otherwise begin anew each time; it is given up only where another model needs its memory.
//   - Models wait for memory in the order in which they were asked for. One that fits without putting out another may go before those
//     that must wait for others to be released. Nobody waits forever: see [Options].Patience.
//   - Steady use of one model does not keep another one out: after its turn ([Options].Turn) it takes no new users until the other one
//     was loaded, and those wait in line.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Spec says what there is to know of a model before it is loaded.
type Spec struct {
	// Name is what it is asked for by. Each is used once.
	Name string
	// Size is the memory that it will take, in bytes; at least 0. It counts from when loading begins until closing is done.
	Size int64
	// KeepAlive is how long it stays loaded while nobody uses it: 0 is Options.KeepAlive, less than 0 is forever.
	KeepAlive time.Duration
	// Version tells one configuration of this name from another. Where [Fleet.Update] changes it, the model is loaded anew: who uses
	// the former one keeps it until it is released.
	Version string
}

// Options are how a fleet loads, and what it may take.
type Options[T any] struct {
	// Memory is the budget for all models together, in bytes; 0 is none.
	Memory int64
	// KeepAlive is that of models which set none: 0 is [DefaultKeepAlive], less than 0 is forever.
	KeepAlive time.Duration
	// Patience is how long a model waits for memory that others use before its callers get a [MemoryError]: 0 is [DefaultPatience], less
	// than 0 is as long as its callers do.
	Patience time.Duration
	// Turn is how long a model waits before those whose memory it needs take no new users, so that they come to an end: 0 is
	// [DefaultTurn], less than 0 is forever, so that it waits until they happen to be unused.
	Turn time.Duration
	// Load loads a model. It may run for several models at once. Where ctx ends, nobody needs the model any more: it should stop, and
	// what it returns nevertheless is closed. progress takes the share that is done, from 0 to 1. A panic is an error.
	Load func(ctx context.Context, name string, progress func(float64)) (T, error)
	// Close frees what Load returned. A panic is logged.
	Close func(T)
	// Log is told of loads and their ends; nil is nobody.
	Log *slog.Logger
	// Now is the clock, by default the real one. It may jump.
	Now func() time.Time
}

// The defaults of [Options].
const (
	DefaultKeepAlive = 10 * time.Minute
	DefaultPatience  = time.Minute
	DefaultTurn      = 10 * time.Second
)

// The pause after a failed load, which doubles with each further one.
const (
	firstPause = time.Second
	maxPause   = time.Minute
)

// Fleet is a set of models. All its methods may be called at once.
type Fleet[T any] struct {
	o Options[T]

	mu sync.Mutex
	// models are those that can be asked for, in the order of their specs; retired ones were removed while they were loaded.
	models  []*model[T]
	retired map[*model[T]]struct{}
	// queue are the loads that wait for memory, the first come first.
	queue []*flight[T]
	// ahead is the load for which models yield; nil for none.
	ahead *flight[T]
	// used is the memory of models that are loading, loaded or unloading; live is how many those are.
	used int64
	live int
	// closed says that nothing is loaded any more; quiet is closed when nothing is left after that.
	closed bool
	quiet  chan struct{}
}

// model is one model; its fields are guarded by the fleet's lock.
type model[T any] struct {
	spec  Spec
	phase Phase
	// held is its memory while it is loading, loaded or unloading.
	held     int64
	value    T
	users    int
	lastUsed time.Time
	// yields says that it takes no new users although it is loaded, because another model waits for its memory.
	yields bool
	// idle ends its keep-alive; nil while it is in use.
	idle *time.Timer
	// flight is the load under way or waiting, unloaded is closed when unloading is done; nil otherwise.
	flight   *flight[T]
	unloaded chan struct{}
	// failure is the error of the last load, retryAt when the next may begin, failures how many failed in a row.
	failure  error
	retryAt  time.Time
	failures int
	retired  bool
}

// flight is one load and those who wait for it.
type flight[T any] struct {
	model    *model[T]
	waiters  int
	progress float64
	ctx      context.Context
	cancel   context.CancelFunc
	// patience ends the wait for memory; due is set by turn.
	patience, turn *time.Timer
	due            bool
	// dropped says that its result is to be closed.
	dropped bool
	// done is closed when it has ended, with err. Each waiter then is a user where err is nil.
	done  chan struct{}
	ended bool
	err   error
}

// errAgain ends a load whose waiters are to ask again.
var errAgain = errors.New("fleet: ask again")

// New returns a fleet with nothing loaded. It fails where a spec is wrong.
func New[T any](specs []Spec, o Options[T]) (*Fleet[T], error) {
	if o.KeepAlive == 0 {
		o.KeepAlive = DefaultKeepAlive
	}
	if o.Patience == 0 {
		o.Patience = DefaultPatience
	}
	if o.Turn == 0 {
		o.Turn = DefaultTurn
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Memory < 0 {
		return nil, fmt.Errorf("a memory of %d bytes: want at least 0", o.Memory)
	}
	f := &Fleet[T]{o: o, retired: map[*model[T]]struct{}{}, quiet: make(chan struct{})}
	return f, f.Update(specs)
}

// SetMemory changes the budget, in bytes; 0 is none. What is loaded stays, also where it is more than that, until it is unused or others need
// its memory.
func (f *Fleet[T]) SetMemory(budget int64) error {
	if budget < 0 {
		return fmt.Errorf("a memory of %d bytes: want at least 0", budget)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.o.Memory = budget
	for _, l := range slices.Clone(f.queue) {
		if budget > 0 && l.model.spec.Size > budget {
			f.refuse(l)
		}
	}
	f.admit()
	return nil
}

// check tells what is wrong with specs.
func check(specs []Spec) error {
	seen := map[string]bool{}
	for _, s := range specs {
		switch {
		case s.Name == "":
			return errors.New("a model without a name")
		case seen[s.Name]:
			return fmt.Errorf("model %q is there twice", s.Name)
		case s.Size < 0:
			return fmt.Errorf("model %q: a size of %d bytes, want at least 0", s.Name, s.Size)
		}
		seen[s.Name] = true
	}
	return nil
}

// Acquire returns a model, which it loads first where needed, and what must be called when it is no longer used; more calls of that do
// nothing. It waits no longer than ctx. It fails with [ErrUnknown], [ErrClosed], a [LoadError], a [MemoryError], or the error of ctx.
func (f *Fleet[T]) Acquire(ctx context.Context, name string) (value T, release func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if err := ctx.Err(); err != nil {
			return value, nil, err
		}
		m, err := f.find(name)
		if err != nil {
			return value, nil, err
		}
		if m.phase == Loaded && !m.yields {
			f.use(m, 1)
			return m.value, f.releaser(m), nil
		}
		l, err := f.join(m)
		if err != nil {
			return value, nil, err
		}
		err = f.wait(ctx, l)
		switch {
		case err == nil:
			return m.value, f.releaser(m), nil
		case !errors.Is(err, errAgain):
			return value, nil, err
		}
	}
}

// wait waits for a load that its caller joined, without the lock. Without an error the caller is a user of the model.
func (f *Fleet[T]) wait(ctx context.Context, l *flight[T]) error {
	f.mu.Unlock()
	select {
	case <-l.done:
	case <-ctx.Done():
	}
	f.mu.Lock()
	switch {
	case !l.ended:
		return f.leave(ctx, l)
	case l.err == nil && ctx.Err() != nil:
		f.release(l.model)
		return ctx.Err()
	}
	return l.err
}

// Peek is Acquire for a model that is loaded and takes users; ok is false otherwise. It neither loads nor waits.
func (f *Fleet[T]) Peek(name string) (value T, release func(), ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, err := f.find(name)
	if err != nil || m.phase != Loaded || m.yields {
		return value, nil, false
	}
	f.use(m, 1)
	return m.value, f.releaser(m), true
}

// Preload loads a model before anybody asks for it. It fails as Acquire does.
func (f *Fleet[T]) Preload(ctx context.Context, name string) error {
	_, release, err := f.Acquire(ctx, name)
	if err == nil {
		release()
	}
	return err
}

// Unload unloads a model that nobody uses, and returns when it is closed, or ctx ends. A failed one is forgiven: who asks next does not
// wait for its pause to be over. It fails with [ErrUnknown], [ErrClosed], or an [InUseError].
func (f *Fleet[T]) Unload(ctx context.Context, name string) error {
	f.mu.Lock()
	m, err := f.find(name)
	if err == nil && (m.users > 0 || m.flight != nil) {
		err = &InUseError{Name: name, Users: m.users, Loading: m.flight != nil}
	}
	if err != nil {
		f.mu.Unlock()
		return err
	}
	switch m.phase {
	case Loaded:
		f.unload(m, "asked to")
	case Failed:
		m.phase, m.failure, m.failures = Unloaded, nil, 0
	default:
	}
	unloaded := m.unloaded
	f.mu.Unlock()
	if unloaded == nil {
		return nil
	}
	select {
	case <-unloaded:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Update replaces the specs. Models that are gone, or whose Version is another, are closed as soon as nobody uses them; who waits for
// one to be loaded gets the new one, or [ErrUnknown]. Nothing changes where a spec is wrong. It fails with [ErrClosed], too.
func (f *Fleet[T]) Update(specs []Spec) error {
	if err := check(specs); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrClosed
	}
	old := map[string]*model[T]{}
	for _, m := range f.models {
		old[m.spec.Name] = m
	}
	f.models = nil
	for _, s := range specs {
		m := old[s.Name]
		if m == nil || m.spec.Version != s.Version {
			m = &model[T]{spec: s}
		} else {
			delete(old, s.Name)
			m.spec = s
			f.rest(m)
		}
		f.models = append(f.models, m)
	}
	for _, m := range old {
		f.retire(m)
	}
	for _, m := range f.models {
		if m.phase == Waiting && f.o.Memory > 0 && m.spec.Size > f.o.Memory {
			f.refuse(m.flight)
		}
	}
	f.admit()
	return nil
}

// retire takes a model out that can no longer be asked for.
func (f *Fleet[T]) retire(m *model[T]) {
	m.retired = true
	if l := m.flight; l != nil && slices.Contains(f.queue, l) {
		f.dequeue(l)
		f.finish(l, errAgain)
	}
	switch {
	case m.phase == Unloaded || m.phase == Failed:
		return
	case m.phase == Loading:
		f.drop(m.flight)
	case m.phase == Loaded && m.users == 0:
		f.unload(m, f.retirement())
	}
	f.retired[m] = struct{}{}
}

// retirement is why models are unloaded that were taken out.
func (f *Fleet[T]) retirement() string {
	if f.closed {
		return "the end"
	}
	return "no longer configured"
}

// Close gives up loads, refuses new users, and closes each model as soon as nobody uses it. It returns when all are closed; where ctx
// ends before, it says which are in use, and they are closed when they are released.
func (f *Fleet[T]) Close(ctx context.Context) error {
	f.mu.Lock()
	if !f.closed {
		f.closed = true
		for _, m := range f.models {
			f.retire(m)
		}
		f.calm()
	}
	f.mu.Unlock()
	select {
	case <-f.quiet:
		return nil
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.live == 0 {
		return nil
	}
	return fmt.Errorf("models not closed yet: %s: %w", holdersText(f.holders()), ctx.Err())
}

// find returns a model that can be asked for.
func (f *Fleet[T]) find(name string) (*model[T], error) {
	if f.closed {
		return nil, ErrClosed
	}
	for _, m := range f.models {
		if m.spec.Name == name {
			return m, nil
		}
	}
	return nil, fmt.Errorf("model %q: %w", name, ErrUnknown)
}
