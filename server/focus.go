package server

import (
	"encoding/json"
	"fmt"
	"strings"

	"aim/llama"
	"aim/sampler"
)

// focus reads an entry of focus.
func (o *object) focus(m llama.Model, l *llama.Lexicon) sampler.Focus {
	f := sampler.Focus{
		Sigma: o.number("sigma", 0), Strength: o.number("strength", 0), Direction: o.direction(), All: o.boolean("all"),
	}
	list, tokens := o.words("text"), o.array("tokens")
	o.closed()
	targets := 0
	for _, there := range []bool{f.All, o.has("text"), o.has("tokens")} {
		if there {
			targets++
		}
	}
	switch {
	case targets != 1:
		o.failValue("", "must have exactly one of text, tokens and all: true, it has %d", targets)
	case o.has("strength"):
		o.dial(&f, l, list)
	case !o.has("sigma"):
		o.fail(invalid(o.param("sigma"), codeMissing, "%s is required, or strength", o.param("sigma")))
	case o.has("text"):
		f.Targets = o.surfaces(m, list)
	case o.has("tokens"):
		f.Targets = o.targets(tokens)
	}
	return f
}

// dial reads an entry with a strength, which excludes what belongs to the paper's form.
func (o *object) dial(f *sampler.Focus, l *llama.Lexicon, list []string) {
	for _, name := range []string{"sigma", "direction"} {
		if o.has(name) {
			o.failValue(name, "cannot go with strength, which decides on it")
			return
		}
	}
	if !o.has("text") {
		o.failValue("strength", "needs text")
		return
	}
	if *o.err != nil { // not worth the search
		return
	}
	words, err := l.Words(list)
	if err != nil {
		o.failValue("text", "has no tokens: %v", err)
		return
	}
	f.Words = words
}

// words reads a word or a list of words.
func (o *object) words(name string) []string {
	raw := o.take(name)
	if raw == nil {
		return nil
	}
	var word string
	if json.Unmarshal(raw, &word) == nil {
		o.word(name, word)
		return []string{word}
	}
	var list []string
	switch {
	case json.Unmarshal(raw, &list) != nil:
		o.failType(name, "a string or an array of strings", raw)
	case len(list) == 0:
		o.failValue(name, "must be at least one word")
	case len(list) > maxWords:
		o.failValue(name, "has %d words, the most is %d", len(list), maxWords)
	}
	for i, word := range list {
		o.word(fmt.Sprintf("%s[%d]", name, i), word)
	}
	return list
}

func (o *object) word(name, word string) {
	switch {
	case strings.TrimSpace(word) == "":
		o.failValue(name, "is empty")
	case len(word) > maxWord:
		o.failValue(name, "has %d bytes, the most is %d", len(word), maxWord)
	}
}

func (o *object) direction() sampler.Direction {
	switch d := o.text("direction"); {
	case !o.has("direction"), d == sampler.Raise.String():
		return sampler.Raise
	case d == sampler.Lower.String():
		return sampler.Lower
	default:
		o.failValue("direction", "is %q, must be %q or %q", clip(d), sampler.Raise, sampler.Lower)
		return sampler.Raise
	}
}

// surfaces finds the tokens of words.
func (o *object) surfaces(m llama.Model, list []string) (targets [][]sampler.Token) {
	if *o.err != nil {
		return nil
	}
	for _, word := range list {
		forms, err := llama.Surfaces(m, word)
		if err != nil {
			o.failValue("text", "has no tokens: %v", err)
		}
		targets = append(targets, forms...)
	}
	return targets
}

// targets reads token ids, each a target of its own.
func (o *object) targets(list []json.RawMessage) [][]sampler.Token {
	if len(list) > maxTargets {
		o.failValue("tokens", "has %d entries, the most is %d", len(list), maxTargets)
		return nil
	}
	targets := make([][]sampler.Token, 0, len(list))
	for i, raw := range list {
		targets = append(targets, []sampler.Token{o.token(fmt.Sprintf("tokens[%d]", i), raw)})
	}
	return targets
}
