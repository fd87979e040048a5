#include "authority/answer.h"

#include "authority/aadsts.h"
#include "authority/bound.h"
#include "authority/date_text.h"
#include "buffer.h"
#include "cleanup.h"
#include "json.h"
#include "text.h"
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <strings.h>
#include <time.h>

/* ---- Retry-After ---------------------------------------------------------------------------------------------------
 */

/* The three forms of RFC 9110 section 5.6.7: epoch seconds or -1. */
static int64_t http_date(struct span text)
{
    static const char *const forms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                        "%a %b %e %H:%M:%S %Y"};
    char copy[64];
    if (text.length >= sizeof(copy))
        return -1;
    if (text.length > 0)
        memcpy(copy, text.data, text.length);
    copy[text.length] = '\0';
    for (size_t i = 0; i < ELEMENTS(forms); i++) {
        struct tm broken = {0};
        const char *end = strptime(copy, forms[i], &broken);
        if (end && *end == '\0')
            return (int64_t)timegm(&broken);
    }
    return -1;
}

int64_t answer_date(const struct answer *answer)
{
    struct span date;
    return answer_header(answer, "Date", &date) ? http_date(date) : -1;
}

int64_t answer_retry_after_ms(const struct answer *answer, const struct tick *tick)
{
    struct span value;
    if (!answer_header(answer, "Retry-After", &value) || value.length == 0)
        return -1;
    int64_t seconds = 0;
    size_t digits = 0;
    for (; digits < value.length && isdigit((unsigned char)value.data[digits]); digits++)
        if (seconds <= LIMIT_RETRY_AFTER_S)
            seconds = seconds * 10 + (value.data[digits] - '0');
    if (digits < value.length) {
        int64_t when = http_date(value);
        if (when < 0)
            return -1;
        /* the sender's own clock, where it tells it: ours may be wrong by minutes */
        int64_t now = answer_date(answer);
        seconds = when - (now >= 0 ? now : tick->wall_s);
        if (seconds < 0)
            seconds = 0;
    }
    return (seconds > LIMIT_RETRY_AFTER_S ? LIMIT_RETRY_AFTER_S : seconds) * 1000;
}

/* ---- errors --------------------------------------------------------------------------------------------------------
 */

#define DPOP_WORDS                                                                                                     \
    "which needs a proof by a key with each request, and a token is handed out here as a string: have the client "     \
    "registered for Bearer tokens (without dpop_bound_access_tokens)"

/* What an error answer says, still in the authority's bytes. */
struct complaint {
    struct span error, description, suberror, correlation, trace;
    const struct aadsts *known; /* NULL: no number, or one that the table does not have */
};

static bool equals(struct span text, const char *word)
{
    return span_equals(text, span_of(word));
}

static bool among(struct span text, const char *const *words)
{
    for (; *words; words++)
        if (equals(text, *words))
            return true;
    return false;
}

/* The first number that is known; of several, one that means "not now" wins. */
static const struct aadsts *find_number(json_object *json, struct span description)
{
    const struct aadsts *known = aadsts_find(aadsts_number(description));
    json_object *codes = NULL;
    if (json_array(json, "error_codes", &codes) < 0)
        return known;
    size_t count = json_object_array_length(codes);
    for (size_t i = 0; i < count && i < 16; i++) {
        json_object *code = json_object_array_get_idx(codes, i);
        bool number = json_object_is_type(code, json_type_int) || json_object_is_type(code, json_type_string);
        const struct aadsts *found = number ? aadsts_find(json_object_get_int64(code)) : NULL;
        if (found && (!known || found->effect != AADSTS_SAYS))
            known = found;
    }
    return known;
}

/* True when the body says that there was an error. */
static bool read_complaint(json_object *json, struct complaint *ret)
{
    json_object *member = NULL, *source = json;
    *ret = (struct complaint){0};
    if (json_member(json, "error", &member) < 0)
        return false;
    if (json_object_is_type(member, json_type_object)) { /* {"error":{"code","message"}}, as gateways write it */
        source = member;
        (void)json_bytes(member, "code", LIMIT_RESPONSE, &ret->error);
        (void)json_bytes(member, "message", LIMIT_RESPONSE, &ret->description);
    } else if (json_bytes(json, "error", LIMIT_RESPONSE, &ret->error) == 0) {
        if (ret->error.length == 0)
            return false; /* "error": "" is how some say that there is none */
        (void)json_bytes(json, "error_description", LIMIT_RESPONSE, &ret->description);
    } else if (json_object_is_type(member, json_type_boolean) && !json_object_get_boolean(member)) {
        return false;
    }
    if (ret->error.length == 0)
        ret->error = span_of("unnamed");
    (void)json_bytes(json, "suberror", LIMIT_RESPONSE, &ret->suberror);
    if (json_bytes(json, "correlation_id", LIMIT_RESPONSE, &ret->correlation) < 0)
        (void)json_bytes(source, "correlationId", LIMIT_RESPONSE, &ret->correlation);
    (void)json_bytes(json, "trace_id", LIMIT_RESPONSE, &ret->trace);
    ret->known = find_number(json, ret->description);
    return true;
}

