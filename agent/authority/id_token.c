#include "id_token.h"

#include "cleanup.h"
#include "text.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <strings.h>

#define TENANT      "{tenantid}"
#define GUID_LENGTH 36
#define YEAR_9999   INT64_C(253402300799)

struct check {
    const struct id_token_rules *rules;
    const struct jwk *key;
    json_object *header;
    json_object *claims;
    struct id_token *token;
    struct id_token_failure *why;
};

static struct span cut(struct span text, char to[static LIMIT_CLAIM_SHOWN])
{
    size_t length = text.length < LIMIT_CLAIM_SHOWN ? text.length : LIMIT_CLAIM_SHOWN;
    if (length > 0)
        memcpy(to, text.data, length);
    return (struct span){to, length};
}

static enum id_token_error fail(const struct check *check, enum id_token_error error, struct span got,
                                struct span expected)
{
    check->why->error = error;
    check->why->got = cut(got, check->why->got_bytes);
    check->why->expected = cut(expected, check->why->expected_bytes);
    return error;
}

/* Whatever a claim is, as text for an error. */
static struct span raw(json_object *value)
{
    if (!value)
        return (struct span){0};
    if (json_object_is_type(value, json_type_string))
        return (struct span){json_object_get_string(value), (size_t)json_object_get_string_len(value)};
    return span_of(json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
}

static struct span claim(const struct check *check, const char *name)
{
    json_object *value = NULL;
    (void)json_member(check->claims, name, &value);
    return raw(value);
}

static bool is_guid(const char *text)
{
    if (strlen(text) != GUID_LENGTH)
        return false;
    for (size_t i = 0; i < GUID_LENGTH; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
    }
    return true;
}

/* The issuer we expect, with Entra's placeholder replaced by the token's tenant, into `to`. */
static enum id_token_error expected_issuer(const struct check *check, char to[static LIMIT_URL + GUID_LENGTH + 1])
{
    const char *issuer = check->rules->issuer, *place = check->rules->microsoft ? strstr(issuer, TENANT) : NULL;
    if (!place) {
        (void)snprintf(to, LIMIT_URL + GUID_LENGTH + 1, "%s", issuer);
        return ID_TOKEN_OK;
    }
    const char *tenant;
    if (json_string(check->claims, "tid", GUID_LENGTH, &tenant) < 0 || !is_guid(tenant))
        return fail(check, ID_TOKEN_TENANT, claim(check, "tid"), (struct span){0});
    (void)snprintf(to, LIMIT_URL + GUID_LENGTH + 1, "%.*s%s%s", (int)(place - issuer), issuer, tenant,
                   place + strlen(TENANT));
    return ID_TOKEN_OK;
}

static enum id_token_error check_issuer(const struct check *check)
{
    char expected[LIMIT_URL + GUID_LENGTH + 1];
    struct span got;
    enum id_token_error error = expected_issuer(check, expected);
    if (error)
        return error;
    if (json_bytes(check->claims, "iss", LIMIT_URL, &got) < 0 || !span_equals(got, span_of(expected)))
        return fail(check, ID_TOKEN_ISSUER, claim(check, "iss"), span_of(expected));
    /* a key that names one issuer signs for that one alone: Entra ID publishes the keys of its kinds of tenants
     * together */
    const char *owner = check->key->issuer;
    if (check->rules->microsoft && owner && !strstr(owner, TENANT) && strcmp(owner, expected) != 0)
        return fail(check, ID_TOKEN_KEY_ISSUER, span_of(owner), span_of(expected));
    check->token->issuer = got.data;
    return ID_TOKEN_OK;
}

static bool is_clean(struct span text)
{
    for (size_t i = 0; i < text.length; i++)
        if ((unsigned char)text.data[i] < 0x20 || text.data[i] == 0x7f)
            return false;
    return true;
}

/* aud is a text or an array of texts (RFC 7519 section 4.1.3). Sets *ret_count to how many there are. */
static enum id_token_error check_audience(const struct check *check, size_t *ret_count)
{
    struct span expected = span_of(check->rules->audience);
    json_object *value = NULL;
    (void)json_member(check->claims, "aud", &value);
    bool array = json_object_is_type(value, json_type_array), good = true, found = false;
    size_t count = array ? json_object_array_length(value) : 1;
    for (size_t i = 0; i < count && good; i++) {
        json_object *entry = array ? json_object_array_get_idx(value, i) : value;
        good = count <= LIMIT_AUDIENCES && json_object_is_type(entry, json_type_string) && is_clean(raw(entry));
        found = found || (good && span_equals(raw(entry), expected));
    }
    if (!good || !found)
        return fail(check, ID_TOKEN_AUDIENCE, raw(value), expected);
    *ret_count = count;
    return ID_TOKEN_OK;
}

static enum id_token_error check_party(const struct check *check, size_t audiences)
{
    const char *party;
    int r = json_string(check->claims, "azp", LIMIT_URL, &party);
    if (r == -ENOENT && audiences == 1)
        return ID_TOKEN_OK;
    if (r < 0 || strcmp(party, check->rules->audience) != 0)
        return fail(check, ID_TOKEN_PARTY, claim(check, "azp"), span_of(check->rules->audience));
    return ID_TOKEN_OK;
}

/* A NumericDate (RFC 7519 section 2), which need not be whole: 0, -ENOENT, -EINVAL. */
static int read_time(json_object *claims, const char *name, int64_t *ret)
{
    json_object *value;
    if (json_member(claims, name, &value) < 0)
        return -ENOENT;
    if (json_object_is_type(value, json_type_int)) {
        int64_t whole = json_object_get_int64(value);
        if (whole < 0 || whole > YEAR_9999)
            return -EINVAL;
        *ret = whole;
        return 0;
    }
    double real = json_object_is_type(value, json_type_double) ? json_object_get_double(value) : -1;
    if (!(real >= 0 && real <= (double)YEAR_9999)) /* this way round NaN fails too */
        return -EINVAL;
    *ret = (int64_t)real;
    return 0;
}

static enum id_token_error fail_time(const struct check *check, enum id_token_error error, const char *name,
                                     int64_t seconds)
{
    check->why->seconds = seconds;
    return fail(check, error, claim(check, name), (struct span){0});
}

/* nbf and iat: absent, or not in the future. */
static enum id_token_error check_past(const struct check *check, const char *name, enum id_token_error future,
                                      enum id_token_error odd, int64_t leeway)
{
    int64_t time, now = check->rules->now_s;
    int r = read_time(check->claims, name, &time);
    if (r == -EINVAL)
        return fail_time(check, odd, name, 0);
    return r == 0 && time - leeway > now ? fail_time(check, future, name, time - now) : ID_TOKEN_OK;
}

static enum id_token_error check_times(const struct check *check)
{
    int64_t leeway = check->rules->leeway_s < 0                ? 0
                     : check->rules->leeway_s > LIMIT_LEEWAY_S ? LIMIT_LEEWAY_S
                                                               : check->rules->leeway_s;
    int64_t expiry;
    if (read_time(check->claims, "exp", &expiry) < 0)
        return fail_time(check, ID_TOKEN_NO_EXPIRY, "exp", 0);
    if (check->rules->now_s >= expiry + leeway)
        return fail_time(check, ID_TOKEN_EXPIRED, "exp", check->rules->now_s - expiry);
    check->token->expires_s = expiry;
    enum id_token_error error = check_past(check, "nbf", ID_TOKEN_NOT_BEFORE, ID_TOKEN_NOT_BEFORE_ODD, leeway);
    return error ? error : check_past(check, "iat", ID_TOKEN_ISSUED, ID_TOKEN_ISSUED_ODD, leeway);
}

static enum id_token_error check_nonce(const struct check *check)
{
    const char *nonce;
    if (check->rules->nonce &&
        (json_string(check->claims, "nonce", LIMIT_CLAIMS, &nonce) < 0 || strcmp(nonce, check->rules->nonce) != 0))
        return fail(check, ID_TOKEN_NONCE, (struct span){0}, (struct span){0});
    return ID_TOKEN_OK;
}

/* B2C says in "tfp", or of older policies in "acr", by which user flow somebody signed in: a step-up stands or falls
 * with it. */
static enum id_token_error check_policy(const struct check *check)
{
    static const char *const names[] = {"tfp", "acr"};
    const char *policy = check->rules->policy;
    if (!policy)
        return ID_TOKEN_OK;
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        const char *said;
        int r = json_string(check->claims, names[i], LIMIT_CODE, &said);
        if (r == -ENOENT)
            continue;
        return r == 0 && strcasecmp(said, policy) == 0
                   ? ID_TOKEN_OK
                   : fail(check, ID_TOKEN_POLICY, claim(check, names[i]), span_of(policy));
    }
    return check->rules->policy_chosen ? fail(check, ID_TOKEN_POLICY, (struct span){0}, span_of(policy)) : ID_TOKEN_OK;
}

