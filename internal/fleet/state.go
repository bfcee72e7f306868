package fleet

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// Phase is where a model is in its life.
type Phase int

// The phases. Waiting is for memory, Failed until somebody asks again after the pause.
const (
	Unloaded Phase = iota
	Waiting
	Loading
	Loaded
	Unloading
	Failed
)

// String is the phase as a word.
func (p Phase) String() string {
	return [...]string{"unloaded", "waiting", "loading", "loaded", "unloading", "failed"}[p]
}

// MarshalText makes the word its form in JSON.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// State is what a model does.
type State struct {
	Name string `json:"name"`
	// Phase says that; Progress is the share of a load that is done, from 0 to 1.
	Phase    Phase   `json:"phase"`
	Progress float64 `json:"progress,omitempty"`
	// Users hold it, and Waiters wait for it to be loaded.
	Users   int `json:"users"`
	Waiters int `json:"waiters,omitempty"`
	// LastUsed is when it was last released, or loaded; zero where it never was.
	LastUsed time.Time `json:"last_used,omitzero"`
	// Bytes are what it takes, or would take where it is not loaded.
	Bytes int64 `json:"bytes"`
	// Err is why the last load failed, and RetryAt when the next may begin.
	Err     string    `json:"error,omitempty"`
	RetryAt time.Time `json:"retry_at,omitzero"`
	// Yielding says that it takes no new users, because another model waits for its memory.
	Yielding bool `json:"yielding,omitempty"`
	// Retired says that it can no longer be asked for, and is closed when nobody uses it any more.
	Retired bool `json:"retired,omitempty"`
}

// States tells what each model does, in the order of the specs; then those that were removed and are not closed yet.
func (f *Fleet[T]) States() []State {
	f.mu.Lock()
	defer f.mu.Unlock()
	var states []State
	for m := range f.all() {
		s := State{
			Name: m.spec.Name, Phase: m.phase, Users: m.users, LastUsed: m.lastUsed, Bytes: m.spec.Size,
			Yielding: m.yields, Retired: m.retired,
		}
		if m.held > 0 {
			s.Bytes = m.held
		}
		if m.flight != nil {
			s.Progress, s.Waiters = m.flight.progress, m.flight.waiters
		}
		if m.failure != nil {
			s.Err, s.RetryAt = m.failure.Error(), m.retryAt
		}
		states = append(states, s)
	}
	return states
}

// Memory is how many bytes models hold, and the budget, which is 0 where there is none.
func (f *Fleet[T]) Memory() (used, budget int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used, f.o.Memory
}

// all are the models, and after them the retired ones. It wants the lock.
func (f *Fleet[T]) all() iter.Seq[*model[T]] {
	return func(yield func(*model[T]) bool) {
		for _, m := range f.models {
			if !yield(m) {
				return
			}
		}
		for m := range f.retired {
			// After Close all models are retired, and are in both.
			if !slices.Contains(f.models, m) && !yield(m) {
				return
			}
		}
	}
}

// The errors of a fleet. ErrUnknown is for a name that no spec has.
var (
	ErrUnknown = errors.New("no such model is configured")
	ErrClosed  = errors.New("models are no longer loaded: the server is stopping")
)

// LoadError says that a model could not be loaded.
type LoadError struct {
	// Name is the model's, and Err the reason.
	Name string
	Err  error
	// RetryAfter is the time until it is tried again where somebody asks.
	RetryAfter time.Duration
}

func (e *LoadError) Error() string {
	return fmt.Sprintf("model %q cannot be loaded: %v; it can be asked for again in %v", e.Name, e.Err, e.RetryAfter.Round(time.Millisecond))
}

// Unwrap is the reason.
func (e *LoadError) Unwrap() error { return e.Err }

// InUseError says that a model cannot be unloaded.
type InUseError struct {
	Name string
	// Users hold it; Loading says that somebody waits for it to be loaded.
	Users   int
	Loading bool
}

func (e *InUseError) Error() string {
	if e.Loading {
		return fmt.Sprintf("model %q is being loaded", e.Name)
	}
	return fmt.Sprintf("model %q is in use: %d requests hold it", e.Name, e.Users)
}

// Holder is a model that holds memory.
type Holder struct {
	Name  string
	Bytes int64
	Users int
	Phase Phase
}

// MemoryError says that there is no memory for a model.
type MemoryError struct {
	Name string
	// Want are the bytes that it takes, Free those that nobody holds, of a budget of Budget. Where Want is more than that, it can never
	// be loaded.
	Want, Free, Budget int64
	// Holders are the models that hold the rest.
	Holders []Holder
	// Err is the error of the context that ended while the model waited, nil where its own patience did.
	Err error
}

func (e *MemoryError) Error() string {
	if e.Want > e.Budget {
		return fmt.Sprintf("model %q takes %d bytes, which is more than the %d that all models together may take", e.Name, e.Want, e.Budget)
	}
	text := fmt.Sprintf("no memory for model %q: it takes %d bytes, and %d of %d are free", e.Name, e.Want, e.Free, e.Budget)
	if len(e.Holders) > 0 {
		text += "; " + holdersText(e.Holders)
	}
	return text
}

// Unwrap is the context's error.
func (e *MemoryError) Unwrap() error { return e.Err }

func holdersText(holders []Holder) string {
	var parts []string
	for _, h := range holders {
		parts = append(parts, fmt.Sprintf("%q holds %d (%s, %d users)", h.Name, h.Bytes, h.Phase, h.Users))
	}
	return strings.Join(parts, ", ")
}

// shortage says who holds the memory that a model wants. It wants the lock.
func (f *Fleet[T]) shortage(m *model[T]) *MemoryError {
	return &MemoryError{
		Name: m.spec.Name, Want: m.spec.Size, Free: f.o.Memory - f.used, Budget: f.o.Memory, Holders: f.holders(),
	}
}

// holders are all models with memory. It wants the lock.
func (f *Fleet[T]) holders() (holders []Holder) {
	for m := range f.all() {
		if m.phase == Loading || m.phase == Loaded || m.phase == Unloading {
			holders = append(holders, Holder{m.spec.Name, m.held, m.users, m.phase})
		}
	}
	return holders
}
