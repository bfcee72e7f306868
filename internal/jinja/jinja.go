// Package jinja renders Jinja templates as Hugging Face's chat templates are rendered: by jinja2 in an
// ImmutableSandboxedEnvironment with trim_blocks, lstrip_blocks, loop controls and the generation tag, with Python's values,
// methods and ways to print them.
//
// Two things set it apart from a port. A template is a program from a stranger, so every step, byte and level of nesting it
// uses is counted and bounded ([Limits]). And a string knows which of its bytes came from outside of the template (see [Str]),
// through all that templates do with strings.
package jinja

import (
	"errors"
	"fmt"
	"math"
	"math/big"
)

// maxDepth bounds how deep values nest and expressions are evaluated, maxCalls how deep macros and recursive loops call one
// another. Python's own limit of a thousand frames is about as tight.
const (
	maxDepth = 1000
	maxCalls = 200
)

// maxSource bounds the text of a template in bytes; the longest in use have 30 kB.
const maxSource = 1 << 20

// Limits bound what a rendering may use.
type Limits struct {
	// Steps counts evaluated expressions, iterations and what else takes time. A million take about 0.1 s.
	Steps int
	// Memory counts the bytes of all strings and lists made on the way.
	Memory int
	// Output counts the bytes of the result.
	Output int
}

// Template is a compiled template. It is safe for concurrent use.
type Template struct {
	body []stmt
}

// Compile parses a template. The error is an *[Error].
func Compile(source string) (t *Template, err error) {
	defer recoverError(&err)
	if len(source) > maxSource {
		fail(LimitError, "the template has %d bytes, more than %d", len(source), maxSource)
	}
	return &Template{body: parse(lex(source))}, nil
}

// Render renders a template with variables. The error is an *[Error].
func (t *Template) Render(vars map[string]Value, l Limits) (out *Str, err error) {
	in := &interp{limits: l}
	defer func() {
		if e := new(Error); errors.As(err, &e) && e.Line == 0 {
			e.Line = in.line
		}
	}()
	defer recoverError(&err)
	root := &scope{}
	for id, v := range vars {
		root.set(id, v)
	}
	b := &builder{in: in}
	in.out = b
	in.run(t.body, &scope{parent: root}, b)
	return b.str(), nil
}

// interp is one rendering.
type interp struct {
	limits        Limits
	steps, memory int
	depth, calls  int
	line          int
	// out is the output of the whole template.
	out      *builder
	escaping bool
}

func (in *interp) step(n int) {
	if in.steps += n; in.steps > in.limits.Steps {
		fail(LimitError, "the template takes more than %d steps", in.limits.Steps)
	}
}

// alloc counts n bytes, and the time it takes to write them.
func (in *interp) alloc(n int) {
	in.step(n / 256)
	if in.memory += n; in.memory > in.limits.Memory {
		fail(LimitError, "the template uses more than %d bytes of memory", in.limits.Memory)
	}
}

// touch counts what it takes to read all of the values.
func (in *interp) touch(vals ...Value) {
	for _, v := range vals {
		switch v := v.(type) {
		case *Str:
			in.step(len(v.s) / 32)
		case *big.Int:
			in.step(v.BitLen() / 8)
		}
	}
}

func (in *interp) allocItems(n int) {
	in.alloc(satMul(n, 32))
}

// scope holds the names that statements set.
type scope struct {
	parent *scope
	names  []string
	values []Value
}

func (s *scope) set(id string, v Value) {
	for i, n := range s.names {
		if n == id {
			s.values[i] = v
			return
		}
	}
	s.names = append(s.names, id)
	s.values = append(s.values, v)
}

func (s *scope) lookup(id string) Value {
	for ; s != nil; s = s.parent {
		for i, n := range s.names {
			if n == id {
				return s.values[i]
			}
		}
	}
	if g := globals[id]; g != nil {
		return g
	}
	return undefined("'%s' is undefined", id)
}

// signal says how a list of statements ended.
type signal int

const (
	ran signal = iota
	broke
	continued
)

func (in *interp) run(body []stmt, s *scope, out *builder) signal {
	for _, st := range body {
		if sig := in.exec(st, s, out); sig != ran {
			return sig
		}
	}
	return ran
}

