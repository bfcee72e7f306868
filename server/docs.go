package server

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

//go:generate go test -run ^TestDocs$ -update

// reference is docs/api.md: all endpoints and fields, as they are declared.
func (s *Server) reference() string {
	var b strings.Builder
	b.WriteString(`# HTTP API

Generated from the fields declared in server/fields.go by ` + "`go generate ./server`" + `; changes here are lost. The same as an OpenAPI 3.1
document: ` + "`GET /openapi.json`" + `. What modulation adds is explained in [api-aim.md](api-aim.md).

A field that is ` + "`null`" + ` counts as absent. A field that is not listed is ignored, which the log tells at debug level; in ` + "`aim`" + ` it is an
error. A value outside its domain is answered with 400, naming the parameter, the value and the bound. Of a field and its other names the first counts.

## Endpoints

| method | path | |
| --- | --- | --- |
`)
	for _, r := range s.routes() {
		fmt.Fprintf(&b, "| %s | `%s` | %s |\n", r.method, wildcard.ReplaceAllString(r.path, "{$1}"), r.doc)
	}
	for _, in := range sections() {
		var fields []*field
		for _, f := range bodyFields.fields {
			if f.in == in {
				fields = append(fields, f)
			}
		}
		writeFields(&b, "Fields of "+in.String(), fields)
	}
	for _, g := range groups {
		title := "`" + g.path + "`"
		if g.in != 0 {
			title += " of " + g.in.String()
		}
		writeFields(&b, title, g.fields)
	}
	return b.String()
}

// sections are the sets of endpoints that have fields in common, the largest first.
func sections() (list []endpoints) {
	for _, f := range bodyFields.fields {
		if !slices.Contains(list, f.in) {
			list = append(list, f.in)
		}
	}
	slices.SortFunc(list, func(a, b endpoints) int {
		return cmp.Or(-cmp.Compare(bits.OnesCount(uint(a)), bits.OnesCount(uint(b))), cmp.Compare(a, b))
	})
	return list
}

func writeFields(b *strings.Builder, title string, fields []*field) {
	fmt.Fprintf(b, "\n## %s\n\n| field | type | domain | default | |\n| --- | --- | --- | --- | --- |\n", title)
	for _, f := range fields {
		name := "`" + f.name + "`"
		if len(f.aliases) > 0 {
			name += ", also `" + strings.Join(f.aliases, "`, `") + "`"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", name, f.want(), f.domain(), f.defaultText(), cell(f.doc))
	}
}

// cell is text as a table's cell.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// domain says which values of its types a field may have.
func (f *field) domain() string {
	var list []string
	if f.bounds != nil {
		list = append(list, f.bounds.String())
	}
	if f.enum != nil {
		list = append(list, oneOf(f.enum))
	}
	if f.mostBytes > 0 {
		list = append(list, fmt.Sprintf("at most %d bytes", f.mostBytes))
	}
	if f.most > 0 {
		list = append(list, fmt.Sprintf("at most %d entries", f.most))
	}
	if f.items != nil && f.types&isArray != 0 {
		if of := f.items.domain(); of != "" && (f.mostBytes == 0 || f.items.mostBytes != f.mostBytes) {
			list = append(list, "each "+of)
		}
	}
	return strings.Join(list, "; ")
}

func (f *field) defaultText() string {
	switch {
	case f.required:
		return "required"
	case f.def != nil:
		return fmt.Sprintf("`%v`", f.def)
	}
	return cell(f.absent)
}
