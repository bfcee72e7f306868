package jinja

import (
	"math"
	"math/big"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// filter is a filter of jinja2: v are the filtered value and the arguments.
type filter func(in *interp, v Value, a args) Value

var filters, tests map[string]filter

func (in *interp) applyFilter(f *filterExpr, v Value, s *scope) Value {
	return in.callFilter(f.id, v, in.arguments(&f.arguments, s))
}

// filterChain applies the filters of a block; the innermost has no value of its own.
func (in *interp) filterChain(f *filterExpr, v Value, s *scope) Value {
	if inner, ok := f.x.(*filterExpr); ok {
		v = in.filterChain(inner, v, s)
	}
	return in.applyFilter(f, v, s)
}

func (in *interp) callFilter(id string, v Value, a args) Value {
	f := filters[id]
	if f == nil {
		fail(RuntimeError, "No filter named %s.", pyQuote(id))
	}
	in.touch(v)
	in.touch(a.pos...)
	return f(in, v, a)
}

func (in *interp) applyTest(t *testExpr, s *scope) Value {
	v := in.eval(t.x, s)
	return in.callTest(t.id, v, in.arguments(&t.arguments, s))
}

func (in *interp) callTest(id string, v Value, a args) Value {
	f := tests[id]
	if f == nil {
		fail(RuntimeError, "No test named %s.", pyQuote(id))
	}
	in.touch(v)
	in.touch(a.pos...)
	return f(in, v, a)
}

// onSoft makes a filter of a function on strings.
func onSoft(id string, f func(in *interp, s *Str) *Str) filter {
	return func(in *interp, v Value, a args) Value {
		bind(id, a)
		return f(in, in.soft(v))
	}
}

func init() {
	filters = map[string]filter{
		"upper":      onSoft("upper", upper),
		"lower":      onSoft("lower", lower),
		"capitalize": onSoft("capitalize", capitalize),
		"title":      onSoft("title", titleFilter),
		"string":     onSoft("string", func(_ *interp, s *Str) *Str { return s }),
		"e":          onSoft("escape", (*interp).escape),
		"escape":     onSoft("escape", (*interp).escape),
		"forceescape": onSoft("forceescape", func(in *interp, s *Str) *Str {
			return in.escape(&Str{s: s.s, foreign: s.foreign})
		}),
		"safe": func(in *interp, v Value, a args) Value {
			bind("safe", a)
			s := in.soft(v)
			return &Str{s: s.s, foreign: s.foreign, safe: true}
		},
		"trim": func(in *interp, v Value, a args) Value {
			p := bind("trim", a, "chars?")
			s := in.soft(v)
			in.step(len(s.s) / 1024)
			if p[0] == nil || p[0] == None {
				return strip(s, nil, true, true)
			}
			return strip(s, strArg("strip", p[0]), true, true)
		},
		"replace": replaceFilter,
		"center": func(in *interp, v Value, a args) Value {
			return in.pad(in.soft(v), orInt(bind("center", a, "width?")[0], 80), newStr(" "), "center")
		},
		"indent":         indentFilter,
		"truncate":       truncateFilter,
		"wordwrap":       wordwrapFilter,
		"wordcount":      wordcountFilter,
		"format":         formatFilter,
		"striptags":      onSoft("striptags", striptags),
		"urlencode":      urlencodeFilter,
		"xmlattr":        xmlattrFilter,
		"filesizeformat": filesizeFilter,
		"pprint": func(in *interp, v Value, a args) Value {
			bind("pprint", a)
			b := builder{in: in}
			in.repr(&b, v, 0, false)
			return b.str()
		},
		"tojson":     (*interp).toJSON,
		"abs":        absFilter,
		"round":      roundFilter,
		"int":        intFilter,
		"float":      floatFilter,
		"length":     lengthFilter,
		"count":      lengthFilter,
		"default":    defaultFilter,
		"d":          defaultFilter,
		"attr":       attrFilter,
		"list":       func(in *interp, v Value, a args) Value { bind("list", a); return &List{items: in.collect(v)} },
		"first":      firstFilter,
		"last":       lastFilter,
		"random":     func(in *interp, v Value, a args) Value { return firstFilter(in, v, a) },
		"reverse":    reverseFilter,
		"sort":       sortFilter,
		"unique":     uniqueFilter,
		"min":        extreme("min", "<"),
		"max":        extreme("max", ">"),
		"sum":        sumFilter,
		"join":       joinFilter,
		"map":        mapFilter,
		"select":     selectFilter("sync_do_select", false, true),
		"reject":     selectFilter("sync_do_reject", false, false),
		"selectattr": selectFilter("sync_do_selectattr", true, true),
		"rejectattr": selectFilter("sync_do_rejectattr", true, false),
		"groupby":    groupbyFilter,
		"items":      itemsFilter,
		"dictsort":   dictsortFilter,
		"batch":      batchFilter,
		"slice":      sliceFilter,
	}
	initTests()
	initGlobals()
}

func titleFilter(in *interp, s *Str) *Str {
	begin := true
	low := lowerAt(s.s)
	return in.mapRunes(s, func(i int, r rune) string {
		was := begin
		begin = r == '-' || isSpace(r) || strings.ContainsRune("({[<", r)
		if was && !begin {
			return upperRune(i, r)
		}
		return low(i, r)
	})
}

func replaceFilter(in *interp, v Value, a args) Value {
	p := bind("replace", a, "old", "new", "count?")
	n := -1
	if p[2] != nil && p[2] != None {
		n = intArg(p[2])
	}
	s := in.toStr(v)
	in.step(len(s.s) / 1024)
	return in.replace(s, in.toStr(p[0]), in.toStr(p[1]), n)
}

func indentFilter(in *interp, v Value, a args) Value {
	p := bind("indent", a, "width?", "first?", "blank?")
	var by *Str
	if s, ok := p[0].(*Str); ok {
		by = s
	} else {
		by = newStr(in.spaces(" ", orInt(p[0], 4)))
	}
	s, ok := v.(*Str)
	if !ok {
		in.arithmetic("+", v, newStr("\n"))
	}
	newline := newStr("\n")
	lines := in.splitLines(in.join2(s, newline), false)
	b := builder{in: in}
	if isTrue(p[1]) {
		b.add(by)
	}
	for i, l := range lines {
		line := l.(*Str)
		if i > 0 {
			b.add(newline)
			if line.s != "" || isTrue(p[2]) {
				b.add(by)
			}
		}
		b.add(line)
	}
	r := b.str()
	r.safe = s.safe
	return r
}

func truncateFilter(in *interp, v Value, a args) Value {
	p := bind("truncate", a, "length?", "killwords?", "end?", "leeway?")
	s, ok := v.(*Str)
	if !ok {
		lengthOf(v)
		fail(TypeError, "truncate takes a string")
	}
	end := newStr("...")
	if p[2] != nil {
		end = strArg("truncate", p[2])
	}
	size, leeway := orInt(p[0], 255), 5
	if p[3] != nil && p[3] != None {
		leeway = intArg(p[3])
	}
	endSize, _ := length(end)
	if size < endSize || leeway < 0 {
		fail(FilterError, "expected length >= %d, got %d", endSize, size)
	}
	if n, _ := length(s); n <= size+leeway {
		return s
	}
	cut := s.sub(0, byteOffset(s.s, size-endSize))
	if !isTrue(p[1]) {
		cut = in.split(cut, " ", 1, true)[0]
	}
	return in.join2(cut, end)
}

func wordcountFilter(in *interp, v Value, a args) Value {
	bind("wordcount", a)
	n, inside := int64(0), false
	for _, r := range in.soft(v).s {
		word := r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r)
		if word && !inside {
			n++
		}
		inside = word
	}
	return n
}

