#include "store/stores.h"

#include "cleanup.h"
#include "store/choice.h"
#include "store/process.h"
#include <stdio.h>

struct known {
    struct known *next;
    struct store *store;
};

struct stores {
    struct loop *loop;
    bool memory_only;
    char directory[STORES_PATH]; /* "": find it */
    char *setting;               /* "MLTOKEN_KEY_FILE=..." or NULL */
    struct known *known;
    struct store *choice;
    struct seal *seal; /* the agent is locked */
    size_t locking;    /* stores that have not told yet, and one for who asks */
    stores_fn *locked;
    void *arg;
    struct task task;
};

bool stores_name_valid(const char *name)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return name[0] >= 'a' && name[0] <= 'z' && !name[length] && length <= LIMIT_STORE_NAME;
}

int stores_new(struct loop *loop, const struct stores_options *options, struct stores **ret)
{
    struct stores *stores = calloc(1, sizeof(*stores));
    if (!stores)
        return -ENOMEM;
    stores->loop = loop;
    stores->memory_only = options->memory_only;
    if (options->directory &&
        snprintf(stores->directory, sizeof(stores->directory), "%s", options->directory) >= STORES_PATH) {
        free(stores);
        return -ENAMETOOLONG;
    }
    *ret = stores;
    return 0;
}

struct stores *stores_free(struct stores *stores)
{
    if (!stores)
        return NULL;
    task_stop(&stores->task);
    for (struct known *known = stores->known, *next; known; known = next) {
        next = known->next;
        store_free(known->store);
        free(known);
    }
    store_free(stores->choice); /* last: the calls of the others refer to its own */
    free(stores->setting);
    free(stores);
    return NULL;
}

int stores_set_key_file(struct stores *stores, const char *path)
{
    char *setting = NULL;
    if (path && asprintf(&setting, "MLTOKEN_KEY_FILE=%s", path) < 0)
        return -ENOMEM;
    bool same = setting && stores->setting ? strcmp(setting, stores->setting) == 0 : setting == stores->setting;
    free(stores->setting);
    stores->setting = setting;
    for (struct known *known = stores->known; known && !same; known = known->next)
        if (strcmp(store_name(known->store), "memory") != 0)
            store_process_renew(known->store);
    return 0;
}

/* Beside the agent's own program (the build tree), else where it was installed; never through PATH. */
void stores_find_program(const struct stores *stores, const char *name, char path[static STORES_PATH])
{
    char own[STORES_PATH] = "";
    ssize_t n = readlink("/proc/self/exe", own, sizeof(own) - 1);
    char *slash = n > 0 ? strrchr(own, '/') : NULL;
    if (slash)
        *slash = '\0';
    if (*stores->directory) {
        if (snprintf(path, STORES_PATH, "%s/mltoken-store-%s", stores->directory, name) < STORES_PATH)
            return;
    } else if (slash && snprintf(path, STORES_PATH, "%s/mltoken-store-%s", own, name) < STORES_PATH &&
               access(path, F_OK) == 0) {
        return;
    }
    (void)snprintf(path, STORES_PATH, "%s/mltoken-store-%s", MLTOKEN_LIBEXECDIR "/mltoken", name);
}

static int add(struct stores *stores, const char *name, struct store **ret)
{
    char path[STORES_PATH];
    struct known *known = malloc(sizeof(*known));
    if (!known)
        return -ENOMEM;
    stores_find_program(stores, name, path);
    int r = strcmp(name, "memory") == 0 ? store_memory_new(stores->loop, &known->store)
                                        : store_process_new(stores->loop, name, path, &stores->setting, &known->store);
    if (r < 0) {
        free(known);
        return r;
    }
    known->next = stores->known;
    stores->known = known;
    *ret = known->store;
    return stores->seal ? store_lock(known->store, stores->seal) : 0;
}

