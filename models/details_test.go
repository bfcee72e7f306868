package models

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDescribeTiny(t *testing.T) {
	f := tiny()
	f.text("general.name", "Tiny")
	f.text("general.license", "mit")
	f.number("llama.embedding_length", 32)
	f.number("llama.attention.head_count", 4)
	f.number("llama.attention.head_count_kv", 2)
	f.text("tokenizer.ggml.model", "gpt2")
	f.text("tokenizer.ggml.pre", "smollm")
	f.texts("tokenizer.ggml.tokens", []string{"a", "b", "c"})
	f.text("tokenizer.chat_template", "{{ messages }}")
	path := write(t, t.TempDir(), "tiny.gguf", f.bytes())
	d, err := Describe(path)
	if err != nil {
		t.Fatal(err)
	}
	if d.Title != "Tiny" || d.License != "mit" || d.Layers != 1 || d.Embedding != 32 || d.Heads != 4 || d.HeadsKV != 2 || d.Experts != 0 ||
		d.Vocabulary != 3 || d.Tokenizer != "gpt2" || d.Split != "smollm" || !d.ChatTemplate || len(d.Files) != 1 || d.Files[0] != path {
		t.Errorf("%+v", d)
	}
	if want := 8 * (80.0 + 32) / (32*4 + 8); d.BitsPerWeight != want {
		t.Errorf("%v bits per weight, want %v", d.BitsPerWeight, want)
	}
	if _, err := Describe(write(t, t.TempDir(), "page.gguf", []byte("<html>"))); err == nil {
		t.Error("a page passes")
	}
}

func TestBelongings(t *testing.T) {
	dir := catalogue(t)
	for _, name := range []string{"b.gguf.part", "b.gguf.part.json", "b.c.gguf", "b-00001.gguf", "c.gguf.part"} {
		write(t, dir, name, []byte("12345"))
	}
	for name, want := range map[string]string{
		"a":                     "a-00001-of-00002.gguf a-00002-of-00002.gguf",
		"a-00002-of-00002.gguf": "a-00001-of-00002.gguf a-00002-of-00002.gguf",
		"b":                     "b.gguf b.gguf.part b.gguf.part.json",
		"b.gguf":                "b.gguf b.gguf.part b.gguf.part.json",
		"c":                     "c.gguf.part",
	} {
		all, err := Belongings(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, b := range all {
			names = append(names, filepath.Base(b.Path))
			if b.Unfinished != strings.Contains(b.Path, ".part") || b.Unfinished != (b.Bytes == 5) {
				t.Errorf("%+v", b)
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for _, name := range []string{"", ".", "..", "../b", filepath.Join(dir, "b.gguf"), ".hidden", "./b"} {
		if _, err := Belongings(dir, name); err == nil || !strings.Contains(err.Error(), "is not the name of a model") {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"notes", "folder", "nothing"} {
		var missing *NotFoundError
		if _, err := Belongings(dir, name); !errors.As(err, &missing) || len(missing.Have) != 4 {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// seeds are headers for fuzzing: models, one part of several, an adapter, and pieces of them.
func seeds() (all [][]byte) {
	split := tiny()
	split.number("split.count", 2)
	adapter := tiny()
	adapter.text("general.type", "adapter")
	rich := tiny()
	rich.number("llama.attention.head_count", 4)
	rich.numbers("llama.attention.head_count_kv", typeUint32, 2, []uint32{1, 2})
	rich.texts("tokenizer.ggml.tokens", []string{"a", "b"})
	rich.text("tokenizer.chat_template", "{{ x }}")
	deep := tiny()
	deep.number("llama.feed_forward_length", 8)
	flat := tiny()
	flat.tensor("flat", tensorF32, 0, 8, 0)
	for _, f := range []*file{tiny(), split, adapter, rich, deep, flat} {
		all = append(all, f.bytes(), f.bytes()[:120])
	}
	return all
}

// FuzzHeader holds that whatever number stands at whatever place of a header, all that reads headers comes to an end without a panic.
func FuzzHeader(f *testing.F) {
	for i, content := range seeds() {
		f.Add(content, uint16(8*i), uint64(1)<<(7*i), uint8(8))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte, at uint16, value uint64, width uint8) {
		for i := range min(int(width), 8) { // one field of it is replaced
			if j := int(at) + i; j < len(content) {
				content[j] = byte(value >> (8 * i))
			}
		}
		path := filepath.Join(dir, "m.gguf")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Read(path)
		shapes := CheckShapes(path)
		if _, err2 := Describe(path); err != nil && err2 == nil {
			t.Errorf("Read says %v, Describe nothing", err)
		}
		if _, err := Identity(path); err == nil && shapes == nil {
			_, _ = Tensors(path)
		}
		_, _ = Used(path, 1, 512)
	})
}
