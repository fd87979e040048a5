#include "grant/authorization_login.h"

#include "authority/digest.h"
#include "cleanup.h"
#include "grant/form.h"
#include "grant/redirect_answer.h"
#include "json.h"
#include <errno.h>
#include <stdio.h>
#include <strings.h>

static int refuse(struct step *ret, const char *code, const char *sentence)
{
    struct failure why;
    failure_refused(&why, code, sentence);
    return step_fail(ret, &why);
}

const char *authorization_check(const struct profile *profile)
{
    if (!profile->authority && !profile->authorization_endpoint)
        return "needs authority, or token_endpoint and authorization_endpoint";
    if (profile->dialect == DIALECT_ENTRA_V1 && !profile->resource && !profile->scopes)
        return "needs resource with dialect = entra_v1";
    return exchange_check(profile);
}

static int listen_first(struct authorization_login *login, struct step *ret)
{
    const struct profile *profile = login->input->profile;
    const char *port = profile_setting(profile, "redirect_port");
    login->phase = AUTHORIZATION_LISTENING;
    *ret = (struct step){.kind = STEP_LISTEN,
                         .listen = {.port = port ? (int)strtol(port, NULL, 10) : 0,
                                    .localhost = profile_is_entra(profile) || profile_is_b2c(profile)}};
    return 0;
}

int authorization_login_start(struct authorization_login *login, const struct input *input, const struct tick *tick,
                              struct step *ret)
{
    login->input = input;
    login->wait_s = LIMIT_BROWSER_S;
    base64url_encode(tick->random, 32, login->verifier);
    base64url_encode(tick->random + 32, 16, login->state);
    base64url_encode(tick->random + 48, 16, login->nonce);
    signed_in_begin(&login->end, input);
    login->end.nonce = login->nonce;
    int r = exchange_open(&login->exchange, input->profile);
    if (r < 0)
        return r;
    exchange_begin(&login->exchange, ENDPOINT_AUTHORIZATION);
    r = exchange_find(&login->exchange, ret);
    return r <= 0 ? r : listen_first(login, ret);
}

static int found(struct authorization_login *login, const struct answer *answer, struct step *ret)
{
    int r = exchange_found(&login->exchange, answer, ret);
    return r <= 0 ? r : listen_first(login, ret);
}

/* OpenID Connect Core section 11: without it some authorities pass over offline_access. Entra needs none, and where
 * only an administrator may consent it would end there. */
static bool wants_consent(const struct input *input)
{
    char *const *scopes = request_scopes(input_request(input), input->profile);
    bool offline = false;
    for (; scopes && *scopes; scopes++)
        offline |= strcmp(*scopes, "offline_access") == 0;
    return offline && !profile_is_entra(input->profile) && !profile_is_b2c(input->profile);
}

/* A browser that somebody is signed in with would bring the same person again. B2C knows "login" alone; so do others,
 * and say so. */
static const char *wanted_prompt(const struct authorization_login *login)
{
    bool consent = wants_consent(login->input);
    if (!login->input->switch_account)
        return consent ? "consent" : NULL;
    if (profile_is_b2c(login->input->profile) || login->exchange.no_account_choice)
        return consent ? "login consent" : "login";
    return consent ? "select_account consent" : "select_account";
}

/* The authorization request: everything but client_id. */
static int put_request(struct authorization_login *login)
{
    struct buffer *body = &login->exchange.body;
    char challenge[AUTHORIZATION_TEXT + 1];
    uint8_t digest[DIGEST_BYTES];
    int r = digest_bytes(span_of(login->verifier), digest);
    if (r < 0)
        return r;
    base64url_encode(digest, sizeof(digest), challenge);
    form_text(body, "response_type", "code");
    form_text(body, "redirect_uri", login->redirect_uri);
    form_text(body, "state", login->state);
    form_text(body, "nonce", login->nonce);
    form_text(body, "code_challenge", challenge);
    form_text(body, "code_challenge_method", "S256");
    form_text(body, "prompt", wanted_prompt(login));
    form_text(body, "login_hint", login->input->switch_account ? NULL : login->input->profile->username);
    return exchange_target(&login->exchange, input_request(login->input), true);
}

