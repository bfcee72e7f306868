package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aim/llama"
	"aim/llama/llamatest"
)

// begun is a stream that has begun to arrive.
type begun struct {
	status int
	header http.Header
	lines  *bufio.Reader
}

// open starts a chat and returns once the headers are there.
func (s *site) open(t testing.TB, body string) begun {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+chatPath, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return begun{res.StatusCode, res.Header, bufio.NewReader(res.Body)}
}

// held is a fake that stops at each decode until it is let go.
type held struct {
	free    chan struct{}
	decodes atomic.Int64
}

func (h *held) before([]llama.Row) error {
	h.decodes.Add(1)
	<-h.free
	return nil
}

// hold returns a held fake and its release, which the test's end makes sure of.
func hold(t testing.TB) (*held, func()) {
	h := &held{free: make(chan struct{})}
	release := sync.OnceFunc(func() { close(h.free) })
	t.Cleanup(release)
	return h, release
}

func TestManyStreamsAtOnce(t *testing.T) {
	s := start(t, options{engine: llama.Config{Slots: 8, Context: 512, Batch: 64, Queue: 64}})
	const fields = `"max_tokens": 40, "temperature": 0.8`
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			body := fields + fmt.Sprintf(`, "seed": %d`, i)
			content := fmt.Sprintf("babble %d", i)
			stream := assemble(t, s.ask(t, content, body+`, "stream": true, "stream_options": {"include_usage": true}`))
			if whole := s.ask(t, content, body).text(t); stream.text[0] != whole {
				t.Errorf("stream %d: %q, want %q", i, stream.text[0], whole)
			}
			if stream.usage == nil || stream.usage.Completion != 40 {
				t.Errorf("stream %d: usage %+v", i, stream.usage)
			}
			if got := s.ask(t, "hello", `"stream": true`); assemble(t, got).text[0] != "Hello, world!" {
				t.Errorf("stream %d: %s", i, got.body)
			}
		})
	}
	wg.Wait()
}

// TestClientLeaves in every state of a request: its slot and its place must be free again without further ado.
func TestClientLeaves(t *testing.T) {
	long := strings.Repeat("x", 400)
	for name, body := range map[string]string{
		"while streaming":      chatBody("babble", `"stream": true`),
		"several choices":      chatBody("babble", `"stream": true, "n": 4`),
		"during a long prompt": chatBody(long, `"stream": true`),
		"whole":                chatBody("babble", ``),
		"whole, several":       chatBody(long, `"n": 6`),
	} {
		s := start(t, options{
			engine:  llama.Config{Slots: 2, Context: 1 << 20, Batch: 64, Queue: 16},
			decoder: llamatest.Options{Before: func([]llama.Row) error { time.Sleep(time.Millisecond); return nil }},
		})
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, "POST", s.URL+chatPath, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			res, err := s.Client().Do(req)
			if err == nil {
				_, err = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		}()
		eventually(t, name+": at work", func() bool { return s.engine.Stats().Busy > 0 && s.engine.Stats().Decodes > 2 })
		cancel()
		<-ended
		eventually(t, name+": free", func() bool { st := s.engine.Stats(); return st.Busy == 0 && st.Queued == 0 })
		eventually(t, name+": logged", func() bool { return strings.Contains(s.log.String(), `"status":499`) })
	}
}

// TestQueueFull: what does not fit is refused as a whole, at once, and in plain JSON.
func TestQueueFull(t *testing.T) {
	h, release := hold(t)
	s := start(t, options{
		engine:  llama.Config{Slots: 2, Context: 512, Batch: 64, Queue: 2},
		decoder: llamatest.Options{Before: h.before},
	})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if got := s.ask(t, "hello", `"stream": true`); assemble(t, got).text[0] != "Hello, world!" {
				t.Errorf("got %s", got.body)
			}
		})
	}
	eventually(t, "three admitted", func() bool { st := s.engine.Stats(); return st.Busy+st.Queued == 3 && h.decodes.Load() > 0 })
	for _, fields := range []string{`"n": 2`, `"n": 4, "stream": true`} {
		s.ask(t, "hello", fields).is(t, fields, http.StatusTooManyRequests, "", "rate_limit_exceeded")
	}
	wg.Go(func() { s.ask(t, "hello", "").ok(t) })
	eventually(t, "four admitted", func() bool { st := s.engine.Stats(); return st.Busy+st.Queued == 4 })
	s.ask(t, "hello", `"stream": true`).is(t, "one too many", http.StatusTooManyRequests, "", "rate_limit_exceeded")
	if r := s.do(t, "GET", "/health", ""); r.status != http.StatusOK {
		t.Errorf("health during a decode: %d", r.status)
	}
	release()
	wg.Wait()
	s.ask(t, "hello", `"n": 4`).ok(t)
}

