package models

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// The value types and tensor types of GGUF that the tests write (ggml-org/ggml, docs/gguf.md).
const (
	typeUint32  = 4
	typeFloat32 = 6
	typeBool    = 7
	typeString  = 8
	typeArray   = 9

	tensorF32  = 0
	tensorQ4_1 = 3
)

// file is a GGUF of version 3 in the making.
type file struct {
	meta, tensors, data bytes.Buffer
	metas, count        uint64
}

func (f *file) str(b *bytes.Buffer, s string) {
	put(b, uint64(len(s)))
	b.WriteString(s)
}

// text and number add metadata.
func (f *file) text(key, value string) {
	f.metas++
	f.str(&f.meta, key)
	put(&f.meta, uint32(typeString))
	f.str(&f.meta, value)
}

func (f *file) number(key string, value uint32) {
	f.metas++
	f.str(&f.meta, key)
	put(&f.meta, uint32(typeUint32))
	put(&f.meta, value)
}

func (f *file) flag(key string, value bool) {
	f.metas++
	f.str(&f.meta, key)
	put(&f.meta, uint32(typeBool))
	put(&f.meta, value)
}

// texts and numbers add arrays; values is a slice of n numbers of a kind.
func (f *file) texts(key string, values []string) {
	f.numbers(key, typeString, len(values), []byte{})
	for _, v := range values {
		f.str(&f.meta, v)
	}
}

func (f *file) numbers(key string, kind uint32, n int, values any) {
	f.metas++
	f.str(&f.meta, key)
	put(&f.meta, uint32(typeArray))
	put(&f.meta, kind)
	put(&f.meta, uint64(n))
	put(&f.meta, values)
}

// tensor adds a matrix with its zero weights.
func (f *file) tensor(name string, kind uint32, cols, rows, bytes int) {
	f.count++
	f.str(&f.tensors, name)
	put(&f.tensors, uint32(2))
	put(&f.tensors, uint64(cols))
	put(&f.tensors, uint64(rows))
	put(&f.tensors, kind)
	put(&f.tensors, uint64(f.data.Len()))
	f.data.Write(make([]byte, bytes))
}

func (f *file) bytes() []byte {
	var b bytes.Buffer
	b.WriteString("GGUF")
	put(&b, uint32(3))
	put(&b, f.count)
	put(&b, f.metas)
	b.Write(f.meta.Bytes())
	b.Write(f.tensors.Bytes())
	b.Write(make([]byte, (32-b.Len()%32)%32))
	b.Write(f.data.Bytes())
	return b.Bytes()
}

func put(b *bytes.Buffer, v any) {
	if err := binary.Write(b, binary.LittleEndian, v); err != nil {
		panic(err)
	}
}

// tiny is a model of two matrices: 32×4 in Q4_1 (20 bytes for each 32 weights) and 8×1 in F32.
func tiny() *file {
	f := new(file)
	f.text("general.architecture", "llama")
	f.number("general.file_type", 3) // MOSTLY_Q4_1
	f.number("llama.context_length", 2048)
	f.number("llama.block_count", 1)
	f.tensor("blk.0.attn_q.weight", tensorQ4_1, 32, 4, 80)
	f.tensor("output_norm.weight", tensorF32, 8, 1, 32)
	return f
}

// write puts a file into a folder and returns its path.
func write(t testing.TB, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
