/* One sign-in: mltoken-pam-login talks to the authority, this talks to the person and keeps the time.
 * What always holds: what comes back with PAM_SUCCESS is the one result of a helper that ended well; every other end,
 * a failure of ours among them, is neither PAM_SUCCESS nor PAM_IGNORE; PAM_AUTHINFO_UNAVAIL comes only of a helper that
 * never heard anything of the authority, and only with fallback=password; the helper is gone when this returns. */
#pragma once

#include "lines.h"
#include "person.h"
#include "settings.h"
#include <security/pam_modules.h>

struct signin {
    pam_handle_t *pamh;
    int flags;
    const struct settings *settings;
    const char *user, *service;
    const char *from;            /* PAM_RHOST; NULL: none */
    const struct person *helper; /* whom the helper runs as; NULL: as we do, who are not root */
    int64_t deadline_ms;         /* of CLOCK_BOOTTIME: its end, whatever went before */
};

int signin_run(const struct signin *, struct line *ret_done);
