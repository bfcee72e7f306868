package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"aim/internal/eval"
	"aim/internal/testmodel"
	"aim/llama"
	"aim/sampler"
)

// shared is a file of the test data that the project is judged on; without it the test is skipped.
func shared(t *testing.T, path ...string) string {
	t.Helper()
	dir := os.Getenv("AIM_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared")
	}
	file := filepath.Join(append([]string{dir, "testdata"}, path...)...)
	if _, err := os.Stat(file); err != nil {
		t.Skipf("no test data (set AIM_SHARED): %v", err)
	}
	return file
}

// evalEngine runs the real model until the test ends.
func evalEngine(t *testing.T, slots int) *engine {
	t.Helper()
	o := engineOptions{model: testmodel.Path(t), stateDir: stateDir(t), slots: slots, context: 512, batch: 512, threads: 2, gpuLayers: -1}
	e, stop, err := o.open(streams{err: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return e
}

// TestEvalIsGreedyDecoding: on LAMBADA, what one pass says of σ = 0 and of noise is what greedy decoding through the engine gives.
func TestEvalIsGreedyDecoding(t *testing.T) {
	task, err := eval.Load(shared(t, "eval", "lambada.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	e := evalEngine(t, 1)
	noise := eval.Noise{Secret: e.secret, Model: e.name, Fields: 1}
	f := &eval.Forced{Engine: e.Engine, Noise: noise}
	arms := []eval.Arm{{}, {Sigma: 1}}
	var right [2]float64
	items := task.Items[:100]
	slices.SortStableFunc(items, func(a, b eval.Item) int { return len(a.Prompt) - len(b.Prompt) })
	for _, it := range items[:20] { // the shortest, for they are read three times
		got, err := f.Score(t.Context(), &it, arms)
		if err != nil {
			t.Fatal(err)
		}
		before, after, err := eval.Split(e.model, it.Prompt, it.Choices[0], e.Config().Context)
		if err != nil {
			t.Fatal(err)
		}
		for k, a := range arms {
			var said []sampler.Token
			r := llama.Request{Prompt: before, MaxTokens: len(after), Params: sampler.Params{
				Utility: sampler.Utility{Sigma: a.Sigma, Key: noise.Key(0, a.Sigma)},
			}}
			for d, err := range e.Generate(t.Context(), r) {
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range d.Tokens {
					said = append(said, s.Token)
				}
			}
			if is := slices.Equal(said, after); is != (got["acc"][k] == 1) {
				t.Errorf("%q at %+v: scored %v, decoding says %v", it.Choices[0], a, got["acc"][k], is)
			}
			right[k] += got["acc"][k]
		}
	}
	t.Logf("right of 20: %v without noise, %v at σ = 1", right[0], right[1])
	if right[0] == 0 || right[0] > 15 {
		t.Errorf("%v of 20 right: SmolLM2-135M gets three of ten", right[0])
	}
}

// TestEvalCommand runs a task of three items, then goes on with the same records.
func TestEvalCommand(t *testing.T) {
	dir := t.TempDir()
	task := filepath.Join(dir, "capitals.jsonl")
	const items = `{"context": "The capital of France is", "continuation": "Paris"}
{"context": "The capital of Italy is", "continuation": "Rome"}
{"context": "One, two, three, four,", "continuation": "five"}
`
	if err := os.WriteFile(task, []byte(items), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"eval", task, "--sigma", "0,1,100", "--out", dir, "--model", testmodel.Path(t), "--state-dir", stateDir(t), "--ctx", "256", "--noise-seed", "1"}
	out, err := try(t, "", args...)
	if err != nil {
		t.Fatal(err)
	}
	var s eval.Summary
	text, err := os.ReadFile(filepath.Join(dir, "capitals.json"))
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil || s.Items != 3 || s.Settings.Kind != eval.Completion {
		t.Fatalf("%v, %+v", err, s)
	}
	if plain, wild := s.Find("acc", eval.NoiseCurve, 0), s.Find("acc", eval.NoiseCurve, 100); plain.Value < 0.6 || wild.Value != 0 {
		t.Errorf("%v right without noise, %v at σ = 100", plain.Value, wild.Value)
	}
	for _, want := range []string{"capitals.csv", "capitals.svg", "capitals.png", "results-", "temperature 0.78 sigma"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in %s", want, out)
		}
	}
	again, err := try(t, "", args...)
	if err != nil || again != out {
		t.Errorf("again: %v\n%s", err, again)
	}
}

// TestEvalAttackCommand attacks one token with few queries, and measures no repetition.
func TestEvalAttackCommand(t *testing.T) {
	dir := t.TempDir()
	out, err := try(t, "", "eval", "attack", "--out", dir, "--gaps", "1", "--sigma", "2", "--windows", "8", "--targets", "1", "--nonces", "1", "--draws", "2",
		"--max-tokens", "0", "--model", testmodel.Path(t), "--state-dir", stateDir(t), "--ctx", "256")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, "| 1 | 2 | window 8 | text | ") {
		t.Errorf("table:\n%s", out)
	}
	var r attackReport
	text, err := os.ReadFile(filepath.Join(dir, "attack.json"))
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil || len(r.Targets) != 1 || len(r.Rows) != 2*4*2 {
		t.Fatalf("%v, %d targets, %d rows", err, len(r.Targets), len(r.Rows))
	}
	for _, row := range r.Rows {
		if row.Mode == eval.Repeat && !row.Refused && row.Success[0] != row.Success[len(row.Success)-1] {
			t.Errorf("repeats gained: %+v", row)
		}
	}
}

// TestEvalFocusCommand measures a set of one pair and one span, through the command that takes any kind of file.
func TestEvalFocusCommand(t *testing.T) {
	dir := t.TempDir()
	set := filepath.Join(dir, "set.json")
	const content = `{"prompts": ["Describe a day at school."], "topics": [{"name": "water", "words": ["water", "river"]}],
		"span_cases": [{"prompt": "Describe a walk. Mention the rain often.", "span": "Mention the rain often.", "words_up": ["rain"]}]}`
	if err := os.WriteFile(set, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := try(t, "", "eval", set, "--strength", "1", "--max-tokens", "16", "--out", dir, "--model", testmodel.Path(t), "--state-dir", stateDir(t), "--ctx", "256")
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]any
	text, err := os.ReadFile(filepath.Join(dir, "focus.json"))
	if err == nil {
		err = json.Unmarshal(text, &rows)
	}
	if err != nil {
		t.Fatal(err)
	}
	var methods []string
	for _, r := range rows {
		methods = append(methods, r["method"].(string)+" "+r["kind"].(string))
		for _, field := range []string{"strength", "include", "rate", "ppl", "ppl_ratio", "d2"} {
			if _, ok := r[field].(float64); !ok {
				t.Errorf("%s: %s is %v", r["method"], field, r[field])
			}
		}
	}
	want := []string{
		"none lexical", "prompt lexical", "logit_bias lexical", "logit_bias lexical", "paper lexical", "paper lexical", "paper lexical",
		"lexical lexical", "none span", "span deleted span",
	}
	if !slices.Equal(methods, want) {
		t.Errorf("rows %q, want %q", methods, want)
	}
	// What is asked for in words, and what a span does, changes these answers within a few tokens.
	for _, pair := range [][2]int{{0, 1}, {8, 9}} {
		if a, b := rows[pair[0]]["ppl"], rows[pair[1]]["ppl"]; a == b {
			t.Errorf("%s and %s have the same perplexity %v", methods[pair[0]], methods[pair[1]], a)
		}
	}
	if n := strings.Count(out, "\n"); n != 2+len(want) {
		t.Errorf("a table of %d lines:\n%s", n, out)
	}
}
