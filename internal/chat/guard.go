package chat

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"aim/llama"
)

// sentinel marks places in user-supplied text on its way through a template. It is a Unicode noncharacter, which no text
// has a use for, and is taken out of user-supplied text first.
const sentinel = "\uFDD0"

// guard keeps user-supplied text from spelling special tokens, alone or together with what a template puts around it.
//
// disguise marks a text before it is rendered: behind the first rune of every special spelling, and at its edges where
// these could complete one with their neighbours. Marks are few, so that templates which look for something in a message
// still find it. split takes the marks out again; a special spelling that has one inside is not the template's own.
type guard struct {
	specials trie
	// backwards holds the same spellings, last byte first.
	backwards trie
	spellings []string
	// longest is the length in bytes of the longest spelling.
	longest int
	// deleted are the texts that the template deletes from strings, and could so join their surroundings.
	deleted []string
}

func newGuard(specials []string, source string) *guard {
	g := &guard{deleted: deletions(source)}
	var reversed []string
	for _, s := range specials {
		if s == "" {
			continue
		}
		g.spellings = append(g.spellings, s)
		g.longest = max(g.longest, len(s))
		reversed = append(reversed, reverse(s))
	}
	g.specials, g.backwards = newTrie(g.spellings), newTrie(reversed)
	return g
}

// deletion matches what replaces a literal with nothing, as a method or as a filter.
var deletion = regexp.MustCompile(`replace\(\s*(?:'([^']+)'|"([^"]+)")\s*,\s*(?:''|"")\s*[,)]`)

func deletions(source string) []string {
	var found []string
	for _, m := range deletion.FindAllStringSubmatch(source, -1) {
		found = append(found, m[1]+m[2])
	}
	return found
}

// disguise returns s with its marks.
func (g *guard) disguise(s string) string {
	s = strings.ReplaceAll(s, sentinel, "")
	if s == "" || g.longest == 0 {
		return s
	}
	marks := g.inside(s)
	marks = append(marks, g.edges(s)...)
	slices.Sort(marks)
	var b strings.Builder
	b.Grow(len(s) + len(marks)*len(sentinel))
	from := 0
	for _, at := range marks {
		b.WriteString(s[from:at])
		b.WriteString(sentinel)
		from = at
	}
	b.WriteString(s[from:])
	return b.String()
}

// inside lists the marks behind the first rune of every special spelling. One of a single rune gets two, which split
// tells from two neighbouring edges by what stands before them.
func (g *guard) inside(s string) []int {
	var marks []int
	kept, keptTo := g.occurrences(s), 0
	dense := len(kept) > 0
	for i := range s {
		for len(kept) > 0 && kept[0].from <= i {
			keptTo = max(keptTo, kept[0].to)
			kept = kept[1:]
		}
		n, open := g.specials.walk(s[i:])
		_, size := utf8.DecodeRuneInString(s[i:])
		if dense && n == 0 && i >= keptTo {
			_, open = g.specials.walk(s[i : i+size])
		}
		switch {
		case n == size:
			marks = append(marks, i+size, i+size)
		case n > size:
			marks = append(marks, i+size)
		case dense && open && i >= keptTo:
			// The template deletes something from this text. What it joins then may spell anything.
			marks = append(marks, i+size)
		}
	}
	return marks
}

// occurrences lists in ascending order where s contains what the template deletes. No mark may hide it.
func (g *guard) occurrences(s string) (found []span) {
	for _, d := range g.deleted {
		for from := 0; ; {
			i := strings.Index(s[from:], d)
			if i < 0 {
				break
			}
			found = append(found, span{from + i, from + i + len(d)})
			from += i + len(d)
		}
	}
	slices.SortFunc(found, func(a, b span) int { return a.from - b.from })
	return found
}

// edges lists the marks at the first and last visible rune of s, where they could be part of a spelling that the text
// around s completes. Templates trim, so white space does not keep neighbours apart.
func (g *guard) edges(s string) []int {
	trimmed := strings.TrimLeft(s, " \t\r\n")
	first := len(s) - len(trimmed)
	trimmed = strings.TrimRight(trimmed, " \t\r\n")
	last := first + len(trimmed)
	if trimmed == "" {
		return nil
	}
	var marks []int
	near := min(g.longest, len(trimmed))
	within := len(trimmed) < g.longest && slices.ContainsFunc(g.spellings, func(sp string) bool { return strings.Contains(sp, trimmed) })
	if within || opens(g.backwards, reverse(trimmed[:near])) {
		marks = append(marks, first)
	}
	if within || opens(g.specials, trimmed[len(trimmed)-near:]) {
		marks = append(marks, last)
	}
	return marks
}

// opens reports whether a tail of s is a proper prefix of a member of t.
func opens(t trie, s string) bool {
	for i := range len(s) {
		if _, open := t.walk(s[i:]); open {
			return true
		}
	}
	return false
}

// span is a range of bytes, to excluded.
type span struct{ from, to int }

// split takes the marks out of a rendered prompt. All of it is trusted except the special spellings with a mark inside.
func (g *guard) split(out string) []llama.Part {
	pieces := strings.Split(out, sentinel)
	text := strings.Join(pieces, "")
	marks := make([]int, 0, len(pieces)-1)
	at := 0
	for _, p := range pieces[:len(pieces)-1] {
		at += len(p)
		marks = append(marks, at)
	}
	var parts []llama.Part
	from := 0
	for _, s := range g.untrusted(text, marks) {
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

// untrusted lists the special spellings in text that have one of the ascending marks inside, or, where they are a single
// rune, two marks behind. Those that overlap are one span.
func (g *guard) untrusted(text string, marks []int) []span {
	var found []span
	for i := 0; i < len(text) && len(marks) > 0; i++ {
		for len(marks) > 0 && marks[0] <= i {
			marks = marks[1:]
		}
		if len(marks) == 0 {
			break
		}
		if far := marks[0] - g.longest; i < far {
			i = far // no spelling that begins earlier reaches the mark
		}
		n, _ := g.specials.walk(text[i:])
		end := i + n
		if n == 0 || marks[0] > end || (marks[0] == end && (len(marks) < 2 || marks[1] != end)) {
			continue
		}
		if last := len(found) - 1; last >= 0 && i < found[last].to {
			found[last].to = max(found[last].to, end)
		} else {
			found = append(found, span{i, end})
		}
	}
	return found
}

// reverse returns the bytes of s, last first.
func reverse(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}
