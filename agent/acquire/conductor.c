#include "acquire/conductor.h"

#include "acquire/errand.h"
#include "acquire/flight.h"
#include "acquire/lock.h"
#include "acquire/lodging.h"
#include "acquire/recheck.h"
#include "acquire/report.h"
#include "acquire/signin.h"
#include "cleanup.h"
#include "clock.h"
#include "log.h"
#include "text.h"
#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

/* How long a caller waits for a renewal while there is a token alive that it would take. */
enum { PATIENCE_MS = 2000 };

static uint16_t random16(void)
{
    uint16_t value = 0;
    (void)!getrandom(&value, sizeof(value), 0);
    return value;
}

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

/* ---- landing ---- */

static void set_failure(struct failure **place, const struct failure *failure)
{
    if (!failure) {
        free(*place);
        *place = NULL;
        return;
    }
    if (!*place)
        *place = malloc(sizeof(*failure));
    if (*place)
        **place = *failure;
}

/* Asks again for those whose flight began under settings that have changed. */
static void ask_again(struct conductor *conductor, struct flight *flight)
{
    while (flight->waiters.next != &flight->waiters) {
        struct waiter *waiter = flight->waiters.next;
        struct entry *entry = NULL;
        struct failure why;
        enum verdict verdict = VERDICT_REFUSE;
        waiter_cancel(waiter);
        struct holder *holder = NULL;
        if (conductor_holder(conductor, flight->profile->name, &holder, &why) == 0 && holder)
            verdict = conductor_get(conductor, holder, waiter->request, waiter, &entry, &why);
        if (verdict != VERDICT_FETCH)
            waiter->done(waiter->arg, verdict == VERDICT_SERVE ? entry : NULL, verdict == VERDICT_SERVE ? NULL : &why);
    }
}

/* The entry may be dropped by what those who are told do; who is left then is asked for again. */
static void answer_waiters(struct flight *flight, const struct failure *failure)
{
    int64_t now = loop_now(flight->conductor->loop);
    while (flight->entry && flight->waiters.next != &flight->waiters) {
        struct waiter *waiter = flight->waiters.next;
        struct entry *entry = flight->entry;
        struct failure why;
        bool alive = false;
        waiter_cancel(waiter);
        if (failure) {
            (void)entry_judge(entry, waiter->request, now, &why, &alive);
            waiter->done(waiter->arg, alive ? entry : NULL, alive ? NULL : failure);
        } else if (entry_too_short(entry, waiter->request, now, &why)) {
            waiter->done(waiter->arg, NULL, &why);
        } else {
            waiter->done(waiter->arg, entry, NULL);
        }
    }
    ask_again(flight->conductor, flight);
}

static void log_failure(const struct flight *flight, const struct failure *failure)
{
    enum log_level level = failure->class == CLASS_DEFINITE ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO;
    log_event(level, "no token", "PROFILE", flight->profile->name, "WHY", failure_name(failure->kind), "REASON",
              failure->reason, "ERROR", *failure->error ? failure->error : NULL, "DESCRIPTION",
              *failure->description ? failure->description : NULL, "CORRELATION_ID",
              *failure->correlation_id ? failure->correlation_id : NULL, NULL);
}

/* Failures of this host's own doing cost the authority nothing, and are mended by hand: the next call tries again. */
static bool is_remembered(const struct failure *failure)
{
    return failure->kind == FAILURE_AUTHORITY_REFUSED || failure->kind == FAILURE_AUTHORITY_UNREACHABLE ||
           failure->kind == FAILURE_LOGIN_REQUIRED;
}

static void land_failure(struct flight *flight, const struct failure *failure)
{
    struct conductor *conductor = flight->conductor;
    struct entry *entry = flight->entry;
    struct failure why = *failure;
    bool nobody = failure->kind == FAILURE_LOGIN_REQUIRED && !flight->input.held && conductor_signs_in(flight->profile);
    bool known = nobody || failure->inherited; /* it was said where it belongs */
    if (flight->recheck) {                     /* nothing was asked, and the memory is no younger by it */
        answer_waiters(flight, failure);
        return;
    }
    conductor->counters.failed++;
    recheck_note(flight);
    if (!known)
        log_failure(flight, failure);
    if (entry_fail(entry, failure, is_remembered(failure) && !known, loop_now(conductor->loop), clock_wall_s(),
                   random16()) == 0)
        why = *entry->failed; /* it knows the time of the next try */
    if (failure->kind == FAILURE_LOGIN_REQUIRED) {
        set_failure(&flight->holder->signed_out, failure);
        conductor_end_watchers(entry, failure);
    }
    if (failure->credentials)
        set_failure(&flight->holder->refused, failure);
    answer_waiters(flight, &why);
}

