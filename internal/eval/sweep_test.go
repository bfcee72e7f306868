package eval

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

var fake = llamatest.New()

// startEngine runs an engine over the fake until the test ends.
func startEngine(t testing.TB, slots int, o llamatest.Options) *llama.Engine {
	t.Helper()
	o.Slots, o.Context, o.Batch = slots, 256, 512
	e := llama.New(fake, llamatest.NewDecoder(fake, o), llama.Config{Slots: slots, Context: 256, Batch: 512, Queue: 64})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1) // one send, read at the end of the test
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return e
}

// answer is greedy decoding under utility noise, as a server would do it.
func answer(t testing.TB, e *llama.Engine, prompt []sampler.Token, p sampler.Params, n int) (tokens []sampler.Token) {
	t.Helper()
	for d, err := range e.Generate(t.Context(), llama.Request{Prompt: prompt, Params: p, MaxTokens: n}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range d.Tokens {
			tokens = append(tokens, s.Token)
		}
	}
	return tokens
}

// TestForcedIsGreedyDecoding: one pass over the right answer says of every σ and field whether decoding would give that
// answer, and its log-likelihood is the one that the engine reports.
func TestForcedIsGreedyDecoding(t *testing.T) {
	e := startEngine(t, 4, llamatest.Options{})
	noise := Noise{Secret: []byte("of the test"), Model: "fake", Fields: 3}
	arms := []Arm{{}, {Sigma: 0.5}, {Sigma: 2}, {Sigma: 50}}
	f := &Forced{Engine: e, Noise: noise}
	right := 0
	for _, prompt := range []string{"once", "upon a", "time there", "was a cat", "in a hat", "who sat"} {
		before, err := fake.Tokenize([]llama.Part{{Text: prompt}}, true)
		if err != nil {
			t.Fatal(err)
		}
		// What σ = 0.5 says, so that some arms are right and others not.
		said := answer(t, e, before, sampler.Params{Utility: sampler.Utility{Sigma: 0.5, Key: noise.Key(0, 0.5)}}, 3)
		text := fake.Text(said)
		if tokens, _ := fake.Tokenize([]llama.Part{{Text: prompt + text}}, true); !slices.Equal(tokens[len(before):], said) {
			continue // its text is cut into other tokens
		}
		got, err := f.Score(t.Context(), &Item{Prompt: prompt, Choices: []string{text}}, arms)
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range arms {
			want := 0.0
			for field := range noise.Fields {
				p := sampler.Params{Utility: sampler.Utility{Sigma: a.Sigma, Key: noise.Key(field, a.Sigma)}}
				want += indicator(slices.Equal(answer(t, e, before, p, 3), said)) / float64(noise.Fields)
			}
			if !near(got["acc"][i], want, 1e-9) {
				t.Errorf("%q at %+v: accuracy %v, decoding says %v", text, a, got["acc"][i], want)
			}
		}
		right += int(got["acc"][1] * 3)
	}
	if right == 0 {
		t.Error("no arm was ever right: the test shows nothing")
	}
}

// TestForcedTemperature: what a temperature gives is softmax(z/T), checked against the sampler's own draw at T = 1 and against the
// limits.
func TestForcedTemperature(t *testing.T) {
	row := []float32{1, 3, 2, -4, float32(math.Inf(-1))}
	norm := math.Log(math.Exp(1) + math.Exp(3) + math.Exp(2) + math.Exp(-4))
	if got := logSoftmax(row, 2, 1); !near(got, 2-norm, 1e-12) {
		t.Errorf("T = 1: %v, want %v", got, 2-norm)
	}
	if got := logSoftmax(row, 1, 1e-3); !near(got, 0, 1e-12) {
		t.Errorf("T → 0: %v, want 0", got)
	}
	if got := logSoftmax(row, 0, 1e9); !near(got, -math.Log(4), 1e-6) {
		t.Errorf("T → ∞: %v, want -ln 4", got)
	}
	if got := logSoftmax(row, 4, 1); !math.IsInf(got, -1) {
		t.Errorf("a forbidden token: %v", got)
	}
}

