package llama_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// shifted is the greedy answer to a prompt by the book: whenever the context is full, half of what follows the kept tokens goes.
func shifted(t *testing.T, prompt []sampler.Token, context, keep, n int) (answer []sampler.Token) {
	t.Helper()
	history := slices.Clone(prompt)
	for range n {
		if len(history) > context {
			history = slices.Delete(history, keep, keep+(len(history)-keep)/2)
		}
		dec := llamatest.NewDecoder(fake, llamatest.Options{Context: context, Batch: context})
		rows := make([]llama.Row, len(history))
		for pos, tok := range history {
			rows[pos] = llama.Row{Token: tok, Pos: pos, Logits: pos == len(history)-1}
		}
		if err := dec.Decode(rows); err != nil {
			t.Fatal(err)
		}
		row := dec.Logits(len(rows) - 1)
		best := sampler.Token(slices.Index(row, slices.Max(row)))
		answer, history = append(answer, best), append(history, best)
	}
	return answer
}

// An answer goes on beyond its context, and is what the tokens that are left at each step give.
func TestShift(t *testing.T) {
	const context = 64
	prompt := tokens(t, "a question of some length")
	long := tokens(t, strings.Repeat("a long question ", 8))[:context-10]
	for _, c := range []struct {
		name   string
		prompt []sampler.Token
		keep   int // of Config
		kept   int
	}{
		{"the whole prompt", prompt, 0, len(prompt)},
		{"a part of it", prompt, 5, 5},
		{"more than there is", prompt, 30, len(prompt)},
		{"half of the context", long, 0, context / 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := start(t, llama.Config{Slots: 1, Context: context, Batch: context, Shift: true, Keep: c.keep}, llamatest.Options{})
			got := generate(t.Context(), e, llama.Request{Prompt: c.prompt, MaxTokens: 200})
			if got.err != nil || got.finish != llama.FinishLength || got.usage.CompletionTokens != 200 {
				t.Fatalf("%d tokens, finish %q, error %v", got.usage.CompletionTokens, got.finish, got.err)
			}
			if want := shifted(t, c.prompt, context, c.kept, 200); !slices.Equal(got.tokens, want) {
				t.Errorf("got  %v\nwant %v", got.tokens, want)
			}
		})
	}
}

// Where nobody asked for it, or the cache cannot, an answer ends with its context.
func TestNoShift(t *testing.T) {
	const context = 64
	prompt := tokens(t, "a question of some length")
	for name, c := range map[string]struct {
		shift bool
		o     llamatest.Options
	}{
		"not asked for": {false, llamatest.Options{}},
		"not a Shifter": {true, llamatest.Options{NoShift: true}},
	} {
		e := start(t, llama.Config{Slots: 1, Context: context, Shift: c.shift}, c.o)
		got := generate(t.Context(), e, llama.Request{Prompt: prompt, MaxTokens: 200})
		if got.err != nil || got.finish != llama.FinishLength || got.usage.CompletionTokens != context-len(prompt) {
			t.Errorf("%s: %d tokens, finish %q, error %v", name, got.usage.CompletionTokens, got.finish, got.err)
		}
	}
}

// A model that never ends is ended.
func TestShiftIsBounded(t *testing.T) {
	const context = 32
	e := start(t, llama.Config{Slots: 1, Context: context, Shift: true}, llamatest.Options{})
	got := generate(t.Context(), e, llama.Request{Prompt: tokens(t, "go"), Params: sampler.Params{Bias: map[sampler.Token]float64{llamatest.EOS: -100}}})
	if got.err != nil || got.finish != llama.FinishLength || got.usage.CompletionTokens != 10*context {
		t.Errorf("%d tokens, finish %q, error %v", got.usage.CompletionTokens, got.finish, got.err)
	}
}

// Preempted answers are computed again from what was left of them, and come out the same.
func TestShiftSurvivesPreemption(t *testing.T) {
	for _, noCache := range []bool{true, false} {
		shiftSurvivesPreemption(t, llama.Config{Slots: 3, Context: 64, Batch: 64, Queue: 8, Shift: true, NoCache: noCache})
	}
}

