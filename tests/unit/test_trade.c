/* One token for another: what token_exchange, jwt_bearer and on_behalf_of send, when they ask the parent again, whom
 * they send for, and how they end wherever they are stopped. */
#include "machine.h"

#define URN             "urn%3Aietf%3Aparams%3Aoauth%3A"
#define TYPE            "urn:ietf:params:oauth:token-type:"
#define PLAIN           "{\"access_token\":\"AT\",\"token_type\":\"Bearer\",\"expires_in\":60,\"refresh_token\":\"RT\"}"
#define OF(type)        "{\"access_token\":\"AT\",\"token_type\":\"Bearer\",\"issued_token_type\":\"" TYPE type "\"}"
#define PARENT_IS(text) ((struct reply){.kind = STEP_PARENT, .body = (text), .person = "boss"})
#define FILE_IS(text)   ((struct reply){.kind = STEP_FILE, .body = (text)})

static struct setting settings[4];

static void set(struct machine *m, const char *key, const char *value)
{
    assert_true(m->profile.setting_count < ELEMENTS(settings));
    settings[m->profile.setting_count++] = (struct setting){TEXT(key), TEXT(value), 1};
}

static void open(struct machine *m, const struct grant *grant)
{
    machine_open(m, grant);
    m->profile.parent = TEXT("me");
    m->profile.settings = settings;
    if (grant == &grant_on_behalf_of)
        m->profile.dialect = DIALECT_ENTRA;
    assert_null(grant == &grant_on_behalf_of ? NULL : grant->check(&m->profile));
}

static const struct grant *const grants[] = {&grant_token_exchange, &grant_jwt_bearer, &grant_on_behalf_of};

static void a_parents_token_is_traded_in(void **state)
{
    static const struct {
        const char *type, *subject, *more;
    } sent[] = {{"grant_type=" URN "grant-type%3Atoken-exchange", "subject_token=P.T",
                 "subject_token_type=" URN "token-type%3Aaccess_token"},
                {"grant_type=" URN "grant-type%3Ajwt-bearer", "assertion=P.T", "client_id=me"},
                {"grant_type=" URN "grant-type%3Ajwt-bearer", "assertion=P.T", "requested_token_use=on_behalf_of"}};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(grants); i++) {
        struct machine m;
        open(&m, grants[i]);
        assert_int_equal(machine_start(&m, GRANT_ACQUIRE), STEP_PARENT);
        assert_false(m.step.parent.refresh);
        assert_int_equal(machine_answer(&m, PARENT_IS("P.T")), STEP_HTTP);
        assert_string_equal(m.url, TOKEN_URL);
        assert_true(machine_sent(&m, sent[i].type) && machine_sent(&m, sent[i].subject) &&
                    machine_sent(&m, sent[i].more));
        assert_false(machine_sent_name(&m, "actor_token") || machine_sent_name(&m, "requested_token_type"));
        assert_int_equal(machine_answer(&m, OK(i == 0 ? OF("jwt") : PLAIN)), STEP_DONE);
        assert_string_equal(m.step.done.tokens->access_token, "AT");
        assert_int_equal(m.step.done.tokens->expires_in_s, i == 0 ? DEFAULT_LIFETIME_S : 60);
        assert_null(m.step.done.tokens->refresh_token); /* the next trade is as good */
        machine_close(&m);
    }
    assert_int_equal(secret_arena_used(), 0);
}

static void types_are_written_whole(void **state)
{
    struct machine m;
    (void)state;
    open(&m, &grant_token_exchange);
    m.profile.parent = NULL;
    m.profile.subject_token_file = TEXT("/run/subject");
    m.profile.actor_token_file = TEXT("/run/actor");
    set(&m, "requested_token_type", "saml2");
    set(&m, "actor_token_type", "https://types.example/a");
    assert_int_equal(machine_start(&m, GRANT_ACQUIRE), STEP_FILE);
    assert_string_equal(m.step.file.path, "/run/subject");
    assert_string_equal(m.step.file.key, "subject_token_file");
    assert_int_equal(machine_answer(&m, FILE_IS("S")), STEP_FILE);
    assert_string_equal(m.step.file.path, "/run/actor");
    assert_string_equal(m.step.file.key, "actor_token_file");
    assert_int_equal(machine_answer(&m, FILE_IS("A&B")), STEP_HTTP);
    assert_true(machine_sent(&m, "subject_token=S"));
    assert_true(machine_sent(&m, "actor_token=A%26B"));
    assert_true(machine_sent(&m, "subject_token_type=" URN "token-type%3Ajwt"));
    assert_true(machine_sent(&m, "requested_token_type=" URN "token-type%3Asaml2"));
    assert_true(machine_sent(&m, "actor_token_type=https%3A%2F%2Ftypes.example%2Fa"));
    machine_close(&m);
}

