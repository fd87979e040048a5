/* Signing in by device code, RFC 8628, with authorities that keep to it and others; and signing out. */
#include "machine.h"

#define PLAIN                                                                                                          \
    "\"device_code\":\"DC\",\"user_code\":\"WDJB-MJHT\",\"verification_uri\":\"https://login.example.org/device\""
#define CODE   "{" PLAIN ",\"expires_in\":100,\"interval\":5}"
#define TOKENS "{\"access_token\":\"AT\",\"token_type\":\"Bearer\",\"expires_in\":60,\"refresh_token\":\"RT\"}"
#define TOKENS_ID                                                                                                      \
    "{\"access_token\":\"AT\",\"token_type\":\"Bearer\",\"refresh_token\":\"RT\",\"scope\":\"api\",\"id_token\":\"h."  \
    "p.s\"}"
#define SHOWN   YES(STEP_PROMPT)
#define WAITED  YES(STEP_WAIT)
#define SAVED   YES(STEP_SAVE)
#define PENDING ERROR("authorization_pending")
#define RUN(m, ...)                                                                                                    \
    machine_run((m), GRANT_LOGIN, (const struct reply[]){__VA_ARGS__}, ELEMENTS(((const struct reply[]){__VA_ARGS__})))

static void open(struct machine *m)
{
    machine_open(m, &grant_device_code);
}

static void signs_in(void **state)
{
    struct machine m;
    char *scopes[] = {TEXT("api"), TEXT("offline_access"), NULL};
    struct identity alice = {.issuer = "https://login.example.org", .subject = "42", .account = "alice"};
    (void)state;
    open(&m);
    m.profile.scopes = scopes;
    assert_int_equal(machine_start(&m, GRANT_LOGIN), STEP_HTTP);
    assert_string_equal(m.url, DEVICE_URL);
    assert_string_equal(m.body, "scope=api+offline_access&client_id=me");
    assert_int_equal(
        machine_answer(&m, OK("{" PLAIN ",\"expires_in\":100,\"interval\":7,\"message\":\"go\\nthere\","
                              "\"verification_uri_complete\":\"https://login.example.org/device?c=WDJB\"}")),
        STEP_PROMPT);
    assert_string_equal(m.step.prompt.verification_uri, "https://login.example.org/device");
    assert_string_equal(m.step.prompt.verification_uri_complete, "https://login.example.org/device?c=WDJB");
    assert_string_equal(m.step.prompt.user_code, "WDJB-MJHT");
    assert_string_equal(m.step.prompt.message, "go\\x0athere");
    assert_int_equal(m.step.prompt.expires_at, m.tick.wall_s + 100);
    assert_int_equal(m.step.prompt.interval_s, 7);
    assert_int_equal(machine_answer(&m, SHOWN), STEP_WAIT);
    assert_int_equal(m.step.wait_ms, 7000);
    assert_int_equal(machine_answer(&m, WAITED), STEP_HTTP);
    assert_string_equal(m.url, TOKEN_URL);
    assert_string_equal(
        m.body, "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=DC&client_id=me");
    assert_int_equal(machine_answer(&m, PENDING), STEP_WAIT);
    assert_int_equal(m.step.wait_ms, 7000);
    machine_answer(&m, WAITED);
    assert_int_equal(machine_answer(&m, OK(TOKENS_ID)), STEP_VERIFY);
    assert_string_equal(m.step.verify.id_token, "h.p.s");
    assert_int_equal(machine_answer(&m, (struct reply){.kind = STEP_VERIFY, .identity = &alice}), STEP_SAVE);
    assert_string_equal(m.kept.token, "RT");
    assert_string_equal(m.kept.scope, "api");
    assert_string_equal(m.kept.subject, "42");
    assert_int_equal(machine_answer(&m, SAVED), STEP_DONE);
    assert_string_equal(m.step.done.tokens->access_token, "AT");
    assert_int_equal(m.step.done.tokens->expires_in_s, DEFAULT_LIFETIME_S);
    machine_close(&m);
}

