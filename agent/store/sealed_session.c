#include "store/sealed_session.h"

#include "cleanup.h"
#include <errno.h>
#include <sodium.h>

#define SUFFIX     ".sealed"
#define STATE      "state"
#define STATE_NEXT "state~" /* no profile's file has a ~ in its name */
#define NEW        "new~"

enum { NAME = LIMIT_PROFILE_NAME + sizeof(SUFFIX), SHOWN = LIMIT_STORE_PATH + NAME + 2 };

static void file_name(const char *profile, char ret[NAME])
{
    (void)snprintf(ret, NAME, "%s" SUFFIX, profile);
}

static int read_head(const struct folder *folder, const char *name, struct span bytes, struct sealed_head *ret,
                     struct trouble *trouble)
{
    unsigned format;
    int r = sealed_head_read(bytes, ret, &format);
    if (r == -EPROTONOSUPPORT)
        return trouble_set(trouble, "corrupt",
                           "%s/%s has format %u, which this version of mltoken cannot read: it was left alone",
                           folder->path, name, format);
    if (r < 0)
        return trouble_set(trouble, "corrupt", "%s/%s is damaged, or no sealed file: it was left alone", folder->path,
                           name);
    return 0;
}

/* Reads and opens a file. 0, -ENOENT, -EIO; -EBADMSG: its head may be right, the rest is not (trouble is set too). */
static int open_file(struct session *session, const char *name, enum sealed_content content, const char *profile,
                     struct sealed_head *ret_head, char **ret, size_t *ret_length, uint8_t ret_tag[SEALED_TAG])
{
    _cleanup_free_ char *bytes = NULL;
    char shown[SHOWN];
    size_t length, maximum = content == SEALED_STATE ? LIMIT_SEALED_STATE : LIMIT_SEALED_FILE;
    int r = folder_read(&session->folder, name, maximum, &bytes, &length, session->trouble);
    if (r < 0)
        return r;
    const struct span span = {bytes, length};
    if (read_head(&session->folder, name, span, ret_head, session->trouble) < 0)
        return -EBADMSG;
    (void)snprintf(shown, sizeof(shown), "%s/%s", session->folder.path, name);
    const struct sealed_key *key = keys_for(&session->vault->keys, ret_head, shown, session->trouble);
    if (!key)
        return -EIO;
    r = sealed_open(key, content, profile, span, ret, ret_length);
    if (r == -ENOMEM)
        return trouble_set(session->trouble, "full", "no memory to open %s", shown);
    if (r < 0) {
        (void)trouble_set(session->trouble, "corrupt", "%s is damaged or not this profile's: it was left alone", shown);
        return -EBADMSG;
    }
    memcpy(ret_tag, sealed_tag(span), SEALED_TAG);
    return 0;
}

/* ---- the state ---- */

/* 0, -ENOENT, -EIO, -EBADMSG (trouble is set). */
static int load_state(struct session *session, const char *name, struct sealed_state *ret, struct sealed_head *ret_head)
{
    uint8_t tag[SEALED_TAG];
    char *plain;
    size_t length;
    int r = open_file(session, name, SEALED_STATE, "", ret_head, &plain, &length, tag);
    if (r < 0)
        return r;
    r = sealed_state_read((struct span){plain, length}, ret);
    sodium_free(plain);
    if (r < 0)
        (void)trouble_set(session->trouble, r == -ENOMEM ? "full" : "corrupt", "%s/%s cannot be read",
                          session->folder.path, name);
    return r == -ENOMEM ? -EIO : r;
}

