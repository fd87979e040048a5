/* The password grant: what each dialect is sent and says, which refusals are the password's, and that nothing but a
 * password that is there replaces a sign-in that has ended. */
#include "authority/answer.h"
#include "machine.h"

#define TYPED(text) ((struct reply){.kind = STEP_ASK, .body = (text)})
#define SAVED       YES(STEP_SAVE)
#define PLAIN       "{\"access_token\":\"AT\",\"token_type\":\"Bearer\",\"expires_in\":60}"
#define ROTATED     "{\"access_token\":\"AT2\",\"token_type\":\"Bearer\",\"expires_in\":60,\"refresh_token\":\"RT2\"}"
#define NUMBERED(error, number)                                                                                        \
    SAYS(400, "{\"error\":\"" error "\",\"error_description\":\"AADSTS" #number ": words\",\"error_codes\":[" #number  \
              "],\"trace_id\":\"tr-1\",\"correlation_id\":\"co-1\"}")

static char *scopes[] = {TEXT("api"), TEXT("offline_access"), NULL};

static void open(struct machine *m, enum dialect dialect)
{
    machine_open(m, &grant_password);
    m->profile.username = TEXT("ada@example.org");
    m->profile.dialect = dialect;
}

static enum step_kind sign_in(struct machine *m, struct reply answer)
{
    assert_int_equal(machine_start(m, GRANT_LOGIN), STEP_ASK);
    assert_string_equal(m->step.prompt.secret, "password");
    assert_int_equal(machine_answer(m, TYPED("p w&")), STEP_HTTP);
    return machine_answer(m, answer);
}

static void each_dialect_is_sent_its_own(void **state)
{
    static const struct {
        enum dialect dialect;
        bool resource;
        const char *sent[4], *unsent[3];
    } cases[] = {
        {DIALECT_OIDC, false, {"scope=api+offline_access", "client_id=me"}, {"response_type", "resource"}},
        {DIALECT_OIDC, true, {"scope=api+offline_access", "resource=https%3A%2F%2Fr"}, {"response_type"}},
        {DIALECT_ENTRA, false, {"scope=api+offline_access", "client_id=me"}, {"response_type", "resource"}},
        {DIALECT_ENTRA_V1, true, {"resource=https%3A%2F%2Fr", "client_id=me"}, {"response_type", "scope"}},
        {DIALECT_B2C,
         false,
         {"scope=api+offline_access", "response_type=token+id_token", "client_id=me"},
         {"client_secret", "resource"}},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct machine m;
        open(&m, cases[i].dialect);
        m.profile.scopes = scopes;
        m.profile.resource = cases[i].resource ? TEXT("https://r") : NULL;
        machine_start(&m, GRANT_LOGIN);
        machine_answer(&m, TYPED("p w&\xc3\xa9"));
        assert_string_equal(m.url, TOKEN_URL);
        assert_true(machine_sent(&m, "grant_type=password") && machine_sent(&m, "username=ada%40example.org"));
        assert_true(machine_sent(&m, "password=p+w%26%C3%A9"));
        assert_string_equal(m.authorization, "");
        for (size_t n = 0; cases[i].sent[n]; n++)
            if (!machine_sent(&m, cases[i].sent[n]))
                fail_msg("case %zu: %s is not in %s", i, cases[i].sent[n], m.body);
        for (size_t n = 0; cases[i].unsent[n]; n++)
            if (machine_sent_name(&m, cases[i].unsent[n]))
                fail_msg("case %zu: %s is in %s", i, cases[i].unsent[n], m.body);
        machine_close(&m);
    }
}

static void a_client_proves_who_it_is(void **state)
{
    struct metadata metadata = {.token_endpoint = TEXT(TOKEN_URL), .basic = true};
    const struct reply list[] = {SECRET_IS("pw"), METADATA_IS(&metadata), SECRET_IS("s c"), OK(PLAIN), SAVED};
    struct machine m;
    (void)state;
    open(&m, DIALECT_OIDC);
    m.profile.token_endpoint = NULL;
    m.profile.password.kind = m.profile.client_secret.kind = SOURCE_STORED;
    assert_int_equal(machine_start(&m, GRANT_ACQUIRE), STEP_SECRET);
    assert_string_equal(m.step.secret, "password");
    assert_int_equal(machine_answer(&m, list[0]), STEP_METADATA);
    assert_int_equal(machine_answer(&m, list[1]), STEP_SECRET);
    assert_string_equal(m.step.secret, "client_secret");
    assert_int_equal(machine_answer(&m, list[2]), STEP_HTTP);
    assert_string_equal(m.authorization, "Basic bWU6cytj");
    assert_true(machine_sent(&m, "password=pw"));
    machine_torture(&m, GRANT_ACQUIRE, list, ELEMENTS(list));
    machine_lie(&m, GRANT_ACQUIRE, list, ELEMENTS(list));
    m.profile.dialect = DIALECT_ENTRA;
    machine_run(&m, GRANT_ACQUIRE, list, 3);
    assert_true(machine_sent(&m, "client_secret=s+c"));
    assert_string_equal(m.authorization, "");
    machine_close(&m);
    assert_int_equal(secret_arena_used(), 0);
}

