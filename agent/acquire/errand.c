#include "acquire/errand.h"

#include "acquire/flight.h"
#include "acquire/lock.h"
#include "acquire/secret_source.h"
#include "cleanup.h"
#include "log.h"
#include <stdio.h>

enum { MOST_SECRETS = 32, MOST_STORES = 4 };

/* One that is to be moved. */
struct moved {
    char name[LIMIT_SECRET_NAME + 1];
    binding_text binding;
};

struct errand {
    struct conductor *conductor;
    struct errand *next, *previous;
    struct profile *profile;
    char name[LIMIT_SECRET_NAME + 1]; /* set */
    struct secret *value;
    void (*go)(struct errand *); /* once the binding is known */
    binding_text binding;
    struct buffer ca_pem;
    struct worker_job *job;
    struct store_call *call;
    struct task task;
    size_t source;                             /* list: the one that is being read */
    char problems[SECRET_SOURCES][LIMIT_TEXT]; /* list: why those that are elsewhere cannot be had; empty: they can */
    struct store *to, *from[MOST_STORES];      /* move */
    size_t from_count, moved_count;
    bool only_new; /* what `to` has stays */
    struct moved items[MOST_SECRETS];
    size_t item_count;
    errand_fn *fn;
    void *arg;
};

static void errand_free(struct errand *errand)
{
    errand->next->previous = errand->previous;
    errand->previous->next = errand->next;
    store_cancel(errand->call);
    worker_cancel(errand->job);
    task_stop(&errand->task);
    secret_unref(errand->value);
    buffer_free(&errand->ca_pem);
    profile_free(errand->profile);
    free(errand);
}

void errand_free_all(struct conductor *conductor)
{
    while (conductor->errands && conductor->errands->next != conductor->errands)
        errand_free(conductor->errands->next);
    free(conductor->errands);
    conductor->errands = NULL;
}

const struct store_call *errand_waits(const struct conductor *conductor, const char *profile)
{
    const struct errand *ring = conductor->errands;
    for (const struct errand *errand = ring ? ring->next : NULL; errand && errand != ring; errand = errand->next)
        if (errand->call && strcmp(errand->profile->name, profile) == 0)
            return errand->call;
    return NULL;
}

void errand_cancel(struct errand *errand)
{
    if (errand)
        errand->fn = NULL;
}

static void end(struct errand *errand, const struct errand_result *result)
{
    struct holder *holder = cache_find(errand->conductor->cache, errand->profile->name);
    bool moving = errand->to && holder;
    if (moving)
        holder->moving = false;
    errand_fn *fn = errand->fn;
    void *arg = errand->arg;
    errand->fn = NULL;
    if (fn)
        fn(arg, result);
    if (moving && (holder = cache_find(errand->conductor->cache, errand->profile->name)))
        flight_start_next(holder);
    lock_again(errand->conductor);
    errand_free(errand);
}

static void fail(struct errand *errand, const struct failure *why)
{
    end(errand, &(struct errand_result){.why = why, .count = errand->moved_count});
}

static void fail_internal(struct errand *errand, int error)
{
    struct failure why;
    failure_set(&why, FAILURE_BUSY, CLASS_UNREACHABLE, "the agent could not go on: %s", strerror(-error));
    fail(errand, &why);
}

static void fail_store(struct errand *errand, const char *what, const struct store_result *result)
{
    struct failure why;
    keeper_failure(&why, what, result);
    fail(errand, &why);
}

/* ---- beginning ---- */

static void bind_and_go(struct errand *errand)
{
    int r = binding_of(errand->profile, buffer_span(&errand->ca_pem), errand->binding);
    if (r < 0)
        fail_internal(errand, r);
    else
        errand->go(errand);
}

static void on_ca_file(void *arg, const struct worker_result *result)
{
    struct errand *errand = arg;
    struct failure why;
    errand->job = NULL;
    if (result->error || buffer_append(&errand->ca_pem, result->output.data, result->output.length) < 0) {
        failure_set(&why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE, "ca_file %s: %s", errand->profile->ca_file,
                    result->error ? result->problem : strerror(ENOMEM));
        fail(errand, &why);
        return;
    }
    bind_and_go(errand);
}

