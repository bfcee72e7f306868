package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

type method func(in *interp, self Value, a args) Value

// methods are those of a value's type that the sandbox allows.
func methods(v Value) map[string]method {
	switch v.(type) {
	case *Str:
		return strMethods
	case *Dict:
		return dictMethods
	case *List:
		return listMethods
	case *Tuple, *rangeValue:
		return tupleMethods
	case float64:
		return floatMethods
	case int64, bool:
		return intMethods
	}
	return nil
}

// onStr makes a method of a function on strings.
func onStr(f func(in *interp, s *Str, a args) Value) method {
	return func(in *interp, self Value, a args) Value {
		s := self.(*Str)
		in.step(1 + len(s.s)/1024)
		return f(in, s, a)
	}
}

func predicate(f func(s string) bool) method {
	return onStr(func(_ *interp, s *Str, a args) Value {
		positional("is", a)
		return f(s.s)
	})
}

func mapped(f func(in *interp, s *Str) *Str) method {
	return onStr(func(in *interp, s *Str, a args) Value {
		positional("str method", a)
		return f(in, s)
	})
}

var strMethods map[string]method

func init() {
	strMethods = map[string]method{
		"upper":      mapped(upper),
		"lower":      mapped(lower),
		"casefold":   mapped(lower),
		"swapcase":   mapped(swapcase),
		"title":      mapped(titleMethod),
		"capitalize": mapped(capitalize),
		"strip":      onStr(stripMethod("strip", true, true)),
		"lstrip":     onStr(stripMethod("lstrip", true, false)),
		"rstrip":     onStr(stripMethod("rstrip", false, true)),
		"split":      onStr(splitMethod("split", false)),
		"rsplit":     onStr(splitMethod("rsplit", true)),
		"splitlines": onStr(func(in *interp, s *Str, a args) Value {
			p := bind("splitlines", a, "keepends?")
			return &List{items: in.splitLines(s, isTrue(p[0]))}
		}),
		"partition":    onStr(partitionMethod("partition", strings.Index)),
		"rpartition":   onStr(partitionMethod("rpartition", strings.LastIndex)),
		"startswith":   onStr(affixMethod("startswith", strings.HasPrefix)),
		"endswith":     onStr(affixMethod("endswith", strings.HasSuffix)),
		"removeprefix": onStr(removePrefix),
		"removesuffix": onStr(removeSuffix),
		"replace": onStr(func(in *interp, s *Str, a args) Value {
			p := positional("replace", a, "old", "new", "count?")
			return in.replace(s, strArg("replace", p[0]), strArg("replace", p[1]), orInt(p[2], -1))
		}),
		"find":   onStr(findMethod("find", strings.Index, false)),
		"rfind":  onStr(findMethod("rfind", strings.LastIndex, false)),
		"index":  onStr(findMethod("index", strings.Index, true)),
		"rindex": onStr(findMethod("rindex", strings.LastIndex, true)),
		"count": onStr(func(in *interp, s *Str, a args) Value {
			p := positional("count", a, "sub", "start?", "end?")
			part, _ := window(s, p[1], p[2])
			return int64(strings.Count(part, strArg("count", p[0]).s))
		}),
		"join": onStr(func(in *interp, s *Str, a args) Value {
			p := positional("join", a, "iterable")
			return in.join(s, in.collect(p[0]), true)
		}),
		"format": onStr(func(in *interp, s *Str, a args) Value { return in.format(s, a) }),
		"format_map": onStr(func(in *interp, s *Str, a args) Value {
			p := positional("format_map", a, "mapping")
			d, ok := p[0].(*Dict)
			if !ok {
				fail(TypeError, "format_map() argument must be a mapping")
			}
			named := args{named: map[string]Value{}}
			for i, k := range d.keys {
				if k, ok := k.(*Str); ok {
					named.named[k.s] = d.values[i]
				}
			}
			return in.format(s, named)
		}),
		"center": onStr(padMethod("center")),
		"ljust":  onStr(padMethod("ljust")),
		"rjust":  onStr(padMethod("rjust")),
		"zfill": onStr(func(in *interp, s *Str, a args) Value {
			p := positional("zfill", a, "width")
			n, _ := length(s)
			sign := 0
			if s.s != "" && (s.s[0] == '+' || s.s[0] == '-') {
				sign = 1
			}
			b := builder{in: in}
			b.add(s.sub(0, sign))
			b.text(in.spaces("0", intArg(p[0])-n), false)
			b.add(s.sub(sign, len(s.s)))
			return b.str()
		}),
		"expandtabs": onStr(func(in *interp, s *Str, a args) Value {
			p := bind("expandtabs", a, "tabsize?")
			return in.expandTabs(s, orInt(p[0], 8))
		}),
		"isdigit":      predicate(everyRune(func(r rune) bool { return unicode.IsDigit(r) || unicode.Is(superDigits, r) })),
		"isdecimal":    predicate(everyRune(unicode.IsDigit)),
		"isnumeric":    predicate(everyRune(unicode.IsNumber)),
		"isalpha":      predicate(everyRune(unicode.IsLetter)),
		"isalnum":      predicate(everyRune(func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) })),
		"isspace":      predicate(everyRune(isSpace)),
		"isprintable":  predicate(func(s string) bool { return s == "" || everyRune(unicode.IsPrint)(s) }),
		"isascii":      predicate(isASCII),
		"isupper":      predicate(func(s string) bool { return isCased(s, unicode.IsUpper) }),
		"islower":      predicate(func(s string) bool { return isCased(s, unicode.IsLower) }),
		"istitle":      predicate(isTitle),
		"isidentifier": predicate(isIdentifier),
	}
}

