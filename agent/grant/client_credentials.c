/* The client credentials grant (RFC 6749 section 4.4): a client in its own name, and nobody to sign in. */
#include "cleanup.h"
#include "grant/exchange.h"
#include "grant/form.h"
#include <errno.h>

struct client_credentials {
    const struct input *input;
    struct exchange exchange;
    struct tokens tokens;
};

static const char *check(const struct profile *profile)
{
    if (profile->client_secret.kind == SOURCE_NONE && !exchange_can_assert(profile))
        return "needs client_secret, client_key (with client_certificate where the authority asks for it), or "
               "client_assertion_file";
    if (profile->client_auth == CLIENT_AUTH_NONE)
        return "client_auth = none does not go with client_credentials: the client must prove who it is";
    return exchange_check(profile);
}

static int start(void *state, enum grant_op op, const struct input *input, const struct tick *tick, struct step *ret)
{
    struct client_credentials *self = state;
    (void)tick;
    if (op != GRANT_ACQUIRE)
        return -EINVAL;
    self->input = input;
    int r = exchange_open(&self->exchange, input->profile);
    if (r < 0)
        return r;
    exchange_begin(&self->exchange, ENDPOINT_TOKEN);
    form_text(&self->exchange.body, "grant_type", "client_credentials");
    r = exchange_target(&self->exchange, input_request(input), true);
    return r < 0 ? r : exchange_step(&self->exchange, ret);
}

static int next(void *state, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    struct client_credentials *self = state;
    const struct profile *profile = self->input->profile;
    bool answered;
    int r = exchange_next(&self->exchange, answer, ret, &answered);
    if (r < 0 || !answered)
        return r;
    struct failure why;
    if (answer_tokens(answer, profile, false, tick, &self->tokens, &why) != OUTCOME_OK) {
        failure_name_scope(&why, input_request(self->input), profile);
        return step_fail(ret, &why);
    }
    if (!scopes_granted(profile, request_scopes(input_request(self->input), profile), self->tokens.scope, &why))
        return step_fail(ret, &why);
    /* RFC 6749 section 4.4.3: there should be none, and nothing would ever use it */
    self->tokens.refresh_token = secret_unref(self->tokens.refresh_token);
    if (self->tokens.expires_in_s < 0)
        self->tokens.expires_in_s = DEFAULT_LIFETIME_S;
    *ret = (struct step){.kind = STEP_DONE, .done = {.tokens = &self->tokens}};
    return 0;
}

static void end(void *state)
{
    struct client_credentials *self = state;
    exchange_close(&self->exchange);
    tokens_clear(&self->tokens);
}

static const char *const required[] = {"client_id", NULL};

const struct grant grant_client_credentials = {
    .name = "client_credentials",
    .ops = GRANT_ACQUIRE | GRANT_INSPECT,
    .state_size = sizeof(struct client_credentials),
    .required = required,
    .check = check,
    .start = start,
    .next = next,
    .end = end,
};
