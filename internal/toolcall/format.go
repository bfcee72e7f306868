package toolcall

import "strings"

// Format is the wire form in which a family of models calls tools.
type Format int

// The formats. Hermes comes first because it is what unknown templates get.
const (
	Hermes        Format = iota // <tool_call>{"name": …, "arguments": {…}}</tool_call>
	QwenXML                     // <tool_call><function=name><parameter=key>value</parameter></function></tool_call>
	Llama3                      // {"name": …, "parameters": {…}}, <|python_tag|>name.call(key="value")
	Mistral                     // [TOOL_CALLS]name[ARGS]{…}
	MistralList                 // [TOOL_CALLS][{"name": …, "arguments": {…}}]
	Granite                     // <|tool_call|>[{"name": …, "arguments": {…}}]
	DeepSeekR1                  // <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>name and a block of JSON
	DeepSeekV31                 // <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>name<｜tool▁sep｜>{…}<｜tool▁call▁end｜>
	DSML                        // DeepSeek 3.2 and 4: <｜DSML｜invoke name="…">
	Harmony                     // gpt-oss: <|channel|>commentary to=functions.name <|constrain|>json<|message|>{…}<|call|>
	Functionary31               // <function=name>{…}</function>
	Functionary32               // >>>name, a newline, {…}
	CommandR                    // <|START_ACTION|>[{"tool_name": …, "parameters": {…}}]<|END_ACTION|>
	GLM                         // <tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>
	Kimi                        // <|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{…}<|tool_call_end|>
	MiniMax                     // <minimax:tool_call><invoke name="…"><parameter name="…">…
	MiniCPM                     // <function name="…"><param name="…">…</param></function>
	FireFunction                // functools[{"name": …, "arguments": {…}}]
	LFM2                        // <|tool_call_start|>[name(key="value")]<|tool_call_end|>
	ToolCalls                   // <tool_calls>{"name": …}</tool_calls>, a list or one object a line
	Nemotron                    // <TOOLCALL>[{"name": …, "arguments": {…}}]</TOOLCALL>
	GigaChat                    // <|function_call|>{"name": …, "arguments": {…}}
	Solar                       // <|tool_call:begin|>id<|tool_call:name|>name<|tool_call:args|>{…}<|tool_call:end|>
	Generic                     // {"name": …, "arguments": {…}}
)

var formatNames = [...]string{
	"hermes", "qwen-xml", "llama3", "mistral", "mistral-list", "granite", "deepseek-r1",
	"deepseek-v3.1", "dsml", "harmony", "functionary-3.1", "functionary-3.2", "command-r", "glm", "kimi", "minimax", "minicpm",
	"firefunction", "lfm2", "tool-calls", "nemotron", "gigachat", "solar", "generic",
}

func (f Format) String() string {
	if f < 0 || int(f) >= len(formatNames) {
		return "unknown"
	}
	return formatNames[f]
}

// spellings tell a format by what a template spells, the first that has all of them. Special forms stand before those
// whose markers they share.
var spellings = []struct {
	format Format
	all    []string
}{
	{DSML, []string{"｜DSML｜"}},
	{DeepSeekR1, []string{"tool▁calls▁begin", "```json"}},
	{DeepSeekV31, []string{"tool▁calls▁begin"}},
	{Harmony, []string{"<|channel|>", "to=functions."}},
	{Harmony, []string{"<|channel|>", "<|message|>", "analysis"}},
	{MiniMax, []string{"<minimax:tool_call>"}},
	{MiniMax, []string{"minimax:tool_call"}},
	{Kimi, []string{"tool_calls_section_begin"}},
	{CommandR, []string{"<|START_ACTION|>"}},
	{QwenXML, []string{"<function=", "<parameter="}},
	{Functionary31, []string{"<function="}},
	{Functionary32, []string{">>>", "recipient"}},
	{Functionary32, []string{">>>all"}},
	{GLM, []string{"<arg_key>"}},
	{Mistral, []string{"[TOOL_CALLS]", "[ARGS]"}},
	{MistralList, []string{"[TOOL_CALLS]"}},
	{FireFunction, []string{"functools"}},
	{Nemotron, []string{"<TOOLCALL>"}},
	{Solar, []string{"<|tool_call:begin|>"}},
	{GigaChat, []string{"<|function_call|>"}},
	{MiniCPM, []string{"<function name=", "<param name="}},
	{LFM2, []string{"<|tool_call_start|>"}},
	{LFM2, []string{"List of tools: "}},
	{Granite, []string{"<|tool_call|>"}},
	{ToolCalls, []string{"<tool_calls>"}},
	{Hermes, []string{"<tool_call>"}},
	{Llama3, []string{"<|python_tag|>"}},
	{Llama3, []string{"<|start_header_id|>ipython"}},
	{Llama3, []string{"<|start_header_id|>", `"parameters"`}},
}

// Detect finds the format by what a chat template spells. A template that spells none, or is empty, gets [Hermes].
func Detect(templateSource string) Format {
next:
	for _, s := range spellings {
		for _, spelling := range s.all {
			if !strings.Contains(templateSource, spelling) {
				continue next
			}
		}
		return s.format
	}
	return Hermes
}
