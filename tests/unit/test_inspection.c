/* What an authority is asked about a token: which endpoint, with which proof, and what its answer must be. */
#include "grant/inspection.h"
#include "json.h"
#include "machine.h"

#define INTROSPECTION "https://login.example.org/introspect"
#define USERINFO      "https://login.example.org/userinfo"
#define ACTIVE        "{\"active\":true,\"sub\":\"alice\"}"

static struct metadata metadata;

static void open(struct machine *m, const char *introspection, const char *userinfo, bool proof)
{
    machine_open(m, &grant_inspection);
    metadata = (struct metadata){.token_endpoint = TEXT(TOKEN_URL),
                                 .introspection_endpoint = TEXT(introspection),
                                 .userinfo_endpoint = TEXT(userinfo),
                                 .basic = true};
    m->input.token = "AT";
    if (proof)
        m->profile.client_secret.kind = SOURCE_ENV;
}

static const char *claim(const struct machine *m, const char *name)
{
    json_object *value = NULL;
    assert_int_equal(m->step.kind, STEP_DONE);
    return json_member(m->step.done.claims, name, &value) == 0 ? json_object_get_string(value) : NULL;
}

static void a_client_with_a_proof_asks_introspection(void **state)
{
    const struct reply list[] = {METADATA_IS(&metadata), SECRET_IS("s"), OK(ACTIVE)};
    struct machine m;
    (void)state;
    open(&m, INTROSPECTION, USERINFO, true);
    machine_run(&m, GRANT_INSPECT, list, 2);
    assert_string_equal(m.url, INTROSPECTION);
    assert_string_equal(m.method, "POST");
    assert_true(machine_sent(&m, "token=AT") && machine_sent(&m, "token_type_hint=access_token"));
    assert_int_equal(strncmp(m.authorization, "Basic ", 6), 0);
    assert_int_equal(machine_answer(&m, list[2]), STEP_DONE);
    assert_string_equal(claim(&m, "sub"), "alice");
    assert_null(m.step.done.tokens);
    machine_torture(&m, GRANT_INSPECT, list, ELEMENTS(list));
    machine_lie(&m, GRANT_INSPECT, list, ELEMENTS(list));
    machine_close(&m);
    assert_int_equal(secret_arena_used(), 0);
}

static void asks_userinfo(struct machine *m, const struct reply *list, size_t count)
{
    machine_run(m, GRANT_INSPECT, list, count - 1);
    assert_string_equal(m->url, USERINFO);
    assert_string_equal(m->method, "GET");
    assert_string_equal(m->authorization, "Bearer AT");
    assert_int_equal(machine_answer(m, list[count - 1]), STEP_DONE);
    assert_string_equal(claim(m, "sub"), "alice");
    machine_torture(m, GRANT_INSPECT, list, count);
}

static void everybody_else_asks_userinfo(void **state)
{
    const struct reply list[] = {METADATA_IS(&metadata), OK("{\"sub\":\"alice\"}")};
    struct machine m;
    (void)state;
    open(&m, INTROSPECTION, USERINFO, false); /* a client without a proof */
    asks_userinfo(&m, list, ELEMENTS(list));
    machine_close(&m);
    open(&m, NULL, USERINFO, true); /* there is no introspection */
    asks_userinfo(&m, list, ELEMENTS(list));
    machine_close(&m);
    open(&m, INTROSPECTION, USERINFO, true); /* one that has a secret for something else */
    m.profile.client_auth = CLIENT_AUTH_NONE;
    asks_userinfo(&m, list, ELEMENTS(list));
    machine_close(&m);
    open(&m, INTROSPECTION, NULL, false); /* without a proof, as a last resort */
    const struct reply last[] = {METADATA_IS(&metadata), OK(ACTIVE)};
    assert_int_equal(machine_run(&m, GRANT_INSPECT, last, ELEMENTS(last)), STEP_DONE);
    assert_string_equal(m.url, INTROSPECTION);
    assert_true(machine_sent(&m, "client_id=me"));
    machine_close(&m);
    assert_int_equal(secret_arena_used(), 0);
}

static void nobody_to_be_asked(void **state)
{
    const struct reply list[] = {METADATA_IS(&metadata)};
    const struct reply gone[] = {NO(STEP_METADATA, -EHOSTUNREACH)};
    struct machine m;
    (void)state;
    open(&m, NULL, NULL, true);
    machine_run(&m, GRANT_INSPECT, list, 1);
    fails(&m, FAILURE_NOT_SUPPORTED, "neither introspection nor userinfo");
    machine_run(&m, GRANT_INSPECT, gone, 1);
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "metadata");
    machine_close(&m);
}