static void the_authority_says_what_it_issued(void **state)
{
    static const struct {
        const char *wanted, *answer, *words;
    } cases[] = {
        {NULL, OF("access_token"), NULL},
        {NULL, OF("saml2"), NULL},
        {NULL, OF("refresh_token"), "another kind of token"},
        {"access_token", OF("jwt"), NULL},
        {"jwt", OF("access_token"), NULL},
        {TYPE "jwt", OF("jwt"), NULL},
        {"saml2", OF("saml2"), NULL},
        {"saml2", OF("jwt"), "another kind of token"},
        {"id_token", OF("access_token"), "another kind of token"},
        {"saml2", "{\"access_token\":\"AT\",\"token_type\":\"N_A\",\"issued_token_type\":\"" TYPE "saml2\"}", NULL},
        {NULL, PLAIN, "no issued_token_type"},
        {NULL, "{\"access_token\":\"AT\",\"token_type\":\"Bearer\",\"issued_token_type\":\"\"}", "issued_token_type"},
        {NULL, "{\"access_token\":\"AT\",\"token_type\":\"Bearer\",\"issued_token_type\":[]}", "issued_token_type"},
        {NULL, "{\"access_token\":\"AT\",\"token_type\":\"MAC\",\"issued_token_type\":\"a:b\"}", "token_type is MAC"},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        const struct reply list[] = {PARENT_IS("P"), OK(cases[i].answer)};
        struct machine m;
        open(&m, &grant_token_exchange);
        if (cases[i].wanted)
            set(&m, "requested_token_type", cases[i].wanted);
        machine_run(&m, GRANT_ACQUIRE, list, ELEMENTS(list));
        if (cases[i].words)
            fails(&m, FAILURE_AUTHORITY_REFUSED, cases[i].words);
        else
            assert_int_equal(m.step.kind, STEP_DONE);
        machine_close(&m);
    }
}

/* ---- the parent, once more ---- */

static void a_refused_token_is_asked_for_anew_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < ELEMENTS(grants); i++) {
        struct machine m;
        open(&m, grants[i]);
        const struct reply fresh[] = {PARENT_IS("P1"), ERROR("invalid_grant"), PARENT_IS("P2"),
                                      OK(i == 0 ? OF("jwt") : PLAIN)};
        machine_run(&m, GRANT_ACQUIRE, fresh, 2);
        assert_int_equal(m.step.kind, STEP_PARENT);
        assert_true(m.step.parent.refresh);
        assert_int_equal(machine_answer(&m, fresh[2]), STEP_HTTP);
        assert_true(machine_sent(&m, i == 0 ? "subject_token=P2" : "assertion=P2"));
        assert_int_equal(machine_answer(&m, fresh[3]), STEP_DONE);
        const struct reply same[] = {PARENT_IS("P1"), ERROR("invalid_grant"), PARENT_IS("P1")};
        m.requests = 0;
        machine_run(&m, GRANT_ACQUIRE, same, ELEMENTS(same));
        fails(&m, FAILURE_AUTHORITY_REFUSED, "invalid_grant");
        assert_int_equal(m.requests, 1);
        const struct reply again[] = {PARENT_IS("P1"), ERROR("invalid_grant"), PARENT_IS("P2"), ERROR("invalid_grant")};
        machine_run(&m, GRANT_ACQUIRE, again, ELEMENTS(again));
        fails(&m, FAILURE_AUTHORITY_REFUSED, "invalid_grant");
        machine_close(&m);
    }
}

