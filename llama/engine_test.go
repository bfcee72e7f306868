package llama_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

var fake = llamatest.New()

// start runs an engine over the fake until the test ends.
func start(t testing.TB, cfg llama.Config, o llamatest.Options) *llama.Engine {
	t.Helper()
	o.Slots, o.Context, o.Batch = cfg.Slots, cfg.Context, cfg.Batch
	e := llama.New(fake, llamatest.NewDecoder(fake, o), cfg)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1) // buffered: Run's result is there whether or not anybody waits for it
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if s := e.Stats(); s.Busy != 0 || s.Queued != 0 {
			t.Errorf("after the end: %+v", s)
		}
	})
	return e
}

func tokens(t testing.TB, text string) []sampler.Token {
	t.Helper()
	toks, err := fake.Tokenize([]llama.Part{{Text: text, Trusted: true}}, true)
	if err != nil {
		t.Fatal(err)
	}
	return toks
}

type result struct {
	text   string
	tokens []sampler.Token
	finish llama.Finish
	// stopped is the stop string.
	stopped string
	usage   llama.Usage
	err     error
}

// generate reads a whole answer.
func generate(ctx context.Context, e *llama.Engine, r llama.Request) (res result) {
	for d, err := range e.Generate(ctx, r) {
		if err != nil {
			res.err = err
			return res
		}
		res.text += d.Text
		for _, s := range d.Tokens {
			res.tokens = append(res.tokens, s.Token)
		}
		res.finish, res.usage, res.stopped = d.Finish, d.Usage, d.Stopped
	}
	return res
}

// eventually waits until f holds; it fails the test after ten seconds.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for range 2000 {
		if f() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("not within ten seconds: %s", what)
}

func TestAnswer(t *testing.T) {
	say := llamatest.Say(fake, "<|ctl|>", map[string]string{"capital": "Paris, 日本 and wäter END more"})
	e := start(t, llama.Config{Slots: 2, Context: 256}, llamatest.Options{Say: say})
	prompt := tokens(t, "capital?<|ctl|>")
	for _, c := range []struct {
		name   string
		req    llama.Request
		text   string
		finish llama.Finish
	}{
		{"to its end", llama.Request{}, "Paris, 日本 and wäter END more", llama.FinishStop},
		{"to a stop string", llama.Request{Stop: []string{"END"}}, "Paris, 日本 and wäter ", llama.FinishStop},
		{"to a number of tokens", llama.Request{MaxTokens: 5}, "Paris", llama.FinishLength},
		{"inside a rune", llama.Request{MaxTokens: 14}, "Paris, 日本 and w\ufffd", llama.FinishLength},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.req.Prompt = prompt
			got := generate(t.Context(), e, c.req)
			if got.err != nil || got.text != c.text || got.finish != c.finish {
				t.Errorf("got %+v, want %q, %s", got, c.text, c.finish)
			}
			if got.usage.PromptTokens != len(prompt) {
				t.Errorf("usage %+v for a prompt of %d", got.usage, len(prompt))
			}
			if want := strings.Join(c.req.Stop, ""); got.stopped != want {
				t.Errorf("stopped by %q, want %q", got.stopped, want)
			}
			if c.req.MaxTokens > 0 && got.usage.CompletionTokens != c.req.MaxTokens {
				t.Errorf("usage %+v, want %d tokens", got.usage, c.req.MaxTokens)
			}
		})
	}
}

func TestAnswerEndsWithTheContext(t *testing.T) {
	e := start(t, llama.Config{Slots: 1, Context: 20}, llamatest.Options{})
	got := generate(t.Context(), e, llama.Request{Prompt: tokens(t, "abc"), MaxTokens: 1000})
	if got.err != nil || got.finish != llama.FinishLength || got.usage.CompletionTokens != 20-4 {
		t.Errorf("got %+v", got)
	}
}

