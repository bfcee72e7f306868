package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// object reads a JSON object field by field. A field that is null counts as absent. The first error is kept, so that a
// parser can read all it wants and look at the error once.
type object struct {
	// path is what the names of fields are shown behind; empty for the body itself.
	path   string
	fields map[string]json.RawMessage
	read   map[string]bool
	// err is shared with the objects inside.
	err *error
}

// parseBody reads the body of a request.
func parseBody(body []byte) (*object, error) {
	if err := json.Unmarshal(body, new(json.RawMessage)); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			err = fmt.Errorf("%w at byte %d", err, syntax.Offset)
		}
		return nil, invalid("", "invalid_json", "the body is not valid JSON: %v", err)
	}
	o := newObject("", body, new(error))
	if *o.err != nil {
		return nil, invalid("", codeType, "the body must be a JSON object, not %s", kindOf(body))
	}
	return o, nil
}

// newObject reads an object at path; where raw is none, the error says so and there are no fields.
func newObject(path string, raw json.RawMessage, err *error) *object {
	o := &object{path: path, read: map[string]bool{}, err: err}
	if json.Unmarshal(raw, &o.fields) != nil || o.fields == nil {
		o.failType("", "an object", raw)
	}
	return o
}

// param is the full name of a field.
func (o *object) param(name string) string {
	if o.path == "" || name == "" {
		return o.path + name
	}
	return o.path + "." + name
}

// fail keeps err unless there is one already.
func (o *object) fail(err error) {
	if *o.err == nil {
		*o.err = err
	}
}

func (o *object) failType(name, want string, raw json.RawMessage) {
	param := o.param(name)
	o.fail(invalid(param, codeType, "%s must be %s, not %s", param, want, kindOf(raw)))
}

func (o *object) failValue(name, format string, args ...any) {
	param := o.param(name)
	o.fail(invalid(param, codeValue, "%s %s", param, fmt.Sprintf(format, args...)))
}

// take returns a field, nil where it is absent or null.
func (o *object) take(name string) json.RawMessage {
	o.read[name] = true
	if raw := o.fields[name]; kindOf(raw) != "null" {
		return raw
	}
	return nil
}

// has reports whether a field is there and not null.
func (o *object) has(name string) bool { return o.take(name) != nil }

// unread lists the fields nobody asked for.
func (o *object) unread() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(o.fields)) {
		if !o.read[name] {
			names = append(names, name)
		}
	}
	return names
}

// closed fails where a field is not known.
func (o *object) closed() {
	for _, name := range o.unread() {
		param := o.param(clip(name))
		o.fail(invalid(param, codeUnknown, "%s is not a known field", param))
	}
}

// require fails where a field is absent or null.
func (o *object) require(name string) {
	if !o.has(name) {
		param := o.param(name)
		o.fail(invalid(param, codeMissing, "%s is required", param))
	}
}

// value reads a field of a JSON type that decodes into T.
func value[T any](o *object, name, want string, def T) T {
	raw := o.take(name)
	if raw == nil {
		return def
	}
	v := def
	if json.Unmarshal(raw, &v) != nil {
		o.failType(name, want, raw)
		return def
	}
	return v
}

func (o *object) boolean(name string) bool { return value(o, name, "a boolean", false) }

func (o *object) text(name string) string { return value(o, name, "a string", "") }

func (o *object) number(name string, def float64) float64 { return value(o, name, "a number", def) }

// integer reads a whole number, however it is spelled: 10, 10.0 and 1e1 are the same in JSON.
func (o *object) integer(name string, def int64) int64 {
	raw := o.take(name)
	if raw == nil {
		return def
	}
	n, ok := wholeNumber(raw)
	if !ok {
		o.failType(name, "an integer", raw)
		return def
	}
	return n
}

// object reads a field that is an object, nil where it is absent.
func (o *object) object(name string) *object {
	raw := o.take(name)
	if raw == nil {
		return nil
	}
	return newObject(o.param(name), raw, o.err)
}

// array reads a field that is an array, nil where it is absent.
func (o *object) array(name string) []json.RawMessage {
	return value[[]json.RawMessage](o, name, "an array", nil)
}

// wholeNumber reads an integer of 64 bits.
func wholeNumber(raw json.RawMessage) (int64, bool) {
	if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		return n, true
	}
	var f float64
	const exact = 1 << 53 // beyond, a float stands for several integers
	if json.Unmarshal(raw, &f) != nil || f != math.Trunc(f) || math.Abs(f) > exact {
		return 0, false
	}
	return int64(f), true
}

// kindOf names the JSON type of a valid value.
func kindOf(raw json.RawMessage) string {
	for _, b := range raw {
		switch b {
		case ' ', '\t', '\r', '\n':
			continue
		case '{':
			return "an object"
		case '[':
			return "an array"
		case '"':
			return "a string"
		case 't', 'f':
			return "a boolean"
		case 'n':
			return "null"
		}
		if n, ok := wholeNumber(raw); ok {
			return fmt.Sprintf("the integer %d", n)
		}
		return "the number " + clip(string(raw))
	}
	return "nothing"
}

// clip shortens what a client sent for an error message.
func clip(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
