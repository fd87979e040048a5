/* What an identity endpoint answered: its tokens, or why there are none and when to ask again (WIRE section 6). Their
 * errors come in three shapes, and each platform has rules of its own for what may pass. Pure. */
#pragma once

#include "authority/answer.h"
#include "grant/identity_source.h"

/* False: *why is set, and *ret_again_ms is after how long the same may be asked again, or -1: not. `tries` were made
 * before this one. A token that lives for more than two hours gets half of its life as refresh_in. tokens->account is
 * the identity's client id, where it says one and that is not what was asked for. */
bool identity_answer(const struct identity_way *, const struct profile *, const struct answer *, const struct tick *,
                     unsigned tries, struct tokens *ret, int64_t *ret_again_ms, struct failure *why);
