package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"aim/internal/chat"
	"aim/internal/testmodel"
	"aim/llama"
	"aim/sampler"
	"aim/server"
)

// timing is what one stream saw.
type timing struct {
	first  time.Duration
	tokens int
	err    error
}

// The whole program over HTTP, streamed, against its own engine without HTTP, in one run: the same prompts and lengths, by
// turns. "of-engine" is the share of the engine's throughput that is left.
func BenchmarkHTTP(b *testing.B) {
	const answer = 64
	for _, streams := range []int{1, 4, 8, 16} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			e, err := openEngine(engineOptions{
				model: testmodel.Path(b), stateDir: b.TempDir(), slots: streams, context: 512, batch: 512, threads: 2, gpuLayers: -1,
			}, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer e.close()
			defer e.start()()
			api, err := server.New(server.Config{
				Serving: server.Serving{Models: []server.Model{{ID: "m", Engine: e.Engine, Template: e.template}}, Secret: e.secret},
			})
			if err != nil {
				b.Fatal(err)
			}
			web := httptest.NewServer(api.Handler())
			defer web.Close()

			ends := testmodel.NoEnd(e.model)
			var direct, overHTTP, first time.Duration
			for b.Loop() {
				took, _ := streamAll(b, streams, func(i int) timing { return throughEngine(b.Context(), e, i, answer, ends) })
				direct += took
				took, ttft := streamAll(b, streams, func(i int) timing { return throughHTTP(web.URL, i, answer, ends) })
				overHTTP += took
				first += ttft
			}
			tokens := float64(b.N * streams * answer)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(tokens/direct.Seconds(), "engine-tok/s")
			b.ReportMetric(tokens/overHTTP.Seconds(), "tok/s")
			b.ReportMetric(direct.Seconds()/overHTTP.Seconds(), "of-engine")
			b.ReportMetric(float64(first.Milliseconds())/float64(b.N), "ttft-ms")
		})
	}
}

// streamAll runs n streams at once and returns the time to the end of the last and the mean time to the first token.
func streamAll(b *testing.B, n int, stream func(i int) timing) (took, first time.Duration) {
	b.Helper()
	start := time.Now()
	results := make(chan timing)
	for i := range n {
		go func() { results <- stream(i) }()
	}
	for range n {
		r := <-results
		if r.err != nil || r.tokens == 0 {
			b.Errorf("%d tokens, error %v", r.tokens, r.err)
		}
		first += r.first
	}
	return time.Since(start), first / time.Duration(n)
}

// question differs from stream to stream in its first words.
func question(i int) string {
	return fmt.Sprintf("Stranger number %d comes to a village between two rivers. In spring the meadows are flooded and the "+
		"children go to school by boat; in summer the water is gone and the cattle graze where the boats went. Tell the story.", i)
}

func throughEngine(ctx context.Context, e *engine, i, answer int, ends map[sampler.Token]float64) (t timing) {
	start := time.Now()
	parts, err := e.template.Render(chat.Conversation{Messages: []chat.Message{{Role: "user", Content: question(i)}}})
	if err != nil {
		return timing{err: err}
	}
	tokens, err := e.model.Tokenize(parts, true)
	if err != nil {
		return timing{err: err}
	}
	for d, err := range e.Generate(ctx, llama.Request{Prompt: tokens, MaxTokens: answer, Params: sampler.Params{Bias: ends}}) {
		if err != nil {
			return timing{err: err}
		}
		if t.first == 0 {
			t.first = time.Since(start)
		}
		t.tokens += len(d.Tokens)
	}
	return t
}

func throughHTTP(url string, i, answer int, ends map[sampler.Token]float64) (t timing) {
	start := time.Now()
	body, err := json.Marshal(map[string]any{
		"messages": []any{map[string]any{"role": "user", "content": question(i)}}, "temperature": 0, "max_tokens": answer,
		"stream": true, "logit_bias": ends,
	})
	if err != nil {
		return timing{err: err}
	}
	res, err := http.Post(url+"/v1/chat/completions", "application/json", bytes.NewReader(body))
	if err != nil {
		return timing{err: err}
	}
	defer res.Body.Close()
	done := false
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		data, isData := strings.CutPrefix(lines.Text(), "data: ")
		if !isData || strings.Contains(data, `"content":""`) {
			continue
		}
		if done = data == "[DONE]"; done {
			break
		}
		if t.first == 0 {
			t.first = time.Since(start)
		}
		t.tokens++
	}
	if !done {
		t.err = fmt.Errorf("status %s, no [DONE]", res.Status)
	}
	return t
}