func formatFilter(in *interp, v Value, a args) Value {
	if len(a.named) == 0 {
		return in.percent(in.soft(v), &Tuple{items: a.pos})
	}
	if len(a.pos) > 0 {
		fail(FilterError, "can't handle positional and keyword arguments at the same time")
	}
	d := NewDict()
	for _, id := range a.order {
		d.Set(id, a.named[id])
	}
	return in.percent(in.soft(v), d)
}

var tagRe = regexp.MustCompile(`(?s)<!--.*?-->|<.*?>`)

func striptags(_ *interp, s *Str) *Str {
	text := strings.Join(strings.Fields(tagRe.ReplaceAllString(s.s, "")), " ")
	r := s.like(strings.NewReplacer("&lt;", "<", "&gt;", ">", "&#39;", "'", "&#34;", `"`, "&quot;", `"`, "&amp;", "&").Replace(text))
	r.safe = false
	return r
}

func quoteURL(s string, query bool) string {
	q := strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
	q = strings.ReplaceAll(q, "%7E", "~")
	if query {
		return strings.ReplaceAll(q, "%20", "+")
	}
	return strings.ReplaceAll(q, "%2F", "/")
}

func urlencodeFilter(in *interp, v Value, a args) Value {
	bind("urlencode", a)
	if s, ok := v.(*Str); ok {
		in.alloc(3 * len(s.s))
		return s.like(quoteURL(s.s, false))
	}
	next, ok := tryIterate(v)
	if !ok {
		return newStr(quoteURL(in.toStr(v).s, false))
	}
	if d, ok := v.(*Dict); ok {
		next = iterate(&view{"items", d})
	}
	b := builder{in: in}
	for first := true; ; first = false {
		item, ok := next()
		if !ok {
			return b.str()
		}
		pair := in.unpack(item, 2)
		if !first {
			b.text("&", false)
		}
		k, val := in.toStr(pair[0]), in.toStr(pair[1])
		b.text(quoteURL(k.s, true), k.tainted())
		b.text("=", false)
		b.text(quoteURL(val.s, true), val.tainted())
	}
}

