/* The JWT bearer grant (RFC 7523 section 2.1): an assertion that somebody else signed, for an access token. */
#include "grant/trade.h"

static const struct trade_kind kind = {.grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer",
                                       .field = "assertion"};

static const char *check(const struct profile *profile)
{
    if (profile->actor_token_file)
        return "has actor_token_file, which token_exchange alone knows";
    return trade_check(profile);
}

static int start(void *state, enum grant_op op, const struct input *input, const struct tick *tick, struct step *ret)
{
    (void)tick;
    return trade_start(state, &kind, op, input, ret);
}

const struct grant grant_jwt_bearer = {
    .name = "jwt_bearer",
    .ops = GRANT_ACQUIRE | GRANT_INSPECT,
    .state_size = sizeof(struct trade),
    .check = check,
    .start = start,
    .next = trade_next,
    .end = trade_end,
};
