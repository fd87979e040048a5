#include "store/sealed_vault.h"

#include "store/sealed_session.h"
#include <errno.h>
#include <sodium.h>

void vault_item_clear(struct vault_item *item)
{
    sodium_free(item->memory);
    *item = (struct vault_item){0};
}

/* The file's memory goes over to `ret`. */
static void hand_over(struct session_file *file, const struct sealed_item *item, struct vault_item *ret)
{
    *ret = (struct vault_item){.version = item->version, .value = item->value, .memory = file->plain};
    file->plain = NULL;
}

enum vault_result vault_get(struct vault *vault, const char *profile, const char *name, const char *binding,
                            struct vault_item *ret, struct trouble *trouble)
{
    struct session session;
    struct session_file file;
    enum vault_result result = VAULT_MISSING;
    int r = session_open(&session, vault, false, trouble);
    if (r < 0)
        return r == -ENOENT ? VAULT_MISSING : VAULT_FAIL;
    r = session_load(&session, profile, &file);
    const struct sealed_item *item = r == 0 ? sealed_items_find(&file.items, name) : NULL;
    if (r < 0 && r != -ENOENT) {
        result = VAULT_FAIL;
    } else if (item && strcmp(item->binding, binding) != 0) {
        result = VAULT_BOUND;
    } else if (item) {
        hand_over(&file, item, ret);
        result = VAULT_OK;
    }
    session_file_clear(&file);
    session_close(&session);
    return result;
}

/* VAULT_OK: there is what was expected. */
static enum vault_result compare(struct session_file *file, const struct sealed_item *item, const char *binding,
                                 const uint64_t *expect, struct vault_item *ret)
{
    if (!expect || *expect == (item ? item->version : 0))
        return VAULT_OK;
    if (item && strcmp(item->binding, binding) != 0) {
        ret->version = item->version;
        return VAULT_BOUND;
    }
    if (item)
        hand_over(file, item, ret);
    return VAULT_CONFLICT;
}

static enum vault_result put(struct session *session, const char *profile, const struct sealed_item *wanted,
                             const uint64_t *expect, struct vault_item *ret)
{
    struct session_file file;
    int r = session_load(session, profile, &file);
    if (r < 0 && r != -ENOENT)
        return VAULT_FAIL; /* nothing is written over what could not be read */
    struct sealed_item *item = sealed_items_find(&file.items, wanted->name);
    enum vault_result result = compare(&file, item, wanted->binding, expect, ret);
    if (result == VAULT_OK && !item && file.items.count == LIMIT_STORE_SECRETS) {
        (void)trouble_set(session->trouble, "full", "a profile keeps %d secrets at most", LIMIT_STORE_SECRETS);
        result = VAULT_FAIL;
    } else if (result == VAULT_OK) {
        if (!item)
            item = &file.items.items[file.items.count++];
        *item = *wanted;
        item->version = session->state.sequence + 1;
        ret->version = item->version;
        if (session_save(session, profile, &file.items) < 0)
            result = VAULT_FAIL;
    }
    session_file_clear(&file);
    return result;
}

enum vault_result vault_put(struct vault *vault, const char *profile, const char *name, const char *binding,
                            const uint64_t *expect, struct span value, struct vault_item *ret, struct trouble *trouble)
{
    struct session session;
    *ret = (struct vault_item){0};
    if (session_open(&session, vault, true, trouble) < 0)
        return VAULT_FAIL;
    const struct sealed_item wanted = {.name = name, .binding = binding, .value = value};
    enum vault_result result = put(&session, profile, &wanted, expect, ret);
    session_close(&session);
    return result;
}

static int drop_one(struct session *session, const char *profile, const char *name)
{
    struct session_file file;
    int r = session_load(session, profile, &file);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    struct sealed_item *item = sealed_items_find(&file.items, name);
    if (item) {
        *item = file.items.items[--file.items.count];
        r = file.items.count > 0 ? session_save(session, profile, &file.items) : session_remove(session, profile);
    }
    session_file_clear(&file);
    return r;
}

enum vault_result vault_drop(struct vault *vault, const char *profile, const char *name, struct trouble *trouble)
{
    struct session session;
    int r = session_open(&session, vault, false, trouble);
    if (r < 0) /* no folder: nothing to drop, and nothing is made */
        return r == -ENOENT ? VAULT_OK : VAULT_FAIL;
    session_close(&session);
    if (session_open(&session, vault, true, trouble) < 0)
        return VAULT_FAIL;
    r = name ? drop_one(&session, profile, name) : session_remove(&session, profile);
    session_close(&session);
    return r < 0 ? VAULT_FAIL : VAULT_OK;
}

