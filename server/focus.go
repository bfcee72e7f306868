package server

import (
	"encoding/json"
	"strings"

	"aim/llama"
	"aim/sampler"
)

// focus reads an entry of focus.
func (o *object) focus(m llama.Model, l *llama.Lexicon) sampler.Focus {
	f := sampler.Focus{
		Sigma: o.number(fieldFocusSigma), Strength: o.number(fieldStrength), Direction: o.direction(), All: o.boolean(fieldFocusAll),
	}
	list, tokens := o.words(), o.array(fieldFocusTokens)
	o.closed()
	targets := 0
	for _, there := range []bool{f.All, o.has(fieldFocusText), o.has(fieldFocusTokens)} {
		if there {
			targets++
		}
	}
	switch {
	case targets != 1:
		o.failAt(o.path, "must have exactly one of text, tokens and all: true, it has %d", targets)
	case o.has(fieldStrength):
		o.dial(&f, l, list)
	case !o.has(fieldFocusSigma):
		o.missing(fieldFocusSigma, ", or strength")
	case o.has(fieldFocusText):
		f.Targets = o.surfaces(m, list)
	case o.has(fieldFocusTokens):
		f.Targets = o.targets(tokens)
	}
	return f
}

// dial reads an entry with a strength, which excludes what belongs to the paper's form.
func (o *object) dial(f *sampler.Focus, l *llama.Lexicon, list []string) {
	for _, other := range []*field{fieldFocusSigma, fieldDirection} {
		if o.has(other) {
			o.failValue(other, "cannot go with strength, which decides on it")
			return
		}
	}
	if !o.has(fieldFocusText) {
		o.failValue(fieldStrength, "needs text")
		return
	}
	if *o.err != nil { // not worth the search
		return
	}
	words, err := l.Words(list)
	if err != nil {
		o.failValue(fieldFocusText, "has no tokens: %v", err)
		return
	}
	f.Words = words
}

// words reads a word or a list of words.
func (o *object) words() []string {
	list := o.strings(fieldFocusText)
	if list != nil && len(list) == 0 {
		o.failValue(fieldFocusText, "must be at least one word")
	}
	for i, word := range list {
		if strings.TrimSpace(word) == "" {
			o.failAt(o.item(fieldFocusText, i), "is empty")
		}
	}
	return list
}

func (o *object) direction() sampler.Direction {
	if o.text(fieldDirection) == sampler.Lower.String() {
		return sampler.Lower
	}
	return sampler.Raise
}

// surfaces finds the tokens of words.
func (o *object) surfaces(m llama.Model, list []string) (targets [][]sampler.Token) {
	if *o.err != nil {
		return nil
	}
	for _, word := range list {
		forms, err := llama.Surfaces(m, word)
		if err != nil {
			o.failValue(fieldFocusText, "has no tokens: %v", err)
		}
		targets = append(targets, forms...)
	}
	return targets
}

// targets reads token ids, each a target of its own.
func (o *object) targets(list []json.RawMessage) [][]sampler.Token {
	targets := make([][]sampler.Token, 0, len(list))
	for i, raw := range list {
		targets = append(targets, []sampler.Token{o.token(o.item(fieldFocusTokens, i), raw)})
	}
	return targets
}
