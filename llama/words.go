package llama

import (
	"errors"
	"slices"
	"unicode"
	"unicode/utf8"

	"aim/sampler"
)

// Surfaces returns the token sequences by which a word may enter an answer: as written and capitalized, each with and
// without a leading space, each once. Where any of these forms is a single token, only the single tokens are returned;
// otherwise the forms as sequences of pieces.
func Surfaces(m Model, word string) ([][]sampler.Token, error) {
	if word == "" {
		return nil, errors.New("an empty word has no tokens")
	}
	first, size := utf8.DecodeRuneInString(word)
	capital := string(unicode.ToUpper(first)) + word[size:]
	var single, several [][]sampler.Token
	for _, form := range []string{" " + word, word, " " + capital, capital} {
		tokens, err := m.Tokenize([]Part{{Text: form}}, false)
		if err != nil {
			return nil, err
		}
		list := &several
		if len(tokens) == 1 {
			list = &single
		}
		if !slices.ContainsFunc(*list, func(have []sampler.Token) bool { return slices.Equal(have, tokens) }) {
			*list = append(*list, tokens)
		}
	}
	if len(single) > 0 {
		return single, nil
	}
	return several, nil
}

// ControlTokens lists the model's control tokens, in ascending order: those that end an answer, and the others. They are what
// [sampler.Utility] wants to know of a vocabulary.
func ControlTokens(m Model) (others, ends []sampler.Token) {
	for t := range sampler.Token(m.Vocab()) {
		switch m.Kind(t) {
		case Control:
			others = append(others, t)
		case End:
			ends = append(ends, t)
		case Normal:
		}
	}
	return others, ends
}
