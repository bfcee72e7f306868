package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// wireFeatures are what a request can ask for, by fields of JSON. The pairs of features on the real model, below HTTP, are in
// llama/cpp.
var wireFeatures = []map[string]any{
	{"aim": map[string]any{"utility": map[string]any{"sigma": 1.5}}},
	{"aim": map[string]any{"utility": map[string]any{"level": 0.9}}},
	{"aim": map[string]any{"focus": []any{map[string]any{"text": "water", "sigma": 20}}}},
	{"aim": map[string]any{"focus": []any{map[string]any{"text": "river", "strength": 0.8}}}},
	{"aim": map[string]any{"focus": []any{map[string]any{"text": "a", "strength": -1}}}},
	{"aim": map[string]any{"focus": []any{map[string]any{"tokens": []any{98, 99}, "sigma": 9, "direction": "lower"}}}},
	{"aim": map[string]any{"focus": []any{map[string]any{"all": true, "sigma": 0.5}}}},
	{"aim": map[string]any{"focus": []any{map[string]any{"span": "brief", "strength": 0.7}}}},
	{"aim": map[string]any{"focus": []any{map[string]any{"span": "polite", "strength": -1}}}},
	{"aim": map[string]any{"report": map[string]any{"tokens": true}}},
	{"stop": []any{"e", "never said"}},
	{"n": 3},
	{"logprobs": true, "top_logprobs": 4},
	{"logit_bias": map[string]any{"97": -100, "98": 5}},
	{"frequency_penalty": 1.5},
	{"presence_penalty": 1.5},
	{"repeat_penalty": 1.3, "repeat_last_n": 8},
	{"cache_prompt": false},
	{"cache_salt": "pepper"},
	{"temperature": 0},
	{"temperature": 1},
	{"top_k": 5},
	{"top_p": 0.5},
	{"min_p": 0.2},
	{"max_tokens": 4},
	{"min_tokens": 6},
	{"ignore_eos": true},
	{"logit_bias": []any{[]any{"water", false}, []any{"b", 3}}},
	{"top_n_sigma": 1.5},
	{"typical_p": 0.7},
	{"xtc_probability": 0.5, "xtc_threshold": 0.05},
	{"dry_multiplier": 2, "dry_allowed_length": 1},
	{"dynatemp_range": 0.5, "dynatemp_exponent": 2},
	{"mirostat": 2, "mirostat_tau": 4},
	{"grammar": `root ::= [a-z ]+ "!"`},
	{"response_format": map[string]any{"type": "json_object"}},
	{"structured_outputs": map[string]any{"choice": []any{"a river", "the water"}}},
	{"tools": []any{map[string]any{"type": "function", "function": map[string]any{"name": "weather"}}}},
	{"reasoning_format": "deepseek"},
	{"chat_template_kwargs": map[string]any{"enable_thinking": false}, "reasoning_effort": "low"},
	{"prediction": map[string]any{"type": "content", "content": "a river, and the water of a river"}},
	{"stream_options": map[string]any{"include_usage": true}},
}

// bothForms reports whether two features each ask for a form of the answer, or for tools. A request has one of these.
func bothForms(a, b map[string]any) bool {
	form := func(f map[string]any) bool {
		return f["grammar"] != nil || f["response_format"] != nil || f["structured_outputs"] != nil || f["tools"] != nil
	}
	return form(a) && form(b)
}

// both merges two features into a request; the second wins where both set one field.
func both(t *testing.T, a, b map[string]any) map[string]any {
	t.Helper()
	request := map[string]any{
		"messages": []any{map[string]any{"role": "user", "content": "Be brief and polite."}}, "seed": 3, "max_tokens": 12,
	}
	aim := map[string]any{}
	var focus []any
	for _, f := range []map[string]any{a, b} {
		maps.Copy(request, f)
		if fields, ok := f["aim"].(map[string]any); ok {
			maps.Copy(aim, fields)
			if list, ok := fields["focus"].([]any); ok {
				focus = append(focus, list...)
			}
		}
	}
	if focus != nil {
		aim["focus"] = focus
	}
	request["aim"] = aim
	return request
}

// TestWireFeaturesCompose: each pair of features is answered, the same way again and as a stream, and each feature does its part.
func TestWireFeaturesCompose(t *testing.T) {
	s := start(t, options{dial: &fakeDial{}})
	for i, a := range wireFeatures {
		for j, b := range wireFeatures[i:] {
			request := both(t, a, b)
			send := func(stream bool) response {
				request["stream"] = stream
				if delete(request, "stream_options"); stream && (a["stream_options"] != nil || b["stream_options"] != nil) {
					request["stream_options"] = map[string]any{"include_usage": true}
				}
				body, err := json.Marshal(request)
				if err != nil {
					t.Fatal(err)
				}
				return s.do(t, "POST", chatPath, string(body)).ok(t)
			}
			name := fmt.Sprintf("%v and %v", a, b)
			if j > 0 && bothForms(a, b) {
				if r := s.do(t, "POST", chatPath, string(encode(request))); r.status != 400 {
					t.Errorf("%s: %d", name, r.status)
				}
				continue
			}
			whole, again, streamed := send(false), send(false), send(true)
			if stable(whole.body) != stable(again.body) {
				t.Errorf("%s: %s, then %s", name, whole.body, again.body)
			}
			composes(t, name, request, whole, streamed)
		}
	}
}

// composes holds a whole answer against its stream, and both against the request.
func composes(t *testing.T, name string, request map[string]any, whole, streamed response) {
	t.Helper()
	c, parts := decode[completion](t, whole.body), assemble(t, streamed)
	n, most := 1, 12
	if want, ok := request["n"].(int); ok {
		n = want
	}
	if want, ok := request["max_tokens"].(int); ok {
		most = want
	}
	if len(c.Choices) != n || len(parts.finish) != n || c.Usage.Completion < n || c.Usage.Completion > n*most {
		t.Errorf("%s: %d choices, %d streamed, %+v", name, len(c.Choices), len(parts.finish), c.Usage)
		return
	}
	for i, choice := range c.Choices {
		text := choice.Message.Content
		if parts.text[i] != text || parts.finish[i] != *choice.FinishReason {
			t.Errorf("%s: choice %d is %q (%s), streamed %q (%s)", name, i, text, *choice.FinishReason, parts.text[i], parts.finish[i])
		}
		if request["stop"] != nil && strings.Contains(text, "e") {
			t.Errorf("%s: %q holds the stop string", name, text)
		}
		if lists := decode[*chatLogprobs](t, string(choice.Logprobs)); (lists != nil) != (request["logprobs"] != nil) {
			t.Errorf("%s: log-probabilities %s", name, choice.Logprobs)
		}
	}
	asked := false
	if aim, ok := request["aim"].(map[string]any); ok {
		asked = aim["report"] != nil
	}
	if asked != strings.Contains(whole.body, `"aim"`) {
		t.Errorf("%s: a report where none was asked for, or none: %s", name, whole.body)
	}
	if asked {
		list := events(t, streamed.body)
		r, last := reportOf(t, whole.body), reportOf(t, list[len(list)-2])
		if int(r.Steps) != c.Usage.Completion || !slices.Equal(r.raw, last.raw) || len(r.Choices) != n {
			t.Errorf("%s: report %s, streamed %s", name, r.raw, last.raw)
		}
	}
}
