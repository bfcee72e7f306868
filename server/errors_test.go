package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"aim/internal/grammar"
	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// failure is an error as clients read it. All four fields must be there.
type failure struct {
	Message, Type string
	Param, Code   *string
}

// failed reads the error of an answer, and fails the test where it has not the shape of one.
func failed(t testing.TB, data string) failure {
	t.Helper()
	fields := decode[struct{ Error map[string]json.RawMessage }](t, data).Error
	for _, name := range []string{"message", "type", "param", "code"} {
		if _, ok := fields[name]; !ok {
			t.Errorf("the error %s has no field %s", data, name)
		}
	}
	f := decode[struct{ Error failure }](t, data).Error
	if f.Message == "" || f.Type == "" {
		t.Errorf("the error %s does not say what is wrong", data)
	}
	return f
}

// is holds an error against what is expected of it. An empty name stands for null.
func (r response) is(t testing.TB, name string, status int, param, code string) {
	t.Helper()
	f := failed(t, r.body)
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	if r.status != status || text(f.Param) != param || text(f.Code) != code {
		t.Errorf("%s: status %d, param %q, code %q; want %d, %q, %q\n%s", name, r.status, text(f.Param), text(f.Code), status, param, code, r.body)
	}
	if again := r.header.Get("Retry-After"); (status == 429 || status == 503) != (again != "") {
		t.Errorf("%s: Retry-After %q", name, again)
	}
	if got := r.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("%s: content type %q", name, got)
	}
}

