#include "acquire/note.h"

#include "acquire/lock.h"
#include "cleanup.h"

static int own_store(const struct flight *flight, struct store **ret)
{
    return stores_find(flight->conductor->stores, flight->profile->store, ret);
}

static struct store_key key_of(const struct flight *flight, bool quiet)
{
    return (struct store_key){
        .profile = flight->profile->name, .name = SECRET_SLOT, .binding = flight->keeper.binding, .quiet = quiet};
}

static void on_recalled(void *arg, const struct store_result *result)
{
    struct flight *flight = arg;
    struct answer given = {0};
    bool none = result->error == STORE_MISSING || result->error == STORE_BOUND || result->error == STORE_UNAVAILABLE;
    flight->stored = NULL;
    if (result->error && !none) {
        given.error = result->error;
        keeper_failure(&given.why, "which slot is served cannot be read", result);
    } else if (!result->error) {
        given.body = secret_span(result->value);
    }
    flight_answer(flight, &given);
}

int note_recall(struct flight *flight)
{
    struct store *store;
    struct store_key key = key_of(flight, flight->step.quiet);
    int r = own_store(flight, &store);
    return r < 0 ? r : store_get(store, &key, on_recalled, flight, &flight->stored);
}

/* ---- keeping ---- */

static int copy(const struct tokens *from, struct tokens *ret)
{
    *ret = *from;
    ret->id_token = ret->scope = NULL;
    ret->refresh_token = NULL;
    ret->access_token = strdup(from->access_token);
    ret->type = strdup(from->type);
    if (ret->access_token && ret->type)
        return 0;
    tokens_clear(ret);
    return -ENOMEM;
}

static int put(struct flight *flight, struct entry *entry, const struct tokens *tokens)
{
    struct tokens own;
    int r = copy(tokens, &own);
    if (r == 0)
        r = conductor_put(flight, entry, &own);
    tokens_clear(&own);
    if (r < 0)
        entry_forget_token(entry); /* it is fetched, from the slot that is right */
    lock_entry(flight->conductor, entry);
    return r;
}

/* A flight that asked for the slot before must not bring what is no longer served: who waits for it is asked for again
 * when it lands, and finds this. */
static void serve(struct flight *flight, const struct tokens *tokens)
{
    static const struct request plain = {.min_valid_s = -1};
    struct conductor *conductor = flight->conductor;
    struct holder *holder = flight->holder;
    struct entry *entry;
    if (flight->generation != holder->generation)
        return; /* the settings have changed: what they want is fetched by them */
    flight->generation = ++holder->generation;
    if (holder_entry(conductor->cache, holder, &plain, &entry) == 0)
        entry->asked_ms = loop_now(conductor->loop);
    for (entry = holder->entries; entry; entry = entry->next) {
        if (entry->flight)
            entry->flight->entry = NULL;
        entry->flight = NULL;
        if (put(flight, entry, tokens) == 0)
            conductor_plan(conductor, entry);
    }
    if (holder_entry(conductor->cache, holder, &plain, &entry) == 0) /* the only one that is watched */
        (void)conductor_serve_new(flight, entry);                    /* its renewal is planned */
}

static void on_kept(void *arg, const struct store_result *result)
{
    struct flight *flight = arg;
    struct answer given = {.error = result->error};
    flight->stored = NULL;
    if (result->error)
        keeper_failure(&given.why, "which slot is served cannot be kept", result);
    else if (flight->step.note.tokens)
        serve(flight, flight->step.note.tokens);
    flight_answer(flight, &given);
}

int note_keep(struct flight *flight)
{
    struct store *store;
    struct secret *value = NULL;
    struct store_key key = key_of(flight, false);
    const char *text = flight->step.note.text;
    int r = own_store(flight, &store);
    if (r == 0)
        r = secret_new(text, strlen(text), &value);
    if (r < 0 || !value)
        return r;
    r = store_put(store, &key, value, STORE_ANY, on_kept, flight, &flight->stored);
    secret_unref(value);
    return r;
}
