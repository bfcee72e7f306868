package cpp

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/cgo"
	"slices"
	"strings"
	"unsafe"

	"aim/models"
)

// fileType is a way to store a model: the type of most of its tensors, and llama.cpp's rules for those that need another.
type fileType struct {
	name  string
	ftype C.enum_llama_ftype
	// tensors is the type of most.
	tensors C.enum_ggml_type
	// matrix says that llama.cpp writes it with the help of an importance matrix only, which nobody has here.
	matrix bool
}

// fileTypes are llama.cpp's, by the names that its tools and file names use.
var fileTypes = []fileType{
	{"F32", C.LLAMA_FTYPE_ALL_F32, C.GGML_TYPE_F32, false},
	{"F16", C.LLAMA_FTYPE_MOSTLY_F16, C.GGML_TYPE_F16, false},
	{"BF16", C.LLAMA_FTYPE_MOSTLY_BF16, C.GGML_TYPE_BF16, false},
	{"Q8_0", C.LLAMA_FTYPE_MOSTLY_Q8_0, C.GGML_TYPE_Q8_0, false},
	{"Q6_K", C.LLAMA_FTYPE_MOSTLY_Q6_K, C.GGML_TYPE_Q6_K, false},
	{"Q5_K_M", C.LLAMA_FTYPE_MOSTLY_Q5_K_M, C.GGML_TYPE_Q5_K, false},
	{"Q5_K_S", C.LLAMA_FTYPE_MOSTLY_Q5_K_S, C.GGML_TYPE_Q5_K, false},
	{"Q5_1", C.LLAMA_FTYPE_MOSTLY_Q5_1, C.GGML_TYPE_Q5_1, false},
	{"Q5_0", C.LLAMA_FTYPE_MOSTLY_Q5_0, C.GGML_TYPE_Q5_0, false},
	{"Q4_K_M", C.LLAMA_FTYPE_MOSTLY_Q4_K_M, C.GGML_TYPE_Q4_K, false},
	{"Q4_K_S", C.LLAMA_FTYPE_MOSTLY_Q4_K_S, C.GGML_TYPE_Q4_K, false},
	{"Q4_1", C.LLAMA_FTYPE_MOSTLY_Q4_1, C.GGML_TYPE_Q4_1, false},
	{"Q4_0", C.LLAMA_FTYPE_MOSTLY_Q4_0, C.GGML_TYPE_Q4_0, false},
	{"IQ4_NL", C.LLAMA_FTYPE_MOSTLY_IQ4_NL, C.GGML_TYPE_IQ4_NL, false},
	{"IQ4_XS", C.LLAMA_FTYPE_MOSTLY_IQ4_XS, C.GGML_TYPE_IQ4_XS, false},
	{"Q3_K_L", C.LLAMA_FTYPE_MOSTLY_Q3_K_L, C.GGML_TYPE_Q3_K, false},
	{"Q3_K_M", C.LLAMA_FTYPE_MOSTLY_Q3_K_M, C.GGML_TYPE_Q3_K, false},
	{"Q3_K_S", C.LLAMA_FTYPE_MOSTLY_Q3_K_S, C.GGML_TYPE_Q3_K, false},
	{"IQ3_M", C.LLAMA_FTYPE_MOSTLY_IQ3_M, C.GGML_TYPE_IQ3_S, false},
	{"IQ3_S", C.LLAMA_FTYPE_MOSTLY_IQ3_S, C.GGML_TYPE_IQ3_S, false},
	{"IQ3_XS", C.LLAMA_FTYPE_MOSTLY_IQ3_XS, C.GGML_TYPE_IQ3_S, false},
	{"IQ3_XXS", C.LLAMA_FTYPE_MOSTLY_IQ3_XXS, C.GGML_TYPE_IQ3_XXS, true},
	{"Q2_K", C.LLAMA_FTYPE_MOSTLY_Q2_K, C.GGML_TYPE_Q2_K, false},
	{"Q2_K_S", C.LLAMA_FTYPE_MOSTLY_Q2_K_S, C.GGML_TYPE_Q2_K, true},
	{"IQ2_M", C.LLAMA_FTYPE_MOSTLY_IQ2_M, C.GGML_TYPE_IQ2_S, true},
	{"IQ2_S", C.LLAMA_FTYPE_MOSTLY_IQ2_S, C.GGML_TYPE_IQ2_XS, true},
	{"IQ2_XS", C.LLAMA_FTYPE_MOSTLY_IQ2_XS, C.GGML_TYPE_IQ2_XS, true},
	{"IQ2_XXS", C.LLAMA_FTYPE_MOSTLY_IQ2_XXS, C.GGML_TYPE_IQ2_XXS, true},
	{"IQ1_M", C.LLAMA_FTYPE_MOSTLY_IQ1_M, C.GGML_TYPE_IQ1_M, true},
	{"IQ1_S", C.LLAMA_FTYPE_MOSTLY_IQ1_S, C.GGML_TYPE_IQ1_S, true},
	{"TQ2_0", C.LLAMA_FTYPE_MOSTLY_TQ2_0, C.GGML_TYPE_TQ2_0, false},
	{"TQ1_0", C.LLAMA_FTYPE_MOSTLY_TQ1_0, C.GGML_TYPE_TQ1_0, false},
	{"MXFP4_MOE", C.LLAMA_FTYPE_MOSTLY_MXFP4_MOE, C.GGML_TYPE_MXFP4, false},
}

