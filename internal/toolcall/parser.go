package toolcall

import (
	"slices"
	"strings"
)

// Bounds of what is held back until it is known whether it is a call, in bytes. A name stands early, so a marker with no
// name after it soon becomes content; an object may have its arguments first, which needs more.
const (
	maxHead   = 512
	maxObject = 16 << 10
)

// Parser reads one answer. It takes every byte of the text once, in order, as content, thought, argument or framing; what
// is not decided yet waits in rest.
type Parser struct {
	options Options
	newID   func() string
	tools   map[string]Tool
	// openers begin something anywhere, fresh ones only where no content stands before them.
	openers, fresh []opener

	// rest is text that is not taken yet.
	// waiting is text that came since and need not be looked at before rest is retry bytes long.
	rest    string
	waiting []byte
	ended   bool
	state   func(*Parser) bool
	out     []Delta

	// blank is white space that is dropped where a marker follows, and content or thought where text does.
	blank []byte
	// isFresh says that no content stands since the beginning, a thought or a call; begun, that anything was taken.
	isFresh, begun bool
	// retry is the length of rest at which an undecided head is looked at again.
	retry int

	thought *head
	calls   int
	call    call
	// trace observes what is taken, for tests.
	trace func(kind takenAs, text string)
}

// takenAs says what became of text.
type takenAs int

const (
	asContent takenAs = iota
	asReasoning
	asArguments
	asFraming
)

// NewParser begins an answer. newID gives an identifier for each call.
func NewParser(o Options, newID func() string) *Parser {
	p := &Parser{options: o, newID: newID, tools: map[string]Tool{}, isFresh: true, state: (*Parser).text}
	for _, t := range o.tools() {
		p.tools[t.Name] = t
	}
	p.know(thoughtOpeners(o.Format))
	for _, op := range callOpeners[o.Format] {
		// Without tools only framing is left of a family's markers.
		if len(p.tools) > 0 || op.heads[0].kind == frame {
			p.know([]opener{op})
		} else if i := slices.IndexFunc(op.heads, func(h *head) bool { return h.kind == frame }); i >= 0 {
			p.know([]opener{{mark: op.mark, heads: op.heads[i : i+1]}})
		}
	}
	if o.Open {
		p.beginThought(openThought(o.Format))
	}
	return p
}

func (p *Parser) know(openers []opener) {
	for _, o := range openers {
		list := &p.openers
		if o.fresh {
			list = &p.fresh
		}
		if i := slices.IndexFunc(*list, func(x opener) bool { return x.mark == o.mark }); i >= 0 {
			(*list)[i].heads = slices.Concat((*list)[i].heads, o.heads)
			continue
		}
		*list = append(*list, o)
	}
}

// Add takes text, which must not end inside a rune, and returns what the answer grows by.
func (p *Parser) Add(text string) []Delta {
	p.waiting = append(p.waiting, text...)
	return p.run()
}

// End says that there is no more text and returns what was held back.
func (p *Parser) End() []Delta {
	p.ended = true
	return p.run()
}

func (p *Parser) run() []Delta {
	if !p.ended && len(p.rest)+len(p.waiting) < p.retry {
		return nil
	}
	p.rest += string(p.waiting)
	p.waiting = p.waiting[:0]
	for p.state(p) {
	}
	if p.ended && p.thought != nil && p.options.Reasoning {
		p.drop()
	} else if p.ended {
		p.flush()
	}
	out := p.out
	p.out = nil
	return out
}

// take removes n bytes from the rest.
func (p *Parser) take(n int, as takenAs) string {
	text := p.rest[:n]
	p.rest = p.rest[n:]
	p.retry = 0
	if n > 0 {
		p.begun = true
		if p.trace != nil {
			p.trace(as, text)
		}
	}
	return text
}

func (p *Parser) content(text string) {
	if text == "" {
		return
	}
	if n := len(p.out); n > 0 && p.out[n-1].Content != "" {
		p.out[n-1].Content += text
		return
	}
	p.out = append(p.out, Delta{Content: text})
}

