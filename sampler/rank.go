package sampler

import "math"

// ranked is a logit with its place in the slice it came from; places ascend with token ids.
type ranked struct {
	logit float32
	at    int32
}

// compareRank orders by logit, largest first, then by place.
func compareRank(a, b ranked) int {
	switch {
	case a.logit > b.logit:
		return -1
	case a.logit < b.logit:
		return 1
	}
	return int(a.at) - int(b.at)
}

// compareID orders by place.
func compareID(a, b ranked) int { return int(a.at) - int(b.at) }

// leaders fills h[:0] with the cap(h) first-ranked finite logits, as a heap whose root ranks last of them; see
// [view.leaders] for a row that is not settled.
func leaders(logits []float32, h []ranked) []ranked {
	h = h[:0]
	bar := float32(math.Inf(-1)) // the logit to exceed; an equal one comes later and so ranks lower
	for i, z := range logits {
		if z <= bar {
			continue
		}
		if len(h) < cap(h) {
			h = append(h, ranked{z, int32(i)})
			siftUp(h)
		} else {
			h[0] = ranked{z, int32(i)}
			siftDown(h)
		}
		if len(h) == cap(h) {
			bar = h[0].logit
		}
	}
	return h
}

// siftUp moves the last element to its place in the heap.
func siftUp(h []ranked) {
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if compareRank(h[i], h[parent]) <= 0 {
			return
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

// siftDown moves the first element to its place in the heap.
func siftDown(h []ranked) {
	for i := 0; ; {
		last := 2*i + 1
		if last >= len(h) {
			return
		}
		if last+1 < len(h) && compareRank(h[last+1], h[last]) > 0 {
			last++
		}
		if compareRank(h[i], h[last]) >= 0 {
			return
		}
		h[i], h[last] = h[last], h[i]
		i = last
	}
}