// badFields are refused in both endpoints: the fields, the parameter at fault, the code, and what the message must contain.
var badFields = []struct{ fields, param, code, says string }{
	{`"model": 3`, "model", codeType, "must be a string, not the integer 3"},
	{`"stream": "yes"`, "stream", codeType, "must be a boolean, not a string"},
	{`"stream": true, "stream_options": true`, "stream_options", codeType, "must be an object"},
	{`"stream": true, "stream_options": {"include_usage": 1}`, "stream_options.include_usage", codeType, "must be a boolean"},
	{`"stream_options": {"include_usage": true}`, "stream_options", codeValue, "only allowed when stream is true"},
	{`"max_tokens": -2`, "max_tokens", codeValue, "is -2"},
	{`"max_tokens": 1.5`, "max_tokens", codeType, "must be an integer, not the number 1.5"},
	{`"max_tokens": "12"`, "max_tokens", codeType, "must be an integer, not a string"},
	{`"mirostat": 1`, "mirostat", codeValue, "version 1 is not supported"},
	{`"dry_sequence_breakers": ["a", ""]`, "dry_sequence_breakers[1]", codeValue, "is empty"},
	{`"repetition_penalty": 11`, "repetition_penalty", codeValue, "in [0, 10]"},
	{`"typ_p": 2`, "typ_p", codeValue, "in [0, 1]"},
	{`"max_tokens": 5, "max_completion_tokens": -2`, "max_completion_tokens", codeValue, "at least"},
	{`"temperature": 2.1`, "temperature", codeValue, "is 2.1, must be in [0, 2]"},
	{`"temperature": -0.1`, "temperature", codeValue, "is -0.1"},
	{`"temperature": "hot"`, "temperature", codeType, "must be a number, not a string"},
	{`"temperature": 1e999`, "temperature", codeType, "1e999"},
	{`"top_p": 1.01`, "top_p", codeValue, "in [0, 1]"},
	{`"top_p": -1`, "top_p", codeValue, "in [0, 1]"},
	{`"top_k": -2`, "top_k", codeValue, "at least 0"},
	{`"top_k": [1]`, "top_k", codeType, "not an array"},
	{`"min_p": 2`, "min_p", codeValue, "in [0, 1]"},
	{`"n": 0`, "n", codeValue, "in [1, 128]"},
	{`"n": 129`, "n", codeValue, "in [1, 128]"},
	{`"n": 21`, "n", codeValue, "asks for 21 answers, the server can hold 20"},
	{`"stop": 1`, "stop", codeType, "must be a string or an array of strings, not the integer 1"},
	{`"stop": ["a", 1]`, "stop[1]", codeType, "must be a string"},
	{`"stop": ["a", null]`, "stop[1]", codeType, "not null"},
	{`"stop": ""`, "stop", codeValue, "is empty"},
	{`"stop": ["a", ""]`, "stop[1]", codeValue, "is empty"},
	{`"stop": ["` + strings.Repeat(`","`, 16) + `"]`, "stop", codeValue, "has 17 entries"},
	{`"stop": "` + strings.Repeat("x", 1025) + `"`, "stop", codeValue, "has 1025 bytes"},
	{`"seed": "x"`, "seed", codeType, "must be an integer"},
	{`"seed": 1.5`, "seed", codeType, "must be an integer"},
	{`"logit_bias": {"1": 101}`, "logit_bias.1", codeValue, "is 101, must be in [-100, 100]"},
	{`"logit_bias": {"269": 1}`, "logit_bias.269", codeValue, "a token in [0, 268]"},
	{`"logit_bias": {"4294967297": 1}`, "logit_bias.4294967297", codeValue, "not the id of a token"},
	{`"logit_bias": {"1.5": 1}`, "logit_bias.1.5", codeValue, "not the id of a token"},
	{`"logit_bias": {"": 1}`, "logit_bias.", codeValue, "has no tokens"},
	{`"logit_bias": {"1": "a"}`, "logit_bias.1", codeType, "must be a number or false, not a string"},
	{`"logit_bias": {"1": true}`, "logit_bias.1", codeType, "must be a number or false, not a boolean"},
	{`"logit_bias": 1`, "logit_bias", codeType, "must be an object or an array"},
	{`"logit_bias": [1]`, "logit_bias[0]", codeType, "must be a pair"},
	{`"logit_bias": [[1]]`, "logit_bias[0]", codeType, "must be a pair"},
	{`"logit_bias": [["a", 1], [269, 1]]`, "logit_bias[1][0]", codeValue, "a token in [0, 268]"},
	{`"logit_bias": [[1.5, 1]]`, "logit_bias[0][0]", codeType, "must be an integer"},
	{`"logit_bias": [["a", 101]]`, "logit_bias[0][1]", codeValue, "in [-100, 100]"},
	{`"logit_bias": [["a", null]]`, "logit_bias[0][1]", codeType, "must be a number or false, not null"},
	{`"frequency_penalty": 3`, "frequency_penalty", codeValue, "in [-2, 2]"},
	{`"presence_penalty": -3`, "presence_penalty", codeValue, "in [-2, 2]"},
	{`"repeat_penalty": -1`, "repeat_penalty", codeValue, "in [0, 10]"},
	{`"repeat_penalty": -1, "repeat_last_n": 0`, "repeat_penalty", codeValue, "in [0, 10]"},
	{`"repeat_last_n": -2`, "repeat_last_n", codeValue, "at least -1"},
	{`"user": 1`, "user", codeType, "must be a string"},

	{`"aim": 1`, "aim", codeType, "must be an object"},
	{`"aim": {"utilty": {}}`, "aim.utilty", codeUnknown, "aim.utilty is not a known field"},
	{`"aim": {"utility": 0.5}`, "aim.utility", codeType, "must be an object"},
	{`"aim": {"utility": {}}`, "aim.utility.sigma", codeMissing, "is required"},
	{`"aim": {"utility": {"sigma": null}}`, "aim.utility.sigma", codeMissing, "is required"},
	{`"aim": {"utility": {"sigma": -0.5}}`, "aim.utility.sigma", codeValue, "is -0.5, must be in [0, 100]"},
	{`"aim": {"utility": {"sigma": 101}}`, "aim.utility.sigma", codeValue, "is 101"},
	{`"aim": {"utility": {"sigma": 1, "key": 2}}`, "aim.utility.key", codeUnknown, "is not a known field"},
	{`"aim": {"report": 1}`, "aim.report", codeType, "must be a boolean or an object, not the integer 1"},
	{`"aim": {"report": {"tokens": 1}}`, "aim.report.tokens", codeType, "must be a boolean"},
	{`"aim": {"report": {"steps": true}}`, "aim.report.steps", codeUnknown, "is not a known field"},
	{`"aim": {"focus": {}}`, "aim.focus", codeType, "must be an array"},
	{`"aim": {"focus": [1]}`, "aim.focus[0]", codeType, "must be an object"},
	{`"aim": {"focus": [{"text": "a"}]}`, "aim.focus[0].sigma", codeMissing, "is required"},
	{`"aim": {"focus": [{"text": "a", "sigma": 1}, {"text": "a", "sigma": 101}]}`, "aim.focus[1].sigma", codeValue, "is 101, must be in [0, 100]"},
	{`"aim": {"focus": [{"text": "a", "sigma": "1"}]}`, "aim.focus[0].sigma", codeType, "must be a number"},
	{`"aim": {"focus": [{"text": "a", "sigma": 1, "direction": "up"}]}`, "aim.focus[0].direction", codeValue, `is "up", must be "raise" or "lower"`},
	{`"aim": {"focus": [{"text": "a", "sigma": 1, "word": "b"}]}`, "aim.focus[0].word", codeUnknown, "is not a known field"},
	{`"aim": {"focus": [{"sigma": 1}]}`, "aim.focus[0]", codeValue, "exactly one of text, tokens and all: true, it has 0"},
	{`"aim": {"focus": [{"sigma": 1, "all": false}]}`, "aim.focus[0]", codeValue, "it has 0"},
	{`"aim": {"focus": [{"sigma": 1, "all": true, "text": "a"}]}`, "aim.focus[0]", codeValue, "it has 2"},
	{`"aim": {"focus": [{"sigma": 1, "tokens": [1], "text": "a"}]}`, "aim.focus[0]", codeValue, "it has 2"},
	{`"aim": {"focus": [{"sigma": 1, "text": ""}]}`, "aim.focus[0].text", codeValue, "is empty"},
	{`"aim": {"focus": [{"sigma": 1, "text": "` + strings.Repeat("x", 257) + `"}]}`, "aim.focus[0].text", codeValue, "has 257 bytes"},
	{`"aim": {"focus": [{"sigma": 1, "text": 1}]}`, "aim.focus[0].text", codeType, "must be a string"},
	{`"aim": {"focus": [{"sigma": 1, "tokens": []}]}`, "aim.focus[0].tokens", codeValue, "at least one token"},
	{`"aim": {"focus": [{"sigma": 1, "tokens": [269]}]}`, "aim.focus[0].tokens", codeValue, "is 269, must be a token in [0, 268]"},
	{`"aim": {"focus": [{"sigma": 1, "tokens": [1, -1]}]}`, "aim.focus[0].tokens[1]", codeValue, "is -1"},
	{`"aim": {"focus": [{"sigma": 1, "tokens": [4294967297]}]}`, "aim.focus[0].tokens[0]", codeValue, "is 4294967297"},
	{`"aim": {"focus": [{"sigma": 1, "tokens": ["a"]}]}`, "aim.focus[0].tokens[0]", codeType, "must be an integer"},
	{`"aim": {"focus": [` + strings.Repeat(`{"sigma": 1, "all": true},`, 64) + `{}]}`, "aim.focus", codeValue, "has 65 entries"},
	{`"aim": {"focus": [{"sigma": 1, "tokens": [` + strings.Repeat("1,", 4096) + `1]}]}`, "aim.focus[0].tokens", codeValue, "has 4097 entries"},
	{
		`"aim": {"focus": [{"sigma": 1, "tokens": [1, 2]}, {"sigma": 1, "tokens": [` + strings.Repeat("1,", 4095) + `1]}]}`,
		"aim.focus", codeValue, "names 4098 tokens, the most is 4096",
	},
}

