/* A growing byte buffer with a hard maximum. It owns its bytes, wipes them when it grows, is cleared or freed (they may
 * be tokens), and remembers a failure: after one, further appends do nothing and buffer_error() tells. Zero-initialise
 * with BUFFER(maximum). The bytes are always followed by a NUL that is not counted. */
#pragma once

#include "span.h"
#include <stdarg.h>
#include <stddef.h>

struct buffer {
    char *data;
    size_t length;
    size_t capacity;
    size_t maximum;
    int error; /* 0, -ENOMEM, -EMSGSIZE, or -EINVAL of a format */
};

#define BUFFER(limit) ((struct buffer){.maximum = (limit)})

/* All or nothing; `bytes` must not be the buffer's own. */
int buffer_append(struct buffer *, const void *bytes, size_t length);
int buffer_text(struct buffer *, const char *text);
int buffer_byte(struct buffer *, char byte);
int buffer_format(struct buffer *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Makes room for `length` more bytes; the caller writes to data + length and then adds to length itself. */
int buffer_reserve(struct buffer *, size_t length);
/* Drops the first `length` bytes, and wipes what they leave. */
void buffer_consume(struct buffer *, size_t length);
/* Empties it, and forgets a failure. */
void buffer_clear(struct buffer *);
void buffer_free(struct buffer *);
/* Hands over the bytes as a malloc'd string, or NULL after a failure. The buffer is empty afterwards. */
char *buffer_take(struct buffer *);
/* The failure that it remembers: 0 or a negative error. */
int buffer_error(const struct buffer *);
/* Has it remember that what was to be appended could not be made; the first failure counts. Returns that. */
int buffer_fail(struct buffer *, int error);

static inline struct span buffer_span(const struct buffer *buffer)
{
    return (struct span){.data = buffer->data, .length = buffer->length};
}

#define _cleanup_buffer_ __attribute__((cleanup(buffer_free)))