func xmlattrFilter(in *interp, v Value, a args) Value {
	p := bind("xmlattr", a, "autospace?")
	d, ok := v.(*Dict)
	if !ok {
		fail(AttributeError, "'%s' object has no attribute 'items'", typeName(v))
	}
	b := builder{in: in}
	for i, k := range d.keys {
		_, undef := d.values[i].(*Undefined)
		if undef || d.values[i] == None {
			continue
		}
		if strings.ContainsAny(strArg("xmlattr", k).s, " \t\n\r\f\v/>=") {
			fail(ValueError, "Invalid character in attribute name: %s", pyQuote(k.(*Str).s))
		}
		if len(b.b) > 0 || p[0] == nil || truth(p[0]) {
			b.text(" ", false)
		}
		b.add(in.escape(in.soft(k)))
		b.text(`="`, false)
		b.add(in.escape(in.soft(d.values[i])))
		b.text(`"`, false)
	}
	return b.str()
}

func filesizeFilter(in *interp, v Value, a args) Value {
	p := bind("filesizeformat", a, "binary?")
	n := pyFloat(in, v)
	base, units := 1000.0, []string{"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"}
	if isTrue(p[0]) {
		base, units = 1024, []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"}
	}
	if n == 1 {
		return newStr("1 Byte")
	}
	if n < base {
		return newStr(strconv.FormatInt(int64(n), 10) + " Bytes")
	}
	unit := base
	for i, name := range units {
		unit *= base
		if n < unit || i == len(units)-1 {
			return newStr(strconv.FormatFloat(base*n/unit, 'f', 1, 64) + " " + name)
		}
	}
	return nil
}

func needNumber(what string, v Value) {
	if isNumber(v) {
		return
	}
	if u, ok := v.(*Undefined); ok {
		u.fail()
	}
	fail(TypeError, "bad operand type for %s: '%s'", what, typeName(v))
}

func absFilter(_ *interp, v Value, a args) Value {
	bind("abs", a)
	needNumber("abs()", v)
	if isInt(v) {
		return normInt(new(big.Int).Abs(toBig(v)))
	}
	return math.Abs(v.(float64))
}

