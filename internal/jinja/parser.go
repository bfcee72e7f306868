package jinja

import (
	"fmt"
	"slices"
	"strings"
)

// maxNesting bounds how deep expressions and statements nest in a template's text.
const maxNesting = 150

type parser struct {
	tokens []token
	at     int
	depth  int
	// macros are those around the current place.
	macros []*macroStmt
	// inFor counts all loops around the current place, loops those that a break could leave, soft the if branches since the last scope began.
	inFor, loops, soft int
	blocks             map[string]bool
}

func parse(tokens []token) []stmt {
	p := &parser{tokens: tokens, blocks: map[string]bool{}}
	body := p.body(nil)
	return body
}

func (p *parser) fail(format string, args ...any) {
	panic(&Error{Kind: SyntaxError, Message: fmt.Sprintf(format, args...), Line: p.cur().line})
}

func (p *parser) cur() *token { return &p.tokens[p.at] }

func (p *parser) peek() *token { return &p.tokens[min(p.at+1, len(p.tokens)-1)] }

func (p *parser) next() *token {
	t := p.cur()
	if p.at < len(p.tokens)-1 {
		p.at++
	}
	return t
}

func (p *parser) is(k kind) bool { return p.cur().kind == k }

func (t *token) isName(ids ...string) bool {
	return t.kind == kindName && slices.Contains(ids, t.text)
}

func (p *parser) skip(k kind) bool {
	if p.is(k) {
		p.next()
		return true
	}
	return false
}

func (p *parser) skipName(id string) bool {
	if p.cur().isName(id) {
		p.next()
		return true
	}
	return false
}

func (p *parser) expect(k kind) *token {
	if !p.is(k) {
		p.fail("expected token %q, got %q", string(k), p.cur().String())
	}
	return p.next()
}

func (p *parser) expectName(id string) {
	if !p.skipName(id) {
		p.fail("expected token %q, got %q", id, p.cur().String())
	}
}

// enter counts a level of nesting; the function that it returns leaves it.
func (p *parser) enter() func() {
	if p.depth++; p.depth > maxNesting {
		p.fail("the template nests deeper than %d levels", maxNesting)
	}
	return func() { p.depth-- }
}

// body parses up to a tag with one of the names, which it leaves as the current token, or to the end of the template.
func (p *parser) body(ends []string) []stmt {
	defer p.enter()()
	var body []stmt
	var out *output
	add := func(e expr) {
		if out == nil {
			out = &output{line: p.cur().line}
			body = append(body, out)
		}
		out.items = append(out.items, e)
	}
	for !p.is(kindEOF) {
		switch t := p.cur(); t.kind {
		case kindData:
			p.next()
			add(&constant{t.value})
		case kindVarBegin:
			p.next()
			add(p.tuple(tupleOptions{conditional: true}))
			p.expect(kindVarEnd)
		case kindTagBegin:
			out = nil
			p.next()
			if p.cur().isName(ends...) {
				return body
			}
			if s := p.statement(); s != nil {
				body = append(body, s)
			}
			p.expect(kindTagEnd)
		default:
			p.fail("unexpected %q", t.String())
		}
	}
	if ends != nil {
		p.fail("Unexpected end of template. Jinja was looking for the following tags: '%s'.", strings.Join(ends, "' or '"))
	}
	return body
}

// block parses the rest of a tag, and statements up to one of the names.
func (p *parser) block(ends ...string) []stmt {
	p.skip(":")
	p.expect(kindTagEnd)
	return p.body(ends)
}

// scoped parses statements that are a scope of their own.
func (p *parser) scoped(parse func()) {
	soft := p.soft
	p.soft = 0
	parse()
	p.soft = soft
}

func (p *parser) blockTo(end string) (body []stmt) {
	p.scoped(func() { body = p.block(end) })
	p.next()
	return body
}

