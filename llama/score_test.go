package llama_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// scored reads the deltas of a request for scores.
func scored(t *testing.T, e *llama.Engine, r llama.Request) (prompt []llama.Sampled, res result) {
	t.Helper()
	first := true
	for d, err := range e.Generate(t.Context(), r) {
		if err != nil {
			res.err = err
			return nil, res
		}
		if (d.Prompt != nil) != first {
			t.Errorf("delta %+v: scores belong on the first one", d)
		}
		if first {
			prompt, first = d.Prompt, false
		}
		res.text += d.Text
		for _, s := range d.Tokens {
			res.tokens = append(res.tokens, s.Token)
		}
		res.finish, res.usage = d.Finish, d.Usage
	}
	return prompt, res
}

// scoring is a request whose distribution every stage has moved.
func scoring(prompt []sampler.Token) llama.Request {
	return llama.Request{Prompt: prompt, MaxTokens: 3, ScorePrompt: true, Params: sampler.Params{
		Utility: sampler.Utility{Sigma: 2, Key: sampler.Key{1}}, Bias: map[sampler.Token]float64{'a': 3},
		RepeatPenalty: 1.5, FrequencyPenalty: 1, Focus: []sampler.Focus{{All: true, Sigma: 1}}, FocusKey: sampler.FocusKey(1),
		Logprobs: true, TopLogprobs: 2,
	}}
}

// A score is what an answer to the tokens before says of that token, however the prompt was cut into decodes; and it changes
// nothing about the answer.
func TestScoresAreThoseOfAnAnswer(t *testing.T) {
	prompt := tokens(t, "a river and the water of a river")
	for _, rows := range []int{0, 1, 5} {
		t.Run(fmt.Sprint(rows), func(t *testing.T) {
			var decodes [][]llama.Row
			e := start(t, llama.Config{Slots: 2, Context: 256, Batch: 8, ScoreRows: rows}, llamatest.Options{Before: func(rows []llama.Row) error {
				decodes = append(decodes, slices.Clone(rows))
				return nil
			}})
			got, res := scored(t, e, scoring(prompt))
			if res.err != nil || len(got) != len(prompt) || got[0].Token != prompt[0] || got[0].Top != nil {
				t.Fatalf("%d scores of %d tokens, error %v", len(got), len(prompt), res.err)
			}
			for i := 1; i < len(prompt); i++ {
				r := scoring(prompt[:i])
				r.ScorePrompt, r.Forced, r.MaxTokens = false, prompt[i:i+1], 1
				for d, err := range e.Generate(t.Context(), r) {
					if err != nil {
						t.Fatal(err)
					}
					if len(d.Tokens) != 1 || !reflect.DeepEqual(d.Tokens[0], got[i]) {
						t.Errorf("token %d is scored as %+v, an answer says %+v", i, got[i], d.Tokens)
					}
				}
			}
			for _, batch := range decodes {
				n := 0
				for _, row := range batch {
					if row.Logits {
						n++
					}
				}
				if rows > 0 && n > max(rows, 2) {
					t.Errorf("%d rows of logits in a decode, bound %d", n, rows)
				}
			}
			plain := scoring(prompt)
			plain.ScorePrompt = false
			if want := generate(t.Context(), e, plain); !slices.Equal(res.tokens, want.tokens) || res.finish != want.finish {
				t.Errorf("scored, the answer is %v, else %v", res.tokens, want.tokens)
			}
		})
	}
}

func TestNoAnswer(t *testing.T) {
	decodes := 0
	e := start(t, llama.Config{Slots: 1, Context: 16}, llamatest.Options{Before: func([]llama.Row) error { decodes++; return nil }})
	prompt := tokens(t, "0123456789abcde") // as long as the context
	r := scoring(prompt)
	r.NoAnswer = true
	got, res := scored(t, e, r)
	if res.err != nil || len(got) != 16 || res.text != "" || res.finish != llama.FinishLength || res.usage.CompletionTokens != 0 || res.usage.PromptTokens != 16 {
		t.Errorf("%d scores, %+v", len(got), res)
	}
	for i, s := range got {
		if s.Token != prompt[i] || i > 0 && !(s.Logprob < 0 && !math.IsInf(s.Logprob, 0) && len(s.Top) == 2) {
			t.Errorf("score %d is %+v", i, s)
		}
	}
	if decodes != 1 {
		t.Errorf("%d decodes, want 1", decodes)
	}
	r.Prompt = prompt[:1]
	if got, res := scored(t, e, r); res.err != nil || len(got) != 1 || res.finish != llama.FinishLength {
		t.Errorf("one token: %d scores, %+v", len(got), res)
	}
	r.ScorePrompt = false
	if res := generate(t.Context(), e, r); res.err != nil || res.finish != llama.FinishLength || res.usage.PromptTokens != 1 {
		t.Errorf("nothing asked: %+v", res)
	}
	if decodes != 1 {
		t.Errorf("%d decodes for what needs none", decodes-1)
	}
	r.Params.Report = true
	for _, n := range []int{1, 3} {
		r.Prompt, r.ScorePrompt = prompt[:n], true
		for d, err := range e.Generate(t.Context(), r) {
			if err != nil || d.Report == nil || d.Report.Steps != 0 || d.Counts.Steps != 0 {
				t.Errorf("a prompt of %d: report %+v, counts %+v, error %v", n, d.Report, d.Counts, err)
			}
		}
	}
	r.Prompt = append(prompt, 'f')
	var long *llama.TooLongError
	if res := generate(t.Context(), e, r); !errors.As(res.err, &long) {
		t.Errorf("longer than the context: %v", res.err)
	}
	e.Close()
	for _, n := range []int{1, 3} {
		r.Prompt = prompt[:n]
		if res := generate(t.Context(), e, r); !errors.Is(res.err, llama.ErrClosed) {
			t.Errorf("after the end: %v", res.err)
		}
	}
}

