package server

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// decoded is the body of an answer.
func decoded[T any](t *testing.T, r response) T {
	t.Helper()
	return decode[T](t, r.ok(t).body)
}

func TestTokenize(t *testing.T) {
	s := start(t, options{})
	post := func(path, body string) response { return s.do(t, "POST", path, body) }
	got := decoded[tokenized](t, post("/tokenize", `{"content": "hé<|end|>"}`))
	if got.Count != len(got.Tokens) || got.Count != 4 || got.Max != 512 {
		t.Errorf("got %+v, want h, two bytes and a control token", got)
	}
	plain := decoded[tokenized](t, post("/tokenize", `{"prompt": "hé<|end|>", "parse_special": false}`))
	if plain.Count != len("hé<|end|>") {
		t.Errorf("without special tokens: %+v", plain)
	}
	if more := decoded[tokenized](t, post("/tokenize", `{"content": "h", "add_special": true}`)); more.Count != 2 {
		t.Errorf("with the tokens around a prompt: %+v", more)
	}
	pieces := post("/tokenize", `{"content": "é<|end|>", "with_pieces": true}`).ok(t).body
	if !strings.Contains(pieces, `"piece":[195]`) || !strings.Contains(pieces, `"piece":"<|end|>"`) {
		t.Errorf("pieces: %s", pieces)
	}
	for _, text := range []string{"", "abc", "hé<|end|> 日本"} {
		ids := decoded[tokenized](t, post("/tokenize", fmt.Sprintf(`{"content": %q}`, text))).Tokens
		list, _ := json.Marshal(ids)
		if back := decoded[detokenized](t, post("/detokenize", fmt.Sprintf(`{"tokens": %s}`, list))); back.Content != text || back.Prompt != text {
			t.Errorf("%q came back as %+v", text, back)
		}
	}
	post("/detokenize", `{"tokens": [97, 100000]}`).is(t, "a token beyond", 400, "tokens[1]", codeValue)
}

// TestTokenizeMessages: the tokens of a conversation are those of the prompt that an answer to it has.
func TestTokenizeMessages(t *testing.T) {
	s := start(t, options{})
	const tools = `"tools": [{"type": "function", "function": {"name": "weather", "parameters": {}}}]`
	for _, fields := range []string{"", tools, tools + `, "tool_choice": "none"`, `"add_special": true`} {
		got := decoded[tokenized](t, s.do(t, "POST", "/tokenize", chatBody("hello <|end|>", fields)))
		used := decode[completion](t, s.ask(t, "hello <|end|>", fields).ok(t).body).Usage.Prompt
		if got.Count != used || len(got.Tokens) != used {
			t.Errorf("%s: %d tokens, the prompt has %d", fields, got.Count, used)
		}
	}
	list := decode[struct{ Tokens json.RawMessage }](t, s.do(t, "POST", "/tokenize", chatBody("hello", tools)).ok(t).body).Tokens
	back := decoded[detokenized](t, s.do(t, "POST", "/detokenize", fmt.Sprintf(`{"tokens": %s}`, list))).Content
	if prompt := decoded[rendered](t, s.do(t, "POST", "/apply-template", chatBody("hello", tools))).Prompt; !strings.HasSuffix(back, prompt) {
		t.Errorf("the tokens spell %q, the prompt is %q", back, prompt)
	}
	for _, c := range []struct{ body, param, code string }{
		{`{}`, "content", codeMissing},
		{chatBody("x", `"prompt": "x"`), "messages", codeValue},
		{`{"messages": []}`, "messages", codeValue},
		{`{"messages": [{"role": "user"}]}`, "messages[0].content", codeMissing},
		{chatBody("x", `"model": "fake/plain"`), "model", "no_chat_template"},
	} {
		s.do(t, "POST", "/tokenize", c.body).is(t, c.body, 400, c.param, c.code)
	}
}

// TestApplyTemplate: the prompt told is the prompt used.
func TestApplyTemplate(t *testing.T) {
	s := start(t, options{})
	got := decoded[rendered](t, s.do(t, "POST", "/apply-template", chatBody("hello", "")))
	if want := "[user]hello" + marker; got.Prompt != want {
		t.Errorf("got %q, want %q", got.Prompt, want)
	}
	s.do(t, "POST", "/apply-template", `{"model": "fake/plain", "messages": [{"role": "user", "content": "x"}]}`).
		is(t, "without a template", 400, "model", "no_chat_template")
}

