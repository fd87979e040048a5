#include "token/renewal.h"

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t renewal_min_valid_ms(const struct profile *profile, int64_t asked_s, int64_t life_ms)
{
    if (asked_s >= 0)
        return asked_s > INT64_MAX / 1000 ? INT64_MAX : asked_s * 1000;
    return least(profile->min_valid_s * 1000, life_ms / 10);
}

/* Up to a tenth of `ms`, less. */
static int64_t jitter(int64_t ms, uint16_t random)
{
    return ms - ms / 10 * random / UINT16_MAX;
}

int64_t renewal_after_ms(const struct profile *profile, int64_t life_ms, int64_t refresh_in_s, uint16_t random)
{
    enum { SOONEST = 500 };
    int64_t after;
    if (profile->refresh_ahead_s == REFRESH_AHEAD_NEVER)
        return -1;
    if (profile->refresh_ahead_s >= 0) { /* so long before the end */
        after = least(life_ms - profile->refresh_ahead_s * 1000, life_ms - life_ms / 10);
        if (after < life_ms / 2)
            after = life_ms / 2; /* a setting longer than the life must not make us ask without end */
    } else {
        after = least(life_ms / 10 * 8, life_ms - 2 * renewal_min_valid_ms(profile, -1, life_ms));
        if (refresh_in_s > 0)
            after = least(after, refresh_in_s * 1000 > life_ms / 10 ? refresh_in_s * 1000
                                                                    : life_ms / 10); /* not without end */
    }
    after = jitter(after, random);
    return after > SOONEST ? after : SOONEST;
}

int64_t renewal_backoff_ms(const struct failure *failure, unsigned failures, uint16_t random)
{
    if (failure->retry_after_ms >= 0) {
        int64_t asked = least(failure->retry_after_ms, LIMIT_RETRY_AFTER_S * 1000L);
        return asked > LIMIT_BACKOFF_FIRST_MS ? asked : LIMIT_BACKOFF_FIRST_MS;
    }
    if (failure->class == CLASS_DEFINITE)
        return LIMIT_REFUSAL_MS;
    int64_t wait = LIMIT_BACKOFF_FIRST_MS;
    while (--failures > 0 && wait < LIMIT_BACKOFF_MS)
        wait *= 2;
    return jitter(least(wait, LIMIT_BACKOFF_MS), random);
}

int64_t renewal_idle_ms(int64_t life_ms)
{
    enum { LIVES = 10, AT_LEAST = 600000, AT_MOST = 24 * 3600 * 1000 };
    int64_t idle = LIVES * life_ms > AT_LEAST ? LIVES * life_ms : AT_LEAST;
    return least(idle, AT_MOST);
}
