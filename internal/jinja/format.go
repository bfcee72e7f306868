package jinja

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxWidth bounds the widths and precisions of formats.
const maxWidth = 1 << 16

// percent is Python's s % v.
func (in *interp) percent(s *Str, v Value) Value {
	t, isTuple := v.(*Tuple)
	d, isDict := v.(*Dict)
	vals := []Value{v}
	if isTuple {
		vals = t.items
	}
	used := 0
	next := func() Value {
		if used >= len(vals) {
			fail(TypeError, "not enough arguments for format string")
		}
		used++
		return vals[used-1]
	}
	b := builder{in: in}
	for at := 0; ; {
		i := strings.IndexByte(s.s[at:], '%')
		if i < 0 {
			b.add(s.sub(at, len(s.s)))
			break
		}
		b.add(s.sub(at, at+i))
		from := at + i
		at = from + 1
		var key Value
		if at < len(s.s) && s.s[at] == '(' {
			end := strings.IndexByte(s.s[at:], ')')
			if end < 0 {
				fail(ValueError, "incomplete format key")
			}
			if !isDict {
				fail(TypeError, "format requires a mapping")
			}
			id := s.s[at+1 : at+end]
			item, ok := d.byName(id)
			if !ok {
				fail(LookupError, "%s", pyQuote(id))
			}
			key = item
			used = len(vals)
			at += end + 1
		}
		var f spec
		f.align = 0
		f.precision = -1
		at = f.readPercent(s.s, at, next)
		if at >= len(s.s) {
			fail(ValueError, "incomplete format")
		}
		verb, size := utf8.DecodeRuneInString(s.s[at:])
		at += size
		if verb == '%' {
			b.text("%", s.tainted())
			continue
		}
		if key == nil {
			key = next()
		}
		in.percentVerb(&b, &f, verb, key, s.safe)
	}
	if used < len(vals) && !isDict && (isTuple || !isSequenceArg(v)) {
		fail(TypeError, "not all arguments converted during string formatting")
	}
	r := b.str()
	r.safe = s.safe
	return r
}

// isSequenceArg says that Python's % lets a value be that no directive uses.
func isSequenceArg(v Value) bool {
	switch v.(type) {
	case *List, *Dict, *rangeValue, *view:
		return true
	}
	return false
}

// spec is a format specification.
type spec struct {
	fill      string
	align     byte
	sign      byte
	alternate bool
	zero      bool
	width     int
	grouping  byte
	precision int
	verb      byte
}

func (f *spec) readPercent(s string, at int, next func() Value) int {
	for ; at < len(s) && strings.IndexByte("-+ #0", s[at]) >= 0; at++ {
		switch s[at] {
		case '-':
			f.align = '<'
		case '+':
			f.sign = '+'
		case ' ':
			if f.sign == 0 {
				f.sign = ' '
			}
		case '#':
			f.alternate = true
		case '0':
			f.zero = true
		}
	}
	number := func() int {
		if at < len(s) && s[at] == '*' {
			at++
			return intArg(next())
		}
		n, end := readNumber(s, at)
		at = end
		return n
	}
	f.width = number()
	if f.width < 0 {
		f.align, f.width = '<', -f.width
	}
	if at < len(s) && s[at] == '.' {
		at++
		f.precision = max(number(), 0)
	}
	f.check()
	for at < len(s) && strings.IndexByte("hlL", s[at]) >= 0 {
		at++
	}
	return at
}

func (f *spec) check() {
	if f.width > maxWidth || f.precision > maxWidth {
		fail(LimitError, "a format has a width or precision of more than %d", maxWidth)
	}
}

func readNumber(s string, at int) (n, end int) {
	for end = at; end < len(s) && s[end] >= '0' && s[end] <= '9'; end++ {
		n = min(n*10+int(s[end]-'0'), maxWidth+1)
	}
	return n, end
}

