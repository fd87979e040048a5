/* Calls that fail when fails(NAME), which the including file has, says so: a function in the place of libc's. */
#pragma once

#include <dlfcn.h>
#include <errno.h>

#define REAL(name)                                                                                                     \
    static __typeof__(name) *real;                                                                                     \
    if (!real)                                                                                                         \
    *(void **)&real = dlsym(RTLD_NEXT, #name)

#define WRAP(type, name, failure, error, parameters, ...)                                                              \
    type name parameters;                                                                                              \
    type name parameters                                                                                               \
    {                                                                                                                  \
        REAL(name);                                                                                                    \
        if (fails(#name)) {                                                                                            \
            errno = error;                                                                                             \
            return failure;                                                                                            \
        }                                                                                                              \
        return real(__VA_ARGS__);                                                                                      \
    }
