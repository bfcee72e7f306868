package toolcall

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Grammar writes a GBNF grammar of the answers that make the call, or calls, that the choice asks for, in the model's own
// format: exactly one where Parallel is false. convert turns a JSON schema into a grammar whose start is root, as llama.cpp
// does.
//
// Arguments follow the tool's schema where they are JSON on the wire. In tags they cannot: there any parameter that the
// schema names takes any text that is free of the closing tag, each at most once and in the schema's order, the required ones
// always. Python's form, which has no schema either, is replaced by the JSON objects that its parser accepts as well.
//
// Where the prompt began a thought, or the request splits thoughts off, one may stand before the call.
//
// It fails where no tool is to be called, for a choice that names none of the tools, and where convert does.
func Grammar(o Options, convert func(schema []byte) (gbnf string, err error)) (gbnf string, err error) {
	switch o.Choice.Mode {
	case Required, Named:
	case Auto, None:
		return "", fmt.Errorf("a grammar of calls needs a choice that forces one")
	}
	tools := o.tools()
	if len(tools) == 0 {
		if o.Choice.Mode == Named {
			return "", fmt.Errorf("tool_choice names %q, which is none of the tools", o.Choice.Name)
		}
		return "", fmt.Errorf("tool_choice requires a call, but there are no tools")
	}
	if o.Format < 0 || o.Format > Generic {
		return "", fmt.Errorf("format %d is none of 0 to %d", o.Format, Generic)
	}
	g := &writer{wire: wireOf(o.Format), convert: convert}
	return g.write(o, tools)
}

// wire is how a format spells calls. In head and begin, $ stands for the tool's name; both are literal text.
type wire struct {
	open, head, tail, separator, close string
	// once says that the format has no form for several calls in an answer.
	once bool
	tags *wireTags
}

// wireTags spell parameters between tags; $ is the parameter's name. The first close ends the value.
type wireTags struct{ begin, close, after string }

const plainHead = `{"name": "$", "arguments": `

func wireOf(f Format) wire {
	switch f {
	case QwenXML:
		return wire{
			head: "<tool_call>\n<function=$>\n", tail: "</function>\n</tool_call>", separator: "\n",
			tags: &wireTags{"<parameter=$>\n", "</parameter>", "\n"},
		}
	case Llama3:
		return wire{head: `{"name": "$", "parameters": `, tail: "}", separator: "; "}
	case Mistral:
		return wire{head: "[TOOL_CALLS]$[ARGS]"}
	case MistralList:
		return wire{open: "[TOOL_CALLS][", head: plainHead, tail: "}", separator: ", ", close: "]"}
	case Granite:
		return wire{open: "<|tool_call|>[", head: plainHead, tail: "}", separator: ", ", close: "]"}
	case DeepSeekR1:
		return wire{
			open: "<｜tool▁calls▁begin｜>", head: "<｜tool▁call▁begin｜>function<｜tool▁sep｜>$\n```json\n",
			tail: "\n```<｜tool▁call▁end｜>", separator: "\n", close: "<｜tool▁calls▁end｜>",
		}
	case DeepSeekV31:
		return wire{
			open: "<｜tool▁calls▁begin｜>", head: "<｜tool▁call▁begin｜>$<｜tool▁sep｜>",
			tail: "<｜tool▁call▁end｜>", close: "<｜tool▁calls▁end｜>",
		}
	case DSML:
		return wire{
			open: "<｜DSML｜function_calls>\n", head: "<｜DSML｜invoke name=\"$\">\n", tail: "</｜DSML｜invoke>\n",
			close: "</｜DSML｜function_calls>",
			tags:  &wireTags{"<｜DSML｜parameter name=\"$\">", "</｜DSML｜parameter>", "\n"},
		}
	case Harmony:
		return wire{head: "<|channel|>commentary to=functions.$ <|constrain|>json<|message|>", tail: "<|call|>", once: true}
	case Functionary31:
		return wire{head: "<function=$>", tail: "</function>"}
	case Functionary32:
		return wire{head: "$\n", separator: ">>>"}
	case CommandR:
		return wire{
			open: "<|START_ACTION|>[", head: `{"tool_name": "$", "parameters": `, tail: "}", separator: ", ",
			close: "]<|END_ACTION|>",
		}
	case GLM:
		return wire{
			head: "<tool_call>$\n", tail: "</tool_call>", separator: "\n",
			tags: &wireTags{"<arg_key>$</arg_key>\n<arg_value>", "</arg_value>", "\n"},
		}
	case Kimi:
		return wire{
			open: "<|tool_calls_section_begin|>",
			head: "<|tool_call_begin|>functions.$:0<|tool_call_argument_begin|>", tail: "<|tool_call_end|>",
			close: "<|tool_calls_section_end|>",
		}
	case MiniMax:
		return wire{
			open: "<minimax:tool_call>\n", head: "<invoke name=\"$\">\n", tail: "</invoke>\n",
			close: "</minimax:tool_call>", tags: &wireTags{"<parameter name=\"$\">", "</parameter>", "\n"},
		}
	case MiniCPM:
		return wire{
			head: `<function name="$">`, tail: "</function>", separator: "\n",
			tags: &wireTags{`<param name="$">`, "</param>", ""},
		}
	case FireFunction:
		return wire{open: "functools[", head: plainHead, tail: "}", separator: ", ", close: "]"}
	case LFM2:
		return wire{open: "<|tool_call_start|>[", head: plainHead, tail: "}", separator: ", ", close: "]<|tool_call_end|>"}
	case ToolCalls:
		return wire{open: "<tool_calls>[", head: plainHead, tail: "}", separator: ", ", close: "]</tool_calls>"}
	case Nemotron:
		return wire{open: "<TOOLCALL>[", head: plainHead, tail: "}", separator: ", ", close: "]</TOOLCALL>"}
	case GigaChat:
		return wire{head: "<|function_call|>" + plainHead, tail: "}", once: true}
	case Solar:
		return wire{
			head: "<|tool_call:begin|>call_1<|tool_call:name|>$<|tool_call:args|>", tail: "<|tool_call:end|>",
			close: "<|calls|>",
		}
	case Generic:
		return wire{head: plainHead, tail: "}", separator: "\n"}
	case Hermes:
	}
	return wire{head: "<tool_call>\n" + plainHead, tail: "}\n</tool_call>", separator: "\n"}
}