func TestScoresOfOneTokenComeWithTheAnswer(t *testing.T) {
	e := start(t, llama.Config{Slots: 1, Context: 16}, llamatest.Options{})
	if got, res := scored(t, e, scoring(tokens(t, ""))); res.err != nil || len(got) != 1 || len(res.tokens) != 3 {
		t.Errorf("%d scores, %+v", len(got), res)
	}
}

// A prompt that loses its slot in the middle is scored like one that has a cache to itself.
func TestScoresSurvivePreemption(t *testing.T) {
	var prompts [][]sampler.Token
	for i := range 4 {
		prompts = append(prompts, tokens(t, fmt.Sprintf("prompt %d of a river without end", i)))
	}
	request := func(i int) llama.Request {
		r := scoring(prompts[i])
		r.MaxTokens = 20
		return r
	}
	var want [4][]llama.Sampled
	var wantRes [4]result
	alone := start(t, llama.Config{Slots: 1, Context: 64}, llamatest.Options{})
	for i := range want {
		want[i], wantRes[i] = scored(t, alone, request(i))
	}
	begun := 0
	cramped := start(t, llama.Config{Slots: 4, Context: 64, Batch: 16, ScoreRows: 3}, llamatest.Options{Cells: 70, Before: func(rows []llama.Row) error {
		for _, row := range rows {
			if row.Pos == 0 {
				begun++
			}
		}
		time.Sleep(100 * time.Microsecond) // so that all of them meet
		return nil
	}})
	var wg sync.WaitGroup
	for i := range want {
		wg.Go(func() {
			got, res := scored(t, cramped, request(i))
			if res.err != nil || !reflect.DeepEqual(got, want[i]) || !slices.Equal(res.tokens, wantRes[i].tokens) {
				t.Errorf("%d scores and %+v, want %d and %+v", len(got), res, len(want[i]), wantRes[i])
			}
		})
	}
	wg.Wait()
	if begun <= len(prompts) {
		t.Errorf("%d prompts began, of %d: none was preempted", begun, len(prompts))
	}
}

func TestScorePromptRefuses(t *testing.T) {
	e := start(t, llama.Config{Slots: 2, Context: 64}, llamatest.Options{})
	prompt := tokens(t, "abc")
	for param, change := range map[string]func(*sampler.Params){
		"logprobs": func(p *sampler.Params) { p.Logprobs, p.TopLogprobs = false, 0 },
		"spans":    func(p *sampler.Params) { p.Spans = []sampler.Span{{Without: prompt[:2], Strength: -1}} },
	} {
		r := scoring(prompt)
		change(&r.Params)
		var domain *sampler.DomainError
		if _, res := scored(t, e, r); !errors.As(res.err, &domain) || domain.Param != param {
			t.Errorf("%s: error %v", param, res.err)
		}
	}
}

func TestShowControl(t *testing.T) {
	e := start(t, llama.Config{Slots: 1, Context: 64}, llamatest.Options{})
	r := llama.Request{Prompt: tokens(t, "x"), Forced: []sampler.Token{'a', llamatest.Control, 'b', llamatest.EOS}}
	for _, c := range []struct {
		show bool
		stop []string
		want string
	}{
		{false, nil, "ab"}, {true, nil, "a<|ctl|>b"}, {true, []string{"tl|>"}, "a<|c"}, {false, []string{"tl|>"}, "ab"},
	} {
		r.ShowControl, r.Stop = c.show, c.stop
		if got := generate(t.Context(), e, r); got.err != nil || got.text != c.want || got.finish != llama.FinishStop {
			t.Errorf("control tokens shown: %v, stop %q: %+v, want %q", c.show, c.stop, got, c.want)
		}
	}
}

func TestUsageTellsTimes(t *testing.T) {
	const pause = 2 * time.Millisecond
	e := start(t, llama.Config{Slots: 1, Context: 64, Queue: 1}, llamatest.Options{Before: func([]llama.Row) error {
		time.Sleep(pause)
		return nil
	}})
	var wg sync.WaitGroup
	var usages [2]llama.Usage
	for i := range usages {
		wg.Go(func() {
			usages[i] = generate(t.Context(), e, llama.Request{Prompt: tokens(t, "abc"), MaxTokens: 5}).usage
		})
	}
	wg.Wait()
	for _, u := range usages {
		if u.PromptTime < pause || u.AnswerTime < 4*pause || u.CachedTokens != 0 {
			t.Errorf("usage %+v of 5 decodes of %v", u, pause)
		}
	}
	if long := max(usages[0].Queued, usages[1].Queued); long < 5*pause {
		t.Errorf("one waited for the other %v, want at least %v", long, 5*pause)
	}
}
