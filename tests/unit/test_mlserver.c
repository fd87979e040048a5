/* Machine Learning Server: its own requests, both tokens rotating, what a 401 means where, the ends that are counted
 * here, and the removal of a sign-in. */
#include "machine.h"

#define AUTHORITY "http://127.0.0.1:12800"
#define LOGIN_URL AUTHORITY "/login"
#define RENEW_URL AUTHORITY "/login/refreshToken"
#define PAIR(n)                                                                                                        \
    "{\"token_type\":\"Bearer\",\"access_token\":\"AT" n "\",\"expires_in\":3600,\"expires_on\":1800003600,"           \
    "\"refresh_token\":\"RT" n "\"}"
#define TYPED(text)  ((struct reply){.kind = STEP_ASK, .body = (text)})
#define SAVED        YES(STEP_SAVE)
#define NOW_S        1800000000
#define UNAUTHORISED SAYS(401, "{\"message\":\"Token is not valid\",\"link\":\"x\",\"exceptionType\":\"y\"}")

static struct setting settings[1];

static void open(struct machine *m)
{
    machine_open(m, &grant_mlserver);
    m->profile.authority = TEXT(AUTHORITY);
    m->profile.token_endpoint = m->profile.device_authorization_endpoint = m->profile.revocation_endpoint = NULL;
    m->profile.client_id = NULL;
    m->profile.username = TEXT("ada");
    m->profile.dialect = DIALECT_MLSERVER;
    m->profile.settings = settings;
}

static void open_alone(struct machine *m)
{
    open(m);
    m->profile.password.kind = SOURCE_FILE;
}

/* The header of the request under way; NULL: it has none of that name. */
static const struct header *header_of(const struct machine *m, const char *name)
{
    for (size_t i = 0; i < m->step.http.header_count; i++)
        if (strcmp(m->step.http.headers[i].name, name) == 0)
            return &m->step.http.headers[i];
    return NULL;
}

static enum step_kind sign_in(struct machine *m, struct reply answer)
{
    assert_int_equal(machine_start(m, GRANT_LOGIN), STEP_ASK);
    assert_string_equal(m->step.prompt.secret, "password");
    assert_int_equal(machine_answer(m, TYPED("pw")), STEP_HTTP);
    return machine_answer(m, answer);
}

static void a_password_gives_a_pair(void **state)
{
    static const char *const answers[] = {
        PAIR("1"),
        /* the Swagger model: expires_on is a string, and there is no expires_in */
        "{\"token_type\":\"Bearer\",\"access_token\":\"AT1\",\"expires_on\":\"1800003600\",\"refresh_token\":\"RT1\"}",
        "{\"access_token\":\"AT1\",\"expires_on\":1800003600,\"refresh_token\":\"RT1\",\"unknown\":[{}]}",
        "{\"token_type\":\"bearer\",\"access_token\":\"AT1\",\"expires_in\":\"3600\",\"refresh_token\":\"RT1\"}",
    };
    struct machine m;
    (void)state;
    open(&m);
    for (size_t i = 0; i < 2 * ELEMENTS(answers); i++) {
        int status = i % 2 ? 201 : 200;
        assert_int_equal(sign_in(&m, SAYS(status, answers[i / 2])), STEP_SAVE);
        assert_string_equal(m.url, LOGIN_URL);
        assert_string_equal(m.body, "{\"username\":\"ada\",\"password\":\"pw\"}");
        assert_string_equal(m.kept.token, "RT1");
        assert_string_equal(m.kept.subject, "ada");
        assert_string_equal(m.step.save->identity.issuer, AUTHORITY);
        assert_string_equal(m.step.save->identity.account, "ada");
        assert_int_equal(m.step.save->ends_at, NOW_S + 90L * 24 * 3600);
        assert_int_equal(m.step.save->renew_by, NOW_S + 14L * 24 * 3600);
        assert_int_equal(machine_answer(&m, SAVED), STEP_DONE);
        assert_string_equal(m.step.done.tokens->access_token, "AT1");
        assert_int_equal(m.step.done.tokens->expires_in_s, 3600);
    }
    machine_close(&m);
}

