#include "grant/exchange.h"

#include "authority/metadata.h"
#include "authority/url.h"
#include "cleanup.h"
#include "grant/form.h"
#include "json.h"
#include <errno.h>
#include <stdio.h>

bool profile_is_entra(const struct profile *profile)
{
    return profile->dialect == DIALECT_ENTRA || profile->dialect == DIALECT_ENTRA_V1;
}

bool profile_is_mlserver(const struct profile *profile)
{
    return profile->dialect == DIALECT_MLSERVER;
}

bool profile_is_b2c(const struct profile *profile)
{
    return profile->dialect == DIALECT_B2C;
}

const struct request *input_request(const struct input *input)
{
    static const struct request nothing = {.min_valid_s = -1};
    return input->asked ? input->asked : &nothing;
}

int step_fail(struct step *ret, const struct failure *why)
{
    *ret = (struct step){.kind = STEP_FAIL, .fail = *why};
    return 0;
}

int step_fail_answer(struct step *ret, const struct answer *answer, enum failure_kind kind, const char *words)
{
    if (answer->why.kind != FAILURE_NONE)
        return step_fail(ret, &answer->why);
    struct failure why;
    failure_set(&why, kind, kind == FAILURE_AUTHORITY_UNREACHABLE ? CLASS_UNREACHABLE : CLASS_DEFINITE, "%s: %s", words,
                strerror(-answer->error));
    return step_fail(ret, &why);
}

/* ---- endpoints -----------------------------------------------------------------------------------------------------
 */

static int put_address(struct exchange *exchange, enum endpoint endpoint, const char *address)
{
    if (exchange->addresses[endpoint] || !address)
        return 0;
    exchange->addresses[endpoint] = strdup(address);
    return exchange->addresses[endpoint] ? 0 : -ENOMEM;
}

/* AUTHORITY/path, where the authority may end in slashes or in Entra's /v2.0. */
static int put_derived(struct exchange *exchange, enum endpoint endpoint, const char *path)
{
    static const char suffix[] = "/v2.0";
    const char *authority = exchange->profile->authority;
    if (exchange->addresses[endpoint] || !authority)
        return 0;
    size_t length = strlen(authority), tail = sizeof(suffix) - 1;
    while (length > 0 && authority[length - 1] == '/')
        length--;
    if (length > tail && memcmp(authority + length - tail, suffix, tail) == 0)
        length -= tail;
    if (asprintf(&exchange->addresses[endpoint], "%.*s%s", (int)length, authority, path) < 0) {
        exchange->addresses[endpoint] = NULL;
        return -ENOMEM;
    }
    return 0;
}

static int open_mlserver(struct exchange *exchange)
{
    const char *path = profile_setting(exchange->profile, "login_path");
    _cleanup_free_ char *renewal = NULL;
    exchange->resolved = true;
    exchange->auth = CLIENT_AUTH_NONE;
    if (!path)
        path = "/login";
    if (asprintf(&renewal, "%s/refreshToken", path) < 0) {
        renewal = NULL;
        return -ENOMEM;
    }
    int r = put_derived(exchange, ENDPOINT_LOGIN, path);
    return r < 0 ? r : put_derived(exchange, ENDPOINT_TOKEN, renewal);
}

int exchange_open(struct exchange *exchange, const struct profile *profile)
{
    *exchange = (struct exchange){.profile = profile,
                                  .auth = profile->client_auth,
                                  .waiting = STEP_DONE,
                                  .body = BUFFER(LIMIT_FORM),
                                  .authorization = BUFFER(LIMIT_FORM)};
    for (enum endpoint i = 0; i < ENDPOINT_COUNT; i++)
        if (put_address(exchange, i, endpoint_configured(profile, i)) < 0)
            return -ENOMEM;
    exchange->resolved = !profile->authority;
    if (profile_is_mlserver(profile))
        return open_mlserver(exchange);
    if (profile->dialect != DIALECT_ENTRA_V1)
        return 0;
    exchange->resolved = true;
    if (put_derived(exchange, ENDPOINT_TOKEN, "/oauth2/token") < 0 ||
        put_derived(exchange, ENDPOINT_AUTHORIZATION, "/oauth2/authorize") < 0)
        return -ENOMEM;
    return put_derived(exchange, ENDPOINT_DEVICE, "/oauth2/devicecode?api-version=1.0");
}

