package server

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"aim/llama"
	"aim/llama/llamatest"
)

// namedEvent is an event of a stream whose events have names.
type namedEvent struct{ name, data string }

// namedEvents splits such a stream, and fails the test where an event's name is not its type.
func namedEvents(t testing.TB, r response) (list []namedEvent) {
	t.Helper()
	if got := r.header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("content type %q: %s", got, r.body)
	}
	body := strings.ReplaceAll(r.ok(t).body, ": keep-alive\n", "")
	if !strings.HasSuffix(body, "\n\n") {
		t.Fatalf("the last event is not complete: %q", body)
	}
	for _, text := range strings.Split(strings.TrimSuffix(body, "\n\n"), "\n\n") {
		lines := strings.Split(text, "\n")
		if len(lines) != 2 || !strings.HasPrefix(lines[0], "event: ") || !strings.HasPrefix(lines[1], "data: ") {
			t.Fatalf("the event %q", text)
		}
		e := namedEvent{strings.TrimPrefix(lines[0], "event: "), strings.TrimPrefix(lines[1], "data: ")}
		if got := decode[struct{ Type string }](t, e.data).Type; got != e.name {
			t.Errorf("the event %s has the type %q", e.name, got)
		}
		list = append(list, e)
	}
	return list
}

// fleeting matches what differs each time in answers of the newer endpoints.
var fleeting = regexp.MustCompile(`"((?:resp|msg|fc|rs|call|toolu)_)[a-z0-9]{20,}"|"(created_at|completed_at)":\d{10}|,"timings":{[^}]*}`)

// steady replaces it.
func steady(body string) string {
	return fleeting.ReplaceAllStringFunc(body, func(field string) string {
		switch {
		case strings.HasPrefix(field, `,"timings"`):
			return ""
		case strings.HasSuffix(field, `"`):
			return fleeting.ReplaceAllString(field, `"$1"`)
		}
		return fleeting.ReplaceAllString(field, `"$2":1`)
	})
}

// sequence is the stream as steady data, without what every event has; runs of deltas of one type are one, whose text is theirs.
func sequence(t testing.TB, list []namedEvent) (out []string) {
	t.Helper()
	for i, e := range list {
		number := fmt.Sprintf(`,"sequence_number":%d`, i)
		if !strings.Contains(e.data, number) {
			t.Errorf("event %d has another number: %s", i, e.data)
		}
		data := strings.Replace(steady(e.data), number, "", 1)
		if delta := decode[struct{ Delta *string }](t, data).Delta; delta != nil && len(out) > 0 {
			const mark = `"delta":"`
			last := out[len(out)-1]
			if at := strings.Index(data, mark); at > 0 && strings.HasPrefix(last, data[:at+len(mark)]) {
				before := *decode[struct{ Delta *string }](t, last).Delta
				out[len(out)-1] = strings.Replace(last, mark+inner(before), mark+inner(before+*delta), 1)
				continue
			}
		}
		out = append(out, data)
	}
	return out
}

func inner(s string) string { return strings.Trim(string(encode(s)), `"`) }

func responseBody(input, fields string) string {
	return `{"input": ` + quote(input) + strings.TrimSuffix(", "+fields, ", ") + "}"
}

const flatTools = `"tools": [{"type": "function", "name": "weather", "parameters": {"type": "object"}}, {"type": "function", "name": "clock"}]`

// echoed is what every answer repeats of a request that asks for nothing.
const echoed = `"instructions":null,"max_output_tokens":null,"metadata":{},"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{"effort":null,"summary":null},` +
	`"background":false,"store":false,"temperature":1,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_logprobs":0,"top_p":1,"truncation":"disabled","user":null`

