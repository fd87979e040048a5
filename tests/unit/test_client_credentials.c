/* The client credentials grant, and the exchange that every grant is made of. */
#include "machine.h"

#define TOKENS "{\"access_token\":\"AT\",\"token_type\":\"bearer\",\"expires_in\":3600}"

static void open(struct machine *m)
{
    machine_open(m, &grant_client_credentials);
    m->profile.client_secret.kind = SOURCE_ENV;
}

static void done(const struct machine *m, const char *token, int64_t life)
{
    assert_int_equal(m->step.kind, STEP_DONE);
    assert_string_equal(m->step.done.tokens->access_token, token);
    assert_string_equal(m->step.done.tokens->type, "Bearer");
    assert_int_equal(m->step.done.tokens->expires_in_s, life);
}

static void uses_basic_without_metadata(void **state)
{
    struct machine m;
    (void)state;
    open(&m);
    char *scopes[] = {TEXT("a"), TEXT("b/.default"), NULL};
    m.profile.scopes = scopes;
    m.profile.client_id = TEXT("me & you");
    assert_int_equal(machine_start(&m, GRANT_ACQUIRE), STEP_SECRET);
    assert_string_equal(m.step.secret, "client_secret");
    assert_int_equal(machine_answer(&m, SECRET_IS("s:e c")), STEP_HTTP);
    assert_string_equal(m.url, TOKEN_URL);
    assert_string_equal(m.body, "grant_type=client_credentials&scope=a+b%2F.default");
    assert_string_equal(m.authorization, "Basic bWUrJTI2K3lvdTpzJTNBZStj"); /* me+%26+you:s%3Ae+c */
    machine_answer(&m, OK(TOKENS));
    done(&m, "AT", 3600);
    machine_close(&m);
}

static void chooses_how_to_prove_itself(void **state)
{
    enum { NO_METADATA = -1, BASIC = 1, POST = 2 };
    static const struct {
        enum client_auth configured;
        enum dialect dialect;
        int offered;
        enum client_auth expected;
    } cases[] = {
        {CLIENT_AUTH_DEFAULT, DIALECT_OIDC, NO_METADATA, CLIENT_AUTH_BASIC},
        {CLIENT_AUTH_DEFAULT, DIALECT_OIDC, BASIC, CLIENT_AUTH_BASIC},
        {CLIENT_AUTH_DEFAULT, DIALECT_OIDC, POST, CLIENT_AUTH_POST},
        {CLIENT_AUTH_DEFAULT, DIALECT_OIDC, BASIC | POST, CLIENT_AUTH_BASIC},
        {CLIENT_AUTH_DEFAULT, DIALECT_OIDC, 0, CLIENT_AUTH_BASIC},
        {CLIENT_AUTH_DEFAULT, DIALECT_ENTRA, NO_METADATA, CLIENT_AUTH_POST},
        {CLIENT_AUTH_DEFAULT, DIALECT_ENTRA, BASIC | POST, CLIENT_AUTH_POST},
        {CLIENT_AUTH_BASIC, DIALECT_ENTRA, POST, CLIENT_AUTH_BASIC},
        {CLIENT_AUTH_POST, DIALECT_OIDC, BASIC, CLIENT_AUTH_POST},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct machine m;
        open(&m);
        m.profile.client_auth = cases[i].configured;
        m.profile.dialect = cases[i].dialect;
        if (cases[i].offered != NO_METADATA)
            m.profile.token_endpoint = NULL;
        machine_start(&m, GRANT_ACQUIRE);
        if (cases[i].offered != NO_METADATA) {
            /* freed at once: the machine must have copied what it needs */
            struct metadata *metadata = calloc(1, sizeof(*metadata));
            assert_non_null(metadata);
            metadata->token_endpoint = strdup("https://login.example.org/other");
            metadata->basic = cases[i].offered & BASIC;
            metadata->post = cases[i].offered & POST;
            machine_answer(&m, METADATA_IS(metadata));
            metadata_free(metadata);
        }
        machine_answer(&m, SECRET_IS("s"));
        assert_int_equal(m.step.kind, STEP_HTTP);
        assert_string_equal(m.url, cases[i].offered == NO_METADATA ? TOKEN_URL : "https://login.example.org/other");
        bool post = cases[i].expected == CLIENT_AUTH_POST;
        assert_int_equal(machine_sent(&m, "client_secret=s"), post);
        assert_int_equal(machine_sent(&m, "client_id=me"), post);
        assert_int_equal(m.authorization[0] != '\0', !post);
        machine_close(&m);
    }
}

