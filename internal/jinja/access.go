package jinja

import (
	"math/big"
	"unicode/utf8"
)

// getAttr is `v.id`: an attribute, or else an item.
func (in *interp) getAttr(v Value, id string) Value {
	if u, ok := v.(*Undefined); ok && !dunders[id] {
		u.fail()
	}
	if a := in.attr(v, id); a != nil {
		return a
	}
	if d, ok := v.(*Dict); ok {
		if item, ok := d.byName(id); ok {
			return item
		}
	}
	return noAttr(v, id)
}

func noAttr(v Value, id string) *Undefined {
	return undefined("%s has no attribute %s", pyQuote(describe(v)), pyQuote(id))
}

// getItem is `v[at]`: an item, or else an attribute.
func (in *interp) getItem(v, at Value) Value {
	if u, ok := v.(*Undefined); ok {
		u.fail()
	}
	in.touch(v)
	if item := in.item(v, at); item != nil {
		return item
	}
	if id, ok := at.(*Str); ok {
		if a := in.attr(v, id.s); a != nil {
			return a
		}
		return noAttr(v, id.s)
	}
	b := builder{in: in}
	in.repr(&b, at, 0, false)
	return undefined("%s has no element %s", describe(v), string(b.b))
}

// item is Python's v[at], nil where there is none.
func (in *interp) item(v, at Value) Value {
	if sl, ok := at.(*sliceValue); ok {
		return in.slice(v, sl)
	}
	if d, ok := v.(*Dict); ok {
		var item Value
		if err := attempt(func() { item, _ = d.get(at) }); err != nil && err.Kind != TypeError {
			panic(err)
		}
		return item
	}
	if !isInt(at) {
		if t, ok := v.(*Tuple); ok {
			if id, ok := at.(*Str); ok {
				return t.field(id.s)
			}
		}
		return nil
	}
	if _, ok := at.(*big.Int); ok {
		return nil
	}
	n, ok := length(v)
	i, _ := asInt(at)
	if i < 0 {
		i += int64(n)
	}
	if !ok || i < 0 || i >= int64(n) {
		return nil
	}
	switch v := v.(type) {
	case *Str:
		if isASCII(v.s) {
			return v.sub(int(i), int(i)+1)
		}
		from := byteOffset(v.s, int(i))
		_, size := utf8.DecodeRuneInString(v.s[from:])
		return v.sub(from, from+size)
	case *List:
		return v.items[i]
	case *Tuple:
		return v.items[i]
	case *rangeValue:
		return v.start + i*v.step
	}
	return nil
}

func (t *Tuple) field(id string) Value {
	for i, n := range t.names {
		if n == id {
			return t.items[i]
		}
	}
	return nil
}

// byteOffset is where the rune number i begins.
func byteOffset(s string, i int) int {
	for at := range s {
		if i == 0 {
			return at
		}
		i--
	}
	return len(s)
}

func (in *interp) slice(v Value, sl *sliceValue) Value {
	n, ok := length(v)
	if !ok {
		fail(TypeError, "'%s' object is not subscriptable", typeName(v))
	}
	pick := func(items []Value) []Value {
		from, to, step := sl.indices(n)
		var r []Value
		for i := from; (step > 0 && i < to) || (step < 0 && i > to); i += step {
			r = append(r, items[i])
		}
		in.allocItems(len(r))
		return r
	}
	switch v := v.(type) {
	case *Str:
		return in.sliceStr(v, sl, n)
	case *List:
		return &List{items: pick(v.items), foreign: v.foreign}
	case *Tuple:
		return &Tuple{items: pick(v.items)}
	case *rangeValue:
		from, to, step := sl.indices(n)
		count := 0
		if step > 0 && from < to {
			count = (to - from + step - 1) / step
		} else if step < 0 && from > to {
			count = (from - to - step - 1) / -step
		}
		return &rangeValue{v.start + int64(from)*v.step, v.start + int64(to)*v.step, v.step * int64(step), int64(count)}
	}
	fail(TypeError, "'%s' object cannot be sliced", typeName(v))
	return nil
}

func (in *interp) sliceStr(v *Str, sl *sliceValue, n int) Value {
	from, to, step := sl.indices(n)
	in.step(len(v.s) / 1024)
	ascii := len(v.s) == n
	if step == 1 {
		if ascii {
			return v.sub(from, to)
		}
		return v.sub(byteOffset(v.s, from), byteOffset(v.s, max(from, to)))
	}
	in.step(n / 4)
	in.alloc(satMul(8, n))
	offsets := make([]int, 0, n+1)
	for at := range v.s {
		offsets = append(offsets, at)
	}
	offsets = append(offsets, len(v.s))
	b := builder{in: in}
	for i := from; (step > 0 && i < to) || (step < 0 && i > to); i += step {
		b.add(v.sub(offsets[i], offsets[i+1]))
	}
	r := b.str()
	r.safe = v.safe
	return r
}