static enum outcome class_by_words(const struct complaint *said, bool user)
{
    static const char *const declined[] = {"access_denied", "authorization_declined", NULL};
    static const char *const expired[] = {"expired_token", "code_expired", "bad_verification_code", NULL};
    static const char *const person[] = {"invalid_grant",  "interaction_required",       "consent_required",
                                         "login_required", "account_selection_required", NULL};
    static const char *const later[] = {"temporarily_unavailable", "server_error", NULL};
    static const char *const no_login_helps[] = {"message_only", "protection_policy_required", NULL};
    if (equals(said->error, "authorization_pending"))
        return OUTCOME_PENDING;
    if (equals(said->error, "slow_down"))
        return OUTCOME_SLOW_DOWN;
    if (said->known && said->known->effect != AADSTS_SAYS)
        return OUTCOME_RETRY;
    if (among(said->error, declined))
        return OUTCOME_DECLINED;
    if (among(said->error, expired))
        return OUTCOME_EXPIRED;
    if (among(said->error, later))
        return OUTCOME_RETRY;
    if (user && among(said->error, person) && !among(said->suberror, no_login_helps))
        return OUTCOME_LOGIN;
    return OUTCOME_REFUSED;
}

/* Whether the code is one of those that OAuth defines, so that it counts even with a 5xx. */
static bool is_protocol_code(struct span error)
{
    static const char *const codes[] = {"invalid_request",
                                        "invalid_client",
                                        "invalid_grant",
                                        "unauthorized_client",
                                        "unsupported_grant_type",
                                        "invalid_scope",
                                        "invalid_target",
                                        "access_denied",
                                        "authorization_declined",
                                        "expired_token",
                                        "code_expired",
                                        "bad_verification_code",
                                        "interaction_required",
                                        "consent_required",
                                        "login_required",
                                        "account_selection_required",
                                        "invalid_resource",
                                        "unsupported_token_type",
                                        "authorization_pending",
                                        "slow_down",
                                        NULL};
    return among(error, codes);
}

static const char *whom(const struct profile *profile)
{
    return profile->authority        ? profile->authority
           : profile->token_endpoint ? profile->token_endpoint
                                     : "the authority";
}

void failure_refused(struct failure *why, const char *code, const char *sentence)
{
    failure_set(why, FAILURE_AUTHORITY_REFUSED, CLASS_DEFINITE, "%s", "");
    text_clean_into(why->error, sizeof(why->error), span_of(code));
    text_clean_into(why->description, sizeof(why->description), span_of(sentence));
}

/* The authority's words, each part cleaned. */
static void put_words(struct failure *why, const struct complaint *said)
{
    text_clean_into(why->error, sizeof(why->error), said->error);
    text_clean_into(why->description, sizeof(why->description), said->description);
    text_clean_into(why->correlation_id, sizeof(why->correlation_id), said->correlation);
    text_clean_into(why->trace_id, sizeof(why->trace_id), said->trace);
}

/* What the next sign-in is to be asked for. It goes back as it came, so it must be what it says. */
static void put_challenge(struct failure *why, json_object *json)
{
    _cleanup_json_ json_object *challenge = NULL;
    const char *claims;
    if (json_string(json, "claims", LIMIT_CHALLENGE, &claims) == 0 &&
        json_parse(claims, strlen(claims), LIMIT_REQUEST_DEPTH, &challenge) == 0 &&
        json_object_is_type(challenge, json_type_object))
        (void)snprintf(why->claims, sizeof(why->claims), "%s", claims);
}

static bool is_about_dpop(struct span error)
{
    static const char *const codes[] = {"use_dpop_nonce", "invalid_dpop_proof", NULL};
    return among(error, codes);
}