func (in *interp) percentVerb(b *builder, f *spec, verb rune, v Value, safe bool) {
	var text *Str
	switch verb {
	case 's':
		text = in.soft(v)
		if safe {
			text = in.escape(text)
		}
	case 'r', 'a':
		rb := builder{in: in}
		in.repr(&rb, v, 0, false)
		text = rb.str()
	case 'c':
		if n, ok := v.(int64); ok && n >= 0 && n <= 0x10ffff {
			text = newStr(string(rune(n)))
		} else if s, ok := v.(*Str); ok && utf8.RuneCountInString(s.s) == 1 {
			text = s
		} else {
			fail(TypeError, "%%c requires int or char")
		}
	case 'd', 'i', 'u', 'x', 'X', 'o', 'e', 'E', 'f', 'F', 'g', 'G':
		f.verb = byte(verb)
		if verb == 'i' || verb == 'u' {
			f.verb = 'd'
		}
		if !isNumber(v) {
			if u, ok := v.(*Undefined); ok {
				u.fail()
			}
			fail(TypeError, "%%%c format: a real number is required, not %s", verb, typeName(v))
		}
		if strings.IndexByte("dxXo", f.verb) >= 0 {
			if x, ok := v.(float64); ok {
				if f.verb != 'd' {
					fail(TypeError, "%%%c format: an integer is required, not float", verb)
				}
				v = truncate(x)
			}
			digits := f.precision
			f.precision = -1
			b.text(f.number(v, digits), false)
			return
		}
		b.text(f.number(toFloat(v), 0), false)
		return
	default:
		fail(ValueError, "unsupported format character %s", pyQuote(string(verb)))
	}
	if f.precision >= 0 {
		text = text.sub(0, byteOffset(text.s, f.precision))
	}
	how := "rjust"
	if f.align == '<' {
		how = "ljust"
	}
	b.add(in.pad(text, f.width, newStr(" "), how))
}

// truncate is Python's int(f).
func truncate(f float64) Value {
	switch {
	case math.IsNaN(f):
		fail(ValueError, "cannot convert float NaN to integer")
	case math.IsInf(f, 0):
		fail(OverflowError, "cannot convert float infinity to integer")
	}
	n, _ := big.NewFloat(f).Int(nil)
	return normInt(n)
}

// number formats v with at least so many digits.
func (f *spec) number(v Value, digits int) string {
	var sign, body string
	switch {
	case isInt(v) && strings.IndexByte("eEfFgG%", f.verb) < 0:
		n := toBig(v)
		if n.Sign() < 0 {
			sign, n = "-", new(big.Int).Neg(n)
		}
		base, prefix := 10, ""
		switch f.verb {
		case 'x', 'X':
			base, prefix = 16, "0"+string(f.verb)
		case 'o':
			base, prefix = 8, "0o"
		case 'b':
			base, prefix = 2, "0b"
		}
		body = n.Text(base)
		if f.verb == 'X' {
			body = strings.ToUpper(body)
		}
		if len(body) < digits {
			body = strings.Repeat("0", digits-len(body)) + body
		}
		if f.alternate {
			sign += prefix
		}
	default:
		x := toFloat(v)
		if math.Signbit(x) && !math.IsNaN(x) {
			sign, x = "-", -x
		}
		body = f.float(x)
	}
	if f.sign != 0 && !strings.HasPrefix(sign, "-") {
		sign = string(f.sign) + sign
	}
	if f.grouping != 0 {
		body = group(body, f.grouping)
	}
	return f.padNumber(sign, body)
}

func (f *spec) float(x float64) string {
	if math.IsInf(x, 0) || math.IsNaN(x) {
		s := "inf"
		if math.IsNaN(x) {
			s = "nan"
		}
		if f.verb == 'E' || f.verb == 'F' || f.verb == 'G' {
			s = strings.ToUpper(s)
		}
		if f.verb == '%' {
			s += "%"
		}
		return s
	}
	precision := f.precision
	if precision < 0 {
		precision = 6
	}
	switch f.verb {
	case 'f', 'F':
		return strconv.FormatFloat(x, 'f', precision, 64)
	case 'e', 'E':
		return strconv.FormatFloat(x, f.verb, precision, 64)
	case '%':
		return strconv.FormatFloat(x*100, 'f', precision, 64) + "%"
	case 0:
		if f.precision < 0 {
			return floatRepr(x)
		}
		s := general(x, max(precision, 1), f.alternate)
		if !strings.ContainsAny(s, ".e") {
			s += ".0"
		}
		return s
	}
	s := general(x, max(precision, 1), f.alternate)
	if f.verb == 'G' {
		s = strings.ToUpper(s)
	}
	return s
}

