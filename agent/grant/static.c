/* A key or bearer token that somebody else issued, and nobody here can renew: it is read from where it is kept, and
 * refused after its end. Two slots let the next one be put in place before the last one ends: without `slot` the
 * primary is served, and the secondary once the primary has ended or is not there. What is read is good for some
 * minutes, so that a changed file is noticed. */
#include "authority/answer.h"
#include "cleanup.h"
#include "grant/exchange.h"
#include "text.h"
#include <errno.h>
#include <stdio.h>
#include <time.h>

enum { PRIMARY, SECONDARY, SLOTS, REREAD_S = 300 };

static const struct slot {
    const char *name, *secret, *expires;
} slots[SLOTS] = {
    {"primary", "token", "expires"},
    {"secondary", "token_secondary", "expires_secondary"},
};

struct held {
    const struct input *input;
    size_t slot;
    int64_t end; /* of the slot that is being read */
    struct tokens tokens;
    struct failure missing; /* of the primary slot, when the secondary was tried after it */
};

/* ---- settings ---- */

static const struct source *source_of(const struct profile *profile, size_t slot)
{
    return slot == PRIMARY ? &profile->token : &profile->token_secondary;
}

/* "2027-01-31" means its last second, "2027-01-31T12:00:00Z" just that; UTC. -1: neither. */
static int64_t read_date(const char *text)
{
    struct tm when = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &when);
    if (rest && !*rest && strlen(text) == sizeof("2027-01-31T12:00:00Z") - 1)
        return timegm(&when);
    when = (struct tm){0};
    rest = strptime(text, "%Y-%m-%d", &when);
    if (!rest || *rest || strlen(text) != sizeof("2027-01-31") - 1)
        return -1;
    when.tm_hour = 23;
    when.tm_min = when.tm_sec = 59;
    struct tm same = when;
    int64_t end = timegm(&when);
    return when.tm_mday == same.tm_mday ? end : -1; /* no 31st of February */
}

static const char *check_date(const char *value)
{
    return read_date(value) < 0 ? "is no date; write 2027-01-31 (its end, UTC) or 2027-01-31T12:00:00Z" : NULL;
}

static const char *check_slot(const char *value)
{
    for (size_t i = 0; i < SLOTS; i++)
        if (strcmp(value, slots[i].name) == 0)
            return NULL;
    return "is primary or secondary; without it the secondary follows when the primary has ended";
}

/* -1: it does not end, as far as anybody said. */
static int64_t end_of(const struct profile *profile, size_t slot)
{
    const char *date = profile_setting(profile, slots[slot].expires);
    return date ? read_date(date) : -1;
}

/* The one that is served, whatever else is there; SLOTS: none is named. */
static size_t fixed_slot(const struct profile *profile)
{
    const char *name = profile_setting(profile, "slot");
    return !name ? SLOTS : strcmp(name, slots[PRIMARY].name) == 0 ? PRIMARY : SECONDARY;
}

static bool is_configured(const struct profile *profile, size_t slot)
{
    size_t fixed = fixed_slot(profile);
    return source_of(profile, slot)->kind != SOURCE_NONE && (fixed == SLOTS || fixed == slot);
}

static const char *check(const struct profile *profile)
{
    if (!is_configured(profile, PRIMARY) && !is_configured(profile, SECONDARY))
        return fixed_slot(profile) == SLOTS ? "needs token" : "slot names one that has no token";
    for (size_t i = 0; i < SLOTS; i++)
        if (profile_setting(profile, slots[i].expires) && source_of(profile, i)->kind == SOURCE_NONE)
            return "an end is given for a token that is not: expires goes with token, expires_secondary with "
                   "token_secondary";
    return NULL;
}

/* The end of all that there is to serve. */
static int64_t ends_at(const struct profile *profile)
{
    int64_t last = 0;
    for (size_t i = 0; i < SLOTS; i++) {
        if (!is_configured(profile, i))
            continue;
        int64_t end = end_of(profile, i);
        if (end < 0)
            return 0;
        last = end > last ? end : last;
    }
    return last;
}

/* ---- the machine ---- */