static void explain_words(enum outcome outcome, const struct complaint *said, const struct answer *answer,
                          const struct profile *profile, struct failure *why)
{
    bool throttled = answer->status == 429 || outcome == OUTCOME_SLOW_DOWN ||
                     (said->known && said->known->effect == AADSTS_THROTTLES);
    char code[LIMIT_CODE], words[LIMIT_TEXT / 2];
    text_clean_into(code, sizeof(code), said->error);
    text_clean_into(words, sizeof(words), said->description);
    const char *hint = said->known && said->known->hint ? said->known->hint
                       : is_about_dpop(said->error)     ? "it asks for DPoP (RFC 9449), " DPOP_WORDS
                                                        : NULL;
    const char *colon = words[0] ? ": " : "";
    enum failure_kind kind = FAILURE_AUTHORITY_REFUSED;
    enum failure_class class = CLASS_DEFINITE;
    if (outcome == OUTCOME_LOGIN) {
        kind = FAILURE_LOGIN_REQUIRED;
    } else if (outcome == OUTCOME_RETRY || outcome == OUTCOME_SLOW_DOWN || outcome == OUTCOME_PENDING) {
        kind = FAILURE_AUTHORITY_UNREACHABLE;
        class = throttled ? CLASS_THROTTLED : CLASS_UNREACHABLE;
    }
    if (kind == FAILURE_AUTHORITY_REFUSED) /* its own words go beside it */
        failure_set(why, kind, class, "%s", hint ? hint : "");
    else if (hint)
        failure_set(why, kind, class, "%s; the authority said %s%s%s", hint, code, colon, words);
    else if (kind == FAILURE_AUTHORITY_UNREACHABLE)
        failure_set(why, kind, class, "%s answered %d, %s%s%s", whom(profile), answer->status, code, colon, words);
    else
        failure_set(why, kind, class, "the authority said %s%s%s", code, colon, words);
    put_words(why, said);
}

/* Machine Learning Server says 401 to a bad password and to a refresh token that has ended; the words, where there are
 * any, are in `message` (WIRE section 3). */
static enum outcome explain_unauthorised(json_object *json, const struct profile *profile, bool user,
                                         struct failure *why)
{
    struct span message = span_of("the server answered 401 without a word");
    (void)json_bytes(json, "message", LIMIT_RESPONSE, &message);
    if (user) {
        failure_set(why, FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE, "%s no longer takes the sign-in", whom(profile));
        text_clean_into(why->description, sizeof(why->description), message);
        return OUTCOME_LOGIN;
    }
    failure_refused(why, "http_401", "");
    text_clean_into(why->description, sizeof(why->description), message);
    return OUTCOME_REFUSED;
}

/* An answer without the authority's own error code. An empty 400 to a refresh token is how glewlwyd 2.7 says that it
 * has ended: a person can mend that, and nothing in the configuration can. */
static enum outcome explain_status(const struct answer *answer, const struct profile *profile, bool user,
                                   struct failure *why)
{
    char type[64] = "no content type";
    struct span value;
    if (answer_header(answer, "Content-Type", &value))
        text_clean_into(type, sizeof(type), value);
    int status = answer->status;
    if (status == 429) {
        failure_set(why, FAILURE_AUTHORITY_UNREACHABLE, CLASS_THROTTLED, "%s answered 429: too many requests",
                    whom(profile));
        return OUTCOME_RETRY;
    }
    if (user && status == 400 && answer->body.length == 0) {
        failure_set(why, FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE, "%s answered 400 without a word", whom(profile));
        return OUTCOME_LOGIN;
    }
    if (status >= 400 && status < 500 && status != 408) {
        char code[16], sentence[LIMIT_TEXT];
        (void)snprintf(code, sizeof(code), "http_%d", status);
        (void)snprintf(sentence, sizeof(sentence), "%.*s answered %d (%s) without an error code", LIMIT_TEXT / 2,
                       whom(profile), status, type);
        failure_refused(why, code, sentence);
        return OUTCOME_REFUSED;
    }
    const char *what = status >= 300 && status < 400   ? ": a redirect, which is not followed"
                       : status >= 200 && status < 300 ? ", but no JSON: a captive portal or proxy?"
                                                       : "";
    failure_set(why, FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE, "%s answered %d (%s)%s", whom(profile), status,
                type, what);
    return OUTCOME_RETRY;
}