func shiftSurvivesPreemption(t *testing.T, cfg llama.Config) {
	t.Helper()
	g := newGate()
	roomy, tight := start(t, cfg, llamatest.Options{}), start(t, cfg, llamatest.Options{Cells: 100, Before: g.before})
	prompts := []string{"one question", "another question", "the last question"}
	var wg sync.WaitGroup
	for _, p := range prompts {
		r := llama.Request{Prompt: tokens(t, p), MaxTokens: 150}
		want := generate(t.Context(), roomy, r)
		wg.Go(func() {
			if got := generate(t.Context(), tight, r); got.err != nil || len(got.tokens) != 150 || !slices.Equal(got.tokens, want.tokens) {
				t.Errorf("%q: got %v, %v\nwant %v", p, got.tokens, got.err, want.tokens)
			}
		})
	}
	eventually(t, "all are there at once", func() bool { s := tight.Stats(); return s.Busy+s.Queued == len(prompts) })
	close(g.open)
	wg.Wait()
	if cfg.NoCache && tight.Stats().PromptTokens <= roomy.Stats().PromptTokens {
		t.Error("nothing was computed again: the cache was not tight")
	}
}

// A span's twin shifts with its answer, where both prompts can be kept whole; elsewhere they end with the context.
func TestShiftWithTwins(t *testing.T) {
	const context = 128
	with, without := spanned(t, 1, -0.5)
	with.MaxTokens = 300
	e := start(t, llama.Config{Slots: 2, Context: context, Batch: 64, Shift: true}, llamatest.Options{})
	if n := max(len(with.Prompt), len(without.Prompt)); n > context/2 {
		t.Fatalf("a prompt of %d tokens is not kept whole", n)
	}
	with.Params.Bias = map[sampler.Token]float64{llamatest.EOS: -100}
	if got := generate(t.Context(), e, with); got.err != nil || len(got.tokens) != 300 {
		t.Errorf("%d tokens, finish %q, error %v", len(got.tokens), got.finish, got.err)
	}
	long := with
	long.Prompt = append(slices.Clone(with.Prompt), with.Prompt...)
	for len(long.Prompt) <= context/2 {
		long.Prompt = append(long.Prompt, with.Prompt...)
	}
	if got := generate(t.Context(), e, long); got.err != nil || got.finish != llama.FinishLength || len(got.tokens) != context-len(long.Prompt) {
		t.Errorf("beside a prompt of %d tokens: %d tokens, finish %q, error %v", len(long.Prompt), len(got.tokens), got.finish, got.err)
	}
}

// Nobody takes over what a shifted context has beyond the prompt: whoever asks on gets what he would get alone.
func TestShiftLeavesNoPrefix(t *testing.T) {
	cfg := llama.Config{Slots: 2, Context: 128, Batch: 64, Shift: true}
	e := start(t, cfg, llamatest.Options{})
	cfg.NoCache = true
	alone := start(t, cfg, llamatest.Options{})
	first := llama.Request{Prompt: tokens(t, "a question that is long enough to be kept"), MaxTokens: 150}
	answer := generate(t.Context(), e, first)
	if answer.err != nil || len(answer.tokens) != 150 {
		t.Fatalf("%d tokens, error %v", len(answer.tokens), answer.err)
	}
	again := generate(t.Context(), e, first)
	if !slices.Equal(again.tokens, answer.tokens) || again.usage.CachedTokens < len(first.Prompt)-1 {
		t.Errorf("again, with %d of %d tokens from the cache: %v\nwant %v", again.usage.CachedTokens, len(first.Prompt), again.tokens, answer.tokens)
	}
	rest := llama.Request{Prompt: slices.Concat(first.Prompt, answer.tokens[90:140]), MaxTokens: 30} // what the cells now hold, nearly
	got, want := generate(t.Context(), e, rest), generate(t.Context(), alone, rest)
	if got.err != nil || !slices.Equal(got.tokens, want.tokens) {
		t.Errorf("asking on: %v, %v\nwant %v", got.tokens, got.err, want.tokens)
	}
}