// tensorTypes are the types a tensor may be given by name.
var tensorTypes = map[string]C.enum_ggml_type{
	"F32": C.GGML_TYPE_F32, "F16": C.GGML_TYPE_F16, "BF16": C.GGML_TYPE_BF16,
	"Q8_0": C.GGML_TYPE_Q8_0, "Q6_K": C.GGML_TYPE_Q6_K, "Q5_K": C.GGML_TYPE_Q5_K, "Q5_1": C.GGML_TYPE_Q5_1, "Q5_0": C.GGML_TYPE_Q5_0,
	"Q4_K": C.GGML_TYPE_Q4_K, "Q4_1": C.GGML_TYPE_Q4_1, "Q4_0": C.GGML_TYPE_Q4_0, "IQ4_NL": C.GGML_TYPE_IQ4_NL, "IQ4_XS": C.GGML_TYPE_IQ4_XS,
	"Q3_K": C.GGML_TYPE_Q3_K, "IQ3_S": C.GGML_TYPE_IQ3_S, "Q2_K": C.GGML_TYPE_Q2_K, "MXFP4": C.GGML_TYPE_MXFP4,
}

// FileTypes are the names of the types that [Quantize] writes, the largest first.
func FileTypes() (names []string) {
	for _, t := range fileTypes {
		if !t.matrix {
			names = append(names, t.name)
		}
	}
	return names
}

// TensorTypes are the names of the types that single tensors may be given, in alphabetical order.
func TensorTypes() (names []string) {
	for name := range tensorTypes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// TensorType gives the tensors whose names contain Name the type Type, one of [TensorTypes].
type TensorType struct{ Name, Type string }

// QuantizeOptions say what [Quantize] writes.
type QuantizeOptions struct {
	// Type is one of [FileTypes], in either case.
	Type string
	// Output is the type of the output matrix, which is the token embeddings in models that have none of its own; Embedding that of
	// the token embeddings. Empty is llama.cpp's choice: for most types Q6_K for the output.
	Output, Embedding string
	// Tensors have other types than Type says. The last that matches a tensor holds. Type must not be F32, F16 or BF16 then, with
	// which llama.cpp looks at no tensor's name.
	Tensors []TensorType
	// Threads compute; default one per processor.
	Threads int
	// Replace allows that the target exists.
	Replace bool
	// Progress, when set, is called with the finished fraction of the tensors, in [0, 1].
	Progress func(fraction float64)
}

// Quantize writes the model of the GGUF file source, or of the split file whose first part that is, as another type to target. The
// source may be quantized itself; what was lost by then is not regained. The target appears whole or not at all: it is written under
// another name in its folder, where there must be room for it. When ctx ends, so does the work before the next tensor.
func Quantize(ctx context.Context, source, target string, o QuantizeOptions) error {
	if err := quantize(ctx, source, target, &o); err != nil {
		return fmt.Errorf("quantize %s to %s: %w", source, o.Type, err)
	}
	return nil
}

func quantize(ctx context.Context, source, target string, o *QuantizeOptions) error {
	p, err := o.plan(source)
	if err != nil {
		return err
	}
	if _, err := os.Stat(target); err == nil && !o.Replace {
		return fmt.Errorf("%s: %w", target, fs.ErrExist)
	}
	dir := filepath.Dir(target)
	free, err := models.FreeSpace(dir)
	if err != nil {
		return err
	}
	if need := p.size; need > free {
		return fmt.Errorf("it needs about %d MB in %s, where %d MB are free", need/1e6, dir, free/1e6)
	}
	f, err := os.CreateTemp(dir, ".quantizing-*.gguf")
	if err != nil {
		return err
	}
	temporary := f.Name()
	defer os.Remove(temporary) //nolint:errcheck // after the rename there is none
	if err := f.Close(); err != nil {
		return err
	}
	if err := p.run(ctx, source, temporary, o.Progress); err != nil {
		return err
	}
	if err := finish(temporary, source); err != nil {
		return err
	}
	return os.Rename(temporary, target)
}

// finish makes sure that a file is on the disk, and as readable as the one it was made from.
func finish(path, source string) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(info.Mode().Perm()|0o600), f.Sync(), f.Close())
}

