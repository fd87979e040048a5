/* Where secrets are kept between uses: (profile, name, binding) -> bytes and a version. A call returns at once and its
 * result comes from the loop, in the order of the calls to one store, so that a store that takes its time (a keyring,
 * a disk) delays nobody else. memory.c forgets with the agent; process.c speaks to a program of its own
 * (store/protocol.h); which store a profile uses is stores.h's. */
#pragma once

#include "buffer.h"
#include "limits.h"
#include "loop/loop.h"
#include "seal.h"
#include <errno.h>

struct store;
struct store_call;

enum { STORE_BINDING = 64 }; /* hex digits */

/* What a result's error may be, besides 0 and -ENOMEM. */
enum {
    STORE_MISSING = -ENOENT,     /* get: there is no such secret */
    STORE_BOUND = -EKEYREJECTED, /* get: it was stored for other receivers, and is not given out */
    STORE_CONFLICT = -ESTALE,    /* put: another version is there (`value`, when it is ours to see), and stays */
    STORE_UNAVAILABLE = -ENODEV, /* there is no such service on this host: another store may be tried */
    STORE_LOCKED = -EACCES,      /* a person said no, could not be asked, or has to unlock first */
    STORE_FAILED = -EIO,         /* anything else; for a put it is not known whether it took place */
};

struct store_item {
    const char *profile, *name, *binding;
};

/* Everything is the store's and lives during the call. */
struct store_result {
    int error;
    const char *reason;   /* a sentence for a person, may come from outside: always of an error, or of a list */
    uint64_t version;     /* get, put, conflict (0: none is there); bound when the store tells, else 0 */
    struct secret *value; /* get, conflict */
    const struct store_item *items; /* list */
    size_t item_count;
};
typedef void store_fn(void *arg, const struct store_result *);

struct store_key {
    const char *profile, *name;
    const char *binding; /* STORE_BINDING hex digits */
    bool quiet;          /* nobody waits for it: no person is asked, it is STORE_LOCKED instead */
};

#define STORE_ANY UINT64_MAX

/* What a key and a value point to is copied or referred to. -ENOMEM. */
int store_get(struct store *, const struct store_key *, store_fn *, void *arg, struct store_call **ret);
/* `expect`: the version that must be there (0: none), or STORE_ANY. Told 0: durable as far as this store is. */
int store_put(struct store *, const struct store_key *, struct secret *, uint64_t expect, store_fn *, void *arg,
              struct store_call **ret);
int store_drop(struct store *, const char *profile, const char *name, store_fn *, void *arg, struct store_call **ret);
int store_list(struct store *, const char *profile, store_fn *, void *arg, struct store_call **ret);
/* For a store that a passphrase opens; `fresh` sets one where none is set. STORE_LOCKED: it is not that one (the reason
 * says it, or why there is none), STORE_UNAVAILABLE: none is set. The right one is kept, for a program that is started
 * anew. */
int store_open(struct store *, struct secret *passphrase, bool fresh, store_fn *, void *arg, struct store_call **ret);

/* The agent is locked. What the store holds in the agent, passphrase included, is sealed at once, and from now on what
 * comes is; NULL: it stays, but the passphrase is forgotten. The seal is borrowed until store_unlock(). -ENOMEM: not
 * everything is sealed. */
int store_lock(struct store *, struct seal *);
/* Its program forgets its keys, behind what it is at, or ends. fn is told in any case. -ENOMEM. */
int store_forget(struct store *, store_fn *, void *arg);
/* Opens what was sealed. -ENOMEM: not everything; what is sealed can be opened later. */
int store_unlock(struct store *, struct seal_key *);

/* fn will not be called; a put or drop takes place all the same. NULL is allowed. */
void store_cancel(struct store_call *);
/* Said right after one of these: where a person would be asked, it fails as STORE_LOCKED. */
void store_ask_nobody(struct store_call *);

const char *store_name(const struct store *);
/* What its present call waits for ("the keyring is locked"), or NULL. */
const char *store_waiting(const struct store *);
/* Why its last call was refused until a person unlocks it, or NULL. */
const char *store_refusing(const struct store *);
/* What a call waits for, itself or behind another one, for a person. */
void store_call_describe(const struct store_call *, struct buffer *to);
struct store *store_free(struct store *); /* nobody is told; always NULL */

int store_memory_new(struct loop *, struct store **ret);
bool store_memory_empty(const struct store *);
