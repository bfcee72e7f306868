package jinja

import "strings"

// bind sorts the arguments of a call by parameters. One that ends in a question mark may be missing, and is nil then; those
// behind "/" are positional only in Python's terms if they stand in front of it.
func bind(function string, a args, params ...string) []Value {
	vals := make([]Value, len(params))
	if len(a.pos) > len(params) {
		fail(TypeError, "%s() takes at most %d arguments (%d given)", function, len(params), len(a.pos))
	}
	copy(vals, a.pos)
	found := 0
	for i, p := range params {
		id := strings.TrimSuffix(p, "?")
		if v, ok := a.named[id]; ok {
			if vals[i] != nil {
				fail(TypeError, "%s() got multiple values for argument '%s'", function, id)
			}
			vals[i] = v
			found++
		}
		if vals[i] == nil && id == p {
			fail(TypeError, "%s() missing required argument '%s'", function, id)
		}
	}
	if found < len(a.named) {
		for _, id := range a.order {
			if !contains(params, id) && !contains(params, id+"?") {
				fail(TypeError, "%s() got an unexpected keyword argument '%s'", function, id)
			}
		}
	}
	return vals
}

// positional is bind for Python's methods without keywords.
func positional(function string, a args, params ...string) []Value {
	if len(a.named) > 0 {
		fail(TypeError, "%s() takes no keyword arguments", function)
	}
	return bind(function, a, params...)
}

func strArg(function string, v Value) *Str {
	s, ok := v.(*Str)
	if !ok {
		if u, is := v.(*Undefined); is && function != "join" {
			fail(TypeError, "%s() argument must be str, not %s", function, typeName(u))
		}
		fail(TypeError, "%s() argument must be str, not %s", function, typeName(v))
	}
	return s
}

func orInt(v Value, otherwise int) int {
	if v == nil {
		return otherwise
	}
	return intArg(v)
}

func isTrue(v Value) bool { return v != nil && truth(v) }