func roundFilter(in *interp, v Value, a args) Value {
	p := bind("round", a, "precision?", "method?")
	method := "common"
	if p[1] != nil {
		method = in.toStr(p[1]).s
	}
	n := orInt(p[0], 0)
	needNumber("round", v)
	in.step(min(max(n, -n), 4300) / 4)
	switch method {
	case "common":
		if isInt(v) {
			return roundInt(v, n)
		}
		f := v.(float64)
		if n > 300 || math.IsNaN(f) || math.IsInf(f, 0) {
			return f
		}
		if n >= 0 {
			r, _ := strconv.ParseFloat(strconv.FormatFloat(f, 'f', n, 64), 64)
			return r
		}
		p := math.Pow(10, float64(-n))
		return math.RoundToEven(f/p) * p
	case "ceil", "floor":
		if n < -300 || n > 300 {
			fail(OverflowError, "a precision of %d", n)
		}
		scaled := in.arithmetic("*", v, in.arithmetic("**", int64(10), int64(n)))
		f := math.Floor
		if method == "ceil" {
			f = math.Ceil
		}
		if !isInt(scaled) {
			scaled = truncate(f(toFloat(scaled)))
		}
		return in.arithmetic("/", scaled, in.arithmetic("**", int64(10), int64(n)))
	}
	fail(FilterError, "method must be common, ceil or floor")
	return nil
}

func roundInt(v Value, n int) Value {
	if n >= 0 {
		return normInt(toBig(v))
	}
	if n < -4000 {
		return int64(0)
	}
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(-n)), nil)
	q, m := new(big.Int).DivMod(toBig(v), unit, new(big.Int))
	twice := new(big.Int).Lsh(m, 1)
	if c := twice.Cmp(unit); c > 0 || c == 0 && q.Bit(0) == 1 {
		q.Add(q, big.NewInt(1))
	}
	return normInt(q.Mul(q, unit))
}

// parseInt is Python's int(s, base).
func parseInt(s string, base int) (Value, bool) {
	s = strings.TrimFunc(s, isSpace)
	if strings.HasSuffix(s, "_") || strings.Contains(s, "__") || len(s) > 4300 {
		return nil, false
	}
	digits := strings.ToLower(strings.TrimLeft(s, "+-"))
	if len(s)-len(digits) > 1 || digits == "" || digits[0] == '_' {
		return nil, false
	}
	prefix := map[int]string{16: "0x", 8: "0o", 2: "0b"}[base]
	if base == 0 {
		for b, p := range map[int]string{16: "0x", 8: "0o", 2: "0b"} {
			if strings.HasPrefix(digits, p) {
				base, prefix = b, p
			}
		}
		if base == 0 {
			base = 10
		}
	}
	if prefix != "" {
		digits = strings.TrimPrefix(digits, prefix)
	}
	if base < 2 || base > 36 {
		return nil, false
	}
	digits = strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) && r > 127 {
			for d := rune(0); d < 10; d++ {
				if !unicode.IsDigit(r - d - 1) {
					return '0' + d
				}
			}
		}
		return r
	}, strings.ReplaceAll(digits, "_", ""))
	n, ok := new(big.Int).SetString(digits, base)
	if !ok || strings.ContainsAny(digits, "+-") {
		return nil, false
	}
	if s[0] == '-' {
		n.Neg(n)
	}
	return normInt(n), true
}

func parseFloat(s string) (float64, bool) {
	s = strings.TrimFunc(s, isSpace)
	if strings.ContainsAny(s, "xXpP") || strings.HasPrefix(s, "_") || strings.HasSuffix(s, "_") || strings.Contains(s, "__") {
		return 0, false
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
	if err != nil && !isRange(err) {
		return 0, false
	}
	return f, true
}

func pyFloat(_ *interp, v Value) float64 {
	switch v := v.(type) {
	case *Str:
		if f, ok := parseFloat(v.s); ok {
			return f
		}
		fail(ValueError, "could not convert string to float: %s", pyQuote(v.s))
	case *Undefined:
		v.fail()
	}
	if !isNumber(v) {
		fail(TypeError, "float() argument must be a string or a real number, not '%s'", typeName(v))
	}
	return toFloat(v)
}

func intFilter(_ *interp, v Value, a args) Value {
	p := bind("int", a, "default?", "base?")
	otherwise := p[0]
	if otherwise == nil {
		otherwise = int64(0)
	}
	switch v := v.(type) {
	case *Str:
		if n, ok := parseInt(v.s, orInt(p[1], 10)); ok {
			return n
		}
		if f, ok := parseFloat(v.s); ok && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return truncate(f)
		}
		return otherwise
	case *Undefined:
		v.fail()
	case float64:
		if math.IsNaN(v) {
			return otherwise
		}
		return truncate(v)
	}
	if isInt(v) {
		return normInt(toBig(v))
	}
	return otherwise
}