// superDigits are digits that are no decimals.
var superDigits = &unicode.RangeTable{R16: []unicode.Range16{{0xb2, 0xb3, 1}, {0xb9, 0xb9, 1}, {0x2070, 0x2070, 1}, {0x2074, 0x2079, 1}, {0x2080, 0x2089, 1}, {0x2460, 0x2468, 1}}, LatinOffset: 2}

func everyRune(f func(rune) bool) func(string) bool {
	return func(s string) bool {
		for _, r := range s {
			if !f(r) {
				return false
			}
		}
		return s != ""
	}
}

func isCased(s string, is func(rune) bool) bool {
	found := false
	for _, r := range s {
		if is(r) {
			found = true
		} else if unicode.IsUpper(r) || unicode.IsLower(r) || unicode.IsTitle(r) {
			return false
		}
	}
	return found
}

func isTitle(s string) bool {
	found, inWord := false, false
	for _, r := range s {
		switch {
		case unicode.IsUpper(r) || unicode.IsTitle(r):
			if inWord {
				return false
			}
			found, inWord = true, true
		case unicode.IsLower(r):
			if !inWord {
				return false
			}
		default:
			inWord = false
		}
	}
	return found
}

func isIdentifier(s string) bool {
	for i, r := range s {
		if r != '_' && !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r) && !unicode.Is(unicode.M, r)) {
			return false
		}
	}
	return s != ""
}

// mapRunes replaces each rune of s with a text; provenance stays with the rune.
func (in *interp) mapRunes(s *Str, f func(i int, r rune) string) *Str {
	in.step(len(s.s) / 64)
	b := builder{in: in}
	if !s.tainted() || len(s.foreign) == 1 && s.foreign[0] == (Span{0, len(s.s)}) {
		for i, r := range s.s {
			b.b = append(b.b, f(i, r)...)
		}
		in.alloc(len(b.b))
		r := &Str{s: string(b.b), safe: s.safe}
		if s.tainted() {
			r.taint()
		}
		return r
	}
	at := s.foreign
	for i, r := range s.s {
		for len(at) > 0 && at[0].To <= i {
			at = at[1:]
		}
		b.text(f(i, r), len(at) > 0 && at[0].From <= i)
	}
	r := b.str()
	r.safe = s.safe
	return r
}

