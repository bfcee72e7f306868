// The calls into llama.cpp that may throw. A C++ exception that reaches Go's stack ends the process, so each is caught
// here and reported through err, a buffer of n bytes.
#ifndef AIM_SHIM_H
#define AIM_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llama.h"

#ifdef __cplusplus
extern "C" {
#endif

// aim_log_to_go sends llama.cpp's and ggml's log to aimLog.
void aim_log_to_go(void);

// aim_placement says what goes to which GPU, in llama.cpp's terms.
struct aim_placement {
    int32_t gpu_layers;
    int32_t main_gpu;
    enum llama_split_mode split_mode;
    const float *tensor_split; // llama_max_devices() of them, or NULL
};

// aim_load loads a model; progress is a handle that aimProgress understands, 0 for none.
struct llama_model *aim_load(const char *path, struct aim_placement where, bool mmap, bool mlock, uintptr_t progress, char *err, size_t n);

struct llama_context *aim_new_context(struct llama_model *model, struct llama_context_params params, char *err, size_t n);

// aim_decode returns llama_decode's code, or -100 with err set.
int32_t aim_decode(struct llama_context *ctx, struct llama_batch batch, char *err, size_t n);

// aim_tokenize returns llama_tokenize's count, or INT32_MIN with err set.
int32_t aim_tokenize(const struct llama_vocab *vocab, const char *text, int32_t len, llama_token *tokens, int32_t max,
                     bool parse_special, char *err, size_t n);

// aim_pieces writes the bytes of all tokens one after the other into buf and the end of each into ends. It returns the
// number of bytes needed; where that is more than cap, the content of buf is undefined.
size_t aim_pieces(const struct llama_vocab *vocab, char *buf, size_t cap, uint32_t *ends);

// aim_threadpool makes a pool of n threads in the CPU back end that is loaded, NULL where that has none.
struct ggml_threadpool *aim_threadpool(int n);
void aim_threadpool_free(struct ggml_threadpool *pool);

// aim_quantize writes source as target. overrides are lines of a ggml_type's number, a space, and what the names of the tensors that get
// it contain; progress is a handle that aimQuantized understands. False comes with err set where an exception was caught here;
// llama.cpp catches most itself and logs them.
bool aim_quantize(const char *source, const char *target, struct llama_model_quantize_params params, const char *overrides,
                  uintptr_t progress, char *err, size_t n);

// aim_threadpool_maker is the function that makes the pools: an address in the program, or in the library that is loaded.
const void *aim_threadpool_maker(void);

// aim_lora_load loads a LoRA adapter for the model, to be freed with llama_adapter_lora_free; pairs becomes the number of tensors that
// it changes. It returns NULL with err set, or after llama.cpp has logged why.
struct llama_adapter_lora *aim_lora_load(struct llama_model *model, const char *path, size_t *pairs, char *err, size_t n);

// aim_control_vector adds scale times the directions of a control vector to data, n_embd numbers for each layer from 1 to n_layer - 1.
bool aim_control_vector(const char *path, float scale, float *data, int32_t n_embd, int32_t n_layer, char *err, size_t n);

// aim_adapters_fit says whether a graph has room for adapters of so many tensors and for vectors in so many layers. The context
// must have none in force yet.
bool aim_adapters_fit(struct llama_context *ctx, size_t pairs, size_t vectors, char *err, size_t n);

// aim_graph_nodes makes room for the largest graph under the adapters in force, and returns the number of its operations, -1 with err
// set.
int32_t aim_graph_nodes(struct llama_context *ctx, char *err, size_t n);

// aim_adapt puts count LoRA adapters in force, and the control vector as aim_control_vector makes it, or none where it is NULL, in the
// layers from first to last; nothing else stays in force.
bool aim_adapt(struct llama_context *ctx, struct llama_adapter_lora **loras, const float *scales, size_t count, const float *vector,
               int32_t n_embd, int32_t n_layer, int32_t first, int32_t last, char *err, size_t n);

// aim_schema_to_grammar returns the grammar of a JSON schema of len bytes, for the caller to free, or NULL with err set. The converter
// calls itself as deep as the schema is: it runs on a thread with a stack of that many bytes.
char *aim_schema_to_grammar(const char *schema, size_t len, size_t stack, char *err, size_t n);

// aim_grammar_allowed asks llama.cpp's own grammar sampler what may follow count tokens: allowed, one byte for each token of the
// vocabulary, becomes 1 or 0. It is false with err set where the grammar is none or does not allow one of the tokens.
bool aim_grammar_allowed(const struct llama_vocab *vocab, const char *grammar, const llama_token *tokens, size_t count,
                         uint8_t *allowed, char *err, size_t n);

#ifdef __cplusplus
}
#endif

#endif