func TestRefused(t *testing.T) {
	e := start(t, llama.Config{Slots: 1, Context: 8}, llamatest.Options{})
	var domain *sampler.DomainError
	for name, r := range map[string]llama.Request{
		"no prompt":            {},
		"token -1":             {Prompt: []sampler.Token{-1}},
		"token outside":        {Prompt: []sampler.Token{sampler.Token(fake.Vocab())}},
		"negative max_tokens":  {Prompt: tokens(t, "a"), MaxTokens: -1},
		"negative temperature": {Prompt: tokens(t, "a"), Params: sampler.Params{Temperature: -1}},
	} {
		if got := generate(t.Context(), e, r); !errors.As(got.err, &domain) {
			t.Errorf("%s: error %v, want a DomainError", name, got.err)
		}
	}
	var long *llama.TooLongError
	if got := generate(t.Context(), e, llama.Request{Prompt: tokens(t, "1234567")}); !errors.As(got.err, &long) || long.Prompt != 8 || long.Context != 8 {
		t.Errorf("error %v, want a TooLongError with both sizes", got.err)
	}
	if s := e.Stats(); s.Decodes != 0 {
		t.Errorf("refused requests were decoded: %+v", s)
	}
}

// The same seed gives the same tokens alone, in company, and after others, and with prompts cut in other chunks.
func TestSameSeedSameTokens(t *testing.T) {
	request := func(i int) llama.Request {
		return llama.Request{
			Prompt:    tokens(t, strings.Repeat("question ", i+1)),
			MaxTokens: 40,
			Params: sampler.Params{
				Temperature: 1, TopP: 0.9, Seed: uint64(i),
				Utility: sampler.Utility{Sigma: 0.7, Key: sampler.UtilityKey([]byte("secret"), "m", 0.7)},
			},
		}
	}
	const n = 12
	alone := make([]result, n)
	single := start(t, llama.Config{Slots: 1, Context: 256}, llamatest.Options{})
	for i := range alone {
		alone[i] = generate(t.Context(), single, request(i))
		if alone[i].err != nil {
			t.Fatal(alone[i].err)
		}
	}
	crowd := start(t, llama.Config{Slots: 5, Context: 256, Batch: 16, Chunk: 3, Queue: n}, llamatest.Options{})
	var wg sync.WaitGroup
	for i := range alone {
		wg.Go(func() {
			if got := generate(t.Context(), crowd, request(i)); got.err != nil || !slices.Equal(got.tokens, alone[i].tokens) || got.text != alone[i].text {
				t.Errorf("request %d in company: %v\nalone: %v", i, got, alone[i])
			}
		})
	}
	wg.Wait()
	if alone[0].text == alone[1].text {
		t.Error("different requests gave the same answer")
	}
}

// A reader that asks for the first piece only and then sleeps delays nobody.
func TestSlowReaderDelaysNobody(t *testing.T) {
	e := start(t, llama.Config{Slots: 2, Context: 4096}, llamatest.Options{})
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	asleep := make(chan struct{})
	woken := make(chan result)
	go func() {
		var res result
		first := true
		for d, err := range e.Generate(ctx, llama.Request{Prompt: tokens(t, "slow"), MaxTokens: 200}) {
			if first {
				close(asleep)
				<-ctx.Done() // never reads while the others run
				first = false
			}
			res.text, res.err = res.text+d.Text, err
		}
		woken <- res
	}()
	<-asleep
	for i := range 20 {
		if got := generate(t.Context(), e, llama.Request{Prompt: tokens(t, "quick"), MaxTokens: 50}); got.err != nil {
			t.Fatalf("request %d: %v", i, got.err)
		}
	}
	eventually(t, "the slow reader's answer is computed", func() bool { return e.Stats().Busy == 0 })
	leave()
	<-woken
}

// gate lets a test hold the decoder and see what it was given.
type gate struct {
	mu   sync.Mutex
	rows [][]llama.Row
	open chan struct{}
	hits chan int
}

// newGate returns a gate at which every decode waits until open is closed.
func newGate() *gate {
	return &gate{open: make(chan struct{}), hits: make(chan int, 1000 /* so that no decode waits for the test */)}
}

func (g *gate) before(rows []llama.Row) error {
	g.mu.Lock()
	g.rows = append(g.rows, slices.Clone(rows))
	n := len(g.rows)
	g.mu.Unlock()
	g.hits <- n
	<-g.open
	return nil
}