// TestResponseShapes holds an answer and a stream against OpenAI's reference, byte for byte.
func TestResponseShapes(t *testing.T) {
	s := start(t, options{})
	const (
		head = `{"id":"resp_","object":"response","created_at":1,"completed_at":`
		item = `{"id":"msg_","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Hello, world!","annotations":[],"logprobs":[]}]}`
		done = head + `1,"model":"fake","status":"completed","error":null,"incomplete_details":null,"output":[` + item + `],` +
			`"usage":{"input_tokens":12,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},"output_tokens":12,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":24},` + echoed + `}`
		begun = head + `null,"model":"fake","status":"in_progress","error":null,"incomplete_details":null,"output":[],"usage":null,` + echoed + `}`
		place = `"item_id":"msg_","output_index":0,"content_index":0,`
		part  = `"part":{"type":"output_text","text":"","annotations":[],"logprobs":[]}}`
	)
	if got := steady(s.do(t, "POST", responsesPath, responseBody("hello", `"store": true`)).ok(t).body); got != done {
		t.Errorf("got\n%s\nwant\n%s", got, done)
	}
	got := sequence(t, namedEvents(t, s.do(t, "POST", responsesPath, responseBody("hello", `"stream": true`))))
	want := []string{
		`{"type":"response.created","response":` + begun + `}`,
		`{"type":"response.in_progress","response":` + begun + `}`,
		`{"type":"response.output_item.added","output_index":0,"item":{"id":"msg_","type":"message","status":"in_progress","role":"assistant","content":[]}}`,
		`{"type":"response.content_part.added",` + place + part,
		`{"type":"response.output_text.delta",` + place + `"delta":"Hello, world!","logprobs":[]}`,
		`{"type":"response.output_text.done",` + place + `"text":"Hello, world!","logprobs":[]}`,
		`{"type":"response.content_part.done",` + place + strings.Replace(part, `"text":""`, `"text":"Hello, world!"`, 1),
		`{"type":"response.output_item.done","output_index":0,"item":` + item + `}`,
		`{"type":"response.completed","response":` + done + `}`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestResponseItems: thoughts, text and calls are items in the order in which they come, whole and streamed alike.
func TestResponseItems(t *testing.T) {
	s := startTools(t)
	const (
		thoughts = `{"id":"rs_","type":"reasoning","status":"%s","summary":[],"content":[%s]}`
		call     = `{"id":"fc_","type":"function_call","status":"%s","call_id":"call_","name":"clock","arguments":"%s"}`
	)
	got := sequence(t, namedEvents(t, s.do(t, "POST", responsesPath, responseBody("everything", flatTools+`, "stream": true`))))
	part := func(kind, i, item string) string {
		return `"item_id":"` + item + `_","output_index":` + i + `,"content_index":0,"` + kind
	}
	thought := `{"type":"reasoning_text","text":"Hm."}`
	want := []string{
		`{"type":"response.output_item.added","output_index":0,"item":` + fmt.Sprintf(thoughts, "in_progress", "") + `}`,
		`{"type":"response.content_part.added",` + part(`part":{"type":"reasoning_text","text":""}}`, "0", "rs"),
		`{"type":"response.reasoning_text.delta",` + part(`delta":"Hm."}`, "0", "rs"),
		`{"type":"response.reasoning_text.done",` + part(`text":"Hm."}`, "0", "rs"),
		`{"type":"response.content_part.done",` + part(`part":`+thought+`}`, "0", "rs"),
		`{"type":"response.output_item.done","output_index":0,"item":` + fmt.Sprintf(thoughts, "completed", thought) + `}`,
		`{"type":"response.output_item.added","output_index":1,"item":{"id":"msg_","type":"message","status":"in_progress","role":"assistant","content":[]}}`,
		`{"type":"response.content_part.added",` + part(`part":{"type":"output_text","text":"","annotations":[],"logprobs":[]}}`, "1", "msg"),
		`{"type":"response.output_text.delta",` + part(`delta":"So:","logprobs":[]}`, "1", "msg"),
		`{"type":"response.output_text.done",` + part(`text":"So:","logprobs":[]}`, "1", "msg"),
		`{"type":"response.content_part.done",` + part(`part":{"type":"output_text","text":"So:","annotations":[],"logprobs":[]}}`, "1", "msg"),
		`{"type":"response.output_item.done","output_index":1,"item":{"id":"msg_","type":"message","status":"completed","role":"assistant",` +
			`"content":[{"type":"output_text","text":"So:","annotations":[],"logprobs":[]}]}}`,
		`{"type":"response.output_item.added","output_index":2,"item":` + fmt.Sprintf(call, "in_progress", "") + `}`,
		`{"type":"response.function_call_arguments.delta","item_id":"fc_","output_index":2,"delta":"{}"}`,
		`{"type":"response.function_call_arguments.done","item_id":"fc_","output_index":2,"name":"clock","arguments":"{}"}`,
		`{"type":"response.output_item.done","output_index":2,"item":` + fmt.Sprintf(call, "completed", "{}") + `}`,
	}
	if !slices.Equal(got[2:len(got)-1], want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got[2:], "\n"), strings.Join(want, "\n"))
	}
	whole := decode[responseRead](t, s.do(t, "POST", responsesPath, responseBody("everything", flatTools)).ok(t).body)
	last := decode[struct{ Response responseRead }](t, got[len(got)-1]).Response
	if a, b := steady(string(encode(whole.Output))), steady(string(encode(last.Output))); a != b || len(whole.Output) != 3 {
		t.Errorf("whole %s, streamed %s", a, b)
	}
	if whole.Usage.Details.Reasoning == 0 || *whole.Usage != *last.Usage {
		t.Errorf("usage: whole %+v, streamed %+v", whole.Usage, last.Usage)
	}
	two := decode[responseRead](t, s.do(t, "POST", responsesPath, responseBody("two calls", flatTools)).ok(t).body)
	if len(two.Output) != 3 || two.Output[1].CallID == two.Output[2].CallID || two.Output[1].Arguments != `{"city": "Rio"}` || two.Output[2].Name != "clock" {
		t.Errorf("two calls: %+v", two.Output)
	}
}

