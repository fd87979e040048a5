/* What a flight brought: told to those who waited, put where it is served from or remembered as a failure, and written
 * down. */
#include "acquire/conductor.h"
#include "acquire/flight.h"
#include "acquire/lock.h"
#include "acquire/recheck.h"
#include "acquire/report.h"
#include "clock.h"
#include "log.h"
#include <sys/random.h>

static uint16_t random16(void)
{
    uint16_t value = 0;
    (void)!getrandom(&value, sizeof(value), 0);
    return value;
}

void conductor_ask_again(struct conductor *conductor, struct flight *flight)
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
    conductor_ask_again(flight->conductor, flight);
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
        failure_keep(&flight->holder->signed_out, failure);
        conductor_end_watchers(entry, failure);
    }
    if (failure->credentials)
        failure_keep(&flight->holder->refused, failure);
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
    failure_keep(&flight->holder->signed_out, NULL);
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

/* What the authority asks of the next sign-in is sent with that by itself; nobody has to carry it there. Of a parent's
 * sign-in the failure keeps it, for who asks is told to sign in elsewhere. */
static const struct failure *keep_challenge(struct holder *holder, const struct failure *failure, struct failure *copy)
{
    if (failure->kind != FAILURE_LOGIN_REQUIRED || !*failure->claims || *failure->profile)
        return failure;
    holder_challenge(holder, failure->claims);
    *copy = *failure;
    *copy->claims = '\0';
    return copy;
}

void conductor_landed(struct conductor *conductor, struct flight *flight, struct tokens *tokens,
                      const struct failure *failure)
{
    struct entry *entry = flight->entry;
    if (flight->generation != flight->holder->generation || !entry) {
        conductor_ask_again(conductor, flight);
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
        land_failure(flight, keep_challenge(flight->holder, failure, &why));
    else
        land_tokens(flight);
    if (!flight->entry)
        return;
    entry->landing = NULL;
    flight->entry = NULL;
    if (!entry->flight)
        conductor_plan(conductor, entry);
}

bool conductor_serve_new(struct flight *flight, struct entry *entry)
{
    flight->entry = entry;
    entry->landing = flight;
    conductor_tell(flight);
    if (!flight->entry)
        return false;
    entry->landing = NULL;
    flight->entry = NULL;
    return true;
}