void exchange_close(struct exchange *exchange)
{
    for (size_t i = 0; i < ENDPOINT_COUNT; i++) {
        free(exchange->addresses[i]);
        exchange->addresses[i] = NULL;
    }
    free(TAKE_PTR(exchange->issuer));
    free(TAKE_PTR(exchange->misplaced));
    exchange->client_secret = secret_unref(exchange->client_secret);
    exchange->key_password = secret_unref(exchange->key_password);
    buffer_free(&exchange->body);
    buffer_free(&exchange->authorization);
}

static int resolve(struct exchange *exchange, const struct metadata *metadata)
{
    exchange->resolved = true;
    for (enum endpoint i = 0; i < ENDPOINT_COUNT; i++)
        if (put_address(exchange, i, endpoint_announced(metadata, i)) < 0)
            return -ENOMEM;
    if (!(exchange->issuer = metadata->issuer ? strdup(metadata->issuer) : NULL) && metadata->issuer)
        return -ENOMEM;
    if (metadata->misplaced) {
        if (!(exchange->misplaced = malloc(sizeof(*exchange->misplaced))))
            return -ENOMEM;
        *exchange->misplaced = *metadata->misplaced;
    }
    exchange->issuer_is_template = metadata->issuer_is_template;
    exchange->names_itself = metadata->names_itself;
    exchange->requires_push = metadata->requires_push;
    exchange->no_account_choice = metadata->no_account_choice;
    if (exchange->auth == CLIENT_AUTH_DEFAULT && metadata->post && !metadata->basic &&
        exchange->profile->client_secret.kind != SOURCE_NONE)
        exchange->auth = CLIENT_AUTH_POST;
    if (exchange->profile->dialect != DIALECT_ENTRA)
        return 0;
    int r = exchange->misplaced ? 0 : put_derived(exchange, ENDPOINT_AUTHORIZATION, "/oauth2/v2.0/authorize");
    return r < 0 ? r : put_derived(exchange, ENDPOINT_DEVICE, "/oauth2/v2.0/devicecode");
}

static int fail_absent(struct exchange *exchange, struct step *ret)
{
    const struct profile *profile = exchange->profile;
    const char *key = endpoint_key(exchange->endpoint);
    struct failure why;
    exchange->absent = true;
    if (exchange->misplaced && (exchange->endpoint == ENDPOINT_AUTHORIZATION || exchange->endpoint == ENDPOINT_PUSH))
        return step_fail(ret, exchange->misplaced);
    if (profile->authority)
        failure_set(&why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE,
                    "the metadata of %s name no %s: set it, or choose another grant", profile->authority, key);
    else
        failure_set(&why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE, "there is neither %s nor authority", key);
    return step_fail(ret, &why);
}

/* ---- the request ---------------------------------------------------------------------------------------------------
 */

void exchange_begin(struct exchange *exchange, enum endpoint endpoint)
{
    exchange->endpoint = endpoint;
    exchange->absent = exchange->signed_already = exchange->paired = exchange->offline = false;
    buffer_clear(&exchange->body);
    buffer_clear(&exchange->authorization);
}

int exchange_member(struct exchange *exchange, const char *name, struct span value)
{
    buffer_text(&exchange->body, exchange->body.length ? ",\"" : "{\"");
    buffer_text(&exchange->body, name);
    buffer_text(&exchange->body, "\":");
    return json_quote(&exchange->body, value);
}

static bool has_word(const char *list, const char *word);

