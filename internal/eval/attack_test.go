package eval

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// attacked looks at one row, with a lead of 1, behind every variant of a target's prompt: the variants change nothing but the
// noise.
func attacked(t *testing.T, sigma float64) (*Attack, []Target, [][]*Outcome) {
	t.Helper()
	e := startEngine(t, 1, llamatest.Options{})
	a := &Attack{
		Engine: e, Model: "fake", Secret: []byte("of the test"), Gaps: []float64{1}, Sigmas: []float64{sigma}, Windows: []int{4},
		Nonces: 24, Draws: 24,
	}
	row := make([]float32, fake.Vocab())
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range row {
		row[i] = float32(-8 + 2*rng.NormFloat64())
	}
	row['b'], row['a'] = 6, 5
	target := Target{Question: "why?", Begun: " be", Gap: 1, Wanted: 1, Best: 'b', Candidates: []sampler.Token{'b', 'a', 'c', 'd', 'e', 'f', 'g', 'h'}}
	var outcomes []*Outcome
	for _, v := range a.variants(&target) {
		prompt, err := fake.Tokenize([]llama.Part{{Text: v.text}}, true)
		if err != nil {
			t.Fatal(err)
		}
		o, err := a.look(&target, prompt, row)
		if err != nil {
			t.Fatal(err)
		}
		outcomes = append(outcomes, o)
	}
	return a, []Target{target}, [][]*Outcome{outcomes}
}

// find is the row of an attack.
func find(t *testing.T, rows []AttackRow, window int, mode Mode, sees Sees) *AttackRow {
	t.Helper()
	at := slices.IndexFunc(rows, func(r AttackRow) bool { return r.Window == window && r.Mode == mode && r.Sees == sees })
	if at < 0 {
		t.Fatalf("no row for window %d, %s, %s", window, mode, sees)
	}
	return &rows[at]
}

// TestIdenticalRepeatsGainNothing: in every scope, whatever the caller sees, the same question asked again tells exactly what it told
// at first.
func TestIdenticalRepeatsGainNothing(t *testing.T) {
	a, targets, outcomes := attacked(t, 2)
	rows := a.Rows(targets, outcomes)
	for _, window := range []int{0, 4} {
		for _, sees := range []Sees{SeesText, SeesLogprobs} {
			row := find(t, rows, window, Repeat, sees)
			if row.Refused {
				continue
			}
			if n := len(row.Queries); n < 5 || row.Queries[n-1] != 64 {
				t.Errorf("asked %v times only", row.Queries)
			}
			for i, s := range row.Success {
				if s != row.Success[0] {
					t.Errorf("window %d, %s: %d queries succeed with %v, one with %v", window, sees, row.Queries[i], s, row.Success[0])
				}
			}
			if row.Success[0] == 1 || row.N95 != 0 {
				t.Errorf("window %d, %s: the first query told everything: %+v", window, sees, row)
			}
		}
	}
}

// TestFreshNoiseIsAveragedAway: with fresh noise log-probabilities tell the lead, and sooner than text; the number of queries
// grows with σ as the mean's standard error says.
func TestFreshNoiseIsAveragedAway(t *testing.T) {
	a, targets, outcomes := attacked(t, 2)
	rows := a.Rows(targets, outcomes)
	logprobs, text := find(t, rows, 0, Nonce, SeesLogprobs), find(t, rows, 0, Nonce, SeesText)
	// Two candidates: the difference of two means of n has σ√(2/n), which a lead of 1 exceeds with 95 % where n = 2·(1.645·2)² = 22.
	if logprobs.N95 < 8 || logprobs.N95 > 64 {
		t.Errorf("log-probabilities need %d queries, want about 22: %+v", logprobs.N95, logprobs)
	}
	if text.N95 != 0 && text.N95 < logprobs.N95 {
		t.Errorf("text needs %d queries, log-probabilities %d", text.N95, logprobs.N95)
	}
	if last := text.Success[len(text.Success)-1]; last <= text.Success[0] {
		t.Errorf("text gained nothing: %+v", text)
	}
	if logprobs.Ceiling != 1 {
		t.Errorf("without noise the caller is right in %v of the cases", logprobs.Ceiling)
	}
}

// TestWindowKeepsItsNoise: a nonce outside a window meets one of four noise fields at most.
func TestWindowKeepsItsNoise(t *testing.T) {
	a, targets, outcomes := attacked(t, 2)
	variants := a.variants(&targets[0])
	for draw := range a.draws(1) {
		seen := map[sampler.Token]bool{}
		for k, v := range variants {
			if v.mode == Nonce || k == 0 {
				seen[outcomes[0][k].Text[1][0][draw]] = true
			}
		}
		if len(seen) > 1<<sampler.FingerprintBits {
			t.Errorf("draw %d: %d tokens behind nonces, want at most %d noise fields", draw, len(seen), 1<<sampler.FingerprintBits)
		}
	}
	if row := find(t, a.Rows(targets, outcomes), 4, Nonce, SeesLogprobs); !row.Refused || row.Success != nil {
		t.Errorf("log-probabilities in a window: %+v, want it refused", row)
	}
}

