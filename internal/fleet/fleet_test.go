package fleet

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// thing is what the tests load.
type thing struct {
	name   string
	closed bool
}

// garage loads things, and tells what is loaded.
type garage struct {
	mu     sync.Mutex
	loads  map[string]int
	closes map[string]int
	// fail are the errors of loads, took how long they take.
	fail map[string]error
	took map[string]time.Duration
}

func (g *garage) load(ctx context.Context, name string, progress func(float64)) (*thing, error) {
	g.mu.Lock()
	g.loads[name]++
	err, took := g.fail[name], g.took[name]
	g.mu.Unlock()
	progress(0.5)
	if took > 0 {
		select {
		case <-time.After(took):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if name == "panics" {
		panic("no such layer")
	}
	if err != nil {
		return nil, err
	}
	return &thing{name: name}, nil
}

func (g *garage) close(t *thing) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.closed {
		panic("closed twice: " + t.name)
	}
	t.closed = true
	g.closes[t.name]++
}

func (g *garage) counts(name string) (loads, closes int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.loads[name], g.closes[name]
}

// specs are models a, b, c, panics, big, of 4, 4, 2, 1 and 100 bytes.
func specs() []Spec {
	return []Spec{{Name: "a", Size: 4}, {Name: "b", Size: 4}, {Name: "c", Size: 2}, {Name: "panics", Size: 1}, {Name: "big", Size: 100}}
}

// with runs a test in its own time, on a fleet that is closed at the end.
func with(t *testing.T, o Options[*thing], test func(t *testing.T, f *Fleet[*thing], g *garage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := &garage{
			loads: map[string]int{}, closes: map[string]int{}, fail: map[string]error{}, took: map[string]time.Duration{},
		}
		o.Load, o.Close = g.load, g.close
		f, err := New(specs(), o)
		if err != nil {
			t.Fatal(err)
		}
		test(t, f, g)
		if err := f.Close(t.Context()); err != nil {
			t.Error(err)
		}
		for name := range g.loads {
			if loads, closes := g.counts(name); closes > loads {
				t.Errorf("%s: loaded %d times, closed %d times", name, loads, closes)
			}
		}
		if used, _ := f.Memory(); used != 0 {
			t.Errorf("%d bytes are held by nobody", used)
		}
	})
}

func acquire(t *testing.T, f *Fleet[*thing], name string) func() {
	t.Helper()
	v, release, err := f.Acquire(t.Context(), name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if v.name != name || v.closed {
		t.Fatalf("asked for %s, got %+v", name, v)
	}
	return release
}

func state(t *testing.T, f *Fleet[*thing], name string) State {
	t.Helper()
	for _, s := range f.States() {
		if s.Name == name && !s.Retired {
			return s
		}
	}
	t.Fatalf("no %s", name)
	return State{}
}

func TestOneLoadForAll(t *testing.T) {
	with(t, Options[*thing]{}, func(t *testing.T, f *Fleet[*thing], g *garage) {
		g.took["a"] = time.Second
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { defer acquire(t, f, "a")(); time.Sleep(time.Second) })
		}
		synctest.Wait()
		if s := state(t, f, "a"); s.Phase != Loading || s.Progress != 0.5 || s.Waiters != 20 || s.Bytes != 4 {
			t.Errorf("while it loads: %+v", s)
		}
		time.Sleep(1500 * time.Millisecond)
		if s := state(t, f, "a"); s.Phase != Loaded || s.Users != 20 || s.Waiters != 0 {
			t.Errorf("while it is used: %+v", s)
		}
		wg.Wait()
		if loads, closes := g.counts("a"); loads != 1 || closes != 0 {
			t.Errorf("%d loads, %d closes", loads, closes)
		}
		if loads, _ := g.counts("b"); loads != 0 {
			t.Error("b was loaded, which nobody asked for")
		}
	})
}