func upperRune(_ int, r rune) string {
	switch r {
	case 'ß':
		return "SS"
	case 'ŉ':
		return "ʼN"
	case 'ﬁ':
		return "FI"
	case 'ﬂ':
		return "FL"
	case 'ﬀ':
		return "FF"
	}
	return string(unicode.ToUpper(r))
}

func titleRune(r rune) string {
	if r == 'ß' {
		return "Ss"
	}
	return string(unicode.ToTitle(r))
}

func lowerRune(_ int, r rune) string {
	if r == 'İ' {
		return "i̇"
	}
	return string(unicode.ToLower(r))
}

// lowerAt is lowerRune with the Greek sigma of a word's end.
func lowerAt(s string) func(int, rune) string {
	return func(i int, r rune) string {
		if r != 'Σ' {
			return lowerRune(i, r)
		}
		before, _ := utf8.DecodeLastRuneInString(s[:i])
		after, _ := utf8.DecodeRuneInString(s[i+len("Σ"):])
		if unicode.IsLetter(before) && !unicode.IsLetter(after) {
			return "ς"
		}
		return "σ"
	}
}

func upper(in *interp, s *Str) *Str { return in.mapRunes(s, upperRune) }

func lower(in *interp, s *Str) *Str { return in.mapRunes(s, lowerAt(s.s)) }

func swapcase(in *interp, s *Str) *Str {
	low := lowerAt(s.s)
	return in.mapRunes(s, func(i int, r rune) string {
		if unicode.IsUpper(r) {
			return low(i, r)
		}
		return upperRune(i, r)
	})
}

func capitalize(in *interp, s *Str) *Str {
	low := lowerAt(s.s)
	return in.mapRunes(s, func(i int, r rune) string {
		if i == 0 {
			return titleRune(r)
		}
		return low(i, r)
	})
}

// titleMethod is str.title; the filter of this name cuts words differently.
func titleMethod(in *interp, s *Str) *Str {
	inWord := false
	low := lowerAt(s.s)
	return in.mapRunes(s, func(i int, r rune) string {
		cased := unicode.IsUpper(r) || unicode.IsLower(r) || unicode.IsTitle(r)
		was := inWord
		inWord = cased
		if was {
			return low(i, r)
		}
		return titleRune(r)
	})
}

// strip cuts runes of chars, or white space where it is nil.
func strip(s *Str, chars *Str, left, right bool) *Str {
	cut := isSpace
	if chars != nil {
		cut = func(r rune) bool { return strings.ContainsRune(chars.s, r) }
	}
	from, to := 0, len(s.s)
	if left {
		from = len(s.s) - len(strings.TrimLeftFunc(s.s, cut))
	}
	if right {
		to = max(len(strings.TrimRightFunc(s.s, cut)), from)
	}
	return s.sub(from, to)
}

func stripMethod(id string, left, right bool) func(*interp, *Str, args) Value {
	return func(_ *interp, s *Str, a args) Value {
		p := positional(id, a, "chars?")
		if p[0] == nil || p[0] == None {
			return strip(s, nil, left, right)
		}
		chars, ok := p[0].(*Str)
		if !ok {
			fail(TypeError, "%s arg must be None or str", id)
		}
		return strip(s, chars, left, right)
	}
}

func splitMethod(id string, fromRight bool) func(*interp, *Str, args) Value {
	return func(in *interp, s *Str, a args) Value {
		p := bind(id, a, "sep?", "maxsplit?")
		n := orInt(p[1], -1)
		if n < 0 {
			n = len(s.s) + 1
		}
		var parts []*Str
		if p[0] == nil || p[0] == None {
			parts = in.splitSpace(s, n, fromRight)
		} else {
			sep, ok := p[0].(*Str)
			if !ok {
				fail(TypeError, "must be str or None, not %s", typeName(p[0]))
			}
			parts = in.split(s, sep.s, n, fromRight)
		}
		items := make([]Value, len(parts))
		for i, part := range parts {
			items[i] = part
		}
		return &List{items: items}
	}
}

