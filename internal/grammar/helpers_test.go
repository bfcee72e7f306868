package grammar

import (
	"testing"

	"aim/sampler"
)

// words is a vocabulary of the given pieces and an end, the last token.
func words(pieces ...string) *Vocabulary {
	end := sampler.Token(len(pieces))
	return NewVocabulary(len(pieces)+1,
		func(t sampler.Token) []byte { return []byte(pieces[t]) },
		func(t sampler.Token) Kind {
			if t == end {
				return End
			}
			return Text
		})
}

// everyByte has a token for each byte, and token 256 is the end.
var everyByte = words(func() (pieces []string) {
	for b := range 256 {
		pieces = append(pieces, string([]byte{byte(b)}))
	}
	return pieces
}()...)

func mustParse(t testing.TB, gbnf string) *Grammar {
	t.Helper()
	g, err := Parse(gbnf)
	if err != nil {
		t.Fatalf("%v in\n%s", err, gbnf)
	}
	return g
}

// accepts reports whether text is a whole text of g.
func accepts(g *Grammar, text string) bool {
	m := g.Matcher(everyByte)
	for i := range len(text) {
		if !m.Allows(sampler.Token(text[i])) {
			return false
		}
		m.Accept(sampler.Token(text[i]))
	}
	return m.Allows(256)
}
