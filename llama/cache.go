package llama

import (
	"cmp"
	"slices"
)

// Every prompt begins with what is known of it. The engine remembers whose keys and values are in which slot, also those of running
// sequences and of answers that have ended, and what was put aside when its slot was needed; a new sequence takes over the longest
// beginning of its prompt from there. Where a running sequence is about to compute more of it than is there, the new one waits for it,
// so that of many equal prompts one is computed.

const (
	// minShare is the least number of common tokens that are worth taking over. Computing fewer is as quick.
	minShare = 16
	// minAside and partAside are the least number of tokens that nobody else has, and the least part of a prefix, for which it is
	// put aside.
	minAside, partAside = 32, 1.0 / 8
)

// cache knows what is where in the KV cache, and what was put aside. It has no goroutine, clock or log, and does not touch the
// Decoder.
type cache struct {
	tree prefixTree
	// held is what each slot holds, nil where it is empty.
	held []*prefix
	// aside are the prefixes that were put aside; they take bytes of most.
	aside       []*prefix
	bytes, most int64
	tick        uint64
	// off says that nothing is kept.
	off   bool
	stats CacheStats
}

func newCache(slots int, cfg Config) cache {
	return cache{held: make([]*prefix, slots), most: max(0, cfg.CacheBytes), off: cfg.NoCache}
}

// CacheStats are the figures of a prefix cache. All but Prefixes and AsideBytes count since the start.
type CacheStats struct {
	// Hits counts the prompts of which something was there, Tokens what they took over, and Copied the part of it that came from another
	// slot.
	Hits, Tokens, Copied uint64
	// Saved and Restored count prefixes that were put aside and fetched back, Evicted those that were forgotten for want of room.
	Saved, Restored, Evicted uint64
	// Prefixes counts those that are there now, in slots or put aside; the latter take AsideBytes.
	Prefixes   int
	AsideBytes int64
}

// statistics are the figures now.
func (c *cache) statistics() CacheStats {
	s := c.stats
	s.Prefixes, s.AsideBytes = len(c.aside), c.bytes
	for slot := range c.held {
		if c.idle(slot) {
			s.Prefixes++
		}
	}
	return s
}

// touch marks a prefix as used now.
func (c *cache) touch(p *prefix) {
	c.tick++
	p.used = c.tick
}

// match finds who has most of the first limit tokens of lane. Where a sequence that came before it will soon have more than that, it
// returns wait.
func (c *cache) match(lane *sequence, limit int, before func(*sequence) bool) (best *prefix, n int, wait bool) {
	if c.off || lane.alone || limit < minShare {
		return nil, 0, false
	}
	soon := 0
	for p, common := range c.tree.alike(lane.domain, lane.tokens[:limit]) {
		if common < minShare || common <= n && common <= soon {
			break
		}
		if p.lane == lane {
			continue
		}
		if p.lane != nil && before(p.lane) {
			soon = max(soon, min(common, len(p.tokens)))
		}
		if has := min(common, p.available()); has > n || has == n && best != nil && better(p, best, lane.slot) {
			best, n = p, has
		}
	}
	if n < minShare {
		best, n = nil, 0
	}
	return best, n, soon >= n+minShare
}

// better prefers what is in the slot itself, then what is in another slot, then what was used last.
func better(a, b *prefix, slot int) bool {
	rank := func(p *prefix) int {
		switch p.slot {
		case -1:
			return 0
		case slot:
			return 2
		}
		return 1
	}
	if ra, rb := rank(a), rank(b); ra != rb {
		return ra > rb
	}
	return a.used > b.used
}

// hold says that a slot holds p.
func (c *cache) hold(slot int, p *prefix) {
	if c.off {
		return
	}
	p.slot = slot
	c.held[slot] = p
	c.tree.insert(p)
	c.touch(p)
}

// took counts what a sequence took over.
func (c *cache) took(n int, copied bool) {
	if n == 0 {
		return
	}
	c.stats.Hits++
	c.stats.Tokens += uint64(n)
	if copied {
		c.stats.Copied += uint64(n)
	}
}

