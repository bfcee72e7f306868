// No exception may reach Go's stack.
#ifndef AIM_GUARD_HPP
#define AIM_GUARD_HPP

#include <cstddef>
#include <cstdio>
#include <exception>

// guarded returns f(), or failed after an exception, whose message goes to err, a buffer of n bytes.
template <typename T, typename F> T guarded(T failed, char *err, size_t n, F f) {
    try {
        return f();
    } catch (const std::exception &e) {
        snprintf(err, n, "%s", e.what());
    } catch (...) {
        snprintf(err, n, "unknown C++ exception");
    }
    return failed;
}

#endif
