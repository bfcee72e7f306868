package limit

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// This file is about Redis going away and coming back, and about the leases of what runs.

// answers says whether to ask Redis. Of those who would try again after it failed, one does.
func (r *Redis) answers() bool {
	again := r.down.Load()
	if again == 0 {
		return true
	}
	now := int64(time.Since(r.began))
	return now >= again && r.down.CompareAndSwap(again, now+int64(r.opt.Retry))
}

// heard notes how Redis answered, and logs when that changes.
func (r *Redis) heard(err error) {
	if err == nil {
		if r.down.Swap(0) != 0 {
			r.opt.Log.Info("limits are shared again: Redis answers")
		}
		return
	}
	if errors.Is(err, redis.ErrPoolTimeout) {
		return // there are too many of us, which says nothing about Redis
	}
	again := max(1, int64(time.Since(r.began))+int64(r.opt.Retry))
	if r.down.Swap(again) == 0 {
		r.local.relearn() // it was not told what others spent
		r.opt.Log.Error("limits hold for this replica alone until Redis is back", "error", err)
	}
}

// overspent notes a key of which Redis knows too little; the ledger will tell it.
func (r *Redis) overspent(key string) {
	if r.opt.Spent == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stale[key] = true
}

// refresh says whether the ledger must be asked about a key, once.
func (r *Redis) refresh(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	stale := r.stale[key]
	delete(r.stale, key)
	return stale
}

func newLease() string { return rand.Text() }

// hold keeps a lease; the empty one is none.
func (r *Redis) hold(lease, key string) {
	if lease == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leases[lease] = key
}

func (r *Redis) letGo(lease string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.leases, lease)
}

// held are the leases by their keys.
func (r *Redis) held() map[string][]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := map[string][]string{}
	for lease, key := range r.leases {
		list[key] = append(list[key], lease)
	}
	return list
}

// renew keeps the leases of what runs until Close, three times as often as they would end.
func (r *Redis) renew() {
	tick := time.NewTicker(r.opt.Lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-tick.C:
			r.renewAll()
		}
	}
}

// renewAt is how many leases one call renews.
const renewAt = 1000

func (r *Redis) renewAll() {
	for key, leases := range r.held() {
		for some := range slices.Chunk(leases, renewAt) {
			if !r.answers() {
				return
			}
			args := []any{r.opt.Lease.Microseconds(), r.time()}
			for _, lease := range some {
				args = append(args, lease)
			}
			ctx, cancel := context.WithTimeout(context.Background(), r.opt.Wait)
			err := renewScript.Run(ctx, r.client, r.names(key)[1:], args...).Err()
			r.heard(err)
			if err == nil {
				err = r.dropGone(ctx, key, some)
			}
			cancel()
			if err != nil {
				return
			}
		}
	}
}

// dropGone takes back the leases that were given up while they were renewed.
func (r *Redis) dropGone(ctx context.Context, key string, renewed []string) error {
	var gone []any
	r.mu.Lock()
	for _, lease := range renewed {
		if _, ok := r.leases[lease]; !ok {
			gone = append(gone, lease)
		}
	}
	r.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	return r.client.ZRem(ctx, r.names(key)[1], gone...).Err()
}