static int browse(struct authorization_login *login, struct span query, const struct tick *tick, struct step *ret)
{
    const char *page = login->exchange.addresses[ENDPOINT_AUTHORIZATION];
    _cleanup_buffer_ struct buffer address = BUFFER(LIMIT_AUTHORIZATION);
    buffer_text(&address, page);
    buffer_byte(&address, strchr(page, '?') ? '&' : '?');
    buffer_append(&address, query.data, query.length);
    if (buffer_error(&address) == -EMSGSIZE)
        return refuse(ret, "request_too_long", "the address for the browser would be too long: ask for less at once");
    if (!(login->address = buffer_take(&address)))
        return -ENOMEM;
    login->phase = AUTHORIZATION_BROWSING;
    *ret = (struct step){.kind = STEP_BROWSE,
                         .browse = {.address = login->address,
                                    .state = login->state,
                                    .wait_ms = login->wait_s * 1000,
                                    .expires_at = tick->wall_s + login->wait_s}};
    return 0;
}

static int listening(struct authorization_login *login, const struct answer *answer, const struct tick *tick,
                     struct step *ret)
{
    struct exchange *exchange = &login->exchange;
    if (answer->error)
        return step_fail_answer(ret, answer, FAILURE_BUSY, "no place for the browser to come back to");
    if (!(login->redirect_uri = strndup(answer->body.data, answer->body.length)))
        return -ENOMEM;
    exchange_begin(exchange, exchange->requires_push ? ENDPOINT_PUSH : ENDPOINT_AUTHORIZATION);
    if (!exchange->requires_push)
        form_text(&exchange->body, "client_id", login->input->profile->client_id);
    int r = put_request(login);
    if (r < 0)
        return r;
    if (!exchange->requires_push)
        return browse(login, buffer_span(&exchange->body), tick, ret);
    login->phase = AUTHORIZATION_PUSHING;
    return exchange_step(exchange, ret);
}

static int pushed(struct authorization_login *login, const struct answer *answer, const struct tick *tick,
                  struct step *ret)
{
    _cleanup_json_wipe_ json_object *json = NULL;
    _cleanup_buffer_ struct buffer query = BUFFER(LIMIT_AUTHORIZATION);
    struct failure why;
    const char *request_uri;
    int64_t life_s;
    if (answer_error(answer, login->input->profile, false, tick, &json, &why) != OUTCOME_OK) {
        failure_name_scope(&why, input_request(login->input), login->input->profile);
        return step_fail(ret, &why);
    }
    if (json_string(json, "request_uri", LIMIT_URL, &request_uri) < 0)
        return refuse(ret, "invalid_response", "the answer to the pushed authorization request has no request_uri");
    if (answer_number(json, "expires_in", &life_s) == 0 && life_s > 0 && life_s < login->wait_s)
        login->wait_s = life_s;
    form_text(&query, "client_id", login->input->profile->client_id);
    form_text(&query, "request_uri", request_uri);
    return buffer_error(&query) ? buffer_error(&query) : browse(login, buffer_span(&query), tick, ret);
}

/* ---- coming back ---- */

/* An issuer of Entra's shared tenants has {tenantid} in the place of any tenant's id. */
static bool same_issuer(const struct exchange *exchange, const char *issuer, const char *said)
{
    static const char any[] = "{tenantid}";
    const char *place = exchange->issuer_is_template ? strstr(issuer, any) : NULL;
    if (!place)
        return strcmp(issuer, said) == 0;
    size_t head = (size_t)(place - issuer), length = strlen(said);
    const char *tail = place + strlen(any);
    if (length < head + strlen(tail) || strncmp(issuer, said, head) != 0)
        return false;
    size_t tenant = length - head - strlen(tail);
    return tenant > 0 && strcmp(said + head + tenant, tail) == 0 &&
           strspn(said + head, "0123456789abcdefABCDEF-") == tenant;
}

/* Why it is not from this authority, or NULL: one that was sent elsewhere by a mix-up brings another's code. */
static const char *check_issuer(const struct authorization_login *login, const struct redirect_answer *came)
{
    const struct exchange *exchange = &login->exchange;
    const struct profile *profile = login->input->profile;
    const char *issuer = exchange->issuer;
    if (!issuer && !profile_is_entra(profile))
        issuer = profile->authority;
    if (!came->issuer)
        return exchange->names_itself ? "the browser came back without the iss that this authority always sends" : NULL;
    return !issuer || same_issuer(exchange, issuer, came->issuer)
               ? NULL
               : "the browser came back from another authority: its iss is not this one's";
}

