/* What the doctor asks of the agent that runs: a token that it has anyway. Blocks, with a deadline. */
#pragma once

#include "buffer.h"
#include "secret.h"
#include "token/profile.h"

/* The access token that the agent has at hand for the profile, under the same authority. 0; -ENOENT: no agent runs, or
 * it has none; nothing is fetched for it, and nobody is asked. Another negative errno. */
int doctor_ask_token(const struct profile *, struct secret **ret);
/* The value of an Authorization header with it; false: there is none. */
bool doctor_bearer(const struct profile *, struct buffer *ret);
