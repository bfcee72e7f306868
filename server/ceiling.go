package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
)

// Policy is what an owner lets requests ask of a model. The zero value lets them ask for everything.
type Policy struct {
	// Context is the most tokens of a prompt and its answer, and MaxTokens the most of an answer; 0 leaves them to the engine.
	Context, MaxTokens int
	// Defaults are the values of fields that a request does not have, and Bounds the intervals of numbers, by the fields' names in
	// requests, such as temperature. Where a field is absent and has no default here, it is its own one, or the nearest that is allowed.
	Defaults map[string]json.RawMessage
	Bounds   map[string]Bound
	// MaxFocus in [0, 1] bounds the strength of focus, nil does not. At 0 there is none.
	MaxFocus *float64
	// NoSpans and NoFocusNoise refuse focus on parts of prompts, and focus by noise of a given σ.
	NoSpans, NoFocusNoise bool
	// NoLogprobs, NoReports, NoPreviews and NoTemplate hide what a model says about its answers, and its chat template.
	NoLogprobs, NoReports, NoPreviews, NoTemplate bool
}

// Bound is an interval, open to a side that is nil.
type Bound struct {
	Min, Max *float64
	// Never refuses requests that have the field at all.
	Never bool
}

// compiled is a policy, ready to be asked.
type compiled struct {
	Policy
	defaults map[*field]json.RawMessage
	bounds   map[*field]*bounds
	never    map[*field]bool
}

// FieldError says that a policy names a field that there is not, or a value that it cannot have.
type FieldError struct {
	// Name is the field's, and Reason what is wrong with it.
	Name, Reason string
}

func (e *FieldError) Error() string { return e.Name + " " + e.Reason }

// untunable are fields that policies do not set: they are no matter of how an answer is sampled, or have settings of their own.
var untunable = []*field{fieldStream, fieldMaxTokens, fieldMaxTokensText, fieldMaxOutput, fieldMaxMessage}

// tunable are the fields that a policy may name: numbers and booleans of requests for answers.
func tunable() map[string][]*field {
	list := map[string][]*field{}
	for _, f := range bodyFields.fields {
		if f.in&inAll != 0 && f.types&^(isNumber|isInteger|isBoolean) == 0 && !slices.Contains(untunable, f) {
			for _, name := range f.names() {
				list[name] = append(list[name], f)
			}
		}
	}
	return list
}

// TunableFields lists the names that the defaults of a policy may have, and says which of them may have bounds.
func TunableFields() (defaults, bounds []string) {
	fields := tunable()
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		defaults = append(defaults, name)
		if fields[name][0].types&isBoolean == 0 {
			bounds = append(bounds, name)
		}
	}
	return defaults, bounds
}

// Check fails with a [*FieldError] where a field is not one that a policy can set, or cannot have such a value.
func (p *Policy) Check() error {
	_, err := p.compile()
	return err
}

func (p *Policy) compile() (*compiled, error) {
	c := &compiled{*p, map[*field]json.RawMessage{}, map[*field]*bounds{}, map[*field]bool{}}
	fields := tunable()
	for _, name := range slices.Sorted(maps.Keys(p.Bounds)) {
		list := fields[name]
		if len(list) == 0 || list[0].types&isBoolean != 0 {
			return nil, &FieldError{name, "is no number of a request that can have bounds"}
		}
		for _, f := range list {
			b, err := f.narrowed(name, p.Bounds[name])
			if err != nil {
				return nil, err
			}
			c.bounds[f], c.never[f] = b, p.Bounds[name].Never
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Defaults)) {
		if len(fields[name]) == 0 {
			return nil, &FieldError{name, "is no field of a request that can have a default"}
		}
		for _, f := range fields[name] {
			if err := c.checkDefault(f, name, p.Defaults[name]); err != nil {
				return nil, err
			}
			c.defaults[f] = p.Defaults[name]
		}
	}
	return c, nil
}

// checkDefault reads a default as it would be read in a request.
func (c *compiled) checkDefault(f *field, name string, value json.RawMessage) error {
	o := newObject("", encode(map[string]json.RawMessage{f.name: value}), new(error))
	o.limits = &compiled{bounds: c.bounds}
	switch {
	case f.types&isBoolean != 0:
		o.boolean(f)
	case f.types&isNumber != 0:
		o.number(f)
	default:
		o.integer(f)
	}
	if *o.err != nil {
		return &FieldError{name, "has a default that requests cannot have: " + (*o.err).Error()}
	}
	return nil
}

