package cpp

// #include <stdlib.h>
// #include "llama.h"
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"aim/llama"
)

// state is the cells of a sequence in memory that the garbage collector does not see: it is large, and freed at a known moment.
type state []byte

// Bytes implements [llama.State].
func (s *state) Bytes() []byte { return *s }

// Free implements [llama.State].
func (s *state) Free() {
	C.free(unsafe.Pointer(unsafe.SliceData(*s)))
	*s = nil
}

// Save implements [llama.Keeper].
func (d *Decoder) Save(seq int) (llama.State, error) {
	if seq < 0 || seq >= len(d.next) {
		return nil, fmt.Errorf("save sequence %d of %d", seq, len(d.next))
	}
	size := C.llama_state_seq_get_size(d.ctx, C.llama_seq_id(seq))
	buf := C.malloc(max(1, size))
	if buf == nil {
		return nil, fmt.Errorf("save sequence %d: no memory for %d bytes", seq, size)
	}
	s := state(unsafe.Slice((*byte)(buf), size))
	if C.llama_state_seq_get_data(d.ctx, (*C.uint8_t)(buf), size, C.llama_seq_id(seq)) != size {
		s.Free()
		return nil, fmt.Errorf("save sequence %d: llama.cpp could not", seq)
	}
	return &s, nil
}

// Restore implements [llama.Keeper].
func (d *Decoder) Restore(seq int, data []byte) error {
	switch {
	case seq < 0 || seq >= len(d.next):
		return fmt.Errorf("restore sequence %d of %d", seq, len(d.next))
	case d.next[seq] > 0:
		return fmt.Errorf("restore sequence %d, which has %d tokens", seq, d.next[seq])
	case len(data) == 0:
		return errors.New("restore a sequence from no bytes")
	}
	memory, id := C.llama_get_memory(d.ctx), C.llama_seq_id(seq)
	logged := collectErrors(func() {
		if C.llama_state_seq_set_data(d.ctx, (*C.uint8_t)(unsafe.SliceData(data)), C.size_t(len(data)), id) != 0 {
			d.next[seq] = int(C.llama_memory_seq_pos_max(memory, id)) + 1
		}
	})
	if d.next[seq] > 0 && d.next[seq] <= d.opt.Context {
		return nil
	}
	C.llama_memory_seq_rm(memory, id, -1, -1)
	d.next[seq] = 0
	if d.opt.Unified {
		return llama.ErrCacheFull
	}
	return fmt.Errorf("restore sequence %d: %s", seq, reason(logged))
}
