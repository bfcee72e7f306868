package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aim/internal/doctor"
	"aim/internal/testmodel"
	"aim/llama/cpp"
)

// examine runs aim doctor --json.
func examine(t *testing.T, args ...string) (doctor.Report, error) {
	t.Helper()
	out, err := try(t, "", append([]string{"doctor", "--json"}, args...)...)
	var r doctor.Report
	if failed := json.Unmarshal([]byte(out), &r); failed != nil {
		t.Fatalf("%v, %v:\n%s", err, failed, out)
	}
	return r, err
}

// TestDoctor examines this machine, this build and the real model, in both forms.
func TestDoctor(t *testing.T) {
	path, dir := testmodel.Path(t), t.TempDir()
	t.Setenv("AIM_SECRET_FILE", "")
	t.Setenv("AIM_MODELS", filepath.Dir(path))
	r, err := examine(t, path, "--state-dir", dir, "--slots", "2", "--ctx", "1000", "--threads", "1")
	if err != nil {
		t.Errorf("%v: %+v", err, r.Findings)
	}
	if m := r.Model; m == nil || m.Context != 1000 || !m.Template || m.Layers != 31 || m.Main.Weights>>20 != 92 || m.Main.KV != 45<<20 {
		t.Errorf("model %+v", m)
	}
	if len(r.Backends) == 0 || len(r.Devices) == 0 || r.Memory.Total == 0 || r.Processor.Threads == 0 || r.Models.Count == 0 {
		t.Errorf("%+v", r)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("it left %v in the state folder, %v", left, err)
	}
	out, err := try(t, "", "doctor", path, "--state-dir", dir, "--threads", "1")
	if err != nil || !strings.Contains(out, "back end CPU") || !strings.Contains(out, filepath.Join(dir, "secret")+": made at the first start") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestDoctorFinds holds that what will not work is a finding and the exit status 1.
func TestDoctorFinds(t *testing.T) {
	path := testmodel.Path(t)
	t.Setenv("AIM_SECRET_FILE", "")
	t.Setenv(cpp.LibraryPathVariable, filepath.Join(t.TempDir(), "lib", "ollama"))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), make([]byte, 32), 0o644); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "template")
	if err := os.WriteFile(broken, []byte("{% if %}"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := examine(t, path, "--state-dir", dir, "--chat-template", broken, "--ctx", "9000", "--slots", "256", "--batch", "512", "--gpu-layers", "0")
	if err == nil || exitCode(err) != 1 {
		t.Errorf("it ends with %v", err)
	}
	var text strings.Builder
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"run chmod 600", "which does not exist", "--ctx 9000 is more than the 8192", "the chat template cannot be used",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}

	t.Setenv("AIM_MODELS", t.TempDir())
	t.Setenv("AIM_SECRET_FILE", filepath.Join(dir, "gone"))
	r, err = examine(t, "--state-dir", filepath.Join(broken, "below a file"))
	if err == nil || r.Model != nil || r.Models.Problem == "" || r.State.SecretProblem == "" || r.State.Problem == "" {
		t.Errorf("%v: %+v %+v", err, r.Models, r.State)
	}
}

func TestGPUFlagsAreChecked(t *testing.T) {
	t.Setenv("AIM_MODELS", t.TempDir())
	for line, want := range map[string]string{
		"doctor --gpu-layers -2":            "want auto, all, or a whole number from 0",
		"doctor --gpu-layers many":          "want auto, all, or a whole number from 0",
		"doctor --split-mode columns":       "want one of layer, none, row",
		"doctor --tensor-split 1,-1":        "--tensor-split: -1 is not a number of at least 0",
		"doctor --tensor-split 0,0":         "one share at least must be above 0",
		"doctor --main-gpu -1":              "want a whole number from 0",
		"doctor a --model b":                "the model is named twice",
		"serve --model gone --main-gpu 999": "want a whole number from 0 to 255",
	} {
		_, err := try(t, "", strings.Fields(line)...)
		if err == nil || !strings.Contains(err.Error(), want) || exitCode(err) != 2 {
			t.Errorf("%s: got %v, want %q", line, err, want)
		}
	}
}

// TestSplitNeedsGPUs holds that shares for GPUs that are not there are refused, by serve and by doctor.
func TestSplitNeedsGPUs(t *testing.T) {
	path := testmodel.Path(t)
	if len(gpus()) > 0 {
		t.Skip("this machine has a GPU")
	}
	for _, args := range [][]string{{"doctor", path, "--tensor-split", "1,1"}, {"run", "--model", path, "--main-gpu", "1", "hello"}} {
		if _, err := try(t, "", append(args, "--state-dir", t.TempDir())...); err == nil || exitCode(err) != 2 ||
			!strings.Contains(err.Error(), "GPUs") {
			t.Errorf("%v: %v", args, err)
		}
	}
}
