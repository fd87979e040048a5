/* What `mltoken status` says of a profile. */
#pragma once

#include "acquire/conductor.h"

struct report {
    const char *state;              /* as org.mltoken.agent's Profile has it */
    const char *account;            /* NULL */
    int64_t expires_at, refresh_at; /* -1 */
    char error[3 * LIMIT_TEXT];     /* "" */
};
void report_profile(const struct conductor *, const struct profile *, struct report *ret);