static int find_named(struct stores *stores, const char *name, struct store **ret)
{
    for (struct known *known = stores->known; known; known = known->next)
        if (strcmp(store_name(known->store), name) == 0) {
            *ret = known->store;
            return 0;
        }
    return add(stores, name, ret);
}

static int make_choice(struct stores *stores)
{
    static const char *const names[CHOICE_MOST] = {"keyring", "file", "memory"};
    struct store *candidates[CHOICE_MOST];
    for (size_t i = 0; i < CHOICE_MOST; i++) {
        int r = find_named(stores, names[i], &candidates[i]);
        if (r < 0)
            return r;
    }
    return store_choice_new(stores->loop, candidates, CHOICE_MOST, &stores->choice);
}

int stores_find(struct stores *stores, const char *name, struct store **ret)
{
    if (stores->memory_only)
        return find_named(stores, "memory", ret);
    if (name)
        return find_named(stores, name, ret);
    int r = stores->choice ? 0 : make_choice(stores);
    if (r == 0)
        *ret = stores->choice;
    return r;
}

const char *stores_name(struct stores *stores, const char *name)
{
    if (stores->memory_only)
        return "memory";
    return name ? name : stores->choice ? store_choice_name(stores->choice) : "";
}

/* ---- passphrase and lock ---- */

int stores_open(struct stores *stores, struct secret *passphrase, bool fresh, store_fn *fn, void *arg,
                struct store_call **ret)
{
    struct store *store;
    if (stores->memory_only)
        return -ENOTSUP;
    int r = find_named(stores, "file", &store);
    return r < 0 ? r : store_open(store, passphrase, fresh, fn, arg, ret);
}

void stores_opened(struct stores *stores)
{
    struct store *file, *memory;
    if (stores->choice && strcmp(store_choice_name(stores->choice), "memory") == 0 &&
        find_named(stores, "file", &file) == 0 && find_named(stores, "memory", &memory) == 0 &&
        store_memory_empty(memory))
        store_choice_change(stores->choice, file);
}

static void on_all_locked(void *arg)
{
    struct stores *stores = arg;
    stores_fn *fn = stores->locked;
    stores->locked = NULL;
    if (fn)
        fn(stores->arg);
}

static void on_locked(void *arg, const struct store_result *result)
{
    struct stores *stores = arg;
    (void)result; /* a program that failed has ended */
    if (--stores->locking == 0)
        task_start(stores->loop, &stores->task, on_all_locked, stores);
}

void stores_lock_again(struct stores *stores)
{
    stores->locking++;
    for (struct known *known = stores->known; known; known = known->next)
        if (store_forget(known->store, on_locked, stores) == 0)
            stores->locking++;
    on_locked(stores, NULL);
}

int stores_lock(struct stores *stores, struct seal *seal, stores_fn *fn, void *arg)
{
    int first = 0;
    stores->seal = seal;
    stores->locked = fn;
    stores->arg = arg;
    for (struct known *known = stores->known; known; known = known->next) {
        int r = store_lock(known->store, seal);
        first = first ? first : r;
    }
    stores_lock_again(stores);
    return first;
}

int stores_unlock(struct stores *stores, struct seal_key *key)
{
    int first = 0;
    stores->seal = NULL;
    for (struct known *known = stores->known; known; known = known->next) {
        int r = store_unlock(known->store, key);
        first = first ? first : r;
    }
    return first;
}

void stores_describe(struct stores *stores, const char *name, struct buffer *to)
{
    if (stores->memory_only)
        buffer_text(to, "memory");
    else if (name)
        buffer_text(to, name);
    else if (stores->choice)
        store_choice_describe(stores->choice, to);
    else
        buffer_text(to, "not chosen yet");
    for (struct known *known = stores->known; known; known = known->next) {
        const char *waits = store_waiting(known->store);
        const char *refuses = store_refusing(known->store);
        if (waits)
            buffer_format(to, "; %s waits: %s", store_name(known->store), waits);
        else if (refuses)
            buffer_format(to, "; %s is locked: %s", store_name(known->store), refuses);
    }
}
