package cpp

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"aim/internal/testmodel"
	"aim/llama"
	"aim/sampler"
)

// batchError is more than what the shape of a batch was seen to change about the difference of two logits.
const batchError = 0.1

// guessing returns engines without guesses and with as many as there can be.
func guessing(t *testing.T, m *Model, slots int) (off, on *llama.Engine) {
	t.Helper()
	cfg := llama.Config{Slots: slots, Context: 512, Queue: 64}
	off = running(t, m, cfg)
	cfg.Draft, cfg.DraftAlways = 16, true
	return off, running(t, m, cfg)
}

// sampledAnswer is an answer with the log-probabilities of the first-ranked tokens, and its usage.
func sampledAnswer(t *testing.T, e *llama.Engine, r llama.Request) (list []llama.Sampled, usage llama.Usage) {
	t.Helper()
	for d, err := range e.Generate(context.Background(), r) {
		if err != nil {
			t.Error(err)
			return nil, usage
		}
		list, usage = append(list, d.Tokens...), d.Usage
	}
	return list, usage
}

// TestSpeculationIsExact: with guesses an answer has the tokens that it has without, up to the first step at which the shape of the
// batch decides: where the two first-ranked are closer than its error, or a draw falls as close to the border between two tokens.
// One answer at a time, and several at once, of which some have no guesses.
func TestSpeculationIsExact(t *testing.T) {
	m := open(t)
	off, alone := guessing(t, m, 1)
	_, company := guessing(t, m, 3)
	var requests []llama.Request
	var want [][]llama.Sampled
	for _, text := range []string{"Repeat this text word for word.\n\n" + quotedText[:340], "Tell a story."} {
		prompt, err := m.Tokenize([]llama.Part{{Text: fmt.Sprintf(chatFormat, text), Trusted: true}}, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []sampler.Params{
			{},
			{Utility: sampler.Utility{Sigma: 0.5, Key: sampler.FocusKey(1)}},
			{Temperature: 0.7, TopP: 0.9, Seed: 1, Utility: sampler.Utility{Sigma: 1, Key: sampler.FocusKey(2)}},
		} {
			p.Logprobs, p.TopLogprobs = true, 2
			requests = append(requests, llama.Request{Prompt: prompt, MaxTokens: 40, Params: p})
			list, _ := sampledAnswer(t, off, requests[len(requests)-1])
			want = append(want, list)
		}
	}
	for name, e := range map[string]*llama.Engine{"one at a time": alone, "three at once": company} {
		t.Run(name, func(t *testing.T) {
			got, usage := make([][]llama.Sampled, len(requests)), make([]llama.Usage, len(requests))
			var wg sync.WaitGroup
			for i := range requests { // the engine makes them wait
				wg.Go(func() { got[i], usage[i] = sampledAnswer(t, e, requests[i]) })
			}
			wg.Wait()
			steps, same, near := 0, 0, 0
			var all llama.Usage
			for i, list := range got {
				n := agree(want[i], list)
				steps, same = steps+len(want[i]), same+n
				all.DraftedTokens, all.AcceptedTokens = all.DraftedTokens+usage[i].DraftedTokens, all.AcceptedTokens+usage[i].AcceptedTokens
				if n == len(want[i]) && n == len(list) {
					continue
				}
				near++
				gap := want[i][n].Top[0].Logprob - want[i][n].Top[1].Logprob
				if requests[i].Params.Temperature == 0 && !(gap < batchError) {
					t.Errorf("request %d: step %d is another token, though the first-ranked are %g apart", i, n, gap)
				}
			}
			t.Logf("%d steps, %d of them before any difference, %d answers where the batch decided; %d of %d guesses were right",
				steps, same, near, all.AcceptedTokens, all.DraftedTokens)
			if all.AcceptedTokens == 0 || all.AcceptedTokens == all.DraftedTokens || near > 3 {
				t.Errorf("%d of %d guesses were right, and %d answers differ", all.AcceptedTokens, all.DraftedTokens, near)
			}
		})
	}
}

// agree is the number of tokens in which two answers agree from the start.
func agree(a, b []llama.Sampled) int {
	n := 0
	for n < len(a) && n < len(b) && a[n].Token == b[n].Token {
		n++
	}
	return n
}

// TestDraftByTheModelItself: as its own draft model, a model guesses nearly all of its greedy tokens; of sampled ones fewer, and both
// answers stay what they are.
func TestDraftByTheModelItself(t *testing.T) {
	m := open(t)
	const context = 256
	drafter, err := llama.NewModelDrafter(m, m, decoder(t, m, DecoderOptions{Slots: 1, Context: context}), 1, context, 512)
	if err != nil {
		t.Fatal(err)
	}
	off := running(t, m, llama.Config{Slots: 1, Context: context})
	on := running(t, m, llama.Config{Slots: 1, Context: context, Draft: 8, DraftAlways: true, Drafter: drafter, NoLookup: true})
	prompt, err := m.Tokenize([]llama.Part{{Text: fmt.Sprintf(chatFormat, "Tell a story."), Trusted: true}}, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		params sampler.Params
		share  float64 // of the guesses that are right, at least
	}{
		{"greedy", sampler.Params{}, 0.95},
		{"sampled and modulated", sampler.Params{Temperature: 0.7, Seed: 1, Utility: sampler.Utility{Sigma: 0.5, Key: sampler.FocusKey(1)}}, 0.2},
	} {
		c.params.Logprobs, c.params.TopLogprobs = true, 2
		r := llama.Request{Prompt: prompt, MaxTokens: 40, Params: c.params}
		want, _ := sampledAnswer(t, off, r)
		got, usage := sampledAnswer(t, on, r)
		t.Logf("%s: %d of %d tokens agree, %d of %d guesses were right", c.name, agree(want, got), len(want), usage.AcceptedTokens, usage.DraftedTokens)
		if usage.DraftedTokens == 0 || float64(usage.AcceptedTokens) < c.share*float64(usage.DraftedTokens) {
			t.Errorf("%s: %d of %d guesses were right", c.name, usage.AcceptedTokens, usage.DraftedTokens)
		}
		if n := agree(want, got); n < len(want) && !(want[n].Top[0].Logprob-want[n].Top[1].Logprob < batchError) && c.params.Temperature == 0 {
			t.Errorf("%s: step %d is another token", c.name, n)
		}
	}
}

// TestGuessedRowsAreDrawnFrom: the token after one that was guessed comes from a row that was computed before the guess was known to be
// right. Over many seeds it has the model's distribution.
func TestGuessedRowsAreDrawnFrom(t *testing.T) {
	m := open(t)
	off, on := guessing(t, m, 8)
	prompt, err := m.Tokenize([]llama.Part{{Text: "The sky is blue today. The sea is green. Remember: the sky is blue", Trusted: true}}, true)
	if err != nil {
		t.Fatal(err)
	}
	params := sampler.Params{Temperature: 1, Logprobs: true, TopLogprobs: 20, Utility: sampler.Utility{Sigma: 0.5, Key: sampler.FocusKey(1)}}
	first, err := m.Tokenize([]llama.Part{{Text: " today"}}, false)
	if err != nil || len(first) != 1 {
		t.Fatalf("tokens %v, error %v", first, err)
	}
	params.Bias = map[sampler.Token]float64{first[0]: 8} // so that the guess is right as a rule
	// The distribution is that of the second token where the first is forced.
	second, _ := sampledAnswer(t, off, llama.Request{Prompt: prompt, MaxTokens: 2, Params: params, Forced: first})
	const answers = 250
	counts := map[sampler.Token]int{}
	all, accepted := 0, 0
	var mu sync.Mutex
	var wg sync.WaitGroup
	room := make(chan struct{}, 16)
	for seed := range uint64(answers) {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			r := llama.Request{Prompt: prompt, MaxTokens: 2, Params: params}
			r.Params.Seed, r.Params.TopLogprobs = seed, 0
			got, usage := sampledAnswer(t, on, r)
			mu.Lock()
			defer mu.Unlock()
			if len(got) == 2 && got[0].Token == first[0] {
				counts[got[1].Token]++
				all++
				accepted += usage.AcceptedTokens
			}
		})
	}
	wg.Wait()
	chi, classes, rest, counted := 0.0, 0, 1.0, 0
	for _, c := range second[1].Top {
		p := math.Exp(c.Logprob)
		if want := p * float64(all); want >= 5 {
			d := float64(counts[c.Token]) - want
			chi, classes, rest, counted = chi+d*d/want, classes+1, rest-p, counted+counts[c.Token]
		}
	}
	if want := rest * float64(all); want >= 1 {
		d := float64(all-counted) - want
		chi, classes = chi+d*d/want, classes+1
	}
	t.Logf("%d answers, in %d the guess was right; χ² = %.1f in %d classes", all, accepted, chi, classes)
	if df := float64(classes - 1); accepted < answers/2 || accepted != all || classes < 4 || !(chi < df+5*math.Sqrt(2*df)) {
		t.Errorf("χ² = %g in %d classes of %d answers, %d by a guess", chi, classes, all, accepted)
	}
}