// responseRead is what tests read of an answer.
type responseRead struct {
	Status     string
	Error      *responseError
	Incomplete *incomplete `json:"incomplete_details"`
	Output     []struct {
		ID, Type, Status, Name, Arguments string
		CallID                            string `json:"call_id"`
		Content                           []struct {
			Text     string
			Logprobs []chatLogprob
		}
	}
	Usage *responseUsage
	Aim   *aimField
}

// respond sends fields, with an input, whole and as a stream, and makes sure that both end the same.
func (s *site) respond(t testing.TB, input, fields string) responseRead {
	t.Helper()
	whole := decode[responseRead](t, s.do(t, "POST", responsesPath, responseBody(input, fields)).ok(t).body)
	list := namedEvents(t, s.do(t, "POST", responsesPath, responseBody(input, strings.TrimPrefix(fields+`, "stream": true`, ", "))))
	last := list[len(list)-1]
	streamed := decode[struct{ Response responseRead }](t, last.data).Response
	if a, b := steady(string(encode(whole))), steady(string(encode(streamed))); a != b || last.name != "response."+whole.Status {
		t.Errorf("%s: whole\n%s\nends with %s\n%s", fields, a, last.name, b)
	}
	return whole
}

// TestResponseEnds: what was cut off says so, and an answer without a word has a message all the same.
func TestResponseEnds(t *testing.T) {
	s := startTools(t)
	for _, c := range []struct{ input, fields, status, types, text string }{
		{"one call", flatTools + `, "max_output_tokens": 48`, statusIncomplete, "function_call", `{"c`},
		{"thinking", `"max_output_tokens": 9`, statusIncomplete, "reasoning", ""},
		{"thinking", "", statusCompleted, "reasoning message", ""},
		{"thinking", `"stop": "Yes"`, statusCompleted, "reasoning", ""},
	} {
		r := s.respond(t, c.input, c.fields)
		var types []string
		for _, item := range r.Output {
			types = append(types, item.Type)
		}
		last := r.Output[len(r.Output)-1]
		if got := strings.Join(types, " "); r.Status != c.status || last.Status != c.status || got != c.types {
			t.Errorf("%s %s: %s, %s, %s", c.input, c.fields, r.Status, last.Status, got)
		}
		if (r.Incomplete != nil) != (c.status == statusIncomplete) || r.Incomplete != nil && r.Incomplete.Reason != "max_output_tokens" {
			t.Errorf("%s: incomplete: %+v", c.input, r.Incomplete)
		}
		if c.text != "" && last.Arguments != c.text {
			t.Errorf("%s: arguments %q", c.input, last.Arguments)
		}
	}
	plain := start(t, options{})
	if r := plain.respond(t, "nothing", ""); len(r.Output) != 1 || r.Output[0].Type != "message" || r.Output[0].Content[0].Text != "" {
		t.Errorf("nothing: %+v", r.Output)
	}
}

// TestResponseLogprobs: the tokens of the text, and of nothing else.
func TestResponseLogprobs(t *testing.T) {
	s := startTools(t)
	for _, input := range []string{"thinking", "everything"} {
		r := s.respond(t, input, flatTools+`, "include": ["message.output_text.logprobs"], "top_logprobs": 2, "seed": 1`)
		part := r.Output[1].Content[0]
		spelt := ""
		for _, l := range part.Logprobs {
			spelt += l.Token
			if len(l.Top) != 2 {
				t.Errorf("%d top", len(l.Top))
			}
		}
		if input == "thinking" && strings.TrimSpace(spelt) != part.Text || part.Text == "" || len(part.Logprobs) == 0 {
			t.Errorf("%s: %q has the tokens %q", input, part.Text, spelt)
		}
	}
}

