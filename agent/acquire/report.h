/* What `mltoken status` says of a profile. */
#pragma once

#include "acquire/conductor.h"

struct report {
    const char *state;              /* as org.mltoken.agent's Profile has it */
    const char *account;            /* NULL */
    int64_t expires_at, refresh_at; /* of the token; -1 */
    int64_t sign_in_ends_at;        /* unless it is renewed before; -1 */
    char warning[LIMIT_TEXT];       /* what a person should do before long; "" */
    char error[3 * LIMIT_TEXT];     /* "" */
};
void report_profile(const struct conductor *, const struct profile *, struct report *ret);