func floatFilter(in *interp, v Value, a args) Value {
	p := bind("float", a, "default?")
	var f float64
	if err := attempt(func() { f = pyFloat(in, v) }); err != nil {
		if err.Kind != TypeError && err.Kind != ValueError {
			panic(err)
		}
		if p[0] == nil {
			return 0.0
		}
		return p[0]
	}
	return f
}

func lengthOf(v Value) int {
	n, ok := length(v)
	if !ok {
		fail(TypeError, "object of type '%s' has no len()", typeName(v))
	}
	return n
}

func lengthFilter(_ *interp, v Value, a args) Value {
	bind("length", a)
	return int64(lengthOf(v))
}

func defaultFilter(_ *interp, v Value, a args) Value {
	p := bind("default", a, "default_value?", "boolean?")
	_, undef := v.(*Undefined)
	if !undef && (!isTrue(p[1]) || truth(v)) {
		return v
	}
	if p[0] == nil {
		return newStr("")
	}
	return p[0]
}

func attrFilter(in *interp, v Value, a args) Value {
	id := in.toStr(bind("attr", a, "name")[0]).s
	if u, ok := v.(*Undefined); ok {
		u.fail()
	}
	if r := in.attr(v, id); r != nil {
		return r
	}
	return noAttr(v, id)
}

func firstFilter(_ *interp, v Value, a args) Value {
	bind("first", a)
	if item, ok := iterate(v)(); ok {
		return item
	}
	return undefined("No first item, sequence was empty.")
}

func lastFilter(in *interp, v Value, a args) Value {
	bind("last", a)
	items := in.reversed(v)
	if len(items) == 0 {
		return undefined("No last item, sequence was empty.")
	}
	return items[0]
}

// reversed is Python's reversed(v).
func (in *interp) reversed(v Value) []Value {
	switch v.(type) {
	case *Str, *List, *Tuple, *Dict, *view, *rangeValue, *Undefined:
		items := in.collect(v)
		reverse(items)
		return items
	}
	fail(TypeError, "'%s' object is not reversible", typeName(v))
	return nil
}

func reverseFilter(in *interp, v Value, a args) Value {
	bind("reverse", a)
	if s, ok := v.(*Str); ok {
		return in.slice(s, &sliceValue{None, None, int64(-1)})
	}
	if g, ok := v.(*generator); ok {
		items := in.collect(g)
		reverse(items)
		return &List{items: items}
	}
	if _, ok := tryIterate(v); !ok {
		fail(FilterError, "argument must be iterable")
	}
	items := in.reversed(v)
	return &generator{"list_reverseiterator", walk(len(items), func(i int) Value { return items[i] })}
}

// getter reads an attribute such as a.b.0 of values.
func (in *interp) getter(attr Value, otherwise Value, fold bool) func(Value) Value {
	var parts []Value
	switch x := attr.(type) {
	case nil, noneType:
	case *Str:
		for _, p := range strings.Split(x.s, ".") {
			if n, err := strconv.Atoi(p); err == nil && n >= 0 && p[0] != '+' {
				parts = append(parts, int64(n))
			} else {
				parts = append(parts, newStr(p))
			}
		}
	default:
		parts = []Value{attr}
	}
	return func(v Value) Value {
		in.step(1)
		for _, p := range parts {
			v = in.getItem(v, p)
			if _, undef := v.(*Undefined); undef && otherwise != nil && otherwise != None {
				v = otherwise
			}
		}
		if s, ok := v.(*Str); ok && fold {
			return lower(in, s)
		}
		return v
	}
}

