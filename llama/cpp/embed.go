package cpp

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"unsafe"

	"aim/internal/cores"
	"aim/llama"
	"aim/sampler"
)

// Pooling makes one vector of those of an input's tokens.
type Pooling int

const (
	// PoolingModel is what the GGUF says, and the mean where it says nothing.
	PoolingModel Pooling = iota
	// PoolingMean is the mean of all.
	PoolingMean
	// PoolingFirst is the first token's, which encoders train as that of the text.
	PoolingFirst
	// PoolingLast is the last token's.
	PoolingLast
)

// EmbedderOptions size an Embedder. Zero fields take the defaults given.
type EmbedderOptions struct {
	// Context is the most tokens of an input; default the model's training context, at most 2048. That many tokens are computed at
	// once, and take memory of Context times the vocabulary.
	Context int
	// Inputs is the number of inputs that are computed together, 1 to 256, as far as Context has room for their tokens; default 32.
	Inputs int
	// Threads compute; default one for each core that this process may use.
	Threads int
	Pooling Pooling
	// Adapters is the set of adapters to compute under; see [Model.LoadAdapters].
	Adapters llama.AdapterSet
}

// Embedder is a llama.cpp context of its own for vectors. It implements [llama.Embedder].
type Embedder struct {
	model      *Model
	opt        EmbedderOptions
	dimensions int // asked once, since the model may be gone before who holds the Embedder is

	mu    chan struct{} // holds one token while nobody computes
	ctx   *C.struct_llama_context
	pool  *C.struct_ggml_threadpool
	batch C.struct_llama_batch
	free  sync.Once
}

var _ llama.Embedder = (*Embedder)(nil)

// NewEmbedder returns an Embedder, for the caller to close before the Model.
func (m *Model) NewEmbedder(o EmbedderOptions) (*Embedder, error) {
	o, err := m.checkedEmbedder(o)
	if err != nil {
		return nil, fmt.Errorf("new embedder: %w", err)
	}
	pooling, err := m.pooling(o.Pooling)
	if err != nil {
		return nil, fmt.Errorf("new embedder: %w", err)
	}
	e := &Embedder{model: m, opt: o, dimensions: int(C.llama_model_n_embd(m.c)), mu: make(chan struct{}, 1)}
	p := contextParams(DecoderOptions{
		Slots: 1, Context: o.Context, Batch: o.Context, Threads: o.Threads, ThreadsBatch: o.Threads, Unified: true,
		Ubatch: o.Context, // pooling needs all of an input at once, and so does attention both ways
	})
	p.n_seq_max = C.uint32_t(o.Inputs)
	p.embeddings = true
	p.pooling_type = pooling
	var thrown errorBuffer
	logged := collectErrors(func() { e.ctx = C.aim_new_context(m.c, p, thrown.ptr(), thrown.len()) })
	if e.ctx == nil {
		if msg := thrown.String(); msg != "" {
			logged = append(logged, msg)
		}
		return nil, fmt.Errorf("new embedder of %d tokens: %s", o.Context, reason(logged))
	}
	if e.pool = C.aim_threadpool(C.int(o.Threads)); e.pool != nil {
		C.llama_attach_threadpool(e.ctx, e.pool, nil)
	}
	e.batch = C.llama_batch_init(C.int32_t(o.Context), 0, 1)
	e.mu <- struct{}{}
	if err := m.embedUnder(e.ctx, o.Adapters); err != nil {
		e.Close()
		return nil, fmt.Errorf("new embedder: %w", err)
	}
	return e, nil
}

// checkedEmbedder applies the defaults and the bounds that llama.cpp would abort on.
func (m *Model) checkedEmbedder(o EmbedderOptions) (EmbedderOptions, error) {
	trained := max(1, m.TrainContext())
	set := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	set(&o.Context, min(trained, 2048))
	set(&o.Inputs, 32)
	set(&o.Threads, cores.Count())
	switch {
	case bool(C.llama_model_has_encoder(m.c)):
		return o, errors.New("models with an encoder and a decoder of their own are not supported")
	case o.Context < 1 || o.Context > trained: // an encoder has no positions beyond
		return o, fmt.Errorf("context %d, must be in [1, %d], as the model was trained", o.Context, trained)
	case o.Inputs < 1 || o.Inputs > maxSequences:
		return o, fmt.Errorf("%d inputs, must be in [1, %d]", o.Inputs, maxSequences)
	case o.Threads < 1:
		return o, fmt.Errorf("%d threads, must be positive", o.Threads)
	case o.Adapters < 0 || int(o.Adapters) >= max(1, len(m.sets)):
		return o, fmt.Errorf("set %d of adapters, must be in [0, %d]", o.Adapters, max(1, len(m.sets))-1)
	case o.Pooling < PoolingModel || o.Pooling > PoolingLast:
		return o, fmt.Errorf("pooling %d, must be in [%d, %d]", o.Pooling, PoolingModel, PoolingLast)
	}
	if bool(C.llama_model_is_recurrent(m.c)) || bool(C.llama_model_is_hybrid(m.c)) {
		o.Inputs = 1 // several would be cut into pieces of equal length
	}
	return o, nil
}

