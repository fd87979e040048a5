/* Which store a profile uses. A name is a program, mltoken-store-NAME, or `memory`. Without a name it is the keyring
 * where a Secret Service answers, else sealed files where there is a key for them, else memory: decided by the first
 * request, said once in the log, and kept until the agent ends. Owns every store; none is begun before it is asked. */
#pragma once

#include "buffer.h"
#include "store/store.h"

struct stores;

struct stores_options {
    bool memory_only;      /* a private agent: whatever the configuration says */
    const char *directory; /* where programs are; NULL: beside the agent's own, else where they were installed */
};
int stores_new(struct loop *, const struct stores_options *, struct stores **ret);
struct stores *stores_free(struct stores *);
/* [agent] key_file; a program that runs with another one is started anew for its next request: 0 or -ENOMEM. NULL:
 * none.
 */
int stores_set_key_file(struct stores *, const char *path);
/* The store of that name; NULL: by what is there. The same one each time: 0 or -ENOMEM. */
int stores_find(struct stores *, const char *name, struct store **ret);
/* The name of the store that it is now: "memory" where that was chosen. */
const char *stores_name(struct stores *, const char *name);
/* store_open() of the sealed files: 0, -ENOTSUP (everything is in memory here), -ENOMEM. */
int stores_open(struct stores *, struct secret *passphrase, bool fresh, store_fn *, void *arg, struct store_call **ret);
/* That went well: who named no store, and has nothing in memory yet, is served by the files from now on. */
void stores_opened(struct stores *);
/* store_lock() of every store, also of those that are begun meanwhile; fn (not NULL) once all have told, never from
 * within. -ENOMEM: not everything is sealed. Asked again before that, the last fn counts. */
typedef void stores_fn(void *arg);
int stores_lock(struct stores *, struct seal *, stores_fn *, void *arg);
/* Has their programs forget anew what they had to read meanwhile; nobody is told. */
void stores_lock_again(struct stores *);
int stores_unlock(struct stores *, struct seal_key *);
/* For `mltoken status`: the store of that name, why it is that one, and what any store waits for. */
void stores_describe(struct stores *, const char *name, struct buffer *to);
/* Where its program is, or would be. */
#define STORES_PATH 4096
void stores_find_program(const struct stores *, const char *name, char path[static STORES_PATH]);
/* Whether a configuration may name it: [a-z][a-z0-9-]*, at most LIMIT_STORE_NAME. */
bool stores_name_valid(const char *name);
