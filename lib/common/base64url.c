#include "base64url.h"

#include "cleanup.h"
#include <errno.h>

/* 0..63, or 64 for a character that is not of the alphabet. */
static uint32_t digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (uint32_t)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (uint32_t)(c - 'a') + 26;
    if (c >= '0' && c <= '9')
        return (uint32_t)(c - '0') + 52;
    return c == '-' ? 62 : c == '_' ? 63 : 64;
}

void base64url_encode(const uint8_t *bytes, size_t length, char *to)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned held = 0;
    for (size_t i = 0; i < length; i++) {
        bits = (bits << 8 | bytes[i]) & 0xffff;
        for (held += 8; held >= 6; held -= 6)
            *to++ = alphabet[bits >> (held - 6) & 63];
    }
    if (held > 0)
        *to++ = alphabet[bits << (6 - held) & 63];
    *to = '\0';
}

int base64url_decode(struct span text, uint8_t *to, size_t size, size_t *ret_length)
{
    if (text.length % 4 == 1)
        return -EINVAL;
    if (base64url_decoded_size(text.length) > size)
        return -ENOBUFS;
    uint32_t bits = 0;
    unsigned held = 0;
    size_t written = 0;
    for (size_t i = 0; i < text.length; i++) {
        uint32_t value = digit(text.data[i]);
        if (value > 63)
            return -EINVAL;
        bits = bits << 6 | value;
        held += 6;
        if (held >= 8) {
            held -= 8;
            to[written++] = (uint8_t)(bits >> held);
            bits &= (1u << held) - 1;
        }
    }
    if (bits != 0)
        return -EINVAL;
    *ret_length = written;
    return 0;
}

int base64url_decode_new(struct span text, size_t maximum, uint8_t **ret, size_t *ret_length)
{
    size_t size = base64url_decoded_size(text.length), length;
    if (size > maximum)
        return -ENOBUFS;
    _cleanup_free_ uint8_t *bytes = malloc(size + 1);
    if (!bytes)
        return -ENOMEM;
    int r = base64url_decode(text, bytes, size, &length);
    if (r < 0)
        return r;
    bytes[length] = '\0';
    *ret = TAKE_PTR(bytes);
    *ret_length = length;
    return 0;
}