static void a_sign_in_is_kept(void **state)
{
    static const struct {
        int status;
        const char *body, *token;
        int64_t life_s;
    } cases[] = {
        {200, PLAIN, "", 60},
        {201, PLAIN, "", 60},
        {200, "{\"access_token\":\"AT\",\"token_type\":\"bearer\",\"expires_in\":\"3600\",\"refresh_token\":\"RT\"}",
         "RT", 3600}, /* B2C: a string */
        {200,
         "{\"access_token\":\"AT\",\"token_type\":\"Bearer\",\"expires_in\":\"3599\",\"expires_on\":\"1800003599\","
         "\"not_before\":\"1799999999\",\"resource\":\"r\",\"refresh_token\":\"RT\"}",
         "RT", 3599}, /* Entra v1: all of them */
        {200, "{\"access_token\":\"AT\",\"expires_on\":\"1800000120\"}", "", 120},
        {200, "{\"access_token\":\"AT\",\"refresh_token\":\"RT\"}", "RT", DEFAULT_LIFETIME_S},
        {200, "{\"access_token\":\"AT\",\"refresh_token\":\"\"}", "", DEFAULT_LIFETIME_ALONE_S},
        {200, "{\"access_token\":\"AT\",\"expires_in\":99999999999999999999}", "", LIMIT_LIFETIME_S},
        {200, "{\"access_token\":\"AT\",\"expires_in\":\"99999999999999999999\"}", "", LIMIT_LIFETIME_S},
        {200, "{\"access_token\":\"AT\",\"expires_in\":60,\"ext_expires_in\":9999,\"error\":\"\"}", "", 60},
    };
    static const enum dialect dialects[] = {DIALECT_OIDC, DIALECT_ENTRA, DIALECT_ENTRA_V1, DIALECT_B2C};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases) * ELEMENTS(dialects); i++) {
        size_t n = i % ELEMENTS(cases);
        struct machine m;
        open(&m, dialects[i / ELEMENTS(cases)]);
        assert_int_equal(sign_in(&m, SAYS(cases[n].status, cases[n].body)), STEP_SAVE);
        assert_string_equal(m.kept.token, cases[n].token);
        assert_string_equal(m.kept.subject, ""); /* nobody vouched for it */
        assert_string_equal(m.step.save->identity.account, "ada@example.org");
        assert_int_equal(m.step.save->ends_at, 0);
        assert_int_equal(machine_answer(&m, SAVED), STEP_DONE);
        assert_string_equal(m.step.done.tokens->access_token, "AT");
        assert_int_equal(m.step.done.tokens->expires_in_s, cases[n].life_s);
        machine_close(&m);
    }
}

static void an_id_token_says_who(void **state)
{
    static const struct identity ada = {.issuer = "https://i", .subject = "77", .account = "Ada"};
    static const char signed_one[] = "{\"access_token\":\"AT\",\"expires_in\":60,\"id_token\":\"a.b.c\"}";
    static const char unsigned_one[] = "{\"access_token\":\"AT\",\"expires_in\":60,\"id_token\":\"a.b.\"}";
    struct failure wrong;
    struct machine m;
    (void)state;
    open(&m, DIALECT_OIDC);
    assert_int_equal(sign_in(&m, OK(signed_one)), STEP_VERIFY);
    assert_string_equal(m.step.verify.id_token, "a.b.c");
    assert_null(m.step.verify.nonce);
    machine_answer(&m, (struct reply){.kind = STEP_VERIFY, .identity = &ada});
    assert_int_equal(m.step.kind, STEP_SAVE);
    assert_string_equal(m.kept.subject, "77");
    assert_string_equal(m.step.save->identity.account, "Ada");
    failure_set(&wrong, FAILURE_AUTHORITY_REFUSED, CLASS_DEFINITE, "%s", "another audience");
    failure_refused(&wrong, "invalid_token", "another audience");
    assert_int_equal(sign_in(&m, OK(unsigned_one)), STEP_VERIFY); /* which refuses it */
    m.kept.count = 0;
    machine_answer(&m, (struct reply){.kind = STEP_VERIFY, .error = -EACCES, .why = &wrong});
    fails(&m, FAILURE_AUTHORITY_REFUSED, "another audience");
    assert_int_equal(m.kept.count, 0);
    m.profile.dialect = DIALECT_ENTRA_V1; /* signs none for a native client */
    assert_int_equal(sign_in(&m, OK(unsigned_one)), STEP_SAVE);
    assert_int_equal(sign_in(&m, OK(signed_one)), STEP_VERIFY);
    machine_close(&m);
}

