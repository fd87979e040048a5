#include "grant/form.h"

#include "limits.h"

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int form_encode(struct buffer *buffer, struct span value)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < value.length; i++) {
        unsigned char c = (unsigned char)value.data[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '*' ||
                     c == '-' || c == '.' || c == '_';
        if (plain) {
            buffer_byte(buffer, (char)c);
        } else if (c == ' ') {
            buffer_byte(buffer, '+');
        } else {
            char escape[3] = {'%', hex[c >> 4], hex[c & 15]};
            buffer_append(buffer, escape, sizeof(escape));
        }
    }
    return buffer_error(buffer);
}

int form_pair(struct buffer *buffer, const char *name, struct span value)
{
    if (buffer->length > 0)
        buffer_byte(buffer, '&');
    buffer_text(buffer, name);
    buffer_byte(buffer, '=');
    return form_encode(buffer, value);
}

int form_text(struct buffer *buffer, const char *name, const char *value)
{
    return value ? form_pair(buffer, name, span_of(value)) : buffer_error(buffer);
}

int form_basic(struct buffer *buffer, const char *client_id, struct span secret)
{
    _cleanup_buffer_ struct buffer pair = BUFFER(LIMIT_FORM);
    form_encode(&pair, span_of(client_id));
    buffer_byte(&pair, ':');
    int r = form_encode(&pair, secret);
    if (r < 0)
        return r;
    buffer_text(buffer, "Basic ");
    for (size_t i = 0; i < pair.length; i += 3) {
        size_t left = pair.length - i;
        const unsigned char *from = (const unsigned char *)pair.data + i;
        unsigned bits = (unsigned)from[0] << 16 | (left > 1 ? (unsigned)from[1] << 8 : 0) | (left > 2 ? from[2] : 0);
        char four[4] = {base64[bits >> 18], base64[bits >> 12 & 63], left > 1 ? base64[bits >> 6 & 63] : '=',
                        left > 2 ? base64[bits & 63] : '='};
        buffer_append(buffer, four, sizeof(four));
        explicit_bzero(four, sizeof(four));
    }
    return buffer_error(buffer);
}