// TestResponseInput: items become the messages that the template knows.
func TestResponseInput(t *testing.T) {
	s := start(t, options{})
	for _, c := range []struct{ body, want string }{
		{`{"input": "x"}`, `[{user x}]`},
		{`{"input": "x", "instructions": "i"}`, `[{system i} {user x}]`},
		{
			`{"input": [{"role": "developer", "content": "d"},
				{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]}]}`,
			`[{developer d} {user a|b}]`,
		},
		{
			`{"input": [{"role": "user", "content": "x"}, {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
				{"role": "assistant", "content": [{"type": "output_text", "text": "so", "annotations": []}]},
				{"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"a\": 1}"}, {"type": "function_call", "call_id": "c2", "name": "g"},
				{"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
				{"type": "function_call_output", "call_id": "c1", "output": "one"}, {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}]}`,
			`[{user x} {assistant so (hm) c1=f{"a": 1} c2=g{}} {tool two <c2} {tool one <c1} {assistant no}]`,
		},
		{
			`{"input": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"},
				{"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}, {"type": "function_call", "call_id": "c", "name": "f"}]}`,
			`[{user x} {assistant a} {assistant b} {assistant  (hm) c=f{}}]`,
		},
	} {
		o, err := parseBody([]byte(c.body))
		if err != nil {
			t.Fatal(err)
		}
		messages := o.input()
		if *o.err != nil {
			t.Errorf("%s: %v", c.body, *o.err)
		}
		if got := spellMessages(messages); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.body, got, c.want)
		}
	}
	s.do(t, "POST", responsesPath, `{"input": [{"role": "user", "content": "hello"}, {"type": "function_call", "call_id": "c", "name": "f"}]}`).ok(t)
}

// TestResponseRefuses: what needs memory, runs elsewhere or makes no sense is an error that names it.
func TestResponseRefuses(t *testing.T) {
	s := start(t, options{})
	for _, c := range []struct{ fields, param, code, says string }{
		{`"previous_response_id": "resp_1"`, "previous_response_id", codeUnsupported, "stores nothing"},
		{`"conversation": "conv_1"`, "conversation", codeUnsupported, "stores nothing"},
		{`"conversation": {"id": "conv_1"}`, "conversation", codeUnsupported, "stores nothing"},
		{`"background": true`, "background", codeUnsupported, "fetch"},
		{`"prompt": {"id": "pmpt_1"}`, "prompt", codeUnsupported, "stores nothing"},
		{`"tools": [{"type": "web_search"}]`, "tools[0].type", codeTool, `"web_search"`},
		{`"tools": [{"type": "function", "name": "f"}, {"type": "mcp", "server_label": "x"}]`, "tools[1].type", codeTool, `"mcp"`},
		{`"tools": [{"type": "function", "name": "f"}, {"type": "function", "name": "f"}]`, "tools[1].name", codeValue, "another tool"},
		{`"tools": [{"type": "function", "name": "a b"}]`, "tools[0].name", codeValue, "letters"},
		{`"tool_choice": "required"`, "tool_choice", codeValue, "no tools"},
		{flatTools + `, "tool_choice": {"type": "function", "name": "x"}`, "tool_choice.name", codeValue, "none of the tools"},
		{flatTools + `, "tool_choice": {"type": "web_search"}`, "tool_choice.type", codeValue, `"web_search"`},
		{`"text": {"format": {"type": "json_schema", "name": "x"}}`, "text.format.schema", codeMissing, "required"},
		{`"text": {"format": {"type": "json_object"}}, "grammar": "root ::= \"a\""`, "grammar", codeValue, "text.format"},
		{`"input": []`, "input", codeValue, "empty"},
		{`"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]`, "input[0].content[0]", codeContent, "input_image"},
		{`"input": [{"type": "item_reference", "id": "x"}]`, "input[0].type", codeValue, "item_reference"},
		{`"input": [{"type": "function_call_output", "call_id": "x", "output": "y"}]`, "input[0].call_id", codeValue, "no call"},
		{`"input": [{"role": "user"}]`, "input[0].content", codeMissing, "required"},
		{`"input": "refuse"`, "input", "invalid_messages", "refused"},
		{`"input": "x", "model": "none"`, "model", "model_not_found", "none"},
		{`"input": "x", "model": "fake/plain"`, "model", "no_chat_template", "template"},
		{`"aim": {"focus": [{"span": "nowhere", "strength": 1}]}`, "aim.focus[0].span", codeValue, "does not occur"},
	} {
		body := `{"input": "x", ` + c.fields + `}`
		if strings.HasPrefix(c.fields, `"input"`) {
			body = `{` + c.fields + `}`
		}
		r := s.do(t, "POST", responsesPath, body)
		status := 400
		if c.code == "model_not_found" {
			status = 404
		}
		r.is(t, c.fields, status, c.param, c.code)
		if m := failed(t, r.body).Message; !strings.Contains(m, c.says) {
			t.Errorf("%s: %q does not say %q", c.fields, m, c.says)
		}
	}
	for _, fields := range []string{`"background": false, "previous_response_id": null, "store": true, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "x"`} {
		s.do(t, "POST", responsesPath, responseBody("hello", fields)).ok(t)
	}
}

