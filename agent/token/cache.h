/* Whose token, is it fresh, who is waiting. The cache owns one holder a profile; a holder owns one entry for each
 * variant that was asked for (scopes, resource, audience, claims); an entry owns its token and the reply bytes that go
 * out. Pure: time comes in as a parameter, nothing here asks anybody. What the conductor hangs on an entry (flight,
 * timer, waiters) it takes off again before the entry goes. */
#pragma once

#include "buffer.h"
#include "loop/loop.h"
#include "seal.h"
#include "token/failure.h"
#include "token/profile.h"
#include "token/renewal.h"
#include "token/request.h"
#include "token/tokens.h"

struct conductor;
struct flight;
struct holder;
struct watcher;

struct entry {
    struct holder *holder;
    struct entry *next;     /* of the same holder, most recently asked for first */
    char *variant;          /* the cache key within the profile */
    struct request request; /* what makes it, for renewals */

    /* the token; reply.length == 0: none, or the agent is locked */
    struct buffer reply; /* a whole GetToken reply with its NUL */
    char *value;
    char *account;      /* whose it is, where no sign-in says it; NULL */
    const char *slot;   /* of two, the one that it stands in; NULL */
    struct box *sealed; /* both of them while it is: reply_sealed bytes, and the value */
    size_t reply_sealed;
    int64_t fetched_ms, expires_ms,
        life_ms;                    /* CLOCK_BOOTTIME; fetched: when it came, which is not when its life began */
    int64_t renew_ms;               /* -1: only on demand */
    int64_t expires_at, refresh_at; /* epoch seconds; refresh_at -1: only on demand */

    struct failure *failed;  /* why the last fetch failed; NULL: it did not */
    unsigned failures;       /* in a row */
    int64_t failed_until_ms; /* until then nobody's call is tried */
    int64_t retry_ms;        /* when the background tries again */
    int64_t asked_ms;        /* when a client last asked */

    struct flight *flight;  /* the request under way for it */
    struct flight *landing; /* the one whose waiters are just being told: they look at the entry, so it stays */
    struct timer timer;     /* its renewal, set by: */
    struct conductor *renewer;
    struct watcher *watchers;
};

struct holder {
    struct holder *chain;
    struct profile *profile; /* a reference */
    uint64_t generation;     /* grows when the profile changes; an answer for an older one is dropped */
    struct entry *entries;
    size_t entry_count;
    struct identity *identity;  /* who signed in here; NULL: nobody, or the store was not read yet */
    char *policy;               /* B2C's user flow that they chose; NULL: the profile's own */
    int64_t renew_by, ends_at;  /* of the sign-in, as struct credential has them */
    struct credential *unsaved; /* a rotated refresh token that the store could not take yet; NULL: none */
    uint64_t unsaved_version;   /* of what it replaces there */
    uint64_t awaited;           /* the version of the store in which another agent renews it ... */
    int64_t await_until_ms;     /* ... who is waited for until then */
    struct box *unsaved_sealed; /* its token while the agent is locked */
    struct timer lodging;       /* when a lodged one is looked at, for: */
    struct conductor *host;
    uint64_t sign_in; /* grows with each sign-in and sign-out: a renewal of an older one must not replace it */
    struct failure *signed_out; /* why a person must sign in; NULL when that is not so */
    char *challenge;            /* claims that the next sign-in is to be asked for, JSON; never logged. NULL: none */
    struct failure *refused;    /* a password that is not sent again until something changes; NULL: none */
    int64_t refused_wall_ms;    /* when the flight began that was refused last: epoch, ms */
    struct flight *flights;     /* under way or waiting their turn */
    int warned_days;            /* the last of the days before its end on which that was said; 0: never */
    bool looked;                /* the store was read */
    bool moving;                /* its secrets are being moved to another store: flights that use them wait */
    bool unsent, unsent_repeat; /* a mark may be in the store though what it tells of, or its repeat, was not sent */
    bool lodged;                /* its sign-in is in the memory store, until its own opens (acquire/lodging.h) */
    bool broken;                /* its configuration has a mistake now; profile is the last good one */
    bool gone;                  /* no longer configured; kept for its flights and its sign-in */
};

struct cache;
int cache_new(struct cache **ret);
struct cache *cache_free(struct cache *);
struct holder *cache_find(const struct cache *, const char *profile);
/* Adds a holder for a profile that has none, and takes a reference to the profile. */
int cache_add(struct cache *, struct profile *, struct holder **ret);
void cache_remove(struct cache *, struct holder *); /* and frees it, entries included */
size_t cache_entries(const struct cache *);
/* Grows whenever an entry has gone, or a name may mean another profile: who keeps a pointer to an entry compares it. */
uint64_t cache_epoch(const struct cache *);
void cache_new_epoch(struct cache *);
/* Every holder, in no order: a malloc'd array, for walks in which holders may go. */
int cache_holders(const struct cache *, struct holder ***ret, size_t *ret_count);

/* The entry for a request, made when there is none. Beyond LIMIT_CACHE_PER_PROFILE and LIMIT_CACHE_ENTRIES the one
 * least recently asked for that nobody waits for or watches makes room (its timer is stopped): -EBUSY when there is
 * none. */
int holder_entry(struct cache *, struct holder *, const struct request *, struct entry **ret);
void holder_drop_entry(struct cache *, struct entry *);

enum verdict {
    VERDICT_SERVE,  /* its reply as it stands */
    VERDICT_FETCH,  /* ask the authority, or join who does */
    VERDICT_REFUSE, /* *ret_failure says why */
};
/* What to do for a request now. *ret_alive: there is a token that may be served should fetching fail or take long. */
enum verdict entry_judge(const struct entry *, const struct request *, int64_t now_ms, struct failure *ret_failure,
                         bool *ret_alive);

/* Puts a new token in, taking its strings, and forgets the failure. `random`: 16 random bits for the jitter. */
int entry_put(struct entry *, struct tokens *, int64_t now_ms, int64_t wall_s, uint16_t random);
/* Notes a failure, and when the background tries again. `remember`: until when no call is tried either. */
int entry_fail(struct entry *, const struct failure *, bool remember, int64_t now_ms, int64_t wall_s, uint16_t random);
void entry_forget_failure(struct entry *);
void entry_forget_token(struct entry *);
/* Seals its token, which is as if there was none until it is opened: 0; -ENOMEM: it was forgotten. */
int entry_lock(struct entry *, struct seal *);
/* Opens it, or forgets it when it has ended. -ENOMEM: it stays sealed. */
int entry_unlock(struct entry *, struct seal_key *, int64_t now_ms);
/* The same for a refresh token that the store has not; -ENOMEM: it stays as it is. */
int holder_lock_unsaved(struct holder *, struct seal *);
int holder_unlock_unsaved(struct holder *, struct seal_key *);
void holder_forget_unsaved(struct holder *);
/* What the next sign-in is to be asked for; NULL: nothing. Without memory there is nothing: the next refusal says it
 * again. */
void holder_challenge(struct holder *, const char *claims);
/* When it is to be renewed in the background (CLOCK_BOOTTIME, ms); -1: not at all. */
int64_t entry_renew_ms(const struct entry *, int64_t now_ms);
/* Is what was asked for more than a token just fetched lives? Then *ret says so. */
bool entry_too_short(const struct entry *, const struct request *, int64_t now_ms, struct failure *ret);
