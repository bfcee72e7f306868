// Package cpp drives llama.cpp. It is the only package that sees C.
//
// The binding github.com/ollama/ollama/llama brings the sources and the back ends; contexts, batches and logits go
// through llama.cpp's C API itself, because the binding's wrapper copies every row of logits, cannot free a context and
// fixes its parameters.
package cpp

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/cgo"
	"strings"
	"sync"
	"unsafe"

	binding "github.com/ollama/ollama/llama"

	"aim/llama"
	"aim/sampler"
)

// initialize loads the back ends once.
var initialize = sync.OnceFunc(func() {
	C.aim_log_to_go()
	binding.BackendInit()
})

// loading serializes loads: llama.cpp reports their errors through its log alone.
var loading sync.Mutex

// ModelOptions say how to load a model. The zero value maps the file into memory and offloads what the back ends can take.
type ModelOptions struct {
	// GPULayers is the number of layers to offload; 0 means all, -1 none.
	GPULayers int
	// Split says how several GPUs share the model.
	Split Split
	// NoMmap reads the file instead of mapping it.
	NoMmap bool
	// Mlock keeps the weights in memory, where the operating system would otherwise be free to drop or swap them. Load fails where
	// that is not possible.
	Mlock bool
	// NUMA must be the same in all loads of a process.
	NUMA NUMA
	// Progress, when set, is called with the loaded fraction, in [0, 1].
	Progress func(fraction float64)
}

// Model is a loaded GGUF. It implements [llama.Model] and is safe for concurrent use.
type Model struct {
	c     *C.struct_llama_model
	vocab *C.struct_llama_vocab
	bos   sampler.Token // -1 where the model wants none before a prompt
	sep   sampler.Token // -1 where the model wants none after it
	// gap are the tokens before a prefix, before a suffix, and before what stands between them; -1 where the model has none.
	gap [3]sampler.Token

	// sets are those of adapters, none where LoadAdapters was not called, and loras their files.
	sets  []adapterSet
	loras map[string]lora

	text  []byte // of all pieces
	ends  []uint32
	kinds []llama.Kind
}

var (
	_ llama.Model    = (*Model)(nil)
	_ llama.Infiller = (*Model)(nil)
)

// Load reads the GGUF file at path. The caller closes the Model after all its Decoders.
func Load(path string, o ModelOptions) (*Model, error) {
	if err := checkFile(path); err != nil {
		return nil, fmt.Errorf("load model: %w", err)
	}
	initialize()
	if err := setNUMA(o.NUMA); err != nil {
		return nil, fmt.Errorf("load model: %w", err)
	}
	c, err := load(path, o)
	if err != nil {
		return nil, fmt.Errorf("load model %s: %w", path, err)
	}
	m := &Model{c: c, vocab: C.llama_model_get_vocab(c)}
	if C.llama_vocab_n_tokens(m.vocab) == 0 {
		m.Close()
		return nil, fmt.Errorf("load model %s: it has no vocabulary", path)
	}
	m.readVocab()
	return m, nil
}

// checkFile answers the plain mistakes in plain words, before llama.cpp does in its own.
func checkFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return err
	} else if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	magic := make([]byte, 4)
	if _, err := io.ReadFull(f, magic); err != nil || string(magic) != "GGUF" {
		return fmt.Errorf("%s is not a GGUF file: it does not begin with \"GGUF\"", path)
	}
	return nil
}

func load(path string, o ModelOptions) (c *C.struct_llama_model, err error) {
	loading.Lock()
	defer loading.Unlock()
	if o.Mlock {
		if err := checkLock(); err != nil {
			return nil, err
		}
	}
	layers := o.GPULayers
	switch layers {
	case 0:
		layers = 1 << 20
	case -1:
		layers = 0
	}
	where, err := o.Split.placement(layers)
	if err != nil {
		return nil, err
	}
	// llama.cpp reads the shares through a pointer in C's struct.
	var pinned runtime.Pinner
	defer pinned.Unpin()
	if where.tensor_split != nil {
		pinned.Pin(where.tensor_split)
	}
	var progress cgo.Handle
	if o.Progress != nil {
		progress = cgo.NewHandle(o.Progress)
		defer progress.Delete()
	}
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	var thrown errorBuffer
	var logged []string
	warnings := collectWarnings(func() {
		logged = collectErrors(func() {
			c = C.aim_load(cpath, where, C.bool(!o.NoMmap), C.bool(o.Mlock), C.uintptr_t(progress), thrown.ptr(), thrown.len())
		})
	})
	if c != nil && o.Mlock {
		if err := unlocked(warnings); err != nil {
			C.llama_model_free(c)
			return nil, err
		}
	}
	if c != nil {
		return c, nil
	}
	if msg := thrown.String(); msg != "" {
		logged = append(logged, msg)
	}
	return nil, errors.New(reason(logged))
}

