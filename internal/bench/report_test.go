package bench

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sample is one whose figures are tokens/s and times to the first token.
func sample(scenario, name, side string, round int, rate, ttft float64) Sample {
	return Sample{scenario, name, side, round, Figures{
		Requests: 8, Tokens: 100, TokensPerSecond: rate, FirstToken: Quantiles{ttft, 2 * ttft}, AtOnce: Quantiles{ttft, 2 * ttft},
	}, 0.02}
}

// example is a report of two rounds. Of the peer's modes the split one is faster in tokens/s, the unified one to the first token.
func example() *Report {
	o := DefaultOptions()
	o.Clients = []int{1, 8}
	return &Report{
		Date: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC), Command: "aim bench compare --rounds=2", Model: "m.gguf", Threads: 2, Rounds: 2,
		Machine: Machine{System: "linux/amd64", Processor: "Some Processor", Cores: 2, Features: []string{"avx2"}, Memory: 8 << 30},
		Options: o,
		Sides:   []SideInfo{{"Aim", "aim 1", true, false}, {"llama-server, split KV", "b1", false, true}, {"llama-server, unified KV", "b1", false, true}},
		Samples: []Sample{
			sample("distinct", "8 clients", "Aim", 0, 110, 2), sample("distinct", "8 clients", "Aim", 1, 90, 3),
			sample("distinct", "8 clients", "llama-server, split KV", 0, 100, 6), sample("distinct", "8 clients", "llama-server, split KV", 1, 100, 6),
			sample("distinct", "8 clients", "llama-server, unified KV", 0, 80, 5), sample("distinct", "8 clients", "llama-server, unified KV", 1, 80, 5),
			sample("modulated", "plain", "Aim", 0, 100, 1), sample("modulated", "utility and words", "Aim", 0, 97, 1),
			{"memory", "peak", "Aim", 0, Figures{PeakBytes: 5e8}, 0.1},
		},
	}
}

func TestRatiosTakeTheFasterPeer(t *testing.T) {
	got := example().Ratios("Aim")
	if len(got) != 3 {
		t.Fatalf("%d ratios, want 3: %+v", len(got), got)
	}
	for i, want := range []struct {
		what, peer        string
		median, low, high float64
		met               bool
	}{
		{"distinct prompts, 8 clients", "llama-server, split KV", 1, 0.9, 1.1, true},
		{"distinct prompts, 8 clients", "llama-server, unified KV", 0.5, 0.4, 0.6, true},
		{"utility and words / plain", "", 0.97, 0.97, 0.97, false},
	} {
		x := got[i]
		if x.What != want.what || x.Peer != want.peer || !near(x.Median, want.median) || !near(x.Low, want.low) || !near(x.High, want.high) || x.Met() != want.met {
			t.Errorf("got %+v, want %+v", x, want)
		}
	}
}

