/* [agent] lock_on: tells when the computer goes to sleep or the user's session is locked. Who listens to logind is a
 * program of its own, the one that has D-Bus anyway (op=watch of store/protocol.h), whatever the store is; it runs only
 * while lock_on is set, and is started anew, later and later, when it ends or has nobody to listen to.
 *
 * Whatever it or the bus says, `lock` is called once a second at most, from the loop. */
#pragma once

#include "buffer.h"
#include "store/stores.h"

struct lock_on;

struct lock_on_functions {
    void (*lock)(void *arg, const char *why); /* returns when it is locked */
    void (*changed)(void *arg);               /* it listens now, or does not any more; NULL */
    void *arg;
};

/* Stores are borrowed. -ENOMEM. */
int lock_on_new(struct loop *, const struct stores *, const struct lock_on_functions *, struct lock_on **ret);
struct lock_on *lock_on_free(struct lock_on *); /* always NULL */
/* What to listen for from now on; neither: nothing runs. */
void lock_on_configure(struct lock_on *, bool suspend, bool session);
/* Appends what it listens for and whether it does, or why not: nothing when it is not set. Whether it listens. */
bool lock_on_describe(const struct lock_on *, struct buffer *to);
