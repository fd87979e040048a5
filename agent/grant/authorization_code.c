/* The authorization code grant with PKCE (RFC 6749 section 4.1, RFC 7636): a person signs in with a browser of this
 * host, or with one elsewhere, whose last address is then brought here by hand. */
#include "grant/authorization_login.h"
#include "grant/upkeep.h"
#include <errno.h>
#include <stdlib.h>

struct authorization_code {
    enum grant_op op;
    union {
        struct upkeep upkeep;
        struct authorization_login login;
    };
};

static int start(void *state, enum grant_op op, const struct input *input, const struct tick *tick, struct step *ret)
{
    struct authorization_code *self = state;
    self->op = op;
    return op == GRANT_LOGIN ? authorization_login_start(&self->login, input, tick, ret)
                             : upkeep_start(&self->upkeep, op, input, ret);
}

static int next(void *state, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    struct authorization_code *self = state;
    return self->op == GRANT_LOGIN ? authorization_login_next(&self->login, answer, tick, ret)
                                   : upkeep_next(&self->upkeep, answer, tick, ret);
}

static void end(void *state)
{
    struct authorization_code *self = state;
    if (self->op == GRANT_LOGIN)
        authorization_login_end(&self->login);
    else
        upkeep_end(&self->upkeep);
}

static const char *check_port(const char *value)
{
    long port = strspn(value, "0123456789") == strlen(value) && strlen(value) <= 5 ? strtol(value, NULL, 10) : -1;
    return port == 0 || (port >= LEAST_REDIRECT_PORT && port <= 65535)
               ? NULL
               : "is not a port from 1024 to 65535, as it is registered for the client; 0, the default, is any";
}

static const char *const required[] = {"client_id", NULL};
static const struct key keys[] = {{.name = "redirect_port", .check = check_port}, {0}};

const struct grant grant_authorization_code = {
    .name = "authorization_code",
    .begins = ENDPOINT_AUTHORIZATION,
    .ops = GRANT_ACQUIRE | GRANT_LOGIN | GRANT_REVOKE | GRANT_INSPECT,
    .state_size = sizeof(struct authorization_code),
    .required = required,
    .keys = keys,
    .check = authorization_check,
    .start = start,
    .next = next,
    .end = end,
};
