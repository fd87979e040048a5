/* Where sign-ins are kept between uses. A call returns at once and its result comes from the loop, so that a store that
 * takes its time (a keyring, a file) delays nobody else. Today there is one: memory, which forgets with the agent. */
#pragma once

#include "loop/loop.h"
#include "token/tokens.h"

struct store;
struct store_call;

/* error: 0, -ENOENT (load: nothing kept), -ENOMEM. The credential is the store's and lives during the call; NULL unless
 * a load succeeded. */
typedef void store_fn(void *arg, int error, const struct credential *);

int store_memory_new(struct loop *, struct store **ret);
struct store *store_free(struct store *); /* always NULL */
const char *store_name(const struct store *);

int store_load(struct store *, const char *profile, store_fn *, void *arg, struct store_call **ret);
/* Keeps a copy; once fn was told 0 it is durable as far as this store is. */
int store_save(struct store *, const char *profile, const struct credential *, store_fn *, void *arg,
               struct store_call **ret);
int store_forget(struct store *, const char *profile, store_fn *, void *arg, struct store_call **ret);
/* fn will not be called; a save or forget takes place all the same. NULL is allowed. */
void store_cancel(struct store_call *);
