package llama

import (
	"cmp"
	"slices"

	"aim/sampler"
)

// Cached is a prefix on its way to or from somewhere outside the engine, such as a file.
type Cached struct {
	// Domain is the Request.CacheDomain that it serves.
	Domain string
	// Adapters is the set it was computed under. Its number says so only as long as the driver has the same sets in the same order.
	Adapters AdapterSet
	Tokens   []sampler.Token
	// State is what the driver's [Keeper] made of it. It is only valid until the next one is asked for.
	State []byte
}

// Import puts prefixes aside that an engine over the same model and an equal driver has exported, those used longest ago first, as far
// as there is room. It must be called before Run, and returns how many there are now. The lists and states are
// kept, so they must not change.
func (e *Engine) Import(list []Cached) int {
	c := &e.loop.cache
	if e.loop.keeper == nil || c.off {
		return 0
	}
	for _, cached := range list {
		if e.checkAdapters(cached.Adapters) != nil {
			continue
		}
		p := &prefix{domain: domain{cached.Domain, cached.Adapters}, tokens: cached.Tokens}
		if e.cfg.CacheBytes == 0 {
			e.sizeBy(len(cached.State), len(cached.Tokens))
		}
		c.touch(p)
		for _, gone := range c.putAside(p, kept{cached.State}) {
			gone.Free()
		}
	}
	return len(c.aside)
}

// kept is a state in ordinary memory.
type kept struct{ bytes []byte }

// Bytes implements [State].
func (k kept) Bytes() []byte { return k.bytes }

// Free implements [State]: the garbage collector does it.
func (kept) Free() {}

// cached yields what the cache holds, used longest ago first, when no sequence runs any more.
func (e *Engine) cached(yield func(Cached) bool) {
	c := &e.loop.cache
	list := slices.Clone(c.aside)
	for _, p := range c.held {
		if p != nil && e.loop.keeper != nil {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *prefix) int { return cmp.Compare(a.used, b.used) })
	for _, p := range list {
		state := p.state
		if p.slot >= 0 {
			var err error
			if state, err = e.snapshot(p.slot); err != nil {
				e.cacheFailed(err)
				continue
			}
		}
		more := yield(Cached{p.domain.name, p.domain.adapters, p.tokens, state.Bytes()})
		if p.slot >= 0 {
			state.Free()
		}
		if !more {
			return
		}
	}
}

// release frees what was put aside.
func (e *Engine) release() {
	c := &e.loop.cache
	for len(c.aside) > 0 {
		c.drop(c.aside[0]).Free()
	}
}
