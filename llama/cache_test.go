package llama_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// cached runs an engine, and checks that it leaves nothing behind.
func cached(t *testing.T, cfg llama.Config, o llamatest.Options, run func(e *llama.Engine)) {
	t.Helper()
	o.Slots, o.Context, o.Batch, o.Parked = cfg.Slots, cfg.Context, cfg.Batch, cfg.Parked
	dec := llamatest.NewDecoder(fake, o)
	e := llama.New(fake, dec, cfg)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = e.Run(ctx) // always nil
	}()
	defer func() {
		stop()
		<-ended
		if n := dec.States(); n != 0 {
			t.Errorf("%d states were not freed", n)
		}
	}()
	run(e)
}

// Whatever is taken over from whom, the answers are those of an engine that keeps nothing.
func TestCacheChangesNoAnswer(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 2))
	var requests []llama.Request
	for i := range 60 {
		text := strings.Repeat("the same beginning ", 1+rng.IntN(3)) + strings.Repeat(string(rune('a'+rng.IntN(3))), rng.IntN(40))
		r := llama.Request{Prompt: tokens(t, text), MaxTokens: 1 + rng.IntN(20), CacheDomain: []string{"", "other"}[rng.IntN(2)]}
		r.Params = sampler.Params{Temperature: float64(i % 2), Seed: uint64(i), Utility: sampler.Utility{Sigma: float64(i%3) / 2}}
		switch {
		case i%7 == 3:
			r.ScorePrompt, r.Params.Logprobs = true, true
		case i%5 == 1:
			r.Params.Spans = []sampler.Span{{Without: tokens(t, text[:len(text)/2]), Strength: 0.5}}
		}
		requests = append(requests, r)
	}
	plain := make([]result, len(requests))
	off := start(t, llama.Config{Slots: 2, Context: 256, NoCache: true, Queue: 1}, llamatest.Options{})
	for i, r := range requests {
		if plain[i] = generate(t.Context(), off, r); plain[i].err != nil {
			t.Fatal(plain[i].err)
		}
	}
	all := 0
	for _, r := range requests {
		all += len(r.Prompt)
	}
	for name, c := range map[string]struct {
		cfg llama.Config
		o   llamatest.Options
	}{
		"roomy":       {llama.Config{Slots: 8, Batch: 64}, llamatest.Options{}},
		"tight":       {llama.Config{Slots: 3, Batch: 16, Chunk: 4}, llamatest.Options{}},
		"little kept": {llama.Config{Slots: 3, CacheBytes: 600}, llamatest.Options{}},
		"nobody kept": {llama.Config{Slots: 3, CacheBytes: -1}, llamatest.Options{}},
		"one buffer":  {llama.Config{Slots: 4, Parked: 20}, llamatest.Options{Cells: 700}},
		"full":        {llama.Config{Slots: 6, Parked: 3}, llamatest.Options{Cells: 260}},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.Context, c.cfg.Queue = 256, 2*len(requests)
			cached(t, c.cfg, c.o, func(e *llama.Engine) {
				for _, width := range []int{1, 5, len(requests)} { // one by one, a few, all at once
					var wg sync.WaitGroup
					turn := make(chan struct{}, width)
					for i, r := range requests {
						turn <- struct{}{}
						wg.Go(func() {
							defer func() { <-turn }()
							got := generate(t.Context(), e, r)
							if got.err != nil || !slices.Equal(got.tokens, plain[i].tokens) {
								t.Errorf("request %d, %d at once: %v\nwithout a cache: %v", i, width, got, plain[i])
							}
							if u := got.usage; u.CachedTokens < 0 || u.CachedTokens >= u.PromptTokens {
								t.Errorf("request %d: %d of %d tokens cached", i, u.CachedTokens, u.PromptTokens)
							}
						})
					}
					wg.Wait()
				}
				if s := e.Stats(); s.Cache.Hits == 0 || s.Cache.Tokens < uint64(all)/2 {
					t.Errorf("nothing was taken over to speak of: %+v", s)
				}
			})
		})
	}
}

// The next turn of a conversation computes only what is new, the same prompt again the last token, which counts as a step of the answer.
func TestCacheNextTurn(t *testing.T) {
	for _, slots := range []int{1, 4} {
		cached(t, llama.Config{Slots: slots, Context: 512}, llamatest.Options{}, func(e *llama.Engine) {
			first := llama.Request{Prompt: tokens(t, "a question of some length, so that it is worth keeping"), MaxTokens: 30}
			answer := generate(t.Context(), e, first)
			before := e.Stats().PromptTokens
			if again := generate(t.Context(), e, first); again.usage.CachedTokens != len(first.Prompt)-1 || e.Stats().PromptTokens != before {
				t.Errorf("%d of %d tokens cached", again.usage.CachedTokens, len(first.Prompt))
			}
			before = e.Stats().PromptTokens
			next := llama.Request{Prompt: slices.Concat(first.Prompt, answer.tokens, tokens(t, "and on")), MaxTokens: 1}
			got := generate(t.Context(), e, next)
			// The last token of the answer was chosen, but never fed.
			want := len(first.Prompt) + len(answer.tokens) - 1
			if got.usage.CachedTokens != want || e.Stats().PromptTokens-before != uint64(len(next.Prompt)-want-1) {
				t.Errorf("%d slots: %d tokens cached, want %d", slots, got.usage.CachedTokens, want)
			}
			other := next
			other.CacheDomain = "somebody else's"
			if got := generate(t.Context(), e, other); got.usage.CachedTokens != 0 {
				t.Errorf("%d tokens came from another domain", got.usage.CachedTokens)
			}
		})
	}
}

