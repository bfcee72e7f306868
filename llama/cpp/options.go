package cpp

// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"aim/internal/cores"
)

// FlashAttention says how attention is computed: in one pass over the cache that never holds a whole row of scores, or by
// products of whole matrices.
type FlashAttention int

const (
	// FlashAuto is on where every layer's device can do it. On processors products of matrices are faster for long prompts, but their
	// logits depend on the shape of the batch.
	FlashAuto FlashAttention = iota
	// FlashOn computes attention in one pass.
	FlashOn
	// FlashOff computes it by products of matrices.
	FlashOff
)

// FlashAttentions are the words for a [FlashAttention], in the order of its values.
func FlashAttentions() []string { return []string{"auto", "on", "off"} }

// String returns the word for f.
func (f FlashAttention) String() string { return word(FlashAttentions(), int(f)) }

func (f FlashAttention) c() C.enum_llama_flash_attn_type {
	return [...]C.enum_llama_flash_attn_type{
		C.LLAMA_FLASH_ATTN_TYPE_AUTO, C.LLAMA_FLASH_ATTN_TYPE_ENABLED, C.LLAMA_FLASH_ATTN_TYPE_DISABLED,
	}[f]
}

// CacheType is the format of the numbers in a KV cache. Those after [CacheBF16] are quantized in blocks of 32.
type CacheType int

// The formats that llama.cpp's own programs offer, under their names.
const (
	CacheF16 CacheType = iota
	CacheF32
	CacheBF16
	CacheQ8_0
	CacheQ5_1
	CacheQ5_0
	CacheQ4_1
	CacheQ4_0
	CacheIQ4NL
)

// cacheBlock is the number of values that a quantized format stores together, ggml's QK8_0, QK4_0 and so on.
const cacheBlock = 32

