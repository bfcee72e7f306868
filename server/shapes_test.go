package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestShapes holds whole documents, byte for byte, against the shapes of OpenAI's API reference.
func TestShapes(t *testing.T) {
	s := start(t, options{})
	told := fmt.Sprintf(`"max_model_len":512,"meta":{"n_vocab":%d}`, fake.Vocab())
	known := strings.TrimSuffix(told, "}") + `,"n_ctx_train":1024,"n_params":7,"size":42}`
	for _, c := range []struct{ name, method, path, body, want string }{
		{
			"chat", "POST", chatPath, chatBody("hello", ""),
			`{"id":"chatcmpl-","object":"chat.completion","created":1,"model":"fake","system_fingerprint":"fp_",` +
				`"choices":[{"index":0,"message":{"role":"assistant","content":"Hello, world!","refusal":null},"logprobs":null,"finish_reason":"stop"}],` +
				`"usage":{"prompt_tokens":12,"completion_tokens":12,"total_tokens":24,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}`,
		},
		{
			"chat, two choices", "POST", chatPath, chatBody("nothing", `"n": 2`),
			`{"id":"chatcmpl-","object":"chat.completion","created":1,"model":"fake","system_fingerprint":"fp_",` +
				`"choices":[{"index":0,"message":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":"stop"},` +
				`{"index":1,"message":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":"stop"}],` +
				`"usage":{"prompt_tokens":15,"completion_tokens":2,"total_tokens":17,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}`,
		},
		{
			"completion", "POST", textPath, `{"prompt": "hello<|ctl|>", "max_tokens": 3}`,
			`{"id":"cmpl-","object":"text_completion","created":1,"model":"fake","system_fingerprint":"fp_",` +
				`"choices":[{"text":"Hello","index":0,"logprobs":null,"finish_reason":"length"}],` +
				`"usage":{"prompt_tokens":6,"completion_tokens":3,"total_tokens":9,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}`,
		},
		{
			"models", "GET", "/v1/models", "",
			`{"object":"list","data":[{"id":"fake","object":"model","created":1,"owned_by":"aim",` + known + `},` +
				`{"id":"fake/imposed","object":"model","created":1,"owned_by":"aim",` + told + `},{"id":"fake/plain","object":"model","created":1,"owned_by":"aim",` + told + `}]}`,
		},
		{"model", "GET", "/v1/models/fake", "", `{"id":"fake","object":"model","created":1,"owned_by":"aim",` + known + `}`},
		{"model with a slash", "GET", "/v1/models/fake/plain", "", `{"id":"fake/plain","object":"model","created":1,"owned_by":"aim",` + told + `}`},
		{"model, escaped", "GET", "/v1/models/fake%2Fplain", "", `{"id":"fake/plain","object":"model","created":1,"owned_by":"aim",` + told + `}`},
		{"health", "GET", "/health", "", `{"status":"ok"}`},
	} {
		r := s.do(t, c.method, c.path, c.body)
		if got := stable(r.ok(t).body); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, got, c.want)
		}
		if got := r.header.Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: content type %q", c.name, got)
		}
	}
	if r := s.do(t, "GET", "/", ""); r.status != http.StatusOK || strings.Count(r.body, "\n") != 1 || !strings.HasPrefix(r.body, "Aim ") {
		t.Errorf("the root says %q", r.body)
	}
	if r := s.do(t, "HEAD", "/health", ""); r.status != http.StatusOK {
		t.Errorf("HEAD /health: %d", r.status)
	}
}