func (p *parser) statement() stmt {
	t := p.cur()
	if t.kind != kindName {
		p.fail("tag name expected")
	}
	line := t.line
	switch t.text {
	case "if":
		p.next()
		return p.ifStatement()
	case "for":
		p.next()
		return p.forStatement(line)
	case "set":
		p.next()
		return p.set()
	case "with":
		p.next()
		return p.with()
	case "macro":
		p.next()
		return p.macro()
	case "call":
		p.next()
		return p.callBlock()
	case "filter":
		p.next()
		f := p.filter(nil, true)
		return &filterBlock{f, p.blockTo("endfilter")}
	case "print":
		p.next()
		return p.print(line)
	case "block":
		p.next()
		return p.blockStatement()
	case "autoescape":
		p.next()
		escape := p.expression(true)
		return &scopeStmt{body: p.blockTo("endautoescape"), escape: escape}
	case "generation":
		p.next()
		return &scopeStmt{body: p.isolated("endgeneration")}
	case "break", "continue":
		p.next()
		if p.loops == 0 {
			p.fail("'%s' outside of a loop", t.text)
		}
		if t.text == "break" {
			return &breakStmt{}
		}
		return &continueStmt{}
	case "include", "import", "from", "extends":
		return p.load()
	}
	p.fail("Encountered unknown tag '%s'.", t.text)
	return nil
}

// isolated parses a body that a function of its own runs, which no break leaves.
func (p *parser) isolated(end string) []stmt {
	loops := p.loops
	p.loops = 0
	body := p.blockTo(end)
	p.loops = loops
	return body
}

func (p *parser) ifStatement() stmt {
	s := &ifStmt{}
	for {
		p.soft++ // the condition too: a filter unknown there fails only when it is reached
		s.tests = append(s.tests, p.tuple(tupleOptions{}))
		s.bodies = append(s.bodies, p.block("elif", "else", "endif"))
		p.soft--
		t := p.next()
		if t.text == "elif" {
			continue
		}
		if t.text == "else" {
			p.soft++
			s.other = p.block("endif")
			p.soft--
			p.next()
		}
		return s
	}
}

func (p *parser) forStatement(line int) stmt {
	s := &forStmt{line: line}
	p.inFor++
	defer func() { p.inFor-- }()
	s.target = p.target(tupleOptions{simple: true, end: "in"})
	p.expectName("in")
	s.iter = p.tuple(tupleOptions{end: "recursive"})
	if p.skipName("if") {
		s.test = p.expression(true)
	}
	s.recursive = p.skipName("recursive")
	p.scoped(func() {
		p.loops++
		s.body = p.block("endfor", "else")
		p.loops--
	})
	if p.next().text == "else" {
		s.other = p.blockTo("endfor")
	}
	return s
}

func (p *parser) set() stmt {
	target := p.target(tupleOptions{simple: true, namespace: true})
	if p.skip("=") {
		return &setStmt{target, p.tuple(tupleOptions{conditional: true})}
	}
	s := &setBlock{target: target}
	if p.is("|") {
		s.filter = p.filter(nil, false)
	}
	s.body = p.blockTo("endset")
	return s
}

func (p *parser) with() stmt {
	s := &withStmt{}
	for !p.is(kindTagEnd) {
		if len(s.targets) > 0 {
			p.expect(",")
		}
		s.targets = append(s.targets, p.target(tupleOptions{simple: true}))
		p.expect("=")
		s.values = append(s.values, p.expression(true))
	}
	s.body = p.blockTo("endwith")
	return s
}

func (p *parser) signature(m *macroStmt) {
	p.expect("(")
	for !p.is(")") {
		if len(m.params) > 0 {
			p.expect(",")
		}
		id := p.storeName()
		if slices.Contains(m.params, id) {
			p.fail("duplicate argument '%s'", id)
		}
		if p.skip("=") {
			m.defaults = append(m.defaults, p.expression(true))
		} else if len(m.defaults) > 0 {
			p.fail("non-default argument follows default argument")
		}
		m.params = append(m.params, id)
	}
	p.expect(")")
}

func (p *parser) macroBody(m *macroStmt, end string) {
	p.macros = append(p.macros, m)
	m.body = p.isolated(end)
	p.macros = p.macros[:len(p.macros)-1]
}

func (p *parser) macro() stmt {
	m := &macroStmt{id: p.storeName(), uses: map[string]bool{}}
	p.signature(m)
	p.macroBody(m, "endmacro")
	return m
}

