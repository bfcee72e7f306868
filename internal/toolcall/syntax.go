package toolcall

import (
	"regexp"
	"slices"
)

// opener is a marker in the text of an answer, and what may stand after it.
type opener struct {
	mark string
	// bare says that mark belongs to what follows: the brace of an object.
	bare bool
	// fresh says that the marker counts only where no content stands before it.
	fresh bool
	heads []*head
}

type headKind int

const (
	frame    headKind = iota // belongs to neither content nor call
	thought                  // begins a thought that ends with one of closers
	object                   // begins a JSON object that has a name and arguments
	prefixed                 // a name and then arguments
)

type argumentsKind int

const (
	jsonArguments argumentsKind = iota
	tagArguments
	pythonArguments
)

// head is a form that may follow a marker.
type head struct {
	kind headKind
	// pattern matches the text up to the first delimiter; its first group is the name. keep leaves the delimiter to the
	// arguments.
	pattern   *regexp.Regexp
	delimiter string
	keep      bool
	arguments argumentsKind
	tags      *tags
	tail      *tail
	// closers end a thought.
	closers []string
}

// tags are the markers of arguments that stand between tags.
type tags struct {
	begin, delimiter string
	// key has the parameter's name in its first group, and optionally "true" or "false", whether the value is a string,
	// in its second.
	key   *regexp.Regexp
	close string
	end   string
}

// tail is what may follow a call: more calls of the same form, and markers that end it.
type tail struct {
	again   []opener
	closers []string
}

const name = `([\w.\-]+)`

// listTail goes for calls in a JSON list, besides the family's own tail.
var listTail = &tail{again: []opener{{mark: ",", heads: []*head{{kind: object}}}}, closers: []string{"]"}}

func objectHead(closers ...string) *head { return &head{kind: object, tail: &tail{closers: closers}} }

// jsonHead is a name and then a JSON object.
func jsonHead(pattern string, closers ...string) *head {
	return &head{
		kind: prefixed, pattern: regexp.MustCompile(`^(?s:` + pattern + `)$`), delimiter: "{", keep: true,
		tail: &tail{closers: closers},
	}
}

func tagHead(pattern, delimiter string, keep bool, t *tags, closers ...string) *head {
	return &head{
		kind: prefixed, pattern: regexp.MustCompile(`^(?:` + pattern + `)$`), delimiter: delimiter, keep: keep,
		arguments: tagArguments, tags: t, tail: &tail{closers: closers},
	}
}

func pythonHead(pattern string, again bool, closers ...string) *head {
	h := &head{
		kind: prefixed, pattern: regexp.MustCompile(`^(?:` + pattern + `)$`), delimiter: "(",
		arguments: pythonArguments, tail: &tail{closers: closers},
	}
	if again {
		h.tail.again = []opener{{mark: ",", heads: []*head{h}}}
	}
	return h
}

var (
	qwenTags = &tags{
		begin: "<parameter=", delimiter: ">", key: regexp.MustCompile(`^([^<>]+)$`), close: "</parameter>",
		end: "</function>",
	}
	miniMaxTags = &tags{
		begin: "<parameter name=", delimiter: ">", key: regexp.MustCompile(`^"([^"]+)"$`),
		close: "</parameter>", end: "</invoke>",
	}
	dsmlTags = &tags{
		begin: "<｜DSML｜parameter name=", delimiter: ">",
		key: regexp.MustCompile(`^"([^"]+)"(?: string="(true|false)")?$`), close: "</｜DSML｜parameter>",
		end: "</｜DSML｜invoke>",
	}
	miniCPMTags = &tags{
		begin: "<param name=", delimiter: ">", key: regexp.MustCompile(`^"([^"]+)"$`), close: "</param>",
		end: "</function>",
	}
	glmTags = &tags{
		begin: "<arg_key>", delimiter: "<arg_value>", key: regexp.MustCompile(`^\s*(.+?)\s*</arg_key>\s*$`),
		close: "</arg_value>", end: "</tool_call>",
	}
)

func frames(marks ...string) []opener {
	var all []opener
	for _, m := range marks {
		all = append(all, opener{mark: m, heads: []*head{{kind: frame}}})
	}
	return all
}

