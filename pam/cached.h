/* A token that the person's own agent fetches now, in the place of a code (cached=yes). It proves that somebody signed
 * in earlier, not who connects: so it only ever adds to a key that sshd has accepted in this very connection.
 * What always holds: the agent, and all that runs as the person, is not believed. What comes of here with true was
 * signed by the authority for our client within this attempt, give or take LIMIT_CACHED_SKEW_S, and says whose it is;
 * whether that is the user who was asked for is still to be decided. Everything else is false, a line in the log, and
 * no worse than if nobody had asked: within LIMIT_CACHED_MS, with no process left. */
#pragma once

#include "lines.h"
#include "person.h"
#include "settings.h"
#include <security/pam_modules.h>

struct cached {
    pam_handle_t *pamh;
    const struct settings *settings;
    const struct person *person; /* whose agent is asked */
    const struct person *helper; /* whom mltoken-pam-login runs as; NULL: as we do, who are not root */
};

/* PAM_SUCCESS, or PAM_SERVICE_ERR: nobody may be let in by a token here, for it is not sshd or there was no key. */
int cached_check(pam_handle_t *, const char *service);
/* `until_ms`: of CLOCK_BOOTTIME; the attempt's own end. *ret_verified is for mapping_decide(). */
bool cached_find(const struct cached *, int64_t until_ms, struct line *ret_verified);