static int add_scope(struct exchange *exchange, const char *scope)
{
    static const char more[] = " offline_access";
    _cleanup_free_ char *both = NULL;
    if (!exchange->offline || has_word(scope, more + 1))
        return form_text(&exchange->body, "scope", scope);
    if (asprintf(&both, "%s%s", scope, more) < 0) {
        both = NULL;
        return -ENOMEM;
    }
    return form_text(&exchange->body, "scope", both);
}

static int add_scopes(struct exchange *exchange, char *const *scopes)
{
    if (!scopes || !scopes[0])
        return 0;
    _cleanup_free_ char *joined = scopes_join(scopes);
    return joined ? add_scope(exchange, joined) : -ENOMEM;
}

/* Entra v1 knows resources only: a scope RESOURCE/.default, its own way to write one for v2, is understood. */
static int add_resource_v1(struct exchange *exchange, const char *resource, char *const *scopes)
{
    static const char suffix[] = "/.default";
    if (resource || !scopes)
        return form_text(&exchange->body, "resource", resource);
    for (; *scopes; scopes++) {
        size_t length = strlen(*scopes), tail = sizeof(suffix) - 1;
        if (length > tail && strcmp(*scopes + length - tail, suffix) == 0)
            return form_pair(&exchange->body, "resource", (struct span){*scopes, length - tail});
    }
    return 0;
}

int exchange_target(struct exchange *exchange, const struct request *asked, bool scopes)
{
    const struct profile *profile = exchange->profile;
    char *const *wanted = request_scopes(asked, profile);
    const char *resource = request_resource(asked, profile);
    bool any = wanted && wanted[0];
    int r;
    if (profile->dialect == DIALECT_ENTRA_V1) {
        r = add_resource_v1(exchange, resource, wanted);
    } else if (profile->dialect == DIALECT_ENTRA && resource && !any) {
        /* v2 has no resource: RESOURCE/.default is how it is asked for */
        _cleanup_free_ char *scope = NULL;
        if (asprintf(&scope, "%s/.default", resource) < 0) {
            scope = NULL;
            return -ENOMEM;
        }
        r = add_scope(exchange, scope);
    } else {
        r = scopes ? add_scopes(exchange, wanted) : 0;
        if (r == 0)
            r = form_text(&exchange->body, "resource", resource);
    }
    if (r == 0)
        r = form_text(&exchange->body, "audience", request_audience(asked, profile));
    return r < 0 ? r : form_text(&exchange->body, "claims", asked->claims);
}

bool exchange_can_assert(const struct profile *profile)
{
    return profile->client_key || profile->client_certificate || profile->client_assertion_file;
}

static enum client_auth choose_auth(const struct exchange *exchange)
{
    if (exchange->auth != CLIENT_AUTH_DEFAULT)
        return exchange->auth;
    if (exchange->profile->client_secret.kind == SOURCE_NONE)
        return exchange_can_assert(exchange->profile) ? CLIENT_AUTH_PRIVATE_KEY_JWT : CLIENT_AUTH_NONE;
    bool post = profile_is_entra(exchange->profile) || profile_is_b2c(exchange->profile);
    return post ? CLIENT_AUTH_POST : CLIENT_AUTH_BASIC;
}

static int authenticate(struct exchange *exchange, enum client_auth auth)
{
    const char *id = exchange->profile->client_id;
    struct span secret = exchange->client_secret ? secret_span(exchange->client_secret) : (struct span){0};
    buffer_clear(&exchange->authorization);
    if (auth == CLIENT_AUTH_BASIC) {
        if (exchange->endpoint == ENDPOINT_PUSH) /* an authorization request names its client, whoever brings it */
            form_text(&exchange->body, "client_id", id);
        return form_basic(&exchange->authorization, id ? id : "", secret);
    }
    int r = form_text(&exchange->body, "client_id", id);
    return r < 0 || auth != CLIENT_AUTH_POST ? r : form_pair(&exchange->body, "client_secret", secret);
}