// attr is Python's getattr in the sandbox, nil where there is none.
func (in *interp) attr(v Value, id string) Value {
	switch v := v.(type) {
	case *namespace:
		if item, ok := v.attrs.byName(id); ok {
			return item
		}
	case *loop:
		return v.attr(id)
	case *macro:
		switch id {
		case "name":
			return newStr(v.stmt.id)
		case "arguments":
			t := &Tuple{}
			for _, p := range v.stmt.params {
				t.items = append(t.items, newStr(p))
			}
			return t
		case "catch_kwargs":
			return v.stmt.uses["kwargs"]
		case "catch_varargs":
			return v.stmt.uses["varargs"]
		case "caller":
			return v.stmt.uses["caller"]
		}
	case *cycler:
		return v.attr(id)
	case *Tuple:
		if f := v.field(id); f != nil {
			return f
		}
	case int64, bool, *big.Int:
		switch id {
		case "real", "numerator":
			return normInt(toBig(v))
		case "imag":
			return int64(0)
		case "denominator":
			return int64(1)
		}
	case *rangeValue:
		switch id {
		case "start":
			return v.start
		case "step":
			return v.step
		}
	}
	if unsafe(v, id) {
		return &Undefined{"access to attribute " + pyQuote(id) + " of " + pyQuote(typeName(v)) + " object is unsafe.", SecurityError}
	}
	m := methods(v)[id]
	if m == nil {
		return nil
	}
	return &Func{name: id, method: true, call: func(in *interp, a args) Value {
		in.touch(v)
		in.touch(a.pos...)
		return m(in, v, a)
	}}
}

// mutators are the methods that the immutable sandbox forbids.
var mutators = map[string]map[string]bool{
	"dict": {"clear": true, "pop": true, "popitem": true, "setdefault": true, "update": true},
	"list": {"append": true, "clear": true, "pop": true, "reverse": true, "insert": true, "sort": true, "extend": true, "remove": true},
}

// dunders are those attributes of all objects that templates try to get at.
var dunders = map[string]bool{
	"__class__": true, "__doc__": true, "__init__": true, "__dict__": false, "__len__": false, "__str__": true, "__repr__": true,
	"__eq__": true, "__hash__": true, "__reduce__": true, "__getattribute__": true, "__new__": true, "__dir__": true,
	"__format__": true, "__sizeof__": true, "__subclasshook__": true, "__ne__": true, "__lt__": true, "__gt__": true,
}

func unsafe(v Value, id string) bool {
	return mutators[typeName(v)][id] || dunders[id]
}

func (l *loop) attr(id string) Value {
	switch id {
	case "index":
		return int64(l.index)
	case "index0":
		return int64(l.index - 1)
	case "revindex":
		return int64(l.length() - l.index + 1)
	case "revindex0":
		return int64(l.length() - l.index)
	case "first":
		return l.index == 1
	case "last":
		return !l.peek()
	case "length":
		return int64(l.length())
	case "depth":
		return int64(l.depth + 1)
	case "depth0":
		return int64(l.depth)
	case "previtem":
		if l.index <= 1 {
			return undefined("there is no previous item")
		}
		return l.previous
	case "nextitem":
		if !l.peek() {
			return undefined("there is no next item")
		}
		return l.ahead[0]
	case "cycle":
		return &Func{name: "cycle", method: true, call: func(_ *interp, a args) Value {
			if len(a.pos) == 0 {
				fail(TypeError, "no items for cycling given")
			}
			return a.pos[(l.index-1)%len(a.pos)]
		}}
	case "changed":
		return &Func{name: "changed", method: true, call: func(in *interp, a args) Value {
			if l.changedBefore && in.equalItems(l.seen, a.pos, 0) {
				return false
			}
			l.seen, l.changedBefore = a.pos, true
			return true
		}}
	}
	return nil
}

func (c *cycler) attr(id string) Value {
	switch id {
	case "current":
		return c.items[c.pos]
	case "next":
		return &Func{name: id, method: true, call: func(*interp, args) Value {
			v := c.items[c.pos]
			c.pos = (c.pos + 1) % len(c.items)
			return v
		}}
	case "reset":
		return &Func{name: id, method: true, call: func(*interp, args) Value {
			c.pos = 0
			return None
		}}
	}
	return nil
}
