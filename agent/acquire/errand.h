/* What a person asks of a profile's store: to keep a secret or clear it, to say which are there, to move them. An
 * errand that is begun goes on to its end when nobody waits for it any more; the conductor owns it. */
#pragma once

#include "acquire/conductor.h"

struct errand;

struct errand_secret {
    const char *name;
    const char *source; /* "file", "env", "keyring", ... */
    const char *reason; /* why it is not present, or NULL */
    bool present;
    bool stored; /* in the store, or it belongs there */
};

struct errand_result {
    const struct failure *why;           /* NULL: it went well */
    const struct errand_secret *secrets; /* list */
    size_t count;                        /* list, move */
};
typedef void errand_fn(void *arg, const struct errand_result *);

/* Each: 0 and fn will be called, or -1 with *why set. `value` is copied into the arena; its data NULL: clears. */
int errand_set(struct conductor *, struct holder *, const char *name, struct span value, errand_fn *, void *arg,
               struct errand **ret, struct failure *why);
int errand_list(struct conductor *, struct holder *, errand_fn *, void *arg, struct errand **ret, struct failure *why);
/* To the store of that name: from the profile's own, or, when that is it, from the others that come with mltoken. */
int errand_move(struct conductor *, struct holder *, const char *store, errand_fn *, void *arg, struct errand **ret,
                struct failure *why);
void errand_cancel(struct errand *); /* fn will not be called. NULL is allowed */
void errand_free_all(struct conductor *);
/* What the errands of a profile wait for in a store, or NULL. */
const struct store_call *errand_waits(const struct conductor *, const char *profile);
