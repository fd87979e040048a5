/* A sealed file, in memory: format 1. Pure but for libsodium's random numbers and its locked memory.
 *
 *   0  8  "MLTKSEAL"
 *   8  1  the format: 1
 *   9  1  what it holds: 1 a profile's secrets, 2 the folder's state
 *  10  1  where the key came from: 1 a systemd credential, 2 a passphrase, 3 a key file
 *  11  5  zero
 *  16 16  the key's id, which tells nothing about it
 *  32  8  Argon2id's passes, 40 8 its memory in bytes, 48 16 its salt: zero unless the key came from a passphrase
 *  64 24  the nonce, random
 *  88     XChaCha20-Poly1305 of what it holds; its last 16 bytes are the tag
 *
 * Numbers are little-endian. All of the 88 bytes and the profile's name are authenticated with the rest, so that no
 * file passes for another profile's or for another kind, and nothing in its head can be changed. The names, bindings
 * and versions of the secrets are inside. */
#pragma once

#include "limits.h"
#include "span.h"
#include <stdint.h>

enum { SEALED_HEAD = 88, SEALED_ID = 16, SEALED_SALT = 16, SEALED_TAG = 16, SEALED_SECRET = 32 };
enum sealed_kind { SEALED_CREDENTIAL = 1, SEALED_PASSPHRASE = 2, SEALED_KEY_FILE = 3 };
enum sealed_content { SEALED_PROFILE = 1, SEALED_STATE = 2 };

/* The head of a file, not yet authenticated. */
struct sealed_head {
    enum sealed_content content;
    enum sealed_kind kind;
    uint8_t id[SEALED_ID];
    uint64_t passes, memory;
    uint8_t salt[SEALED_SALT];
};

struct sealed_key {
    enum sealed_kind kind;
    uint8_t id[SEALED_ID];
    uint64_t passes, memory;
    uint8_t salt[SEALED_SALT];
    uint8_t *secret; /* SEALED_SECRET bytes of sodium_malloc() */
};

/* From any 32 bytes or more that nobody can guess. secret was allocated by the caller. */
void sealed_key_from_bytes(struct sealed_key *, enum sealed_kind, struct span bytes);
/* Slow (Argon2id). passes, memory and salt are set: 0, -ENOMEM. */
int sealed_key_from_passphrase(struct sealed_key *, struct span passphrase);
/* Fresh salt, and what libsodium calls moderate. */
void sealed_key_new_salt(struct sealed_key *);

/* 0, -EBADMSG: none of ours, or cut off; -EPROTONOSUPPORT: another format, whose number is in ret_format. */
int sealed_head_read(struct span bytes, struct sealed_head *ret, unsigned *ret_format);
/* A malloc'd file; -ENOMEM. name: the profile's, "" for the state. */
int sealed_seal(const struct sealed_key *, enum sealed_content, const char *name, struct span plain, uint8_t **ret,
                size_t *ret_length);
/* What is in a file whose head was read: sodium_malloc'd (sodium_free() wipes it); -EBADMSG, -ENOMEM. */
int sealed_open(const struct sealed_key *, enum sealed_content, const char *name, struct span bytes, char **ret,
                size_t *ret_length);
/* The last bytes of a file: with overwhelming probability no two files of one key have the same. */
const uint8_t *sealed_tag(struct span bytes);

/* ---- what is inside of a profile's file ---- */

struct sealed_item {
    const char *name, *binding; /* point into the plain text, or to the caller's */
    uint64_t version;
    struct span value;
};

struct sealed_items {
    struct sealed_item items[LIMIT_STORE_SECRETS];
    size_t count;
};

int sealed_items_read(struct span plain, struct sealed_items *ret); /* -EBADMSG */
/* sodium_malloc'd; -EMSGSIZE, -ENOMEM. */
int sealed_items_write(const struct sealed_items *, char **ret, size_t *ret_length);
struct sealed_item *sealed_items_find(struct sealed_items *, const char *name);

/* ---- what is inside of the state ---- */

struct sealed_entry {
    uint8_t name[SEALED_ID];
    uint8_t tag[SEALED_TAG];
};

/* Which file each profile has at present, by its tag; sorted by name. */
struct sealed_state {
    uint64_t sequence;                    /* grows with each change: the newest version of any secret */
    char profile[LIMIT_PROFILE_NAME + 1]; /* the one that the last change was of */
    struct sealed_entry *entries;
    size_t count, capacity;
};

/* A profile's name there. */
void sealed_state_name(const char *profile, uint8_t ret[SEALED_ID]);
int sealed_state_read(struct span plain, struct sealed_state *ret); /* -EBADMSG, -ENOMEM */
int sealed_state_write(const struct sealed_state *, char **ret, size_t *ret_length);
const struct sealed_entry *sealed_state_find(const struct sealed_state *, const uint8_t name[SEALED_ID]);
/* tag NULL removes: 0, -ENOMEM, -EMSGSIZE. */
int sealed_state_set(struct sealed_state *, const uint8_t name[SEALED_ID], const uint8_t *tag);
void sealed_state_clear(struct sealed_state *);
