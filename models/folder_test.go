package models

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFolder(t *testing.T) {
	t.Setenv("HOME", "/home/someone")
	t.Setenv("XDG_DATA_HOME", "")
	t.Setenv("AIM_MODELS", "")
	check := func(want string) {
		t.Helper()
		if got, err := Folder(); got != filepath.FromSlash(want) || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	check("/home/someone/.local/share/aim/models")
	t.Setenv("XDG_DATA_HOME", "/data")
	check("/data/aim/models")
	t.Setenv("AIM_MODELS", "/models")
	check("/models")
}

func TestName(t *testing.T) {
	for path, want := range map[string]string{
		"/m/SmolLM2-135M-Instruct.Q4_1.gguf":  "SmolLM2-135M-Instruct.Q4_1",
		"upper.GGUF":                          "upper",
		"plain":                               "plain",
		"a.b.c":                               "a.b.c",
		".gguf":                               ".gguf",
		"big-00001-of-00003.gguf":             "big",
		"version-2-of-3.gguf":                 "version-2-of-3",
		filepath.Join("x", "y", "naïve.gguf"): "naïve",
	} {
		if got := Name(path); got != want {
			t.Errorf("Name(%q) = %q, want %q", path, got, want)
		}
	}
}

// catalogue makes a folder with two models, one of them split, and things that are none.
func catalogue(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{
		"b.gguf", "a-00001-of-00002.gguf", "a-00002-of-00002.gguf", "notes.txt", ".hidden.gguf", ".fetch.lock",
	} {
		write(t, dir, name, nil)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.gguf"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestFiles(t *testing.T) {
	dir := catalogue(t)
	got, err := Files(dir)
	want := []string{filepath.Join(dir, "a-00001-of-00002.gguf"), filepath.Join(dir, "b.gguf")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if got, err := Files(filepath.Join(dir, "none")); got != nil || err != nil {
		t.Errorf("a missing folder: %q, %v", got, err)
	}
	if _, err := Files(filepath.Join(dir, "b.gguf")); err == nil {
		t.Error("a file passes for a folder")
	}
}

func TestFind(t *testing.T) {
	dir := catalogue(t)
	elsewhere := write(t, t.TempDir(), "other.bin", nil)
	for name, want := range map[string]string{
		"a":                     filepath.Join(dir, "a-00001-of-00002.gguf"),
		"b":                     filepath.Join(dir, "b.gguf"),
		"b.gguf":                filepath.Join(dir, "b.gguf"),
		"a-00002-of-00002.gguf": filepath.Join(dir, "a-00001-of-00002.gguf"),
		elsewhere:               elsewhere,
	} {
		if got, err := Find(dir, name); got != want || err != nil {
			t.Errorf("Find(%q) = %q, %v, want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"", "c", "notes", "../b", dir} {
		_, err := Find(dir, name)
		var missing *NotFoundError
		if !errors.As(err, &missing) || missing.Name != name || !strings.Contains(err.Error(), "it has a, b") {
			t.Errorf("Find(%q): %v", name, err)
		}
	}
}

func TestFindTheOnlyOne(t *testing.T) {
	dir := t.TempDir()
	if _, err := Find(dir, ""); err == nil || !strings.Contains(err.Error(), "none yet") {
		t.Errorf("an empty folder: %v", err)
	}
	want := write(t, dir, "only.gguf", nil)
	if got, err := Find(dir, ""); got != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}