// Who leaves during a long prompt frees the slot before the next decode.
func TestLeaveDuringPrompt(t *testing.T) {
	g := newGate()
	e := start(t, llama.Config{Slots: 1, Context: 4096, Batch: 64, Queue: 4}, llamatest.Options{Before: g.before})
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan result, 1) // buffered: the result may come before anybody looks
	go func() {
		gone <- generate(ctx, e, llama.Request{Prompt: tokens(t, strings.Repeat("long ", 500))})
	}()
	<-g.hits // the first of forty decodes is under way
	next := make(chan result, 1)
	go func() { next <- generate(t.Context(), e, llama.Request{Prompt: tokens(t, "next"), MaxTokens: 1}) }()
	eventually(t, "the second request waits", func() bool { return e.Stats().Queued == 1 })
	leave()
	if got := <-gone; !errors.Is(got.err, context.Canceled) {
		t.Errorf("error %v", got.err)
	}
	close(g.open)
	if got := <-next; got.err != nil || got.usage.CompletionTokens != 1 {
		t.Errorf("the next request: %+v", got)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.rows) != 2 || len(g.rows[1]) != len(tokens(t, "next")) {
		t.Errorf("%d decodes; the second has %d rows: the slot was not freed at once", len(g.rows), len(g.rows[1]))
	}
}