// TestFailureInMidStream: the event of an error is the last one, and takes the other choices with it.
func TestFailureInMidStream(t *testing.T) {
	var broken atomic.Bool
	s := start(t, options{
		engine: llama.Config{Slots: 2, Context: 1 << 20, Batch: 64, Queue: 2},
		decoder: llamatest.Options{Before: func([]llama.Row) error {
			if broken.Load() {
				return errors.New("a broken cable")
			}
			time.Sleep(time.Millisecond)
			return nil
		}},
	})
	for _, fields := range []string{`"stream": true`, `"stream": true, "n": 2`, `"stream": true, "n": 4`} {
		broken.Store(false)
		lines := s.open(t, chatBody("babble", fields)).lines
		if first, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(first, "data: {") {
			t.Fatalf("%q, %v", first, err)
		}
		broken.Store(true)
		rest, err := io.ReadAll(lines)
		if err != nil {
			t.Fatal(err)
		}
		list := events(t, strings.TrimPrefix(string(rest), "\n"))
		last := failed(t, list[len(list)-1])
		if last.Type != typeServer || *last.Code != "decode_failed" || strings.Contains(string(rest), "cable") {
			t.Errorf("%s: the stream ends with %+v", fields, last)
		}
		for _, data := range list[:len(list)-1] {
			for _, c := range decode[completion](t, data).Choices {
				if c.FinishReason != nil {
					t.Errorf("%s: a choice finished with the failure: %s", fields, data)
				}
			}
		}
		eventually(t, "free", func() bool { st := s.engine.Stats(); return st.Busy == 0 && st.Queued == 0 })
	}
	broken.Store(false)
	if got := s.ask(t, "hello", "").text(t); got != "Hello, world!" {
		t.Errorf("afterwards: %q", got)
	}
}

// TestKeepAlive: a stream that waits for its first token shows that it lives, by comments that are no events.
func TestKeepAlive(t *testing.T) {
	for _, fail := range []bool{false, true} {
		h, release := hold(t)
		s := start(t, options{
			server: Config{KeepAlive: 10 * time.Millisecond},
			decoder: llamatest.Options{Before: func(rows []llama.Row) error {
				if err := h.before(rows); err != nil || fail {
					return errors.New("broken")
				}
				return nil
			}},
		})
		res := s.open(t, chatBody("hello", `"stream": true`))
		if got := res.header.Get("Content-Type"); res.status != http.StatusOK || got != "text/event-stream" {
			t.Fatalf("status %d, content type %q", res.status, got)
		}
		lines := res.lines
		for range 3 {
			if line, err := lines.ReadString('\n'); err != nil || line != ": keep-alive\n" {
				t.Fatalf("%q, %v", line, err)
			}
		}
		release()
		rest, err := io.ReadAll(lines)
		if err != nil {
			t.Fatal(err)
		}
		body := string(rest)
		for strings.HasPrefix(body, ": keep-alive\n") {
			body = strings.TrimPrefix(body, ": keep-alive\n")
		}
		r := response{res.status, res.header, body}
		if fail {
			if list := events(t, body); len(list) != 1 || *failed(t, list[0]).Code != "decode_failed" {
				t.Errorf("after a failure: %q", body)
			}
		} else if got := assemble(t, r).text[0]; got != "Hello, world!" {
			t.Errorf("afterwards: %q", got)
		}
	}
}