func TestKeepAlive(t *testing.T) {
	with(t, Options[*thing]{KeepAlive: time.Minute}, func(t *testing.T, f *Fleet[*thing], g *garage) {
		list := specs()
		list[1].KeepAlive, list[2].KeepAlive = 5*time.Minute, -1
		if err := f.Update(list); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a", "b", "c"} {
			if err := f.Preload(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		release := acquire(t, f, "a")
		phases := func(want ...Phase) {
			t.Helper()
			synctest.Wait()
			for i, name := range []string{"a", "b", "c"} {
				if got := state(t, f, name).Phase; got != want[i] {
					t.Errorf("%s is %v, want %v", name, got, want[i])
				}
			}
		}
		time.Sleep(10 * time.Minute)
		phases(Loaded, Unloaded, Loaded) // in use; idle for long; kept forever
		release()
		release() // once more does nothing
		time.Sleep(59 * time.Second)
		acquire(t, f, "a")() // anew
		time.Sleep(59 * time.Second)
		phases(Loaded, Unloaded, Loaded)
		time.Sleep(2 * time.Second)
		phases(Unloaded, Unloaded, Loaded)
		list[2].KeepAlive = time.Minute // a model that is idle already
		if err := f.Update(list); err != nil {
			t.Fatal(err)
		}
		phases(Unloaded, Unloaded, Unloaded)
	})
}

func TestTheLongestUnusedIsPutOut(t *testing.T) {
	with(t, Options[*thing]{Memory: 8}, func(t *testing.T, f *Fleet[*thing], g *garage) {
		for _, name := range []string{"a", "b"} {
			acquire(t, f, name)()
			time.Sleep(time.Second)
		}
		acquire(t, f, "a")()
		acquire(t, f, "c")()
		if _, closes := g.counts("b"); closes != 1 {
			t.Error("b, the longest unused, stayed")
		}
		if _, closes := g.counts("a"); closes != 0 {
			t.Error("a was put out")
		}
	})
}

func TestWhoIsInUseIsWaitedFor(t *testing.T) {
	with(t, Options[*thing]{Memory: 8}, func(t *testing.T, f *Fleet[*thing], g *garage) {
		a, b := acquire(t, f, "a"), acquire(t, f, "b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err := f.Acquire(ctx, "c")
		var short *MemoryError
		if !errors.As(err, &short) || !errors.Is(err, context.DeadlineExceeded) || short.Want != 2 || short.Free != 0 || len(short.Holders) != 2 {
			t.Fatalf("got %v", err)
		}
		if want := `it takes 2 bytes, and 0 of 8 are free; "a" holds 4 (loaded, 1 users), "b" holds 4`; !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want %q", err, want)
		}
		if s := state(t, f, "c"); s.Phase != Unloaded {
			t.Errorf("c is %v", s.Phase)
		}
		begun := time.Now()
		if _, _, err := f.Acquire(t.Context(), "c"); !errors.As(err, &short) || short.Err != nil || time.Since(begun) != DefaultPatience {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		time.AfterFunc(time.Second, a)
		acquire(t, f, "c")()
		b()
		if _, _, err := f.Acquire(t.Context(), "big"); !errors.As(err, &short) || !strings.Contains(err.Error(), "more than the 8") {
			t.Errorf("a model that never fits: %v", err)
		}
	})
}

// TestNoDeadlock holds that two callers, each of which holds what the other one wants, both come to an end.
func TestNoDeadlock(t *testing.T) {
	with(t, Options[*thing]{Memory: 8}, func(t *testing.T, f *Fleet[*thing], g *garage) {
		list := append(specs(), Spec{Name: "d", Size: 8}, Spec{Name: "e", Size: 8})
		if err := f.Update(list); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for _, pair := range [][2]string{{"a", "d"}, {"b", "e"}} {
			wg.Go(func() {
				defer acquire(t, f, pair[0])()
				time.Sleep(time.Second)
				if _, release, err := f.Acquire(t.Context(), pair[1]); err == nil {
					release()
				} else if short := (*MemoryError)(nil); !errors.As(err, &short) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

func TestFailuresPause(t *testing.T) {
	with(t, Options[*thing]{}, func(t *testing.T, f *Fleet[*thing], g *garage) {
		broken := errors.New("broken file")
		g.fail["a"] = broken
		fails := func(want time.Duration, loads int) {
			t.Helper()
			_, _, err := f.Acquire(t.Context(), "a")
			var failed *LoadError
			if !errors.As(err, &failed) || !errors.Is(err, broken) || failed.RetryAfter != want {
				t.Errorf("got %v, want a retry after %v", err, want)
			}
			if n, _ := g.counts("a"); n != loads {
				t.Errorf("loaded %d times, want %d", n, loads)
			}
		}
		fails(time.Second, 1)
		fails(time.Second, 1)
		time.Sleep(400 * time.Millisecond)
		fails(600*time.Millisecond, 1)
		time.Sleep(600 * time.Millisecond)
		fails(2*time.Second, 2)
		if s := state(t, f, "a"); s.Phase != Failed || s.Err != "broken file" || time.Until(s.RetryAt) != 2*time.Second {
			t.Errorf("%+v", s)
		}
		acquire(t, f, "b")() // others are not concerned
		if err := f.Unload(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		fails(time.Second, 3)
		for range 20 {
			time.Sleep(time.Minute)
			_, _, _ = f.Acquire(t.Context(), "a")
		}
		fails(time.Minute, 23)
		delete(g.fail, "a")
		time.Sleep(time.Minute)
		acquire(t, f, "a")()
		if s := state(t, f, "a"); s.Phase != Loaded || s.Err != "" {
			t.Errorf("%+v", s)
		}

		_, _, err := f.Acquire(t.Context(), "panics")
		var failed *LoadError
		if !errors.As(err, &failed) || !strings.Contains(err.Error(), "panic: no such layer") {
			t.Errorf("got %v", err)
		}
	})
}

// TestWhoLeaves holds that a load goes on without its callers, but for memory that another model needs.
func TestWhoLeaves(t *testing.T) {
	with(t, Options[*thing]{Memory: 4}, func(t *testing.T, f *Fleet[*thing], g *garage) {
		g.took["a"], g.took["b"] = time.Minute, time.Minute
		leave := func(name string) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, _, err := f.Acquire(ctx, name); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		}
		leave("a")
		time.Sleep(30 * time.Second)
		begun := time.Now()
		acquire(t, f, "a")()
		if loads, _ := g.counts("a"); loads != 1 || time.Since(begun) >= 30*time.Second {
			t.Errorf("%d loads, %v", loads, time.Since(begun))
		}
		leave("b") // puts out a
		begun = time.Now()
		acquire(t, f, "c")() // gives b up
		if time.Since(begun) != 0 || state(t, f, "b").Phase != Unloaded || state(t, f, "b").Err != "" {
			t.Errorf("after %v: %+v", time.Since(begun), state(t, f, "b"))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := f.Acquire(ctx, "c"); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that has left: %v", err)
		}
	})
}

// TestSteadyUseKeepsNobodyOut holds that a model which is always in use makes room for another one after its turn, and gets its turn again.
func TestSteadyUseKeepsNobodyOut(t *testing.T) {
	with(t, Options[*thing]{Memory: 4, Patience: time.Hour}, func(t *testing.T, f *Fleet[*thing], g *garage) {
		g.took["a"], g.took["b"] = time.Second, time.Second
		end := make(chan struct{})
		var wg sync.WaitGroup
		var mu sync.Mutex
		got := map[string]int{}
		for i, name := range []string{"a", "a", "a", "b", "b"} {
			wg.Go(func() { // three, of whom there is always one with a
				time.Sleep(time.Duration(i) * time.Second)
				for {
					select {
					case <-end:
						return
					default:
					}
					release := acquire(t, f, name)
					mu.Lock()
					got[name]++
					mu.Unlock()
					time.Sleep(2 * time.Second)
					release()
				}
			})
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if s := state(t, f, "a"); s.Yielding || state(t, f, "b").Phase != Waiting {
			t.Errorf("before the turn is over: %+v", s)
		}
		time.Sleep(4 * time.Minute)
		close(end)
		wg.Wait()
		loadsA, _ := g.counts("a")
		loadsB, _ := g.counts("b")
		if loadsA < 8 || loadsB < 8 || got["a"] < 100 || got["b"] < 60 {
			t.Errorf("a was loaded %d times and used %d times, b %d and %d", loadsA, got["a"], loadsB, got["b"])
		}
	})
}

// TestYieldingEnds holds that a model takes users again when nobody waits for its memory any more.
func TestYieldingEnds(t *testing.T) {
	with(t, Options[*thing]{Memory: 4}, func(t *testing.T, f *Fleet[*thing], g *garage) {
		release := acquire(t, f, "a")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		left := make(chan error, 1) // so that who waits can always end
		go func() { _, _, err := f.Acquire(ctx, "b"); left <- err }()
		time.Sleep(15 * time.Second)
		if s := state(t, f, "a"); !s.Yielding || s.Phase != Loaded {
			t.Errorf("%+v", s)
		}
		begun := time.Now()
		acquire(t, f, "a")() // waits until b's caller has left
		if err := <-left; !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 5*time.Second {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		if s := state(t, f, "a"); s.Yielding || s.Users != 1 {
			t.Errorf("%+v", s)
		}
		release()
		if loads, _ := g.counts("a"); loads != 1 {
			t.Errorf("%d loads", loads)
		}
	})
}

func TestPeek(t *testing.T) {
	with(t, Options[*thing]{}, func(t *testing.T, f *Fleet[*thing], g *garage) {
		for _, name := range []string{"a", "z"} {
			if _, _, ok := f.Peek(name); ok {
				t.Errorf("%s is there", name)
			}
		}
		acquire(t, f, "a")()
		v, release, ok := f.Peek("a")
		if !ok || v.name != "a" || state(t, f, "a").Users != 1 {
			t.Errorf("%+v, %v", v, ok)
		}
		release()
	})
}

func TestUnload(t *testing.T) {
	with(t, Options[*thing]{}, func(t *testing.T, f *Fleet[*thing], g *garage) {
		release := acquire(t, f, "a")
		var inUse *InUseError
		if err := f.Unload(t.Context(), "a"); !errors.As(err, &inUse) || inUse.Users != 1 {
			t.Errorf("got %v", err)
		}
		release()
		for range 2 {
			if err := f.Unload(t.Context(), "a"); err != nil {
				t.Error(err)
			}
		}
		if _, closes := g.counts("a"); closes != 1 {
			t.Errorf("%d closes", closes)
		}
		if err := f.Unload(t.Context(), "z"); !errors.Is(err, ErrUnknown) {
			t.Errorf("got %v", err)
		}
	})
}

func TestUpdate(t *testing.T) {
	with(t, Options[*thing]{Memory: 8}, func(t *testing.T, f *Fleet[*thing], g *garage) {
		a, c := acquire(t, f, "a"), acquire(t, f, "c")
		g.took["a"] = time.Second
		list := []Spec{{Name: "a", Size: 6, Version: "2"}, {Name: "new", Size: 1}}
		if err := f.Update(list); err != nil {
			t.Fatal(err)
		}
		if _, _, err := f.Acquire(t.Context(), "c"); !errors.Is(err, ErrUnknown) {
			t.Errorf("a removed model: %v", err)
		}
		if s := f.States(); len(s) != 4 || !s[2].Retired || s[2].Users != 1 || s[0].Phase != Unloaded {
			t.Errorf("%+v", s)
		}
		acquire(t, f, "new")()
		done := make(chan struct{})
		go func() { defer close(done); acquire(t, f, "a")() }() // waits for the former one's memory
		synctest.Wait()
		if s := state(t, f, "a"); s.Phase != Waiting {
			t.Errorf("%+v", s)
		}
		c()
		a()
		<-done
		synctest.Wait()
		if loads, closes := g.counts("a"); loads != 2 || closes != 1 {
			t.Errorf("a: %d loads, %d closes", loads, closes)
		}
		if _, closes := g.counts("c"); closes != 1 {
			t.Errorf("c: %d closes", closes)
		}
		for _, bad := range [][]Spec{{{Name: ""}}, {{Name: "x"}, {Name: "x"}}, {{Name: "x", Size: -1}}} {
			if err := f.Update(bad); err == nil {
				t.Errorf("%+v is taken", bad)
			}
		}
		if len(f.States()) != 2 {
			t.Errorf("a wrong update changed something: %+v", f.States())
		}
	})
}

// TestUpdateDuringLoads holds that who waits for a model that is removed or replaced is told, or gets the new one.
func TestSetMemory(t *testing.T) {
	with(t, Options[*thing]{Memory: 8}, func(t *testing.T, f *Fleet[*thing], g *garage) {
		list := []Spec{{Name: "a", Size: 6}, {Name: "b", Size: 6}}
		if err := f.Update(list); err != nil {
			t.Fatal(err)
		}
		a := acquire(t, f, "a")
		done := make(chan struct{})
		go func() { defer close(done); acquire(t, f, "b")() }()
		synctest.Wait()
		if s := state(t, f, "b"); s.Phase != Waiting {
			t.Errorf("%+v", s)
		}
		if err := f.SetMemory(12); err != nil { // now there is room for both
			t.Fatal(err)
		}
		<-done
		a()
		if err := errors.Join(f.SetMemory(5), f.SetMemory(-1)); err == nil {
			t.Error("a negative memory")
		}
		acquireFails := func() error { _, _, err := f.Acquire(t.Context(), "c"); return err }
		if _, release, err := f.Acquire(t.Context(), "a"); err != nil { // which is loaded
			t.Error(err)
		} else {
			release()
		}
		if err := f.Update(append(list, Spec{Name: "c", Size: 6})); err != nil {
			t.Fatal(err)
		}
		short := new(MemoryError)
		if err := acquireFails(); !errors.As(err, &short) || short.Budget != 5 {
			t.Errorf("more than there may be: %v", err)
		}
	})
}

func TestUpdateDuringLoads(t *testing.T) {
	with(t, Options[*thing]{Memory: 9}, func(t *testing.T, f *Fleet[*thing], g *garage) {
		g.took["a"], g.took["b"] = time.Minute, time.Minute
		errs := map[string]error{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for _, name := range []string{"a", "b", "c"} { // c waits for memory
			wg.Go(func() {
				_, release, err := f.Acquire(t.Context(), name)
				if err == nil {
					release()
				}
				mu.Lock()
				defer mu.Unlock()
				errs[name] = err
			})
			synctest.Wait()
		}
		begun := time.Now()
		if err := f.Update([]Spec{{Name: "b", Size: 9, Version: "2"}}); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if !errors.Is(errs["a"], ErrUnknown) || errs["b"] != nil || !errors.Is(errs["c"], ErrUnknown) || time.Since(begun) != time.Minute {
			t.Errorf("after %v: %v", time.Since(begun), errs)
		}
	})
}

func TestClose(t *testing.T) {
	with(t, Options[*thing]{}, func(t *testing.T, f *Fleet[*thing], g *garage) {
		release := acquire(t, f, "a")
		acquire(t, f, "b")()
		g.took["c"] = time.Hour
		waited := make(chan error, 1) // so that who waits can always end
		go func() { _, _, err := f.Acquire(t.Context(), "c"); waited <- err }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.Close(ctx); err == nil || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `"a" holds 4`) {
			t.Errorf("got %v", err)
		}
		if err := <-waited; !errors.Is(err, ErrClosed) {
			t.Errorf("who waited got %v", err)
		}
		if _, closes := g.counts("a"); closes != 0 {
			t.Error("a was closed while it was used")
		}
		if _, _, err := f.Acquire(t.Context(), "a"); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
		if err := f.Update(nil); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
		release()
	})
}

// TestClockJumps holds that a clock that is set forth or back neither stops a model from being tried again, nor from being unloaded.
func TestClockJumps(t *testing.T) {
	var offset time.Duration
	var mu sync.Mutex
	jump := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); offset += d }
	now := func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Round(0).Add(offset) }
	with(t, Options[*thing]{Now: now}, func(t *testing.T, f *Fleet[*thing], g *garage) {
		g.fail["a"] = errors.New("broken")
		_, _, _ = f.Acquire(t.Context(), "a")
		delete(g.fail, "a")
		jump(-24 * time.Hour)
		var failed *LoadError
		if _, _, err := f.Acquire(t.Context(), "a"); !errors.As(err, &failed) || failed.RetryAfter > time.Second {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Second)
		acquire(t, f, "a")()
		jump(-24 * time.Hour)
		if err := f.Update(specs()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(DefaultKeepAlive)
		synctest.Wait()
		if s := state(t, f, "a"); s.Phase != Unloaded {
			t.Errorf("%+v", s)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	if _, err := New([]Spec{{Name: "x", Size: -1}}, Options[int]{}); err == nil || !strings.Contains(err.Error(), `model "x": a size of -1`) {
		t.Errorf("got %v", err)
	}
	if _, err := New(nil, Options[int]{Memory: -1}); err == nil {
		t.Error("a negative budget is taken")
	}
}