static void its_requests_are_json(void **state)
{
    struct machine m;
    (void)state;
    open(&m);
    m.profile.username = TEXT("a\"\\\n\xc3\xa9");
    machine_start(&m, GRANT_LOGIN);
    machine_answer(&m, TYPED("\"},{\t&="));
    assert_string_equal(m.body, "{\"username\":\"a\\\"\\\\\\n\xc3\xa9\",\"password\":\"\\\"},{\\t&=\"}");
    const struct header *type = header_of(&m, "Content-Type");
    assert_true(type && span_equals(type->value, span_of("application/json")));
    assert_null(header_of(&m, "Authorization"));
    settings[0] = (struct setting){TEXT("login_path"), TEXT("/user/login"), 1};
    m.profile.setting_count = 1;
    m.profile.authority = TEXT(AUTHORITY "/");
    machine_start(&m, GRANT_LOGIN);
    machine_answer(&m, TYPED("pw"));
    assert_string_equal(m.url, AUTHORITY "/user/login");
    machine_hold(&m, "R/+=", NULL);
    assert_int_equal(machine_run(&m, GRANT_ACQUIRE, &SAVED, 1), STEP_HTTP);
    assert_string_equal(m.url, AUTHORITY "/user/login/refreshToken");
    assert_string_equal(m.body, "{\"refreshToken\":\"R/+=\"}");
    machine_close(&m);
}

static void refused_passwords(void **state)
{
    static const struct {
        struct reply reply;
        const char *words;
        enum failure_kind kind;
        bool credentials;
    } cases[] = {
        {SAYS(401, "{\"message\":\"Wrong name or password\"}"), "Wrong name or password", FAILURE_AUTHORITY_REFUSED,
         true},
        {SAYS(401, ""), "http_401", FAILURE_AUTHORITY_REFUSED, true},
        {SAYS(401, "{"), "http_401", FAILURE_AUTHORITY_REFUSED, true},
        {SAYS(401, "{\"message\":7}"), "without a word", FAILURE_AUTHORITY_REFUSED, true},
        {SAYS(401, "{\"message\":\"a\\u001b[2Jb\"}"), "http_401", FAILURE_AUTHORITY_REFUSED, true},
        {SAYS(401, "{\"error\":\"temporarily_unavailable\"}"), "temporarily", FAILURE_AUTHORITY_UNREACHABLE, false},
        {SAYS(400, "{\"message\":\"Bad request\"}"), "http_400", FAILURE_AUTHORITY_REFUSED, false},
        {SAYS(403, ""), "http_403", FAILURE_AUTHORITY_REFUSED, false},
        {SAYS(404, "<html>"), "http_404", FAILURE_AUTHORITY_REFUSED, false},
        {SAYS(400, "{\"error\":{\"code\":\"X\",\"message\":\"said so\"}}"), "said so", FAILURE_AUTHORITY_REFUSED,
         false},
        {SAYS(200, "{\"error\":\"invalid_request\"}"), "invalid_request", FAILURE_AUTHORITY_REFUSED, false},
        {SAYS(200, "<html>a wireless network</html>"), "captive portal", FAILURE_AUTHORITY_UNREACHABLE, false},
        {SAYS(302, ""), "redirect", FAILURE_AUTHORITY_UNREACHABLE, false},
        {SAYS(429, "slow"), "429", FAILURE_AUTHORITY_UNREACHABLE, false},
        {SAYS(500, "{\"message\":\"no\"}"), "500", FAILURE_AUTHORITY_UNREACHABLE, false},
        {SAYS(503, ""), "503", FAILURE_AUTHORITY_UNREACHABLE, false},
        {LOST, "not connected", FAILURE_AUTHORITY_UNREACHABLE, false},
        {TIMED_OUT, "timed out", FAILURE_AUTHORITY_UNREACHABLE, false},
        {UNSENT, "refused", FAILURE_AUTHORITY_UNREACHABLE, false},
        {OK("{\"refresh_token\":\"RT\"}"), "no access_token", FAILURE_AUTHORITY_REFUSED, false},
        {OK("{\"access_token\":\"AT\",\"token_type\":\"MAC\"}"), "token_type is MAC", FAILURE_AUTHORITY_REFUSED, false},
        {OK("{\"access_token\":\"AT\",\"expires_on\":\"1799999999\"}"), "expired already", FAILURE_AUTHORITY_REFUSED,
         false},
        {OK("{\"access_token\":\"AT\",\"refresh_token\":\"R\\nT\"}"), "refresh_token", FAILURE_AUTHORITY_REFUSED,
         false},
    };
    (void)state;
    for (size_t i = 0; i < 2 * ELEMENTS(cases); i++) {
        const struct reply alone[] = {SECRET_IS("pw"), cases[i / 2].reply};
        struct machine m;
        open(&m);
        if (i % 2) {
            m.profile.password.kind = SOURCE_FILE;
            machine_run(&m, GRANT_ACQUIRE, alone, 2);
        } else {
            sign_in(&m, cases[i / 2].reply);
        }
        fails(&m, cases[i / 2].kind, cases[i / 2].words);
        assert_int_equal(m.step.fail.credentials, cases[i / 2].credentials);
        assert_int_equal(m.kept.count, 0);
        if (cases[i / 2].credentials)
            machine_says(&m, "not sent again by itself");
        machine_close(&m);
    }
    assert_int_equal(secret_arena_used(), 0);
}

