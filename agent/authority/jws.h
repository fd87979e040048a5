/* JWS compact serialization (RFC 7515): bytes in, verified payload out. No clock, no I/O, no state.
 * The algorithm is chosen by our side: RS256, PS256 or ES256, and it must be one that the key is for. Everything else,
 * "none" and HS* first of all, is refused, and so is every header that brings a key, says where to fetch one, or asks
 * for semantics that are not here (crit, b64). */
#pragma once

#include "json.h"
#include "jwk.h"
#include "span.h"

enum jws_result {
    JWS_OK = 0,
    JWS_MALFORMED, /* not three parts of canonical base64url, or the header is not a sane JSON object */
    JWS_ALGORITHM, /* "alg" is refused, or is not one that the key with this id is for */
    JWS_HEADER,    /* crit, b64, jku, x5u, jwk or x5c is there */
    JWS_NO_KEY, /* no key in the set has this id: a newer set may have it, fetch at most each LIMIT_JWKS_REFETCH_MS */
    JWS_BAD_SIGNATURE, /* of every key that may have made it; the same refetch helps where ids are absent or used again
                        */
    JWS_NO_MEMORY,
};

/* A verified token. The header and payload belong to it, the key to the set. */
struct jws {
    json_object *header;
    char *payload; /* any bytes, followed by a NUL that is not counted */
    size_t payload_length;
    const struct jwk *key; /* the one that verified it */
};

/* *ret is written on JWS_OK only; end it with jws_done(). */
enum jws_result jws_verify(struct span token, const struct jwks *, struct jws *ret);
void jws_done(struct jws *);

/* The payload as a JSON object without repeated members (RFC 7519 section 4), which the caller owns; or JWS_MALFORMED.
 */
enum jws_result jws_claims(const struct jws *, json_object **ret);
/* The same of a token that nobody has verified, of whatever algorithm: for showing, never for deciding. */
enum jws_result jws_claims_unverified(struct span token, json_object **ret);

/* What a result means, as the end of a sentence: "its signature is wrong". */
const char *jws_result_text(enum jws_result);
