package faults

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// kind is a kind of request: how often it is sent, how, and which ends it may have.
type kind struct {
	name, path string
	weight     int
	// body makes a body; nil for kinds that send something else.
	body func(c *client) string
	// send sends it; nil for a client without faults.
	send func(c *client, o *outcome, body string)
	// ends are "status code"; limits of keys and the queue add theirs unless fixed says that none of them is met. Without ends there need be no answer.
	ends  []string
	fixed bool
	// slow says that it lasts as long as the server's patience.
	slow bool
	// key changes the key.
	key func(c *client, o *outcome)
}

const (
	chatPath  = "/v1/chat/completions"
	textPath  = "/v1/completions"
	replyPath = "/v1/responses"
	sayPath   = "/v1/messages"
)

// words are a prompt of some length.
func words(c *client) string {
	return strings.Repeat([]string{"water ", "river ", "日本 ", "\\n\\\"x\\\" "}[c.random.IntN(4)], 1+c.random.IntN(12))
}

// fields are what all generating requests have; more follow with a comma before.
func fields(c *client, more string) string {
	return fmt.Sprintf(`"model": %q, "max_tokens": %d, "seed": %d%s`, c.models[c.random.IntN(len(c.models))], 1+c.random.IntN(24), c.random.IntN(1000), more)
}

// talk is a conversation, and text a text to continue.
func talk(more string) func(*client) string {
	return func(c *client) string {
		return fmt.Sprintf(`{"messages": [{"role": "user", "content": "%s"}], %s}`, words(c), fields(c, more))
	}
}

func text(more string) func(*client) string {
	return func(c *client) string { return fmt.Sprintf(`{"prompt": "%s", %s}`, words(c), fields(c, more)) }
}

func respond(more string) func(*client) string {
	return func(c *client) string {
		return strings.Replace(fmt.Sprintf(`{"input": "%s", %s}`, words(c), fields(c, more)), "max_tokens", "max_output_tokens", 1)
	}
}

func fixed(body string) func(*client) string { return func(*client) string { return body } }

// of names a tier: of the client's models, which are a base and tiers that impose more and more.
func of(tier int, fields string) func(*client) string {
	return func(c *client) string { return fmt.Sprintf(`{"model": %q, %s}`, c.models[tier], fields) }
}

const streamed = `, "stream": true, "stream_options": {"include_usage": true}`

// good are requests that mean no harm.
func good() []kind {
	answered := []string{"200 "}
	return []kind{
		{name: "chat", path: chatPath, weight: 12, body: talk(""), ends: answered},
		{name: "chat, streamed", path: chatPath, weight: 14, body: talk(streamed), ends: answered},
		{name: "chat, n = 3", path: chatPath, weight: 4, body: talk(`, "n": 3`), ends: answered},
		{name: "chat, n = 2, streamed", path: chatPath, weight: 3, body: talk(`, "n": 2` + streamed), ends: answered},
		{name: "completion", path: textPath, weight: 6, body: text(""), ends: answered},
		{name: "completion, streamed", path: textPath, weight: 6, body: text(streamed), ends: answered},
		{name: "response", path: replyPath, weight: 4, body: respond(""), ends: answered},
		{name: "response, streamed", path: replyPath, weight: 4, body: respond(`, "stream": true`), ends: answered},
		{name: "message", path: sayPath, weight: 4, body: talk(""), ends: answered},
		{name: "message, streamed", path: sayPath, weight: 4, body: talk(`, "stream": true`), ends: answered},
		{name: "embedding", path: "/v1/embeddings", weight: 3, body: of(0, `"input": ["water", "river"]`), ends: answered},
		{name: "tokenize", path: "/tokenize", weight: 4, body: fixed(`{"content": "water and rivers"}`), ends: answered},
		{name: "count tokens", path: sayPath + "/count_tokens", weight: 2, body: fixed(`{"messages": [{"role": "user", "content": "water"}]}`), ends: answered},
	}
}

