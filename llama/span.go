package llama

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"aim/sampler"
)

// NewSpan returns the focus of that strength, in [-1, 1], on a part of a prompt: text is the part, and without the tokens of
// the prompt that remains when it is taken out.
func NewSpan(m Model, text string, without []sampler.Token, strength float64) (sampler.Span, error) {
	s := sampler.Span{Without: without, Strength: strength}
	if strength <= 0 {
		return s, nil // only what raises needs the rest
	}
	tokens, err := m.Tokenize([]Part{{Text: text}}, false)
	if err != nil {
		return s, err
	}
	for _, t := range tokens {
		same, err := spellings(m, t)
		if err != nil {
			return s, err
		}
		s.Pieces = append(s.Pieces, same)
	}
	return s, nil
}

// spellings returns t and the single tokens that differ from it only in case and in a leading space.
func spellings(m Model, t sampler.Token) ([]sampler.Token, error) {
	same := []sampler.Token{t}
	word := strings.ToLower(strings.TrimSpace(string(m.Piece(t))))
	if word == "" || !utf8.ValidString(word) {
		return same, nil
	}
	first, size := utf8.DecodeRuneInString(word)
	for _, form := range []string{word, string(unicode.ToUpper(first)) + word[size:], strings.ToUpper(word)} {
		for _, text := range []string{form, " " + form} {
			tokens, err := m.Tokenize([]Part{{Text: text}}, false)
			if err != nil {
				return nil, err
			}
			if len(tokens) == 1 && !slices.Contains(same, tokens[0]) {
				same = append(same, tokens[0])
			}
		}
	}
	return same, nil
}

// Cut takes text[from:to] out, and with it one of two spaces that would meet, or the space that would begin or end the text.
func Cut(text string, from, to int) string {
	before, after := text[:from], text[to:]
	switch {
	case strings.HasPrefix(after, " ") && (before == "" || strings.HasSuffix(before, " ") || strings.HasSuffix(before, "\n")):
		after = after[1:]
	case strings.HasSuffix(before, " ") && (after == "" || strings.HasPrefix(after, "\n")):
		before = before[:len(before)-1]
	}
	return before + after
}
