package jinja

import (
	"fmt"
	"math"
	"math/big"
	"sort"
	"strings"
	"unicode/utf8"
)

// Value is a value of a template: one of [None], *[Undefined], bool, int64, *big.Int, float64, *[Str], *[List], *Tuple, *[Dict],
// *Func, and some that only templates make.
type Value any

type noneType struct{}

// None is Python's None.
var None Value = noneType{}

// Undefined is the value of a name, attribute or item that does not exist.
type Undefined struct {
	message string
	kind    ErrorKind
}

func undefined(format string, args ...any) *Undefined {
	return &Undefined{fmt.Sprintf(format, args...), UndefinedError}
}

func (u *Undefined) fail() { fail(u.kind, "%s", u.message) }

// Span is a range of bytes, To excluded.
type Span struct{ From, To int }

// Str is a string that knows which of its bytes came from outside of the template.
type Str struct {
	s string
	// foreign are ascending, disjoint ranges.
	foreign []Span
	// safe marks what Python has as a Markup.
	safe bool
}

func newStr(s string) *Str { return &Str{s: s} }

// Text is a string of the template's side.
func Text(s string) *Str { return newStr(s) }

// Foreign is a string that came from outside.
func Foreign(s string) *Str {
	v := newStr(s)
	v.taint()
	return v
}

func (s *Str) String() string { return s.s }

// Foreign lists what came from outside: ascending, disjoint ranges.
func (s *Str) Foreign() []Span { return s.foreign }

// Sub is the part of s between two offsets in bytes, with its provenance.
func (s *Str) Sub(from, to int) *Str { return s.sub(from, to) }

// taint marks all of a string as foreign.
func (s *Str) taint() {
	if s.s != "" {
		s.foreign = []Span{{0, len(s.s)}}
	}
}

func (s *Str) tainted() bool { return len(s.foreign) > 0 }

// sub is the part of s between two offsets in bytes.
func (s *Str) sub(from, to int) *Str {
	if from >= to {
		return &Str{safe: s.safe}
	}
	if from == 0 && to == len(s.s) {
		return s
	}
	r := &Str{s: s.s[from:to], safe: s.safe}
	first := sort.Search(len(s.foreign), func(i int) bool { return s.foreign[i].To > from })
	for _, f := range s.foreign[first:] {
		if f.From >= to {
			break
		}
		r.foreign = append(r.foreign, Span{max(f.From, from) - from, min(f.To, to) - from})
	}
	return r
}

