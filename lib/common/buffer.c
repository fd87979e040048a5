#include "buffer.h"

#include "cleanup.h"
#include <errno.h>
#include <stdint.h>
#include <stdio.h>

int buffer_fail(struct buffer *buffer, int error)
{
    if (!buffer->error)
        buffer->error = error;
    return buffer->error;
}

int buffer_reserve(struct buffer *buffer, size_t length)
{
    if (buffer->error)
        return buffer->error;
    size_t maximum = buffer->maximum < PTRDIFF_MAX ? buffer->maximum : PTRDIFF_MAX - 1;
    if (length > maximum || buffer->length > maximum - length)
        return buffer_fail(buffer, -EMSGSIZE);
    size_t need = buffer->length + length + 1;
    if (need <= buffer->capacity)
        return 0;
    size_t capacity = buffer->capacity ? buffer->capacity : 64;
    while (capacity < need)
        capacity *= 2;
    if (capacity > maximum + 1)
        capacity = maximum + 1;
    char *data = malloc(capacity); /* not realloc: what it leaves behind could not be wiped */
    if (!data)
        return buffer_fail(buffer, -ENOMEM);
    if (buffer->data) {
        memcpy(data, buffer->data, buffer->length + 1);
        explicit_bzero(buffer->data, buffer->capacity);
        free(buffer->data);
    } else {
        data[0] = '\0';
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return 0;
}

int buffer_append(struct buffer *buffer, const void *bytes, size_t length)
{
    if (length == 0)
        return buffer->error;
    int r = buffer_reserve(buffer, length);
    if (r < 0)
        return r;
    memcpy(buffer->data + buffer->length, bytes, length);
    buffer->length += length;
    buffer->data[buffer->length] = '\0';
    return 0;
}

int buffer_text(struct buffer *buffer, const char *text)
{
    return buffer_append(buffer, text, strlen(text));
}

int buffer_byte(struct buffer *buffer, char byte)
{
    return buffer_append(buffer, &byte, 1);
}

int buffer_format(struct buffer *buffer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (n < 0)
        return buffer_fail(buffer, -EINVAL);
    int r = buffer_reserve(buffer, (size_t)n);
    if (r < 0)
        return r;
    va_start(arguments, format);
    (void)vsnprintf(buffer->data + buffer->length, (size_t)n + 1, format, arguments);
    va_end(arguments);
    buffer->length += (size_t)n;
    return 0;
}

void buffer_consume(struct buffer *buffer, size_t length)
{
    if (length == 0)
        return;
    if (length >= buffer->length) {
        buffer_clear(buffer);
        return;
    }
    size_t rest = buffer->length - length;
    memmove(buffer->data, buffer->data + length, rest);
    explicit_bzero(buffer->data + rest, length);
    buffer->length = rest;
}

void buffer_clear(struct buffer *buffer)
{
    if (buffer->data)
        explicit_bzero(buffer->data, buffer->length);
    buffer->length = 0;
    buffer->error = 0;
}

void buffer_free(struct buffer *buffer)
{
    if (!buffer)
        return;
    if (buffer->data)
        explicit_bzero(buffer->data, buffer->length);
    free(buffer->data);
    *buffer = BUFFER(buffer->maximum);
}

char *buffer_take(struct buffer *buffer)
{
    if (buffer->error || buffer_reserve(buffer, 0) < 0) {
        buffer_free(buffer);
        return NULL;
    }
    char *data = TAKE_PTR(buffer->data);
    *buffer = BUFFER(buffer->maximum);
    return data;
}

int buffer_error(const struct buffer *buffer)
{
    return buffer->error;
}
