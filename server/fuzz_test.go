package server

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// FuzzParse: any body is a call within its bounds or an error that tells the client what is wrong. Nothing panics, and
// nothing that a client sends is the server's fault.
func FuzzParse(f *testing.F) {
	s := start(f, options{engine: llama.Config{Slots: 2, Context: 64, Batch: 64, Queue: 8}, sigma: 1, decoder: llamatest.Options{}})
	for _, c := range badFields {
		if len(c.fields) < 200 {
			f.Add([]byte(chatBody("x", c.fields)))
			f.Add([]byte(`{"prompt": "x", ` + c.fields + `}`))
		}
	}
	for _, body := range []string{
		`{"prompt": [[1, 2], [3]], "n": 2, "echo": true, "messages": [{"role": "tool", "content": [{"type": "text", "text": "x"}]}]}`,
		`{"prompt": "<|end|>", "logprobs": 3, "messages": [{"role": "user", "content": "<|end|>", "name": "<|"}], "seed": -9223372036854775808}`,
		`{"model": "fake/imposed", "prompt": [1], "messages": [{"role": "user", "content": ""}], "aim": {"utility": {"sigma": 2},
			"focus": [{"text": "water", "sigma": 4, "direction": "lower"}, {"tokens": [1], "sigma": 0}, {"all": true, "sigma": 1e-300}]}}`,
		"null", "[]", "{", "\xff", `{"stop": {}}`, `{"\u0000": "\ud800"}`,
	} {
		f.Add([]byte(body))
	}
	f.Add([]byte(chatBody("x", `"sigmas": [0, 1.5, 1e2], "levels": [1, 0.5], "aim": {"report": {"tokens": true}}`)))
	f.Add([]byte(chatBody("x", `"strengths": [-1, 0.5], "aim": {"focus": [{"text": ["water"], "strength": 1}, {"span": "x", "strength": 0.5}]}`)))
	f.Add([]byte(`{"prompt": "x", "top_n": 100, "sigmas": [1], "aim": {"report": true, "focus": [{"all": true, "sigma": 2}]}}`))
	f.Add([]byte(chatBody("x", twoTools+`, "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"function": {"name": "clock"}}]}}`)))
	f.Add([]byte(`{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "reasoning_content": "y", "tool_calls": [{"id": "a", "type": "function",
		"function": {"name": "f", "arguments": "{\"a\": 1}"}}]}, {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "z"}]},
		{"role": "assistant", "content": "w"}], "continue_final_message": true, "chat_template_kwargs": {"a": [1]}, "reasoning_effort": "none"}`))
	f.Add([]byte(`{"prompt": "x", "grammar": "root ::= [a-z]{1,3} | \"b\" root", "n": 2, "best_of": 3, "logprobs": 2, "max_tokens": 0}`))
	f.Add([]byte(`{"prompt": ["x", "y"], "suffix": "z", "response_format": {"type": "json_object"}, "logit_bias": [["ab", false], [97, 1.5], ["c", -3]]}`))
	f.Add([]byte(`{"prompt": [97, 98], "echo": true, "logprobs": 1, "structured_outputs": {"choice": ["a", "\u0000\"\\"]}, "dry_multiplier": 1, "mirostat_mode": 2}`))
	f.Add([]byte(`{"input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}, {"type": "reasoning", "summary": [{"type": "summary_text", "text": "y"}]},
		{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}, {"type": "function_call_output", "output": "z"}], "text": {"format": {"type": "json_object"}},
		"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "allowed_tools", "tools": []}, "include": ["message.output_text.logprobs"], "top_logprobs": 2}`))
	f.Add([]byte(`{"max_tokens": 3, "system": [{"type": "text", "text": "s"}], "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": [
		{"type": "thinking", "thinking": "t"}, {"type": "text", "text": "a"}, {"type": "tool_use", "id": "1", "name": "f", "input": {}}]}, {"role": "user", "content": [
		{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "r"}]}]}, {"role": "assistant", "content": "b"}], "stop_sequences": ["q"],
		"tools": [{"name": "f", "input_schema": {}}], "tool_choice": {"type": "auto"}, "thinking": {"type": "enabled"}, "output_config": {"effort": "low"}}`))
	parsers := []func(*object) (*call, error){
		s.api.parseChat, s.api.parseCompletion, s.api.parsePreview, s.api.parseSweep, s.api.parseResponse, s.api.parseMessages, s.api.parseCount,
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, parse := range parsers {
			r := &record{ctx: t.Context(), table: s.api.table.Load(), grant: owner}
			o, err := parseBody(body)
			var c *call
			if err == nil {
				o.asker = r
				c, err = parse(o)
			}
			if err == nil {
				err = s.api.impose(r, c)
			}
			if err != nil {
				if e := asAPIError(err); e.status < 400 || e.status > 499 || e.message == "" || len(e.message) > 2000 {
					t.Fatalf("%q: %v is %d", body, err, e.status)
				}
				continue
			}
			if n := c.choices(); n < 1 || n > 10 || len(c.requests()) != n {
				t.Fatalf("%q: %d choices, %d requests", body, n, len(c.requests()))
			}
			for _, r := range c.requests() {
				check(t, r, c.model)
			}
		}
	})
}

