package server

import (
	"encoding/json"
	"fmt"

	"aim/llama"
	"aim/sampler"
)

// focus reads an entry of focus.
func (o *object) focus(m llama.Model) sampler.Focus {
	f := sampler.Focus{Sigma: o.number("sigma", 0), Direction: o.direction(), All: o.boolean("all")}
	o.require("sigma")
	word, tokens := o.text("text"), o.array("tokens")
	o.closed()
	targets := 0
	for _, there := range []bool{f.All, o.has("text"), o.has("tokens")} {
		if there {
			targets++
		}
	}
	if targets != 1 {
		o.failValue("", "must have exactly one of text, tokens and all: true, it has %d", targets)
		return f
	}
	switch {
	case o.has("text"):
		f.Targets = o.surfaces(m, word)
	case o.has("tokens"):
		f.Targets = o.targets(tokens)
	}
	return f
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

// surfaces finds the tokens of a word.
func (o *object) surfaces(m llama.Model, word string) [][]sampler.Token {
	if word == "" {
		o.failValue("text", "is empty")
		return nil
	}
	if len(word) > maxWord {
		o.failValue("text", "has %d bytes, the most is %d", len(word), maxWord)
		return nil
	}
	targets, err := llama.Surfaces(m, word)
	if err != nil {
		o.failValue("text", "has no tokens: %v", err)
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