/* ---- list ---- */

static bool tell(struct session *session, const char *profile, vault_list_fn *fn, void *arg, int *ret_error)
{
    static const struct sealed_item unknown = {.name = "?", .binding = "?"};
    struct session_file file;
    bool more = true;
    int r = session_load(session, profile, &file);
    if (r == 0 && file.items.count > 0)
        more = fn(arg, profile, file.items.items, file.items.count);
    else if (r != 0 && r != -ENOENT)
        more = fn(arg, profile, &unknown, 1);
    session_file_clear(&file);
    *ret_error = r;
    return more;
}

static enum vault_result tell_all(struct session *session, const char *after, vault_list_fn *fn, void *arg)
{
    char **profiles;
    size_t count;
    struct trouble *own = session->trouble;
    if (folder_list(&session->folder, ".sealed", &profiles, &count, own) < 0)
        return VAULT_FAIL;
    bool more = true;
    for (size_t i = 0; i < count && more; i++) {
        struct trouble trouble = {0}; /* one file's is not all files' */
        int error;
        session->trouble = &trouble;
        if (!after || strcmp(profiles[i], after) > 0)
            more = tell(session, profiles[i], fn, arg, &error);
    }
    session->trouble = own;
    folder_list_free(profiles, count);
    return VAULT_OK;
}

enum vault_result vault_list(struct vault *vault, const char *profile, const char *after, vault_list_fn *fn, void *arg,
                             struct trouble *trouble)
{
    struct session session;
    enum vault_result result = VAULT_OK;
    int r = session_open(&session, vault, false, trouble), error = 0;
    if (r < 0)
        return r == -ENOENT ? VAULT_OK : VAULT_FAIL;
    if (!profile)
        result = tell_all(&session, after, fn, arg);
    else if (!after || strcmp(profile, after) > 0)
        (void)tell(&session, profile, fn, arg, &error);
    if (error < 0 && error != -ENOENT)
        result = VAULT_FAIL;
    session_close(&session);
    return result;
}

/* ---- the passphrase ---- */

/* The first passphrase of a folder; what was sealed with a key file before stays readable with that. */
static enum vault_result set_passphrase(struct vault *vault, struct span passphrase, struct trouble *trouble)
{
    struct session session;
    if (keys_unlock(&vault->keys, NULL, passphrase, trouble) < 0)
        return VAULT_FAIL;
    int r = session_open(&session, vault, true, trouble);
    if (r == 0) {
        r = session_reseal(&session);
        session_close(&session);
    }
    if (r < 0)
        keys_forget(&vault->keys);
    return r < 0 ? VAULT_FAIL : VAULT_OK;
}

enum vault_result vault_unlock(struct vault *vault, bool fresh, struct span passphrase, struct trouble *trouble)
{
    struct folder folder = FOLDER;
    struct sealed_head head;
    int r = keys_load(&vault->keys, trouble);
    if (r == 0)
        r = folder_find(&folder, trouble);
    if (r == 0)
        r = folder_open(&folder, trouble);
    if (r == 0)
        r = session_find_passphrase(&folder, &head, trouble);
    folder_close(&folder);
    if (r == -EIO)
        return VAULT_FAIL;
    if (r == 0 && fresh)
        (void)trouble_set(trouble, "denied", "a passphrase is set already");
    else if (r == 0)
        return keys_unlock(&vault->keys, &head, passphrase, trouble) < 0 ? VAULT_FAIL : VAULT_OK;
    else if (vault->keys.have[SEALED_CREDENTIAL - 1])
        (void)trouble_set(trouble, "denied", "a systemd credential opens the sealed files: there is no passphrase");
    else if (fresh)
        return set_passphrase(vault, passphrase, trouble);
    else if (vault->keys.have[SEALED_KEY_FILE - 1])
        (void)trouble_set(trouble, "denied",
                          "a key file opens the sealed files; mltoken unlock --new sets a passphrase in its place");
    else
        (void)trouble_set(trouble, "unavailable",
                          "no passphrase has been set for the sealed files: mltoken unlock --new sets one");
    return VAULT_FAIL;
}