static enum outcome explain_transport(const struct answer *answer, const struct profile *profile, struct failure *why)
{
    if (answer->why.kind != FAILURE_NONE)
        *why = answer->why;
    else
        failure_set(why, FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE, "%s: %s", whom(profile),
                    strerror(-answer->error));
    why->uncertain = false; /* whoever sent a refresh token knows what a lost answer means to it */
    bool definite = why->class == CLASS_DEFINITE && why->kind != FAILURE_AUTHORITY_UNREACHABLE && !answer->maybe_sent;
    return definite ? OUTCOME_REFUSED : OUTCOME_RETRY;
}

/* A byte order mark is not JSON, but RFC 8259 section 8.1 lets a reader pass over one. */
static struct span without_mark(struct span body)
{
    static const char mark[] = {'\xef', '\xbb', '\xbf'};
    if (body.length >= sizeof(mark) && memcmp(body.data, mark, sizeof(mark)) == 0)
        return (struct span){body.data + sizeof(mark), body.length - sizeof(mark)};
    return body;
}

enum outcome answer_error(const struct answer *answer, const struct profile *profile, bool user,
                          const struct tick *tick, json_object **ret_json, struct failure *why)
{
    if (answer->error)
        return explain_transport(answer, profile, why);
    _cleanup_json_wipe_ json_object *json = NULL;
    struct complaint said;
    struct span body = without_mark(answer->body);
    (void)json_parse(body.data, body.length, LIMIT_RESPONSE_DEPTH, &json);
    bool success = answer->status >= 200 && answer->status < 300;
    enum outcome outcome;
    if (read_complaint(json, &said)) {
        outcome = class_by_words(&said, user);
        bool not_now = answer->status == 429 || answer->status == 408 || answer->status >= 500;
        if (not_now && outcome == OUTCOME_REFUSED && (answer->status == 429 || !is_protocol_code(said.error)))
            outcome = OUTCOME_RETRY;
        explain_words(outcome, &said, answer, profile, why);
        if (outcome == OUTCOME_LOGIN)
            put_challenge(why, json);
    } else if (success && (!ret_json || json_object_is_type(json, json_type_object))) {
        if (ret_json)
            *ret_json = TAKE_PTR(json);
        return OUTCOME_OK;
    } else if (answer->status == 401 && profile->dialect == DIALECT_MLSERVER) {
        outcome = explain_unauthorised(json, profile, user, why);
    } else {
        outcome = explain_status(answer, profile, user, why);
    }
    why->retry_after_ms = answer_retry_after_ms(answer, tick);
    return outcome;
}

/* ---- tokens --------------------------------------------------------------------------------------------------------
 */

static enum outcome refuse(struct failure *why, const char *code, const char *sentence)
{
    char whole[LIMIT_TEXT];
    (void)snprintf(whole, sizeof(whole), "the authority's answer cannot be used: %.*s", LIMIT_TEXT / 2, sentence);
    failure_refused(why, code, whole);
    return OUTCOME_REFUSED;
}

static enum outcome no_memory(struct failure *why, const char *what)
{
    failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE, "there is no memory left for the authority's %s", what);
    return OUTCOME_RETRY;
}

static bool printable(struct span text, unsigned char least)
{
    for (size_t i = 0; i < text.length; i++)
        if ((unsigned char)text.data[i] < least || (unsigned char)text.data[i] > 0x7e)
            return false;
    return true;
}

int answer_number(json_object *json, const char *name, int64_t *ret)
{
    json_object *member = NULL;
    struct span text;
    if (json_number(json, name, ret) == 0)
        return 0;
    if (json_member(json, name, &member) < 0)
        return -ENOENT;
    if (json_object_is_type(member, json_type_int)) { /* json-c has clamped it */
        *ret = json_object_get_int64(member);
        return 0;
    }
    if (json_object_is_type(member, json_type_double)) {
        double value = json_object_get_double(member);
        if (isnan(value))
            return -ENOENT;
        *ret = value > 0 ? INT64_MAX : INT64_MIN;
        return 0;
    }
    if (json_bytes(json, name, LIMIT_CODE, &text) < 0 || text.length == 0)
        return -ENOENT;
    size_t first = text.data[0] == '-' && text.length > 1, whole = 0;
    for (size_t i = first; i < text.length && isdigit((unsigned char)text.data[i]); i++)
        whole++;
    if (whole < 19 || first + whole < text.length)
        return -ENOENT;
    *ret = first ? INT64_MIN : INT64_MAX;
    return 0;
}

