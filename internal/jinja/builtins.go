package jinja

import (
	"math"
	"math/big"
)

func is(id string, f func(v Value) bool) filter {
	return func(_ *interp, v Value, a args) Value {
		bind(id, a)
		return f(v)
	}
}

func comparison(id string, f func(in *interp, a, b Value) bool) filter {
	return func(in *interp, v Value, a args) Value { return f(in, v, bind(id, a, "other")[0]) }
}

func ordering(op string) filter {
	return comparison(op, func(in *interp, a, b Value) bool { return in.less(op, a, b, 0) })
}

func modulo(id string, want int64) filter {
	return func(in *interp, v Value, a args) Value {
		bind(id, a)
		return in.equal(in.arithmetic("%", v, int64(2)), want, 0)
	}
}

func isUndefined(v Value) bool {
	_, ok := v.(*Undefined)
	return ok
}

func initTests() {
	eq := comparison("eq", func(in *interp, a, b Value) bool { return in.equal(a, b, 0) })
	ne := comparison("ne", func(in *interp, a, b Value) bool { return !in.equal(a, b, 0) })
	lt, le, gt, ge := ordering("<"), ordering("<="), ordering(">"), ordering(">=")
	tests = map[string]filter{
		"odd": modulo("odd", 1), "even": modulo("even", 0),
		"divisibleby": func(in *interp, v Value, a args) Value {
			return in.equal(in.arithmetic("%", v, bind("divisibleby", a, "num")[0]), int64(0), 0)
		},
		"defined":   is("defined", func(v Value) bool { return !isUndefined(v) }),
		"undefined": is("undefined", isUndefined),
		"filter":    is("filter", func(v Value) bool { s, ok := v.(*Str); return ok && filters[s.s] != nil }),
		"test":      is("test", func(v Value) bool { s, ok := v.(*Str); return ok && tests[s.s] != nil }),
		"none":      is("none", func(v Value) bool { return v == None }),
		"boolean":   is("boolean", func(v Value) bool { _, ok := v.(bool); return ok }),
		"false":     is("false", func(v Value) bool { return v == false }),
		"true":      is("true", func(v Value) bool { return v == true }),
		"integer":   is("integer", func(v Value) bool { _, b := v.(bool); return isInt(v) && !b }),
		"float":     is("float", func(v Value) bool { _, ok := v.(float64); return ok }),
		"string":    is("string", func(v Value) bool { _, ok := v.(*Str); return ok }),
		"mapping":   is("mapping", func(v Value) bool { _, ok := v.(*Dict); return ok }),
		"number":    is("number", isNumber),
		"sequence": is("sequence", func(v Value) bool {
			switch v.(type) {
			case *Str, *List, *Tuple, *Dict, *rangeValue, *Undefined:
				return true
			}
			return false
		}),
		"iterable": is("iterable", func(v Value) bool { _, ok := tryIterate(v); return ok }),
		"callable": is("callable", func(v Value) bool {
			switch v.(type) {
			case *Func, *macro, *joiner, *loop, *Undefined:
				return true
			}
			return false
		}),
		"escaped": is("escaped", func(v Value) bool { s, ok := v.(*Str); return ok && s.safe }),
		"lower": func(in *interp, v Value, a args) Value {
			bind("lower", a)
			return strMethods["islower"](in, in.toStr(v), a)
		},
		"upper": func(in *interp, v Value, a args) Value {
			bind("upper", a)
			return strMethods["isupper"](in, in.toStr(v), a)
		},
		"sameas": comparison("sameas", func(_ *interp, a, b Value) bool { return sameObject(a, b) }),
		"in": func(in *interp, v Value, a args) Value {
			return in.contains(bind("in", a, "seq")[0], v)
		},
		"==": eq, "eq": eq, "equalto": eq, "!=": ne, "ne": ne,
		"<": lt, "lt": lt, "lessthan": lt, "<=": le, "le": le,
		">": gt, "gt": gt, "greaterthan": gt, ">=": ge, "ge": ge,
	}
}

// maxRange is the sandbox's bound on the length of a range.
const maxRange = 100000

var globals map[string]Value

func initGlobals() {
	global := func(name string, f func(in *interp, a args) Value) { globals[name] = &Func{name: name, call: f} }
	globals = map[string]Value{"self": selfRef{}}
	global("range", makeRange)
	global("dict", func(in *interp, a args) Value {
		d := NewDict()
		if len(a.pos) > 1 {
			fail(TypeError, "dict expected at most 1 argument, got %d", len(a.pos))
		}
		for _, v := range a.pos {
			in.fillDict(d, v)
		}
		for _, id := range a.order {
			d.Set(id, a.named[id])
		}
		return d
	})
	global("namespace", func(in *interp, a args) Value {
		d := NewDict()
		for _, v := range a.pos {
			in.fillDict(d, v)
		}
		for _, id := range a.order {
			d.Set(id, a.named[id])
		}
		return &namespace{d}
	})
	global("cycler", func(_ *interp, a args) Value {
		if len(a.pos) == 0 {
			fail(RuntimeError, "at least one item has to be provided")
		}
		return &cycler{items: a.pos}
	})
	global("joiner", func(in *interp, a args) Value {
		p := bind("joiner", a, "sep?")
		if p[0] == nil {
			p[0] = newStr(", ")
		}
		return &joiner{sep: in.soft(p[0])}
	})
	global("lipsum", func(*interp, args) Value {
		fail(RuntimeError, "lipsum is random, and no prompt should be")
		return nil
	})
}

func (in *interp) fillDict(d *Dict, v Value) {
	if from, ok := v.(*Dict); ok {
		in.allocItems(4 * len(from.keys))
		for i, k := range from.keys {
			d.set(k, from.values[i])
		}
		return
	}
	for _, item := range in.collect(v) {
		pair := in.unpack(item, 2)
		d.set(pair[0], pair[1])
	}
}

func makeRange(_ *interp, a args) Value {
	if len(a.named) > 0 || len(a.pos) == 0 || len(a.pos) > 3 {
		fail(TypeError, "range expected 1 to 3 positional arguments, got %d", len(a.pos))
	}
	bounds := []*big.Int{big.NewInt(0), nil, big.NewInt(1)}
	for i, v := range a.pos {
		if !isInt(v) {
			intArg(v)
		}
		if len(a.pos) == 1 {
			i = 1
		}
		bounds[i] = toBig(v)
	}
	step := bounds[2]
	if step.Sign() == 0 {
		fail(ValueError, "range() arg 3 must not be zero")
	}
	distance := new(big.Int).Sub(bounds[1], bounds[0])
	n := new(big.Int)
	if distance.Sign() == step.Sign() {
		n.Add(distance.Abs(distance), new(big.Int).Abs(step))
		n.Sub(n, big.NewInt(1))
		n.Quo(n, new(big.Int).Abs(step))
	}
	if n.Cmp(big.NewInt(maxRange)) > 0 {
		fail(OverflowError, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", maxRange)
	}
	for _, b := range bounds {
		if !b.IsInt64() || new(big.Int).Abs(b).Cmp(big.NewInt(math.MaxInt64/4)) > 0 {
			fail(OverflowError, "the bounds of a range are too big")
		}
	}
	return &rangeValue{start: bounds[0].Int64(), stop: bounds[1].Int64(), step: step.Int64(), n: n.Int64()}
}