// pooling is llama.cpp's name for what is asked for.
func (m *Model) pooling(p Pooling) (C.enum_llama_pooling_type, error) {
	switch p {
	case PoolingMean:
		return C.LLAMA_POOLING_TYPE_MEAN, nil
	case PoolingFirst:
		return C.LLAMA_POOLING_TYPE_CLS, nil
	case PoolingLast:
		return C.LLAMA_POOLING_TYPE_LAST, nil
	case PoolingModel:
	}
	said, err := strconv.Atoi(m.meta(m.meta("general.architecture") + ".pooling_type"))
	if err != nil || said == C.LLAMA_POOLING_TYPE_NONE {
		return C.LLAMA_POOLING_TYPE_MEAN, nil
	}
	switch said {
	case C.LLAMA_POOLING_TYPE_MEAN, C.LLAMA_POOLING_TYPE_CLS, C.LLAMA_POOLING_TYPE_LAST:
		return C.enum_llama_pooling_type(said), nil
	case C.LLAMA_POOLING_TYPE_RANK:
		return 0, errors.New("this model ranks texts, it does not turn them into vectors")
	}
	return 0, fmt.Errorf("the model's pooling is of type %d, which is unknown", said)
}

// meta is a value of the GGUF's as text, "" without one.
func (m *Model) meta(key string) string {
	ckey := C.CString(key)
	defer C.free(unsafe.Pointer(ckey))
	buf := make([]byte, 256)
	if C.llama_model_meta_val_str(m.c, ckey, (*C.char)(unsafe.Pointer(&buf[0])), C.size_t(len(buf))) < 0 {
		return ""
	}
	return C.GoString((*C.char)(unsafe.Pointer(&buf[0])))
}

// Dimensions implements [llama.Embedder].
func (e *Embedder) Dimensions() int { return e.dimensions }

// Context implements [llama.Embedder].
func (e *Embedder) Context() int { return e.opt.Context }

// Close frees the context, once nobody computes.
func (e *Embedder) Close() {
	e.free.Do(func() {
		<-e.mu
		close(e.mu) // so that nobody waits for ever
		C.llama_batch_free(e.batch)
		C.llama_free(e.ctx)
		C.aim_threadpool_free(e.pool)
		e.ctx, e.pool = nil, nil
	})
}

// Embed implements [llama.Embedder]. Its errors are a [sampler.DomainError] about an input, [llama.ErrClosed], a [llama.DecodeError]
// and those of ctx, which it looks at before each batch.
func (e *Embedder) Embed(ctx context.Context, inputs [][]sampler.Token) ([][]float32, error) {
	for _, input := range inputs {
		if err := llama.CheckInput(e, e.model, input); err != nil {
			return nil, err
		}
	}
	vectors := make([][]float32, 0, len(inputs))
	for len(inputs) > 0 {
		n := e.fitting(inputs)
		more, err := e.turn(ctx, inputs[:n])
		if err != nil {
			return nil, err
		}
		vectors, inputs = append(vectors, more...), inputs[n:]
	}
	return vectors, nil
}

// fitting is how many of the inputs go into one batch.
func (e *Embedder) fitting(inputs [][]sampler.Token) int {
	n, rows := 0, 0
	for n < min(len(inputs), e.opt.Inputs) && rows+len(inputs[n]) <= e.opt.Context {
		rows += len(inputs[n])
		n++
	}
	return n
}

// turn computes a batch when it is its turn. Others may come in between two batches.
func (e *Embedder) turn(ctx context.Context, inputs [][]sampler.Token) ([][]float32, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case _, open := <-e.mu:
		if !open {
			return nil, llama.ErrClosed
		}
	}
	defer func() { e.mu <- struct{}{} }()
	return e.compute(inputs)
}

// compute is one batch.
func (e *Embedder) compute(inputs [][]sampler.Token) ([][]float32, error) {
	e.fill(inputs)
	memory := C.llama_get_memory(e.ctx) // an encoder has none
	if memory != nil {
		C.llama_memory_clear(memory, true)
	}
	var thrown errorBuffer
	if code := int(C.aim_decode(e.ctx, e.batch, thrown.ptr(), thrown.len())); code != 0 {
		return nil, &llama.DecodeError{Err: fmt.Errorf("llama_decode returned %d %s", code, thrown.String())}
	}
	vectors := make([][]float32, len(inputs))
	for i := range inputs {
		pooled := C.llama_get_embeddings_seq(e.ctx, C.llama_seq_id(i))
		if pooled == nil {
			return nil, &llama.DecodeError{Err: fmt.Errorf("no vector for input %d", i)}
		}
		v, err := normalised(unsafe.Slice((*float32)(pooled), e.Dimensions()))
		if err != nil {
			return nil, &llama.DecodeError{Err: err}
		}
		vectors[i] = v
	}
	return vectors, nil
}

// fill writes the inputs into the C batch, each a sequence of its own.
func (e *Embedder) fill(inputs [][]sampler.Token) {
	tokens := unsafe.Slice(e.batch.token, e.opt.Context)
	positions := unsafe.Slice(e.batch.pos, e.opt.Context)
	counts := unsafe.Slice(e.batch.n_seq_id, e.opt.Context)
	ids := unsafe.Slice(e.batch.seq_id, e.opt.Context)
	logits := unsafe.Slice(e.batch.logits, e.opt.Context)
	at := 0
	for seq, input := range inputs {
		for pos, t := range input {
			tokens[at], positions[at] = C.llama_token(t), C.llama_pos(pos)
			counts[at], *ids[at] = 1, C.llama_seq_id(seq)
			logits[at] = 1
			at++
		}
	}
	e.batch.n_tokens = C.int32_t(at)
}

// normalised is a copy of v with length 1.
func normalised(v []float32) ([]float32, error) {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if !(sum > 0) || math.IsInf(sum, 0) {
		return nil, fmt.Errorf("a vector whose length squared is %g", sum)
	}
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(float64(x) / math.Sqrt(sum))
	}
	return out, nil
}