static int fail_ended(struct held *held, size_t slot, int64_t end, struct step *ret)
{
    struct failure why;
    struct tm when;
    char date[32] = "";
    time_t at = end;
    (void)strftime(date, sizeof(date), "%Y-%m-%d", gmtime_r(&at, &when));
    if (held->missing.kind != FAILURE_NONE)
        return step_fail(ret, &held->missing);
    failure_set(&why, FAILURE_SECRET_MISSING, CLASS_DEFINITE,
                "%s ended on %s (UTC): have a new one issued, put it in its place and set %s", slots[slot].secret, date,
                slots[slot].expires);
    (void)snprintf(why.name, sizeof(why.name), "%s", slots[slot].secret);
    return step_fail(ret, &why);
}

/* The first slot from `from` on that has not ended; when none is left, what was wrong with the others. */
static int read_slot(struct held *held, size_t from, const struct tick *tick, struct step *ret)
{
    const struct profile *profile = held->input->profile;
    size_t last = SLOTS;
    for (size_t i = from; i < SLOTS; i++) {
        if (!is_configured(profile, i))
            continue;
        last = i;
        held->end = end_of(profile, i);
        if (held->end >= 0 && held->end <= tick->wall_s)
            continue;
        held->slot = i;
        *ret = (struct step){.kind = STEP_SECRET, .secret = slots[i].secret};
        return 0;
    }
    if (last == SLOTS)
        return step_fail(ret, &held->missing);
    return fail_ended(held, last, held->end, ret);
}

static int start(void *state, enum grant_op op, const struct input *input, const struct tick *tick, struct step *ret)
{
    struct held *held = state;
    if (op != GRANT_ACQUIRE)
        return -EINVAL;
    held->input = input;
    return read_slot(held, PRIMARY, tick, ret);
}

static int serve(struct held *held, struct span value, const struct tick *tick, struct step *ret)
{
    struct failure why;
    bool good = value.length > 0 && value.length <= LIMIT_TOKEN;
    for (size_t i = 0; good && i < value.length; i++)
        good = (unsigned char)value.data[i] > 0x20 && (unsigned char)value.data[i] < 0x7f;
    if (!good) {
        failure_set(&why, FAILURE_SECRET_MISSING, CLASS_DEFINITE,
                    "what is kept as %s cannot stand in a header: it is empty, too long or has blanks or other "
                    "characters that no token has",
                    slots[held->slot].secret);
        (void)snprintf(why.name, sizeof(why.name), "%s", slots[held->slot].secret);
        return step_fail(ret, &why);
    }
    held->tokens = (struct tokens){.access_token = strndup(value.data, value.length),
                                   .type = strdup("Bearer"),
                                   .endless = held->end < 0,
                                   .expires_in_s = held->end < 0 ? LIMIT_LIFETIME_S : held->end - tick->wall_s,
                                   .refresh_in_s = REREAD_S,
                                   .refresh_life_s = -1};
    if (!held->tokens.access_token || !held->tokens.type)
        return -ENOMEM;
    *ret = (struct step){.kind = STEP_DONE, .done = {.tokens = &held->tokens}};
    return 0;
}

static int next(void *state, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    struct held *held = state;
    if (!answer->error)
        return serve(held, answer->body, tick, ret);
    int r = step_fail_answer(ret, answer, FAILURE_SECRET_MISSING, slots[held->slot].secret);
    if (r < 0 || held->slot != PRIMARY || ret->fail.kind != FAILURE_SECRET_MISSING)
        return r;
    held->missing = ret->fail;
    return read_slot(held, SECONDARY, tick, ret);
}

static void end(void *state)
{
    struct held *held = state;
    tokens_clear(&held->tokens);
}

static const struct key keys[] = {{.name = "expires", .check = check_date},
                                  {.name = "expires_secondary", .check = check_date},
                                  {.name = "slot", .check = check_slot},
                                  {0}};

const struct grant grant_static = {
    .name = "static",
    .ops = GRANT_ACQUIRE,
    .state_size = sizeof(struct held),
    .keys = keys,
    .check = check,
    .ends_at = ends_at,
    .start = start,
    .next = next,
    .end = end,
};
