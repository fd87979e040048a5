/* The session phase: what a sign-in brought goes to the person's own agent, and tokens of that agent into the session's
 * environment where export says so. Both are done by mltoken-pam-import, as that person.
 * What always holds: it never takes longer than LIMIT_HANDOFF_END_MS, and never fails a login. */
#pragma once

#include "person.h"
#include "settings.h"
#include <security/pam_modules.h>

struct session {
    pam_handle_t *pamh;
    int flags;
    const struct settings *settings;
    const struct person *person;
    const char *service;
};

/* `handle` is that of handoff.h, or NULL. */
void session_open(const struct session *, const char *handle);
