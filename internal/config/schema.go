package config

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// Schema is the JSON schema of the file (draft 2020-12), for editors. It ends in a line break.
func Schema() []byte {
	s := groupSchema(reflect.TypeFor[Config]())
	s.Schema, s.ID, s.Title = "https://json-schema.org/draft/2020-12/schema", "urn:aim:config:"+strconv.Itoa(Version), "aim.yaml"
	s.Required = []string{"version"}
	s.Properties["version"].Const = json.RawMessage(strconv.Itoa(Version))
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(err) // it is made of types of ours
	}
	return append(b, '\n')
}

// schema is as much of JSON schema as is used here.
type schema struct {
	Schema      string             `json:"$schema,omitempty"`
	ID          string             `json:"$id,omitempty"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Type        any                `json:"type,omitempty"`
	Const       json.RawMessage    `json:"const,omitempty"`
	Enum        []any              `json:"enum,omitempty"`
	Pattern     string             `json:"pattern,omitempty"`
	Minimum     *float64           `json:"minimum,omitempty"`
	Maximum     *float64           `json:"maximum,omitempty"`
	Default     any                `json:"default,omitempty"`
	Required    []string           `json:"required,omitempty"`
	Properties  map[string]*schema `json:"properties,omitempty"`
	Names       *schema            `json:"propertyNames,omitempty"`
	Others      any                `json:"additionalProperties,omitempty"`
	Items       *schema            `json:"items,omitempty"`
}

const (
	durationPattern = `^[-+]?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+$`
	sizePattern     = `^[0-9]+(\.[0-9]+)?\s*([KMGT]iB|B)?$`
	namePattern     = `^[A-Za-z0-9_.:@+/-]{1,128}$`
)

// groupSchema is the schema of a group of settings.
func groupSchema(t reflect.Type) *schema {
	s := &schema{Type: []string{"object", "null"}, Properties: map[string]*schema{}, Others: false}
	for i := range t.NumField() {
		f := t.Field(i)
		if key(f) == "" {
			continue
		}
		p := fieldSchema(f)
		p.Description = docs()[t.Name()+"."+f.Name]
		s.Properties[key(f)] = p
		if f.Tag.Get("check") == "required" {
			s.Required = append(s.Required, key(f))
		}
	}
	return s
}

// fieldSchema is the schema of a setting.
func fieldSchema(f reflect.StructField) *schema {
	t := f.Type
	switch {
	case !isLeaf(t) && t.Kind() == reflect.Map:
		return &schema{Type: []string{"object", "null"}, Names: &schema{Pattern: namePattern}, Others: groupSchema(t.Elem().Elem())}
	case !isLeaf(t) && t.Kind() == reflect.Slice:
		return &schema{Type: []string{"array", "null"}, Items: groupSchema(t.Elem())}
	case !isLeaf(t):
		return groupSchema(t)
	case t.Kind() == reflect.Map:
		return &schema{Type: []string{"object", "null"}}
	case t.Kind() == reflect.Slice:
		return &schema{Type: []string{"array", "null"}, Items: scalarSchema(t.Elem(), f.Tag.Get("check"))}
	}
	s := scalarSchema(t, f.Tag.Get("check"))
	if def := f.Tag.Get("default"); def != "" {
		s.Default = jsonDefault(t, def)
	}
	return s
}

// scalarSchema is the schema of a value with a domain.
func scalarSchema(t reflect.Type, check string) *schema {
	switch {
	case t.Kind() == reflect.Pointer:
		t = t.Elem()
	case t == durationType:
		return &schema{Type: []string{"string", "integer"}, Pattern: durationPattern}
	case t == reflect.TypeFor[Size]():
		return &schema{Type: []string{"string", "integer"}, Pattern: sizePattern}
	case t == reflect.TypeFor[AutoSize]():
		return &schema{Type: []string{"string", "integer"}, Pattern: sizePattern + "|^auto$"}
	case t == reflect.TypeFor[Toggle]():
		return &schema{Enum: []any{true, false, "auto", "on", "off"}}
	case t == reflect.TypeFor[Layers]():
		return &schema{Type: []string{"string", "integer"}, Pattern: "^(auto|all)$"}
	}
	s := &schema{Type: map[reflect.Kind]string{reflect.Bool: "boolean", reflect.Int: "integer", reflect.Float64: "number"}[t.Kind()]}
	if s.Type == "" {
		s.Type = "string"
	}
	if lo, hi, ok := strings.Cut(check, ".."); ok {
		s.Minimum, s.Maximum = number(lo), number(hi)
	} else if strings.Contains(check, "|") {
		for w := range strings.SplitSeq(check, "|") {
			s.Enum = append(s.Enum, w)
		}
	}
	return s
}

func number(text string) *float64 {
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil
	}
	return &x
}

// jsonDefault is a default in the terms of JSON.
func jsonDefault(t reflect.Type, text string) any {
	switch t.Kind() {
	case reflect.Bool:
		return text == "true"
	case reflect.Int, reflect.Float64:
		if x := number(text); x != nil {
			return *x
		}
	default:
	}
	return text
}
