package eval

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// Each calls do(0) … do(n-1) on the given number of goroutines and returns the first error, after which, or after the end of
// ctx, no further call begins.
func Each(ctx context.Context, n, workers int, do func(ctx context.Context, i int) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(max(workers, 1), n) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(ctx, i); err != nil {
					stop(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// Run scores those of the first n items of a task that the store does not have, on so many goroutines. progress, when set,
// hears how many of all values wanted are there; its calls do not overlap.
func Run(ctx context.Context, t *Task, n int, arms []Arm, sc Scorer, store *Store, workers int, progress func(done, total int)) error {
	var jobs []Record
	total, have := 0, 0
	for item := range n {
		for arm := range arms {
			if sc.Whole() && arm > 0 {
				break
			}
			total++
			if store.Has(item, arm) {
				have++
				continue
			}
			jobs = append(jobs, Record{Item: item, Arm: arm})
		}
	}
	var mu sync.Mutex
	report := func(more int) {
		mu.Lock()
		defer mu.Unlock()
		have += more
		if progress != nil {
			progress(have, total)
		}
	}
	report(0)
	return Each(ctx, len(jobs), workers, func(ctx context.Context, i int) error {
		r := jobs[i]
		wanted := arms
		if !sc.Whole() {
			wanted = arms[r.Arm : r.Arm+1]
		}
		var err error
		if r.Values, err = sc.Score(ctx, &t.Items[r.Item], wanted); err != nil {
			return fmt.Errorf("item %d: %w", r.Item+1, err)
		}
		if err := store.Add(r); err != nil {
			return err
		}
		report(1)
		return nil
	})
}