static void both_tokens_rotate(void **state)
{
    static const char *const bodies[] = {
        PAIR("2"), "{\"access_token\":\"AT2\",\"expires_on\":\"1800003600\",\"refresh_token\":\"RT2\"}"};
    (void)state;
    for (size_t i = 0; i < 2 * ELEMENTS(bodies); i++) {
        struct machine m;
        open(&m);
        machine_hold(&m, "RT1", NULL);
        m.held.ends_at = NOW_S + 77;
        assert_int_equal(machine_start(&m, GRANT_ACQUIRE), STEP_SAVE);
        assert_true(m.kept.sending);
        assert_int_equal(machine_answer(&m, SAVED), STEP_HTTP);
        assert_string_equal(m.url, RENEW_URL);
        assert_string_equal(m.body, "{\"refreshToken\":\"RT1\"}");
        assert_int_equal(machine_answer(&m, SAYS(i % 2 ? 201 : 200, bodies[i / 2])), STEP_SAVE);
        assert_string_equal(m.kept.token, "RT2");
        assert_int_equal(m.step.save->ends_at, NOW_S + 77); /* the chain's, which no renewal moves */
        assert_int_equal(m.step.save->renew_by, NOW_S + 14L * 24 * 3600);
        assert_int_equal(machine_answer(&m, SAVED), STEP_DONE);
        assert_string_equal(m.step.done.tokens->access_token, "AT2");
        machine_close(&m);
    }
}

static void what_a_renewal_may_hear(void **state)
{
    static const struct {
        struct reply reply;
        enum failure_kind kind;
        const char *words;
    } cases[] = {
        {UNAUTHORISED, FAILURE_LOGIN_REQUIRED, "no longer takes the sign-in"},
        {SAYS(401, ""), FAILURE_LOGIN_REQUIRED, "no longer takes the sign-in"},
        {SAYS(403, ""), FAILURE_AUTHORITY_REFUSED, "http_403"},
        {SAYS(404, "{\"message\":\"no such path\"}"), FAILURE_AUTHORITY_REFUSED, "http_404"},
        {SAYS(429, "slow"), FAILURE_AUTHORITY_UNREACHABLE, "429"},
        {SAYS(500, ""), FAILURE_AUTHORITY_UNREACHABLE, "500"},
        {UNSENT, FAILURE_AUTHORITY_UNREACHABLE, "refused"},
        {OK("[]"), FAILURE_AUTHORITY_UNREACHABLE, "captive portal"},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        const struct reply list[] = {SAVED, cases[i].reply, SAVED};
        struct machine m;
        open(&m);
        machine_hold(&m, "RT1", NULL);
        machine_run(&m, GRANT_ACQUIRE, list, ELEMENTS(list));
        fails(&m, cases[i].kind, cases[i].words);
        assert_string_equal(m.kept.token, "RT1");
        assert_false(m.kept.sending);
        assert_int_equal(m.requests, 1);
        machine_close(&m);
    }
}

