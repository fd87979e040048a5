/* The secrets of all profiles in one folder: PROFILE.sealed each, beside `state` and `lock`.
 *
 * `state` is sealed too and names, by its tag, the one file that each profile has at present. So a file that was kept
 * aside and is put back later, a used refresh token inside, is found out and not used, also after its profile was
 * dropped or the file of another profile has changed. What that cannot stop: somebody who puts back the whole folder,
 * state included, as it once was. While this program runs it sees even that, by the sequence number; after a restart
 * nothing here can know. Removing a file is never found out: the secret is missing.
 *
 * A change, under the lock, each step durable before the next: (1) new~ is the profile's new file, state~ the state
 * that names it; (2) new~ gets the profile's name; (3) state~ becomes state. Whoever comes later and finds a state~
 * looks whether step 2 happened: then step 3 is done, else state~ is thrown away. To drop a profile, its file goes
 * first and the state after it, so that a full disk does not keep what somebody wants forgotten. */
#pragma once

#include "store/sealed_keys.h"

struct vault {
    struct keys keys;
    uint64_t seen; /* the highest sequence number */
};

struct vault_item {
    uint64_t version;
    struct span value;
    char *memory; /* sodium_malloc'd, holds the value */
};
void vault_item_clear(struct vault_item *);

enum vault_result { VAULT_FAIL = -1, VAULT_OK, VAULT_MISSING, VAULT_BOUND, VAULT_CONFLICT };

enum vault_result vault_get(struct vault *, const char *profile, const char *name, const char *binding,
                            struct vault_item *ret, struct trouble *);
/* expect: NULL for anything. VAULT_CONFLICT: ret is what is there. */
enum vault_result vault_put(struct vault *, const char *profile, const char *name, const char *binding,
                            const uint64_t *expect, struct span value, struct vault_item *ret, struct trouble *);
enum vault_result vault_drop(struct vault *, const char *profile, const char *name, struct trouble *);
/* Calls fn for each secret of a profile, or of all after `after`, until fn returns false. What cannot be read is told
 * as name and binding "?", unless it is the one that was asked for. */
typedef bool vault_list_fn(void *arg, const char *profile, const struct sealed_item *, size_t count);
enum vault_result vault_list(struct vault *, const char *profile, const char *after, vault_list_fn *, void *arg,
                             struct trouble *);
enum vault_result vault_unlock(struct vault *, bool fresh, struct span passphrase, struct trouble *);