// vacate says that a slot is empty.
func (c *cache) vacate(slot int) {
	if p := c.held[slot]; p != nil {
		c.tree.remove(p)
		c.held[slot] = nil
	}
}

// idle says whether a slot holds something that nobody uses.
func (c *cache) idle(slot int) bool { return c.held[slot] != nil && c.held[slot].lane == nil }

// oldest is the slot whose idle prefix was used longest ago, -1 if there is none.
func (c *cache) oldest() int {
	at := -1
	for slot, p := range c.held {
		if c.idle(slot) && (at < 0 || p.used < c.held[at].used) {
			at = slot
		}
	}
	return at
}

// own is the number of tokens of p that no other prefix has that will stay.
func (c *cache) own(p *prefix) int {
	for q, common := range c.tree.alike(p.domain, p.tokens) {
		if q != p && (q.lane == nil || q.available() >= common) {
			return len(p.tokens) - common
		}
	}
	return len(p.tokens)
}

// shorter lists the idle prefixes that p is a continuation of.
func (c *cache) shorter(p *prefix) (list []*prefix) {
	for q, common := range c.tree.alike(p.domain, p.tokens) {
		if q != p && q.lane == nil && common == len(q.tokens) {
			list = append(list, q)
		}
	}
	return list
}

// worth says whether to put p aside before all but its first rest tokens are overwritten: whether enough of them are nobody else's.
func (c *cache) worth(p *prefix, rest int) bool {
	lost := min(c.own(p), len(p.tokens)-rest)
	return c.most > 0 && lost >= minAside && float64(lost) >= partAside*float64(len(p.tokens))
}

// putAside adds p with its state, and returns what has to go for it, p itself where it is larger than all the room.
func (c *cache) putAside(p *prefix, state State) (gone []State) {
	size := int64(len(state.Bytes()))
	if size > c.most {
		return []State{state}
	}
	for c.bytes+size > c.most {
		old := slices.MinFunc(c.aside, func(a, b *prefix) int { return cmp.Compare(a.used, b.used) })
		gone = append(gone, c.drop(old))
		c.stats.Evicted++
	}
	p.slot, p.state = -1, state
	c.aside = append(c.aside, p)
	c.bytes += size
	c.tree.insert(p)
	c.stats.Saved++
	return gone
}

// drop takes a prefix that was put aside out, and returns its state.
func (c *cache) drop(p *prefix) State {
	c.tree.remove(p)
	c.aside = slices.DeleteFunc(c.aside, func(q *prefix) bool { return q == p })
	c.bytes -= int64(len(p.state.Bytes()))
	return p.state
}

// choose returns the index in free of the slot that a sequence gets. Drivers compute neighbouring slots together, so the first thing is
// that as few groups of busy slots as can be remain; then that the slot holds the beginning of the prompt, if that is most of what it
// holds; then that it is empty; then that what it holds was used longest ago. Of equal ones the lowest wins.
func (c *cache) choose(free []int, busy []bool, lane *sequence) int {
	match, n, _ := c.match(lane, len(lane.tokens)-1, func(*sequence) bool { return false })
	score := func(slot int) (group, fit int, used uint64) {
		if slot > 0 && busy[slot-1] {
			group--
		}
		if slot+1 < len(busy) && busy[slot+1] {
			group--
		}
		p := c.held[slot]
		switch {
		case p != nil && p == match && 2*n >= len(p.tokens):
			return group, 0, 0
		case p == nil:
			return group, 1, 0
		}
		return group, 2, p.used
	}
	best := 0
	for i := 1; i < len(free); i++ {
		g, f, u := score(free[i])
		bg, bf, bu := score(free[best])
		if cmp.Or(cmp.Compare(g, bg), cmp.Compare(f, bf), cmp.Compare(u, bu)) < 0 {
			best = i
		}
	}
	return best
}
