package grammar

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a JSON schema. What is beyond them is a [SchemaError].
const (
	// MaxSchema is its size in bytes.
	MaxSchema = 256 << 10
	// MaxSchemaDepth is how deep its text nests.
	MaxSchemaDepth = 64
	// MaxOptional is the number of optional properties of one object; the converter takes cubic time over them.
	MaxOptional = 128
	// MaxValues is the number of the values of all enums.
	MaxValues = 2000
	// maxShapes is the number of subschemas, after allOf has been multiplied out; maxReferences that of different $ref.
	maxShapes, maxReferences = 10_000, 256
	// maxName is the length of a property's name in bytes: the converter's regular expressions recurse over it.
	maxName = 256
	// maxPrepared is the size of what PrepareSchema returns.
	maxPrepared = MaxSchema
)

// SchemaError says why a JSON schema cannot be used, and where: Path is the JSON pointer of a subschema, Keyword the keyword in
// it, empty where none is to blame.
type SchemaError struct {
	Path, Keyword, Message string
}

// Error implements error.
func (e *SchemaError) Error() string {
	where := e.Path
	if e.Keyword != "" {
		where = pointer(e.Path, e.Keyword)
	}
	if where == "" {
		where = "the root"
	}
	return "schema: at " + where + ": " + e.Message
}

// CheckSchema returns the error of [PrepareSchema].
func CheckSchema(schema json.RawMessage) error {
	_, err := PrepareSchema(schema)
	return err
}

// PrepareSchema checks a JSON schema (of the dialect 2020-12, with the arrays of items and definitions of older ones) and writes
// it anew in the few forms that llama.cpp's converter to GBNF gets right, or returns a [*SchemaError].
//
// Every answer to what it returns is valid under schema. The converter skips keywords silently; those that constrain and cannot
// be expressed are refused by name here: not, if, dependent…, patternProperties, propertyNames, contains, uniqueItems, multipleOf,
// bounds of numbers that are not integers, counts of properties where they say something, oneOf of which two may match, $ref to
// anywhere else. Annotations, unknown keywords and unknown formats pass, as the standard says. allOf, and keywords beside $ref and anyOf, are
// multiplied out; patterns are rewritten ([regexp/syntax] reads them), and match anywhere if they have no anchors.
//
// Some schemas allow more than their grammar: objects with properties get no others, tuples nothing after their prefix, integers
// at most 15 digits.
func PrepareSchema(schema json.RawMessage) (json.RawMessage, error) {
	root, err := readValue(schema)
	if err != nil {
		return nil, err
	}
	r := &schemaReader{root: root, definitions: map[string]*definition{}}
	s, err := r.read(root)
	if err != nil {
		return nil, err
	}
	if err := r.finish(s); err != nil {
		return nil, err
	}
	return r.write(s)
}

// schemaReader turns a schema into shapes.
type schemaReader struct {
	root        *value
	definitions map[string]*definition // by JSON pointer
	order       []*definition
	oneOfs      []oneOf
	shapes      int
	values      int
	settled     map[*shape]bool
	found       []*shape // what is settled, in order
}

// oneOf is a keyword to look at when everything is read.
type oneOf struct {
	path    string
	choices []*shape
}

func refuse(v *value, keyword, format string, args ...any) error {
	return &SchemaError{v.path, keyword, fmt.Sprintf(format, args...)}
}

// count bounds the work.
func (r *schemaReader) count(path string) error {
	if r.shapes++; r.shapes > maxShapes {
		return &SchemaError{Path: path, Message: fmt.Sprintf("the schema is too complex: more than %d subschemas when multiplied out", maxShapes)}
	}
	return nil
}

