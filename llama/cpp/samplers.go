package cpp

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"math"
	"slices"
	"unsafe"

	"aim/sampler"
)

// This file makes llama.cpp's own samplers available to this package's tests, which hold those of package sampler against them.
// Test files themselves cannot use cgo.

// reference is one of llama.cpp's samplers. The caller frees it.
type reference struct{ c *C.struct_llama_sampler }

func (r reference) free() { C.llama_sampler_free(r.c) }

// referenceTemperature divides logits; with a width the temperature follows the entropy.
func referenceTemperature(t, width, exponent float64) reference {
	return reference{C.llama_sampler_init_temp_ext(C.float(t), C.float(width), C.float(exponent))}
}

func referenceTopK(k int) reference { return reference{C.llama_sampler_init_top_k(C.int32_t(k))} }

func referenceTopP(p float64) reference { return reference{C.llama_sampler_init_top_p(C.float(p), 0)} }

func referenceMinP(p float64) reference { return reference{C.llama_sampler_init_min_p(C.float(p), 0)} }

func referenceTypical(p float64) reference {
	return reference{C.llama_sampler_init_typical(C.float(p), 0)}
}

func referenceTopNSigma(n float64) reference {
	return reference{C.llama_sampler_init_top_n_sigma(C.float(n))}
}

func referenceXTC(probability, threshold float64, seed uint32) reference {
	return reference{C.llama_sampler_init_xtc(C.float(probability), C.float(threshold), 0, C.uint32_t(seed))}
}

func referenceMirostat(tau, eta float64, seed uint32) reference {
	return reference{C.llama_sampler_init_mirostat_v2(C.uint32_t(seed), C.float(tau), C.float(eta))}
}

func referencePenalties(lastN int, repeat, frequency, presence float64) reference {
	return reference{C.llama_sampler_init_penalties(C.int32_t(lastN), C.float(repeat), C.float(frequency), C.float(presence))}
}

// referenceDRY has breakers as texts; context is what a d.LastN of -1 means.
func (m *Model) referenceDRY(d sampler.DRY, context int, breakers []string) reference {
	list := make([]*C.char, len(breakers)+1) // so that there is a first one
	for i, b := range breakers {
		list[i] = C.CString(b)
		defer C.free(unsafe.Pointer(list[i]))
	}
	return reference{C.llama_sampler_init_dry(C.llama_model_get_vocab(m.c), C.int32_t(context), C.float(d.Multiplier), C.float(d.Base),
		C.int32_t(d.AllowedLength), C.int32_t(d.LastN), &list[0], C.size_t(len(breakers)))}
}

func (r reference) accept(t sampler.Token) { C.llama_sampler_accept(r.c, C.llama_token(t)) }

// applyReferences runs samplers, one after the other, on a row. It returns the tokens that are left with their logits, in ascending
// order of ids, and the token that one of them selected, -1 if none did.
func applyReferences(row []float32, list ...reference) (left []scored, selected sampler.Token) {
	data := (*C.llama_token_data)(C.malloc(C.size_t(len(row)) * C.size_t(unsafe.Sizeof(C.llama_token_data{}))))
	defer C.free(unsafe.Pointer(data))
	for i := range row {
		unsafe.Slice(data, len(row))[i] = C.llama_token_data{id: C.llama_token(i), logit: C.float(row[i])}
	}
	array := C.llama_token_data_array{data: data, size: C.size_t(len(row)), selected: -1}
	for _, r := range list {
		C.llama_sampler_apply(r.c, &array)
	}
	rest := unsafe.Slice(array.data, array.size) // XTC moves the beginning
	selected = -1
	if array.selected >= 0 {
		selected = sampler.Token(rest[array.selected].id)
	}
	for _, c := range rest {
		if !math.IsInf(float64(c.logit), -1) { // top-n-sigma leaves what it removes
			left = append(left, scored{sampler.Token(c.id), float64(c.logit)})
		}
	}
	slices.SortFunc(left, func(a, b scored) int { return int(a.token - b.token) })
	return left, selected
}

// scored is a token with its logit.
type scored struct {
	token sampler.Token
	logit float64
}
