/* The device authorization grant (RFC 8628): a person signs in with a browser that may be anywhere, and the agent
 * polls.
 *
 * Poll times: the authority's interval; slow_down adds five seconds to it for good, and a larger `interval` in that
 * answer counts; an answer that does not come, a 5xx or a 429 doubles the wait until one comes, and Retry-After is
 * kept; the code's life runs on the boot clock from the moment it arrived. Scopes are the user's: without
 * offline_access many authorities give no refresh token, and the sign-in then ends with its token. */
#include "buffer.h"
#include "cleanup.h"
#include "grant/device_answer.h"
#include "grant/form.h"
#include "grant/signed_in.h"
#include "grant/upkeep.h"
#include "json.h"
#include <errno.h>
#include <stdio.h>

enum phase { AUTHORIZING, PROMPTING, WAITING, POLLING, ENDING };

struct login {
    const struct input *input;
    struct exchange exchange;
    struct device_answer device;
    enum phase phase;
    int64_t deadline_ms; /* boot clock */
    int64_t wait_ms;     /* before the next poll */
    unsigned unanswered; /* polls in a row that brought nothing */
    bool pending;        /* the last one brought that answer */
    struct signed_in end;
};

struct device_code {
    enum grant_op op;
    union {
        struct upkeep upkeep;
        struct login login;
    };
};

static const char *check(const struct profile *profile)
{
    if (!profile->authority && !profile->device_authorization_endpoint)
        return "needs authority, or token_endpoint and device_authorization_endpoint";
    if (profile_is_b2c(profile))
        return "is not there: Azure AD B2C and External ID have no device code flow; use authorization_code, or "
               "password "
               "for local accounts";
    if (profile->dialect == DIALECT_ENTRA_V1 && !profile->resource && !profile->scopes)
        return "needs resource with dialect = entra_v1";
    return exchange_check(profile);
}

static int sign_in_failed(struct step *ret, const char *reason, const struct failure *words)
{
    struct failure why;
    failure_set(&why, FAILURE_SIGN_IN_FAILED, CLASS_DEFINITE, "%s", reason);
    if (words) {
        memcpy(why.error, words->error, sizeof(why.error));
        memcpy(why.description, words->description, sizeof(why.description));
        memcpy(why.correlation_id, words->correlation_id, sizeof(why.correlation_id));
        memcpy(why.trace_id, words->trace_id, sizeof(why.trace_id));
    }
    return step_fail(ret, &why);
}

static int login_start(struct login *login, const struct input *input, struct step *ret)
{
    login->input = input;
    signed_in_begin(&login->end, input);
    int r = exchange_open(&login->exchange, input->profile);
    if (r < 0)
        return r;
    exchange_begin(&login->exchange, ENDPOINT_DEVICE);
    r = exchange_target(&login->exchange, input_request(input), true);
    return r < 0 ? r : exchange_step(&login->exchange, ret);
}

static int prompt(struct login *login, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    const struct profile *profile = login->input->profile;
    _cleanup_json_wipe_ json_object *json = NULL;
    struct failure why;
    if (answer_error(answer, profile, false, tick, &json, &why) != OUTCOME_OK) {
        failure_name_scope(&why, input_request(login->input), profile);
        return step_fail(ret, &why);
    }
    int r = device_answer_read(json, profile, &login->device, &why);
    if (r < 0)
        return r == -EBADMSG ? step_fail(ret, &why) : r;
    const struct device_answer *device = &login->device;
    login->phase = PROMPTING;
    login->deadline_ms = tick->boot_ms + device->life_s * 1000;
    login->wait_ms = device->interval_s * 1000;
    *ret = (struct step){.kind = STEP_PROMPT,
                         .prompt = {.verification_uri = device->verification_uri,
                                    .verification_uri_complete = device->verification_uri_complete,
                                    .user_code = device->user_code,
                                    .message = device->message,
                                    .authority_host = device->authority_host,
                                    .expires_at = tick->wall_s + device->life_s,
                                    .interval_s = device->interval_s}};
    return 0;
}

static int wait_to_poll(struct login *login, const struct tick *tick, struct step *ret)
{
    int64_t left = login->deadline_ms - tick->boot_ms;
    if (left <= 0)
        return sign_in_failed(ret, "expired", NULL);
    login->phase = WAITING;
    *ret = (struct step){
        .kind = STEP_WAIT, .pending = login->pending, .wait_ms = login->wait_ms < left ? login->wait_ms : left};
    return 0;
}

