#include "acquire/conductor.h"

#include "acquire/errand.h"
#include "acquire/flight.h"
#include "acquire/lock.h"
#include "acquire/lodging.h"
#include "acquire/recheck.h"
#include "cleanup.h"
#include "clock.h"
#include "log.h"
#include "text.h"
#include <errno.h>

/* How long a caller waits for a renewal while there is a token alive that it would take. */
enum { PATIENCE_MS = 2000 };

int conductor_new(const struct conductor *parts, struct conductor **ret)
{
    struct conductor *conductor = malloc(sizeof(*conductor));
    if (!conductor)
        return -ENOMEM;
    *conductor = *parts;
    int r = cache_new(&conductor->cache);
    if (r == 0)
        r = lock_new(conductor, &conductor->lock);
    if (r < 0) {
        cache_free(conductor->cache);
        free(conductor);
        return r;
    }
    conductor->started_at = clock_wall_s();
    owner_self(conductor->self);
    *ret = conductor;
    return 0;
}

struct conductor *conductor_free(struct conductor *conductor)
{
    if (!conductor)
        return NULL;
    struct holder **holders;
    size_t count;
    if (cache_holders(conductor->cache, &holders, &count) == 0) {
        for (size_t i = 0; i < count; i++)
            flight_free_all(holders[i]);
        free(holders);
    }
    errand_free_all(conductor);
    lock_free(conductor->lock);
    cache_free(conductor->cache);
    config_free(conductor->config);
    free(conductor);
    return NULL;
}

bool conductor_renews(const struct conductor *conductor)
{
    _cleanup_free_ struct holder **holders = NULL;
    size_t count = 0;
    if (cache_holders(conductor->cache, &holders, &count) < 0)
        return false;
    for (size_t i = 0; i < count; i++)
        for (const struct flight *flight = holders[i]->flights; flight; flight = flight->next)
            if (flight->keeper.marked)
                return true;
    return false;
}

/* ---- waiting ---- */

/* Puts it at the end of a ring. */
static void waiter_put(struct flight *flight, struct waiter *ring, struct waiter *waiter)
{
    waiter->flight = flight;
    waiter->next = ring;
    waiter->previous = ring->previous;
    waiter->previous->next = ring->previous = waiter;
}

void waiter_cancel(struct waiter *waiter)
{
    if (!waiter->flight)
        return;
    waiter->previous->next = waiter->next;
    waiter->next->previous = waiter->previous;
    waiter->flight = NULL;
}

void conductor_watch(struct conductor *conductor, struct entry *entry, struct watcher *watcher)
{
    watcher->entry = entry;
    watcher->round = conductor->rounds;
    watcher->previous = NULL;
    watcher->next = entry->watchers;
    if (watcher->next)
        watcher->next->previous = watcher;
    entry->watchers = watcher;
    conductor_plan(conductor, entry);
}

void watcher_cancel(struct watcher *watcher)
{
    if (!watcher->entry)
        return;
    if (watcher->previous)
        watcher->previous->next = watcher->next;
    else
        watcher->entry->watchers = watcher->next;
    if (watcher->next)
        watcher->next->previous = watcher->previous;
    watcher->entry = NULL;
}

void conductor_end_watchers(struct entry *entry, const struct failure *why)
{
    while (entry->watchers) {
        struct watcher *watcher = entry->watchers;
        watcher_cancel(watcher);
        watcher->told(watcher->arg, NULL, why);
    }
}

/* From the start after each, because any of them may go meanwhile; who comes now has the token already. */
void conductor_tell(struct flight *flight)
{
    uint64_t round = ++flight->conductor->rounds;
    for (struct watcher *watcher = flight->entry->watchers; watcher;) {
        if (watcher->round == round) {
            watcher = watcher->next;
            continue;
        }
        watcher->round = round;
        watcher->told(watcher->arg, flight->entry, NULL);
        watcher = flight->entry ? flight->entry->watchers : NULL;
    }
}

/* ---- asking ---- */

