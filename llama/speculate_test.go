package llama_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// echo says the prompt again, but for one token in so many, which is left to chance.
func echo(prompt int, every int) func([]sampler.Token) sampler.Token {
	return func(history []sampler.Token) sampler.Token {
		i := len(history)
		if i < prompt || i%every == 0 {
			return -1
		}
		return history[i-prompt+1]
	}
}

// whole is all that a reader of an answer gets, without times and without what was guessed.
type whole struct {
	deltas []llama.Delta
	prompt []llama.Sampled
	err    error
}

func read(ctx context.Context, e *llama.Engine, r llama.Request) (w whole, last llama.Usage) {
	for d, err := range e.Generate(ctx, r) {
		if err != nil {
			w.err = err
			return w, last
		}
		last = d.Usage
		d.Usage = llama.Usage{PromptTokens: last.PromptTokens, CompletionTokens: last.CompletionTokens}
		w.prompt, d.Prompt = append(w.prompt, d.Prompt...), nil // which may come ahead of the first token
		if d.Text != "" || len(d.Tokens) > 0 || d.Finish != "" {
			w.deltas = append(w.deltas, d)
		}
	}
	return w, last
}

// limits is a mask that allows no token twice in a row, and after a few tokens none at all where dead is set.
type limits struct {
	last sampler.Token
	n    int
	dead int
}

func (m *limits) Apply(row []float32) {
	for t := range row {
		if !m.Allows(sampler.Token(t)) {
			row[t] = float32(negative)
		}
	}
}

func (m *limits) Allows(t sampler.Token) bool { return t != m.last && (m.dead == 0 || m.n < m.dead) }
func (m *limits) Accept(t sampler.Token)      { m.last, m.n = t, m.n+1 }

var negative = func() float64 { var zero float64; return -1 / zero }()

// features are requests of every kind for which something is guessed.
func features(t testing.TB) map[string]func() llama.Request {
	text := "Repeat after me: the quick brown fox jumps over a lazy dog by the river; the water is cold."
	base := func(p sampler.Params) llama.Request {
		return llama.Request{Prompt: tokens(t, text), MaxTokens: 150, Params: p}
	}
	utility := sampler.Utility{Sigma: 1.5, Key: sampler.UtilityKey([]byte("secret"), "m", 1.5)}
	focus := []sampler.Focus{{Targets: [][]sampler.Token{tokens(t, " water")[1:]}, Sigma: 3, Direction: sampler.Raise}}
	list := map[string]func() llama.Request{
		"greedy":  func() llama.Request { return base(sampler.Params{}) },
		"sampled": func() llama.Request { return base(sampler.Params{Temperature: 1, TopP: 0.9, Seed: 3}) },
		"xtc and mirostat": func() llama.Request {
			return base(sampler.Params{Temperature: 1.5, XTCProbability: 0.5, XTCThreshold: 0.1, Seed: 3})
		},
		"modulated": func() llama.Request { return base(sampler.Params{Utility: utility}) },
		"all stages": func() llama.Request {
			return base(sampler.Params{
				Temperature: 0.8, MinP: 0.02, Seed: 5, Utility: utility, Focus: focus, FocusKey: sampler.Key{7},
				RepeatPenalty: 1.1, PresencePenalty: 0.3, Logprobs: true, TopLogprobs: 3, Report: true,
			})
		},
		"masked": func() llama.Request { return base(sampler.Params{Temperature: 1, Seed: 4, Mask: &limits{}}) },
		"mask without a way on": func() llama.Request {
			return base(sampler.Params{Mask: &limits{dead: 30}})
		},
		"windowed noise": func() llama.Request {
			u := utility
			u.Scope = sampler.Scope{Window: 3}
			return base(sampler.Params{Utility: u})
		},
		"scored prompt": func() llama.Request {
			r := base(sampler.Params{Logprobs: true})
			r.ScorePrompt = true
			return r
		},
		"forced": func() llama.Request {
			r := base(sampler.Params{Temperature: 1, Seed: 1, Logprobs: true})
			r.Forced = tokens(t, "Repeat something else before you go on")[1:]
			return r
		},
		"predicted": func() llama.Request {
			r := base(sampler.Params{})
			r.Predicted = tokens(t, "the quick brown fox flies")[1:]
			return r
		},
	}
	for _, n := range []int{1, 2, 3, 7, 41, 42} {
		list[fmt.Sprintf("%d tokens", n)] = func() llama.Request {
			r := base(sampler.Params{})
			r.MaxTokens = n
			return r
		}
	}
	for _, stop := range []string{"fox j", "ox", "by the river;", "d"} {
		list["stop "+stop] = func() llama.Request {
			r := base(sampler.Params{})
			r.Stop = []string{stop, "never said"}
			return r
		}
	}
	return list
}