static void says_what_the_token_is_for(void **state)
{
    static const struct {
        enum dialect dialect;
        const char *resource, *scope, *expected;
    } cases[] = {
        {DIALECT_OIDC, "https://api", "s",
         "grant_type=client_credentials&scope=s&resource=https%3A%2F%2Fapi&audience=aud&claims=%7B%7D"},
        {DIALECT_OIDC, NULL, NULL, "grant_type=client_credentials&audience=aud&claims=%7B%7D"},
        {DIALECT_ENTRA, "https://api", NULL,
         "grant_type=client_credentials&scope=https%3A%2F%2Fapi%2F.default&audience=aud&claims=%7B%7D"},
        {DIALECT_ENTRA_V1, "guid", "s", "grant_type=client_credentials&resource=guid&audience=aud&claims=%7B%7D"},
        {DIALECT_ENTRA_V1, NULL, "https://api/.default",
         "grant_type=client_credentials&resource=https%3A%2F%2Fapi&audience=aud&claims=%7B%7D"},
        {DIALECT_ENTRA_V1, NULL, "/.default", "grant_type=client_credentials&audience=aud&claims=%7B%7D"},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct machine m;
        open(&m);
        char *scopes[] = {TEXT(cases[i].scope), NULL};
        m.profile.dialect = cases[i].dialect;
        m.profile.client_auth = CLIENT_AUTH_BASIC;
        m.asked.resource = TEXT(cases[i].resource);
        m.asked.audience = TEXT("aud");
        m.asked.claims = TEXT("{}");
        m.asked.scopes = cases[i].scope ? scopes : NULL;
        machine_run(&m, GRANT_ACQUIRE, (struct reply[]){SECRET_IS("s")}, 1);
        assert_string_equal(m.body, cases[i].expected);
        machine_close(&m);
    }
}

static void finds_entra_v1_by_its_paths(void **state)
{
    static const char *const authorities[] = {"https://login.microsoftonline.com/t",
                                              "https://login.microsoftonline.com/t/",
                                              "https://login.microsoftonline.com/t/v2.0"};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(authorities); i++) {
        struct machine m;
        open(&m);
        m.profile.dialect = DIALECT_ENTRA_V1;
        m.profile.token_endpoint = NULL;
        m.profile.authority = TEXT(authorities[i]);
        machine_run(&m, GRANT_ACQUIRE, (struct reply[]){SECRET_IS("s")}, 1);
        assert_string_equal(m.url, "https://login.microsoftonline.com/t/oauth2/token");
        machine_answer(&m, OK("{\"access_token\":\"AT\",\"token_type\":\"Bearer\",\"expires_in\":\"3599\"}"));
        done(&m, "AT", 3599);
        machine_close(&m);
    }
}

static void reports_what_failed_before_the_request(void **state)
{
    struct machine m;
    struct metadata nothing = {.basic = true};
    (void)state;
    open(&m);
    machine_start(&m, GRANT_ACQUIRE);
    machine_answer(&m, NO(STEP_SECRET, -ENOENT));
    fails(&m, FAILURE_SECRET_MISSING, "client_secret");
    assert_string_equal(m.step.fail.name, "client_secret");
    machine_start(&m, GRANT_ACQUIRE);
    machine_answer(&m, SECRET_IS(""));
    fails(&m, FAILURE_SECRET_MISSING, "empty");
    assert_string_equal(m.step.fail.name, "client_secret");
    m.profile.token_endpoint = NULL;
    machine_start(&m, GRANT_ACQUIRE);
    machine_answer(&m, NO(STEP_METADATA, -EIO));
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "metadata");
    machine_start(&m, GRANT_ACQUIRE);
    machine_answer(&m, METADATA_IS(&nothing));
    fails(&m, FAILURE_INVALID_CONFIGURATION, "name no token_endpoint");
    m.profile.authority = NULL;
    machine_start(&m, GRANT_ACQUIRE);
    fails(&m, FAILURE_INVALID_CONFIGURATION, "neither token_endpoint nor authority");
    machine_close(&m);
}

