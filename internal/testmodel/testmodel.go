// Package testmodel finds the real model that tests and benchmarks run on.
package testmodel

import (
	"os"
	"path/filepath"
	"testing"

	"aim/llama"
	"aim/models"
	"aim/sampler"
)

// File is the name of the file that `make model` fetches.
const File = "SmolLM2-135M-Instruct.Q4_1.gguf"

// Gemma is the name of the file that `make model-gemma` fetches beside it, for tests of what must not depend on one model.
const Gemma = "gemma-3-270m-q4_k_m.gguf"

// Path is the path of the real model: $AIM_TEST_MODEL, else the default model in the models folder. Without the file
// the test is skipped.
func Path(t testing.TB) string {
	t.Helper()
	path := os.Getenv("AIM_TEST_MODEL")
	if path == "" {
		dir, err := models.Folder()
		if err != nil {
			t.Skip(err)
		}
		path = filepath.Join(dir, File)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no real model at %s: run `make model`, or set AIM_TEST_MODEL", path)
	}
	return path
}

// NoEnd is a bias against all tokens that end an answer, so that every answer has the length asked for.
func NoEnd(m llama.Model) map[sampler.Token]float64 {
	bias := map[sampler.Token]float64{}
	for t := range sampler.Token(m.Vocab()) {
		if m.Kind(t) == llama.End {
			bias[t] = -100
		}
	}
	return bias
}