static int ask(struct exchange *exchange, enum step_kind kind, struct step *ret)
{
    exchange->waiting = kind;
    *ret = (struct step){.kind = kind};
    return 0;
}

static int ask_secret(struct exchange *exchange, const char *name, struct step *ret)
{
    exchange->secret = name;
    int r = ask(exchange, STEP_SECRET, ret);
    ret->secret = name;
    return r;
}

/* What a client assertion needs: first the key's password, then the signature. */
static int ask_assertion(struct exchange *exchange, struct step *ret)
{
    const struct profile *profile = exchange->profile;
    if (profile->key_password.kind != SOURCE_NONE && !exchange->key_password)
        return ask_secret(exchange, "key_password", ret);
    int r = ask(exchange, STEP_SIGN, ret);
    ret->sign.audience =
        profile->assertion_audience ? profile->assertion_audience : exchange->addresses[exchange->endpoint];
    if (exchange->key_password)
        ret->sign.key_password = secret_span(exchange->key_password);
    return r;
}

/* What TLS needs: the same password first. Without TLS there is nobody to show a certificate to. */
static int ask_pair(struct exchange *exchange, struct step *ret)
{
    const char *address = exchange->addresses[exchange->endpoint];
    struct failure why;
    struct url url;
    if (url_parse(address, &url) < 0 || !url.https) {
        failure_set(&why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE,
                    "%s is %s: a client certificate is shown in TLS alone, so it must be https",
                    endpoint_key(exchange->endpoint), address);
        return step_fail(ret, &why);
    }
    if (exchange->profile->key_password.kind != SOURCE_NONE && !exchange->key_password)
        return ask_secret(exchange, "key_password", ret);
    int r = ask(exchange, STEP_PAIR, ret);
    if (exchange->key_password)
        ret->key_password = secret_span(exchange->key_password);
    return r;
}

static int send_request(struct exchange *exchange, enum client_auth auth, struct step *ret)
{
    bool json = profile_is_mlserver(exchange->profile);
    int r = json ? buffer_byte(&exchange->body, '}') : authenticate(exchange, auth);
    if (r == 0)
        r = buffer_error(&exchange->body);
    if (r < 0)
        return r;
    r = ask(exchange, STEP_HTTP, ret);
    ret->http.method = "POST";
    ret->http.url = exchange->addresses[exchange->endpoint];
    ret->http.body = buffer_span(&exchange->body);
    ret->http.headers[ret->http.header_count++] = (struct header){"Accept", span_of("application/json")};
    if (json)
        ret->http.headers[ret->http.header_count++] = (struct header){"Content-Type", span_of("application/json")};
    if (profile_is_entra(exchange->profile)) /* else it may say that it is too busy by an invalid_grant */
        ret->http.headers[ret->http.header_count++] =
            (struct header){"x-ms-lib-capability", span_of("retry-after, h429")};
    if (auth == CLIENT_AUTH_BASIC)
        ret->http.headers[ret->http.header_count++] =
            (struct header){"Authorization", buffer_span(&exchange->authorization)};
    return r;
}

int exchange_find(struct exchange *exchange, struct step *ret)
{
    if (exchange->addresses[exchange->endpoint] && (exchange->resolved || exchange->addresses[ENDPOINT_TOKEN]))
        return 1;
    return exchange->resolved ? fail_absent(exchange, ret) : ask(exchange, STEP_METADATA, ret);
}

int exchange_found(struct exchange *exchange, const struct answer *answer, struct step *ret)
{
    exchange->waiting = STEP_DONE;
    if (answer->error)
        return step_fail_answer(ret, answer, FAILURE_AUTHORITY_UNREACHABLE, "the authority's metadata");
    int r = answer->metadata ? resolve(exchange, answer->metadata) : -EINVAL;
    return r < 0 ? r : exchange_find(exchange, ret);
}

