/* Machine Learning Server (R Server), local and LDAP accounts (WIRE section 3): a password gives a pair of tokens, the
 * second of which renews both. A pair ends after 14 idle days, the chain of pairs 90 days after the password; the
 * server's answers say neither, so they are counted here.
 *
 * With a `password` source nobody needs to sign in: it is sent when there is no sign-in or the one there was has ended.
 * Without one `mltoken login` asks for it. Signing out renews first and removes what came, for the address of that
 * request stays in the server's logs (and never gets into ours). */
#include "buffer.h"
#include "grant/form.h"
#include "grant/password_login.h"
#include "grant/refresh.h"
#include <errno.h>

struct mlserver {
    const struct input *input;
    enum grant_op op;
    enum { RENEWING, SIGNING_IN, REMOVING } phase;
    struct refresh refresh;
    struct password_login login;
    struct buffer address, authorization; /* of the removal: both hold tokens */
};

static const char *check_path(const char *value)
{
    if (value[0] != '/' || value[1] == '\0' || strpbrk(value, "?# \"\\") || value[strlen(value) - 1] == '/')
        return "is not a path; write it as /login, without ? and #";
    return NULL;
}

static int remove_pair(struct mlserver *self, const struct tokens *tokens, struct step *ret)
{
    const char *renewal = self->refresh.exchange.addresses[ENDPOINT_TOKEN];
    self->phase = REMOVING;
    buffer_text(&self->address, renewal);
    buffer_text(&self->address, "?refreshToken=");
    form_encode(&self->address, secret_span(self->refresh.next.refresh_token));
    buffer_text(&self->authorization, "Bearer ");
    buffer_text(&self->authorization, tokens->access_token);
    buffer_byte(&self->address, '\0');
    if (buffer_error(&self->address) == -EMSGSIZE) {
        struct failure why;
        failure_set(&why, FAILURE_NOT_SUPPORTED, CLASS_DEFINITE,
                    "the refresh token is too long for the address of the request that would remove it");
        return step_fail(ret, &why);
    }
    if (buffer_error(&self->address) || buffer_error(&self->authorization))
        return -ENOMEM;
    *ret = (struct step){.kind = STEP_HTTP, .http = {.method = "DELETE", .url = self->address.data, .header_count = 2}};
    ret->http.headers[0] = (struct header){"Accept", span_of("application/json")};
    ret->http.headers[1] = (struct header){"Authorization", buffer_span(&self->authorization)};
    return 0;
}

static int removed(const struct mlserver *self, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    struct failure why;
    if (answer_error(answer, self->input->profile, false, tick, NULL, &why) != OUTCOME_OK)
        return step_fail(ret, &why);
    *ret = (struct step){.kind = STEP_DONE, .done = {.revoked = true}};
    return 0;
}

/* Where the renewal leads: to the end, to the password when there is no sign-in any more, or to the removal. */
static int pass(struct mlserver *self, struct step *ret)
{
    bool ended = ret->kind == STEP_FAIL && ret->fail.kind == FAILURE_LOGIN_REQUIRED;
    if (self->op == GRANT_REVOKE && ended)
        *ret = (struct step){.kind = STEP_DONE, .done = {.revoked = false}};
    else if (self->op == GRANT_REVOKE && ret->kind == STEP_DONE)
        return remove_pair(self, ret->done.tokens, ret);
    if (self->op != GRANT_ACQUIRE || !ended || !password_login_alone(self->input))
        return 0;
    self->phase = SIGNING_IN;
    return password_login_start(&self->login, self->input, ret);
}

static int start(void *state, enum grant_op op, const struct input *input, const struct tick *tick, struct step *ret)
{
    struct mlserver *self = state;
    (void)tick;
    self->op = op;
    self->input = input;
    self->address = BUFFER(LIMIT_URL + 1);
    self->authorization = BUFFER(LIMIT_TOKEN + 16);
    if (op == GRANT_LOGIN) {
        self->phase = SIGNING_IN;
        return password_login_start(&self->login, input, ret);
    }
    self->phase = RENEWING;
    int r = refresh_start(&self->refresh, input, ret);
    return r < 0 ? r : pass(self, ret);
}

static int next(void *state, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    struct mlserver *self = state;
    if (self->phase == REMOVING)
        return removed(self, answer, tick, ret);
    if (self->phase == SIGNING_IN)
        return password_login_next(&self->login, answer, tick, ret);
    int r = refresh_next(&self->refresh, answer, tick, ret);
    return r < 0 ? r : pass(self, ret);
}

static void end(void *state)
{
    struct mlserver *self = state;
    refresh_end(&self->refresh);
    password_login_end(&self->login);
    buffer_free(&self->address);
    buffer_free(&self->authorization);
}

static const char *const required[] = {"authority", "username", NULL};

static const struct key keys[] = {{.name = "login_path", .check = check_path}, {0}};

const struct grant grant_mlserver = {
    .name = "mlserver",
    .ops = GRANT_ACQUIRE | GRANT_LOGIN | GRANT_REVOKE,
    .dialect = DIALECT_MLSERVER,
    .state_size = sizeof(struct mlserver),
    .required = required,
    .keys = keys,
    .start = start,
    .next = next,
    .end = end,
};
