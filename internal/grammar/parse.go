package grammar

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Bounds of a grammar's text. What is beyond them is an [Error].
const (
	// MaxText is the size of a grammar in bytes.
	MaxText = 1 << 19
	// MaxRules is the number of rules.
	MaxRules = 1 << 14
	// MaxNesting is how deep parentheses nest.
	MaxNesting = 128
	// MaxRepeat is the largest number in {m,n}.
	MaxRepeat = 100_000
	// maxNodes is the size of the compiled network.
	maxNodes = 1 << 18
	// unbounded is the upper bound of a repetition that has none.
	unbounded = -1
)

// Error says why a text is no grammar, and where. Line and Column count from 1, columns in code points.
type Error struct {
	Line, Column int
	Message      string
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("grammar: line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// form is the kind of an expression.
type form uint8

const (
	formSet    form = iota // one code point
	formSeq                // parts, one after the other
	formAlt                // one of parts
	formRepeat             // parts[0], min to max times
	formRef                // the rule with a number
)

// expr is a piece of a rule.
type expr struct {
	form     form
	set      *set
	parts    []*expr
	min, max int32
	rule     int32
	at       int // where it begins in the text
	nullable bool
}

// rule is a named expression.
type rule struct {
	name string
	body *expr // nil until it is defined
	at   int   // where it was first mentioned
}

// Parse reads a grammar in llama.cpp's GBNF, or returns an [*Error]. It understands
//
//	rule ::= "literal" [class] [^class] . other-rule ( group | of | alternatives ) # comment
//	item* item+ item? item{m} item{m,} item{m,n}
//
// with the escapes \n \r \t \\ \" \[ \] \xHH \uXXXX and \UXXXXXXXX in literals and classes. A rule ends with its line, but for
// breaks inside parentheses, after | and after ::=. Of two definitions of a name the last one holds. The first rule to match is root.
//
// Unlike llama.cpp it refuses classes without members, ranges and repetitions whose end is before their start, and references to
// tokens by number (<[7]>); it takes {m,n} up to [MaxRepeat], and sees left recursion through everything that can be empty.
func Parse(gbnf string) (*Grammar, error) {
	p := &parser{text: gbnf, names: map[string]int32{}, chars: map[rune]*expr{}}
	switch {
	case len(gbnf) > MaxText:
		return nil, p.errorAt(0, "a grammar has at most %d bytes, got %d", MaxText, len(gbnf))
	case !utf8.ValidString(gbnf):
		return nil, p.errorAt(0, "not UTF-8")
	}
	if err := p.grammar(); err != nil {
		return nil, err
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	return compile(p)
}

// parser reads a text by recursive descent.
type parser struct {
	text  string
	pos   int
	depth int
	names map[string]int32
	rules []rule
	chars map[rune]*expr // one expression for each character of literals
	size  int            // expressions so far
}

func (p *parser) errorAt(at int, format string, args ...any) *Error {
	before := p.text[:min(at, len(p.text))]
	line := strings.Count(before, "\n")
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	return &Error{line + 1, column + 1, fmt.Sprintf(format, args...)}
}

// expected is the error of a text that has something else at the present position.
func (p *parser) expected(what string) error {
	if p.pos >= len(p.text) {
		return p.errorAt(p.pos, "expected %s, found the end", what)
	}
	r, _ := utf8.DecodeRuneInString(p.text[p.pos:])
	return p.errorAt(p.pos, "expected %s, found %q", what, r)
}

// peek is the next byte, 0 at the end. (A NUL in the text fits nowhere, either.)
func (p *parser) peek() byte {
	if p.pos < len(p.text) {
		return p.text[p.pos]
	}
	return 0
}

// space skips blanks and comments, and line breaks where they mean nothing.
func (p *parser) space(breaks bool) {
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; {
		case c == ' ' || c == '\t' || breaks && (c == '\r' || c == '\n'):
			p.pos++
		case c == '#':
			n := strings.IndexAny(p.text[p.pos:], "\r\n")
			if n < 0 {
				n = len(p.text) - p.pos
			}
			p.pos += n
		default:
			return
		}
	}
}

func isWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c) || c == '-'
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func (p *parser) grammar() error {
	p.space(true)
	for p.pos < len(p.text) {
		if err := p.rule(); err != nil {
			return err
		}
	}
	return nil
}

// rule reads name ::= alternatives, to the start of the next rule.
func (p *parser) rule() error {
	id, err := p.name()
	if err != nil {
		return err
	}
	p.space(false)
	if !strings.HasPrefix(p.text[p.pos:], "::=") {
		return p.expected("::=")
	}
	p.pos += len("::=")
	p.space(true)
	body, err := p.alternatives(false)
	if err != nil {
		return err
	}
	p.rules[id].body = body
	if c := p.peek(); p.pos < len(p.text) && c != '\r' && c != '\n' {
		return p.expected("an item or the end of the line")
	}
	p.space(true)
	return nil
}

// name reads a rule's name and returns its number.
func (p *parser) name() (int32, error) {
	start := p.pos
	for isWord(p.peek()) {
		p.pos++
	}
	if p.pos == start {
		return 0, p.expected("a rule's name (letters, digits, -)")
	}
	name := p.text[start:p.pos]
	id, ok := p.names[name]
	if !ok {
		if len(p.rules) == MaxRules {
			return 0, p.errorAt(start, "a grammar has at most %d rules", MaxRules)
		}
		id = int32(len(p.rules))
		p.names[name] = id
		p.rules = append(p.rules, rule{name: name, at: start})
	}
	return id, nil
}

func (p *parser) alternatives(nested bool) (*expr, error) {
	e := &expr{form: formAlt, at: p.pos}
	for {
		s, err := p.sequence(nested)
		if err != nil {
			return nil, err
		}
		e.parts = append(e.parts, s)
		if p.peek() != '|' {
			break
		}
		p.pos++
		p.space(true)
	}
	if len(e.parts) == 1 {
		return e.parts[0], nil
	}
	return e, nil
}

func (p *parser) sequence(nested bool) (*expr, error) {
	e := &expr{form: formSeq, at: p.pos}
	for {
		if p.size++; p.size > maxNodes {
			return nil, p.errorAt(p.pos, "the grammar is too large: it has more than %d items", maxNodes)
		}
		item, err := p.item()
		if err != nil {
			return nil, err
		}
		if item == nil {
			return e, nil
		}
		p.space(nested)
		if item, err = p.repeats(item, nested); err != nil {
			return nil, err
		}
		e.parts = append(e.parts, item)
	}
}

// item reads what a sequence is made of; nil where there is no more of it.
func (p *parser) item() (*expr, error) {
	switch c := p.peek(); {
	case c == '"':
		return p.literal()
	case c == '[':
		return p.class()
	case c == '.':
		p.pos++
		return &expr{form: formSet, set: newSet(nil, true), at: p.pos - 1}, nil
	case c == '(':
		return p.group()
	case isWord(c):
		at := p.pos
		id, err := p.name()
		return &expr{form: formRef, rule: id, at: at}, err
	case c == '<' || c == '!':
		return nil, p.errorAt(p.pos, "tokens cannot be named by number; write a literal with the text of the token")
	case c == '*' || c == '+' || c == '?' || c == '{':
		return nil, p.errorAt(p.pos, "nothing stands before %q that it could repeat", c)
	}
	return nil, nil
}

func (p *parser) group() (*expr, error) {
	if p.depth++; p.depth > MaxNesting {
		return nil, p.errorAt(p.pos, "parentheses nest at most %d deep", MaxNesting)
	}
	p.pos++
	p.space(true)
	e, err := p.alternatives(true)
	if err != nil {
		return nil, err
	}
	if p.peek() != ')' {
		return nil, p.expected("an item or )")
	}
	p.pos++
	p.depth--
	return e, nil
}

func (p *parser) literal() (*expr, error) {
	e := &expr{form: formSeq, at: p.pos}
	p.pos++
	for p.peek() != '"' {
		r, err := p.char()
		if err != nil {
			return nil, err
		}
		c := p.chars[r]
		if c == nil {
			c = &expr{form: formSet, set: newSet([]span{{r, r}}, false)}
			p.chars[r] = c
		}
		e.parts = append(e.parts, c)
	}
	p.pos++
	return e, nil
}

func (p *parser) class() (*expr, error) {
	e := &expr{form: formSet, at: p.pos}
	p.pos++
	negated := p.peek() == '^'
	if negated {
		p.pos++
	}
	var spans []span
	for p.peek() != ']' {
		s, err := p.span()
		if err != nil {
			return nil, err
		}
		spans = append(spans, s)
	}
	if len(spans) == 0 {
		return nil, p.errorAt(e.at, "a class without members")
	}
	p.pos++
	e.set = newSet(spans, negated)
	return e, nil
}

// span reads a member of a class, a or a-z.
func (p *parser) span() (span, error) {
	at := p.pos
	lo, err := p.char()
	if err != nil {
		return span{}, err
	}
	if p.peek() != '-' || strings.HasPrefix(p.text[p.pos:], "-]") {
		return span{lo, lo}, nil
	}
	p.pos++
	hi, err := p.char()
	if err != nil {
		return span{}, err
	}
	if hi < lo {
		return span{}, p.errorAt(at, "a range ends before it starts: %q to %q", lo, hi)
	}
	return span{lo, hi}, nil
}

// char reads a code point of a literal or a class.
func (p *parser) char() (rune, error) {
	if p.pos >= len(p.text) {
		return 0, p.expected("a character")
	}
	r, n := utf8.DecodeRuneInString(p.text[p.pos:])
	p.pos += n
	if r != '\\' {
		return r, nil
	}
	c := p.peek()
	p.pos++
	switch c {
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case '\\', '"', '[', ']':
		return rune(c), nil
	case 'x':
		return p.hex(2)
	case 'u':
		return p.hex(4)
	case 'U':
		return p.hex(8)
	}
	p.pos--
	return 0, p.expected(`an escape after \ (n, r, t, \, ", [, ], x, u, U)`)
}

func (p *parser) hex(digits int) (rune, error) {
	at, r := p.pos, uint32(0)
	for range digits {
		c := p.peek()
		switch {
		case isDigit(c):
			r = r<<4 + uint32(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 + uint32(c|0x20-'a') + 10
		default:
			return 0, p.expected(fmt.Sprintf("%d hexadecimal digits", digits))
		}
		p.pos++
	}
	if r > utf8.MaxRune {
		return 0, p.errorAt(at, "U+%X is beyond the last code point, U+10FFFF", r)
	}
	return rune(r), nil
}

// repeats reads the repetitions after an item.
func (p *parser) repeats(e *expr, nested bool) (*expr, error) {
	for n := 0; ; n++ {
		at := p.pos
		least, most := int32(0), int32(unbounded)
		switch p.peek() {
		case '*':
			p.pos++
		case '+':
			p.pos++
			least = 1
		case '?':
			p.pos++
			most = 1
		case '{':
			var err error
			if least, most, err = p.bounds(nested); err != nil {
				return nil, err
			}
		default:
			return e, nil
		}
		if n == MaxNesting {
			return nil, p.errorAt(at, "at most %d repetitions of repetitions", MaxNesting)
		}
		p.space(nested)
		e = &expr{form: formRepeat, parts: []*expr{e}, min: least, max: most, at: e.at}
	}
}

// bounds reads {m}, {m,} or {m,n}.
func (p *parser) bounds(nested bool) (least, most int32, err error) {
	at := p.pos
	p.pos++
	p.space(nested)
	if least, err = p.number(); err != nil {
		return 0, 0, err
	}
	p.space(nested)
	most = least
	if p.peek() == ',' {
		p.pos++
		p.space(nested)
		most = unbounded
		if p.peek() != '}' {
			if most, err = p.number(); err != nil {
				return 0, 0, err
			}
			p.space(nested)
		}
	}
	if p.peek() != '}' {
		return 0, 0, p.expected(", or }")
	}
	p.pos++
	if most != unbounded && most < least {
		return 0, 0, p.errorAt(at, "a repetition of at least %d and at most %d", least, most)
	}
	return least, most, nil
}

func (p *parser) number() (int32, error) {
	at, n := p.pos, int32(0)
	for ; isDigit(p.peek()); p.pos++ {
		if n = n*10 + int32(p.peek()-'0'); n > MaxRepeat {
			return 0, p.errorAt(at, "a repetition counts to at most %d", MaxRepeat)
		}
	}
	if p.pos == at {
		return 0, p.expected("a number")
	}
	return n, nil
}
