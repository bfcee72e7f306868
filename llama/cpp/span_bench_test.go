package cpp

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"aim/internal/testmodel"
	"aim/llama"
	"aim/sampler"
)

// What a span costs, in one run: the same prompts and numbers of tokens without a span and with one, b.N times in turn.
// "of-plain" is the ratio of the times from the request to the last token, "step-of-plain" that from the first token on.
func BenchmarkSpan(b *testing.B) {
	m := open(b)
	const span = " Tell a story of somebody who comes there for the first time."
	tokens := func(text string) []sampler.Token {
		list, err := m.Tokenize([]llama.Part{{Text: text, Trusted: true}}, true)
		if err != nil {
			b.Fatal(err)
		}
		return list
	}
	plain := llama.Request{Prompt: tokens(benchPrompt), MaxTokens: 128, Params: sampler.Params{Bias: testmodel.NoEnd(m)}}
	twin, err := llama.NewSpan(m, span, tokens(strings.Replace(benchPrompt, span, "", 1)), 1)
	if err != nil {
		b.Fatal(err)
	}
	with := plain
	with.Params.Spans = []sampler.Span{twin}
	for _, unified := range []bool{false, true} {
		for _, streams := range []int{1, 4} {
			b.Run(fmt.Sprintf("unified=%t/streams=%d", unified, streams), func(b *testing.B) {
				var bare, focused elapsed
				for b.Loop() {
					bare.add(runStreams(b, m, plain, streams, 1, unified))
					focused.add(runStreams(b, m, with, streams, 2, unified))
				}
				n := float64(b.N * streams * plain.MaxTokens)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(n/bare.whole.Seconds(), "plain-tok/s")
				b.ReportMetric(n/focused.whole.Seconds(), "tok/s")
				b.ReportMetric(focused.whole.Seconds()/bare.whole.Seconds(), "of-plain")
				b.ReportMetric(focused.steps.Seconds()/bare.steps.Seconds(), "step-of-plain")
			})
		}
	}
}

// elapsed is the time of answers from the request, and from the first token on, to the last token.
type elapsed struct{ whole, steps time.Duration }

func (s *elapsed) add(t elapsed) { s.whole, s.steps = s.whole+t.whole, s.steps+t.steps }

// runStreams answers a request streams times at once, in width slots each.
func runStreams(b *testing.B, m *Model, r llama.Request, streams, width int, unified bool) elapsed {
	b.Helper()
	d, err := m.NewDecoder(DecoderOptions{Slots: streams * width, Context: 512, Unified: unified})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	e := llama.New(m, d, llama.Config{Slots: streams * width, Context: 512})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()
	defer func() { stop(); <-ended }()

	start := time.Now()
	firsts := make([]time.Time, streams)
	var wg sync.WaitGroup
	for i := range streams {
		wg.Go(func() {
			for _, err := range e.Generate(ctx, r) {
				if err != nil {
					b.Error(err)
				}
				if firsts[i].IsZero() {
					firsts[i] = time.Now()
				}
			}
		})
	}
	wg.Wait()
	last := firsts[0]
	for _, t := range firsts {
		if t.After(last) {
			last = t
		}
	}
	return elapsed{time.Since(start), time.Since(last)}
}