// reason picks the line of llama.cpp's log that says why a load failed: the first, without the name of the C function.
// Those after it only say that it failed.
func reason(logged []string) string {
	if len(logged) == 0 {
		return "llama.cpp gave no reason"
	}
	line := logged[0]
	for _, prefix := range []string{
		"llama_model_load: error loading model: ", "gguf_init_from_file_impl: ", "llama_adapter_lora_init: failed to apply lora adapter: ",
	} {
		line = strings.TrimPrefix(line, prefix)
	}
	if line == "failed to read key-value pairs" || line == "failed to read tensor info" {
		line += "; the file is incomplete or damaged"
	}
	return line
}

// readVocab copies the pieces and kinds of all tokens, so that no later look-up crosses into C.
func (m *Model) readVocab() {
	n := m.vocabSize()
	m.ends = make([]uint32, n)
	m.text = make([]byte, 16*n)
	for {
		need := int(C.aim_pieces(m.vocab, (*C.char)(unsafe.Pointer(&m.text[0])), C.size_t(len(m.text)), (*C.uint32_t)(&m.ends[0])))
		if need <= len(m.text) {
			m.text = m.text[:need:need]
			break
		}
		m.text = make([]byte, need)
	}
	m.kinds = make([]llama.Kind, n)
	for t := range n {
		attr := C.llama_vocab_get_attr(m.vocab, C.llama_token(t))
		switch {
		case bool(C.llama_vocab_is_eog(m.vocab, C.llama_token(t))):
			m.kinds[t] = llama.End
		case attr&(C.LLAMA_TOKEN_ATTR_CONTROL|C.LLAMA_TOKEN_ATTR_UNKNOWN) != 0:
			m.kinds[t] = llama.Control
		}
	}
	m.bos = -1
	if C.llama_vocab_get_add_bos(m.vocab) {
		m.bos = sampler.Token(C.llama_vocab_bos(m.vocab))
	}
	m.sep = -1
	if C.llama_vocab_get_add_sep(m.vocab) {
		m.sep = sampler.Token(C.llama_vocab_sep(m.vocab))
	}
	m.gap = [3]sampler.Token{
		sampler.Token(C.llama_vocab_fim_pre(m.vocab)),
		sampler.Token(C.llama_vocab_fim_suf(m.vocab)),
		sampler.Token(C.llama_vocab_fim_mid(m.vocab)),
	}
}

// Close frees the model.
func (m *Model) Close() {
	m.freeAdapters()
	C.llama_model_free(m.c)
	m.c, m.vocab = nil, nil
}

func (m *Model) vocabSize() int { return int(C.llama_vocab_n_tokens(m.vocab)) }

// Vocab implements [llama.Model].
func (m *Model) Vocab() int { return len(m.kinds) }

// Piece implements [llama.Model].
func (m *Model) Piece(t sampler.Token) []byte {
	if t < 0 || int(t) >= len(m.ends) {
		return nil
	}
	from := uint32(0)
	if t > 0 {
		from = m.ends[t-1]
	}
	to := m.ends[t]
	return m.text[from:to:to]
}

// Kind implements [llama.Model]. A token outside the vocabulary is Normal.
func (m *Model) Kind(t sampler.Token) llama.Kind {
	if t < 0 || int(t) >= len(m.kinds) {
		return llama.Normal
	}
	return m.kinds[t]
}