func (in *interp) exec(st stmt, s *scope, out *builder) signal {
	in.step(1)
	switch st := st.(type) {
	case *output:
		in.line = st.line
		for _, e := range st.items {
			in.print(in.eval(e, s), e, out)
		}
	case *ifStmt:
		for i, test := range st.tests {
			if truth(in.eval(test, s)) {
				return in.run(st.bodies[i], s, out)
			}
		}
		return in.run(st.other, s, out)
	case *forStmt:
		in.line = st.line
		in.runFor(st, s, out, in.eval(st.iter, s), 0)
	case *setStmt:
		in.assign(st.target, in.eval(st.value, s), s)
	case *setBlock:
		v := Value(in.capture(st.body, &scope{parent: s}))
		if st.filter != nil {
			v = in.filterChain(st.filter, v, s)
		}
		in.assign(st.target, v, s)
	case *withStmt:
		inner := &scope{parent: s}
		for i, target := range st.targets {
			in.assign(target, in.eval(st.values[i], s), inner)
		}
		return in.run(st.body, inner, out)
	case *macroStmt:
		s.set(st.id, &macro{stmt: st, scope: s, escape: in.escaping})
	case *callBlock:
		v := in.evalCall(st.call, s, &macro{stmt: st.macro, scope: s, escape: in.escaping})
		in.print(v, nil, out)
	case *filterBlock:
		v := in.filterChain(st.filter, in.capture(st.body, &scope{parent: s}), s)
		in.print(v, nil, out)
	case *scopeStmt:
		was := in.escaping
		if st.escape != nil {
			in.escaping = truth(in.eval(st.escape, s))
		}
		sig := in.run(st.body, &scope{parent: s}, out)
		in.escaping = was
		return sig
	case *breakStmt:
		return broke
	case *continueStmt:
		return continued
	case *loadStmt:
		in.eval(st.template, s)
		fail(TypeError, "no loader for this environment specified")
	}
	return ran
}

// print writes a value into the output; e is where it came from, if that is known.
func (in *interp) print(v Value, e expr, out *builder) {
	text := in.soft(v)
	if in.escaping {
		if _, data := e.(*constant); !data {
			text = in.escape(text)
		}
	}
	out.add(text)
	if out == in.out && len(out.b) > in.limits.Output {
		fail(LimitError, "the output has more than %d bytes", in.limits.Output)
	}
}

// capture runs a body and returns its output.
func (in *interp) capture(body []stmt, s *scope) *Str {
	b := &builder{in: in}
	in.run(body, s, b)
	r := b.str()
	r.safe = in.escaping
	return r
}

func (in *interp) assign(target expr, v Value, s *scope) {
	switch t := target.(type) {
	case *name:
		s.set(t.id, v)
	case *namespaceRef:
		ns, ok := s.lookup(t.id).(*namespace)
		if !ok {
			fail(RuntimeError, "cannot assign attribute on non-namespace object")
		}
		ns.attrs.Set(t.attr, v)
	case *tupleExpr:
		items := in.unpack(v, len(t.items))
		for i, item := range t.items {
			in.assign(item, items[i], s)
		}
	}
}

func (in *interp) unpack(v Value, n int) []Value {
	next, ok := tryIterate(v)
	if !ok {
		fail(TypeError, "cannot unpack non-iterable %s object", typeName(v))
	}
	var items []Value
	for {
		item, ok := next()
		if !ok {
			break
		}
		if items = append(items, item); len(items) > n {
			fail(ValueError, "too many values to unpack (expected %d)", n)
		}
	}
	if len(items) < n {
		fail(ValueError, "not enough values to unpack (expected %d, got %d)", n, len(items))
	}
	return items
}

// loop is the variable of this name.
type loop struct {
	in *interp
	// size is the length of what is walked, or -1 while it is not known.
	size              int
	next              func() (Value, bool)
	ahead             []Value
	index, depth      int
	previous, current Value
	seen              []Value
	changedBefore     bool
	// recurse runs the loop's body on another value, where the loop is recursive.
	recurse func(v Value) Value
}

