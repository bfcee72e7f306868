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

// object reads a JSON object field by field, as they are declared. A field that is null counts as absent. The first error is
// kept, so that a parser can read all it wants and look at the error once.
type object struct {
	// path is what the names of fields are shown behind; empty for the body itself.
	path   string
	fields map[string]json.RawMessage
	read   map[*field]bool
	// err is shared with the objects inside.
	err *error

	// asker is whose request it is, and limits what its model allows; they are those of the body alone.
	asker  *record
	limits *compiled
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
	o := &object{path: path, read: map[*field]bool{}, err: err}
	if json.Unmarshal(raw, &o.fields) != nil || o.fields == nil {
		o.failType(path, "an object", raw)
	}
	return o
}

// find returns a field under the first of its names that is there and not null.
func (o *object) find(f *field) (name string, raw json.RawMessage) {
	for _, name := range f.names() {
		if raw := o.fields[name]; typeOf(raw) != 0 {
			return name, raw
		}
	}
	return f.name, nil
}

// param is the full name of a field, as the request spells it.
func (o *object) param(f *field) string {
	name, _ := o.find(f)
	return o.member(name)
}

// member is the full name of a member.
func (o *object) member(name string) string {
	if o.path == "" {
		return name
	}
	return o.path + "." + name
}

// fail keeps err unless there is one already.
func (o *object) fail(err error) {
	if *o.err == nil {
		*o.err = err
	}
}

// failType says that what is at param, a full name, has the wrong type.
func (o *object) failType(param, want string, raw json.RawMessage) {
	o.fail(invalid(param, codeType, "%s must be %s, not %s", param, want, kindOf(raw)))
}

// failAt says what is wrong with the value at param, a full name.
func (o *object) failAt(param, format string, args ...any) {
	o.fail(invalid(param, codeValue, "%s %s", param, fmt.Sprintf(format, args...)))
}

func (o *object) failValue(f *field, format string, args ...any) {
	o.failAt(o.param(f), format, args...)
}

// take returns a field, nil where it is absent or null, or has none of its types.
func (o *object) take(f *field) json.RawMessage {
	o.read[f] = true
	_, raw := o.find(f)
	if raw != nil && typeOf(raw)&f.types == 0 {
		o.failType(o.param(f), f.want(), raw)
		return nil
	}
	return raw
}

// has reports whether a field is there and not null.
func (o *object) has(f *field) bool {
	o.read[f] = true
	_, raw := o.find(f)
	return raw != nil
}

// unread lists the fields nobody asked for.
func (o *object) unread() []string {
	known := map[string]bool{}
	for f := range o.read {
		for _, name := range f.names() {
			known[name] = true
		}
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(o.fields)) {
		if !known[name] {
			names = append(names, name)
		}
	}
	return names
}

// closed fails where a field is not known.
func (o *object) closed() {
	for _, name := range o.unread() {
		param := o.member(clip(name))
		o.fail(invalid(param, codeUnknown, "%s is not a known field", param))
	}
}

// require fails where a field is absent or null.
func (o *object) require(f *field) {
	if !o.has(f) {
		o.missing(f, "")
	}
}

// missing says that a field is required; or adds an alternative.
func (o *object) missing(f *field, or string) {
	param := o.param(f)
	o.fail(invalid(param, codeMissing, "%s is required%s", param, or))
}

func (o *object) boolean(f *field) bool {
	v, _ := f.def.(bool)
	raw, _ := o.given(f)
	into(raw, &v)
	return v
}

// into reads a value whose type is right already.
func into(raw json.RawMessage, v any) {
	if raw != nil {
		_ = json.Unmarshal(raw, v) // cannot fail
	}
}

// text reads a string.
func (o *object) text(f *field) string {
	v, _ := f.def.(string)
	raw := o.take(f)
	if raw == nil || typeOf(raw) != isString {
		return v
	}
	into(raw, &v)
	f.checkText(o, o.param(f), v)
	return v
}

// checkText makes sure that a string lies in the field's domain.
func (f *field) checkText(o *object, param, v string) {
	switch {
	case f.enum != nil && !slices.Contains(f.enum, v):
		o.failAt(param, "is %q, must be %s", clip(v), oneOf(f.enum))
	case f.mostBytes > 0 && len(v) > f.mostBytes:
		o.failAt(param, "has %d bytes, the most is %d", len(v), f.mostBytes)
	}
}

