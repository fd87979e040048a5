/* A key or bearer token that somebody else issued, and nobody here can renew: it is read from where it is kept, and
 * refused after its end. Two slots let the next one be put in place before the last one ends: without `slot` the
 * primary is served, and the secondary once the primary has ended or is not there. Where the store has them, rotating
 * prefers the other one from then on. What is read is good for some minutes, so that a changed file is noticed. */
#include "authority/answer.h"
#include "cleanup.h"
#include "grant/exchange.h"
#include "grant/slot.h"
#include "text.h"
#include <errno.h>
#include <stdio.h>
#include <time.h>

enum { PRIMARY = SLOT_PRIMARY, SECONDARY = SLOT_SECONDARY, REREAD_S = 300 };

static const struct place {
    const char *secret, *expires;
} slots[SLOTS] = {
    {"token", "expires"},
    {"token_secondary", "expires_secondary"},
};

struct held {
    const struct input *input;
    enum grant_op op;
    enum { RECALLING, READING, NOTING } phase;
    size_t order[SLOTS]; /* which is preferred, then the other */
    size_t place, slot;  /* of the one that is being read, and which it is */
    int64_t end;         /* of it */
    char note[SLOT_NOTE];
    struct tokens tokens;
    struct failure missing; /* of the preferred slot, when the other was tried after it */
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
    return slot_check(value) ? "is primary or secondary; without it the secondary follows when the primary has ended"
                             : NULL;
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
    return name ? slot_of(name) : SLOTS;
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
    size_t places = held->op == GRANT_ROTATE ? 1 : SLOTS; /* the one that was served is not what is rotated to */
    for (size_t place = from; place < places; place++) {
        size_t i = held->order[place];
        if (!is_configured(profile, i))
            continue;
        last = i;
        held->end = end_of(profile, i);
        if (held->end >= 0 && held->end <= tick->wall_s)
            continue;
        held->slot = i;
        held->place = place;
        held->phase = READING;
        *ret = (struct step){.kind = STEP_SECRET, .secret = slots[i].secret};
        return 0;
    }
    if (last == SLOTS)
        return step_fail(ret, &held->missing);
    return fail_ended(held, last, held->end, ret);
}

/* Why no note is kept of which one is served, or NULL. */
static const char *not_rotatable(const struct profile *profile)
{
    if (fixed_slot(profile) != SLOTS)
        return "slot in the configuration says which token is served: change it there, or remove it";
    if (profile->token.kind == SOURCE_NONE || profile->token_secondary.kind == SOURCE_NONE)
        return "there is but one token: have another one issued, put it in the other slot (token = stored and "
               "token_secondary = stored, mltoken secret set), and rotate";
    if (profile->token.kind != SOURCE_STORED || profile->token_secondary.kind != SOURCE_STORED)
        return "its tokens are not both in the store: exchange them where they are, or set slot";
    return NULL;
}

/* To rotate is to prefer the other one, if it is good. */
static int recalled(struct held *held, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    if (answer->error)
        return step_fail_answer(ret, answer, FAILURE_STORE_UNAVAILABLE, "which slot is served");
    enum slot first = slots_read(answer->body, NULL).served;
    if (held->op == GRANT_ROTATE)
        first = slot_other(first);
    held->order[0] = first;
    held->order[1] = slot_other(first);
    return read_slot(held, 0, tick, ret);
}

static int note(struct held *held, struct step *ret)
{
    const struct slots now = {.served = held->slot};
    slots_write(&now, NULL, held->note);
    held->phase = NOTING;
    *ret = (struct step){.kind = STEP_NOTE, .note = {.text = held->note, .tokens = &held->tokens}};
    return 0;
}

static int noted(struct held *held, const struct answer *answer, struct step *ret)
{
    if (answer->error)
        return step_fail_answer(ret, answer, FAILURE_STORE_UNAVAILABLE, "which slot is served");
    *ret = (struct step){.kind = STEP_DONE, .done = {.slot = slot_name(held->slot)}};
    return 0;
}

static int start(void *state, enum grant_op op, const struct input *input, const struct tick *tick, struct step *ret)
{
    struct held *held = state;
    struct failure why;
    held->input = input;
    held->op = op;
    held->order[0] = PRIMARY;
    held->order[1] = SECONDARY;
    const char *problem = op == GRANT_ROTATE ? not_rotatable(input->profile) : NULL;
    if (problem) {
        failure_set(&why, FAILURE_NOT_SUPPORTED, CLASS_DEFINITE, "%s", problem);
        return step_fail(ret, &why);
    }
    if (not_rotatable(input->profile))
        return read_slot(held, 0, tick, ret);
    held->phase = RECALLING;
    *ret = (struct step){.kind = STEP_RECALL};
    return 0;
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
    held->tokens = (struct tokens){
        .access_token = strndup(value.data, value.length),
        .type = strdup("Bearer"),
        .slot = source_of(held->input->profile, SECONDARY)->kind != SOURCE_NONE ? slot_name(held->slot) : NULL,
        .endless = held->end < 0,
        .expires_in_s = held->end < 0 ? LIMIT_LIFETIME_S : held->end - tick->wall_s,
        .refresh_in_s = REREAD_S,
        .refresh_life_s = -1};
    if (!held->tokens.access_token || !held->tokens.type)
        return -ENOMEM;
    if (held->op == GRANT_ROTATE)
        return note(held, ret);
    *ret = (struct step){.kind = STEP_DONE, .done = {.tokens = &held->tokens}};
    return 0;
}

static int next(void *state, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    struct held *held = state;
    if (held->phase == RECALLING)
        return recalled(held, answer, tick, ret);
    if (held->phase == NOTING)
        return noted(held, answer, ret);
    if (!answer->error)
        return serve(held, answer->body, tick, ret);
    int r = step_fail_answer(ret, answer, FAILURE_SECRET_MISSING, slots[held->slot].secret);
    if (r < 0 || held->op == GRANT_ROTATE || held->place > 0 || ret->fail.kind != FAILURE_SECRET_MISSING)
        return r;
    held->missing = ret->fail;
    return read_slot(held, 1, tick, ret);
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
    .ops = GRANT_ACQUIRE | GRANT_ROTATE,
    .state_size = sizeof(struct held),
    .keys = keys,
    .check = check,
    .ends_at = ends_at,
    .start = start,
    .next = next,
    .end = end,
};