// deep is JSON that is nested n times.
func deep(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

// mistaken are requests that cannot be served, whatever the load.
func mistaken() []kind {
	stranger := func(_ *client, o *outcome) { o.key = keyed{secret: "aim-" + strings.Repeat("x", 43)} }
	nobody := func(_ *client, o *outcome) { o.key = keyed{} }
	long := strings.Repeat("water ", 400)
	return []kind{
		{name: "unknown key", path: chatPath, weight: 2, body: talk(""), key: stranger, ends: []string{"401 invalid_api_key"}, fixed: true},
		{name: "no key", path: textPath, weight: 2, body: text(""), key: nobody, ends: []string{"401 invalid_api_key"}, fixed: true},
		{name: "unknown model", path: chatPath, weight: 2, body: fixed(`{"model": "gone", "messages": [{"role": "user", "content": "x"}]}`), ends: []string{"404 model_not_found"}},
		{name: "unknown path", path: "/v1/nothing", weight: 1, body: talk(""), ends: []string{"404 not_found"}, fixed: true},
		{name: "wrong method", path: "/v1/models", weight: 1, body: talk(""), ends: []string{"405 method_not_allowed"}, fixed: true},
		{name: "prompt beyond the context", path: chatPath, weight: 2, body: fixed(`{"messages": [{"role": "user", "content": "` + long + `"}]}`), ends: []string{"400 context_length_exceeded"}},
		{name: "broken JSON", path: chatPath, weight: 2, body: fixed(`{"messages": [{"role": "user", "content": "x"}`), ends: []string{"400 invalid_json"}},
		{name: "no UTF-8", path: textPath, weight: 2, body: fixed("{\"prompt\": \"\xff\xfe\x80\", \"max_tokens\": 2}"), ends: []string{"200 "}},
		{name: "JSON of depth 20 000", path: chatPath, weight: 1, body: fixed(`{"messages": ` + deep(20000) + `}`), ends: []string{"400 invalid_json"}},
		{name: "schema of depth 5 000", path: chatPath, weight: 1, body: fixed(`{"messages": [{"role": "user", "content": "x"}], "max_tokens": 2, "response_format": ` + deep(5000) + `}`), ends: []string{"400 invalid_type"}},
		{name: "body beyond max_body", path: textPath, weight: 1, body: fixed(`{"prompt": "` + strings.Repeat("x", 70<<10) + `"}`), ends: []string{"413 request_too_large"}},
		{name: "wrong type", path: chatPath, weight: 2, body: fixed(`{"messages": "x", "temperature": "hot"}`), ends: []string{"400 invalid_type"}},
		{name: "value out of bounds", path: textPath, weight: 2, body: fixed(`{"prompt": "x", "temperature": 3}`), ends: []string{"400 invalid_value"}},
		{name: "utility that is not granted", path: chatPath, weight: 2, body: of(2, `"messages": [{"role": "user", "content": "x"}], "aim": {"utility": {"sigma": 0.1}}`), ends: []string{"403 utility_not_allowed"}},
		{name: "embedding of a tier", path: "/v1/embeddings", weight: 1, body: of(2, `"input": "water"`), ends: []string{"400 embeddings_not_enabled"}},
	}
}

// harmful are clients that behave badly.
func harmful() []kind {
	return []kind{
		{name: "left before the answer", path: chatPath, weight: 5, body: talk(streamed), send: func(c *client, o *outcome, body string) {
			c.leave(o, body, time.Duration(c.random.IntN(20_000))*time.Microsecond, 0)
		}},
		{name: "left in mid-stream", path: chatPath, weight: 5, body: talk(`, "n": 2` + streamed), send: func(c *client, o *outcome, body string) {
			c.leave(o, body, 0, 1+c.random.IntN(600))
		}},
		{name: "left in mid-answer, whole", path: textPath, weight: 2, body: text(""), send: func(c *client, o *outcome, body string) {
			c.leave(o, body, time.Duration(c.random.IntN(20_000))*time.Microsecond, 0)
		}},
		{name: "cut in mid-head", path: chatPath, weight: 1, body: talk(""), send: func(c *client, o *outcome, body string) {
			c.cut(o, o.head(len(body))[:20+c.random.IntN(30)])
		}},
		{name: "cut before the body", path: chatPath, weight: 2, body: talk(""), send: func(c *client, o *outcome, body string) { c.cut(o, o.head(len(body))) }},
		{name: "cut in mid-body", path: chatPath, weight: 2, body: talk(""), send: func(c *client, o *outcome, body string) {
			c.cut(o, o.head(len(body))+body[:c.random.IntN(len(body))])
		}},
		{name: "slow reader", path: chatPath, weight: 2, body: talk(streamed), ends: []string{"200 "}, send: func(c *client, o *outcome, body string) {
			c.ask(o, body, time.Duration(1+c.random.IntN(20))*time.Millisecond)
		}},
		{name: "never reads", path: chatPath, weight: 1, slow: true, body: talk(`, "n": 8` + streamed), send: func(c *client, o *outcome, body string) { c.stare(o, body) }},
		{name: "head that does not end", path: chatPath, weight: 1, slow: true, body: talk(""), send: func(c *client, o *outcome, body string) {
			c.dawdle(o, o.head(len(body))[:20+c.random.IntN(30)])
			o.status, o.complete = 0, false // net/http may say 400 before it closes; no handler hears of it
		}},
		{name: "body that does not end", path: chatPath, weight: 1, slow: true, body: talk(""), ends: []string{"408 request_timeout"}, send: func(c *client, o *outcome, body string) {
			c.dawdle(o, o.head(len(body))+body[:len(body)/2])
		}},
	}
}

// expected says whether an outcome is one that its kind may have.
func (k *kind) expected(o *outcome) bool {
	if o.err != nil {
		return false
	}
	if k.ends == nil {
		return true // it was not there to see
	}
	status := o.status
	if status == 529 { // how Anthropic spells it
		status = 503
	}
	end := fmt.Sprintf("%d %s", status, o.code)
	if o.path == sayPath || strings.HasPrefix(o.path, sayPath) {
		return o.complete && slices.ContainsFunc(append(k.ends, "429 "), func(e string) bool { return strings.HasPrefix(e, fmt.Sprint(status)) })
	}
	if slices.Contains(k.ends, end) {
		return o.complete && (status != 429 || o.retry != "")
	}
	switch {
	case k.fixed:
		return false
	case end == "429 rate_limit_exceeded":
		return o.retry != "" // the queue is full, or the key's rate is met
	case end == "429 insufficient_quota":
		return o.key.limited && o.retry != ""
	}
	return false
}

// valid says that a body is JSON, for tests of the tests.
func valid(body string) bool { return json.Valid([]byte(body)) }