func saying(t testing.TB, every int) func([]sampler.Token) sampler.Token {
	return echo(len(features(t)["greedy"]().Prompt), every)
}

// Whatever is guessed, and however wrong, an answer comes in the same deltas as without.
func TestGuessesChangeNothing(t *testing.T) {
	for _, every := range []int{1000, 13, 3} {
		for name, build := range features(t) {
			t.Run(fmt.Sprintf("%s, one in %d by chance", name, every), func(t *testing.T) {
				o := llamatest.Options{Say: saying(t, every)}
				want, _ := read(t.Context(), start(t, llama.Config{Context: 256}, o), build())
				for _, most := range []int{1, 5, 32, 64} {
					e := start(t, llama.Config{Context: 256, Batch: 50, Draft: most, DraftAlways: true}, o)
					got, usage := read(t.Context(), e, build())
					if !reflect.DeepEqual(got, want) {
						t.Fatalf("with guesses of up to %d:\n%+v\nwithout:\n%+v", most, got, want)
					}
					stats := e.Stats()
					if stats.Drafted < stats.Accepted || want.err == nil && uint64(usage.CompletionTokens) != stats.CompletionTokens {
						t.Errorf("usage %+v, stats %+v", usage, stats)
					}
					if want.err == nil && (usage.DraftedTokens != int(stats.Drafted) || usage.AcceptedTokens != int(stats.Accepted)) {
						t.Errorf("usage %+v, stats %+v", usage, stats)
					}
					if stats.PromptTokens != uint64(len(build().Prompt)-1) {
						t.Errorf("%d rows of a prompt of %d", stats.PromptTokens, len(build().Prompt))
					}
					if want := stats.CompletionTokens - stats.Accepted; stats.Drafted > 0 && stats.Decodes < want {
						t.Errorf("%d decodes for %d tokens of which %d were guessed", stats.Decodes, stats.CompletionTokens, stats.Accepted)
					}
				}
			})
		}
	}
}

func TestGuessesSaveDecodes(t *testing.T) {
	e := start(t, llama.Config{Context: 256, Draft: 16, DraftAlways: true}, llamatest.Options{Say: saying(t, 1000)})
	_, usage := read(t.Context(), e, features(t)["greedy"]())
	if s := e.Stats(); usage.AcceptedTokens < 120 || s.Decodes > 30 {
		t.Errorf("usage %+v, stats %+v: most of 150 tokens repeat the prompt", usage, s)
	}
}

// Several answers, some of whose prompts enter while others run, in small batches, with a cache that is too small for all.
func TestGuessesInCompany(t *testing.T) {
	for _, cells := range []int{0, 500} {
		o := llamatest.Options{Say: saying(t, 9), Cells: cells}
		alone := start(t, llama.Config{Context: 256}, llamatest.Options{Say: o.Say})
		crowd := start(t, llama.Config{Slots: 4, Context: 256, Batch: 24, Chunk: 5, Queue: 64, Draft: 16, DraftAlways: true}, o)
		var wg sync.WaitGroup
		for name, build := range features(t) {
			want, _ := read(t.Context(), alone, build())
			wg.Go(func() {
				if got, _ := read(t.Context(), crowd, build()); !reflect.DeepEqual(got, want) {
					t.Errorf("%s, %d cells:\n%+v\nalone:\n%+v", name, cells, got, want)
				}
			})
			wg.Go(func() { // who leaves in the middle of guesses disturbs nobody
				for range crowd.Generate(t.Context(), build()) {
					break
				}
			})
		}
		wg.Wait()
		if s := crowd.Stats(); s.Accepted == 0 {
			t.Errorf("%+v: nothing was guessed", s)
		}
	}
}

