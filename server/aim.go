package server

import (
	"encoding/json"
	"math"

	"aim/llama"
	"aim/sampler"
)

// extension is the field aim of a request:
//
//	"aim": {"utility": {"sigma": 0.5}, or {"level": 0.9},
//	        "report": true, or {"tokens": true},
//	        "focus": [{"text": "water", "sigma": 4, "direction": "raise"},
//	                  {"text": ["water", "river"], "strength": 0.5},
//	                  {"tokens": [1, 2], "sigma": 2, "direction": "lower"},
//	                  {"all": true, "sigma": 0.2},
//	                  {"span": "only vegetarian dishes", "strength": 0.8}]}
//
// It is ours alone, so an unknown field in it is a mistake and not a newer API.
type extension struct {
	utility asked
	report  reportAsked
	focus   []sampler.Focus
	spans   []span
}

// extension reads the field aim.
func (o *object) extension(m llama.Model, l *llama.Lexicon) (x extension) {
	aim := o.object(fieldAim)
	if aim == nil {
		return x
	}
	if utility := aim.object(fieldUtility); utility != nil {
		x.utility = utility.utility()
	}
	x.report = aim.report()
	entries := aim.array(fieldFocus)
	aim.closed()
	for i, raw := range entries {
		entry := newObject(aim.item(fieldFocus, i), raw, o.err)
		if entry.has(fieldSpan) {
			x.spans = append(x.spans, entry.span())
		} else {
			x.focus = append(x.focus, entry.focus(m, l))
		}
	}
	if len(x.spans) > maxSpans {
		aim.failValue(fieldFocus, "has %d spans, the most is %d", len(x.spans), maxSpans)
	}
	named := 0
	for _, f := range x.focus {
		for _, target := range f.Targets {
			named += len(target)
		}
	}
	if named > maxTargets {
		aim.failValue(fieldFocus, "names %d tokens, the most is %d", named, maxTargets)
	}
	return x
}

// token reads the id of a token. That it is one of the model's is checked where it is used; here it must only be
// one that a Token can hold.
func (o *object) token(param string, raw json.RawMessage) sampler.Token {
	id, ok := wholeNumber(raw)
	if !ok {
		o.failType(param, "an integer", raw)
		return 0
	}
	if id < 0 || id > math.MaxInt32 {
		o.failAt(param, "is %d, which is not the id of a token", id)
		return 0
	}
	return sampler.Token(id)
}