static int poll(struct login *login, const struct tick *tick, struct step *ret)
{
    if (tick->boot_ms >= login->deadline_ms)
        return sign_in_failed(ret, "expired", NULL);
    bool v1 = login->input->profile->dialect == DIALECT_ENTRA_V1;
    struct buffer *body = &login->exchange.body;
    login->phase = POLLING;
    exchange_begin(&login->exchange, ENDPOINT_TOKEN);
    form_text(body, "grant_type", v1 ? "device_code" : "urn:ietf:params:oauth:grant-type:device_code");
    form_pair(body, v1 ? "code" : "device_code", secret_span(login->device.device_code));
    int r = exchange_target(&login->exchange, input_request(login->input), false);
    return r < 0 ? r : exchange_step(&login->exchange, ret);
}

static void slow_down(struct login *login, const struct answer *answer)
{
    _cleanup_json_wipe_ json_object *json = NULL;
    int64_t asked = 0;
    if (json_parse(answer->body.data, answer->body.length, LIMIT_RESPONSE_DEPTH, &json) == 0)
        asked = device_interval(json);
    login->device.interval_s += 5;
    if (asked > login->device.interval_s)
        login->device.interval_s = asked;
}

/* How long to wait after a poll that brought no tokens. Doubling stops at a minute, or at the interval if that is
 * longer. */
static void set_wait(struct login *login, int64_t retry_after_ms)
{
    int64_t interval = login->device.interval_s * 1000, limit = (int64_t)LIMIT_POLL_INTERVAL_S * 1000;
    int64_t wait = interval;
    for (unsigned i = 0; i < login->unanswered && wait < limit; i++)
        wait = wait * 2 < limit ? wait * 2 : limit;
    login->wait_ms = retry_after_ms > wait ? retry_after_ms : wait;
}

static int polled(struct login *login, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    struct failure why;
    /* no invalid_grant of a poll is mended by signing in: that is what is going on */
    enum outcome outcome = answer_tokens(answer, login->input->profile, false, tick, &login->end.tokens, &why);
    int64_t retry_after_ms = -1;
    login->pending = outcome == OUTCOME_PENDING || outcome == OUTCOME_SLOW_DOWN;
    switch (outcome) {
    case OUTCOME_OK:
        login->phase = ENDING;
        return signed_in_start(&login->end, tick, ret);
    case OUTCOME_DECLINED:
        return sign_in_failed(ret, "declined", &why);
    case OUTCOME_EXPIRED:
        return sign_in_failed(ret, "expired", &why);
    case OUTCOME_LOGIN:
    case OUTCOME_REFUSED:
        return step_fail(ret, &why);
    case OUTCOME_RETRY:
        login->unanswered++;
        retry_after_ms = why.retry_after_ms;
        break;
    case OUTCOME_SLOW_DOWN:
        slow_down(login, answer);
        login->unanswered = 0;
        break;
    case OUTCOME_PENDING:
        login->unanswered = 0;
        break;
    }
    set_wait(login, retry_after_ms);
    return wait_to_poll(login, tick, ret);
}

static int exchanged(struct login *login, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    bool answered;
    int r = exchange_next(&login->exchange, answer, ret, &answered);
    if (r < 0 || !answered)
        return r;
    return login->phase == AUTHORIZING ? prompt(login, answer, tick, ret) : polled(login, answer, tick, ret);
}

static int login_next(struct login *login, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    switch (login->phase) {
    case AUTHORIZING:
    case POLLING:
        return exchanged(login, answer, tick, ret);
    case PROMPTING:
        return answer->error ? step_fail_answer(ret, answer, FAILURE_BUSY, "nobody could be shown the code")
                             : wait_to_poll(login, tick, ret);
    case WAITING:
        return poll(login, tick, ret);
    case ENDING:
        return signed_in_next(&login->end, answer, ret);
    }
    return -EINVAL;
}

static void login_end(struct login *login)
{
    exchange_close(&login->exchange);
    device_answer_clear(&login->device);
    signed_in_end(&login->end);
}

static int start(void *state, enum grant_op op, const struct input *input, const struct tick *tick, struct step *ret)
{
    struct device_code *self = state;
    (void)tick;
    self->op = op;
    return op == GRANT_LOGIN ? login_start(&self->login, input, ret) : upkeep_start(&self->upkeep, op, input, ret);
}

static int next(void *state, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    struct device_code *self = state;
    return self->op == GRANT_LOGIN ? login_next(&self->login, answer, tick, ret)
                                   : upkeep_next(&self->upkeep, answer, tick, ret);
}

static void end(void *state)
{
    struct device_code *self = state;
    if (self->op == GRANT_LOGIN)
        login_end(&self->login);
    else
        upkeep_end(&self->upkeep);
}

static const char *const required[] = {"client_id", NULL};

const struct grant grant_device_code = {
    .name = "device_code",
    .begins = ENDPOINT_DEVICE,
    .ops = GRANT_ACQUIRE | GRANT_LOGIN | GRANT_REVOKE | GRANT_INSPECT,
    .state_size = sizeof(struct device_code),
    .required = required,
    .check = check,
    .start = start,
    .next = next,
    .end = end,
};