static void signs_in_without_refresh_or_id_token(void **state)
{
    struct machine m;
    char *scopes[] = {TEXT("api"), NULL};
    (void)state;
    open(&m);
    m.profile.scopes = scopes;
    assert_int_equal(RUN(&m, OK(CODE), SHOWN, WAITED, OK("{\"access_token\":\"AT\",\"refresh_token\":\"\"}")),
                     STEP_SAVE);
    assert_false(m.kept.has_token);
    assert_string_equal(m.kept.scope, "api");
    machine_answer(&m, SAVED);
    assert_int_equal(m.step.kind, STEP_DONE);
    assert_int_equal(m.step.done.tokens->expires_in_s, DEFAULT_LIFETIME_ALONE_S);
    machine_close(&m);
}

static void finds_its_endpoints(void **state)
{
    struct machine m;
    struct metadata both = {
        .token_endpoint = TEXT("https://h/t"), .device_authorization_endpoint = TEXT("https://h/d"), .post = true};
    struct metadata token_only = {.token_endpoint = TEXT("https://h/t"), .basic = true};
    (void)state;
    open(&m);
    m.profile.token_endpoint = m.profile.device_authorization_endpoint = NULL;
    m.profile.client_secret.kind = SOURCE_FILE;
    /* one METADATA and one SECRET, however many polls */
    RUN(&m, METADATA_IS(&both), SECRET_IS("s"), OK(CODE), SHOWN, WAITED, PENDING, WAITED);
    assert_int_equal(m.step.kind, STEP_HTTP);
    assert_string_equal(m.url, "https://h/t");
    assert_true(machine_sent(&m, "client_secret=s"));
    RUN(&m, METADATA_IS(&token_only));
    fails(&m, FAILURE_INVALID_CONFIGURATION, "device_authorization_endpoint");
    /* Entra v2 has one even where its metadata do not say so */
    m.profile.dialect = DIALECT_ENTRA;
    m.profile.authority = TEXT("https://login.microsoftonline.com/t/v2.0");
    RUN(&m, METADATA_IS(&token_only), SECRET_IS("s"));
    assert_string_equal(m.url, "https://login.microsoftonline.com/t/oauth2/v2.0/devicecode");
    machine_close(&m);
}