static void a_password_is_sent_where_nobody_is_needed(void **state)
{
    const struct reply list[] = {SAVED, UNAUTHORISED, SAVED, SECRET_IS("pw"), OK(PAIR("2")), SAVED};
    struct machine m;
    (void)state;
    open(&m);
    machine_start(&m, GRANT_ACQUIRE);
    fails(&m, FAILURE_LOGIN_REQUIRED, "nobody is signed in");
    machine_close(&m);
    open_alone(&m);
    assert_int_equal(machine_start(&m, GRANT_ACQUIRE), STEP_SECRET);
    assert_string_equal(m.step.secret, "password");
    machine_hold(&m, "RT1", NULL);
    assert_int_equal(machine_run(&m, GRANT_ACQUIRE, list, 3), STEP_SECRET);
    assert_int_equal(machine_answer(&m, list[3]), STEP_HTTP);
    assert_string_equal(m.url, LOGIN_URL);
    assert_int_equal(machine_answer(&m, list[4]), STEP_SAVE);
    assert_string_equal(m.kept.token, "RT2");
    assert_int_equal(machine_answer(&m, SAVED), STEP_DONE);
    /* not for a server that is only out of reach */
    const struct reply later[] = {SAVED, SAYS(503, ""), SAVED};
    machine_run(&m, GRANT_ACQUIRE, later, ELEMENTS(later));
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "503");
    /* and no password is a failure that names it */
    machine_hold(&m, NULL, NULL);
    machine_run(&m, GRANT_ACQUIRE, &NO(STEP_SECRET, -ENOENT), 1);
    fails(&m, FAILURE_SECRET_MISSING, "password");
    machine_close(&m);
}

static void a_sign_in_is_removed_with_its_newest_token(void **state)
{
    static const char fresh[] = "{\"access_token\":\"AT2\",\"expires_in\":3600,\"refresh_token\":\"R/+= %&2\"}";
    const struct reply renewed[] = {SAVED, OK(fresh), SAVED};
    static const struct {
        struct reply reply;
        const char *words; /* NULL: it is removed */
    } cases[] = {
        {SAYS(200, ""), NULL},       {SAYS(200, "{\"token_type\":\"Bearer\"}"), NULL},
        {SAYS(204, ""), NULL},       {SAYS(401, ""), "http_401"},
        {SAYS(404, ""), "http_404"}, {SAYS(500, ""), "500"},
        {LOST, "not connected"},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct machine m;
        open(&m);
        machine_hold(&m, "RT1", NULL);
        assert_int_equal(machine_run(&m, GRANT_REVOKE, renewed, ELEMENTS(renewed)), STEP_HTTP);
        assert_string_equal(m.method, "DELETE");
        assert_string_equal(m.url, RENEW_URL "?refreshToken=R%2F%2B%3D+%25%262");
        assert_string_equal(m.authorization, "Bearer AT2");
        assert_string_equal(m.body, "");
        machine_answer(&m, cases[i].reply);
        if (cases[i].words)
            machine_says(&m, cases[i].words);
        else
            assert_true(m.step.kind == STEP_DONE && m.step.done.revoked);
        machine_close(&m);
    }
    /* nothing to remove: it has ended, or there was none; a password is not sent for that */
    struct machine m;
    open_alone(&m);
    const struct reply ended[] = {SAVED, UNAUTHORISED, SAVED};
    assert_int_equal(machine_start(&m, GRANT_REVOKE), STEP_DONE);
    assert_false(m.step.done.revoked);
    machine_hold(&m, "RT1", NULL);
    assert_int_equal(machine_run(&m, GRANT_REVOKE, ended, ELEMENTS(ended)), STEP_DONE);
    assert_false(m.step.done.revoked);
    machine_close(&m);
    assert_int_equal(secret_arena_used(), 0);
}

/* A member of `length` bytes in a pair; the caller frees it. */
static char *pair_with(const char *name, size_t length)
{
    char *body = calloc(1, length + 256), *long_one = calloc(1, length + 1);
    assert_non_null(body);
    assert_non_null(long_one);
    memset(long_one, 'x', length);
    bool access = strcmp(name, "access_token") == 0;
    (void)snprintf(body, length + 256, "{\"access_token\":\"%s\",\"expires_in\":60,\"refresh_token\":\"%s\"}",
                   access ? long_one : "AT2", access ? "RT2" : long_one);
    free(long_one);
    return body;
}