func TestBadFields(t *testing.T) {
	s := start(t, options{})
	for _, c := range badFields {
		for _, r := range []response{
			s.do(t, "POST", chatPath, `{"messages": [{"role": "user", "content": "x"}], `+c.fields+`}`),
			s.do(t, "POST", textPath, `{"prompt": "x", `+c.fields+`}`),
		} {
			r.is(t, c.fields, http.StatusBadRequest, c.param, c.code)
			if message := failed(t, r.body).Message; !strings.Contains(message, c.says) || !strings.Contains(message, c.param) && c.param != "n" {
				t.Errorf("%.80s: the message %q does not say %q of %q", c.fields, message, c.says, c.param)
			}
		}
	}
}

// TestBadRequests are those that only one endpoint can refuse, and those of no endpoint. It is long for its table.
func TestBadRequests(t *testing.T) {
	s := start(t, options{sigma: 0.5, server: Config{MaxBody: 64 << 10}})
	message := func(m string) string { return `{"messages": [` + m + `]}` }
	const (
		user  = `{"role": "user", "content": "x"}`
		tools = `"tools": [{"type": "function", "function": {"name": "f"}}]`
	)
	called := func(id, arguments string) string {
		return `{"role": "assistant", "tool_calls": [{"id": "` + id + `", "type": "function", "function": {"name": "f", "arguments": ` + quote(arguments) + `}}]}`
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		param, code        string
	}{
		{"POST", chatPath, ``, 400, "", "invalid_json"},
		{"POST", chatPath, `{"messages": [}`, 400, "", "invalid_json"},
		{"POST", chatPath, chatBody("x", "") + "x", 400, "", "invalid_json"},
		{"POST", chatPath, strings.Repeat("[", 20000), 400, "", "invalid_json"},
		{"POST", chatPath, `[1]`, 400, "", codeType},
		{"POST", chatPath, `null`, 400, "", codeType},
		{"POST", chatPath, `"x"`, 400, "", codeType},
		{"POST", chatPath, chatBody(strings.Repeat("x", 64<<10), ""), 413, "", "request_too_large"},

		{"POST", chatPath, `{}`, 400, "messages", codeMissing},
		{"POST", chatPath, `{"messages": null}`, 400, "messages", codeMissing},
		{"POST", chatPath, `{"messages": []}`, 400, "messages", codeValue},
		{"POST", chatPath, `{"messages": "x"}`, 400, "messages", codeType},
		{"POST", chatPath, `{"messages": [` + strings.Repeat("1,", 4096) + `1]}`, 400, "messages", codeValue},
		{"POST", chatPath, message(`"x"`), 400, "messages[0]", codeType},
		{"POST", chatPath, message(`null`), 400, "messages[0]", codeType},
		{"POST", chatPath, message(`{"content": "x"}`), 400, "messages[0].role", codeMissing},
		{"POST", chatPath, message(`{"role": "bot", "content": "x"}`), 400, "messages[0].role", codeValue},
		{"POST", chatPath, message(`{"role": 1, "content": "x"}`), 400, "messages[0].role", codeType},
		{"POST", chatPath, message(`{"role": "user"}`), 400, "messages[0].content", codeMissing},
		{"POST", chatPath, message(`{"role": "user", "content": 1}`), 400, "messages[0].content", codeType},
		{"POST", chatPath, message(`{"role": "user", "content": {}}`), 400, "messages[0].content", codeType},
		{"POST", chatPath, message(`{"role": "user", "content": "x", "name": 1}`), 400, "messages[0].name", codeType},
		{"POST", chatPath, message(`{"role": "user", "content": ["x"]}`), 400, "messages[0].content[0]", codeType},
		{"POST", chatPath, message(`{"role": "user", "content": [{"text": "x"}]}`), 400, "messages[0].content[0].type", codeMissing},
		{"POST", chatPath, message(`{"role": "user", "content": [{"type": "text"}]}`), 400, "messages[0].content[0].text", codeMissing},
		{
			"POST", chatPath, message(`{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "x"}}]}`),
			400, "messages[0].content[1]", codeContent,
		},
		{"POST", chatPath, message(`{"role": "user", "content": [{"type": "input_audio"}]}`), 400, "messages[0].content[0]", codeContent},
		{"POST", chatPath, message(`{"role": "tool", "content": "x"}`), 400, "messages[0].tool_call_id", codeMissing},
		{"POST", chatPath, message(`{"role": "tool", "content": "x", "tool_call_id": "c"}`), 400, "messages[0].tool_call_id", codeValue},
		{"POST", chatPath, message(`{"role": "user", "content": "refuse"}`), 400, "messages", "invalid_messages"},
		{"POST", chatPath, message(`{"role": "assistant", "tool_calls": [{"id": "x"}]}`), 400, "messages[0].tool_calls[0].function", codeMissing},
		{"POST", chatPath, message(`{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}`), 400, "messages[0].tool_calls[0].id", codeMissing},
		{"POST", chatPath, message(`{"role": "assistant", "tool_calls": [{"id": "x", "function": {}}]}`), 400, "messages[0].tool_calls[0].function.name", codeMissing},
		{"POST", chatPath, message(called("x", "{") + `, ` + user), 400, "messages[0].tool_calls[0].function.arguments", codeValue},
		{"POST", chatPath, message(called("x", "[1]") + `, ` + user), 400, "messages[0].tool_calls[0].function.arguments", codeValue},
		{"POST", chatPath, message(called("x", "{}") + `, ` + called("x", "{}")), 400, "messages[1].tool_calls[0].id", codeValue},
		{"POST", chatPath, message(called("x", "{}") + `, {"role": "tool", "tool_call_id": "y", "content": "z"}`), 400, "messages[1].tool_call_id", codeValue},
		{"POST", chatPath, message(called("x", "{}") + `, {"role": "tool", "content": "z"}, {"role": "tool", "content": "z"}`), 400, "messages[2].tool_call_id", codeMissing},
		{"POST", chatPath, message(called("x", "{}") + `, {"role": "tool", "tool_call_id": "x"}`), 400, "messages[1].content", codeMissing},
		{"POST", chatPath, message(`{"role": "assistant", "function_call": {"name": "f"}}`), 400, "messages[0].function_call", codeUnsupported},
		{"POST", chatPath, chatBody("x", `"continue_final_message": true`), 400, "continue_final_message", codeValue},
		{"POST", chatPath, chatBody("x", `"add_generation_prompt": false`), 400, "add_generation_prompt", codeValue},
		{"POST", chatPath, chatBody("x", `"continue_final_message": true, "add_generation_prompt": true`), 400, "add_generation_prompt", codeValue},
		{"POST", chatPath, chatBody("x", `"chat_template_kwargs": {"messages": []}`), 400, "chat_template_kwargs", codeValue},
		{"POST", chatPath, chatBody("x", `"functions": [{"name": "f"}]`), 400, "functions", codeUnsupported},
		{"POST", chatPath, chatBody("x", `"function_call": {"name": "f"}`), 400, "function_call", codeUnsupported},
		{"POST", chatPath, chatBody("x", `"tool_choice": "required"`), 400, "tool_choice", codeValue},
		{"POST", chatPath, chatBody("x", tools+`, "tool_choice": {"type": "function", "function": {"name": "g"}}`), 400, "tool_choice.function.name", codeValue},
		{"POST", chatPath, chatBody("x", tools+`, "tool_choice": {"type": "function"}`), 400, "tool_choice.function", codeMissing},
		{"POST", chatPath, chatBody("x", tools+`, "tool_choice": {"type": "allowed_tools"}`), 400, "tool_choice.allowed_tools", codeMissing},
		{
			"POST", chatPath, chatBody("x", tools+`, "tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": [{"function": {"name": "g"}}]}}`),
			400, "tool_choice.allowed_tools.tools[0].function.name", codeValue,
		},
		{"POST", chatPath, chatBody("x", `"tools": [{"type": "function", "function": {"name": "f g"}}]`), 400, "tools[0].function.name", codeValue},
		{
			"POST", chatPath, chatBody("x", `"tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "f"}}]`),
			400, "tools[1].function.name", codeValue,
		},
		{"POST", chatPath, chatBody("x", `"tools": [{"type": "custom", "custom": {"name": "f"}}]`), 400, "tools[0].type", codeValue},
		{"POST", chatPath, chatBody("x", tools+`, "grammar": "root ::= \"x\""`), 400, "grammar", codeValue},
		{"POST", chatPath, chatBody("x", `"response_format": {"type": "json_object"}, "grammar": "root ::= \"x\""`), 400, "grammar", codeValue},
		{"POST", chatPath, chatBody("x", `"response_format": {"type": "json_schema"}`), 400, "response_format.json_schema", codeMissing},
		{"POST", chatPath, chatBody("x", `"response_format": {"type": "xml"}`), 400, "response_format.type", codeValue},
		{"POST", chatPath, chatBody("x", `"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}`), 400, "response_format.json_schema.schema", codeUnsupported},
		{"POST", textPath, `{"prompt": "x", "grammar": "root ::= ("}`, 400, "grammar", "invalid_grammar"},
		{"POST", textPath, `{"prompt": "x", "json_schema": "{"}`, 400, "json_schema", codeValue},
		{"POST", textPath, `{"prompt": "x", "structured_outputs": {"regex": "a*"}}`, 400, "structured_outputs.regex", codeUnsupported},
		{"POST", textPath, `{"prompt": "x", "structured_outputs": {"grammar": "root ::= x"}}`, 400, "structured_outputs.grammar", "invalid_grammar"},
		{"POST", chatPath, chatBody("x", `"max_tokens": 0`), 400, "max_tokens", codeValue},
		{"POST", chatPath, chatBody("x", `"logprobs": 1`), 400, "logprobs", codeType},
		{"POST", chatPath, chatBody("x", `"top_logprobs": 2`), 400, "top_logprobs", codeValue},
		{"POST", chatPath, chatBody("x", `"logprobs": false, "top_logprobs": 2`), 400, "top_logprobs", codeValue},
		{"POST", chatPath, chatBody("x", `"logprobs": true, "top_logprobs": 21`), 400, "top_logprobs", codeValue},
		{"POST", chatPath, chatBody("x", `"logprobs": true, "top_logprobs": -1`), 400, "top_logprobs", codeValue},
		{"POST", chatPath, chatBody("x", `"tools": [{"type": "function"}]`), 400, "tools[0].function", codeMissing},
		{"POST", chatPath, chatBody("x", `"modalities": ["text", "audio"]`), 400, "modalities", codeUnsupported},
		{"POST", chatPath, chatBody("x", `"model": "gpt-9"`), 404, "model", "model_not_found"},
		{"POST", chatPath, chatBody("x", `"model": "fake/plain"`), 400, "model", "no_chat_template"},
		{"POST", chatPath, chatBody(strings.Repeat("x", 510), ""), 400, "", "context_length_exceeded"},
		{"POST", chatPath, chatBody("x", `"model": "fake/imposed", "aim": {"utility": {"sigma": 0.25}}`), 403, "aim.utility.sigma", "utility_imposed"},

		{"POST", textPath, `{}`, 400, "prompt", codeMissing},
		{"POST", textPath, `{"prompt": 1}`, 400, "prompt", codeType},
		{"POST", textPath, `{"prompt": []}`, 400, "prompt", codeValue},
		{"POST", textPath, `{"prompt": [[]]}`, 400, "prompt[0]", codeValue},
		{"POST", textPath, `{"prompt": ["x", 1]}`, 400, "prompt[1]", codeType},
		{"POST", textPath, `{"prompt": [1, "x"]}`, 400, "prompt[1]", codeType},
		{"POST", textPath, `{"prompt": [[1], 1]}`, 400, "prompt[1]", codeType},
		{"POST", textPath, `{"prompt": [[1], [1, -1]]}`, 400, "prompt[1][1]", codeValue},
		{"POST", textPath, `{"prompt": [1, 269]}`, 400, "prompt[1]", codeValue},
		{"POST", textPath, `{"prompt": [1, 4294967297]}`, 400, "prompt[1]", codeValue},
		{"POST", textPath, `{"prompt": [true]}`, 400, "prompt[0]", codeType},
		{"POST", textPath, `{"prompt": [` + strings.Repeat(`"x",`, 128) + `"x"]}`, 400, "prompt", codeValue},
		{"POST", textPath, `{"prompt": [` + strings.Repeat(`"x",`, 20) + `"x"]}`, 400, "prompt", codeValue},
		{"POST", textPath, `{"prompt": "x", "logprobs": true}`, 400, "logprobs", codeType},
		{"POST", textPath, `{"prompt": "x", "logprobs": 21}`, 400, "logprobs", codeValue},
		{"POST", textPath, `{"prompt": "x", "logprobs": -1}`, 400, "logprobs", codeValue},
		{"POST", textPath, `{"prompt": "x", "n": 3, "best_of": 2}`, 400, "best_of", codeValue},
		{"POST", textPath, `{"prompt": "x", "best_of": 21, "stream": false}`, 400, "best_of", codeValue},
		{"POST", textPath, `{"prompt": ["x", "` + strings.Repeat("x", 511) + `"]}`, 400, "", "context_length_exceeded"},

		{"GET", "/v1/models/gpt-9", "", 404, "model", "model_not_found"},
		{"GET", "/v1/models/", "", 404, "model", "model_not_found"},
		{"GET", "/v1/nothing", "", 404, "", "not_found"},
		{"GET", "/health/", "", 404, "", "not_found"},
		{"GET", chatPath, "", 405, "", "method_not_allowed"},
		{"DELETE", "/v1/models", "", 405, "", "method_not_allowed"},
		{"POST", "/health", "", 405, "", "method_not_allowed"},
	} {
		for _, stream := range []bool{false, true} {
			body := c.body
			if stream {
				if c.method != "POST" || !strings.HasSuffix(body, "}") || body == "{}" {
					continue
				}
				body = strings.TrimSuffix(body, "}") + `, "stream": true}`
			}
			r := s.do(t, c.method, c.path, body)
			r.is(t, fmt.Sprintf("%s %s %.80s", c.method, c.path, body), c.status, c.param, c.code)
			if c.status == http.StatusMethodNotAllowed && r.header.Get("Allow") == "" {
				t.Errorf("%s %s: no header Allow", c.method, c.path)
			}
		}
	}
	for body, says := range map[string][]string{
		chatBody(strings.Repeat("x", 510), ""):                                        {"518", "512"},
		chatBody("x", `"model": "gpt-9"`):                                             {`"gpt-9"`},
		chatBody("x", `"model": "fake/imposed", "aim": {"utility": {"sigma": 0.25}}`): {"0.25", "0.5", "fake/imposed"},
		message(`{"role": "user", "content": "refuse"}`):                              {"refused"},
	} {
		for _, say := range says {
			if got := failed(t, s.do(t, "POST", chatPath, body).body).Message; !strings.Contains(got, say) {
				t.Errorf("%.80s: the message %q does not say %s", body, got, say)
			}
		}
	}
}

