package llama_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// spanned is a request with a span of that strength, and the request of the prompt without it.
func spanned(t testing.TB, i int, strength float64) (with, without llama.Request) {
	t.Helper()
	before, span, after := fmt.Sprintf("the question number %d is this", i), " and nothing else", "? Answer:"
	params := sampler.Params{
		Temperature: 1, TopP: 0.9, Seed: uint64(i),
		Utility: sampler.Utility{Sigma: 0.7, Key: sampler.UtilityKey([]byte("secret"), "m", 0.7)},
	}
	without = llama.Request{Prompt: tokens(t, before+after), MaxTokens: 40, Params: params}
	with = llama.Request{Prompt: tokens(t, before+span+after), MaxTokens: 40, Params: params}
	with.Params.Spans = []sampler.Span{{Without: without.Prompt, Strength: strength}}
	return with, without
}

// At strength -1 the answer is what the prompt without the span gives, utility's noise included; at 0 it is the plain one.
func TestSpanTakenAway(t *testing.T) {
	e := start(t, llama.Config{Slots: 3, Context: 256, Batch: 16}, llamatest.Options{})
	for i := range 5 {
		with, without := spanned(t, i, -1)
		got, want := generate(t.Context(), e, with), generate(t.Context(), e, without)
		if got.err != nil || !slices.Equal(got.tokens, want.tokens) {
			t.Errorf("request %d: %v\nwithout the span: %v", i, got, want)
		}
		if got.usage.PromptTokens != len(with.Prompt) {
			t.Errorf("usage %+v for a prompt of %d", got.usage, len(with.Prompt))
		}
		plain := with
		plain.Params.Spans = nil
		with.Params.Spans[0].Strength = 0
		got, want = generate(t.Context(), e, with), generate(t.Context(), e, plain)
		if got.err != nil || !slices.Equal(got.tokens, want.tokens) {
			t.Errorf("request %d at strength 0: %v\nplain: %v", i, got, want)
		}
		if slices.Equal(want.tokens, generate(t.Context(), e, without).tokens) {
			t.Errorf("request %d: the span makes no difference to the fake", i)
		}
	}
}

// Nothing is computed twice where a span is all to be taken away, unless an observer wants to see the whole prompt's rows.
func TestSpanTakenAwayAlone(t *testing.T) {
	e := start(t, llama.Config{Slots: 2, Context: 256, NoCache: true}, llamatest.Options{})
	with, without := spanned(t, 1, -1)
	count := func(r llama.Request) (n uint64, tokens []sampler.Token) {
		before := e.Stats()
		got := generate(t.Context(), e, r)
		after := e.Stats()
		return after.PromptTokens - before.PromptTokens, got.tokens
	}
	want, plain := count(without)
	if n, tokens := count(with); n != want || !slices.Equal(tokens, plain) {
		t.Errorf("%d prompt tokens, want %d", n, want)
	}
	watch := &watcher{}
	with.Params.Observer = watch
	if n, tokens := count(with); n <= want || !slices.Equal(tokens, plain) || watch.rows != len(plain) {
		t.Errorf("%d prompt tokens and %d rows with an observer", n, watch.rows)
	}
}

type watcher struct{ rows int }

func (w *watcher) Observe([]float32)    { w.rows++ }
func (w *watcher) Accept(sampler.Token) {}

// noShare is a driver whose cache cannot be copied, nor forgotten in part.
type noShare struct{ llama.Decoder }

func (n noShare) Forget(seq, from int) error {
	if from > 0 {
		return llama.ErrUnsupported
	}
	return n.Decoder.Forget(seq, 0)
}

func (noShare) Share(int, int, int) error { return llama.ErrUnsupported }

// The tokens are the same alone, in company with others, in a cache that is too small for all, and where the driver cannot
// copy a prefix.
func TestSpanInCompany(t *testing.T) {
	const n = 8
	request := func(i int) llama.Request {
		with, without := spanned(t, i, []float64{1, -0.5, 0.4, -1}[i%4])
		if i%3 == 2 {
			return without
		}
		if i%3 == 1 {
			second := tokens(t, "the question? Answer:")
			with.Params.Spans = append(with.Params.Spans, sampler.Span{Without: second, Strength: 0.7})
		}
		return with
	}
	alone := make([]result, n)
	single := start(t, llama.Config{Slots: 3, Context: 256}, llamatest.Options{})
	for i := range alone {
		if alone[i] = generate(t.Context(), single, request(i)); alone[i].err != nil {
			t.Fatal(alone[i].err)
		}
	}
	check := func(t *testing.T, e *llama.Engine, there func()) {
		t.Helper()
		var wg sync.WaitGroup
		for i := range alone {
			wg.Go(func() {
				if got := generate(t.Context(), e, request(i)); got.err != nil || !slices.Equal(got.tokens, alone[i].tokens) {
					t.Errorf("request %d in company: %v\nalone: %v", i, got, alone[i])
				}
			})
		}
		there()
		wg.Wait()
	}
	anybody := func() {}
	t.Run("roomy", func(t *testing.T) {
		check(t, start(t, llama.Config{Slots: 7, Context: 256, Batch: 16, Chunk: 3, Queue: 3 * n}, llamatest.Options{}), anybody)
	})
	t.Run("tight", func(t *testing.T) {
		lanes := 0
		for i := range n {
			if spans := request(i).Params.Spans; len(spans) != 1 || spans[0].Strength != -1 {
				lanes += len(spans)
			}
			lanes++
		}
		g := newGate()
		e := start(t, llama.Config{Slots: 6, Context: 256, Queue: 3 * n}, llamatest.Options{Cells: 300, Before: g.before})
		check(t, e, func() {
			eventually(t, "all are there at once", func() bool { s := e.Stats(); return s.Busy+s.Queued == lanes })
			close(g.open)
		})
		if got := e.Stats().PromptTokens; got <= single.Stats().PromptTokens {
			t.Errorf("%d prompt tokens: nothing was computed again", got)
		}
	})
	t.Run("without sharing", func(t *testing.T) {
		cfg := llama.Config{Slots: 6, Context: 256, Batch: 32, Queue: 3 * n}
		e := llama.New(fake, noShare{llamatest.NewDecoder(fake, llamatest.Options{Slots: 6, Context: 256, Batch: 32})}, cfg)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go e.Run(ctx)
		check(t, e, anybody)
		if got := e.Stats().PromptTokens; got <= single.Stats().PromptTokens {
			t.Errorf("%d prompt tokens: prefixes were shared after all", got)
		}
	})
}

