package server

import (
	"fmt"
	"math"
	"strings"
)

// field declares one field of a request. The parser, docs/api.md and the document at /openapi.json all read it: what is not
// declared cannot be read, and what is not read does not compile unnoticed (the linter finds it unused). See fields.go.
type field struct {
	name string
	// aliases are what other servers call it. Of several that a request has, the first of name and aliases counts.
	aliases []string
	// in are the endpoints that have it, where it is a field of the body.
	in endpoints
	// types are the JSON types it may have, beside null, which stands for absence.
	types types
	// bounds are those of a number, nil for none.
	bounds *bounds
	// enum lists the strings it may be, nil for any.
	enum []string
	// most bounds the entries of an array or the members of a free object, and mostBytes the bytes of a string; 0 for none.
	most, mostBytes int
	// items declares the entries of an array, or the members of an object without names of its own.
	items *field
	// of are the members of an object.
	of *group
	// def is the value of an absent field: a float64, int64, bool or string, nil where absence has a meaning of its own; then
	// absent says which.
	def    any
	absent string
	// required says that the request is refused without it.
	required bool
	doc      string
}

// group is an object of a request.
type group struct {
	// name is that of its schema.
	name string
	// path is what its fields are shown behind, empty for the body, and in are the endpoints that have it, 0 for all.
	path   string
	in     endpoints
	fields []*field
	// closed says that a field that is not declared is an error.
	closed bool
}

// declare adds a field to the group.
func (g *group) declare(f field) *field {
	g.fields = append(g.fields, &f)
	return &f
}

// endpoints is a set of endpoints.
type endpoints uint

const (
	inChat endpoints = 1 << iota
	inText
	inPreview
	inSweep
	inResponses
	inMessages
	inCount
	inTokenize
	inDetokenize
	inEmbeddings

	// inBoth are those that answer; the others extend them.
	inBoth = inChat | inText
	// inTalks are those that answer conversations, and inAll all that answer.
	inTalks = inChat | inResponses | inMessages
	// inPrompts are those that make a prompt of OpenAI's messages and tools.
	inPrompts = inChat | inTokenize
	inAll     = inBoth | inTalks
)

// String lists their paths.
func (e endpoints) String() string {
	var list []string
	for i, path := range []string{
		"/v1/chat/completions", "/v1/completions", "/v1/aim/preview", "/v1/aim/sweep", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens",
		"/tokenize", "/detokenize", "/v1/embeddings",
	} {
		if e&(1<<i) != 0 {
			list = append(list, path)
		}
	}
	return strings.Replace(join(list), " or ", " and ", 1)
}

// types is a set of JSON types.
type types uint

const (
	isBoolean types = 1 << iota
	isInteger
	isNumber
	isString
	isArray
	isObject
)

var typeNames = []struct {
	is                 types
	name, article, all string
}{
	{isBoolean, "boolean", "a boolean", "booleans"},
	{isInteger, "integer", "an integer", "integers"},
	{isNumber, "number", "a number", "numbers"},
	{isString, "string", "a string", "strings"},
	{isObject, "object", "an object", "objects"},
	{isArray, "array", "an array", "arrays"},
}

// names are the types as JSON schema calls them.
func (t types) names() (list []string) {
	for _, n := range typeNames {
		if t&n.is != 0 {
			list = append(list, n.name)
		}
	}
	return list
}

// want says which types a field may have: "a string or an array of strings".
func (f *field) want() string {
	var list []string
	for _, n := range typeNames {
		if f.types&n.is == 0 {
			continue
		}
		one := n.article
		if n.is == isArray && f.items != nil {
			one += " of " + f.items.plural()
		}
		list = append(list, one)
	}
	return join(list)
}

func (f *field) plural() string {
	var list []string
	for _, n := range typeNames {
		if f.types&n.is != 0 {
			list = append(list, n.all)
		}
	}
	return join(list)
}

// join is "a, b or c".
func join(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1]
}

// bounds is an interval of numbers, low included unless open, and one value beside it.
type bounds struct {
	low, high float64
	open      bool
	// also is a further value that is allowed, and usually stands for "off"; NaN for none.
	also float64
}

func within(low, high float64) *bounds { return &bounds{low: low, high: high, also: math.NaN()} }

func above(low, high float64) *bounds {
	return &bounds{low: low, high: high, open: true, also: math.NaN()}
}

func atLeast(low float64) *bounds { return within(low, math.Inf(1)) }

func (b *bounds) or(also float64) *bounds {
	c := *b
	c.also = also
	return &c
}

func (b *bounds) contain(v float64) bool {
	if v == b.also {
		return true
	}
	return v <= b.high && (v > b.low || v == b.low && !b.open) // false for NaN
}

// String is the domain as errors and docs give it: "in [0, 2]", "at least 1, or -1".
func (b *bounds) String() string {
	var s string
	switch {
	case b.low == b.high:
		s = fmt.Sprint(b.low)
	case !math.IsInf(b.high, 1):
		bracket := "["
		if b.open {
			bracket = "("
		}
		s = fmt.Sprintf("in %s%v, %v]", bracket, b.low, b.high)
	case b.open:
		s = fmt.Sprintf("above %v", b.low)
	default:
		s = fmt.Sprintf("at least %v", b.low)
	}
	if !math.IsNaN(b.also) {
		s += fmt.Sprintf(", or %v", b.also)
	}
	return s
}

// oneOf is how errors list the values of an enum.
func oneOf(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = fmt.Sprintf("%q", v)
	}
	if len(quoted) == 1 {
		return quoted[0]
	}
	if len(quoted) > 2 {
		return "one of " + join(quoted)
	}
	return join(quoted)
}

// names are all that a request may call the field.
func (f *field) names() []string { return append([]string{f.name}, f.aliases...) }

// bodyOf are the fields of an endpoint's body, in the order of their declaration.
func bodyOf(e endpoints) (list []*field) {
	for _, f := range bodyFields.fields {
		if f.in&e != 0 {
			list = append(list, f)
		}
	}
	return list
}
