package server

import (
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"reflect"
	"regexp"
	"strings"

	"github.com/gin-gonic/gin"
)

// schema is a JSON schema of draft 2020-12, which OpenAPI 3.1 uses as it is.
type schema = map[string]any

// openAPI serves GET /openapi.json.
func (s *Server) openAPI(c *gin.Context) { writeJSON(c, http.StatusOK, s.document()) }

// document describes the API, as OpenAPI 3.1 has it.
func (s *Server) document() map[string]any {
	d := &document{schemas: schema{}}
	paths := map[string]any{}
	for _, r := range s.routes() {
		if r.when != nil && !r.when() {
			continue
		}
		path := wildcard.ReplaceAllString(r.path, "{$1}")
		item, ok := paths[path].(map[string]any)
		if !ok {
			item = map[string]any{}
			paths[path] = item
		}
		item[strings.ToLower(r.method)] = d.operation(r, path)
	}
	d.schemas["Error"] = errorSchema()
	return map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{
			"title": "Aim", "version": "1",
			"description": "OpenAI's API over local models whose logits are modulated. Fields that are null count as absent; fields that are not listed are ignored, but for those in aim.",
		},
		"paths":      paths,
		"components": map[string]any{"schemas": d.schemas},
	}
}

// document gathers schemas while its operations are written.
type document struct{ schemas schema }

// wildcard is Gin's parameter that takes the rest of a path.
var wildcard = regexp.MustCompile(`[*:](\w+)`)

func (d *document) operation(r route, path string) map[string]any {
	op := map[string]any{"summary": r.doc, "operationId": operationID(r)}
	if strings.Contains(path, "{id}") {
		op["parameters"] = []any{map[string]any{"name": "id", "in": "path", "required": true, "schema": schema{"type": "string"}}}
	}
	if r.body != 0 {
		op["requestBody"] = map[string]any{"required": true, "content": content("application/json", d.request(r))}
	}
	ok := map[string]any{"description": "The answer."}
	if r.answer != nil {
		types := content("application/json", d.typed(reflect.TypeOf(r.answer)))
		if r.event != nil {
			maps.Copy(types, content("text/event-stream", d.typed(reflect.TypeOf(r.event))))
			ok["description"] = "The answer; with stream its chunks, one in the data of each event, and [DONE] in the last."
			if _, isChunk := reflect.TypeOf(r.event).FieldByName("Choices"); !isChunk {
				ok["description"] = "The answer; with stream its events, which have the type as their name, too."
			}
		}
		ok["content"] = types
	}
	failure := ref("Error")
	if ofMessages(path) {
		failure = d.typed(reflect.TypeFor[messagesFailure]())
	}
	op["responses"] = map[string]any{
		"200":     ok,
		"default": map[string]any{"description": "What is wrong.", "content": content("application/json", failure)},
	}
	return op
}

func operationID(r route) string {
	words := strings.FieldsFunc(r.path, func(c rune) bool { return strings.ContainsRune("/*:._", c) })
	return strings.ToLower(r.method) + "-" + strings.Join(words, "-")
}

func content(mime string, s schema) map[string]any {
	return map[string]any{mime: map[string]any{"schema": s}}
}

func ref(name string) schema { return schema{"$ref": "#/components/schemas/" + name} }

// request is the schema of a request.
func (d *document) request(r route) schema {
	own := d.object(bodyOf(r.body), false)
	if r.extends == 0 {
		d.schemas[r.name] = own
		return ref(r.name)
	}
	d.schemas[r.name] = schema{
		"allOf": []any{own, schema{"anyOf": []any{ref("ChatRequest"), ref("CompletionRequest")}}},
	}
	return ref(r.name)
}

// object is the schema of an object with the given fields.
func (d *document) object(fields []*field, closed bool) schema {
	properties, required := schema{}, []string{}
	for _, f := range fields {
		s := d.field(f)
		properties[f.name] = s
		if f.required {
			required = append(required, f.name)
		}
		for _, alias := range f.aliases {
			other := maps.Clone(s)
			other["description"] = "The same as " + f.name + "."
			delete(other, "default")
			properties[alias] = other
		}
	}
	o := schema{"type": "object", "properties": properties}
	if len(required) > 0 {
		o["required"] = required
	}
	if closed {
		o["additionalProperties"] = false
	}
	return o
}

