package cpp

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"aim/internal/testmodel"
	"aim/llama"
	"aim/sampler"
)

// stage is a part of a step of the engine, in the order in which they come.
type stage int

const (
	stageDecode  stage = iota // in the driver
	stageLogits               // access to the rows of logits
	stageSample               // until the last sequence has its token; text is assembled meanwhile
	stageDeliver              // until the next decode: text of the last one, mailboxes, scheduling
	stages
)

// stopwatch is a decoder that tells where the time of an engine's steps goes. Only steps are counted in which every slot
// got one row, and after which another one came.
type stopwatch struct {
	llama.Decoder
	slots                    int
	clock                    func() time.Duration
	counted                  bool
	decoding, decoded, there time.Duration
	steps                    [][stages]time.Duration
	// sampled is when the last token was chosen.
	sampled atomic.Int64
}

// wallClock is the time that passes, processorClock that which this process computes: on a busy machine it alone tells
// anything, and only where no thread spins while it waits.
func wallClock() func() time.Duration {
	began := time.Now()
	return func() time.Duration { return time.Since(began) }
}

func processorClock() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (w *stopwatch) Decode(rows []llama.Row) error {
	now := w.clock()
	if w.counted {
		sampled := time.Duration(w.sampled.Load())
		w.steps = append(w.steps, [stages]time.Duration{w.decoded - w.decoding, w.there - w.decoded, sampled - w.there, now - sampled})
	}
	w.decoding = w.clock()
	err := w.Decoder.Decode(rows)
	w.decoded = w.clock()
	w.counted = len(rows) == w.slots
	return err
}

func (w *stopwatch) Logits(i int) []float32 {
	row := w.Decoder.Logits(i)
	w.there = w.clock()
	return row
}

// watched is a model that tells a stopwatch when the engine has chosen a token: it then asks for its kind.
type watched struct {
	*Model
	watch *stopwatch
}

func (m watched) Kind(t sampler.Token) llama.Kind {
	m.watch.sampled.Store(int64(m.watch.clock()))
	return m.Model.Kind(t)
}

// variant is a wave of requests, one for each slot.
type variant struct {
	name   string
	params func(slot int) sampler.Params
}

// variants are ways to sample, each without modulation and with it. The first one is what all are compared with.
func variants(tb testing.TB, e *llama.Engine) []variant {
	words, err := e.Lexicon().Words([]string{"river", "boat"})
	if err != nil {
		tb.Fatal(err)
	}
	utility := sampler.Utility{Sigma: 0.5, Key: sampler.FocusKey(1)}
	focus := []sampler.Focus{{Words: words, Strength: 0.5}}
	nucleus := sampler.Params{Temperature: 1, TopP: 0.95}
	var list []variant
	for _, c := range []struct {
		name  string
		p     sampler.Params
		focus bool
	}{
		{"greedy", sampler.Params{}, true},
		{"top_k=40,top_p=0.95", sampler.Params{Temperature: 1, TopK: 40, TopP: 0.95}, false},
		{"top_p=0.95", nucleus, true},
		{"top_p=1", sampler.Params{Temperature: 1}, false},
		{"greedy,logprobs", sampler.Params{Logprobs: true, TopLogprobs: 5}, false},
	} {
		same := func(p sampler.Params) func(int) sampler.Params { return func(int) sampler.Params { return p } }
		noisy, both := c.p, c.p
		noisy.Utility = utility
		both.Utility, both.Focus = utility, focus
		list = append(list, variant{c.name, same(c.p)}, variant{c.name + "+utility", same(noisy)})
		if c.focus {
			list = append(list, variant{c.name + "+utility+focus", same(both)})
		}
	}
	tiers := func(slot int) sampler.Params {
		p := nucleus
		p.Utility = sampler.Utility{Sigma: 0.3 + 0.05*float64(slot%8), Key: sampler.FocusKey(uint64(slot % 8))}
		return p
	}
	return append(list, variant{"top_p=0.95+8 tiers", tiers})
}

// BenchmarkStep tells what a step of the engine costs beside the decode, for 16 sequences, on the default model and, where its file is
// there, on Gemma 3 with its vocabulary of 262 144. All ways to sample take turns, b.N rounds of them; medians over the steps are
// logged: the decode in ms, then the parts beside it as percentages of it, and the speed of the whole against the first way, both
// with the decode of the first one. "wall" is for a quiet machine; "processor" counts the processor's time, with one thread.
func BenchmarkStep(b *testing.B) {
	small := testmodel.Path(b)
	for _, path := range []string{small, filepath.Join(filepath.Dir(small), testmodel.Gemma)} {
		b.Run(filepath.Base(path), func(b *testing.B) {
			if _, err := os.Stat(path); err != nil {
				b.Skipf("no model at %s: run `make model-gemma`", path)
			}
			b.Run("wall", func(b *testing.B) { benchmarkStep(b, path, 0, wallClock()) })
			b.Run("processor", func(b *testing.B) { benchmarkStep(b, path, 1, processorClock) })
		})
	}
}

func benchmarkStep(b *testing.B, path string, threads int, clock func() time.Duration) {
	const slots, answer = 16, 12
	m, err := Load(path, ModelOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	d := decoder(b, m, DecoderOptions{Slots: slots, Context: 256, Threads: threads})
	watch := &stopwatch{Decoder: d, slots: slots, clock: clock}
	e := llama.New(watched{m, watch}, watch, llama.Config{Slots: slots, Context: 256})
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()
	defer func() { stop(); <-ended }()

	list := variants(b, e)
	steps := make([][][stages]time.Duration, len(list))
	ends := testmodel.NoEnd(m)
	for b.Loop() {
		for v := range list {
			wave(b, ctx, e, list[v], ends, answer)
			watch.counted = false
			steps[v] = append(steps[v], watch.steps...)
			watch.steps = watch.steps[:0]
		}
	}
	b.ReportMetric(0, "ns/op")
	plain := summary(steps[0])
	for v := range list {
		s := summary(steps[v])
		b.Logf("%-40s decode %6.2f ms, logits %5.2f %%, sample %5.2f %%, deliver %5.2f %%; beside it %5.2f %%, speed %.3f",
			list[v].name, s[0], 100*s[1]/plain[0], 100*s[2]/plain[0], 100*s[3]/plain[0], 100*(total(s)-s[0])/plain[0], total(plain)/(plain[0]+total(s)-s[0]))
	}
}

// wave answers one request for each slot.
func wave(b *testing.B, ctx context.Context, e *llama.Engine, v variant, ends map[sampler.Token]float64, answer int) {
	var all sync.WaitGroup
	for slot := range e.Config().Slots {
		prompt, err := e.Model().Tokenize([]llama.Part{{Text: fmt.Sprintf("%d. In spring the", slot+1)}}, true)
		if err != nil {
			b.Fatal(err)
		}
		r := llama.Request{Prompt: prompt, Params: v.params(slot), MaxTokens: answer}
		r.Params.Bias, r.Params.Seed = ends, uint64(slot)
		all.Go(func() {
			for _, err := range e.Generate(ctx, r) {
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// summary is the median of each stage, in ms.
func summary(steps [][stages]time.Duration) (ms [stages]float64) {
	for k := range ms {
		var list []time.Duration
		for _, s := range steps {
			list = append(list, s[k])
		}
		slices.Sort(list)
		if len(list) > 0 {
			ms[k] = 1e3 * list[len(list)/2].Seconds()
		}
	}
	return ms
}

func total(ms [stages]float64) (t float64) {
	for _, v := range ms {
		t += v
	}
	return t
}
