/* The record that carries a sign-in's tokens from auth to open_session, which sshd runs in another process: a file in
 * RUN/handoff, of 0600, under a name that nobody can guess; only the name crosses, in the PAM environment.
 * What always holds: a record is taken once, removed before it is read, and good only for the user and the service that
 * it was made for, in this boot, for LIMIT_HANDOFF_MS. */
#pragma once

#include "lines.h"
#include <sys/types.h>

#define HANDOFF_VARIABLE "MLTOKEN_HANDOFF"
#define HANDOFF_HANDLE   32 /* hexadecimal digits */

struct handoff_owner {
    uid_t uid;
    const char *service;
};

/* `done` as the helper told it; `profile` may be NULL. */
int handoff_write(const char *run, const struct handoff_owner *, const char *profile, const struct line *done,
                  char ret_handle[static HANDOFF_HANDLE + 1]);
/* Takes the record: its two lines, as they stand, for mltoken-pam-import. -EINVAL: no handle; -ENOENT: no such record,
 * or it was taken; -EPERM: a file that is none of ours; -ESTALE: of another user, service or boot, or too old. */
int handoff_take(const char *run, const struct handoff_owner *, const char *handle, struct buffer *ret);
bool handoff_handle_sound(const char *handle);
/* Removes what nobody took. */
void handoff_sweep(const char *run);