static void speaks_entra_v1(void **state)
{
    struct machine m;
    (void)state;
    open(&m);
    m.profile.dialect = DIALECT_ENTRA_V1;
    m.profile.token_endpoint = m.profile.device_authorization_endpoint = NULL;
    m.profile.authority = TEXT("https://login.microsoftonline.com/t");
    m.profile.resource = TEXT("https://api/");
    machine_start(&m, GRANT_LOGIN);
    assert_string_equal(m.url, "https://login.microsoftonline.com/t/oauth2/devicecode?api-version=1.0");
    assert_string_equal(m.body, "resource=https%3A%2F%2Fapi%2F&client_id=me");
    machine_answer(&m,
                   OK("{\"device_code\":\"DC\",\"user_code\":\"U\",\"verification_url\":\"https://aka.ms/devicelogin\","
                      "\"expires_in\":\"900\",\"interval\":\"6\"}"));
    assert_int_equal(m.step.kind, STEP_PROMPT);
    assert_string_equal(m.step.prompt.verification_uri, "https://aka.ms/devicelogin");
    assert_int_equal(m.step.prompt.expires_at, m.tick.wall_s + 900);
    machine_answer(&m, SHOWN);
    assert_int_equal(m.step.wait_ms, 6000);
    machine_answer(&m, WAITED);
    assert_string_equal(m.url, "https://login.microsoftonline.com/t/oauth2/token");
    assert_string_equal(m.body, "grant_type=device_code&code=DC&resource=https%3A%2F%2Fapi%2F&client_id=me");
    machine_answer(&m, PENDING);
    machine_answer(&m, WAITED);
    /* its id_token is not signed: it says nothing, but the sign-in stands */
    machine_answer(
        &m, OK("{\"access_token\":\"AT\",\"expires_in\":\"3599\",\"token_type\":\"Bearer\",\"id_token\":\"h.p.\","
               "\"refresh_token\":\"RT\",\"scope\":\"user_impersonation\"}"));
    assert_int_equal(m.step.kind, STEP_SAVE);
    assert_string_equal(m.kept.subject, "");
    machine_answer(&m, SAVED);
    assert_int_equal(m.step.done.tokens->expires_in_s, 3599);
    assert_null(m.step.done.tokens->id_token);
    RUN(&m, OK(CODE), SHOWN, WAITED, ERROR("code_expired"));
    fails(&m, FAILURE_SIGN_IN_FAILED, "expired");
    /* a signed one is checked, and elsewhere an unsigned one is for the check to refuse */
    assert_int_equal(RUN(&m, OK(CODE), SHOWN, WAITED, OK(TOKENS_ID)), STEP_VERIFY);
    m.profile.dialect = DIALECT_OIDC;
    m.profile.token_endpoint = TEXT(TOKEN_URL);
    m.profile.device_authorization_endpoint = TEXT(DEVICE_URL);
    assert_int_equal(RUN(&m, OK(CODE), SHOWN, WAITED, OK("{\"access_token\":\"AT\",\"id_token\":\"h.p.\"}")),
                     STEP_VERIFY);
    machine_close(&m);
}

static void bounds_times(void **state)
{
    static const struct {
        const char *members;
        int64_t life_s, interval_s;
    } cases[] = {
        {"", DEFAULT_DEVICE_CODE_S, 5},
        {",\"interval\":1,\"expires_in\":1", 1, 1},
        {",\"interval\":0", 900, 5},
        {",\"interval\":-7", 900, 5},
        {",\"interval\":\"9\"", 900, 9},
        {",\"interval\":\"soon\"", 900, 5},
        {",\"interval\":2.0", 900, 2},
        {",\"interval\":59", 900, 59},
        {",\"interval\":60", 900, 60},
        {",\"interval\":61", 900, 60},
        {",\"interval\":99999999999999", 900, 60},
        {",\"interval\":99999999999999999999999", 900, 60},
        {",\"interval\":1e300", 900, 60},
        {",\"interval\":\"99999999999999999999999\"", 900, 60},
        {",\"expires_in\":99999999999999999999999", 1800, 5},
        {",\"expires_in\":1799", 1799, 5},
        {",\"expires_in\":1800", 1800, 5},
        {",\"expires_in\":1801", 1800, 5},
        {",\"expires_in\":\"60\"", 60, 5},
        {",\"expires_in\":\"long\"", 900, 5},
    };
    (void)state;
    struct machine m;
    open(&m);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        char body[512];
        (void)snprintf(body, sizeof(body), "{" PLAIN "%s}", cases[i].members);
        assert_int_equal(RUN(&m, OK(body)), STEP_PROMPT);
        assert_int_equal(m.step.prompt.expires_at - m.tick.wall_s, cases[i].life_s);
        assert_int_equal(m.step.prompt.interval_s, cases[i].interval_s);
    }
    RUN(&m, OK("{" PLAIN ",\"expires_in\":0}"));
    fails(&m, FAILURE_AUTHORITY_REFUSED, "expired already");
    RUN(&m, OK("{" PLAIN ",\"expires_in\":-5}"));
    fails(&m, FAILURE_AUTHORITY_REFUSED, "expired already");
    machine_close(&m);
}

/* The wait after each answer. */
static void waits(struct machine *m, struct reply reply, int64_t expected_s)
{
    assert_int_equal(m->step.kind, STEP_HTTP);
    assert_int_equal(machine_answer(m, reply), STEP_WAIT);
    assert_int_equal(m->step.wait_ms, expected_s * 1000);
    machine_answer(m, WAITED);
}

