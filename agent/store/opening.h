/* The passphrase that opened a store: kept, so that a program of its own that was killed and started anew can be told
 * it, and sealed while the agent is locked. Owned by the store. */
#pragma once

#include "seal.h"

struct opening {
    struct secret *passphrase; /* one of both, or none */
    struct box *sealed;
    struct seal *seal; /* the agent is locked; borrowed */
    bool told;         /* the program that runs has been told */
};

/* Replaces what is there; sealed on arrival while the agent is locked. -ENOMEM: nothing is kept. */
int opening_keep(struct opening *, struct secret *passphrase);
void opening_forget(struct opening *);
/* See store_lock() and store_unlock(). */
int opening_lock(struct opening *, struct seal *);
int opening_unlock(struct opening *, struct seal_key *);
/* What the program is to be told before its next call, or NULL. */
struct secret *opening_due(const struct opening *);
