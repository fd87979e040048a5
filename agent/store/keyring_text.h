/* What the value of a keyring item looks like, so that a person who opens it in Seahorse sees what it is:
 *
 *   mltoken-secret 1 VERSION plain          (or base64, for a value that is no text)
 *   the value, to the end
 *
 * Pure. Nothing is left of a value outside the caller's buffers. */
#pragma once

#include "buffer.h"
#include "limits.h"
#include "span.h"
#include <stdint.h>

/* What a packed secret takes at most. */
#define KEYRING_TEXT_MAXIMUM ((size_t)LIMIT_SECRET / 3 * 4 + 128)

int keyring_text_pack(struct buffer *, uint64_t version, struct span value); /* 0, -ENOMEM, -EMSGSIZE */
/* Appends the value to `ret`, if that is not NULL: 0, -EBADMSG when the text is not of this form, -ENOMEM. */
int keyring_text_unpack(struct span text, uint64_t *ret_version, struct buffer *ret);