func TestEmbeddings(t *testing.T) {
	s := start(t, options{})
	ask := func(fields string) embeddingList {
		return decoded[embeddingList](t, s.do(t, "POST", "/v1/embeddings", "{"+fields+"}"))
	}
	floats := func(e embedding) (v []float32) {
		for _, x := range e.Embedding.([]any) {
			v = append(v, float32(x.(float64)))
		}
		return v
	}
	whole := ask(`"input": ["water and wine", "water"]`)
	if len(whole.Data) != 2 || whole.Data[1].Index != 1 || whole.Usage.Prompt != whole.Usage.Total || whole.Usage.Prompt < 10 {
		t.Fatalf("got %+v", whole)
	}
	one := ask(`"input": "water", "encoding_format": "base64"`)
	raw, err := base64.StdEncoding.DecodeString(one.Data[0].Embedding.(string))
	if err != nil {
		t.Fatal(err)
	}
	var v []float32
	for i := 0; i < len(raw); i += 4 {
		v = append(v, math.Float32frombits(binary.LittleEndian.Uint32(raw[i:])))
	}
	if want := floats(whole.Data[1]); !reflect.DeepEqual(v, want) {
		t.Errorf("base64 has %v, floats %v", v, want)
	}
	short := floats(ask(`"input": "water", "dimensions": 45`).Data[0])
	sum := 0.0
	for _, x := range short {
		sum += float64(x) * float64(x)
	}
	if len(short) != 45 || math.Abs(sum-1) > 1e-5 {
		t.Errorf("%d entries of length² %v", len(short), sum)
	}
	if ids := ask(`"input": [[97, 98], [99]]`); len(ids.Data) != 2 || ids.Usage.Prompt != 3 {
		t.Errorf("token ids: %+v", ids)
	}
	for body, param := range map[string]string{
		`{"input": []}`: "input", `{"input": ["a", ""]}`: "input[1]", `{"input": "a", "dimensions": 65}`: "dimensions",
		`{"input": [[97], [100000]]}`: "input[1][0]", `{"input": ["a", 1]}`: "input[1]", `{"input": "` + strings.Repeat("a", 300) + `"}`: "input",
	} {
		r := s.do(t, "POST", "/v1/embeddings", body)
		if e := failed(t, r.body); r.status != 400 || e.Param == nil || *e.Param != param {
			t.Errorf("%.40s: %d %s", body, r.status, r.body)
		}
	}
	s.do(t, "POST", "/v1/embeddings", `{"model": "fake/imposed", "input": "a"}`).is(t, "not turned on", 400, "model", "embeddings_not_enabled")
}

// slowEmbedder waits until it is opened, or who asks has left.
type slowEmbedder struct {
	*llamatest.Embedder
	entered, open chan struct{}
}

func (e slowEmbedder) Embed(ctx context.Context, inputs [][]sampler.Token) ([][]float32, error) {
	e.entered <- struct{}{}
	select {
	case <-e.open:
	case <-ctx.Done():
	}
	return e.Embedder.Embed(ctx, inputs)
}

