/* Metadata documents and key sets, fetched once for all who need them: 200 profiles of one authority fetch one
 * document. Kept by (address, trust domain) for LIMIT_METADATA_AGE_MS, kept longer while fetching a newer one fails.
 * Not found is remembered briefly, other failures not at all (the asker backs off). Waiters are told from the loop, in
 * order; a profile that was passed must live until then, or until documents_cancel(). */
#pragma once

#include "authority/endpoint.h"
#include "authority/http.h"
#include "authority/metadata.h"

struct documents;
struct documents_wait;
struct jwks;

/* error 0, or a negative errno with *why. What is passed belongs to the cache and lives during the call. */
typedef void documents_metadata_fn(void *arg, int error, const struct metadata *, const struct failure *why);
typedef void documents_jwks_fn(void *arg, int error, const struct jwks *, const struct failure *why);

int documents_new(struct loop *, struct http *, struct documents **ret);
struct documents *documents_free(struct documents *);

/* The merged metadata of a profile (metadata_merge). A profile that names its token endpoint, its keys and the `needed`
 * endpoint is answered without a request. */
int documents_metadata(struct documents *, const struct profile *, enum endpoint needed, const struct trust *,
                       documents_metadata_fn *, void *arg, struct documents_wait **ret);
/* A key set. With `newer` (an unknown key id was met) it is fetched again, at most once per LIMIT_JWKS_REFETCH_MS. */
int documents_jwks(struct documents *, const struct profile *, const char *uri, const struct trust *, bool newer,
                   documents_jwks_fn *, void *arg, struct documents_wait **ret);
void documents_cancel(struct documents_wait *); /* NULL is allowed */
void documents_forget(struct documents *);      /* the configuration changed */
