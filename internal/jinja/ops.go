package jinja

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxBits bounds integers: Python refuses to print those of more than 4300 digits.
const maxBits = 14000

func bad(op string, l, r Value) {
	for _, v := range []Value{l, r} {
		if u, ok := v.(*Undefined); ok {
			u.fail()
		}
	}
	fail(TypeError, "unsupported operand type(s) for %s: '%s' and '%s'", op, typeName(l), typeName(r))
}

func (in *interp) arithmetic(op string, l, r Value) Value {
	if a, ok := l.(int64); ok {
		if b, ok := r.(int64); ok {
			if v, ok := smallInt(op, a, b); ok {
				return v
			}
		}
	}
	if isNumber(l) && isNumber(r) {
		if isInt(l) && isInt(r) && op != "/" {
			return in.bigInt(op, toBig(l), toBig(r))
		}
		return floatOp(op, toFloat(l), toFloat(r))
	}
	switch op {
	case "+":
		return in.plus(l, r)
	case "*":
		if isInt(r) {
			return in.repeat(l, r)
		}
		if isInt(l) {
			return in.repeat(r, l)
		}
		if _, ok := l.(*Str); ok {
			fail(TypeError, "can't multiply sequence by non-int of type '%s'", typeName(r))
		}
	case "%":
		if s, ok := l.(*Str); ok {
			return in.percent(s, r)
		}
	}
	bad(op, l, r)
	return nil
}

func smallInt(op string, a, b int64) (Value, bool) {
	const half = 1 << 31
	small := a > -half && a < half && b > -half && b < half
	if !small {
		return nil, false
	}
	switch op {
	case "+":
		return a + b, true
	case "-":
		return a - b, true
	case "*":
		return a * b, true
	case "//", "%":
		if b == 0 {
			return nil, false
		}
		q, m := a/b, a%b
		if m != 0 && (m < 0) != (b < 0) {
			q, m = q-1, m+b
		}
		if op == "%" {
			return m, true
		}
		return q, true
	}
	return nil, false
}

func (in *interp) bigInt(op string, a, b *big.Int) Value {
	in.step(1 + (a.BitLen()+b.BitLen())/64)
	n := new(big.Int)
	switch op {
	case "+":
		n.Add(a, b)
	case "-":
		n.Sub(a, b)
	case "*":
		n.Mul(a, b)
	case "//", "%":
		if b.Sign() == 0 {
			fail(ZeroDivision, "integer division or modulo by zero")
		}
		q, m := new(big.Int).QuoRem(a, b, n)
		if m.Sign() != 0 && (m.Sign() < 0) != (b.Sign() < 0) {
			q.Sub(q, big.NewInt(1))
			m.Add(m, b)
		}
		if op == "//" {
			return normInt(q)
		}
		return normInt(m)
	case "**":
		if b.Sign() < 0 {
			return floatOp(op, toFloat(normInt(a)), toFloat(normInt(b)))
		}
		if a.BitLen() > 1 && (!b.IsInt64() || b.Int64()*int64(a.BitLen()-1) > maxBits) {
			fail(LimitError, "an integer has more than %d bits", maxBits)
		}
		if a.BitLen() <= 1 && b.BitLen() > 2 {
			b = new(big.Int).Or(big.NewInt(2), new(big.Int).And(b, big.NewInt(1))) // powers of 0, 1 and -1 repeat
		}
		n.Exp(a, b, nil)
	}
	if n.BitLen() > maxBits {
		fail(LimitError, "an integer has more than %d bits", maxBits)
	}
	return normInt(n)
}