// field is the schema of a field. All but those that are required may be null.
func (d *document) field(f *field) schema {
	names := f.types.names()
	if !f.required {
		names = append(names, "null")
	}
	s := schema{"type": names}
	if f.doc != "" {
		s["description"] = f.doc
	}
	if f.def != nil {
		s["default"] = f.def
	} else if f.absent != "" {
		s["description"] = f.doc + " Default: " + f.absent + "."
	}
	f.limit(s)
	if f.of != nil && f.types&isObject != 0 {
		d.members(f.of)
		s = nullable(s, ref(f.of.name))
	}
	if f.items != nil {
		items := d.field(&field{types: f.items.types, bounds: f.items.bounds, enum: f.items.enum, mostBytes: f.items.mostBytes, required: true})
		if f.items.of != nil {
			d.members(f.items.of)
			items = ref(f.items.of.name)
		}
		if f.types&isArray != 0 {
			s["items"] = items
		}
	}
	return s
}

// nullable is s for an object whose members a schema of its own describes.
func nullable(s, object schema) schema {
	others := []any{}
	names, _ := s["type"].([]string)
	for _, name := range names {
		one := schema{"type": name}
		if enum, ok := s["enum"]; ok && name == "string" {
			one["enum"] = enum
		}
		if name != "object" {
			others = append(others, one)
		}
	}
	delete(s, "type")
	delete(s, "enum")
	s["anyOf"] = append([]any{object}, others...)
	return s
}

// limit adds the domain of a field.
func (f *field) limit(s schema) {
	if b := f.bounds; b != nil && f.types&(isNumber|isInteger) != 0 {
		interval := schema{"minimum": b.low}
		if b.open {
			interval = schema{"exclusiveMinimum": b.low}
		}
		if !math.IsInf(b.high, 1) {
			interval["maximum"] = b.high
		}
		if math.IsNaN(b.also) {
			maps.Copy(s, interval)
		} else {
			s["anyOf"] = []any{interval, schema{"const": b.also}, schema{"type": "null"}}
		}
	}
	if f.enum != nil {
		values := []any{}
		for _, v := range f.enum {
			values = append(values, v)
		}
		if !f.required {
			values = append(values, nil)
		}
		s["enum"] = values
	}
	if f.most > 0 && f.types&isArray != 0 {
		s["maxItems"] = f.most
	}
	if f.mostBytes > 0 {
		s["maxLength"] = f.mostBytes
	}
}

// members adds the schema of a group.
func (d *document) members(g *group) {
	if _, ok := d.schemas[g.name]; !ok {
		d.schemas[g.name] = nil // it may contain itself
		d.schemas[g.name] = d.object(g.fields, g.closed)
	}
}

// typed is the schema of what encoding/json makes of a type.
func (d *document) typed(t reflect.Type) schema {
	if t == reflect.TypeFor[json.RawMessage]() {
		return schema{}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schema{"anyOf": []any{d.typed(t.Elem()), schema{"type": "null"}}}
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return schema{"type": "number"}
	case reflect.Slice:
		return schema{"type": []string{"array", "null"}, "items": d.typed(t.Elem())}
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": d.typed(t.Elem())}
	case reflect.Interface:
		return schema{}
	case reflect.Struct:
		name := named[t]
		if name == "" {
			return d.structure(t)
		}
		if _, ok := d.schemas[name]; !ok {
			d.schemas[name] = d.structure(t)
		}
		return ref(name)
	default:
		return schema{"type": "integer"}
	}
}

func (d *document) structure(t reflect.Type) schema {
	properties, required := schema{}, []string{}
	var add func(t reflect.Type)
	add = func(t reflect.Type) {
		for i := range t.NumField() {
			f := t.Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Anonymous && name == "":
				add(f.Type)
				continue
			case name == "" || name == "-":
				continue
			case name == "usage" && f.Type.Kind() == reflect.Interface:
				f.Type = reflect.TypeFor[*usage]()
			}
			properties[name] = d.typed(f.Type)
			if !strings.Contains(options, "omitempty") {
				required = append(required, name)
			}
		}
	}
	add(t)
	o := schema{"type": "object", "properties": properties}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

func errorSchema() schema {
	text := func(null bool) schema {
		if null {
			return schema{"type": []string{"string", "null"}}
		}
		return schema{"type": "string"}
	}
	fields := schema{"message": text(false), "type": text(false), "param": text(true), "code": text(true)}
	return schema{
		"type": "object", "required": []string{"error"},
		"properties": schema{"error": schema{"type": "object", "properties": fields, "required": []string{"message", "type", "param", "code"}}},
	}
}
