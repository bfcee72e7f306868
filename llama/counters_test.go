package llama_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// noisy is utility that replaces many of the fake's best tokens.
func noisy() sampler.Params {
	return sampler.Params{Utility: sampler.Utility{Sigma: 2, Key: sampler.UtilityKey([]byte("x"), "m", 2)}}
}

// TestCountersByName: the counters are the sums of what the answers count, whoever of them ended how.
func TestCountersByName(t *testing.T) {
	e := start(t, llama.Config{Slots: 3, Context: 512, Batch: 64, Queue: 8}, llamatest.Options{})
	want := map[string]sampler.Counts{}
	ask := func(name string, p sampler.Params, n int) {
		for d, err := range e.Generate(t.Context(), llama.Request{Prompt: tokens(t, "x "+name), Params: p, MaxTokens: n, Name: name}) {
			if err != nil {
				t.Fatal(err)
			}
			if d.Finish == "" {
				if d.Counts != (sampler.Counts{}) {
					t.Errorf("counts %+v before the end", d.Counts)
				}
				continue
			}
			if int(d.Counts.Steps) != d.Usage.CompletionTokens || d.Usage.CompletionTokens != n {
				t.Errorf("%d steps, %d tokens, want %d", d.Counts.Steps, d.Usage.CompletionTokens, n)
			}
			c := want[name]
			c.Steps += d.Counts.Steps
			c.Flips += d.Counts.Flips
			c.Exact += d.Counts.Exact
			want[name] = c
		}
	}
	ask("plain", sampler.Params{}, 20)
	ask("noisy", noisy(), 150) // more than are counted at once
	ask("noisy", noisy(), 7)
	for name, c := range want {
		if got := e.Counters()[name]; got != c {
			t.Errorf("%s: %+v, want %+v", name, got, c)
		}
	}
	if c := want["noisy"]; c.Flips == 0 || c.Exact == 0 || want["plain"].Flips != 0 || len(e.Counters()) != 2 {
		t.Errorf("counts %+v show nothing", want)
	}
}

// TestCountersOfAnswersThatDoNotEnd: what was done counts while an answer runs, and when its reader has left.
func TestCountersOfAnswersThatDoNotEnd(t *testing.T) {
	e := start(t, llama.Config{Slots: 1, Context: 4096, Batch: 64}, llamatest.Options{})
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	seen := 0
	for _, err := range e.Generate(ctx, llama.Request{Prompt: tokens(t, "x"), Params: noisy(), Name: "left"}) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			break
		}
		if seen++; seen == 300 {
			if c := e.Counters()["left"]; c.Steps < 100 {
				t.Errorf("after 300 pieces only %d steps are counted", c.Steps)
			}
			leave()
		}
	}
	// The slot is free only once the answer was dropped, and so counted.
	generate(t.Context(), e, llama.Request{Prompt: tokens(t, "x"), MaxTokens: 1})
	if c := e.Counters()["left"]; c.Steps < 300 || c.Flips == 0 {
		t.Errorf("after the end %+v, want at least 300 steps", c)
	}
}

// TestReportThroughTheEngine: it comes with the last delta, has a step for each token chosen, and agrees with the counts.
func TestReportThroughTheEngine(t *testing.T) {
	say := llamatest.Say(fake, ":", map[string]string{"say it": "one two three"})
	e := start(t, llama.Config{Slots: 2, Context: 512, Batch: 64}, llamatest.Options{Say: say})
	for _, c := range []struct {
		name    string
		request llama.Request
		steps   int // where they are known
	}{
		{"ended by the model", llama.Request{Prompt: tokens(t, "say it:")}, 0},
		{"ended by a stop string", llama.Request{Prompt: tokens(t, "say it:"), Stop: []string{"wo"}}, 0},
		{"forced", llama.Request{Prompt: tokens(t, "x"), Forced: tokens(t, "abc"), MaxTokens: 3, Params: noisy()}, 3},
		{"of full length", llama.Request{Prompt: tokens(t, "x"), MaxTokens: 90, Params: noisy()}, 90},
	} {
		c.request.Params.Report = true
		var last llama.Delta
		var text []sampler.Token
		for d, err := range e.Generate(t.Context(), c.request) {
			if err != nil {
				t.Fatal(err)
			}
			if last = d; d.Finish == "" && d.Report != nil {
				t.Errorf("%s: a report before the end", c.name)
			}
			for _, tok := range d.Tokens {
				text = append(text, tok.Token)
			}
		}
		r := last.Report
		if r == nil || int(r.Steps) != last.Usage.CompletionTokens || len(r.Tokens) != int(r.Steps) || c.steps > 0 && int(r.Steps) != c.steps {
			t.Errorf("%s: report %+v of %d tokens", c.name, r, last.Usage.CompletionTokens)
			continue
		}
		if r.Flips != last.Counts.Flips || r.Hits != last.Counts.Hits || r.Forced != last.Counts.Forced {
			t.Errorf("%s: report %+v, counts %+v", c.name, r.Report, last.Counts)
		}
		var chosen []sampler.Token
		var sum sampler.Report
		for _, s := range r.Tokens {
			chosen = append(chosen, s.Token)
			sum.Add(s)
		}
		if !slices.Equal(chosen[:len(text)], text) {
			t.Errorf("%s: the report's tokens are %v, those of the text %v", c.name, chosen, text)
		}
		if sum.Flips != r.Flips || !(math.Abs(sum.Retention-r.Retention) < 1e-12) || !(math.Abs(sum.KL-r.KL) < 1e-12) {
			t.Errorf("%s: the steps make %+v, the report says %+v", c.name, sum, r.Report)
		}
	}
	for d, err := range e.Generate(t.Context(), llama.Request{Prompt: tokens(t, "x"), MaxTokens: 3}) {
		if err != nil || d.Report != nil {
			t.Errorf("without asking: report %+v, %v", d.Report, err)
		}
	}
}
