/* What token endpoints answer, and how it is classed: WIRE sections 1, 1.1, 1.2, 2 and 7. */
#include "authority/answer.h"

#include "authority/aadsts.h"
#include "cleanup.h"
#include "json.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
/* after the four above */
#include <cmocka.h>

#define TEXT(literal) ((char *)(uintptr_t)(literal))

static const struct profile oidc = {.authority = TEXT("https://login.example.org"), .dialect = DIALECT_OIDC};
static const struct profile entra = {.authority = TEXT("https://login.microsoftonline.com/t"),
                                     .dialect = DIALECT_ENTRA};
static const struct tick tick = {.boot_ms = 5, .wall_s = 1800000000}; /* Fri, 15 Jan 2027 08:00:00 GMT */

static struct answer answer_of(int status, const char *headers, const char *body)
{
    return (struct answer){.status = status, .headers = span_of(headers), .body = span_of(body)};
}

static enum outcome read_tokens(const char *body, struct tokens *ret, struct failure *why)
{
    struct answer answer = answer_of(200, NULL, body);
    return answer_tokens(&answer, &oidc, true, &tick, ret, why);
}

static void reads_tokens(void **state)
{
    struct tokens tokens = {0};
    struct failure why = {0};
    (void)state;
    assert_int_equal(
        read_tokens("{\"access_token\":\"A.~!\",\"token_type\":\"bEaReR\",\"expires_in\":3600,\"refresh_in\":1800,"
                    "\"scope\":\"a b\",\"refresh_token\":\"r t\",\"id_token\":\"h.p.s\",\"other\":{\"x\":[1]}}",
                    &tokens, &why),
        OUTCOME_OK);
    assert_string_equal(tokens.access_token, "A.~!");
    assert_string_equal(tokens.type, "Bearer");
    assert_string_equal(tokens.scope, "a b");
    assert_string_equal(tokens.id_token, "h.p.s");
    assert_true(span_equals(secret_span(tokens.refresh_token), span_of("r t")));
    assert_int_equal(tokens.expires_in_s, 3600);
    assert_int_equal(tokens.refresh_in_s, 1800);
    tokens_clear(&tokens);
    /* nothing but the token itself is needed; null and "" are nothing */
    assert_int_equal(
        read_tokens("{\"access_token\":\"A\",\"refresh_token\":\"\",\"id_token\":\"\",\"scope\":null,\"error\":\"\"}",
                    &tokens, &why),
        OUTCOME_OK);
    assert_null(tokens.refresh_token);
    assert_null(tokens.id_token);
    assert_null(tokens.scope);
    assert_int_equal(tokens.expires_in_s, -1);
    assert_int_equal(tokens.refresh_in_s, -1);
    tokens_clear(&tokens);
    assert_int_equal(read_tokens("\xef\xbb\xbf{\"access_token\":\"A\"} ", &tokens, &why), OUTCOME_OK);
    tokens_clear(&tokens);
    assert_int_equal(read_tokens("\xef\xbb\xbf\xef\xbb\xbf{\"access_token\":\"A\"}", &tokens, &why), OUTCOME_RETRY);
    assert_int_equal(read_tokens("{\"access_token\":\"A\",\"scope\":[\"a\",\"b\"]}", &tokens, &why), OUTCOME_OK);
    assert_string_equal(tokens.scope, "a b");
    tokens_clear(&tokens);
    assert_int_equal(secret_arena_used(), 0);
}

