/* Starting the agent of whoever we are, for the command and for mltoken-pam-import. The program is the one beside ours,
 * as in a build tree, or the installed one, and never found through PATH. What always holds: it gets the environment
 * that it is given and none of our descriptors, signals or folder; it is waited for until a deadline; one that is late
 * goes on without us. */
#pragma once

#include "buffer.h"
#include <stdint.h>

struct agent_start {
    char *const *environment;
    bool own_session;    /* setsid(): ours may be that of a login that ends */
    int64_t deadline_ms; /* CLOCK_BOOTTIME */
};

/* 0, or -ENAMETOOLONG. */
int agent_start_program(char *to, size_t size);
/* It tells by its end that the agent serves: 0; -ECHILD: it gave up; -ETIMEDOUT; or another negative errno. What it
 * says on standard error is appended to `said`; NULL: nobody listens. */
int agent_start(const struct agent_start *, struct buffer *said);
