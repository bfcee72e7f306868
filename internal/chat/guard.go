package chat

import (
	"aim/internal/jinja"
	"aim/llama"
)

// guard finds the special tokens in a rendered prompt that users spelled, alone or together with what a template put around
// their text. The renderer tells which bytes are theirs.
type guard struct {
	specials  trie
	spellings []string
	// longest is the length in bytes of the longest spelling.
	longest int
	// first are the bytes that spellings begin with.
	first [256]bool
}

func newGuard(specials []string) *guard {
	g := &guard{}
	for _, s := range specials {
		if s == "" {
			continue
		}
		g.spellings = append(g.spellings, s)
		g.longest = max(g.longest, len(s))
		g.first[s[0]] = true
	}
	g.specials = newTrie(g.spellings)
	return g
}

// span is a range of bytes, to excluded.
type span struct{ from, to int }

// split cuts a prompt into parts. All of it is trusted except the special spellings of which a byte came from outside.
func (g *guard) split(out *jinja.Str) []llama.Part {
	text := out.String()
	var parts []llama.Part
	from := 0
	for _, s := range g.untrusted(text, out.Foreign()) {
		if from < s.from {
			parts = append(parts, llama.Part{Text: text[from:s.from], Trusted: true})
		}
		parts = append(parts, llama.Part{Text: text[s.from:s.to]})
		from = s.to
	}
	if from < len(text) {
		parts = append(parts, llama.Part{Text: text[from:], Trusted: true})
	}
	return parts
}

// untrusted lists the special spellings in text that overlap one of the ascending foreign ranges. Those that overlap one
// another are one span.
func (g *guard) untrusted(text string, foreign []jinja.Span) []span {
	var found []span
	for i := 0; i < len(text) && len(foreign) > 0; i++ {
		for len(foreign) > 0 && foreign[0].To <= i {
			foreign = foreign[1:]
		}
		if len(foreign) == 0 {
			break
		}
		if far := foreign[0].From - g.longest + 1; i < far {
			i = far // no spelling that begins earlier reaches the range
		}
		if !g.first[text[i]] {
			continue
		}
		n := g.specials.longest(text[i:])
		if n == 0 || i+n <= foreign[0].From {
			continue
		}
		if last := len(found) - 1; last >= 0 && i < found[last].to {
			found[last].to = max(found[last].to, i+n)
		} else {
			found = append(found, span{i, i + n})
		}
	}
	return found
}

// spells reports whether text contains a special spelling.
func (g *guard) spells(text string) bool {
	for i := range len(text) {
		if g.first[text[i]] {
			if n := g.specials.longest(text[i:]); n > 0 {
				return true
			}
		}
	}
	return false
}