func (p *Parser) reasoning(text string) {
	if text == "" {
		return
	}
	if n := len(p.out); n > 0 && p.out[n-1].Reasoning != "" {
		p.out[n-1].Reasoning += text
		return
	}
	p.out = append(p.out, Delta{Reasoning: text})
}

func (p *Parser) arguments(text string) {
	if text == "" {
		return
	}
	if n := len(p.out); n > 0 && p.out[n-1].Call != nil && p.out[n-1].Call.Index == p.calls-1 {
		p.out[n-1].Call.Arguments += text
		return
	}
	p.out = append(p.out, Delta{Call: &CallDelta{Index: p.calls - 1, Arguments: text}})
}

const space = " \t\r\n"

// flush gives back white space that is content after all.
func (p *Parser) flush() {
	if len(p.blank) > 0 {
		blank := string(p.blank)
		p.blank = nil
		p.note(asContent, blank)
		p.content(blank)
	}
}

// drop forgets white space that a marker made framing.
func (p *Parser) drop() {
	p.note(asFraming, string(p.blank))
	p.blank = nil
}

func (p *Parser) note(as takenAs, text string) {
	if p.trace != nil && text != "" {
		p.trace(as, text)
	}
}

// pass gives n bytes as content, holding back the white space at their end.
func (p *Parser) pass(n int) {
	text := p.rest[:n]
	p.rest = p.rest[n:]
	p.retry = 0
	solid := len(strings.TrimRight(text, space))
	if solid > 0 {
		p.flush()
		p.note(asContent, text[:solid])
		p.content(text[:solid])
		p.isFresh, p.begun = false, true
	}
	p.blank = append(p.blank, text[solid:]...)
}

// text is the state outside of calls and thoughts.
func (p *Parser) text() bool {
	if p.isFresh {
		p.pass(len(p.rest) - len(strings.TrimLeft(p.rest, space)))
	}
	if p.rest == "" {
		return false
	}
	if p.isFresh {
		switch p.open(p.fresh) {
		case matched:
			return true
		case undecided:
			return false
		case refused:
		}
	}
	i, complete := p.find(p.openers)
	p.pass(i)
	if p.rest == "" {
		return false
	}
	if !complete {
		if p.ended {
			p.pass(len(p.rest))
		}
		return false
	}
	switch p.open(p.openers) {
	case matched:
		return true
	case undecided:
		return false
	case refused:
	}
	// Not a call after all: its first byte is content, and the text goes on behind it.
	p.pass(runeLength(p.rest))
	p.isFresh = false
	return true
}

// find is where the first marker begins in rest, or might begin if more text comes.
func (p *Parser) find(openers []opener) (at int, complete bool) {
	for i := 0; i < len(p.rest); i++ {
		for _, o := range openers {
			if strings.HasPrefix(p.rest[i:], o.mark) {
				return i, true
			}
			if strings.HasPrefix(o.mark, p.rest[i:]) {
				return i, false
			}
		}
	}
	return len(p.rest), false
}

type verdict int

const (
	refused verdict = iota
	undecided
	matched
)

// open tries the openers at the beginning of rest, the longest marker first, and enters the state after it.
func (p *Parser) open(openers []opener) verdict {
	var found []*opener
	for i := range openers {
		o := &openers[i]
		if len(p.rest) < len(o.mark) && strings.HasPrefix(o.mark, p.rest) && !p.ended {
			return undecided
		}
		if strings.HasPrefix(p.rest, o.mark) {
			found = append(found, o)
		}
	}
	slices.SortStableFunc(found, func(a, b *opener) int { return len(b.mark) - len(a.mark) })
	for _, o := range found {
		if v := p.enter(o); v != refused {
			return v
		}
	}
	return refused
}

func (p *Parser) enter(o *opener) verdict {
	start := len(o.mark)
	if o.bare {
		start = 0
	}
	for _, h := range o.heads {
		if o.mark == "" && !p.startsName() {
			return refused
		}
		v, m := p.match(h, start)
		switch {
		case v == matched:
			p.begin(h, m)
			return matched
		case v == undecided && !p.ended:
			// Looking again only after a quarter more keeps the work linear.
			p.retry = len(p.rest) + 1
			if len(p.rest) > maxHead {
				p.retry = len(p.rest) + len(p.rest)/4
			}
			return undecided
		}
	}
	return refused
}