// writer gathers the rules of a grammar.
type writer struct {
	wire    wire
	convert func([]byte) (string, error)
	rules   strings.Builder
	untils  int
}

func (g *writer) write(o Options, tools []Tool) (string, error) {
	var names []string
	for i, t := range tools {
		arguments, err := g.arguments(i, t)
		if err != nil {
			return "", fmt.Errorf("parameters of tool %q: %w", t.Name, err)
		}
		rule := fmt.Sprint("call-", i)
		g.rule(rule, sequence(literal(strings.ReplaceAll(g.wire.head, "$", t.Name)), arguments, literal(g.wire.tail)))
		names = append(names, rule)
	}
	g.rule("call", strings.Join(names, " | "))
	calls := "call"
	if o.Parallel && !g.wire.once {
		calls = sequence("call", "("+sequence(literal(g.wire.separator), "call")+")*")
	}
	g.rule("root", sequence(g.thought(o), literal(g.wire.open), calls, literal(g.wire.close)))
	return g.rules.String(), nil
}

func (g *writer) rule(name, body string) { fmt.Fprintf(&g.rules, "%s ::= %s\n", name, body) }

// arguments are the expression for the arguments of tool i.
func (g *writer) arguments(i int, t Tool) (string, error) {
	if g.wire.tags != nil {
		return g.tagged(t)
	}
	if noParameters(t.Parameters) {
		return literal("{}"), nil
	}
	gbnf, err := g.convert(t.Parameters)
	if err != nil {
		return "", err
	}
	prefix := fmt.Sprintf("tool-%d-", i)
	renamed, err := renameRules(gbnf, prefix)
	if err != nil {
		return "", err
	}
	g.rules.WriteString(renamed)
	return prefix + "root", nil
}

// noParameters says that a schema has nothing to convert.
func noParameters(schema json.RawMessage) bool {
	var s map[string]json.RawMessage
	if len(schema) == 0 || json.Unmarshal(schema, &s) != nil {
		return len(schema) == 0
	}
	var properties map[string]json.RawMessage
	_ = json.Unmarshal(s["properties"], &properties)
	for key := range s {
		if key != "type" && key != "properties" && key != "required" && key != "additionalProperties" &&
			key != "description" && key != "title" && key != "$schema" {
			return false
		}
	}
	return len(properties) == 0
}

// tagged are the parameters between tags.
func (g *writer) tagged(t Tool) (string, error) {
	keys, required, err := parameterNames(t.Parameters)
	if err != nil {
		return "", err
	}
	var all []string
	for _, key := range keys {
		if strings.ContainsAny(key, "<>\"\n") || strings.TrimSpace(key) != key || key == "" {
			return "", fmt.Errorf("parameter %q cannot stand in a tag", key)
		}
		tag := sequence(literal(strings.ReplaceAll(g.wire.tags.begin, "$", key)), g.until(g.wire.tags.close), literal(g.wire.tags.after))
		if !required[key] {
			tag = "(" + tag + ")?"
		}
		all = append(all, tag)
	}
	return sequence(all...), nil
}

