/* Seals secrets in memory under a passphrase. The passphrase gives, by Argon2id and a random salt, the seed of an
 * X25519 key pair. Who seals keeps the public half alone (struct seal, which tells nothing that could be used but by
 * guessing passphrases at Argon2id's price): so what comes later can be sealed as well, and nothing can be opened
 * before the passphrase comes back.
 *
 * A box is what one owner of a secret keeps in its place: 80 bytes that hold a random key, sealed to the public key;
 * a nonce; XChaCha20-Poly1305 of the secret under that key. The boxes of one batch share the key, so that ten thousand
 * secrets cost one exchange of X25519. The key is wiped with the end of the batch. Boxes are ordinary memory. */
#pragma once

#include "secret.h"
#include <stdint.h>

enum { SEAL_SALT = 16, SEAL_KEY = 32, SEAL_SEED = 32, SEAL_PARAMETERS = 32, SEAL_BATCH = SEAL_KEY + 48 };

struct seal {
    uint64_t passes, memory;
    uint8_t salt[SEAL_SALT];
    uint8_t public[SEAL_KEY];
    struct {
        bool open;
        uint8_t key[SEAL_KEY];
        uint8_t sealed[SEAL_BATCH];
    } batch;
};

/* What opens the boxes of one seal. */
struct seal_key {
    uint8_t public[SEAL_KEY], secret[SEAL_KEY];
    bool has_batch; /* the last one that was opened */
    uint8_t batch[SEAL_KEY];
    uint8_t sealed[SEAL_BATCH];
};

struct box;

/* ---- from a passphrase ---- */

/* A fresh salt, and what libsodium calls moderate: 256 MiB, some tenths of a second. -EIO. */
int seal_new_salt(struct seal *);
/* What has to be known beside the passphrase, for seal_derive(). */
void seal_parameters(const struct seal *, uint8_t ret[SEAL_PARAMETERS]);
/* Slow; never in the agent's loop. 0, -EINVAL, -ENOMEM. The caller wipes the seed. */
int seal_derive(const uint8_t parameters[SEAL_PARAMETERS], struct span passphrase, uint8_t ret_seed[SEAL_SEED]);
/* Puts the public half in. -EINVAL: this is no seed. */
int seal_from_seed(struct seal *, struct span seed);
/* Whether the seed is the one that it was sealed with; then *ret opens. */
bool seal_unlock(const struct seal *, struct span seed, struct seal_key *ret);
void seal_key_wipe(struct seal_key *);

/* ---- boxes ---- */

/* Between the two, every box is of one batch. Outside, each has its own. */
int seal_batch_begin(struct seal *); /* 0, -EIO */
void seal_batch_end(struct seal *);
/* Of both, one behind the other. The caller wipes what was sealed. -ENOMEM. */
int seal_close(struct seal *, struct span first, struct span second, struct box **ret);
int seal_close_secret(struct seal *, const struct secret *, struct box **ret);
/* malloc'd, with a NUL behind it; the caller wipes all of it. -EBADMSG, -ENOMEM. */
int seal_open(struct seal_key *, const struct box *, char **ret, size_t *ret_length);
int seal_open_secret(struct seal_key *, const struct box *, struct secret **ret);
struct box *box_free(struct box *); /* always NULL */