static void on_start(void *arg)
{
    struct errand *errand = arg;
    if (!errand->profile->ca_file || errand->to) {
        bind_and_go(errand);
        return;
    }
    int r = worker_read(errand->conductor->worker, errand->profile->ca_file, WORKER_PUBLIC_FILE, LIMIT_RESPONSE,
                        LIMIT_COMMAND_MS, on_ca_file, errand, &errand->job);
    if (r < 0)
        fail_internal(errand, r);
}

static int begin(struct conductor *conductor, struct holder *holder, void (*go)(struct errand *), errand_fn *fn,
                 void *arg, struct errand **ret, struct failure *why)
{
    if (!conductor->errands && (conductor->errands = calloc(1, sizeof(struct errand))))
        conductor->errands->next = conductor->errands->previous = conductor->errands;
    struct errand *errand = conductor->errands ? calloc(1, sizeof(*errand)) : NULL;
    if (!errand) {
        failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE, "out of memory");
        return -1;
    }
    errand->conductor = conductor;
    errand->profile = profile_ref(holder->profile);
    errand->ca_pem = BUFFER(LIMIT_RESPONSE);
    errand->go = go;
    errand->fn = fn;
    errand->arg = arg;
    errand->next = conductor->errands;
    errand->previous = conductor->errands->previous;
    errand->previous->next = errand->next->previous = errand;
    task_start(conductor->loop, &errand->task, on_start, errand);
    *ret = errand;
    return 0;
}

static int own_store(struct errand *errand, struct store **ret)
{
    return stores_find(errand->conductor->stores, errand->profile->store, ret);
}

/* ---- keeping and clearing ---- */

static void on_set(void *arg, const struct store_result *result)
{
    struct errand *errand = arg;
    errand->call = NULL;
    if (result->error) {
        fail_store(errand, errand->value ? "it could not be kept" : "it could not be cleared", result);
        return;
    }
    struct holder *holder = cache_find(errand->conductor->cache, errand->profile->name);
    if (holder)
        conductor_replaced(errand->conductor, holder);
    log_event(LOG_LEVEL_INFO, errand->value ? "secret stored" : "secret cleared", "PROFILE", errand->profile->name,
              "NAME", errand->name, NULL);
    end(errand, &(struct errand_result){0});
}

static void go_set(struct errand *errand)
{
    struct store *store;
    const struct store_key key = {.profile = errand->profile->name, .name = errand->name, .binding = errand->binding};
    int r = own_store(errand, &store);
    if (r == 0 && errand->value)
        r = store_put(store, &key, errand->value, STORE_ANY, on_set, errand, &errand->call);
    else if (r == 0)
        r = store_drop(store, key.profile, key.name, on_set, errand, &errand->call);
    if (r < 0)
        fail_internal(errand, r);
}

int errand_set(struct conductor *conductor, struct holder *holder, const char *name, struct span value, errand_fn *fn,
               void *arg, struct errand **ret, struct failure *why)
{
    struct secret *secret = NULL;
    if (!secret_source_of(holder->profile, name)) {
        failure_set(why, FAILURE_NOT_SUPPORTED, CLASS_DEFINITE, "%s",
                    strcmp(name, SECRET_REFRESH_TOKEN) == 0
                        ? "refresh_token comes with mltoken login and goes with mltoken logout"
                        : "a secret's name is one of client_secret, password, token, token_secondary, key_password");
        return -1;
    }
    int r = value.data ? secret_new(value.data, value.length, &secret) : 0;
    if (r < 0) {
        failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE, "%s",
                    r == -EMSGSIZE ? "the secret is too long" : "the memory for secrets is full");
        return -1;
    }
    r = begin(conductor, holder, go_set, fn, arg, ret, why);
    if (r < 0) {
        secret_unref(secret);
        return r;
    }
    (*ret)->value = secret;
    (void)snprintf((*ret)->name, sizeof((*ret)->name), "%s", name);
    return 0;
}

/* ---- listing: whether a secret is present is found out by reading it, as a fetch would ---- */

static bool is_elsewhere(const struct source *source)
{
    return source->kind != SOURCE_NONE && source->kind != SOURCE_STORED;
}

