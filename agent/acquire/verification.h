/* Checks a JWT against its authority's keys: metadata for the issuer, the key set, and once more a fresh key set when
 * the key is unknown or the signature wrong. For id_tokens of sign-ins and for `mltoken verify`. */
#pragma once

#include "acquire/conductor.h"
#include "grant/grant.h"

struct verification;
struct json_object;

/* Who signed in, and the claims that say so, or *why. */
typedef void verified_fn(void *arg, const struct identity *, struct json_object *claims, const struct failure *why);
int verification_start(struct conductor *, const struct profile *, const struct trust *, const struct verify_step *,
                       verified_fn *, void *arg, struct verification **ret);

/* A bearer token for a service: the claims are the callee's to borrow during the call. The profile's CA file is read
 * first, and by which user flow its sign-in was: the flow has keys, and often an issuer, of its own. */
typedef void claims_fn(void *arg, struct json_object *claims, const struct failure *why);
int verification_start_bearer(struct conductor *, struct profile *, struct span jwt, const char *audience, claims_fn *,
                              void *arg, struct verification **ret);
/* Of what verification_start_bearer() returned. -EACCES: the agent is locked, and which user flow it was is in the
 * store alone. */
void verification_failure(int error, struct failure *ret);
void verification_cancel(struct verification *); /* NULL is allowed */
