package models

import (
	gguf "github.com/gpustack/gguf-parser-go"
)

// Tensor is what the header of a GGUF file says of one of its tensors.
type Tensor struct {
	// Name is llama.cpp's, such as "blk.0.ffn_up.weight".
	Name string
	// Type is how its elements are stored, as llama.cpp spells it, such as "Q4_1".
	Type string
	// Shape is its dimensions; the first is the length of a row.
	Shape []uint64
	// Bytes is the size of its data.
	Bytes int64
}

// Elements is the number of its elements.
func (t *Tensor) Elements() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= int64(d)
	}
	return n
}

// Tensors lists the tensors of a GGUF file, of all its parts where it is split.
func Tensors(path string) (_ []Tensor, err error) {
	defer malformed(&err)
	f, err := parse(path, gguf.SkipLargeMetadata())
	if err != nil {
		return nil, err
	}
	var tensors []Tensor
	for _, info := range f.TensorInfos {
		tensors = append(tensors, Tensor{info.Name, info.Type.String(), info.Dimensions, int64(info.Bytes())})
	}
	return tensors, nil
}

// OutputType is the type of the matrix that makes logits of hidden states, which the token embeddings are where a model has no other; ""
// where it has neither.
func OutputType(tensors []Tensor) (kind string) {
	for _, t := range tensors {
		switch t.Name {
		case "output.weight":
			return t.Type
		case "token_embd.weight":
			kind = t.Type
		}
	}
	return kind
}
