package cpp

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"aim/llama"
	"aim/sampler"
)

func TestSchemaToGrammar(t *testing.T) {
	m := open(t)
	got, err := m.SchemaToGrammar([]byte(`{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}},"required":["name","age"]}`))
	if err != nil || !strings.Contains(got, "root ::= ") || !strings.Contains(got, `"\"age\""`) {
		t.Errorf("grammar %q, error %v", got, err)
	}
	// The binding's own wrapper cuts off what is longer than some multiple of the schema.
	long := `{"type":"object","properties":{"` + strings.Repeat("a", 200) + `":{"type":"array","items":{"type":"object","properties":{"x":{},"y":{},"z":{}}}}}}`
	if got, err := m.SchemaToGrammar([]byte(long)); err != nil || !strings.Contains(got, "value ::= ") {
		t.Errorf("grammar of %d bytes, error %v", len(got), err)
	}
}

// chain is a schema of n definitions each of which needs the next.
func chain(n int) string {
	var b strings.Builder
	b.WriteString(`{"$ref":"#/d/a0","d":{`)
	for i := range n {
		fmt.Fprintf(&b, `"a%d":{"items":{"$ref":"#/d/a%d"}},`, i, i+1)
	}
	fmt.Fprintf(&b, `"a%d":{"type":"null"}}}`, n)
	return b.String()
}

func properties(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"p%d":{"type":"null"}`, i)
	}
	return `{"properties":{` + b.String()[1:] + `}}`
}

// Whatever a schema is, it ends soon, in a grammar or an error.
func TestSchemaToGrammarOfHostileSchemas(t *testing.T) {
	m := open(t)
	for name, c := range map[string]struct {
		schema string
		fails  string
	}{
		"no JSON":               {"{", "unexpected end"},
		"empty":                 {"", "unexpected end"},
		"no schema":             {`true`, "Unrecognized schema"},
		"unknown type":          {`{"type":"frog"}`, "Unrecognized schema"},
		"no such definition":    {`{"$ref":"#/nowhere"}`, "Error resolving ref"},
		"remote":                {`{"$ref":"other.json"}`, "Unsupported ref"},
		"reference of a number": {`{"$ref":1}`, "type must be string"},
		"open pattern":          {`{"type":"string","pattern":"a"}`, "Pattern must start"},
		"empty pattern":         {`{"type":"string","pattern":""}`, "pattern of 0 bytes"},
		"long pattern":          {`{"type":"string","pattern":"^` + strings.Repeat("(", 2000) + `$"}`, "pattern of 2002 bytes"},
		"nested pattern":        {`{"type":"string","pattern":"^` + strings.Repeat("(", 400) + strings.Repeat(")", 400) + `$"}`, ""},
		"deep":                  {strings.Repeat(`{"items":`, 100000) + "{}" + strings.Repeat("}", 100000), "bytes, must be at most"},
		"less deep":             {strings.Repeat(`{"items":`, 1000) + "{}" + strings.Repeat("}", 1000), "nested deeper"},
		"as deep as may be":     {strings.Repeat(`{"items":`, maxSchemaDepth) + "{}" + strings.Repeat("}", maxSchemaDepth), ""},
		"long name":             {`{"properties":{"` + strings.Repeat("/", 5000) + `":{}}}`, "has 5000 bytes"},
		"long names":            {strings.Repeat(`{"properties":{"`+strings.Repeat("/", 256)+`":`, 32) + "{}" + strings.Repeat("}}", 32), ""},
		"least integer":         {`{"type":"integer","minimum":-9223372036854775808}`, "minimum is"},
		"large integers":        {`{"type":"integer","minimum":-9007199254740992,"maximum":9007199254740992}`, ""},
		"itself":                {`{"$ref":"#/d/a","d":{"a":{"$ref":"#/d/a"}}}`, ""},
		"itself in allOf":       {`{"allOf":[{"$ref":"#/d/a"}],"d":{"a":{"$ref":"#/d/a"}}}`, "circle"},
		"a long chain":          {chain(600), ""},
		"a longer chain":        {chain(5000), "too many"},
		"many properties":       {properties(250), ""},
		"too many properties":   {properties(1000), "too many"},
		"all of many":           {`{"allOf":[` + strings.TrimSuffix(strings.Repeat(`{"$ref":"#/d"},`, 50), ",") + `],"d":` + properties(100) + `}`, "too many"},
		"types upon types":      {strings.Repeat(`{"type":["array","array","array","array"],"items":`, 30) + "{}" + strings.Repeat("}", 30), "too many"},
		"many repetitions":      {`{"items":{},"minItems":1000000000}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			begun := time.Now()
			got, err := m.SchemaToGrammar([]byte(c.schema))
			t.Logf("%v for %d bytes, %d of grammar", time.Since(begun), len(c.schema), len(got))
			switch {
			case c.fails == "" && (err != nil || !strings.Contains(got, "root")):
				t.Errorf("grammar %q, error %v", got, err)
			case c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)):
				t.Errorf("error %v, want %q in it", err, c.fails)
			}
			if d := time.Since(begun); d > 5*time.Second {
				t.Errorf("it took %v", d)
			}
		})
	}
}

func TestAllowedTokens(t *testing.T) {
	m := open(t)
	tokens, err := m.Tokenize([]llama.Part{{Text: "yes"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	const gbnf = `root ::= "yes" | "no"`
	first, err := m.allowedTokens(gbnf, nil)
	if err != nil || !slices.Contains(first, tokens[0]) {
		t.Fatalf("%d tokens begin an answer, error %v", len(first), err)
	}
	for _, tok := range first {
		if p := string(m.Piece(tok)); p == "" || !strings.HasPrefix("yes", p) && !strings.HasPrefix("no", p) {
			t.Errorf("%q begins an answer", p)
		}
	}
	last, err := m.allowedTokens(gbnf, tokens)
	if err != nil || len(last) == 0 {
		t.Fatalf("%v after the whole answer, error %v", last, err)
	}
	for _, tok := range last {
		if m.Kind(tok) != llama.End {
			t.Errorf("%q follows a whole answer", m.Piece(tok))
		}
	}
	for gbnf, after := range map[string][]sampler.Token{gbnf: {tokens[0], tokens[0]}, "root := ": nil, "root ::= root": nil} {
		if got, err := m.allowedTokens(gbnf, after); err == nil {
			t.Errorf("%q after %v allows %v", gbnf, after, got)
		}
	}
}
