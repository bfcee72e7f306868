package grammar

// op is what a node does.
type op uint8

const (
	opEnd    op = iota // the text is complete
	opReturn           // goes on at the return address on the stack
	opSet              // reads a code point of sets[arg]
	opCall             // enters at arg, and goes on at next
	opTail             // enters at arg; what called this goes on
	opSplit            // goes on at each of edges[arg:arg+min]
	opLoop             // counted: enters at arg; when it has been there min to max times it may go on at next
	opAgain            // the end of the body of the loop at arg
)

// The nodes that every network begins with.
const (
	nodeEnd int32 = iota
	nodeReturn
	nodeFail // a split without edges
	fixedNodes
)

// node is an instruction of the network.
type node struct {
	op        op
	arg, next int32
	min, max  int32
}

// Grammar is a compiled grammar. It does not change, and may be used by many goroutines.
type Grammar struct {
	nodes []node
	edges []int32
	sets  []*set
	start int32
}

// entry names a part that is compiled once and called: a rule, or the body of a loop, in full or without the empty text.
type entry struct {
	body     *expr
	nonempty bool
}

// compiler builds the network backwards: each expression is compiled in front of what follows it.
type compiler struct {
	Grammar
	rules   []rule
	slots   map[entry]int32 // what opCall.arg means until link
	entries []entry         // by slot
	starts  []int32         // by slot
	singles map[rune]int32
}

func compile(p *parser) (*Grammar, error) {
	root := p.rules[p.names["root"]]
	c := &compiler{rules: p.rules, slots: map[entry]int32{}, singles: map[rune]int32{}}
	c.nodes = []node{nodeEnd: {op: opEnd}, nodeReturn: {op: opReturn}, nodeFail: {op: opSplit}}
	c.slot(entry{body: root.body})
	for i := 0; i < len(c.entries); i++ { // entries grow meanwhile
		if c.full() {
			return nil, p.errorAt(root.at, "the grammar is too large: it compiles to more than %d nodes", maxNodes)
		}
		c.starts = append(c.starts, c.build(c.entries[i].body, c.entries[i].nonempty, nodeReturn))
	}
	if c.full() {
		return nil, p.errorAt(root.at, "the grammar is too large: it compiles to more than %d nodes", maxNodes)
	}
	c.link()
	g := c.Grammar
	return &g, nil
}

func (c *compiler) full() bool { return len(c.nodes)+len(c.edges) > maxNodes }

// link turns slots into nodes.
func (c *compiler) link() {
	for i := range c.nodes {
		n := &c.nodes[i]
		if n.op != opCall {
			continue
		}
		n.arg = c.starts[n.arg]
		if n.next == nodeReturn { // right recursion needs no stack
			n.op = opTail
		}
	}
	c.start = c.starts[0]
}

func (c *compiler) add(n node) int32 {
	c.nodes = append(c.nodes, n)
	return int32(len(c.nodes) - 1)
}

func (c *compiler) slot(e entry) int32 {
	s, ok := c.slots[e]
	if !ok {
		s = int32(len(c.entries))
		c.slots[e] = s
		c.entries = append(c.entries, e)
	}
	return s
}

// split returns a node that goes on at all of edges.
func (c *compiler) split(edges ...int32) int32 {
	kept := edges[:0]
	for _, e := range edges {
		if e != nodeFail {
			kept = append(kept, e)
		}
	}
	switch len(kept) {
	case 0:
		return nodeFail
	case 1:
		return kept[0]
	}
	return c.patch(c.add(node{op: opSplit}), kept)
}

// patch gives the split n its edges.
func (c *compiler) patch(n int32, edges []int32) int32 {
	c.nodes[n].arg, c.nodes[n].min = int32(len(c.edges)), int32(len(edges))
	c.edges = append(c.edges, edges...)
	return n
}

// build compiles e in front of next and returns where it starts; with nonempty, what e matches but for the empty text.
func (c *compiler) build(e *expr, nonempty bool, next int32) int32 {
	if c.full() { // an error soon
		return nodeFail
	}
	nonempty = nonempty && e.nullable
	switch e.form {
	case formSet:
		return c.add(node{op: opSet, arg: c.setOf(e.set), next: next})
	case formRef:
		return c.call(entry{c.rules[e.rule].body, nonempty}, next)
	case formAlt:
		edges := make([]int32, len(e.parts))
		for i, part := range e.parts {
			edges[i] = c.build(part, nonempty, next)
		}
		return c.split(edges...)
	case formSeq:
		return c.sequence(e.parts, nonempty, next)
	default:
		return c.repeat(e, nonempty, next)
	}
}

func (c *compiler) call(e entry, next int32) int32 {
	return c.add(node{op: opCall, arg: c.slot(e), next: next})
}

// setOf numbers a set. Literals share the sets of their characters.
func (c *compiler) setOf(s *set) int32 {
	r, single := s.single()
	if id, ok := c.singles[r]; single && ok {
		return id
	}
	c.sets = append(c.sets, s)
	id := int32(len(c.sets) - 1)
	if single {
		c.singles[r] = id
	}
	return id
}

// sequence compiles parts. Without the empty text, some part is the first that is not empty: the ones before it are skipped, the
// ones after it are as they are.
func (c *compiler) sequence(parts []*expr, nonempty bool, next int32) int32 {
	rest := nodeFail
	for i := len(parts) - 1; i >= 0; i-- {
		if nonempty {
			rest = c.split(c.build(parts[i], true, next), rest)
		}
		if i > 0 || !nonempty {
			next = c.build(parts[i], false, next)
		}
	}
	if nonempty {
		return rest
	}
	return next
}

func (c *compiler) repeat(e *expr, nonempty bool, next int32) int32 {
	body, least, most := e.parts[0], e.min, e.max
	if body.nullable { // repetitions of nothing need no counting
		least = 0
	}
	if nonempty {
		least = max(least, 1)
	}
	skip := nodeFail
	if least == 0 {
		skip = next
	}
	switch {
	case most == 0:
		return skip
	case most == 1:
		return c.split(c.build(body, true, next), skip)
	case least <= 1 && most == unbounded:
		again := c.add(node{op: opSplit})
		start := c.body(body, again)
		c.patch(again, []int32{start, next})
		return c.split(start, skip)
	}
	loop := c.add(node{op: opLoop, next: next, min: least, max: most})
	start := c.body(body, c.add(node{op: opAgain, arg: loop}))
	c.nodes[loop].arg = start
	return loop
}

// body compiles the body of a loop. One that can be empty is called: inline, the two forms of it would double with every level.
func (c *compiler) body(e *expr, again int32) int32 {
	if e.nullable {
		return c.call(entry{e, true}, again)
	}
	return c.build(e, false, again)
}