// TestEmbeddingsAreBounded: requests for vectors wait for each other, but not any number of them, and who leaves waits no longer.
func TestEmbeddingsAreBounded(t *testing.T) {
	e := slowEmbedder{llamatest.NewEmbedder(fake), make(chan struct{}, 2), make(chan struct{})}
	s := start(t, options{engine: llama.Config{Slots: 1, Context: 64, Batch: 16, Queue: 1}, embedder: e})
	ask := func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, "POST", s.URL+"/v1/embeddings", strings.NewReader(`{"input": "a", "temperature": 0.5}`))
		if err != nil {
			return err
		}
		res, err := s.Client().Do(req)
		if err == nil {
			err = res.Body.Close()
		}
		return err
	}
	ctx, leave := context.WithCancel(t.Context())
	left, stayed := make(chan error, 1), make(chan error, 1)
	go func() { left <- ask(ctx) }()
	go func() { stayed <- ask(t.Context()) }()
	<-e.entered
	<-e.entered
	r := s.do(t, "POST", "/v1/embeddings", `{"input": "a"}`)
	r.is(t, "one more", 429, "", "rate_limit_exceeded")
	if r.header.Get("Retry-After") == "" {
		t.Error("not told when to try again")
	}
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who left: %v", err)
	}
	eventually(t, "the server has noticed", func() bool { return strings.Contains(s.log.String(), `"status":499`) })
	close(e.open)
	if err := <-stayed; err != nil {
		t.Error(err)
	}
	eventually(t, "the other is logged", func() bool { return strings.Contains(s.log.String(), `"prompt_tokens":2`) })
	s.do(t, "POST", "/v1/embeddings", `{"input": "a"}`).ok(t)
}

// TestSlotsTellNoPrompt: what callers send is nobody else's, and what an owner imposes is no caller's.
func TestSlotsTellNoPrompt(t *testing.T) {
	h := &held{free: make(chan struct{}, 3)}
	s := start(t, options{engine: llama.Config{Slots: 2, Context: 512, Batch: 64, Queue: 16}, decoder: llamatest.Options{Before: h.before}})
	defer close(h.free)
	for range 3 {
		h.free <- struct{}{}
	}
	ask := chatBody("a secret question", `"stream": true, "max_tokens": 400, "ignore_eos": true`)
	s.open(t, ask)
	eventually(t, "the decode after the third token", func() bool { return h.decodes.Load() == 4 })
	prompt := decode[tokenized](t, s.do(t, "POST", "/tokenize", chatBody("a secret question", "")).ok(t).body).Count
	body := s.do(t, "GET", "/slots?fail_on_no_slot=1", "").ok(t).body
	want := []slotInfo{{0, 512, true, prompt, prompt + 2, 3}, {ID: 1, Context: 512}}
	if got := decode[[]slotInfo](t, body); !slices.Equal(got, want) || strings.Contains(body, "secret") {
		t.Errorf("slots: %s, want %+v", body, want)
	}
	go func() {
		if res, err := s.Client().Post(s.URL+chatPath, "application/json", strings.NewReader(ask)); err == nil {
			res.Body.Close()
		}
	}()
	eventually(t, "all slots are taken", func() bool {
		h.free <- struct{}{}
		return s.do(t, "GET", "/slots?fail_on_no_slot=1", "").status == 503
	})
	s.do(t, "GET", "/slots?fail_on_no_slot=1", "").is(t, "all slots are taken", 503, "", "no_slot")
	s.do(t, "GET", "/slots", "").ok(t)
}

// TestProps: what an owner imposes is no caller's business.
func TestProps(t *testing.T) {
	s := start(t, options{sigma: 1.5, level: 0.77, server: Config{Build: "aim v1"}})
	got := decode[props](t, s.do(t, "GET", "/props", "").ok(t).body)
	if got.File != "fake.gguf" || got.Build != "aim v1" || got.Slots != 4 || got.Defaults.Context != 512 || got.ChatTemplate != template || !got.Features["embeddings"] {
		t.Errorf("%+v", got)
	}
	if got.Defaults.Params["n"] != 1.0 || got.Defaults.Params["repeat_last_n"] != 64.0 {
		t.Errorf("defaults: %v", got.Defaults.Params)
	}
	imposed := s.do(t, "GET", "/props?model=fake/imposed", "").ok(t).body
	if strings.Contains(imposed, "1.5") || strings.Contains(imposed, "0.77") || strings.Contains(imposed, "of the tests") || !strings.Contains(imposed, `"embeddings":false`) {
		t.Errorf("props: %s", imposed)
	}
	for _, path := range []string{"/props", "/slots"} {
		s.do(t, "GET", path+"?model=none", "").is(t, path, 404, "model", "model_not_found")
	}
	if got := s.do(t, "GET", "/tokenizer_info", "").ok(t).body; !strings.Contains(got, `"bos_token":"<|bos|>","eos_token":"<|end|>"`) {
		t.Errorf("tokenizer_info: %s", got)
	}
}