// forgetful is a cache that can only be emptied, like that of a recurrent model.
type forgetful struct{ *llamatest.Decoder }

func (d *forgetful) Forget(seq, from int) error {
	if from > 0 {
		return llama.ErrUnsupported
	}
	return d.Decoder.Forget(seq, from)
}

func TestGuessesEndWhereTheCacheCannotForget(t *testing.T) {
	cfg := llama.Config{Context: 256, Draft: 16, DraftAlways: true}
	build := features(t)["all stages"]
	want, _ := read(t.Context(), start(t, llama.Config{Context: 256}, llamatest.Options{Say: saying(t, 9)}), build())
	dec := &forgetful{llamatest.NewDecoder(fake, llamatest.Options{Context: 256, Say: saying(t, 9)})}
	e := llama.New(fake, dec, cfg)
	ctx, stop := context.WithCancel(t.Context())
	ended := runs(ctx, e)
	for range 2 {
		if got, _ := read(t.Context(), e, build()); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
	}
	stop()
	<-ended
	if s := e.Stats(); s.Drafted == 0 || s.Drafted > 16 {
		t.Errorf("%+v: want guesses until the first wrong one and none after it", s)
	}
}

func runs(ctx context.Context, e *llama.Engine) chan error {
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	return ended
}

// A decode that fails ends the answers in it, guesses or not, and no others.
func TestGuessesInAFailedDecode(t *testing.T) {
	fail := errors.New("no luck")
	o := llamatest.Options{Say: saying(t, 1000), Before: func(rows []llama.Row) error {
		if len(rows) > 12 && rows[0].Pos > 100 {
			return fail
		}
		return nil
	}}
	e := start(t, llama.Config{Context: 256, Draft: 16, DraftAlways: true}, o)
	got, _ := read(t.Context(), e, features(t)["greedy"]())
	if !errors.Is(got.err, fail) {
		t.Errorf("error %v", got.err)
	}
	if s := e.Stats(); s.Busy != 0 {
		t.Errorf("%+v", s)
	}
}

// Twins step together; there is nothing to be guessed for them.
func TestNoGuessesBesideTwins(t *testing.T) {
	e := start(t, llama.Config{Slots: 2, Context: 256, Draft: 16, DraftAlways: true}, llamatest.Options{Say: saying(t, 1000)})
	r := features(t)["greedy"]()
	r.Params.Spans = []sampler.Span{{Without: slices.Clone(r.Prompt[5:]), Strength: 0.5, Pieces: [][]sampler.Token{{5}}}}
	if got, usage := read(t.Context(), e, r); got.err != nil || usage.DraftedTokens != 0 {
		t.Errorf("%+v, error %v", usage, got.err)
	}
}

// A text that is predicted is followed from the first token on, and tokens that would end an answer are not guessed.
func TestPredicted(t *testing.T) {
	answer := strings.Repeat("nothing like the prompt ", 4)
	say := llamatest.Say(fake, "<|ctl|>", map[string]string{"?": answer})
	e := start(t, llama.Config{Context: 256, Draft: 16, DraftAlways: true}, llamatest.Options{Say: say})
	predicted := append(tokens(t, answer)[1:], llamatest.EOS, llamatest.EOS)
	_, usage := read(t.Context(), e, llama.Request{Prompt: tokens(t, "?<|ctl|>"), Predicted: predicted})
	if n := len(predicted) - 2; usage.AcceptedTokens < n*9/10 || usage.DraftedTokens > n+16 {
		t.Errorf("usage %+v for an answer of %d predicted tokens", usage, n)
	}
	var domain *sampler.DomainError
	bad := llama.Request{Prompt: tokens(t, "?"), Predicted: []sampler.Token{-1}}
	if got, _ := read(t.Context(), e, bad); !errors.As(got.err, &domain) || domain.Param != "predicted" {
		t.Errorf("a predicted token outside the vocabulary: %v", got.err)
	}
}