// advance goes to the next item.
func (l *loop) advance() (Value, bool) {
	if !l.peek() {
		return nil, false
	}
	item := l.ahead[0]
	l.ahead = l.ahead[1:]
	l.previous, l.current = l.current, item
	l.index++
	return item, true
}

func (l *loop) peek() bool {
	if len(l.ahead) > 0 {
		return true
	}
	item, ok := l.next()
	if ok {
		l.ahead = append(l.ahead, item)
	}
	return ok
}

func (l *loop) length() int {
	if l.size < 0 {
		for {
			item, ok := l.next()
			if !ok {
				break
			}
			l.in.step(1)
			l.in.allocItems(1)
			l.ahead = append(l.ahead, item)
		}
		l.size = l.index + len(l.ahead)
	}
	return l.size
}

func (in *interp) enterCall() func() {
	if in.calls++; in.calls > maxCalls {
		fail(RecursionError, "macros and loops call one another more than %d levels deep", maxCalls)
	}
	return func() { in.calls-- }
}

func (in *interp) runFor(st *forStmt, s *scope, out *builder, v Value, depth int) {
	l := &loop{in: in, size: -1, next: iterate(v), depth: depth}
	if n, ok := length(v); ok && st.test == nil {
		l.size = n
	}
	if st.test != nil {
		l.next = in.filtered(st, s, l.next)
	}
	if st.recursive {
		l.recurse = func(v Value) Value {
			defer in.enterCall()()
			b := &builder{in: in}
			in.runFor(st, s, b, v, depth+1)
			return b.str()
		}
	}
	ranOnce := false
	for {
		item, ok := l.advance()
		if !ok {
			break
		}
		in.step(1)
		ranOnce = true
		inner := &scope{parent: s, names: []string{"loop"}, values: []Value{l}}
		in.assign(st.target, item, inner)
		if in.run(st.body, inner, out) == broke {
			return
		}
	}
	if !ranOnce {
		in.run(st.other, &scope{parent: s}, out)
	}
}

// filtered walks the items that pass the loop's condition.
func (in *interp) filtered(st *forStmt, s *scope, next func() (Value, bool)) func() (Value, bool) {
	return func() (Value, bool) {
		for {
			item, ok := next()
			if !ok {
				return nil, false
			}
			in.step(1)
			inner := &scope{parent: s}
			in.assign(st.target, item, inner)
			if truth(in.eval(st.test, inner)) {
				return item, true
			}
		}
	}
}

func (in *interp) eval(e expr, s *scope) Value {
	in.step(1)
	switch e := e.(type) {
	case *constant:
		return e.value
	case *name:
		return s.lookup(e.id)
	}
	if in.depth++; in.depth > maxDepth*4 {
		fail(RecursionError, "maximum recursion depth exceeded")
	}
	v := in.evalDeep(e, s)
	in.depth--
	return v
}

func (in *interp) evalDeep(e expr, s *scope) Value {
	switch e := e.(type) {
	case *attribute:
		return in.getAttr(in.eval(e.x, s), e.id)
	case *index:
		return in.getItem(in.eval(e.x, s), in.eval(e.at, s))
	case *filterExpr:
		return in.applyFilter(e, in.eval(e.x, s), s)
	case *testExpr:
		return in.applyTest(e, s)
	case *call:
		return in.evalCall(e, s, nil)
	case *unary:
		return in.evalUnary(e, s)
	case *binary:
		return in.evalBinary(e, s)
	case *compare:
		return in.evalCompare(e, s)
	case *conditional:
		if truth(in.eval(e.test, s)) {
			return in.eval(e.then, s)
		}
		if e.other == nil {
			return undefined("the inline if-expression evaluated to false and no else section was defined.")
		}
		return in.eval(e.other, s)
	case *concat:
		return in.evalConcat(e, s)
	case *tupleExpr:
		return &Tuple{items: in.evalAll(e.items, s)}
	case *listExpr:
		return &List{items: in.evalAll(e.items, s)}
	case *dictExpr:
		d := NewDict()
		in.allocItems(4 * len(e.keys))
		for i := range e.keys {
			d.set(in.eval(e.keys[i], s), in.eval(e.values[i], s))
		}
		return d
	case *sliceExpr:
		part := func(e expr) Value {
			if e == nil {
				return None
			}
			return in.eval(e, s)
		}
		return &sliceValue{part(e.from), part(e.to), part(e.step)}
	case *namespaceRef:
		return in.getAttr(s.lookup(e.id), e.attr)
	}
	panic(fmt.Sprintf("an expression of type %T", e))
}