static void bounds_lifetimes(void **state)
{
    enum { DEAD = 0 };
    static const struct {
        const char *members;
        int64_t life, refresh;
    } cases[] = {
        {"\"expires_in\":3600", 3600, -1},
        {"\"expires_in\":\"3599\"", 3599, -1},
        {"\"expires_in\":3600.0", 3600, -1},
        {"\"expires_in\":3599.9", 3599, -1},
        {"\"expires_in\":1", 1, -1},
        {"\"expires_in\":0", DEAD, -1},
        {"\"expires_in\":\"0\"", DEAD, -1},
        {"\"expires_in\":-1", DEAD, -1},
        {"\"expires_in\":0.5", DEAD, -1},
        {"\"expires_in\":31622399", LIMIT_LIFETIME_S - 1, -1},
        {"\"expires_in\":31622400", LIMIT_LIFETIME_S, -1},
        {"\"expires_in\":31622401", LIMIT_LIFETIME_S, -1},
        {"\"expires_in\":9223372036854775807", LIMIT_LIFETIME_S, -1},
        {"\"expires_in\":99999999999999999999999", LIMIT_LIFETIME_S, -1},
        {"\"expires_in\":\"99999999999999999999999\"", LIMIT_LIFETIME_S, -1},
        {"\"expires_in\":\"-99999999999999999999999\"", DEAD, -1},
        {"\"expires_in\":1e300", LIMIT_LIFETIME_S, -1},
        {"\"expires_in\":-1e300", DEAD, -1},
        {"\"expires_in\":\"soon\"", -1, -1},
        {"\"expires_in\":\"\"", -1, -1},
        {"\"expires_in\":[60]", -1, -1},
        {"\"expires_in\":null", -1, -1},
        {"\"expires_on\":1800000060", 60, -1},
        {"\"expires_on\":\"1800000060\"", 60, -1},
        {"\"expires_on\":\"1800000000\"", DEAD, -1},
        {"\"expires_on\":-9223372036854775808", DEAD, -1},
        {"\"expires_on\":9223372036854775807", LIMIT_LIFETIME_S, -1},
        {"\"expires_on\":5,\"expires_in\":60", 60, -1},
        {"\"expires_in\":\"x\",\"expires_on\":1800000060", 60, -1},
        {"\"expires_in\":100,\"refresh_in\":\"50\"", 100, 50},
        {"\"expires_in\":100,\"refresh_in\":99", 100, 99},
        {"\"expires_in\":100,\"refresh_in\":100", 100, -1},
        {"\"expires_in\":100,\"refresh_in\":0", 100, -1},
        {"\"expires_in\":100,\"refresh_in\":-5", 100, -1},
        {"\"refresh_in\":5", -1, -1},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        char body[256];
        struct tokens tokens = {0};
        struct failure why = {0};
        (void)snprintf(body, sizeof(body), "{\"access_token\":\"A\",%s}", cases[i].members);
        enum outcome outcome = read_tokens(body, &tokens, &why);
        if (outcome != (cases[i].life == DEAD ? OUTCOME_REFUSED : OUTCOME_OK))
            fail_msg("%s: outcome %d", cases[i].members, (int)outcome);
        if (outcome == OUTCOME_OK && (tokens.expires_in_s != cases[i].life || tokens.refresh_in_s != cases[i].refresh))
            fail_msg("%s: %lld %lld", cases[i].members, (long long)tokens.expires_in_s, (long long)tokens.refresh_in_s);
        if (outcome != OUTCOME_OK)
            assert_non_null(strstr(why.description, "expired already"));
        tokens_clear(&tokens);
    }
}

static void refuses_tokens_that_cannot_be_used(void **state)
{
    static const struct {
        const char *body, *words;
    } cases[] = {
        {"{}", "no access_token"},
        {"{\"access_token\":\"\"}", "no access_token"},
        {"{\"access_token\":null}", "no access_token"},
        {"{\"access_token\":7}", "no string"},
        {"{\"access_token\":\"a b\"}", "no header can carry"},
        {"{\"access_token\":\"a\\nb\"}", "no header can carry"},
        {"{\"access_token\":\"a\\u0000b\"}", "no header can carry"},
        {"{\"access_token\":\"a\\u007f\"}", "no header can carry"},
        {"{\"access_token\":\"\xc3\xa4\"}", "no header can carry"},
        {"{\"access_token\":\"A\",\"token_type\":\"DPoP\"}", "its token is for DPoP"},
        {"{\"access_token\":\"A\",\"token_type\":\"N_A\"}", "token_type is N_A"},
        {"{\"access_token\":\"A\",\"token_type\":\"\"}", "token_type is"},
        {"{\"access_token\":\"A\",\"token_type\":7}", "no word"},
        {"{\"access_token\":\"A\",\"refresh_token\":\"a\\nb\"}", "refresh_token"},
        {"{\"access_token\":\"A\",\"refresh_token\":7}", "refresh_token"},
        {"{\"access_token\":\"A\",\"id_token\":\"a\\u0000\"}", "id_token"},
        {"{\"access_token\":\"A\",\"scope\":\"a\\u001b\"}", "scope"},
        {"{\"access_token\":\"A\",\"scope\":[\"a\",7]}", "scope"},
        {"{\"access_token\":\"A\",\"scope\":[\"a\\n\"]}", "scope"},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct tokens untouched = {.expires_in_s = 77};
        struct failure why = {0};
        enum outcome outcome = read_tokens(cases[i].body, &untouched, &why);
        if (outcome != OUTCOME_REFUSED || !strstr(why.description, cases[i].words))
            fail_msg("%s: %d, %s", cases[i].body, (int)outcome, why.description);
        assert_int_equal(why.kind, FAILURE_AUTHORITY_REFUSED);
        assert_int_equal(why.class, CLASS_DEFINITE);
        assert_true(why.error[0] && why.description[0]);
        assert_int_equal(untouched.expires_in_s, 77);
        assert_null(untouched.access_token);
    }
    assert_int_equal(secret_arena_used(), 0);
}

