#include "guard.hpp"
#include "shim.h"

#include <pthread.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "../common/json-schema-to-grammar.h" // seen from the folder of llama.h

namespace {

struct conversion {
    const char *schema;
    size_t len;
    char *grammar; // NULL after an error
    std::string error;
};

// convert runs a conversion. Nothing is thrown beyond it: it is the first function of a thread.
void *convert(void *arg) {
    auto *c = static_cast<conversion *>(arg);
    try {
        const auto schema = nlohmann::ordered_json::parse(c->schema, c->schema + c->len);
        c->grammar = strdup(json_schema_to_grammar(schema, true).c_str());
    } catch (const std::exception &e) {
        c->error = e.what();
    } catch (...) {
        c->error = "unknown C++ exception";
    }
    return nullptr;
}

// allows applies a grammar sampler to candidates, and says whether it leaves the first of them.
bool allows(llama_sampler *grammar, std::vector<llama_token_data> &candidates) {
    llama_token_data_array array = {candidates.data(), candidates.size(), -1, false};
    llama_sampler_apply(grammar, &array);
    return !std::isinf(candidates[0].logit);
}

} // namespace

char *aim_schema_to_grammar(const char *schema, size_t len, size_t stack, char *err, size_t n) {
    conversion c = {schema, len, nullptr, ""};
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    int failed = pthread_attr_setstacksize(&attr, stack);
    if (failed == 0) {
        failed = pthread_create(&thread, &attr, convert, &c);
    }
    pthread_attr_destroy(&attr);
    if (failed != 0) {
        snprintf(err, n, "no thread for the conversion: %s", strerror(failed));
        return nullptr;
    }
    pthread_join(thread, nullptr);
    if (c.grammar == nullptr) {
        snprintf(err, n, "%s", c.error.empty() ? "out of memory" : c.error.c_str());
    }
    return c.grammar;
}

bool aim_grammar_allowed(const struct llama_vocab *vocab, const char *grammar, const llama_token *tokens, size_t count,
                         uint8_t *allowed, char *err, size_t n) {
    return guarded(false, err, n, [&] {
        std::unique_ptr<llama_sampler, decltype(&llama_sampler_free)> sampler(
            llama_sampler_init_grammar(vocab, grammar, "root"), llama_sampler_free);
        if (sampler == nullptr) {
            throw std::invalid_argument("no grammar");
        }
        std::vector<llama_token_data> candidates;
        for (size_t i = 0; i < count; i++) {
            candidates.assign(1, {tokens[i], 0, 0});
            if (!allows(sampler.get(), candidates)) { // accepting it could abort
                throw std::invalid_argument("token " + std::to_string(i) + " is not allowed");
            }
            llama_sampler_accept(sampler.get(), tokens[i]);
        }
        candidates.clear();
        for (llama_token t = 0; t < llama_vocab_n_tokens(vocab); t++) {
            candidates.push_back({t, 0, 0});
        }
        allows(sampler.get(), candidates);
        for (const auto &c : candidates) {
            allowed[c.id] = std::isinf(c.logit) ? 0 : 1;
        }
        return true;
    });
}