static void slows_down_for_good(void **state)
{
    struct machine m;
    (void)state;
    open(&m);
    RUN(&m, OK("{" PLAIN ",\"expires_in\":1800,\"interval\":5}"), SHOWN, WAITED);
    waits(&m, PENDING, 5);
    waits(&m, ERROR("slow_down"), 10);
    waits(&m, PENDING, 10);
    waits(&m, SAYS(429, "{\"error\":\"slow_down\"}"), 15);
    waits(&m, OK("{\"error\":\"slow_down\",\"interval\":30}"), 30); /* GitHub: with 200, and its own interval */
    waits(&m, OK("{\"error\":\"slow_down\",\"interval\":10}"), 35);
    waits(&m, ERROR("slow_down"), 40);
    waits(&m, PENDING, 40);
    for (int64_t wait = 45; wait <= 75; wait += 5)
        waits(&m, ERROR("slow_down"), wait); /* beyond a minute as well: it is the authority that asks */
    waits(&m, OK("{\"error\":\"authorization_pending\"}"), 75);
    machine_close(&m);
}

static void backs_off_while_nothing_comes(void **state)
{
    struct machine m;
    struct reply later = SAYS(503, "down"), throttled = SAYS(429, "slow down, please"), never = SAYS(429, "");
    later.headers = "HTTP/1.1 503 X\r\nRetry-After: 50\r\n\r\n";
    never.headers = "HTTP/1.1 429 X\r\nRetry-After: 999999\r\n\r\n";
    (void)state;
    open(&m);
    RUN(&m, OK("{" PLAIN ",\"expires_in\":1800,\"interval\":5}"), SHOWN, WAITED);
    waits(&m, TIMED_OUT, 10);
    waits(&m, UNSENT, 20);
    waits(&m, SAYS(502, "<html>"), 40);
    waits(&m, TIMED_OUT, 60);
    waits(&m, TIMED_OUT, 60);
    waits(&m, PENDING, 5);
    waits(&m, throttled, 10);
    waits(&m, later, 50);
    waits(&m, OK("<html>portal"), 40);
    waits(&m, PENDING, 5);
    assert_int_equal(machine_answer(&m, never), STEP_WAIT); /* not beyond the end of the code */
    assert_true(m.step.wait_ms < LIMIT_DEVICE_CODE_S * 1000L);
    machine_answer(&m, WAITED);
    fails(&m, FAILURE_SIGN_IN_FAILED, "expired");
    machine_close(&m);
}

static void expires_by_its_own_clock(void **state)
{
    struct machine m;
    (void)state;
    open(&m);
    RUN(&m, OK("{" PLAIN ",\"expires_in\":12,\"interval\":5}"), SHOWN, WAITED, PENDING, WAITED);
    m.tick.wall_s += 1000000; /* the wall clock does not count */
    assert_int_equal(machine_answer(&m, PENDING), STEP_WAIT);
    assert_int_equal(m.step.wait_ms, 2000);
    machine_answer(&m, WAITED);
    fails(&m, FAILURE_SIGN_IN_FAILED, "expired");
    assert_string_equal(m.step.fail.reason, "expired");
    assert_int_equal(m.requests, 3);
    /* a laptop that slept */
    RUN(&m, OK(CODE), SHOWN, WAITED);
    m.tick.boot_ms += 3600000;
    machine_answer(&m, PENDING);
    fails(&m, FAILURE_SIGN_IN_FAILED, "expired");
    machine_close(&m);
}

