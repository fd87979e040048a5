#include "store/sealed_keys.h"

#include "cleanup.h"
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>

#define CREDENTIAL "mltoken-store-key"

static const char *const shown_kinds[] = {"the systemd credential " CREDENTIAL, "a passphrase", "a key file"};

int keys_new(struct keys *keys, bool *ret_locked)
{
    *keys = (struct keys){0};
    *ret_locked = true;
    for (size_t i = 0; i < KEYS; i++) {
        keys->keys[i].secret = sodium_malloc(SEALED_SECRET);
        if (!keys->keys[i].secret)
            return -ENOMEM;
        /* sodium_malloc() does not tell whether its mlock() worked; a second one does */
        if (sodium_mlock(keys->keys[i].secret, SEALED_SECRET) < 0)
            *ret_locked = false;
    }
    return 0;
}

void keys_forget(struct keys *keys)
{
    for (size_t i = 0; i < KEYS; i++) {
        if (keys->keys[i].secret)
            sodium_memzero(keys->keys[i].secret, SEALED_SECRET);
        keys->have[i] = false;
    }
}

void keys_free(struct keys *keys)
{
    keys_forget(keys);
    for (size_t i = 0; i < KEYS; i++)
        sodium_free(keys->keys[i].secret);
    *keys = (struct keys){0};
}

/* ---- files with keys ---- */

/* systemd gives a service its credentials as root's files, readable through an access list that shows as the group's
 * bits; a key file is the person's own. */
static const char *find_fault(enum sealed_kind kind, const struct stat *stat)
{
    bool credential = kind == SEALED_CREDENTIAL;
    if (!S_ISREG(stat->st_mode))
        return "is no regular file";
    if (stat->st_uid != geteuid() && !(credential && stat->st_uid == 0))
        return "does not belong to us";
    if (stat->st_mode & (credential ? S_IWGRP | S_IRWXO : S_IRWXG | S_IRWXO))
        return "is open to others: make it 0600";
    if (stat->st_size < LEAST_STORE_KEY)
        return "is too short: a key is 32 random bytes or more";
    return stat->st_size > LIMIT_STORE_KEY ? "is too long: a key is 4096 bytes at most" : NULL;
}

/* 0, -ENOENT, -EIO. */
static int load(struct sealed_key *key, enum sealed_kind kind, const char *path, struct trouble *trouble)
{
    struct stat stat;
    const char *what = shown_kinds[kind - 1];
    _cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return -ENOENT;
    if (fd < 0 || fstat(fd, &stat) < 0)
        return trouble_errno(trouble, errno, "read the key", path, NULL);
    const char *fault = find_fault(kind, &stat);
    if (fault)
        return trouble_set(trouble, "denied", "%s (%s) cannot be used: it %s", path, what, fault);
    size_t length = (size_t)stat.st_size;
    uint8_t *bytes = sodium_malloc(length);
    if (!bytes)
        return trouble_set(trouble, "full", "no memory for a key");
    ssize_t n = read(fd, bytes, length);
    int r = 0;
    if (n == (ssize_t)length)
        sealed_key_from_bytes(key, kind, (struct span){(const char *)bytes, length});
    else
        r = trouble_set(trouble, "denied", "%s (%s) cannot be read", path, what);
    sodium_free(bytes);
    return r;
}

int keys_load(struct keys *keys, struct trouble *trouble)
{
    char path[LIMIT_STORE_PATH + 1];
    const char *folder = getenv("CREDENTIALS_DIRECTORY"), *file = getenv("MLTOKEN_KEY_FILE");
    if (!keys->have[SEALED_CREDENTIAL - 1] && folder && folder[0] == '/') {
        int n = snprintf(path, sizeof(path), "%s/" CREDENTIAL, folder);
        if (n < 0 || (size_t)n >= sizeof(path))
            return trouble_set(trouble, "denied", "the path of the systemd credential is too long");
        int r = load(&keys->keys[SEALED_CREDENTIAL - 1], SEALED_CREDENTIAL, path, trouble);
        if (r == -EIO)
            return r;
        keys->have[SEALED_CREDENTIAL - 1] = r == 0;
    }
    keys->key_file = (struct trouble){0};
    if (!keys->have[SEALED_KEY_FILE - 1] && file && file[0]) {
        int r = file[0] == '/' ? load(&keys->keys[SEALED_KEY_FILE - 1], SEALED_KEY_FILE, file, &keys->key_file)
                               : trouble_set(&keys->key_file, "denied", "key_file must be an absolute path");
        if (r == -ENOENT)
            (void)trouble_set(&keys->key_file, "unavailable", "the key file %s does not exist", file);
        keys->have[SEALED_KEY_FILE - 1] = r == 0;
    }
    return 0;
}

