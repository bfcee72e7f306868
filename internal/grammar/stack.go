package grammar

import "slices"

// frame is the top of a stack: a return address (what follows an opCall) or a loop with the repetitions done so far. Below it
// lies the stack parent; the empty stack is frame 0.
type frame struct {
	parent, node, count int32
	chain               int32 // the next frame of the same bucket
}

// stacks holds every stack once, so that equal ones have the same number. Parents have smaller numbers than their children.
type stacks struct {
	frames  []frame
	buckets []int32
	remap   []int32 // scratch of keep
}

const stackBuckets = 1 << 12

func (s *stacks) reset() {
	if s.buckets == nil {
		s.buckets = make([]int32, stackBuckets)
	}
	clear(s.buckets)
	s.frames = append(s.frames[:0], frame{})
}

// push returns the stack with a frame on top of parent.
func (s *stacks) push(parent, node, count int32) int32 {
	b := &s.buckets[hash(uint64(uint32(parent))<<32|uint64(uint32(node)), uint64(uint32(count)))%stackBuckets]
	for i := *b; i != 0; i = s.frames[i].chain {
		if f := &s.frames[i]; f.parent == parent && f.node == node && f.count == count {
			return i
		}
	}
	s.frames = append(s.frames, frame{parent, node, count, *b})
	*b = int32(len(s.frames) - 1)
	return *b
}

// keep drops all stacks but those of configs, which it renumbers.
func (s *stacks) keep(configs []config) {
	s.remap = slices.Grow(s.remap[:0], len(s.frames))[:len(s.frames)]
	clear(s.remap)
	for _, c := range configs {
		for i := c.stack(); i != 0 && s.remap[i] == 0; i = s.frames[i].parent {
			s.remap[i] = 1
		}
	}
	clear(s.buckets)
	old := s.frames
	s.frames = s.frames[:1]
	for i := 1; i < len(old); i++ { // never ahead of what is read
		if s.remap[i] != 0 {
			s.remap[i] = s.push(s.remap[old[i].parent], old[i].node, old[i].count)
		}
	}
	for i, c := range configs {
		configs[i] = newConfig(c.node(), s.remap[c.stack()])
	}
}

// config is a place in a text: a node that reads, or nodeEnd, and the stack below it.
type config uint64

func newConfig(node, stack int32) config { return config(uint32(node))<<32 | config(uint32(stack)) }
func (c config) node() int32             { return int32(c >> 32) }
func (c config) stack() int32            { return int32(uint32(c)) }

// hash mixes two words: multiplication and the high bits, as in Knuth's multiplicative hashing.
func hash(a, b uint64) uint32 {
	h := (a ^ b*0xbf58476d1ce4e5b9) * 0x9e3779b97f4a7c15
	h ^= h >> 29
	return uint32((h * 0x94d049bb133111eb) >> 32)
}

// places is a set of configs that is emptied in no time.
type places struct {
	slots []struct {
		config config
		epoch  uint32
	}
	epoch uint32
	used  int
}

func (p *places) reset() {
	if p.epoch++; p.epoch == 0 || p.slots == nil {
		p.slots = append(p.slots[:0], make([]struct {
			config config
			epoch  uint32
		}, max(256, len(p.slots)))...)
		p.epoch = 1
	}
	p.used = 0
}

// add reports whether c was not there yet.
func (p *places) add(c config) bool {
	if 2*p.used >= len(p.slots) {
		p.grow()
	}
	mask := uint32(len(p.slots) - 1)
	for i := hash(uint64(c), 0) & mask; ; i = (i + 1) & mask {
		switch s := &p.slots[i]; {
		case s.epoch != p.epoch:
			s.config, s.epoch = c, p.epoch
			p.used++
			return true
		case s.config == c:
			return false
		}
	}
}

func (p *places) grow() {
	old := p.slots
	epoch := p.epoch
	p.slots = append(old[:0:0], make([]struct {
		config config
		epoch  uint32
	}, 2*len(old))...)
	p.epoch, p.used = 1, 0
	for _, s := range old {
		if s.epoch == epoch {
			p.add(s.config)
		}
	}
}
