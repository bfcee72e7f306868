package cpp

// #include <stdlib.h>
// #include "llama.h"
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
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

// A saved sequence begins with a header: a magic number, a checksum and the size of what follows. llama.cpp would take any bytes for a
// state; of a recurrent model it allocates what the first of them say, and ends the process where that is too much.
const (
	stateHeader = 16 // bytes
	stateMagic  = 0x53_6d_69_41
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli) // processors have an instruction for it

// seal fills in the header.
func (s state) seal() {
	binary.LittleEndian.PutUint32(s, stateMagic)
	binary.LittleEndian.PutUint32(s[4:], crc32.Checksum(s[stateHeader:], castagnoli))
	binary.LittleEndian.PutUint64(s[8:], uint64(len(s)-stateHeader))
}

// checkState says what is wrong with bytes that should be a saved sequence.
func checkState(data []byte) error {
	switch {
	case len(data) <= stateHeader || binary.LittleEndian.Uint32(data) != stateMagic:
		return errors.New("the bytes are no saved sequence")
	case binary.LittleEndian.Uint64(data[8:]) != uint64(len(data)-stateHeader):
		return errors.New("the saved sequence is incomplete")
	case binary.LittleEndian.Uint32(data[4:]) != crc32.Checksum(data[stateHeader:], castagnoli):
		return errors.New("the saved sequence is damaged")
	}
	return nil
}

// Save implements [llama.Keeper].
func (d *Decoder) Save(seq int) (llama.State, error) {
	if seq < 0 || seq >= len(d.next) {
		return nil, fmt.Errorf("save sequence %d of %d", seq, len(d.next))
	}
	s, err := d.snapshot(seq)
	if err != nil {
		return nil, err
	}
	s.seal()
	return s, nil
}

// snapshot is what Save returns, without its header filled in.
func (d *Decoder) snapshot(seq int) (*state, error) {
	size := C.llama_state_seq_get_size(d.ctx, C.llama_seq_id(seq))
	buf := C.malloc(stateHeader + size)
	if buf == nil {
		return nil, fmt.Errorf("save sequence %d: no memory for %d bytes", seq, size)
	}
	s := state(unsafe.Slice((*byte)(buf), stateHeader+size))
	if C.llama_state_seq_get_data(d.ctx, (*C.uint8_t)(unsafe.Add(buf, stateHeader)), size, C.llama_seq_id(seq)) != size {
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
	}
	if err := checkState(data); err != nil {
		return fmt.Errorf("restore sequence %d: %w", seq, err)
	}
	return d.load(seq, data[stateHeader:])
}

// load brings a state without its header into an empty sequence.
func (d *Decoder) load(seq int, data []byte) error {
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