/* ---- which one ---- */

int keys_unlock(struct keys *keys, const struct sealed_head *head, struct span passphrase, struct trouble *trouble)
{
    struct sealed_key *key = &keys->keys[SEALED_PASSPHRASE - 1];
    struct sealed_key tried = {.secret = sodium_malloc(SEALED_SECRET)};
    int r = tried.secret ? 0 : -ENOMEM;
    sealed_key_new_salt(&tried);
    if (head) {
        tried.passes = head->passes;
        tried.memory = head->memory;
        memcpy(tried.salt, head->salt, sizeof(tried.salt));
    }
    if (r == 0)
        r = sealed_key_from_passphrase(&tried, passphrase);
    if (r < 0) {
        (void)trouble_set(trouble, "full", "no memory to check a passphrase: Argon2id takes %llu MiB",
                          (unsigned long long)tried.memory >> 20);
    } else if (head && sodium_memcmp(tried.id, head->id, SEALED_ID) != 0) {
        r = trouble_set(trouble, "locked", "this is not the passphrase that the files were sealed with");
    } else { /* a wrong one takes nothing away */
        uint8_t *secret = key->secret;
        memcpy(secret, tried.secret, SEALED_SECRET);
        uint8_t *temporary = tried.secret;
        *key = tried;
        key->secret = secret;
        tried.secret = temporary;
        keys->have[SEALED_PASSPHRASE - 1] = true;
    }
    sodium_free(tried.secret);
    return r < 0 ? -EIO : 0;
}

const struct sealed_key *keys_active(const struct keys *keys, bool passphrase_set, struct trouble *trouble)
{
    if (keys->have[SEALED_CREDENTIAL - 1])
        return &keys->keys[SEALED_CREDENTIAL - 1];
    if (keys->have[SEALED_PASSPHRASE - 1])
        return &keys->keys[SEALED_PASSPHRASE - 1];
    if (passphrase_set)
        (void)trouble_set(trouble, "locked", "the sealed files wait for their passphrase: mltoken unlock");
    else if (keys->have[SEALED_KEY_FILE - 1])
        return &keys->keys[SEALED_KEY_FILE - 1];
    else if (keys->key_file.kind)
        (void)trouble_set(trouble, keys->key_file.kind, "%s", keys->key_file.reason);
    else
        (void)trouble_set(trouble, "unavailable",
                          "no key to seal files with: give the agent the systemd credential " CREDENTIAL
                          ", or set a passphrase with mltoken unlock --new, or name a key file with key_file in "
                          "[agent]");
    return NULL;
}

const struct sealed_key *keys_for(const struct keys *keys, const struct sealed_head *head, const char *shown,
                                  struct trouble *trouble)
{
    for (size_t i = 0; i < KEYS; i++)
        if (keys->have[i] && keys->keys[i].kind == head->kind && memcmp(keys->keys[i].id, head->id, SEALED_ID) == 0)
            return &keys->keys[i];
    const char *kind = shown_kinds[head->kind - 1];
    if (keys->have[head->kind - 1])
        (void)trouble_set(trouble, "corrupt", "%s was sealed with %s that is not the present one", shown, kind);
    else if (head->kind == SEALED_PASSPHRASE)
        (void)trouble_set(trouble, "locked", "%s was sealed with a passphrase: mltoken unlock", shown);
    else if (head->kind == SEALED_KEY_FILE && keys->key_file.kind)
        (void)trouble_set(trouble, keys->key_file.kind, "%s", keys->key_file.reason);
    else
        (void)trouble_set(trouble, "unavailable", "%s was sealed with %s, which is not here", shown, kind);
    return NULL;
}