static int said_no(const struct redirect_answer *came, struct step *ret)
{
    struct failure why;
    failure_refused(&why, came->error, came->description ? came->description : "");
    if (strcmp(came->error, "access_denied") == 0 || strcmp(came->error, "authorization_declined") == 0) {
        struct failure declined;
        failure_set(&declined, FAILURE_SIGN_IN_FAILED, CLASS_DEFINITE, "declined");
        memcpy(declined.error, why.error, sizeof(why.error));
        memcpy(declined.description, why.description, sizeof(why.description));
        why = declined;
    }
    return step_fail(ret, &why);
}

static int exchange_code(struct authorization_login *login, const char *code, struct step *ret)
{
    struct buffer *body = &login->exchange.body;
    login->phase = AUTHORIZATION_EXCHANGING;
    exchange_begin(&login->exchange, ENDPOINT_TOKEN);
    form_text(body, "grant_type", "authorization_code");
    form_text(body, "code", code);
    form_text(body, "redirect_uri", login->redirect_uri);
    form_text(body, "code_verifier", login->verifier);
    int r = exchange_target(&login->exchange, input_request(login->input), profile_is_entra(login->input->profile));
    return r < 0 ? r : exchange_step(&login->exchange, ret);
}

static int judge(struct authorization_login *login, const struct redirect_answer *came, struct step *ret)
{
    if (!came->state || !span_equals_secret(span_of(came->state), span_of(login->state)))
        return refuse(ret, "invalid_state", "the browser came back from another sign-in: its state is not this one's");
    const char *problem = check_issuer(login, came);
    if (problem)
        return refuse(ret, "invalid_issuer", problem);
    if (came->error)
        return said_no(came, ret);
    if (!came->code || !*came->code)
        return refuse(ret, "invalid_response", "the browser came back without a code");
    return exchange_code(login, came->code, ret);
}

static int came_back(struct authorization_login *login, const struct answer *answer, struct step *ret)
{
    struct failure why;
    if (answer->error == -ETIMEDOUT && answer->why.kind == FAILURE_NONE) {
        failure_set(&why, FAILURE_SIGN_IN_FAILED, CLASS_DEFINITE, "expired");
        return step_fail(ret, &why);
    }
    if (answer->error)
        return step_fail_answer(ret, answer, FAILURE_BUSY, "the browser could not come back");
    struct redirect_answer came = {0};
    int r = redirect_answer_read(answer->body, &came);
    if (r == 0)
        r = judge(login, &came, ret);
    else if (r != -ENOMEM)
        r = refuse(ret, "invalid_response", "what the browser came back with cannot be read");
    redirect_answer_clear(&came);
    return r;
}

static int exchanged(struct authorization_login *login, const struct answer *answer, const struct tick *tick,
                     struct step *ret)
{
    struct failure why;
    bool answered;
    int r = exchange_next(&login->exchange, answer, ret, &answered);
    if (r < 0 || !answered)
        return r;
    if (login->phase == AUTHORIZATION_PUSHING)
        return pushed(login, answer, tick, ret);
    if (answer_tokens(answer, login->input->profile, false, tick, &login->end.tokens, &why) != OUTCOME_OK)
        return step_fail(ret, &why);
    login->phase = AUTHORIZATION_ENDING;
    return signed_in_start(&login->end, tick, ret);
}

int authorization_login_next(struct authorization_login *login, const struct answer *answer, const struct tick *tick,
                             struct step *ret)
{
    switch (login->phase) {
    case AUTHORIZATION_FINDING:
        return found(login, answer, ret);
    case AUTHORIZATION_LISTENING:
        return listening(login, answer, tick, ret);
    case AUTHORIZATION_BROWSING:
        return came_back(login, answer, ret);
    case AUTHORIZATION_PUSHING:
    case AUTHORIZATION_EXCHANGING:
        return exchanged(login, answer, tick, ret);
    case AUTHORIZATION_ENDING:
        return signed_in_next(&login->end, answer, ret);
    }
    return -EINVAL;
}

void authorization_login_end(struct authorization_login *login)
{
    exchange_close(&login->exchange);
    login->redirect_uri = wipe_free(login->redirect_uri);
    login->address = wipe_free(login->address);
    signed_in_end(&login->end);
}