static void what_no_new_token_would_mend(void **state)
{
    static const struct {
        struct reply reply;
        enum failure_kind kind;
        const char *words;
    } cases[] = {
        {ERROR("invalid_client"), FAILURE_AUTHORITY_REFUSED, "invalid_client"},
        {ERROR("invalid_target"), FAILURE_AUTHORITY_REFUSED, "invalid_target"},
        {ERROR("unauthorized_client"), FAILURE_AUTHORITY_REFUSED, "unauthorized_client"},
        {ERROR("unsupported_grant_type"), FAILURE_AUTHORITY_REFUSED, "unsupported_grant_type"},
        {SAYS(401, "{\"error\":\"invalid_client\"}"), FAILURE_AUTHORITY_REFUSED, "invalid_client"},
        {SAYS(429, "slow down"), FAILURE_AUTHORITY_UNREACHABLE, "429"},
        {SAYS(503, ""), FAILURE_AUTHORITY_UNREACHABLE, "503"},
        {LOST, FAILURE_AUTHORITY_UNREACHABLE, "not connected"},
        {UNSENT, FAILURE_AUTHORITY_UNREACHABLE, "refused"},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(grants) * ELEMENTS(cases); i++) {
        size_t n = i % ELEMENTS(cases);
        const struct reply list[] = {PARENT_IS("P"), cases[n].reply};
        struct machine m;
        open(&m, grants[i / ELEMENTS(cases)]);
        machine_run(&m, GRANT_ACQUIRE, list, ELEMENTS(list));
        fails(&m, cases[n].kind, cases[n].words);
        assert_int_equal(m.requests, 1);
        machine_close(&m);
    }
    /* RFC 8693 section 2.2.2 says invalid_request of the subject's token; elsewhere it is what we sent */
    for (size_t i = 0; i < ELEMENTS(grants); i++) {
        const struct reply list[] = {PARENT_IS("P"), ERROR("invalid_request")};
        struct machine m;
        open(&m, grants[i]);
        assert_int_equal(machine_run(&m, GRANT_ACQUIRE, list, 2), i == 0 ? STEP_PARENT : STEP_FAIL);
        machine_close(&m);
    }
}

static void a_token_in_a_file_is_not_read_twice(void **state)
{
    const struct reply list[] = {FILE_IS("S"), ERROR("invalid_grant")};
    const struct reply gone[] = {NO(STEP_FILE, -ENOENT)};
    struct machine m;
    (void)state;
    open(&m, &grant_jwt_bearer);
    m.profile.parent = NULL;
    m.profile.subject_token_file = TEXT("/run/subject");
    machine_run(&m, GRANT_ACQUIRE, list, ELEMENTS(list));
    fails(&m, FAILURE_AUTHORITY_REFUSED, "invalid_grant");
    machine_run(&m, GRANT_ACQUIRE, gone, 1);
    fails(&m, FAILURE_SECRET_MISSING, "the token to be traded in: No such file");
    machine_close(&m);
}

static void a_parent_that_cannot(void **state)
{
    struct failure why;
    failure_set(&why, FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE, "parent me: nobody is signed in");
    const struct reply list[] = {{.kind = STEP_PARENT, .error = -EACCES, .why = &why}};
    const struct reply later[] = {PARENT_IS("P"), ERROR("invalid_grant"), list[0]};
    struct machine m;
    (void)state;
    open(&m, &grant_jwt_bearer);
    machine_run(&m, GRANT_ACQUIRE, list, 1);
    fails(&m, FAILURE_LOGIN_REQUIRED, "parent me: nobody is signed in");
    machine_run(&m, GRANT_ACQUIRE, later, ELEMENTS(later));
    fails(&m, FAILURE_LOGIN_REQUIRED, "parent me: nobody is signed in");
    machine_close(&m);
}

/* ---- a person ---- */

static void the_person_of_the_parent_is_sent_for(void **state)
{
    static const struct {
        const char *answer;
        bool person;
        const char *claims;
    } cases[] = {
        {"{\"error\":\"interaction_required\",\"claims\":\"{\\\"a\\\":1}\"}", true, "{\"a\":1}"},
        {"{\"error\":\"interaction_required\"}", true, ""},
        {"{\"error\":\"consent_required\"}", true, ""},
        {"{\"error\":\"login_required\"}", true, ""},
        {"{\"error\":\"invalid_grant\",\"suberror\":\"basic_action\"}", true, ""},
        {"{\"error\":\"invalid_grant\",\"suberror\":\"additional_action\"}", true, ""},
        {"{\"error\":\"invalid_grant\",\"suberror\":\"consent_required\"}", true, ""},
        {"{\"error\":\"invalid_grant\",\"suberror\":\"user_password_expired\"}", true, ""},
        {"{\"error\":\"interaction_required\",\"claims\":\"{\"}", true, ""},
        {"{\"error\":\"interaction_required\",\"claims\":\"[1]\"}", true, ""},
        {"{\"error\":\"interaction_required\",\"claims\":{\"a\":1}}", true, ""},
        {"{\"error\":\"interaction_required\",\"claims\":\"{\\\"a\\\\u0000\\\":1}\"}", true, ""},
        {"{\"error\":\"invalid_grant\",\"suberror\":\"bad_token\"}", false, ""},
        {"{\"error\":\"invalid_scope\",\"suberror\":\"basic_action\"}", false, ""},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        const struct reply list[] = {PARENT_IS("P"), SAYS(400, cases[i].answer)};
        const struct reply same[] = {PARENT_IS("P")};
        struct machine m;
        open(&m, &grant_on_behalf_of);
        machine_run(&m, GRANT_ACQUIRE, list, ELEMENTS(list));
        machine_drain(&m, same, 1, 0);
        if (!cases[i].person) {
            assert_string_equal(failure_name(m.step.fail.kind), "AuthorityRefused");
        } else {
            fails(&m, FAILURE_LOGIN_REQUIRED, "parent me: ");
            assert_string_equal(m.step.fail.profile, "boss");
            assert_string_equal(m.step.fail.claims, cases[i].claims);
        }
        machine_close(&m);
    }
}