func TestLeaveWhileQueued(t *testing.T) {
	g := newGate()
	e := start(t, llama.Config{Slots: 1, Context: 256, Queue: 1}, llamatest.Options{Before: g.before})
	first := make(chan result, 1)
	go func() { first <- generate(t.Context(), e, llama.Request{Prompt: tokens(t, "a"), MaxTokens: 3}) }()
	<-g.hits
	ctx, leave := context.WithCancel(t.Context())
	second := make(chan result, 1)
	go func() { second <- generate(ctx, e, llama.Request{Prompt: tokens(t, "b"), MaxTokens: 3}) }()
	eventually(t, "the second request waits", func() bool { return e.Stats().Queued == 1 })
	if got := generate(t.Context(), e, llama.Request{Prompt: tokens(t, "c")}); !errors.Is(got.err, llama.ErrBusy) {
		t.Errorf("a request beyond the queue: error %v", got.err)
	}
	leave()
	<-second
	close(g.open)
	if got := <-first; got.err != nil {
		t.Error(got.err)
	}
	eventually(t, "the place in the queue is free again", func() bool {
		return generate(t.Context(), e, llama.Request{Prompt: tokens(t, "d"), MaxTokens: 1}).err == nil
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, rows := range g.rows {
		for _, r := range rows {
			if r.Token == 'b' {
				t.Error("the request of a client that had left was decoded")
			}
		}
	}
}

// Breaking out of the loop is leaving.
func TestBreakFreesTheSlot(t *testing.T) {
	e := start(t, llama.Config{Slots: 1, Context: 1 << 20}, llamatest.Options{})
	for range e.Generate(t.Context(), llama.Request{Prompt: tokens(t, "endless")}) {
		break
	}
	eventually(t, "the slot is free", func() bool { return e.Stats().Busy == 0 })
}

// A failed decode ends the sequences of its batch, and those only.
func TestFailedDecode(t *testing.T) {
	boom := errors.New("boom")
	for name, fail := range map[string]func() error{
		"error": func() error { return boom },
		"panic": func() error { panic(boom) },
	} {
		t.Run(name, func(t *testing.T) {
			// Four rows a batch: two running answers leave the third, a prompt that is marked, out of some batches.
			var bad bool
			e := start(t, llama.Config{Slots: 2, Context: 256, Batch: 8, Queue: 8}, llamatest.Options{Before: func(rows []llama.Row) error {
				for _, r := range rows {
					if r.Token == '!' {
						bad = true
						return fail()
					}
				}
				return nil
			}})
			got := generate(t.Context(), e, llama.Request{Prompt: tokens(t, "bad!"), MaxTokens: 5})
			var decode *llama.DecodeError
			if !bad || !errors.As(got.err, &decode) {
				t.Errorf("error %v, want a DecodeError", got.err)
			}
			if name == "error" && !errors.Is(got.err, boom) || name == "panic" && !errors.Is(got.err, llama.ErrInternal) {
				t.Errorf("error %v hides its cause", got.err)
			}
			// '!' is not a word, so no babble contains it: others live on.
			if got := generate(t.Context(), e, llama.Request{Prompt: tokens(t, "good"), MaxTokens: 5, Params: sampler.Params{Bias: map[sampler.Token]float64{'!': -100}}}); got.err != nil {
				t.Errorf("after the failure: %v", got.err)
			}
		})
	}
}

// While one prompt waits for its turn, the failure of another's batch does not reach it.
func TestFailedDecodeSparesTheOthers(t *testing.T) {
	g := newGate()
	failing := func(rows []llama.Row) error {
		_ = g.before(rows)
		if rows[0].Token == '!' {
			return errors.New("boom")
		}
		return nil
	}
	e := start(t, llama.Config{Slots: 2, Context: 256, Batch: 8, Queue: 2}, llamatest.Options{Before: failing})
	hold := make(chan result, 1)
	go func() { hold <- generate(t.Context(), e, llama.Request{Prompt: []sampler.Token{'x'}, MaxTokens: 1}) }()
	<-g.hits // both others arrive while this decode runs
	bad, good := make(chan result, 1), make(chan result, 1)
	go func() {
		bad <- generate(t.Context(), e, llama.Request{Prompt: []sampler.Token{'!', 1, 2, 3, 4, 5, 6, 7, 8, 9}, MaxTokens: 1})
	}()
	eventually(t, "one waits", func() bool { return e.Stats().Queued == 1 })
	go func() {
		good <- generate(t.Context(), e, llama.Request{Prompt: []sampler.Token{'a', 'b'}, MaxTokens: 1})
	}()
	eventually(t, "both wait", func() bool { return e.Stats().Queued == 2 })
	close(g.open)
	if got := <-hold; got.err != nil {
		t.Error(got.err)
	}
	if got := <-bad; got.err == nil {
		t.Error("the failed one succeeded")
	}
	if got := <-good; got.err != nil {
		t.Errorf("the one that was not in the batch: %v", got.err)
	}
}

// Rows that are not finite end their sequence, not the engine.
func TestNotFinite(t *testing.T) {
	d := llamatest.NewDecoder(fake, llamatest.Options{Slots: 1})
	e := llama.New(fake, notFinite{d}, llama.Config{Slots: 1})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go e.Run(ctx)
	if got := generate(t.Context(), e, llama.Request{Prompt: tokens(t, "a")}); !errors.Is(got.err, sampler.ErrNotFinite) {
		t.Errorf("error %v", got.err)
	}
	if s := e.Stats(); s.Decodes != 1 {
		t.Errorf("%+v", s)
	}
}

type notFinite struct{ llama.Decoder }

func (d notFinite) Logits(i int) []float32 {
	row := d.Decoder.Logits(i)
	row[7] = float32(math.NaN())
	return row
}

// When the cache overflows, the youngest waits and is computed again: nothing is lost, and the tokens are the same.
func TestFullCachePreempts(t *testing.T) {
	request := func(i int) llama.Request {
		return llama.Request{Prompt: tokens(t, fmt.Sprintf("request %d", i)), MaxTokens: 60, Params: sampler.Params{Temperature: 1, Seed: uint64(i)}}
	}
	roomy := start(t, llama.Config{Slots: 4, Context: 256}, llamatest.Options{})
	g := newGate()
	tight := start(t, llama.Config{Slots: 4, Context: 256, Queue: 8}, llamatest.Options{Cells: 150, Before: g.before})
	var wg sync.WaitGroup
	for i := range 8 {
		want := generate(t.Context(), roomy, request(i))
		wg.Go(func() {
			got := generate(t.Context(), tight, request(i))
			if got.err != nil || !slices.Equal(got.tokens, want.tokens) {
				t.Errorf("request %d: %v, want %v", i, got, want)
			}
		})
	}
	eventually(t, "all are there at once", func() bool { s := tight.Stats(); return s.Busy+s.Queued == 8 })
	close(g.open)
	wg.Wait()
	if s := tight.Stats(); s.PromptTokens <= roomy.Stats().PromptTokens {
		t.Errorf("nothing was computed again: the cache was not tight: %+v", s)
	}
	alone := start(t, llama.Config{Slots: 1, Context: 256}, llamatest.Options{Cells: 10})
	if got := generate(t.Context(), alone, request(1)); !errors.Is(got.err, llama.ErrCacheFull) {
		t.Errorf("alone in a cache that is too small: %v", got.err)
	}
}

func TestShutdownWithWorkLeft(t *testing.T) {
	g := newGate()
	e := llama.New(fake, llamatest.NewDecoder(fake, llamatest.Options{Slots: 2, Before: g.before}), llama.Config{Slots: 2, Queue: 8})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := e.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	results := make(chan result)
	for range 6 {
		go func() { results <- generate(context.Background(), e, llama.Request{Prompt: tokens(t, "work")}) }()
	}
	<-g.hits
	eventually(t, "all are admitted", func() bool { s := e.Stats(); return s.Busy+s.Queued == 6 })
	stop()
	close(g.open)
	for range 6 {
		if got := <-results; !errors.Is(got.err, llama.ErrClosed) {
			t.Errorf("error %v", got.err)
		}
	}
	<-ended
	if got := generate(context.Background(), e, llama.Request{Prompt: tokens(t, "late")}); !errors.Is(got.err, llama.ErrClosed) {
		t.Errorf("after the end: %v", got.err)
	}
}

// Close lets those go on who are in, and nobody else in.
func TestCloseDrains(t *testing.T) {
	g := newGate()
	e := start(t, llama.Config{Slots: 1, Context: 256, Queue: 4}, llamatest.Options{Before: g.before})
	in := make(chan result, 2)
	for range 2 {
		go func() { in <- generate(t.Context(), e, llama.Request{Prompt: tokens(t, "in"), MaxTokens: 3}) }()
	}
	eventually(t, "both are in", func() bool { s := e.Stats(); return s.Busy == 1 && s.Queued == 1 })
	e.Close()
	if got := generate(t.Context(), e, llama.Request{Prompt: tokens(t, "out")}); !errors.Is(got.err, llama.ErrClosed) {
		t.Errorf("error %v", got.err)
	}
	close(g.open)
	for range 2 {
		if got := <-in; got.err != nil || got.usage.CompletionTokens != 3 {
			t.Errorf("an admitted request: %+v", got)
		}
	}
}

func TestLogprobsComeWithTheirText(t *testing.T) {
	say := llamatest.Say(fake, "<|ctl|>", map[string]string{"q": "ab ENC ä."})
	e := start(t, llama.Config{Slots: 1, Context: 256}, llamatest.Options{Say: say})
	r := llama.Request{Prompt: tokens(t, "q<|ctl|>"), Stop: []string{"END"}, Params: sampler.Params{Logprobs: true, TopLogprobs: 2}}
	var seen []byte
	for d, err := range e.Generate(t.Context(), r) {
		if err != nil {
			t.Fatal(err)
		}
		var bytes []byte
		for _, s := range d.Tokens {
			bytes = append(bytes, fake.Piece(s.Token)...)
			if len(s.Top) != 2 || s.Top[0].Token != s.Token || !(s.Logprob <= 0 && s.Logprob > -1e-3) {
				t.Errorf("token %q: %+v", fake.Piece(s.Token), s)
			}
		}
		if string(bytes) != d.Text {
			t.Errorf("delta %q has tokens that spell %q", d.Text, bytes)
		}
		seen = append(seen, bytes...)
	}
	if string(seen) != "ab ENC ä." {
		t.Errorf("tokens spell %q", seen)
	}
}

func TestSurfaces(t *testing.T) {
	spell := func(word string) (forms []string) {
		list, err := llama.Surfaces(fake, word)
		if err != nil {
			t.Fatal(err)
		}
		for _, toks := range list {
			forms = append(forms, fmt.Sprintf("%d:%s", len(toks), fake.Text(toks)))
		}
		return forms
	}
	for word, want := range map[string][]string{
		"water": {"1: water", "1:water", "1: Water", "1:Water"},
		"river": {"1: river"}, // the other forms have several tokens
		"A":     {"1:A"},
		"ox":    {"3: ox", "2:ox", "3: Ox", "2:Ox"},
		"日本":    {"1:日本"},
	} {
		if got := spell(word); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
	if _, err := llama.Surfaces(fake, ""); err == nil {
		t.Error("an empty word was accepted")
	}
}

// TestEndForgetsNobody: who was admitted when the engine ended is told, and counts no longer.
func TestEndForgetsNobody(t *testing.T) {
	m := llamatest.New()
	e := llama.New(m, llamatest.NewDecoder(m, llamatest.Options{Slots: 1, Context: 64, Batch: 8}), llama.Config{Slots: 1, Context: 64, Batch: 8, Queue: 8})
	var waiting sync.WaitGroup
	for range 6 {
		waiting.Go(func() {
			for _, err := range e.Generate(t.Context(), llama.Request{Prompt: []sampler.Token{1, 2}, MaxTokens: 4}) {
				if err != nil && !errors.Is(err, llama.ErrClosed) {
					t.Error(err)
				}
			}
		})
	}
	for e.Stats().Queued < 6 {
		time.Sleep(time.Millisecond)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := e.Run(ended); err != nil {
		t.Error(err)
	}
	waiting.Wait()
	if s := e.Stats(); s.Busy != 0 || s.Queued != 0 {
		t.Errorf("after the end: %+v", s)
	}
}
