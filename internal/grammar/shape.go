package grammar

import (
	"errors"
	"slices"
)

// kinds is a set of JSON types, as bits.
type kinds uint8

const (
	kindObject kinds = 1 << iota
	kindArray
	kindString
	kindNumber // other than whole ones
	kindInteger
	kindBoolean
	kindNull
	everyKind = kindNull<<1 - 1
)

// namedKind is what a schema calls a kind.
type namedKind struct {
	name string
	kind kinds
}

var kindNames = []namedKind{
	{"object", kindObject},
	{"array", kindArray},
	{"string", kindString},
	{"number", kindNumber | kindInteger},
	{"integer", kindInteger},
	{"boolean", kindBoolean},
	{"null", kindNull},
}

// shape is what a schema means, in the terms that the converter gets right. It is one of: choices, a reference, values, or a kind
// with its constraints; or anything.
type shape struct {
	path    string // where it is in the schema
	any     bool
	choices []*shape
	ref     *definition
	values  []*value
	kind    kinds // exactly one, or kindNumber | kindInteger

	object objectShape
	array  arrayShape
	text   textShape
	whole  wholeShape
}

// definition is a schema that $ref names.
type definition struct {
	name  string
	shape *shape // nil while it is read
	ends  bool   // whether some text of it is finite
}

type objectShape struct {
	names      []string
	properties map[string]*shape
	required   []string
	closed     bool   // no other properties
	others     *shape // what other properties are; nil for anything
	min, max   int
}

type arrayShape struct {
	prefix   []*shape
	items    *shape // nil for anything
	closed   bool   // nothing after the prefix
	min, max int
}

type textShape struct {
	min, max        int
	pattern, format string
}

type wholeShape struct {
	min, max int64
}

// Unbounded ends of counts and integers. Integers have at most 15 digits, as every client's floating point can hold.
const (
	noMax      = -1
	maxInteger = 999_999_999_999_999
)

func newShape(path string, k kinds) *shape {
	s := &shape{path: path, kind: k}
	s.object.max, s.array.max, s.text.max = noMax, noMax, noMax
	s.whole = wholeShape{-maxInteger, maxInteger}
	return s
}

var (
	errNever      = errors.New("nothing can match all of it")
	errNotCombine = errors.New("the combination is not supported")
)

// kindOf is the kind of a value.
func (v *value) kindOf() kinds {
	switch v.kind {
	case 'o':
		return kindObject
	case 'a':
		return kindArray
	case 's':
		return kindString
	case 'b':
		return kindBoolean
	case '0':
		return kindNull
	}
	if v.isWhole() {
		return kindInteger
	}
	return kindNumber
}

// intersect returns what matches both shapes, errNever if nothing does.
func (r *schemaReader) intersect(a, b *shape) (*shape, error) {
	if err := r.count(a.path); err != nil {
		return nil, err
	}
	switch {
	case a.any:
		return b, nil
	case b.any:
		return a, nil
	case a.ref != nil:
		if a.ref == b.ref {
			return a, nil
		}
		if a.ref.shape == nil {
			return nil, errNotCombine
		}
		return r.intersect(a.ref.shape, b)
	case b.ref != nil:
		return r.intersect(b, a)
	case a.choices != nil:
		return r.distribute(a, b)
	case b.choices != nil:
		return r.distribute(b, a)
	case b.values != nil && a.values == nil:
		return r.intersect(b, a)
	case a.values != nil:
		return a.filter(b)
	case a.kind&b.kind == 0:
		return nil, errNever
	}
	switch a.kind & b.kind {
	case kindObject:
		return r.intersectObjects(a, b)
	case kindArray:
		return r.intersectArrays(a, b)
	case kindString:
		return intersectTexts(a, b)
	case kindInteger:
		c := newShape(a.path, kindInteger)
		c.whole = wholeShape{max(a.whole.min, b.whole.min), min(a.whole.max, b.whole.max)}
		if c.whole.min > c.whole.max {
			return nil, errNever
		}
		return c, nil
	default:
		return a, nil
	}
}

// distribute keeps of the choices of a what is in b.
func (r *schemaReader) distribute(a, b *shape) (*shape, error) {
	c := &shape{path: a.path}
	for _, choice := range a.choices {
		s, err := r.intersect(choice, b)
		switch {
		case errors.Is(err, errNever):
		case err != nil:
			return nil, err
		default:
			c.choices = append(c.choices, s)
		}
	}
	switch len(c.choices) {
	case 0:
		return nil, errNever
	case 1:
		return c.choices[0], nil
	}
	return c, nil
}

// filter keeps the values of s that are in b, which is values or a kind without constraints.
func (s *shape) filter(b *shape) (*shape, error) {
	c := &shape{path: s.path}
	for _, v := range s.values {
		in := b.values == nil && v.kindOf()&b.kind != 0
		if in && !b.unconstrained() {
			return nil, errNotCombine
		}
		for _, w := range b.values {
			in = in || v.String() == w.String()
		}
		if in {
			c.values = append(c.values, v)
		}
	}
	if len(c.values) == 0 {
		return nil, errNever
	}
	return c, nil
}

// unconstrained reports whether s is a kind and nothing more.
func (s *shape) unconstrained() bool {
	o, a := &s.object, &s.array
	return len(o.names)+len(o.required)+len(a.prefix) == 0 && !o.closed && o.others == nil && !a.closed && a.items == nil &&
		o.min+a.min+s.text.min == 0 && o.max == noMax && a.max == noMax && s.text.max == noMax && s.text.pattern == "" &&
		s.whole == wholeShape{-maxInteger, maxInteger}
}