/* What only who has a key can use is no bearer token, by the answer's own word also where it cannot be looked into. The
 * second part of the JWTs is {"cnf":{"kid":"k"}} and {"cnf":{"x5t#S256":"d"}}. */
static void refuses_tokens_that_need_a_key(void **state)
{
    static const struct {
        const char *body, *words;
        bool allowed; /* with allow_bound */
    } cases[] = {
        {"{\"access_token\":\"opaque\",\"cnf\":{\"jkt\":\"d\"}}", "DPoP", false},
        {"{\"access_token\":\"opaque\",\"cnf\":{\"x5t#S256\":\"d\"}}", "client's certificate", true},
        {"{\"access_token\":\"opaque\",\"cnf\":{\"jwk\":{}}}", "bound to a key", false},
        {"{\"access_token\":\"opaque\",\"cnf\":{\"kid\":\"k\"}}", "bound to a key", false},
        {"{\"access_token\":\"a.eyJjbmYiOnsia2lkIjoiayJ9fQ.c\"}", "bound to a key", false},
        {"{\"access_token\":\"a.eyJjbmYiOnsieDV0I1MyNTYiOiJkIn19.c\"}", "client's certificate", true},
        {"{\"access_token\":\"opaque\",\"token_type\":\"PoP\"}", "token_type is PoP", false},
        {"{\"access_token\":\"opaque\",\"token_type\":\"pop\",\"cnf\":{\"kid\":\"k\"}}", "token_type is pop", false},
        {"{\"access_token\":\"opaque\",\"token_type\":\"mac\"}", "token_type is mac", false},
    };
    static const char *const bearers[] = {"{\"access_token\":\"opaque\",\"cnf\":null}",
                                          "{\"access_token\":\"opaque\",\"cnf\":{}}",
                                          "{\"access_token\":\"opaque\",\"token_type\":\"BEARER\"}"};
    struct profile profile = {.name = "p", .authority = TEXT("https://login.example.org"), .dialect = DIALECT_OIDC};
    (void)state;
    for (size_t i = 0; i < 2 * ELEMENTS(cases); i++) {
        struct answer answer = answer_of(200, NULL, cases[i / 2].body);
        struct tokens tokens = {0};
        struct failure why = {0};
        profile.allow_bound = i % 2;
        enum outcome outcome = answer_tokens(&answer, &profile, false, &tick, &tokens, &why);
        bool taken = profile.allow_bound && cases[i / 2].allowed;
        if (outcome != (taken ? OUTCOME_OK : OUTCOME_REFUSED) ||
            (!taken && !strstr(why.description, cases[i / 2].words)))
            fail_msg("%s: %d, %s", cases[i / 2].body, (int)outcome, why.description);
        tokens_clear(&tokens);
    }
    for (size_t i = 0; i < ELEMENTS(bearers); i++) {
        struct tokens tokens = {0};
        struct failure why = {0};
        assert_int_equal(read_tokens(bearers[i], &tokens, &why), OUTCOME_OK);
        tokens_clear(&tokens);
    }
}

