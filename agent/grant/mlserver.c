/* Machine Learning Server (R Server), local and LDAP accounts (WIRE section 3): a password gives a pair of tokens, the
 * second of which renews both. A pair ends after 14 idle days, the chain of pairs 90 days after the password; the
 * server's answers say neither, so they are counted here.
 *
 * With a `password` source nobody needs to sign in: it is sent when there is no sign-in or the one there was has ended.
 * Without one `mltoken login` asks for it. Signing out renews first and removes what came, for the address of that
 * request stays in the server's logs (and never gets into ours). */
#include "buffer.h"
#include "cleanup.h"
#include "grant/form.h"
#include "grant/refresh.h"
#include <errno.h>
#include <stdio.h>

struct login {
    const struct input *input;
    struct exchange exchange;
    enum { ASKING, SENDING, SAVING } phase;
    struct tokens tokens;
    struct credential credential;
};

struct mlserver {
    const struct input *input;
    enum grant_op op;
    enum { RENEWING, SIGNING_IN, REMOVING } phase;
    struct refresh refresh;
    struct login login;
    struct buffer address, authorization; /* of the removal: both hold tokens */
};

static const char *check_path(const char *value)
{
    if (value[0] != '/' || value[1] == '\0' || strpbrk(value, "?# \"\\") || value[strlen(value) - 1] == '/')
        return "is not a path; write it as /login, without ? and #";
    return NULL;
}

/* ---- the password ----------------------------------------------------------------------------------------------- */

static int login_start(struct login *login, const struct input *input, struct step *ret)
{
    login->input = input;
    login->phase = ASKING;
    int r = exchange_open(&login->exchange, input->profile);
    if (r < 0)
        return r;
    if (input->profile->password.kind != SOURCE_NONE)
        *ret = (struct step){.kind = STEP_SECRET, .secret = "password"};
    else
        *ret = (struct step){.kind = STEP_ASK, .prompt = {.secret = "password"}};
    return 0;
}

static int send_password(struct login *login, const struct answer *answer, struct step *ret)
{
    if (answer->error)
        return step_fail_answer(ret, answer, FAILURE_SECRET_MISSING, "password");
    login->phase = SENDING;
    exchange_begin(&login->exchange, ENDPOINT_LOGIN);
    exchange_member(&login->exchange, "username", span_of(login->input->profile->username));
    exchange_member(&login->exchange, "password", answer->body);
    return exchange_step(&login->exchange, ret);
}

static int refused(const struct answer *answer, struct failure *why, struct step *ret)
{
    why->credentials = answer->status == 401;
    if (why->credentials)
        (void)snprintf(why->reason, sizeof(why->reason),
                       "the user name or the password is wrong; it is not sent again by itself until it changes");
    return step_fail(ret, why);
}

static int keep(struct login *login, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    const struct profile *profile = login->input->profile;
    struct credential *credential = &login->credential;
    struct identity *who = &credential->identity;
    struct failure why;
    if (answer_tokens(answer, profile, false, tick, &login->tokens, &why) != OUTCOME_OK)
        return refused(answer, &why, ret);
    if (login->tokens.expires_in_s < 0)
        login->tokens.expires_in_s = DEFAULT_LIFETIME_S;
    if (login->tokens.refresh_token)
        credential->refresh_token = secret_ref(login->tokens.refresh_token);
    credential->ends_at = tick->wall_s + MLSERVER_CHAIN_S;
    credential_note_life(credential, &login->tokens, tick);
    (void)snprintf(who->issuer, sizeof(who->issuer), "%s", profile->authority);
    (void)snprintf(who->subject, sizeof(who->subject), "%s", profile->username);
    (void)snprintf(who->account, sizeof(who->account), "%s", profile->username);
    login->phase = SAVING;
    *ret = (struct step){.kind = STEP_SAVE, .save = credential};
    return 0;
}

static int login_next(struct login *login, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    bool answered;
    int r;
    switch (login->phase) {
    case ASKING:
        return send_password(login, answer, ret);
    case SENDING:
        r = exchange_next(&login->exchange, answer, ret, &answered);
        return r < 0 || !answered ? r : keep(login, answer, tick, ret);
    case SAVING:
        if (answer->error)
            return step_fail_answer(ret, answer, FAILURE_STORE_UNAVAILABLE, "the sign-in could not be kept");
        *ret = (struct step){.kind = STEP_DONE, .done = {.tokens = &login->tokens}};
        return 0;
    }
    return -EINVAL;
}

/* ---- renewing, and what follows it ------------------------------------------------------------------------------ */

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
    if (self->op != GRANT_ACQUIRE || !ended || self->input->profile->password.kind == SOURCE_NONE)
        return 0;
    self->phase = SIGNING_IN;
    return login_start(&self->login, self->input, ret);
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
        return login_start(&self->login, input, ret);
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
        return login_next(&self->login, answer, tick, ret);
    int r = refresh_next(&self->refresh, answer, tick, ret);
    return r < 0 ? r : pass(self, ret);
}

static void end(void *state)
{
    struct mlserver *self = state;
    refresh_end(&self->refresh);
    exchange_close(&self->login.exchange);
    tokens_clear(&self->login.tokens);
    credential_clear(&self->login.credential);
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