func oneOpener(mark string, heads ...*head) []opener { return []opener{{mark: mark, heads: heads}} }

// invokes are calls by <invoke name="…"> in a section of them.
func invokes(open, prefix, closing string, t *tags) []opener {
	h := tagHead(`\s*`+prefix+`"`+name+`"`, ">", false, t, closing)
	next := tagHead(`"`+name+`"`, ">", false, t)
	h.tail.again = oneOpener(prefix, next)
	next.tail = h.tail
	return oneOpener(open, h)
}

func bareObject() []opener {
	h := objectHead()
	h.tail.again = []opener{{mark: ";", heads: []*head{h}}, {mark: "{", bare: true, heads: []*head{h}}}
	return []opener{
		{mark: "{", bare: true, fresh: true, heads: []*head{h}},
		{mark: "[", bare: true, fresh: true, heads: []*head{h}},
	}
}

func harmonyOpeners() []opener {
	call := func(pattern string) *head {
		return &head{
			kind: prefixed, pattern: regexp.MustCompile(`^(?:` + pattern + `)$`), delimiter: "<|message|>",
			tail: &tail{closers: []string{"<|call|>", "<|end|>"}},
		}
	}
	const kind = `(?:analysis|commentary|final)`
	const format = `\s*(?:<\|constrain\|>)?\s*(?:json)?\s*`
	before := name + format + `<\|channel\|>\s*` + kind + format
	plain := &head{kind: frame, pattern: regexp.MustCompile(`^\s*(?:commentary|final)\s*$`), delimiter: "<|message|>"}
	return slices.Concat(
		oneOpener("<|channel|>", call(kind+`\s*to=functions\.`+name+format), plain),
		oneOpener("<|start|>assistant to=functions.", call(before)),
		[]opener{{mark: "to=functions.", fresh: true, heads: []*head{call(before)}}},
		frames("<|start|>assistant", "<|end|>", "<|return|>", "<|call|>"))
}

// callOpeners are the markers of calls, by format.
var callOpeners = map[Format][]opener{
	Hermes: slices.Concat(oneOpener("<tool_call>", objectHead("</tool_call>"),
		tagHead(`\s*<function=`+name, ">", false, qwenTags, "</tool_call>")), bareObject()),
	QwenXML: slices.Concat(oneOpener("<tool_call>", tagHead(`\s*<function=`+name, ">", false, qwenTags, "</tool_call>"),
		objectHead("</tool_call>")), oneOpener("<function=", tagHead(name, ">", false, qwenTags, "</tool_call>"))),
	Llama3: slices.Concat(oneOpener("<|python_tag|>", objectHead("<|eom_id|>", "<|eot_id|>"),
		pythonHead(`\s*`+name+`\.call`, false, "<|eom_id|>", "<|eot_id|>")), bareObject()),
	Mistral:     mistral,
	MistralList: mistral,
	Granite: slices.Concat(oneOpener("<|tool_call|>", objectHead()), oneOpener("<tool_call>", objectHead("</tool_call>")),
		bareObject()),
	DeepSeekR1:  deepSeek,
	DeepSeekV31: deepSeek,
	DSML: slices.Concat(
		invokes("<｜DSML｜function_calls>", "<｜DSML｜invoke name=", "</｜DSML｜function_calls>", dsmlTags),
		invokes("<｜DSML｜tool_calls>", "<｜DSML｜invoke name=", "</｜DSML｜tool_calls>", dsmlTags)),
	Harmony:       harmonyOpeners(),
	Functionary31: oneOpener("<function=", jsonHead(name+`>\s*`, "</function>", "<|eom_id|>", "<|eot_id|>")),
	Functionary32: slices.Concat(
		oneOpener(">>>", jsonHead(name+`\n\s*`)),
		frames(">>>all\n"),
		functionaryStart()),
	CommandR: slices.Concat(oneOpener("<|START_ACTION|>", objectHead("<|END_ACTION|>")),
		frames("<|START_RESPONSE|>", "<|END_RESPONSE|>")),
	GLM:  oneOpener("<tool_call>", tagHead(`\s*`+name+`\s*`, "<", true, glmTags), objectHead("</tool_call>")),
	Kimi: kimi(),
	MiniMax: invokes("<minimax:tool_call>", "<invoke name=", "</minimax:tool_call>",
		miniMaxTags),
	MiniCPM:      oneOpener("<function name=", tagHead(`"`+name+`"`, ">", false, miniCPMTags)),
	FireFunction: oneOpener("functools", objectHead()),
	LFM2: slices.Concat(oneOpener("<|tool_call_start|>", pythonHead(`\s*\[?\s*`+name, true, "]", "<|tool_call_end|>"),
		objectHead("<|tool_call_end|>"))),
	ToolCalls: oneOpener("<tool_calls>", linesHead("</tool_calls>")),
	Nemotron:  oneOpener("<TOOLCALL>", objectHead("</TOOLCALL>")),
	GigaChat:  oneOpener("<|function_call|>", objectHead("<|message_sep|>")),
	Solar: oneOpener("<|tool_call:begin|>", jsonHead(`[^<]*<\|tool_call:name\|>`+name+`<\|tool_call:args\|>\s*`,
		"<|tool_call:end|>", "<|calls|>")),
	Generic: bareObject(),
}

