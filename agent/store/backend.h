/* What the kinds of store share: the call, its life, and the table that makes a kind. Only this room includes it. */
#pragma once

#include "store/store.h"

enum store_op { STORE_GET, STORE_PUT, STORE_DROP, STORE_LIST, STORE_OPEN, STORE_LOCK };

/* Owned by the store that it is in, from its start to its end; a cancelled one goes on without fn. */
struct store_call {
    struct store *store;
    struct store_call *next, *previous; /* in the store's ring, in order */
    enum store_op op;
    char *profile, *name; /* NULL: not given */
    char binding[STORE_BINDING + 1];
    struct secret *value;
    uint64_t expect;
    bool fresh;   /* open */
    store_fn *fn; /* NULL: nobody waits for it any more */
    void *arg;
    struct store_call *inner; /* for a kind that passes calls on */
    bool quiet;               /* no person is asked */
    bool passed, again;       /* passed on; asked a second time, of a new program */
    bool hushed;              /* the same, as one was asked in vain just before */
    int64_t since_ms;         /* when it was begun */
};

struct store_kind {
    void (*added)(struct store *); /* a call was put at the end of the ring */
    const char *(*waiting)(const struct store *);
    const char *(*refusing)(const struct store *); /* may be NULL, as the two below */
    int (*lock)(struct store *, struct seal *);
    int (*unlock)(struct store *, struct seal_key *);
    void (*free)(struct store *);
};

struct store {
    const struct store_kind *kind;
    struct loop *loop;
    char *name;
    struct store_call calls; /* the ring's head */
};

/* Initialises the part that all kinds share: 0 or -ENOMEM. */
int store_init(struct store *, const struct store_kind *, struct loop *, const char *name);
/* The first call of the ring, or NULL. */
struct store_call *store_first(struct store *);
/* Takes a call out, tells who waits for it, and ends it. */
void store_answer(struct store_call *, const struct store_result *);
/* The same with an error and its reason. */
void store_answer_error(struct store_call *, int error, const char *reason);
