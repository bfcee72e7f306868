package server

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"aim/sampler"
)

var update = flag.Bool("update", false, "write docs/api.md anew")

// TestDocs: docs/api.md says what is declared.
func TestDocs(t *testing.T) {
	const name = "../docs/api.md"
	want := start(t, options{}).api.reference()
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what the fields say (%v); run go generate ./server", name, err)
	}
}

// TestOpenAPI: the document is one of OpenAPI 3.1, and lists every field under each of its names.
func TestOpenAPI(t *testing.T) {
	s := start(t, options{})
	text := s.do(t, "GET", "/openapi.json", "").ok(t).body
	doc, err := libopenapi.NewDocument([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	check, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if valid, errs := check.ValidateDocument(); !valid {
		for _, e := range errs {
			t.Errorf("%s: %s %v", e.Message, e.Reason, e.SchemaValidationErrors)
		}
	}
	schemas := decode[struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct{ Description string }
			}
		}
	}](t, text).Components.Schemas
	for name, fields := range map[string][]*field{
		"ChatRequest": bodyOf(inChat), "CompletionRequest": bodyOf(inText),
		"ResponseRequest": bodyOf(inResponses), "MessagesRequest": bodyOf(inMessages), "CountRequest": bodyOf(inCount),
	} {
		if len(schemas[name].Properties) < len(fields) {
			t.Errorf("%s has %d properties of %d fields", name, len(schemas[name].Properties), len(fields))
		}
		for _, f := range fields {
			for _, n := range f.names() {
				if schemas[name].Properties[n].Description == "" {
					t.Errorf("%s.%s is not described", name, n)
				}
			}
		}
	}
	for _, g := range groups {
		if len(schemas[g.name].Properties) < len(g.fields) {
			t.Errorf("%s has %d properties of %d fields", g.name, len(schemas[g.name].Properties), len(g.fields))
		}
	}
}

