package config

import (
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

// Print writes the configuration in force as a file, with where each setting came from in a comment. Passwords are hidden; a file that has none is
// read back as the same configuration.
func (c *Config) Print(w io.Writer) error {
	p := &printer{c: c}
	p.group(reflect.ValueOf(c).Elem(), "", 0)
	_, err := io.WriteString(w, p.b.String())
	return err
}

type printer struct {
	c *Config
	b strings.Builder
}

// line writes a key with its value and origin.
func (p *printer) line(depth int, key, text, path string) {
	start := p.b.Len()
	p.b.WriteString(strings.Repeat("  ", depth) + key + ":")
	if text != "" {
		p.b.WriteString(" " + text)
	}
	if path != "" {
		p.b.WriteString(strings.Repeat(" ", max(1, 44-(p.b.Len()-start))) + "# " + p.c.Origin(path).String())
	}
	p.b.WriteByte('\n')
}

// String is o in words.
func (o Origin) String() string {
	switch o.From {
	case FromFile:
		return fmt.Sprintf("%s:%d", o.Name, o.Line)
	case FromEnvironment, FromFlag:
		return o.Name
	}
	return FromDefault
}

func (p *printer) group(v reflect.Value, path string, depth int) {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		if key(f) == "" {
			continue
		}
		at, x := join(path, key(f)), v.Field(i)
		switch {
		case isLeaf(f.Type) && f.Type.Kind() == reflect.Map:
			p.parameters(x, key(f), at, depth)
		case isLeaf(f.Type):
			if x.Kind() != reflect.Pointer || !x.IsNil() {
				p.line(depth, key(f), yamlText(x), at)
			}
		case f.Type.Kind() == reflect.Map:
			p.named(x, key(f), at, depth)
		case f.Type.Kind() == reflect.Slice:
			p.list(x, key(f), at, depth)
		default:
			p.line(depth, key(f), "", "")
			p.group(x, at, depth+1)
		}
	}
}

func (p *printer) named(v reflect.Value, key, path string, depth int) {
	if v.Len() == 0 {
		p.line(depth, key, "{}", path)
		return
	}
	p.line(depth, key, "", "")
	for _, name := range sortedKeys(v) {
		p.line(depth+1, quote(name), "", "")
		p.group(v.MapIndex(reflect.ValueOf(name)).Elem(), join(path, name), depth+2)
	}
}

func (p *printer) parameters(v reflect.Value, key, path string, depth int) {
	if v.Len() == 0 {
		p.line(depth, key, "{}", path)
		return
	}
	p.line(depth, key, "", "")
	for _, name := range sortedKeys(v) {
		p.line(depth+1, quote(name), yamlText(v.MapIndex(reflect.ValueOf(name))), join(path, name))
	}
}

func (p *printer) list(v reflect.Value, key, path string, depth int) {
	if v.Len() == 0 {
		p.line(depth, key, "[]", path)
		return
	}
	p.line(depth, key, "", "")
	for i := range v.Len() {
		start := p.b.Len()
		p.group(v.Index(i), path+"["+strconv.Itoa(i)+"]", depth+2)
		text := p.b.String()
		indent := strings.Repeat("  ", depth+2)
		item := text[:start] + strings.TrimSuffix(indent, "  ") + "- " + strings.TrimPrefix(text[start:], indent)
		p.b.Reset()
		p.b.WriteString(item)
	}
}

// quote writes a text so that it is read back as that text.
func quote(s string) string {
	b, err := yaml.MarshalWithOptions(s, yaml.JSON())
	if err != nil {
		return strconv.Quote(s)
	}
	return strings.TrimSpace(string(b))
}

// yamlText writes a value so that it is read back.
func yamlText(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case Value:
		return flow(x.Any)
	case string:
		return quote(x)
	case DSN:
		return quote(x.String())
	}
	if v.Kind() == reflect.Slice {
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = yamlText(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return text(v)
}

// flow writes a value of any kind on one line.
func flow(x any) string {
	switch x := x.(type) {
	case nil:
		return "null"
	case string:
		return quote(x)
	case []any:
		parts := make([]string, len(x))
		for i, e := range x {
			parts[i] = flow(e)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		var parts []string
		for _, k := range names(x) {
			parts = append(parts, quote(k)+": "+flow(x[k]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64)
	}
	return fmt.Sprint(x)
}
