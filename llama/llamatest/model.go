// Package llamatest holds a fake model for tests of what stands on the engine, and the contract suite that the fake and
// every real driver pass.
package llamatest

import (
	"strings"

	"aim/llama"
	"aim/sampler"
)

// Tokens of the fake beyond the 256 single bytes.
const (
	BOS     sampler.Token = 256 + iota // <|bos|>, put before a prompt
	EOS                                // <|end|>, ends an answer
	Control                            // <|ctl|>, structure without text
	firstWord
)

// words are the tokens of more than one byte.
var words = []string{" water", "water", " Water", "Water", " river", " the", " a", "lo", "He", "日本"}

// Model is a byte-level language model of a few hundred tokens. It implements [llama.Model].
type Model struct{ pieces [][]byte }

var (
	_ llama.Model    = (*Model)(nil)
	_ llama.Infiller = (*Model)(nil)
)

// New returns the fake model.
func New() *Model {
	m := &Model{}
	for b := range 256 {
		m.pieces = append(m.pieces, []byte{byte(b)})
	}
	for _, s := range append([]string{"<|bos|>", "<|end|>", "<|ctl|>"}, words...) {
		m.pieces = append(m.pieces, []byte(s))
	}
	return m
}

// Vocab implements [llama.Model].
func (m *Model) Vocab() int { return len(m.pieces) }

// Piece implements [llama.Model].
func (m *Model) Piece(t sampler.Token) []byte {
	if t < 0 || int(t) >= len(m.pieces) {
		return nil
	}
	return m.pieces[t]
}

// Kind implements [llama.Model].
func (m *Model) Kind(t sampler.Token) llama.Kind {
	switch t {
	case EOS:
		return llama.End
	case BOS, Control:
		return llama.Control
	}
	return llama.Normal
}

// Tokenize implements [llama.Model]: the longest word at each place, else one byte.
func (m *Model) Tokenize(parts []llama.Part, special bool) ([]sampler.Token, error) {
	var tokens []sampler.Token
	for _, p := range parts {
		from := firstWord
		if p.Trusted {
			from = BOS
		}
		for text := p.Text; text != ""; {
			t := m.longest(text, from)
			tokens = append(tokens, t)
			text = text[len(m.pieces[t]):]
		}
	}
	if special && (len(tokens) == 0 || tokens[0] != BOS) {
		tokens = append([]sampler.Token{BOS}, tokens...)
	}
	return tokens, nil
}

// Infill implements [llama.Infiller]: its one control token stands before the prefix, before the suffix and at the end.
func (m *Model) Infill(prefix, suffix string) ([]sampler.Token, error) {
	prompt := []sampler.Token{BOS}
	for _, text := range []string{prefix, suffix} {
		tokens, err := m.Tokenize([]llama.Part{{Text: text}}, false)
		if err != nil {
			return nil, err
		}
		prompt = append(append(prompt, Control), tokens...)
	}
	return append(prompt, Control), nil
}

func (m *Model) longest(text string, from sampler.Token) sampler.Token {
	best := sampler.Token(text[0])
	for t := from; int(t) < len(m.pieces); t++ {
		if len(m.pieces[t]) > len(m.pieces[best]) && strings.HasPrefix(text, string(m.pieces[t])) {
			best = t
		}
	}
	return best
}

// Text is the text of tokens, control tokens spelled.
func (m *Model) Text(tokens []sampler.Token) string {
	var b strings.Builder
	for _, t := range tokens {
		b.Write(m.Piece(t))
	}
	return b.String()
}
