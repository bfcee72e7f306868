package llama

import (
	"slices"

	"aim/sampler"
)

// domain separates prefixes that must not be shared: of different Request.CacheDomain, or computed under different adapters.
type domain struct {
	name     string
	adapters AdapterSet
}

// prefix is a run of tokens whose keys and values are somewhere: in a slot, where a sequence may still be adding to them, or put
// aside.
type prefix struct {
	domain domain
	// tokens are at least those that are there; see available.
	tokens []sampler.Token
	// lane is the running sequence that the slot belongs to, nil for what is parked or put aside.
	lane *sequence
	// slot is the slot that holds it, -1 for what was put aside as state.
	slot  int
	state State
	// used is the time of the last use, in ticks of the cache.
	used uint64

	at *node
}

// available is the number of tokens at its beginning that are there.
func (p *prefix) available() int {
	if p.lane != nil {
		return min(p.lane.done, len(p.tokens))
	}
	return len(p.tokens)
}

// prefixTree is a radix tree of prefixes over their tokens: those that begin alike share the path from the root to where they
// part. Each domain has a root of its own. The zero value is empty.
type prefixTree struct {
	roots map[domain]*node
}

// node is a point at which prefixes end or part. Edges are tokens: edge leads here from the parent.
type node struct {
	parent   *node
	edge     []sampler.Token
	depth    int // of tokens from the root, edge included
	children map[sampler.Token]*node
	ends     []*prefix
}

// insert adds p.
func (t *prefixTree) insert(p *prefix) {
	if t.roots == nil {
		t.roots = map[domain]*node{}
	}
	at := t.roots[p.domain]
	if at == nil {
		at = &node{}
		t.roots[p.domain] = at
	}
	for rest := p.tokens; len(rest) > 0; rest = p.tokens[at.depth:] {
		next := at.children[rest[0]]
		if next == nil {
			at = at.grow(slices.Clone(rest))
			break
		}
		if n := common(next.edge, rest); n < len(next.edge) {
			next = next.split(n)
		}
		at = next
	}
	at.ends = append(at.ends, p)
	p.at = at
}

// grow adds a child.
func (n *node) grow(edge []sampler.Token) *node {
	child := &node{parent: n, edge: edge, depth: n.depth + len(edge)}
	if n.children == nil {
		n.children = map[sampler.Token]*node{}
	}
	n.children[edge[0]] = child
	return child
}

// split puts a node on the edge to n, after its first tokens, and returns it.
func (n *node) split(first int) *node {
	middle := n.parent.grow(n.edge[:first:first])
	n.parent, n.edge = middle, n.edge[first:]
	middle.children = map[sampler.Token]*node{n.edge[0]: n}
	return middle
}

// remove takes p out. Nodes that nothing needs any more go with it.
func (t *prefixTree) remove(p *prefix) {
	n := p.at
	p.at = nil
	n.ends = slices.DeleteFunc(n.ends, func(q *prefix) bool { return q == p })
	for n.parent != nil && len(n.ends) == 0 && len(n.children) == 0 {
		delete(n.parent.children, n.edge[0])
		n = n.parent
	}
	switch {
	case n.parent == nil && len(n.ends)+len(n.children) == 0:
		delete(t.roots, p.domain)
	case n.parent != nil && len(n.ends) == 0 && len(n.children) == 1:
		n.dissolve()
	}
}

// dissolve replaces a node at which nothing ends or parts by the edge through it.
func (n *node) dissolve() {
	for _, child := range n.children {
		child.edge = slices.Concat(n.edge, child.edge)
		child.parent = n.parent
		n.parent.children[child.edge[0]] = child
	}
}

// descend follows tokens as far as they lead, and returns the last node whose edge has some of them, the root if there is none, with
// the number of tokens that it agrees with.
func (t *prefixTree) descend(in domain, tokens []sampler.Token) (*node, int) {
	at := t.roots[in]
	if at == nil {
		return nil, 0
	}
	depth := 0
	for depth < len(tokens) {
		next := at.children[tokens[depth]]
		if next == nil {
			break
		}
		n := common(next.edge, tokens[depth:])
		at, depth = next, depth+n
		if n < len(next.edge) {
			break
		}
	}
	return at, depth
}

// alike yields the prefixes in the order of how many tokens they begin with in common with tokens, which is told with each: those that
// agree longest come first.
func (t *prefixTree) alike(in domain, tokens []sampler.Token) func(yield func(p *prefix, common int) bool) {
	return func(yield func(*prefix, int) bool) {
		at, depth := t.descend(in, tokens)
		var from *node
		for at != nil {
			if !at.walk(from, func(p *prefix) bool { return yield(p, depth) }) {
				return
			}
			from, at = at, at.parent
			if at != nil {
				depth = at.depth
			}
		}
	}
}

// walk yields what ends at a node or below it, but for what is below one child.
func (n *node) walk(but *node, yield func(*prefix) bool) bool {
	for _, p := range n.ends {
		if !yield(p) {
			return false
		}
	}
	for _, child := range n.children {
		if child != but && !child.walk(nil, yield) {
			return false
		}
	}
	return true
}
