package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"aim/internal/testmodel"
)

// greeting finds the address in what serve prints.
var greeting = regexp.MustCompile(`Aim serves (\S+) at (http://\S+)/v1`)

// serving runs `aim serve` on the real model until the test ends or the function returned is called, which also checks
// that it ended well.
func serving(t *testing.T, flags ...string) (model, url string, stop func()) {
	t.Helper()
	args := append([]string{"serve", "--model", testmodel.Path(t), "--addr", "127.0.0.1:0", "--state-dir", stateDir(t)}, flags...)
	ctx, end := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan error, 1) // so that the goroutine ends without a reader
	go func() {
		err := run(ctx, args, streams{strings.NewReader(""), in, t.Output()})
		in.CloseWithError(err)
		ended <- err
	}()
	stop = func() {
		t.Helper()
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		ended <- nil
	}
	t.Cleanup(stop)
	text := make([]byte, 4096)
	n, err := out.Read(text)
	m := greeting.FindSubmatch(text[:n])
	if m == nil {
		t.Fatalf("greeting %q, %v", text[:n], err)
	}
	return string(m[1]), string(m[2]), stop
}

// stateDir holds a secret that is the same in every run, so that chance decides no test.
func stateDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), bytes.Repeat([]byte("aim test"), 4), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// post asks for an answer to one message. Where meanwhile is given, it is called between the head of the response and its
// body.
func post(t *testing.T, url, more string, meanwhile ...func()) (status int, body string) {
	t.Helper()
	request := fmt.Sprintf(`{"messages": [{"role": "user", "content": "What is gravity?"}], "temperature": 0, "max_tokens": 16%s}`, more)
	response, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(request))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	for _, f := range meanwhile {
		f()
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// ask returns the text of a whole answer.
func ask(t *testing.T, url, more string) string {
	t.Helper()
	status, body := post(t, url, more)
	var answer struct {
		Choices []struct{ Message struct{ Content string } }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK || len(answer.Choices) != 1 {
		t.Fatalf("status %d, %v, answer %s", status, err, body)
	}
	return answer.Choices[0].Message.Content
}

func TestServe(t *testing.T) {
	model, url, stop := serving(t)
	if want := strings.TrimSuffix(filepath.Base(testmodel.Path(t)), ".gguf"); model != want {
		t.Errorf("model %q, want %q", model, want)
	}
	base := ask(t, url, "")
	if base == "" {
		t.Error("an empty answer")
	}
	noise := `, "aim": {"utility": {"sigma": 3}}`
	first, again := ask(t, url, noise), ask(t, url, noise)
	if first == base || first != again {
		t.Errorf("unmodulated %q, modulated %q, then %q", base, first, again)
	}

	_, text := post(t, url, `, "stream": true`, func() { go stop() })
	if !strings.HasSuffix(text, "data: [DONE]\n\n") {
		t.Errorf("the stream was cut off:\n%s", text)
	}
	stop()
	if _, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err == nil {
		t.Error("it still listens")
	}
}

func TestServeImposesSigma(t *testing.T) {
	_, url, _ := serving(t, "--sigma", "1")
	if status, body := post(t, url, `, "aim": {"utility": {"sigma": 0.5}}`); status != http.StatusForbidden {
		t.Errorf("a smaller sigma: status %d, %s", status, body)
	}
	imposed := ask(t, url, "")
	if same := ask(t, url, `, "aim": {"utility": {"sigma": 1}}`); same != imposed {
		t.Errorf("imposed %q, asked for %q", imposed, same)
	}
}

func TestRunAnswers(t *testing.T) {
	run := func(stdin string, args ...string) string {
		t.Helper()
		common := []string{"run", "--model", testmodel.Path(t), "--state-dir", t.TempDir(), "--max-tokens", "12", "--temperature", "0"}
		out, err := try(t, stdin, append(common, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	words := run("", "What", "is", "gravity?")
	if !strings.HasSuffix(words, "\n") || strings.TrimSpace(words) == "" {
		t.Errorf("answer %q", words)
	}
	if piped := run("What is gravity?\n"); piped != words {
		t.Errorf("from standard input %q, from the arguments %q", piped, words)
	}
	if raised := run("", "--focus", "water=60", "What is gravity?"); !strings.Contains(strings.ToLower(raised), "water") {
		t.Errorf("raised water does not occur in %q", raised)
	}
}

func TestRunNamesTheContext(t *testing.T) {
	_, err := try(t, "", "run", "--model", testmodel.Path(t), "--state-dir", t.TempDir(), "--ctx", "1000000", "hello")
	if err == nil || exitCode(err) != 2 || !strings.Contains(err.Error(), "--ctx 1000000 is more than the") {
		t.Errorf("got %v", err)
	}
}

func TestFrontDoorSaysThatItIsLoading(t *testing.T) {
	var door frontDoor
	get := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		door.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/health", nil))
		return w
	}
	w := get()
	var body map[string]map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != http.StatusServiceUnavailable ||
		w.Header().Get("Retry-After") == "" || len(body["error"]) != 4 {
		t.Errorf("status %d, %v, body %s", w.Code, err, w.Body)
	}
	live := httptest.NewRecorder()
	if door.ServeHTTP(live, httptest.NewRequest(http.MethodGet, "/health/live", nil)); live.Code != http.StatusOK {
		t.Errorf("alive: status %d, body %s", live.Code, live.Body)
	}
	door.open(http.NotFoundHandler())
	if w := get(); w.Code != http.StatusNotFound {
		t.Errorf("status %d after opening", w.Code)
	}
}

func TestGreetWithoutTemplate(t *testing.T) {
	var b bytes.Buffer
	greet(&b, "http://127.0.0.1:1", "it's", false, false, true)
	for _, want := range []string{"http://127.0.0.1:1/v1/completions", `"it'\''s"`, `"prompt"`, "playground, http://127.0.0.1:1/\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in %s", want, b.String())
		}
	}
}

func TestBaseURL(t *testing.T) {
	for address, want := range map[string]string{
		"0.0.0.0:80":    "http://127.0.0.1:80",
		"[::]:80":       "http://127.0.0.1:80",
		"[::1]:80":      "http://[::1]:80",
		"192.0.2.1:123": "http://192.0.2.1:123",
	} {
		a, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if got := baseURL(a); got != want {
			t.Errorf("baseURL(%s) = %s, want %s", address, got, want)
		}
	}
}
