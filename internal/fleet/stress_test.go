package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// loaded is a model of the stress test.
type loaded struct {
	size   int64
	users  atomic.Int64
	closed atomic.Bool
}

// yard counts what is loaded.
type yard struct {
	t             *testing.T
	budget        int64
	used          atomic.Int64
	loads, closes atomic.Int64
}

func (y *yard) load(ctx context.Context, name string, progress func(float64)) (*loaded, error) {
	var i int64
	fmt.Sscanf(name, "m%d", &i)
	size := 1 + i%4
	if now := y.used.Add(size); now > y.budget {
		y.t.Errorf("%d bytes of %d are used", now, y.budget)
	}
	for step := range rand.IntN(4) {
		progress(float64(step) / 4)
		select {
		case <-time.After(time.Duration(rand.IntN(500)) * time.Microsecond):
		case <-ctx.Done():
			if rand.IntN(2) == 0 { // the others finish nevertheless
				y.used.Add(-size)
				return nil, ctx.Err()
			}
		}
	}
	switch rand.IntN(12) {
	case 0:
		y.used.Add(-size)
		return nil, errors.New("failed by chance")
	case 1:
		y.used.Add(-size)
		panic("panicked by chance")
	}
	y.loads.Add(1)
	return &loaded{size: size}, nil
}

func (y *yard) close(m *loaded) {
	if n := m.users.Load(); n != 0 {
		y.t.Errorf("closed while %d use it", n)
	}
	if m.closed.Swap(true) {
		y.t.Error("closed twice")
	}
	time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond)
	y.used.Add(-m.size)
	y.closes.Add(1)
}

// list is a random choice of models m0 to m11, of the sizes that load takes.
func list() (specs []Spec) {
	for i := range 12 {
		if rand.IntN(8) > 0 {
			specs = append(specs, Spec{
				Name: fmt.Sprintf("m%d", i), Size: int64(1 + i%4), KeepAlive: time.Duration(rand.IntN(3)-1) * time.Millisecond,
				Version: fmt.Sprint(rand.IntN(10) / 9),
			})
		}
	}
	return specs
}

// work acquires and releases models at random, as many at once as it likes.
func (y *yard) work(f *Fleet[*loaded], end <-chan struct{}) (got int) {
	for {
		select {
		case <-end:
			return got
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(20_000))*time.Microsecond)
		m, release, err := f.Acquire(ctx, fmt.Sprintf("m%d", rand.IntN(12)))
		cancel()
		var failed *LoadError
		var short *MemoryError
		switch {
		case err == nil:
			got++
			m.users.Add(1)
			if m.closed.Load() {
				y.t.Error("a closed model was handed out")
			}
			time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
			m.users.Add(-1)
			release()
		case errors.As(err, &failed), errors.As(err, &short), errors.Is(err, ErrUnknown), errors.Is(err, context.DeadlineExceeded):
			time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
		default:
			y.t.Error(err)
		}
	}
}

// TestStress holds what must hold under any order of events: memory within the budget, no model closed in use or twice, all closed in
// the end, and no goroutine left.
func TestStress(t *testing.T) {
	before := runtime.NumGoroutine()
	y := &yard{t: t, budget: 9}
	f, err := New(list(), Options[*loaded]{
		Memory: y.budget, Patience: 8 * time.Millisecond, Turn: 2 * time.Millisecond, KeepAlive: time.Millisecond, Load: y.load, Close: y.close,
	})
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan struct{})
	var wg sync.WaitGroup
	var got atomic.Int64
	for range 300 {
		wg.Go(func() { got.Add(int64(y.work(f, end))) })
	}
	wg.Go(func() { // an owner, who reloads, looks and unloads
		for {
			select {
			case <-end:
				return
			case <-time.After(time.Duration(rand.IntN(5000)) * time.Microsecond):
			}
			if used, budget := f.Memory(); used > budget || used < 0 {
				t.Errorf("%d bytes of %d are used", used, budget)
			}
			f.States()
			_ = f.Unload(context.Background(), fmt.Sprintf("m%d", rand.IntN(12)))
			if rand.IntN(10) == 0 {
				if err := f.Update(list()); err != nil {
					t.Error(err)
				}
			}
			// Failures are forgiven, so that there is something to do.
			for i := range 12 {
				_ = f.Unload(context.Background(), fmt.Sprintf("m%d", i))
			}
		}
	})
	time.Sleep(2 * time.Second)
	close(end)
	wg.Wait()
	if err := f.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if y.used.Load() != 0 || y.loads.Load() != y.closes.Load() || y.loads.Load() == 0 || got.Load() == 0 {
		t.Errorf("%d bytes left; %d loads, %d closes, %d uses", y.used.Load(), y.loads.Load(), y.closes.Load(), got.Load())
	}
	t.Logf("%d loads, %d uses", y.loads.Load(), got.Load())
	for range 100 { // timers that are stopped may be about to end
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	buf := make([]byte, 1<<16)
	t.Errorf("goroutines: %d before, %d after\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
}
