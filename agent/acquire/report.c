#include "acquire/report.h"

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
    if (!holder)
        return;
    if (holder->identity && *holder->identity->account)
        ret->account = holder->identity->account;
    if (holder->renew_by || holder->ends_at)
        ret->sign_in_ends_at = holder->renew_by && (!holder->ends_at || holder->renew_by < holder->ends_at)
                                   ? holder->renew_by
                                   : holder->ends_at;
    int64_t left = holder->ends_at - clock_wall_s();
    if (holder->ends_at && left <= WARN_SIGN_IN_S && !holder->signed_out) {
        char life[32];
        text_duration(life, sizeof(life), left > 0 ? left : 0);
        (void)snprintf(ret->warning, sizeof(ret->warning), "the sign-in ends for good in %s: mltoken login %s", life,
                       profile->name);
    }
    report_entry(conductor, holder, ret);
    if (conductor->locked)
        ret->state = "locked";
}
