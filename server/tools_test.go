package server

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"aim/llama/llamatest"
)

// toolTemplate is that of a model that thinks, and calls tools in the form of Hermes.
const toolTemplate = `{# <think> <tool_call> #}` + template

// spoken are what the fake says under it.
var spoken = map[string]string{
	"one call":   "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rio\"}}\n</tool_call>",
	"two calls":  "Both.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rio\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"clock\", \"arguments\": {}}\n</tool_call>",
	"thinking":   "<think>Well.</think>\nYes, no.",
	"everything": "<think>Hm.</think>So:\n<tool_call>{\"name\": \"clock\", \"arguments\": {}}</tool_call>",
	"nobody":     "<tool_call>{\"name\": \"nobody\", \"arguments\": {}}</tool_call>",
}

func startTools(t testing.TB) *site {
	return start(t, options{
		template: toolTemplate, model: skilled{fake}, decoder: llamatest.Options{Say: llamatest.Say(fake, marker, spoken)},
	})
}

const twoTools = `"tools": [{"type": "function", "function": {"name": "weather", "description": "Weather.", "parameters": {"type": "object",
	"properties": {"city": {"type": "string"}}}}}, {"type": "function", "function": {"name": "clock"}}]`

// chatted is what clients of tools read of an answer.
type chatted struct {
	Choices []struct {
		Message struct {
			Content   *string
			Reasoning string     `json:"reasoning_content"`
			ToolCalls []chatCall `json:"tool_calls"`
		}
		Delta struct {
			Content   *string
			Reasoning string          `json:"reasoning_content"`
			ToolCalls []chatCallDelta `json:"tool_calls"`
		}
		Logprobs     *chatLogprobs
		FinishReason *string `json:"finish_reason"`
	}
	Usage *usage
}

// TestToolCallShapes holds an answer and a stream with calls against OpenAI's, byte for byte.
func TestToolCallShapes(t *testing.T) {
	s := startTools(t)
	const usage = `"usage":{"prompt_tokens":31,"completion_tokens":75,"total_tokens":106,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}`
	body := stable(s.ask(t, "one call", twoTools).ok(t).body)
	want := `{"id":"chatcmpl-","object":"chat.completion","created":1,"model":"fake","system_fingerprint":"fp_",` +
		`"choices":[{"index":0,"message":{"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"call_","type":"function",` +
		`"function":{"name":"weather","arguments":"{\"city\": \"Rio\"}"}}]},"logprobs":null,"finish_reason":"tool_calls"}],` + usage + `}`
	if body != want {
		t.Errorf("got\n%s\nwant\n%s", body, want)
	}
	list := events(t, stable(s.ask(t, "one call", twoTools+`, "stream": true`).ok(t).body))
	const head = `{"id":"chatcmpl-","object":"chat.completion.chunk","created":1,"model":"fake","system_fingerprint":"fp_","choices":[`
	begin := []string{
		head + `{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}`,
		head + `{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_","type":"function","function":{"name":"weather","arguments":""}}]},"logprobs":null,"finish_reason":null}]}`,
		head + `{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]},"logprobs":null,"finish_reason":null}]}`,
	}
	end := []string{head + `{"index":0,"delta":{},"logprobs":null,"finish_reason":"tool_calls"}]}`, "[DONE]"}
	if !slices.Equal(list[:3], begin) || !slices.Equal(list[len(list)-2:], end) {
		t.Errorf("got\n%s\nwant it to begin\n%s\nand to end\n%s", strings.Join(list, "\n"), strings.Join(begin, "\n"), strings.Join(end, "\n"))
	}
	ids := map[string]bool{}
	for range 3 {
		ids[decode[chatted](t, s.ask(t, "one call", twoTools).body).Choices[0].Message.ToolCalls[0].ID] = true
	}
	if len(ids) != 3 {
		t.Errorf("three calls have the ids %v", ids)
	}
}