static void on_listed(void *arg, const struct store_result *result)
{
    static const char other[] = "settings changed since it was stored", none[] = "it is not stored yet";
    struct errand *errand = arg;
    const struct profile *profile = errand->profile;
    const char *store = stores_name(errand->conductor->stores, profile->store);
    struct errand_secret secrets[MOST_SECRETS + SECRET_SOURCES];
    size_t count = 0;
    errand->call = NULL;
    if (result->error) {
        fail_store(errand, "the store cannot be asked", result);
        return;
    }
    for (size_t i = 0; i < SECRET_SOURCES; i++) {
        const char *name = secret_source_name(i), *problem = errand->problems[i];
        const struct source *source = secret_source_of(profile, name);
        bool found = false;
        for (size_t k = 0; k < result->item_count; k++)
            found |= strcmp(result->items[k].profile, profile->name) == 0 && strcmp(result->items[k].name, name) == 0;
        if (is_elsewhere(source))
            secrets[count++] = (struct errand_secret){.name = name,
                                                      .source = secret_source_kind(source),
                                                      .reason = *problem ? problem : NULL,
                                                      .present = !*problem};
        else if (source->kind == SOURCE_STORED && !found)
            secrets[count++] =
                (struct errand_secret){.name = name, .source = store, .reason = none, .present = false, .stored = true};
    }
    for (size_t i = 0; i < result->item_count && count < ELEMENTS(secrets); i++) {
        const struct store_item *item = &result->items[i];
        if (strcmp(item->profile, profile->name) != 0)
            continue;
        bool same = memcmp(item->binding, errand->binding, STORE_BINDING) == 0;
        secrets[count++] = (struct errand_secret){
            .name = item->name, .source = store, .reason = same ? NULL : other, .present = same, .stored = true};
    }
    end(errand, &(struct errand_result){.secrets = secrets, .count = count});
}

static void list_store(struct errand *errand)
{
    struct store *store;
    int r = own_store(errand, &store);
    if (r == 0)
        r = store_list(store, errand->profile->name, on_listed, errand, &errand->call);
    if (r < 0)
        fail_internal(errand, r);
}

static void go_list(struct errand *);

static void note_source(struct errand *errand, int error, const struct failure *why)
{
    if (error)
        (void)snprintf(errand->problems[errand->source], LIMIT_TEXT, "%s", why->reason);
    errand->source++;
}

static void on_secret(void *arg, const struct worker_result *result)
{
    struct errand *errand = arg;
    const char *name = secret_source_name(errand->source);
    struct failure why;
    struct span value;
    errand->job = NULL;
    note_source(errand, secret_source_result(name, secret_source_of(errand->profile, name), result, &value, &why),
                &why);
    go_list(errand);
}

static void go_list(struct errand *errand)
{
    while (errand->source < SECRET_SOURCES) {
        const char *name = secret_source_name(errand->source);
        const struct source *source = secret_source_of(errand->profile, name);
        struct failure why;
        struct span value;
        int r = 0;
        if (is_elsewhere(source))
            r = secret_source_read(errand->conductor->worker, name, source, on_secret, errand, &errand->job, &value,
                                   &why);
        if (r == 0 && errand->job)
            return;
        note_source(errand, r, &why);
    }
    list_store(errand);
}

int errand_list(struct conductor *conductor, struct holder *holder, errand_fn *fn, void *arg, struct errand **ret,
                struct failure *why)
{
    return begin(conductor, holder, go_list, fn, arg, ret, why);
}

/* ---- moving: one secret after the other; each is dropped only after it is durable at its new place ---- */

static void next_store(struct errand *);
static void next_item(struct errand *);

static void on_taken(void *arg, const struct store_result *result)
{
    struct errand *errand = arg;
    errand->call = NULL;
    errand->moved_count++;
    if (result->error)
        fail_store(errand, "it was copied, but could not be removed where it was", result);
    else
        next_item(errand);
}

static void on_put(void *arg, const struct store_result *result)
{
    struct errand *errand = arg;
    const struct moved *item = &errand->items[errand->item_count];
    errand->call = NULL;
    if (result->error == STORE_CONFLICT) { /* what is there already is the one in use */
        next_item(errand);
        return;
    }
    if (result->error) {
        fail_store(errand, "it could not be kept at the new place", result);
        return;
    }
    int r = store_drop(errand->from[errand->from_count], errand->profile->name, item->name, on_taken, errand,
                       &errand->call);
    if (r < 0)
        fail_internal(errand, r);
}