// TestResponseEcho: an answer repeats what was asked for, and carries the report.
func TestResponseEcho(t *testing.T) {
	s := start(t, options{})
	body := s.do(t, "POST", responsesPath, responseBody("hello", `"metadata": {"a": "b"}, "temperature": 0.5, "top_p": 0.9, "max_output_tokens": 20, `+
		`"reasoning": {"effort": "low"}, "instructions": "Be brief.", "user": "me", "aim": {"utility": {"sigma": 0}, "report": true}, `+flatTools)).ok(t).body
	for _, want := range []string{
		`"metadata":{"a":"b"}`, `"temperature":0.5`, `"top_p":0.9`, `"max_output_tokens":20`, `"effort":"low"`, `"instructions":"Be brief."`, `"user":"me"`,
		`"tools":[{"type":"function","name":"weather"`, `"aim":{"report":{"sigma":0,"level":1,"steps":`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	if r := s.respond(t, "hello", `"aim": {"utility": {"sigma": 0.1}, "report": true}, "seed": 3`); r.Aim == nil || *r.Aim.Report.Sigma != 0.1 {
		t.Errorf("the report is %+v", r.Aim)
	}
}

// TestResponseFailures: what fails in the middle of an answer ends it, in both shapes that clients know.
func TestResponseFailures(t *testing.T) {
	var decodes atomic.Int64
	s := start(t, options{decoder: llamatest.Options{Before: func([]llama.Row) error {
		if decodes.Add(1) > 3 {
			return errors.New("broken")
		}
		return nil
	}}})
	list := namedEvents(t, s.do(t, "POST", responsesPath, responseBody("hello", `"stream": true`)))
	failedAt, last := list[len(list)-2], list[len(list)-1]
	r := decode[struct{ Response responseRead }](t, failedAt.data).Response
	if failedAt.name != "response.failed" || r.Status != statusFailed || r.Error == nil || r.Error.Code != "server_error" || r.Output[0].Status != statusIncomplete {
		t.Errorf("%s", failedAt.data)
	}
	want := fmt.Sprintf(`{"type":"error","sequence_number":%d,"code":"decode_failed","message":"the model failed on this request","param":null,`+
		`"error":{"message":"the model failed on this request","type":"server_error","param":null,"code":"decode_failed"}}`, len(list)-1)
	if last.name != "error" || last.data != want {
		t.Errorf("got %s, want %s", last.data, want)
	}
	s.do(t, "POST", responsesPath, responseBody("hello", "")).is(t, "whole", 500, "", "decode_failed")
}

// TestResponseKeepAlive: a stream that waits shows that it lives by comments, as the others do.
func TestResponseKeepAlive(t *testing.T) {
	s := start(t, options{
		server: Config{KeepAlive: 10 * time.Millisecond},
		decoder: llamatest.Options{Before: func([]llama.Row) error {
			time.Sleep(40 * time.Millisecond)
			return nil
		}},
	})
	r := s.do(t, "POST", responsesPath, responseBody("hello", `"stream": true`))
	if list := namedEvents(t, r); !strings.HasPrefix(r.body, ": keep-alive\n") || list[len(list)-1].name != "response.completed" {
		t.Errorf("got %q", r.body)
	}
}

// TestResponseForms: text.format holds an answer to its form.
func TestResponseForms(t *testing.T) {
	s := start(t, options{model: skilled{fake}})
	r := s.respond(t, "babble", `"max_output_tokens": 60, "seed": 2, "text": {"format": {"type": "json_object"}}`)
	if text := r.Output[0].Content[0].Text; !strings.HasPrefix(strings.TrimSpace(text), "{") {
		t.Errorf("an object: %q", text)
	}
	r = s.respond(t, "babble", `"seed": 2, "text": {"format": {"type": "json_schema", "name": "x", "strict": true, "schema": {"type": "object", "properties": {"n": {"type": "integer"}}}}}`)
	if o := decode[struct{ N int }](t, r.Output[0].Content[0].Text); o.N == 0 || r.Status != statusCompleted {
		t.Errorf("what the schema allows: %+v, %s", o, r.Status)
	}
}