func (in *interp) evalAll(items []expr, s *scope) []Value {
	in.allocItems(len(items))
	vals := make([]Value, len(items))
	for i, item := range items {
		vals[i] = in.eval(item, s)
	}
	return vals
}

func (in *interp) evalUnary(e *unary, s *scope) Value {
	v := in.eval(e.x, s)
	switch {
	case e.op == "not":
		return !truth(v)
	case isInt(v):
		if e.op == "-" {
			return in.bigInt("-", toBig(int64(0)), toBig(v))
		}
		return normInt(toBig(v))
	case isNumber(v):
		if e.op == "-" {
			return -v.(float64)
		}
		return v
	}
	if u, ok := v.(*Undefined); ok {
		u.fail()
	}
	fail(TypeError, "bad operand type for unary %s: '%s'", e.op, typeName(v))
	return nil
}

func (in *interp) evalBinary(e *binary, s *scope) Value {
	l := in.eval(e.left, s)
	switch e.op {
	case "and":
		if !truth(l) {
			return l
		}
		return in.eval(e.right, s)
	case "or":
		if truth(l) {
			return l
		}
		return in.eval(e.right, s)
	}
	return in.arithmetic(e.op, l, in.eval(e.right, s))
}

func (in *interp) evalCompare(e *compare, s *scope) Value {
	l := in.eval(e.first, s)
	for i, op := range e.ops {
		r := in.eval(e.rest[i], s)
		var ok bool
		switch op {
		case "==":
			ok = in.equal(l, r, 0)
		case "!=":
			ok = !in.equal(l, r, 0)
		case "in":
			ok = in.contains(r, l)
		case "not in":
			ok = !in.contains(r, l)
		default:
			ok = in.less(op, l, r, 0)
		}
		if !ok {
			return false
		}
		l = r
	}
	return true
}

func (in *interp) evalConcat(e *concat, s *scope) Value {
	vals := in.evalAll(e.items, s)
	b := builder{in: in}
	safe := false
	if in.escaping {
		for _, v := range vals {
			t, ok := v.(*Str)
			safe = safe || ok && t.safe
		}
	}
	for _, v := range vals {
		t := in.soft(v)
		if safe {
			t = in.escape(t)
		}
		b.add(t)
	}
	r := b.str()
	r.safe = safe
	return r
}

// arguments evaluates those of a call.
func (in *interp) arguments(a *arguments, s *scope) args {
	r := args{pos: make([]Value, 0, len(a.args))}
	for _, e := range a.args {
		r.pos = append(r.pos, in.eval(e, s))
	}
	for i, e := range a.named {
		r.setNamed(a.names[i], in.eval(e, s))
	}
	if a.star != nil {
		r.pos = append(r.pos, in.collect(in.eval(a.star, s))...)
	}
	if a.starstar != nil {
		v := in.eval(a.starstar, s)
		d, ok := v.(*Dict)
		if !ok {
			fail(TypeError, "argument after ** must be a mapping, not %s", typeName(v))
		}
		for i, k := range d.keys {
			id, ok := k.(*Str)
			if !ok {
				fail(TypeError, "keywords must be strings")
			}
			r.setNamed(id.s, d.values[i])
		}
	}
	return r
}

func (a *args) setNamed(id string, v Value) {
	if _, ok := a.named[id]; ok {
		fail(TypeError, "got multiple values for keyword argument '%s'", id)
	}
	if a.named == nil {
		a.named = map[string]Value{}
	}
	a.named[id] = v
	a.order = append(a.order, id)
}

func (in *interp) evalCall(e *call, s *scope, caller *macro) Value {
	f := in.eval(e.x, s)
	a := in.arguments(&e.arguments, s)
	if caller != nil {
		a.setNamed("caller", caller)
	}
	if e.line > 0 {
		in.line = e.line
	}
	return in.call(f, a)
}

