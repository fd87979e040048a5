/* Bytes that belong to somebody else, valid as long as their owner says. May hold NUL; data is never NULL when length >
 * 0. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct span {
    const char *data;
    size_t length;
};

/* The same for what must not be guessed byte by byte: how long it takes tells the length alone. */
static inline bool span_equals_secret(struct span a, struct span b)
{
    volatile unsigned char different = 0;
    for (size_t i = 0; a.length == b.length && i < a.length; i++)
        different = (unsigned char)(different | (a.data[i] ^ b.data[i]));
    return a.length == b.length && different == 0;
}

static inline struct span span_of(const char *text)
{
    return (struct span){.data = text, .length = text ? strlen(text) : 0};
}

/* Without the blanks at both ends: spaces, tabs, and the return before a line's end. */
static inline struct span span_trim(struct span text)
{
    static const char blanks[] = {' ', '\t', '\r'};
    while (text.length > 0 && memchr(blanks, text.data[0], sizeof(blanks)))
        text.data++, text.length--;
    while (text.length > 0 && memchr(blanks, text.data[text.length - 1], sizeof(blanks)))
        text.length--;
    return text;
}

static inline bool span_equals(struct span a, struct span b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}
