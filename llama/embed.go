package llama

import (
	"fmt"

	"aim/sampler"
)

// CheckInput says why an embedder cannot take an input: a [sampler.DomainError], or nil.
func CheckInput(e Embedder, m Model, input []sampler.Token) error {
	if n := len(input); n < 1 || n > e.Context() {
		return &sampler.DomainError{Param: "input", Value: fmt.Sprintf("of %d tokens", n), Want: fmt.Sprintf("of 1 to %d tokens", e.Context())}
	}
	for _, t := range input {
		if t < 0 || int(t) >= m.Vocab() {
			return &sampler.DomainError{Param: "input", Value: t, Want: fmt.Sprintf("of tokens in [0, %d)", m.Vocab())}
		}
	}
	return nil
}