static enum id_token_error check_subject(const struct check *check, bool required)
{
    const char *subject = NULL;
    int r = json_string(check->claims, "sub", LIMIT_SUBJECT, &subject);
    if (r == -ENOENT && !required)
        return ID_TOKEN_OK;
    if (r < 0 || !*subject)
        return fail(check, ID_TOKEN_SUBJECT, claim(check, "sub"), (struct span){0});
    check->token->subject = subject;
    return ID_TOKEN_OK;
}

/* RFC 8725 section 3.11: a JWT of a declared other kind (at+jwt, logout+jwt, dpop+jwt, ...) is no id_token. */
static enum id_token_error check_type(const struct check *check)
{
    struct span type = {0};
    int r = json_bytes(check->header, "typ", LIMIT_JWS_HEADER, &type);
    if (r == -ENOENT)
        return ID_TOKEN_OK;
    if (r < 0 || (type.length >= 4 && strncasecmp(type.data + type.length - 4, "+jwt", 4) == 0))
        return fail(check, ID_TOKEN_TYPE, type, (struct span){0});
    return ID_TOKEN_OK;
}

static enum id_token_error check_claims(const struct check *check, bool bearer)
{
    size_t audiences = 0;
    enum id_token_error error = bearer ? ID_TOKEN_OK : check_type(check);
    if (!error)
        error = check_issuer(check);
    if (!error)
        error = check_audience(check, &audiences);
    if (!error && !bearer)
        error = check_party(check, audiences);
    if (!error)
        error = check_times(check);
    if (!error && !bearer)
        error = check_nonce(check);
    if (!error && (!bearer || check->rules->policy_chosen)) /* flows may well share their issuer and keys */
        error = check_policy(check);
    if (!error)
        error = check_subject(check, !bearer);
    return error;
}