static void nobody_to_be_sent_for(void **state)
{
    const struct reply list[] = {{.kind = STEP_PARENT, .body = "P"},
                                 SAYS(400, "{\"error\":\"interaction_required\",\"claims\":\"{}\"}")};
    struct machine m;
    (void)state;
    open(&m, &grant_on_behalf_of);
    machine_run(&m, GRANT_ACQUIRE, list, ELEMENTS(list));
    assert_int_equal(m.step.kind, STEP_FAIL);
    assert_string_equal(m.step.fail.profile, "");
    assert_int_not_equal(m.step.fail.kind, FAILURE_LOGIN_REQUIRED);
    machine_close(&m);
}

static void claims_have_a_limit(void **state)
{
    (void)state;
    for (int over = -1; over <= 1; over++) {
        char claims[LIMIT_CHALLENGE + 8], answer[2 * LIMIT_CHALLENGE];
        int fill = LIMIT_CHALLENGE + over - 8;
        (void)snprintf(claims, sizeof(claims), "{\\\"a\\\":\\\"%0*d\\\"}", fill, 0);
        (void)snprintf(answer, sizeof(answer), "{\"error\":\"interaction_required\",\"claims\":\"%s\"}", claims);
        const struct reply list[] = {PARENT_IS("P"), SAYS(400, answer)};
        struct machine m;
        open(&m, &grant_on_behalf_of);
        machine_run(&m, GRANT_ACQUIRE, list, ELEMENTS(list));
        fails(&m, FAILURE_LOGIN_REQUIRED, "parent me");
        assert_int_equal(strlen(m.step.fail.claims), over > 0 ? 0 : LIMIT_CHALLENGE + over);
        machine_close(&m);
    }
}

/* ---- and so on ---- */

static void less_than_was_asked_for(void **state)
{
    char *scopes[] = {TEXT("a"), TEXT("b"), NULL};
    const struct reply list[] = {
        PARENT_IS("P"), OK("{\"access_token\":\"AT\",\"token_type\":\"Bearer\",\"expires_in\":60,\"scope\":\"a\"}")};
    const struct reply refused[] = {PARENT_IS("P"), ERROR("invalid_scope")};
    struct machine m;
    (void)state;
    open(&m, &grant_jwt_bearer);
    m.profile.scopes = scopes;
    machine_run(&m, GRANT_ACQUIRE, list, 1);
    assert_true(machine_sent(&m, "scope=a%20b") || machine_sent(&m, "scope=a+b"));
    machine_answer(&m, list[1]);
    fails(&m, FAILURE_AUTHORITY_REFUSED, "without the scope b");
    machine_run(&m, GRANT_ACQUIRE, refused, ELEMENTS(refused));
    fails(&m, FAILURE_AUTHORITY_REFUSED, "\"a b\"");
    machine_close(&m);
}

static void refuses(const struct grant *grant, struct profile *profile, const char *words)
{
    const char *said = grant->check(profile);
    assert_non_null(said);
    if (!strstr(said, words))
        fail_msg("\"%s\" lacks \"%s\"", said, words);
}