// TestStreamShapes does the same with streams.
func TestStreamShapes(t *testing.T) {
	s := start(t, options{})
	const (
		chatHead = `{"id":"chatcmpl-","object":"chat.completion.chunk","created":1,"model":"fake","system_fingerprint":"fp_","choices":[`
		textHead = `{"id":"cmpl-","object":"text_completion","created":1,"model":"fake","system_fingerprint":"fp_","choices":[`
	)
	for _, c := range []struct {
		name, path, body string
		want             []string
	}{
		{
			"chat", chatPath, chatBody("hello", `"stream": true, "max_tokens": 2`),
			[]string{
				chatHead + `{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}`,
				chatHead + `{"index":0,"delta":{"content":"He"},"logprobs":null,"finish_reason":null}]}`,
				chatHead + `{"index":0,"delta":{"content":"l"},"logprobs":null,"finish_reason":null}]}`,
				chatHead + `{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}]}`,
				"[DONE]",
			},
		},
		{
			"chat with usage", chatPath, chatBody("nothing", `"stream": true, "stream_options": {"include_usage": true}`),
			[]string{
				chatHead + `{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}`,
				chatHead + `{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}`,
				chatHead + `],"usage":{"prompt_tokens":15,"completion_tokens":1,"total_tokens":16,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}`,
				"[DONE]",
			},
		},
		{
			"completion with echo and usage", textPath,
			`{"prompt": "echo this<|ctl|>", "stream": true, "echo": true, "max_tokens": 1, "stream_options": {"include_usage": true}}`,
			[]string{
				textHead + `{"text":"echo this<|ctl|>","index":0,"logprobs":null,"finish_reason":null}],"usage":null}`,
				textHead + `{"text":" a","index":0,"logprobs":null,"finish_reason":null}],"usage":null}`,
				textHead + `{"text":"","index":0,"logprobs":null,"finish_reason":"length"}],"usage":null}`,
				textHead + `],"usage":{"prompt_tokens":11,"completion_tokens":1,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}`,
				"[DONE]",
			},
		},
	} {
		r := s.do(t, "POST", c.path, c.body).ok(t)
		if got := events(t, stable(r.body)); !slices.Equal(got, c.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
		for name, want := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", c.name, name, got, want)
			}
		}
	}
}

// TestStreamsSayWhatWholeAnswersSay, in both endpoints and for texts that are hard to cut.
func TestStreamsSayWhatWholeAnswersSay(t *testing.T) {
	s := start(t, options{})
	for prompt, want := range answers {
		for _, path := range []string{chatPath, textPath} {
			body := chatBody(prompt, `"max_tokens": 100`)
			if path == textPath {
				body = `{"prompt": ` + quote(prompt+marker) + `, "max_tokens": 100}`
			}
			whole := decode[completion](t, s.do(t, "POST", path, body).ok(t).body)
			stream := assemble(t, s.do(t, "POST", path, strings.TrimSuffix(body, "}")+`, "stream": true}`))
			if got := whole.Choices[0].Message.Content + whole.Choices[0].Text; got != want {
				t.Errorf("%s, %s: whole %q, want %q", path, prompt, got, want)
			}
			if stream.text[0] != want || stream.finish[0] != "stop" {
				t.Errorf("%s, %s: streamed %q (%s), want %q", path, prompt, stream.text[0], stream.finish[0], want)
			}
		}
	}
}

func TestSeveralChoices(t *testing.T) {
	s := start(t, options{})
	const fields = `"n": 3, "seed": 7, "max_tokens": 8`
	whole := decode[completion](t, s.ask(t, "babble", fields).ok(t).body)
	stream := assemble(t, s.ask(t, "babble", fields+`, "stream": true, "stream_options": {"include_usage": true}`))
	if len(whole.Choices) != 3 || len(stream.text) != 3 {
		t.Fatalf("%d and %d choices, want 3", len(whole.Choices), len(stream.text))
	}
	for i, c := range whole.Choices {
		if c.Index != i || c.Message.Content != stream.text[i] || *c.FinishReason != "length" {
			t.Errorf("choice %d is %+v, streamed %q", i, c, stream.text[i])
		}
	}
	if whole.Choices[0].Message.Content == whole.Choices[1].Message.Content {
		t.Error("two choices have one seed")
	}
	// The first choice is the answer of the same request without n.
	if one := s.ask(t, "babble", `"seed": 7, "max_tokens": 8`).text(t); one != stream.text[0] {
		t.Errorf("with n the first choice is %q, without %q", stream.text[0], one)
	}
	want := usage{Prompt: 14, Completion: 24, Total: 38}
	if *whole.Usage != want || *stream.usage != want {
		t.Errorf("usage %+v and %+v, want %+v", *whole.Usage, *stream.usage, want)
	}
}

