package eval

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"aim/llama/llamatest"
	"aim/server"
)

// stub is a server with the API of OpenAI whose answers are made by reply.
func stub(t *testing.T, reply func(r completionRequest) (status int, body any)) *Remote {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req completionRequest
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &req)
		}
		if err != nil || r.URL.Path != "/v1/completions" || r.Header.Get("Authorization") != "Bearer key" {
			t.Errorf("%s %s: %v, header %v", r.Method, r.URL, err, r.Header)
		}
		status, answer := reply(req)
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(web.Close)
	return &Remote{URL: web.URL + "/v1/", Model: "m", Key: "key", Kind: Completion, Draws: 4, Backoff: time.Millisecond}
}

// texts is an answer with one choice.
func texts(text string) any { return map[string]any{"choices": []any{map[string]any{"text": text}}} }

func refusal(message string) any { return map[string]any{"error": map[string]any{"message": message}} }

func TestRemoteCompletion(t *testing.T) {
	r := stub(t, func(req completionRequest) (int, any) {
		switch {
		case req.Prompt != "He said," || req.Model != "m" || req.MaxTokens != 16:
			t.Errorf("request %+v", req)
		case req.Aim != nil && req.Aim.Utility.Sigma > 1:
			return 200, texts(" maybe")
		case req.Seed != nil && *req.Seed == 3:
			return 200, texts(" not")
		}
		return 200, texts(" no, never")
	})
	got, err := r.Score(t.Context(), &Item{Prompt: "He said,", Choices: []string{" no"}}, []Arm{{}, {Sigma: 2}, {Temperature: 0.7}})
	if want := []float64{1, 0, 0.75}; err != nil || !slices.Equal(got["acc"], want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestRemoteRetries(t *testing.T) {
	var calls atomic.Int64
	busy := func(until int64, status int) *Remote {
		calls.Store(0)
		return stub(t, func(completionRequest) (int, any) {
			if calls.Add(1) < until {
				return status, refusal("later")
			}
			return 200, texts(" no")
		})
	}
	it := &Item{Prompt: "p", Choices: []string{" no"}}
	for _, status := range []int{429, 503} {
		if got, err := busy(4, status).Score(t.Context(), it, []Arm{{}}); err != nil || got["acc"][0] != 1 || calls.Load() != 4 {
			t.Errorf("%d: %v, %v after %d calls", status, got, err, calls.Load())
		}
	}
	r := busy(100, 429)
	r.Retries = 2
	var refused *StatusError
	if _, err := r.Score(t.Context(), it, []Arm{{}}); !errors.As(err, &refused) || refused.Status != 429 || refused.Message != "later" || calls.Load() != 3 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
	if _, err := busy(100, 400).Score(t.Context(), it, []Arm{{}}); !errors.As(err, &refused) || calls.Load() != 1 {
		t.Errorf("a 400 was tried %d times: %v", calls.Load(), err)
	}
}

func TestRemoteChoices(t *testing.T) {
	// The echo of prompt and choice in tokens of one byte, with a token more, each token with its own log-probability.
	echo := func(req completionRequest) (int, any) {
		var tokens []string
		var logprobs []any
		var offsets []int
		for i, b := range req.Prompt {
			tokens, offsets = append(tokens, string(b)), append(offsets, i)
			if i == 0 {
				logprobs = append(logprobs, nil)
			} else if strings.HasSuffix(req.Prompt, "long right") {
				logprobs = append(logprobs, -0.2) // 11 tokens: -2.2
			} else {
				logprobs = append(logprobs, -0.5) // 4 tokens: -2
			}
		}
		return 200, map[string]any{"choices": []any{map[string]any{"text": "", "logprobs": map[string]any{
			"tokens": append(tokens, "x"), "token_logprobs": append(logprobs, -100), "text_offset": append(offsets, len(req.Prompt)),
		}}}}
	}
	r := stub(t, echo)
	r.Kind = Choice
	it := &Item{Prompt: "Question: q?\nAnswer:", Choices: []string{" bad", " long right"}, Gold: 1}
	got, err := r.Score(t.Context(), it, []Arm{{}})
	if err != nil || got["acc"][0] != 0 || got["acc_norm"][0] != 1 {
		t.Errorf("got %v, %v", got, err)
	}
	for name, reply := range map[string]func(completionRequest) (int, any){
		"refused":   func(completionRequest) (int, any) { return 400, refusal("echo with logprobs is not supported") },
		"left out":  func(completionRequest) (int, any) { return 200, texts("a") },
		"too short": func(completionRequest) (int, any) { _, a := echo(completionRequest{Prompt: "a"}); return 200, a },
	} {
		r := stub(t, reply)
		r.Kind = Choice
		if _, err := r.Score(t.Context(), it, []Arm{{}}); !errors.Is(err, errNoLikelihood) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRemoteCheck(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   any
		want   string
	}{
		"knows it":   {400, refusal("aim.utility.sigma is -1, must be in [0, 100]"), ""},
		"ignores it": {200, texts("a"), "takes no notice"},
		"no model":   {404, refusal("no such model"), "404: no such model"},
		"other 400":  {400, refusal("no"), "400: no"},
	} {
		err := stub(t, func(completionRequest) (int, any) { return c.status, c.body }).Check(t.Context())
		if (c.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestRemoteIsOurServer: asked over HTTP, our own server gives what the engine gives.
func TestRemoteIsOurServer(t *testing.T) {
	e := startEngine(t, 4, llamatest.Options{})
	secret := []byte("of the test")
	api, err := server.New(server.Config{
		Serving: server.Serving{Models: []server.Model{{ID: "fake", Engine: e}}, Secret: secret}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(api.Handler())
	t.Cleanup(web.Close)
	r := &Remote{URL: web.URL + "/v1", Model: "fake", Kind: Completion, MaxTokens: 4}
	if err := r.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	local := &Forced{Engine: e, Noise: Noise{Secret: secret, Model: "fake", Fields: 1}}
	arms := []Arm{{}, {Sigma: 0.5}, {Sigma: 3}}
	seen := map[float64]int{}
	for i := range 40 {
		// The right answer is the fake's most probable byte, which noise changes now and then.
		prompt := fmt.Sprintf("number %d:", i)
		tokens, err := fake.Tokenize(parts(prompt), true)
		if err != nil {
			t.Fatal(err)
		}
		said := fake.Text(answer(t, e, tokens, plain, 1))
		if strings.TrimSpace(said) != said || said == "" {
			continue
		}
		it := &Item{Prompt: prompt, Choices: []string{said}}
		over, err := r.Score(t.Context(), it, arms)
		if err != nil {
			t.Fatal(err)
		}
		here, err := local.Score(t.Context(), it, arms)
		if err != nil {
			t.Fatal(err)
		}
		for k := range arms {
			// Text begins with one byte more often than the answer is that one word.
			if over["acc"][k] == 1 && here["acc"][k] != 1 {
				t.Errorf("%q at %+v: over HTTP %v, here %v", prompt, arms[k], over["acc"][k], here["acc"][k])
			}
		}
		seen[here["acc"][2]]++
	}
	if len(seen) < 2 {
		t.Errorf("the strongest noise gave the accuracies %v only", seen)
	}
	choice := &Remote{URL: web.URL + "/v1", Model: "fake", Kind: Choice}
	for i := range 10 {
		it := &Item{Prompt: fmt.Sprintf("number %d:", i), Choices: []string{" b", " cd", " efg"}}
		over, err := choice.Score(t.Context(), it, arms[:1])
		if err != nil {
			t.Fatal(err)
		}
		here, err := local.Score(t.Context(), it, arms[:1])
		if err != nil {
			t.Fatal(err)
		}
		if over["acc"][0] != here["acc"][0] {
			t.Errorf("%q: the choice over HTTP is %v, here %v", it.Prompt, over["acc"], here["acc"])
		}
	}
}
