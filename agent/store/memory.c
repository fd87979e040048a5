#include "store/backend.h"

#include "cleanup.h"
#include <search.h>

struct item {
    char *profile, *name;
    char binding[STORE_BINDING + 1];
    struct secret *value; /* one of both */
    struct box *sealed;
    uint64_t version;
};

struct memory {
    struct store store;
    struct task task;
    void *items; /* a tree by profile and name */
    uint64_t last_version;
    struct seal *seal; /* the agent is locked */
};

static struct memory *memory_of(struct store *store)
{
    return (struct memory *)(void *)store;
}

static int compare(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    int r = strcmp(x->profile, y->profile);
    return r ? r : strcmp(x->name, y->name);
}

static struct item *find(struct memory *memory, const struct store_call *call)
{
    struct item wanted = {.profile = call->profile, .name = call->name};
    struct item *const *found = tfind(&wanted, &memory->items, compare);
    return found ? *found : NULL;
}

static void item_free(void *pointer)
{
    struct item *item = pointer;
    if (!item)
        return;
    secret_unref(item->value);
    box_free(item->sealed);
    free(item->profile);
    free(item->name);
    free(item);
}

static void get(struct memory *memory, struct store_call *call)
{
    struct item *item = find(memory, call);
    if (!item) {
        store_answer_error(call, STORE_MISSING, "nothing is kept under this name");
    } else if (!item->value) {
        store_answer_error(call, STORE_LOCKED, "the agent is locked: mltoken unlock");
    } else if (memcmp(item->binding, call->binding, STORE_BINDING) != 0) {
        struct store_result bound = {
            .error = STORE_BOUND, .reason = "it was stored for other receivers", .version = item->version};
        store_answer(call, &bound);
    } else {
        struct store_result found = {.version = item->version, .value = secret_ref(item->value)};
        store_answer(call, &found);
        secret_unref(found.value);
    }
}

static struct item *add(struct memory *memory, const struct store_call *call)
{
    struct item *item = calloc(1, sizeof(*item));
    if (!item)
        return NULL;
    item->profile = strdup(call->profile);
    item->name = strdup(call->name);
    if (!item->profile || !item->name || !tsearch(item, &memory->items, compare)) {
        item_free(item);
        return NULL;
    }
    return item;
}

/* Puts its value in, sealed while the agent is locked. */
static int take(struct memory *memory, struct item *item, struct secret *value)
{
    struct box *sealed = NULL;
    int r = memory->seal ? seal_close_secret(memory->seal, value, &sealed) : 0;
    if (r < 0)
        return r;
    secret_unref(item->value);
    box_free(item->sealed);
    item->value = sealed ? NULL : secret_ref(value);
    item->sealed = sealed;
    return 0;
}

static void put(struct memory *memory, struct store_call *call)
{
    struct item *item = find(memory, call);
    uint64_t there = item ? item->version : 0;
    if (call->expect != STORE_ANY && call->expect != there && item && !item->value) {
        store_answer_error(call, STORE_LOCKED, "another version is kept, and the agent is locked: mltoken unlock");
        return;
    }
    if (call->expect != STORE_ANY && call->expect != there) {
        bool ours = item && memcmp(item->binding, call->binding, STORE_BINDING) == 0;
        struct store_result conflict = {.error = STORE_CONFLICT,
                                        .reason = "another version is kept",
                                        .version = there,
                                        .value = ours ? secret_ref(item->value) : NULL};
        store_answer(call, &conflict);
        secret_unref(conflict.value);
        return;
    }
    if (!item)
        item = add(memory, call);
    if (!item) {
        store_answer_error(call, -ENOMEM, "out of memory");
        return;
    }
    int r = take(memory, item, call->value);
    if (r < 0) {
        store_answer_error(call, r, "out of memory");
        return;
    }
    memcpy(item->binding, call->binding, sizeof(item->binding));
    item->version = ++memory->last_version;
    struct store_result kept = {.version = item->version};
    store_answer(call, &kept);
}

/* Every secret of a profile: tree walks must not change the tree, so it is looked for anew after each. */
struct search {
    const char *profile; /* NULL: any */
    struct store_item *items;
    size_t count, capacity;
    const struct item *first;
};