// startsName says that rest begins with a tool's name and a new line, as far as it goes.
func (p *Parser) startsName() bool {
	for n := range p.tools {
		line := n + "\n"
		if strings.HasPrefix(p.rest, line) || strings.HasPrefix(line, p.rest) {
			return true
		}
	}
	return false
}

// begin takes the head that was matched.
func (p *Parser) begin(h *head, m match) {
	switch h.kind {
	case frame:
		p.drop()
		p.take(m.length, asFraming)
	case thought:
		p.beginThoughtAt(h, m.length)
	case object, prefixed:
		p.drop()
		p.beginCall(h, m)
	}
}

func (p *Parser) beginThoughtAt(h *head, n int) {
	if p.options.Reasoning {
		p.drop()
		p.take(n, asFraming)
	} else {
		p.flush()
		p.content(p.take(n, asContent))
	}
	p.beginThought(h)
}

func (p *Parser) beginThought(h *head) {
	p.thought = h
	p.begun = false
	p.state = (*Parser).thinking
}

// thinking is the state inside a thought.
func (p *Parser) thinking() bool {
	at, closer := len(p.rest), ""
search:
	for i := 0; i < len(p.rest); i++ {
		for _, c := range p.thought.closers {
			if strings.HasPrefix(p.rest[i:], c) {
				at, closer = i, c
				break search
			}
			if strings.HasPrefix(c, p.rest[i:]) && !p.ended {
				at = i
				break search
			}
		}
	}
	p.think(at)
	if closer == "" {
		return false
	}
	if p.options.Reasoning {
		p.drop()
		p.take(len(closer), asFraming)
	} else {
		p.content(p.take(len(closer), asContent))
	}
	p.isFresh = true
	p.state = (*Parser).after
	p.call = call{}
	return true
}

// think gives n bytes as thought, without the white space at both ends of it.
func (p *Parser) think(n int) {
	if !p.options.Reasoning {
		p.content(p.take(n, asContent))
		return
	}
	text := p.rest[:n]
	begun := p.begun
	solid := len(strings.TrimRight(text, space))
	p.rest = p.rest[n:]
	if solid > 0 {
		lead := 0
		if begun {
			p.note(asReasoning, string(p.blank))
			p.reasoning(string(p.blank))
		} else {
			p.note(asFraming, string(p.blank))
			lead = len(text) - len(strings.TrimLeft(text, space))
		}
		p.blank = nil
		p.note(asFraming, text[:lead])
		p.note(asReasoning, text[lead:solid])
		p.reasoning(text[lead:solid])
		p.begun = true
	}
	p.blank = append(p.blank, text[solid:]...)
}

// after is the state behind a thought or a call: white space and the call's closing markers are framing.
func (p *Parser) after() bool {
	n := len(p.rest) - len(strings.TrimLeft(p.rest, space))
	if p.thought != nil && !p.options.Reasoning {
		p.content(p.take(n, asContent))
	} else {
		p.take(n, asFraming)
	}
	if p.rest == "" {
		return false
	}
	if t := p.call.tail; t != nil {
		switch p.close(t) {
		case matched:
			return true
		case undecided:
			return false
		case refused:
		}
	}
	p.thought, p.call = nil, call{}
	p.isFresh = true
	p.state = (*Parser).text
	return true
}

// close takes what may follow a call.
func (p *Parser) close(t *tail) verdict {
	closers, again := t.closers, t.again
	if p.call.list {
		closers = slices.Concat(closers, listTail.closers)
		again = slices.Concat(again, []opener{{mark: ",", heads: []*head{{kind: object, tail: t}}}})
	}
	for _, c := range closers {
		if strings.HasPrefix(p.rest, c) {
			p.take(len(c), asFraming)
			return matched
		}
		if strings.HasPrefix(c, p.rest) && !p.ended {
			return undecided
		}
	}
	return p.open(again)
}

func runeLength(s string) int {
	for i := range s {
		if i > 0 {
			return i
		}
	}
	return len(s)
}
