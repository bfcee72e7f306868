package cpp

// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"aim/llama"
)

// maxSequences is llama.cpp's LLAMA_MAX_SEQ.
const maxSequences = 256

// Decoder is a llama.cpp context: the KV cache and the logits of the last batch. It implements [llama.Decoder].
type Decoder struct {
	model *Model
	opt   DecoderOptions
	ctx   *C.struct_llama_context
	pool  *C.struct_ggml_threadpool
	batch C.struct_llama_batch

	// set is the set of adapters in force, -1 where that is unknown.
	set llama.AdapterSet
	// next is the position that continues each sequence, and shared the one up to which it may share cells with others.
	next, shared []int
	// copies says that each sequence has a buffer of its own, which a prefix is copied into, and window is how many tokens a layer with
	// sliding-window attention looks back, 0 where there is none.
	copies bool
	window int
	// order is the rows of the last batch in the order in which llama.cpp got them, place the inverse: where rows[i] went,
	// -1 where it has no logits.
	order, place []int

	// answers and batches choose the threads of decodes with few rows and with many.
	answers, batches *governor
}

var (
	_ llama.Decoder = (*Decoder)(nil)
	_ llama.Keeper  = (*Decoder)(nil)
)

// NewDecoder allocates a KV cache. The caller closes it.
func (m *Model) NewDecoder(o DecoderOptions) (*Decoder, error) {
	o, err := m.checked(o)
	if err != nil {
		return nil, err
	}
	d := &Decoder{
		model: m, opt: o, next: make([]int, o.Slots+o.Parked), shared: make([]int, o.Slots+o.Parked),
		copies:  !o.Unified && !bool(C.llama_model_is_recurrent(m.c)) && !bool(C.llama_model_is_hybrid(m.c)),
		window:  int(C.llama_model_n_swa(m.c)),
		answers: newGovernor(o.Threads), batches: newGovernor(o.ThreadsBatch),
	}
	var thrown errorBuffer
	logged := collectErrors(func() {
		d.ctx = C.aim_new_context(m.c, contextParams(o), thrown.ptr(), thrown.len())
	})
	if d.ctx == nil {
		if msg := thrown.String(); msg != "" {
			logged = append(logged, msg)
		}
		return nil, fmt.Errorf("new decoder of %d×%d tokens: %s", o.Slots, o.Context, reason(logged))
	}
	if C.llama_get_memory(d.ctx) == nil {
		C.llama_free(d.ctx)
		return nil, errors.New("new decoder: this model encodes texts, it does not generate any")
	}
	if d.pool = C.aim_threadpool(C.int(max(o.Threads, o.ThreadsBatch))); d.pool != nil {
		C.llama_attach_threadpool(d.ctx, d.pool, nil)
	}
	d.batch = C.llama_batch_init(C.int32_t(o.Batch), 0, 1)
	if err := d.tryAdapters(); err != nil {
		d.Close()
		return nil, fmt.Errorf("new decoder: %w", err)
	}
	return d, nil
}

// Close frees the cache.
func (d *Decoder) Close() {
	C.llama_batch_free(d.batch)
	C.llama_free(d.ctx)
	C.aim_threadpool_free(d.pool)
	d.ctx, d.pool = nil, nil
}

// Decode implements [llama.Decoder].
func (d *Decoder) Decode(rows []llama.Row) error {
	next, err := d.check(rows)
	if err != nil {
		return err
	}
	d.fill(rows)
	var thrown errorBuffer
	code := d.timed(len(rows), func() int { return int(C.aim_decode(d.ctx, d.batch, thrown.ptr(), thrown.len())) })
	switch code {
	case 0:
		copy(d.next, next)
		return nil
	case 1:
		d.place = d.place[:0]
		return llama.ErrCacheFull
	default:
		d.place = d.place[:0]
		return fmt.Errorf("llama_decode returned %d %s", code, thrown.String())
	}
}

