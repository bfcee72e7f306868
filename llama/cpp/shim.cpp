#include "guard.hpp"
#include "shim.h"

#include <climits>
#include <cstdio>
#include <exception>
#include <stdexcept>

#include "ggml-backend.h"
#include "ggml-cpu.h"

extern "C" {
void aimLog(int level, char *text);
bool aimProgress(float fraction, uintptr_t handle);
bool aimQuantized(int done, int of, uintptr_t handle);
}

// aim_quantizing is the handle of the quantization that runs on this thread, 0 for none.
thread_local uintptr_t aim_quantizing = 0;

namespace {

void log_to_go(enum ggml_log_level level, const char *text, void *) {
    aimLog(level, const_cast<char *>(text));
    int done = 0, of = 0;
    // The quantizer tells nobody how far it is, and cannot be stopped, but for this line before each tensor. Here only C++ frames and
    // no threads are between us and the handler in llama_model_quantize.
    if (aim_quantizing != 0 && sscanf(text, "[%d/%d]", &done, &of) == 2 && !aimQuantized(done - 1, of, aim_quantizing)) {
        char end[] = "stopped\n";
        aimLog(GGML_LOG_LEVEL_CONT, end);
        throw std::runtime_error("stopped");
    }
}

bool progress_to_go(float fraction, void *handle) { return aimProgress(fraction, reinterpret_cast<uintptr_t>(handle)); }

// cpu_function finds a function of the CPU back end that was chosen at run time; a statically linked one of the same
// name may belong to another build of it.
template <typename F> F *cpu_function(const char *name) {
    ggml_backend_dev_t dev = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (dev == nullptr) {
        return nullptr;
    }
    return reinterpret_cast<F *>(ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(dev), name));
}

} // namespace

void aim_log_to_go(void) { llama_log_set(log_to_go, nullptr); }

struct llama_model *aim_load(const char *path, struct aim_placement where, bool mmap, bool mlock, uintptr_t progress, char *err, size_t n) {
    return guarded<llama_model *>(nullptr, err, n, [&] {
        llama_model_params params = llama_model_default_params();
        params.n_gpu_layers = where.gpu_layers;
        params.main_gpu = where.main_gpu;
        params.split_mode = where.split_mode;
        params.tensor_split = where.tensor_split;
        params.use_mmap = mmap;
        params.use_mlock = mlock;
        if (progress != 0) {
            params.progress_callback = progress_to_go;
            params.progress_callback_user_data = reinterpret_cast<void *>(progress);
        }
        return llama_model_load_from_file(path, params);
    });
}

struct llama_context *aim_new_context(struct llama_model *model, struct llama_context_params params, char *err, size_t n) {
    return guarded<llama_context *>(nullptr, err, n, [&] { return llama_init_from_model(model, params); });
}

int32_t aim_decode(struct llama_context *ctx, struct llama_batch batch, char *err, size_t n) {
    return guarded<int32_t>(-100, err, n, [&] { return llama_decode(ctx, batch); });
}

int32_t aim_tokenize(const struct llama_vocab *vocab, const char *text, int32_t len, llama_token *tokens, int32_t max,
                     bool parse_special, char *err, size_t n) {
    return guarded<int32_t>(INT32_MIN, err, n,
                            [&] { return llama_tokenize(vocab, text, len, tokens, max, false, parse_special); });
}

size_t aim_pieces(const struct llama_vocab *vocab, char *buf, size_t cap, uint32_t *ends) {
    size_t used = 0;
    const int32_t count = llama_vocab_n_tokens(vocab);
    for (llama_token t = 0; t < count; t++) {
        const size_t room = used < cap ? cap - used : 0;
        int32_t len = llama_token_to_piece(vocab, t, buf + (cap - room), room > INT_MAX ? INT_MAX : int32_t(room), 0, true);
        used += len < 0 ? -len : len;
        ends[t] = uint32_t(used);
    }
    return used;
}

struct ggml_threadpool *aim_threadpool(int n) {
    auto *make = cpu_function<decltype(ggml_threadpool_new)>("ggml_threadpool_new");
    if (make == nullptr) {
        return nullptr;
    }
    ggml_threadpool_params params = ggml_threadpool_params_default(n);
    // Idle threads sleep at once. Spinning, the default, would keep a core busy that the sampler needs between decodes.
    params.poll = 0;
    return make(&params);
}

const void *aim_threadpool_maker(void) {
    return reinterpret_cast<const void *>(cpu_function<decltype(ggml_threadpool_new)>("ggml_threadpool_new"));
}

void aim_threadpool_free(struct ggml_threadpool *pool) {
    auto *release = cpu_function<decltype(ggml_threadpool_free)>("ggml_threadpool_free");
    if (pool != nullptr && release != nullptr) {
        release(pool);
    }
}
