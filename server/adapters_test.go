package server

import (
	"net/http"
	"strings"
	"testing"

	"aim/llama/llamatest"
)

// Models that differ in their adapters alone are models of their own, on every endpoint and beside one another.
func TestAdaptersAreModels(t *testing.T) {
	s := start(t, options{decoder: llamatest.Options{Sets: 3}})
	names := []string{"fake", "fake/set1", "fake/set2"}
	list := s.do(t, http.MethodGet, "/v1/models", "").ok(t).body
	for _, name := range names {
		if !strings.Contains(list, quote(name)) {
			t.Errorf("%s is not among the models: %s", name, list)
		}
	}
	for _, c := range []struct{ path, fields string }{
		{chatPath, `"messages": [{"role": "user", "content": "babble"}], "max_tokens": 12, "temperature": 0`},
		{textPath, `"prompt": "babble", "max_tokens": 12, "temperature": 0`},
		{responsesPath, `"input": "babble", "max_output_tokens": 16, "temperature": 0`},
		{messagesPath, `"messages": [{"role": "user", "content": "babble"}], "max_tokens": 12, "temperature": 0`},
		{"/v1/aim/preview", `"messages": [{"role": "user", "content": "babble"}]`},
	} {
		answers := map[string]string{}
		for _, name := range append(names, "") {
			body := "{" + c.fields + "}"
			if name != "" {
				body = `{"model": ` + quote(name) + ", " + c.fields + "}"
			}
			answers[name] = said(s.do(t, http.MethodPost, c.path, body).ok(t).body)
		}
		if answers["fake"] == answers["fake/set1"] || answers["fake/set1"] == answers["fake/set2"] || answers["fake"] == answers["fake/set2"] {
			t.Errorf("%s: models give the same answer: %v", c.path, answers)
		}
		if answers[""] != answers["fake"] {
			t.Errorf("%s: without a name the answer is not the first model's", c.path)
		}
	}
}

// said cuts from an answer what differs each time: names, ids and times.
func said(body string) string {
	for _, key := range []string{`"text":`, `"content":`, `"candidates":`, `"token`} {
		if _, after, ok := strings.Cut(body, key); ok {
			if end := strings.IndexAny(after, "}"); end > 0 {
				return after[:end]
			}
		}
	}
	return body
}
