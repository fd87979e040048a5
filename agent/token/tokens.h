/* What an authority gave, and what must outlive it. */
#pragma once

#include "limits.h"
#include "secret.h"
#include <stdbool.h>
#include <stdint.h>

/* Who signed in, from a verified id_token. Empty strings when the authority sent none. */
struct identity {
    char issuer[LIMIT_URL + 1];
    char subject[256];
    char account[256]; /* the name a person knows: preferred_username, upn, email, ..., else the subject */
};

/* One answer of a token endpoint. Owned; tokens_clear() wipes it. */
struct tokens {
    char *access_token;           /* printable ASCII without spaces */
    char *type;                   /* "Bearer" */
    char *id_token;               /* NULL when none came */
    char *scope;                  /* as granted; NULL: as asked for */
    char *account;                /* whose it is, where no sign-in says it; NULL */
    const char *slot;             /* of two, the one that it stands in; borrowed for good. NULL: there are none */
    struct secret *refresh_token; /* NULL when no new one came */
    int64_t expires_in_s;         /* life from now; -1 unknown */
    bool endless;                 /* it has no end that anybody knows of; expires_in_s says how long it may be kept */
    int64_t refresh_in_s;         /* the authority's advice; -1 none */
    int64_t refresh_life_s;       /* of the refresh token, from now; -1: not said, or it does not end */
};
void tokens_clear(struct tokens *);

/* A sign-in: what the store keeps for a profile. Refers to its secret (secret_ref). */
struct credential {
    struct secret *refresh_token;
    char *scope; /* granted with it, space-separated; NULL unknown */
    struct identity identity;
    char policy[LIMIT_CODE + 1]; /* B2C's user flow that a person chose for it; empty: the profile's own */
    int64_t renew_by;            /* epoch seconds: when the refresh token ends unless it is used; 0: not known */
    int64_t ends_at;             /* ... and when no renewal helps any more; 0: not known */
    /* A refresh with it may have reached the authority, its answer is lost. Rotation with reuse detection revokes the
     * family when a used-up token comes again, so the next use is the one retry ... */
    bool unanswered;
    bool uncertain; /* ... and that has been sent, or was about to be: it is not used again */
    bool steady;    /* the authority gave no other one at the last renewal: using it twice does no harm */
    /* A refresh with it is under way, or was when its agent ended: then it counts as unanswered. Nobody else sends it
     * meanwhile. The store knows by `sender` which agent it is (acquire/owner.h). */
    bool sending;
    char sender[LIMIT_OWNER + 1];
};
void credential_clear(struct credential *);
int credential_copy(const struct credential *from, struct credential *ret); /* -ENOMEM */
