#include "store/protocol.h"

#include "cleanup.h"
#include "limits.h"
#include <errno.h>

enum { HEAD = 4 };

ssize_t store_frame_find(const struct buffer *buffer)
{
    if (buffer->length < HEAD)
        return -EAGAIN;
    const unsigned char *p = (const unsigned char *)buffer->data;
    size_t length = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
    if (length > LIMIT_STORE_FRAME)
        return -EMSGSIZE;
    return buffer->length >= HEAD + length ? (ssize_t)(HEAD + length) : -EAGAIN;
}

static bool clean(struct span text)
{
    for (size_t i = 0; i < text.length; i++)
        if ((unsigned char)text.data[i] < 0x20 || text.data[i] == 0x7f)
            return false;
    return true;
}

static bool is_key(struct span key)
{
    for (size_t i = 0; i < key.length; i++)
        if ((key.data[i] < 'a' || key.data[i] > 'z') && key.data[i] != '_')
            return false;
    return key.length > 0;
}

int store_frame_read(char *bytes, size_t length, struct store_frame *ret)
{
    struct store_frame frame = {.count = 0};
    char *at = bytes + HEAD, *end = bytes + length;
    for (;;) {
        char *newline = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
        if (!newline)
            return -EBADMSG;
        if (newline == at)
            break;
        char *equals = memchr(at, '=', (size_t)(newline - at));
        if (!equals || frame.count == STORE_FIELDS)
            return -EBADMSG;
        if (!is_key((struct span){at, (size_t)(equals - at)}) ||
            !clean((struct span){equals + 1, (size_t)(newline - equals - 1)}))
            return -EBADMSG;
        *equals = *newline = '\0';
        if (store_frame_text(&frame, at)) /* twice: two readers could take a different one */
            return -EBADMSG;
        frame.fields[frame.count++] = (struct store_field){.key = at, .text = equals + 1};
        at = newline + 1;
    }
    frame.value = (struct span){at + 1, (size_t)(end - at - 1)};
    *ret = frame;
    return 0;
}

const char *store_frame_text(const struct store_frame *frame, const char *key)
{
    for (size_t i = 0; i < frame->count; i++)
        if (strcmp(frame->fields[i].key, key) == 0)
            return frame->fields[i].text;
    return NULL;
}

int store_frame_number(const struct store_frame *frame, const char *key, uint64_t otherwise, uint64_t *ret)
{
    const char *text = store_frame_text(frame, key);
    if (!text) {
        *ret = otherwise;
        return 0;
    }
    size_t length = strspn(text, "0123456789");
    if (length == 0 || length > 18 || text[length])
        return -EINVAL;
    *ret = strtoull(text, NULL, 10);
    return 0;
}

static int fields_length(const struct store_field *fields, size_t count, size_t *ret)
{
    size_t present = 0, length = 0;
    for (size_t i = 0; i < count; i++) {
        if (!fields[i].text)
            continue;
        if (++present > STORE_FIELDS || !is_key(span_of(fields[i].key)) || !clean(span_of(fields[i].text)))
            return -EINVAL;
        length += strlen(fields[i].key) + strlen(fields[i].text) + 2;
    }
    *ret = length;
    return 0;
}

int store_frame_write(struct buffer *buffer, const struct store_field *fields, size_t count, struct span value)
{
    size_t length = 0;
    int r = fields_length(fields, count, &length);
    if (r < 0)
        return r;
    if (value.length > LIMIT_STORE_FRAME || length + 1 + value.length > LIMIT_STORE_FRAME)
        return -EMSGSIZE;
    length += 1 + value.length;
    r = buffer_reserve(buffer, HEAD + length);
    if (r < 0)
        return r;
    const char head[HEAD] = {(char)(length >> 24), (char)(length >> 16), (char)(length >> 8), (char)length};
    buffer_append(buffer, head, sizeof(head));
    for (size_t i = 0; i < count; i++)
        if (fields[i].text)
            buffer_format(buffer, "%s=%s\n", fields[i].key, fields[i].text);
    buffer_byte(buffer, '\n');
    buffer_append(buffer, value.data, value.length);
    return buffer_error(buffer);
}