static void on_got(void *arg, const struct store_result *result)
{
    struct errand *errand = arg;
    const struct moved *item = &errand->items[errand->item_count];
    const struct store_key key = {.profile = errand->profile->name, .name = item->name, .binding = item->binding};
    errand->call = NULL;
    if (result->error == STORE_MISSING) {
        next_item(errand);
        return;
    }
    if (result->error) {
        fail_store(errand, "it could not be read", result);
        return;
    }
    int r = store_put(errand->to, &key, result->value, errand->only_new ? 0 : STORE_ANY, on_put, errand, &errand->call);
    if (r < 0)
        fail_internal(errand, r);
}

static void next_item(struct errand *errand)
{
    if (errand->item_count == 0) {
        next_store(errand);
        return;
    }
    const struct moved *item = &errand->items[--errand->item_count];
    const struct store_key key = {.profile = errand->profile->name, .name = item->name, .binding = item->binding};
    int r = store_get(errand->from[errand->from_count], &key, on_got, errand, &errand->call);
    if (r < 0)
        fail_internal(errand, r);
}

static void on_items(void *arg, const struct store_result *result)
{
    struct errand *errand = arg;
    errand->call = NULL;
    if (result->error == STORE_UNAVAILABLE && errand->only_new) { /* one of those that need not be there */
        next_store(errand);
        return;
    }
    if (result->error) {
        fail_store(errand, "what there is to move cannot be found out", result);
        return;
    }
    for (size_t i = 0; i < result->item_count && errand->item_count < MOST_SECRETS; i++) {
        struct moved *item = &errand->items[errand->item_count];
        if (strcmp(result->items[i].profile, errand->profile->name) != 0)
            continue;
        (void)snprintf(item->name, sizeof(item->name), "%s", result->items[i].name);
        (void)snprintf(item->binding, sizeof(item->binding), "%s", result->items[i].binding);
        errand->item_count++;
    }
    next_item(errand);
}

static void next_store(struct errand *errand)
{
    if (errand->from_count == 0) {
        end(errand, &(struct errand_result){.count = errand->moved_count});
        return;
    }
    int r = store_list(errand->from[--errand->from_count], errand->profile->name, on_items, errand, &errand->call);
    if (r < 0)
        fail_internal(errand, r);
}

static int find_stores(struct errand *errand, const char *name)
{
    static const char *const others[] = {"memory", "file", "keyring"};
    struct stores *stores = errand->conductor->stores;
    struct store *own;
    int r = stores_find(stores, errand->profile->store, &own);
    if (r == 0)
        r = stores_find(stores, name, &errand->to);
    errand->only_new = r == 0 && strcmp(name, stores_name(stores, errand->profile->store)) == 0;
    if (r == 0 && !errand->only_new && own != errand->to)
        errand->from[errand->from_count++] = own;
    for (size_t i = 0; r == 0 && errand->only_new && i < ELEMENTS(others); i++)
        if (strcmp(others[i], name) != 0 && (r = stores_find(stores, others[i], &own)) == 0 && own != errand->to)
            errand->from[errand->from_count++] = own;
    return r;
}

int errand_move(struct conductor *conductor, struct holder *holder, const char *store, errand_fn *fn, void *arg,
                struct errand **ret, struct failure *why)
{
    bool busy = holder->moving || holder->unsaved;
    if (holder->lodged) {
        failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE,
                    "its sign-in is in memory until its store opens, and moves there by itself; unlock that, or log "
                    "out");
        return -1;
    }
    for (const struct flight *flight = holder->flights; flight; flight = flight->next)
        busy |= flight->running;
    if (busy) {
        failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE, "its secrets are in use just now; try again in a moment");
        return -1;
    }
    if (!stores_name_valid(store)) {
        failure_set(why, FAILURE_NOT_SUPPORTED, CLASS_DEFINITE,
                    "the store to move to is keyring, file, memory or another one's name");
        return -1;
    }
    if (begin(conductor, holder, next_store, fn, arg, ret, why) < 0)
        return -1;
    if (find_stores(*ret, store) < 0) {
        errand_free(*ret);
        failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE, "out of memory");
        return -1;
    }
    holder->moving = true;
    return 0;
}