// TestToleratedFields: null is absent, unknown fields and those of other servers are ignored, a content type is not needed.
func TestToleratedFields(t *testing.T) {
	s := start(t, options{})
	const null = `"model": null, "stream": null, "stream_options": null, "max_tokens": null, "max_completion_tokens": null,
		"temperature": null, "top_p": null, "top_k": null, "min_p": null, "n": null, "stop": null, "seed": null, "logit_bias": null,
		"frequency_penalty": null, "presence_penalty": null, "repeat_penalty": null, "repeat_last_n": null, "logprobs": null,
		"user": null, "aim": null, `
	for _, body := range []string{
		`{` + null + `"top_logprobs": null, "tools": null, "response_format": null, "messages": [{"role": "user", "content": "hello", "name": null}]}`,
		chatBody("hello", `"model": "", "aim": {}, "n": 1.0, "top_k": -1, "seed": -1, "max_tokens": -1, "max_completion_tokens": 1e2`),
		chatBody("hello", `"aim": {"utility": null, "focus": null}, "stop": [], "logit_bias": {}, "top_logprobs": 0, "logit_bias": {"1": null}`),
		chatBody("hello", `"tools": [], "tool_choice": "auto", "response_format": {"type": "text"}, "modalities": ["text"], "functions": []`),
		chatBody("hello", `"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"`),
		chatBody("hello", `"repeat_last_n": 0, "repeat_penalty": 10, "top_p": 0, "min_p": 1, "temperature": 0`),
		chatBody("hello", `"store": true, "metadata": {"a": "b"}, "cache_reuse": 256, "parallel_tool_calls": false, "reasoning_effort": "low", "grammar": ""`),
	} {
		if got := s.do(t, "POST", chatPath, body).text(t); got != "Hello, world!" {
			t.Errorf("%s: %q", body, got)
		}
	}
	for _, fields := range []string{null + `"echo": null, "suffix": null, "best_of": null`, `"best_of": 1, "suffix": "", "echo": false`} {
		body := `{"prompt": "hello<|ctl|>", ` + fields + `}`
		if got := s.do(t, "POST", textPath, body).text(t); got != "Hello, world!" {
			t.Errorf("%s: %q", body, got)
		}
	}
	eventually(t, "ignored fields are told at debug level", func() bool {
		return strings.Contains(s.log.String(), `"fields":["cache_reuse","metadata","store"]`)
	})
}