static void ends_as_the_authority_says(void **state)
{
    static const struct {
        const char *body;
        int status;
        enum failure_kind kind;
        const char *words;
    } cases[] = {
        {"{\"error\":\"access_denied\"}", 400, FAILURE_SIGN_IN_FAILED, "declined"},
        {"{\"error\":\"access_denied\"}", 200, FAILURE_SIGN_IN_FAILED, "declined"},
        {"{\"error\":\"authorization_declined\"}", 400, FAILURE_SIGN_IN_FAILED, "declined"},
        {"{\"error\":\"expired_token\"}", 400, FAILURE_SIGN_IN_FAILED, "expired"},
        {"{\"error\":\"bad_verification_code\"}", 400, FAILURE_SIGN_IN_FAILED, "expired"},
        {"{\"error\":\"invalid_grant\"}", 400, FAILURE_AUTHORITY_REFUSED, "invalid_grant"},
        {"{\"error\":\"unauthorized_client\"}", 401, FAILURE_AUTHORITY_REFUSED, "unauthorized_client"},
        {"{\"error\":\"interaction_required\"}", 400, FAILURE_AUTHORITY_REFUSED, "interaction_required"},
        {"not found", 404, FAILURE_AUTHORITY_REFUSED, "404"},
        {"{\"access_token\":\"a b\"}", 200, FAILURE_AUTHORITY_REFUSED, "access_token"},
    };
    struct machine m;
    (void)state;
    open(&m);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        RUN(&m, OK(CODE), SHOWN, WAITED, SAYS(cases[i].status, cases[i].body));
        fails(&m, cases[i].kind, cases[i].words);
        if (cases[i].kind == FAILURE_SIGN_IN_FAILED)
            assert_string_equal(m.step.fail.reason, cases[i].words);
    }
    RUN(&m, ERROR("unauthorized_client"));
    fails(&m, FAILURE_AUTHORITY_REFUSED, "unauthorized_client");
    RUN(&m, OK("<html>portal"));
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "no JSON");
    RUN(&m, LOST);
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "");
    machine_close(&m);
}

static void refuses_what_cannot_be_shown(void **state)
{
    static const struct {
        const char *body, *words;
    } cases[] = {
        {"{\"user_code\":\"U\",\"verification_uri\":\"https://h/\"}", "device_code"},
        {"{\"device_code\":\"\",\"user_code\":\"U\",\"verification_uri\":\"https://h/\"}", "device_code"},
        {"{\"device_code\":1,\"user_code\":\"U\",\"verification_uri\":\"https://h/\"}", "device_code"},
        {"{\"device_code\":\"D\",\"verification_uri\":\"https://h/\"}", "user_code"},
        {"{\"device_code\":\"D\",\"user_code\":\"\",\"verification_uri\":\"https://h/\"}", "user_code"},
        {"{\"device_code\":\"D\",\"user_code\":\"U\\u001b[2J\",\"verification_uri\":\"https://h/\"}", "user_code"},
        {"{\"device_code\":\"D\",\"user_code\":\"U\\u0000\",\"verification_uri\":\"https://h/\"}", "user_code"},
        {"{\"device_code\":\"D\",\"user_code\":\"U\\u202e\",\"verification_uri\":\"https://h/\"}", "user_code"},
        {"{\"device_code\":\"D\",\"user_code\":\"U\"}", "verification_uri"},
        {"{\"device_code\":\"D\",\"user_code\":\"U\",\"verification_uri\":\"http://login.example.org/\"}", "not https"},
        {"{\"device_code\":\"D\",\"user_code\":\"U\",\"verification_uri\":\"http://127.0.0.1/\"}", "not https"},
        {"{\"device_code\":\"D\",\"user_code\":\"U\",\"verification_uri\":\"javascript:alert(1)\"}",
         "no plain address"},
        {"{\"device_code\":\"D\",\"user_code\":\"U\",\"verification_uri\":\"https://h@evil/\"}", "no plain address"},
        {"{\"device_code\":\"D\",\"user_code\":\"U\",\"verification_uri\":\"https://h/ x\"}", "no plain address"},
    };
    struct machine m;
    (void)state;
    open(&m);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        RUN(&m, OK(cases[i].body));
        fails(&m, FAILURE_AUTHORITY_REFUSED, cases[i].words);
    }
    machine_close(&m);
}