// sortBy sorts stably by keys as Python does, which fails where they cannot be compared.
func (in *interp) sortBy(order []int, key func(i int) Value, reverse bool) {
	keys := map[int]Value{}
	for _, i := range order {
		keys[i] = key(i)
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := keys[i], keys[j]
		if reverse {
			a, b = b, a
		}
		switch {
		case in.less("<", a, b, 0):
			return -1
		case in.less("<", b, a, 0):
			return 1
		}
		return 0
	})
}

func (in *interp) sorted(items []Value, key func(Value) Value, reverse bool) []Value {
	order := make([]int, len(items))
	for i := range order {
		order[i] = i
	}
	in.allocItems(4 * len(items))
	in.sortBy(order, func(i int) Value { return key(items[i]) }, reverse)
	r := make([]Value, len(items))
	for i, at := range order {
		r[i] = items[at]
	}
	return r
}

func sortFilter(in *interp, v Value, a args) Value {
	p := bind("sort", a, "reverse?", "case_sensitive?", "attribute?")
	var getters []func(Value) Value
	if s, ok := p[2].(*Str); ok {
		for _, part := range strings.Split(s.s, ",") {
			getters = append(getters, in.getter(newStr(part), nil, !isTrue(p[1])))
		}
	} else {
		getters = append(getters, in.getter(p[2], nil, !isTrue(p[1])))
	}
	return &List{items: in.sorted(in.collect(v), func(item Value) Value {
		l := &List{}
		for _, g := range getters {
			l.items = append(l.items, g(item))
		}
		return l
	}, isTrue(p[0]))}
}

func uniqueFilter(in *interp, v Value, a args) Value {
	p := bind("unique", a, "case_sensitive?", "attribute?")
	get := in.getter(p[1], nil, !isTrue(p[0]))
	seen := map[any]bool{}
	next := lazyIterate(v)
	return &generator{"sync_do_unique", func() (Value, bool) {
		for {
			item, ok := next()
			if !ok {
				return nil, false
			}
			in.step(1)
			if h := hash(get(item), 0); !seen[h] {
				in.allocItems(2)
				seen[h] = true
				return item, true
			}
		}
	}}
}

// lazyIterate walks v from the first call on: an error that v cannot be walked comes then.
func lazyIterate(v Value) func() (Value, bool) {
	var next func() (Value, bool)
	return func() (Value, bool) {
		if next == nil {
			next = iterate(v)
		}
		return next()
	}
}

func extreme(id, op string) filter {
	return func(in *interp, v Value, a args) Value {
		p := bind(id, a, "case_sensitive?", "attribute?")
		get := in.getter(p[1], nil, !isTrue(p[0]))
		next := iterate(v)
		best, ok := next()
		if !ok {
			return undefined("No aggregated item, sequence was empty.")
		}
		bestKey := get(best)
		for {
			item, ok := next()
			if !ok {
				return best
			}
			if key := get(item); in.less(op, key, bestKey, 0) {
				best, bestKey = item, key
			}
		}
	}
}

func sumFilter(in *interp, v Value, a args) Value {
	p := bind("sum", a, "attribute?", "start?")
	get := in.getter(p[0], nil, false)
	sum := p[1]
	if sum == nil {
		sum = int64(0)
	}
	if _, ok := sum.(*Str); ok {
		fail(TypeError, "sum() can't sum strings [use ''.join(seq) instead]")
	}
	next := iterate(v)
	for {
		item, ok := next()
		if !ok {
			return sum
		}
		sum = in.arithmetic("+", sum, get(item))
	}
}

func joinFilter(in *interp, v Value, a args) Value {
	p := bind("join", a, "d?", "attribute?")
	sep := newStr("")
	if p[0] != nil {
		sep = in.toStr(p[0])
	}
	items := in.collect(v)
	if p[1] != nil && p[1] != None {
		get := in.getter(p[1], nil, false)
		for i := range items {
			items[i] = get(items[i])
		}
	}
	return in.join(sep, items, false)
}

