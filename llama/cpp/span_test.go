package cpp

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"aim/internal/eval"
	"aim/llama"
	"aim/sampler"
)

// spanCases reads a set of cases, and skips the test where there is none.
func spanCases(t testing.TB, path string) []eval.SpanCase {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	set, err := eval.ReadFocusSet(f)
	if err != nil {
		t.Fatal(err)
	}
	return set.Spans
}

const ownSpans = "../../internal/eval/testdata/spans.json"

// sharedSpans is the span cases that the project was given.
func sharedSpans(t testing.TB) []eval.SpanCase {
	shared := os.Getenv("AIM_SHARED")
	if shared == "" {
		shared = "../../../shared"
	}
	return spanCases(t, filepath.Join(shared, "testdata/focus/dev.json"))
}

// spanEngine runs an engine of that many slots, and turns what a user says into a prompt.
func spanEngine(t testing.TB, m *Model, slots int) (*llama.Engine, eval.Prompter) {
	t.Helper()
	d := decoder(t, m, DecoderOptions{Slots: slots, Context: 512, Batch: 1024})
	e := llama.New(m, d, llama.Config{Slots: slots, Context: 512, Batch: 1024, Queue: 2 * slots})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return e, func(text string) ([]sampler.Token, error) {
		return m.Tokenize([]llama.Part{
			{Text: "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\n", Trusted: true},
			{Text: text},
			{Text: "<|im_end|>\n<|im_start|>assistant\n", Trusted: true},
		}, true)
	}
}

// gaps records how far the best logit of each raw row is above the second.
type gaps struct{ list []float64 }

func (g *gaps) Observe(raw []float32) {
	best := argmax(raw)
	second := sampler.Token(0)
	if best == 0 {
		second = 1
	}
	for t := range sampler.Token(len(raw)) {
		if t != best && raw[t] > raw[second] {
			second = t
		}
	}
	g.list = append(g.list, float64(raw[best]-raw[second]))
}

func (g *gaps) Accept(sampler.Token) {}

// On the real model at strength -1 the answer is the plain one to the prompt without the span, up to a step at which two
// tokens are so close that the company in the batch decides.
func TestSpanTakenAway(t *testing.T) {
	m := open(t)
	e, prompt := spanEngine(t, m, 8)
	const noise = 0.25 // logits; rows of different batches differ by up to some hundredths
	for _, c := range spanCases(t, ownSpans)[:4] {
		with, err := prompt(c.Prompt)
		if err != nil {
			t.Fatal(err)
		}
		at := strings.Index(c.Prompt, c.Span)
		without, err := prompt(llama.Cut(c.Prompt, at, at+len(c.Span)))
		if err != nil {
			t.Fatal(err)
		}
		watch := &gaps{}
		want := tokensOf(t, e, llama.Request{Prompt: without, MaxTokens: 32, Params: sampler.Params{Observer: watch}})
		got := tokensOf(t, e, llama.Request{Prompt: with, MaxTokens: 32, Params: sampler.Params{
			Spans:    []sampler.Span{{Without: without, Strength: -1}},
			Observer: &gaps{}, // somebody looks at the whole prompt's rows, so both are computed
		}})
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				if watch.list[i] > noise {
					t.Errorf("%q: token %d is %q, want %q, which is %.2f logits ahead", c.Prompt, i, m.Piece(got[i]), m.Piece(want[i]), watch.list[i])
				}
				break
			}
		}
		if plain := tokensOf(t, e, llama.Request{Prompt: with, MaxTokens: 32}); slices.Equal(plain, want) {
			t.Errorf("%q: the span makes no difference", c.Prompt)
		}
	}
}

func tokensOf(t *testing.T, e *llama.Engine, r llama.Request) (tokens []sampler.Token) {
	t.Helper()
	r.Params.Logprobs = true
	for d, err := range e.Generate(t.Context(), r) {
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range d.Tokens {
			tokens = append(tokens, s.Token)
		}
	}
	return tokens
}

// On a few cases: more of the span's words at 1, fewer at -1, and nothing recited.
func TestSpanShiftsAttention(t *testing.T) {
	m := open(t)
	e, prompt := spanEngine(t, m, 16)
	rows, err := eval.Spans(t.Context(), e, prompt, spanCases(t, ownSpans)[:5], eval.SpanDeleted, []float64{-1, 1}, 48)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		t.Logf("strength %2g: rate %.4f, ppl ratio %.3f, d2 %.3f, excess %d", r.Strength, r.Rate, r.PPLRatio, r.D2, r.Excess)
	}
	if !(rows[2].Rate > rows[0].Rate && rows[1].Rate < rows[0].Rate) {
		t.Errorf("rates at 0, -1 and 1: %.4f, %.4f, %.4f", rows[0].Rate, rows[1].Rate, rows[2].Rate)
	}
	if rows[2].Parrots > 0 || rows[2].PPLRatio > 1.4 {
		t.Errorf("at strength 1: %d answers recite the span, ppl ratio %.3f", rows[2].Parrots, rows[2].PPLRatio)
	}
}

// The promises of docs/focus-span.md, on all cases.
func TestSpanTargets(t *testing.T) {
	if os.Getenv("AIM_FULL") == "" {
		t.Skip("minutes of decoding: set AIM_FULL=1")
	}
	m := open(t)
	e, prompt := spanEngine(t, m, 32)
	cases := append(sharedSpans(t), spanCases(t, ownSpans)...)
	rows, err := eval.Spans(t.Context(), e, prompt, cases, eval.SpanDeleted, []float64{-1, -0.5, 0.5, 1}, 128)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		t.Logf("%5.2f | rate %.4f [%.4f, %.4f] | ppl ratio %.3f [%.3f, %.3f] | d2 %.3f [%.3f, %.3f] | parrots %d, excess %d", r.Strength,
			r.Rate, r.Bands["rate"][0], r.Bands["rate"][1], r.PPLRatio, r.Bands["ppl_ratio"][0], r.Bands["ppl_ratio"][1],
			r.D2, r.Bands["d2"][0], r.Bands["d2"][1], r.Parrots, r.Excess)
	}
	base, full := rows[0], rows[len(rows)-1]
	if !(full.Rate >= 2*base.Rate) || !(full.PPLRatio <= 1.4) || !(full.D2 >= base.D2-0.03) || full.Parrots > 0 {
		t.Error("strength 1 misses its targets")
	}
	slices.SortFunc(rows, func(a, b eval.SpanRow) int { return int(100 * (a.Strength - b.Strength)) })
	for i := 1; i < len(rows); i++ {
		if rows[i].Rate < rows[i-1].Rate {
			t.Errorf("the rate falls from %.4f to %.4f between %g and %g", rows[i-1].Rate, rows[i].Rate, rows[i-1].Strength, rows[i].Strength)
		}
	}
}
