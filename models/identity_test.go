package models

import (
	"path/filepath"
	"testing"
)

func identity(t *testing.T, path string) string {
	t.Helper()
	id, err := Identity(path)
	if err != nil || len(id) != 32 {
		t.Fatalf("%q, %v", id, err)
	}
	return id
}

// TestIdentity: what is in a file counts, not where it lies; neither header nor weights may differ.
func TestIdentity(t *testing.T) {
	big := func(change func(f *file, weights []byte)) []byte {
		f := tiny()
		f.tensor("output.weight", tensorF32, 1024, 1024, 4<<20)
		change(f, f.data.Bytes())
		return f.bytes()
	}
	nothing := func(*file, []byte) {}
	want := identity(t, write(t, t.TempDir(), "a.gguf", big(nothing)))
	if got := identity(t, write(t, t.TempDir(), "b.gguf", big(nothing))); got != want {
		t.Errorf("a copy has identity %s, the original %s", got, want)
	}
	seen := map[string]string{want: "the original"}
	for name, change := range map[string]func(f *file, weights []byte){
		"another name":           func(f *file, _ []byte) { f.text("general.name", "other") },
		"another size":           func(f *file, _ []byte) { f.data.Write(make([]byte, 32)) },
		"other weights, early":   func(_ *file, w []byte) { w[0] = 1 },
		"other weights, all":     func(_ *file, w []byte) { fill(w, 1) },
		"other weights, in half": func(_ *file, w []byte) { fill(w[len(w)/2:], 1) },
	} {
		id := identity(t, write(t, t.TempDir(), "a.gguf", big(change)))
		if other, ok := seen[id]; ok {
			t.Errorf("%s has the identity of %s", name, other)
		}
		seen[id] = name
	}
}

func fill(b []byte, v byte) {
	for i := range b {
		b[i] = v
	}
}

func TestIdentityRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{
		"nothing":                  filepath.Join(dir, "gone.gguf"),
		"a folder":                 dir,
		"text":                     write(t, dir, "text.gguf", []byte("<html>")),
		"a part without the rest":  write(t, dir, "big-00002-of-00003.gguf", tiny().bytes()),
		"a header that lies on it": write(t, dir, "cut.gguf", tiny().bytes()[:100]),
	} {
		if id, err := Identity(path); err == nil {
			t.Errorf("%s: identity %s", name, id)
		}
	}
}
