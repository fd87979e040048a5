/* An authority's public keys: a JWK Set (RFC 7517) as it was fetched from its jwks_uri, reduced to what may verify a
 * signature here: RSA of 2048 to 8192 bits and EC P-256. A key of any other kind, for another use, for another
 * algorithm or that is not well formed is skipped, because one odd key must not disable the others. Certificates (x5c),
 * addresses (x5u) and private members are never looked at. A set owns its keys and is not changed once parsed: it may
 * be shared. */
#pragma once

#include "span.h"

struct evp_pkey_st; /* OpenSSL's EVP_PKEY; only jwk.c and jws.c know it */

enum jwk_algorithm { JWK_RS256, JWK_PS256, JWK_ES256, JWK_ALGORITHMS };

struct jwk {
    unsigned
        algorithms; /* a bit (1 << enum jwk_algorithm) for each that this key may verify: of its type, and its "alg" */
    char *id;       /* "kid", or NULL; no control characters */
    char *issuer;   /* "issuer" as Entra ID writes it into its keys, or NULL */
    size_t size;    /* bytes of a signature as JWS writes it */
    struct evp_pkey_st *key; /* a public key, checked to be on its curve */
};

struct jwks;

/* 0, -EBADMSG when it is not a JWK Set at all, -E2BIG for more than LIMIT_JWKS_KEYS entries, -ENOMEM.
 * A set without one usable key is no error: jwks_count() tells. */
int jwks_parse(struct span document, struct jwks **ret);
struct jwks *jwks_free(struct jwks *);
size_t jwks_count(const struct jwks *);

/* The next key after `previous` (NULL: the first) that may have made a signature of this algorithm. With a key id, only
 * keys with exactly this id; without one (data NULL), any. NULL at the end. */
const struct jwk *jwks_next(const struct jwks *, enum jwk_algorithm, struct span id, const struct jwk *previous);
/* Whether any usable key has this id, whatever its algorithm. */
bool jwks_has_id(const struct jwks *, struct span id);