func (r *schemaReader) intersectObjects(a, b *shape) (*shape, error) {
	c := newShape(a.path, kindObject)
	o := &c.object
	o.properties = map[string]*shape{}
	o.required = slices.Concat(a.object.required, b.object.required)
	o.min, o.max = max(a.object.min, b.object.min), lesser(a.object.max, b.object.max)
	for _, side := range [][2]*objectShape{{&a.object, &b.object}, {&b.object, &a.object}} {
		for _, name := range side[0].names {
			if o.properties[name] != nil {
				continue
			}
			p, err := r.intersectProperty(side[0].properties[name], side[1], name)
			switch {
			case err == nil:
				o.names = append(o.names, name)
				o.properties[name] = p
			case errors.Is(err, errNever) && !slices.Contains(o.required, name): // left out
			default:
				return nil, err
			}
		}
	}
	o.closed = a.object.closed || b.object.closed
	var err error
	switch {
	case a.object.others == nil:
		o.others = b.object.others
	case b.object.others == nil:
		o.others = a.object.others
	default:
		o.others, err = r.intersect(a.object.others, b.object.others)
	}
	return c, err
}

// intersectProperty is a property as another object has it, too.
func (r *schemaReader) intersectProperty(p *shape, o *objectShape, name string) (*shape, error) {
	switch q := o.properties[name]; {
	case q != nil:
		return r.intersect(p, q)
	case o.closed:
		return nil, errNever
	case o.others != nil:
		return r.intersect(p, o.others)
	}
	return p, nil
}

func (r *schemaReader) intersectArrays(a, b *shape) (*shape, error) {
	if len(a.array.prefix) > 0 || len(b.array.prefix) > 0 {
		if !a.unconstrained() && !b.unconstrained() {
			return nil, errNotCombine
		}
		if a.unconstrained() {
			return b, nil
		}
		return a, nil
	}
	c := newShape(a.path, kindArray)
	c.array.min, c.array.max = max(a.array.min, b.array.min), lesser(a.array.max, b.array.max)
	var err error
	switch {
	case a.array.items == nil:
		c.array.items = b.array.items
	case b.array.items == nil:
		c.array.items = a.array.items
	default:
		c.array.items, err = r.intersect(a.array.items, b.array.items)
	}
	return c, err
}

func intersectTexts(a, b *shape) (*shape, error) {
	c := newShape(a.path, kindString)
	c.text = textShape{max(a.text.min, b.text.min), lesser(a.text.max, b.text.max), a.text.pattern, a.text.format}
	switch {
	case a.text.pattern != "" && b.text.pattern != "" && a.text.pattern != b.text.pattern:
		return nil, errNotCombine
	case c.text.pattern == "":
		c.text.pattern = b.text.pattern
	}
	if c.text.format == "" {
		c.text.format = b.text.format
	}
	return c, nil
}

// lesser is the smaller of two upper bounds.
func lesser(a, b int) int {
	if a == noMax || b != noMax && b < a {
		return b
	}
	return a
}

// comparison compares shapes, with bounded effort.
type comparison struct{ effort int }

const (
	maxEffort = 100_000 // comparisons of one oneOf
	maxDeep   = 8       // how far a comparison looks
)

// disjoint reports whether it is certain that no answer to one of two shapes matches the other; deep bounds how far it looks.
func (c *comparison) disjoint(a, b *shape, deep int) bool {
	c.effort++
	switch {
	case deep == 0 || c.effort > maxEffort || a.any || b.any:
		return false
	case a.ref != nil:
		return a.ref.shape != nil && c.disjoint(a.ref.shape, b, deep-1)
	case a.choices != nil:
		return !slices.ContainsFunc(a.choices, func(choice *shape) bool { return !c.disjoint(choice, b, deep-1) })
	case b.ref != nil || b.choices != nil || b.values != nil && a.values == nil:
		return c.disjoint(b, a, deep-1)
	case a.values != nil:
		return c.excludes(a.values, b)
	case a.kind&b.kind == 0:
		return true
	case a.kind == kindObject:
		return c.disjointObjects(&a.object, &b.object, deep)
	case a.kind == kindInteger && b.kind == kindInteger:
		return a.whole.max < b.whole.min || b.whole.max < a.whole.min
	}
	return false
}

// excludes reports whether no value is in b.
func (c *comparison) excludes(values []*value, b *shape) bool {
	for _, v := range values {
		if b.values == nil && v.kindOf()&b.kind != 0 {
			return false
		}
		for _, w := range b.values {
			if c.effort++; v.String() == w.String() {
				return false
			}
		}
	}
	return true
}

// disjointObjects: some property that both require differs, or each requires one that answers to the other do not have.
func (c *comparison) disjointObjects(a, b *objectShape, deep int) bool {
	lacks := func(a, b *objectShape) bool {
		return len(a.names) > 0 && slices.ContainsFunc(b.required, func(name string) bool { return a.properties[name] == nil })
	}
	for _, name := range a.required {
		p, q := a.properties[name], b.properties[name]
		if p != nil && q != nil && slices.Contains(b.required, name) && c.disjoint(p, q, deep-1) {
			return true
		}
	}
	return lacks(a, b) && lacks(b, a)
}