static enum id_token_error from_jws(enum jws_result result)
{
    switch (result) {
    case JWS_OK:
        return ID_TOKEN_OK;
    case JWS_MALFORMED:
        return ID_TOKEN_MALFORMED;
    case JWS_ALGORITHM:
        return ID_TOKEN_ALGORITHM;
    case JWS_HEADER:
        return ID_TOKEN_HEADER;
    case JWS_NO_KEY:
        return ID_TOKEN_NO_KEY;
    case JWS_BAD_SIGNATURE:
        return ID_TOKEN_SIGNATURE;
    case JWS_NO_MEMORY:
        break;
    }
    return ID_TOKEN_NO_MEMORY;
}

static bool given(const char *text, size_t maximum)
{
    return text && *text && strlen(text) <= maximum;
}

static enum id_token_error verify(struct span text, const struct jwks *set, const struct id_token_rules *rules,
                                  bool bearer, struct id_token *ret, struct id_token_failure *ret_why)
{
    struct id_token_failure unwanted = {0}, *why = ret_why ? ret_why : &unwanted;
    *why = (struct id_token_failure){0};
    if (!given(rules->issuer, LIMIT_URL) || !given(rules->audience, LIMIT_URL))
        return why->error = ID_TOKEN_RULES;
    __attribute__((cleanup(jws_done))) struct jws jws = {0};
    __attribute__((cleanup(id_token_done))) struct id_token token = {0};
    enum jws_result result = jws_verify(text, set, &jws);
    if (!result)
        result = jws_claims(&jws, &token.claims);
    if (result)
        return why->error = from_jws(result);
    struct check check = {
        .rules = rules, .key = jws.key, .header = jws.header, .claims = token.claims, .token = &token, .why = why};
    enum id_token_error error = check_claims(&check, bearer);
    if (error)
        return error;
    token.account = id_token_account(token.claims);
    *ret = token;
    token = (struct id_token){0};
    return ID_TOKEN_OK;
}

enum id_token_error id_token_verify(struct span token, const struct jwks *set, const struct id_token_rules *rules,
                                    struct id_token *ret, struct id_token_failure *ret_why)
{
    return verify(token, set, rules, false, ret, ret_why);
}