static char *letters(const char *before, size_t count, const char *after)
{
    size_t b = strlen(before), a = strlen(after);
    char *text = malloc(b + count + a + 1);
    assert_non_null(text);
    memcpy(text, before, b);
    for (size_t i = 0; i < count; i++)
        text[b + i] = 'x';
    memcpy(text + b + count, after, a + 1);
    return text;
}

static void holds_its_limits(void **state)
{
    static const struct {
        const char *before, *after;
        size_t limit;
    } cases[] = {
        {"{\"access_token\":\"", "\"}", LIMIT_TOKEN},
        {"{\"access_token\":\"A\",\"refresh_token\":\"", "\"}", LIMIT_SECRET},
        {"{\"access_token\":\"A\",\"id_token\":\"", "\"}", LIMIT_JWS},
        {"{\"access_token\":\"A\",\"scope\":\"", "\"}", LIMIT_SCOPES * (LIMIT_SCOPE + 1)},
        {"{\"access_token\":\"A\",\"scope\":[\"", "\"]}", LIMIT_SCOPES * (LIMIT_SCOPE + 1)},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++)
        for (size_t length = cases[i].limit - 1; length <= cases[i].limit + 1; length++) {
            struct tokens tokens = {0};
            struct failure why;
            _cleanup_free_ char *body = letters(cases[i].before, length, cases[i].after);
            assert_int_equal(read_tokens(body, &tokens, &why), length <= cases[i].limit ? OUTCOME_OK : OUTCOME_REFUSED);
            tokens_clear(&tokens);
        }
    /* nesting: the object itself counts */
    for (int depth = LIMIT_RESPONSE_DEPTH - 1; depth <= LIMIT_RESPONSE_DEPTH + 1; depth++) {
        char body[256] = "{\"access_token\":\"A\",\"x\":";
        size_t n = strlen(body);
        for (int i = 1; i < depth; i++)
            body[n++] = '[';
        body[n++] = '1';
        for (int i = 1; i < depth; i++)
            body[n++] = ']';
        body[n++] = '}';
        struct tokens tokens = {0};
        struct failure why;
        assert_int_equal(read_tokens(body, &tokens, &why), depth <= LIMIT_RESPONSE_DEPTH ? OUTCOME_OK : OUTCOME_RETRY);
        tokens_clear(&tokens);
    }
}

/* As people see it: code, words, then what we add. */
static bool says(const struct failure *why, const char *words)
{
    char whole[3 * LIMIT_TEXT];
    (void)snprintf(whole, sizeof(whole), "%s: %s: %s", why->error, why->description, why->reason);
    return strstr(whole, words) != NULL;
}

struct error_case {
    int status;
    const char *body;
    bool user;
    enum outcome outcome;
    enum failure_kind kind;
    enum failure_class class;
    const char *words;
};

static void check_errors(const struct profile *profile, const struct error_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct error_case *c = &cases[i];
        struct answer answer = answer_of(c->status, "HTTP/1.1 X\r\nContent-Type: text/html\r\n\r\n", c->body);
        struct tokens tokens = {0};
        struct failure why = {0};
        enum outcome outcome = answer_tokens(&answer, profile, c->user, &tick, &tokens, &why);
        if (outcome != c->outcome || why.kind != c->kind || why.class != c->class || !says(&why, c->words))
            fail_msg("%d %s: outcome %d, %s, class %d, \"%s\"", c->status, c->body, (int)outcome,
                     failure_name(why.kind), (int)why.class, why.reason);
        assert_null(tokens.access_token);
    }
}

#define LOGIN       OUTCOME_LOGIN, FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE
#define REFUSED     OUTCOME_REFUSED, FAILURE_AUTHORITY_REFUSED, CLASS_DEFINITE
#define THROTTLED   OUTCOME_RETRY, FAILURE_AUTHORITY_UNREACHABLE, CLASS_THROTTLED
#define UNREACHABLE OUTCOME_RETRY, FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE

static void classes_errors(void **state)
{
    static const struct error_case cases[] = {
        {400, "{\"error\":\"invalid_grant\",\"error_description\":\"gone\"}", true, LOGIN, "invalid_grant: gone"},
        {400, "{\"error\":\"invalid_grant\"}", false, REFUSED, "invalid_grant"},
        {200, "{\"error\":\"invalid_grant\"}", true, LOGIN, "invalid_grant"},
        {200, "{\"error\":\"invalid_grant\",\"access_token\":\"A\"}", true, LOGIN, "invalid_grant"},
        {500, "{\"error\":\"invalid_grant\"}", true, LOGIN, "invalid_grant"},
        {400, "{\"error\":\"login_required\"}", true, LOGIN, "login_required"},
        {400, "{\"error\":\"interaction_required\"}", true, LOGIN, "interaction_required"},
        {400, "{\"error\":\"consent_required\"}", true, LOGIN, "consent_required"},
        {400, "{\"error\":\"interaction_required\"}", false, REFUSED, "interaction_required"},
        {401, "{\"error\":\"invalid_client\"}", true, REFUSED, "invalid_client"},
        {500, "{\"error\":\"invalid_client\"}", true, REFUSED, "invalid_client"},
        {400, "{\"error\":\"invalid_scope\"}", true, REFUSED, "invalid_scope"},
        {400, "{\"error\":\"something_new\"}", true, REFUSED, "something_new"},
        {403, "{\"error\":false}", true, REFUSED, "403"},
        {400, "{\"error\":17}", true, REFUSED, "unnamed"},
        {400, "{\"error\":{\"code\":\"SecretHeaderNotFound\",\"message\":\"no\"}}", true, REFUSED,
         "SecretHeaderNotFound: no"},
        {503, "{\"error\":\"Service Unavailable\"}", true, UNREACHABLE, "503"},
        {400, "{\"error\":\"temporarily_unavailable\"}", true, UNREACHABLE, "temporarily_unavailable"},
        {400, "{\"error\":\"server_error\"}", true, UNREACHABLE, "server_error"},
        {429, "{\"error\":\"temporarily_unavailable\"}", true, THROTTLED, "temporarily_unavailable"},
        {429, "{\"error\":\"too_many\"}", true, THROTTLED, "too_many"},
        {429, "{\"error\":\"invalid_request\"}", true, THROTTLED, "invalid_request"},
        {429, "slow down please", true, THROTTLED, "429"},
        {429, "", false, THROTTLED, "429"},
        {500, "", true, UNREACHABLE, "500"},
        {502, "<html>", true, UNREACHABLE, "502"},
        {408, "", true, UNREACHABLE, "408"},
        {302, "", true, UNREACHABLE, "redirect"},
        {200, "<html>please pay</html>", true, UNREACHABLE, "answered 200 (text/html), but no JSON"},
        {200, "", true, UNREACHABLE, "no JSON"},
        {200, "[]", true, UNREACHABLE, "no JSON"},
        {200, "{\"access_token\":\"A\"", true, UNREACHABLE, "no JSON"},
        {200, "{\"access_token\":\"A\"} x", true, UNREACHABLE, "no JSON"},
        {200, "{\"access_token\":\"\xff\"}", true, UNREACHABLE, "no JSON"},
        {404, "<html>", true, REFUSED, "404 (text/html)"},
        {400, "<html>", true, REFUSED, "400 (text/html)"},
        {400, "", true, LOGIN, "without a word"}, /* glewlwyd's word for an ended refresh token */
        {400, "", false, REFUSED, "400"},
        {403, "", true, REFUSED, "403"},
        {403, "{}", true, REFUSED, "403"},
        {400, "{\"error\":\"slow_down\"}", true, OUTCOME_SLOW_DOWN, FAILURE_AUTHORITY_UNREACHABLE, CLASS_THROTTLED,
         "slow_down"},
        {400, "{\"error\":\"authorization_pending\"}", true, OUTCOME_PENDING, FAILURE_AUTHORITY_UNREACHABLE,
         CLASS_UNREACHABLE, ""},
        {400, "{\"error\":\"access_denied\"}", true, OUTCOME_DECLINED, FAILURE_AUTHORITY_REFUSED, CLASS_DEFINITE,
         "access_denied"},
        {400, "{\"error\":\"authorization_declined\"}", true, OUTCOME_DECLINED, FAILURE_AUTHORITY_REFUSED,
         CLASS_DEFINITE, ""},
        {400, "{\"error\":\"expired_token\"}", true, OUTCOME_EXPIRED, FAILURE_AUTHORITY_REFUSED, CLASS_DEFINITE, ""},
        {400, "{\"error\":\"code_expired\"}", true, OUTCOME_EXPIRED, FAILURE_AUTHORITY_REFUSED, CLASS_DEFINITE, ""},
        {400, "{\"error\":\"bad_verification_code\"}", true, OUTCOME_EXPIRED, FAILURE_AUTHORITY_REFUSED, CLASS_DEFINITE,
         ""},
    };
    (void)state;
    check_errors(&oidc, cases, ELEMENTS(cases));
}