static void a_token_that_userinfo_refuses_is_not_active(void **state)
{
    const struct reply list[] = {METADATA_IS(&metadata), SAYS(401, "{\"error\":\"invalid_token\"}")};
    const struct reply refused[] = {METADATA_IS(&metadata), SAYS(403, "{\"error\":\"insufficient_scope\"}")};
    const struct reply lost[] = {METADATA_IS(&metadata), LOST};
    struct machine m;
    (void)state;
    open(&m, NULL, USERINFO, false);
    machine_run(&m, GRANT_INSPECT, list, ELEMENTS(list));
    assert_string_equal(claim(&m, "active"), "false");
    machine_run(&m, GRANT_INSPECT, refused, ELEMENTS(refused));
    fails(&m, FAILURE_AUTHORITY_REFUSED, "insufficient_scope");
    machine_run(&m, GRANT_INSPECT, lost, ELEMENTS(lost));
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "not connected");
    machine_close(&m);
}

/* To introspection it is the client that was refused. */
static void a_client_that_introspection_refuses(void **state)
{
    const struct reply list[] = {METADATA_IS(&metadata), SECRET_IS("s"), SAYS(401, "{\"error\":\"invalid_client\"}")};
    struct machine m;
    (void)state;
    open(&m, INTROSPECTION, USERINFO, true);
    machine_run(&m, GRANT_INSPECT, list, ELEMENTS(list));
    fails(&m, FAILURE_AUTHORITY_REFUSED, "invalid_client");
    machine_close(&m);
}

/* Wherever it stands, and whatever it stands in. */
static void the_token_is_never_shown(void **state)
{
    static const char *const bodies[] = {
        "{\"active\":true,\"a\":\"b\",\"token\":\"AT\"}",
        "{\"active\":true,\"a\":\"b\",\"token\":\"AT\",\"access_token\":\"AT\"}",
        "{\"active\":true,\"a\":\"b\",\"said\":\"Bearer AT\"}",
        "{\"active\":true,\"a\":\"b\",\"request\":{\"token\":\"AT\",\"x\":[1,{\"y\":\"AT\"}]}}",
        "{\"active\":true,\"a\":\"b\",\"list\":[\"AT\",\"AT\"]}",
        "{\"active\":true,\"a\":\"b\",\"AT\":1}",
        "{\"active\":true,\"a\":\"b\",\"x\":\"\\u0000AT\"}",
    };
    struct machine m;
    (void)state;
    open(&m, INTROSPECTION, NULL, true);
    for (size_t i = 0; i < ELEMENTS(bodies); i++) {
        const struct reply list[] = {METADATA_IS(&metadata), SECRET_IS("s"), OK(bodies[i])};
        machine_run(&m, GRANT_INSPECT, list, ELEMENTS(list));
        assert_string_equal(claim(&m, "a"), "b");
        assert_string_equal(claim(&m, "active"), "true");
        assert_null(strstr(json_object_to_json_string(m.step.done.claims), "AT"));
    }
    machine_close(&m);
}

static void answers_have_a_limit(void **state)
{
    (void)state;
    for (int over = -1; over <= 1; over++) {
        char *body = malloc(LIMIT_INSPECTION + 8);
        assert_non_null(body);
        int fill = LIMIT_INSPECTION + over - 22;
        int length = snprintf(body, LIMIT_INSPECTION + 8, "{\"active\":true,\"a\":\"%0*d\"}", fill, 0);
        assert_int_equal(length, LIMIT_INSPECTION + over);
        const struct reply list[] = {METADATA_IS(&metadata), SECRET_IS("s"), OK(body)};
        struct machine m;
        open(&m, INTROSPECTION, NULL, true);
        machine_run(&m, GRANT_INSPECT, list, ELEMENTS(list));
        if (over > 0)
            fails(&m, FAILURE_AUTHORITY_REFUSED, "too long");
        else
            assert_int_equal(m.step.kind, STEP_DONE);
        machine_close(&m);
        free(body);
    }
}

static void only_inspection_is_its_matter(void **state)
{
    static const enum grant_op ops[] = {GRANT_ACQUIRE, GRANT_LOGIN, GRANT_REVOKE, GRANT_ROTATE};
    struct machine m;
    (void)state;
    open(&m, INTROSPECTION, NULL, true);
    for (size_t i = 0; i <= ELEMENTS(ops); i++) {
        machine_end(&m);
        m.state = calloc(1, m.grant->state_size);
        assert_non_null(m.state);
        if (i == ELEMENTS(ops))
            m.input.token = NULL;
        enum grant_op op = i < ELEMENTS(ops) ? ops[i] : GRANT_INSPECT;
        assert_int_equal(m.grant->start(m.state, op, &m.input, &m.tick, &m.step), -EINVAL);
    }
    machine_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_with_a_proof_asks_introspection),
        cmocka_unit_test(everybody_else_asks_userinfo),
        cmocka_unit_test(nobody_to_be_asked),
        cmocka_unit_test(a_token_that_userinfo_refuses_is_not_active),
        cmocka_unit_test(a_client_that_introspection_refuses),
        cmocka_unit_test(the_token_is_never_shown),
        cmocka_unit_test(answers_have_a_limit),
        cmocka_unit_test(only_inspection_is_its_matter),
    };
    return cmocka_run_group_tests(tests, machine_group, NULL);
}
