package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"aim/internal/calibrate"
	"aim/internal/optimize"
	"aim/internal/testmodel"
)

// TestPullGoesOn fetches the real model from a server that takes its time, stops in the middle, and goes on with another run.
func TestPullGoesOn(t *testing.T) {
	content, err := os.ReadFile(testmodel.Path(t))
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(content)
	sum := hex.EncodeToString(digest[:])
	var first, rest atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"one"`)
		if r.Header.Get("Range") != "" {
			rest.Add(1)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
			return
		}
		first.Add(1)
		w.Header().Set("Content-Length", "98362432")
		_, _ = w.Write(content[:30<<20])
		_ = http.NewResponseController(w).Flush()
		cancel()
		<-r.Context().Done()
	}))
	defer server.Close()
	dir := t.TempDir()
	t.Setenv("AIM_MODELS", dir)
	line := []string{"pull", server.URL + "/x.gguf", "--name", "real", "--sha256", sum}
	err = run(ctx, line, streams{strings.NewReader(""), io.Discard, t.Output()})
	if err == nil || !strings.Contains(err.Error(), "the same command goes on") || exitCode(err) != 1 {
		t.Fatalf("got %v", err)
	}
	if out, err := try(t, "", "models"); err != nil || !strings.Contains(out, "no models in") {
		t.Errorf("half a model is there: %v\n%s", err, out)
	}
	out, err := try(t, "", line...)
	if err != nil || !strings.HasPrefix(out, "real is there: 98.4 MB in "+dir) {
		t.Fatalf("%v, %q", err, out)
	}
	if first.Load() != 1 || rest.Load() != 1 {
		t.Errorf("%d whole and %d ranges were asked for", first.Load(), rest.Load())
	}
	if out, err := try(t, "", line...); err != nil || !strings.HasPrefix(out, "real was there already") {
		t.Errorf("%v, %q", err, out)
	}

	out, err = try(t, "", "models", "show", "real", "--hash", "--ctx", "2048")
	for _, want := range []string{
		"llama", "135 M", "Q4_1, 5.74 bits", "8192", "layers         30", "9, of keys and values 3", "49152", "gpt2, smollm", "chat template  yes", sum,
		"for 4 conversations of 2048 tokens: weights 96.6 MB, KV cache 189 MB",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

func TestModelsAsJSON(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("AIM_MODELS", dir)
	if out, err := try(t, "", "models", "--json"); err != nil || strings.TrimSpace(out) != "[]" {
		t.Errorf("%v, %q", err, out)
	}
	for range 2 {
		if _, err := try(t, "", "pull", testmodel.TinyLlama(1).Write(t), "--name", "tiny", "--quiet"); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "page.gguf"), []byte("<html>"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := try(t, "", "models", "--json")
	var list []listed
	if err != nil || json.Unmarshal([]byte(out), &list) != nil || len(list) != 2 || list[0].Error == "" || list[1].Name != "tiny" || list[1].Size == 0 {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = try(t, "", "models", "show", "tiny", "--json", "--hash")
	var s shown
	if err != nil || json.Unmarshal([]byte(out), &s) != nil || s.Name != "tiny" || s.Layers == 0 || s.Memory.Total == 0 || len(s.SHA256["tiny.gguf"]) != 64 {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := try(t, "", "models", "show", "page"); err == nil || !strings.Contains(err.Error(), "page.gguf: invalid GGUF format") {
		t.Errorf("got %v", err)
	}
	if text := printable("a\x1b[2Jb\nc"); text != "a [2Jb c" {
		t.Errorf("%q commands a terminal", text)
	}
}

func TestModelsDelete(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	t.Setenv("AIM_MODELS", dir)
	store := calibrate.Store{Dir: state}
	for _, name := range []string{"tiny", "other"} {
		if _, err := try(t, "", "pull", testmodel.TinyLlama(1).Write(t), "--name", name); err != nil {
			t.Fatal(err)
		}
	}
	kept := filepath.Join(dir, optimize.Folder, "tiny.Q8_0.gguf")
	for path, text := range map[string]string{
		filepath.Join(dir, "tiny.gguf.part"):                 "x",
		optimize.RecordPath(filepath.Join(dir, "tiny.gguf")): `{"kept":{"format":"Q8_0","file":"tiny.Q8_0.gguf"}}`,
		kept: "x",
		filepath.Join(state, "calibrations", "tiny-1.json"):  `{"model":"tiny"}`,
		filepath.Join(state, "calibrations", "other-1.json"): `{"model":"other"}`,
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	outside := testmodel.TinyLlama(1).Write(t)
	for _, c := range []struct{ line, want string }{
		{"models delete tiny", "say --yes"},
		{"models delete tiny gone --yes", `no model "gone"`},
		{"models delete " + outside + " --yes", "is not the name of a model"},
		{"models delete ../tiny --yes", "is not the name of a model"},
	} {
		if _, err := try(t, "y\n", strings.Fields(c.line)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("aim %s: %v, want %q", c.line, err, c.want)
		}
	}
	out, err := try(t, "", "models", "delete", "tiny", "--yes", "--state-dir", state)
	if err != nil || !strings.HasPrefix(out, "tiny is deleted: 4 files") || !strings.Contains(out, "1 calibrations") {
		t.Errorf("%v, %q", err, out)
	}
	if _, err := os.Stat(kept); err == nil {
		t.Error("the optimized file stayed")
	}
	if out, err := try(t, "", "models"); err != nil || strings.Contains(out, "tiny") || !strings.Contains(out, "other") {
		t.Errorf("%v\n%s", err, out)
	}
	if n, err := store.Forget("other"); n != 1 || err != nil {
		t.Errorf("%d calibrations of another model, %v", n, err)
	}
}
