package snapshot

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"aim/llama"
	"aim/sampler"
)

var prefixes = []llama.Cached{
	{Tokens: []sampler.Token{1, 2, 300000}, State: []byte("state")},
	{Domain: "somebody", Adapters: 3, Tokens: []sampler.Token{7}, State: make([]byte, 3<<20)},
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "cache")
	if _, err := Read(path, []byte("secret"), "a"); !errors.Is(err, fs.ErrNotExist) || !Missing(err) {
		t.Fatalf("without a file: %v", err)
	}
	for _, want := range [][]llama.Cached{prefixes, prefixes[:1], nil} { // each replaces the one before
		if n, err := Write(path, []byte("secret"), "a", slices.Values(want)); err != nil || n != len(want) {
			t.Fatal(n, err)
		}
		got, err := Read(path, []byte("secret"), "a")
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%d of %d prefixes, %v", len(got), len(want), err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("%d files are left, %v", len(entries), err)
	}
}

func TestReadRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	if _, err := Write(path, []byte("secret"), "a", slices.Values(prefixes[:1])); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path, []byte("secret"), "b"); !errors.Is(err, ErrOther) {
		t.Errorf("another fingerprint: %v", err)
	}
	if _, err := Read(path, []byte("other"), "a"); err == nil || Missing(err) {
		t.Errorf("another secret: %v", err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole { // each byte counts, and each cut
		for name, damaged := range map[string][]byte{"cut": whole[:i], "changed": slices.Concat(whole[:i], []byte{whole[i] ^ 1}, whole[i+1:])} {
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			if list, err := Read(path, []byte("secret"), "a"); err == nil {
				t.Fatalf("%s at %d: %d prefixes", name, i, len(list))
			}
		}
	}
}
