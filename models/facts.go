package models

import (
	"fmt"
	"os"
	"slices"
	"strings"

	gguf "github.com/gpustack/gguf-parser-go"
)

// Facts are what a GGUF file says of its model.
type Facts struct {
	// Size is the size of the file, or of all files of a split model, in bytes.
	Size int64
	// Architecture is llama.cpp's name for the kind of network, such as "llama" or "qwen3".
	Architecture string
	// Quantization is how most weights are stored, such as "Q4_1".
	Quantization string
	// Parameters is the number of weights.
	Parameters uint64
	// Context is the number of tokens the model was trained on at once, 0 where the file does not say.
	Context int
}

// parse reads the header of a GGUF file. The parser answers some malformed values with a panic, then or when they are asked for; see
// malformed.
func parse(path string, options ...gguf.GGUFReadOption) (*gguf.GGUFFile, error) {
	if err := regular(path); err != nil {
		return nil, err
	}
	f, err := gguf.ParseGGUFFile(path, options...)
	if err != nil {
		return nil, err
	}
	return f, checkBlocks(f)
}

// maxBlocks is more than any network has layers; the largest have some hundred.
const maxBlocks = 4096

// checkBlocks refuses a header that names more blocks than there can be: the parser allocates memory for each, and counts them all, for
// minutes where the number is one of 32 bits.
func checkBlocks(f *gguf.GGUFFile) error {
	for _, kv := range f.Header.MetadataKV {
		if !strings.HasSuffix(kv.Key, ".block_count") {
			continue
		}
		if n := gguf.ValueNumeric[uint64](kv); n > maxBlocks {
			return fmt.Errorf("malformed: %s is %d, want at most %d", kv.Key, n, maxBlocks)
		}
	}
	return nil
}

// malformed, deferred, makes an error of such a panic.
func malformed(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("malformed: %v", r)
	}
}

// Read reads the facts from the header of a GGUF file, of all its parts where it is split. Its error says what is wrong
// with the file.
func Read(path string) (facts Facts, err error) {
	defer malformed(&err)
	f, err := parse(path, gguf.SkipLargeMetadata())
	if err != nil {
		return Facts{}, err
	}
	if len(f.TensorInfos) == 0 {
		return Facts{}, fmt.Errorf("no weights in it")
	}
	meta, arch := f.Metadata(), f.Architecture()
	if meta.Type != "model" {
		return Facts{}, fmt.Errorf("not a language model but of type %q", meta.Type)
	}
	return Facts{
		Size:         int64(meta.FileSize),
		Architecture: meta.Architecture,
		Quantization: strings.TrimPrefix(meta.FileType.String(), "MOSTLY_"),
		Parameters:   uint64(meta.Parameters),
		Context:      int(arch.MaximumContextLength),
	}, nil
}

// regular answers what the parser would put less clearly, or wait for forever, as it would for a named pipe.
func regular(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("not a regular file")
	case info.Size() == 0:
		return fmt.Errorf("empty")
	}
	return nil
}

// CheckShapes refuses a GGUF file whose header cannot be read, or in which a tensor has a dimension of 0: llama.cpp divides by it.
func CheckShapes(path string) (err error) {
	defer malformed(&err)
	if err := regular(path); err != nil {
		return err
	}
	f, err := gguf.ParseGGUFFile(path, gguf.SkipLargeMetadata())
	if err != nil {
		return fmt.Errorf("incomplete or damaged: %w", err)
	}
	for _, t := range f.TensorInfos {
		if slices.Contains(t.Dimensions, 0) {
			return fmt.Errorf("tensor %q has the shape %d", t.Name, t.Dimensions)
		}
	}
	return nil
}
