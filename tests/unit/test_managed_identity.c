/* A managed identity's machine: whom it asks, when it asks again, and how it ends wherever it is stopped. */
#include "grant/variables.h"
#include "machine.h"

#define TOKENS                                                                                                         \
    "{\"access_token\":\"AT\",\"token_type\":\"Bearer\",\"expires_in\":\"86400\",\"refresh_token\":\"\","              \
    "\"client_id\":\"11111111-2222-3333-4444-555555555555\"}"
#define NOBODY    "{\"error\":\"invalid_request\",\"error_description\":\"Identity not found\"}"
#define FOLDER    "/var/opt/azcmagent/tokens/"
#define CHALLENGE "WWW-Authenticate: Basic realm=" FOLDER "a.key\r\n"
#define FILE_IS(text)                                                                                                  \
    (struct reply)                                                                                                     \
    {                                                                                                                  \
        .kind = STEP_READ, .body = (text)                                                                              \
    }
#define CHALLENGED ((struct reply){.kind = STEP_HTTP, .status = 401, .headers = CHALLENGE})

static struct setting settings[2];

static const struct variable {
    const char *name, *value;
} * variables;

/* Only those are there: the agent's first program takes no others along. */
static bool is_taken_along(const char *name)
{
    const struct grant_variables *one = grant_variables;
    while (one->grant && strcmp(one->grant, grant_managed_identity.name) != 0)
        one++;
    for (size_t i = 0; one->grant && one->names[i]; i++)
        if (strcmp(one->names[i], name) == 0)
            return true;
    return false;
}

static struct span environment(const char *name)
{
    assert_true(is_taken_along(name));
    for (const struct variable *one = variables; one && one->name; one++)
        if (strcmp(one->name, name) == 0)
            return span_of(one->value);
    return strcmp(name, "IDENTITY_ENDPOINT") == 0 ? span_of("") : (struct span){0};
}

static const struct variable nothing[] = {{0}};
static const struct variable app[] = {
    {"IDENTITY_ENDPOINT", "http://127.0.0.1:8081/msi/token"}, {"IDENTITY_HEADER", "H"}, {0}};
static const struct variable fabric[] = {{"IDENTITY_ENDPOINT", "https://10.0.0.4:2377/token"},
                                         {"IDENTITY_HEADER", "H"},
                                         {"IDENTITY_SERVER_THUMBPRINT", "0123456789012345678901234567890123456789"},
                                         {0}};
static const struct variable arc[] = {
    {"IDENTITY_ENDPOINT", "http://localhost:40342/token"}, {"IMDS_ENDPOINT", "http://localhost:40342"}, {0}};

static void open(struct machine *m, const struct variable *there, const char *source)
{
    machine_open(m, &grant_managed_identity);
    m->profile.authority = m->profile.token_endpoint = m->profile.client_id = NULL;
    m->profile.resource = TEXT("https://r.example");
    m->input.environment = environment;
    variables = there;
    settings[0] = (struct setting){TEXT("source"), TEXT(source), 1};
    m->profile.settings = settings;
    m->profile.setting_count = source ? 1 : 0;
}

/* The same answer again and again: how often it was asked, and how long that took. */
static void insists(struct machine *m, struct reply reply, int requests, int64_t ms)
{
    int64_t start = m->tick.boot_ms;
    m->requests = 0;
    machine_start(m, GRANT_ACQUIRE);
    while (m->step.kind != STEP_FAIL && m->step.kind != STEP_DONE) {
        assert_true(m->requests < 100);
        machine_answer(m, m->step.kind == STEP_WAIT ? YES(STEP_WAIT) : reply);
    }
    assert_int_equal(m->step.kind, STEP_FAIL);
    assert_int_equal(m->requests, requests);
    assert_int_equal(m->tick.boot_ms - start, ms);
    machine_end(m);
}

static void asks_again_by_each_platforms_rules(void **state)
{
    struct machine m;
    (void)state;
    open(&m, nothing, "imds");
    insists(&m, SAYS(404, ""), 5, 15000);
    insists(&m, SAYS(429, ""), 5, 15000);
    insists(&m, SAYS(500, "{}"), 5, 15000);
    insists(&m, LOST, 5, 15000);
    insists(&m, SAYS(410, ""), 3, 20000); /* as far as a call goes */
    insists(&m, SAYS(400, NOBODY), 1, 0);
    insists(&m, SAYS(403, ""), 1, 0);
    insists(&m, UNSENT, 1, 0);
    insists(&m, (struct reply){.kind = STEP_HTTP, .status = 429, .headers = "Retry-After: 5\r\n"}, 5, 23000);
    insists(&m, (struct reply){.kind = STEP_HTTP, .status = 429, .headers = "Retry-After: 60\r\n"}, 1, 0);
    insists(&m, (struct reply){.kind = STEP_HTTP, .status = 429, .headers = "Retry-After: 0\r\n"}, 5, 15000);
    machine_close(&m);
    open(&m, app, NULL);
    insists(&m, SAYS(500, ""), 4, 3000);
    insists(&m, SAYS(429, ""), 4, 3000);
    insists(&m, SAYS(404, ""), 1, 0);
    insists(&m, SAYS(410, ""), 1, 0);
    machine_close(&m);
    open(&m, fabric, NULL);
    insists(&m, SAYS(429, ""), 5, 15000);
    insists(&m, SAYS(404, "{\"error\":{\"code\":\"ManagedIdentityNotFound\"}}"), 1, 0);
    machine_close(&m);
}

