/* The keys that open sealed files, from where the person put them, in this order: a systemd credential named
 * mltoken-store-key, a passphrase, a key file that MLTOKEN_KEY_FILE names. The first that is there seals; each opens
 * what was sealed with it. Keys lie in locked memory and are read anew after they were forgotten. */
#pragma once

#include "store/sealed.h"
#include "store/sealed_folder.h"

enum { KEYS = 3 };

struct keys {
    struct sealed_key keys[KEYS]; /* by kind - 1 */
    bool have[KEYS];
    struct trouble key_file; /* why it cannot be used, as long as another one is */
};

/* 0, -ENOMEM. ret_locked: is their memory locked? */
int keys_new(struct keys *, bool *ret_locked);
void keys_free(struct keys *);
void keys_forget(struct keys *);
/* Reads the credential and the key file where it has not. A credential that is there and cannot be used: -EIO. */
int keys_load(struct keys *, struct trouble *);
/* Makes a passphrase's key: with the parameters of `head`, which must be the right one for it (-EIO, kind locked), or
 * NULL for new ones. */
int keys_unlock(struct keys *, const struct sealed_head *head, struct span passphrase, struct trouble *);
/* What seals. passphrase_set: is one set for this folder? */
const struct sealed_key *keys_active(const struct keys *, bool passphrase_set, struct trouble *);
/* What opens a file of this head; `shown` is its path. NULL, with the reason. */
const struct sealed_key *keys_for(const struct keys *, const struct sealed_head *, const char *shown, struct trouble *);