static void knows_entra(void **state)
{
    static const struct error_case cases[] = {
        /* the sign-in is not dead: too many equal requests */
        {400, "{\"error\":\"invalid_grant\",\"error_codes\":[50196],\"error_description\":\"AADSTS50196: loop\"}", true,
         THROTTLED, "too many equal"},
        {400, "{\"error\":\"invalid_grant\",\"error_codes\":[\"50196\"]}", true, THROTTLED, "too many equal"},
        {400, "{\"error\":\"invalid_grant\",\"error_codes\":[70000,50196]}", true, THROTTLED, "too many equal"},
        {400, "{\"error\":\"invalid_grant\",\"error_description\":\"AADSTS50196: loop\"}", true, THROTTLED,
         "too many equal"},
        {400, "{\"error\":\"invalid_request\",\"error_codes\":[90055]}", false, THROTTLED, "throttling"},
        {400, "{\"error\":\"invalid_grant\",\"error_codes\":[90033]}", true, UNREACHABLE, "invalid_grant"},
        {400, "{\"error\":\"temporarily_unavailable\",\"error_codes\":[90006]}", true, UNREACHABLE, "temporarily"},
        /* a person */
        {400, "{\"error\":\"invalid_grant\",\"suberror\":\"bad_token\"}", true, LOGIN, "invalid_grant"},
        {400, "{\"error\":\"invalid_grant\",\"suberror\":\"token_expired\",\"error_codes\":[700082]}", true, LOGIN,
         "disuse"},
        {400, "{\"error\":\"invalid_grant\",\"suberror\":\"basic_action\",\"error_codes\":[50076]}", true, LOGIN,
         "second factor"},
        {400, "{\"error\":\"invalid_grant\",\"suberror\":\"consent_required\",\"error_codes\":[65001]}", true, LOGIN,
         "consented"},
        {400, "{\"error\":\"invalid_grant\",\"error_codes\":[50126]}", true, LOGIN, "wrong"},
        {400, "{\"error\":\"interaction_required\",\"error_codes\":[53003]}", true, LOGIN, "conditional access"},
        /* shown, but no sign-in helps */
        {400, "{\"error\":\"invalid_grant\",\"suberror\":\"message_only\"}", true, REFUSED, "invalid_grant"},
        {400, "{\"error\":\"invalid_grant\",\"suberror\":\"protection_policy_required\"}", true, REFUSED,
         "invalid_grant"},
        /* how things are set up */
        {401, "{\"error\":\"invalid_client\",\"error_codes\":[7000215]}", false, REFUSED, "client_secret is wrong"},
        {401, "{\"error\":\"invalid_client\",\"error_codes\":[7000222]}", false, REFUSED, "client_secret has expired"},
        {400, "{\"error\":\"unauthorized_client\",\"error_codes\":[700016]}", false, REFUSED,
         "does not know the application"},
        {400, "{\"error\":\"invalid_request\",\"error_codes\":[90002]}", false, REFUSED, "no such tenant"},
        {400, "{\"error\":\"invalid_client\",\"error_codes\":[4711,{},null,\"x\"]}", false, REFUSED,
         "invalid_client: : "},
        {400, "{\"error\":\"invalid_client\",\"error_codes\":7000215}", false, REFUSED, "invalid_client: : "},
    };
    (void)state;
    check_errors(&entra, cases, ELEMENTS(cases));
    assert_int_equal(aadsts_number(span_of("AADSTS7000215: x")), 7000215);
    assert_int_equal(aadsts_number(span_of("AADSTS")), 0);
    assert_int_equal(aadsts_number(span_of("AADSTSx")), 0);
    assert_int_equal(aadsts_number(span_of(" AADSTS50196")), 0);
    assert_int_equal(aadsts_number((struct span){0}), 0);
}

