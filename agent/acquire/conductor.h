/* The conductor: brings requests, cache, grants, authorities and the store together. One call in flight per cache key,
 * one per refresh token; whoever asks for the same joins. It owns the cache, the flights and the configuration in
 * force. Nothing here calls back into a caller: results come from the loop. */
#pragma once

#include "acquire/owner.h"
#include "authority/documents.h"
#include "config.h"
#include "store/lock_on.h"
#include "store/stores.h"
#include "token/cache.h"
#include "worker.h"

struct conductor {
    struct loop *loop;
    struct http *http;
    struct documents *documents;
    struct worker *worker;
    struct stores *stores;
    struct lock_on *lock_on; /* NULL: nothing locks by itself */
    struct cache *cache;
    struct config *config;
    struct errand *errands; /* a ring, made with the first */
    struct login *logins;   /* under way */
    size_t login_count;
    struct lock *lock;
    bool has_children;  /* tokens were made from others */
    bool locked;        /* nobody is served; see lock.h */
    uint64_t rounds;    /* in which watchers were told */
    int64_t started_at; /* epoch */
    owner_text self;
    struct {
        uint64_t hits, fetched, joined, failed, renewed;
    } counters;
};

/* Parts are borrowed but for the configuration, which is taken. */
int conductor_new(const struct conductor *parts, struct conductor **ret);
struct conductor *conductor_free(struct conductor *); /* always NULL; nobody is told */

/* Puts a new configuration in force, and takes it. Profiles that did not change keep everything; of those that did,
 * tokens are dropped, and who waits is asked for again by the new settings. `forgive`: also forgets refusals. */
void conductor_configure(struct conductor *, struct config *, bool forgive);

/* Whether a refresh token was sent and the next one is not kept yet: to end now would lose it. */
bool conductor_renews(const struct conductor *);

/* Somebody who waits for a token. Embedded; what it points to lives until it is told or cancelled. */
struct waiter {
    struct flight *flight; /* NULL: waits for nothing */
    struct waiter *next, *previous;
    const struct request *request;
    const struct flight *child; /* it waits for this one's sake; NULL: a caller */
    /* one of both is set; the entry lives during the call */
    void (*done)(void *arg, struct entry *, const struct failure *);
    void *arg;
};
void waiter_cancel(struct waiter *);

/* Finds the holder of a profile (NULL: the default one): 0, or -ENOENT with *why set (NoSuchProfile,
 * InvalidConfiguration). */
int conductor_holder(struct conductor *, const char *name, struct holder **ret, struct failure *why);
/* The hot path. VERDICT_SERVE: *ret_entry; REFUSE: *why; FETCH: the waiter waits. */
enum verdict conductor_get(struct conductor *, struct holder *, const struct request *, struct waiter *,
                           struct entry **ret_entry, struct failure *why);

/* Whether an entry's token can be served as it stands; then it counts as asked for. */
bool conductor_hit(struct conductor *, struct entry *, const struct request *);

/* Somebody who follows a token: told at each new one, and once when it ends (then it is off the list). */
struct watcher {
    struct entry *entry; /* NULL: follows nothing */
    struct watcher *next, *previous;
    uint64_t round; /* in which it was last told */
    void (*told)(void *arg, struct entry *, const struct failure *end);
    void *arg;
};
void conductor_watch(struct conductor *, struct entry *, struct watcher *);
void watcher_cancel(struct watcher *);

/* ---- between the files of this room ---- */

/* Whether a person signs in to it. */
bool conductor_signs_in(const struct profile *);
/* Forgets every token and failure of a profile; what is under way for it is asked again. Who watches is told `why`. */
void conductor_drop(struct conductor *, struct holder *, const struct failure *why);
/* The same of who signed in; the store keeps what it has. */
void conductor_forget_sign_in(struct conductor *, struct holder *);
/* Who is signed in has signed in once more: what was refused may be tried again. */
void conductor_signed_in_again(struct conductor *, struct holder *);
/* A flight that was not the entry's own put a token there: who watches is told, and any of them may make the entry go
 * (false). Else its renewal is for the caller to plan. */
bool conductor_serve_new(struct flight *, struct entry *);
/* A secret was stored anew: what was refused may be tried again. */
void conductor_forgive(struct conductor *, struct holder *);
/* A secret of the profile was stored anew, or cleared. */
void conductor_replaced(struct conductor *, struct holder *);
/* (Re)sets the timer of an entry's renewal. */
void conductor_plan(struct conductor *, struct entry *);
/* Tells who watches the flight's entry of its token. Any of them may make the entry go: then the flight has none. */
void conductor_tell(struct flight *);
/* Ends whoever watches it. */
void conductor_end_watchers(struct entry *, const struct failure *why);
/* landing.c. What a flight brought: tokens (their strings may be taken) or a failure. */
void conductor_landed(struct conductor *, struct flight *, struct tokens *, const struct failure *);
/* Asks again for those whose flight began under settings that have changed. */
void conductor_ask_again(struct conductor *, struct flight *);
/* Puts what a flight brought into an entry (see entry_put). */
int conductor_put(const struct flight *, struct entry *, struct tokens *);