static void profiles_are_checked(void **state)
{
    struct machine m;
    (void)state;
    for (size_t i = 0; i < ELEMENTS(grants); i++) {
        open(&m, grants[i]);
        m.profile.client_secret.kind = SOURCE_STORED;
        assert_null(grants[i]->check(&m.profile));
        m.profile.subject_token_file = TEXT("/run/s");
        refuses(grants[i], &m.profile, "drop one");
        m.profile.parent = NULL;
        assert_null(grants[i]->check(&m.profile));
        m.profile.subject_token_file = NULL;
        refuses(grants[i], &m.profile, "needs parent");
        m.profile.parent = TEXT("me");
        m.profile.actor_token_file = TEXT("/run/a");
        if (i > 0)
            refuses(grants[i], &m.profile, "token_exchange alone");
        else
            assert_null(grants[i]->check(&m.profile));
    }
    open(&m, &grant_on_behalf_of);
    refuses(m.grant, &m.profile, "confidential");
    m.profile.client_secret.kind = SOURCE_STORED;
    m.profile.client_auth = CLIENT_AUTH_NONE;
    refuses(m.grant, &m.profile, "must prove");
    m.profile.dialect = DIALECT_OIDC;
    refuses(m.grant, &m.profile, "Entra's own");
    open(&m, &grant_token_exchange);
    set(&m, "actor_token_type", "jwt");
    refuses(m.grant, &m.profile, "without actor_token_file");
    open(&m, &grant_token_exchange);
    set(&m, "requested_token_type", TYPE "refresh_token");
    refuses(m.grant, &m.profile, "handed to nobody");
}

static void types_are_checked(void **state)
{
    static const char *const good[] = {"jwt", "saml1", TYPE "jwt", "a:b"};
    static const char *const bad[] = {"", "JWT", "token", "a b:c", "a:\x7f", "a:\xc3\xa9", "a:\n"};
    const struct key *key = grant_token_exchange.keys;
    char *longest = calloc(1, LIMIT_URL + 2);
    (void)state;
    assert_non_null(longest);
    for (size_t i = 0; i < ELEMENTS(good); i++)
        assert_null(key->check(good[i]));
    for (size_t i = 0; i < ELEMENTS(bad); i++)
        assert_non_null(key->check(bad[i]));
    memset(longest, ':', LIMIT_URL);
    assert_null(key->check(longest));
    longest[LIMIT_URL] = ':';
    assert_non_null(key->check(longest));
    free(longest);
}

static void ends_wherever_it_is_stopped(void **state)
{
    struct metadata metadata = {.token_endpoint = TEXT(TOKEN_URL), .basic = true};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(grants); i++) {
        const struct reply parent[] = {PARENT_IS("P1"),        METADATA_IS(&metadata), SECRET_IS("s"),
                                       ERROR("invalid_grant"), PARENT_IS("P2"),        OK(i == 0 ? OF("jwt") : PLAIN)};
        const struct reply files[] = {FILE_IS("S"), FILE_IS("A"), METADATA_IS(&metadata), SECRET_IS("s"),
                                      OK(OF("jwt"))};
        struct machine m;
        open(&m, grants[i]);
        m.profile.token_endpoint = NULL;
        m.profile.client_secret.kind = SOURCE_ENV;
        machine_torture(&m, GRANT_ACQUIRE, parent, ELEMENTS(parent));
        machine_lie(&m, GRANT_ACQUIRE, parent, ELEMENTS(parent));
        m.profile.parent = NULL;
        m.profile.subject_token_file = m.profile.actor_token_file = TEXT("/run/t");
        if (i == 0)
            machine_torture(&m, GRANT_ACQUIRE, files, ELEMENTS(files));
        machine_close(&m);
    }
    assert_int_equal(secret_arena_used(), 0);
}

static void other_operations_are_nobodys(void **state)
{
    static const enum grant_op ops[] = {GRANT_LOGIN, GRANT_REVOKE, GRANT_ROTATE, GRANT_INSPECT};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(grants) * ELEMENTS(ops); i++) {
        struct machine m;
        open(&m, grants[i / ELEMENTS(ops)]);
        m.state = calloc(1, m.grant->state_size);
        assert_non_null(m.state);
        assert_int_equal(m.grant->start(m.state, ops[i % ELEMENTS(ops)], &m.input, &m.tick, &m.step), -EINVAL);
        machine_close(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_parents_token_is_traded_in),
        cmocka_unit_test(types_are_written_whole),
        cmocka_unit_test(the_authority_says_what_it_issued),
        cmocka_unit_test(a_refused_token_is_asked_for_anew_once),
        cmocka_unit_test(what_no_new_token_would_mend),
        cmocka_unit_test(a_token_in_a_file_is_not_read_twice),
        cmocka_unit_test(a_parent_that_cannot),
        cmocka_unit_test(the_person_of_the_parent_is_sent_for),
        cmocka_unit_test(nobody_to_be_sent_for),
        cmocka_unit_test(claims_have_a_limit),
        cmocka_unit_test(less_than_was_asked_for),
        cmocka_unit_test(profiles_are_checked),
        cmocka_unit_test(types_are_checked),
        cmocka_unit_test(ends_wherever_it_is_stopped),
        cmocka_unit_test(other_operations_are_nobodys),
    };
    return cmocka_run_group_tests(tests, machine_group, NULL);
}
