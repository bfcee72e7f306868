// Package words finds whole words in text that arrives piece by piece.
//
// A word occurs where its characters do, whatever their case, and where neither of its ends is inside a longer word: next
// to an end that is a letter or a digit there is no other letter, digit or combining mark. So "water" occurs in "Water,"
// and "water-based", and not in "waters" or "underwater". Scripts that are written without spaces have no such ends: there
// a word occurs wherever its characters do.
package words

import (
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrEmpty says that a word has no characters.
var ErrEmpty = errors.New("a word is empty")

// Pattern is one spelling to look for.
type Pattern struct {
	// Text is the spelling, with small ASCII letters; see [Fold].
	Text string
	// Left and Right say that the word must end there, since its first and last character could be inside a longer one.
	Left, Right bool
}

// Set is a set of words. It never changes.
type Set struct {
	patterns []Pattern
	longest  int
}

// New returns the set of the given words; spaces around them do not count.
func New(list []string) (*Set, error) {
	s := &Set{}
	for _, word := range list {
		word = strings.TrimSpace(word)
		if word == "" {
			return nil, ErrEmpty
		}
		for _, form := range []string{word, strings.ToLower(word), strings.ToUpper(word), Capitalize(word)} {
			s.add(string(Fold([]byte(form))))
		}
	}
	return s, nil
}

func (s *Set) add(text string) {
	if slices.ContainsFunc(s.patterns, func(p Pattern) bool { return p.Text == text }) {
		return
	}
	first, _ := utf8.DecodeRuneInString(text)
	last, _ := utf8.DecodeLastRuneInString(text)
	s.patterns = append(s.patterns, Pattern{text, Inside(first), Inside(last)})
	s.longest = max(s.longest, len(text))
}

// Patterns are the spellings of all words, each once. The caller must not change them.
func (s *Set) Patterns() []Pattern { return s.patterns }

// Count is the number of places in a text where one of the words occurs. Of two words that overlap, both count.
func (s *Set) Count(text string) int {
	m := s.Match()
	return m.Write([]byte(text)) + m.End()
}

// Capitalize makes the first character a capital.
func Capitalize(word string) string {
	first, size := utf8.DecodeRuneInString(word)
	return string(unicode.ToUpper(first)) + word[size:]
}

// Fold makes the ASCII letters of a text small, in place, and leaves all other bytes: the folding of a text cut into pieces,
// be it inside a character, is that of the pieces.
func Fold(text []byte) []byte {
	for i, b := range text {
		if 'A' <= b && b <= 'Z' {
			text[i] = b + ('a' - 'A')
		}
	}
	return text
}

// Inside reports whether a character next to another one like it belongs to the same word.
func Inside(r rune) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	}
	return (unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r)) && r != utf8.RuneError &&
		!unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar, unicode.Tibetan)
}

// Matcher follows one text. It is not safe for concurrent use, and allocates only where a piece is longer than any before.
type Matcher struct {
	set *Set
	// tail is the end of the text, folded: as much as can matter. Ends of words below next have been decided on.
	tail []byte
	next int
	// pending is the number of words that the text ends with, unless they go on.
	pending int
}

// Match begins a text.
func (s *Set) Match() *Matcher {
	return &Matcher{set: s, tail: make([]byte, 0, 4*(s.longest+utf8.UTFMax)+256), next: 1}
}

// Write appends to the text and returns how many occurrences have become certain. One at the very end of the text is not,
// while the next character may still make it part of a longer word.
func (m *Matcher) Write(piece []byte) (hits int) {
	if keep := m.set.longest + utf8.UTFMax + 1; len(m.tail) > keep {
		drop := len(m.tail) - keep
		m.tail = m.tail[:copy(m.tail, m.tail[drop:])]
		m.next -= drop
	}
	from := len(m.tail)
	m.tail = append(m.tail, piece...)
	Fold(m.tail[from:])
	end := len(m.tail) - incomplete(m.tail)
	m.pending = 0
	for i := range m.set.patterns {
		p := &m.set.patterns[i]
		for e := max(m.next, len(p.Text)); e <= end; e++ {
			switch {
			case m.tail[e-1] != p.Text[len(p.Text)-1] || !m.endsWith(p, len(p.Text), e):
			case !p.Right || e < end && !m.insideAt(e):
				hits++
			case e == end:
				m.pending++
			}
		}
	}
	m.next = max(m.next, end+1)
	if m.pending > 0 {
		m.next = end
	}
	return hits
}

// End ends the text and returns how many occurrences that makes certain.
func (m *Matcher) End() int {
	hits := m.pending
	m.pending = 0
	return hits
}

// Pending reports whether the text ends with a word that may still become part of a longer one.
func (m *Matcher) Pending() bool { return m.pending > 0 }

// Begun calls f for every proper beginning of a pattern, n > 0 bytes of the i-th, that the text ends with.
func (m *Matcher) Begun(f func(i, n int)) {
	if len(m.tail) == 0 {
		return
	}
	last := m.tail[len(m.tail)-1]
	for i := range m.set.patterns {
		p := &m.set.patterns[i]
		for n := min(len(p.Text)-1, len(m.tail)); n > 0; n-- {
			if p.Text[n-1] == last && m.endsWith(p, n, len(m.tail)) {
				f(i, n)
			}
		}
	}
}

// InsideWord reports whether the text ends inside a word, so that a letter would go on with it.
func (m *Matcher) InsideWord() bool { return insideBefore(m.tail) }

// endsWith reports whether the first n bytes of a pattern end at e, and begin where a word can.
func (m *Matcher) endsWith(p *Pattern, n, e int) bool {
	from := e - n
	return string(m.tail[from:e]) == p.Text[:n] && (!p.Left || !insideBefore(m.tail[:from]))
}

func (m *Matcher) insideAt(e int) bool {
	r, _ := utf8.DecodeRune(m.tail[e:])
	return Inside(r)
}

func insideBefore(text []byte) bool {
	r, _ := utf8.DecodeLastRune(text)
	return Inside(r)
}

// incomplete is how many bytes at the end of a text begin a character that is not all there.
func incomplete(text []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if b := text[len(text)-n:]; utf8.RuneStart(b[0]) {
			if utf8.FullRune(b) {
				return 0
			}
			return n
		}
	}
	return 0
}