// check refuses what llama.cpp would answer with an abort of the process, and returns where each sequence will continue.
func (d *Decoder) check(rows []llama.Row) ([]int, error) {
	if len(rows) == 0 || len(rows) > d.opt.Batch {
		return nil, fmt.Errorf("%d rows, want 1 to %d", len(rows), d.opt.Batch)
	}
	next := append(make([]int, 0, len(d.next)), d.next...)
	for _, r := range rows {
		switch {
		case r.Token < 0 || int(r.Token) >= d.model.Vocab():
			return nil, fmt.Errorf("token %d outside the vocabulary", r.Token)
		case r.Seq < 0 || r.Seq >= len(next):
			return nil, fmt.Errorf("sequence %d of %d", r.Seq, len(next))
		case r.Pos != next[r.Seq]:
			return nil, fmt.Errorf("position %d of sequence %d, want %d", r.Pos, r.Seq, next[r.Seq])
		case r.Pos >= d.opt.Context:
			return nil, llama.ErrCacheFull
		}
		next[r.Seq]++
	}
	return next, nil
}

// fill writes the rows into the C batch, those of one sequence after the other by its number. With a buffer for each
// sequence llama.cpp computes only consecutive numbers together, and takes any other order apart: sixteen rows in reverse
// took 2.7 times as long.
func (d *Decoder) fill(rows []llama.Row) {
	n := len(rows)
	d.order, d.place = d.order[:0], d.place[:0]
	for i := range rows {
		d.order = append(d.order, i)
		d.place = append(d.place, -1)
	}
	slices.SortStableFunc(d.order, func(a, b int) int { return rows[a].Seq - rows[b].Seq })

	tokens := unsafe.Slice(d.batch.token, n)
	positions := unsafe.Slice(d.batch.pos, n)
	counts := unsafe.Slice(d.batch.n_seq_id, n)
	ids := unsafe.Slice(d.batch.seq_id, n)
	logits := unsafe.Slice(d.batch.logits, n)
	for at, i := range d.order {
		r := rows[i]
		tokens[at] = C.llama_token(r.Token)
		positions[at] = C.llama_pos(r.Pos)
		counts[at] = 1
		*ids[at] = C.llama_seq_id(r.Seq)
		logits[at] = 0
		if r.Logits {
			logits[at] = 1
			d.place[i] = at
		}
	}
	d.batch.n_tokens = C.int32_t(n)
}

// Logits implements [llama.Decoder].
func (d *Decoder) Logits(i int) []float32 {
	if i < 0 || i >= len(d.place) || d.place[i] < 0 {
		return nil
	}
	row := C.llama_get_logits_ith(d.ctx, C.int32_t(d.place[i]))
	return unsafe.Slice((*float32)(row), d.model.Vocab())
}

// Forget implements [llama.Decoder].
func (d *Decoder) Forget(seq, from int) error {
	if seq < 0 || seq >= len(d.next) || from < 0 {
		return fmt.Errorf("forget %d of sequence %d", from, seq)
	}
	if from >= d.next[seq] && from > 0 {
		return nil
	}
	memory := C.llama_get_memory(d.ctx)
	if from > 0 && d.window > 0 && int(C.llama_memory_seq_pos_min(memory, C.llama_seq_id(seq))) > max(0, from-d.window) {
		return llama.ErrOverwritten // llama.cpp would remove the rest and let the window be short
	}
	if !C.llama_memory_seq_rm(memory, C.llama_seq_id(seq), C.llama_pos(from), -1) {
		return llama.ErrUnsupported
	}
	d.next[seq] = from
	d.shared[seq] = min(d.shared[seq], from)
	return nil
}

// Share implements [llama.Decoder]. Sequences in one buffer share cells; those that have buffers of their own get a copy of the cells in
// use, for llama.cpp itself would copy the whole buffer.
func (d *Decoder) Share(src, dst, upTo int) error {
	if min(src, dst) < 0 || max(src, dst) >= len(d.next) || src == dst {
		return fmt.Errorf("share sequence %d with %d", src, dst)
	}
	if d.next[dst] > 0 || upTo < 0 || upTo > d.next[src] {
		return fmt.Errorf("share %d tokens of sequence %d with %d", upTo, src, dst)
	}
	if upTo == 0 {
		return nil
	}
	if d.copies {
		state, err := d.snapshot(src)
		if err != nil {
			return err
		}
		defer state.Free()
		if err := d.load(dst, state.Bytes()[stateHeader:]); err != nil {
			return err
		}
	} else {
		C.llama_memory_seq_cp(C.llama_get_memory(d.ctx), C.llama_seq_id(src), C.llama_seq_id(dst), -1, -1)
		d.next[dst] = d.next[src]
	}
	d.shared[src], d.shared[dst] = max(d.shared[src], upTo), upTo
	if err := d.Forget(dst, upTo); err != nil {
		return errors.Join(err, d.Forget(dst, 0))
	}
	return nil
}