// read returns the shape of a schema.
func (r *schemaReader) read(v *value) (*shape, error) {
	if err := r.count(v.path); err != nil {
		return nil, err
	}
	switch {
	case v.kind == 'b' && v.text == "true":
		return &shape{path: v.path, any: true}, nil
	case v.kind == 'b':
		return nil, refuse(v, "", "false matches nothing")
	case v.kind != 'o':
		return nil, refuse(v, "", "a schema is an object or a boolean, got %s", v.what())
	}
	if err := refuseKeywords(v); err != nil {
		return nil, err
	}
	s, err := r.local(v)
	if err != nil {
		return nil, err
	}
	for _, f := range v.fields {
		parts, err := r.combined(v, f)
		if err != nil {
			return nil, err
		}
		for _, part := range parts {
			if s, err = r.combine(v, f.name, s, part); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// combine intersects, and blames the keyword.
func (r *schemaReader) combine(v *value, keyword string, a, b *shape) (*shape, error) {
	s, err := r.intersect(a, b)
	if errors.Is(err, errNever) || errors.Is(err, errNotCombine) {
		return nil, refuse(v, keyword, "%v (with what stands beside it)", err)
	}
	return s, err
}

// unsupported are the keywords that constrain and cannot be expressed.
var unsupported = []string{
	"not", "if", "dependentRequired", "dependentSchemas", "dependencies", "patternProperties", "propertyNames", "contains",
	"uniqueItems", "multipleOf", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef", "extends", "disallow",
}

func refuseKeywords(v *value) error {
	for _, keyword := range unsupported {
		if k := v.get(keyword); k != nil && !idle(v, keyword, k) {
			return refuse(v, keyword, "is not supported")
		}
	}
	return nil
}

// idle reports whether an unsupported keyword has a value that does not constrain, or no more than the grammar does.
func idle(v *value, keyword string, k *value) bool {
	switch keyword {
	case "dependentRequired", "dependentSchemas", "dependencies", "patternProperties":
		return k.kind == 'o' && len(k.fields) == 0
	case "propertyNames": // what keys of a JSON object are anyway
		return k.kind == 'b' && k.text == "true" || k.kind == 'o' && (len(k.fields) == 0 || k.String() == `{"type":"string"}`)
	case "uniqueItems":
		return k.text == "false"
	case "multipleOf":
		t := v.get("type")
		return t != nil && t.text == "integer" && (k.text == "1" || k.text == "1.0")
	case "unevaluatedProperties":
		return k.text == "true" || k.text == "false" && v.get("properties") != nil && len(v.get("properties").fields) > 0
	case "unevaluatedItems":
		return k.text == "true" || k.text == "false" && v.get("prefixItems") != nil
	}
	return false
}

// combined reads the keywords that hold other schemas for the same place: each of what it returns must match.
func (r *schemaReader) combined(v *value, f field) ([]*shape, error) {
	switch f.name {
	case "$ref":
		s, err := r.reference(v, f.value)
		return []*shape{s}, err
	case "allOf":
		return r.list(v, f)
	case "anyOf", "oneOf":
		choices, err := r.list(v, f)
		if err != nil {
			return nil, err
		}
		if f.name == "oneOf" {
			r.oneOfs = append(r.oneOfs, oneOf{v.path, choices})
		}
		if len(choices) == 1 {
			return choices, nil
		}
		return []*shape{{path: v.path, choices: choices}}, nil
	}
	return nil, nil
}

func (r *schemaReader) list(v *value, f field) ([]*shape, error) {
	if f.value.kind != 'a' || len(f.value.items) == 0 {
		return nil, refuse(v, f.name, "must be an array of schemas, not empty")
	}
	var list []*shape
	for _, item := range f.value.items {
		if f.name != "allOf" && item.text == "false" && item.kind == 'b' {
			continue
		}
		s, err := r.read(item)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	if len(list) == 0 {
		return nil, refuse(v, f.name, "%v", errNever)
	}
	return list, nil
}

// reference reads what $ref names, once.
func (r *schemaReader) reference(v, ref *value) (*shape, error) {
	path, local := strings.CutPrefix(ref.text, "#")
	if ref.kind != 's' || !local || path != "" && path[0] != '/' {
		return nil, refuse(v, "$ref", "must be a JSON pointer within the schema (#/$defs/…), got %s", clip(ref.String()))
	}
	if unescaped, err := url.PathUnescape(path); err == nil {
		path = unescaped
	}
	d := r.definitions[path]
	if d == nil {
		target := r.root.find(path)
		switch {
		case target == nil:
			return nil, refuse(v, "$ref", "there is no %s in the schema", clip(ref.String()))
		case len(r.order) == maxReferences:
			return nil, refuse(v, "$ref", "a schema refers to at most %d others", maxReferences)
		}
		d = &definition{name: "schema" + strconv.Itoa(len(r.order))}
		r.definitions[path] = d
		r.order = append(r.order, d)
		s, err := r.read(target)
		if err != nil {
			return nil, err
		}
		d.shape = s
	}
	return &shape{path: v.path, ref: d}, nil
}

// clip shortens what is quoted in messages.
func clip(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}

// The keywords that say something about one type only. They imply it where type is missing: the grammar is then narrower than the
// schema, which lets other types be anything.
var keywordsOf = map[kinds][]string{
	kindObject:  {"properties", "required", "additionalProperties", "minProperties", "maxProperties"},
	kindArray:   {"items", "prefixItems", "minItems", "maxItems"},
	kindString:  {"minLength", "maxLength", "pattern"},
	kindInteger: {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
}

// local reads the keywords about the value itself.
func (r *schemaReader) local(v *value) (*shape, error) {
	types, err := typesOf(v)
	if err != nil {
		return nil, err
	}
	s := &shape{path: v.path, any: true}
	if len(types) > 0 {
		s = &shape{path: v.path}
		for _, k := range types {
			one, err := r.constrained(v, k)
			if err != nil {
				return nil, err
			}
			s.choices = append(s.choices, one)
		}
		if len(s.choices) == 1 {
			s = s.choices[0]
		}
	}
	for _, keyword := range []string{"const", "enum"} {
		values, err := r.valuesOf(v, keyword)
		if err != nil {
			return nil, err
		}
		if values != nil {
			if s, err = r.combine(v, keyword, values, s); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// typesOf returns the kinds that type names or other keywords imply.
func typesOf(v *value) ([]kinds, error) {
	t := v.get("type")
	var all kinds
	switch {
	case t == nil:
		for k, keywords := range keywordsOf {
			if slices.ContainsFunc(keywords, func(keyword string) bool { return v.get(keyword) != nil }) {
				all |= k
			}
		}
	case t.kind == 's':
		t = &value{kind: 'a', items: []*value{t}}
		fallthrough
	case t.kind == 'a' && len(t.items) > 0:
		for _, name := range t.items {
			i := slices.IndexFunc(kindNames, func(k namedKind) bool { return name.kind == 's' && k.name == name.text })
			if i < 0 {
				return nil, refuse(v, "type", "must be a type or several: object, array, string, number, integer, boolean, null; got %s", clip(name.String()))
			}
			all |= kindNames[i].kind
		}
	default:
		return nil, refuse(v, "type", "must be a type or an array of types, got %s", clip(t.String()))
	}
	var list []kinds
	for _, k := range kindNames {
		if all&k.kind == k.kind {
			list = append(list, k.kind)
			all &^= k.kind
		}
	}
	return list, nil
}

func (r *schemaReader) valuesOf(v *value, keyword string) (*shape, error) {
	k := v.get(keyword)
	switch {
	case k == nil:
		return nil, nil
	case keyword == "const":
		k = &value{kind: 'a', items: []*value{k}}
	case k.kind != 'a' || len(k.items) == 0:
		return nil, refuse(v, keyword, "must be an array of values, not empty")
	}
	if r.values += len(k.items); r.values > MaxValues {
		return nil, refuse(v, keyword, "a schema has at most %d values of const and enum", MaxValues)
	}
	return &shape{path: v.path, values: k.items}, nil
}

// constrained reads the keywords that a kind has.
func (r *schemaReader) constrained(v *value, k kinds) (*shape, error) {
	s := newShape(v.path, k)
	var err error
	switch k {
	case kindObject:
		err = r.readObject(v, &s.object)
	case kindArray:
		err = r.readArray(v, &s.array)
	case kindString:
		err = readText(v, &s.text)
	case kindInteger:
		err = readWhole(v, &s.whole)
	case kindInteger | kindNumber:
		for _, keyword := range keywordsOf[kindInteger] {
			if v.get(keyword) != nil {
				return nil, refuse(v, keyword, "is supported for integers only")
			}
		}
	default: // nothing constrains these
	}
	return s, err
}

func (r *schemaReader) readObject(v *value, o *objectShape) (err error) {
	if o.min, o.max, err = bounds(v, "minProperties", "maxProperties"); err != nil {
		return err
	}
	o.properties = map[string]*shape{}
	if p := v.get("properties"); p != nil {
		if p.kind != 'o' {
			return refuse(v, "properties", "must be an object, got %s", p.what())
		}
		for _, f := range p.fields {
			if f.name == "" || f.name == "*" {
				return refuse(p, f.name, "a property cannot have the name %q", f.name)
			}
			if len(f.name) > maxName {
				return refuse(v, "properties", "a property's name has at most %d bytes, got %d", maxName, len(f.name))
			}
			s, err := r.read(f.value)
			if err != nil {
				return err
			}
			o.names = append(o.names, f.name)
			o.properties[f.name] = s
		}
	}
	if o.required, err = names(v, "required"); err != nil {
		return err
	}
	switch others := v.get("additionalProperties"); {
	case others == nil:
	case others.kind == 'b':
		o.closed = others.text == "false"
	default:
		o.others, err = r.read(others)
	}
	return err
}

func names(v *value, keyword string) ([]string, error) {
	k := v.get(keyword)
	if k == nil {
		return nil, nil
	}
	var list []string
	for _, item := range k.items {
		if item.kind == 's' {
			list = append(list, item.text)
		}
	}
	if k.kind != 'a' || len(list) < len(k.items) {
		return nil, refuse(v, keyword, "must be an array of strings, got %s", clip(k.String()))
	}
	return list, nil
}

func (r *schemaReader) readArray(v *value, a *arrayShape) (err error) {
	if a.min, a.max, err = bounds(v, "minItems", "maxItems"); err != nil {
		return err
	}
	items, prefix := v.get("items"), v.get("prefixItems")
	if prefix == nil && items != nil && items.kind == 'a' { // before 2020-12
		items, prefix = v.get("additionalItems"), items
	}
	if prefix != nil {
		if prefix.kind != 'a' {
			return refuse(v, "prefixItems", "must be an array of schemas, got %s", prefix.what())
		}
		for _, item := range prefix.items {
			s, err := r.read(item)
			if err != nil {
				return err
			}
			a.prefix = append(a.prefix, s)
		}
	}
	switch {
	case items == nil:
	case items.kind == 'b':
		if a.closed = items.text == "false"; a.closed && len(a.prefix) == 0 {
			a.max = 0
		}
	default:
		a.items, err = r.read(items)
	}
	return err
}

func readText(v *value, t *textShape) (err error) {
	if t.min, t.max, err = bounds(v, "minLength", "maxLength"); err != nil {
		return err
	}
	if f := v.get("format"); f != nil {
		if f.kind != 's' {
			return refuse(v, "format", "must be a string, got %s", f.what())
		}
		if slices.Contains([]string{"date", "time", "date-time", "uuid"}, f.text) {
			t.format = f.text
		}
	}
	p := v.get("pattern")
	if p == nil {
		return nil
	}
	if p.kind != 's' {
		return refuse(v, "pattern", "must be a string, got %s", p.what())
	}
	if t.pattern, err = rewritePattern(p.text); err != nil {
		return refuse(v, "pattern", "%v", err)
	}
	return nil
}

// bounds reads two counts.
func bounds(v *value, least, most string) (lo, hi int, err error) {
	hi = noMax
	for _, b := range []struct {
		keyword string
		to      *int
	}{{least, &lo}, {most, &hi}} {
		k := v.get(b.keyword)
		if k == nil {
			continue
		}
		n, ok := k.whole()
		if !ok || n < 0 || n > MaxRepeat {
			return 0, 0, refuse(v, b.keyword, "must be an integer from 0 to %d, got %s", MaxRepeat, clip(k.String()))
		}
		*b.to = int(n)
	}
	if hi != noMax && lo > hi {
		return 0, 0, refuse(v, least, "is larger than %s: %d, %d", most, lo, hi)
	}
	return lo, hi, nil
}

// number is the value of a number.
func (v *value) number() (float64, bool) {
	if v.kind != 'n' {
		return 0, false
	}
	f, err := strconv.ParseFloat(v.text, 64)
	return f, err == nil
}

func (v *value) isWhole() bool {
	f, ok := v.number()
	return ok && f == math.Trunc(f)
}

func (v *value) whole() (int64, bool) {
	f, _ := v.number()
	return int64(min(max(f, -1e18), 1e18)), v.isWhole()
}

func readWhole(v *value, w *wholeShape) error {
	for _, keyword := range keywordsOf[kindInteger] {
		k := v.get(keyword)
		if k == nil {
			continue
		}
		f, ok := k.number()
		if !ok {
			return refuse(v, keyword, "must be a number, got %s", k.what())
		}
		f = min(max(f, -1e16), 1e16)
		switch keyword {
		case "minimum":
			w.min = max(w.min, int64(math.Ceil(f)))
		case "exclusiveMinimum":
			w.min = max(w.min, int64(math.Floor(f))+1)
		case "maximum":
			w.max = min(w.max, int64(math.Floor(f)))
		case "exclusiveMaximum":
			w.max = min(w.max, int64(math.Ceil(f))-1)
		}
		if w.min > w.max {
			return refuse(v, keyword, "leaves no integer of at most 15 digits: %d to %d", w.min, w.max)
		}
	}
	return nil
}

// write turns the shapes into a schema again.
func (r *schemaReader) write(s *shape) (json.RawMessage, error) {
	w := &schemaWriter{}
	for s.ref != nil { // beside $ref the converter does not look into $defs
		s = s.ref.shape
	}
	if len(r.order) > 0 {
		w.b.WriteString(`{"$defs":{`)
		for i, d := range r.order {
			if i > 0 {
				w.b.WriteByte(',')
			}
			w.b.WriteString(`"` + d.name + `":`)
			w.write(d.shape)
		}
		w.b.WriteString("},")
		start := w.b.Len()
		w.write(s)
		w.b = *bytes.NewBuffer(slices.Delete(w.b.Bytes(), start, start+1)) // its opening brace
	} else {
		w.write(s)
	}
	if w.b.Len() > maxPrepared {
		return nil, &SchemaError{Message: fmt.Sprintf("the schema is too complex: more than %d bytes when multiplied out", maxPrepared)}
	}
	return w.b.Bytes(), nil
}

type schemaWriter struct{ b bytes.Buffer }

// anything is any value; {} would be any object.
const anything = `{"anyOf":[{"type":"object"},{"type":"array"},{"type":"string"},{"type":"number"},{"type":"boolean"},{"type":"null"}]}`

func (w *schemaWriter) write(s *shape) {
	if w.b.Len() > maxPrepared {
		return
	}
	switch {
	case s.any:
		w.b.WriteString(anything)
	case s.ref != nil:
		w.b.WriteString(`{"$ref":"#/$defs/` + s.ref.name + `"}`)
	case s.choices != nil:
		w.b.WriteString(`{"anyOf":`)
		w.list(s.choices)
		w.b.WriteByte('}')
	case s.values != nil:
		w.b.WriteString(`{"enum":`)
		(&value{kind: 'a', items: s.values}).write(&w.b)
		w.b.WriteByte('}')
	default:
		w.kind(s)
	}
}

func (w *schemaWriter) list(shapes []*shape) {
	w.b.WriteByte('[')
	for i, s := range shapes {
		if i > 0 {
			w.b.WriteByte(',')
		}
		w.write(s)
	}
	w.b.WriteByte(']')
}

func (w *schemaWriter) kind(s *shape) {
	name := ""
	for _, k := range kindNames {
		if k.kind == s.kind {
			name = k.name
		}
	}
	w.b.WriteString(`{"type":"` + name + `"`)
	switch s.kind {
	case kindObject:
		w.object(&s.object)
	case kindArray:
		w.array(&s.array)
	case kindString:
		w.text(&s.text)
	case kindInteger:
		if s.whole != (wholeShape{-maxInteger, maxInteger}) {
			// Both bounds, always: from one alone the converter makes "at least 100" match 10.
			fmt.Fprintf(&w.b, `,"minimum":%d,"maximum":%d`, s.whole.min, s.whole.max)
		}
	default:
	}
	w.b.WriteByte('}')
}

func (w *schemaWriter) object(o *objectShape) {
	if len(o.names) == 0 && !o.closed {
		if o.others != nil && !o.others.any {
			w.b.WriteString(`,"additionalProperties":`)
			w.write(o.others)
		}
		return
	}
	// No others beside these: the converter lets their keys hold backslashes, which break the string.
	w.b.WriteString(`,"properties":{`)
	for i, name := range o.names {
		if i > 0 {
			w.b.WriteByte(',')
		}
		w.b.Write(quote(name))
		w.b.WriteByte(':')
		w.write(o.properties[name])
	}
	w.b.WriteString(`},"required":[`)
	for i, name := range o.required {
		if i > 0 {
			w.b.WriteByte(',')
		}
		w.b.Write(quote(name))
	}
	w.b.WriteString(`],"additionalProperties":false`)
}

func (w *schemaWriter) array(a *arrayShape) {
	switch {
	case len(a.prefix) > 0:
		w.b.WriteString(`,"prefixItems":`)
		w.list(a.prefix)
		return
	case a.items == nil && a.min == 0 && a.max == noMax:
		return
	}
	items := a.items
	if items == nil {
		items = &shape{any: true}
	}
	w.b.WriteString(`,"items":`)
	w.write(items)
	w.limits("Items", a.min, a.max)
}

func (w *schemaWriter) limits(of string, least, most int) {
	if least > 0 {
		fmt.Fprintf(&w.b, `,"min%s":%d`, of, least)
	}
	if most != noMax {
		fmt.Fprintf(&w.b, `,"max%s":%d`, of, most)
	}
}

func (w *schemaWriter) text(t *textShape) {
	switch {
	case t.pattern != "":
		w.b.WriteString(`,"pattern":`)
		w.b.Write(quote(t.pattern))
	case t.min > 0 || t.max != noMax: // and no format, which is an annotation
		w.limits("Length", t.min, t.max)
	case t.format != "":
		w.b.WriteString(`,"format":"` + t.format + `"`)
	}
}