// like is text made from s as a whole: foreign where any of s is.
func (s *Str) like(text string) *Str {
	r := &Str{s: text, safe: s.safe}
	if s.tainted() {
		r.taint()
	}
	return r
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// builder puts a string together.
type builder struct {
	in      *interp
	b       []byte
	foreign []Span
}

func (b *builder) grow(n int) {
	if b.in != nil {
		b.in.alloc(n)
	}
}

func (b *builder) add(s *Str) {
	b.grow(len(s.s))
	at := len(b.b)
	b.b = append(b.b, s.s...)
	for _, f := range s.foreign {
		b.mark(at+f.From, at+f.To)
	}
}

func (b *builder) mark(from, to int) {
	if last := len(b.foreign) - 1; last >= 0 && b.foreign[last].To == from {
		b.foreign[last].To = to
	} else {
		b.foreign = append(b.foreign, Span{from, to})
	}
}

func (b *builder) text(s string, foreign bool) {
	b.grow(len(s))
	at := len(b.b)
	b.b = append(b.b, s...)
	if foreign && s != "" {
		b.mark(at, len(b.b))
	}
}

func (b *builder) str() *Str { return &Str{s: string(b.b), foreign: b.foreign} }

// List is Python's list.
type List struct {
	items []Value
	// foreign says that the list as such, not just what is in it, came from outside.
	foreign bool
}

// NewList is a list of the template's side.
func NewList(items ...Value) *List { return &List{items: items} }

// Tuple is Python's tuple; names are those of its fields where it has any.
type Tuple struct {
	items []Value
	names []string
}

// Dict is Python's dict: it keeps the order in which keys were added.
type Dict struct {
	keys, values []Value
	index        map[any]int
	foreign      bool
}

// NewDict is an empty dict of the template's side.
func NewDict() *Dict { return &Dict{index: map[any]int{}} }

// Set adds an item, or replaces its value.
func (d *Dict) Set(key string, v Value) { d.set(newStr(key), v) }

func (d *Dict) set(key, v Value) {
	h := hash(key, 0)
	if i, ok := d.index[h]; ok {
		d.values[i] = v
		return
	}
	d.index[h] = len(d.keys)
	d.keys = append(d.keys, key)
	d.values = append(d.values, v)
}

func (d *Dict) get(key Value) (Value, bool) {
	if i, ok := d.index[hash(key, 0)]; ok {
		return d.values[i], true
	}
	return nil, false
}

func (d *Dict) byName(id string) (Value, bool) {
	if i, ok := d.index[id]; ok {
		return d.values[i], true
	}
	return nil, false
}

// maxKeyDepth bounds how deep tuples nest in keys.
const maxKeyDepth = 16

// hash is a comparable that is equal for equal keys.
func hash(v Value, depth int) any {
	if depth > maxKeyDepth {
		fail(RecursionError, "maximum recursion depth exceeded")
	}
	switch v := v.(type) {
	case *Str:
		return v.s
	case bool:
		if v {
			return int64(1)
		}
		return int64(0)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<62 {
			return int64(v)
		}
		return v
	case *big.Int:
		return [2]string{"int", v.String()}
	case *Undefined:
		return Undefined{}
	case *Tuple:
		parts := make([]string, len(v.items))
		for i, item := range v.items {
			h := hash(item, depth+1)
			parts[i] = fmt.Sprintf("%T%q", h, fmt.Sprint(h))
		}
		return [2]string{"tuple", strings.Join(parts, ",")}
	case *List, *Dict:
		fail(TypeError, "unhashable type: '%s'", typeName(v))
	}
	return v
}

// view is what keys, values and items of a dict are.
type view struct {
	what string
	d    *Dict
}

func (v *view) at(i int) Value {
	switch v.what {
	case "keys":
		return v.d.keys[i]
	case "values":
		return v.d.values[i]
	}
	return &Tuple{items: []Value{v.d.keys[i], v.d.values[i]}}
}

// rangeValue is Python's range.
type rangeValue struct{ start, stop, step, n int64 }

// generator is a lazy sequence that can be walked once.
type generator struct {
	id   string
	next func() (Value, bool)
}

// args are those of a call.
type args struct {
	pos   []Value
	named map[string]Value
	// order lists the keys of named.
	order []string
}

// Func is a function that templates can call.
type Func struct {
	name string
	// method says that it is one of a value; these print differently.
	method bool
	call   func(in *interp, a args) Value
}

// NewFunc is a function with positional arguments. Its error ends the rendering; an *[Error] is kept as it is.
func NewFunc(name string, f func(args []Value) (Value, error)) *Func {
	return &Func{name: name, call: func(_ *interp, a args) Value {
		if len(a.named) > 0 {
			fail(TypeError, "%s() takes no keyword arguments", name)
		}
		v, err := f(a.pos)
		if err != nil {
			panic(asError(err))
		}
		return v
	}}
}

type namespace struct{ attrs *Dict }

type macro struct {
	stmt  *macroStmt
	scope *scope
	// escape is that of the autoescape block around the definition.
	escape bool
}

type cycler struct {
	items []Value
	pos   int
}

// selfRef is the variable self.
type selfRef struct{}

type joiner struct {
	sep  *Str
	used bool
}

func typeName(v Value) string {
	switch v := v.(type) {
	case noneType:
		return "NoneType"
	case *Undefined:
		return "Undefined"
	case bool:
		return "bool"
	case int64, *big.Int:
		return "int"
	case float64:
		return "float"
	case *Str:
		if v.safe {
			return "Markup"
		}
		return "str"
	case *List:
		return "list"
	case *Tuple:
		return "tuple"
	case *Dict:
		return "dict"
	case *view:
		return "dict_" + v.what
	case *rangeValue:
		return "range"
	case *generator:
		return "generator"
	case *Func:
		if v.method {
			return "builtin_function_or_method"
		}
		return "function"
	case *namespace:
		return "Namespace"
	case *macro:
		return "Macro"
	case *loop:
		return "LoopContext"
	case *cycler:
		return "Cycler"
	case *joiner:
		return "Joiner"
	}
	return fmt.Sprintf("%T", v)
}

// describe names a value in the message of an undefined attribute.
func describe(v Value) string {
	switch v.(type) {
	case noneType:
		return "None"
	case *namespace, *macro, *loop, *cycler, *joiner:
		return "jinja2." + typeName(v) + " object"
	}
	return typeName(v) + " object"
}

func truth(v Value) bool {
	switch v := v.(type) {
	case noneType, *Undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case *big.Int:
		return v.Sign() != 0
	case float64:
		return v != 0
	case *Str:
		return v.s != ""
	}
	if n, ok := length(v); ok {
		return n > 0
	}
	return true
}

// length is Python's len.
func length(v Value) (int, bool) {
	switch v := v.(type) {
	case *Undefined:
		return 0, true
	case *Str:
		if isASCII(v.s) {
			return len(v.s), true
		}
		return utf8.RuneCountInString(v.s), true
	case *List:
		return len(v.items), true
	case *Tuple:
		return len(v.items), true
	case *Dict:
		return len(v.keys), true
	case *view:
		return len(v.d.keys), true
	case *rangeValue:
		return int(v.n), true
	case *loop:
		return v.length(), true
	}
	return 0, false
}

// iterate walks a value; the second result of the walker is false at the end.
func iterate(v Value) func() (Value, bool) {
	next, ok := tryIterate(v)
	if !ok {
		fail(TypeError, "'%s' object is not iterable", typeName(v))
	}
	return next
}

func walk(n int, at func(int) Value) func() (Value, bool) {
	i := 0
	return func() (Value, bool) {
		if i >= n {
			return nil, false
		}
		i++
		return at(i - 1), true
	}
}

func tryIterate(v Value) (func() (Value, bool), bool) {
	switch v := v.(type) {
	case *Undefined:
		return walk(0, nil), true
	case *Str:
		at := 0
		return func() (Value, bool) {
			if at >= len(v.s) {
				return nil, false
			}
			_, n := utf8.DecodeRuneInString(v.s[at:])
			at += n
			return v.sub(at-n, at), true
		}, true
	case *List:
		return walk(len(v.items), func(i int) Value { return v.items[i] }), true
	case *Tuple:
		return walk(len(v.items), func(i int) Value { return v.items[i] }), true
	case *Dict:
		return walk(len(v.keys), func(i int) Value { return v.keys[i] }), true
	case *view:
		return walk(len(v.d.keys), v.at), true
	case *rangeValue:
		return walk(int(v.n), func(i int) Value { return v.start + int64(i)*v.step }), true
	case *generator:
		return v.next, true
	case *loop:
		return func() (Value, bool) {
			item, ok := v.advance()
			if !ok {
				return nil, false
			}
			return &Tuple{items: []Value{item, v}}, true
		}, true
	}
	return nil, false
}

// collect is Python's list(v).
func (in *interp) collect(v Value) []Value {
	if l, ok := v.(*List); ok {
		in.allocItems(len(l.items))
		return append([]Value(nil), l.items...)
	}
	next := iterate(v)
	var items []Value
	for {
		item, ok := next()
		if !ok {
			return items
		}
		in.step(1)
		in.allocItems(1)
		items = append(items, item)
	}
}

func asInt(v Value) (int64, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int64:
		return v, true
	}
	return 0, false
}

