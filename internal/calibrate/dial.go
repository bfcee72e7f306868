package calibrate

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrMeasuring says that the model is being calibrated and that the answer will be there later.
var ErrMeasuring = errors.New("the model is being calibrated")

// Dial turns levels into σ. It measures the curve when it is first needed, once however many ask, and is safe for concurrent
// use.
type Dial struct {
	// Obtain loads or measures the curve. It runs on a goroutine of its own under the context of Context.
	Obtain func(ctx context.Context) (*Curve, error)
	// Context is that of the work done for all callers, which must outlive each; default context.Background().
	Context context.Context
	// Patience is how long a caller waits for a curve being measured; 0 waits as long as its own context allows.
	Patience time.Duration

	mu  sync.Mutex
	run *obtaining // the last one, also after it succeeded
}

// obtaining is one attempt to get the curve.
type obtaining struct {
	done  chan struct{} // closed when the rest is set
	curve *Curve
	err   error
	ended time.Time
}

// rest is how long a failure stands, so that no crowd of requests makes a model that cannot be measured try all the time.
const rest = 10 * time.Second

// Curve returns the curve, for which it waits at most Patience and as long as ctx allows: [ErrMeasuring] says that the work
// goes on. An attempt that failed is told to all who waited for it, and who asks ten seconds later starts another one.
func (d *Dial) Curve(ctx context.Context) (*Curve, error) {
	run := d.start()
	var impatient <-chan time.Time
	if d.Patience > 0 {
		timer := time.NewTimer(d.Patience)
		defer timer.Stop()
		impatient = timer.C
	}
	select {
	case <-run.done:
		return run.curve, run.err
	default:
	}
	select {
	case <-run.done:
		return run.curve, run.err
	case <-impatient:
		return nil, ErrMeasuring
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// start returns the attempt under way, or the one that succeeded, or begins one.
func (d *Dial) start() *obtaining {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.run != nil {
		select {
		case <-d.run.done:
			if d.run.err == nil || time.Since(d.run.ended) < rest {
				return d.run
			}
		default:
			return d.run
		}
	}
	run := &obtaining{done: make(chan struct{})}
	d.run = run
	ctx := d.Context
	if ctx == nil {
		ctx = context.Background()
	}
	go func() {
		defer close(run.done)
		run.curve, run.err = d.Obtain(ctx)
		if run.curve == nil && run.err == nil {
			run.err = ErrNone
		}
		run.ended = time.Now()
	}()
	return run
}

// Sigma is the σ for a level; see [Curve.Sigma]. Level 1 needs no curve.
func (d *Dial) Sigma(ctx context.Context, level float64) (float64, error) {
	if level == 1 {
		return 0, nil
	}
	c, err := d.Curve(ctx)
	if err != nil {
		return 0, err
	}
	return c.Sigma(level)
}

// Level is the level of σ, where the curve is at hand; it never waits and starts nothing.
func (d *Dial) Level(sigma float64) (level float64, known bool) {
	if sigma == 0 {
		return 1, true
	}
	c := d.known()
	if c == nil {
		return 0, false
	}
	level, _ = c.At(sigma)
	return level, true
}

// Known are the points of the curve, nil where it is not at hand; it never waits and starts nothing.
func (d *Dial) Known() []Point {
	if c := d.known(); c != nil {
		return c.Points
	}
	return nil
}

// known is the curve where it is at hand.
func (d *Dial) known() *Curve {
	d.mu.Lock()
	run := d.run
	d.mu.Unlock()
	if run == nil {
		return nil
	}
	select {
	case <-run.done:
		return run.curve // nil where it failed
	default:
		return nil
	}
}