/* What nobody can renew: said as each mark is passed. */
static void warn_of_end(struct holder *holder)
{
    char sentence[LIMIT_TEXT];
    int days = report_end(holder->profile, holder, sentence);
    if (days && days != holder->warned_days)
        log_event(LOG_LEVEL_WARNING, sentence, "PROFILE", holder->profile->name, NULL);
    holder->warned_days = days;
}

static void land_tokens(struct flight *flight)
{
    flight->conductor->counters.fetched++;
    set_failure(&flight->holder->signed_out, NULL);
    warn_of_end(flight->holder);
    log_event(LOG_LEVEL_DEBUG, "token fetched", "PROFILE", flight->profile->name, NULL);
    conductor_tell(flight); /* before the waiters, who may become watchers, and have it then */
    answer_waiters(flight, NULL);
}

/* Authorities count in whole seconds, so the life begins with the second of the request on both clocks: what is said to
 * have ended has ended. But not so much of a life that there is nothing left of it. */
int conductor_put(const struct flight *flight, struct entry *entry, struct tokens *tokens)
{
    int64_t before = flight->sent_wall_ms % 1000, most = tokens->expires_in_s * 1000 / 4;
    int r = entry_put(entry, tokens, flight->sent_ms - (before < most ? before : most), flight->sent_wall_ms / 1000,
                      random16());
    if (r == 0)
        entry->fetched_ms = loop_now(flight->conductor->loop);
    return r;
}

void conductor_landed(struct conductor *conductor, struct flight *flight, struct tokens *tokens,
                      const struct failure *failure)
{
    struct entry *entry = flight->entry;
    if (flight->generation != flight->holder->generation || !entry) {
        ask_again(conductor, flight);
        return;
    }
    struct failure why;
    int r = tokens ? conductor_put(flight, entry, tokens) : 0;
    if (r < 0) {
        failure_set(&why, FAILURE_BUSY, CLASS_UNREACHABLE, "the token could not be kept: %s", strerror(-r));
        failure = &why;
    } else if (tokens && entry->expires_ms <= loop_now(conductor->loop)) {
        failure_set(&why, FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE,
                    "the authority took longer to answer than its token lives (%lld s)",
                    (long long)(entry->life_ms / 1000));
        failure = &why;
    }
    lock_entry(conductor, entry);
    entry->flight = NULL; /* whoever asks from now on starts a flight of their own */
    entry->landing = flight;
    if (failure)
        land_failure(flight, failure);
    else
        land_tokens(flight);
    if (!flight->entry)
        return;
    entry->landing = NULL;
    flight->entry = NULL;
    if (!entry->flight)
        conductor_plan(conductor, entry);
}

void conductor_serve_new(struct flight *flight, struct entry *entry)
{
    flight->entry = entry;
    entry->landing = flight;
    conductor_tell(flight);
    if (!flight->entry)
        return;
    entry->landing = NULL;
    flight->entry = NULL;
    conductor_plan(flight->conductor, entry);
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
    set_failure(&holder->signed_out, NULL);
    set_failure(&holder->refused, NULL);
    drop_children(conductor, holder, why);
}

void conductor_forget_sign_in(struct conductor *conductor, struct holder *holder)
{
    lodging_end(conductor, holder);
    keeper_note_sign_in(holder, NULL);
    holder_forget_unsaved(holder);
    holder->looked = false;
    holder->sign_in++;
}

bool conductor_signs_in(const struct profile *profile)
{
    return profile->grant && (profile->grant->ops & GRANT_LOGIN);
}

void conductor_forgive(struct conductor *conductor, struct holder *holder)
{
    set_failure(&holder->refused, NULL);
    for (struct entry *entry = holder->entries; entry; entry = entry->next) {
        entry_forget_failure(entry);
        conductor_plan(conductor, entry);
    }
}

void conductor_signed_in_again(struct conductor *conductor, struct holder *holder)
{
    set_failure(&holder->signed_out, NULL);
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
                ask_again(conductor, flight);
    config_free(old);
}
