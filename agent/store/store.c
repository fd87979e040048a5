#include "store/backend.h"

#include "cleanup.h"
#include <string.h>

int store_init(struct store *store, const struct store_kind *kind, struct loop *loop, const char *name)
{
    store->kind = kind;
    store->loop = loop;
    store->calls.next = store->calls.previous = &store->calls;
    store->name = strdup(name);
    return store->name ? 0 : -ENOMEM;
}

static void call_free(struct store_call *call)
{
    free(call->profile);
    free(call->name);
    secret_unref(call->value);
    free(call);
}

static void take_out(struct store_call *call)
{
    call->next->previous = call->previous;
    call->previous->next = call->next;
}

struct store_call *store_first(struct store *store)
{
    return store->calls.next == &store->calls ? NULL : store->calls.next;
}

void store_answer(struct store_call *call, const struct store_result *result)
{
    take_out(call);
    if (call->fn)
        call->fn(call->arg, result);
    call_free(call);
}

void store_answer_error(struct store_call *call, int error, const char *reason)
{
    struct store_result result = {.error = error, .reason = reason};
    store_answer(call, &result);
}

static int start(struct store *store, const struct store_call *model, const struct store_key *key,
                 struct store_call **ret)
{
    struct store_call *call = malloc(sizeof(*call));
    if (!call)
        return -ENOMEM;
    *call = *model;
    call->store = store;
    call->quiet = key->quiet;
    call->since_ms = loop_now(store->loop);
    call->profile = key->profile ? strdup(key->profile) : NULL;
    call->name = key->name ? strdup(key->name) : NULL;
    if ((key->profile && !call->profile) || (key->name && !call->name)) {
        call->value = NULL;
        call_free(call);
        return -ENOMEM;
    }
    if (key->binding)
        memcpy(call->binding, key->binding, STORE_BINDING);
    if (call->value)
        secret_ref(call->value);
    call->next = &store->calls;
    call->previous = store->calls.previous;
    call->previous->next = store->calls.previous = call;
    *ret = call;
    store->kind->added(store);
    return 0;
}

int store_get(struct store *store, const struct store_key *key, store_fn *fn, void *arg, struct store_call **ret)
{
    return start(store, &(struct store_call){.op = STORE_GET, .fn = fn, .arg = arg}, key, ret);
}

int store_put(struct store *store, const struct store_key *key, struct secret *value, uint64_t expect, store_fn *fn,
              void *arg, struct store_call **ret)
{
    const struct store_call model = {.op = STORE_PUT, .value = value, .expect = expect, .fn = fn, .arg = arg};
    return start(store, &model, key, ret);
}

int store_drop(struct store *store, const char *profile, const char *name, store_fn *fn, void *arg,
               struct store_call **ret)
{
    const struct store_key key = {.profile = profile, .name = name};
    return start(store, &(struct store_call){.op = STORE_DROP, .fn = fn, .arg = arg}, &key, ret);
}

int store_list(struct store *store, const char *profile, store_fn *fn, void *arg, struct store_call **ret)
{
    const struct store_key key = {.profile = profile};
    return start(store, &(struct store_call){.op = STORE_LIST, .fn = fn, .arg = arg}, &key, ret);
}

int store_open(struct store *store, struct secret *passphrase, bool fresh, store_fn *fn, void *arg,
               struct store_call **ret)
{
    const struct store_call model = {.op = STORE_OPEN, .value = passphrase, .fresh = fresh, .fn = fn, .arg = arg};
    return start(store, &model, &(struct store_key){0}, ret);
}

int store_lock(struct store *store, struct seal *seal)
{
    return store->kind->lock ? store->kind->lock(store, seal) : 0;
}

int store_forget(struct store *store, store_fn *fn, void *arg)
{
    struct store_call *call;
    return start(store, &(struct store_call){.op = STORE_LOCK, .fn = fn, .arg = arg}, &(struct store_key){0}, &call);
}

int store_unlock(struct store *store, struct seal_key *key)
{
    return store->kind->unlock ? store->kind->unlock(store, key) : 0;
}

void store_cancel(struct store_call *call)
{
    if (call)
        call->fn = NULL;
}

void store_ask_nobody(struct store_call *call)
{
    call->quiet = true;
}

void store_call_describe(const struct store_call *call, struct buffer *to)
{
    while (call->inner)
        call = call->inner;
    const struct store_call *first = call->store->calls.next;
    const char *why = store_waiting(call->store);
    if (call != first)
        buffer_format(to, "behind profile %s: ", first->profile ? first->profile : "(all)");
    if (why)
        buffer_text(to, why);
    else
        buffer_format(to, "store %s has not answered yet", call->store->name);
}

const char *store_name(const struct store *store)
{
    return store->name;
}

const char *store_waiting(const struct store *store)
{
    return store->kind->waiting ? store->kind->waiting(store) : NULL;
}

const char *store_refusing(const struct store *store)
{
    return store->kind->refusing ? store->kind->refusing(store) : NULL;
}

struct store *store_free(struct store *store)
{
    if (!store)
        return NULL;
    for (struct store_call *call; (call = store_first(store));) {
        take_out(call);
        call_free(call);
    }
    free(store->name);
    store->kind->free(store);
    return NULL;
}
