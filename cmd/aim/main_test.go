package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aim/internal/testmodel"

	"aim/internal/config"
)

// try runs a command line without a model folder and returns what it prints.
func try(t *testing.T, stdin string, args ...string) (stdout string, err error) {
	t.Helper()
	var out bytes.Buffer
	err = run(t.Context(), args, streams{strings.NewReader(stdin), &out, t.Output()})
	return out.String(), err
}

func TestMistakesAreNamed(t *testing.T) {
	t.Setenv("AIM_MODELS", t.TempDir())
	for _, c := range []struct {
		line, want string
		code       int
	}{
		{"frobnicate", `unknown command "frobnicate"`, 2},
		{"serve --frobnicate", "unknown flag: --frobnicate", 2},
		{"serve here", `unknown command "here"`, 2},
		{"version --model", "unknown flag: --model", 2},
		{"serve --slots 0", `"0" for "--slots" flag: want a whole number from 1 to 256`, 2},
		{"serve --slots many", `"many" for "--slots" flag: want a whole number from 1 to 256`, 2},
		{"serve --sigma -1", `"-1" for "--sigma" flag: want a number in [0, 100]`, 2},
		{"serve --sigma NaN", `"NaN" for "--sigma" flag: want a number in [0, 100]`, 2},
		{"run --temperature 2.1", `"2.1" for "--temperature" flag: want a number in [0, 2]`, 2},
		{"serve --log-level loud", `"loud" for "--log-level" flag: want one of info, debug, warn, error`, 2},
		{"serve --drain-timeout -1s", "--drain-timeout -1s: want at least 0", 2},
		{"serve --addr 8080", `--addr "8080": want host:port`, 2},
		{"serve --pprof 6060", `--pprof "6060": want host:port`, 2},
		{"serve --slots 8 --batch 4", "--batch 4 is less than --slots 8", 2},
		{"serve --threads 513", `"513" for "--threads" flag: want a whole number from 1 to 512`, 2},
		{"serve --ubatch 513", "--ubatch 513 is more than --batch 512", 2},
		{"serve --flash-attn maybe", `"maybe" for "--flash-attn" flag: want one of auto, on, off`, 2},
		{"serve --cache-type-k q3_k", `"q3_k" for "--cache-type-k" flag: want one of f16, f32, bf16, q8_0`, 2},
		{"serve --cache-type-v q4_0 --flash-attn off", "--cache-type-v q4_0 needs --flash-attn on or auto", 2},
		{"run --numa mirror hello", `"mirror" for "--numa" flag: want one of off, distribute, isolate, numactl`, 2},
		{"serve --keep -1", `"-1" for "--keep" flag: want a whole number from 0`, 2},
		{"run --focus water hello", `--focus: "water" is not a word and how much of it`, 2},
		{"run", "nothing to answer", 2},
		{"serve --level 0", `"0" for "--level" flag: want a number above 0 and up to 1`, 2},
		{"serve --level 0.9 --sigma 0.5", "--level and --sigma set the same", 2},
		{"run --level 0.9 --sigma 0 hello", "--level and --sigma set the same", 2},
		{"calibrate --steps 1", "want a whole number from 64", 2},
		{"calibrate --levels 0.9,2", "--levels: 2 is not above 0", 2},
		{"calibrate a --model b", "the model is named twice", 2},
		{"calibrate --prompts gone.txt", "--prompts: open gone.txt", 1},
		{"eval", "accepts 1 arg(s), received 0", 2},
		{"eval testdata/task.jsonl --sigma 0", "--out is missing", 2},
		{"eval testdata/task.jsonl --out x", "want either --sigma or --level", 2},
		{"eval testdata/task.jsonl --out x --sigma 0 --level 1", "want either --sigma or --level", 2},
		{"eval testdata/task.jsonl --out x --sigma 0:1", `--sigma: "0:1" is not a number`, 2},
		{"eval testdata/task.jsonl --out x --level 2", "--level: 2 is outside [0.01, 1]", 2},
		{"eval testdata/task.jsonl --out x --sigma 0 --url http://127.0.0.1:1", "--url needs --model", 2},
		{"eval testdata/gone.jsonl --out x --sigma 0", "no such file", 1},
		{"eval testdata/task.jsonl --out x --sigma 0", "no model named", 1},
		{"eval attack", "--out is missing", 2},
		{"eval attack --out x --windows 1.5", "--windows: 1.5 is not a whole number", 2},
		{"eval attack --out x --sigma 0", "--sigma: 0 is outside [0.001, 100]", 2},
		{"eval focus main_test.go --out x", "main_test.go: not a focus set", 1},
		{"eval focus main_test.go --out x --methods magic", `--methods: "magic" is none of prompt, bias`, 2},
		{"eval focus main_test.go --out x --strength 2", "--strength: 2 is outside [-1, 1]", 2},
		{"bench", "accepts 1 arg(s), received 0", 2},
		{"bench http://127.0.0.1:1/v1 --scenario magic", `--scenario: "magic" is none of distinct`, 2},
		{"bench http://127.0.0.1:1/v1 --clients 0", "0 clients: want 1 to 256", 2},
		{"bench http://127.0.0.1:1/v1 --limit -1s", "--limit -1s: want at least 0", 2},
		{"bench compare", "no model named", 1},
		{"bench compare --peer none --model gone", `no model "gone"`, 1},
		{"quantize a", "accepts between 2 and 3 arg(s)", 2},
		{"quantize gone Q8_0", `no model "gone"`, 1},
		{"quantize a Q8_0 --tensor-type ffn", `--tensor-type: "ffn" is not part of a tensor's name and a type`, 2},
		{"optimize --max-loss 101%", `"101%" for "--max-loss" flag: want a percentage from 0% to 100%`, 2},
		{"optimize gone", `no model "gone"`, 1},
		{"pull", "accepts 1 arg(s)", 2},
		{"pull gone.gguf", "no such file", 1},
		{"pull x.gguf --sha256 12", `"12": want 64 hexadecimal digits`, 1},
		{"models delete x", `no model "x"`, 1},
		{"models show gone", `no model "gone"`, 1},
		{"serve --optimize on", `"on" for "--optimize" flag: want one of off, auto`, 2},
		{"serve --addr 127.0.0.1:0", "no model named", 1},
		{"run --model gone hello", `no model "gone", neither a file nor a name`, 1},
		{"serve --addr 256.0.0.1:0", "256.0.0.1", 1},
	} {
		_, err := try(t, "", strings.Fields(c.line)...)
		if err == nil || !strings.Contains(err.Error(), c.want) || exitCode(err) != c.code {
			t.Errorf("aim %s: %v (exit code %d), want %q (%d)", c.line, err, exitCode(err), c.want, c.code)
		}
	}
}

