package jinja

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind is the kind of a token. Operators have the kind of their own spelling.
type kind string

const (
	kindData     kind = "data"
	kindVarBegin kind = "{{"
	kindVarEnd   kind = "end of print statement"
	kindTagBegin kind = "{%"
	kindTagEnd   kind = "end of statement block"
	kindName     kind = "name"
	kindString   kind = "string"
	kindInt      kind = "integer"
	kindFloat    kind = "float"
	kindEOF      kind = "end of template"
)

type token struct {
	kind kind
	text string
	// value is the constant of a string or number.
	value Value
	line  int
}

func (t token) String() string {
	if slices.Contains([]kind{kindName, kindString, kindInt, kindFloat}, t.kind) {
		return t.text
	}
	return string(t.kind)
}

// lexer cuts a template into tokens, with trim_blocks and lstrip_blocks as Hugging Face sets them.
type lexer struct {
	src    string
	at     int
	line   int
	tokens []token
	// lineStart says that the last thing read ended with a newline, or was nothing.
	lineStart bool
}

var (
	beginRe   = regexp.MustCompile(`\{%[-+]?|\{\{[-+]?|\{#[-+]?`)
	rawRe     = regexp.MustCompile(`^\{%[-+]?\s*raw\s*(?:-%\}\s*|%\})`)
	endRawRe  = regexp.MustCompile(`\{%([-+]?)\s*endraw\s*(?:\+%\}|-%\}\s*|%\}\n?)`)
	commentRe = regexp.MustCompile(`\+#\}|-#\}\s*|#\}\n?`)
	tagEndRe  = regexp.MustCompile(`^(?:\+%\}|-%\}\s*|%\}\n?)`)
	varEndRe  = regexp.MustCompile(`^(?:-\}\}\s*|\}\})`)
	floatRe   = regexp.MustCompile(`^(?i)(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?e[+\-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)`)
	intRe     = regexp.MustCompile(`^(?i)(?:0b(?:_?[0-1])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*)`)
	stringRe  = regexp.MustCompile(`^(?s)(?:'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*")`)
	operators = []string{"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";"}
	newlines  = strings.NewReplacer("\r\n", "\n", "\r", "\n")
)

func lex(source string) []token {
	src := newlines.Replace(source)
	src = strings.TrimSuffix(src, "\n")
	l := &lexer{src: src, line: 1, lineStart: true}
	for l.at < len(l.src) {
		l.root()
	}
	l.add(kindEOF, "", nil)
	return l.tokens
}

func (l *lexer) add(k kind, text string, v Value) {
	l.tokens = append(l.tokens, token{k, text, v, l.line})
}

func (l *lexer) fail(format string, args ...any) {
	panic(&Error{Kind: SyntaxError, Message: fmt.Sprintf(format, args...), Line: l.line})
}

// skip moves to the place to in the source.
func (l *lexer) skip(to int) {
	text := l.src[l.at:to]
	l.line += strings.Count(text, "\n")
	l.lineStart = strings.HasSuffix(text, "\n")
	l.at = to
}

// data adds the text up to the place to as data, stripped as the tag that follows wants it.
func (l *lexer) data(to int, sign string, isVariable bool) {
	text := l.src[l.at:to]
	switch {
	case sign == "-":
		text = strings.TrimRightFunc(text, isSpace)
	case sign != "+" && !isVariable:
		if from := strings.LastIndexByte(text, '\n') + 1; from > 0 || l.lineStart {
			if strings.TrimLeftFunc(text[from:], isSpace) == "" {
				text = text[:from]
			}
		}
	}
	if text != "" {
		l.add(kindData, text, newStr(text))
	}
	l.line += strings.Count(l.src[l.at:to], "\n")
	l.at = to
}

// root reads text up to the next tag, and that tag.
func (l *lexer) root() {
	m := beginRe.FindStringIndex(l.src[l.at:])
	if m == nil {
		l.add(kindData, l.src[l.at:], newStr(l.src[l.at:]))
		l.at = len(l.src)
		return
	}
	from, to := l.at+m[0], l.at+m[1]
	sign := l.src[from+2 : to]
	isVariable := l.src[from+1] == '{'
	l.data(from, sign, isVariable)
	if raw := rawRe.FindStringIndex(l.src[from:]); raw != nil {
		l.skip(from + raw[1])
		l.raw()
		return
	}
	l.skip(to)
	if l.at == len(l.src) && l.src[from+1] == '#' {
		return // jinja2 overlooks a comment that is nothing but its beginning
	}
	switch l.src[from+1] {
	case '#':
		end := commentRe.FindStringIndex(l.src[l.at:])
		if end == nil {
			l.fail("Missing end of comment tag")
		}
		l.skip(l.at + end[1])
	case '{':
		l.add(kindVarBegin, "{{", nil)
		l.code(varEndRe, kindVarEnd)
	default:
		l.add(kindTagBegin, "{%", nil)
		l.code(tagEndRe, kindTagEnd)
	}
}

func (l *lexer) raw() {
	if l.at == len(l.src) {
		return
	}
	m := endRawRe.FindStringSubmatchIndex(l.src[l.at:])
	if m == nil {
		l.fail("Missing end of raw directive")
	}
	end := l.at + m[1]
	sign := l.src[l.at+m[2] : l.at+m[3]]
	l.data(l.at+m[0], sign, false)
	l.skip(end)
}

var closers = map[string]string{"(": ")", "[": "]", "{": "}"}

// code reads what stands inside of a tag.
func (l *lexer) code(end *regexp.Regexp, endKind kind) {
	var open []string
	for l.at < len(l.src) {
		rest := l.src[l.at:]
		if len(open) == 0 {
			if m := end.FindString(rest); m != "" {
				l.add(endKind, m, nil)
				l.skip(l.at + len(m))
				return
			}
		}
		if r, n := utf8.DecodeRuneInString(rest); isSpace(r) {
			l.skip(l.at + n)
			continue
		}
		if l.literal(rest) {
			continue
		}
		op := ""
		for _, o := range operators {
			if strings.HasPrefix(rest, o) {
				op = o
				break
			}
		}
		switch op {
		case "":
			r, _ := utf8.DecodeRuneInString(rest)
			l.fail("unexpected char %q", r)
		case "(", "[", "{":
			open = append(open, closers[op])
		case ")", "]", "}":
			if len(open) == 0 {
				l.fail("unexpected '%s'", op)
			}
			if want := open[len(open)-1]; want != op {
				l.fail("unexpected '%s', expected '%s'", op, want)
			}
			open = open[:len(open)-1]
		}
		l.add(kind(op), op, nil)
		l.skip(l.at + len(op))
	}
}

// literal reads a number, name or string.
func (l *lexer) literal(rest string) bool {
	if m := floatRe.FindString(rest); m != "" && (l.at == 0 || l.src[l.at-1] != '.') {
		f, err := strconv.ParseFloat(strings.ReplaceAll(m, "_", ""), 64)
		if err != nil && !isRange(err) {
			l.fail("invalid number %s", m)
		}
		l.add(kindFloat, m, f)
		l.skip(l.at + len(m))
		return true
	}
	if m := intRe.FindString(rest); m != "" {
		n, ok := new(big.Int).SetString(strings.ReplaceAll(m, "_", ""), 0)
		if isZeros(m) {
			n, ok = new(big.Int), true
		}
		if !ok || n.BitLen() > maxBits {
			l.fail("invalid number %.40s", m)
		}
		l.add(kindInt, m, normInt(n))
		l.skip(l.at + len(m))
		return true
	}
	n := 0
	for n < len(rest) {
		r, size := utf8.DecodeRuneInString(rest[n:])
		if r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.Is(unicode.M, r) {
			break
		}
		n += size
	}
	if n > 0 {
		l.add(kindName, rest[:n], nil)
		l.skip(l.at + n)
		return true
	}
	if m := stringRe.FindString(rest); m != "" {
		l.add(kindString, m, newStr(l.unescape(m[1:len(m)-1])))
		l.skip(l.at + len(m))
		return true
	}
	return false
}

func isZeros(s string) bool { return strings.Trim(s, "0_") == "" }

func isRange(err error) bool {
	return errors.Is(err, strconv.ErrRange)
}

var simpleEscapes = map[byte]string{
	'n': "\n", 't': "\t", 'r': "\r", 'a': "\a", 'b': "\b", 'f': "\f", 'v': "\v", '\\': "\\", '\'': "'", '"': "\"", '\n': "",
}

var hexLengths = map[byte]int{'x': 2, 'u': 4, 'U': 8}

// unescape reads the escapes of a Python string literal; unknown ones stand for themselves.
func (l *lexer) unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if text, ok := simpleEscapes[s[i]]; ok {
			b.WriteString(text)
		} else if n := hexLengths[s[i]]; n > 0 {
			code, err := strconv.ParseUint(s[min(i+1, len(s)):min(i+1+n, len(s))], 16, 32)
			if err != nil || i+1+n > len(s) || code > unicode.MaxRune {
				l.fail("truncated or illegal \\%c escape", s[i])
			}
			b.WriteRune(rune(code))
			i += n
		} else if s[i] >= '0' && s[i] <= '7' {
			n := 1
			for n < 3 && i+n < len(s) && s[i+n] >= '0' && s[i+n] <= '7' {
				n++
			}
			code, _ := strconv.ParseUint(s[i:i+n], 8, 32)
			b.WriteRune(rune(code))
			i += n - 1
		} else {
			b.WriteByte('\\')
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
