/* How often a sign-in may be begun: each costs the authority a device code, and asks a person who may not be at the
 * keyboard. Counted for each pair of source and user, and, four times as many, for each source; a source is an IPv4
 * address, or the first 64 bits of an IPv6 address. Never for a user alone or for all: nobody can lock out others.
 * What always holds: an attempt that cannot be counted is refused; one that succeeded is not counted. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct rate_key {
    char source[48];
    char pair[64];
    int64_t source_ms, pair_ms; /* of CLOCK_BOOTTIME: when it was counted */
};

/* `host` is PAM_RHOST, or else the terminal; may be NULL. */
void rate_key_make(const char *host, uid_t uid, struct rate_key *ret);
/* Counts an attempt, and notes when, for rate_forget(). -EAGAIN: there were too many. Other negative errno: it cannot
 * be counted. `folder` is a descriptor. */
int rate_take(int folder, unsigned count, unsigned seconds, struct rate_key *);
void rate_forget(int folder, const struct rate_key *);