// index reads an argument that has to be an integer.
func intArg(v Value) int {
	n, ok := asInt(v)
	if b, big := v.(*big.Int); big {
		n, ok = math.MaxInt32, true
		if b.Sign() < 0 {
			n = math.MinInt32
		}
	}
	if !ok {
		if u, is := v.(*Undefined); is {
			u.fail()
		}
		fail(TypeError, "'%s' object cannot be interpreted as an integer", typeName(v))
	}
	return int(max(min(n, math.MaxInt32), math.MinInt32))
}

// normInt is n as an int64 where it fits.
func normInt(n *big.Int) Value {
	if n.IsInt64() {
		return n.Int64()
	}
	return n
}

func toBig(v Value) *big.Int {
	switch v := v.(type) {
	case *big.Int:
		return v
	}
	n, _ := asInt(v)
	return big.NewInt(n)
}

func isInt(v Value) bool {
	switch v.(type) {
	case bool, int64, *big.Int:
		return true
	}
	return false
}

func isNumber(v Value) bool {
	_, ok := v.(float64)
	return ok || isInt(v)
}

func toFloat(v Value) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case *big.Int:
		f, _ := new(big.Float).SetInt(v).Float64()
		if math.IsInf(f, 0) {
			fail(OverflowError, "int too large to convert to float")
		}
		return f
	}
	n, _ := asInt(v)
	return float64(n)
}