/* A text member of `length` letters. */
static char *long_member(const char *before, int length, const char *after)
{
    char *letters = calloc(1, (size_t)length + 1), *body = NULL;
    assert_non_null(letters);
    for (int i = 0; i < length; i++)
        letters[i] = 'x';
    assert_true(asprintf(&body, "%s%s%s", before, letters, after) > 0);
    free(letters);
    return body;
}

static void holds_its_limits(void **state)
{
    struct machine m;
    (void)state;
    open(&m);
    for (int more = -1; more <= 1; more++) {
        enum step_kind expected = more > 0 ? STEP_FAIL : STEP_PROMPT;
        char *body = long_member("{\"user_code\":\"", LIMIT_CODE + more,
                                 "\",\"device_code\":\"D\",\"verification_uri\":\"https://h/\"}");
        assert_int_equal(RUN(&m, OK(body)), expected);
        free(body);
        body = long_member("{\"device_code\":\"", LIMIT_DEVICE_CODE + more,
                           "\",\"user_code\":\"U\",\"verification_uri\":\"https://h/\"}");
        assert_int_equal(RUN(&m, OK(body)), expected);
        free(body);
        body = long_member("{\"verification_uri\":\"https://h/", LIMIT_URL - 10 + more,
                           "\",\"device_code\":\"D\",\"user_code\":\"U\"}");
        assert_int_equal(RUN(&m, OK(body)), expected);
        free(body);
    }
    char *body = long_member("{" PLAIN ",\"message\":\"", 10000, "\"}");
    assert_int_equal(RUN(&m, OK(body)), STEP_PROMPT);
    assert_true(strlen(m.step.prompt.message) <= LIMIT_TEXT);
    free(body);
    machine_close(&m);
}

static void binds_the_address(void **state)
{
    static char *const hosts[] = {TEXT("microsoft.com"), TEXT("aka.ms"), NULL};
    static const struct {
        const char *authority, *address;
        bool bound, shown;
    } cases[] = {
        {"https://login.example.org/realms/x", "https://elsewhere.net/device", false, true},
        {"https://login.example.org/realms/x", "https://elsewhere.net/device", true, false},
        {"https://login.example.org/realms/x", "https://microsoft.com/devicelogin", true, true},
        {"https://login.example.org/realms/x", "https://microsoft.com.evil.net/", true, false},
        {"https://login.example.org/realms/x", "https://login.example.org/device", true, true},
        {"http://127.0.0.1:8080/", "http://127.0.0.1:8080/device", false, true},
        {"http://127.0.0.1:8080/", "http://[::1]:9/device", false, true},
        {"http://127.0.0.1:8080/", "http://localhost:8080/device", false, false},
        {"http://127.0.0.1:8080/", "http://example.org/", false, false},
        {"https://127.0.0.1:8080/", "http://127.0.0.1:8080/", false, false},
        {NULL, "http://127.0.0.1/", false, false},
        {NULL, "https://login.example.org/", true, true}, /* the device endpoint's own host */
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct machine m;
        char body[512];
        open(&m);
        m.profile.authority = TEXT(cases[i].authority);
        m.profile.verification_hosts = cases[i].bound ? (char **)(uintptr_t)hosts : NULL;
        (void)snprintf(body, sizeof(body), "{\"device_code\":\"D\",\"user_code\":\"U\",\"verification_uri\":\"%s\"}",
                       cases[i].address);
        if (RUN(&m, OK(body)) != (cases[i].shown ? STEP_PROMPT : STEP_FAIL))
            fail_msg("case %zu: %s", i, m.step.kind == STEP_FAIL ? m.step.fail.reason : "shown");
        machine_close(&m);
    }
}