func mapFilter(in *interp, v Value, a args) Value {
	var f func(Value) Value
	prepare := func() {
		if attr, ok := a.named["attribute"]; ok && len(a.pos) == 0 {
			for _, id := range a.order {
				if id != "attribute" && id != "default" {
					fail(FilterError, "Unexpected keyword argument %s", pyQuote(id))
				}
			}
			f = in.getter(attr, a.named["default"], false)
			return
		}
		if len(a.pos) == 0 {
			fail(FilterError, "map requires a filter argument")
		}
		id, rest := in.toStr(a.pos[0]).s, args{a.pos[1:], a.named, a.order}
		f = func(item Value) Value { return in.callFilter(id, item, rest) }
	}
	next := lazyIterate(v)
	return &generator{"sync_do_map", func() (Value, bool) {
		if f == nil {
			if !truth(v) {
				return nil, false
			}
			prepare()
		}
		item, ok := next()
		if !ok {
			return nil, false
		}
		in.step(1)
		return f(item), true
	}}
}

func selectFilter(id string, byAttr, want bool) filter {
	return func(in *interp, v Value, a args) Value {
		var f func(Value) bool
		prepare := func() {
			rest, get := a.pos, func(v Value) Value { return v }
			if byAttr {
				if len(rest) == 0 {
					fail(FilterError, "Missing parameter for attribute name")
				}
				get = in.getter(rest[0], nil, false)
				rest = rest[1:]
			}
			f = func(item Value) bool { return truth(get(item)) }
			if len(rest) > 0 {
				test, more := in.toStr(rest[0]).s, args{rest[1:], a.named, a.order}
				f = func(item Value) bool { return truth(in.callTest(test, get(item), more)) }
			}
		}
		next := lazyIterate(v)
		return &generator{id, func() (Value, bool) {
			if f == nil {
				if !truth(v) {
					return nil, false
				}
				prepare()
			}
			for {
				item, ok := next()
				if !ok {
					return nil, false
				}
				in.step(1)
				if f(item) == want {
					return item, true
				}
			}
		}}
	}
}

func groupbyFilter(in *interp, v Value, a args) Value {
	p := bind("groupby", a, "attribute", "default?", "case_sensitive?")
	get := in.getter(p[0], p[1], !isTrue(p[2]))
	exact := in.getter(p[0], p[1], false)
	var groups []Value
	var last Value
	for _, item := range in.sorted(in.collect(v), get, false) {
		key := get(item)
		if last == nil || !in.equal(key, last, 0) {
			last = key
			groups = append(groups, &Tuple{items: []Value{exact(item), &List{}}, names: []string{"grouper", "list"}})
		}
		l := groups[len(groups)-1].(*Tuple).items[1].(*List)
		l.items = append(l.items, item)
	}
	return &List{items: groups}
}

func itemsFilter(_ *interp, v Value, a args) Value {
	bind("items", a)
	var next func() (Value, bool)
	return &generator{"do_items", func() (Value, bool) {
		if next == nil {
			switch x := v.(type) {
			case *Undefined:
				next = iterate(x)
			case *Dict:
				next = iterate(&view{"items", x})
			default:
				fail(TypeError, "Can only get item pairs from a mapping.")
			}
		}
		return next()
	}}
}

func dictsortFilter(in *interp, v Value, a args) Value {
	p := bind("dictsort", a, "case_sensitive?", "by?", "reverse?")
	pos := 0
	if p[1] != nil {
		switch in.toStr(p[1]).s {
		case "key":
		case "value":
			pos = 1
		default:
			fail(FilterError, `You can only sort by either "key" or "value"`)
		}
	}
	d, ok := v.(*Dict)
	if !ok {
		if u, is := v.(*Undefined); is {
			u.fail()
		}
		fail(AttributeError, "'%s' object has no attribute 'items'", typeName(v))
	}
	fold := in.getter(nil, nil, !isTrue(p[0]))
	return &List{items: in.sorted(in.collect(&view{"items", d}), func(item Value) Value {
		return fold(item.(*Tuple).items[pos])
	}, isTrue(p[2]))}
}