// Of many equal prompts that come at once one is computed, and the others need one token each.
func TestCacheInFlight(t *testing.T) {
	const n = 8
	g := newGate()
	cached(t, llama.Config{Slots: n, Context: 512, Batch: 32, Queue: n}, llamatest.Options{Before: g.before}, func(e *llama.Engine) {
		prompt := tokens(t, strings.Repeat("a long prompt that many share ", 8))
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				if got := generate(t.Context(), e, llama.Request{Prompt: prompt, MaxTokens: 2}); got.err != nil {
					t.Error(got.err)
				}
			})
		}
		eventually(t, "all are there", func() bool { s := e.Stats(); return s.Busy+s.Queued == n })
		close(g.open)
		wg.Wait()
		if s := e.Stats(); s.PromptTokens > uint64(len(prompt)+2*minShareOf(n)) || s.Cache.Hits != n-1 {
			t.Errorf("%d prompt tokens for %d prompts of %d: %+v", s.PromptTokens, n, len(prompt), s.Cache)
		}
	})
}

// minShareOf is how many tokens n sequences may compute instead of taking over: fewer than are worth a copy.
func minShareOf(n int) int { return 16 * n }

// What left its slot comes back from where it was put aside.
func TestCacheAside(t *testing.T) {
	cached(t, llama.Config{Slots: 1, Context: 512}, llamatest.Options{}, func(e *llama.Engine) {
		ask := func(i int) llama.Usage {
			prompt := tokens(t, fmt.Sprintf("%d is the beginning of a prompt that is long enough to be kept", i))
			return generate(t.Context(), e, llama.Request{Prompt: prompt, MaxTokens: 2}).usage
		}
		for i := range 5 {
			if u := ask(i); u.CachedTokens > 16 {
				t.Fatalf("prompt %d: %+v", i, u)
			}
		}
		for i := range 5 {
			if u := ask(i); u.CachedTokens != u.PromptTokens-1 {
				t.Errorf("prompt %d again: %+v", i, u)
			}
		}
		if s := e.Stats().Cache; s.Saved < 4 || s.Restored < 4 || s.AsideBytes == 0 || s.Prefixes != 5 {
			t.Errorf("%+v", s)
		}
	})
}

// Another engine goes on with what one has exported.
func TestCacheExport(t *testing.T) {
	var list []llama.Cached
	cfg := llama.Config{Slots: 2, Context: 512, Export: func(seq iter.Seq[llama.Cached]) {
		for c := range seq {
			c.State = slices.Clone(c.State)
			list = append(list, c)
		}
	}}
	r := llama.Request{Prompt: tokens(t, "something that is worth keeping over a restart"), MaxTokens: 5}
	var want result
	cached(t, cfg, llamatest.Options{}, func(e *llama.Engine) {
		for i := range 4 {
			generate(t.Context(), e, llama.Request{Prompt: tokens(t, fmt.Sprintf("%d: other prompts of a length that is worth it", i)), MaxTokens: 1})
		}
		want = generate(t.Context(), e, r)
	})
	if len(list) != 5 {
		t.Fatalf("%d prefixes exported, want 5", len(list))
	}
	if last := list[4].Tokens; !slices.Equal(last[:len(r.Prompt)], r.Prompt) {
		t.Error("the one that was used last does not come last")
	}
	dec := llamatest.NewDecoder(fake, llamatest.Options{Slots: 2, Context: 512})
	e := llama.New(fake, dec, llama.Config{Slots: 2, Context: 512})
	if n := e.Import(list); n != 5 {
		t.Errorf("%d prefixes imported", n)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go e.Run(ctx)
	if got := generate(t.Context(), e, r); got.usage.CachedTokens != len(r.Prompt)-1 || !slices.Equal(got.tokens, want.tokens) {
		t.Errorf("after a restart %+v, before it %+v", got, want)
	}
}

// A driver that cannot forget a part switches the cache off.
func TestCacheUnsupported(t *testing.T) {
	cfg := llama.Config{Slots: 2, Context: 256}
	e := llama.New(fake, noShare{llamatest.NewDecoder(fake, llamatest.Options{Slots: 2, Context: 256})}, cfg)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go e.Run(ctx)
	r := llama.Request{Prompt: tokens(t, "the same prompt, again and again"), MaxTokens: 4}
	var first result
	for i := range 4 {
		got := generate(t.Context(), e, r)
		if i == 0 {
			first = got
		}
		if got.err != nil || got.usage.CachedTokens != 0 || !slices.Equal(got.tokens, first.tokens) {
			t.Errorf("answer %d: %+v, the first %+v", i, got, first)
		}
	}
}
