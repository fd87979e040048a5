/* Entra's on-behalf-of (WIRE section 1): a service that was given a person's token has one for the next service. */
#include "grant/form.h"
#include "grant/trade.h"

static int add(struct buffer *body, const struct profile *profile)
{
    (void)profile;
    return form_text(body, "requested_token_use", "on_behalf_of");
}

static const struct trade_kind kind = {
    .grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer", .field = "assertion", .add = add};

static const char *check(const struct profile *profile)
{
    if (!profile_is_entra(profile))
        return "on_behalf_of is Entra's own: set dialect = entra if the authority is one, else use token_exchange or "
               "jwt_bearer";
    if (profile->client_secret.kind == SOURCE_NONE && !exchange_can_assert(profile))
        return "needs client_secret, client_key with client_certificate, or client_assertion_file: only a "
               "confidential client may act on behalf of somebody";
    if (profile->client_auth == CLIENT_AUTH_NONE)
        return "client_auth = none does not go with on_behalf_of: the client must prove who it is";
    if (profile->actor_token_file)
        return "has actor_token_file, which token_exchange alone knows";
    return trade_check(profile);
}

static int start(void *state, enum grant_op op, const struct input *input, const struct tick *tick, struct step *ret)
{
    (void)tick;
    return trade_start(state, &kind, op, input, ret);
}

static const char *const required[] = {"client_id", NULL};

const struct grant grant_on_behalf_of = {
    .name = "on_behalf_of",
    .ops = GRANT_ACQUIRE | GRANT_INSPECT,
    .state_size = sizeof(struct trade),
    .required = required,
    .check = check,
    .start = start,
    .next = trade_next,
    .end = trade_end,
};