// narrowed are the field's bounds within b.
func (f *field) narrowed(name string, b Bound) (*bounds, error) {
	own := f.bounds
	if own == nil {
		own = atLeast(math.Inf(-1))
	}
	low, high := own.low, own.high
	for _, side := range []struct {
		what  string
		value *float64
		to    *float64
	}{{"min", b.Min, &low}, {"max", b.Max, &high}} {
		if side.value == nil {
			continue
		}
		if v := *side.value; !own.contain(v) || v == own.also && (v < own.low || v > own.high) {
			return nil, &FieldError{name, fmt.Sprintf("has a %s of %v, must be %v", side.what, v, own)}
		}
		*side.to = *side.value
	}
	if low > high {
		return nil, &FieldError{name, fmt.Sprintf("has a min of %v above its max of %v", low, high)}
	}
	return &bounds{low: low, high: high, open: own.open && low == own.low, also: math.NaN()}, nil
}

// given is a field of the request or, where it has none, the model's default for it, nil without one.
func (o *object) given(f *field) (raw json.RawMessage, inRequest bool) {
	raw = o.take(f)
	switch {
	case o.limits == nil:
		return raw, true
	case raw == nil:
		return o.limits.defaults[f], false
	case o.limits.never[f]:
		o.fail(forbidden(o.param(f), "parameter_not_allowed", "is not a request's to set at this model"))
	}
	return raw, true
}

// within holds a number to what the model allows: one that the request has is refused, and another one is moved to the nearest that is.
func (o *object) within(f *field, v float64, inRequest bool) float64 {
	if o.limits == nil || o.limits.bounds[f] == nil || *o.err != nil {
		return v
	}
	b := o.limits.bounds[f]
	switch {
	case b.contain(v):
	case inRequest:
		o.failValue(f, "is %v, must be %v for this model", v, b)
	case f == fieldTopK && !math.IsInf(b.high, 1):
		return b.high // its default is off, which stands for all
	default:
		v = min(max(v, b.low), b.high)
	}
	return v
}

// mostTokens is a bound on an answer's tokens, held to the model's; 0 means up to the end of the context.
func (o *object) mostTokens(f *field, n int) int {
	if o.limits == nil || o.limits.MaxTokens == 0 {
		return n
	}
	most := o.limits.MaxTokens
	if n > most && o.has(f) {
		o.failValue(f, "is %d, must be at most %d for this model", n, most)
	}
	if n == 0 {
		return most
	}
	return min(n, most)
}

// forbidden refuses what param asks for.
func forbidden(param, code, why string) error {
	return &apiError{status: http.StatusForbidden, kind: typePermission, param: param, code: code, message: param + " " + why}
}

// permits refuses what the model's owner, or that of the key, does not let the call ask for.
func (c *call) permits(r *record) error {
	m, refuse := c.model, forbidden
	switch {
	case c.utility != asked{} && !r.grant.LowerUtility:
		return refuse("aim.utility", "utility_not_allowed", "is not the API key's to set")
	case m.NoLogprobs && c.logprobs:
		return refuse("logprobs", "logprobs_not_allowed", "are not shown by the model "+m.ID)
	case m.NoLogprobs && c.give > 0:
		return refuse("best_of", "logprobs_not_allowed", "tells log-probabilities, which are not shown by the model "+m.ID)
	case m.NoReports && c.report.on:
		return refuse("aim.report", "report_not_allowed", "is not shown by the model "+m.ID)
	case m.NoSpans && len(c.spans) > 0:
		return refuse("aim.focus", "focus_not_allowed", "cannot be on a span of the prompt at the model "+m.ID)
	}
	for _, p := range c.points {
		if p.asked != (asked{}) && !r.grant.LowerUtility {
			return refuse(p.param, "utility_not_allowed", "is not the API key's to set")
		}
	}
	return c.permitsFocus(r)
}

// permitsFocus is permits for focus.
func (c *call) permitsFocus(r *record) error {
	m, refuse := c.model, forbidden
	most := math.Inf(1)
	for _, bound := range []*float64{m.MaxFocus, r.grant.MaxFocus} {
		if bound != nil {
			most = min(most, *bound)
		}
	}
	for i, f := range c.request.Params.Focus {
		param := fmt.Sprintf("aim.focus[%d]", i)
		switch {
		case f.Words == nil && (m.NoFocusNoise || most == 0):
			return refuse(param, "focus_not_allowed", "cannot be noise of a given sigma here")
		case f.Words != nil && math.Abs(f.Strength) > most:
			return refuse(param, "focus_not_allowed", fmt.Sprintf("has a strength of %v, must be in [%v, %v] here", f.Strength, -most, most))
		}
	}
	for _, s := range c.spans {
		if math.Abs(s.strength) > most {
			return refuse(s.entry.path, "focus_not_allowed", fmt.Sprintf("has a strength of %v, must be in [%v, %v] here", s.strength, -most, most))
		}
	}
	for _, p := range c.points {
		if p.strength != nil && math.Abs(*p.strength) > most {
			return refuse(p.param, "focus_not_allowed", fmt.Sprintf("is %v, must be in [%v, %v] here", *p.strength, -most, most))
		}
	}
	return nil
}