// general is C's %g.
func general(x float64, precision int, alternate bool) string {
	e := strconv.FormatFloat(x, 'e', precision-1, 64)
	at := strings.IndexByte(e, 'e')
	exponent, _ := strconv.Atoi(e[at+1:])
	trim := func(s string) string {
		if alternate || !strings.Contains(s, ".") {
			return s
		}
		return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
	}
	if exponent < -4 || exponent >= precision {
		return trim(e[:at]) + e[at:]
	}
	return trim(strconv.FormatFloat(x, 'f', precision-1-exponent, 64))
}

func group(s string, sep byte) string {
	end := strings.IndexAny(s, ".e%")
	if end < 0 {
		end = len(s)
	}
	var b strings.Builder
	for i := range end {
		if i > 0 && (end-i)%3 == 0 {
			b.WriteByte(sep)
		}
		b.WriteByte(s[i])
	}
	return b.String() + s[end:]
}

func (f *spec) padNumber(sign, body string) string {
	n := max(f.width-len(sign)-utf8.RuneCountInString(body), 0)
	align, fill := f.align, f.fill
	if fill == "" {
		fill = " "
		if f.zero && align != '<' {
			fill, align = "0", '='
		}
	}
	switch align {
	case '<':
		return sign + body + strings.Repeat(fill, n)
	case '^':
		return strings.Repeat(fill, n/2) + sign + body + strings.Repeat(fill, n-n/2)
	case '=':
		return sign + strings.Repeat(fill, n) + body
	}
	return strings.Repeat(fill, n) + sign + body
}

// format is Python's s.format(*args, **kwargs).
func (in *interp) format(s *Str, a args) Value {
	b := builder{in: in}
	auto := 0
	in.formatInto(&b, s, a, &auto, 2)
	r := b.str()
	r.safe = s.safe
	return r
}

func (in *interp) formatInto(b *builder, s *Str, a args, auto *int, depth int) {
	if depth < 0 {
		fail(ValueError, "Max string recursion exceeded")
	}
	for at := 0; at < len(s.s); {
		i := strings.IndexAny(s.s[at:], "{}")
		if i < 0 {
			b.add(s.sub(at, len(s.s)))
			return
		}
		b.add(s.sub(at, at+i))
		at += i
		if at+1 < len(s.s) && s.s[at+1] == s.s[at] {
			b.add(s.sub(at, at+1))
			at += 2
			continue
		}
		if s.s[at] == '}' {
			fail(ValueError, "Single '}' encountered in format string")
		}
		end, nested := at+1, 1
		for ; end < len(s.s) && nested > 0; end++ {
			switch s.s[end] {
			case '{':
				nested++
			case '}':
				nested--
			}
		}
		if nested > 0 {
			fail(ValueError, "expected '}' before end of string")
		}
		in.formatField(b, s.sub(at+1, end-1), a, auto, depth, s.safe)
		at = end
	}
}

func (in *interp) formatField(b *builder, field *Str, a args, auto *int, depth int, safe bool) {
	id, specText, conversion := field.s, newStr(""), byte(0)
	if i := fieldEnd(id); i < len(id) {
		if id[i] == '!' {
			if i+1 >= len(id) || (i+2 < len(id) && id[i+2] != ':') {
				fail(ValueError, "expected ':' after conversion specifier")
			}
			conversion = id[i+1]
			if i+2 < len(id) {
				specText = field.sub(i+3, len(id))
			}
		} else {
			specText = field.sub(i+1, len(id))
		}
		id = id[:i]
	}
	v := in.formatValue(id, a, auto)
	switch conversion {
	case 0:
	case 's':
		v = in.toStr(v)
	case 'r', 'a':
		rb := builder{in: in}
		in.repr(&rb, v, 0, false)
		v = rb.str()
	default:
		fail(ValueError, "Unknown conversion specifier %s", pyQuote(string(rune(conversion))))
	}
	sb := builder{in: in}
	in.formatInto(&sb, specText, a, auto, depth-1)
	text := in.formatSpec(v, string(sb.b))
	if safe {
		text = in.escape(text)
	}
	b.add(text)
}

// fieldEnd is where the name of a replacement field ends.
func fieldEnd(s string) int {
	inside := false
	for i := range len(s) {
		switch s[i] {
		case '[':
			inside = true
		case ']':
			inside = false
		case '!', ':':
			if !inside {
				return i
			}
		}
	}
	return len(s)
}