/* Did the change that `next` tells of reach the profile's file? 1, 0, -EIO. */
static int has_happened(struct session *session, const struct sealed_state *next)
{
    _cleanup_free_ char *bytes = NULL;
    char name[NAME];
    uint8_t hashed[SEALED_ID];
    size_t length = 0;
    file_name(next->profile, name);
    sealed_state_name(next->profile, hashed);
    const struct sealed_entry *entry = sealed_state_find(next, hashed);
    int r = folder_read(&session->folder, name, LIMIT_SEALED_FILE, &bytes, &length, session->trouble);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    return entry && length >= SEALED_HEAD + SEALED_TAG &&
           memcmp(sealed_tag((struct span){bytes, length}), entry->tag, SEALED_TAG) == 0;
}

/* A writer was killed, or is on another host that lost its power: finishes or forgets what it was at. */
static int recover(struct session *session, bool writable)
{
    struct sealed_state next = {0};
    struct sealed_head head;
    struct trouble trouble = {0}, *own = session->trouble;
    session->trouble = &trouble; /* a half-written state~ is no trouble */
    int r = load_state(session, STATE_NEXT, &next, &head);
    session->trouble = own;
    if (r == -ENOENT)
        return 0;
    if (r == -EIO)
        return trouble_set(own, trouble.kind, "%s", trouble.reason);
    int happened = r == 0 && next.sequence == session->state.sequence + 1 ? has_happened(session, &next) : 0;
    if (happened > 0) {
        sealed_state_clear(&session->state);
        session->state = next;
        session->has_state = true;
        session->passphrase_set = head.kind == SEALED_PASSPHRASE;
    } else {
        sealed_state_clear(&next);
    }
    if (happened < 0 || !writable)
        return happened < 0 ? -EIO : 0;
    if (!happened)
        return folder_remove(&session->folder, STATE_NEXT, own);
    r = folder_rename(&session->folder, STATE_NEXT, STATE, own);
    return r < 0 ? r : folder_sync(&session->folder, own);
}

/* Without a state nobody knows which files are the newest. */
static int check_state(struct session *session, bool writable)
{
    char **names;
    size_t count;
    if (session->has_state && session->state.sequence < session->vault->seen)
        return trouble_set(
            session->trouble, "corrupt",
            "%s is older than what this agent has seen there: it was put back from a copy, and its tokens "
            "may have been used; if that is wanted, restart the agent",
            session->folder.path);
    if (!session->has_state && session->state.sequence < session->vault->seen)
        session->state.sequence = session->vault->seen;
    session->vault->seen = session->state.sequence;
    if (session->has_state || !writable)
        return 0;
    int r = folder_list(&session->folder, SUFFIX, &names, &count, session->trouble);
    if (r < 0)
        return r;
    folder_list_free(names, count);
    if (count > 0)
        return trouble_set(session->trouble, "corrupt",
                           "%s/" STATE " is missing, but sealed files are there: put it back, or move them away",
                           session->folder.path);
    return 0;
}

static int find_state(struct session *session, bool writable)
{
    struct sealed_head head;
    int r = load_state(session, STATE, &session->state, &head);
    if (r < 0 && r != -ENOENT)
        return -EIO;
    session->has_state = r == 0;
    session->passphrase_set = session->has_state && head.kind == SEALED_PASSPHRASE;
    r = recover(session, writable);
    return r < 0 ? r : check_state(session, writable);
}

static int check_keys(struct session *session)
{
    struct sealed_head head;
    if (keys_active(&session->vault->keys, false, &(struct trouble){0}))
        return 0;
    int r = session_find_passphrase(&session->folder, &head, session->trouble);
    if (r != -EIO)
        (void)keys_active(&session->vault->keys, r == 0, session->trouble);
    return -EIO;
}

