/* Some authorities repeat in an error what they were sent ("Invalid refresh token: ..."). Their words go to people and
 * into the log, so what was secret in the request is struck out of an answer that is an error, before anybody reads it.
 * Pure. */
#pragma once

#include "authority/traffic.h"
#include "buffer.h"

/* When the answer to the request is an error that repeats some of its secrets: true, and *ret is its body with stars in
 * their place. -ENOMEM is the buffer's. */
bool echo_strike(const struct http_step *, const struct answer *, struct buffer *ret);