// TestEveryFieldIsRead: a parser reads the fields that are declared for its endpoint and no others.
func TestEveryFieldIsRead(t *testing.T) {
	s := start(t, options{})
	for _, c := range []struct {
		in    endpoints
		parse func(*object) (*call, error)
		body  string
	}{
		{inChat, s.api.parseChat, chatBody("x", "")},
		{inText, s.api.parseCompletion, `{"prompt": "x"}`},
		{inChat | inPreview, s.api.parsePreview, chatBody("x", "")},
		{inText | inSweep, s.api.parseSweep, `{"prompt": "x", "sigmas": [1]}`},
		{inResponses, s.api.parseResponse, `{"input": "x"}`},
		{inMessages, s.api.parseMessages, chatBody("x", `"max_tokens": 1`)},
		{inCount, s.api.parseCount, chatBody("x", "")},
		{inTokenize, func(o *object) (*call, error) {
			_, err := s.api.parseTokenize(o)
			return nil, err
		}, chatBody("x", "")},
	} {
		o, err := parseBody([]byte(c.body))
		if err == nil {
			o.asker = &record{ctx: t.Context(), table: s.api.table.Load(), grant: owner}
			_, err = c.parse(o)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range bodyFields.fields {
			if (f == fieldMessages || f == fieldPrompt) && c.in&^inBoth != 0 {
				continue // by these, preview and sweep tell whose request they extend
			}
			if declared := f.in&c.in != 0; o.read[f] != declared {
				t.Errorf("%s: %s is declared: %v, read: %v", c.body, f.name, declared, o.read[f])
			}
		}
	}
}

const someTools = `"tools": [{"type": "function", "function": {"name": "f"}}], `

// surroundings make a body of the members of a group: what stands around them, where they are then, and which others they need.
var surroundings = map[*group]struct{ format, path, others string }{
	streamOptionsFields: {`"stream": true, "stream_options": {%s}`, "stream_options", ""},
	messageFields:       {`"messages": [{%s}]`, "messages[0]", `"role": "user", "content": "x"`},
	partFields:          {`"messages": [{"role": "user", "content": [{%s}]}]`, "messages[0].content[0]", `"type": "text", "text": "x"`},
	toolCallFields:      {`"messages": [{"role": "assistant", "tool_calls": [{%s}]}]`, "messages[0].tool_calls[0]", `"id": "x", "function": {"name": "f"}`},
	calledFields: {
		`"messages": [{"role": "assistant", "tool_calls": [{"id": "x", "function": {%s}}]}]`, "messages[0].tool_calls[0].function", `"name": "f"`,
	},
	formatFields:         {`"response_format": {%s}`, "response_format", `"type": "json_object"`},
	formatSchemaFields:   {`"response_format": {"type": "json_schema", "json_schema": {%s}}`, "response_format.json_schema", ""},
	structuredFields:     {`"structured_outputs": {%s}`, "structured_outputs", ""},
	toolFields:           {`"tools": [{%s}]`, "tools[0]", `"type": "function", "function": {"name": "f"}`},
	functionFields:       {`"tools": [{"type": "function", "function": {%s}}]`, "tools[0].function", `"name": "f"`},
	choiceFields:         {someTools + `"tool_choice": {%s}`, "tool_choice", `"type": "function", "function": {"name": "f"}`},
	choiceFunctionFields: {someTools + `"tool_choice": {"type": "function", "function": {%s}}`, "tool_choice.function", ""},
	allowedFields:        {someTools + `"tool_choice": {"type": "allowed_tools", "allowed_tools": {%s}}`, "tool_choice.allowed_tools", `"tools": []`},
	allowedToolFields: {
		someTools + `"tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": [{%s}]}}`, "tool_choice.allowed_tools.tools[0]", "",
	},
	predictionFields:     {`"prediction": {%s}`, "prediction", `"type": "content", "content": "x"`},
	predictionPartFields: {`"prediction": {"type": "content", "content": [{%s}]}`, "prediction.content[0]", `"type": "text", "text": "x"`},

	extensionsFields:    {`"aim": {%s}`, "aim", ""},
	utilityFields:       {`"aim": {"utility": {%s}}`, "aim.utility", ""},
	reportOptionsFields: {`"aim": {"report": {%s}}`, "aim.report", ""},
	focusFields:         {`"aim": {"focus": [{%s}]}`, "aim.focus[0]", `"text": "x", "sigma": 1`},

	inputFields:       {`"input": [{%s}]`, "input[0]", `"role": "user", "content": "x"`},
	inputPartFields:   {`"input": [{"role": "user", "content": [{%s}]}]`, "input[0].content[0]", `"type": "input_text", "text": "x"`},
	textFields:        {`"text": {%s}`, "text", ""},
	textFormatFields:  {`"text": {"format": {%s}}`, "text.format", `"type": "json_object"`},
	reasoningFields:   {`"reasoning": {%s}`, "reasoning", ""},
	flatToolFields:    {`"tools": [{%s}]`, "tools[0]", `"type": "function", "name": "f"`},
	flatChoiceFields:  {`"tools": [{"type": "function", "name": "f"}], "tool_choice": {%s}`, "tool_choice", `"type": "allowed_tools", "tools": []`},
	flatAllowedFields: {`"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "allowed_tools", "tools": [{%s}]}`, "tool_choice.tools[0]", ""},

	turnFields:         {`"messages": [{%s}]`, "messages[0]", `"role": "user", "content": "x"`},
	blockFields:        {`"messages": [{"role": "assistant", "content": [{%s}]}]`, "messages[0].content[0]", `"type": "text", "text": "x"`},
	textBlockFields:    {`"system": [{%s}]`, "system[0]", `"type": "text", "text": "x"`},
	schemaToolFields:   {`"tools": [{%s}]`, "tools[0]", `"name": "f", "input_schema": {}`},
	anyChoiceFields:    {`"tools": [{"name": "f", "input_schema": {}}], "tool_choice": {%s}`, "tool_choice", `"type": "auto"`},
	thinkingFields:     {`"thinking": {%s}`, "thinking", ""},
	outputFields:       {`"output_config": {%s}`, "output_config", ""},
	outputFormatFields: {`"output_config": {"format": {%s}}`, "output_config.format", `"type": "json_schema", "schema": {}`},
}

// companions are what single fields need beside them, in place of the others of their group.
var companions = map[*field]string{
	fieldTopLogprobs:      `"logprobs": true`,
	fieldStreamOptions:    `"stream": true`,
	fieldSpan:             `"strength": 0.5`,
	fieldSpanIndex:        `"span": "x", "strength": 0.5`,
	fieldStrength:         `"text": "x"`,
	fieldFocusTokens:      `"sigma": 1`,
	fieldFocusAll:         `"sigma": 1`,
	fieldDRYBase:          `"dry_multiplier": 1`,
	fieldDRYBreakers:      `"dry_multiplier": 1`,
	fieldFormatSchema:     `"type": "json_schema"`,
	fieldPartRefusal:      `"type": "refusal"`,
	fieldToolCalls:        `"role": "assistant"`,
	fieldToolCallID:       `"role": "tool", "content": "x"`,
	fieldChoiceAllowed:    `"type": "allowed_tools"`,
	fieldDynatempExponent: `"dynatemp_range": 1`,

	fieldItemSummary:    `"type": "reasoning"`,
	fieldItemCallID:     `"type": "function_call", "name": "f"`,
	fieldItemName:       `"type": "function_call", "call_id": "c"`,
	fieldItemArguments:  `"type": "function_call", "call_id": "c", "name": "f"`,
	fieldItemOutput:     `"type": "function_call_output"`,
	fieldInputRefusal:   `"type": "refusal"`,
	fieldFlatChoiceName: `"type": "function"`,
	fieldBlockThinking:  `"type": "thinking"`,
	fieldBlockID:        `"type": "tool_use", "name": "f"`,
	fieldBlockName:      `"type": "tool_use", "id": "c"`,
	fieldBlockInput:     `"type": "tool_use", "id": "c", "name": "f"`,
}

// TestEveryFieldRefuses: each field, under each of its names, refuses values of other types and outside its domain, naming
// itself, the value and the bound. The cases come from the declarations.
func TestEveryFieldRefuses(t *testing.T) {
	s := start(t, options{})
	n := 0
	for _, g := range append([]*group{bodyFields}, groups...) {
		for _, f := range g.fields {
			for _, name := range f.names() {
				for _, c := range refused(f) {
					path, body, param := request(g, f, name, c.value)
					says := c.says
					r := s.do(t, "POST", path, body)
					if n++; r.status == 200 {
						t.Errorf("%s %.200s is answered", path, body)
						continue
					}
					r.is(t, fmt.Sprintf("%s %.100s", path, body), 400, param+c.at, c.code)
					if message := failed(t, r.body).Message; !strings.Contains(message, says) || !strings.Contains(message, param) {
						t.Errorf("%.100s: the message %q does not name %s or say %q", body, message, param, says)
					}
				}
			}
		}
	}
	if n < 300 {
		t.Errorf("only %d cases", n)
	}
}

// refusal is a value that a field refuses: where below the field the fault is, with which code, and what the error says.
type refusal struct{ value, at, code, says string }

func refused(f *field) (list []refusal) {
	samples := map[types]string{isBoolean: "true", isNumber: "0.5", isString: `"x"`, isArray: "[]", isObject: "{}"}
	for kind, value := range samples {
		if f.types&kind == 0 && f != fieldBias { // which has tests of its own
			list = append(list, refusal{value, "", codeType, "must be " + f.want() + ", not "})
		}
	}
	number := func(v float64) string { return string(encode(v)) }
	at := ""
	b := f.bounds
	wrap := func(v string) string { return v }
	if b == nil && f.items != nil && f.items.bounds != nil && f != fieldBias && f != fieldFocusTokens {
		b, at, wrap = f.items.bounds, "[0]", func(v string) string { return "[" + v + "]" }
	}
	if b != nil {
		values := []float64{b.low - 1}
		if b.low-1 == b.also {
			values[0]--
		}
		if b.open {
			values = append(values, b.low)
		}
		if !math.IsInf(b.high, 1) {
			values = append(values, b.high+1)
		}
		for _, v := range values {
			list = append(list, refusal{wrap(number(v)), at, codeValue, "is " + number(v) + ", must be " + b.String()})
		}
	}
	if f.enum != nil {
		list = append(list, refusal{`"nonsense"`, "", codeValue, `is "nonsense", must be ` + oneOf(f.enum)})
	}
	if f.mostBytes > 0 {
		list = append(list, refusal{quote(strings.Repeat("x", f.mostBytes+1)), "", codeValue, fmt.Sprintf("has %d bytes, the most is %d", f.mostBytes+1, f.mostBytes)})
	}
	if f.most > 0 && f.types&isArray != 0 {
		list = append(list, refusal{"[" + strings.Repeat("1,", f.most) + "1]", "", codeValue, fmt.Sprintf("has %d entries, the most is %d", f.most+1, f.most)})
	}
	return list
}

// request is one with a value for a field of a group, under one of its names.
func request(g *group, f *field, name, value string) (path, body, param string) {
	around := surroundings[g]
	members := map[string]json.RawMessage{}
	others, alone := companions[f]
	if !alone {
		others = around.others
	}
	if err := json.Unmarshal([]byte("{"+others+"}"), &members); err != nil {
		panic(err)
	}
	members[name] = json.RawMessage(value)
	inside := strings.TrimSuffix(strings.TrimPrefix(string(encode(members)), "{"), "}")
	param = name
	if g != bodyFields {
		inside, param = fmt.Sprintf(around.format, inside), around.path+"."+name
	}
	path = chatPath
	in := f.in
	if g.in != 0 {
		in = g.in
	}
	if f == fieldBlockUseID || f == fieldBlockContent { // a user's
		inside = fmt.Sprintf(`"messages": [{"role": "user", "content": [{"type": "tool_result", %q: %s}]}]`, name, value)
	}
	switch in {
	case inText:
		path = textPath
	case inResponses:
		path = responsesPath
	case inMessages, inMessages | inCount:
		path = messagesPath
	case inPreview:
		path = previewPath
	case inSweep:
		path = sweepPath
	case inTokenize:
		path = "/tokenize"
	case inDetokenize:
		path = "/detokenize"
	case inEmbeddings:
		path = "/v1/embeddings"
	default:
	}
	prompt := `"messages": [{"role": "user", "content": "x"}], `
	if path == textPath {
		prompt = `"prompt": "x", `
	}
	switch {
	case path == responsesPath, path == "/v1/embeddings":
		prompt = `"input": "x", `
	case path == "/tokenize":
		prompt = `"content": "x", `
	case path == "/detokenize":
		prompt = `"tokens": [97], `
	case path == messagesPath && f != fieldMaxMessage:
		prompt += `"max_tokens": 1, `
	}
	if path == messagesPath && (g == turnFields || g == blockFields || f == fieldTurns) {
		prompt = `"max_tokens": 1, `
	}
	if slices.Contains([]*group{messageFields, partFields, toolCallFields, calledFields, inputFields, inputPartFields}, g) ||
		slices.Contains([]*field{fieldMessages, fieldPrompt, fieldInput, fieldTokenText, fieldTokenMessages, fieldTokens, fieldInputs}, f) {
		prompt = ""
	}
	return path, "{" + prompt + inside + "}", param
}

// TestDomainsAreTheSamplers: what the fields let through, the sampler takes, up to the bounds and not beyond.
func TestDomainsAreTheSamplers(t *testing.T) {
	s := start(t, options{})
	for _, f := range bodyOf(inText) {
		if f.bounds == nil || f.types&isNumber == 0 {
			continue
		}
		for _, v := range []float64{f.bounds.low, f.bounds.high} {
			body := fmt.Sprintf(`{"prompt": "x", "max_tokens": 1, "dry_multiplier": 1, %q: %v}`, f.name, v)
			s.do(t, "POST", textPath, body).ok(t)
		}
	}
	for name, set := range map[string]func(*sampler.Params, float64){
		"temperature":       func(p *sampler.Params, v float64) { p.Temperature = v },
		"top_p":             func(p *sampler.Params, v float64) { p.TopP = v },
		"min_p":             func(p *sampler.Params, v float64) { p.MinP = v },
		"typical_p":         func(p *sampler.Params, v float64) { p.TypicalP = v },
		"top_n_sigma":       func(p *sampler.Params, v float64) { p.TopNSigma = v },
		"xtc_probability":   func(p *sampler.Params, v float64) { p.XTCProbability = v },
		"xtc_threshold":     func(p *sampler.Params, v float64) { p.XTCThreshold = v },
		"dry_multiplier":    func(p *sampler.Params, v float64) { p.DRY.Multiplier = v },
		"dry_base":          func(p *sampler.Params, v float64) { p.DRY.Multiplier, p.DRY.Base = 1, v },
		"dynatemp_range":    func(p *sampler.Params, v float64) { p.DynatempRange = v },
		"dynatemp_exponent": func(p *sampler.Params, v float64) { p.DynatempRange, p.DynatempExponent = 1, v },
		"mirostat_tau":      func(p *sampler.Params, v float64) { p.Mirostat, p.MirostatTau = 2, v },
		"mirostat_eta":      func(p *sampler.Params, v float64) { p.Mirostat, p.MirostatEta = 2, v },
		"frequency_penalty": func(p *sampler.Params, v float64) { p.FrequencyPenalty = v },
		"presence_penalty":  func(p *sampler.Params, v float64) { p.PresencePenalty = v },
		"repeat_penalty":    func(p *sampler.Params, v float64) { p.RepeatPenalty = v },
	} {
		i := slices.IndexFunc(bodyFields.fields, func(f *field) bool { return f.name == name })
		if i < 0 {
			t.Errorf("%s is no field", name)
			continue
		}
		var p sampler.Params
		set(&p, bodyFields.fields[i].bounds.high+0.01)
		if p.Validate(fake.Vocab()) == nil {
			t.Errorf("the sampler takes a %s beyond %v", name, bodyFields.fields[i].bounds)
		}
	}
}
