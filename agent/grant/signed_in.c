#include "grant/signed_in.h"

#include "cleanup.h"
#include <errno.h>
#include <stdio.h>

void signed_in_begin(struct signed_in *signed_in, const struct input *input)
{
    *signed_in =
        (struct signed_in){.input = input, .tokens = {.expires_in_s = -1, .refresh_in_s = -1, .refresh_life_s = -1}};
}

static int keep(struct signed_in *signed_in, struct step *ret)
{
    struct credential *credential = &signed_in->credential;
    const struct tokens *tokens = &signed_in->tokens;
    char *const *asked = request_scopes(input_request(signed_in->input), signed_in->input->profile);
    if (signed_in->input->profile->base)
        (void)snprintf(credential->policy, sizeof(credential->policy), "%s", signed_in->input->profile->policy);
    if (tokens->refresh_token)
        credential->refresh_token = secret_ref(tokens->refresh_token);
    credential->scope = tokens->scope ? strdup(tokens->scope) : asked ? scopes_join(asked) : strdup("");
    if (!credential->scope)
        return -ENOMEM;
    signed_in->phase = SIGNED_IN_SAVING;
    *ret = (struct step){.kind = STEP_SAVE, .save = credential};
    return 0;
}

/* Entra v1 signs no id_token for a native client (alg none: the third part is empty). Such a one says nothing: without
 * it the sign-in stands and the account is not known. Everywhere else it is for VERIFY to refuse. */
static bool is_unsigned_v1(const struct profile *profile, const char *id_token)
{
    size_t length = strlen(id_token);
    return profile->dialect == DIALECT_ENTRA_V1 && length > 0 && id_token[length - 1] == '.';
}

int signed_in_start(struct signed_in *signed_in, const struct tick *tick, struct step *ret)
{
    const struct profile *profile = signed_in->input->profile;
    struct tokens *tokens = &signed_in->tokens;
    struct failure why;
    if (!scopes_granted(profile, request_scopes(input_request(signed_in->input), profile), tokens->scope, &why))
        return step_fail(ret, &why);
    credential_note_life(&signed_in->credential, tokens, tick);
    if (tokens->expires_in_s < 0)
        tokens->expires_in_s = tokens->refresh_token ? DEFAULT_LIFETIME_S : DEFAULT_LIFETIME_ALONE_S;
    if (tokens->id_token && is_unsigned_v1(profile, tokens->id_token))
        tokens->id_token = wipe_free(tokens->id_token);
    if (!tokens->id_token)
        return keep(signed_in, ret);
    signed_in->phase = SIGNED_IN_VERIFYING;
    *ret = (struct step){.kind = STEP_VERIFY, .verify = {.id_token = tokens->id_token, .nonce = signed_in->nonce}};
    return 0;
}

int signed_in_next(struct signed_in *signed_in, const struct answer *answer, struct step *ret)
{
    switch (signed_in->phase) {
    case SIGNED_IN_IDLE:
        return -EINVAL;
    case SIGNED_IN_VERIFYING:
        if (answer->error)
            return step_fail_answer(ret, answer, FAILURE_INVALID_TOKEN, "the id_token of the sign-in");
        if (answer->identity)
            signed_in->credential.identity = *answer->identity;
        return keep(signed_in, ret);
    case SIGNED_IN_SAVING:
        if (answer->error)
            return step_fail_answer(ret, answer, FAILURE_STORE_UNAVAILABLE, "the sign-in could not be kept");
        *ret = (struct step){.kind = STEP_DONE, .done = {.tokens = &signed_in->tokens}};
        return 0;
    }
    return -EINVAL;
}

void signed_in_end(struct signed_in *signed_in)
{
    tokens_clear(&signed_in->tokens);
    credential_clear(&signed_in->credential);
}
