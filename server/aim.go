package server

import (
	"encoding/json"
	"fmt"
	"math"

	"aim/llama"
	"aim/sampler"
)

// extension is the field aim of a request:
//
//	"aim": {"utility": {"sigma": 0.5},
//	        "focus": [{"text": "water", "sigma": 4, "direction": "raise"},
//	                  {"tokens": [1, 2], "sigma": 2, "direction": "lower"},
//	                  {"all": true, "sigma": 0.2}]}
//
// It is ours alone, so an unknown field in it is a mistake and not a newer API.
type extension struct {
	// sigma is that of utility, nil where the request has none.
	sigma *float64
	focus []sampler.Focus
}

// extension reads the field aim. Whether σ lies in its domain is checked later, by the sampler.
func (o *object) extension(m llama.Model) (x extension) {
	aim := o.object("aim")
	if aim == nil {
		return x
	}
	if utility := aim.object("utility"); utility != nil {
		sigma := utility.number("sigma", 0)
		utility.require("sigma")
		utility.closed()
		x.sigma = &sigma
	}
	entries := aim.array("focus")
	aim.closed()
	if len(entries) > maxFocus {
		aim.failValue("focus", "has %d entries, the most is %d", len(entries), maxFocus)
		return x
	}
	for i, raw := range entries {
		entry := newObject(fmt.Sprintf("aim.focus[%d]", i), raw, o.err)
		x.focus = append(x.focus, entry.focus(m))
	}
	named := 0
	for _, f := range x.focus {
		for _, target := range f.Targets {
			named += len(target)
		}
	}
	if named > maxTargets {
		aim.failValue("focus", "names %d tokens, the most is %d", named, maxTargets)
	}
	return x
}

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

// token reads the id of a token. That it is one of the model's is checked where it is used; here it must only be
// one that a Token can hold.
func (o *object) token(name string, raw json.RawMessage) sampler.Token {
	id, ok := wholeNumber(raw)
	if !ok {
		o.failType(name, "an integer", raw)
		return 0
	}
	if id < 0 || id > math.MaxInt32 {
		o.failValue(name, "is %d, which is not the id of a token", id)
		return 0
	}
	return sampler.Token(id)
}
