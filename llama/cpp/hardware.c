#define _GNU_SOURCE // for dladdr

#include "hardware.h"

#include <dlfcn.h>
#include <stdio.h>

void aim_object_of(const void *address, char *path, size_t n) {
    Dl_info info;
    snprintf(path, n, "%s", dladdr(address, &info) != 0 && info.dli_fname != NULL ? info.dli_fname : "");
}

struct ggml_backend_feature *aim_backend_features(ggml_backend_reg_t reg) {
    ggml_backend_get_features_t get = (ggml_backend_get_features_t)ggml_backend_reg_get_proc_address(reg, "ggml_backend_get_features");
    return get == NULL ? NULL : get(reg);
}

int aim_try_library(const char *path, char *err, size_t n) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *why = dlerror();
        snprintf(err, n, "%s", why != NULL ? why : "it cannot be loaded");
        return -2;
    }
    int (*score)(void) = (int (*)(void))dlsym(library, "ggml_backend_score");
    const int result = score == NULL ? -1 : score();
    dlclose(library);
    return result;
}