func (in *interp) call(f Value, a args) Value {
	switch f := f.(type) {
	case *Func:
		return f.call(in, a)
	case *macro:
		return in.callMacro(f, a)
	case *Undefined:
		f.fail()
	case *loop:
		if f.recurse == nil {
			fail(TypeError, "The loop must have the 'recursive' marker to be called recursively.")
		}
		p := bind("loop", a, "iterable")
		return f.recurse(p[0])
	case *joiner:
		if !f.used {
			f.used = true
			return newStr("")
		}
		return f.sep
	}
	fail(TypeError, "'%s' object is not callable", typeName(f))
	return nil
}

func (in *interp) callMacro(m *macro, a args) Value {
	defer in.enterCall()()
	st := m.stmt
	s := &scope{parent: m.scope}
	rest := a.pos[min(len(st.params), len(a.pos)):]
	if len(rest) > 0 && !st.uses["varargs"] {
		fail(TypeError, "macro %s takes not more than %d argument(s)", pyQuote(st.id), len(st.params))
	}
	taken := 0
	caller, hasCaller := a.named["caller"]
	for i, id := range st.params {
		v, named := a.named[id]
		switch {
		case i < len(a.pos):
			if named {
				fail(TypeError, "macro %s got multiple values for argument '%s'", pyQuote(st.id), id)
			}
			s.set(id, a.pos[i])
		case named:
			taken++
			if id == "caller" {
				hasCaller = false
			}
			s.set(id, v)
		default:
			d := i - (len(st.params) - len(st.defaults))
			if d < 0 {
				s.set(id, undefined("parameter '%s' was not provided", id))
			} else {
				// A default sees the parameters before it, and not those behind it.
				s.set(id, in.eval(st.defaults[d], s))
			}
		}
	}
	if hasCaller {
		taken++
		if !st.uses["caller"] {
			fail(TypeError, "macro %s was invoked with two values for the special caller argument", pyQuote(st.id))
		}
	}
	in.bindExtras(m, s, a, rest, caller, hasCaller, taken)
	was := in.escaping
	in.escaping = m.escape
	r := in.capture(st.body, s)
	in.escaping = was
	return r
}

// bindExtras sets caller, kwargs and varargs of a macro that uses them.
func (in *interp) bindExtras(m *macro, s *scope, a args, rest []Value, caller Value, hasCaller bool, taken int) {
	st := m.stmt
	if st.uses["caller"] {
		if !hasCaller {
			caller = undefined("No caller defined")
		}
		s.set("caller", caller)
	}
	if st.uses["kwargs"] {
		d := NewDict()
		for _, id := range a.order {
			if !contains(st.params, id) && (id != "caller" || !st.uses["caller"]) {
				d.Set(id, a.named[id])
			}
		}
		s.set("kwargs", d)
	} else if len(a.named) > taken {
		for _, id := range a.order {
			if !contains(st.params, id) && id != "caller" {
				fail(TypeError, "macro %s takes no keyword argument %s", pyQuote(st.id), pyQuote(id))
			}
		}
	}
	if st.uses["varargs"] {
		s.set("varargs", &Tuple{items: rest})
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// sliceValue is Python's slice.
type sliceValue struct{ from, to, step Value }

// indices are those of a sequence of n items.
func (sl *sliceValue) indices(n int) (from, to, step int) {
	part := func(v Value, otherwise int) int {
		if v == None {
			return otherwise
		}
		if !isInt(v) {
			fail(TypeError, "slice indices must be integers or None or have an __index__ method")
		}
		return intArg(v)
	}
	step = part(sl.step, 1)
	if step == 0 {
		fail(ValueError, "slice step cannot be zero")
	}
	clip := func(i, low, high int) int {
		if i < 0 {
			i += n
		}
		return max(min(i, high), low)
	}
	if step > 0 {
		return clip(part(sl.from, 0), 0, n), clip(part(sl.to, math.MaxInt32), 0, n), step
	}
	from = n - 1
	if sl.from != None {
		from = clip(part(sl.from, 0), -1, n-1)
	}
	to = -1
	if sl.to != None {
		to = clip(part(sl.to, 0), -1, n-1)
	}
	return from, to, step
}
