#include "store/choice.h"

#include "cleanup.h"
#include "log.h"
#include "store/backend.h"
#include "text.h"

struct choice {
    struct store store;
    struct store *candidates[CHOICE_MOST];
    size_t count, current;
    bool decided;
    struct task task;
    struct buffer why; /* the earlier ones were not it */
};

static struct choice *choice_of(struct store *store)
{
    return (struct choice *)(void *)store;
}

static void decide(struct choice *choice)
{
    const char *name = store_name(choice->candidates[choice->current]);
    bool last = choice->current + 1 == choice->count;
    choice->decided = true;
    log_event(last ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, last ? "secrets end with the agent" : "secrets are kept",
              "STORE", name, "REASON", choice->why.length ? choice->why.data : NULL, NULL);
}

static void on_task(void *arg);

static void on_inner(void *arg, const struct store_result *result)
{
    struct store_call *call = arg;
    struct choice *choice = choice_of(call->store);
    call->inner = NULL;
    if (!choice->decided && result->error == STORE_UNAVAILABLE && choice->current + 1 < choice->count) {
        buffer_text(&choice->why, choice->why.length ? ", and " : "");
        text_clean(&choice->why, span_of(result->reason), LIMIT_TEXT / 2);
        choice->current++;
        call->passed = false;
    } else {
        if (!choice->decided)
            decide(choice);
        store_answer(call, result);
    }
    task_start(choice->store.loop, &choice->task, on_task, choice);
}

static int pass(struct store *to, struct store_call *call)
{
    const struct store_key key = {
        .profile = call->profile, .name = call->name, .binding = call->binding, .quiet = call->quiet};
    switch (call->op) {
    case STORE_GET:
        return store_get(to, &key, on_inner, call, &call->inner);
    case STORE_PUT:
        return store_put(to, &key, call->value, call->expect, on_inner, call, &call->inner);
    case STORE_DROP:
        return store_drop(to, call->profile, call->name, on_inner, call, &call->inner);
    case STORE_OPEN:
    case STORE_LOCK: /* those are said to the candidates themselves */
        return -EINVAL;
    case STORE_LIST:
        break;
    }
    return store_list(to, call->profile, on_inner, call, &call->inner);
}

/* While it is not decided, one request alone is passed on. */
static void on_task(void *arg)
{
    struct choice *choice = arg;
    for (struct store_call *call = choice->store.calls.next, *next; call != &choice->store.calls; call = next) {
        next = call->next;
        if (!call->passed) {
            int r = pass(choice->candidates[choice->current], call);
            call->passed = true;
            if (r == 0 && call->quiet)
                store_ask_nobody(call->inner);
            if (r < 0)
                store_answer_error(call, r, "out of memory");
        }
        if (!choice->decided)
            return;
    }
}

static void added(struct store *store)
{
    task_start(store->loop, &choice_of(store)->task, on_task, store);
}

static const char *waiting(const struct store *store)
{
    const struct choice *choice = (const struct choice *)(const void *)store;
    return store_waiting(choice->candidates[choice->current]);
}

/* The candidates' calls may tell the calls that are freed here: their owner frees the candidates first. */
static void choice_free(struct store *store)
{
    struct choice *choice = choice_of(store);
    task_stop(&choice->task);
    buffer_free(&choice->why);
    free(choice);
}

const char *store_choice_name(const struct store *store)
{
    const struct choice *choice = (const struct choice *)(const void *)store;
    return store_name(choice->candidates[choice->current]);
}

void store_choice_change(struct store *store, const struct store *candidate)
{
    struct choice *choice = choice_of(store);
    size_t i = 0;
    while (i < choice->count && choice->candidates[i] != candidate)
        i++;
    if (i == choice->count)
        return;
    choice->current = i;
    buffer_clear(&choice->why);
    decide(choice);
}

void store_choice_describe(const struct store *store, struct buffer *to)
{
    const struct choice *choice = (const struct choice *)(const void *)store;
    if (!choice->decided && choice->current == 0) {
        buffer_text(to, "not chosen yet");
        return;
    }
    buffer_text(to, store_name(choice->candidates[choice->current]));
    if (choice->why.length)
        buffer_format(to, ": %s", choice->why.data);
}

int store_choice_new(struct loop *loop, struct store *const *candidates, size_t count, struct store **ret)
{
    static const struct store_kind kind = {.added = added, .waiting = waiting, .free = choice_free};
    struct choice *choice = calloc(1, sizeof(*choice));
    if (!choice || store_init(&choice->store, &kind, loop, "default") < 0) {
        free(choice);
        return -ENOMEM;
    }
    choice->count = count;
    choice->why = BUFFER(LIMIT_TEXT * CHOICE_MOST);
    for (size_t i = 0; i < count; i++)
        choice->candidates[i] = candidates[i];
    *ret = &choice->store;
    return 0;
}