func batchFilter(in *interp, v Value, a args) Value {
	p := bind("batch", a, "linecount", "fill_with?")
	next := lazyIterate(v)
	n := intArg(p[0])
	return &generator{"sync_do_batch", func() (Value, bool) {
		var row []Value
		for len(row) < n || n <= 0 && len(row) == 0 {
			item, ok := next()
			if !ok {
				break
			}
			in.step(1)
			in.allocItems(1)
			row = append(row, item)
		}
		if len(row) == 0 {
			return nil, false
		}
		for p[1] != nil && p[1] != None && len(row) < n {
			in.step(1)
			in.allocItems(1)
			row = append(row, p[1])
		}
		return &List{items: row}, true
	}}
}

func sliceFilter(in *interp, v Value, a args) Value {
	p := bind("slice", a, "slices", "fill_with?")
	var seq []Value
	i, offset, slicesN := 0, 0, 0
	return &generator{"sync_do_slice", func() (Value, bool) {
		if i == 0 {
			seq, slicesN = in.collect(v), intArg(p[0])
			if slicesN == 0 {
				fail(ZeroDivision, "integer division or modulo by zero")
			}
		}
		if i >= slicesN {
			return nil, false
		}
		in.step(1)
		size, extra := len(seq)/slicesN, len(seq)%slicesN
		from := offset + i*size
		if i < extra {
			offset++
		}
		row := append([]Value(nil), seq[from:offset+(i+1)*size]...)
		if p[1] != nil && p[1] != None && i >= extra {
			row = append(row, p[1])
		}
		in.allocItems(len(row))
		i++
		return &List{items: row}, true
	}}
}

// wordwrapFilter wraps lines as Python's textwrap does with its defaults, but for words that hyphens could break.
func wordwrapFilter(in *interp, v Value, a args) Value {
	p := bind("wordwrap", a, "width?", "break_long_words?", "wrapstring?", "break_on_hyphens?")
	width, breakLong := orInt(p[0], 79), p[1] == nil || truth(p[1])
	sep := newStr("\n")
	if p[2] != nil && p[2] != None {
		sep = strArg("wordwrap", p[2])
	}
	if width <= 0 {
		fail(ValueError, "invalid width %d (must be > 0)", width)
	}
	var lines []Value
	for _, l := range in.splitLines(in.soft(v), false) {
		wrapped := in.wrapLine(l.(*Str), width, breakLong)
		if len(wrapped) == 0 {
			wrapped = []Value{newStr("")}
		}
		lines = append(lines, wrapped...)
	}
	return in.join(sep, lines, false)
}

func (in *interp) wrapLine(s *Str, width int, breakLong bool) (lines []Value) {
	chunks := chunk(s)
	for len(chunks) > 0 {
		in.step(1)
		if len(lines) > 0 && strings.TrimFunc(chunks[0].s, isSpace) == "" {
			chunks = chunks[1:]
		}
		b, n := builder{in: in}, 0
		for len(chunks) > 0 {
			size := utf8.RuneCountInString(chunks[0].s)
			if n+size > width {
				break
			}
			b.add(chunks[0])
			n += size
			chunks = chunks[1:]
		}
		if len(chunks) > 0 && utf8.RuneCountInString(chunks[0].s) > width {
			if breakLong {
				at := byteOffset(chunks[0].s, width-n)
				b.add(chunks[0].sub(0, at))
				chunks[0] = chunks[0].sub(at, len(chunks[0].s))
			} else if n == 0 {
				b.add(chunks[0])
				chunks = chunks[1:]
			}
		}
		if line := strip(b.str(), nil, false, true); line.s != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// chunk cuts s into words and the white space between them.
func chunk(s *Str) (chunks []*Str) {
	from, space := 0, false
	for i, r := range s.s {
		if i == 0 {
			space = isSpace(r)
		} else if isSpace(r) != space {
			chunks = append(chunks, s.sub(from, i))
			from, space = i, !space
		}
	}
	if from < len(s.s) {
		chunks = append(chunks, s.sub(from, len(s.s)))
	}
	return chunks
}
