package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// lines are the request log's lines so far.
func (s *site) lines(t testing.TB) (list []map[string]any) {
	t.Helper()
	for line := range strings.Lines(s.log.String()) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if l["msg"] == "request" {
			list = append(list, l)
		}
	}
	return list
}

func TestRequestLog(t *testing.T) {
	s := start(t, options{})
	s.ask(t, "hello", "").ok(t)
	s.ask(t, "hello", `"stream": true, "n": 2`).ok(t)
	s.ask(t, "secret words", `"temperature": 3`)
	s.do(t, "GET", "/health", "")
	s.do(t, "GET", "/secret/"+strings.Repeat("x", 500), "")
	eventually(t, "five lines", func() bool { return len(s.lines(t)) == 5 })
	for i, want := range []map[string]any{
		{"method": "POST", "path": chatPath, "status": 200, "model": "fake", "prompt_tokens": 12, "completion_tokens": 12},
		{"method": "POST", "path": chatPath, "status": 200, "model": "fake", "prompt_tokens": 12, "completion_tokens": 24},
		{"method": "POST", "path": chatPath, "status": 400, "code": codeValue, "model": "fake", "prompt_tokens": 0},
		{"method": "GET", "path": "/health", "status": 200, "model": nil},
		{"method": "GET", "status": 404, "code": "not_found"},
	} {
		line := s.lines(t)[i]
		for name, value := range want {
			if fmt.Sprint(line[name]) != fmt.Sprint(value) {
				t.Errorf("line %d: %s is %v, want %v", i, name, line[name], value)
			}
		}
		if d, ok := line["duration"].(float64); !ok || d <= 0 {
			t.Errorf("line %d: duration %v", i, line["duration"])
		}
		if len(fmt.Sprint(line["path"])) > 110 {
			t.Errorf("line %d: a path of any length: %v", i, line["path"])
		}
	}
	if log := s.log.String(); strings.Contains(log, "hello") || strings.Contains(log, "secret words") || strings.Contains(log, "world") {
		t.Errorf("the log tells what was said: %s", log)
	}
}

func TestRequestIDs(t *testing.T) {
	s := start(t, options{})
	seen := map[string]bool{}
	for range 3 {
		r := s.do(t, "GET", "/health", "")
		seen[r.header.Get("X-Request-Id")] = true
	}
	for range 3 {
		seen[decode[completion](t, s.ask(t, "nothing", "").ok(t).body).ID] = true
	}
	if len(seen) != 6 || seen[""] {
		t.Errorf("names %v", seen)
	}
	for given, kept := range map[string]bool{"abc-1.2_3": true, "with space": false, strings.Repeat("x", 129): false, `"`: false} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Request-Id", given)
		res, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := res.Header.Get("X-Request-Id"); (got == given) != kept || got == "" {
			t.Errorf("X-Request-Id %q became %q", given, got)
		}
	}
	eventually(t, "the log has the name", func() bool { return strings.Contains(s.log.String(), `"request":"abc-1.2_3"`) })
}
