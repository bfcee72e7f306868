package cpp

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"aim/internal/testmodel"
	"aim/llama"
	"aim/sampler"
)

const chatFormat = "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n"

// TestLazyNoiseOnRealRows: on real rows, the token that a greedy step chooses with noise on a few tokens is the first of the
// log-probabilities, for which every token has its noise; and the one that a step with top-k draws is what a draw by hand
// from those log-probabilities gives.
func TestLazyNoiseOnRealRows(t *testing.T) {
	rows := realRows(t, testmodel.Path(t), chatFormat)
	contexts := 10_000/len(rows) + 1
	if os.Getenv("AIM_FULL") == "" {
		contexts = 32 // 10 000 rows take a quarter of a minute
	}
	const k = 20
	vocab := len(rows[0])
	row := make([]float32, vocab)
	flips, steps := uint64(0), 0
	for _, sigma := range []float64{0.45, 2.1} {
		p := sampler.Params{Utility: sampler.Utility{Sigma: sigma, Key: sampler.FocusKey(1)}, Logprobs: true, TopLogprobs: k}
		greedy := newSampler(t, p, vocab)
		p.Temperature, p.TopK, p.Seed = 1, k, 7
		drawn := newSampler(t, p, vocab)
		coins := rand.New(rand.NewPCG(p.Seed, 0))
		for context := range contexts {
			for i, raw := range rows {
				copy(row, raw)
				a, err := greedy.Sample(row)
				if err != nil {
					t.Fatal(err)
				}
				if a.Token != a.Top[0].Token {
					t.Fatalf("σ = %g, row %d, context %d: %d is chosen, %d is first", sigma, i, context, a.Token, a.Top[0].Token)
				}
				copy(row, raw)
				b, err := drawn.Sample(row)
				if err != nil {
					t.Fatal(err)
				}
				if want := drawByHand(b.Top, coins.Float64()); b.Token != want {
					t.Fatalf("σ = %g, row %d, context %d: %d is drawn, want %d", sigma, i, context, b.Token, want)
				}
				steps++
				greedy.Accept(a.Token)
				drawn.Accept(b.Token)
			}
		}
		flips += greedy.Counts().Flips
	}
	t.Logf("%d rows, noise replaced the best token in %d", steps, flips)
	if flips == 0 {
		t.Error("there was no noise")
	}
}

func newSampler(tb testing.TB, p sampler.Params, vocab int) *sampler.Sampler {
	tb.Helper()
	s, err := sampler.New(p, vocab)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// drawByHand is the token at which the probabilities, summed up in the order of the ids, exceed coin times their total.
func drawByHand(top []sampler.Candidate, coin float64) sampler.Token {
	top = slices.Clone(top)
	slices.SortFunc(top, func(a, b sampler.Candidate) int { return int(a.Token) - int(b.Token) })
	total := 0.0
	for _, c := range top {
		total += math.Exp(c.Logprob)
	}
	left := coin * total
	for _, c := range top {
		if left -= math.Exp(c.Logprob); left < 0 {
			return c.Token
		}
	}
	return top[len(top)-1].Token
}

// TestInvalidBytesUnderNoise: with so much noise that the model says any tokens, among them parts of runes, the text is valid
// UTF-8 with U+FFFD for what is not, while the tokens keep their bytes. Control tokens never come up.
func TestInvalidBytesUnderNoise(t *testing.T) {
	m := open(t)
	o := DecoderOptions{Slots: 8, Context: 256}
	e := llama.New(m, decoder(t, m, o), llama.Config{Slots: o.Slots, Context: o.Context, Queue: o.Slots})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()
	defer func() { stop(); <-ended }()
	prompt, err := m.Tokenize([]llama.Part{{Text: fmt.Sprintf(chatFormat, questions[0]), Trusted: true}}, true)
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		text string
		raw  []byte
		err  error
	}
	results := make(chan result)
	for i := range o.Slots {
		go func() {
			var r result
			key := sampler.UtilityKey([]byte("a secret of this test"), fmt.Sprint(i), 30)
			p := sampler.Params{Utility: sampler.Utility{Sigma: 30, Key: key}}
			for d, err := range e.Generate(ctx, llama.Request{Prompt: prompt, Params: p, MaxTokens: 48}) {
				r.text += d.Text
				for _, token := range d.Tokens {
					switch m.Kind(token.Token) {
					case llama.Normal:
						r.raw = append(r.raw, m.Piece(token.Token)...)
					case llama.Control:
						r.err = fmt.Errorf("control token %d was chosen", token.Token)
					case llama.End:
					}
				}
				if err != nil {
					r.err = err
				}
			}
			results <- r
		}()
	}
	replaced := 0
	for range o.Slots {
		r := <-results
		if r.err != nil {
			t.Error(r.err)
		}
		if !utf8.ValidString(r.text) {
			t.Errorf("%q is not valid UTF-8", r.text)
		}
		if got, want := strings.ReplaceAll(r.text, "\uFFFD", ""), string(bytes.ToValidUTF8(r.raw, nil)); got != want {
			t.Errorf("the text is %q, the bytes are %q", r.text, r.raw)
		}
		if strings.Contains(r.text, "\uFFFD") {
			replaced++
		}
	}
	t.Logf("%d of %d answers have invalid bytes", replaced, o.Slots)
	if replaced == 0 {
		t.Error("no answer has invalid bytes: the test does not see what it is for")
	}
}