// strSize is what a Str of its own takes.
const strSize = 64

func (in *interp) split(s *Str, sep string, n int, fromRight bool) []*Str {
	if sep == "" {
		fail(ValueError, "empty separator")
	}
	var parts []*Str
	from, to := 0, len(s.s)
	for ; n > 0; n-- {
		in.alloc(strSize)
		if fromRight {
			i := strings.LastIndex(s.s[:to], sep)
			if i < 0 {
				break
			}
			parts = append(parts, s.sub(i+len(sep), to))
			to = i
			continue
		}
		i := strings.Index(s.s[from:], sep)
		if i < 0 {
			break
		}
		parts = append(parts, s.sub(from, from+i))
		from += i + len(sep)
	}
	parts = append(parts, s.sub(from, to))
	if fromRight {
		reverse(parts)
	}
	return parts
}

func (in *interp) splitSpace(s *Str, n int, fromRight bool) []*Str {
	var parts []*Str
	for rest := strip(s, nil, !fromRight, fromRight); rest.s != ""; rest = strip(rest, nil, !fromRight, fromRight) {
		in.alloc(strSize)
		i := strings.IndexFunc(rest.s, isSpace)
		if fromRight {
			if i = strings.LastIndexFunc(rest.s, isSpace); i >= 0 {
				_, size := utf8.DecodeRuneInString(rest.s[i:])
				i += size
			}
		}
		if i < 0 || n == 0 {
			parts = append(parts, rest)
			break
		}
		n--
		if fromRight {
			parts = append(parts, rest.sub(i, len(rest.s)))
			rest = rest.sub(0, i)
		} else {
			parts = append(parts, rest.sub(0, i))
			rest = rest.sub(i, len(rest.s))
		}
	}
	if fromRight {
		reverse(parts)
	}
	return parts
}

func reverse[T any](s []T) {
	for i, j := 0, len(s)-1; i < j; i, j = i+1, j-1 {
		s[i], s[j] = s[j], s[i]
	}
}

func isLineEnd(r rune) bool {
	return r >= '\n' && r <= '\r' || r >= 0x1c && r <= 0x1e || r == 0x85 || r == 0x2028 || r == 0x2029
}

func (in *interp) splitLines(s *Str, keep bool) []Value {
	var lines []Value
	for from := 0; from < len(s.s); {
		in.alloc(strSize)
		i := strings.IndexFunc(s.s[from:], isLineEnd)
		if i < 0 {
			lines = append(lines, s.sub(from, len(s.s)))
			break
		}
		_, size := utf8.DecodeRuneInString(s.s[from+i:])
		if strings.HasPrefix(s.s[from+i:], "\r\n") {
			size = 2
		}
		end := from + i
		if keep {
			end += size
		}
		lines = append(lines, s.sub(from, end))
		from += i + size
	}
	return lines
}

func partitionMethod(id string, find func(s, sep string) int) func(*interp, *Str, args) Value {
	return func(_ *interp, s *Str, a args) Value {
		sep := strArg(id, positional(id, a, "sep")[0])
		if sep.s == "" {
			fail(ValueError, "empty separator")
		}
		i := find(s.s, sep.s)
		switch {
		case i >= 0:
			return &Tuple{items: []Value{s.sub(0, i), s.sub(i, i+len(sep.s)), s.sub(i+len(sep.s), len(s.s))}}
		case id == "rpartition":
			return &Tuple{items: []Value{newStr(""), newStr(""), s}}
		}
		return &Tuple{items: []Value{s, newStr(""), newStr("")}}
	}
}

// window is the part of s that the start and end of a search, counted in runes, leave; at is where it begins in bytes.
func window(s *Str, start, end Value) (part string, at int) {
	if start == nil && end == nil {
		return s.s, 0
	}
	sl := &sliceValue{None, None, None}
	if start != nil {
		sl.from = start
	}
	if end != nil {
		sl.to = end
	}
	n, _ := length(s)
	from, to, _ := sl.indices(n)
	at = byteOffset(s.s, from)
	return s.s[at:max(at, byteOffset(s.s, to))], at
}