static int no_such_profile(const struct conductor *conductor, const char *name, struct failure *why)
{
    const struct config *config = conductor->config;
    const char *nearest = NULL;
    if (config->profile_count == 0 && config->problem_count > 0) {
        failure_set(why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE, "%s", config->problems[0]);
    } else if (config->profile_count == 0) {
        failure_set(why, FAILURE_NO_SUCH_PROFILE, CLASS_DEFINITE,
                    "no profile is configured yet; mltoken config new writes one");
    } else if (!name) {
        failure_set(why, FAILURE_NO_SUCH_PROFILE, CLASS_DEFINITE,
                    "no profile was named, and [agent] default_profile names none that is configured");
    } else {
        nearest = config->profile_count <= 1000 ? text_nearest(name, config->names, config->profile_count) : NULL;
        failure_set(why, FAILURE_NO_SUCH_PROFILE, CLASS_DEFINITE, "%s%s%s",
                    nearest ? "did you mean " : "mltoken status lists the configured ones", nearest ? nearest : "",
                    nearest ? "?" : "");
    }
    return -ENOENT;
}

int conductor_holder(struct conductor *conductor, const char *name, struct holder **ret, struct failure *why)
{
    struct holder *holder = name ? cache_find(conductor->cache, name) : NULL;
    if (holder && !holder->broken && !holder->gone) { /* the hot path */
        *ret = holder;
        return 0;
    }
    struct profile *profile = name ? config_profile(conductor->config, name) : config_default(conductor->config);
    if (!profile)
        return no_such_profile(conductor, name, why);
    if (profile->problem) {
        failure_set(why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE, "%s", profile->problem);
        return -ENOENT;
    }
    holder = cache_find(conductor->cache, profile->name);
    if (!holder && cache_add(conductor->cache, profile, &holder) < 0) {
        failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE, "out of memory");
        return -ENOENT;
    }
    *ret = holder;
    return 0;
}

static void on_patience(void *arg)
{
    struct flight *flight = arg;
    int64_t now = loop_now(flight->conductor->loop);
    struct waiter *last = flight->waiters.previous; /* who is told may ask again, and be put behind it */
    struct waiter stays = {.next = &stays, .previous = &stays};
    for (bool more = last != &flight->waiters; more && flight->entry && flight->waiters.next != &flight->waiters;) {
        struct waiter *waiter = flight->waiters.next;
        struct failure why;
        bool alive;
        more = waiter != last;
        (void)entry_judge(flight->entry, waiter->request, now, &why, &alive);
        waiter_cancel(waiter);
        if (alive)
            waiter->done(waiter->arg, flight->entry, NULL);
        else
            waiter_put(flight, &stays, waiter);
    }
    while (stays.next != &stays) {
        struct waiter *waiter = stays.next;
        waiter_cancel(waiter);
        waiter_put(flight, &flight->waiters, waiter);
    }
}

static int take_off(struct conductor *conductor, struct entry *entry, bool recheck)
{
    struct flight *flight;
    int r = flight_new(conductor, entry->holder, GRANT_ACQUIRE, &entry->request, &flight);
    if (r < 0)
        return r;
    flight->entry = entry;
    flight->recheck = recheck;
    entry->flight = flight;
    return timer_start(conductor->loop, &flight->patience, loop_now(conductor->loop) + PATIENCE_MS, on_patience,
                       flight);
}

/* A token that nobody had asked for was left to end; now it is renewed again. */
static void count_hit(struct conductor *conductor, struct entry *entry)
{
    conductor->counters.hits++;
    if (!entry->timer.loop && !entry->flight && entry->renew_ms >= 0)
        conductor_plan(conductor, entry);
}

