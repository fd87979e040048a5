/* Listens to logind on the system bus: the computer is about to sleep, one of this user's sessions was locked. Nobody
 * else's session counts, and nobody else's word: signals are taken from the owner of logind's name alone.
 *
 * Who is told says by keyring_logind_locked() that the agent is locked now. Until then a sleep is held back (for a
 * moment: logind's own patience is short), and nothing is told twice; after that an event comes at most once a second,
 * whatever the bus says. Functions are called from the default main context. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct keyring_logind;

struct keyring_logind_functions {
    void (*happened)(void *arg, const char *event); /* "suspend", "session" */
    void (*lost)(void *arg, const char *reason);    /* nothing will be heard any more */
    void *arg;
};

/* Blocks for some seconds at most, unless the bus is mute. 0; or -EIO and why in `reason`. With 0, too, `reason` may
 * say what does not work: a sleep that cannot be held back. */
int keyring_logind_new(bool suspend, bool session, const struct keyring_logind_functions *, struct keyring_logind **ret,
                       char *reason, size_t size);
void keyring_logind_locked(struct keyring_logind *);
void keyring_logind_free(struct keyring_logind *);