/* What says nothing of the password may be tried again without locking anybody out. */
static void refusals(void **state)
{
    static const struct {
        enum dialect dialect;
        enum failure_kind kind;
        struct reply reply;
        const char *words;
        bool credentials;
    } cases[] = {
        {DIALECT_OIDC, FAILURE_AUTHORITY_REFUSED, ERROR("invalid_grant"), "the password is wrong", true},
        {DIALECT_OIDC, FAILURE_AUTHORITY_REFUSED,
         SAYS(401, "{\"error\":\"invalid_grant\",\"error_description\":\"Invalid user credentials\"}"),
         "Invalid user credentials", true},
        {DIALECT_OIDC, FAILURE_AUTHORITY_REFUSED, OK("{\"error\":\"invalid_grant\"}"), "the password is wrong", true},
        {DIALECT_OIDC, FAILURE_AUTHORITY_REFUSED, ERROR("invalid_client"), "invalid_client", false},
        {DIALECT_OIDC, FAILURE_AUTHORITY_REFUSED, SAYS(401, "{\"error\":\"invalid_client\"}"), "invalid_client", false},
        {DIALECT_OIDC, FAILURE_AUTHORITY_REFUSED, ERROR("unauthorized_client"), "unauthorized_client", false},
        {DIALECT_OIDC, FAILURE_AUTHORITY_REFUSED, ERROR("unsupported_grant_type"), "unsupported_grant_type", false},
        {DIALECT_OIDC, FAILURE_AUTHORITY_REFUSED, ERROR("invalid_scope"), "\"api offline_access\"", false},
        {DIALECT_OIDC, FAILURE_AUTHORITY_REFUSED, ERROR("access_denied"), "access_denied", false},
        {DIALECT_OIDC, FAILURE_AUTHORITY_UNREACHABLE, ERROR("temporarily_unavailable"), "temporarily", false},
        {DIALECT_OIDC, FAILURE_AUTHORITY_REFUSED, SAYS(401, ""), "http_401", false},
        {DIALECT_OIDC, FAILURE_AUTHORITY_REFUSED, SAYS(404, "<html>"), "http_404", false},
        {DIALECT_OIDC, FAILURE_AUTHORITY_UNREACHABLE, SAYS(429, "slow"), "429", false},
        {DIALECT_OIDC, FAILURE_AUTHORITY_UNREACHABLE, SAYS(429, "{\"error\":\"invalid_grant\"}"), "429", false},
        {DIALECT_OIDC, FAILURE_AUTHORITY_UNREACHABLE, SAYS(500, ""), "500", false},
        {DIALECT_OIDC, FAILURE_AUTHORITY_UNREACHABLE, OK("<html>"), "captive portal", false},
        {DIALECT_OIDC, FAILURE_AUTHORITY_UNREACHABLE, LOST, "not connected", false},
        {DIALECT_OIDC, FAILURE_AUTHORITY_UNREACHABLE, UNSENT, "refused", false},
        {DIALECT_OIDC, FAILURE_AUTHORITY_REFUSED, OK("{\"access_token\":\"AT\",\"token_type\":\"MAC\"}"),
         "token_type is MAC", false},
        {DIALECT_OIDC, FAILURE_AUTHORITY_REFUSED, OK("{\"access_token\":\"AT\",\"token_type\":\"DPoP\"}"), "DPoP",
         false},
        {DIALECT_OIDC, FAILURE_AUTHORITY_REFUSED, OK("{\"access_token\":\"AT\",\"scope\":\"other\"}"),
         "without the scope api", false},
        {DIALECT_ENTRA, FAILURE_AUTHORITY_REFUSED, NUMBERED("invalid_grant", 50126), "password is wrong", true},
        {DIALECT_ENTRA, FAILURE_AUTHORITY_REFUSED, NUMBERED("invalid_grant", 50053), "the account is locked", true},
        {DIALECT_ENTRA, FAILURE_AUTHORITY_REFUSED, NUMBERED("invalid_grant", 50057), "disabled", true},
        {DIALECT_ENTRA, FAILURE_AUTHORITY_REFUSED, NUMBERED("invalid_grant", 50076), "second factor", true},
        {DIALECT_ENTRA, FAILURE_AUTHORITY_REFUSED, NUMBERED("interaction_required", 50076), "second factor", false},
        {DIALECT_ENTRA, FAILURE_AUTHORITY_REFUSED, NUMBERED("invalid_client", 7000218), "public client", false},
        {DIALECT_ENTRA, FAILURE_AUTHORITY_REFUSED, NUMBERED("invalid_request", 9001023), "needs a tenant", false},
        {DIALECT_ENTRA, FAILURE_AUTHORITY_UNREACHABLE, NUMBERED("invalid_grant", 50196), "too many equal", false},
        {DIALECT_ENTRA, FAILURE_AUTHORITY_UNREACHABLE, NUMBERED("invalid_grant", 90033), "AADSTS90033", false},
        {DIALECT_ENTRA_V1, FAILURE_AUTHORITY_REFUSED, NUMBERED("invalid_grant", 50126), "password is wrong", true},
        {DIALECT_ENTRA_V1, FAILURE_AUTHORITY_REFUSED, NUMBERED("invalid_resource", 500011), "resource", false},
        {DIALECT_B2C, FAILURE_AUTHORITY_REFUSED,
         SAYS(400, "{\"error\":\"access_denied\",\"error_description\":\"AADB2C90225: The username or password "
                   "provided in the request are invalid.\"}"),
         "AADB2C90225", true},
        {DIALECT_B2C, FAILURE_AUTHORITY_UNREACHABLE,
         SAYS(400, "{\"error\":\"server_error\",\"error_description\":\"AADB2C90006\"}"), "server_error", false},
    };
    (void)state;
    for (size_t i = 0; i < 2 * ELEMENTS(cases); i++) {
        const struct reply alone[] = {SECRET_IS("p w&"), cases[i / 2].reply};
        struct machine m;
        open(&m, cases[i / 2].dialect);
        m.profile.scopes = scopes;
        if (i % 2) {
            m.profile.password.kind = SOURCE_ENV;
            machine_run(&m, GRANT_ACQUIRE, alone, 2);
        } else {
            sign_in(&m, cases[i / 2].reply);
        }
        fails(&m, cases[i / 2].kind, cases[i / 2].words);
        if (m.step.fail.credentials != cases[i / 2].credentials)
            fail_msg("case %zu: %s", i / 2, m.step.fail.credentials ? "the password's" : "not the password's");
        assert_int_equal(strstr(m.step.fail.reason, "not sent again by itself") != NULL, cases[i / 2].credentials);
        assert_null(strstr(m.step.fail.reason, "p w&"));
        assert_int_equal(m.kept.count, 0);
        machine_close(&m);
    }
    assert_int_equal(secret_arena_used(), 0);
}