// TestErrorTable has the errors that no request provokes easily.
func TestErrorTable(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("while: %w", err) }
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{wrap(&llama.DecodeError{Err: llama.ErrCacheFull}), 500, "decode_failed"},
		{wrap(sampler.ErrNotFinite), 500, "sampling_failed"},
		{wrap(sampler.ErrNoCandidate), 400, "no_token_allowed"},
		{wrap(grammar.ErrBudget), 400, "grammar_too_costly"},
		{wrap(grammar.ErrStuck), 400, "grammar_stuck"},
		{wrap(llama.ErrInternal), 500, "internal_error"},
		{wrap(llama.ErrBusy), 429, "rate_limit_exceeded"},
		{wrap(llama.ErrClosed), 503, "shutting_down"},
		{io.ErrUnexpectedEOF, 500, "internal_error"},
		{errUnfinished, 500, "internal_error"},
		{wrap(&sampler.DomainError{Param: "utility.sigma"}), 400, codeValue},
		{wrap(&http.MaxBytesError{Limit: 1}), 413, "request_too_large"},
	} {
		e := asAPIError(c.err)
		if e.status != c.status || e.code != c.code || e.kind == "" {
			t.Errorf("%v: %+v, want %d %s", c.err, e, c.status, c.code)
		}
		if e.status == 500 && errors.Is(c.err, llama.ErrInternal) && strings.Contains(e.message, "while") {
			t.Errorf("%v: the message %q tells internals", c.err, e.message)
		}
	}
}

