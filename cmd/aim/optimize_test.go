package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aim/internal/optimize"
	"aim/internal/testmodel"
	"aim/models"
)

// linked is the real model under another name in a folder of its own, in which files may be written beside it.
func linked(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "small.gguf")
	if err := os.Symlink(testmodel.Path(t), path); err != nil {
		t.Fatal(err)
	}
	return path
}

// loaded is what a server says of the file it loaded.
func loaded(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url + "/props")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var props struct {
		File string `json:"model_path"`
	}
	if err := json.NewDecoder(response.Body).Decode(&props); err != nil {
		t.Fatal(err)
	}
	return props.File
}

// TestOptimizedIsServed: a model is measured once, what was kept is loaded under the model's own name, and its levels are its own.
func TestOptimizedIsServed(t *testing.T) {
	model := linked(t)
	text := filepath.Join(t.TempDir(), "text.txt")
	if err := os.WriteFile(text, []byte(optimize.Text[:1500]), 0o600); err != nil {
		t.Fatal(err)
	}
	line := []string{"optimize", model, "--format", "Q8_0", "--rounds", "1", "--threads", "1", "--text", text, "--max-loss", "5%"}
	out, err := try(t, "", line...)
	if err != nil || !strings.Contains(out, "SPEED-UP") || !strings.Contains(out, "Q8_0") {
		t.Fatalf("%v:\n%s", err, out)
	}
	key, err := optimizeKey(model)
	if err != nil {
		t.Fatal(err)
	}
	record, err := optimize.Load(optimize.RecordPath(model), key)
	if err != nil {
		t.Fatal(err)
	}
	if x := record.Results[0]; !(x.Speedup > 0) || !(x.Quality.KL > 0 && x.Quality.KL < 0.02) || !(x.Quality.Loss() > -0.02 && x.Quality.Loss() < 0.02) {
		t.Errorf("measured %+v, %+v", x, x.Quality)
	}
	// Whether it is faster on this machine at this moment is not what is tested.
	record.Results[0].Speedup = 2
	if err := record.Save(optimize.RecordPath(model)); err != nil {
		t.Fatal(err)
	}
	if out, err = try(t, "", line...); err != nil || !strings.Contains(out, "2.00 times as fast") || !strings.Contains(out, "optimized/small.Q8_0.gguf") {
		t.Fatalf("measured again: %v:\n%s", err, out)
	}

	id, url, stop := serving(t, "--model", model, "--optimize", "auto")
	if file := loaded(t, url); id != "small" || file != "small.Q8_0.gguf" {
		t.Errorf("%s is served from %s", id, file)
	}
	if ask(t, url, "") == "" {
		t.Error("an empty answer")
	}
	stop()

	kept := filepath.Join(filepath.Dir(optimize.RecordPath(model)), "small.Q8_0.gguf")
	own, err := (&gauge{engine: &engine{path: model}}).key()
	if err != nil {
		t.Fatal(err)
	}
	if its, err := (&gauge{engine: &engine{path: kept}}).key(); err != nil || its == own {
		t.Errorf("the calibration of the optimized file is that of the original: %s, %v", its, err)
	}
	if names, err := models.Files(filepath.Dir(model)); err != nil || len(names) != 1 {
		t.Errorf("the models folder has %q, %v", names, err)
	}
}

// TestProbeIsBounded: a server looks for a format for so long and no longer, says so, and does not look again.
func TestProbeIsBounded(t *testing.T) {
	defer func(d time.Duration) { probeTime = d }(probeTime)
	probeTime = time.Millisecond
	model := linked(t)
	for _, want := range []string{"looking for the fastest format", "no format is faster"} {
		var log bytes.Buffer
		o := engineOptions{model: model, optimize: "auto", threads: 2}
		if err := o.useWeights(t.Context(), true, newLogger(&log, new(slog.LevelVar), "info", "text"), &log); err != nil || o.weights != model {
			t.Errorf("%s is loaded, %v", o.weights, err)
		}
		if !strings.Contains(log.String(), want) || !strings.Contains(log.String(), "it took longer than 1ms") {
			t.Errorf("the log does not say %q:\n%s", want, log.String())
		}
		if strings.Contains(log.String(), "looking") != (want == "looking for the fastest format") {
			t.Errorf("it looked twice:\n%s", log.String())
		}
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(optimize.RecordPath(model)), "*.gguf")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func TestQuantizedPath(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ source, out, want string }{
		{"a/SmolLM2-135M-Instruct.Q4_1.gguf", "", "a/SmolLM2-135M-Instruct.Q8_0.gguf"},
		{"a/model-f16.gguf", "", "a/model.Q8_0.gguf"},
		{"a/model-IQ4_XS-00001-of-00003.gguf", "", "a/model.Q8_0.gguf"},
		{"a/gemma-3-270m-q4_k_m.gguf", "", "a/gemma-3-270m.Q8_0.gguf"},
		{"a/model.gguf", dir, dir + "/model.Q8_0.gguf"},
		{"a/model.gguf", "out.gguf", "out.gguf"},
		{"a/Q4_0.gguf", "", "a/Q4_0.Q8_0.gguf"},
	} {
		if got := quantizedPath(c.source, c.out, "Q8_0"); got != c.want {
			t.Errorf("%s to %q: %s, want %s", c.source, c.out, got, c.want)
		}
	}
}