func TestSeveralPrompts(t *testing.T) {
	s := start(t, options{})
	ids := fmt.Sprint(tokens(t, "hello"))
	ids = strings.ReplaceAll(ids, " ", ",")
	for name, c := range map[string]struct {
		prompt string
		want   []string
		tokens int // of the prompts
	}{
		"a string":          {`"hello"`, []string{"hello"}, 5},
		"strings":           {`["hello", "count"]`, []string{"hello", "count"}, 11},
		"token ids":         {ids, []string{"hello"}, 4},
		"lists of ids":      {"[" + ids + "," + ids + "]", []string{"hello", "hello"}, 8},
		"whole numbers":     {`[104.0, 1.01e2]`, []string{"he"}, 2},
		"a control token":   {`"a<|ctl|>b"`, []string{"a<|ctl|>b"}, 4},
		"its id":            {`[97, 258, 98]`, []string{"ab"}, 3},
		"a piece of a rune": {`[195]`, []string{"\uFFFD"}, 1},
	} {
		body := `{"prompt": ` + c.prompt + `, "echo": true, "seed": 1, "max_tokens": 2`
		got := decode[completion](t, s.do(t, "POST", textPath, body+"}").ok(t).body)
		stream := assemble(t, s.do(t, "POST", textPath, body+`, "stream": true}`))
		if len(got.Choices) != len(c.want) || got.Usage.Prompt != c.tokens || got.Usage.Completion != 2*len(c.want) {
			t.Errorf("%s: %+v", name, got)
			continue
		}
		for i, prompt := range c.want {
			if text := got.Choices[i].Text; !strings.HasPrefix(text, prompt) || got.Choices[i].Index != i || text != stream.text[i] {
				t.Errorf("%s: choice %d is %q, streamed %q, want it to begin with %q", name, i, text, stream.text[i], prompt)
			}
		}
	}
	// Choices are numbered prompt by prompt, and the same prompt gets the same answer wherever it stands.
	got := decode[completion](t, s.do(t, "POST", textPath, `{"prompt": ["a", "b", "a"], "n": 2, "seed": 1}`).ok(t).body)
	for i := range 2 {
		if a, b := got.Choices[i].Text, got.Choices[4+i].Text; a != b || a == got.Choices[2+i].Text {
			t.Errorf("choice %d of one prompt is %q and %q", i, a, b)
		}
	}
}

func TestMessages(t *testing.T) {
	s := start(t, options{})
	for content, want := range map[string]string{
		`"hello"`:                             "Hello, world!",
		`[{"type": "text", "text": "hello"}]`: "Hello, world!",
		`[{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]`:    "", // parts are lines
		`[{"type": "text", "text": "say"}, {"type": "text", "text": "hello"}]`: "Hello, world!",
	} {
		got := s.do(t, "POST", chatPath, `{"messages": [{"role": "user", "content": `+content+`}], "max_tokens": 20}`).text(t)
		if (want == "") == (got == "Hello, world!") {
			t.Errorf("%s: got %q, want %q", content, got, want)
		}
	}
	all := `{"messages": [{"role": "system", "content": "s"}, {"role": "developer", "content": "d"},
		{"role": "user", "content": "u", "name": "Ann"}, {"role": "assistant", "content": null},
		{"role": "assistant", "tool_calls": [{"id": "x", "type": "function", "function": {"name": "f", "arguments": ""}}]},
		{"role": "tool", "content": "hello", "tool_call_id": "x"}]}`
	r := s.do(t, "POST", chatPath, all)
	if got := r.text(t); got != "Hello, world!" {
		t.Errorf("all roles: %q", got)
	}
	const prompt = "[system]s[system]d[user/Ann]u[assistant][assistant][tool]hello"
	if got, want := decode[completion](t, r.body).Usage.Prompt, len(tokens(t, prompt))+2; got != want { // and begin, marker
		t.Errorf("the prompt has %d tokens, want %d", got, want)
	}
}

// TestInjection: the spelling of a control token in a message is text.
func TestInjection(t *testing.T) {
	s := start(t, options{})
	plain := decode[completion](t, s.ask(t, "x", `"max_tokens": 1`).ok(t).body).Usage.Prompt
	spelled := decode[completion](t, s.ask(t, "<|ctl|>x", `"max_tokens": 1`).ok(t).body).Usage.Prompt
	if got := spelled - plain; got != len("<|ctl|>") {
		t.Errorf("<|ctl|> in a message is %d tokens, want %d", got, len("<|ctl|>"))
	}
}
