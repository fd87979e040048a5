/* What `mltoken status` says of a profile. */
#pragma once

#include "acquire/conductor.h"

struct report {
    const char *state;              /* as org.mltoken.agent's Profile has it */
    const char *account;            /* NULL */
    const char *slot;               /* of two, the one that is served; NULL */
    const char *policy;             /* B2C's user flow that the person chose; NULL */
    int64_t expires_at, refresh_at; /* of the token; -1 */
    int64_t sign_in_ends_at;        /* unless it is renewed before; -1 */
    char warning[LIMIT_TEXT];       /* what a person should do before long; "" */
    char error[3 * LIMIT_TEXT];     /* "" */
    char waiting[2 * LIMIT_TEXT];   /* what it waits for that is not the authority: a locked keyring, ...; "" */
};
/* What is to be said of a profile that ends: so many days ahead that it is time to. 0 (nothing), or the mark that was
 * passed last: 90, 30, 7 or 1 days (a sign-in: 7 or 1), with a sentence. holder may be NULL. */
int report_end(const struct profile *, const struct holder *, char sentence[static LIMIT_TEXT]);
void report_profile(const struct conductor *, const struct profile *, struct report *ret);