static void passes_on_what_the_runner_says(void **state)
{
    struct machine m;
    struct answer answer = {.error = -EACCES};
    (void)state;
    open(&m);
    failure_set(&answer.why, FAILURE_SECRET_MISSING, CLASS_DEFINITE, "FILE is readable by others");
    machine_start(&m, GRANT_ACQUIRE);
    assert_int_equal(m.grant->next(m.state, &answer, &m.tick, &m.step), 0);
    fails(&m, FAILURE_SECRET_MISSING, "FILE is readable by others");
    assert_string_equal(m.step.fail.name, "client_secret");
    /* an answer that nobody asked for is the runner's fault, and is said as one */
    answer.error = 0;
    assert_int_equal(m.grant->next(m.state, &answer, &m.tick, &m.step), -EINVAL);
    machine_close(&m);
}

static void bounds_the_secret(void **state)
{
    (void)state;
    for (int more = -1; more <= 1; more++) {
        struct machine m;
        open(&m);
        char *secret = calloc(1, LIMIT_SECRET + 2);
        assert_non_null(secret);
        for (int i = 0; i < LIMIT_SECRET + more; i++)
            secret[i] = 'x';
        machine_start(&m, GRANT_ACQUIRE);
        struct answer answer = {.body = span_of(secret)};
        assert_int_equal(m.grant->next(m.state, &answer, &m.tick, &m.step), 0);
        if (more > 0)
            fails(&m, FAILURE_SECRET_MISSING, "too long");
        else
            assert_int_equal(m.step.kind, STEP_HTTP);
        free(secret);
        machine_close(&m);
    }
}

static void reports_the_authority(void **state)
{
    struct machine m;
    char *scopes[] = {TEXT("api"), NULL};
    (void)state;
    open(&m);
    m.profile.scopes = scopes;
    machine_run(&m, GRANT_ACQUIRE, (struct reply[]){SECRET_IS("s"), ERROR("invalid_client")}, 2);
    fails(&m, FAILURE_AUTHORITY_REFUSED, "invalid_client");
    /* nobody can sign in for a client */
    machine_run(&m, GRANT_ACQUIRE, (struct reply[]){SECRET_IS("s"), ERROR("invalid_grant")}, 2);
    fails(&m, FAILURE_AUTHORITY_REFUSED, "invalid_grant");
    machine_run(&m, GRANT_ACQUIRE, (struct reply[]){SECRET_IS("s"), ERROR("access_denied")}, 2);
    fails(&m, FAILURE_AUTHORITY_REFUSED, "access_denied");
    machine_run(&m, GRANT_ACQUIRE, (struct reply[]){SECRET_IS("s"), ERROR("slow_down")}, 2);
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "slow_down");
    assert_int_equal(m.step.fail.class, CLASS_THROTTLED);
    machine_run(&m, GRANT_ACQUIRE, (struct reply[]){SECRET_IS("s"), ERROR("invalid_scope")}, 2);
    fails(&m, FAILURE_AUTHORITY_REFUSED, "scope \"api\"");
    assert_non_null(strstr(m.step.fail.description, "api"));
    machine_run(&m, GRANT_ACQUIRE, (struct reply[]){SECRET_IS("s"), LOST}, 2);
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "login.example.org");
    machine_close(&m);
}

static void holds_the_authority_to_the_scope(void **state)
{
    static const struct {
        const char *granted;
        enum dialect dialect;
        enum step_kind expected;
    } cases[] = {
        {"\"scope\":\"a b\",", DIALECT_OIDC, STEP_DONE},
        {"\"scope\":\"b c a\",", DIALECT_OIDC, STEP_DONE},
        {"\"scope\":\"a,b\",", DIALECT_OIDC, STEP_DONE},
        {"\"scope\":[\"b\",\"a\"],", DIALECT_OIDC, STEP_DONE},
        {"", DIALECT_OIDC, STEP_DONE},
        {"\"scope\":null,", DIALECT_OIDC, STEP_DONE},
        {"\"scope\":\"a\",", DIALECT_OIDC, STEP_FAIL},
        {"\"scope\":\"\",", DIALECT_OIDC, STEP_FAIL},
        {"\"scope\":\"a bc\",", DIALECT_OIDC, STEP_FAIL},
        {"\"scope\":\"a cb\",", DIALECT_OIDC, STEP_FAIL},
        {"\"scope\":\"A B\",", DIALECT_OIDC, STEP_FAIL},
        {"\"scope\":\"a\",", DIALECT_ENTRA, STEP_DONE},
        {"\"scope\":[\"a\"],", DIALECT_OIDC, STEP_FAIL},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct machine m;
        char *scopes[] = {TEXT("a"), TEXT("b"), TEXT("offline_access"), TEXT("openid"), NULL};
        char body[256];
        open(&m);
        m.profile.scopes = scopes;
        m.profile.dialect = cases[i].dialect;
        (void)snprintf(body, sizeof(body), "{%s\"access_token\":\"AT\",\"token_type\":\"Bearer\"}", cases[i].granted);
        machine_run(&m, GRANT_ACQUIRE, (struct reply[]){SECRET_IS("s"), OK(body)}, 2);
        assert_int_equal(m.step.kind, cases[i].expected);
        if (cases[i].expected == STEP_FAIL) {
            fails(&m, FAILURE_AUTHORITY_REFUSED, "without the scope");
            assert_string_equal(m.step.fail.error, "invalid_scope");
        }
        machine_close(&m);
    }
}

