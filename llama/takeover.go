package llama

import (
	"errors"
	"log/slog"
	"slices"
)

// The engine's side of the prefix cache: what it asks the Decoder to do.

// cacheShare is the default of Config.CacheBytes as a part of the whole KV cache, and cacheFloor the least that it is.
const (
	cacheShare = 0.5
	cacheFloor = 64 << 20
)

// limit is how many tokens of a lane's prompt may come from the cache: the last one is computed for its logits, and so are those whose
// logits score the next.
func (seq *sequence) limit() int {
	n := seq.entry()
	if seq.toScore > 0 {
		n = min(n, seq.scored)
	}
	return n
}

// settle lets the lanes that have got their slots take over what is there of their prompts, or wait for it: for a sequence that came
// before them and computes it just now.
func (e *Engine) settle() {
	s := e.loop.sched
	for i, seq := range s.running {
		for lane := range seq.lanes {
			if !lane.awaits {
				continue
			}
			before := func(other *sequence) bool { return s.precedes(other, lane, i) }
			if p, n, wait := e.loop.cache.match(lane, lane.limit(), before); !wait {
				e.takeOver(lane, p, n)
			}
		}
	}
}

// place is the scheduler's choice of a slot. Sets of adapters with odd numbers begin at the upper end, so that two of them grow towards
// each other and not into each other.
func (l *loop) place(lane *sequence) int {
	free, busy := l.sched.free, l.sched.kin(lane.adapters)
	if lane.adapters%2 == 0 {
		return l.cache.choose(free, busy, lane)
	}
	down := slices.Clone(free)
	slices.Reverse(down)
	return len(free) - 1 - l.cache.choose(down, busy, lane)
}

// takeOver fills a lane's slot with the first n tokens of p.
func (e *Engine) takeOver(lane *sequence, p *prefix, n int) {
	c := &e.loop.cache
	here := c.held[lane.slot]
	if here != nil && here == p {
		e.keep(here, n)
		c.vacate(lane.slot)
	} else if here != nil {
		e.keep(here, 0)
		e.empty(lane.slot)
	}
	if n > 0 {
		if err := e.fetch(lane.slot, p, n, p == here); err != nil {
			e.cacheFailed(err)
			e.forget(lane.slot)
			n = 0
		}
	}
	lane.awaits, lane.done = false, n
	c.took(n, p != here)
	if lane.answer != nil && !lane.resumed {
		lane.usage.CachedTokens = min(n, lane.usage.PromptTokens)
	}
	if !lane.alone {
		c.hold(lane.slot, &prefix{domain: lane.domain, tokens: lane.tokens[:len(lane.tokens):len(lane.tokens)], lane: lane})
	}
}

// fetch brings the first n tokens of p into a slot, which is empty unless p is there.
func (e *Engine) fetch(slot int, p *prefix, n int, there bool) (err error) {
	defer recovered("prefix cache", &err)
	c := &e.loop.cache
	c.touch(p)
	switch {
	case there:
	case p.slot >= 0:
		return e.loop.dec.Share(p.slot, slot, n)
	default:
		if err := e.loop.keeper.Restore(slot, p.state.Bytes()); err != nil {
			return err
		}
		c.stats.Restored++
		if n == len(p.tokens) {
			c.drop(p).Free()
			return nil
		}
	}
	return e.loop.dec.Forget(slot, n)
}

// cacheFailed switches the cache off where the driver cannot do it.
func (e *Engine) cacheFailed(err error) {
	switch {
	case errors.Is(err, ErrUnsupported):
		e.loop.cache.off = true
		slog.Debug("the prefix cache is off: this model's cache cannot be shared in part")
	case !errors.Is(err, ErrCacheFull) && !errors.Is(err, ErrOverwritten):
		slog.Error("a cached prompt could not be used", "error", err)
	}
}

// keep puts what a slot holds aside before all but its first rest tokens are overwritten, if that is worth it.
func (e *Engine) keep(p *prefix, rest int) {
	if e.loop.keeper != nil && !e.loop.cache.off && e.loop.cache.worth(p, rest) {
		e.save(p.slot, &prefix{domain: p.domain, tokens: p.tokens, used: p.used})
	}
}

