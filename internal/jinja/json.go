package jinja

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// FromJSON is the value of a JSON text from outside: objects keep the order of their keys, and all strings, lists and dicts in
// it are foreign. It fails on texts that are no JSON, nest deeper than a thousand levels, or hold a number that is too long.
func FromJSON(text []byte) (v Value, err error) {
	defer recoverError(&err)
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v = decode(d, 0)
	if d.More() {
		return nil, errors.New("more than one JSON value")
	}
	return v, nil
}

func nextToken(d *json.Decoder) json.Token {
	t, err := d.Token()
	if err != nil {
		fail(ValueError, "not valid JSON: %v", err)
	}
	return t
}

func decode(d *json.Decoder, depth int) Value {
	if depth > maxDepth-100 {
		fail(LimitError, "a JSON value nests deeper than %d levels", maxDepth-100)
	}
	switch t := nextToken(d).(type) {
	case bool:
		return t
	case string:
		return Foreign(t)
	case json.Number:
		return number(t.String())
	case json.Delim:
		if t == '[' {
			l := &List{foreign: true}
			for d.More() {
				l.items = append(l.items, decode(d, depth+1))
			}
			nextToken(d)
			return l
		}
		o := NewDict()
		o.foreign = true
		for d.More() {
			key := nextToken(d).(string)
			o.set(Foreign(key), decode(d, depth+1))
		}
		nextToken(d)
		return o
	}
	return None
}

func number(s string) Value {
	if strings.ContainsAny(s, ".eE") {
		f, _ := strconv.ParseFloat(s, 64)
		return f
	}
	if len(s) > 4000 {
		fail(LimitError, "an integer has more than 4000 digits")
	}
	n, _ := new(big.Int).SetString(s, 10)
	return normInt(n)
}

// jsonStyle are the arguments of tojson.
type jsonStyle struct {
	ascii, sort, pretty bool
	indent              string
	item, key           string
}

func (in *interp) toJSON(v Value, a args) Value {
	p := bind("tojson", a, "ensure_ascii?", "indent?", "separators?", "sort_keys?")
	st := jsonStyle{ascii: isTrue(p[0]), sort: isTrue(p[3]), item: ", ", key: ": "}
	switch x := p[1].(type) {
	case nil, noneType:
	case *Str:
		st.pretty, st.indent, st.item = true, x.s, ","
	default:
		st.pretty, st.indent, st.item = true, in.spaces(" ", intArg(x)), ","
	}
	if p[2] != nil && p[2] != None {
		pair := in.unpack(p[2], 2)
		st.item, st.key = strArg("tojson", pair[0]).s, strArg("tojson", pair[1]).s
	}
	b := builder{in: in}
	in.encode(&b, v, &st, 0, false)
	return b.str()
}

func (in *interp) encode(b *builder, v Value, st *jsonStyle, depth int, foreign bool) {
	in.step(1)
	in.touch(v)
	if depth > maxDepth {
		fail(RecursionError, "maximum recursion depth exceeded while encoding a JSON object")
	}
	switch v := v.(type) {
	case *Str:
		b.text(jsonQuote(v.s, st.ascii), v.tainted())
	case *List:
		in.encodeItems(b, v.items, st, depth, v.foreign)
	case *Tuple:
		in.encodeItems(b, v.items, st, depth, false)
	case *Dict:
		in.encodeDict(b, v, st, depth)
	default:
		s, ok := jsonScalar(v)
		if !ok {
			fail(TypeError, "Object of type %s is not JSON serializable", typeName(v))
		}
		b.text(s, foreign)
	}
}

func jsonScalar(v Value) (string, bool) {
	switch v := v.(type) {
	case noneType:
		return "null", true
	case bool:
		return strconv.FormatBool(v), true
	case int64, *big.Int:
		return toBig(v).String(), true
	case float64:
		switch {
		case math.IsNaN(v):
			return "NaN", true
		case math.IsInf(v, 1):
			return "Infinity", true
		case math.IsInf(v, -1):
			return "-Infinity", true
		}
		return floatRepr(v), true
	}
	return "", false
}

// wrap writes n items between brackets.
func (in *interp) wrap(b *builder, open, end string, n int, st *jsonStyle, depth int, foreign bool, item func(int)) {
	b.text(open, foreign)
	newline := func(depth int) {
		if st.pretty {
			in.alloc(satMul(len(st.indent), depth))
			b.text("\n"+strings.Repeat(st.indent, depth), foreign)
		}
	}
	for i := range n {
		if i > 0 {
			b.text(st.item, foreign)
		}
		newline(depth + 1)
		item(i)
	}
	if n > 0 {
		newline(depth)
	}
	b.text(end, foreign)
}

func (in *interp) encodeItems(b *builder, items []Value, st *jsonStyle, depth int, foreign bool) {
	in.wrap(b, "[", "]", len(items), st, depth, foreign, func(i int) { in.encode(b, items[i], st, depth+1, foreign) })
}

func (in *interp) encodeDict(b *builder, d *Dict, st *jsonStyle, depth int) {
	order := make([]int, len(d.keys))
	for i := range order {
		order[i] = i
	}
	if st.sort {
		in.sortBy(order, func(i int) Value { return d.keys[i] }, false)
	}
	in.wrap(b, "{", "}", len(order), st, depth, d.foreign, func(i int) {
		k := d.keys[order[i]]
		if s, ok := k.(*Str); ok {
			b.text(jsonQuote(s.s, st.ascii), s.tainted())
		} else if s, ok := jsonScalar(k); ok {
			b.text(`"`+s+`"`, d.foreign)
		} else {
			fail(TypeError, "keys must be str, int, float, bool or None, not %s", typeName(k))
		}
		b.text(st.key, d.foreign)
		in.encode(b, d.values[order[i]], st, depth+1, d.foreign)
	})
}

var jsonEscapes = map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\f': `\f`, '\b': `\b`}

// jsonQuote is json.dumps of a string.
func jsonQuote(s string, ascii bool) string {
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('"')
	plain := 0
	for i, r := range s {
		if r != '"' && r != '\\' && r >= 0x20 && (!ascii || r < 0x7f) {
			continue
		}
		b.WriteString(s[plain:i])
		_, n := utf8.DecodeRuneInString(s[i:])
		plain = i + n
		switch e := jsonEscapes[r]; {
		case e != "":
			b.WriteString(e)
		case r == 0x7f:
			b.WriteByte(0x7f)
		case r >= 0x10000:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	b.WriteString(s[plain:])
	b.WriteByte('"')
	return b.String()
}

// QuoteJSON is a JSON string as Python writes it, with ensure_ascii off.
func QuoteJSON(s string) string { return jsonQuote(s, false) }

// CompactJSON is a JSON text without white space between its tokens, with the order of its keys; what is no JSON stays as it is.
func CompactJSON(text []byte) string {
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		return string(text)
	}
	return b.String()
}
