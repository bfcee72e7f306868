package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aim/internal/bench"
	"aim/internal/testmodel"
)

// asAim has the test binary be the program itself, so that what starts a server starts this very code.
const asAim = "AIM_TEST_AS_AIM"

func TestMain(m *testing.M) {
	if os.Getenv(asAim) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// small are loads that take seconds; on a busy machine they take longer, and are not cut.
const small = " --clients 1,2 --slots 2 --requests 2 --rounds 1 --prompt-tokens 12 --answer-tokens 4 --prefix-tokens 40 --long-tokens 60 --limit 0"

func TestBenchCommand(t *testing.T) {
	model, url, _ := serving(t, "--slots", "4", "--ctx", "512", "--threads", "1")
	file := filepath.Join(t.TempDir(), "bench.json")
	out, err := try(t, "", strings.Fields("bench "+url+"/v1 --scenario distinct,shared,again,modulated --json "+file+small)...)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"model " + model + ", rounds: 1, seed: ", "| distinct prompts: 2 clients", "| a shared prefix: 2 clients", "| the same prompt again: again",
		"| modulated answers: utility and words", "| modulated answers: span",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	r, err := bench.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Samples {
		f := s.Figures
		if s.Scenario == "distinct" && s.Case == "2 clients" && (f.Requests != 4 || f.Tokens != 16 || f.PromptTokens < 30 || f.PromptTokens > 70) {
			t.Errorf("%d requests, %d tokens, %d of prompts; want 4, 16 and about 48", f.Requests, f.Tokens, f.PromptTokens)
		}
		if f.TokensPerSecond <= 0 || f.FirstToken.P50 <= 0 || f.FirstToken.P95 < f.FirstToken.P50 || f.Cut {
			t.Errorf("%s, %s: %+v", s.Scenario, s.Case, f)
		}
	}
}

func TestBenchCompareCommand(t *testing.T) {
	t.Setenv(asAim, "1")
	dir := t.TempDir()
	file, doc := filepath.Join(dir, "bench.json"), filepath.Join(dir, "performance.md")
	if err := os.WriteFile(doc, []byte("# Speed\n<!-- bench: begin -->\n<!-- bench: end -->\nMore.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	common := "bench compare --peer none --threads 1 --model " + testmodel.Path(t) + " --json " + file + small
	if _, err := try(t, "", strings.Fields(common+" --scenario start,long,idle")...); err != nil {
		t.Fatal(err)
	}
	// A second run adds to the first.
	out, err := try(t, "", strings.Fields(common+" --scenario distinct,tiers --doc "+doc)...)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"`aim bench compare --answer-tokens=4 --clients=1,2", "- Aim: aim ", "| cache full of idle prefixes / empty", "| eight tiers / one",
		"| a long prompt beside running answers: running answers", "| process start to first token: first token",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, dir) || strings.Contains(out, filepath.Dir(testmodel.Path(t))) {
		t.Errorf("the report names a folder:\n%s", out)
	}
	text, err := os.ReadFile(doc)
	if err != nil || !strings.HasSuffix(string(text), "](performance.svg)\n<!-- bench: end -->\nMore.\n") || !strings.Contains(string(text), "eight tiers") {
		t.Errorf("%v: written\n%s", err, text)
	}
	if svg, err := os.ReadFile(filepath.Join(dir, "performance.svg")); err != nil || !strings.Contains(string(svg), "</svg>") {
		t.Errorf("the plot: %v", err)
	}
	// Other sizes do not go into the same file.
	if _, err := try(t, "", strings.Fields(common+" --scenario start --answer-tokens 5")...); err == nil || !strings.Contains(err.Error(), "the same sizes of loads") {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || !json.Valid(b) {
		t.Errorf("%s: %v", file, err)
	}
}
