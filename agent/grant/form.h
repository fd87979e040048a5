/* application/x-www-form-urlencoded as RFC 6749 appendix B has it, and the Basic header made from it. Pure.
 * What is written may be secret: the buffers wipe what they held. */
#pragma once

#include "buffer.h"
#include "span.h"

int form_encode(struct buffer *, struct span value);
/* Appends NAME=VALUE, after '&' when something stands before. Names are ours and need no encoding. */
int form_pair(struct buffer *, const char *name, struct span value);
/* The same for text; NULL appends nothing. */
int form_text(struct buffer *, const char *name, const char *value);
/* Appends "Basic ...": id and secret are form-encoded before Base64 (RFC 6749 section 2.3.1). */
int form_basic(struct buffer *, const char *client_id, struct span secret);