func affixMethod(id string, has func(s, affix string) bool) func(*interp, *Str, args) Value {
	return func(_ *interp, s *Str, a args) Value {
		p := positional(id, a, "affix", "start?", "end?")
		part, _ := window(s, p[1], p[2])
		if t, ok := p[0].(*Tuple); ok {
			for _, item := range t.items {
				if has(part, strArg(id, item).s) {
					return true
				}
			}
			return false
		}
		affix, ok := p[0].(*Str)
		if !ok {
			fail(TypeError, "%s first arg must be str or a tuple of str, not %s", id, typeName(p[0]))
		}
		return has(part, affix.s)
	}
}

func removePrefix(_ *interp, s *Str, a args) Value {
	prefix := strArg("removeprefix", positional("removeprefix", a, "prefix")[0])
	return s.sub(len(s.s)-len(strings.TrimPrefix(s.s, prefix.s)), len(s.s))
}

func removeSuffix(_ *interp, s *Str, a args) Value {
	suffix := strArg("removesuffix", positional("removesuffix", a, "suffix")[0])
	return s.sub(0, len(strings.TrimSuffix(s.s, suffix.s)))
}

func findMethod(id string, find func(s, sub string) int, must bool) func(*interp, *Str, args) Value {
	return func(_ *interp, s *Str, a args) Value {
		p := positional(id, a, "sub", "start?", "end?")
		part, at := window(s, p[1], p[2])
		i := find(part, strArg(id, p[0]).s)
		if i < 0 {
			if must {
				fail(ValueError, "substring not found")
			}
			return int64(-1)
		}
		return int64(utf8.RuneCountInString(s.s[:at+i]))
	}
}

// replace is str.replace, with n replacements at most where n is not negative.
func (in *interp) replace(s, from, to *Str, n int) *Str {
	if s.safe {
		to = in.escape(to)
	}
	if n < 0 {
		n = len(s.s) + 1
	}
	b := builder{in: in}
	at := 0
	for ; n > 0; n-- {
		i := strings.Index(s.s[at:], from.s)
		if i < 0 {
			break
		}
		in.step(1)
		if from.s == "" {
			b.add(to)
			if at == len(s.s) {
				break
			}
			_, size := utf8.DecodeRuneInString(s.s[at:])
			b.add(s.sub(at, at+size))
			at += size
			continue
		}
		b.add(s.sub(at, at+i))
		b.add(to)
		at += i + len(from.s)
	}
	if at == 0 && len(b.b) == 0 {
		return s
	}
	b.add(s.sub(at, len(s.s)))
	r := b.str()
	r.safe = s.safe
	return r
}

// join is sep.join(items); strict refuses what is no string.
func (in *interp) join(sep *Str, items []Value, strict bool) *Str {
	b := builder{in: in}
	for i, item := range items {
		s, ok := item.(*Str)
		if !ok && strict {
			fail(TypeError, "sequence item %d: expected str instance, %s found", i, typeName(item))
		}
		if !ok {
			s = in.toStr(item)
		}
		if sep.safe {
			s = in.escape(s)
		}
		if i > 0 {
			b.add(sep)
		}
		b.add(s)
	}
	r := b.str()
	r.safe = sep.safe
	return r
}

// spaces is n times a text of one byte, n bounded by the memory there is.
func (in *interp) spaces(fill string, n int) string {
	n = max(n, 0)
	in.alloc(satMul(len(fill), n))
	return strings.Repeat(fill, n)
}

func padMethod(id string) func(*interp, *Str, args) Value {
	return func(in *interp, s *Str, a args) Value {
		p := positional(id, a, "width", "fillchar?")
		fill := newStr(" ")
		if p[1] != nil {
			fill = strArg(id, p[1])
			if n, _ := length(fill); n != 1 {
				fail(TypeError, "The fill character must be exactly one character long")
			}
		}
		return in.pad(s, intArg(p[0]), fill, id)
	}
}

