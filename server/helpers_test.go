package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"aim/internal/chat"
	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

var fake = llamatest.New()

// The template of the tests ends a prompt with a control token, which is the marker of the fake's answers.
const (
	marker   = "<|ctl|>"
	template = `{% if tools %}{% for t in tools %}({{ t.function.name }}){% endfor %}{% endif %}{% for m in messages %}{% if m.content == 'refuse' %}{{ raise_exception('refused') }}{% endif %}` +
		`[{{ m.role }}{{ '/' + m.name if m.name }}]{{ m.content or '' }}{% endfor %}<|ctl|>`
)

// answers are what the fake says to prompts that contain their key; to others it babbles.
var answers = map[string]string{
	"hello":     "Hello, world!",
	"unicode":   "日本 né 👩",
	"count":     "one two three four five",
	"nothing":   "",
	"lines":     "a\nb\r\nc",
	"markup":    "<b>&\u2028</b>",
	"echo this": " and that",
}

// options are what a test changes about its server.
type options struct {
	engine llama.Config
	model  llama.Model // default fake
	// template is that of the first two models; default template.
	template string
	decoder  llamatest.Options
	server   Config
	// sigma, or level, is imposed on the second model; dial is that of both.
	sigma, level float64
	dial         Dial
	// embedder is that of the first; default the fake's.
	embedder llama.Embedder
	// report and scope are those of the second model.
	report bool
	scope  sampler.Scope
}

// site is a running server.
type site struct {
	*httptest.Server
	api    *Server
	engine *llama.Engine
	log    *lockedBuffer
}

// start runs a server over the fake until the test ends. It serves three models on one engine: fake, fake/imposed and
// fake/plain, which has no chat template; and fake/set1, fake/set2, … where the decoder has sets of adapters.
func start(t testing.TB, o options) *site {
	t.Helper()
	if o.engine.Slots == 0 {
		o.engine = llama.Config{Slots: 4, Context: 512, Batch: 64, Queue: 16, NoCache: true} // so that the same answer has the same usage
	}
	o.decoder.Slots, o.decoder.Context, o.decoder.Batch = o.engine.Slots, o.engine.Context, o.engine.Batch
	if o.decoder.Say == nil {
		o.decoder.Say = llamatest.Say(fake, marker, answers)
	}
	if o.model == nil {
		o.model = fake
	}
	engine := llama.New(o.model, llamatest.NewDecoder(fake, o.decoder), o.engine)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1) // buffered: Run's result is there whether or not anybody waits for it
	go func() { ended <- engine.Run(ctx) }()

	if o.template == "" {
		o.template = template
	}
	tmpl, err := chat.Compile(o.template, chat.Options{Specials: []string{"<|bos|>", "<|end|>", "<|ctl|>"}})
	if err != nil {
		t.Fatal(err)
	}
	if o.embedder == nil {
		o.embedder = llamatest.NewEmbedder(fake)
	}
	created := time.Unix(1700000000, 0)
	facts := Facts{File: "fake.gguf", Context: 1024, Parameters: 7, Size: 42}
	o.server.Models = []Model{
		{ID: "fake", Engine: engine, Template: tmpl, BOS: "<|bos|>", EOS: "<|end|>", Created: created, Dial: o.dial, Embedder: o.embedder, Facts: facts},
		{ID: "fake/imposed", Engine: engine, Template: tmpl, Created: created, Sigma: o.sigma, Level: o.level, Dial: o.dial, Report: o.report, Scope: o.scope},
		{ID: "fake/plain", Engine: engine, Created: created},
	}
	for set := 1; set < o.decoder.Sets; set++ {
		o.server.Models = append(o.server.Models, Model{
			ID: fmt.Sprintf("fake/set%d", set), Engine: engine, Template: tmpl, Created: created, Adapters: llama.AdapterSet(set),
		})
	}
	o.server.Secret = []byte("of the tests")
	log := &lockedBuffer{}
	o.server.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	api, err := New(o.server)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{httptest.NewUnstartedServer(api.Handler()), api, engine, log}
	s.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		// With small buffers a client that does not read is soon noticed.
		if err := c.(*net.TCPConn).SetWriteBuffer(4 << 10); err != nil {
			t.Error(err)
		}
		return ctx
	}
	s.Start()
	t.Cleanup(func() {
		s.Close()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if stats := engine.Stats(); stats.Busy != 0 || stats.Queued != 0 {
			t.Errorf("after the end: %+v", stats)
		}
		for e, of := range api.engines.list {
			if size, g := e.Config(), of.places; g.free != size.Slots+size.Queue || len(g.held) > 0 {
				t.Errorf("%d places are free after the end, want %d; keys hold %v", g.free, size.Slots+size.Queue, g.held)
			}
		}
	})
	return s
}

// lockedBuffer is what a log is written to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// response is an answer that was read to its end.
type response struct {
	status int
	header http.Header
	body   string
}

// do sends a request without caring for its content type.
func (s *site) do(t testing.TB, method, path, body string) response {
	t.Helper()
	return s.with(t, method, path, body)
}

