package models

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadTiny(t *testing.T) {
	content := tiny().bytes()
	got, err := Read(write(t, t.TempDir(), "tiny.gguf", content))
	if err != nil {
		t.Fatal(err)
	}
	want := Facts{Size: int64(len(content)), Architecture: "llama", Quantization: "Q4_1", Parameters: 32*4 + 8, Context: 2048}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestReadBroken holds that every kind of broken file is told from a model, and why.
func TestReadBroken(t *testing.T) {
	whole := tiny().bytes()
	edit := func(at int, v uint64) []byte {
		b := append([]byte(nil), whole...)
		binary.LittleEndian.PutUint64(b[at:], v)
		return b
	}
	adapter := tiny()
	adapter.text("general.type", "adapter")
	mistyped := tiny()
	mistyped.number("general.name", 1)
	deep := new(file) // which the parser would allocate 32 GB for
	deep.text("general.architecture", "llama")
	deep.number("llama.block_count", 4_000_000_000)
	deep.number("llama.feed_forward_length", 8)
	deep.tensor("output_norm.weight", tensorF32, 8, 1, 32)
	unknown := new(file)
	unknown.text("general.architecture", "llama")
	unknown.tensor("blk.0.attn_q.weight", 9999, 32, 4, 80)
	for _, c := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"empty", nil, "empty"},
		{"text", []byte("version https://git-lfs.github.com/spec/v1\n"), "invalid GGUF format"},
		{"magic only", whole[:4], "read version"},
		{"old format", append([]byte("lmgg"), whole[4:]...), "unsupported format"},
		{"later version", append([]byte("GGUF\x09\x00\x00\x00"), whole[8:]...), "unsupported GGUF version: 9"},
		{"cut in the metadata", whole[:60], "remaining bytes"},
		{"cut in the weights", whole[:len(whole)-50], "tensor data needs"},
		{"too many tensors", edit(8, 1<<40), "too large"},
		{"too much metadata", edit(16, 1<<62), "too large"},
		{"long string", edit(24, 1<<63), "exceeds"},
		{"no tensors", new(file).bytes(), "no weights"},
		{"mistyped metadata", mistyped.bytes(), "malformed"},
		{"more layers than there can be", deep.bytes(), "llama.block_count is 4000000000, want at most 4096"},
		{"unknown tensor type", unknown.bytes(), "currently unsupported"},
		{"adapter", adapter.bytes(), `type "adapter"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			facts, err := Read(write(t, t.TempDir(), "m.gguf", c.content))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %+v, %v, want an error with %q", facts, err, c.want)
			}
		})
	}
}

func TestReadOddPaths(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(dir); err == nil {
		t.Error("a folder passes for a model")
	}
	link := filepath.Join(dir, "link.gguf")
	if err := os.Symlink(filepath.Join(dir, "gone"), link); err != nil {
		t.Skip(err)
	}
	if _, err := Read(link); err == nil {
		t.Error("a link to nothing passes for a model")
	}
	path := write(t, dir, "big-00002-of-00003.gguf", tiny().bytes())
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "big-00001-of-00003") {
		t.Errorf("a part without its siblings: %v", err)
	}
}

// FuzzRead holds that no file makes Read panic or hang.
func FuzzRead(f *testing.F) {
	whole := tiny().bytes()
	f.Add(whole)
	f.Add(whole[:100])
	f.Fuzz(func(t *testing.T, content []byte) {
		_, _ = Read(write(t, t.TempDir(), "m.gguf", content))
	})
}
