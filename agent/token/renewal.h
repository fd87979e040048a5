/* When a token is fresh, when to renew it, how long to back off: arithmetic alone. Times in ms unless said otherwise.
 */
#pragma once

#include "token/failure.h"
#include "token/profile.h"

/* What must be left of a token's life for a call: as asked, or the profile's, capped at a tenth of the life. */
int64_t renewal_min_valid_ms(const struct profile *, int64_t asked_s, int64_t life_ms);

/* How long after it was fetched a token is renewed in the background; -1: only on demand. By default
 * min(refresh_in, 0.8 of the life, life - 2 min_valid), less a jitter of up to a tenth, so that a fleet does not ask
 * all at once. random: 16 random bits. */
int64_t renewal_after_ms(const struct profile *, int64_t life_ms, int64_t refresh_in_s, uint16_t random);

/* How long to wait after the n-th failure in a row (from 1): what the authority asked for, or an exponential back-off
 * with jitter; a definite refusal is remembered for LIMIT_REFUSAL_MS. */
int64_t renewal_backoff_ms(const struct failure *, unsigned failures, uint16_t random);

/* How long a token is renewed without anybody asking for it. */
int64_t renewal_idle_ms(int64_t life_ms);