int session_open(struct session *session, struct vault *vault, bool writable, struct trouble *trouble)
{
    *session = (struct session){.vault = vault, .trouble = trouble, .folder = FOLDER};
    int r = keys_load(&vault->keys, trouble);
    if (r == 0)
        r = folder_find(&session->folder, trouble);
    if (r == 0)
        r = folder_open(&session->folder, trouble);
    if (r == -ENOENT) {
        session->active = keys_active(&vault->keys, false, trouble); /* without a key nothing is made */
        if (!session->active)
            return -EIO;
        if (!writable)
            return -ENOENT;
        r = folder_make(&session->folder, trouble);
    }
    if (r == 0) /* who has no key at all leaves not even a lock behind */
        r = check_keys(session);
    if (r == 0)
        r = folder_lock(&session->folder, writable, trouble);
    if (r == 0)
        r = find_state(session, writable);
    if (r == 0)
        session->active = keys_active(&vault->keys, session->passphrase_set, trouble);
    if (r < 0 || !session->active) {
        session_close(session);
        return -EIO;
    }
    return 0;
}

void session_close(struct session *session)
{
    sealed_state_clear(&session->state);
    folder_close(&session->folder);
}

/* ---- a profile's file ---- */

int session_load(struct session *session, const char *profile, struct session_file *ret)
{
    struct sealed_head head;
    uint8_t tag[SEALED_TAG], hashed[SEALED_ID];
    char name[NAME];
    size_t length;
    *ret = (struct session_file){0};
    file_name(profile, name);
    int r = open_file(session, name, SEALED_PROFILE, profile, &head, &ret->plain, &length, tag);
    if (r == -EBADMSG)
        trouble_add(session->trouble, "; put it back, or mltoken logout %s removes it", profile);
    if (r < 0)
        return r == -ENOENT ? r : -EIO;
    sealed_state_name(profile, hashed);
    const struct sealed_entry *entry = sealed_state_find(&session->state, hashed);
    if (!session->has_state)
        r = trouble_set(session->trouble, "corrupt",
                        "%s/" STATE " is missing: whether %s is the newest cannot be known", session->folder.path,
                        name);
    else if (!entry || memcmp(entry->tag, tag, SEALED_TAG) != 0)
        r = trouble_set(
            session->trouble, "corrupt",
            "%s/%s is not the newest: it was put back from a copy, and its tokens may have been used; mltoken "
            "logout %s, then sign in again",
            session->folder.path, name, profile);
    else if (sealed_items_read((struct span){ret->plain, length}, &ret->items) < 0)
        r = trouble_set(session->trouble, "corrupt", "%s/%s cannot be read", session->folder.path, name);
    if (r < 0)
        session_file_clear(ret);
    return r;
}

void session_file_clear(struct session_file *file)
{
    sodium_free(file->plain);
    sodium_memzero(file, sizeof(*file));
}

/* ---- changes ---- */

static int write_sealed(struct session *session, const char *file, enum sealed_content content, const char *profile,
                        struct span plain, uint8_t ret_tag[SEALED_TAG])
{
    uint8_t *bytes;
    size_t length;
    if (sealed_seal(session->active, content, profile, plain, &bytes, &length) < 0)
        return trouble_set(session->trouble, "full", "no memory to seal %s", file);
    const struct span span = {(const char *)bytes, length};
    int r = folder_remove(&session->folder, file, session->trouble); /* what a killed writer left */
    if (r == 0)
        r = folder_write(&session->folder, file, span, session->trouble);
    memcpy(ret_tag, sealed_tag(span), SEALED_TAG);
    free(bytes);
    return r;
}

static int write_state(struct session *session, const char *file)
{
    uint8_t tag[SEALED_TAG];
    char *plain;
    size_t length;
    if (sealed_state_write(&session->state, &plain, &length) < 0)
        return trouble_set(session->trouble, "full", "no memory to seal %s", file);
    int r = write_sealed(session, file, SEALED_STATE, "", (struct span){plain, length}, tag);
    sodium_free(plain);
    return r;
}

static int change_state(struct session *session, const char *profile, const uint8_t *tag)
{
    uint8_t hashed[SEALED_ID];
    sealed_state_name(profile, hashed);
    session->state.sequence++;
    (void)snprintf(session->state.profile, sizeof(session->state.profile), "%s", profile);
    if (sealed_state_set(&session->state, hashed, tag) == 0)
        return 0;
    return trouble_set(session->trouble, "full", "%s/" STATE " has no room for another profile", session->folder.path);
}

