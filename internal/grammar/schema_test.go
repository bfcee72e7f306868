package grammar

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestPrepareSchema(t *testing.T) {
	const value = anything
	tests := []struct{ name, schema, want string }{
		{
			"pydantic model", `{"$defs":{"Color":{"enum":["red","blue"],"title":"Color","type":"string"}},"properties":{"name":{"maxLength":20,"title":"Name","type":"string"},
			"color":{"$ref":"#/$defs/Color","default":"red","description":"which"},"age":{"anyOf":[{"type":"integer","minimum":0},{"type":"null"}],"default":null},"any":{"title":"Any"},
			"born":{"format":"date","type":"string"},"mail":{"format":"email","type":"string"}},"required":["name"],"title":"Person","type":"object"}`,
			`{"$defs":{"schema0":{"enum":["red","blue"]}},"type":"object","properties":{"name":{"type":"string","maxLength":20},"color":{"$ref":"#/$defs/schema0"},` +
				`"age":{"anyOf":[{"type":"integer","minimum":0,"maximum":999999999999999},{"type":"null"}]},"any":` + value + `,"born":{"type":"string","format":"date"},"mail":{"type":"string"}},` +
				`"required":["name"],"additionalProperties":false}`,
		},
		{
			"zod object", `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"kind":{"type":"string","const":"a"},"at":{"type":"string","format":"date-time","pattern":"^a$"},
			"pair":{"type":"array","prefixItems":[{"type":"string"},{"type":"number"}],"items":false}},"required":["kind","pair"],"additionalProperties":false}`,
			`{"type":"object","properties":{"kind":{"enum":["a"]},"at":{"type":"string","pattern":"^a$"},"pair":{"type":"array","prefixItems":[{"type":"string"},{"type":"number"}]}},` +
				`"required":["kind","pair"],"additionalProperties":false}`,
		},
		{"anything", `{}`, value},
		{"true", `true`, value},
		{"unknown words", `{"type":"string","nullable":true,"x-y":1,"examples":["a"]}`, `{"type":"string"}`},
		{"a type implied", `{"maxLength":3}`, `{"type":"string","maxLength":3}`},
		{"types", `{"type":["string","null"],"minLength":2}`, `{"anyOf":[{"type":"string","minLength":2},{"type":"null"}]}`},
		{"twice an object", `{"type":["object","object"],"properties":{"a":{"type":"null"}}}`, `{"type":"object","properties":{"a":{"type":"null"}},"required":[],"additionalProperties":false}`},
		{"enum of types", `{"type":["string","null"],"enum":["a",null,3]}`, `{"anyOf":[{"enum":["a"]},{"enum":[null]}]}`},
		{"a map", `{"type":"object","additionalProperties":{"type":"integer"}}`, `{"type":"object","additionalProperties":{"type":"integer"}}`},
		{"others dropped", `{"properties":{"a":{"type":"null"}},"additionalProperties":true}`, `{"type":"object","properties":{"a":{"type":"null"}},"required":[],"additionalProperties":false}`},
		{"required without a schema", `{"type":"object","required":["a"]}`, `{"type":"object","properties":{"a":` + value + `},"required":["a"],"additionalProperties":false}`},
		{"allOf of one", `{"allOf":[{"type":"string"}],"title":"x"}`, `{"type":"string"}`},
		{
			"allOf merged", `{"allOf":[{"properties":{"a":{"type":"integer","minimum":1}},"required":["a"]},{"properties":{"b":{"type":"null"},"a":{"type":"number"}}}]}`,
			`{"type":"object","properties":{"a":{"type":"integer","minimum":1,"maximum":999999999999999},"b":{"type":"null"}},"required":["a"],"additionalProperties":false}`,
		},
		{
			"one of two required", `{"properties":{"a":{"type":"null"},"b":{"type":"null"}},"additionalProperties":false,"anyOf":[{"required":["a"]},{"required":["b"]}]}`,
			`{"anyOf":[{"type":"object","properties":{"a":{"type":"null"},"b":{"type":"null"}},"required":["a"],"additionalProperties":false},` +
				`{"type":"object","properties":{"a":{"type":"null"},"b":{"type":"null"}},"required":["b"],"additionalProperties":false}]}`,
		},
		{"integers", `{"type":"integer","exclusiveMinimum":2.5,"maximum":7.9,"minimum":-4}`, `{"type":"integer","minimum":3,"maximum":7}`},
		{"array", `{"type":"array","minItems":2}`, `{"type":"array","items":` + value + `,"minItems":2}`},
		{"old tuple", `{"type":"array","items":[{"type":"null"}],"additionalItems":{"type":"string"},"minItems":2}`, `{"type":"array","prefixItems":[{"type":"null"},{"type":"string"}]}`},
		{
			"recursive", `{"type":"object","properties":{"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},"required":["next"]}`,
			`{"$defs":{"schema0":{"type":"object","properties":{"next":{"anyOf":[{"$ref":"#/$defs/schema0"},{"type":"null"}]}},"required":["next"],"additionalProperties":false}},` +
				`"type":"object","properties":{"next":{"anyOf":[{"$ref":"#/$defs/schema0"},{"type":"null"}]}},"required":["next"],"additionalProperties":false}`,
		},
		{"escaped pointer", `{"$ref":"#/definitions/a~1b%20c","definitions":{"a/b c":{"type":"null"}}}`, `{"$defs":{"schema0":{"type":"null"}},"type":"null"}`},
		{
			"told apart", `{"oneOf":[{"properties":{"k":{"const":1}},"required":["k"]},{"properties":{"k":{"const":2}},"required":["k"]}]}`,
			`{"anyOf":[{"type":"object","properties":{"k":{"enum":[1]}},"required":["k"],"additionalProperties":false},{"type":"object","properties":{"k":{"enum":[2]}},"required":["k"],"additionalProperties":false}]}`,
		},
		{"pattern", `{"type":"string","pattern":"^\\d{3}-[^a]\"$"}`, `{"type":"string","pattern":"^([0-9]){3}[\\x2D][\\x20-\\x21\\x23-\\x5B\\x5D-\\x60b-\\x7E\\u0080-\\uD7FF\\uE000-\\U0010FFFF]([\\\\][\"])$"}`},
		{"idle", `{"type":"object","patternProperties":{},"minProperties":0,"uniqueItems":false}`, `{"type":"object"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := PrepareSchema(json.RawMessage(test.schema))
			if err != nil {
				t.Fatal(err)
			}
			if test.want = strings.ReplaceAll(test.want, `\u0080`, `\x80`); string(got) != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
			if strings.Contains(test.want, `"pattern"`) { // those are in the converter's dialect now
				return
			}
			again, err := PrepareSchema(got)
			if err != nil {
				t.Fatalf("what was prepared is refused: %v", err)
			}
			if s := string(again); s != string(got) && test.name != "escaped pointer" { // whose definition is not needed any more
				t.Errorf("prepared again it is\n%s\nwas\n%s", again, got)
			}
		})
	}
}

func TestSchemaErrors(t *testing.T) {
	tests := []struct{ schema, path, keyword, message string }{
		{`5`, "", "", "an object or a boolean"},
		{`{`, "", "", "not JSON"},
		{`{} {}`, "", "", "follows"},
		{`{"type":5}`, "", "type", "a type or an array"},
		{`{"type":"text"}`, "", "type", `got "text"`},
		{`{"a":1,"a":2}`, "", "a", "twice"},
		{`{"properties":{"a/b":{"not":{}}}}`, "/properties/a~1b", "not", "not supported"},
		{`{"if":{}}`, "", "if", "not supported"},
		{`{"patternProperties":{"a":{}}}`, "", "patternProperties", "not supported"},
		{`{"propertyNames":{"maxLength":3}}`, "", "propertyNames", "not supported"},
		{`{"type":"array","uniqueItems":true}`, "", "uniqueItems", "not supported"},
		{`{"type":"array","contains":{}}`, "", "contains", "not supported"},
		{`{"type":"integer","multipleOf":5}`, "", "multipleOf", "not supported"},
		{`{"dependentRequired":{"a":["b"]}}`, "", "dependentRequired", "not supported"},
		{`{"unevaluatedProperties":false}`, "", "unevaluatedProperties", "not supported"},
		{`{"type":"number","minimum":0}`, "", "minimum", "integers only"},
		{`{"type":"integer","minimum":"0"}`, "", "minimum", "must be a number"},
		{`{"type":"integer","minimum":5,"maximum":4}`, "", "maximum", "no integer"},
		{`{"type":"object","minProperties":1}`, "", "minProperties", "required properties"},
		{`{"type":"object","maxProperties":1}`, "", "maxProperties", "number of properties"},
		{`{"properties":{"a":{}},"additionalProperties":false,"required":["b"]}`, "", "required", `"b" is no property`},
		{`{"required":"a"}`, "", "required", "array of strings"},
		{`{"properties":[]}`, "", "properties", "must be an object"},
		{`{"properties":{"":{}}}`, "/properties", "", "cannot have the name"},
		{`{"type":"string","minLength":3,"maxLength":2}`, "", "minLength", "larger"},
		{`{"type":"string","maxLength":1e9}`, "", "maxLength", "from 0 to 100000"},
		{`{"type":"string","minLength":-1}`, "", "minLength", "from 0"},
		{`{"type":"string","pattern":"(?=a)"}`, "", "pattern", "invalid or unsupported"},
		{`{"type":"string","pattern":"a\\bc"}`, "", "pattern", "not supported"},
		{`{"type":"string","pattern":"a^b"}`, "", "pattern", "anchor"},
		{`{"type":"string","pattern":"(?i)a"}`, "", "pattern", "case"},
		{`{"type":"string","pattern":"^a+$","maxLength":4}`, "", "pattern", "together"},
		{`{"enum":[]}`, "", "enum", "not empty"},
		{`{"type":"string","enum":[1]}`, "", "enum", "nothing can match"},
		{`{"enum":["a"],"maxLength":1}`, "", "enum", "combination"},
		{`{"anyOf":[]}`, "", "anyOf", "not empty"},
		{`{"oneOf":[{"type":"number"},{"type":"integer"}]}`, "", "oneOf", "alternatives 0 and 1"},
		{`{"oneOf":[{"type":"string","format":"email"},{"type":"string"}]}`, "", "oneOf", "alternatives"},
		{`{"allOf":[{"type":"string"},{"type":"null"}]}`, "", "allOf", "nothing can match"},
		{`{"items":{"$ref":"https://example.com/a"}}`, "/items", "$ref", "within the schema"},
		{`{"$ref":"#/a"}`, "", "$ref", "there is no"},
		{`{"$ref":"#"}`, "", "$ref", "refers to itself"},
		{`{"$ref":"#/$defs/a","$defs":{"a":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/b"}]},"b":{"$ref":"#/$defs/a"}}}`, "/$defs/a/anyOf/1", "$ref", "refers to itself"},
		{`{"$ref":"#/$defs/a","$defs":{"a":{"properties":{"x":{"$ref":"#/$defs/a"}},"required":["x"]}}}`, "/$defs/a", "", "no finite text"},
		{`{"$ref":"#/$defs/a","$defs":{"a":{"items":{"$ref":"#/$defs/a"},"minItems":1}}}`, "/$defs/a", "", "no finite text"},
		{`{"const":1e999}`, "/const", "", "out of range"},
		{strings.Repeat(`{"items":`, 70) + `{}` + strings.Repeat(`}`, 70), strings.Repeat("/items", 65), "", "at most 64 deep"},
		{`{"description":"` + strings.Repeat("a", MaxSchema) + `"}`, "", "", "bytes"},
	}
	for _, test := range tests {
		err := CheckSchema(json.RawMessage(test.schema))
		var e *SchemaError
		if !errors.As(err, &e) || e.Path != test.path || e.Keyword != test.keyword || !strings.Contains(e.Message, test.message) {
			t.Errorf("%.120s: got %v, want %s %s: …%s…", test.schema, err, test.path, test.keyword, test.message)
		}
	}
}

// TestHostileSchemas: what multiplies out is refused or small, and soon.
func TestHostileSchemas(t *testing.T) {
	nest := func(format string, depth int) string {
		s := `{"type":"null"}`
		for range depth {
			s = fmt.Sprintf(format, s)
		}
		return s
	}
	pair := `{"anyOf":[{"properties":{"a":{}}},{"properties":{"b":{}}}]}`
	var refs, optional strings.Builder
	for i := range 300 {
		fmt.Fprintf(&refs, `"a%d":{"$ref":"#/$defs/a%d"},`, i, i+1)
		fmt.Fprintf(&optional, `"p%d":{},`, i)
	}
	tests := map[string]string{
		"product of choices":    `{"allOf":[` + strings.TrimSuffix(strings.Repeat(pair+",", 30), ",") + `]}`,
		"shared others":         nest(`{"required":["a","b","c","d"],"additionalProperties":%s}`, 30),
		"shared choices":        nest(`{"anyOf":[{},{}],"allOf":[%s]}`, 15),
		"types":                 nest(`{"type":["object","array"],"properties":{"a":{}},"items":%s}`, 25),
		"chain of references":   `{"$ref":"#/$defs/a0","$defs":{` + refs.String() + `"a300":{"type":"null"}}}`,
		"many optional":         `{"properties":{` + optional.String() + `"z":{}}}`,
		"many values":           `{"enum":[` + strings.Repeat("1,", 3000) + `1]}`,
		"oneOf of many objects": `{"oneOf":[` + strings.Repeat(`{"properties":{"a":{}}},`, 2000) + `{}]}`,
	}
	for name, schema := range tests {
		t.Run(name, func(t *testing.T) {
			out, err := PrepareSchema(json.RawMessage(schema))
			if len(out) > maxPrepared {
				t.Errorf("%d bytes", len(out))
			}
			t.Logf("%d bytes, %v", len(out), err)
		})
	}
}

func FuzzPrepareSchema(f *testing.F) {
	for _, s := range []string{`{}`, `{"$ref":"#"}`, `{"type":"string","pattern":"^a(b|c)*$"}`, `{"allOf":[{"properties":{"a":{}}},{"required":["a"]}],"oneOf":[{"type":"null"}]}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, schema string) {
		out, err := PrepareSchema(json.RawMessage(schema))
		var e *SchemaError
		switch {
		case err == nil:
			if !json.Valid(out) {
				t.Errorf("%q became %q", schema, out)
			}
		case !errors.As(err, &e):
			t.Errorf("%q: %v is no SchemaError", schema, err)
		}
	})
}