enum verdict conductor_get(struct conductor *conductor, struct holder *holder, const struct request *request,
                           struct waiter *waiter, struct entry **ret_entry, struct failure *why)
{
    struct entry *entry;
    bool alive;
    int64_t now = loop_now(conductor->loop);
    if (conductor->locked) {
        lock_failure(why);
        return VERDICT_REFUSE;
    }
    int r = holder_entry(conductor->cache, holder, request, &entry);
    if (r < 0) {
        failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE,
                    r == -EBUSY ? "too many different tokens are wanted of this profile" : "out of memory");
        return VERDICT_REFUSE;
    }
    entry->asked_ms = now;
    enum verdict verdict = entry_judge(entry, request, now, why, &alive);
    if (verdict == VERDICT_FETCH && entry->flight && alive && now - entry->flight->since_ms >= PATIENCE_MS)
        verdict = VERDICT_SERVE;
    *ret_entry = entry;
    if (verdict == VERDICT_FETCH && holder->refused && !entry->flight) {
        *why = *holder->refused;
        verdict = alive ? VERDICT_SERVE : VERDICT_REFUSE;
    }
    if (verdict == VERDICT_SERVE)
        count_hit(conductor, entry);
    bool recheck = verdict == VERDICT_REFUSE && recheck_wanted(entry, now);
    if (verdict != VERDICT_FETCH && !recheck)
        return verdict;
    if (entry->flight) {
        conductor->counters.joined++;
    } else if ((r = take_off(conductor, entry, recheck)) < 0) {
        failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE, "%s", strerror(-r));
        return VERDICT_REFUSE;
    }
    waiter_put(entry->flight, &entry->flight->waiters, waiter);
    return VERDICT_FETCH;
}

bool conductor_hit(struct conductor *conductor, struct entry *entry, const struct request *request)
{
    int64_t now = loop_now(conductor->loop);
    struct failure why;
    bool alive;
    if (conductor->locked || entry->holder->broken || entry_judge(entry, request, now, &why, &alive) != VERDICT_SERVE)
        return false;
    entry->asked_ms = now;
    count_hit(conductor, entry);
    return true;
}

/* ---- renewing ---- */

static void on_renewal(void *arg)
{
    struct entry *entry = arg;
    if (entry->flight || entry->holder->refused || entry_renew_ms(entry, loop_now(entry->renewer->loop)) < 0)
        return;
    entry->renewer->counters.renewed++;
    if (take_off(entry->renewer, entry, false) < 0 && !entry->flight)
        (void)timer_start(entry->renewer->loop, &entry->timer, loop_now(entry->renewer->loop) + LIMIT_BACKOFF_FIRST_MS,
                          on_renewal, entry);
}

void conductor_plan(struct conductor *conductor, struct entry *entry)
{
    int64_t due = entry_renew_ms(entry, loop_now(conductor->loop));
    entry->renewer = conductor;
    if (due < 0 || conductor->locked)
        timer_stop(&entry->timer);
    else
        (void)timer_start(conductor->loop, &entry->timer, due, on_renewal, entry); /* without it: renewed on demand */
}

/* ---- configuration ---- */

static void drop_entries(struct conductor *conductor, struct holder *holder, const struct failure *why)
{
    while (holder->entries) {
        struct entry *entry = holder->entries;
        conductor_end_watchers(entry, why);
        if (entry->flight)
            entry->flight->entry = NULL; /* it flies on, for a new refresh token must not be lost */
        if (entry->landing)
            entry->landing->entry = NULL;
        holder_drop_entry(conductor->cache, entry);
    }
}

/* One that has something made from the holder's token, or was refused it; NULL: none. */
static struct holder *find_child(const struct conductor *conductor, const struct holder *parent)
{
    _cleanup_free_ struct holder **holders = NULL;
    size_t count;
    if (!conductor->has_children || cache_holders(conductor->cache, &holders, &count) < 0)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        struct holder *holder = holders[i];
        bool any = holder->entries || holder->signed_out || holder->refused;
        if (any && holder->profile->parent && strcmp(holder->profile->parent, parent->profile->name) == 0)
            return holder;
    }
    return NULL;
}

/* What was made from a token goes with it: it may be another person's now. */
static void drop_children(struct conductor *conductor, const struct holder *holder, const struct failure *why)
{
    for (struct holder *child; (child = find_child(conductor, holder));)
        conductor_drop(conductor, child, why);
}

void conductor_drop(struct conductor *conductor, struct holder *holder, const struct failure *why)
{
    holder->generation++;
    drop_entries(conductor, holder, why);
    failure_keep(&holder->signed_out, NULL);
    failure_keep(&holder->refused, NULL);
    drop_children(conductor, holder, why);
}

void conductor_forget_sign_in(struct conductor *conductor, struct holder *holder)
{
    lodging_end(conductor, holder);
    (void)keeper_note_sign_in(holder, NULL);
    holder_forget_unsaved(holder);
    holder_challenge(holder, NULL);
    holder->looked = false;
    holder->sign_in++;
}

