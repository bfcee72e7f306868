package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"aim/internal/chat"
	"aim/llama"
	"aim/llama/llamatest"
)

// spellMessages shows messages as a test expects them: {role content (thoughts) id=name{arguments} <answered}.
func spellMessages(messages []chat.Message) string {
	list := make([]string, len(messages))
	for i, m := range messages {
		s := m.Role + " " + strings.ReplaceAll(m.Content, "\n", "|")
		if m.Reasoning != "" {
			s += " (" + m.Reasoning + ")"
		}
		for _, c := range m.ToolCalls {
			s += fmt.Sprintf(" %s=%s%s", c.ID, c.Name, c.Arguments)
		}
		if m.ToolCallID != "" {
			s += " <" + m.ToolCallID
		}
		if m.NoContent != (m.Content == "" && len(m.ToolCalls) > 0) {
			s += " no content"
		}
		list[i] = "{" + s + "}"
	}
	return "[" + strings.Join(list, " ") + "]"
}

func messagesBody(content, fields string) string {
	return chatBody(content, strings.TrimSuffix(`"max_tokens": 200, `+fields, ", "))
}

const schemaTools = `"tools": [{"name": "weather", "input_schema": {"type": "object"}}, {"type": "custom", "name": "clock", "input_schema": {"type": "object"}}]`

// typed are the events of a stream, steady, with runs of deltas of one type as one.
func typed(t testing.TB, list []namedEvent) (out []string) {
	t.Helper()
	type delta struct {
		Type  string
		Index int
		Delta map[string]string
	}
	for _, e := range list {
		data := steady(e.data)
		if e.name == "content_block_delta" && len(out) > 0 {
			now := decode[delta](t, data)
			var last delta
			if json.Unmarshal([]byte(out[len(out)-1]), &last) == nil && last.Type == now.Type && last.Delta["type"] == now.Delta["type"] && last.Index == now.Index {
				for name, text := range now.Delta {
					if name != "type" {
						last.Delta[name] += text
					}
				}
				out[len(out)-1] = string(encode(blockEvent{Type: last.Type, Index: last.Index, Delta: last.Delta}))
				continue
			}
		}
		out = append(out, data)
	}
	return out
}

