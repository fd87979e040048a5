/* SHA-256 of parts, as text. */
#pragma once

#include "span.h"

enum { DIGEST_TEXT = 64 };

/* Each part goes in with its length, so that no two lists of parts look the same: 0 and lower-case hex digits with a
 * NUL, or -ENOMEM. An absent part (NULL data) is not an empty one. */
int digest_text(const struct span *parts, size_t count, char ret[static DIGEST_TEXT + 1]);
