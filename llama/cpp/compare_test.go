package cpp

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"aim/internal/grammar"
	"aim/llama"
	"aim/sampler"
)

// schemas of the kinds that people ask for.
var schemas = []string{
	`{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150}},"required":["name","age"],"additionalProperties":false}`,
	`{"type":"object","properties":{"a":{"type":"number"},"b":{"type":"boolean"},"c":{"type":"null"}}}`,
	`{"type":"array","items":{"enum":["red","green","grün",3]},"minItems":1,"maxItems":4}`,
	`{"type":"object","properties":{"when":{"type":"string","format":"date-time"},"id":{"type":"string","format":"uuid"}},"required":["when"]}`,
	`{"anyOf":[{"type":"string","maxLength":12},{"type":"object","additionalProperties":{"type":"integer"}}]}`,
	`{"$ref":"#/$defs/node","$defs":{"node":{"type":"object","properties":{"value":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},"required":["value","next"]}}}`,
	`{"type":"string","pattern":"^[A-Z]{2,3}-[0-9]+(\\.[0-9]{1,2})?$"}`,
	`{"const":{"日本":[1,"a\"b"]}}`,
	`{}`,
}

// TestGrammarAllowsWhatLlamaCppDoes walks through the grammars of real schemas at random, and holds at each step what our engine allows
// against llama.cpp's own.
func TestGrammarAllowsWhatLlamaCppDoes(t *testing.T) {
	m := open(t)
	vocabulary := grammar.NewVocabulary(m.Vocab(), m.Piece, func(t sampler.Token) grammar.Kind {
		if m.Kind(t) == llama.End {
			return grammar.End
		}
		return grammar.Text // llama.cpp lets control tokens spell text
	})
	rng := rand.New(rand.NewPCG(5, 5))
	steps := 0
	for _, schema := range schemas {
		gbnf, err := m.SchemaToGrammar([]byte(schema))
		if err != nil {
			t.Fatalf("%s: %v", schema, err)
		}
		g, err := grammar.Parse(gbnf)
		if err != nil {
			t.Errorf("%s: %v in\n%s", schema, err, gbnf)
			continue
		}
		for range 4 {
			steps += m.walk(t, g.Matcher(vocabulary), gbnf, rng)
		}
	}
	t.Logf("%d steps", steps)
}

// walk compares until the text ends, or is long, or the two disagree. It returns the number of steps.
func (m *Model) walk(t *testing.T, ours *grammar.Matcher, gbnf string, rng *rand.Rand) int {
	t.Helper()
	var text []sampler.Token
	row := make([]float32, m.Vocab())
	for len(text) < 40 {
		theirs, err := m.allowedTokens(gbnf, text)
		if err != nil {
			t.Fatal(err)
		}
		clear(row)
		ours.Apply(row)
		var allowed []sampler.Token
		for tok, z := range row {
			if z == 0 {
				allowed = append(allowed, sampler.Token(tok))
			}
		}
		if !slices.Equal(allowed, theirs) {
			t.Errorf("after %q: ours allows %d tokens, llama.cpp %d; only one allows %q", m.spell(text), len(allowed), len(theirs), m.spells(difference(allowed, theirs)))
			return len(text)
		}
		for range 20 {
			if tok := sampler.Token(rng.IntN(m.Vocab())); ours.Allows(tok) != (row[tok] == 0) {
				t.Errorf("after %q: token %d is allowed by one of Allows and Apply", m.spell(text), tok)
			}
		}
		next := m.next(theirs, rng)
		if m.Kind(next) == llama.End {
			break
		}
		ours.Accept(next)
		text = append(text, next)
	}
	return len(text)
}

// next is one of the tokens, every other time of those that may get out of a string and on to the next part.
func (m *Model) next(tokens []sampler.Token, rng *rand.Rand) sampler.Token {
	var short []sampler.Token
	for _, t := range tokens {
		if p := m.Piece(t); len(p) == 1 && strings.Contains(`"{}[],:09tfn`, string(p)) {
			short = append(short, t)
		}
	}
	if len(short) > 0 && rng.IntN(2) == 0 {
		tokens = short
	}
	return tokens[rng.IntN(len(tokens))]
}

func (m *Model) spell(tokens []sampler.Token) (text string) {
	for _, t := range tokens {
		text += string(m.Piece(t))
	}
	return text
}

// spells lists the first few tokens.
func (m *Model) spells(tokens []sampler.Token) (list []string) {
	for _, t := range tokens[:min(8, len(tokens))] {
		list = append(list, string(m.Piece(t)))
	}
	return list
}

func difference(a, b []sampler.Token) (only []sampler.Token) {
	for _, lists := range [][2][]sampler.Token{{a, b}, {b, a}} {
		for _, t := range lists[0] {
			if _, found := slices.BinarySearch(lists[1], t); !found {
				only = append(only, t)
			}
		}
	}
	return only
}
