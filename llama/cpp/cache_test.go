package cpp

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"aim/internal/testmodel"
	"aim/llama"
	"aim/sampler"
)

// rows records raw rows.
type rows struct{ list [][]float32 }

func (r *rows) Observe(raw []float32) { r.list = append(r.list, slices.Clone(raw)) }
func (*rows) Accept(sampler.Token)    {}

// TestCacheGivesTheSameRows: the row after a prompt of which a part was taken over (from its slot, from another one, from memory, from a
// prompt that is being computed) is the row after the whole prompt, but for what the shape of a batch changes.
func TestCacheGivesTheSameRows(t *testing.T) {
	gemma := filepath.Join(filepath.Dir(testmodel.Path(t)), testmodel.Gemma)
	for name, c := range map[string]struct {
		path string
		o    DecoderOptions
		long int // words of the longest prompt; Gemma's window is 512 tokens
	}{
		"split":          {testmodel.Path(t), DecoderOptions{Slots: 2}, 80},
		"unified":        {testmodel.Path(t), DecoderOptions{Slots: 2, Parked: 6, Unified: true}, 80},
		"window":         {gemma, DecoderOptions{Slots: 2}, 700},
		"window unified": {gemma, DecoderOptions{Slots: 2, Parked: 6, Unified: true}, 700},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat(c.path); err != nil {
				t.Skipf("%v: run `make model-gemma`", err)
			}
			if c.long > 500 && os.Getenv("AIM_FULL") == "" {
				t.Skip("minutes of prompts: run `make verify`")
			}
			m, err := Load(c.path, ModelOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			c.o.Context, c.o.Batch = 1024, 256
			prompts := sharing(t, m, c.long)
			cfg := llama.Config{Slots: c.o.Slots, Parked: c.o.Parked, Context: c.o.Context, Batch: c.o.Batch, Queue: len(prompts)}
			cfg.NoCache = true
			want, stats := firstRows(t, m, c.o, cfg, prompts)
			if stats.Cache.Hits > 0 {
				t.Errorf("without a cache %+v", stats)
			}
			// What the shape of a batch changes is measured, by another one.
			small := cfg
			small.Batch = 48
			other, _ := firstRows(t, m, c.o, small, prompts)
			noise := 0.0
			for i := range want {
				noise = max(noise, apart(other[i], want[i]))
			}
			cfg.NoCache = false
			got, stats := firstRows(t, m, c.o, cfg, prompts)
			if stats.Cache.Hits < uint64(len(prompts))/2 || stats.Cache.Tokens == stats.Cache.Copied || stats.Cache.Copied == 0 {
				t.Errorf("hardly anything was taken over: %+v", stats.Cache)
			}
			worst := 0.0
			for i := range want {
				d := apart(got[i], want[i])
				worst = max(worst, d)
				if !(d <= 3*max(noise, 0.1)) { // a largest value of few, and NaN must not pass
					t.Errorf("prompt %d: the row is %.3g logits away, in batches of another size %.3g", i, d, noise)
				}
			}
			t.Logf("rows differ by at most %.3g logits, in batches of another size by %.3g; %d prompt tokens computed, %+v",
				worst, noise, stats.PromptTokens, stats.Cache)
		})
	}
}

// sharing returns prompts that begin alike for a while.
func sharing(t *testing.T, m *Model, long int) (prompts [][]sampler.Token) {
	t.Helper()
	words := strings.Fields("river stone cloud green under moving ancient paper signal bridge farmer window silver morning")
	text := func(n, step int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(" " + words[i*step%len(words)])
		}
		return b.String()
	}
	history := text(long, 3)
	for _, s := range []string{
		history, history, history + text(20, 5), history[:len(history)/2] + text(30, 1), text(40, 11), history + text(20, 5) + text(40, 9),
		text(40, 11) + history[:100], history + text(20, 5), history[:len(history)/2] + text(30, 1) + " and on",
	} {
		tokens, err := m.Tokenize([]llama.Part{{Text: s}}, true)
		if err != nil {
			t.Fatal(err)
		}
		prompts = append(prompts, tokens)
	}
	return prompts
}

// firstRows returns the row after each prompt: the first half of them one by one, the rest at once.
func firstRows(t *testing.T, m *Model, o DecoderOptions, cfg llama.Config, prompts [][]sampler.Token) ([][]float32, llama.Stats) {
	t.Helper()
	d, err := m.NewDecoder(o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	e := llama.New(m, d, cfg)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()
	defer func() { stop(); <-ended }()
	list := make([][]float32, len(prompts))
	ask := func(i int) {
		var seen rows
		for _, err := range e.Generate(ctx, llama.Request{Prompt: prompts[i], MaxTokens: 2, Params: sampler.Params{Observer: &seen}}) {
			if err != nil {
				t.Error(err)
				return
			}
		}
		list[i] = seen.list[0]
	}
	half := len(prompts) / 2
	for i := range half {
		ask(i)
	}
	done := make(chan struct{})
	for i := half; i < len(prompts); i++ {
		go func() { ask(i); done <- struct{}{} }()
	}
	for range prompts[half:] {
		<-done
	}
	return list, e.Stats()
}