var mistral = slices.Concat(oneOpener("[TOOL_CALLS]", objectHead(),
	jsonHead(`\s*`+name+`(?:\[CALL_ID\]\w+)?(?:\[ARGS\])?\s*`)))

var deepSeek = func() []opener {
	body := `\s*(?:function<｜tool▁sep｜>` + name + "\\s*```(?:json)?\\s*|" + name + `<｜tool▁sep｜>\s*)`
	h := jsonHead(`\s*<｜tool▁call▁begin｜>`+body, "```", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>")
	next := jsonHead(body)
	next.tail = h.tail
	h.tail.again = oneOpener("<｜tool▁call▁begin｜>", next)
	return oneOpener("<｜tool▁calls▁begin｜>", h)
}()

func kimi() []opener {
	body := `\s*(?:functions\.)?` + name + `:\d+\s*<\|tool_call_argument_begin\|>\s*`
	h := jsonHead(`\s*<\|tool_call_begin\|>`+body, "<|tool_call_end|>", "<|tool_calls_section_end|>")
	next := jsonHead(body)
	next.tail = h.tail
	h.tail.again = oneOpener("<|tool_call_begin|>", next)
	return oneOpener("<|tool_calls_section_begin|>", h)
}

// linesHead is one object a line, or a list.
func linesHead(closing string) *head {
	h := objectHead(closing)
	h.tail.again = []opener{{mark: "{", bare: true, heads: []*head{h}}}
	return h
}

// functionaryStart is the first recipient of an answer: the prompt ends with the marker >>>.
func functionaryStart() []opener {
	return []opener{
		{mark: "all\n", fresh: true, heads: []*head{{kind: frame}}},
		{mark: "", bare: true, fresh: true, heads: []*head{jsonHead(name + `\n\s*`)}},
	}
}

// ThoughtTags are the pairs of tags that models of several families put around thoughts.
var ThoughtTags = [][2]string{
	{"<think>", "</think>"},
	{"[THINK]", "[/THINK]"},
	{"<seed:think>", "</seed:think>"},
	{"<|START_THINKING|>", "<|END_THINKING|>"},
}

// thoughts are the pairs of texts around thoughts: tags, or sentences.
var thoughts = slices.Concat(ThoughtTags, [][2]string{
	{"Here is my thought process:", "Here is my response:"},
	{"Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"},
})

func thoughtOpeners(f Format) []opener {
	if f == Harmony {
		return oneOpener("<|channel|>", &head{
			kind: thought, pattern: regexp.MustCompile(`^\s*analysis\s*$`),
			delimiter: "<|message|>", closers: []string{"<|end|>", "<|return|>"},
		})
	}
	var all []opener
	for _, t := range thoughts {
		all = append(all, opener{mark: t[0], fresh: true, heads: []*head{{kind: thought, closers: []string{t[1]}}}})
	}
	return all
}

// openThought is a thought that the prompt began: any closing tag ends it.
func openThought(f Format) *head {
	if f == Harmony {
		return &head{kind: thought, closers: []string{"<|end|>", "<|return|>"}}
	}
	h := &head{kind: thought}
	for _, t := range thoughts {
		h.closers = append(h.closers, t[1])
	}
	return h
}
