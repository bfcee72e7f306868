package cpp

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"aim/internal/optimize"
	"aim/internal/testmodel"
	"aim/llama"
	"aim/models"
)

// quantized is the real model written as o says.
func quantized(t *testing.T, o QuantizeOptions) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model."+o.Type+".gguf")
	if err := Quantize(t.Context(), testmodel.Path(t), path, o); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestQuantize: Q8_0 keeps what Q4_1 knows, and the figures see what Q4_0 loses.
func TestQuantize(t *testing.T) {
	source := testmodel.Path(t)
	var fractions []float64
	path := quantized(t, QuantizeOptions{Type: "q8_0", Progress: func(f float64) { fractions = append(fractions, f) }})
	if !slices.IsSorted(fractions) || len(fractions) < 10 || fractions[0] != 0 || fractions[len(fractions)-1] != 1 {
		t.Errorf("progress was %v", fractions)
	}
	before, err := os.Stat(source)
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil || after.Mode().Perm() != before.Mode().Perm() {
		t.Errorf("its mode is %v, the original's %v; %v", after.Mode(), before.Mode(), err)
	}
	o := QuantizeOptions{Type: "Q8_0"}
	if p, err := o.plan(source); err != nil || math.Abs(float64(p.size-after.Size())) > 0.01*float64(after.Size()) {
		t.Errorf("%d bytes were foreseen, %d came; %v", p.size, after.Size(), err)
	}
	facts, err := models.Read(path)
	if err != nil || facts.Quantization != "Q8_0" {
		t.Errorf("the file says %+v, %v", facts, err)
	}

	original := open(t)
	tokens, err := original.Tokenize([]llama.Part{{Text: optimize.Text[:1500]}}, true)
	if err != nil {
		t.Fatal(err)
	}
	compare := func(path string) *optimize.Quality {
		m, err := Load(path, ModelOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		subject := func(m *Model) *optimize.Subject {
			return &optimize.Subject{Model: m, Decoder: decoder(t, m, DecoderOptions{Context: optimize.Window})}
		}
		q, err := optimize.Compare(t.Context(), subject(original), subject(m), tokens, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %+v", filepath.Base(path), *q)
		return q
	}
	good := compare(path)
	bad := compare(quantized(t, QuantizeOptions{Type: "Q4_0", Output: "Q8_0", Tensors: []TensorType{{"attn_v", "Q8_0"}, {"ffn_down", "F16"}}}))
	if !(math.Abs(good.Loss()) < 0.03) || !(good.KL < 0.01) || !(good.SameTop > 0.92) {
		t.Errorf("Q8_0 lost too much: %+v", good)
	}
	if !(bad.KL > 5*good.KL) || !(bad.SameTop < good.SameTop) {
		t.Errorf("Q4_0 lost nothing: %+v", bad)
	}
}

// TestQuantizeTensors: single tensors have the types asked for.
func TestQuantizeTensors(t *testing.T) {
	path := quantized(t, QuantizeOptions{Type: "Q8_0", Embedding: "Q5_0", Tensors: []TensorType{{"ffn_", "BF16"}, {"blk.1.ffn_up.weight", "Q4_0"}}})
	tensors, err := models.Tensors(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range tensors {
		want := "Q8_0"
		switch {
		case c.Name == "token_embd.weight":
			want = "Q5_0"
		case c.Name == "blk.1.ffn_up.weight": // and not blk.11
			want = "Q4_0"
		case len(c.Shape) < 2:
			want = "F32"
		case strings.Contains(c.Name, "ffn_"):
			want = "BF16"
		}
		if c.Type != want {
			t.Errorf("%s is %s, want %s", c.Name, c.Type, want)
		}
	}
}

func TestQuantizeRefuses(t *testing.T) {
	source, dir := testmodel.Path(t), t.TempDir()
	whole, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	taken := writeFile(t, "taken.gguf", []byte("mine"))
	for _, c := range []struct {
		name, source, target string
		o                    QuantizeOptions
		want                 string
	}{
		{"no type", source, "", QuantizeOptions{}, `no type ""; there are F32, F16`},
		{"unknown type", source, "", QuantizeOptions{Type: "Q9_9"}, `no type "Q9_9"`},
		{"importance matrix", source, "", QuantizeOptions{Type: "IQ2_XXS"}, "importance matrix"},
		{"no source", filepath.Join(dir, "none"), "", QuantizeOptions{Type: "Q8_0"}, "no such file"},
		{"no model", taken, "", QuantizeOptions{Type: "Q8_0"}, "not a GGUF file"},
		{"half a model", writeFile(t, "half.gguf", whole[:len(whole)/2]), "", QuantizeOptions{Type: "Q8_0"}, "half.gguf"},
		{"existing target", source, taken, QuantizeOptions{Type: "Q8_0"}, "already exists"},
		{"no folder", source, filepath.Join(dir, "none", "out.gguf"), QuantizeOptions{Type: "Q8_0"}, "no such file"},
		{"unknown tensor type", source, "", QuantizeOptions{Type: "Q8_0", Output: "Q4_K_M"}, `no tensor type "Q4_K_M"`},
		{"unknown tensor", source, "", QuantizeOptions{Type: "Q8_0", Tensors: []TensorType{{"ffm", "Q8_0"}}}, `no tensor's name contains "ffm"`},
		{"empty tensor", source, "", QuantizeOptions{Type: "Q8_0", Tensors: []TensorType{{"", "Q8_0"}}}, "want part of the name"},
		{"row of 576 in blocks of 256", source, "", QuantizeOptions{Type: "Q8_0", Output: "Q6_K"}, "rows of 576 are no multiple of 256"},
		{"the same of one tensor", source, "", QuantizeOptions{Type: "Q8_0", Tensors: []TensorType{{"attn_q", "Q4_K"}}}, "rows of 576"},
		{"tensors beside floats", source, "", QuantizeOptions{Type: "BF16", Tensors: []TensorType{{"ffn", "Q8_0"}}}, "not with BF16"},
		{"threads", source, "", QuantizeOptions{Type: "Q8_0", Threads: -1}, "-1 threads"},
	} {
		target := c.target
		if target == "" {
			target = filepath.Join(dir, "out.gguf")
		}
		if err := Quantize(t.Context(), c.source, target, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if content, err := os.ReadFile(taken); err != nil || string(content) != "mine" {
		t.Errorf("the file that was there is %q, %v", content, err)
	}
	empty(t, dir)
}

func empty(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestQuantizeStops: between two tensors, with nothing left behind; and a target that may be replaced is, at the end.
func TestQuantizeStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	target := filepath.Join(dir, "out.gguf")
	last := 0.0
	err := Quantize(ctx, testmodel.Path(t), target, QuantizeOptions{Type: "F16", Progress: func(f float64) {
		if last = f; f > 0.1 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || last > 0.2 {
		t.Errorf("it stopped at %v with %v", last, err)
	}
	empty(t, dir)
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Quantize(t.Context(), testmodel.Path(t), target, QuantizeOptions{Type: "Q8_0"}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	if err := Quantize(t.Context(), testmodel.Path(t), target, QuantizeOptions{Type: "Q8_0", Replace: true}); err != nil {
		t.Error(err)
	}
	if _, err := models.Read(target); err != nil {
		t.Error(err)
	}
}