enum id_token_error id_token_verify_bearer(struct span token, const struct jwks *set,
                                           const struct id_token_rules *rules, struct id_token *ret,
                                           struct id_token_failure *ret_why)
{
    return verify(token, set, rules, true, ret, ret_why);
}

void id_token_done(struct id_token *token)
{
    json_object_put(token->claims);
    *token = (struct id_token){0};
}

const char *id_token_account(json_object *claims)
{
    static const char *const names[] = {"preferred_username", "upn", "email", "unique_name", "name", "sub"};
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        char cleaned[LIMIT_SUBJECT + 8]; /* room for the dots that a longer text would get */
        const char *text;
        if (json_string(claims, names[i], LIMIT_SUBJECT, &text) < 0 || !*text)
            continue;
        text_clean_into(cleaned, sizeof cleaned, span_of(text));
        if (strcmp(cleaned, text) == 0)
            return text;
    }
    return NULL;
}

/* The part of the line that follows "the id_token". %1 and %2 stand for what was got and what was expected, %s for a
 * time. */
static const char *sentence(enum id_token_error error)
{
    switch (error) {
    case ID_TOKEN_OK:
        return " is verified";
    case ID_TOKEN_MALFORMED:
        return " is not a well-formed JWT";
    case ID_TOKEN_ALGORITHM:
        return "'s signature algorithm is not accepted (RS256, PS256 and ES256 are)";
    case ID_TOKEN_HEADER:
        return "'s header names a key or an extension, which is not accepted";
    case ID_TOKEN_NO_KEY:
        return " is signed with a key that is not among the authority's keys";
    case ID_TOKEN_SIGNATURE:
        return "'s signature is wrong";
    case ID_TOKEN_NO_MEMORY:
        return " could not be verified: out of memory";
    case ID_TOKEN_RULES:
        return " cannot be verified without an expected issuer and audience";
    case ID_TOKEN_TYPE:
        return " is a JWT of another kind (typ %1)";
    case ID_TOKEN_ISSUER:
        return "'s issuer is %1, expected %2";
    case ID_TOKEN_TENANT:
        return "'s tenant (tid) is %1, expected a GUID";
    case ID_TOKEN_KEY_ISSUER:
        return " is signed with a key of issuer %1, expected one of %2";
    case ID_TOKEN_AUDIENCE:
        return "'s audience is %1, expected %2";
    case ID_TOKEN_PARTY:
        return "'s authorized party (azp) is %1, expected %2";
    case ID_TOKEN_NO_EXPIRY:
        return "'s expiry (exp) is %1, expected a time";
    case ID_TOKEN_EXPIRED:
        return " expired %s ago (is this machine's clock right?)";
    case ID_TOKEN_NOT_BEFORE:
        return " is not valid for another %s (is this machine's clock right?)";
    case ID_TOKEN_NOT_BEFORE_ODD:
        return "'s start (nbf) is %1, expected a time";
    case ID_TOKEN_ISSUED:
        return " was issued %s in the future (is this machine's clock right?)";
    case ID_TOKEN_ISSUED_ODD:
        return "'s time of issue (iat) is %1, expected a time";
    case ID_TOKEN_NONCE:
        return "'s nonce is not the one of this sign-in";
    case ID_TOKEN_POLICY:
        return "'s user flow (tfp) is %1, expected %2";
    case ID_TOKEN_SUBJECT:
        return "'s subject (sub) is %1, expected 1 to 255 bytes of plain text";
    }
    return " could not be verified";
}

static void append_value(struct buffer *line, struct span value)
{
    if (value.length == 0)
        buffer_text(line, "missing or empty");
    else
        text_clean(line, value, LIMIT_CLAIM_SHOWN);
}

void id_token_explain(const struct id_token_failure *why, const char *what, char *to, size_t size)
{
    _cleanup_buffer_ struct buffer line = BUFFER(LIMIT_RESPONSE);
    char duration[32];
    text_duration(duration, sizeof duration, why->seconds);
    buffer_format(&line, "the %s", what);
    for (const char *p = sentence(why->error); *p; p++) {
        if (*p != '%')
            buffer_byte(&line, *p);
        else if (*++p == 's')
            buffer_text(&line, duration);
        else
            append_value(&line, *p == '1' ? why->got : why->expected);
    }
    (void)snprintf(to, size, "%s", buffer_error(&line) ? "out of memory" : line.data);
}