func (p *parser) callBlock() stmt {
	m := &macroStmt{id: "caller", uses: map[string]bool{}}
	if p.is("(") {
		p.signature(m)
	}
	c, ok := p.expression(true).(*call)
	if !ok {
		p.fail("expected call")
	}
	p.macroBody(m, "endcall")
	return &callBlock{m, c}
}

func (p *parser) print(line int) stmt {
	s := &output{line: line}
	for !p.is(kindTagEnd) {
		if len(s.items) > 0 {
			p.expect(",")
		}
		s.items = append(s.items, p.expression(true))
	}
	return s
}

func (p *parser) blockStatement() stmt {
	id := p.expect(kindName).text
	if p.blocks[id] {
		p.fail("block '%s' defined twice", id)
	}
	p.blocks[id] = true
	p.skipName("scoped")
	p.skipName("required")
	body := p.isolated("endblock")
	p.skipName(id)
	return &scopeStmt{body: body}
}

func (p *parser) load() stmt {
	which := p.next().text
	s := &loadStmt{p.expression(true)}
	for !p.is(kindTagEnd) {
		if which == "extends" || (!p.is(kindName) && !p.is(",")) {
			p.fail("expected token %q, got %q", string(kindTagEnd), p.cur().String())
		}
		p.next()
	}
	return s
}

func (p *parser) storeName() string {
	id := p.expect(kindName).text
	if reserved[id] {
		p.fail("can't assign to '%s'", id)
	}
	return id
}

var reserved = map[string]bool{"true": true, "false": true, "none": true, "True": true, "False": true, "None": true}

func (p *parser) target(o tupleOptions) expr {
	t := p.tuple(o)
	p.checkTarget(t)
	return t
}

func (p *parser) checkTarget(t expr) {
	switch t := t.(type) {
	case *name:
		if t.id == "loop" && p.inFor > 0 {
			p.fail("Can't assign to special loop variable in for-loop target")
		}
		return
	case *namespaceRef:
		return
	case *tupleExpr:
		for _, item := range t.items {
			p.checkTarget(item)
		}
		return
	}
	p.fail("can't assign to that")
}

type tupleOptions struct {
	// conditional allows `a if b else c`, simple only names and literals, namespace the form ns.attr.
	conditional, simple, namespace, parentheses bool
	// end is a name that ends the tuple.
	end string
}

func (p *parser) tuple(o tupleOptions) expr {
	defer p.enter()()
	var items []expr
	isTuple := false
	for {
		if len(items) > 0 {
			p.expect(",")
		}
		if p.is(kindVarEnd) || p.is(kindTagEnd) || p.is(")") || (o.end != "" && p.cur().isName(o.end)) {
			break
		}
		if o.simple {
			items = append(items, p.primary(o.namespace))
		} else {
			items = append(items, p.expression(o.conditional))
		}
		if !p.is(",") {
			break
		}
		isTuple = true
	}
	if !isTuple {
		if len(items) > 0 {
			return items[0]
		}
		if !o.parentheses {
			p.fail("Expected an expression, got %q", p.cur().String())
		}
	}
	return &tupleExpr{items}
}

func (p *parser) expression(withConditional bool) expr {
	defer p.enter()()
	if !withConditional {
		return p.or()
	}
	soft := p.soft
	defer func() { p.soft = soft }()
	from := p.at
	e := p.or()
	for p.cur().isName("if") {
		if soft == 0 && p.soft == 0 {
			// What stands in front of this `if` is in a branch: names unknown there fail only when they are reached.
			p.soft++
			p.at = from
			e = p.or()
		}
		p.next()
		c := &conditional{then: e, test: p.or()}
		if p.skipName("else") {
			c.other = p.expression(true)
		}
		e = c
	}
	return e
}

func (p *parser) or() expr {
	left := p.and()
	for p.skipName("or") {
		left = &binary{"or", left, p.and()}
	}
	return left
}

func (p *parser) and() expr {
	left := p.not()
	for p.skipName("and") {
		left = &binary{"and", left, p.not()}
	}
	return left
}

