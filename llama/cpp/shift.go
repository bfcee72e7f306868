package cpp

// #include "shim.h"
import "C"

import "aim/llama"

var _ llama.Shifter = (*Decoder)(nil)

// CanShift implements [llama.Shifter]. A cache can shift where a key carries its position as one number, and where there are keys
// for the whole context in all layers: a recurrent state cannot forget a part. ggml turns no keys in bf16.
func (d *Decoder) CanShift() bool {
	switch C.llama_model_rope_type(d.model.c) {
	case C.LLAMA_ROPE_TYPE_MROPE, C.LLAMA_ROPE_TYPE_IMROPE, C.LLAMA_ROPE_TYPE_VISION:
		return false // llama.cpp would abort
	}
	return d.opt.CacheK != CacheBF16 && !bool(C.llama_model_is_recurrent(d.model.c)) && !bool(C.llama_model_is_hybrid(d.model.c)) &&
		bool(C.llama_memory_can_shift(C.llama_get_memory(d.ctx)))
}

// Shift implements [llama.Shifter].
func (d *Decoder) Shift(seq, keep, discard int) error {
	tokens := 0
	if seq >= 0 && seq < len(d.next) {
		tokens = d.next[seq]
	}
	if err := llama.CheckShift(seq, len(d.next), keep, discard, tokens); err != nil {
		return err
	}
	// In one buffer for all, sequences share cells, and a cell has one position.
	if !d.CanShift() || d.opt.Unified && keep+discard < d.shared[seq] {
		return llama.ErrUnsupported
	}
	memory := C.llama_get_memory(d.ctx)
	id, from, to := C.llama_seq_id(seq), C.llama_pos(keep), C.llama_pos(keep+discard)
	if !C.llama_memory_seq_rm(memory, id, from, to) {
		return llama.ErrUnsupported
	}
	C.llama_memory_seq_add(memory, id, to, -1, -C.llama_pos(discard))
	d.next[seq] -= discard
	d.shared[seq] = min(d.shared[seq], keep)
	return nil
}