// formatValue looks up a field name such as 0.name[key].
func (in *interp) formatValue(id string, a args, auto *int) Value {
	end := strings.IndexAny(id, ".[")
	if end < 0 {
		end = len(id)
	}
	head, rest := id[:end], id[end:]
	if head == "" {
		head = strconv.Itoa(*auto)
		*auto++
	}
	var v Value
	if n, err := strconv.Atoi(head); err == nil {
		if n < 0 || n >= len(a.pos) {
			fail(LookupError, "Replacement index %d out of range for positional args tuple", n)
		}
		v = a.pos[n]
	} else if item, ok := a.named[head]; ok {
		v = item
	} else {
		fail(LookupError, "%s", pyQuote(head))
	}
	for rest != "" {
		if rest[0] == '.' {
			end := strings.IndexAny(rest[1:], ".[")
			if end < 0 {
				end = len(rest) - 1
			}
			v = in.getAttr(v, rest[1:1+end])
			rest = rest[1+end:]
			continue
		}
		end := strings.IndexByte(rest, ']')
		if rest[0] != '[' || end < 0 {
			fail(ValueError, "Missing ']' in format string")
		}
		if n, err := strconv.Atoi(rest[1:end]); err == nil {
			v = in.getItem(v, int64(n))
		} else {
			v = in.getItem(v, newStr(rest[1:end]))
		}
		rest = rest[end+1:]
	}
	return v
}

// formatSpec is Python's format(v, spec).
func (in *interp) formatSpec(v Value, text string) *Str {
	if text == "" {
		return in.soft(v)
	}
	f := parseSpec(text)
	switch x := v.(type) {
	case *Str:
		if f.verb != 0 && f.verb != 's' {
			fail(ValueError, "Unknown format code '%c' for object of type 'str'", f.verb)
		}
		if f.precision >= 0 {
			x = x.sub(0, byteOffset(x.s, f.precision))
		}
		fill := f.fill
		if fill == "" {
			fill = " "
			if f.zero {
				fill = "0"
			}
		}
		return in.pad(x, f.width, newStr(fill), map[byte]string{0: "ljust", '<': "ljust", '>': "rjust", '^': "center<"}[f.align])
	case *Undefined:
		fail(TypeError, "unsupported format string passed to Undefined.__format__")
	}
	if !isNumber(v) {
		fail(TypeError, "unsupported format string passed to %s.__format__", typeName(v))
	}
	if isInt(v) && strings.IndexByte("dnbxXo", f.verb) < 0 && f.verb != 0 && f.verb != 'c' {
		v = toFloat(v)
	}
	if _, ok := v.(float64); ok && f.verb != 0 && strings.IndexByte("eEfFgGn%", f.verb) < 0 || f.verb == 's' {
		fail(ValueError, "Unknown format code '%c' for object of type '%s'", f.verb, typeName(v))
	}
	switch f.verb {
	case 'n':
		f.verb = 'g'
		if isInt(v) {
			f.verb = 'd'
		}
	case 'c':
		return newStr(string(rune(intArg(v))))
	}
	return newStr(f.number(v, 0))
}

func parseSpec(s string) spec {
	f := spec{precision: -1}
	at := 0
	if r, n := utf8.DecodeRuneInString(s); n < len(s) && strings.IndexByte("<>=^", s[n]) >= 0 {
		f.fill, f.align = string(r), s[n]
		at = n + 1
	} else if strings.IndexByte("<>=^", s[0]) >= 0 {
		f.align = s[0]
		at = 1
	}
	accept := func(set string) byte {
		if at < len(s) && strings.IndexByte(set, s[at]) >= 0 {
			at++
			return s[at-1]
		}
		return 0
	}
	f.sign = accept("+- ")
	if f.sign == '-' {
		f.sign = 0
	}
	f.alternate = accept("#") != 0
	f.zero = accept("0") != 0
	f.width, at = readNumber(s, at)
	f.grouping = accept(",_")
	if accept(".") != 0 {
		from := at
		if f.precision, at = readNumber(s, at); from == at {
			fail(ValueError, "Format specifier missing precision")
		}
	}
	f.verb = accept("bcdeEfFgGnosxX%")
	if at < len(s) {
		fail(ValueError, "Invalid format specifier")
	}
	f.check()
	return f
}
