// What ggml found to compute with.
#ifndef AIM_HARDWARE_H
#define AIM_HARDWARE_H

#include <stddef.h>

#include "ggml-backend.h"

#ifdef __cplusplus
extern "C" {
#endif

// aim_object_of writes the path of the program or shared library in which an address lies, "" where that is not known.
void aim_object_of(const void *address, char *path, size_t n);

// aim_backend_features are the features that a back end tells of, each a name and a value, to the one whose name is NULL. NULL where
// it tells of none.
struct ggml_backend_feature *aim_backend_features(ggml_backend_reg_t reg);

// aim_try_library loads a back end's library and lets go of it. It returns the score that the back end gives itself on this
// processor (0 where it cannot run, -1 where it has no opinion), or -2 with err set where the library cannot be loaded.
int aim_try_library(const char *path, char *err, size_t n);

#ifdef __cplusplus
}
#endif

#endif