// TestMessagesShapes holds an answer and a stream against Anthropic's reference, byte for byte.
func TestMessagesShapes(t *testing.T) {
	s := start(t, options{})
	const (
		head  = `{"id":"msg_","type":"message","role":"assistant","model":"fake","content":[`
		usage = `"usage":{"input_tokens":12,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":`
		whole = head + `{"type":"text","text":"Hello, world!"}],"stop_reason":"end_turn","stop_sequence":null,` + usage + `12}}`
	)
	r := s.do(t, "POST", messagesPath, messagesBody("hello", "")).ok(t)
	if got := steady(r.body); got != whole {
		t.Errorf("got\n%s\nwant\n%s", got, whole)
	}
	if id := r.header.Get("Request-Id"); id == "" || id != r.header.Get("X-Request-Id") {
		t.Errorf("the request is %q", id)
	}
	got := typed(t, namedEvents(t, s.do(t, "POST", messagesPath, messagesBody("hello", `"stream": true`))))
	want := []string{
		`{"type":"message_start","message":` + head + `],"stop_reason":null,"stop_sequence":null,` + usage + `0}}}`,
		`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`,
		`{"type":"content_block_delta","index":0,"delta":{"text":"Hello, world!","type":"text_delta"}}`,
		`{"type":"content_block_stop","index":0}`,
		`{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},` + usage + `12}}`,
		`{"type":"message_stop"}`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestMessagesBlocks: thoughts, text and calls are blocks in the order in which they come, whole and streamed alike.
func TestMessagesBlocks(t *testing.T) {
	s := startTools(t)
	got := typed(t, namedEvents(t, s.do(t, "POST", messagesPath, messagesBody("everything", schemaTools+`, "stream": true`))))
	want := []string{
		`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`,
		`{"type":"content_block_delta","index":0,"delta":{"thinking":"Hm.","type":"thinking_delta"}}`,
		`{"type":"content_block_delta","index":0,"delta":{"signature":"unsigned","type":"signature_delta"}}`,
		`{"type":"content_block_stop","index":0}`,
		`{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}`,
		`{"type":"content_block_delta","index":1,"delta":{"text":"So:","type":"text_delta"}}`,
		`{"type":"content_block_stop","index":1}`,
		`{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_","name":"clock","input":{}}}`,
		`{"type":"content_block_delta","index":2,"delta":{"partial_json":"{}","type":"input_json_delta"}}`,
		`{"type":"content_block_stop","index":2}`,
	}
	if !slices.Equal(got[1:len(got)-2], want) || !strings.Contains(got[len(got)-2], `"stop_reason":"tool_use"`) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	whole := steady(s.do(t, "POST", messagesPath, messagesBody("everything", schemaTools)).ok(t).body)
	if want := `"content":[{"type":"thinking","thinking":"Hm.","signature":"unsigned"},{"type":"text","text":"So:"},{"type":"tool_use","id":"toolu_","name":"clock","input":{}}],` +
		`"stop_reason":"tool_use"`; !strings.Contains(whole, want) {
		t.Errorf("got %s, want %s", whole, want)
	}
	two := s.do(t, "POST", messagesPath, messagesBody("two calls", schemaTools)).ok(t).body
	if !strings.Contains(two, `"name":"weather","input":{"city":"Rio"}`) || !strings.Contains(two, `"name":"clock","input":{}`) {
		t.Errorf("two calls: %s", two)
	}
}

// TestMessagesStops: each reason for an end, and the text that was met, whole and streamed.
func TestMessagesStops(t *testing.T) {
	s := startTools(t)
	for _, c := range []struct{ content, fields, want string }{
		{"one call", schemaTools, `"stop_reason":"tool_use","stop_sequence":null`},
		{"one call", schemaTools + `, "max_tokens": 48`, `"stop_reason":"max_tokens","stop_sequence":null`},
		{"thinking", `"stop_sequences": ["xyz", " no", "no."]`, `"stop_reason":"stop_sequence","stop_sequence":" no"`},
		{"thinking", `"stop_sequences": ["es, ", "s, "]`, `"stop_reason":"stop_sequence","stop_sequence":"es, "`},
		{"thinking", "", `"stop_reason":"end_turn","stop_sequence":null`},
	} {
		for _, stream := range []string{"", `, "stream": true`} {
			body := chatBody(c.content, strings.TrimPrefix(strings.TrimSuffix(`"max_tokens": 200, `+c.fields, ", ")+stream, ", "))
			if strings.Contains(c.fields, "max_tokens") {
				body = chatBody(c.content, c.fields+stream)
			}
			if r := s.do(t, "POST", messagesPath, body).ok(t); !strings.Contains(r.body, c.want) {
				t.Errorf("%s: %s, want %s", body, r.body, c.want)
			}
		}
	}
	cut := s.do(t, "POST", messagesPath, chatBody("one call", schemaTools+`, "max_tokens": 48`)).ok(t).body
	if !strings.Contains(cut, `"name":"weather","input":{}`) {
		t.Errorf("a call that was cut off: %s", cut)
	}
}

// TestMessagesInput: turns become the messages that the template knows.
func TestMessagesInput(t *testing.T) {
	for _, c := range []struct {
		body, want string
		continues  bool
	}{
		{`{"system": "s", "messages": [{"role": "user", "content": "x"}]}`, `[{system s} {user x}]`, false},
		{
			`{"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}],
			"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}, {"role": "assistant", "content": "So "}]}`,
			`[{system a|b} {user x|y} {assistant So }]`, true,
		},
		{
			`{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"},
				{"type": "redacted_thinking", "data": "z"}, {"type": "text", "text": "so"}, {"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}},
				{"type": "tool_use", "id": "2", "name": "g"}]},
				{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "2", "content": [{"type": "text", "text": "two"}]},
				{"type": "tool_result", "tool_use_id": "1", "is_error": true}, {"type": "text", "text": "go on"}]}]}`,
			`[{user x} {assistant so (hm) 1=f{"a": 1} 2=g{}} {tool two <2} {tool  <1} {user go on}]`, false,
		},
		{
			`{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f"}]}]}`,
			`[{user x} {assistant  1=f{}}]`, false,
		},
	} {
		o, err := parseBody([]byte(c.body))
		if err != nil {
			t.Fatal(err)
		}
		messages, continues := o.turns()
		if *o.err != nil {
			t.Errorf("%s: %v", c.body, *o.err)
		}
		if got := spellMessages(messages); got != c.want || continues != c.continues {
			t.Errorf("%s:\n%s, %v, want\n%s", c.body, got, continues, c.want)
		}
	}
}

// TestMessagesThinking: thinking and effort are variables of the template.
func TestMessagesThinking(t *testing.T) {
	for fields, want := range map[string]string{
		``: `{}`,
		`"thinking": {"type": "enabled", "budget_tokens": 1024}`:                          `{"enable_thinking":true}`,
		`"thinking": {"type": "disabled"}`:                                                `{"enable_thinking":false}`,
		`"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}`:           `{"enable_thinking":true,"reasoning_effort":"high"}`,
		`"thinking": {"type": "enabled"}, "chat_template_kwargs": {"enable_thinking": 0}`: `{"enable_thinking":0}`,
	} {
		o, err := parseBody([]byte(chatBody("x", fields)))
		if err != nil {
			t.Fatal(err)
		}
		d, err := o.dialogue(&call{})
		if err != nil {
			t.Fatal(err)
		}
		if d.kwargs == nil {
			d.kwargs = map[string]json.RawMessage{}
		}
		if got := string(encode(d.kwargs)); got != want {
			t.Errorf("%s: %s, want %s", fields, got, want)
		}
	}
}

// TestCountTokens: the count is that of the prompt which the same request would have.
func TestCountTokens(t *testing.T) {
	s := startTools(t)
	for _, fields := range []string{"", schemaTools, `"system": "Be brief."`, schemaTools + `, "tool_choice": {"type": "none"}`} {
		counted := decode[tokenCount](t, s.do(t, "POST", messagesPath+"/count_tokens", chatBody("one call", fields)).ok(t).body)
		used := decode[struct{ Usage messageUsage }](t, s.do(t, "POST", messagesPath, messagesBody("one call", fields)).ok(t).body).Usage
		if counted.Input != used.Input || counted.Input == 0 {
			t.Errorf("%s: counted %d, used %d", fields, counted.Input, used.Input)
		}
	}
	s.do(t, "POST", messagesPath+"/count_tokens", `{"messages": 1}`).is(t, "count", 400, "messages", codeType)
}

// TestMessagesRefuses: errors have Anthropic's shape and types, and name the parameter.
func TestMessagesRefuses(t *testing.T) {
	s := start(t, options{sigma: 1, server: Config{MaxBody: 4000}})
	turn := func(role, content string) string {
		return `{"max_tokens": 1, "messages": [{"role": "` + role + `", "content": ` + content + `}]}`
	}
	for _, c := range []struct {
		body           string
		status         int
		kind, at, code string
	}{
		{chatBody("x", ""), 400, typeInvalid, "max_tokens", codeMissing},
		{`{"max_tokens": 1}`, 400, typeInvalid, "messages", codeMissing},
		{`{"max_tokens": 1, "messages": []}`, 400, typeInvalid, "messages", codeValue},
		{turn("system", `"x"`), 400, typeInvalid, "messages[0].role", codeValue},
		{turn("user", `[]`), 400, typeInvalid, "messages[0].content", codeValue},
		{turn("user", `[{"type": "image", "source": {}}]`), 400, typeInvalid, "messages[0].content[0]", codeContent},
		{turn("user", `[{"type": "document"}]`), 400, typeInvalid, "messages[0].content[0]", codeContent},
		{turn("user", `[{"type": "tool_use", "id": "x", "name": "f"}]`), 400, typeInvalid, "messages[0].content[0].type", codeValue},
		{turn("assistant", `[{"type": "tool_result", "tool_use_id": "x"}]`), 400, typeInvalid, "messages[0].content[0].type", codeValue},
		{turn("user", `[{"type": "tool_result", "tool_use_id": "x"}]`), 400, typeInvalid, "messages[0].content[0].tool_use_id", codeValue},
		{messagesBody("x", `"tools": [{"type": "web_search_20250305", "name": "web_search"}]`), 400, typeInvalid, "tools[0].type", codeTool},
		{messagesBody("x", `"tool_choice": {"type": "any"}`), 400, typeInvalid, "tool_choice", codeValue},
		{messagesBody("x", schemaTools+`, "tool_choice": {"type": "tool", "name": "x"}`), 400, typeInvalid, "tool_choice.name", codeValue},
		{messagesBody("x", schemaTools+`, "tool_choice": {"type": "tool"}`), 400, typeInvalid, "tool_choice.name", codeMissing},
		{messagesBody("x", `"stop_sequences": [""]`), 400, typeInvalid, "stop_sequences[0]", codeValue},
		{messagesBody("x", `"model": "none"`), 404, "not_found_error", "model", "model_not_found"},
		{messagesBody("x", `"model": "fake/imposed", "aim": {"utility": {"sigma": 0}}`), 403, "permission_error", "aim.utility.sigma", "utility_imposed"},
		{messagesBody(strings.Repeat("x", 5000), ""), 413, "request_too_large", "", "request_too_large"},
		{"{", 400, typeInvalid, "", "invalid_json"},
	} {
		r := s.do(t, "POST", messagesPath, c.body)
		r.is(t, c.body, c.status, c.at, c.code)
		f := decode[messagesFailure](t, r.body)
		if f.Type != "error" || f.Error.Type != c.kind || f.RequestID == "" || f.RequestID != r.header.Get("Request-Id") {
			t.Errorf("%s: %s", c.body, r.body)
		}
	}
	s.api.Drain()
	r := s.do(t, "POST", messagesPath, messagesBody("x", ""))
	if f := decode[messagesFailure](t, r.body); r.status != statusOverloaded || f.Error.Type != "overloaded_error" || r.header.Get("Retry-After") != "5" || r.header.Get("Request-Id") == "" {
		t.Errorf("draining: %d %s", r.status, r.body)
	}
}

// TestMessagesFailures: what fails in the middle of an answer ends the stream with an error event.
func TestMessagesFailures(t *testing.T) {
	var decodes atomic.Int64
	s := start(t, options{decoder: llamatest.Options{Before: func([]llama.Row) error {
		if decodes.Add(1) > 3 {
			return errors.New("broken")
		}
		return nil
	}}})
	list := namedEvents(t, s.do(t, "POST", messagesPath, messagesBody("hello", `"stream": true`)))
	last := list[len(list)-1]
	const want = `{"type":"error","error":{"message":"the model failed on this request","type":"api_error","param":null,"code":"decode_failed"}}`
	if last.name != "error" || last.data != want || list[0].name != "message_start" {
		t.Errorf("got %s, want %s", last.data, want)
	}
	r := s.do(t, "POST", messagesPath, messagesBody("hello", ""))
	if f := decode[messagesFailure](t, r.body); r.status != 500 || f.Error.Type != "api_error" {
		t.Errorf("whole: %d %s", r.status, r.body)
	}
}

// TestMessagesPing: a stream that waits for its first token begins, and shows that it lives by events.
func TestMessagesPing(t *testing.T) {
	s := start(t, options{
		server: Config{KeepAlive: 10 * time.Millisecond},
		decoder: llamatest.Options{Before: func([]llama.Row) error {
			time.Sleep(40 * time.Millisecond)
			return nil
		}},
	})
	list := namedEvents(t, s.do(t, "POST", messagesPath, messagesBody("hello", `"stream": true`)))
	starts := 0
	for _, e := range list {
		if e.name == "message_start" {
			starts++
		}
	}
	if list[0].name != "message_start" || list[1] != (namedEvent{"ping", `{"type":"ping"}`}) || starts != 1 || list[len(list)-1].name != "message_stop" {
		t.Errorf("got %v", list)
	}
}

// TestMessagesModulated: the extension works here, too.
func TestMessagesModulated(t *testing.T) {
	s := start(t, options{})
	for _, stream := range []string{"", `, "stream": true`} {
		r := s.do(t, "POST", messagesPath, messagesBody("hello", `"aim": {"utility": {"sigma": 0.1}, "report": true}`+stream)).ok(t)
		if !strings.Contains(r.body, `"aim":{"report":{"sigma":0.1,`) {
			t.Errorf("no report in %s", r.body)
		}
	}
}

// TestMessagesForms: output_config.format holds an answer to its schema.
func TestMessagesForms(t *testing.T) {
	s := start(t, options{model: skilled{fake}})
	r := s.do(t, "POST", messagesPath, messagesBody("babble", `"output_config": {"format": {"type": "json_schema", "schema": {"type": "object", "properties": {"n": {"type": "integer"}}}}}`)).ok(t)
	m := decode[struct {
		Content []struct{ Text string }
		Reason  string `json:"stop_reason"`
	}](t, r.body)
	if o := decode[struct{ N int }](t, m.Content[0].Text); o.N == 0 || m.Reason != "end_turn" {
		t.Errorf("what the schema allows: %+v, %s", o, m.Reason)
	}
}