bool conductor_signs_in(const struct profile *profile)
{
    return profile->grant && (profile->grant->ops & GRANT_LOGIN);
}

void conductor_forgive(struct conductor *conductor, struct holder *holder)
{
    failure_keep(&holder->refused, NULL);
    for (struct entry *entry = holder->entries; entry; entry = entry->next) {
        entry_forget_failure(entry);
        conductor_plan(conductor, entry);
    }
}

void conductor_signed_in_again(struct conductor *conductor, struct holder *holder)
{
    failure_keep(&holder->signed_out, NULL);
    conductor_forgive(conductor, holder);
}

/* What was served, or used to get it, may be another now: it is read anew, and those who watch are told. */
void conductor_replaced(struct conductor *conductor, struct holder *holder)
{
    conductor_forgive(conductor, holder);
    if (!holder->profile->grant->ends_at)
        return;
    holder->generation++;
    for (struct entry *entry = holder->entries; entry; entry = entry->next) {
        if (entry->flight)
            entry->flight->entry = NULL;
        entry->flight = NULL;
        entry_forget_token(entry);
        if (entry->watchers)
            (void)take_off(conductor, entry, false); /* failing that, at the next call */
    }
    struct failure why;
    failure_set(&why, FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE, "the token that it was made from was replaced; ask anew");
    drop_children(conductor, holder, &why);
}

static bool same_store(const struct profile *a, const struct profile *b)
{
    return a->store && b->store ? strcmp(a->store, b->store) == 0 : a->store == b->store;
}

/* A profile that is no longer there gives no tokens; its sign-in stays, for a file that an editor is just replacing is
 * gone for a moment too. */
static bool retire(struct conductor *conductor, struct holder *holder)
{
    struct failure why;
    (void)no_such_profile(conductor, holder->profile->name, &why);
    conductor_drop(conductor, holder, &why);
    holder->gone = true;
    bool kept = holder->flights || holder->identity;
    if (!kept)
        cache_remove(conductor->cache, holder);
    return kept;
}

/* A profile with a mistake is shut until it is mended; what we hold for it stays, for a typo must not sign anybody out.
 */
static void reconfigure(struct conductor *conductor, struct holder *holder, struct profile *profile)
{
    struct failure why;
    holder->gone = false;
    holder->broken = profile->problem != NULL;
    if (holder->broken)
        return;
    if (strcmp(holder->profile->fingerprint, profile->fingerprint) != 0) {
        failure_set(&why, FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE, "the profile's settings have changed; ask anew");
        conductor_drop(conductor, holder, &why);
    }
    if (!profile_same_binding(holder->profile, profile) || !same_store(holder->profile, profile))
        conductor_forget_sign_in(conductor, holder);
    profile_free(holder->profile);
    holder->profile = profile_ref(profile);
}

void conductor_configure(struct conductor *conductor, struct config *config, bool forgive)
{
    struct config *old = conductor->config;
    conductor->config = config;
    cache_new_epoch(conductor->cache);
    _cleanup_free_ struct holder **holders = NULL;
    size_t count;
    if (cache_holders(conductor->cache, &holders, &count) < 0 ||
        stores_set_key_file(conductor->stores, config->key_file) < 0) {
        log_event(LOG_LEVEL_ERROR, "the changed configuration is not used: out of memory", NULL);
        conductor->config = old;
        config_free(config);
        return;
    }
    if (conductor->lock_on)
        lock_on_configure(conductor->lock_on, config->lock_on_suspend, config->lock_on_session);
    for (size_t i = 0; i < count; i++) {
        struct holder *holder = holders[i];
        struct profile *profile = config_profile(config, holder->profile->name);
        if (forgive)
            conductor_forgive(conductor, holder);
        if (profile)
            reconfigure(conductor, holder, profile);
        else if (!retire(conductor, holder))
            holders[i] = NULL;
    }
    for (size_t i = 0; i < count; i++) /* nobody waits for what old settings bring */
        for (struct flight *flight = holders[i] ? holders[i]->flights : NULL; flight; flight = flight->next)
            if (flight->generation != holders[i]->generation || holders[i]->broken)
                conductor_ask_again(conductor, flight);
    config_free(old);
}
