package testmodel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// GGUF is the content of a GGUF file: values under keys, and tensors of 32-bit floats.
type GGUF struct {
	// Values are of the types string, bool, uint32, int32, float32, []string, []int32, []uint32 and []float32.
	Values  map[string]any
	Tensors []Tensor
	rng     *rand.Rand
}

// Tensor is a tensor of 32-bit floats. Shape is in GGUF's order: the numbers of the first dimension lie side by side.
type Tensor struct {
	Name  string
	Shape []int
	Data  []float32
}

// NewGGUF returns a file of an architecture without tensors, whose random numbers come from a seed.
func NewGGUF(architecture string, seed uint64) *GGUF {
	return &GGUF{Values: map[string]any{"general.architecture": architecture}, rng: rand.New(rand.NewPCG(seed, 0))}
}

// Add adds a tensor whose numbers are normally distributed around a mean.
func (g *GGUF) Add(name string, mean, deviation float64, shape ...int) {
	n := 1
	for _, d := range shape {
		n *= d
	}
	t := Tensor{name, shape, make([]float32, n)}
	for i := range t.Data {
		t.Data[i] = float32(mean + deviation*g.rng.NormFloat64())
	}
	g.Tensors = append(g.Tensors, t)
}

// Tensor finds a tensor by its name, nil without one.
func (g *GGUF) Tensor(name string) *Tensor {
	for i := range g.Tensors {
		if g.Tensors[i].Name == name {
			return &g.Tensors[i]
		}
	}
	return nil
}

// Clone is a copy that shares nothing but the random numbers.
func (g *GGUF) Clone() *GGUF {
	c := &GGUF{Values: maps.Clone(g.Values), rng: g.rng}
	for _, t := range g.Tensors {
		c.Tensors = append(c.Tensors, Tensor{t.Name, slices.Clone(t.Shape), slices.Clone(t.Data)})
	}
	return c
}

// Write writes the file into a folder of the test's own and returns its path.
func (g *GGUF) Write(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := os.WriteFile(path, g.bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// gguf's numbers of types, and the alignment of tensors in bytes, as its specification has them.
const (
	ggufVersion   = 3
	ggufAlignment = 32

	ggufUint32  = 4
	ggufInt32   = 5
	ggufFloat32 = 6
	ggufBool    = 7
	ggufString  = 8
	ggufArray   = 9
)

// bytes is the file.
func (g *GGUF) bytes() []byte {
	var b ggufBuffer
	b.WriteString("GGUF")
	b.put(uint32(ggufVersion), uint64(len(g.Tensors)), uint64(len(g.Values)))
	for _, key := range slices.Sorted(maps.Keys(g.Values)) {
		b.text(key)
		b.value(g.Values[key])
	}
	offset := 0
	for _, t := range g.Tensors {
		b.text(t.Name)
		b.put(uint32(len(t.Shape)))
		for _, d := range t.Shape {
			b.put(uint64(d))
		}
		b.put(uint32(0), uint64(offset)) // of floats
		offset += aligned(4 * len(t.Data))
	}
	b.pad()
	for _, t := range g.Tensors {
		b.put(t.Data)
		b.pad()
	}
	return b.Bytes()
}

// ggufBuffer writes the parts of a file.
type ggufBuffer struct{ bytes.Buffer }

func (b *ggufBuffer) put(values ...any) {
	for _, v := range values {
		_ = binary.Write(b, binary.LittleEndian, v) // a buffer takes everything
	}
}

func (b *ggufBuffer) text(s string) {
	b.put(uint64(len(s)))
	b.WriteString(s)
}

func (b *ggufBuffer) pad() { b.Write(make([]byte, aligned(b.Len())-b.Len())) }

func aligned(n int) int { return (n + ggufAlignment - 1) / ggufAlignment * ggufAlignment }

// value writes a value after its type.
func (b *ggufBuffer) value(v any) {
	switch v := v.(type) {
	case string:
		b.put(uint32(ggufString))
		b.text(v)
	case bool:
		b.put(uint32(ggufBool), v)
	case uint32:
		b.put(uint32(ggufUint32), v)
	case int32:
		b.put(uint32(ggufInt32), v)
	case float32:
		b.put(uint32(ggufFloat32), math.Float32bits(v))
	case []string:
		b.put(uint32(ggufArray), uint32(ggufString), uint64(len(v)))
		for _, s := range v {
			b.text(s)
		}
	case []uint32:
		b.put(uint32(ggufArray), uint32(ggufUint32), uint64(len(v)), v)
	case []int32:
		b.put(uint32(ggufArray), uint32(ggufInt32), uint64(len(v)), v)
	case []float32:
		b.put(uint32(ggufArray), uint32(ggufFloat32), uint64(len(v)), v)
	default:
		panic(fmt.Sprintf("a value of type %T", v))
	}
}