// TestSlowBody: a client that announces a body and does not send it is not waited for.
func TestSlowBody(t *testing.T) {
	s := start(t, options{server: Config{Patience: 50 * time.Millisecond}})
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", chatPath)
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") || !strings.Contains(string(answer), "request_timeout") {
		t.Errorf("got %q, %v", answer, err)
	}
}

// TestPanic: what breaks in a handler is a 500 in the usual shape, told in the log, and the server goes on.
func TestPanic(t *testing.T) {
	s := start(t, options{})
	first := s.api.table.Load().entries[0].now
	first.Template = nil // makes a model without a template of the first one …
	first.Engine = nil   // … whose lack of an engine panics
	s.ask(t, "x", "").is(t, "panic", http.StatusInternalServerError, "", "internal_error")
	if log := s.log.String(); !strings.Contains(log, `"msg":"panic"`) || !strings.Contains(log, "nil pointer") {
		t.Errorf("the log says %s", log)
	}
	if got := s.ask(t, "hello", `"model": "fake/imposed"`).text(t); got != "Hello, world!" {
		t.Errorf("afterwards: %q", got)
	}
}

// TestDecodeFailure: a model that fails before the first token is a 500, in whichever form the answer was asked for.
func TestDecodeFailure(t *testing.T) {
	s := start(t, options{decoder: llamatest.Options{Before: func([]llama.Row) error { return errors.New("broken") }}})
	for _, fields := range []string{"", `"stream": true`, `"n": 3`, `"n": 3, "stream": true`} {
		r := s.ask(t, "x", fields)
		r.is(t, fields, http.StatusInternalServerError, "", "decode_failed")
		if strings.Contains(r.body, "broken") {
			t.Errorf("the answer tells the cause: %s", r.body)
		}
	}
	if log := s.log.String(); !strings.Contains(log, "broken") {
		t.Errorf("the log does not tell the cause: %s", log)
	}
}
