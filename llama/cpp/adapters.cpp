// LoRA adapters and control vectors: what llama.cpp would abort on is refused first, and what its C API has no word for is asked of
// the context itself.
#include "guard.hpp"
#include "shim.h"

#include <cmath>
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>

#include "gguf.h"

// Beside the public headers, which are all that is on the path.
#include "../src/llama-context.h"
#include "../src/llama-memory.h"
#include "../src/llama-model.h"

extern "C" size_t ggml_hash_size(size_t min); // of ggml-impl.h

namespace {

// Access makes a private member of another class known, as an explicit instantiation may name it.
template <typename Tag, typename Tag::type member> struct Access {
    friend typename Tag::type access(Tag) { return member; }
};

struct Previous {
    using type = llm_graph_result_ptr llama_context::*;
    friend type access(Previous);
};
template struct Access<Previous, &llama_context::gf_res_prev>;

using fail = std::runtime_error;

// File is a GGUF file and its tensors.
struct File {
    std::unique_ptr<gguf_context, void (*)(gguf_context *)> gguf{nullptr, gguf_free};
    std::unique_ptr<ggml_context, void (*)(ggml_context *)> tensors{nullptr, ggml_free};

    File(const char *path, bool data) {
        ggml_context *ctx = nullptr;
        gguf.reset(gguf_init_from_file(path, {/*.no_alloc =*/!data, /*.ctx =*/&ctx}));
        tensors.reset(ctx);
        if (!gguf) {
            throw fail("it is incomplete or damaged");
        }
    }

    int64_t find(const char *key) const { return gguf_find_key(gguf.get(), key); }

    // text is a value that must be text; "" where there is none.
    std::string text(const char *key) const {
        const int64_t at = find(key);
        if (at < 0) {
            return "";
        }
        if (gguf_get_kv_type(gguf.get(), at) != GGUF_TYPE_STRING) {
            throw fail(std::string(key) + " is no text");
        }
        return gguf_get_val_str(gguf.get(), at);
    }
};

std::string architecture(const llama_model *model) {
    char buf[128] = "";
    llama_model_meta_val_str(model, "general.architecture", buf, sizeof buf);
    return buf;
}

std::string quoted(const std::string &s) { return "\"" + s.substr(0, 80) + "\""; }

bool cut_suffix(std::string &s, const std::string &suffix) {
    if (s.size() < suffix.size() || s.compare(s.size() - suffix.size(), suffix.size(), suffix) != 0) {
        return false;
    }
    s.resize(s.size() - suffix.size());
    return true;
}

// check_header refuses what is no LoRA adapter of this model's. llama.cpp would end the process where a value has another type.
void check_header(const File &file, const llama_model *model) {
    const std::string type = file.text("general.type"), kind = file.text("adapter.type");
    if (type != "adapter" || kind != "lora") {
        throw fail("it is no LoRA adapter: its general.type is " + quoted(type) + " and its adapter.type " + quoted(kind) +
                   ", want \"adapter\" and \"lora\"");
    }
    const std::string arch = file.text("general.architecture"), want = architecture(model);
    if (arch != want) {
        throw fail("it is for models of the architecture " + quoted(arch) + ", and this one is of " + quoted(want));
    }
    const int64_t alpha = file.find("adapter.lora.alpha");
    if (alpha >= 0 && (gguf_get_kv_type(file.gguf.get(), alpha) != GGUF_TYPE_FLOAT32 ||
                       !std::isfinite(gguf_get_val_f32(file.gguf.get(), alpha)))) {
        throw fail("its adapter.lora.alpha is no finite number of 32 bits");
    }
    if (file.find("adapter.alora.invocation_tokens") >= 0) {
        throw fail("it is an activated LoRA, which acts from certain tokens of a prompt on; that is not supported");
    }
}

// check_matrix refuses what llama.cpp or ggml would end the process on when the adapter is first used.
void check_matrix(const File &file, const llama_model *model, const std::string &name, std::string target) {
    const ggml_tensor *t = ggml_get_tensor(file.tensors.get(), name.c_str());
    if (t->type != GGML_TYPE_F32 && ggml_get_type_traits(t->type)->to_float == nullptr) {
        throw fail(quoted(name) + " is of type " + ggml_type_name(t->type) + ", which is no type of weights");
    }
    const ggml_tensor *w = model->get_tensor(target.c_str());
    if (w == nullptr) {
        throw fail("the model has no tensor " + quoted(target) + ": is the adapter for another model?");
    }
    if (target == "token_embd.weight" && model->get_tensor("output.weight") == nullptr) {
        throw fail("it changes token_embd.weight, which in this model also makes the logits; llama.cpp cannot compute that");
    }
    for (int i = 0; i < GGML_MAX_DIMS; i++) {
        if (t->ne[i] < 1 || (i >= 2 && t->ne[i] != w->ne[i])) {
            throw fail(quoted(name) + " does not have the shape that " + quoted(target) + " needs");
        }
    }
}

void check_lora(const char *path, const llama_model *model) {
    const File file(path, false);
    check_header(file, model);
    const int64_t n = gguf_get_n_tensors(file.gguf.get());
    bool any = false;
    for (int64_t i = 0; i < n; i++) {
        const std::string name = gguf_get_tensor_name(file.gguf.get(), i);
        std::string target = name;
        if (cut_suffix(target, ".lora_a") || cut_suffix(target, ".lora_b")) {
            check_matrix(file, model, name, target);
            any = true;
        } else if (cut_suffix(target, "_norm.weight")) {
            throw fail("it replaces " + quoted(name) + ", which llama.cpp does not apply");
        }
    }
    if (!any) {
        throw fail("it has no tensors of an adapter");
    }
}

// layer is the N of direction.N.
int layer(const std::string &name) {
    const std::string prefix = "direction.";
    if (name.compare(0, prefix.size(), prefix) != 0 || name.size() == prefix.size() || name.size() > prefix.size() + 6 ||
        name.find_first_not_of("0123456789", prefix.size()) != std::string::npos) {
        throw fail("it is no control vector: it has a tensor " + quoted(name) + ", want direction.1, direction.2, …");
    }
    return std::stoi(name.substr(prefix.size()));
}

// worst_graph builds the largest graph of a context under the adapters in force, and makes room for it.
ggml_cgraph *worst_graph(llama_context *ctx) {
    llama_memory_context_ptr memory;
    if (ctx->get_memory() != nullptr) {
        memory = ctx->get_memory()->init_full();
        if (!memory) {
            throw fail("no memory context");
        }
    }
    const uint32_t tokens = std::min(ctx->n_ctx(), ctx->n_ubatch());
    ggml_cgraph *graph = ctx->graph_reserve(tokens, ctx->n_seq_max(), tokens, memory.get());
    if (graph == nullptr) {
        throw fail("no memory for the computation");
    }
    return graph;
}

} // namespace

