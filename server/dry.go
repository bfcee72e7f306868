package server

import (
	"strings"
	"sync"

	"aim/llama"
	"aim/sampler"
)

// defaultBreakers are llama.cpp's.
var defaultBreakers = []string{"\n", ":", "\"", "*"}

const (
	// maxBreakerTokens bounds the tokens of a breaker, as in llama.cpp.
	maxBreakerTokens = 20
	// maxCachedBreakers bounds the texts whose breakers a model remembers.
	maxCachedBreakers = 256
)

// dry reads the DRY penalty.
func (o *object) dry(m *served) sampler.DRY {
	d := sampler.DRY{
		Multiplier:    o.number(fieldDRYMultiplier),
		Base:          o.number(fieldDRYBase),
		AllowedLength: int(o.integer(fieldDRYAllowed)),
		LastN:         int(o.integer(fieldDRYLastN)),
	}
	texts := o.strings(fieldDRYBreakers)
	if !o.has(fieldDRYBreakers) {
		texts = defaultBreakers
	}
	for i, text := range texts {
		if text == "" {
			o.failAt(o.item(fieldDRYBreakers, i), "is empty")
		}
	}
	if d.Multiplier == 0 || *o.err != nil {
		return sampler.DRY{}
	}
	for _, text := range texts {
		d.Breakers = append(d.Breakers, m.breakers.of(m.Engine.Model(), text)...)
	}
	return d
}

// breakers remembers what it costs a pass over the vocabulary to find. It is safe for concurrent use.
type breakers struct {
	mu    sync.Mutex
	known map[string][][]sampler.Token
}

// of are the sequences of tokens that spell text, possibly within more text: a token that contains it, or one that ends with its
// beginning followed by the tokens of the rest (llama.cpp, llama_sampler_init_dry).
func (b *breakers) of(m llama.Model, text string) [][]sampler.Token {
	b.mu.Lock()
	defer b.mu.Unlock()
	if list, ok := b.known[text]; ok {
		return list
	}
	list := findBreakers(m, text)
	if b.known == nil || len(b.known) >= maxCachedBreakers {
		b.known = map[string][][]sampler.Token{}
	}
	b.known[text] = list
	return list
}

func findBreakers(m llama.Model, text string) (list [][]sampler.Token) {
	tails := map[string][]sampler.Token{}
	tail := func(rest string) []sampler.Token {
		tokens, ok := tails[rest]
		if !ok {
			// A text without tokens is one that no answer spells.
			tokens, _ = m.Tokenize([]llama.Part{{Text: rest}}, false)
			tokens = tokens[:min(len(tokens), maxBreakerTokens)]
			tails[rest] = tokens
		}
		return tokens
	}
	for t := range sampler.Token(m.Vocab()) {
		piece := string(m.Piece(t))
		if piece == "" || m.Kind(t) != llama.Normal {
			continue
		}
		if strings.Contains(piece, text) {
			list = append(list, []sampler.Token{t})
			continue
		}
		for n := min(len(text)-1, len(piece)); n > 0; n-- {
			if !strings.HasSuffix(piece, text[:n]) {
				continue
			}
			if rest := tail(text[n:]); len(rest) > 0 {
				list = append(list, append([]sampler.Token{t}, rest...))
			}
		}
	}
	return list
}