// TestToolCalls: answer, thoughts and calls are told apart, whole and streamed alike, with log-probabilities and without.
func TestToolCalls(t *testing.T) {
	s := startTools(t)
	for _, c := range []struct {
		content, fields, text, reasoning, calls, finish string
	}{
		{"two calls", twoTools, "Both.", "", `weather {"city": "Rio"}; clock {}`, "tool_calls"},
		{"thinking", "", "Yes, no.", "Well.", "", "stop"},
		{"thinking", `"reasoning_format": "none"`, spoken["thinking"], "", "", "stop"},
		{"everything", twoTools, "So:", "Hm.", "clock {}", "tool_calls"},
		{"everything", twoTools + `, "tool_choice": "none"`, "So:\n<tool_call>{\"name\": \"clock\", \"arguments\": {}}</tool_call>", "Hm.", "", "stop"},
		{"nobody", twoTools, spoken["nobody"], "", "", "stop"},
		{"one call", twoTools + `, "max_tokens": 48`, "", "", `weather {"c`, "length"},
		{
			"everything", twoTools + `, "tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": [{"type": "function", "function": {"name": "weather"}}]}}`,
			"So:\n<tool_call>{\"name\": \"clock\", \"arguments\": {}}</tool_call>", "Hm.", "", "stop",
		},
	} {
		for _, logprobs := range []string{"", `"logprobs": true`} {
			fields := strings.Trim(c.fields+", "+logprobs, ", ")
			whole := decode[chatted](t, s.ask(t, c.content, fields).ok(t).body)
			m := whole.Choices[0].Message
			var calls []string
			for _, call := range m.ToolCalls {
				calls = append(calls, call.Function.Name+" "+call.Function.Arguments)
			}
			text := ""
			if m.Content != nil {
				text = *m.Content
			}
			if text != c.text || m.Reasoning != c.reasoning || strings.Join(calls, "; ") != c.calls || *whole.Choices[0].FinishReason != c.finish {
				t.Errorf("%s, %s: %q, %q, %q, %s", c.content, fields, text, m.Reasoning, calls, *whole.Choices[0].FinishReason)
			}
			if (m.Content == nil) != (text == "" && len(calls) > 0) {
				t.Errorf("%s: content is null: %v", c.content, m.Content == nil)
			}
			if n := whole.Usage.CompletionDetails.Reasoning; (n > 0) != (c.reasoning != "") || n > whole.Usage.Completion {
				t.Errorf("%s: %d tokens of reasoning in %d", c.content, n, whole.Usage.Completion)
			}
			streamed := s.ask(t, c.content, strings.Trim(fields+`, "stream": true`, ", "))
			got, tokens := joinChunks(t, streamed)
			if got.text != text || got.reasoning != m.Reasoning || !slices.Equal(got.calls, calls) || got.finish != c.finish {
				t.Errorf("%s, %s: streamed %+v", c.content, fields, got)
			}
			if want := whole.Choices[0].Logprobs; logprobs != "" && (want == nil || tokens != len(want.Content)) {
				t.Errorf("%s: %d tokens streamed, %+v whole", c.content, tokens, want)
			}
		}
	}
}

// spokenParts are a streamed answer put together.
type spokenParts struct {
	text, reasoning, finish string
	calls                   []string
}

// joinChunks puts a stream with calls together as clients do, and counts its log-probabilities.
func joinChunks(t *testing.T, r response) (p spokenParts, tokens int) {
	t.Helper()
	list := events(t, r.ok(t).body)
	for _, data := range list[:len(list)-1] {
		c := decode[chatted](t, data).Choices[0]
		if c.Delta.Content != nil {
			p.text += *c.Delta.Content
		}
		p.reasoning += c.Delta.Reasoning
		for _, d := range c.Delta.ToolCalls {
			if d.ID != "" {
				if d.Type != "function" || d.Function.Name == "" || d.Function.Arguments != "" || d.Index != len(p.calls) {
					t.Errorf("a call begins with %s", data)
				}
				p.calls = append(p.calls, d.Function.Name+" ")
			} else if d.Function.Name != "" || d.Type != "" {
				t.Errorf("a call goes on with %s", data)
			}
			p.calls[d.Index] += d.Function.Arguments
		}
		if c.Logprobs != nil {
			tokens += len(c.Logprobs.Content)
		}
		if c.FinishReason != nil {
			p.finish = *c.FinishReason
		}
	}
	return p, tokens
}