struct llama_adapter_lora *aim_lora_load(struct llama_model *model, const char *path, size_t *pairs, char *err, size_t n) {
    return guarded<llama_adapter_lora *>(nullptr, err, n, [&] {
        check_lora(path, model);
        llama_adapter_lora *lora = llama_adapter_lora_init(model, path);
        if (lora != nullptr) {
            *pairs = lora->ab_map.size();
        }
        return lora;
    });
}

bool aim_control_vector(const char *path, float scale, float *data, int32_t n_embd, int32_t n_layer, char *err, size_t n) {
    return guarded(false, err, n, [&] {
        const File file(path, true);
        const int64_t count = gguf_get_n_tensors(file.gguf.get());
        if (count == 0) {
            throw fail("it is no control vector: it has no tensors");
        }
        for (int64_t i = 0; i < count; i++) {
            const std::string name = gguf_get_tensor_name(file.gguf.get(), i);
            const int il = layer(name);
            const ggml_tensor *t = ggml_get_tensor(file.tensors.get(), name.c_str());
            if (il < 1 || il >= n_layer) {
                throw fail(quoted(name) + " is for a layer that a model of " + std::to_string(n_layer) +
                           " cannot take it in: they count from 0, and only 1 to " + std::to_string(n_layer - 1) + " do");
            }
            if (t->type != GGML_TYPE_F32 || ggml_n_dims(t) != 1) {
                throw fail(quoted(name) + " is no vector of 32-bit numbers");
            }
            if (t->ne[0] != n_embd) {
                throw fail(quoted(name) + " has " + std::to_string(t->ne[0]) + " numbers, and the model's layers " +
                           std::to_string(n_embd) + ": is it for another model?");
            }
            for (int32_t j = 0; j < n_embd; j++) {
                data[size_t(il - 1) * n_embd + j] += scale * static_cast<const float *>(t->data)[j];
            }
        }
        return true;
    });
}

bool aim_adapters_fit(struct llama_context *ctx, size_t pairs, size_t vectors, char *err, size_t n) {
    return guarded(false, err, n, [&] {
        const size_t more = 4 * pairs + vectors; // two products, a scaling and a sum; the sum of a vector
        llm_graph_result *res = ctx->get_gf_res_reserve();
        const size_t nodes = ggml_graph_n_nodes(res->get_gf()) + more;
        const size_t most = res->get_max_nodes();
        const size_t leafs = ctx->get_model().n_tensors() + 64 + 2 * pairs + vectors; // weights, and less than 64 inputs
        const size_t used = ggml_used_mem(res->get_ctx()) + more * ggml_tensor_overhead();
        if (nodes > most || nodes + leafs > ggml_hash_size(most) || used > res->buf_compute_meta.size()) {
            throw fail("they change so many tensors that llama.cpp's graph has no room: " + std::to_string(nodes) + " operations on " +
                       std::to_string(leafs) + " tensors, want at most " + std::to_string(most) + ", or " +
                       std::to_string(ggml_hash_size(most)) + " together");
        }
        return true;
    });
}

int32_t aim_graph_nodes(struct llama_context *ctx, char *err, size_t n) {
    return guarded<int32_t>(-1, err, n, [&] { return ggml_graph_n_nodes(worst_graph(ctx)); });
}

bool aim_adapt(struct llama_context *ctx, struct llama_adapter_lora **loras, const float *scales, size_t count, const float *vector,
               int32_t n_embd, int32_t n_layer, int32_t first, int32_t last, char *err, size_t n) {
    return guarded(false, err, n, [&] {
        llama_synchronize(ctx);
        llama_clear_adapter_lora(ctx);
        for (size_t i = 0; i < count; i++) {
            llama_set_adapter_lora(ctx, loras[i], scales[i]);
        }
        const size_t len = vector == nullptr ? 0 : size_t(n_embd) * (n_layer - 1);
        if (llama_apply_adapter_cvec(ctx, vector, len, n_embd, first, last) != 0) {
            throw fail("the control vector could not be applied");
        }
        // llama.cpp takes the last graph again where the batch has the same shape, without a look at the adapters.
        (ctx->*access(Previous()))->reset();
        return true;
    });
}
