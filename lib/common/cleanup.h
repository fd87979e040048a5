/* The correct lifetime is the shortest to type: _cleanup_(f), TAKE_PTR (the habit is systemd's).
 * Destructors accept NULL and return NULL. */
#pragma once

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

#define DEFINE_CLEANUP(type, function)                                                                                 \
    static inline void function##_cleanup(type *pointer)                                                               \
    {                                                                                                                  \
        if (*pointer)                                                                                                  \
            function(*pointer);                                                                                        \
    }

#define TAKE_PTR(pointer)                                                                                              \
    __extension__({                                                                                                    \
        __typeof__(pointer) _taken = (pointer);                                                                        \
        (pointer) = NULL;                                                                                              \
        _taken;                                                                                                        \
    })

#define TAKE_FD(fd)                                                                                                    \
    __extension__({                                                                                                    \
        int _taken = (fd);                                                                                             \
        (fd) = -1;                                                                                                     \
        _taken;                                                                                                        \
    })

#define ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

static inline void free_cleanup(void *pointer)
{
    free(*(void **)pointer);
}

static inline void close_cleanup(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* Wipes a string up to its NUL, then frees it. */
static inline void *wipe_free(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
    return NULL;
}

static inline void wipe_cleanup(char **text)
{
    wipe_free(*text);
}

#define _cleanup_free_  _cleanup_(free_cleanup)
#define _cleanup_close_ _cleanup_(close_cleanup)
#define _cleanup_wipe_  _cleanup_(wipe_cleanup)