static void says_when_the_background_may_ask(void **state)
{
    struct machine m;
    (void)state;
    open(&m, nothing, "imds");
    const struct reply list[] = {{.kind = STEP_HTTP, .status = 429, .headers = "Retry-After: 60\r\n"}};
    machine_run(&m, GRANT_ACQUIRE, list, ELEMENTS(list));
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "IMDS answered 429");
    assert_int_equal(m.step.fail.class, CLASS_THROTTLED);
    assert_int_equal(m.step.fail.retry_after_ms, 60000);
    machine_close(&m);
}

static void looks_for_arc_then_for_imds(void **state)
{
    struct machine m;
    (void)state;
    open(&m, nothing, NULL);
    assert_int_equal(machine_start(&m, GRANT_ACQUIRE), STEP_READ);
    assert_string_equal(m.step.read.path, "/opt/azcmagent/bin/himds");
    assert_int_equal(m.step.read.maximum, 0);
    assert_int_equal(machine_answer(&m, NO(STEP_READ, -ENOENT)), STEP_HTTP);
    assert_int_equal(m.step.http.header_count, 0);
    assert_int_equal(m.step.http.timeout_ms, 1000);
    assert_int_equal(machine_answer(&m, SAYS(400, "{\"error\":\"bad_request_102\"}")), STEP_HTTP);
    assert_string_equal(m.url, "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&"
                               "resource=https%3A%2F%2Fr.example");
    assert_int_equal(m.step.http.header_count, 1);
    assert_int_equal(m.step.http.connect_ms, 1000);
    assert_int_equal(machine_answer(&m, OK(TOKENS)), STEP_DONE);
    assert_int_equal(m.step.done.tokens->expires_in_s, 86400);
    assert_int_equal(m.step.done.tokens->refresh_in_s, 43200);
    assert_null(m.step.done.tokens->refresh_token);
    assert_string_equal(m.step.done.tokens->account, "11111111-2222-3333-4444-555555555555");
    const struct reply nobody[] = {NO(STEP_READ, -ENOENT), TIMED_OUT};
    machine_run(&m, GRANT_ACQUIRE, nobody, ELEMENTS(nobody));
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "no managed identity here");
    const struct reply docker[] = {NO(STEP_READ, -ENOENT), SAYS(403, "connecting: A socket operation: unreachable")};
    machine_run(&m, GRANT_ACQUIRE, docker, ELEMENTS(docker));
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "no managed identity here");
    const struct reply found[] = {FILE_IS("")};
    assert_int_equal(machine_run(&m, GRANT_ACQUIRE, found, 1), STEP_HTTP);
    assert_non_null(strstr(m.url, "http://localhost:40342/metadata/identity/oauth2/token?"));
    machine_close(&m);
}

static void the_life_that_is_halved(void **state)
{
    static const struct {
        const char *body;
        int64_t refresh_in;
    } cases[] = {
        {"{\"access_token\":\"AT\",\"expires_in\":7200}", -1},
        {"{\"access_token\":\"AT\",\"expires_in\":7201}", 3600},
        {"{\"access_token\":\"AT\",\"expires_in\":7201,\"refresh_in\":\"100\"}", 100},
    };
    struct machine m;
    (void)state;
    open(&m, app, NULL);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        const struct reply list[] = {OK(cases[i].body)};
        assert_int_equal(machine_run(&m, GRANT_ACQUIRE, list, 1), STEP_DONE);
        assert_int_equal(m.step.done.tokens->refresh_in_s, cases[i].refresh_in);
    }
    machine_close(&m);
}

static void proves_itself_to_arc_once(void **state)
{
    const struct reply list[] = {CHALLENGED, FILE_IS("secret "), OK(TOKENS)};
    const struct reply again[] = {CHALLENGED, FILE_IS("secret"), CHALLENGED};
    const struct reply lines[] = {CHALLENGED, FILE_IS("a\r\nX: b")};
    const struct reply passes[] = {CHALLENGED, FILE_IS("a"), SAYS(500, ""), YES(STEP_WAIT), CHALLENGED, FILE_IS("b\n")};
    struct machine m;
    (void)state;
    open(&m, arc, NULL);
    machine_run(&m, GRANT_ACQUIRE, list, 2);
    assert_string_equal(m.authorization, "Basic secret "); /* as it stands */
    machine_torture(&m, GRANT_ACQUIRE, list, ELEMENTS(list));
    machine_run(&m, GRANT_ACQUIRE, again, ELEMENTS(again));
    fails(&m, FAILURE_AUTHORITY_REFUSED, "Azure Arc answered 401");
    machine_run(&m, GRANT_ACQUIRE, lines, ELEMENTS(lines));
    fails(&m, FAILURE_SECRET_MISSING, "cannot be sent");
    machine_run(&m, GRANT_ACQUIRE, passes, ELEMENTS(passes)); /* a challenge is for one request */
    assert_string_equal(m.authorization, "Basic b");
    machine_close(&m);
}

static void ends_wherever_it_is_stopped(void **state)
{
    const struct reply list[] = {NO(STEP_READ, -ENOENT), SAYS(400, ""), SAYS(503, ""), YES(STEP_WAIT), OK(TOKENS)};
    struct machine m;
    (void)state;
    open(&m, nothing, NULL);
    for (size_t stop = 0; stop <= ELEMENTS(list); stop++)
        machine_run(&m, GRANT_ACQUIRE, list, stop);
    assert_int_equal(m.step.kind, STEP_DONE);
    machine_close(&m);
    assert_int_equal(secret_arena_used(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asks_again_by_each_platforms_rules), cmocka_unit_test(says_when_the_background_may_ask),
        cmocka_unit_test(looks_for_arc_then_for_imds),        cmocka_unit_test(the_life_that_is_halved),
        cmocka_unit_test(proves_itself_to_arc_once),          cmocka_unit_test(ends_wherever_it_is_stopped),
    };
    return cmocka_run_group_tests(tests, machine_group, NULL);
}