// save puts aside what a slot holds: p.
func (e *Engine) save(slot int, p *prefix) {
	state, err := e.snapshot(slot)
	if err != nil {
		e.cacheFailed(err)
		return
	}
	if e.cfg.CacheBytes == 0 {
		e.sizeBy(len(state.Bytes()), len(p.tokens))
	}
	for _, gone := range e.loop.cache.putAside(p, state) {
		gone.Free()
	}
}

// snapshot calls the Keeper; a panic in it is an error.
func (e *Engine) snapshot(slot int) (state State, err error) {
	defer recovered("prefix cache", &err)
	return e.loop.keeper.Save(slot)
}

// sizeBy sets how much memory may be taken, by what a number of tokens takes. Only the first call does.
func (e *Engine) sizeBy(bytes, tokens int) {
	if !e.loop.sized {
		e.loop.sized = true
		perToken := float64(bytes) / float64(tokens)
		e.loop.cache.most = max(cacheFloor, int64(cacheShare*perToken*float64(e.cfg.Slots*e.cfg.Context)))
	}
}

// empty makes a slot empty.
func (e *Engine) empty(slot int) {
	e.loop.cache.vacate(slot)
	e.forget(slot)
}

// computed is what a lane's slot holds of it.
func (seq *sequence) computed() *prefix {
	return &prefix{domain: seq.domain, tokens: seq.tokens[:seq.done:seq.done], slot: seq.slot}
}

// park lets what the slots of an ended sequence hold stay there, unless it is too short to be of use or somebody else has it. What it
// is a continuation of is not needed any more.
func (e *Engine) park(seq *sequence) {
	c := &e.loop.cache
	for lane := range seq.lanes {
		if lane.slot < 0 || lane.awaits {
			continue // it had no slot, or has not touched it
		}
		e.unshift(lane)
		c.vacate(lane.slot)
		p := lane.computed()
		if c.off || lane.alone || lane.done < minShare || c.own(p) == 0 {
			e.forget(lane.slot)
			continue
		}
		c.hold(lane.slot, p)
		for _, q := range c.shorter(p) {
			if q.slot >= 0 {
				e.empty(q.slot)
			} else {
				c.drop(q).Free()
			}
		}
	}
}

// spoil empties the slots of a sequence whose part of the KV cache is in an unknown state.
func (e *Engine) spoil(seq *sequence) {
	for lane := range seq.lanes {
		if lane.slot >= 0 {
			e.empty(lane.slot)
			lane.awaits, lane.shifted = true, false
		}
	}
}

// putAside keeps what a running sequence has computed, if there is room for it, and empties its slots.
func (e *Engine) putAside(seq *sequence) {
	c := &e.loop.cache
	for lane := range seq.lanes {
		if lane.awaits {
			continue
		}
		e.unshift(lane)
		c.vacate(lane.slot)
		if p := lane.computed(); !lane.alone {
			c.touch(p)
			e.keep(p, 0)
		}
		e.forget(lane.slot)
		lane.awaits = true
	}
}

// evict makes room in a full KV cache by giving up the idle prefix that was used longest ago. It is false if there is none.
func (e *Engine) evict() bool {
	c := &e.loop.cache
	slot := c.oldest()
	if slot < 0 {
		return false
	}
	e.keep(c.held[slot], 0)
	c.stats.Evicted++
	e.empty(slot)
	return true
}

// holeAge is for how many decodes a hole between running slots may stay before the highest sequence moves into it: who asks again at
// once would have filled it.
const holeAge = 8

// closeHole moves a sequence from the highest slot into a free one below, where that leaves fewer groups of running slots: drivers
// compute neighbours together.
func (e *Engine) closeHole() {
	s := e.loop.sched
	lane, to := s.hole()
	if lane == nil || s.holeFor < holeAge {
		return
	}
	c := &e.loop.cache
	if here := c.held[to]; here != nil {
		e.keep(here, 0)
		e.empty(to)
	}
	if err := e.copyCache(lane.slot, to, lane.done); err != nil {
		e.cacheFailed(err)
		e.forget(to)
		s.scattered = true // never again
		return
	}
	p := c.held[lane.slot]
	e.empty(lane.slot)
	s.move(lane, to)
	if p != nil { // nil for those who leave nothing
		c.hold(to, p)
	}
}

// copyCache calls the Decoder; a panic in it is an error.
func (e *Engine) copyCache(src, dst, upTo int) (err error) {
	defer recovered("share", &err)
	return e.loop.dec.Share(src, dst, upTo)
}