func (p *parser) not() expr {
	if p.skipName("not") {
		defer p.enter()()
		return &unary{"not", p.not()}
	}
	return p.compare()
}

func (p *parser) compare() expr {
	first := p.sum()
	var c *compare
	add := func(op string) {
		if c == nil {
			c = &compare{first: first}
		}
		c.ops = append(c.ops, op)
		c.rest = append(c.rest, p.sum())
	}
	for {
		switch t := p.cur(); {
		case t.kind == "==" || t.kind == "!=" || t.kind == "<" || t.kind == ">" || t.kind == "<=" || t.kind == ">=":
			p.next()
			add(t.text)
		case t.isName("in"):
			p.next()
			add("in")
		case t.isName("not") && p.peek().isName("in"):
			p.next()
			p.next()
			add("not in")
		case c != nil:
			return c
		default:
			return first
		}
	}
}

func (p *parser) sum() expr {
	left := p.concat()
	for p.is("+") || p.is("-") {
		op := p.next().text
		left = &binary{op, left, p.concat()}
	}
	return left
}

func (p *parser) concat() expr {
	items := []expr{p.product()}
	for p.skip("~") {
		items = append(items, p.product())
	}
	if len(items) == 1 {
		return items[0]
	}
	return &concat{items}
}

func (p *parser) product() expr {
	left := p.power()
	for p.is("*") || p.is("/") || p.is("//") || p.is("%") {
		op := p.next().text
		left = &binary{op, left, p.power()}
	}
	return left
}

func (p *parser) power() expr {
	left := p.unary(true)
	for p.skip("**") {
		left = &binary{"**", left, p.unary(true)}
	}
	return left
}

func (p *parser) unary(withFilter bool) expr {
	defer p.enter()()
	var e expr
	if p.is("-") || p.is("+") {
		op := p.next().text
		e = &unary{op, p.unary(false)}
	} else {
		e = p.primary(false)
	}
	e = p.postfix(e)
	if withFilter {
		e = p.filters(e)
	}
	return e
}

func (p *parser) primary(withNamespace bool) expr {
	t := p.next()
	switch t.kind {
	case kindName:
		switch t.text {
		case "true", "True":
			return &constant{true}
		case "false", "False":
			return &constant{false}
		case "none", "None":
			return &constant{None}
		}
		if withNamespace && p.skip(".") {
			return &namespaceRef{t.text, p.expect(kindName).text}
		}
		switch t.text {
		case "varargs", "kwargs", "caller":
			for _, m := range p.macros {
				m.uses[t.text] = true
			}
		}
		return &name{t.text}
	case kindString:
		text := t.value.(*Str).s
		for p.is(kindString) {
			text += p.next().value.(*Str).s
		}
		return &constant{newStr(text)}
	case kindInt, kindFloat:
		return &constant{t.value}
	case "(":
		e := p.tuple(tupleOptions{conditional: true, parentheses: true})
		p.expect(")")
		return e
	case "[":
		return p.list()
	case "{":
		return p.dict()
	case kindData, kindVarBegin, kindVarEnd, kindTagBegin, kindTagEnd, kindEOF: // none begins an expression
	}
	p.at = max(p.at-1, 0)
	p.fail("unexpected '%s'", t.String())
	return nil
}

func (p *parser) list() expr {
	l := &listExpr{}
	p.items("]", func() { l.items = append(l.items, p.expression(true)) })
	return l
}

// items reads items up to the closing token, with commas between them and perhaps one at the end.
func (p *parser) items(closing kind, read func()) {
	for first := true; !p.is(closing); first = false {
		if !first {
			p.expect(",")
			if p.is(closing) {
				break
			}
		}
		read()
	}
	p.expect(closing)
}

func (p *parser) dict() expr {
	d := &dictExpr{}
	p.items("}", func() {
		d.keys = append(d.keys, p.expression(true))
		p.expect(":")
		d.values = append(d.values, p.expression(true))
	})
	return d
}

// maxChain bounds how many postfixes, filters and calls follow one another.
const maxChain = 1000

