/* base64url of RFC 7515 section 2: the URL-safe alphabet, no padding, no whitespace, and only the one canonical
 * spelling of each byte string (bits that are left over must be zero), so that no two different texts carry the same
 * signature. Nothing is allocated here except by base64url_decode_new(), whose result belongs to the caller. */
#pragma once

#include "span.h"
#include <stdint.h>

/* The exact number of bytes that `length` characters carry (RFC 4648 section 5), if the text is valid. */
static inline size_t base64url_decoded_size(size_t length)
{
    return length / 4 * 3 + (length % 4 ? length % 4 - 1 : 0);
}

/* How many characters `length` bytes take, without a NUL. */
static inline size_t base64url_encoded_size(size_t length)
{
    return length / 3 * 4 + (length % 3 ? length % 3 + 1 : 0);
}

/* Writes that many characters and a NUL. */
void base64url_encode(const uint8_t *bytes, size_t length, char *to);

/* Decodes all of `text` into `to`: 0 and *ret_length set; -EINVAL for anything that is not canonical base64url,
 * -ENOBUFS when it carries more than `size` bytes. `to` may have been written to on failure. */
int base64url_decode(struct span text, uint8_t *to, size_t size, size_t *ret_length);

/* The same into fresh memory, with a NUL behind it that is not counted; at most `maximum` bytes. Also -ENOMEM. */
int base64url_decode_new(struct span text, size_t maximum, uint8_t **ret, size_t *ret_length);
