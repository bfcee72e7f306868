#include "guard.hpp"
#include "shim.h"

#include <sstream>
#include <string>
#include <vector>

#include "ggml.h"

// The struct behind llama_model_quantize_params.tensor_types, which no header of llama.cpp declares: a std::vector of these.
struct tensor_quantization {
    std::string name;
    ggml_type quant = GGML_TYPE_COUNT;
};

extern thread_local uintptr_t aim_quantizing;

namespace {

// literal is a regular expression that matches text and nothing else.
std::string literal(const std::string &text) {
    std::string escaped;
    for (const char c : text) {
        if (std::string("\\^$.|?*+()[]{}").find(c) != std::string::npos) {
            escaped += '\\';
        }
        escaped += c;
    }
    return escaped;
}

// Quantizing makes a thread's quantization known to the log for as long as it lives.
struct Quantizing {
    explicit Quantizing(uintptr_t handle) { aim_quantizing = handle; }
    ~Quantizing() { aim_quantizing = 0; }
};

} // namespace

bool aim_quantize(const char *source, const char *target, struct llama_model_quantize_params params, const char *overrides,
                  uintptr_t progress, char *err, size_t n) {
    return guarded(false, err, n, [&] {
        std::vector<tensor_quantization> types;
        std::istringstream lines(overrides);
        for (std::string line; std::getline(lines, line);) {
            const size_t space = line.find(' ');
            types.push_back({literal(line.substr(space + 1)), static_cast<ggml_type>(std::stoi(line.substr(0, space)))});
        }
        params.tensor_types = types.empty() ? nullptr : &types;
        const Quantizing scope(progress);
        return llama_model_quantize(source, target, &params) == 0;
    });
}