func (p *parser) postfix(e expr) expr {
	for range maxChain {
		switch {
		case p.is("."), p.is("["):
			e = p.subscript(e)
		case p.is("("):
			e = &call{e, p.arguments(), p.cur().line}
		default:
			return e
		}
	}
	p.fail("the expression has more than %d parts", maxChain)
	return nil
}

func (p *parser) filters(e expr) expr {
	for range maxChain {
		switch {
		case p.is("|"):
			e = p.filter(e, false)
		case p.cur().isName("is"):
			e = p.test(e)
		case p.is("("):
			e = &call{e, p.arguments(), p.cur().line}
		default:
			return e
		}
	}
	p.fail("the expression has more than %d parts", maxChain)
	return nil
}

func (p *parser) subscript(e expr) expr {
	if p.next().kind == "." {
		t := p.next()
		if t.kind == kindName {
			return &attribute{e, t.text}
		}
		if t.kind == kindInt {
			return &index{e, &constant{t.value}}
		}
		p.fail("expected name or number")
	}
	var args []expr
	for !p.is("]") {
		if len(args) > 0 {
			p.expect(",")
		}
		args = append(args, p.subscribed())
	}
	p.expect("]")
	if len(args) == 1 {
		return &index{e, args[0]}
	}
	return &index{e, &tupleExpr{args}}
}

func (p *parser) subscribed() expr {
	s := &sliceExpr{}
	if !p.is(":") {
		e := p.expression(true)
		if !p.is(":") {
			return e
		}
		s.from = e
	}
	p.expect(":")
	if !p.is(":") && !p.is("]") && !p.is(",") {
		s.to = p.expression(true)
	}
	if p.skip(":") && !p.is("]") && !p.is(",") {
		s.step = p.expression(true)
	}
	return s
}

func (p *parser) arguments() (a arguments) {
	p.expect("(")
	ensure := func(ok bool) {
		if !ok {
			p.fail("invalid syntax for function call expression")
		}
	}
	p.items(")", func() {
		switch {
		case p.skip("*"):
			ensure(a.star == nil && a.starstar == nil)
			a.star = p.expression(true)
		case p.skip("**"):
			ensure(a.starstar == nil)
			a.starstar = p.expression(true)
		case p.is(kindName) && p.peek().kind == "=":
			ensure(a.starstar == nil)
			a.names = append(a.names, p.next().text)
			p.next()
			a.named = append(a.named, p.expression(true))
		default:
			ensure(a.star == nil && a.starstar == nil && len(a.named) == 0)
			a.args = append(a.args, p.expression(true))
		}
	})
	return a
}

func (p *parser) dotted() string {
	id := p.expect(kindName).text
	for p.skip(".") {
		id += "." + p.expect(kindName).text
	}
	return id
}

// filter parses filters up to the first token that belongs to none; inline says that the first bar is missing.
func (p *parser) filter(e expr, inline bool) *filterExpr {
	var f *filterExpr
	for n := 0; inline || p.is("|"); n++ {
		if !inline {
			p.next()
		}
		inline = false
		f = &filterExpr{x: e, id: p.dotted()}
		if filters[f.id] == nil && p.soft == 0 {
			p.fail("No filter named '%s'.", f.id)
		}
		if p.is("(") {
			f.arguments = p.arguments()
		}
		if n > maxChain {
			p.fail("the expression has more than %d filters", maxChain)
		}
		e = f
	}
	if f == nil {
		p.fail("expected a filter")
	}
	return f
}

func (p *parser) test(e expr) expr {
	p.next()
	negated := p.skipName("not")
	t := &testExpr{x: e, id: p.dotted()}
	if tests[t.id] == nil && p.soft == 0 {
		p.fail("No test named '%s'.", t.id)
	}
	switch c := p.cur(); {
	case c.kind == "(":
		t.arguments = p.arguments()
	case c.kind == kindName && !c.isName("else", "or", "and"), c.kind == kindString, c.kind == kindInt, c.kind == kindFloat,
		c.kind == "[", c.kind == "{":
		if c.isName("is") {
			p.fail("You cannot chain multiple tests with is")
		}
		t.args = []expr{p.postfix(p.primary(false))}
	}
	if negated {
		return &unary{"not", t}
	}
	return t
}
