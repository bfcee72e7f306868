package server

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"aim/internal/account"
)

func ptr(v float64) *float64 { return &v }

// governed serves the fake as "m" under a policy.
func governed(t testing.TB, p Policy, ring *keyring) *site {
	t.Helper()
	s := start(t, options{server: Config{Keys: ring}})
	m := s.api.table.Load().entries[0].Model
	m.ID, m.Policy = "m", p
	if err := s.api.Serve(Serving{Models: []Model{m}, Secret: []byte("of the tests")}); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestCeilings: numbers outside of what the model allows are refused by name, on every endpoint and under every alias; absent ones are moved into it.
func TestCeilings(t *testing.T) {
	s := governed(t, Policy{
		Context: 40, MaxTokens: 8,
		Bounds:   map[string]Bound{"temperature": {Max: ptr(0.5)}, "n": {Max: ptr(2)}, "top_k": {Min: ptr(1), Max: ptr(40)}, "repetition_penalty": {Min: ptr(1)}},
		Defaults: map[string]json.RawMessage{"temperature": json.RawMessage("0.25"), "ignore_eos": json.RawMessage("true")},
	}, &keyring{})
	for _, c := range []struct{ path, body, param string }{
		{chatPath, chatBody("x", `"temperature": 0.75`), "temperature"},
		{textPath, `{"prompt": "x", "temperature": 0.75}`, "temperature"},
		{responsesPath, `{"input": "x", "temperature": 0.75}`, "temperature"},
		{messagesPath, chatBody("x", `"max_tokens": 3, "temperature": 0.75`), "temperature"},
		{chatPath, chatBody("x", `"n": 3`), "n"},
		{chatPath, chatBody("x", `"top_k": 0`), "top_k"},
		{chatPath, chatBody("x", `"top_k": -1`), "top_k"},
		{chatPath, chatBody("x", `"repeat_penalty": 0.5`), "repeat_penalty"},
		{chatPath, chatBody("x", `"max_tokens": 9`), "max_tokens"},
		{chatPath, chatBody("x", `"max_completion_tokens": 9`), "max_completion_tokens"},
		{textPath, `{"prompt": "x", "n_predict": 9}`, "n_predict"},
		{responsesPath, `{"input": "x", "max_output_tokens": 16}`, "max_output_tokens"},
		{messagesPath, chatBody("x", `"max_tokens": 9`), "max_tokens"},
	} {
		r := s.do(t, "POST", c.path, c.body)
		if c.path == messagesPath {
			if r.status != 400 || !strings.Contains(r.body, c.param) {
				t.Errorf("%s %s: %d %s", c.path, c.body, r.status, r.body)
			}
			continue
		}
		r.is(t, c.path+" "+c.body, 400, c.param, codeValue)
	}
	r := s.do(t, "POST", chatPath, chatBody("x", ""))
	if u := decode[completion](t, r.ok(t).body).Usage; u.Completion != 8 {
		t.Errorf("an answer of %d tokens, the ceiling is 8 and it may not end by itself", u.Completion)
	}
	s.do(t, "POST", chatPath, chatBody(strings.Repeat("long", 20), "")).is(t, "long prompt", 400, "", "context_length_exceeded")
	if r := s.do(t, "POST", chatPath, chatBody(strings.Repeat("x", 40-12), "")); r.status != 200 { // the template makes 7 of its own
		t.Errorf("%d %s", r.status, r.body)
	} else if u := decode[completion](t, r.body).Usage; u.Total > 40 {
		t.Errorf("%d tokens in a context of 40", u.Total)
	}
	if info := decode[modelList](t, s.do(t, "GET", "/v1/models", "").body); info.Data[0].Max != 40 {
		t.Errorf("told %+v", info)
	}
	// What is in force for absent fields.
	c, err := parsed(s, chatBody("x", ""))
	if err != nil {
		t.Fatal(err)
	}
	if p := c.request.Params; p.Temperature != 0.25 || p.TopK != 40 || !p.IgnoreEnd || c.n != 1 {
		t.Errorf("defaults %+v", p)
	}
	if c, err := parsed(s, chatBody("x", `"temperature": 0.5, "ignore_eos": false, "top_k": 40`)); err != nil || c.request.Params.Temperature != 0.5 || c.request.Params.IgnoreEnd {
		t.Errorf("the request's own: %+v, %v", c, err)
	}
}

func parsed(s *site, body string) (*call, error) {
	o, err := parseBody([]byte(body))
	if err != nil {
		return nil, err
	}
	o.asker = &record{table: s.api.table.Load(), grant: owner}
	return s.api.parseChat(o)
}

// TestHidden: what an owner hides is refused by name.
func TestHidden(t *testing.T) {
	ring := &keyring{}
	ring.set("k", account.Grant{LowerUtility: true})
	s := governed(t, Policy{NoLogprobs: true, NoReports: true, NoPreviews: true, NoTemplate: true, NoSpans: true, NoFocusNoise: true, MaxFocus: ptr(0.5)}, ring)
	for _, c := range []struct{ path, body, param, code string }{
		{chatPath, chatBody("x", `"logprobs": true`), "logprobs", "logprobs_not_allowed"},
		{textPath, `{"prompt": "x", "logprobs": 0}`, "logprobs", "logprobs_not_allowed"},
		{textPath, `{"prompt": "x", "best_of": 3}`, "best_of", "logprobs_not_allowed"},
		{responsesPath, `{"input": "x", "top_logprobs": 2, "include": ["message.output_text.logprobs"]}`, "logprobs", "logprobs_not_allowed"},
		{chatPath, chatBody("x", `"aim": {"report": true}`), "aim.report", "report_not_allowed"},
		{"/v1/aim/sweep", `{"prompt": "x", "sigmas": [1]}`, "aim.report", "report_not_allowed"},
		{"/v1/aim/preview", `{"prompt": "x"}`, "model", "report_not_allowed"},
		{chatPath, chatBody("xyz", `"aim": {"focus": [{"span": "xyz", "strength": 0.5}]}`), "aim.focus", "focus_not_allowed"},
		{chatPath, chatBody("x", `"aim": {"focus": [{"text": "a", "sigma": 1}]}`), "aim.focus[0]", "focus_not_allowed"},
		{chatPath, chatBody("x", `"aim": {"focus": [{"text": "b", "strength": 0.1}, {"text": "a", "strength": 1}]}`), "aim.focus[1]", "focus_not_allowed"},
		{"/apply-template", chatBody("x", ""), "model", "template_not_shown"},
	} {
		s.as(t, "k", "POST", c.path, c.body).is(t, c.path+" "+c.body, 403, c.param, c.code)
	}
	for _, path := range []string{"/props", "/tokenizer_info"} {
		if r := s.as(t, "k", "GET", path, "").ok(t); strings.Contains(r.body, "for m in messages") {
			t.Errorf("%s tells the template", path)
		}
	}
	s.as(t, "k", "POST", chatPath, chatBody("hello", `"aim": {"focus": [{"text": "water", "strength": -0.5}], "utility": {"sigma": 1}}`)).ok(t)
}

// TestPolicyErrors: a policy that cannot be says which field is wrong with it.
func TestPolicyErrors(t *testing.T) {
	raw := func(s string) map[string]json.RawMessage {
		return map[string]json.RawMessage{"temperature": json.RawMessage(s)}
	}
	for name, c := range map[string]struct {
		p    Policy
		want string
	}{
		"unknown":             {Policy{Bounds: map[string]Bound{"tempreture": {}}}, "tempreture is no number"},
		"not a number":        {Policy{Bounds: map[string]Bound{"ignore_eos": {}}}, "ignore_eos is no number"},
		"set elsewhere":       {Policy{Bounds: map[string]Bound{"max_tokens": {}}}, "max_tokens is no number"},
		"outside":             {Policy{Bounds: map[string]Bound{"temperature": {Max: ptr(3)}}}, "temperature has a max of 3, must be in [0, 2]"},
		"reversed":            {Policy{Bounds: map[string]Bound{"temperature": {Min: ptr(1), Max: ptr(0.5)}}}, "temperature has a min of 1 above"},
		"default type":        {Policy{Defaults: raw(`"hot"`)}, "temperature has a default that requests cannot have"},
		"default outside":     {Policy{Defaults: raw("5")}, "must be in [0, 2]"},
		"default over ceilin": {Policy{Defaults: raw("1"), Bounds: map[string]Bound{"temperature": {Max: ptr(0.5)}}}, "must be in [0, 0.5]"},
		"no default":          {Policy{Defaults: map[string]json.RawMessage{"messages": json.RawMessage("[]")}}, "messages is no field"},
	} {
		if err := c.p.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	defaults, bounds := TunableFields()
	if !slices.Contains(defaults, "ignore_eos") || slices.Contains(bounds, "ignore_eos") || !slices.Contains(bounds, "typ_p") || slices.Contains(defaults, "model") {
		t.Errorf("%v\n%v", defaults, bounds)
	}
}