// plan is a quantization that llama.cpp can do.
type plan struct {
	ftype             C.enum_llama_ftype
	output, embedding C.enum_ggml_type // GGML_TYPE_COUNT for llama.cpp's choice
	// overrides are lines of a type's number, a space, and what the names of its tensors contain.
	overrides string
	threads   int
	// size is about that of the file, in bytes.
	size int64
}

// plan finds what llama.cpp would refuse, or abort on, before it begins.
func (o *QuantizeOptions) plan(source string) (*plan, error) {
	t, err := o.fileType()
	if err != nil {
		return nil, err
	}
	if err := checkFile(source); err != nil {
		return nil, err
	}
	tensors, err := models.Tensors(source)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	switch {
	case len(o.Tensors) > 0 && !bool(C.ggml_is_quantized(t.tensors)):
		return nil, fmt.Errorf("types for single tensors go with a quantized type, not with %s", t.name)
	case o.Threads < 0:
		return nil, fmt.Errorf("%d threads, must be at least 1, or 0 for one per processor", o.Threads)
	}
	p := &plan{ftype: t.ftype, threads: o.Threads}
	if p.threads == 0 {
		p.threads = runtime.NumCPU()
	}
	output := outputMatrix
	if !slices.ContainsFunc(tensors, func(t models.Tensor) bool { return t.Name == output }) {
		output = embeddingMatrix
	}
	if p.output, err = fits(tensors, output, o.Output); err != nil {
		return nil, err
	}
	if p.embedding, err = fits(tensors, embeddingMatrix, o.Embedding); err != nil {
		return nil, err
	}
	for _, t := range o.Tensors {
		number, err := fits(tensors, t.Name, t.Type)
		if err != nil {
			return nil, err
		}
		p.overrides += fmt.Sprintf("%d %s\n", number, t.Name)
	}
	p.size, err = o.size(source, tensors, t.tensors)
	return p, err
}

// The tensors that llama.cpp treats by name.
const (
	outputMatrix    = "output.weight"
	embeddingMatrix = "token_embd.weight"
)

// fileType finds the type by its name.
func (o *QuantizeOptions) fileType() (*fileType, error) {
	i := slices.IndexFunc(fileTypes, func(t fileType) bool { return strings.EqualFold(t.name, o.Type) })
	switch {
	case i < 0:
		return nil, fmt.Errorf("no type %q; there are %s", o.Type, strings.Join(FileTypes(), ", "))
	case fileTypes[i].matrix:
		return nil, fmt.Errorf("%s needs an importance matrix, which Aim does not make", fileTypes[i].name)
	}
	return &fileTypes[i], nil
}