static void drops_a_complete_address_from_elsewhere(void **state)
{
    static const struct {
        const char *address;
        bool shown;
    } cases[] = {
        {"https://login.example.org/device?user_code=WDJB", true},
        {"https://evil.net/device?user_code=WDJB", false},
        {"http://login.example.org/device", false},
        {"https://login.example.org:8443/device", false},
        {"https://login.example.org/\\u0007", false},
        {"", false},
    };
    struct machine m;
    (void)state;
    open(&m);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        char body[512];
        (void)snprintf(body, sizeof(body), "{" PLAIN ",\"verification_uri_complete\":\"%s\"}", cases[i].address);
        assert_int_equal(RUN(&m, OK(body)), STEP_PROMPT);
        assert_int_equal(m.step.prompt.verification_uri_complete != NULL, cases[i].shown);
    }
    machine_close(&m);
}

static void keeps_nothing_of_a_sign_in_that_does_not_hold(void **state)
{
    struct machine m;
    char *scopes[] = {TEXT("admin"), NULL};
    (void)state;
    open(&m);
    RUN(&m, OK(CODE), SHOWN, WAITED, OK(TOKENS_ID), NO(STEP_VERIFY, -EBADMSG));
    fails(&m, FAILURE_INVALID_TOKEN, "id_token");
    RUN(&m, OK(CODE), NO(STEP_PROMPT, -EPIPE));
    assert_int_equal(m.step.kind, STEP_FAIL);
    m.profile.scopes = scopes;
    RUN(&m, OK(CODE), SHOWN, WAITED, OK(TOKENS_ID));
    fails(&m, FAILURE_AUTHORITY_REFUSED, "without the scope admin");
    assert_int_equal(m.kept.count, 0);
    m.profile.scopes = NULL;
    RUN(&m, OK(CODE), SHOWN, WAITED, OK(TOKENS), NO(STEP_SAVE, -EIO));
    fails(&m, FAILURE_STORE_UNAVAILABLE, "kept");
    machine_close(&m);
}

static void signs_out(void **state)
{
    struct machine m;
    struct metadata with = {
        .revocation_endpoint = TEXT("https://h/r"), .token_endpoint = TEXT(TOKEN_URL), .basic = true};
    struct metadata without = {.token_endpoint = TEXT(TOKEN_URL), .basic = true};
    (void)state;
    open(&m);
    assert_int_equal(machine_start(&m, GRANT_REVOKE), STEP_DONE); /* nobody is signed in */
    assert_false(m.step.done.revoked);
    machine_hold(&m, "R/T", "api");
    assert_int_equal(machine_start(&m, GRANT_REVOKE), STEP_HTTP);
    assert_string_equal(m.url, REVOCATION_URL);
    assert_string_equal(m.body, "token=R%2FT&token_type_hint=refresh_token&client_id=me");
    assert_int_equal(machine_answer(&m, OK("")), STEP_DONE);
    assert_true(m.step.done.revoked);
    assert_null(m.step.done.tokens);
    machine_start(&m, GRANT_REVOKE);
    machine_answer(&m, SAYS(503, ""));
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "503");
    machine_start(&m, GRANT_REVOKE);
    machine_answer(&m, ERROR("unsupported_token_type"));
    fails(&m, FAILURE_AUTHORITY_REFUSED, "unsupported_token_type");
    machine_start(&m, GRANT_REVOKE);
    machine_answer(&m, LOST);
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "");
    m.profile.client_secret.kind = SOURCE_ENV;
    machine_start(&m, GRANT_REVOKE);
    machine_answer(&m, SECRET_IS("s"));
    assert_string_equal(m.authorization, "Basic bWU6cw==");
    m.profile.client_secret.kind = SOURCE_NONE;
    m.profile.revocation_endpoint = NULL;
    machine_start(&m, GRANT_REVOKE);
    assert_int_equal(machine_answer(&m, METADATA_IS(&with)), STEP_HTTP);
    machine_start(&m, GRANT_REVOKE);
    assert_int_equal(machine_answer(&m, METADATA_IS(&without)), STEP_DONE);
    assert_false(m.step.done.revoked);
    machine_start(&m, GRANT_REVOKE);
    assert_int_equal(machine_answer(&m, NO(STEP_METADATA, -EIO)), STEP_FAIL);
    m.profile.dialect = DIALECT_ENTRA;
    assert_int_equal(machine_start(&m, GRANT_REVOKE), STEP_DONE);
    assert_false(m.step.done.revoked);
    m.profile.dialect = DIALECT_OIDC;
    m.profile.authority = NULL;
    assert_int_equal(machine_start(&m, GRANT_REVOKE), STEP_DONE);
    assert_false(m.step.done.revoked);
    machine_close(&m);
}

