/* SHA-256, as it is and of parts, as text. */
#pragma once

#include "span.h"
#include <stdint.h>

enum { DIGEST_TEXT = 64, DIGEST_BYTES = 32 };

/* Each part goes in with its length, so that no two lists of parts look the same: 0 and lower-case hex digits with a
 * NUL, or -ENOMEM. An absent part (NULL data) is not an empty one. */
int digest_text(const struct span *parts, size_t count, char ret[static DIGEST_TEXT + 1]);
/* Of the bytes alone: 0 or -ENOMEM. */
int digest_bytes(struct span, uint8_t ret[static DIGEST_BYTES]);