static void lengths_have_limits(void **state)
{
    static const struct {
        const char *name;
        size_t maximum;
    } cases[] = {{"access_token", LIMIT_TOKEN}, {"refresh_token", LIMIT_SECRET}, {"id_token", LIMIT_JWS}};
    struct machine m;
    (void)state;
    open(&m, DIALECT_OIDC);
    for (size_t i = 0; i < 3 * ELEMENTS(cases); i++) {
        size_t length = cases[i / 3].maximum - 1 + i % 3, room = length + 64;
        char *body = calloc(1, room), *end;
        assert_non_null(body);
        end = body + snprintf(body, room, "{%s\"%s\":\"", i / 3 ? "\"access_token\":\"AT\"," : "", cases[i / 3].name);
        memset(end, 'x', length);
        (void)snprintf(end + length, room - (size_t)(end - body) - length, "\"}");
        sign_in(&m, OK(body));
        if (length > cases[i / 3].maximum)
            fails(&m, FAILURE_AUTHORITY_REFUSED, "too long");
        else
            assert_int_equal(m.step.kind, i / 3 == 2 ? STEP_VERIFY : STEP_SAVE);
        free(body);
    }
    machine_close(&m);
    assert_int_equal(secret_arena_used(), 0);
}

static void a_password_replaces_what_has_ended(void **state)
{
    const struct reply ended[] = {SAVED, ERROR("invalid_grant"), SAVED};
    const struct reply later[] = {SAVED, SAYS(503, ""), SAVED};
    const struct reply wrong[] = {SAVED, ERROR("invalid_client"), SAVED};
    struct machine m;
    (void)state;
    open(&m, DIALECT_OIDC);
    machine_start(&m, GRANT_ACQUIRE);
    fails(&m, FAILURE_LOGIN_REQUIRED, "nobody is signed in");
    machine_hold(&m, "RT1", "api");
    machine_run(&m, GRANT_ACQUIRE, ended, ELEMENTS(ended));
    fails(&m, FAILURE_LOGIN_REQUIRED, "invalid_grant");
    m.profile.password.kind = SOURCE_CREDENTIAL;
    assert_int_equal(machine_run(&m, GRANT_ACQUIRE, ended, ELEMENTS(ended)), STEP_SECRET);
    assert_string_equal(m.step.secret, "password");
    assert_int_equal(machine_answer(&m, SECRET_IS("pw")), STEP_HTTP);
    assert_true(machine_sent(&m, "grant_type=password"));
    assert_int_equal(machine_answer(&m, OK(ROTATED)), STEP_SAVE);
    assert_string_equal(m.kept.token, "RT2");
    machine_run(&m, GRANT_ACQUIRE, later, ELEMENTS(later));
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "503");
    machine_run(&m, GRANT_ACQUIRE, wrong, ELEMENTS(wrong));
    fails(&m, FAILURE_AUTHORITY_REFUSED, "invalid_client");
    /* a secret that is not there, or an answer that nobody typed */
    machine_hold(&m, NULL, NULL);
    machine_run(&m, GRANT_ACQUIRE, &NO(STEP_SECRET, -ENOENT), 1);
    fails(&m, FAILURE_SECRET_MISSING, "password");
    m.profile.password.kind = SOURCE_NONE;
    machine_run(&m, GRANT_LOGIN, &NO(STEP_ASK, -ETIMEDOUT), 1);
    assert_int_equal(m.step.kind, STEP_FAIL);
    machine_close(&m);
}

