package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"aim/internal/grammar"
	"aim/llama"
	"aim/sampler"
)

// vocabularies are what a model's tokens spell for grammars. They are built when they are first needed, once for each engine.
type vocabularies struct {
	model        llama.Model
	plain, shown func() *grammar.Vocabulary
}

func newVocabularies(m llama.Model) *vocabularies {
	build := func(control grammar.Kind) func() *grammar.Vocabulary {
		return sync.OnceValue(func() *grammar.Vocabulary {
			kinds := map[llama.Kind]grammar.Kind{llama.Normal: grammar.Text, llama.Control: control, llama.End: grammar.End}
			return grammar.NewVocabulary(m.Vocab(), m.Piece, func(t sampler.Token) grammar.Kind { return kinds[m.Kind(t)] })
		})
	}
	return &vocabularies{m, build(grammar.Control), build(grammar.Text)}
}

// of is the vocabulary of answers whose text has the spelling of control tokens, or has not.
func (v *vocabularies) of(showControl bool) *grammar.Vocabulary {
	if showControl {
		return v.shown()
	}
	return v.plain()
}

// form is what an answer must look like: where the request says so, and a grammar in GBNF.
type form struct{ param, gbnf string }

// form reads what the answer must look like, in one of several ways, of which the API's own is given; there is no gbnf where it is
// free.
func (o *object) form(m *served, own form) form {
	var forms []form
	add := func(param, gbnf string) {
		if gbnf != "" {
			forms = append(forms, form{param, gbnf})
		}
	}
	add(own.param, own.gbnf)
	add(o.param(fieldGrammar), o.text(fieldGrammar))
	add(o.param(fieldJSONSchema), o.schemaText(m, fieldJSONSchema))
	if s := o.object(fieldStructured); s != nil {
		s.unsupported(fieldStructuredRegex, filled)
		add(s.param(fieldStructuredJSON), s.schemaText(m, fieldStructuredJSON))
		if s.boolean(fieldStructuredObject) {
			add(s.param(fieldStructuredObject), grammar.JSON())
		}
		add(s.param(fieldStructuredChoice), alternatives(s.strings(fieldStructuredChoice)))
		add(s.param(fieldStructuredGrammar), s.text(fieldStructuredGrammar))
	}
	switch len(forms) {
	case 0:
		return form{}
	case 1:
		return forms[0]
	}
	o.failAt(forms[1].param, "cannot be combined with %s: an answer has one form", forms[0].param)
	return form{}
}

// responseFormat reads OpenAI's field.
func (o *object) responseFormat(m *served) string {
	f := o.object(fieldResponseFormat)
	if f == nil {
		return ""
	}
	f.require(fieldFormatType)
	switch f.text(fieldFormatType) {
	case "json_object":
		if f.has(fieldFormatObject) {
			return f.schema(m, f.param(fieldFormatObject), f.take(fieldFormatObject))
		}
		return grammar.JSON()
	case "json_schema":
		f.require(fieldFormatSchema)
		s := f.object(fieldFormatSchema)
		if s == nil {
			return ""
		}
		s.text(fieldSchemaName)
		s.text(fieldSchemaDescription)
		s.boolean(fieldSchemaStrict)
		if !s.has(fieldSchema) {
			return grammar.JSON()
		}
		return s.schema(m, s.param(fieldSchema), s.take(fieldSchema))
	}
	return ""
}

// schemaText reads a schema that may be the text of one.
func (o *object) schemaText(m *served, f *field) string {
	raw := o.take(f)
	if raw == nil {
		return ""
	}
	if typeOf(raw) == isString {
		text := o.text(f)
		if !json.Valid([]byte(text)) {
			o.failValue(f, "is not the text of a JSON schema")
			return ""
		}
		raw = json.RawMessage(text)
	}
	return o.schema(m, o.param(f), raw)
}

// schema turns a JSON schema into a grammar.
func (o *object) schema(m *served, param string, raw json.RawMessage) string {
	if raw == nil || *o.err != nil {
		return ""
	}
	gbnf, err := m.convert(raw)
	if err != nil {
		o.fail(schemaFailure(param, err))
	}
	return gbnf
}

// errNoConverter says that the engine's driver knows no schemas.
var errNoConverter = errors.New("the model cannot turn schemas into grammars")

// convert turns a JSON schema into a grammar.
func (m *served) convert(schema []byte) (string, error) {
	prepared, err := grammar.PrepareSchema(schema)
	if err != nil {
		return "", err
	}
	converter, ok := m.Engine.Model().(llama.SchemaConverter)
	if !ok {
		return "", errNoConverter
	}
	return converter.SchemaToGrammar(prepared)
}

func schemaFailure(param string, err error) *apiError {
	if errors.Is(err, errNoConverter) {
		return invalid(param, codeUnsupported, "%s is not supported: %v", param, err)
	}
	return invalid(param, "invalid_schema", "%s is no schema that can be used: %s", param, clipTo(mostSaid, err.Error()))
}

// mostSaid bounds what another package says about a client's input, in bytes.
const mostSaid = 500

// alternatives is a grammar of the given texts, "" of none.
func alternatives(texts []string) string {
	if len(texts) == 0 {
		return ""
	}
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = literal(text)
	}
	return "root ::= " + strings.Join(quoted, " | ")
}

// literal is a text in GBNF.
func literal(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ':
			fmt.Fprintf(&b, `\x%02X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// constrain compiles the grammar of the answers.
func (c *call) constrain(f form) error {
	if f.gbnf == "" {
		return nil
	}
	g, err := grammar.Parse(f.gbnf)
	if err != nil {
		return invalid(f.param, "invalid_grammar", "%s is no grammar that can be used: %s", f.param, clipTo(mostSaid, err.Error()))
	}
	c.grammar = g
	return nil
}
