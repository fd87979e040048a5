/* The keeper: what a profile's secrets look like in its store. A sign-in (refresh token, scope, identity, marks) is one
 * secret, `refresh_token`, in a small JSON object; the others (client_secret, ...) are as they are. Each is bound to
 * what may receive it (binding.h): when that changes, the store does not give the secret out.
 *
 * One keeper belongs to one flight: it knows the version that it read, and saves only over that one, so that two agents
 * on one store never replace a rotated token with an older one. A rotated token that the store cannot take is held in
 * the holder, and saved first the next time. */
#pragma once

#include "acquire/binding.h"
#include "acquire/conductor.h"

#define SECRET_REFRESH_TOKEN "refresh_token"

/* *ret: a new reference. -ENOMEM, -EMSGSIZE. */
int credential_write(const struct credential *, struct secret **ret);
int credential_read(const struct secret *, struct credential *ret); /* -EBADMSG, -ENOMEM */

/* error: 0; of a load STORE_MISSING (nobody signed in) and STORE_BOUND; of a save -EAGAIN: nothing was saved, a newer
 * sign-in is there, and `held` is it now; else *why is set. */
typedef void keeper_fn(void *arg, int error, const struct failure *why);

struct keeper {
    struct conductor *conductor;
    struct holder *holder;
    const struct profile *profile; /* borrowed; its settings are what counts */
    bool quiet;                    /* nobody waits: no person is asked to unlock the store */
    binding_text binding;
    struct credential held; /* as loaded; empty when nothing was */
    bool has_held;
    uint64_t version; /* of it, or of what is there; 0: nothing; STORE_ANY: not known */
    struct credential saving;
    struct secret *value; /* of it */
    bool may_lodge;       /* where the store is locked, a save goes to memory (lodging.h) */
    bool lodged;          /* what it is at is in memory */
    bool marked;          /* the store has the mark of a renewal of ours: what comes of it is still to be kept */
    bool any, again;      /* a save: whatever is there; it was tried once already */
    struct store_call *call;
    keeper_fn *fn;
    void *arg;
};

/* 0: fn will be called; -ENOMEM. */
int keeper_load(struct keeper *, keeper_fn *, void *arg);
/* `any`: a new sign-in, which replaces whatever is there. The credential is copied. */
int keeper_save(struct keeper *, const struct credential *, bool any, keeper_fn *, void *arg);
/* The sign-in alone; where the store cannot read what it has, all that it has for the profile. */
int keeper_drop(struct keeper *, keeper_fn *, void *arg);
/* Whether another agent is renewing what is held just now, and will keep the next one soon; its host may have died, so
 * there is an end to that (LIMIT_RENEWAL_MS). An agent that was killed at it is told of in the log. */
bool keeper_other_renews(struct keeper *);
/* Whether the store holds a version other than `version`: 0 (then `held` is it), or STORE_MISSING. */
int keeper_newer(struct keeper *, keeper_fn *, void *arg);
/* Moves a sign-in that lodges in memory to its own store: 0; -EPERM: somebody else is signed in there; STORE_MISSING:
 * there is none in memory; or why not now. */
int keeper_settle(struct keeper *, keeper_fn *, void *arg);
void keeper_end(struct keeper *); /* cancels, and wipes */

/* Takes note of who signed in, and that the store was asked. NULL: nobody. -ENOMEM: nothing is known now, as before the
 * store was asked. */
int keeper_note_sign_in(struct holder *, const struct credential *);
/* StoreUnavailable in the store's own words. */
void keeper_failure(struct failure *, const char *what, const struct store_result *);