// TestForgetInASlidingWindow: a cache with a window that has moved far beyond its size takes back a few tokens, and says so where
// it cannot.
func TestForgetInASlidingWindow(t *testing.T) {
	path := filepath.Join(filepath.Dir(testmodel.Path(t)), testmodel.Gemma)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%v: run `make model-gemma`", err)
	}
	m, err := Load(path, ModelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	for _, unified := range []bool{false, true} {
		t.Run(fmt.Sprintf("unified=%v", unified), func(t *testing.T) { forgetInAWindow(t, m, unified) })
	}
}

func forgetInAWindow(t *testing.T, m *Model, unified bool) {
	const length, batch, guesses = 1000, 64, 16
	o := DecoderOptions{Slots: 2, Context: length + guesses, Batch: batch, Unified: unified}
	dec, plain := decoder(t, m, o), decoder(t, m, o)
	rng := rand.New(rand.NewPCG(1, 2))
	text := make([]sampler.Token, length+1)
	for i := range text {
		text[i] = sampler.Token(1000 + rng.IntN(2000))
	}
	worst, cuts, refused := 0.0, 0, 0
	for pos := 0; pos < length; {
		n := min(1+rng.IntN(batch-guesses), length-pos)
		rows := at(0, pos, text[pos:pos+n])
		if err := plain.Decode(rows); err != nil {
			t.Fatal(err)
		}
		want := slices.Clone(plain.Logits(n - 1))
		wrong := rng.IntN(guesses) // tokens that are none of the text's, and another sequence beside them
		for k := range wrong {
			rows = append(rows, llama.Row{Token: sampler.Token(5000 + k), Pos: pos + n + k})
		}
		if pos < 100 {
			rows = append(rows, llama.Row{Token: text[pos], Seq: 1, Pos: dec.next[1]})
		}
		if err := dec.Decode(rows); err != nil {
			t.Fatal(err)
		}
		worst = max(worst, apart(dec.Logits(n-1), want))
		pos += n
		switch err := dec.Forget(0, pos); {
		case errors.Is(err, llama.ErrOverwritten): // computed again
			refused++
			if err := dec.Forget(0, 0); err != nil {
				t.Fatal(err)
			}
			for from := 0; from < pos; from += batch {
				if err := dec.Decode(at(0, from, text[from:min(from+batch, pos)])); err != nil {
					t.Fatal(err)
				}
			}
		case err != nil:
			t.Fatal(err)
		case wrong > 0:
			cuts++
		}
	}
	t.Logf("%d times some tokens were taken back, %d times that was refused; logits differ by up to %.3g", cuts, refused, worst)
	if !(worst <= 1) || cuts < 15 || refused > 0 {
		t.Errorf("logits differ by %g, %d cuts, %d refused", worst, cuts, refused)
	}
	switch err := dec.Forget(0, 20); { // far back, which a cache no larger than the window refuses
	case err == nil && dec.next[0] != 20, errors.Is(err, llama.ErrOverwritten) && dec.next[0] != length:
		t.Errorf("Forget says %v and leaves %d tokens of %d", err, dec.next[0], length)
	case err != nil && !errors.Is(err, llama.ErrOverwritten):
		t.Error(err)
	}
}

func at(seq, pos int, tokens []sampler.Token) (rows []llama.Row) {
	for i, tok := range tokens {
		rows = append(rows, llama.Row{Token: tok, Seq: seq, Pos: pos + i, Logits: i == len(tokens)-1})
	}
	return rows
}
