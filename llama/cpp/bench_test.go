package cpp

import (
	"context"
	"fmt"
	"testing"
	"time"

	"aim/internal/testmodel"
	"aim/llama"
	"aim/sampler"
)

// benchPrompt has about as many tokens as a question with a paragraph of context.
const benchPrompt = "<|im_start|>user\nThe village lies between two rivers. In spring the meadows are flooded and the " +
	"children go to school by boat; in summer the water is gone and the cattle graze where the boats went. Tell a story " +
	"of somebody who comes there for the first time.<|im_end|>\n<|im_start|>assistant\n"

// The engine against the same work done by a bare loop over the driver, in one run: same prompts, same number of tokens,
// first the loop and then the engine, b.N times. "of-bare" is the share of the loop's throughput that is left.
func BenchmarkEngine(b *testing.B) {
	m := open(b)
	prompt, err := m.Tokenize([]llama.Part{{Text: benchPrompt, Trusted: true}}, true)
	if err != nil {
		b.Fatal(err)
	}
	const answer = 64
	for _, streams := range []int{1, 4, 8, 16} {
		for name, params := range map[string]sampler.Params{
			"plain":   {},
			"utility": {Utility: sampler.Utility{Sigma: 0.5}},
		} {
			b.Run(fmt.Sprintf("streams=%d/%s", streams, name), func(b *testing.B) {
				o := DecoderOptions{Slots: streams, Context: 512}
				var bare, engine, first time.Duration
				for b.Loop() {
					bare += bareLoop(b, m, o, prompt, answer)
					took, ttft := engineRun(b, m, o, prompt, answer, params)
					engine += took
					first += ttft
				}
				tokens := float64(b.N * streams * answer)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(tokens/bare.Seconds(), "bare-tok/s")
				b.ReportMetric(tokens/engine.Seconds(), "tok/s")
				b.ReportMetric(bare.Seconds()/engine.Seconds(), "of-bare")
				b.ReportMetric(float64(first.Milliseconds())/float64(b.N), "ttft-ms")
			})
		}
	}
}

// bareLoop decodes the same answers with nothing around the driver: all prompts first, then one row a sequence a step,
// the first token of the vocabulary each time.
func bareLoop(b *testing.B, m *Model, o DecoderOptions, prompt []sampler.Token, answer int) time.Duration {
	b.Helper()
	d, err := m.NewDecoder(o)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	start := time.Now()
	rows := make([]llama.Row, 0, len(prompt))
	for seq := range o.Slots {
		rows = rows[:0]
		for pos, tok := range prompt {
			rows = append(rows, llama.Row{Token: tok, Seq: seq, Pos: pos, Logits: pos == len(prompt)-1})
		}
		if err := d.Decode(rows); err != nil {
			b.Fatal(err)
		}
	}
	for i := 1; i < answer; i++ { // the first token came with the prompt
		rows = rows[:0]
		for seq := range o.Slots {
			rows = append(rows, llama.Row{Token: 100, Seq: seq, Pos: len(prompt) + i - 1, Logits: true})
		}
		if err := d.Decode(rows); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}

// engineRun answers all streams at once and returns the time to the last token and the mean time to the first.
func engineRun(b *testing.B, m *Model, o DecoderOptions, prompt []sampler.Token, answer int, params sampler.Params) (took, first time.Duration) {
	b.Helper()
	d, err := m.NewDecoder(o)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	e := llama.New(m, d, llama.Config{Slots: o.Slots, Context: o.Context})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()
	defer func() { stop(); <-ended }()

	params.Bias = testmodel.NoEnd(m)
	start := time.Now()
	firsts := make(chan time.Duration)
	for range o.Slots {
		go func() {
			var at time.Duration
			for _, err := range e.Generate(ctx, llama.Request{Prompt: prompt, Params: params, MaxTokens: answer}) {
				if err != nil {
					b.Error(err)
				}
				if at == 0 {
					at = time.Since(start)
				}
			}
			firsts <- at
		}()
	}
	for range o.Slots {
		first += <-firsts
	}
	return time.Since(start), first / time.Duration(o.Slots)
}

// One sampling step on real rows against the decode that made them, for one sequence: "of-decode" is its share.
func BenchmarkSampler(b *testing.B) {
	m := open(b)
	for _, c := range []struct {
		name   string
		params sampler.Params
	}{
		{"greedy", sampler.Params{}},
		{"greedy+utility", sampler.Params{Utility: sampler.Utility{Sigma: 0.5}}},
		{"temperature=1", sampler.Params{Temperature: 1}},
		{"temperature=1+utility", sampler.Params{Temperature: 1, Utility: sampler.Utility{Sigma: 0.5}}},
		{"top_p=0.95+utility", sampler.Params{Temperature: 1, TopP: 0.95, Utility: sampler.Utility{Sigma: 0.5}}},
		{"top_p=0.95+utility+logprobs", sampler.Params{Temperature: 1, TopP: 0.95, Logprobs: true, TopLogprobs: 5, Utility: sampler.Utility{Sigma: 0.5}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := decoder(b, m, DecoderOptions{Context: 8192})
			s, err := sampler.New(c.params, m.Vocab())
			if err != nil {
				b.Fatal(err)
			}
			var decode, sample time.Duration
			tok := sampler.Token(100)
			for pos := 0; b.Loop(); pos++ {
				if pos == 512 {
					if err := d.Forget(0, 0); err != nil {
						b.Fatal(err)
					}
					pos = 0
				}
				start := time.Now()
				if err := d.Decode([]llama.Row{{Token: tok, Pos: pos, Logits: true}}); err != nil {
					b.Fatal(err)
				}
				row := d.Logits(0)
				decoded := time.Now()
				choice, err := s.Sample(row)
				if err != nil {
					b.Fatal(err)
				}
				s.Accept(choice.Token)
				tok = choice.Token
				decode += decoded.Sub(start)
				sample += time.Since(decoded)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(decode.Microseconds())/float64(b.N), "decode-µs")
			b.ReportMetric(float64(sample.Microseconds())/float64(b.N), "sample-µs")
			b.ReportMetric(sample.Seconds()/decode.Seconds(), "of-decode")
		})
	}
}