func floatOp(op string, a, b float64) Value {
	switch op {
	case "+":
		return a + b
	case "-":
		return a - b
	case "*":
		return a * b
	case "**":
		if a == 0 && b < 0 {
			fail(ZeroDivision, "0.0 cannot be raised to a negative power")
		}
		r := math.Pow(a, b)
		if math.IsInf(r, 0) && !math.IsInf(a, 0) && !math.IsInf(b, 0) {
			fail(OverflowError, "(34, 'Numerical result out of range')")
		}
		return r
	}
	if b == 0 {
		fail(ZeroDivision, "division by zero")
	}
	if op == "/" {
		return a / b
	}
	m := math.Mod(a, b)
	q := (a - m) / b
	if m != 0 && (m < 0) != (b < 0) {
		m += b
		q--
	}
	if op == "%" {
		if m == 0 {
			return math.Copysign(0, b)
		}
		return m
	}
	if q == 0 {
		return math.Copysign(0, a/b)
	}
	f := math.Floor(q)
	if q-f > 0.5 {
		f++
	}
	return f
}

func (in *interp) plus(l, r Value) Value {
	switch a := l.(type) {
	case *Str:
		b, ok := r.(*Str)
		if !ok {
			if u, is := r.(*Undefined); is {
				u.fail()
			}
			fail(TypeError, "can only concatenate str (not \"%s\") to str", typeName(r))
		}
		return in.join2(a, b)
	case *List:
		if b, ok := r.(*List); ok {
			in.allocItems(len(a.items) + len(b.items))
			return &List{items: append(append([]Value(nil), a.items...), b.items...)}
		}
		if _, is := r.(*Undefined); !is {
			fail(TypeError, "can only concatenate list (not \"%s\") to list", typeName(r))
		}
	case *Tuple:
		if b, ok := r.(*Tuple); ok {
			in.allocItems(len(a.items) + len(b.items))
			return &Tuple{items: append(append([]Value(nil), a.items...), b.items...)}
		}
		if _, is := r.(*Undefined); !is {
			fail(TypeError, "can only concatenate tuple (not \"%s\") to tuple", typeName(r))
		}
	}
	bad("+", l, r)
	return nil
}

// join2 is the sum of two strings: that of a safe one and another escapes the other.
func (in *interp) join2(a, b *Str) *Str {
	safe := a.safe || b.safe
	if safe {
		a, b = in.escape(a), in.escape(b)
	}
	switch {
	case a.s == "" && b.safe == safe:
		return b
	case b.s == "" && a.safe == safe:
		return a
	}
	in.alloc(len(a.s) + len(b.s))
	r := &Str{s: a.s + b.s, safe: safe}
	if len(a.foreign)+len(b.foreign) > 0 {
		bd := builder{foreign: append([]Span(nil), a.foreign...)}
		for _, f := range b.foreign {
			bd.mark(len(a.s)+f.From, len(a.s)+f.To)
		}
		r.foreign = bd.foreign
	}
	return r
}

func (in *interp) repeat(v, by Value) Value {
	n := max(intArg(by), 0)
	switch v := v.(type) {
	case *Str:
		in.alloc(satMul(len(v.s), n))
		if len(v.s) == 0 {
			return v
		}
		if !v.tainted() {
			return &Str{s: strings.Repeat(v.s, n), safe: v.safe}
		}
		var b builder
		for range n {
			b.add(v)
		}
		r := b.str()
		r.safe = v.safe
		return r
	case *List:
		return &List{items: in.repeatItems(v.items, n)}
	case *Tuple:
		return &Tuple{items: in.repeatItems(v.items, n)}
	}
	bad("*", v, by)
	return nil
}

func (in *interp) repeatItems(items []Value, n int) []Value {
	in.allocItems(satMul(len(items), n))
	var all []Value
	if len(items) == 0 {
		return nil
	}
	for range n {
		all = append(all, items...)
	}
	return all
}

func satMul(a, b int) int {
	if a != 0 && b > math.MaxInt32/a {
		return math.MaxInt32
	}
	return a * b
}

