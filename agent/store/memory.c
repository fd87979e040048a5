#include "store/store.h"

#include "cleanup.h"
#include <errno.h>
#include <search.h>

struct item {
    char *profile;
    struct credential credential;
};

struct store_call {
    struct store *store;
    struct task task;
    char *profile; /* load: what to look up when the task runs */
    int error;
    store_fn *fn;
    void *arg;
    struct store_call *next, *previous;
};

struct store {
    struct loop *loop;
    void *items; /* a tree by profile name */
    struct store_call calls;
};

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct item *)a)->profile, ((const struct item *)b)->profile);
}

static struct item *find(struct store *store, const char *profile)
{
    struct item wanted = {.profile = (char *)(uintptr_t)profile};
    struct item *const *found = tfind(&wanted, &store->items, compare);
    return found ? *found : NULL;
}

static void item_free(void *pointer)
{
    struct item *item = pointer;
    credential_clear(&item->credential);
    free(item->profile);
    free(item);
}

static struct store_call *call_free(struct store_call *call)
{
    task_stop(&call->task);
    call->next->previous = call->previous;
    call->previous->next = call->next;
    free(call->profile);
    free(call);
    return NULL;
}

static void on_task(void *arg)
{
    struct store_call *call = arg;
    struct item *item = call->profile ? find(call->store, call->profile) : NULL;
    store_fn *fn = call->fn;
    void *fn_arg = call->arg;
    int error = call->profile && !item ? -ENOENT : call->error;
    call_free(call);
    fn(fn_arg, error, item ? &item->credential : NULL);
}

static int answer_later(struct store *store, const char *profile, int error, store_fn *fn, void *arg,
                        struct store_call **ret)
{
    struct store_call *call = calloc(1, sizeof(*call));
    if (!call || (profile && !(call->profile = strdup(profile)))) {
        free(call);
        return -ENOMEM;
    }
    call->store = store;
    call->error = error;
    call->fn = fn;
    call->arg = arg;
    call->next = &store->calls;
    call->previous = store->calls.previous;
    call->previous->next = store->calls.previous = call;
    task_start(store->loop, &call->task, on_task, call);
    *ret = call;
    return 0;
}

int store_load(struct store *store, const char *profile, store_fn *fn, void *arg, struct store_call **ret)
{
    return answer_later(store, profile, 0, fn, arg, ret);
}

static int keep(struct store *store, const char *profile, const struct credential *credential)
{
    struct credential copy;
    int r = credential_copy(credential, &copy);
    if (r < 0)
        return r;
    struct item *item = find(store, profile);
    if (!item) {
        item = calloc(1, sizeof(*item));
        if (item)
            item->profile = strdup(profile);
        if (!item || !item->profile || !tsearch(item, &store->items, compare)) {
            if (item)
                item_free(item);
            credential_clear(&copy);
            return -ENOMEM;
        }
    }
    credential_clear(&item->credential);
    item->credential = copy;
    return 0;
}

int store_save(struct store *store, const char *profile, const struct credential *credential, store_fn *fn, void *arg,
               struct store_call **ret)
{
    return answer_later(store, NULL, keep(store, profile, credential), fn, arg, ret);
}

int store_forget(struct store *store, const char *profile, store_fn *fn, void *arg, struct store_call **ret)
{
    struct item *item = find(store, profile);
    if (item) {
        tdelete(item, &store->items, compare);
        item_free(item);
    }
    return answer_later(store, NULL, 0, fn, arg, ret);
}

void store_cancel(struct store_call *call)
{
    if (call)
        call_free(call);
}

int store_memory_new(struct loop *loop, struct store **ret)
{
    struct store *store = calloc(1, sizeof(*store));
    if (!store)
        return -ENOMEM;
    store->loop = loop;
    store->calls.next = store->calls.previous = &store->calls;
    *ret = store;
    return 0;
}

struct store *store_free(struct store *store)
{
    if (!store)
        return NULL;
    while (store->calls.next != &store->calls)
        call_free(store->calls.next);
    tdestroy(store->items, item_free);
    free(store);
    return NULL;
}

const char *store_name(const struct store *store)
{
    (void)store;
    return "memory";
}