// check makes sure that the engine has nothing to object to a request.
func check(t *testing.T, r llama.Request, m *served) {
	t.Helper()
	if err := r.Params.Validate(fake.Vocab()); err != nil {
		t.Fatal(err)
	}
	if r.Params.Utility.Sigma < m.Sigma {
		t.Fatalf("σ = %v, %v is imposed", r.Params.Utility.Sigma, m.Sigma)
	}
	if len(r.Prompt) < 1 || len(r.Prompt) >= 64 || r.MaxTokens < 0 {
		t.Fatalf("%d prompt tokens, at most %d more", len(r.Prompt), r.MaxTokens)
	}
	for _, token := range r.Prompt {
		if token < 0 || int(token) >= fake.Vocab() {
			t.Fatalf("token %d", token)
		}
	}
}

// FuzzServe: the same, over HTTP and to the end of the answer.
func FuzzServe(f *testing.F) {
	s := start(f, options{engine: llama.Config{Slots: 2, Context: 32, Batch: 64, Queue: 8}})
	f.Add([]byte(chatBody("hello", `"stream": true, "n": 2`)))
	f.Add([]byte(`{"input": "hello", "stream": true, "include": ["message.output_text.logprobs"]}`))
	f.Add([]byte(chatBody("hello", `"stream": true, "max_tokens": 9`)))
	f.Add([]byte(`{"prompt": "hello<|ctl|>", "stream": true, "logprobs": 1, "aim": {"focus": [{"text": "water", "sigma": 9}]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, path := range []string{chatPath, textPath, previewPath, sweepPath, responsesPath, messagesPath, messagesPath + "/count_tokens"} {
			r := s.do(t, "POST", path, string(body))
			switch {
			case r.status >= http.StatusInternalServerError || r.status == http.StatusTooManyRequests:
				t.Fatalf("%s %q: %d %s", path, body, r.status, r.body)
			case r.status != http.StatusOK:
				failed(t, r.body)
			case path == responsesPath || strings.HasPrefix(path, messagesPath):
				if r.header.Get("Content-Type") == "text/event-stream" {
					namedEvents(t, r)
				} else if !json.Valid([]byte(r.body)) {
					t.Fatal(r.body)
				}
			case r.header.Get("Content-Type") == "text/event-stream":
				assemble(t, r)
			case path == previewPath:
				if len(decode[previewed](t, r.body).Tokens) == 0 {
					t.Fatal(errors.New(r.body))
				}
			default:
				if len(decode[completion](t, r.body).Choices) == 0 {
					t.Fatal(errors.New(r.body))
				}
			}
		}
	})
}

// FuzzStream: whatever a model says, each event of a stream is one line of JSON, as server-sent events have it, and the stream says what a whole answer
// does. The tokens are single bytes, so that text is cut everywhere.
func FuzzStream(f *testing.F) {
	var says atomic.Pointer[string]
	say := func(history []sampler.Token) sampler.Token {
		_, said, _ := strings.Cut(fake.Text(history), marker)
		if rest, ok := strings.CutPrefix(*says.Load(), said); ok && rest != "" {
			return sampler.Token(rest[0])
		}
		return llamatest.EOS
	}
	empty := ""
	says.Store(&empty)
	s := start(f, options{engine: llama.Config{Slots: 2, Context: 512, Batch: 64, Queue: 8, NoCache: true}, decoder: llamatest.Options{Say: say}})
	for i, text := range []string{
		"hello", "a\nb\r\nc\rd\n\n", "data: x\n\nevent: y\n\n", "\x00\x1b\u2028\u2029\ufeff", "\xff\xe6\x97", "日本 né 👩", `"\u0000\ud800</script>`, "<think>x</think>y",
		`<tool_call>{"name": "clock", "arguments": {"a": "\n"}}</tool_call>`, "<tool_call>{", `{"name": "clock", "parameters": {}}`, "stop here", ": ping\n",
	} {
		f.Add([]byte(text), uint8(i))
		f.Add([]byte(text), uint8(i+16))
	}
	f.Fuzz(func(t *testing.T, text []byte, shape uint8) {
		said := string(text[:min(len(text), 200)])
		says.Store(&said)
		path, body := fuzzedRequest(shape)
		whole := s.do(t, "POST", path, body+"}")
		streamed := s.do(t, "POST", path, body+`, "stream": true}`)
		if whole.status != streamed.status || whole.status >= http.StatusInternalServerError {
			t.Fatalf("%s: whole %d %s, streamed %d %s", body, whole.status, whole.body, streamed.status, streamed.body)
		}
		if whole.status != http.StatusOK {
			failed(t, whole.body)
			return
		}
		if path == responsesPath || path == messagesPath {
			for _, e := range namedEvents(t, streamed) {
				if !json.Valid([]byte(e.data)) || strings.ContainsAny(e.data, "\r\x00") {
					t.Fatalf("the event %q", e.data)
				}
			}
			return
		}
		a := assemble(t, streamed)
		if got, want := a.text[0], whole.text(t); got != want {
			t.Fatalf("%q: streamed %q, whole %q", said, got, want)
		}
		for _, data := range events(t, streamed.body) {
			if strings.ContainsAny(data, "\r\x00") {
				t.Fatalf("the event %q", data)
			}
		}
	})
}

// fuzzedRequest is one of several requests that end differently, without its closing brace.
func fuzzedRequest(shape uint8) (path, body string) {
	path = []string{chatPath, textPath, responsesPath, messagesPath}[shape%4]
	body = map[string]string{
		chatPath: strings.TrimSuffix(chatBody("x", `"temperature": 0`), "}"), textPath: `{"prompt": "x<|ctl|>", "temperature": 0`,
		responsesPath: `{"input": "x", "temperature": 0`, messagesPath: strings.TrimSuffix(chatBody("x", `"temperature": 0, "max_tokens": 300`), "}"),
	}[path]
	if path == chatPath || path == textPath {
		body += `, "max_tokens": 300`
	}
	switch {
	case shape&4 != 0 && path == chatPath:
		body += `, "logprobs": true, "top_logprobs": 2`
	case shape&4 != 0 && path == textPath:
		body += `, "logprobs": 2`
	case shape&8 != 0 && path == chatPath:
		body += ", " + twoTools
	case shape&16 != 0 && (path == chatPath || path == textPath):
		body += `, "stop": ["stop", "\n\n"]`
	}
	return path, body
}