// equal is Python's ==.
func (in *interp) equal(a, b Value, depth int) bool {
	in.step(1)
	in.touch(a)
	if depth > maxDepth {
		fail(RecursionError, "maximum recursion depth exceeded in comparison")
	}
	if isNumber(a) && isNumber(b) {
		return compareNumbers(a, b) == 0
	}
	switch x := a.(type) {
	case *Str:
		y, ok := b.(*Str)
		return ok && x.s == y.s
	case noneType:
		return b == None
	case *Undefined:
		_, ok := b.(*Undefined)
		return ok
	case *List:
		y, ok := b.(*List)
		return ok && (x == y || in.equalItems(x.items, y.items, depth))
	case *Tuple:
		y, ok := b.(*Tuple)
		return ok && in.equalItems(x.items, y.items, depth)
	case *Dict:
		y, ok := b.(*Dict)
		return ok && (x == y || in.equalDicts(x, y, depth))
	case *rangeValue:
		y, ok := b.(*rangeValue)
		return ok && x.n == y.n && (x.n == 0 || x.start == y.start && (x.n == 1 || x.step == y.step))
	}
	return sameObject(a, b)
}

// sameObject is Python's `is`, as far as templates can tell.
func sameObject(a, b Value) bool {
	switch x := a.(type) {
	case *Str:
		y, ok := b.(*Str)
		return ok && x.s == y.s
	case *big.Int:
		y, ok := b.(*big.Int)
		return ok && x.Cmp(y) == 0
	}
	return a == b
}

func (in *interp) equalItems(a, b []Value, depth int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !in.equal(a[i], b[i], depth+1) {
			return false
		}
	}
	return true
}

func (in *interp) equalDicts(a, b *Dict, depth int) bool {
	if len(a.keys) != len(b.keys) {
		return false
	}
	for i, k := range a.keys {
		v, ok := b.get(k)
		if !ok || !in.equal(a.values[i], v, depth+1) {
			return false
		}
	}
	return true
}

func compareNumbers(a, b Value) int {
	if isInt(a) && isInt(b) {
		return toBig(a).Cmp(toBig(b))
	}
	x, y := toFloat(a), toFloat(b)
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	case x == y:
		return 0
	}
	return 2 // not a number
}

// less is the operator op, one of < <= > >=.
func (in *interp) less(op string, a, b Value, depth int) bool {
	in.step(1)
	in.touch(a)
	if depth > maxDepth {
		fail(RecursionError, "maximum recursion depth exceeded in comparison")
	}
	if isNumber(a) && isNumber(b) {
		c := compareNumbers(a, b)
		return c != 2 && holds(op, c)
	}
	switch x := a.(type) {
	case *Str:
		if y, ok := b.(*Str); ok {
			return holds(op, strings.Compare(x.s, y.s))
		}
	case *List:
		if y, ok := b.(*List); ok {
			return in.lessItems(op, x.items, y.items, depth)
		}
	case *Tuple:
		if y, ok := b.(*Tuple); ok {
			return in.lessItems(op, x.items, y.items, depth)
		}
	}
	for _, v := range []Value{a, b} {
		if u, ok := v.(*Undefined); ok {
			u.fail()
		}
	}
	fail(TypeError, "'%s' not supported between instances of '%s' and '%s'", op, typeName(a), typeName(b))
	return false
}

func (in *interp) lessItems(op string, a, b []Value, depth int) bool {
	for i := range min(len(a), len(b)) {
		if !in.equal(a[i], b[i], depth+1) {
			return in.less(op, a[i], b[i], depth+1)
		}
	}
	return holds(op, len(a)-len(b))
}