// TestKeepAliveDuringAnswers: comments also fill the pauses between tokens, and none comes where there is no pause.
func TestKeepAliveDuringAnswers(t *testing.T) {
	var decodes atomic.Int64
	s := start(t, options{
		server: Config{KeepAlive: 20 * time.Millisecond},
		decoder: llamatest.Options{Before: func([]llama.Row) error {
			if decodes.Add(1) == 4 {
				time.Sleep(150 * time.Millisecond)
			}
			return nil
		}},
	})
	r := s.ask(t, "hello", `"stream": true`)
	if got := assemble(t, r).text[0]; got != "Hello, world!" {
		t.Errorf("got %q", got)
	}
	data := strings.Index(r.body, "data: ")
	comment := strings.Index(r.body, ": keep-alive\n")
	if comment < data || strings.Count(r.body, ": keep-alive\n") < 2 {
		t.Errorf("no comment in the pause: %q", r.body)
	}
	// Eleven tokens come in more time than a pause may last, but each in less.
	steady := start(t, options{server: Config{KeepAlive: 500 * time.Millisecond}, decoder: llamatest.Options{Before: func([]llama.Row) error {
		time.Sleep(60 * time.Millisecond)
		return nil
	}}})
	if r := steady.ask(t, "hello", `"stream": true`).ok(t); strings.Contains(r.body, "keep-alive") {
		t.Errorf("comments without a pause: %q", r.body)
	}
	silent := start(t, options{server: Config{KeepAlive: -1}, decoder: llamatest.Options{Before: func([]llama.Row) error {
		time.Sleep(5 * time.Millisecond)
		return nil
	}}})
	if r := silent.ask(t, "hello", `"stream": true`).ok(t); strings.Contains(r.body, "keep-alive") {
		t.Errorf("comments though they are off: %q", r.body)
	}
}

// TestEventsArriveAtOnce: each token is with the client while the next one is being computed.
func TestEventsArriveAtOnce(t *testing.T) {
	steps := make(chan struct{})
	s := start(t, options{decoder: llamatest.Options{Before: func([]llama.Row) error {
		<-steps
		return nil
	}}})
	defer close(steps)
	go func() { steps <- struct{}{} }() // the prompt, which yields the first token
	lines := s.open(t, chatBody("hello", `"stream": true`)).lines
	for _, want := range []string{`"content":""`, `"content":"He"`, `"content":"l"`, `"content":"lo"`} {
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(line, want) {
				break
			}
			if line != "\n" {
				t.Fatalf("got %q, want %s", line, want)
			}
		}
		if want != `"content":""` {
			steps <- struct{}{}
		}
	}
}

// TestSlowReaders: clients who do not read their answers keep nobody else from getting one.
func TestSlowReaders(t *testing.T) {
	s := start(t, options{engine: llama.Config{Slots: 1, Context: 1 << 10, Batch: 64, Queue: 1}})
	for range 2 {
		s.open(t, chatBody("babble", `"stream": true, "logprobs": true, "top_logprobs": 20`))
		eventually(t, "generated", func() bool { return s.engine.Stats().Busy == 0 })
	}
	// The engine is done with an answer a moment before its place is given back.
	places := s.api.engines.of(s.engine).places
	eventually(t, "given back", func() bool {
		places.mu.Lock()
		defer places.mu.Unlock()
		return places.free == 2
	})
	if got := s.ask(t, "hello", `"n": 2`).text(t); got != "Hello, world!" {
		t.Errorf("got %q", got)
	}
	s.CloseClientConnections()
}

// TestStalledClient: a client that stops reading is let go of, and its slot with it.
func TestStalledClient(t *testing.T) {
	s := start(t, options{
		engine: llama.Config{Slots: 1, Context: 1 << 20, Batch: 64, Queue: 1},
		server: Config{Patience: 100 * time.Millisecond},
	})
	if res := s.open(t, chatBody("babble", `"stream": true, "logprobs": true, "top_logprobs": 20`)); res.status != http.StatusOK {
		t.Fatal(res.status)
	}
	eventually(t, "the slot is free", func() bool { return s.engine.Stats().Busy == 0 && s.engine.Stats().Decodes > 10 })
	eventually(t, "logged as the client's doing", func() bool { return strings.Contains(s.log.String(), `"status":499`) })
}