func TestMarkdown(t *testing.T) {
	got := example().Markdown()
	for _, want := range []string{
		"`aim bench compare --rounds=2`, 27 November 2026, 1 to 2 rounds.",
		"m.gguf, Some Processor with 2 logical cores (avx2), 8 GiB of memory, linux/amd64; other programs took 2 % of the processors' time, 10 % in the worst turn; 2 threads in each server.",
		"- llama-server, split KV: b1",
		"| distinct prompts, 8 clients | tokens/s | 100 tokens/s | 100 tokens/s (split KV) | 1.00 | 0.90 – 1.10 | ≥ 1, met |",
		"| distinct prompts, 8 clients | first token p50, all at once | 2.50 s | 5.00 s (unified KV) | 0.50 |",
		"| ≥ 0.98, missed |",
		"| peak memory, 16 slots of 1024: peak | Aim | | | | | 500 MB |",
	} {
		// The widths of columns are the table's business.
		if !strings.Contains(squeeze(got), squeeze(want)) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "inter-token p50") {
		t.Errorf("a column has nothing in it:\n%s", got)
	}
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

func TestSecondAimHasTheTargetOfAnOptimizedModel(t *testing.T) {
	r := example()
	r.Sides = append(r.Sides[:1:1], append([]SideInfo{{"Aim, optimized", "aim 1", true, false}}, r.Sides[1:]...)...)
	r.Samples = append(r.Samples, sample("distinct", "8 clients", "Aim, optimized", 0, 130, 1))
	if got := squeeze(r.Markdown()); !strings.Contains(got, "| 1.30 | 1.30 – 1.30 | ≥ 1.35, missed |") {
		t.Errorf("no missed target of 1.35 in\n%s", got)
	}
}

func TestSignificant(t *testing.T) {
	for want, x := range map[string]float64{"0": 0, "0.0312": 0.03121, "0.640": 0.64, "6.35": 6.349, "82.1": 82.06, "1543": 1543.4, "0.0001": 0.0001} {
		if got := significant(x); got != want {
			t.Errorf("%g is %q, want %q", x, got, want)
		}
	}
}

func TestMerge(t *testing.T) {
	later := example()
	later.Samples = []Sample{sample("distinct", "8 clients", "Aim", 0, 1, 1)}
	later.Rounds = 1
	if err := later.Merge(example()); err != nil {
		t.Fatal(err)
	}
	if got := len(later.Samples); got != 4 || later.Samples[0].Figures.TokensPerSecond != 1 {
		t.Errorf("%d samples, want the new one and the 3 of other scenarios: %+v", got, later.Samples)
	}
	for want, change := range map[string]func(*Report){
		"the same machine":        func(r *Report) { r.Machine.Cores = 4 },
		"the same model":          func(r *Report) { r.Model = "other" },
		"the same sizes of loads": func(r *Report) { r.Answer++ },
		"servers":                 func(r *Report) { r.Sides[0].Version = "aim 2" },
	} {
		other := example()
		change(other)
		if err := later.Merge(other); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestReportsAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bench.json")
	if r, err := Load(path); r != nil || err != nil {
		t.Errorf("of no file: %v, %v", r, err)
	}
	r := example()
	if err := r.Save(path); err != nil {
		t.Fatal(err)
	}
	back, err := Load(path)
	if err != nil || back.Markdown() != r.Markdown() {
		t.Errorf("%v; got back\n%s", err, back.Markdown())
	}
	if err := back.Merge(r); err != nil {
		t.Errorf("a report does not go with itself: %v", err)
	}
}

func TestWriteInto(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(path, []byte("before\n"+markBegin+"old\n"+markEnd+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := WriteInto(path, "new\n"); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "before\n"+markBegin+"new\n"+markEnd+"after\n" {
		t.Errorf("%v, %q", err, got)
	}
	if err := os.WriteFile(path, []byte("no marks"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteInto(path, "new\n"); err == nil || !strings.Contains(err.Error(), "<!-- bench: begin -->") {
		t.Errorf("got %v", err)
	}
}

func TestPlot(t *testing.T) {
	for ext, start := range map[string]string{".svg": "<?xml", ".png": "\x89PNG"} {
		path := filepath.Join(t.TempDir(), "plot"+ext)
		if err := example().Plot(path); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(got, []byte(start)) || len(got) < 5000 {
			t.Errorf("%s: %v, %d bytes", ext, err, len(got))
		}
	}
	r := example()
	r.Samples = r.Samples[6:]
	if err := r.Plot("gone.svg"); err == nil || !strings.Contains(err.Error(), "have not been measured") {
		t.Errorf("got %v", err)
	}
}

func TestOptions(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"requests is 0: want 1 to 10000": func(o *Options) { o.Requests = 0 },
		"slots is 257: want 1 to 256":    func(o *Options) { o.Slots = 257 },
		"0 clients: want 1 to 256":       func(o *Options) { o.Clients = []int{0} },
		"clients are missing":            func(o *Options) { o.Clients = nil },
		"long is -1: want 1":             func(o *Options) { o.Long = -1 },
	} {
		o := DefaultOptions()
		change(&o)
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	o := DefaultOptions()
	o.Quick()
	if err := o.Check(); err != nil {
		t.Error(err)
	}
	if _, err := Find([]string{"again", "magic"}); err == nil || !strings.Contains(err.Error(), `"magic" is none of distinct, shared,`) {
		t.Errorf("got %v", err)
	}
	if found, err := Find([]string{"chat", "distinct"}); err != nil || len(found) != 2 || found[0].Name != "distinct" {
		t.Errorf("%v, %v", found, err)
	}
	// Every goal is about a scenario that there is.
	for _, g := range o.Goals() {
		if _, err := Find([]string{g.Scenario}); err != nil {
			t.Errorf("%s: %v", g.What, err)
		}
	}
}
