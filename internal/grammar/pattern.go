package grammar

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// maxPattern is the length of a rewritten pattern in bytes.
const maxPattern = 1 << 10

// anyPrintable is the class of the printable ones, as GBNF has it.
const anyPrintable = `[^"\\\x00-\x1F\x7F]`

// printable is the code points that stand in a JSON string for themselves, as ranges.
var printable = []rune{' ', '!', '#', '[', ']', '~', 0x80, 0xD7FF, 0xE000, utf8.MaxRune}

// rewritePattern turns a regular expression into one that matches (a part of) the same texts as they are spelled in JSON, in the
// few forms that llama.cpp's converter gets right: classes, groups, alternatives, repetitions, anchors at both ends. The
// converter copies classes as they are, so they are written as GBNF has them. It would let a dot or a negated class match the
// quote that ends the string, and repeat everything before an escaped character.
//
// A pattern without anchors may match anywhere in the text, so other text is let in before and after it.
func rewritePattern(pattern string) (string, error) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return "", err
	}
	p := &patternPrinter{}
	p.print(re, true, true)
	if p.err == nil && p.b.Len() > maxPattern {
		p.err = fmt.Errorf("it is too large: %d bytes when written out, at most %d", p.b.Len(), maxPattern)
	}
	return "^" + p.b.String() + "$", p.err
}

type patternPrinter struct {
	b     strings.Builder
	depth int
	err   error
}

// print writes re; before and after tell that text may be let in there.
func (p *patternPrinter) print(re *syntax.Regexp, before, after bool) {
	if p.depth++; p.depth > MaxSchemaDepth {
		p.err = fmt.Errorf("it nests more than %d deep", MaxSchemaDepth)
	}
	defer func() { p.depth-- }()
	if p.err != nil || p.b.Len() > maxPattern {
		return
	}
	switch re.Op {
	case syntax.OpConcat:
		p.concat(re.Sub, before, after)
		return
	case syntax.OpAlternate:
		p.b.WriteByte('(')
		for i, sub := range re.Sub {
			if i > 0 {
				p.b.WriteByte('|')
			}
			p.print(sub, before, after)
		}
		p.b.WriteByte(')')
		return
	case syntax.OpCapture:
		p.b.WriteByte('(')
		p.print(re.Sub[0], before, after)
		p.b.WriteByte(')')
		return
	case syntax.OpBeginText, syntax.OpEndText:
		if re.Op == syntax.OpBeginText && before || re.Op == syntax.OpEndText && after {
			p.concat([]*syntax.Regexp{re}, before, after)
			return
		}
	default:
	}
	p.free(before)
	p.plain(re)
	p.free(after)
}

// free writes any text, where there may be some.
func (p *patternPrinter) free(here bool) {
	if here {
		p.b.WriteString(anyPrintable)
		p.b.WriteByte('*')
	}
}

// concat writes a sequence, with anchors at its ends only.
func (p *patternPrinter) concat(parts []*syntax.Regexp, before, after bool) {
	for len(parts) > 0 && parts[0].Op == syntax.OpBeginText && before {
		parts, before = parts[1:], false
	}
	for len(parts) > 0 && parts[len(parts)-1].Op == syntax.OpEndText && after {
		parts, after = parts[:len(parts)-1], false
	}
	if len(parts) == 0 {
		p.free(before || after)
		return
	}
	for i, part := range parts {
		p.print(part, before && i == 0, after && i == len(parts)-1)
	}
}

// plain writes what is no sequence.
func (p *patternPrinter) plain(re *syntax.Regexp) {
	switch re.Op {
	case syntax.OpEmptyMatch:
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			p.err = errors.New("it ignores case, which is not supported")
			return
		}
		for _, r := range re.Rune {
			p.char(r)
		}
	case syntax.OpCharClass:
		p.members(re.Rune)
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		p.b.WriteString(anyPrintable)
	case syntax.OpStar:
		p.repeat(re.Sub[0], "*")
	case syntax.OpPlus:
		p.repeat(re.Sub[0], "+")
	case syntax.OpQuest:
		p.repeat(re.Sub[0], "?")
	case syntax.OpRepeat:
		switch {
		case re.Max < 0:
			p.repeat(re.Sub[0], fmt.Sprintf("{%d}", re.Min))
			p.repeat(re.Sub[0], "*")
		case re.Min == re.Max:
			p.repeat(re.Sub[0], fmt.Sprintf("{%d}", re.Min))
		default:
			p.repeat(re.Sub[0], fmt.Sprintf("{%d,%d}", re.Min, re.Max))
		}
	case syntax.OpBeginText, syntax.OpEndText:
		p.err = errors.New("an anchor stands elsewhere than at the ends")
	case syntax.OpNoMatch:
		p.err = errors.New("it matches nothing")
	default:
		p.err = fmt.Errorf("%s is not supported", re)
	}
}

func (p *patternPrinter) repeat(re *syntax.Regexp, times string) {
	p.b.WriteByte('(')
	p.print(re, false, false)
	p.b.WriteString(")" + times)
}

// members writes a class: what of it stands for itself in JSON or, if there is nothing, what is escaped.
func (p *patternPrinter) members(ranges []rune) {
	var kept []rune
	for i := 0; i < len(ranges); i += 2 {
		for j := 0; j < len(printable); j += 2 {
			if lo, hi := max(ranges[i], printable[j]), min(ranges[i+1], printable[j+1]); lo <= hi {
				kept = append(kept, lo, hi)
			}
		}
	}
	if len(kept) > 0 {
		p.class(kept)
		return
	}
	for i := 0; i < len(ranges); i += 2 {
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			if strings.ContainsRune("\"\\\n\r\t", r) {
				p.char(r)
				return
			}
		}
	}
	p.err = errors.New("a class has no member that JSON can spell")
}

// char writes a character as JSON spells it.
func (p *patternPrinter) char(r rune) {
	escaped, ok := map[rune]string{'"': `[\\]["]`, '\\': `[\\][\\]`, '\n': `[\\][n]`, '\r': `[\\][r]`, '\t': `[\\][t]`}[r]
	switch {
	case ok:
		p.b.WriteString("(" + escaped + ")")
	case r < ' ' || r == 0x7F || !utf8.ValidRune(r):
		p.err = fmt.Errorf("the character %U is not supported", r)
	case r < utf8.RuneSelf && r != '-' && isWord(byte(r)):
		p.b.WriteRune(r)
	default:
		p.class([]rune{r, r})
	}
}

// class writes ranges as GBNF has them.
func (p *patternPrinter) class(ranges []rune) {
	p.b.WriteByte('[')
	for i := 0; i < len(ranges); i += 2 {
		p.member(ranges[i])
		if ranges[i] != ranges[i+1] {
			p.b.WriteByte('-')
			p.member(ranges[i+1])
		}
	}
	p.b.WriteByte(']')
}

func (p *patternPrinter) member(r rune) {
	switch {
	case r < utf8.RuneSelf && r != '-' && isWord(byte(r)):
		p.b.WriteRune(r)
	case r < 0x100:
		fmt.Fprintf(&p.b, `\x%02X`, r)
	case r < 0x10000:
		fmt.Fprintf(&p.b, `\u%04X`, r)
	default:
		fmt.Fprintf(&p.b, `\U%08X`, r)
	}
}