int exchange_step(struct exchange *exchange, struct step *ret)
{
    if (!exchange->addresses[exchange->endpoint])
        return exchange->resolved ? fail_absent(exchange, ret) : ask(exchange, STEP_METADATA, ret);
    enum client_auth auth = choose_auth(exchange);
    if (auth == CLIENT_AUTH_PRIVATE_KEY_JWT && !exchange->signed_already)
        return ask_assertion(exchange, ret);
    if (auth == CLIENT_AUTH_TLS && !exchange->paired)
        return ask_pair(exchange, ret);
    if ((auth == CLIENT_AUTH_BASIC || auth == CLIENT_AUTH_POST) && !exchange->client_secret)
        return ask_secret(exchange, "client_secret", ret);
    return send_request(exchange, auth, ret);
}

static int take_secret(struct exchange *exchange, const struct answer *answer, struct step *ret)
{
    struct failure why;
    struct secret **place =
        strcmp(exchange->secret, "client_secret") == 0 ? &exchange->client_secret : &exchange->key_password;
    int r = answer->body.length > 0 ? secret_new(answer->body.data, answer->body.length, place) : -ENODATA;
    if (r == 0)
        return exchange_step(exchange, ret);
    if (r != -ENODATA && r != -EMSGSIZE)
        return r;
    failure_set(&why, FAILURE_SECRET_MISSING, CLASS_DEFINITE, "%s is %s", exchange->secret,
                r == -ENODATA ? "empty" : "too long");
    (void)snprintf(why.name, sizeof(why.name), "%s", exchange->secret);
    return step_fail(ret, &why);
}

int exchange_next(struct exchange *exchange, const struct answer *answer, struct step *ret, bool *ret_answered)
{
    enum step_kind waiting = exchange->waiting;
    exchange->waiting = STEP_DONE;
    *ret_answered = waiting == STEP_HTTP;
    if (waiting == STEP_HTTP) {
        buffer_clear(&exchange->body);
        buffer_clear(&exchange->authorization);
        return 0;
    }
    if (waiting == STEP_METADATA) {
        if (answer->error)
            return step_fail_answer(ret, answer, FAILURE_AUTHORITY_UNREACHABLE, "the authority's metadata");
        int r = answer->metadata ? resolve(exchange, answer->metadata) : -EINVAL;
        return r < 0 ? r : exchange_step(exchange, ret);
    }
    if (waiting == STEP_SIGN) {
        if (answer->error)
            return step_fail_answer(ret, answer, FAILURE_INVALID_CONFIGURATION, "the client assertion");
        exchange->signed_already = true;
        form_text(&exchange->body, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        form_pair(&exchange->body, "client_assertion", answer->body);
        return exchange_step(exchange, ret);
    }
    if (waiting == STEP_PAIR) {
        if (answer->error)
            return step_fail_answer(ret, answer, FAILURE_INVALID_CONFIGURATION, "the client certificate");
        exchange->paired = true;
        return exchange_step(exchange, ret);
    }
    if (waiting != STEP_SECRET)
        return -EINVAL;
    if (!answer->error)
        return take_secret(exchange, answer, ret);
    int r = step_fail_answer(ret, answer, FAILURE_SECRET_MISSING, exchange->secret);
    if (!ret->fail.name[0] && ret->fail.kind == FAILURE_SECRET_MISSING)
        (void)snprintf(ret->fail.name, sizeof(ret->fail.name), "%s", exchange->secret);
    return r;
}

/* ---- what was granted ----------------------------------------------------------------------------------------------
 */

static bool has_word(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, " ");
        if (n == length && memcmp(p, word, n) == 0)
            return true;
        p += n + (p[n] == ' ');
    }
    /* some write commas; a scope may hold one (RFC 6749 section 3.3), hence only after the proper reading */
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ", ");
        if (n == length && memcmp(p, word, n) == 0)
            return true;
        p += n + (p[n] != '\0');
    }
    return false;
}

static bool is_openid(const char *scope)
{
    return has_word("openid offline_access profile email address phone", scope);
}