// Tokenize implements [llama.Model].
func (m *Model) Tokenize(parts []llama.Part, special bool) ([]sampler.Token, error) {
	var tokens []sampler.Token
	for _, p := range parts {
		more, err := m.tokenize(p.Text, p.Trusted)
		if err != nil {
			return nil, fmt.Errorf("tokenize: %w", err)
		}
		tokens = append(tokens, more...)
	}
	if special && m.bos >= 0 && (len(tokens) == 0 || tokens[0] != m.bos) {
		tokens = append([]sampler.Token{m.bos}, tokens...)
	}
	if special && m.sep >= 0 && (len(tokens) == 0 || tokens[len(tokens)-1] != m.sep) {
		tokens = append(tokens, m.sep)
	}
	return tokens, nil
}

// Infill implements [llama.Infiller]: prefix and suffix, and then the token that asks for what stands between them.
func (m *Model) Infill(prefix, suffix string) ([]sampler.Token, error) {
	if min(m.gap[0], m.gap[1], m.gap[2]) < 0 {
		return nil, llama.ErrUnsupported
	}
	var prompt []sampler.Token
	if m.bos >= 0 {
		prompt = append(prompt, m.bos)
	}
	for i, text := range []string{prefix, suffix} {
		tokens, err := m.tokenize(text, false)
		if err != nil {
			return nil, fmt.Errorf("tokenize: %w", err)
		}
		prompt = append(append(prompt, m.gap[i]), tokens...)
	}
	return append(prompt, m.gap[2]), nil
}

func (m *Model) tokenize(text string, trusted bool) ([]sampler.Token, error) {
	if text == "" {
		return nil, nil
	}
	// A token may stand for less than a byte only where the tokenizer adds a space in front.
	for room := len(text) + 8; ; {
		tokens := make([]sampler.Token, room)
		var thrown errorBuffer
		n := int(C.aim_tokenize(m.vocab, (*C.char)(unsafe.Pointer(unsafe.StringData(text))), C.int32_t(len(text)),
			(*C.llama_token)(unsafe.Pointer(&tokens[0])), C.int32_t(room), C.bool(trusted), thrown.ptr(), thrown.len()))
		switch {
		case n >= 0:
			return tokens[:n], nil
		case thrown.String() != "":
			return nil, errors.New(thrown.String())
		case -n <= room:
			return nil, fmt.Errorf("llama.cpp cannot tokenize a text of %d bytes", len(text))
		}
		room = -n
	}
}

// ChatTemplate is the Jinja template of the GGUF, "" without one.
func (m *Model) ChatTemplate() string {
	if s := C.llama_model_chat_template(m.c, nil); s != nil {
		return C.GoString(s)
	}
	return ""
}

// TrainContext is the context the model was trained for, in tokens.
func (m *Model) TrainContext() int { return int(C.llama_model_n_ctx_train(m.c)) }

// Description names architecture, size and quantization, as llama.cpp puts it.
func (m *Model) Description() string {
	buf := make([]byte, 256)
	C.llama_model_desc(m.c, (*C.char)(unsafe.Pointer(&buf[0])), C.size_t(len(buf)))
	return C.GoString((*C.char)(unsafe.Pointer(&buf[0])))
}

// Size is the number of bytes of the weights.
func (m *Model) Size() int64 { return int64(C.llama_model_size(m.c)) }

// Parameters is the number of weights.
func (m *Model) Parameters() uint64 { return uint64(C.llama_model_n_params(m.c)) }

// Specials are the spellings of the control tokens, which trusted text may use.
func (m *Model) Specials() []string {
	var list []string
	for t, kind := range m.kinds {
		if kind != llama.Normal {
			list = append(list, string(m.Piece(sampler.Token(t))))
		}
	}
	return list
}

// BOS is the spelling of the beginning-of-sequence token, "" without one.
func (m *Model) BOS() string { return string(m.Piece(sampler.Token(C.llama_vocab_bos(m.vocab)))) }

// EOS is the spelling of the end-of-sequence token, "" without one.
func (m *Model) EOS() string { return string(m.Piece(sampler.Token(C.llama_vocab_eos(m.vocab)))) }

// errorBuffer receives the message of a C++ exception.
type errorBuffer [512]byte

func (b *errorBuffer) ptr() *C.char   { return (*C.char)(unsafe.Pointer(b)) }
func (b *errorBuffer) len() C.size_t  { return C.size_t(len(b)) }
func (b *errorBuffer) String() string { return C.GoString(b.ptr()) }