func TestForcedChoices(t *testing.T) {
	say := llamatest.Say(fake, ":", map[string]string{"capital": " Paris"})
	e := startEngine(t, 2, llamatest.Options{Say: say})
	f := &Forced{Engine: e, Noise: Noise{Secret: []byte("s"), Model: "fake", Fields: 2}}
	it := &Item{Prompt: "Question: capital?\nAnswer:", Choices: []string{" London", " Paris", " Rome"}, Gold: 1}
	got, err := f.Score(t.Context(), it, []Arm{{}, {Sigma: 1}, {Temperature: 1}})
	if err != nil || !slices.Equal(got["acc"][:2], []float64{1, 1}) || !near(got["acc"][2], 1, 1e-9) || !slices.Equal(got["acc_norm"][:2], []float64{1, 1}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestDrawn(t *testing.T) {
	lls := []float64{-1, -2, -4}
	sum := math.Exp(-0.5) + math.Exp(-1) + math.Exp(-2)
	if got := drawn(lls, 1, 2); !near(got, math.Exp(-1)/sum, 1e-12) {
		t.Errorf("T = 2: %v", got)
	}
	if got := drawn(lls, 0, 1e-6); !near(got, 1, 1e-12) {
		t.Errorf("T → 0: %v", got)
	}
	if got := drawn(lls, 2, 1e9); !near(got, 1./3, 1e-6) {
		t.Errorf("T → ∞: %v", got)
	}
}

func TestGenerated(t *testing.T) {
	say := llamatest.Say(fake, "Answer:", map[string]string{"six": " 2 times 3 is\n#### 6. Question: and 7?"})
	e := startEngine(t, 2, llamatest.Options{Say: say})
	g := &Generated{Engine: e, Noise: Noise{Secret: []byte("s"), Model: "fake", Fields: 2}, MaxTokens: 64}
	it := &Item{Prompt: "Question: six?\nAnswer:", Answer: "6"}
	got, err := g.Score(t.Context(), it, []Arm{{}, {Sigma: 0.5}, {Temperature: 0.5}, {Sigma: 100}})
	if err != nil || !slices.Equal(got["acc"], []float64{1, 1, 1, 0}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestSplitCutsAsHarness(t *testing.T) {
	before, after, err := Split(fake, "the", " water", 100)
	if err != nil || fake.Text(before) != "<|bos|>the" || fake.Text(after) != " water" {
		t.Errorf("%q | %q, %v", fake.Text(before), fake.Text(after), err)
	}
	before, after, err = Split(fake, "abcdef", "xy", 5)
	if err != nil || fake.Text(before) != "def" || fake.Text(after) != "xy" {
		t.Errorf("cut to five: %q | %q, %v", fake.Text(before), fake.Text(after), err)
	}
	if _, _, err := Split(fake, "a", "bcdefg", 5); err == nil {
		t.Error("a continuation that fills the context was accepted")
	}
}

// TestBandAgainstClosedForm: for the mean of n values the band is close to ±1.96 standard errors, and covers the truth about as
// often as it says.
func TestBandAgainstClosedForm(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const n, p, trials = 300, 0.3, 100
	covered := 0
	for trial := range trials {
		rows := make([][]float64, n)
		for i := range rows {
			rows[i] = []float64{indicator(rng.Float64() < p)}
		}
		mean := weightedMeans(rows, nil)[0]
		resamples := 300
		if trial == 0 {
			resamples = 4000
		}
		draws := Bootstrap(n, resamples, uint64(trial), func(counts []int) []float64 { return weightedMeans(rows, counts) })
		low, high := Band(column(draws, 0))
		if low <= p && p <= high {
			covered++
		}
		if se := math.Sqrt(mean * (1 - mean) / n); trial == 0 && (!near(low, mean-1.96*se, 0.2*se) || !near(high, mean+1.96*se, 0.2*se)) {
			t.Errorf("band [%v, %v] of %v, want ±1.96·%v", low, high, mean, se)
		}
	}
	// Binomial(100, 0.95) has a standard deviation of 2.2.
	if covered < 95-11 {
		t.Errorf("%d of %d bands cover the truth", covered, trials)
	}
}

func TestBandLeavesOutNaN(t *testing.T) {
	if low, high := Band([]float64{math.NaN(), 1, 1}); low != 1 || high != 1 {
		t.Errorf("[%v, %v]", low, high)
	}
	if low, _ := Band(nil); !math.IsNaN(low) {
		t.Errorf("of nothing: %v", low)
	}
}

// linear is a scorer whose accuracy is known: 1 - σ/4, and 1 - T/2, so that T = σ/2 fits exactly. It counts its calls and fails after
// a number of them.
type linear struct {
	calls atomic.Int64
	fail  int64
	whole bool
}

var errStopped = errors.New("stopped")

func (l *linear) Whole() bool { return l.whole }

func (l *linear) Score(_ context.Context, it *Item, arms []Arm) (Values, error) {
	if n := l.calls.Add(1); l.fail > 0 && n > l.fail {
		return nil, errStopped
	}
	v := Values{"acc": make([]float64, len(arms)), "ll": make([]float64, len(arms))}
	for i, a := range arms {
		v["acc"][i] = 1 - a.Sigma/4 - a.Temperature/2 + 0.001*float64(len(it.Prompt)%2)
		v["ll"][i] = -a.Sigma
	}
	return v, nil
}

func linearTask(items int) (*Task, *Settings) {
	task := &Task{Name: "dir/linear.jsonl", Kind: Completion, Hash: "h"}
	for i := range items {
		task.Items = append(task.Items, Item{Prompt: strings.Repeat("x", i+1), Choices: []string{" y"}})
	}
	noisy := []Arm{{}, {Sigma: 0.5}, {Sigma: 1}, {Sigma: 1.5}, {Sigma: 2}}
	return task, &Settings{Task: "h", Kind: Completion, Model: "linear", Fields: 1, Arms: Arms(noisy, true, math.Inf(1))}
}

func TestSummaryAndFiles(t *testing.T) {
	task, settings := linearTask(20)
	dir := t.TempDir()
	store, err := OpenStore(dir, settings)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := Run(t.Context(), task, 20, settings.Arms, &linear{whole: true}, store, 4, nil); err != nil {
		t.Fatal(err)
	}
	s := Summarize(task, 20, settings, store)
	if s.Items != 20 || len(s.Fits) != 1 {
		t.Fatalf("%d items, fits %+v", s.Items, s.Fits)
	}
	if f := s.Fits[0]; f.Metric != "acc" || !near(f.Value, 0.5, 1e-9) || !near(f.RMS, 0, 1e-9) || f.MatchedRMS < 0.1 {
		t.Errorf("fit %+v, want 0.5", f)
	}
	for _, sigma := range []float64{0.5, 2} {
		for curve, want := range map[Curve]float64{
			NoiseCurve: 1.0005 - sigma/4, MatchedCurve: 1.0005 - MatchedTemperature*sigma/2, FittedCurve: 1.0005 - sigma/4,
		} {
			p := s.Find("acc", curve, sigma)
			if p == nil || !near(p.Value, want, 1e-9) || !(p.Low <= p.Value && p.Value <= p.High) {
				t.Errorf("%s at %v: %+v, want %v", curve, sigma, p, want)
			}
		}
	}
	paths, err := s.Save(dir, "linear")
	if err != nil || len(paths) != 4 {
		t.Fatal(paths, err)
	}
	checkFiles(t, dir, s)
}

// TestSummaryByLevel: asked for by level, every curve is drawn over the level.
func TestSummaryByLevel(t *testing.T) {
	task, settings := linearTask(4)
	settings.Arms = Arms([]Arm{{Level: 1}, {Sigma: 0.5, Level: 0.9}, {Sigma: 2, Level: 0.5}}, true, math.Inf(1))
	dir := t.TempDir()
	store, err := OpenStore(dir, settings)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := Run(t.Context(), task, 4, settings.Arms, &linear{whole: true}, store, 1, nil); err != nil {
		t.Fatal(err)
	}
	s := Summarize(task, 4, settings, store)
	for _, curve := range []Curve{NoiseCurve, MatchedCurve, FittedCurve} {
		var levels []float64
		for _, p := range s.curve("acc", curve) {
			levels = append(levels, s.x(p))
		}
		if !slices.Equal(levels, []float64{0.5, 0.9, 1}) {
			t.Errorf("%s is drawn over %v", curve, levels)
		}
	}
	if _, err := s.Save(dir, "levels"); err != nil {
		t.Error(err)
	}
	table, err := s.CSV()
	if err != nil || !strings.Contains(string(table), "acc,noise,0.5,0.9,0,0.8755,") {
		t.Errorf("%v, table\n%s", err, table)
	}
}

// checkFiles reads back what was written.
func checkFiles(t *testing.T, dir string, s *Summary) {
	t.Helper()
	open := func(name string) *os.File {
		t.Helper()
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	rows, err := csv.NewReader(open("linear.csv")).ReadAll()
	if err != nil || len(rows) != 1+len(s.Points) || strings.Join(rows[0], ",") != "metric,curve,sigma,level,temperature,value,low,high,items" {
		t.Errorf("CSV: %d rows, %v", len(rows), err)
	}
	if want := []string{"acc", "noise", "0.5", "", "0", "0.8755"}; !slices.Equal(rows[2][:6], want) || rows[2][8] != "20" {
		t.Errorf("CSV row %q, want %q", rows[2], want)
	}
	var back Summary
	if err := json.NewDecoder(open("linear.json")).Decode(&back); err != nil || len(back.Points) != len(s.Points) || back.Points[1] != s.Points[1] {
		t.Errorf("JSON: %v, %+v", err, back)
	}
	picture, err := png.Decode(open("linear.png"))
	if err != nil || picture.Bounds().Dx() < 300 {
		t.Errorf("PNG: %v", err)
	}
	svg, err := os.ReadFile(filepath.Join(dir, "linear.svg"))
	if err != nil || !strings.Contains(string(svg), "<svg") {
		t.Errorf("SVG: %v", err)
	}
}

// TestResume stops a run in the middle, with a line half written, and goes on: no value is scored twice, none is missing.
func TestResume(t *testing.T) {
	for _, whole := range []bool{true, false} {
		task, settings := linearTask(10)
		dir := t.TempDir()
		store, err := OpenStore(dir, settings)
		if err != nil {
			t.Fatal(err)
		}
		first := &linear{whole: whole, fail: 7}
		if err := Run(t.Context(), task, 10, settings.Arms, first, store, 3, nil); !errors.Is(err, errStopped) {
			t.Fatalf("error %v, want %v", err, errStopped)
		}
		store.Close()
		cut(t, store.Path)

		store, err = OpenStore(dir, settings)
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		second := &linear{whole: whole}
		var done, total int
		err = Run(t.Context(), task, 10, settings.Arms, second, store, 3, func(d, n int) { done, total = d, n })
		want := 10
		if !whole {
			want *= len(settings.Arms)
		}
		// Seven were scored at first, one of them lost its half line.
		if err != nil || second.calls.Load() != int64(want-6) || done != want || total != want {
			t.Errorf("whole %v: %v, %d further calls, progress %d/%d, want %d calls of %d", whole, err, second.calls.Load(), done, total, want-6, want)
		}
		if n := len(store.Complete(10)["acc"]); n != 10 {
			t.Errorf("%d items are complete", n)
		}
	}
}

// cut removes the second half of a file's last line.
func cut(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data[:len(data)-20], 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStoreRefusesForeignLines(t *testing.T) {
	_, settings := linearTask(1)
	for _, c := range []struct{ text, want string }{
		{"{}\n", ":1: the settings are not those of this run"},
		{"", ""},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "results-"+settings.Key()+".jsonl")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		store, err := OpenStore(dir, settings)
		if (c.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
		if store != nil {
			store.Close()
		}
	}
	other := *settings
	other.Fields = 2
	if other.Key() == settings.Key() {
		t.Error("other settings have the same key")
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	task, settings := linearTask(5)
	store, err := OpenStore(t.TempDir(), settings)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	l := &linear{whole: true}
	if err := Run(ctx, task, 5, settings.Arms, l, store, 2, nil); !errors.Is(err, context.Canceled) || l.calls.Load() != 0 {
		t.Errorf("%v after %d calls", err, l.calls.Load())
	}
}

func TestNoiseFields(t *testing.T) {
	n := Noise{Secret: []byte("secret"), Model: "m", Fields: 2}
	if n.Key(0, 1) != sampler.UtilityKey([]byte("secret"), "m", 1) {
		t.Error("the first field is not the server's")
	}
	if n.Key(0, 1) == n.Key(1, 1) || n.Key(1, 1) == n.Key(2, 1) {
		t.Error("two fields share a key")
	}
	if strings.Contains(n.Fingerprint(), "secret") || n.Fingerprint() == (Noise{Secret: []byte("other")}).Fingerprint() {
		t.Error("the fingerprint is none")
	}
}

var plain sampler.Params

func parts(text string) []llama.Part { return []llama.Part{{Text: text}} }