static void gives_a_token_of_unknown_life_a_short_one(void **state)
{
    struct machine m;
    (void)state;
    open(&m);
    const char *body = "{\"access_token\":\"AT\",\"token_type\":\"Bearer\",\"refresh_token\":\"unasked\"}";
    machine_run(&m, GRANT_ACQUIRE, (struct reply[]){SECRET_IS("s"), OK(body)}, 2);
    done(&m, "AT", DEFAULT_LIFETIME_S);
    assert_null(m.step.done.tokens->refresh_token);
    assert_int_equal(m.kept.count, 0);
    machine_close(&m);
}

static void checks_profiles(void **state)
{
    struct profile profile = {.authority = TEXT("https://h"), .client_secret = {.kind = SOURCE_ENV}};
    const struct grant *grant = &grant_client_credentials;
    (void)state;
    assert_null(grant->check(&profile));
    profile.client_auth = CLIENT_AUTH_NONE;
    assert_non_null(grant->check(&profile));
    profile.client_auth = CLIENT_AUTH_POST;
    assert_null(grant->check(&profile));
    profile.client_secret.kind = SOURCE_NONE;
    assert_non_null(grant->check(&profile));
    profile = (struct profile){.token_endpoint = TEXT("https://h/t"), .client_secret = {.kind = SOURCE_ENV}};
    assert_null(grant->check(&profile));
    profile.token_endpoint = NULL;
    assert_non_null(grant->check(&profile));
}

static void survives_every_fault(void **state)
{
    struct machine m;
    struct metadata metadata = {.token_endpoint = TEXT(TOKEN_URL), .basic = true};
    const struct reply replies[] = {METADATA_IS(&metadata), SECRET_IS("s"), OK(TOKENS)};
    (void)state;
    open(&m);
    m.profile.token_endpoint = NULL;
    machine_torture(&m, GRANT_ACQUIRE, replies, ELEMENTS(replies));
    machine_close(&m);
    struct step step;
    void *zeroed = calloc(1, m.grant->state_size);
    assert_non_null(zeroed);
    assert_int_equal(m.grant->start(zeroed, GRANT_LOGIN, &m.input, &m.tick, &step), -EINVAL);
    m.grant->end(zeroed);
    free(zeroed);
    assert_int_equal(secret_arena_used(), 0);
}

static void knows_its_grants(void **state)
{
    size_t count = 0;
    (void)state;
    const char *const *names = grant_names(&count);
    assert_true(count >= 2);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(grant_find(names[i])->name, names[i]);
    assert_null(grant_find("passwords"));
    assert_null(grant_find(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uses_basic_without_metadata),
        cmocka_unit_test(chooses_how_to_prove_itself),
        cmocka_unit_test(says_what_the_token_is_for),
        cmocka_unit_test(finds_entra_v1_by_its_paths),
        cmocka_unit_test(reports_what_failed_before_the_request),
        cmocka_unit_test(passes_on_what_the_runner_says),
        cmocka_unit_test(bounds_the_secret),
        cmocka_unit_test(reports_the_authority),
        cmocka_unit_test(holds_the_authority_to_the_scope),
        cmocka_unit_test(gives_a_token_of_unknown_life_a_short_one),
        cmocka_unit_test(checks_profiles),
        cmocka_unit_test(survives_every_fault),
        cmocka_unit_test(knows_its_grants),
    };
    return cmocka_run_group_tests(tests, machine_group, NULL);
}