static void visit(const void *node, VISIT which, void *closure)
{
    struct search *search = closure;
    const struct item *item = *(const struct item *const *)node;
    if ((which != postorder && which != leaf) || (search->profile && strcmp(search->profile, item->profile) != 0))
        return;
    if (!search->first)
        search->first = item;
    if (search->count < search->capacity)
        search->items[search->count] =
            (struct store_item){.profile = item->profile, .name = item->name, .binding = item->binding};
    search->count++;
}

static void drop(struct memory *memory, struct store_call *call)
{
    for (;;) {
        struct search search = {.profile = call->profile};
        struct item *item = call->name ? find(memory, call) : NULL;
        if (!call->name) {
            twalk_r(memory->items, visit, &search);
            item = (struct item *)(uintptr_t)search.first;
        }
        if (!item)
            break;
        tdelete(item, &memory->items, compare);
        item_free(item);
    }
    store_answer(call, &(struct store_result){0});
}

static void list(struct memory *memory, struct store_call *call)
{
    struct search search = {.profile = call->profile};
    twalk_r(memory->items, visit, &search);
    _cleanup_free_ struct store_item *items = calloc(search.count + 1, sizeof(*items));
    if (!items) {
        store_answer_error(call, -ENOMEM, "out of memory");
        return;
    }
    search = (struct search){.profile = call->profile, .items = items, .capacity = search.count};
    twalk_r(memory->items, visit, &search);
    store_answer(call, &(struct store_result){.items = items, .item_count = search.count});
}

static void on_task(void *arg)
{
    struct memory *memory = arg;
    struct store_call *last = memory->store.calls.previous, *call;
    bool more = true;
    while (more && (call = store_first(&memory->store))) { /* those that come meanwhile have a turn of their own */
        more = call != last;
        if (call->op == STORE_GET)
            get(memory, call);
        else if (call->op == STORE_PUT)
            put(memory, call);
        else if (call->op == STORE_DROP)
            drop(memory, call);
        else if (call->op == STORE_LIST)
            list(memory, call);
        else if (call->op == STORE_LOCK)
            store_answer(call, &(struct store_result){0});
        else
            store_answer_error(call, STORE_UNAVAILABLE, "no passphrase opens the memory store");
    }
}

static void added(struct store *store)
{
    task_start(store->loop, &memory_of(store)->task, on_task, store);
}

/* ---- the lock: values are changed where they are, the tree stays as it is ---- */

struct turn {
    struct memory *memory;
    struct seal_key *key; /* NULL: seals */
    int error;
};

static int open_item(struct item *item, struct seal_key *key)
{
    int r = item->sealed ? seal_open_secret(key, item->sealed, &item->value) : 0;
    if (r == 0)
        item->sealed = box_free(item->sealed);
    return r;
}

static void turn_item(const void *node, VISIT which, void *closure)
{
    struct turn *turn = closure;
    struct item *item = *(struct item *const *)node;
    if (which != postorder && which != leaf)
        return;
    int r = turn->key ? open_item(item, turn->key) : item->value ? take(turn->memory, item, item->value) : 0;
    if (r < 0)
        turn->error = r;
}

static int memory_lock(struct store *store, struct seal *seal)
{
    struct turn turn = {.memory = memory_of(store)};
    turn.memory->seal = seal;
    if (seal)
        twalk_r(turn.memory->items, turn_item, &turn);
    return turn.error;
}

static int memory_unlock(struct store *store, struct seal_key *key)
{
    struct turn turn = {.memory = memory_of(store), .key = key};
    turn.memory->seal = NULL;
    twalk_r(turn.memory->items, turn_item, &turn);
    return turn.error;
}

static void memory_free(struct store *store)
{
    struct memory *memory = memory_of(store);
    task_stop(&memory->task);
    tdestroy(memory->items, item_free);
    free(memory);
}

bool store_memory_empty(const struct store *store)
{
    const struct memory *memory = (const struct memory *)(const void *)store;
    return !memory->items && memory->store.calls.next == &store->calls;
}

int store_memory_new(struct loop *loop, struct store **ret)
{
    static const struct store_kind kind = {
        .added = added, .lock = memory_lock, .unlock = memory_unlock, .free = memory_free};
    struct memory *memory = calloc(1, sizeof(*memory));
    if (!memory || store_init(&memory->store, &kind, loop, "memory") < 0) {
        free(memory);
        return -ENOMEM;
    }
    *ret = &memory->store;
    return 0;
}
