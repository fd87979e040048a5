/* The resource owner password credentials grant (RFC 6749 section 4.3), for those who still must: RFC 9700 says that it
 * must not be used, no second factor can be asked for, and everything that sees the password can keep it. With a
 * `password` source nobody needs to sign in; without one `mltoken login` asks. */
#include "grant/password_login.h"
#include "grant/refresh.h"
#include "grant/revocation.h"
#include <errno.h>

struct password {
    const struct input *input;
    enum grant_op op;
    bool signing_in;
    struct refresh refresh;
    struct revocation revocation;
    struct password_login login;
};

/* A sign-in that has ended is made anew where nobody is needed for it. */
static int pass(struct password *self, struct step *ret)
{
    bool ended = ret->kind == STEP_FAIL && ret->fail.kind == FAILURE_LOGIN_REQUIRED;
    if (!ended || !password_login_alone(self->input))
        return 0;
    self->signing_in = true;
    return password_login_start(&self->login, self->input, ret);
}

static int start(void *state, enum grant_op op, const struct input *input, const struct tick *tick, struct step *ret)
{
    struct password *self = state;
    int r;
    (void)tick;
    self->op = op;
    self->input = input;
    switch (op) {
    case GRANT_ACQUIRE:
        r = refresh_start(&self->refresh, input, ret);
        return r < 0 ? r : pass(self, ret);
    case GRANT_LOGIN:
        self->signing_in = true;
        return password_login_start(&self->login, input, ret);
    case GRANT_REVOKE:
        return revocation_start(&self->revocation, input, ret);
    case GRANT_ROTATE:
    case GRANT_INSPECT: /* these are none of its own */
    case GRANT_IMPORT:
    case GRANT_SETTLE:
        break;
    }
    return -EINVAL;
}

static int next(void *state, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    struct password *self = state;
    if (self->signing_in)
        return password_login_next(&self->login, answer, tick, ret);
    if (self->op == GRANT_REVOKE)
        return revocation_next(&self->revocation, answer, tick, ret);
    int r = refresh_next(&self->refresh, answer, tick, ret);
    return r < 0 ? r : pass(self, ret);
}

static void end(void *state)
{
    struct password *self = state;
    refresh_end(&self->refresh);
    revocation_end(&self->revocation);
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
    .required = required,
    .check = check,
    .start = start,
    .next = next,
    .end = end,
};