static void keeps_the_authoritys_words_clean(void **state)
{
    struct answer answer = answer_of(
        400, NULL,
        "{\"error\":\"invalid\\u001b[31m\",\"error_description\":\"a\\r\\nb\\u202e\\u0000c\",\"trace_id\":\"t\\n1\","
        "\"correlation_id\":\"c1\",\"claims\":\"SECRET\"}");
    struct failure why;
    (void)state;
    assert_int_equal(answer_error(&answer, &entra, false, &tick, NULL, &why), OUTCOME_REFUSED);
    assert_string_equal(why.error, "invalid\\x1b[31m");
    assert_string_equal(why.description, "a\\x0d\\x0ab\\u{202e}\\x00c");
    assert_string_equal(why.trace_id, "t\\x0a1");
    assert_string_equal(why.correlation_id, "c1");
    assert_null(strstr(why.reason, "SECRET"));
    for (const char *p = why.reason; *p; p++)
        assert_true((unsigned char)*p >= 0x20);
    _cleanup_free_ char *long_words = letters("{\"error\":\"", 100000, "\",\"error_description\":\"y\"}");
    answer.body = span_of(long_words);
    assert_int_equal(answer_error(&answer, &entra, false, &tick, NULL, &why), OUTCOME_REFUSED);
    assert_true(strlen(why.error) < sizeof(why.error) && strlen(why.reason) < sizeof(why.reason));
}

static void reads_retry_after(void **state)
{
    static const struct {
        const char *headers;
        int64_t expected;
    } cases[] = {
        {"", -1},
        {"HTTP/1.1 429 X\r\nretry-AFTER:  30 \r\n\r\n", 30000},
        {"HTTP/1.1 429 X\r\nRetry-After: 0\r\n\r\n", 0},
        {"HTTP/1.1 429 X\r\nRetry-After: 3599\r\n", 3599000},
        {"HTTP/1.1 429 X\r\nRetry-After: 3600\r\n", 3600000},
        {"HTTP/1.1 429 X\r\nRetry-After: 3601\r\n", 3600000},
        {"HTTP/1.1 429 X\r\nRetry-After: 99999999999999999999999\r\n", 3600000},
        {"HTTP/1.1 429 X\r\nRetry-After: -1\r\n", -1},
        {"HTTP/1.1 429 X\r\nRetry-After: soon\r\n", -1},
        {"HTTP/1.1 429 X\r\nRetry-After: 30 s\r\n", -1},
        {"HTTP/1.1 429 X\r\nRetry-After:\r\n", -1},
        {"HTTP/1.1 429 X\r\nX-Retry-After: 5\r\n", -1},
        {"HTTP/1.1 429 X\r\nRetry-After: Fri, 15 Jan 2027 08:01:30 GMT\r\n", 90000},
        {"HTTP/1.1 429 X\r\nRetry-After: Friday, 15-Jan-27 08:01:30 GMT\r\n", 90000},
        {"HTTP/1.1 429 X\r\nRetry-After: Fri Jan 15 08:01:30 2027\r\n", 90000},
        {"HTTP/1.1 429 X\r\nRetry-After: Fri, 15 Jan 2027 07:00:00 GMT\r\n", 0},
        {"HTTP/1.1 429 X\r\nRetry-After: Fri, 15 Jan 2028 07:00:00 GMT\r\n", 3600000},
        {"HTTP/1.1 429 X\r\nRetry-After: Fri, 15 Jan 2027 08:01:30 GMT and a tail that is longer than any date is\r\n",
         -1},
        /* the sender's own clock counts, where it tells it */
        {"HTTP/1.1 429 X\r\nDate: Fri, 15 Jan 2027 08:01:00 GMT\r\nRetry-After: Fri, 15 Jan 2027 08:01:30 GMT\r\n",
         30000},
        {"HTTP/1.1 429 X\r\nDate: nonsense\r\nRetry-After: Fri, 15 Jan 2027 08:01:30 GMT\r\n", 90000},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct answer answer = answer_of(429, cases[i].headers, "later");
        struct failure why;
        if (answer_retry_after_ms(&answer, &tick) != cases[i].expected)
            fail_msg("%s: %lld", cases[i].headers, (long long)answer_retry_after_ms(&answer, &tick));
        assert_int_equal(answer_error(&answer, &oidc, false, &tick, NULL, &why), OUTCOME_RETRY);
        assert_int_equal(why.retry_after_ms, cases[i].expected);
    }
}