static void lengths_have_limits(void **state)
{
    static const struct {
        const char *name;
        size_t maximum;
    } cases[] = {{"access_token", LIMIT_TOKEN}, {"refresh_token", LIMIT_SECRET}};
    struct machine m;
    (void)state;
    open(&m);
    for (size_t i = 0; i < 3 * ELEMENTS(cases); i++) {
        size_t length = cases[i / 3].maximum - 1 + i % 3;
        char *body = pair_with(cases[i / 3].name, length);
        if (length <= cases[i / 3].maximum) {
            assert_int_equal(sign_in(&m, OK(body)), STEP_SAVE);
        } else {
            sign_in(&m, OK(body));
            fails(&m, FAILURE_AUTHORITY_REFUSED, "too long");
        }
        free(body);
    }
    machine_close(&m);
}

/* Its address is the place for the token, and an address has a limit: then it is said, and the sign-in is kept no less.
 */
static void one_too_long_for_an_address_stays(void **state)
{
    static const size_t room = LIMIT_URL - (sizeof(RENEW_URL "?refreshToken=") - 1);
    struct machine m;
    (void)state;
    open(&m);
    machine_hold(&m, "RT1", NULL);
    for (size_t i = 0; i < 3; i++) {
        char *body = pair_with("refresh_token", room - 1 + i);
        const struct reply list[] = {SAVED, OK(body), SAVED};
        machine_run(&m, GRANT_REVOKE, list, ELEMENTS(list));
        if (i < 2)
            assert_int_equal(m.step.kind, STEP_HTTP);
        else
            fails(&m, FAILURE_NOT_SUPPORTED, "too long for the address");
        free(body);
    }
    machine_close(&m);
}

static void paths_are_checked(void **state)
{
    static const char *const good[] = {"/login", "/user/login", "/a"};
    static const char *const bad[] = {"", "/", "login", "/login/", "/a?b", "/a#b", "/a b", "/a\"", "/a\\b"};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(good); i++)
        assert_null(grant_mlserver.keys->check(good[i]));
    for (size_t i = 0; i < ELEMENTS(bad); i++)
        assert_non_null(grant_mlserver.keys->check(bad[i]));
}

static void ends_wherever_it_is_stopped(void **state)
{
    const struct reply login[] = {TYPED("pw"), OK(PAIR("1")), SAVED};
    const struct reply renew[] = {SAVED, OK(PAIR("2")), SAVED};
    const struct reply again[] = {SAVED, UNAUTHORISED, SAVED, SECRET_IS("pw"), OK(PAIR("2")), SAVED};
    const struct reply removal[] = {SAVED, OK(PAIR("2")), SAVED, SAYS(200, "")};
    struct machine m;
    (void)state;
    open(&m);
    machine_torture(&m, GRANT_LOGIN, login, ELEMENTS(login));
    machine_lie(&m, GRANT_LOGIN, login, ELEMENTS(login));
    machine_hold(&m, "RT1", NULL);
    machine_torture(&m, GRANT_ACQUIRE, renew, ELEMENTS(renew));
    machine_lie(&m, GRANT_ACQUIRE, renew, ELEMENTS(renew));
    machine_torture(&m, GRANT_REVOKE, removal, ELEMENTS(removal));
    m.profile.password.kind = SOURCE_FILE;
    machine_torture(&m, GRANT_ACQUIRE, again, ELEMENTS(again));
    machine_lie(&m, GRANT_ACQUIRE, again, ELEMENTS(again));
    machine_close(&m);
    assert_int_equal(secret_arena_used(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_password_gives_a_pair),
        cmocka_unit_test(its_requests_are_json),
        cmocka_unit_test(refused_passwords),
        cmocka_unit_test(both_tokens_rotate),
        cmocka_unit_test(what_a_renewal_may_hear),
        cmocka_unit_test(a_password_is_sent_where_nobody_is_needed),
        cmocka_unit_test(a_sign_in_is_removed_with_its_newest_token),
        cmocka_unit_test(lengths_have_limits),
        cmocka_unit_test(one_too_long_for_an_address_stays),
        cmocka_unit_test(paths_are_checked),
        cmocka_unit_test(ends_wherever_it_is_stopped),
    };
    return cmocka_run_group_tests(tests, machine_group, NULL);
}
