/* The resource owner password credentials grant (RFC 6749 section 4.3), for those who still must: RFC 9700 says that it
 * must not be used, no second factor can be asked for, and everything that sees the password can keep it. With a
 * `password` source nobody needs to sign in; without one `mltoken login` asks. */
#include "grant/password_login.h"
#include "grant/upkeep.h"

struct password {
    const struct input *input;
    bool signing_in;
    struct upkeep upkeep;
    struct password_login login;
};

/* A sign-in that has ended is made anew where nobody is needed for it. */
static int pass(struct password *self, struct step *ret)
{
    bool ended = ret->kind == STEP_FAIL && ret->fail.kind == FAILURE_LOGIN_REQUIRED;
    if (!ended || self->upkeep.op != GRANT_ACQUIRE || !password_login_alone(self->input))
        return 0;
    self->signing_in = true;
    return password_login_start(&self->login, self->input, ret);
}

static int start(void *state, enum grant_op op, const struct input *input, const struct tick *tick, struct step *ret)
{
    struct password *self = state;
    (void)tick;
    self->input = input;
    self->signing_in = op == GRANT_LOGIN;
    if (self->signing_in)
        return password_login_start(&self->login, input, ret);
    int r = upkeep_start(&self->upkeep, op, input, ret);
    return r < 0 ? r : pass(self, ret);
}

static int next(void *state, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    struct password *self = state;
    if (self->signing_in)
        return password_login_next(&self->login, answer, tick, ret);
    int r = upkeep_next(&self->upkeep, answer, tick, ret);
    return r < 0 ? r : pass(self, ret);
}

static void end(void *state)
{
    struct password *self = state;
    upkeep_end(&self->upkeep);
    password_login_end(&self->login);
}

static const char *check(const struct profile *profile)
{
    if (profile_is_b2c(profile) && (profile->client_secret.kind != SOURCE_NONE || exchange_can_assert(profile)))
        return "takes no proof of the client at Azure AD B2C, which would not look at it: drop client_secret or the "
               "key";
    return exchange_check(profile);
}

static const char *const required[] = {"client_id", "username", NULL};

const struct grant grant_password = {
    .name = "password",
    .ops = GRANT_ACQUIRE | GRANT_LOGIN | GRANT_REVOKE | GRANT_INSPECT,
    .state_size = sizeof(struct password),
    .warning = "hands the password itself out: use device_code where the authority has it",
    .required = required,
    .check = check,
    .start = start,
    .next = next,
    .end = end,
};