bool scopes_granted(const struct profile *profile, char *const *asked, const char *granted, struct failure *why)
{
    if (!asked || !granted || profile_is_entra(profile))
        return true;
    for (; *asked; asked++) {
        if (is_openid(*asked) || has_word(granted, *asked))
            continue;
        char sentence[LIMIT_TEXT];
        (void)snprintf(sentence, sizeof(sentence), "the authority granted a token without the scope %s: it gave \"%s\"",
                       *asked, granted);
        failure_refused(why, "invalid_scope", sentence);
        return false;
    }
    return true;
}

bool scopes_same(char *const *asked, const char *granted)
{
    if (!asked || !asked[0])
        return true;
    if (!granted)
        return false;
    for (size_t i = 0; asked[i]; i++)
        if (!is_openid(asked[i]) && !has_word(granted, asked[i]))
            return false;
    for (const char *p = granted; *p;) {
        char word[LIMIT_SCOPE + 1];
        size_t length = strcspn(p, " "), i = 0;
        if (length > LIMIT_SCOPE)
            return false;
        memcpy(word, p, length);
        word[length] = '\0';
        while (asked[i] && strcmp(asked[i], word) != 0)
            i++;
        if (length > 0 && !asked[i] && !is_openid(word))
            return false;
        p += length + (p[length] == ' ');
    }
    return true;
}

void credential_note_life(struct credential *credential, const struct tokens *tokens, const struct tick *tick)
{
    if (tokens->refresh_token)
        credential->renew_by = tokens->refresh_life_s > 0 ? tick->wall_s + tokens->refresh_life_s : 0;
}

void failure_name_scope(struct failure *why, const struct request *asked, const struct profile *profile)
{
    if (why->kind != FAILURE_AUTHORITY_REFUSED || strcmp(why->error, "invalid_scope") != 0)
        return;
    char *const *scopes = request_scopes(asked, profile);
    _cleanup_free_ char *joined = scopes ? scopes_join(scopes) : NULL;
    char sentence[LIMIT_TEXT];
    (void)snprintf(sentence, sizeof(sentence), "the scope \"%.*s\" was refused%s%.*s", LIMIT_TEXT / 2,
                   joined ? joined : "", why->reason[0] ? ": " : "", LIMIT_TEXT / 3, why->reason);
    bool said = why->description[0] != '\0';
    memcpy(said ? why->reason : why->description, sentence, sizeof(sentence));
    if (!said)
        why->reason[0] = '\0';
}

const char *exchange_check(const struct profile *profile)
{
    bool proves = profile->client_auth == CLIENT_AUTH_BASIC || profile->client_auth == CLIENT_AUTH_POST;
    if (!profile->authority && !profile->token_endpoint)
        return "needs authority or token_endpoint";
    if (proves && profile->client_secret.kind == SOURCE_NONE)
        return "client_auth needs client_secret";
    if (profile->client_auth == CLIENT_AUTH_PRIVATE_KEY_JWT && !exchange_can_assert(profile))
        return "client_auth = private_key_jwt needs client_key, a client_certificate with its key in the same file, or "
               "client_assertion_file";
    if (profile->client_auth == CLIENT_AUTH_TLS && !profile->client_certificate)
        return "shows a certificate in TLS (client_auth): set client_certificate, and client_key unless the key stands "
               "in the same file";
    if (profile->client_auth == CLIENT_AUTH_TLS && !profile->client_id)
        return "shows a certificate in TLS (client_auth): set client_id too, as RFC 8705 asks";
    if (profile->client_assertion_file && (profile->client_key || profile->client_certificate))
        return "has client_assertion_file and a key: drop one";
    if (profile->client_auth == CLIENT_AUTH_DEFAULT && profile->client_secret.kind != SOURCE_NONE &&
        exchange_can_assert(profile))
        return "has client_secret and another proof of who it is: drop one, or say with client_auth which to use";
    return NULL;
}
