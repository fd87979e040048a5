#include "acquire/report.h"

#include "acquire/errand.h"
#include "acquire/flight.h"
#include "cleanup.h"
#include "clock.h"
#include "text.h"
#include <stdio.h>

static void put_failure(struct report *report, const struct failure *failure)
{
    (void)snprintf(report->error, sizeof(report->error), "%s%s%s%s%s", failure->error, *failure->error ? ": " : "",
                   failure->description, *failure->description && *failure->reason ? "; " : "", failure->reason);
    report->state = failure->kind == FAILURE_SECRET_MISSING   ? "secret_missing"
                    : failure->kind == FAILURE_LOGIN_REQUIRED ? "login_required"
                                                              : "failing";
}

/* The state of the entry that a plain `get` would use. */
static void report_entry(const struct conductor *conductor, const struct holder *holder, struct report *report)
{
    const struct entry *plain = NULL;
    for (const struct entry *entry = holder->entries; entry; entry = entry->next)
        if (!entry->request.scopes && !entry->request.resource && !entry->request.audience && !entry->request.claims)
            plain = entry;
    bool alive = plain && plain->reply.length && plain->expires_ms > loop_now(conductor->loop);
    if (alive) {
        report->account = report->account ? report->account : plain->account;
        report->slot = plain->slot;
        report->expires_at = plain->expires_at;
        report->refresh_at = plain->refresh_at;
        report->state = "ready";
    }
    if (plain && plain->flight)
        report->state = "refreshing";
    if (holder->signed_out)
        put_failure(report, holder->signed_out);
    else if (plain && plain->failed)
        put_failure(report, plain->failed);
}

int report_end(const struct profile *profile, const struct holder *holder, char sentence[static LIMIT_TEXT])
{
    enum { DAY_S = 24 * 3600 };
    static const int marks[] = {1, 7, 30, 90};
    bool person = (profile->grant->ops & GRANT_LOGIN) != 0;
    int64_t end = !person                         ? profile->grant->ends_at ? profile->grant->ends_at(profile) : 0
                  : holder && !holder->signed_out ? holder->ends_at
                                                  : 0;
    int64_t left = end - clock_wall_s();
    char life[32];
    *sentence = '\0';
    if (!end)
        return 0;
    text_duration(life, sizeof(life), left > 0 ? left : 0);
    for (size_t i = 0; i < (person ? 2 : ELEMENTS(marks)); i++) {
        if (left > marks[i] * (int64_t)DAY_S)
            continue;
        if (person)
            (void)snprintf(sentence, LIMIT_TEXT, "the sign-in ends for good in %s: mltoken login %s", life,
                           profile->name);
        else
            (void)snprintf(sentence, LIMIT_TEXT,
                           left > 0 ? "the last token ends in %s: have a new one issued"
                                    : "the last token has ended: have a new one issued",
                           life);
        return marks[i];
    }
    return 0;
}

/* A call to the profile's store that is under way, or NULL. */
static const struct store_call *find_call(const struct conductor *conductor, const struct profile *profile,
                                          const struct holder *holder)
{
    for (const struct flight *flight = holder ? holder->flights : NULL; flight; flight = flight->next) {
        if (flight->stored || flight->keeper.call)
            return flight->stored ? flight->stored : flight->keeper.call;
        const struct flight *above = flight->parent.waiter.flight;
        const struct store_call *call = above ? find_call(conductor, above->profile, above->holder) : NULL;
        if (call)
            return call;
    }
    return errand_waits(conductor, profile->name);
}

static void report_waiting(const struct store_call *call, struct report *report)
{
    _cleanup_buffer_ struct buffer text = BUFFER(4 * LIMIT_TEXT);
    if (!call)
        return;
    store_call_describe(call, &text);
    text_clean_into(report->waiting, sizeof(report->waiting), buffer_span(&text));
}

void report_profile(const struct conductor *conductor, const struct profile *profile, struct report *ret)
{
    const struct holder *holder = cache_find(conductor->cache, profile->name);
    *ret = (struct report){.state = "empty", .expires_at = -1, .refresh_at = -1, .sign_in_ends_at = -1};
    if (profile->problem) {
        ret->state = "invalid";
        text_clean_into(ret->error, sizeof(ret->error), span_of(profile->problem));
        return;
    }
    if ((profile->grant->ops & GRANT_LOGIN) && holder && holder->looked && !holder->identity)
        ret->state = "login_required";
    if (conductor->locked)
        ret->state = "locked";
    (void)report_end(profile, holder, ret->warning);
    report_waiting(find_call(conductor, profile, holder), ret);
    if (holder && holder->lodged) /* whatever it is at: nobody is asked for it */
        (void)snprintf(ret->waiting, sizeof(ret->waiting),
                       "its store is locked: the sign-in is in memory alone, and goes there when that opens");
    if (!holder)
        return;
    if (holder->identity && *holder->identity->account)
        ret->account = holder->identity->account;
    ret->policy = holder->policy;
    if (holder->renew_by || holder->ends_at)
        ret->sign_in_ends_at = holder->renew_by && (!holder->ends_at || holder->renew_by < holder->ends_at)
                                   ? holder->renew_by
                                   : holder->ends_at;
    report_entry(conductor, holder, ret);
    if (conductor->locked)
        ret->state = "locked";
}
