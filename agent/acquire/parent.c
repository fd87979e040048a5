#include "acquire/parent.h"

#include "acquire/flight.h"
#include "acquire/lock.h"
#include "cleanup.h"
#include "parents.h"
#include <errno.h>
#include <stdio.h>

/* The failure as the child's: which parent it is about, and no refusal of the child's own. */
static void fail(struct flight *flight, const struct failure *failure)
{
    const char *parent = flight->profile->parent;
    struct answer given = {.error = -EACCES, .why = *failure};
    char whole[2 * LIMIT_TEXT];
    (void)snprintf(whole, sizeof(whole), "parent %s%s%s", parent, *failure->reason ? ": " : "", failure->reason);
    (void)snprintf(given.why.reason, sizeof(given.why.reason), "%.*s", LIMIT_TEXT - 1, whole);
    if (!*given.why.profile)
        (void)snprintf(given.why.profile, sizeof(given.why.profile), "%s", parent);
    given.why.inherited = true;
    given.why.credentials = given.why.uncertain = false;
    flight_give_later(flight, &given);
}

/* Who signs in somewhere up the chain: the name lives with the configuration. */
static const char *person_of(const struct flight *flight)
{
    struct config *config = flight->conductor->config;
    const struct profile *profile = flight->profile;
    for (int i = 0; i <= LIMIT_PARENTS && profile && profile->parent; i++) {
        profile = config_profile(config, profile->parent);
        if (profile && conductor_signs_in(profile))
            return profile->name;
    }
    return NULL;
}

static void give(struct flight *flight, const struct entry *entry)
{
    struct buffer *token = &flight->parent.token;
    struct failure why;
    if (!entry->value || flight->conductor->locked) {
        lock_failure(&why);
        fail(flight, &why);
        return;
    }
    buffer_clear(token);
    if (buffer_text(token, entry->value) < 0) {
        failure_set(&why, FAILURE_BUSY, CLASS_UNREACHABLE, "out of memory");
        fail(flight, &why);
        return;
    }
    flight_give_later(flight, &(struct answer){.body = buffer_span(token), .person = person_of(flight)});
}

static void on_parent(void *arg, struct entry *entry, const struct failure *failure)
{
    struct flight *flight = arg;
    timer_stop(&flight->timer);
    if (entry)
        give(flight, entry);
    else
        fail(flight, failure);
}

static void on_late(void *arg)
{
    struct flight *flight = arg;
    struct failure why;
    waiter_cancel(&flight->parent.waiter);
    failure_set(&why, FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE, "it has given no token within %lld s",
                (long long)(PARENT_TIMEOUTS * flight->profile->timeout_ms / 1000));
    fail(flight, &why);
}

static bool above(void *arg, const char *name, char ret[static LIMIT_PROFILE_NAME + 1])
{
    struct conductor *conductor = arg;
    const struct profile *profile = config_profile(conductor->config, name);
    if (!profile || !profile->parent)
        return false;
    (void)snprintf(ret, LIMIT_PROFILE_NAME + 1, "%s", profile->parent);
    return true;
}

/* VERDICT_SERVE, FETCH, or REFUSE with *why. */
static enum verdict ask(struct flight *flight, struct entry **ret, struct failure *why)
{
    struct conductor *conductor = flight->conductor;
    const struct profile *profile = flight->profile;
    struct parent_wait *wait = &flight->parent;
    struct holder *holder;
    char problem[LIMIT_TEXT];
    if (!profile->parent) {
        failure_set(why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE, "the profile has no parent");
        return VERDICT_REFUSE;
    }
    if (parents_check(profile->name, profile->parent, above, conductor, problem) < 0) {
        failure_set(why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE, "%s", problem);
        return VERDICT_REFUSE;
    }
    if (conductor_holder(conductor, profile->parent, &holder, why) < 0)
        return VERDICT_REFUSE;
    conductor->has_children = true;
    wait->request = (struct request){.min_valid_s = -1, .refresh = flight->step.parent.refresh};
    wait->waiter = (struct waiter){.request = &wait->request, .child = flight, .done = on_parent, .arg = flight};
    return conductor_get(conductor, holder, &wait->request, &wait->waiter, ret, why);
}

void parent_start(struct flight *flight)
{
    struct loop *loop = flight->conductor->loop;
    struct failure why;
    struct entry *entry;
    flight->parent.token.maximum = LIMIT_TOKEN;
    enum verdict verdict = ask(flight, &entry, &why);
    if (verdict == VERDICT_SERVE) {
        give(flight, entry);
    } else if (verdict == VERDICT_REFUSE) {
        fail(flight, &why);
    } else if (timer_start(loop, &flight->timer, loop_now(loop) + PARENT_TIMEOUTS * flight->profile->timeout_ms,
                           on_late, flight) < 0) {
        waiter_cancel(&flight->parent.waiter);
        failure_set(&why, FAILURE_BUSY, CLASS_UNREACHABLE, "out of memory");
        fail(flight, &why);
    }
}

void parent_end(struct flight *flight)
{
    waiter_cancel(&flight->parent.waiter);
    buffer_free(&flight->parent.token);
}