func TestVariants(t *testing.T) {
	a := &Attack{Nonces: 2}
	target := Target{Question: "Who was it?", Begun: " It was"}
	got := a.variants(&target)
	if got[0].text != "Question: Who was it?\nAnswer: It was" || len(got) != 1+2+2+len(framings) {
		t.Errorf("%d variants, the first %q", len(got), got[0].text)
	}
	texts := map[string]bool{}
	for _, v := range got {
		texts[v.text] = true
		if !strings.Contains(v.text, "Who was it?") || !strings.HasSuffix(v.text, " was") {
			t.Errorf("%s: %q is another question", v.mode, v.text)
		}
	}
	if len(texts) != len(got) {
		t.Errorf("only %d of %d are different", len(texts), len(got))
	}
	if tail := got[3].text; !strings.HasPrefix(tail, "Question: Who was it?\nAnswer: It [") {
		t.Errorf("before the last word: %q", tail)
	}
}

// TestAttackOnEngine finds targets, decodes them, and finds all of it again in the files.
func TestAttackOnEngine(t *testing.T) {
	dir := t.TempDir()
	e := startEngine(t, 4, llamatest.Options{})
	a := &Attack{
		Engine: e, Model: "fake", Secret: []byte("s"), Gaps: []float64{0.5}, Targets: 3, Sigmas: []float64{1}, Windows: []int{8}, Nonces: 2, Draws: 2,
	}
	targets, err := a.FindTargets(t.Context(), Questions[:20], dir)
	if err != nil || len(targets) == 0 || len(targets) > 3 {
		t.Fatalf("%d targets, %v", len(targets), err)
	}
	for _, target := range targets {
		if !near(target.Gap, 0.5, gapTolerance) || target.Candidates[0] != target.Best {
			t.Errorf("target %+v", target)
		}
	}
	first, err := a.Outcomes(t.Context(), targets, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, list := range first {
		if list[0].Raw != targets[i].Best {
			t.Errorf("target %d: the plain prompt gives %d, want %d", i, list[0].Raw, targets[i].Best)
		}
	}
	before := e.Stats().Decodes
	again, err := a.FindTargets(t.Context(), Questions[:20], dir)
	if err != nil || len(again) != len(targets) {
		t.Fatal(len(again), err)
	}
	second, err := a.Outcomes(t.Context(), again, dir, nil)
	if err != nil || e.Stats().Decodes != before {
		t.Errorf("%v; %d decodes for what was known", err, e.Stats().Decodes-before)
	}
	if second[0][1].Raw != first[0][1].Raw || !slices.Equal(second[0][1].Logprobs[0][0], first[0][1].Logprobs[0][0]) {
		t.Errorf("read back %+v, want %+v", second[0][1], first[0][1])
	}
}

// TestRepetitions: a window of one token falls into a circle, and a run that was stopped goes on.
func TestRepetitions(t *testing.T) {
	e := startEngine(t, 4, llamatest.Options{})
	a := &Attack{Engine: e, Model: "fake", Secret: []byte("s"), Sigmas: []float64{60}, Windows: []int{1}}
	var prompts [][]sampler.Token
	for _, q := range Questions[:4] {
		prompt, err := fake.Tokenize(parts(q), true)
		if err != nil {
			t.Fatal(err)
		}
		prompts = append(prompts, prompt)
	}
	dir := t.TempDir()
	rows, err := a.Repetitions(t.Context(), prompts, 100, dir, nil)
	if err != nil || len(rows) != 3 {
		t.Fatalf("%+v, %v", rows, err)
	}
	if plain, prefix, window := rows[0], rows[1], rows[2]; plain.Sigma != 0 || prefix.Repeated4.Value > 0.1 ||
		window.Window != 1 || window.Repeated4.Value < 0.3 || window.D2.Value > prefix.D2.Value {
		t.Errorf("plain %+v, prefix %+v, window %+v", plain, prefix, window)
	}
	before := e.Stats().Decodes
	again, err := a.Repetitions(t.Context(), prompts, 100, dir, nil)
	if err != nil || e.Stats().Decodes != before || !slices.Equal(again, rows) {
		t.Errorf("again: %+v, %v, %d decodes", again, err, e.Stats().Decodes-before)
	}
}

func TestRepeated(t *testing.T) {
	for _, c := range []struct {
		tokens []sampler.Token
		want   float64
	}{
		{nil, 0},
		{[]sampler.Token{1, 2, 3, 4, 5}, 0},
		{[]sampler.Token{1, 1, 1, 1, 1, 1}, 2. / 3},
		{[]sampler.Token{1, 2, 3, 4, 1, 2, 3, 4}, 0.2},
	} {
		if got := repeated(c.tokens, 4); !near(got, c.want, 1e-12) {
			t.Errorf("repeated(%v) = %v, want %v", c.tokens, got, c.want)
		}
	}
}
