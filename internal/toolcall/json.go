package toolcall

import (
	"encoding/json"
	"strings"
)

// scanner finds the end of a JSON value that arrives in pieces. It looks at strings and brackets only: what else is wrong
// with the value is the caller's to see.
type scanner struct {
	begun, scalar, inString, escape bool
	closing                         []byte
}

// scan reads on and returns how much of text belongs to the value and whether the value is over, complete or not.
func (s *scanner) scan(text string) (n int, done bool) {
	for i := 0; i < len(text); i++ {
		over, taken := s.step(text[i])
		if over {
			if taken {
				i++
			}
			return i, true
		}
	}
	return len(text), false
}

// step reads a byte. taken says that a byte that ends the value belongs to it.
func (s *scanner) step(c byte) (over, taken bool) {
	first := !s.begun
	s.begun = true
	switch {
	case s.escape:
		s.escape = false
	case s.inString:
		s.escape = c == '\\'
		s.inString = c != '"'
		return c == '"' && len(s.closing) == 0, true
	case c == '"':
		s.inString = true
		return s.scalar, false
	case c == '{':
		s.closing = append(s.closing, '}')
		return s.scalar, false
	case c == '[':
		s.closing = append(s.closing, ']')
		return s.scalar, false
	case c == '}' || c == ']':
		n := len(s.closing)
		if n == 0 || s.closing[n-1] != c {
			return true, false
		}
		s.closing = s.closing[:n-1]
		return n == 1, true
	case len(s.closing) == 0:
		s.scalar = s.scalar || first
		return !strings.ContainsRune(literals, rune(c)), false
	default:
		return !strings.ContainsRune(literals+space+",:", rune(c)), false
	}
	return false, false
}

// literals are what numbers, true, false and null are made of, and such a model's misspellings of them.
const literals = "+-._0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// reader reads JSON that may end early.
type reader struct {
	text string
	at   int
}

func (r *reader) blank() {
	for r.at < len(r.text) && strings.IndexByte(space, r.text[r.at]) >= 0 {
		r.at++
	}
}

// next takes the byte if it comes next behind white space.
func (r *reader) next(c byte) verdict {
	r.blank()
	if r.at == len(r.text) {
		return undecided
	}
	if r.text[r.at] != c {
		return refused
	}
	r.at++
	return matched
}

// value takes a JSON value.
func (r *reader) value() (string, verdict) {
	r.blank()
	var s scanner
	n, done := s.scan(r.text[r.at:])
	if !done {
		return "", undecided
	}
	text := r.text[r.at : r.at+n]
	if n == 0 {
		return "", refused
	}
	r.at += n
	return text, matched
}

// key takes a string and the colon behind it.
func (r *reader) key() (string, verdict) {
	r.blank()
	if r.at < len(r.text) && r.text[r.at] != '"' {
		return "", refused
	}
	raw, v := r.value()
	if v != matched {
		return "", v
	}
	var key string
	if json.Unmarshal([]byte(raw), &key) != nil {
		return "", refused
	}
	return key, r.next(':')
}

// call takes an object's fields up to the arguments behind a name, or all of it where they stand before the name.
func (r *reader) call(tools map[string]Tool) (m match, v verdict) {
	switch r.next('[') {
	case matched:
		m.list = true
	case undecided:
		return m, undecided
	case refused:
	}
	if v = r.next('{'); v != matched {
		return m, v
	}
	for {
		key, v := r.key()
		if v != matched {
			return m, v
		}
		if isArguments(key) && m.name != "" && m.arguments == "" {
			m.length = r.at
			return m, matched
		}
		raw, v := r.value()
		if v != matched {
			return m, v
		}
		if v = m.field(key, raw, tools); v != matched {
			return m, v
		}
		if m.name != "" && m.arguments != "" {
			m.length = r.at
			return m, matched
		}
		switch r.next(',') {
		case matched:
			continue
		case undecided:
			return m, undecided
		case refused:
		}
		if v = r.next('}'); v == matched && m.name == "" {
			v = refused
		}
		m.length, m.complete = r.at, true
		return m, v
	}
}

func isArguments(key string) bool { return key == "arguments" || key == "parameters" || key == "args" }

// field keeps a field of a call's object.
func (m *match) field(key, raw string, tools map[string]Tool) verdict {
	switch {
	case isArguments(key):
		if raw[0] != '{' {
			return refused
		}
		m.arguments = raw
	case key == "name" || key == "tool_name":
		if json.Unmarshal([]byte(raw), &m.name) != nil {
			return refused
		}
		if _, ok := tools[m.name]; !ok {
			return refused
		}
	}
	return matched
}

// end takes the fields behind the arguments and the closing brace.
func (r *reader) end() verdict {
	for {
		switch r.next('}') {
		case matched:
			return matched
		case undecided:
			return undecided
		case refused:
		}
		if v := r.next(','); v != matched {
			return v
		}
		if _, v := r.key(); v != matched {
			return v
		}
		if _, v := r.value(); v != matched {
			return v
		}
	}
}

// quote is text as a JSON string, with <, > and & as they are.
func quote(text string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	// A string always encodes.
	_ = e.Encode(text)
	return strings.TrimSuffix(b.String(), "\n")
}

// convert is a parameter's text as JSON, of the type that its schema names. Text that is not of the type becomes a string,
// so that it is not lost.
func convert(text string, kind textness, schema json.RawMessage, key string, cut bool) string {
	text = strings.TrimPrefix(text, "\n")
	if !cut {
		text = strings.TrimSuffix(text, "\n")
	}
	if cdata, ok := strings.CutPrefix(text, "<![CDATA["); ok {
		text = strings.TrimSuffix(cdata, "]]>")
	}
	if kind == bySchema && allowsText(schema, key) {
		kind = isText
	}
	trimmed := strings.TrimSpace(text)
	if kind != isText {
		switch trimmed {
		case "True", "False":
			trimmed = strings.ToLower(trimmed)
		case "None":
			trimmed = "null"
		}
		if cut || json.Valid([]byte(trimmed)) {
			return trimmed
		}
	}
	quoted := quote(text)
	if cut {
		quoted = quoted[:len(quoted)-1]
	}
	return quoted
}

// allowsText says that the schema makes the parameter a string.
func allowsText(schema json.RawMessage, key string) bool {
	var s struct {
		Properties map[string]struct {
			Type any   `json:"type"`
			Enum []any `json:"enum"`
		} `json:"properties"`
	}
	if json.Unmarshal(schema, &s) != nil {
		return false
	}
	p := s.Properties[key]
	switch t := p.Type.(type) {
	case string:
		return t == "string"
	case []any:
		for _, one := range t {
			if one == "string" {
				return true
			}
		}
	case nil:
		if len(p.Enum) > 0 {
			_, text := p.Enum[0].(string)
			return text
		}
	}
	return false
}