func TestSpanRefused(t *testing.T) {
	e := start(t, llama.Config{Slots: 2, Context: 64, Queue: 8}, llamatest.Options{})
	with, _ := spanned(t, 0, 1)
	with.MaxTokens = 1
	var domain *sampler.DomainError
	twice := with
	twice.Params.Spans = append(slices.Clone(with.Params.Spans), with.Params.Spans...)
	if got := generate(t.Context(), e, twice); !errors.As(got.err, &domain) || !strings.Contains(got.err.Error(), "slot") {
		t.Errorf("two spans in two slots: %v", got.err)
	}
	var long *llama.TooLongError
	with.Params.Spans = []sampler.Span{{Without: tokens(t, strings.Repeat("long ", 20))}}
	if got := generate(t.Context(), e, with); !errors.As(got.err, &long) {
		t.Errorf("a twin longer than the context: %v", got.err)
	}
	with.Params.Spans = []sampler.Span{{}}
	if got := generate(t.Context(), e, with); !errors.As(got.err, &domain) {
		t.Errorf("a twin without a prompt: %v", got.err)
	}
	if s := e.Stats(); s.Decodes != 0 {
		t.Errorf("refused requests were decoded: %+v", s)
	}
}

// The places of a group are counted when it asks to enter, and all are free when it has left.
func TestSpanPlaces(t *testing.T) {
	g := newGate()
	e := start(t, llama.Config{Slots: 2, Context: 256, Queue: 1}, llamatest.Options{Before: g.before})
	with, without := spanned(t, 0, 1)
	ctx, leave := context.WithCancel(t.Context())
	first := make(chan result, 1) // buffered: the result may come before anybody looks
	go func() { first <- generate(ctx, e, with) }()
	<-g.hits
	if s := e.Stats(); s.Busy != 2 {
		t.Errorf("%+v while one answer with a span runs", s)
	}
	if got := generate(t.Context(), e, with); !errors.Is(got.err, llama.ErrBusy) {
		t.Errorf("a group of two for one place: %v", got.err)
	}
	second := make(chan result, 1)
	go func() { second <- generate(t.Context(), e, without) }()
	eventually(t, "the one that fits waits", func() bool { return e.Stats().Queued == 1 })
	leave()
	if got := <-first; !errors.Is(got.err, context.Canceled) {
		t.Errorf("error %v", got.err)
	}
	close(g.open)
	if got := <-second; got.err != nil || got.usage.CompletionTokens != 40 {
		t.Errorf("the next request: %+v", got)
	}
	g.mu.Lock()
	for _, r := range g.rows[1] {
		if r.Seq != 0 {
			t.Errorf("after the group had left, slot %d was decoded", r.Seq)
		}
	}
	g.mu.Unlock()
	eventually(t, "all places are free", func() bool {
		return e.Stats().Busy == 0 && generate(t.Context(), e, with).err == nil
	})
}

// A failed decode of a twin's rows ends its sequence, and no other.
func TestSpanFailedDecode(t *testing.T) {
	e := start(t, llama.Config{Slots: 2, Context: 256, Batch: 64, Queue: 8}, llamatest.Options{Before: func(rows []llama.Row) error {
		for _, r := range rows {
			if r.Token == '!' && r.Seq == 1 {
				return errors.New("boom")
			}
		}
		return nil
	}})
	with, without := spanned(t, 0, 1)
	with.Params.Spans[0].Without = tokens(t, "!")
	var decode *llama.DecodeError
	if got := generate(t.Context(), e, with); !errors.As(got.err, &decode) {
		t.Errorf("error %v, want a DecodeError", got.err)
	}
	if got := generate(t.Context(), e, without); got.err != nil {
		t.Errorf("after the failure: %v", got.err)
	}
}

// The noise of utility reaches the twin's row before anything reads it: a span of strength -1 over the same prompt is the
// same answer, and two different σ give different ones.
func TestSpanTwinHasItsOwnNoise(t *testing.T) {
	e := start(t, llama.Config{Slots: 2, Context: 256}, llamatest.Options{})
	with, without := spanned(t, 3, -1)
	with.Params.Spans[0].Without = with.Prompt
	plain := with
	plain.Params.Spans = nil
	if got, want := generate(t.Context(), e, with), generate(t.Context(), e, plain); got.err != nil || !slices.Equal(got.tokens, want.tokens) {
		t.Errorf("its own prompt taken away: %v, want %v", got, want)
	}
	with, _ = spanned(t, 3, -1)
	with.Params.Utility, without.Params.Utility = sampler.Utility{}, sampler.Utility{}
	noisy, _ := spanned(t, 3, -1)
	if a, b := generate(t.Context(), e, with), generate(t.Context(), e, noisy); slices.Equal(a.tokens, b.tokens) {
		t.Error("utility does not reach the twin")
	}
}