func (in *interp) pad(s *Str, width int, fill *Str, how string) *Str {
	n, _ := length(s)
	total := max(width-n, 0)
	left := 0
	switch how {
	case "rjust":
		left = total
	case "center":
		left = total/2 + total&width&1
	case "center<":
		left = total / 2
	}
	b := builder{in: in}
	b.text(in.spaces(fill.s, left), fill.tainted())
	b.add(s)
	b.text(in.spaces(fill.s, total-left), fill.tainted())
	r := b.str()
	r.safe = s.safe
	return r
}

func (in *interp) expandTabs(s *Str, size int) *Str {
	column := 0
	return in.mapRunes(s, func(_ int, r rune) string {
		switch {
		case r == '\t' && size > 0:
			n := size - column%size
			column += n
			return in.spaces(" ", n)
		case r == '\t':
			return ""
		case r == '\n' || r == '\r':
			column = 0
		default:
			column++
		}
		return string(r)
	})
}

// escape is markupsafe's escape.
func (in *interp) escape(s *Str) *Str {
	if s.safe {
		return s
	}
	if !strings.ContainsAny(s.s, `&<>'"`) {
		return &Str{s: s.s, foreign: s.foreign, safe: true}
	}
	r := in.mapRunes(s, func(_ int, r rune) string {
		switch r {
		case '&':
			return "&amp;"
		case '<':
			return "&lt;"
		case '>':
			return "&gt;"
		case '\'':
			return "&#39;"
		case '"':
			return "&#34;"
		}
		return string(r)
	})
	r.safe = true
	return r
}

// Methods of other types.
var (
	dictMethods = map[string]method{
		"get": func(_ *interp, self Value, a args) Value {
			p := positional("get", a, "key", "default?")
			if v, ok := self.(*Dict).get(p[0]); ok {
				return v
			}
			if p[1] == nil {
				return None
			}
			return p[1]
		},
		"keys":   dictView("keys"),
		"values": dictView("values"),
		"items":  dictView("items"),
		"copy": func(in *interp, self Value, a args) Value {
			positional("copy", a)
			d := self.(*Dict)
			in.allocItems(4 * len(d.keys))
			c := NewDict()
			c.foreign = d.foreign
			for i, k := range d.keys {
				c.set(k, d.values[i])
			}
			return c
		},
		"fromkeys": func(in *interp, _ Value, a args) Value {
			p := positional("fromkeys", a, "iterable", "value?")
			d := NewDict()
			for _, k := range in.collect(p[0]) {
				if p[1] == nil {
					p[1] = None
				}
				d.set(k, p[1])
			}
			return d
		},
	}
	listMethods = map[string]method{
		"index": indexMethod, "count": countMethod,
		"copy": func(in *interp, self Value, a args) Value {
			positional("copy", a)
			return &List{items: in.collect(self)}
		},
	}
	tupleMethods = map[string]method{"index": indexMethod, "count": countMethod}
	floatMethods = map[string]method{
		"is_integer": func(_ *interp, self Value, _ args) Value { return self.(float64) == float64(int64(self.(float64))) },
	}
	intMethods = map[string]method{
		"bit_length": func(_ *interp, self Value, _ args) Value { return int64(toBig(self).BitLen()) },
	}
)

func dictView(what string) method {
	return func(_ *interp, self Value, a args) Value {
		positional(what, a)
		return &view{what, self.(*Dict)}
	}
}

func indexMethod(in *interp, self Value, a args) Value {
	p := positional("index", a, "value", "start?", "stop?")
	for i, item := range in.collect(self) {
		if in.equal(item, p[0], 0) {
			return int64(i)
		}
	}
	b := builder{in: in}
	in.repr(&b, p[0], 0, false)
	fail(ValueError, "%s is not in list", string(b.b))
	return nil
}

func countMethod(in *interp, self Value, a args) Value {
	p := positional("count", a, "value")
	n := int64(0)
	for _, item := range in.collect(self) {
		if in.equal(item, p[0], 0) {
			n++
		}
	}
	return n
}
