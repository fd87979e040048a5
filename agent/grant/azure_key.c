/* The two keys of an Azure resource, of which one is served: of an online endpoint or web service of Azure ML
 * (azureml_key), of a Cognitive Services account such as Azure OpenAI (azure_key). The profile that `parent` names may
 * list them. A key has no end, but others may make it anew: so it is read again every some minutes.
 *
 * To rotate is the documented way for two keys, in an order in which what is served is good at each step: look at both;
 * serve the other one, noted durably together with what is to be done; have the first made anew; look at both again;
 * note that it is done. Wherever that ends, the next rotation goes on with the one that is not served. */
#include "authority/answer.h"
#include "cleanup.h"
#include "grant/arm.h"
#include "grant/exchange.h"
#include "json.h"
#include <errno.h>
#include <stdio.h>

enum { KEY_REREAD_S = 900 };

struct azure_key {
    const struct input *input;
    enum grant_op op;
    enum { RECALLING, LISTING, SWITCHING, REGENERATING, CHECKING, CLEARING } phase;
    struct arm arm;
    const char *slot; /* the setting */
    struct slots slots;
    char note[SLOT_NOTE];
    char *old; /* the key that is made anew */
    struct tokens tokens;
};

/* ---- settings ---- */

static const char *check_kind(const struct profile *profile, bool account)
{
    enum arm_kind kind;
    if (!arm_dialect_of(profile->authority, &kind))
        return account ? "needs the account's whole address as authority: https://management.azure.com/subscriptions/"
                         "SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.CognitiveServices/accounts/NAME"
                       : "needs the endpoint's whole address as authority: https://management.azure.com/subscriptions/"
                         "SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.MachineLearningServices/workspaces/"
                         "WORKSPACE/onlineEndpoints/NAME, or that of a web service, with /modelmanagement/v1.0/";
    if (account != (kind == ARM_ACCOUNT))
        return account ? "has the authority of Azure ML: grant = azureml_key is for that"
                       : "has the authority of an account: grant = azure_key is for that";
    return NULL;
}

static const char *check_azureml(const struct profile *profile)
{
    return check_kind(profile, false);
}

static const char *check_account(const struct profile *profile)
{
    return check_kind(profile, true);
}

/* ---- failing: what is served now belongs to it ---- */

static int failing(struct azure_key *self, struct step *ret)
{
    struct failure *why = &ret->fail;
    char whole[2 * LIMIT_TEXT];
    if (self->op != GRANT_ROTATE || ret->kind != STEP_FAIL || self->phase == RECALLING)
        return 0;
    const char *served = slot_name(self->slots.served), *other = slot_name(slot_other(self->slots.served));
    int length = snprintf(whole, sizeof(whole), "%s%s", why->reason, *why->reason ? "; " : "");
    if (self->phase == LISTING || self->phase == SWITCHING)
        (void)snprintf(whole + length, sizeof(whole) - (size_t)length, "the %s key is served as before", served);
    else
        (void)snprintf(whole + length, sizeof(whole) - (size_t)length,
                       "the %s key is served and good; whether the %s one was made anew is not known: rotate again",
                       served, other);
    (void)snprintf(why->reason, sizeof(why->reason), "%.*s", LIMIT_TEXT - 1, whole);
    return 0;
}

static int fail_with(struct azure_key *self, const char *code, const char *sentence, struct step *ret)
{
    struct failure why;
    failure_refused(&why, code, sentence);
    (void)step_fail(ret, &why);
    return failing(self, ret);
}

/* ---- keys ---- */

/* 0, or -EINVAL: there is none that can stand in a header. */
static int key_of(const struct azure_key *self, json_object *json, enum slot slot, struct span *ret)
{
    if (json_bytes(json, self->arm.dialect->keys[slot], LIMIT_TOKEN, ret) < 0 || ret->length == 0)
        return -EINVAL;
    for (size_t i = 0; i < ret->length; i++)
        if ((unsigned char)ret->data[i] <= 0x20 || (unsigned char)ret->data[i] >= 0x7f)
            return -EINVAL;
    return 0;
}

static int fail_missing(struct azure_key *self, enum slot slot, struct step *ret)
{
    char sentence[LIMIT_TEXT];
    (void)snprintf(sentence, sizeof(sentence), "%s has no %s key (%s) that can be served", self->arm.dialect->what,
                   slot_name(slot), self->arm.dialect->keys[slot]);
    return fail_with(self, "missing_key", sentence, ret);
}

static int hold(struct azure_key *self, enum slot slot, struct span key)
{
    tokens_clear(&self->tokens);
    self->tokens = (struct tokens){.access_token = strndup(key.data, key.length),
                                   .type = strdup("Bearer"),
                                   .slot = slot_name(slot),
                                   .endless = true,
                                   .expires_in_s = LIMIT_LIFETIME_S,
                                   .refresh_in_s = KEY_REREAD_S,
                                   .refresh_life_s = -1};
    return self->tokens.access_token && self->tokens.type ? 0 : -ENOMEM;
}

/* ---- the steps ---- */

static int note(struct azure_key *self, int phase, struct step *ret)
{
    slots_write(&self->slots, self->slot, self->note);
    self->phase = phase;
    *ret = (struct step){.kind = STEP_NOTE, .note = {.text = self->note, .tokens = &self->tokens}};
    return 0;
}