static void profiles_are_checked(void **state)
{
    struct machine m;
    (void)state;
    open(&m, DIALECT_OIDC);
    assert_null(grant_password.check(&m.profile));
    m.profile.client_secret.kind = SOURCE_STORED;
    assert_null(grant_password.check(&m.profile));
    m.profile.dialect = DIALECT_B2C;
    assert_non_null(strstr(grant_password.check(&m.profile), "no proof of the client"));
    m.profile.client_secret.kind = SOURCE_NONE;
    assert_null(grant_password.check(&m.profile));
    m.profile.client_key = TEXT("/key");
    assert_non_null(strstr(grant_password.check(&m.profile), "no proof of the client"));
    open(&m, DIALECT_OIDC);
    m.profile.authority = m.profile.token_endpoint = NULL;
    assert_non_null(strstr(grant_password.check(&m.profile), "needs authority"));
    assert_non_null(strstr(grant_password.warning, "device_code"));
}

static void ends_wherever_it_is_stopped(void **state)
{
    const struct reply login[] = {TYPED("pw"), OK(ROTATED), SAVED};
    const struct reply again[] = {SAVED, ERROR("invalid_grant"), SAVED, SECRET_IS("pw"), OK(ROTATED), SAVED};
    static const enum dialect dialects[] = {DIALECT_OIDC, DIALECT_B2C};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(dialects); i++) {
        struct machine m;
        open(&m, dialects[i]);
        machine_torture(&m, GRANT_LOGIN, login, ELEMENTS(login));
        machine_lie(&m, GRANT_LOGIN, login, ELEMENTS(login));
        machine_hold(&m, "RT1", "api");
        m.profile.password.kind = SOURCE_FILE;
        machine_torture(&m, GRANT_ACQUIRE, again, ELEMENTS(again));
        machine_lie(&m, GRANT_ACQUIRE, again, ELEMENTS(again));
        machine_close(&m);
    }
    assert_int_equal(secret_arena_used(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_dialect_is_sent_its_own),
        cmocka_unit_test(a_client_proves_who_it_is),
        cmocka_unit_test(a_sign_in_is_kept),
        cmocka_unit_test(an_id_token_says_who),
        cmocka_unit_test(refusals),
        cmocka_unit_test(lengths_have_limits),
        cmocka_unit_test(a_password_replaces_what_has_ended),
        cmocka_unit_test(profiles_are_checked),
        cmocka_unit_test(ends_wherever_it_is_stopped),
    };
    return cmocka_run_group_tests(tests, machine_group, NULL);
}