// TestForms: an answer has the form that was asked for, each choice for itself, in both endpoints.
func TestForms(t *testing.T) {
	s := startTools(t)
	schema := `{"type": "object", "properties": {"n": {"type": "integer"}}}`
	isNumber := func(text string) bool {
		var v struct{ N *int }
		return json.Unmarshal([]byte(text), &v) == nil && v.N != nil
	}
	isObject := func(text string) bool { return json.Unmarshal([]byte(text), &map[string]any{}) == nil }
	isWord := func(text string) bool { return text == "yes" || text == `no "x"` }
	for fields, holds := range map[string]func(string) bool{
		`"grammar": "root ::= \"yes\" | \"no \\\"x\\\"\""`:                                                                   isWord,
		`"structured_outputs": {"choice": ["yes", "no \"x\""]}`:                                                              isWord,
		`"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": ` + schema + `}}`: isNumber,
		`"response_format": {"type": "json_object", "schema": ` + schema + `}`:                                               isNumber,
		`"json_schema": ` + schema:                                                       isNumber,
		`"guided_json": ` + quote(schema):                                                isNumber,
		`"structured_outputs": {"json": ` + schema + `}`:                                 isNumber,
		`"response_format": {"type": "json_object"}, "logit_bias": {"125": 8, "34": 4}`:  isObject,
		`"structured_outputs": {"json_object": true}, "logit_bias": {"125": 8, "34": 4}`: isObject,
	} {
		fields += `, "seed": 3, "n": 3, "max_tokens": 400`
		chat := decode[completion](t, s.ask(t, "x", fields+`, "tools": [], "logprobs": true`).ok(t).body)
		text := decode[completion](t, s.do(t, "POST", textPath, `{"prompt": "x", `+fields+`}`).ok(t).body)
		stream := assemble(t, s.ask(t, "x", fields+`, "stream": true`))
		for i := range 3 {
			for _, got := range []string{chat.Choices[i].Message.Content, text.Choices[i].Text, stream.text[i]} {
				if !holds(got) {
					t.Errorf("%s: choice %d is %q", fields, i, got)
				}
			}
			if finish := *chat.Choices[i].FinishReason; finish != "stop" {
				t.Errorf("%s: choice %d ends with %s", fields, i, finish)
			}
		}
	}
	s.ask(t, "x", `"json_schema": {"type": "strange"}`).is(t, "schema", http.StatusBadRequest, "json_schema", "invalid_schema")
	s.ask(t, "x", `"grammar": "root ::= \"a\"", "logit_bias": {"a": false}`).is(t, "stuck", http.StatusBadRequest, "", "no_token_allowed")
}

// TestFormAfterThoughts: what must have a form is the answer, not the thoughts before it.
func TestFormAfterThoughts(t *testing.T) {
	s := start(t, options{
		template: strings.TrimSuffix(toolTemplate, marker) + "<think>" + marker + "<think>",
		model:    skilled{fake}, decoder: llamatest.Options{Say: llamatest.Say(fake, marker+"<think>", map[string]string{"x": "Hm, yes or no?</think>"})},
	})
	got := decode[chatted](t, s.ask(t, "x", `"grammar": "root ::= \"yes\" | \"no\"", "max_tokens": 60`).ok(t).body).Choices[0]
	if *got.Message.Content != "yes" && *got.Message.Content != "no" || got.Message.Reasoning != "Hm, yes or no?" {
		t.Errorf("%q after %q", *got.Message.Content, got.Message.Reasoning)
	}
}