func holds(op string, c int) bool {
	switch op {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

func (in *interp) contains(container, v Value) bool {
	switch c := container.(type) {
	case *Str:
		s, ok := v.(*Str)
		if !ok {
			fail(TypeError, "'in <string>' requires string as left operand, not %s", typeName(v))
		}
		in.touch(c)
		return strings.Contains(c.s, s.s)
	case *Dict:
		_, ok := c.get(v)
		return ok
	case *view:
		if c.what == "keys" {
			_, ok := c.d.get(v)
			return ok
		}
	}
	next, ok := tryIterate(container)
	if !ok {
		fail(TypeError, "argument of type '%s' is not iterable", typeName(container))
	}
	for {
		item, ok := next()
		if !ok {
			return false
		}
		if in.equal(item, v, 0) {
			return true
		}
	}
}

// toStr is Python's str(v).
func (in *interp) toStr(v Value) *Str {
	switch v := v.(type) {
	case *Str:
		if v.safe {
			return &Str{s: v.s, foreign: v.foreign}
		}
		return v
	case *Undefined:
		return newStr("")
	case *joiner, *cycler, *macro, *loop, *Func, *generator, selfRef:
		return newStr(object(v))
	}
	b := builder{in: in}
	in.repr(&b, v, 0, false)
	return b.str()
}

// soft is jinja2's soft_str: a string stays what it is.
func (in *interp) soft(v Value) *Str {
	if s, ok := v.(*Str); ok {
		return s
	}
	return in.toStr(v)
}

func object(v Value) string {
	switch v := v.(type) {
	case *macro:
		return fmt.Sprintf("<Macro %s>", pyQuote(v.stmt.id))
	case *loop:
		return fmt.Sprintf("<LoopContext %d/%d>", v.index, v.length())
	case *generator:
		return fmt.Sprintf("<generator object %s>", v.id)
	case *Func:
		return fmt.Sprintf("<function %s>", v.name)
	}
	if _, ok := v.(selfRef); ok {
		return "<TemplateReference None>"
	}
	return fmt.Sprintf("<%s object>", typeName(v))
}

// repr writes Python's repr(v). foreign says that the container around v came from outside.
func (in *interp) repr(b *builder, v Value, depth int, foreign bool) {
	in.step(1)
	in.touch(v)
	if depth > maxDepth {
		fail(RecursionError, "maximum recursion depth exceeded while getting the repr of an object")
	}
	list := func(open, end string, n int, f func(int), foreign bool) {
		b.text(open, foreign)
		for i := range n {
			if i > 0 {
				b.text(", ", foreign)
			}
			f(i)
		}
		b.text(end, foreign)
	}
	switch v := v.(type) {
	case noneType:
		b.text("None", foreign)
	case bool:
		b.text(map[bool]string{true: "True", false: "False"}[v], foreign)
	case int64:
		b.text(strconv.FormatInt(v, 10), foreign)
	case *big.Int:
		b.text(v.String(), foreign)
	case float64:
		b.text(floatRepr(v), foreign)
	case *Undefined:
		b.text("Undefined", foreign)
	case *Str:
		if v.safe {
			b.text("Markup(", false)
		}
		b.text(pyQuote(v.s), v.tainted())
		if v.safe {
			b.text(")", false)
		}
	case *List:
		list("[", "]", len(v.items), func(i int) { in.repr(b, v.items[i], depth+1, v.foreign) }, v.foreign)
	case *Tuple:
		end := ")"
		if len(v.items) == 1 {
			end = ",)"
		}
		list("(", end, len(v.items), func(i int) { in.repr(b, v.items[i], depth+1, false) }, false)
	case *Dict:
		list("{", "}", len(v.keys), func(i int) {
			in.repr(b, v.keys[i], depth+1, v.foreign)
			b.text(": ", v.foreign)
			in.repr(b, v.values[i], depth+1, v.foreign)
		}, v.foreign)
	case *view:
		list("dict_"+v.what+"([", "])", len(v.d.keys), func(i int) { in.repr(b, v.at(i), depth+1, v.d.foreign) }, v.d.foreign)
	case *rangeValue:
		text := fmt.Sprintf("range(%d, %d)", v.start, v.stop)
		if v.step != 1 {
			text = fmt.Sprintf("range(%d, %d, %d)", v.start, v.stop, v.step)
		}
		b.text(text, false)
	case *namespace:
		b.text("<Namespace ", false)
		in.repr(b, v.attrs, depth+1, false)
		b.text(">", false)
	default:
		b.text(object(v), false)
	}
}

// floatRepr is Python's repr of a float.
func floatRepr(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// pyQuote is Python's repr of a string.
func pyQuote(s string) string {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	var b strings.Builder
	b.WriteByte(quote)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\\' || r == rune(quote):
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteString(s[i : i+n])
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += n
	}
	b.WriteByte(quote)
	return b.String()
}

// isSpace is Python's str.isspace of one rune.
func isSpace(r rune) bool {
	return unicode.IsSpace(r) || (r >= 0x1c && r <= 0x1f)
}
