package toolcall

import (
	"encoding/json"
	"strings"
)

// call is the one that is being read.
type call struct {
	head *head
	tail *tail
	tool Tool
	// list says that the call stands in a JSON list.
	list bool
	// scan follows JSON arguments; quoted are arguments that are JSON text inside a JSON string.
	scan   scanner
	quoted bool
	// held is a value that is handed over when it is complete.
	held strings.Builder
	// fields counts the arguments that were written.
	fields int
	// key and text are of the tag whose value is being read; text says that the wire form tells it is a string.
	key  string
	text textness
}

type textness int

const (
	bySchema textness = iota
	isText
	isJSON
)

// match is what a head matched: its length up to the arguments.
type match struct {
	length int
	name   string
	list   bool
	// arguments are those that stand before the name.
	arguments string
	// complete says that the object ends without arguments behind the name.
	complete bool
}

// match looks for the head at rest[start:].
func (p *Parser) match(h *head, start int) (verdict, match) {
	switch h.kind {
	case object:
		return p.matchObject(start)
	case frame, thought, prefixed:
	}
	if h.pattern == nil {
		return matched, match{length: start}
	}
	window := p.rest[start:min(len(p.rest), start+maxHead)]
	i := strings.Index(window, h.delimiter)
	if i < 0 {
		if len(window) == maxHead {
			return refused, match{}
		}
		return undecided, match{}
	}
	groups := h.pattern.FindStringSubmatch(window[:i])
	if groups == nil {
		return refused, match{}
	}
	m := match{length: start + i}
	if !h.keep {
		m.length += len(h.delimiter)
	}
	for _, g := range groups[1:] {
		if g != "" {
			m.name = g
		}
	}
	if h.kind != prefixed {
		return matched, m
	}
	if _, ok := p.tools[m.name]; !ok {
		return refused, match{}
	}
	return matched, m
}

// matchObject looks for an object with a name, if need be behind the bracket that begins a list.
func (p *Parser) matchObject(start int) (verdict, match) {
	full := min(len(p.rest), start+maxObject)
	s := reader{text: p.rest[:full], at: start}
	m, v := s.call(p.tools)
	if v == undecided && full == start+maxObject {
		v = refused
	}
	return v, m
}

// beginCall takes a head and announces the call.
func (p *Parser) beginCall(h *head, m match) {
	p.take(m.length, asFraming)
	t := h.tail
	if t == nil {
		t = &tail{}
	}
	// A call behind a comma is still in its list.
	list := m.list || p.call.list && p.call.tail == t
	p.call = call{head: h, tail: t, tool: p.tools[m.name], list: list}
	p.calls++
	p.out = append(p.out, Delta{Call: &CallDelta{Index: p.calls - 1, ID: p.newID(), Name: m.name}})
	p.isFresh, p.thought = false, nil
	switch {
	case m.complete:
		if m.arguments == "" {
			m.arguments = "{}"
		}
		p.arguments(m.arguments)
		p.finish()
	case m.arguments != "":
		p.arguments(m.arguments)
		p.state = (*Parser).objectEnd
	case h.arguments == tagArguments:
		p.arguments("{")
		p.state = (*Parser).tag
	case h.arguments == pythonArguments:
		p.arguments("{")
		p.state = (*Parser).keyword
	default:
		p.state = (*Parser).json
	}
}

func (p *Parser) finish() {
	p.state = (*Parser).after
	p.isFresh = true
}

// json is the state inside of arguments that are JSON: they are passed on as they are.
func (p *Parser) json() bool {
	c := &p.call
	if p.rest == "" {
		if p.ended && c.held.Len() > 0 {
			p.arguments(c.held.String())
			p.state = (*Parser).over
		}
		return false
	}
	if !c.scan.begun {
		n := len(p.rest) - len(strings.TrimLeft(p.rest, space))
		p.take(n, asFraming)
		if p.rest == "" {
			return false
		}
		c.quoted = p.rest[0] == '"'
	}
	n, done := c.scan.scan(p.rest)
	if c.quoted {
		return p.quotedJSON(n, done)
	}
	p.arguments(p.take(n, asArguments))
	if !done {
		return false
	}
	p.endJSON()
	return true
}

// quotedJSON waits for the whole string, whose text are the arguments.
func (p *Parser) quotedJSON(n int, done bool) bool {
	p.call.held.WriteString(p.take(n, asArguments))
	if !done {
		return p.ended
	}
	raw := p.call.held.String()
	var inner string
	if json.Unmarshal([]byte(raw), &inner) == nil && json.Valid([]byte(inner)) {
		raw = inner
	}
	p.arguments(raw)
	p.endJSON()
	return true
}

