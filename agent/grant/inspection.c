#include "grant/inspection.h"

#include "cleanup.h"
#include "grant/exchange.h"
#include "grant/form.h"
#include "json.h"
#include <errno.h>

struct inspection_state {
    const struct input *input;
    struct exchange exchange;
    struct buffer authorization;
    json_object *claims;
    bool userinfo;
};

static int ask_userinfo(struct inspection_state *self, struct step *ret)
{
    self->userinfo = true;
    self->authorization = BUFFER(LIMIT_FORM);
    buffer_text(&self->authorization, "Bearer ");
    buffer_text(&self->authorization, self->input->token);
    if (buffer_error(&self->authorization))
        return buffer_error(&self->authorization);
    *ret =
        (struct step){.kind = STEP_HTTP,
                      .http = {.method = "GET", .url = self->exchange.addresses[ENDPOINT_USERINFO], .header_count = 2}};
    ret->http.headers[0] = (struct header){"Accept", span_of("application/json")};
    ret->http.headers[1] = (struct header){"Authorization", buffer_span(&self->authorization)};
    return 0;
}

static bool can_prove(const struct profile *profile)
{
    return profile->client_auth != CLIENT_AUTH_NONE &&
           (profile->client_secret.kind != SOURCE_NONE || exchange_can_assert(profile));
}

/* Where the exchange leads, once the addresses are known. */
static int pass(struct inspection_state *self, struct step *ret)
{
    const char *userinfo = self->exchange.addresses[ENDPOINT_USERINFO];
    struct failure why;
    bool absent = ret->kind == STEP_FAIL && self->exchange.absent;
    if (!self->exchange.resolved || (!absent && (can_prove(self->input->profile) || !userinfo)))
        return 0;
    if (userinfo)
        return ask_userinfo(self, ret);
    failure_set(&why, FAILURE_NOT_SUPPORTED, CLASS_DEFINITE,
                "the authority offers neither introspection nor userinfo on a host that it may name");
    return step_fail(ret, &why);
}

static int start(void *state, enum grant_op op, const struct input *input, const struct tick *tick, struct step *ret)
{
    struct inspection_state *self = state;
    (void)tick;
    if (op != GRANT_INSPECT || !input->token)
        return -EINVAL;
    self->input = input;
    int r = exchange_open(&self->exchange, input->profile);
    if (r < 0)
        return r;
    exchange_begin(&self->exchange, ENDPOINT_INTROSPECTION);
    form_text(&self->exchange.body, "token", input->token);
    form_text(&self->exchange.body, "token_type_hint", "access_token");
    r = exchange_step(&self->exchange, ret);
    return r < 0 ? r : pass(self, ret);
}

static bool repeats(const char *text, size_t length, const char *token)
{
    return memmem(text, length, token, strlen(token)) != NULL;
}

static bool is_repeated(json_object *value, const char *token)
{
    return json_object_is_type(value, json_type_string) &&
           repeats(json_object_get_string(value), (size_t)json_object_get_string_len(value), token);
}

/* What repeats the token is left out, wherever it stands: it is never shown. As deep as an answer may be. */
static void drop_token(json_object *value, const char *token)
{
    if (json_object_is_type(value, json_type_object)) {
        json_object_object_foreach (value, name, member) {
            if (is_repeated(member, token) || repeats(name, strlen(name), token)) {
                member = json_object_get(member);
                json_object_object_del(value, name); /* json-c allows it for the present one */
                json_wipe(member);
            } else {
                drop_token(member, token);
            }
        }
    } else if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            json_object *member = json_object_array_get_idx(value, i);
            if (is_repeated(member, token)) {
                member = json_object_get(member);
                (void)json_object_array_put_idx(value, i, NULL); /* in place: it needs no memory */
                json_wipe(member);
            } else {
                drop_token(member, token);
            }
        }
    }
}

static int told(struct inspection_state *self, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    struct failure why;
    bool active;
    if (self->userinfo && !answer->error && answer->status == 401) {
        self->claims = json_object_new_object();
        if (json_put_boolean(self->claims, "active", false) < 0)
            return -ENOMEM;
    } else if (answer_error(answer, self->input->profile, false, tick, &self->claims, &why) != OUTCOME_OK) {
        return step_fail(ret, &why);
    } else if (answer->body.length > LIMIT_INSPECTION ||
               (!self->userinfo && json_boolean(self->claims, "active", &active) < 0)) {
        failure_refused(&why, "invalid_response",
                        answer->body.length > LIMIT_INSPECTION ? "what it says of the token is too long"
                                                               : "it does not say whether the token is active");
        return step_fail(ret, &why);
    }
    drop_token(self->claims, self->input->token);
    *ret = (struct step){.kind = STEP_DONE, .done = {.claims = self->claims}};
    return 0;
}

static int next(void *state, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    struct inspection_state *self = state;
    bool answered = true;
    int r = self->userinfo ? 0 : exchange_next(&self->exchange, answer, ret, &answered);
    if (r < 0)
        return r;
    return answered ? told(self, answer, tick, ret) : pass(self, ret);
}

static void end(void *state)
{
    struct inspection_state *self = state;
    exchange_close(&self->exchange);
    buffer_free(&self->authorization);
    json_wipe(self->claims);
    self->claims = NULL;
}

const struct grant grant_inspection = {
    .name = "inspection",
    .ops = GRANT_INSPECT,
    .state_size = sizeof(struct inspection_state),
    .start = start,
    .next = next,
    .end = end,
};
