/* The secrets that a profile's configuration points to: file:, env:, credential:, command:. Read when they are used. */
#pragma once

#include "store/store.h"
#include "token/failure.h"
#include "token/profile.h"
#include "worker.h"

enum { SECRET_SOURCES = 5 }; /* that a profile may have */

/* The key of each: "client_secret", ... */
const char *secret_source_name(size_t index);
/* The source of a profile's secret by its key, or NULL when there is no such key. */
const struct source *secret_source_of(const struct profile *, const char *name);
/* "file", "env", ...; "" for none and `stored`. */
const char *secret_source_kind(const struct source *);
/* Starts reading it. For env: there is nothing to wait for: *ret stays NULL and *ret_value is set. 0, or -ENOENT with
 * *why set (SecretMissing, naming the secret, where it was looked for and what to do). */
int secret_source_read(struct worker *, const char *name, const struct source *, worker_fn *, void *arg,
                       struct worker_job **ret, struct span *ret_value, struct failure *why);
/* Of `stored`: what the store answered. *ret_value lives as long as the result. */
int secret_source_stored(const struct profile *, const char *name, const struct store_result *, struct span *ret_value,
                         struct failure *why);
/* Turns what came into the value (one trailing newline is not part of it), or sets *why. */
int secret_source_result(const char *name, const struct source *, const struct worker_result *, struct span *ret_value,
                         struct failure *why);