func (p *Parser) endJSON() {
	if p.call.head.kind == object {
		p.state = (*Parser).objectEnd
		return
	}
	p.finish()
}

// objectEnd is the state between the arguments and the end of the object that holds them.
func (p *Parser) objectEnd() bool {
	s := reader{text: p.rest[:min(len(p.rest), maxHead)]}
	v := s.end()
	if v == undecided && !p.ended && len(p.rest) < maxHead {
		return false
	}
	if v == matched {
		p.take(s.at, asFraming)
	}
	p.finish()
	return true
}

// tag is the state between the parameters of a call whose arguments are tags.
func (p *Parser) tag() bool {
	t := p.call.head.tags
	p.take(len(p.rest)-len(strings.TrimLeft(p.rest, space)), asFraming)
	if p.rest == "" {
		return false
	}
	for _, mark := range []string{t.begin, t.end} {
		if len(p.rest) < len(mark) && strings.HasPrefix(mark, p.rest) && !p.ended {
			return false
		}
	}
	if strings.HasPrefix(p.rest, t.begin) {
		window := p.rest[len(t.begin):min(len(p.rest), len(t.begin)+maxHead)]
		i := strings.Index(window, t.delimiter)
		if i < 0 && len(window) < maxHead && !p.ended {
			return false
		}
		if i >= 0 {
			if groups := t.key.FindStringSubmatch(window[:i]); groups != nil {
				p.beginTag(groups, len(t.begin)+i+len(t.delimiter))
				return true
			}
		}
	}
	if strings.HasPrefix(p.rest, t.end) {
		p.take(len(t.end), asFraming)
	}
	// Anything else ends the call as well; it is content.
	p.arguments("}")
	p.finish()
	return true
}

func (p *Parser) beginTag(groups []string, n int) {
	p.take(n, asFraming)
	c := &p.call
	c.key, c.text = groups[1], bySchema
	if len(groups) > 2 {
		switch groups[2] {
		case "true":
			c.text = isText
		case "false":
			c.text = isJSON
		}
	}
	p.state = (*Parser).value
}

// value is the state inside of a parameter: it is handed over when it is complete, for its type may hang on its end.
func (p *Parser) value() bool {
	closer := p.call.head.tags.close
	held := &p.call.held
	i := strings.Index(p.rest, closer)
	if i >= 0 {
		held.WriteString(p.take(i, asArguments))
		p.take(len(closer), asFraming)
		text := held.String()
		held.Reset()
		p.field(text, false)
		p.state = (*Parser).tag
		return true
	}
	held.WriteString(p.take(max(0, len(p.rest)-len(closer)+1), asArguments))
	if p.ended {
		held.WriteString(p.take(len(p.rest), asArguments))
		p.field(held.String(), true)
		p.state = (*Parser).over
	}
	return false
}

// over is the state behind an answer that was cut off.
func (p *Parser) over() bool { return false }

// field writes an argument; one that is cut off stays open at its end.
func (p *Parser) field(text string, cut bool) {
	c := &p.call
	if c.fields > 0 {
		p.arguments(", ")
	}
	c.fields++
	p.arguments(quote(c.key) + ": " + convert(text, c.text, c.tool.Parameters, c.key, cut))
}

// keyword is the state inside of name(key=value, …).
func (p *Parser) keyword() bool {
	p.take(len(p.rest)-len(strings.TrimLeft(p.rest, space)), asFraming)
	if p.rest == "" {
		return false
	}
	c := &p.call
	s := python{text: p.rest}
	n, key, value, v := s.argument(c.fields > 0)
	switch {
	case v == undecided && !p.ended:
		p.retry = len(p.rest) + 1 + len(p.rest)/8
		return false
	case v == matched && key != "":
		p.take(n, asArguments)
		sep := ""
		if c.fields > 0 {
			sep = ", "
		}
		c.fields++
		p.arguments(sep + quote(key) + ": " + value)
		return true
	case v == matched:
		p.take(n, asFraming)
	case v == undecided:
		// Cut off inside an argument: what is there stays visible as text.
		c.key, c.text = "", isText
		if i := strings.IndexByte(p.rest, '='); i >= 0 {
			c.key = strings.Trim(p.rest[:i], ", \n\t")
			p.take(i+1, asFraming)
		}
		p.field(p.take(len(p.rest), asArguments), true)
		return false
	}
	p.arguments("}")
	p.finish()
	return true
}