// with sends a request with headers: names and values by turns.
func (s *site) with(t testing.TB, method, path, body string, headers ...string) response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{res.StatusCode, res.Header, string(data)}
}

const (
	chatPath = "/v1/chat/completions"
	textPath = "/v1/completions"

	responsesPath = "/v1/responses"
	messagesPath  = "/v1/messages"
)

// ask sends fields to the chat endpoint, with one message of a user.
func (s *site) ask(t testing.TB, content, fields string) response {
	t.Helper()
	return s.do(t, "POST", chatPath, chatBody(content, fields))
}

func chatBody(content, fields string) string {
	body := `{"messages": [{"role": "user", "content": ` + quote(content) + `}]`
	if fields != "" {
		body += ", " + fields
	}
	return body + "}"
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// ok fails the test unless the answer is one.
func (r response) ok(t testing.TB) response {
	t.Helper()
	if r.status != http.StatusOK {
		t.Fatalf("status %d: %s", r.status, r.body)
	}
	return r
}

// decode reads JSON.
func decode[T any](t testing.TB, data string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(data), &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return v
}

// completion is what clients read of both endpoints' answers and chunks.
type completion struct {
	ID, Object, Model string
	Created           int64
	Choices           []struct {
		Index        int
		Text         string
		Message      struct{ Role, Content string }
		Delta        struct{ Role, Content *string }
		Logprobs     json.RawMessage
		FinishReason *string `json:"finish_reason"`
	}
	Usage *usage
}

// text is the text of the first choice.
func (r response) text(t testing.TB) string {
	t.Helper()
	c := decode[completion](t, r.ok(t).body)
	if len(c.Choices) == 0 {
		t.Fatalf("no choices in %s", r.body)
	}
	return c.Choices[0].Message.Content + c.Choices[0].Text
}

// events splits a stream into the data of its events, and fails the test where it breaks the rules of server-sent events
// or of OpenAI's clients.
func events(t testing.TB, body string) []string {
	t.Helper()
	var list []string
	data := false
	for scan := bufio.NewScanner(strings.NewReader(body)); scan.Scan(); {
		line := scan.Text()
		switch {
		case line == "":
			if !data {
				t.Fatalf("an empty line without data before it, which kills clients: %q", body)
			}
			data = false
		case strings.HasPrefix(line, "data: "):
			if data {
				t.Fatalf("an event of several lines: %q", body)
			}
			data = true
			list = append(list, strings.TrimPrefix(line, "data: "))
		case strings.HasPrefix(line, ":"):
		default:
			t.Fatalf("the line %q in a stream", line)
		}
	}
	if data {
		t.Fatalf("the last event is not complete: %q", body)
	}
	return list
}

// assembled is a stream put together.
type assembled struct {
	text   map[int]string
	finish map[int]string
	usage  *usage
	chunks []completion
}

// assemble checks what holds for every stream that ends well, and puts it together.
func assemble(t testing.TB, r response) assembled {
	t.Helper()
	r.ok(t)
	list := events(t, r.body)
	if len(list) == 0 || list[len(list)-1] != "[DONE]" {
		t.Fatalf("the stream does not end with [DONE]: %q", r.body)
	}
	a := assembled{text: map[int]string{}, finish: map[int]string{}}
	for _, data := range list[:len(list)-1] {
		c := decode[completion](t, data)
		a.chunks = append(a.chunks, c)
		if first := a.chunks[0]; c.ID != first.ID || c.Created != first.Created || c.Model != first.Model || c.Object != first.Object {
			t.Errorf("chunk %s differs from the first in what all have in common", data)
		}
		if c.Usage != nil {
			a.usage = c.Usage
		}
		for _, choice := range c.Choices {
			if a.finish[choice.Index] != "" {
				t.Errorf("choice %d goes on after its end: %s", choice.Index, data)
			}
			text := choice.Text
			if choice.Delta.Content != nil {
				text = *choice.Delta.Content
			}
			a.text[choice.Index] += text
			if choice.FinishReason != nil {
				a.finish[choice.Index] = *choice.FinishReason
				if text != "" {
					t.Errorf("the finish chunk has text: %s", data)
				}
			}
		}
	}
	return a
}

// varying matches the fields of an answer that differ each time.
var varying = regexp.MustCompile(`"(id|system_fingerprint)":"(chatcmpl-|cmpl-|fp_|call_)[a-z0-9]+"|"created":\d{10}|,"timings":{[^}]*}`)

// stable replaces them.
func stable(body string) string {
	return varying.ReplaceAllStringFunc(body, func(field string) string {
		switch {
		case strings.HasPrefix(field, `"created"`):
			return `"created":1`
		case strings.HasPrefix(field, `,"timings"`):
			return ""
		}
		return varying.ReplaceAllString(field, `"$1":"$2"`)
	})
}

// eventually waits until f holds; it fails the test after ten seconds.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for range 2000 {
		if f() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

// tokens is text as the fake sees it.
func tokens(t testing.TB, text string) []sampler.Token {
	t.Helper()
	list, err := fake.Tokenize([]llama.Part{{Text: text}}, false)
	if err != nil {
		t.Fatal(err)
	}
	return list
}