// number reads a number within its bounds.
func (o *object) number(f *field) float64 {
	v, _ := f.def.(float64)
	raw, inRequest := o.given(f)
	if raw != nil {
		v = f.number(o, o.param(f), raw)
	}
	return o.within(f, v, raw != nil && inRequest)
}

// number reads one of the field's values, which is at param.
func (f *field) number(o *object, param string, raw json.RawMessage) float64 {
	var v float64
	switch {
	case typeOf(raw)&(isNumber|isInteger) == 0 || json.Unmarshal(raw, &v) != nil: // too large a number for a float64
		o.failType(param, f.want(), raw)
	case f.bounds != nil && !f.bounds.contain(v):
		o.failAt(param, "is %v, must be %v", v, f.bounds)
	default:
		return v
	}
	return 0
}

// integer reads a whole number, however it is spelled: 10, 10.0 and 1e1 are the same in JSON.
func (o *object) integer(f *field) int64 {
	def, _ := f.def.(int64)
	raw, inRequest := o.given(f)
	if raw == nil {
		if o.limits == nil || o.limits.bounds[f] == nil {
			return def
		}
		return int64(o.within(f, float64(def), false))
	}
	n, ok := wholeNumber(raw)
	switch {
	case !ok:
		o.failType(o.param(f), f.want(), raw)
	case f.bounds != nil && !f.bounds.contain(float64(n)):
		o.failValue(f, "is %d, must be %v", n, f.bounds)
	case o.limits != nil && o.limits.bounds[f] != nil: // whose numbers a float64 holds
		return int64(o.within(f, float64(n), inRequest))
	default:
		return n
	}
	return def
}

// object reads a field that is an object, nil where it is absent.
func (o *object) object(f *field) *object {
	raw := o.take(f)
	if raw == nil {
		return nil
	}
	return newObject(o.param(f), raw, o.err)
}

// array reads a field that is an array, nil where it is absent or too long.
func (o *object) array(f *field) []json.RawMessage {
	raw := o.take(f)
	if raw == nil || typeOf(raw) != isArray {
		return nil
	}
	list := []json.RawMessage{}
	into(raw, &list)
	if f.most > 0 && len(list) > f.most {
		o.failValue(f, "has %d entries, the most is %d", len(list), f.most)
		return nil
	}
	return list
}

// item is the full name of an entry of an array, or of the field itself where it is one entry without an array.
func (o *object) item(f *field, i int) string {
	name, raw := o.find(f)
	if typeOf(raw) == isArray {
		name = fmt.Sprintf("%s[%d]", name, i)
	}
	return o.member(name)
}

// strings reads a string or an array of strings, nil where the field is absent or wrong.
func (o *object) strings(f *field) []string {
	raw := o.take(f)
	if raw == nil {
		return nil
	}
	if typeOf(raw) == isString {
		list := make([]string, 1)
		into(raw, &list[0])
		f.checkText(o, o.param(f), list[0])
		return list
	}
	items := o.array(f)
	if items == nil {
		return nil
	}
	list := make([]string, len(items))
	for i, item := range items {
		param := o.item(f, i)
		if typeOf(item) != isString {
			o.failType(param, "a string", item)
			return nil
		}
		into(item, &list[i])
		f.items.checkText(o, param, list[i])
	}
	return list
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

// typeOf is the type of a valid value: of a number isNumber, and isInteger besides where it is whole; 0 of null.
func typeOf(raw json.RawMessage) types {
	for _, b := range raw {
		switch b {
		case ' ', '\t', '\r', '\n':
			continue
		case '{':
			return isObject
		case '[':
			return isArray
		case '"':
			return isString
		case 't', 'f':
			return isBoolean
		case 'n':
			return 0
		}
		if _, ok := wholeNumber(raw); ok {
			return isNumber | isInteger
		}
		return isNumber
	}
	return 0
}

// kindOf names the JSON type of a valid value.
func kindOf(raw json.RawMessage) string {
	switch t := typeOf(raw); {
	case t&isInteger != 0:
		n, _ := wholeNumber(raw)
		return fmt.Sprintf("the integer %d", n)
	case t&isNumber != 0:
		return "the number " + clip(string(raw))
	case len(raw) == 0:
		return "nothing"
	default:
		for _, n := range typeNames {
			if t == n.is {
				return n.article
			}
		}
	}
	return "null"
}

// clip shortens what a client sent for an error message.
func clip(s string) string { return clipTo(100, s) }

// clipTo is s, or its first bytes where it has more than most.
func clipTo(most int, s string) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