// TestPatienceEndsWithTheRequest: the time that one answer had does not count against the next one on its connection.
func TestPatienceEndsWithTheRequest(t *testing.T) {
	s := start(t, options{server: Config{Patience: 50 * time.Millisecond}})
	s.Client().Transport.(*http.Transport).MaxConnsPerHost = 1
	for _, stream := range []string{"", `"stream": true`} {
		s.ask(t, "hello", stream).ok(t)
		time.Sleep(100 * time.Millisecond)
		s.do(t, "GET", "/health", "").ok(t)
	}
}

func TestDrain(t *testing.T) {
	h, release := hold(t)
	s := start(t, options{decoder: llamatest.Options{Before: h.before}})
	var wg sync.WaitGroup
	wg.Go(func() {
		if got := s.ask(t, "hello", `"stream": true`); assemble(t, got).text[0] != "Hello, world!" {
			t.Errorf("a request that was running got %s", got.body)
		}
	})
	eventually(t, "at work", func() bool { return h.decodes.Load() > 0 })
	s.api.Drain()
	for _, path := range []string{chatPath, textPath} {
		s.do(t, "POST", path, chatBody("hello", "")).is(t, path, http.StatusServiceUnavailable, "", "shutting_down")
	}
	if r := s.do(t, "GET", "/health", ""); r.status != http.StatusServiceUnavailable || r.body != `{"status":"draining"}` {
		t.Errorf("health: %d %s", r.status, r.body)
	}
	release()
	wg.Wait()
}

// TestClosedEngine: an engine that ends says so to those who ask, and to those who were waiting.
func TestClosedEngine(t *testing.T) {
	s := start(t, options{})
	s.engine.Close()
	for _, fields := range []string{"", `"stream": true`, `"n": 3`} {
		s.ask(t, "hello", fields).is(t, fields, http.StatusServiceUnavailable, "", "shutting_down")
	}
}

// TestRecorder: the handler also works where nothing can be flushed by deadline, as under httptest's recorder.
func TestRecorder(t *testing.T) {
	s := start(t, options{})
	for _, stream := range []string{"", `"stream": true`} {
		w := httptest.NewRecorder()
		s.api.Handler().ServeHTTP(w, httptest.NewRequest("POST", chatPath, strings.NewReader(chatBody("hello", stream))))
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "world") && stream == "" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
}

// TestLeaverMakesRoom: who comes when another has left has its place, although the engine only hears of that when its decode ends.
func TestLeaverMakesRoom(t *testing.T) {
	h, release := hold(t)
	s := start(t, options{engine: llama.Config{Slots: 1, Context: 64, Batch: 64}, decoder: llamatest.Options{Before: h.before}})
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		req, err := http.NewRequestWithContext(ctx, "POST", s.URL+chatPath, strings.NewReader(chatBody("hello", "")))
		if err != nil {
			t.Error(err)
			return
		}
		if res, err := s.Client().Do(req); err == nil {
			res.Body.Close()
		}
	}()
	eventually(t, "it decodes", func() bool { return h.decodes.Load() > 0 })
	s.ask(t, "hello", "").is(t, "no place", 429, "", "rate_limit_exceeded")
	leave()
	<-gone
	eventually(t, "its place is free", func() bool {
		places := s.api.engines.list[s.engine].places
		places.mu.Lock()
		defer places.mu.Unlock()
		return places.free == 1
	})
	answer := make(chan response, 1) // so that the goroutine ends without a reader
	go func() { answer <- s.ask(t, "hello", "") }()
	time.Sleep(20 * time.Millisecond) // for it to meet the engine that is full; if it comes later, the test is easier
	release()
	if r := <-answer; r.status != http.StatusOK {
		t.Errorf("status %d: %s", r.status, r.body)
	}
}