/* The steps that sealed_vault.h tells of; `tag` is of the file new~. */
static int commit(struct session *session, const char *profile, const uint8_t tag[SEALED_TAG])
{
    char name[NAME];
    const struct folder *folder = &session->folder;
    struct trouble *trouble = session->trouble;
    file_name(profile, name);
    int r = change_state(session, profile, tag);
    if (r == 0)
        r = write_state(session, STATE_NEXT);
    if (r == 0)
        r = folder_sync(folder, trouble);
    if (r == 0)
        r = folder_rename(folder, NEW, name, trouble);
    if (r == 0)
        r = folder_sync(folder, trouble);
    if (r == 0)
        r = folder_rename(folder, STATE_NEXT, STATE, trouble);
    if (r == 0)
        r = folder_sync(folder, trouble);
    if (r == 0)
        session->vault->seen = session->state.sequence;
    return r;
}

int session_save(struct session *session, const char *profile, const struct sealed_items *items)
{
    uint8_t tag[SEALED_TAG];
    char *plain;
    size_t length;
    int r = sealed_items_write(items, &plain, &length);
    if (r < 0)
        return trouble_set(session->trouble, "full", "the secrets of %s are more than a sealed file holds", profile);
    r = write_sealed(session, NEW, SEALED_PROFILE, profile, (struct span){plain, length}, tag);
    sodium_free(plain);
    if (r == 0)
        r = commit(session, profile, tag);
    if (r < 0) /* what it did not come to stays away from the disk; after a crash the next writer removes it */
        (void)folder_remove(&session->folder, NEW, &(struct trouble){0});
    return r;
}

int session_reseal(struct session *session)
{
    int r = write_state(session, NEW);
    if (r == 0)
        r = folder_rename(&session->folder, NEW, STATE, session->trouble);
    if (r == 0)
        r = folder_sync(&session->folder, session->trouble);
    if (r == 0)
        session->vault->seen = session->state.sequence;
    return r;
}

int session_remove(struct session *session, const char *profile)
{
    char name[NAME];
    file_name(profile, name);
    int r = folder_remove(&session->folder, name, session->trouble);
    if (r == 0)
        r = folder_sync(&session->folder, session->trouble);
    if (r == 0)
        r = change_state(session, profile, NULL);
    return r < 0 ? r : session_reseal(session);
}

/* ---- the passphrase ---- */

static int try_passphrase(const struct folder *folder, const char *name, size_t maximum, struct sealed_head *ret,
                          struct trouble *trouble)
{
    _cleanup_free_ char *bytes = NULL;
    size_t length;
    int r = folder_read(folder, name, maximum, &bytes, &length, trouble);
    if (r == 0)
        r = read_head(folder, name, (struct span){bytes, length}, ret, trouble);
    return r == 0 && ret->kind != SEALED_PASSPHRASE ? -ENOENT : r;
}

int session_find_passphrase(const struct folder *folder, struct sealed_head *ret, struct trouble *trouble)
{
    char **profiles, name[NAME];
    size_t count;
    int r = try_passphrase(folder, STATE, LIMIT_SEALED_STATE, ret, trouble);
    if (r != -ENOENT)
        return r;
    r = try_passphrase(folder, STATE_NEXT, LIMIT_SEALED_STATE, ret, &(struct trouble){0});
    if (r == 0)
        return 0;
    r = folder_list(folder, SUFFIX, &profiles, &count, trouble);
    if (r < 0)
        return r;
    r = -ENOENT;
    for (size_t i = 0; i < count && r < 0; i++) {
        file_name(profiles[i], name);
        r = try_passphrase(folder, name, LIMIT_SEALED_FILE, ret, &(struct trouble){0});
    }
    folder_list_free(profiles, count);
    return r < 0 ? -ENOENT : 0;
}
