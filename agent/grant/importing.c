#include "grant/importing.h"

#include "authority/metadata.h"
#include "cleanup.h"
#include <errno.h>

struct importing {
    const struct input *input;
    struct tokens tokens;
    struct credential credential;
    enum { ASKING, VERIFYING, SAVING } phase;
};

struct parcel *parcel_free(struct parcel *parcel)
{
    if (!parcel)
        return NULL;
    wipe_free(parcel->id_token);
    wipe_free(parcel->access_token);
    secret_unref(parcel->refresh_token);
    free(parcel->issuer);
    free(parcel->scope);
    free(parcel);
    return NULL;
}

static int deny(struct step *ret, const char *reason)
{
    struct failure why;
    failure_set(&why, FAILURE_DENIED, CLASS_DEFINITE, "%s", reason);
    return step_fail(ret, &why);
}

/* What is wrong with what was brought is the bringer's fault; that an authority cannot be asked is not. */
static int fail(struct step *ret, const struct answer *answer)
{
    const struct failure *why = &answer->why;
    if (why->kind == FAILURE_AUTHORITY_REFUSED && !*why->error && *why->reason)
        return deny(ret, why->reason);
    return step_fail_answer(ret, answer, FAILURE_DENIED, "the id_token could not be verified");
}

static int start(void *state, enum grant_op op, const struct input *input, const struct tick *tick, struct step *ret)
{
    struct importing *self = state;
    struct failure why;
    (void)tick;
    if (op != GRANT_IMPORT || !input->parcel)
        return -EINVAL;
    self->input = input;
    self->tokens = (struct tokens){.expires_in_s = -1, .refresh_in_s = -1, .refresh_life_s = -1};
    if (!scopes_granted(input->profile, input->profile->scopes, input->parcel->scope, &why))
        return deny(ret, *why.reason ? why.reason : why.description);
    *ret = (struct step){.kind = STEP_METADATA};
    return 0;
}

/* Of a template ("{tenantid}") the token's own tenant is put in, and compared, at VERIFY. */
static int asked(struct importing *self, const struct answer *answer, struct step *ret)
{
    const struct parcel *parcel = self->input->parcel;
    if (answer->error)
        return step_fail_answer(ret, answer, FAILURE_AUTHORITY_UNREACHABLE, "the authority's metadata");
    const struct metadata *metadata = answer->metadata;
    if (metadata && metadata->issuer && !metadata->issuer_is_template && strcmp(metadata->issuer, parcel->issuer) != 0)
        return deny(ret, "the sign-in is of another issuer than the profile's");
    self->phase = VERIFYING;
    *ret = (struct step){.kind = STEP_VERIFY, .verify = {.id_token = parcel->id_token}};
    return 0;
}

static int verified(struct importing *self, const struct answer *answer, struct step *ret)
{
    const struct parcel *parcel = self->input->parcel;
    if (answer->error || !answer->identity)
        return fail(ret, answer);
    if (strcmp(answer->identity->issuer, parcel->issuer) != 0)
        return deny(ret, "the id_token is of another issuer than the one that was named");
    self->credential.identity = *answer->identity;
    self->credential.refresh_token = parcel->refresh_token ? secret_ref(parcel->refresh_token) : NULL;
    self->credential.scope = strdup(parcel->scope);
    self->tokens.access_token = parcel->access_token ? strdup(parcel->access_token) : NULL;
    self->tokens.scope = strdup(parcel->scope);
    if (!self->credential.scope || !self->tokens.scope || (parcel->access_token && !self->tokens.access_token))
        return -ENOMEM;
    self->phase = SAVING;
    *ret = (struct step){.kind = STEP_SAVE, .save = &self->credential};
    return 0;
}

static int next(void *state, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    struct importing *self = state;
    (void)tick;
    if (self->phase == ASKING)
        return asked(self, answer, ret);
    if (self->phase == VERIFYING)
        return verified(self, answer, ret);
    if (answer->error)
        return step_fail_answer(ret, answer, FAILURE_STORE_UNAVAILABLE, "the sign-in could not be kept");
    *ret = (struct step){.kind = STEP_DONE, .done = {.tokens = &self->tokens}};
    return 0;
}

static void end(void *state)
{
    struct importing *self = state;
    tokens_clear(&self->tokens);
    credential_clear(&self->credential);
}

const struct grant grant_importing = {
    .name = "importing",
    .ops = GRANT_IMPORT,
    .state_size = sizeof(struct importing),
    .start = start,
    .next = next,
    .end = end,
};