func TestHelpTeaches(t *testing.T) {
	for line, want := range map[string]string{
		"--help":       "aim run --focus water=50%",
		"serve --help": "--drain-timeout duration",
		"run --help":   "/set focus water 50%",
		"models":       "make model",
		"models -h":    "export-tokenizer",
		"eval --help":  "context, continuation",
		"bench --help": "aim bench compare starts servers itself",
		"version":      "llama.cpp  from github.com/ollama/ollama v0.24.0",
	} {
		t.Setenv("AIM_MODELS", filepath.Join(t.TempDir(), "none"))
		if out, err := try(t, "", strings.Fields(line)...); err != nil || !strings.Contains(out, want) {
			t.Errorf("aim %s: %v, no %q in\n%s", line, err, want, out)
		}
	}
}

func TestModelsTellsWhatIsBroken(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("AIM_MODELS", dir)
	if err := os.WriteFile(filepath.Join(dir, "page.gguf"), []byte("<html>not found</html>"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := try(t, "", "models")
	if err != nil || !strings.Contains(out, "page") || !strings.Contains(out, "broken: invalid GGUF format") {
		t.Errorf("%v, shown\n%s", err, out)
	}
	if out, err := try(t, "", "__complete", "serve", "--model", ""); err != nil || !strings.HasPrefix(out, "page\n") {
		t.Errorf("completion of --model: %v, %q", err, out)
	}
}

func TestExportTokenizer(t *testing.T) {
	out := filepath.Join(t.TempDir(), "tokenizer")
	if _, err := try(t, "", "models", "export-tokenizer", testmodel.Path(t), out); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		if b, err := os.ReadFile(filepath.Join(out, name)); err != nil || !json.Valid(b) {
			t.Errorf("%s: %v, %d bytes", name, err, len(b))
		}
	}
	bert := filepath.Join("..", "..", "llama", "cpp", "testdata", "bert.gguf")
	if _, err := try(t, "", "models", "export-tokenizer", bert, out); err == nil || !strings.Contains(err.Error(), `bert.gguf: the tokenizer (tokenizer.ggml.model) is "bert"`) {
		t.Errorf("got %v", err)
	}
	if _, err := try(t, "", "models", "export-tokenizer", bert); err == nil || exitCode(err) != 2 {
		t.Errorf("without a folder: %v", err)
	}
	if got, err := try(t, "", "__complete", "models", "export-tokenizer", bert, ""); err != nil || !strings.HasPrefix(got, ":16") {
		t.Errorf("completion of the folder: %v, %q", err, got)
	}
}

func TestAnotherSecretIsRefusedBeforeTheModelIsLoaded(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("AIM_MODELS", dir)
	t.Setenv("AIM_SECRET_FILE", filepath.Join(dir, "gone"))
	if err := os.WriteFile(filepath.Join(dir, "m.gguf"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := try(t, "", "run", "hello"); err == nil || !strings.Contains(err.Error(), "AIM_SECRET_FILE") {
		t.Errorf("got %v", err)
	}
}

func TestBrokenModelEndsServe(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("AIM_MODELS", dir)
	if err := os.WriteFile(filepath.Join(dir, "page.gguf"), []byte("<html>not found</html>"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := try(t, "", "serve", "--addr", "127.0.0.1:0", "--state-dir", dir)
	if err == nil || !strings.Contains(err.Error(), "page.gguf is not a GGUF file") || exitCode(err) != 1 {
		t.Errorf("got %v", err)
	}
}

func TestServeEndsWhileLoading(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	end()
	c := config.Default()
	c.Models = map[string]*config.Model{"m": config.NewModel(filepath.Join(t.TempDir(), "never opened.gguf"))}
	set, err := configured(c)
	if err != nil {
		t.Fatal(err)
	}
	h, err := newHouse(ctx, set, slog.Default(), new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	if list, err := h.models(ctx, set); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v", list, err)
	}
	h.close(0, func() {})
}

func TestScaled(t *testing.T) {
	for want, v := range map[string]float64{
		"0 B": 0, "999 B": 999, "1 kB": 1000, "98.4 MB": 98362432, "1 MB": 999999, "7.62 GB": 7615616512, "12 TB": 12e12,
	} {
		if got := scaled(v, "B"); got != want {
			t.Errorf("scaled(%g) = %q, want %q", v, got, want)
		}
	}
}

func TestQuote(t *testing.T) {
	if got, want := quote(`it's "so"`), `'it'\''s "so"'`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