// CacheTypes are the words for a [CacheType], in the order of its values.
func CacheTypes() []string {
	return []string{"f16", "f32", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"}
}

// String returns the word for t.
func (t CacheType) String() string { return word(CacheTypes(), int(t)) }

func (t CacheType) quantized() bool { return t > CacheBF16 }

func (t CacheType) c() C.enum_ggml_type {
	return [...]C.enum_ggml_type{
		C.GGML_TYPE_F16, C.GGML_TYPE_F32, C.GGML_TYPE_BF16, C.GGML_TYPE_Q8_0, C.GGML_TYPE_Q5_1, C.GGML_TYPE_Q5_0,
		C.GGML_TYPE_Q4_1, C.GGML_TYPE_Q4_0, C.GGML_TYPE_IQ4_NL,
	}[t]
}

// word is the word for a value of an enumeration, and the value itself where there is none.
func word(words []string, v int) string {
	if v < 0 || v >= len(words) {
		return strconv.Itoa(v)
	}
	return words[v]
}

const (
	// maxThreads is ggml's GGML_MAX_N_THREADS.
	maxThreads = 512
	// fewRows is the number of rows beyond which DecoderOptions.ThreadsBatch compute a decode.
	fewRows = 32
)

// DecoderOptions size a KV cache and say how it is computed. Zero fields take the defaults given.
type DecoderOptions struct {
	// Slots is the number of sequences, 1 to 256; default 1.
	Slots int
	// Context is the most tokens of one sequence; default the model's training context.
	Context int
	// Batch is the most rows of a Decode; default 512.
	Batch int
	// Ubatch is how many rows of a Decode are computed at once, 1 to Batch; default 512, or Batch if that is less. The memory for
	// intermediate results grows with it.
	Ubatch int
	// Threads compute decodes of up to 32 rows, as answers are, 1 to 512; default one for each core that this
	// process may use.
	Threads int
	// ThreadsBatch compute decodes of more rows, as prompts are, 1 to 512; default Threads.
	ThreadsBatch int
	// KeepThreads never leaves a thread out. Without it a Decoder uses fewer for as long as other processes take so much of the
	// processors that fewer are faster.
	KeepThreads bool
	// Unified keeps all sequences in one buffer of Slots·Context cells. Sharing a prefix is then free, but attention
	// scans the cells of all. Without it each sequence has a buffer of its own, and sharing copies.
	Unified bool
	// Parked is the number of sequences beyond Slots for prefixes that nobody uses at the moment. They have no cells of their own, so
	// they need Unified.
	Parked int
	// FlashAttention says how attention is computed.
	FlashAttention FlashAttention
	// CacheK and CacheV are the formats of keys and values. A quantized one needs head sizes that are multiples of 32, and CacheV
	// also flash attention.
	CacheK, CacheV CacheType
}

// checked applies the defaults and the bounds that llama.cpp would abort on.
func (m *Model) checked(o DecoderOptions) (DecoderOptions, error) {
	set := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	set(&o.Slots, 1)
	set(&o.Context, m.TrainContext())
	set(&o.Batch, 512)
	set(&o.Ubatch, min(o.Batch, 512))
	set(&o.Threads, cores.Count())
	set(&o.ThreadsBatch, o.Threads)
	switch {
	case !bool(C.llama_model_has_decoder(m.c)) || bool(C.llama_model_has_encoder(m.c)):
		return o, errors.New("new decoder: this model does not generate text from a prompt alone")
	case o.Slots < 1 || o.Slots > maxSequences:
		return o, fmt.Errorf("new decoder: %d slots, must be in [1, %d]", o.Slots, maxSequences)
	case o.Parked < 0 || o.Slots+o.Parked > maxSequences || o.Parked > 0 && !o.Unified:
		return o, fmt.Errorf("new decoder: %d parked sequences, must be in [0, %d], and 0 unless all share one buffer", o.Parked, maxSequences-o.Slots)
	case o.Context < 1 || o.Batch < 1:
		return o, fmt.Errorf("new decoder: context %d and batch %d must be positive", o.Context, o.Batch)
	case o.Ubatch < 1 || o.Ubatch > o.Batch:
		return o, fmt.Errorf("new decoder: ubatch %d, must be in [1, %d], the batch", o.Ubatch, o.Batch)
	case o.Threads < 1 || o.Threads > maxThreads:
		return o, fmt.Errorf("new decoder: %d threads, must be in [1, %d]", o.Threads, maxThreads)
	case o.ThreadsBatch < 1 || o.ThreadsBatch > maxThreads:
		return o, fmt.Errorf("new decoder: %d threads for batches, must be in [1, %d]", o.ThreadsBatch, maxThreads)
	case o.FlashAttention < FlashAuto || o.FlashAttention > FlashOff:
		return o, fmt.Errorf("new decoder: flash attention %v, want one of %s", o.FlashAttention, strings.Join(FlashAttentions(), ", "))
	}
	if err := o.checkCache(m.meta("general.architecture"), m.headSize("key_length"), m.headSize("value_length")); err != nil {
		return o, fmt.Errorf("new decoder: %w", err)
	}
	return o, nil
}

// checkCache refuses the formats that a model of some architecture, whose attention heads have so many values in their keys
// and in their values, does not fit. llama.cpp fails an assertion on some of them, and returns an error for others.
func (o DecoderOptions) checkCache(architecture string, keys, values int) error {
	for _, c := range []struct {
		what   string
		format CacheType
		head   int
	}{{"K", o.CacheK, keys}, {"V", o.CacheV, values}} {
		switch {
		case c.format < CacheF16 || c.format > CacheIQ4NL:
			return fmt.Errorf("%s cache type %v, want one of %s", c.what, c.format, strings.Join(CacheTypes(), ", "))
		case c.format.quantized() && c.head%cacheBlock != 0:
			return fmt.Errorf("%s cache type %v stores blocks of %d values, and the heads of this model have %d: want f16, f32 or bf16",
				c.what, c.format, cacheBlock, c.head)
		}
	}
	switch {
	case !o.CacheV.quantized():
	case o.FlashAttention == FlashOff:
		return fmt.Errorf("cache type %v of V needs flash attention, which is off", o.CacheV)
	case architecture == "grok": // for which llama.cpp turns it off
		return fmt.Errorf("cache type %v of V needs flash attention, which llama.cpp does not have for %s", o.CacheV, architecture)
	}
	return nil
}

// headSize is the number of values of an attention head's keys (key "key_length") or values ("value_length"), as llama.cpp
// reads it: what the GGUF says, and else the embedding shared out to the heads. 0 is no attention.
func (m *Model) headSize(key string) int {
	if n, err := strconv.Atoi(m.meta(m.meta("general.architecture") + ".attention." + key)); err == nil {
		return n
	}
	heads := int(C.llama_model_n_head(m.c))
	if heads == 0 {
		return 0
	}
	return int(C.llama_model_n_embd(m.c)) / heads
}

func contextParams(o DecoderOptions) C.struct_llama_context_params {
	const align = 256 // llama.cpp rounds each sequence's cells up to this
	p := C.llama_context_default_params()
	p.n_ctx = C.uint32_t((o.Context + align - 1) / align * align * o.Slots)
	p.n_batch = C.uint32_t(o.Batch)
	p.n_ubatch = C.uint32_t(o.Ubatch)
	p.n_seq_max = C.uint32_t(o.Slots + o.Parked)
	p.n_threads = C.int32_t(o.Threads)
	p.n_threads_batch = C.int32_t(o.ThreadsBatch)
	p.kv_unified = C.bool(o.Unified)
	p.flash_attn_type = o.FlashAttention.c()
	p.type_k, p.type_v = o.CacheK.c(), o.CacheV.c()
	p.no_perf = true
	return p
}