// fits finds a tensor type by its name, and refuses it where llama.cpp would abort: rows of the tensors whose names contain part
// must be whole blocks of it. Without a type it is llama.cpp's choice.
func fits(tensors []models.Tensor, part, name string) (C.enum_ggml_type, error) {
	if name == "" {
		return C.GGML_TYPE_COUNT, nil
	}
	t, ok := tensorTypes[strings.ToUpper(name)]
	if !ok {
		return 0, fmt.Errorf("no tensor type %q; there are %s", name, strings.Join(TensorTypes(), ", "))
	}
	if part == "" || strings.ContainsAny(part, "\n\x00") {
		return 0, fmt.Errorf("tensors %q: want part of the name of a tensor", part)
	}
	found := false
	for _, tensor := range tensors {
		if !strings.Contains(tensor.Name, part) {
			continue
		}
		found = true
		if block := uint64(C.ggml_blck_size(t)); len(tensor.Shape) >= 2 && tensor.Shape[0]%block != 0 {
			return 0, fmt.Errorf("%s cannot be %s: its rows of %d are no multiple of %d", tensor.Name, strings.ToUpper(name), tensor.Shape[0], block)
		}
	}
	if !found {
		return 0, fmt.Errorf("no tensor's name contains %q", part)
	}
	return t, nil
}

// size is about the size of the file to write: exact but for tensors that llama.cpp's rules give another type, for which some
// room is added.
func (o *QuantizeOptions) size(source string, tensors []models.Tensor, most C.enum_ggml_type) (int64, error) {
	info, err := os.Stat(source)
	if err != nil {
		return 0, err
	}
	var weights, before float64
	for _, t := range tensors {
		before += float64(t.Bytes)
		if len(t.Shape) < 2 {
			weights += float64(t.Bytes)
			continue
		}
		number := most
		for _, special := range o.Tensors {
			if strings.Contains(t.Name, special.Name) {
				number = tensorTypes[strings.ToUpper(special.Type)]
			}
		}
		weights += float64(t.Elements()) * float64(C.ggml_type_size(number)) / float64(C.ggml_blck_size(number))
	}
	header := max(0, float64(info.Size())-before) // of a split file that is too little by some kilobytes
	if C.ggml_is_quantized(most) && most != C.GGML_TYPE_Q8_0 {
		weights *= 1.25
	}
	return int64(header + weights), nil
}

// run calls llama.cpp's quantizer.
func (p *plan) run(ctx context.Context, source, target string, progress func(float64)) error {
	initialize()
	// One at a time, as loads: the errors of both come through the log alone.
	loading.Lock()
	defer loading.Unlock()
	report := cgo.NewHandle(func(done, of int) bool {
		if progress != nil {
			progress(float64(done) / float64(max(1, of)))
		}
		return ctx.Err() == nil
	})
	defer report.Delete()
	from, to, overrides := C.CString(source), C.CString(target), C.CString(p.overrides)
	defer C.free(unsafe.Pointer(from))
	defer C.free(unsafe.Pointer(to))
	defer C.free(unsafe.Pointer(overrides))
	params := C.llama_model_quantize_default_params()
	params.nthread = C.int32_t(p.threads)
	params.ftype = p.ftype
	params.output_tensor_type = p.output
	params.token_embedding_type = p.embedding
	params.allow_requantize = true

	var thrown errorBuffer
	whole := false
	logged := collectErrors(func() {
		whole = bool(C.aim_quantize(from, to, params, overrides, C.uintptr_t(report), thrown.ptr(), thrown.len()))
	})
	switch {
	case whole:
		if progress != nil {
			progress(1)
		}
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case thrown.String() != "":
		return errors.New(thrown.String())
	}
	for _, line := range logged { // the others only decorate it
		if _, why, ok := strings.Cut(line, "failed to quantize: "); ok {
			return errors.New(why)
		}
	}
	return errors.New(reason(logged))
}

//export aimQuantized
func aimQuantized(done, of C.int, handle C.uintptr_t) C.bool {
	return C.bool(cgo.Handle(handle).Value().(func(done, of int) bool)(int(done), int(of)))
}

// SystemInfo names the back ends of llama.cpp and the processor features that they were compiled for.
func SystemInfo() string {
	initialize()
	return strings.TrimSpace(C.GoString(C.llama_print_system_info()))
}
