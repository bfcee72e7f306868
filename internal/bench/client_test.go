package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// replying is a server that answers every request with the given events, and keeps the last body.
func replying(t *testing.T, events ...string) (c *Client, last *atomic.Value) {
	t.Helper()
	last = new(atomic.Value)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		last.Store(r.URL.Path + " " + string(b))
		for _, e := range events {
			fmt.Fprintf(w, "data: %s\n\n", e)
		}
	}))
	t.Cleanup(web.Close)
	return &Client{URL: web.URL + "/v1", Model: "m"}, last
}

const usage = `{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":5}}}`

func TestReadsStreams(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []string
		text   string
		pieces int
		usage  Usage
	}{
		{"completion", []string{`{"choices":[{"text":"a "}]}`, `{"choices":[{"text":"b"}]}`, usage, "[DONE]"}, "a b", 2, Usage{7, 5, 3}},
		{"chat, role first and thoughts", []string{
			`{"choices":[{"delta":{"role":"assistant","content":""}}]}`, `{"choices":[{"delta":{"reasoning_content":"so"}}]}`,
			`{"choices":[{"delta":{"content":"yes"}}]}`, `{"choices":[{"delta":{},"finish_reason":"stop"}]}`, usage, "[DONE]",
		}, "soyes", 2, Usage{7, 5, 3}},
		{"usage beside null choices, untold cache, no end", []string{
			`{"choices":[{"text":"a","usage":null}]}`, `{"choices":null,"usage":{"prompt_tokens":1,"completion_tokens":2}}`,
		}, "a", 1, Usage{1, -1, 2}},
	} {
		client, _ := replying(t, c.events...)
		a, err := client.Do(t.Context(), Request{Prompt: "p", MaxTokens: 3})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if a.Text != c.text || len(a.Pieces) != c.pieces || a.Usage != c.usage || a.Cut {
			t.Errorf("%s: %+v", c.name, a)
		}
		if a.Pieces[0].Before(a.Sent) || a.End.Before(a.Pieces[len(a.Pieces)-1]) {
			t.Errorf("%s: sent %v, pieces %v, end %v are in no order", c.name, a.Sent, a.Pieces, a.End)
		}
	}
}

func TestStreamsThatFail(t *testing.T) {
	for want, events := range map[string][]string{
		"without usage":             {`{"choices":[{"text":"a"}]}`, "[DONE]"},
		"ended with an error: full": {`{"error":{"message":"full"}}`},
		"not what the API promises": {`{"choices":`},
	} {
		client, _ := replying(t, events...)
		if _, err := client.Do(t.Context(), Request{Prompt: "p"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestSendsWhatServersKnow(t *testing.T) {
	client, last := replying(t, usage)
	client.IgnoreEOS = true
	if _, err := client.Do(t.Context(), Request{Prompt: "p", MaxTokens: 3}); err != nil {
		t.Fatal(err)
	}
	want := `/v1/completions {"model":"m","prompt":"p","max_tokens":3,"temperature":0,"stream":true,"stream_options":{"include_usage":true},"ignore_eos":true}`
	if got := last.Load(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	client.IgnoreEOS = false
	if _, err := client.Do(t.Context(), Request{Messages: []Message{{"user", "q"}}, Aim: map[string]any{"report": true}}); err != nil {
		t.Fatal(err)
	}
	want = `/v1/chat/completions {"model":"m","messages":[{"role":"user","content":"q"}],"max_tokens":0,"temperature":0,"stream":true,"stream_options":{"include_usage":true},"aim":{"report":true}}`
	if got := last.Load(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestProbe has a server that loads at first, refuses ignore_eos, and counts two tokens a word.
func TestProbe(t *testing.T) {
	var requests atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b body
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
			t.Error(err)
		}
		switch {
		case requests.Add(1) <= 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		case b.IgnoreEOS:
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":{"message":"ignore_eos is not known"}}`)
		default:
			fmt.Fprintf(w, "data: {\"usage\":{\"prompt_tokens\":%d}}\n\n", 2*len(strings.Fields(b.Prompt)))
		}
	}))
	defer web.Close()
	client, p := &Client{URL: web.URL}, &Prompts{}
	if _, err := client.Probe(t.Context(), p, 64, time.Minute); err != nil {
		t.Fatal(err)
	}
	if client.IgnoreEOS || p.WordsPerToken != 0.5 || requests.Load() != 4 {
		t.Errorf("after %d requests ignore_eos is %v, with %g words a token; want 4, false, 0.5", requests.Load(), client.IgnoreEOS, p.WordsPerToken)
	}
	requests.Store(0)
	var refused *StatusError
	if _, err := client.Probe(t.Context(), p, 64, 0); !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable {
		t.Errorf("without patience: %v", err)
	}
}

func TestRefusalsAreTold(t *testing.T) {
	for text, want := range map[string]string{
		`{"error":{"message":"no such model"}}`: "the server answered 404: no such model",
		`{"error":"model not found"}`:           `the server answered 404: {"error":"model not found"}`,
		"":                                      "the server answered 404: ",
	} {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, text)
		}))
		client := &Client{URL: web.URL}
		_, err := client.Probe(t.Context(), &Prompts{}, 1, time.Minute)
		var refused *StatusError
		if !errors.As(err, &refused) || err.Error() != want {
			t.Errorf("got %v, want %q", err, want)
		}
		web.Close()
	}
}

// TestLoopIsClosed counts how many requests are in flight: one a client, the next when the last has ended.
func TestLoopIsClosed(t *testing.T) {
	var inFlight, most, total atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := inFlight.Add(1)
		defer inFlight.Add(-1)
		total.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() { // another was faster
		}
		fmt.Fprintf(w, "data: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: %s\n\n", usage)
	}))
	defer web.Close()
	l, err := (&Client{URL: web.URL}).loop(t.Context(), 3, 5, time.Minute, func(client, i int) Request {
		return Request{Prompt: fmt.Sprint(client, i)}
	})
	if err != nil || total.Load() != 15 || most.Load() > 3 {
		t.Errorf("%v; %d requests, at most %d at once; want 15 and 3", err, total.Load(), most.Load())
	}
	if f := figures(l); f.Requests != 15 || f.Tokens != 45 {
		t.Errorf("%+v", f)
	}
}

// TestLoopIsCut has a server that never ends an answer: the limit keeps the pieces, an interrupt is an error.
func TestLoopIsCut(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "data: {\"choices\":[{\"text\":\"a\"}]}\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer web.Close()
	client := &Client{URL: web.URL}
	request := func(int, int) Request { return Request{Prompt: "p"} }
	l, err := client.loop(t.Context(), 2, 3, 200*time.Millisecond, request)
	if f := figures(l); err != nil || !f.Cut || f.Tokens > 2 {
		t.Errorf("%v, %+v", err, f)
	}
	ctx, stop := context.WithCancel(t.Context())
	_, err = client.loop(ctx, 1, 1, time.Minute, func(int, int) Request {
		return Request{Prompt: "p", OnText: func(int) { stop() }}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}