/* The life left: > 0, -1 when it was not said, 0 when there is none. */
static int64_t read_life(json_object *json, const struct tick *tick)
{
    int64_t life;
    if (answer_number(json, "expires_in", &life) < 0) {
        int64_t end;
        struct span date;
        if (answer_number(json, "expires_on", &end) < 0 &&
            (json_bytes(json, "expires_on", LIMIT_CODE, &date) < 0 || !date_text_read(date, &end)))
            return -1;
        life = end <= tick->wall_s ? 0 : end - tick->wall_s;
    }
    return life <= 0 ? 0 : life > LIMIT_LIFETIME_S ? LIMIT_LIFETIME_S : life;
}

/* A scope member: a string, or an array of them as some write it. Malloc'd, NULL when absent. */
static int read_scope(json_object *json, char **ret)
{
    json_object *list = NULL;
    const char *text;
    enum { LONGEST = LIMIT_SCOPES * (LIMIT_SCOPE + 1) };
    if (json_array(json, "scope", &list) < 0) {
        int r = json_string(json, "scope", LONGEST, &text);
        if (r < 0)
            return r == -ENOENT ? 0 : r;
        *ret = strdup(text);
        return *ret ? 0 : -ENOMEM;
    }
    _cleanup_buffer_ struct buffer joined = BUFFER(LONGEST);
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        json_object *one = json_object_array_get_idx(list, i);
        if (!json_object_is_type(one, json_type_string))
            return -EINVAL;
        struct span word = {json_object_get_string(one), (size_t)json_object_get_string_len(one)};
        if (!printable(word, 0x20))
            return -EINVAL;
        if (joined.length > 0)
            buffer_byte(&joined, ' ');
        buffer_append(&joined, word.data, word.length);
    }
    *ret = buffer_take(&joined);
    return *ret ? 0 : -EINVAL;
}

/* An optional member that may be as good as absent: null and "" are. */
static int read_secret_text(json_object *json, const char *name, size_t maximum, struct span *ret)
{
    *ret = (struct span){0};
    int r = json_bytes(json, name, maximum, ret);
    if (r == -ENOENT)
        return 0;
    return r < 0 || !printable(*ret, 0x20) ? -EINVAL : 0;
}

/* RFC 9449: of use only with a proof for each request, signed with a key that whoever gets the string does not have. */
static enum outcome refuse_dpop(struct failure *why)
{
    return refuse(why, "unsupported_token_type", "its token is for DPoP (RFC 9449), " DPOP_WORDS);
}

static enum outcome read_access_token(json_object *json, const struct profile *profile, bool exchanged,
                                      struct tokens *ret, struct failure *why)
{
    struct span token;
    const char *type = "Bearer";
    int r = json_string(json, "token_type", LIMIT_CODE, &type);
    if (r == -EINVAL)
        return refuse(why, "unsupported_token_type", "its token_type is no word");
    bool other = exchanged && strcasecmp(type, "N_A") == 0; /* no access token: it is what issued_token_type says */
    if (!other && strcasecmp(type, "Bearer") != 0) {
        char sentence[LIMIT_TEXT];
        if (strcasecmp(type, "DPoP") == 0)
            return refuse_dpop(why);
        (void)snprintf(sentence, sizeof(sentence),
                       "its token_type is %s, and only Bearer can be handed out as a string", type);
        return refuse(why, "unsupported_token_type", sentence);
    }
    r = json_bytes(json, "access_token", LIMIT_TOKEN, &token);
    if (r == -ENOENT || (r == 0 && token.length == 0))
        return refuse(why, "invalid_token", "it has no access_token");
    if (r < 0)
        return refuse(why, "invalid_token", "its access_token is no string, or too long");
    if (!printable(token, 0x21))
        return refuse(why, "invalid_token", "its access_token has bytes that no header can carry");
    enum bound bound = bound_said(json); /* the answer knows it of a token that cannot be looked into, too */
    if (bound == BOUND_NOT)
        bound = bound_by(token);
    if (bound == BOUND_DPOP)
        return refuse_dpop(why);
    if (bound == BOUND_KEY)
        return refuse(why, "bound_token",
                      "its token is bound to a key (cnf) that is not handed out with it, so nobody can use it: have it "
                      "issued as a Bearer token");
    if (bound == BOUND_CERTIFICATE && !profile->allow_bound)
        return refuse(
            why, "bound_token",
            "its token is bound to the client's certificate (cnf.x5t#S256), so nobody can use it who does not "
            "have client_key too; have it issued unbound, or set allow_bound = yes for who has");
    ret->access_token = strndup(token.data, token.length);
    ret->type = strdup(other ? "N_A" : "Bearer");
    return ret->access_token && ret->type ? OUTCOME_OK : no_memory(why, "access token");
}