static void finds_headers(void **state)
{
    struct answer answer =
        answer_of(200, "HTTP/1.1 200 OK\r\nA: 1\r\nLong-Name:\t two \r\nA: 3\r\nNo colon\r\n: empty\r\nLast: x", NULL);
    struct span value;
    (void)state;
    assert_true(answer_header(&answer, "a", &value) && span_equals(value, span_of("1")));
    assert_true(answer_header(&answer, "LONG-NAME", &value) && span_equals(value, span_of("two")));
    assert_true(answer_header(&answer, "last", &value) && span_equals(value, span_of("x")));
    assert_false(answer_header(&answer, "Long", &value));
    assert_false(answer_header(&answer, "No colon", &value));
    answer.headers = (struct span){0};
    assert_false(answer_header(&answer, "a", &value));
}

static void passes_transport_failures_on(void **state)
{
    struct answer answer = {.error = -ETIMEDOUT, .maybe_sent = true};
    struct failure why;
    (void)state;
    assert_int_equal(answer_error(&answer, &oidc, false, &tick, NULL, &why), OUTCOME_RETRY);
    assert_int_equal(why.kind, FAILURE_AUTHORITY_UNREACHABLE);
    assert_int_equal(why.class, CLASS_UNREACHABLE);
    assert_non_null(strstr(why.reason, "login.example.org"));
    failure_set(&answer.why, FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE, "its own words");
    answer.why.uncertain = true;
    assert_int_equal(answer_error(&answer, &oidc, false, &tick, NULL, &why), OUTCOME_RETRY);
    assert_string_equal(why.reason, "its own words");
    assert_false(why.uncertain);
    /* before anything was sent, and not to be mended by waiting */
    answer.maybe_sent = false;
    failure_set(&answer.why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE, "ca_file");
    assert_int_equal(answer_error(&answer, &oidc, false, &tick, NULL, &why), OUTCOME_REFUSED);
    assert_int_equal(why.kind, FAILURE_INVALID_CONFIGURATION);
}

static void needs_no_body_where_none_is_asked_for(void **state)
{
    struct answer answer = answer_of(200, NULL, "");
    struct failure why;
    struct json_object *json = NULL;
    (void)state;
    assert_int_equal(answer_error(&answer, &oidc, false, &tick, NULL, &why), OUTCOME_OK);
    assert_int_equal(answer_error(&answer, &oidc, false, &tick, &json, &why), OUTCOME_RETRY);
    assert_null(json);
    answer.body = span_of("{\"x\":1}");
    assert_int_equal(answer_error(&answer, &oidc, false, &tick, &json, &why), OUTCOME_OK);
    assert_non_null(json);
    json_wipe(json);
}

static int setup(void **state)
{
    (void)state;
    return secret_arena_open();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_tokens),
        cmocka_unit_test(bounds_lifetimes),
        cmocka_unit_test(refuses_tokens_that_cannot_be_used),
        cmocka_unit_test(refuses_tokens_that_need_a_key),
        cmocka_unit_test(holds_its_limits),
        cmocka_unit_test(classes_errors),
        cmocka_unit_test(knows_entra),
        cmocka_unit_test(keeps_the_authoritys_words_clean),
        cmocka_unit_test(reads_retry_after),
        cmocka_unit_test(finds_headers),
        cmocka_unit_test(passes_transport_failures_on),
        cmocka_unit_test(needs_no_body_where_none_is_asked_for),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