// parameterNames are a schema's properties in its order.
func parameterNames(schema json.RawMessage) (keys []string, required map[string]bool, err error) {
	required = map[string]bool{}
	if len(schema) == 0 {
		return nil, required, nil
	}
	var s struct {
		Properties json.RawMessage `json:"properties"`
		Required   []string        `json:"required"`
	}
	if err := json.Unmarshal(schema, &s); err != nil {
		return nil, nil, err
	}
	for _, r := range s.Required {
		required[r] = true
	}
	if len(s.Properties) == 0 {
		return nil, required, nil
	}
	d := json.NewDecoder(strings.NewReader(string(s.Properties)))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, nil, fmt.Errorf("properties is no object")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, nil, err
		}
		keys = append(keys, fmt.Sprint(key))
	}
	return keys, required, nil
}

// thought is what may stand before the call.
func (g *writer) thought(o Options) string {
	const blank = `[ \n]*`
	after := blank
	if o.Format == Harmony {
		after = literal("<|start|>assistant")
	}
	switch {
	case o.Open:
		return sequence(g.until(openThought(o.Format).closers...), after)
	case o.Reasoning:
		open, closing := thoughtTags(o.Format)
		return "(" + sequence(literal(open), g.until(closing...), after) + ")?"
	}
	return ""
}

// thoughtTags are those that models of the format begin and end a thought with themselves.
func thoughtTags(f Format) (open string, closing []string) {
	switch f {
	case Harmony:
		return "<|channel|>analysis<|message|>", openThought(f).closers
	case Mistral, MistralList:
		return "[THINK]", []string{"[/THINK]"}
	case CommandR:
		return "<|START_THINKING|>", []string{"<|END_THINKING|>"}
	default:
		return "<think>", []string{"</think>"}
	}
}

// until is a rule for any text up to the first of ends, and that end itself: the automaton that looks for them (Aho and
// Corasick, 1975), a rule a state. A state is the longest beginning of an end that the text ends with.
func (g *writer) until(ends ...string) string {
	g.untils++
	states := map[string]int{"": 0}
	order := []string{""}
	rule := func(state string) string {
		if _, ok := states[state]; !ok {
			states[state] = len(order)
			order = append(order, state)
		}
		return fmt.Sprintf("until-%d-%d", g.untils, states[state])
	}
	alphabet := distinct(ends)
	for i := 0; i < len(order); i++ {
		var choices, seen []string
		for _, r := range alphabet {
			next, over := advance(order[i]+string(r), ends)
			switch {
			case over:
				choices = append(choices, literal(string(r)))
			case next != "":
				choices = append(choices, sequence(literal(string(r)), rule(next)))
			default:
				continue
			}
			seen = append(seen, class(r))
		}
		choices = append(choices, "[^"+strings.Join(seen, "")+"] "+rule(""))
		g.rule(rule(order[i]), strings.Join(choices, " | "))
	}
	return rule("")
}

// distinct are the runes of the ends, in the order in which they come.
func distinct(ends []string) (all []rune) {
	for _, r := range strings.Join(ends, "") {
		if !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	return all
}

// advance is the longest beginning of an end that text ends with, or over where an end is complete.
func advance(text string, ends []string) (state string, over bool) {
	for i := range text {
		for _, end := range ends {
			if strings.HasPrefix(text[i:], end) {
				return "", true
			}
			if strings.HasPrefix(end, text[i:]) {
				return text[i:], false
			}
		}
	}
	return "", false
}

// class spells a rune inside of brackets.
func class(r rune) string {
	if strings.ContainsRune(`]\^-[`, r) {
		return `\` + string(r)
	}
	if r == '\n' {
		return `\n`
	}
	return string(r)
}

// literal spells text in quotes; empty text is nothing.
func literal(text string) string {
	if text == "" {
		return ""
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(text) + `"`
}

func sequence(parts ...string) string {
	var all []string
	for _, p := range parts {
		if p != "" {
			all = append(all, p)
		}
	}
	return strings.Join(all, " ")
}

// lexeme is a part of a GBNF text in which rules' names are not looked for, or a name.
var lexeme = regexp.MustCompile(`"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|\{[0-9,]*\}|#[^\n]*|[a-zA-Z][a-zA-Z0-9_-]*`)

// renameRules puts a prefix before the name of every rule, so that grammars stand side by side.
func renameRules(gbnf, prefix string) (string, error) {
	if !regexp.MustCompile(`(?m)^root\s*::=`).MatchString(gbnf) {
		return "", fmt.Errorf("the schema's grammar has no rule root")
	}
	renamed := lexeme.ReplaceAllStringFunc(gbnf, func(s string) string {
		if c := s[0] | 0x20; 'a' <= c && c <= 'z' && s[0] >= 'A' {
			return prefix + s
		}
		return s
	})
	return strings.TrimRight(renamed, "\n") + "\n", nil
}
