package server

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"aim/internal/measure"
	"aim/llama"
	"aim/llama/llamatest"
)

// observed keeps what an observer hears.
type observed struct {
	mu   sync.Mutex
	list []measure.Request
}

func (o *observed) Observe(r *measure.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, *r)
}

func (o *observed) all() []measure.Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.list)
}

func stages(r *measure.Request) string {
	var names []string
	for _, s := range r.Stages {
		names = append(names, s.Name)
	}
	return strings.Join(names, " ")
}

// TestObservers: each request is told once, with its times, and with nothing that a client chose.
func TestObservers(t *testing.T) {
	var o observed
	s := start(t, options{server: Config{Observers: []Observer{&o}}})
	s.ask(t, "hello", "").ok(t)
	s.ask(t, "hello", `"stream": true, "n": 2`).ok(t)
	s.ask(t, "hello", `"model": "my secret"`)
	s.do(t, "GET", "/secret/path", "")
	s.do(t, "GET", "/v1/models/fake/plain", "").ok(t)
	s.do(t, "POST", "/tokenize", `{"content": "hello"}`).ok(t)
	eventually(t, "six requests", func() bool { return len(o.all()) == 6 })
	const whole = "parse policy queue prompt decode write"
	for i, want := range []measure.Request{
		{Method: "POST", Endpoint: chatPath, Model: "fake", Status: 200, PromptTokens: 12, CompletionTokens: 12},
		{Method: "POST", Endpoint: chatPath, Model: "fake", Status: 200, PromptTokens: 12, CompletionTokens: 24, Stream: true},
		{Method: "POST", Endpoint: chatPath, Status: 404, Code: "model_not_found"},
		{Method: "GET", Status: 404, Code: "not_found"},
		{Method: "GET", Endpoint: "/v1/models/*id", Status: 200},
		{Method: "POST", Endpoint: "/tokenize", Model: "fake", Status: 200},
	} {
		got := o.all()[i]
		if got.Method != want.Method || got.Endpoint != want.Endpoint || got.Model != want.Model || got.Status != want.Status || got.Code != want.Code ||
			got.Stream != want.Stream || got.Answers != (i < 2) || got.PromptTokens != want.PromptTokens || got.CompletionTokens != want.CompletionTokens {
			t.Errorf("request %d: %+v, want %+v", i, got, want)
		}
		if got.ID == "" || !got.Ended.After(got.Began) {
			t.Errorf("request %d: %+v", i, got)
		}
		if i == 5 && stages(&got) != "parse compute write" {
			t.Errorf("request %d: stages %s", i, stages(&got))
		}
		if i > 1 {
			continue
		}
		if stages(&got) != whole {
			t.Errorf("request %d: stages %s, want %s", i, stages(&got), whole)
		}
		before := got.Began
		for _, stage := range got.Stages {
			if stage.From.Before(before) || stage.To.Before(stage.From) {
				t.Errorf("request %d: %v out of order", i, stage)
			}
			before = stage.To
		}
		// Tokens that come together have no time between the first and the others.
		if n := got.Gaps.Count(); n > uint64(got.CompletionTokens-1) || got.First.IsZero() || got.Queued < 0 {
			t.Errorf("request %d: %d gaps, first token %v, queued %v", i, n, got.First, got.Queued)
		}
	}
}

// TestObserversOfTheGone: a client that leaves is told as one.
func TestObserversOfTheGone(t *testing.T) {
	var o observed
	s := start(t, options{server: Config{Observers: []Observer{&o}}, decoder: llamatest.Options{Before: func([]llama.Row) error {
		time.Sleep(10 * time.Millisecond)
		return nil
	}}})
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", s.URL+chatPath, strings.NewReader(chatBody("babble", `"stream": true, "max_tokens": 400, "ignore_eos": true`)))
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := res.Body.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	leave()
	eventually(t, "the request is told", func() bool { return len(o.all()) == 1 })
	got := o.all()[0]
	if got.Status != statusGone || got.Code != "client_gone" || got.First.IsZero() || stages(&got) != "parse policy prompt decode write" {
		t.Errorf("%+v, stages %s", got, stages(&got))
	}
}

// TestStuck: a decode that does not end makes the server not ready, is logged and reported once, and the server comes back when it ends.
func TestStuck(t *testing.T) {
	blocked, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s := start(t, options{server: Config{Stuck: 300 * time.Millisecond}, decoder: llamatest.Options{Before: func([]llama.Row) error {
		once.Do(func() {
			close(blocked)
			<-release
		})
		return nil
	}}})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	reports := make(chan string, 100) // so that the watch never waits
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.api.Watch(ctx, func(model string, took time.Duration) {
			if took > 50*time.Millisecond {
				reports <- model
			}
		})
	}()
	status := func(path string) string {
		r := s.do(t, "GET", path, "")
		return strings.TrimSuffix(strings.TrimPrefix(r.body, `{"status":"`), `"}`)
	}
	if got := status("/health/ready"); got != "ok" {
		t.Errorf("ready before: %s", got)
	}
	answered := make(chan response, 1) // one send
	go func() { answered <- s.ask(t, "hello", "") }()
	<-blocked
	if got := <-reports; got != "fake" {
		t.Errorf("the model %s is stuck", got)
	}
	if r := s.do(t, "GET", "/health/ready", ""); r.status != http.StatusServiceUnavailable || r.body != `{"status":"stuck"}` {
		t.Errorf("ready meanwhile: %d %s", r.status, r.body)
	}
	if live, old := status("/health/live"), status("/health"); live != "ok" || old != "ok" {
		t.Errorf("meanwhile: live %s, health %s", live, old)
	}
	close(release)
	(<-answered).ok(t)
	eventually(t, "it is logged to have ended", func() bool { return strings.Contains(s.log.String(), "the decode has ended after all") })
	if got := status("/health/ready"); got != "ok" {
		t.Errorf("ready after: %s", got)
	}
	stop()
	<-watched
	if n := strings.Count(s.log.String(), "a decode does not end"); n != 1 || len(reports) != 0 {
		t.Errorf("logged %d times, %d more reports", n, len(reports))
	}
	s.api.Drain()
	if r := s.do(t, "GET", "/health/ready", ""); r.status != http.StatusServiceUnavailable || r.body != `{"status":"draining"}` {
		t.Errorf("ready while draining: %d %s", r.status, r.body)
	}
	if got := status("/health/live"); got != "ok" {
		t.Errorf("live while draining: %s", got)
	}
}
