package grammar

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// value is a JSON value whose objects keep their order, since the properties of an answer come in the order of the schema.
type value struct {
	kind   byte // 'o', 'a', 's' (string), 'n' (number), 'b' (boolean), '0' (null)
	fields []field
	items  []*value
	text   string // strings: what they stand for; numbers and booleans: as written
	path   string // JSON pointer
}

type field struct {
	name  string
	value *value
}

// get is a field, or nil.
func (v *value) get(name string) *value {
	for _, f := range v.fields {
		if f.name == name {
			return f.value
		}
	}
	return nil
}

// what names the kind of a value in messages.
func (v *value) what() string {
	return map[byte]string{'o': "an object", 'a': "an array", 's': "a string", 'n': "a number", 'b': "a boolean", '0': "null"}[v.kind]
}

// pointer appends a reference token to a JSON pointer (RFC 6901).
func pointer(path, token string) string {
	return path + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(token)
}

// readValue parses a JSON text within the bounds of a schema.
func readValue(text []byte) (*value, error) {
	if len(text) > MaxSchema {
		return nil, &SchemaError{Message: fmt.Sprintf("a schema has at most %d bytes, got %d", MaxSchema, len(text))}
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := decode(d, "", 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, &SchemaError{Message: "text follows the schema"}
	}
	return v, nil
}

func decode(d *json.Decoder, path string, depth int) (*value, error) {
	if depth > MaxSchemaDepth {
		return nil, &SchemaError{Path: path, Message: fmt.Sprintf("a schema nests at most %d deep", MaxSchemaDepth)}
	}
	token, err := d.Token()
	if err != nil {
		return nil, &SchemaError{Path: path, Message: "not JSON: " + err.Error()}
	}
	v := &value{path: path}
	switch t := token.(type) {
	case string:
		v.kind, v.text = 's', t
	case json.Number:
		v.kind, v.text = 'n', t.String()
		if _, err := t.Float64(); err != nil {
			return nil, &SchemaError{Path: path, Message: "the number " + t.String() + " is out of range"}
		}
	case bool:
		v.kind, v.text = 'b', strconv.FormatBool(t)
	case nil:
		v.kind = '0'
	case json.Delim:
		if t == '{' {
			err = v.decodeObject(d, depth)
		} else {
			err = v.decodeArray(d, depth)
		}
	}
	return v, err
}

func (v *value) decodeObject(d *json.Decoder, depth int) error {
	v.kind = 'o'
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return &SchemaError{Path: v.path, Message: "not JSON: " + err.Error()}
		}
		name := token.(string)
		if seen[name] {
			return &SchemaError{Path: v.path, Keyword: name, Message: "appears twice"}
		}
		seen[name] = true
		item, err := decode(d, pointer(v.path, name), depth+1)
		if err != nil {
			return err
		}
		v.fields = append(v.fields, field{name, item})
	}
	return v.closed(d)
}

func (v *value) decodeArray(d *json.Decoder, depth int) error {
	v.kind = 'a'
	for d.More() {
		item, err := decode(d, v.path+"/"+strconv.Itoa(len(v.items)), depth+1)
		if err != nil {
			return err
		}
		v.items = append(v.items, item)
	}
	return v.closed(d)
}

func (v *value) closed(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return &SchemaError{Path: v.path, Message: "not JSON: " + err.Error()}
	}
	return nil
}

// write appends the value as JSON.
func (v *value) write(b *bytes.Buffer) {
	switch v.kind {
	case 'o':
		b.WriteByte('{')
		for i, f := range v.fields {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(quote(f.name))
			b.WriteByte(':')
			f.value.write(b)
		}
		b.WriteByte('}')
	case 'a':
		b.WriteByte('[')
		for i, item := range v.items {
			if i > 0 {
				b.WriteByte(',')
			}
			item.write(b)
		}
		b.WriteByte(']')
	case 's':
		b.Write(quote(v.text))
	case '0':
		b.WriteString("null")
	default:
		b.WriteString(v.text)
	}
}

// String is the value as JSON.
func (v *value) String() string {
	var b bytes.Buffer
	v.write(&b)
	return b.String()
}

// quote is a string as JSON. What is not UTF-8 was replaced when it was read, so it cannot fail.
func quote(s string) []byte {
	b, _ := json.Marshal(s)
	return b
}

// find follows a JSON pointer.
func (v *value) find(path string) *value {
	for path != "" && v != nil {
		if path[0] != '/' {
			return nil
		}
		token, rest, found := strings.Cut(path[1:], "/")
		path = ""
		if found {
			path = "/" + rest
		}
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		switch v.kind {
		case 'o':
			v = v.get(token)
		case 'a':
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(v.items) {
				return nil
			}
			v = v.items[i]
		default:
			return nil
		}
	}
	return v
}