static int list(struct azure_key *self, int phase, const struct tick *tick, struct step *ret)
{
    self->phase = phase;
    return arm_begin(&self->arm, ARM_LIST_KEYS, NULL, tick, ret);
}

/* A renewal must not fail for a store that a person has to unlock: either slot's key, as it is listed now, is good. */
static int recalled(struct azure_key *self, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    if (answer->error && self->op == GRANT_ROTATE)
        return step_fail_answer(ret, answer, FAILURE_STORE_UNAVAILABLE, "which slot is served");
    struct span note = {0};
    if (!answer->error)
        note = answer->body;
    self->slots = slots_read(note, self->slot);
    return list(self, LISTING, tick, ret);
}

/* One that was interrupted goes on: what was to be made anew still is, and is not served. */
static int listed(struct azure_key *self, json_object *json, struct step *ret)
{
    enum slot served = self->slots.served;
    bool flip = self->op == GRANT_ROTATE && !self->slots.regenerating;
    struct span key, old;
    if (flip)
        served = slot_other(served);
    if (key_of(self, json, served, &key) < 0)
        return fail_missing(self, served, ret);
    int r = hold(self, served, key);
    if (r < 0)
        return r;
    if (self->op != GRANT_ROTATE) {
        *ret = (struct step){.kind = STEP_DONE, .done = {.tokens = &self->tokens}};
        return 0;
    }
    if (key_of(self, json, slot_other(served), &old) == 0 && !(self->old = strndup(old.data, old.length)))
        return -ENOMEM;
    self->slots = (struct slots){.served = served, .regenerating = true};
    return note(self, SWITCHING, ret);
}

static int checked(struct azure_key *self, json_object *json, struct step *ret)
{
    enum slot served = self->slots.served, other = slot_other(served);
    struct span key, fresh;
    self->phase = CHECKING;
    if (key_of(self, json, served, &key) < 0)
        return fail_missing(self, served, ret);
    if (key_of(self, json, other, &fresh) < 0)
        return fail_missing(self, other, ret);
    if (self->old && span_equals(fresh, span_of(self->old)))
        return fail_with(self, "unchanged_key", "the service says that the key was made anew, and lists the same one",
                         ret);
    int r = hold(self, served, key); /* somebody else may have made this one anew meanwhile */
    self->slots.regenerating = false;
    return r < 0 ? r : note(self, CLEARING, ret);
}

static int noted(struct azure_key *self, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    if (answer->error) {
        bool switching = self->phase == SWITCHING;
        int r = step_fail_answer(ret, answer, FAILURE_STORE_UNAVAILABLE, "which slot is served");
        if (switching)
            self->slots.served = slot_other(self->slots.served);
        return r < 0 ? r : failing(self, ret);
    }
    if (self->phase == CLEARING) {
        *ret = (struct step){.kind = STEP_DONE, .done = {.slot = slot_name(self->slots.served)}};
        return 0;
    }
    self->phase = REGENERATING;
    return arm_begin(&self->arm, ARM_REGENERATE, self->arm.dialect->regenerate[slot_other(self->slots.served)], tick,
                     ret);
}

static int start(void *state, enum grant_op op, const struct input *input, const struct tick *tick, struct step *ret)
{
    struct azure_key *self = state;
    (void)tick;
    if (op != GRANT_ACQUIRE && op != GRANT_ROTATE)
        return -EINVAL;
    self->input = input;
    self->op = op;
    self->slot = profile_setting(input->profile, "slot");
    arm_open(&self->arm, input->profile);
    if (!self->arm.dialect)
        return -EINVAL;
    self->phase = RECALLING;
    *ret = (struct step){.kind = STEP_RECALL, .quiet = op == GRANT_ACQUIRE};
    return 0;
}

static int next(void *state, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    struct azure_key *self = state;
    _cleanup_json_wipe_ json_object *json = NULL;
    bool done;
    if (self->phase == RECALLING)
        return recalled(self, answer, tick, ret);
    if (self->phase == SWITCHING || self->phase == CLEARING)
        return noted(self, answer, tick, ret);
    int r = arm_next(&self->arm, answer, tick, ret, &json, &done);
    if (r < 0 || !done)
        return r < 0 ? r : failing(self, ret);
    if (self->phase == LISTING)
        return listed(self, json, ret);
    if (self->phase == REGENERATING && !json)
        return list(self, CHECKING, tick, ret);
    return checked(self, json, ret);
}

static void end(void *state)
{
    struct azure_key *self = state;
    arm_end(&self->arm);
    wipe_free(self->old);
    tokens_clear(&self->tokens);
}

static const char *const required[] = {"authority", "parent", NULL};

static const struct key keys[] = {
    {.name = "slot", .check = slot_check}, {.name = "api_version", .check = arm_check_version}, {0}};

const struct grant grant_azureml_key = {
    .name = "azureml_key",
    .ops = GRANT_ACQUIRE | GRANT_ROTATE,
    .bare = true,
    .state_size = sizeof(struct azure_key),
    .required = required,
    .keys = keys,
    .check = check_azureml,
    .start = start,
    .next = next,
    .end = end,
};

const struct grant grant_azure_key = {
    .name = "azure_key",
    .ops = GRANT_ACQUIRE | GRANT_ROTATE,
    .bare = true,
    .header = "api-key: {token}",
    .state_size = sizeof(struct azure_key),
    .required = required,
    .keys = keys,
    .check = check_account,
    .start = start,
    .next = next,
    .end = end,
};