static void checks_profiles(void **state)
{
    struct profile profile = {.authority = TEXT("https://h")};
    const struct grant *grant = &grant_device_code;
    (void)state;
    assert_null(grant->check(&profile));
    profile.client_auth = CLIENT_AUTH_BASIC;
    assert_non_null(grant->check(&profile));
    profile = (struct profile){.token_endpoint = TEXT("https://h/t")};
    assert_non_null(grant->check(&profile));
    profile.device_authorization_endpoint = TEXT("https://h/d");
    assert_null(grant->check(&profile));
    profile.token_endpoint = NULL;
    assert_non_null(grant->check(&profile));
    profile = (struct profile){.authority = TEXT("https://h"), .dialect = DIALECT_ENTRA_V1};
    assert_non_null(grant->check(&profile));
    profile.resource = TEXT("x");
    assert_null(grant->check(&profile));
}

static void survives_every_fault(void **state)
{
    struct machine m;
    struct metadata metadata = {
        .token_endpoint = TEXT(TOKEN_URL), .device_authorization_endpoint = TEXT(DEVICE_URL), .basic = true};
    const struct reply login[] = {
        METADATA_IS(&metadata), SECRET_IS("s"), OK(CODE), SHOWN,  WAITED,        PENDING,          WAITED,
        ERROR("slow_down"),     WAITED,         LOST,     WAITED, OK(TOKENS_ID), YES(STEP_VERIFY), SAVED};
    const struct reply revoke[] = {SECRET_IS("s"), OK("")};
    (void)state;
    open(&m);
    m.profile.token_endpoint = m.profile.device_authorization_endpoint = NULL;
    m.profile.client_secret.kind = SOURCE_ENV;
    machine_torture(&m, GRANT_LOGIN, login, ELEMENTS(login));
    machine_hold(&m, "RT", "api");
    machine_torture(&m, GRANT_REVOKE, revoke, ELEMENTS(revoke));
    machine_close(&m);
    assert_int_equal(secret_arena_used(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs_in),
        cmocka_unit_test(signs_in_without_refresh_or_id_token),
        cmocka_unit_test(finds_its_endpoints),
        cmocka_unit_test(speaks_entra_v1),
        cmocka_unit_test(bounds_times),
        cmocka_unit_test(slows_down_for_good),
        cmocka_unit_test(backs_off_while_nothing_comes),
        cmocka_unit_test(expires_by_its_own_clock),
        cmocka_unit_test(ends_as_the_authority_says),
        cmocka_unit_test(refuses_what_cannot_be_shown),
        cmocka_unit_test(holds_its_limits),
        cmocka_unit_test(binds_the_address),
        cmocka_unit_test(drops_a_complete_address_from_elsewhere),
        cmocka_unit_test(keeps_nothing_of_a_sign_in_that_does_not_hold),
        cmocka_unit_test(signs_out),
        cmocka_unit_test(checks_profiles),
        cmocka_unit_test(survives_every_fault),
    };
    return cmocka_run_group_tests(tests, machine_group, NULL);
}