static enum outcome read_others(json_object *json, struct tokens *ret, struct failure *why)
{
    struct span refresh, id;
    if (read_secret_text(json, "refresh_token", LIMIT_SECRET, &refresh) < 0)
        return refuse(why, "invalid_token", "its refresh_token is no printable string, or too long");
    if (read_secret_text(json, "id_token", LIMIT_JWS, &id) < 0)
        return refuse(why, "invalid_token", "its id_token is no printable string, or too long");
    if (read_scope(json, &ret->scope) < 0)
        return refuse(why, "invalid_scope", "its scope is no printable string, or too long");
    if (id.length > 0 && !(ret->id_token = strndup(id.data, id.length)))
        return no_memory(why, "id_token");
    if (refresh.length > 0 && secret_new(refresh.data, refresh.length, &ret->refresh_token) < 0)
        return no_memory(why, "refresh token");
    return OUTCOME_OK;
}

static enum outcome read_issued_type(json_object *json, char **ret, struct failure *why)
{
    const char *type;
    if (json_string(json, "issued_token_type", LIMIT_URL, &type) < 0 || !*type)
        return refuse(why, "invalid_token", "it has no issued_token_type, which RFC 8693 requires");
    *ret = strdup(type);
    return *ret ? OUTCOME_OK : no_memory(why, "token type");
}

static enum outcome read_tokens(const struct answer *answer, const struct profile *profile, bool user,
                                const struct tick *tick, struct tokens *ret, char **ret_issued_type,
                                struct failure *why)
{
    _cleanup_json_wipe_ json_object *json = NULL;
    enum outcome outcome = answer_error(answer, profile, user, tick, &json, why);
    if (outcome != OUTCOME_OK)
        return outcome;
    struct tokens read = {.expires_in_s = read_life(json, tick), .refresh_in_s = -1, .refresh_life_s = -1};
    if (read.expires_in_s == 0)
        outcome = refuse(why, "invalid_token", "its token has expired already (is the clock of this host right?)");
    if (outcome == OUTCOME_OK)
        outcome = read_access_token(json, profile, ret_issued_type != NULL, &read, why);
    if (outcome == OUTCOME_OK)
        outcome = read_others(json, &read, why);
    if (outcome == OUTCOME_OK && ret_issued_type)
        outcome = read_issued_type(json, ret_issued_type, why);
    if (outcome != OUTCOME_OK) {
        tokens_clear(&read);
        return outcome;
    }
    if (answer_number(json, "refresh_token_expires_in", &read.refresh_life_s) < 0) /* B2C's name, then Keycloak's */
        (void)answer_number(json, "refresh_expires_in", &read.refresh_life_s);
    if (profile->dialect == DIALECT_MLSERVER)
        read.refresh_life_s = MLSERVER_IDLE_S;
    if (read.refresh_life_s <= 0 || read.refresh_life_s > LIMIT_LIFETIME_S)
        read.refresh_life_s = -1;
    int64_t refresh_in;
    if (answer_number(json, "refresh_in", &refresh_in) == 0 && refresh_in > 0 && refresh_in < read.expires_in_s)
        read.refresh_in_s = refresh_in;
    *ret = read;
    return OUTCOME_OK;
}

int answer_refresh_token(const struct answer *answer, struct secret **ret)
{
    _cleanup_json_wipe_ json_object *json = NULL;
    struct complaint said;
    struct span body = without_mark(answer->body), token;
    if (answer->error || answer->status < 200 || answer->status > 299 ||
        json_parse(body.data, body.length, LIMIT_RESPONSE_DEPTH, &json) < 0 || read_complaint(json, &said) ||
        read_secret_text(json, "refresh_token", LIMIT_SECRET, &token) < 0 || token.length == 0)
        return -ENOENT;
    return secret_new(token.data, token.length, ret);
}

enum outcome answer_tokens(const struct answer *answer, const struct profile *profile, bool user,
                           const struct tick *tick, struct tokens *ret, struct failure *why)
{
    return read_tokens(answer, profile, user, tick, ret, NULL, why);
}

enum outcome answer_exchanged(const struct answer *answer, const struct profile *profile, bool user,
                              const struct tick *tick, struct tokens *ret, char **ret_issued_type, struct failure *why)
{
    return read_tokens(answer, profile, user, tick, ret, ret_issued_type, why);
}
