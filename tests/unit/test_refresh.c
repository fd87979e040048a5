/* Renewal: rotation, what is kept before anybody sees a token, and the one repeat of a request whose answer was lost.
 */
#include "machine.h"

#define ROTATED "{\"access_token\":\"AT2\",\"token_type\":\"Bearer\",\"expires_in\":60,\"refresh_token\":\"RT2\"}"
#define SAME    "{\"access_token\":\"AT2\",\"token_type\":\"Bearer\",\"expires_in\":60}"
#define SAVED   YES(STEP_SAVE)

static void open(struct machine *m)
{
    machine_open(m, &grant_device_code);
    machine_hold(m, "RT1", "api offline_access");
}

/* From the request on: the mark that goes before it is kept, and has tests of its own. */
static enum step_kind begin(struct machine *m)
{
    machine_start(m, GRANT_ACQUIRE);
    if (m->step.kind == STEP_SAVE && m->kept.sending && !m->kept.uncertain)
        machine_answer(m, SAVED);
    m->kept = (struct kept){0};
    return m->step.kind;
}

static enum step_kind run(struct machine *m, const struct reply *replies, size_t count)
{
    m->requests = 0;
    begin(m);
    m->requests = m->step.kind == STEP_HTTP;
    for (size_t i = 0; i < count; i++)
        machine_answer(m, replies[i]);
    return m->step.kind;
}
#define RUN(m, ...) run((m), (const struct reply[]){__VA_ARGS__}, ELEMENTS(((const struct reply[]){__VA_ARGS__})))

static void needs_a_sign_in(void **state)
{
    struct machine m;
    (void)state;
    machine_open(&m, &grant_device_code);
    machine_start(&m, GRANT_ACQUIRE);
    fails(&m, FAILURE_LOGIN_REQUIRED, "nobody is signed in");
    machine_hold(&m, NULL, "api");
    machine_start(&m, GRANT_ACQUIRE);
    fails(&m, FAILURE_LOGIN_REQUIRED, "offline_access");
    machine_close(&m);
}

static void keeps_a_new_token_before_it_is_done(void **state)
{
    struct machine m;
    (void)state;
    open(&m);
    (void)snprintf(m.held.identity.subject, sizeof(m.held.identity.subject), "alice");
    begin(&m);
    assert_string_equal(m.url, TOKEN_URL);
    assert_string_equal(m.body, "grant_type=refresh_token&refresh_token=RT1&client_id=me");
    assert_int_equal(machine_answer(&m, OK(ROTATED)), STEP_SAVE);
    assert_string_equal(m.kept.token, "RT2");
    assert_string_equal(m.kept.scope, "api offline_access");
    assert_string_equal(m.kept.subject, "alice");
    assert_false(m.kept.uncertain || m.kept.unanswered || m.kept.sending || m.kept.steady);
    assert_int_equal(machine_answer(&m, SAVED), STEP_DONE);
    assert_string_equal(m.step.done.tokens->access_token, "AT2");
    /* what cannot be kept is not handed out */
    RUN(&m, OK(ROTATED), NO(STEP_SAVE, -EIO));
    fails(&m, FAILURE_STORE_UNAVAILABLE, "kept");
    machine_close(&m);
}

/* Whoever comes after a kill at any instant knows that the request may have been sent. */
static void marks_before_it_sends(void **state)
{
    struct machine m;
    (void)state;
    open(&m);
    assert_int_equal(machine_start(&m, GRANT_ACQUIRE), STEP_SAVE);
    assert_true(m.kept.sending && !m.kept.unanswered && !m.kept.uncertain);
    assert_string_equal(m.kept.token, "RT1");
    assert_int_equal(m.requests, 0);
    assert_int_equal(machine_answer(&m, SAVED), STEP_HTTP);
    /* what cannot be marked is not sent, and nothing is lost by it */
    assert_int_equal(machine_start(&m, GRANT_ACQUIRE), STEP_SAVE);
    machine_answer(&m, NO(STEP_SAVE, -EIO));
    fails(&m, FAILURE_STORE_UNAVAILABLE, "begins");
    assert_false(m.step.fail.uncertain);
    /* the mark of one that ended: this is the repeat */
    m.held.sending = true;
    assert_int_equal(machine_start(&m, GRANT_ACQUIRE), STEP_SAVE);
    assert_true(m.kept.sending && m.kept.uncertain);
    assert_int_equal(machine_answer(&m, SAVED), STEP_HTTP);
    assert_int_equal(machine_answer(&m, OK(ROTATED)), STEP_SAVE);
    assert_false(m.kept.sending || m.kept.uncertain);
    machine_close(&m);
}

/* One that never gives another refresh token costs one mark, once. */
static void leaves_a_steady_authority_alone(void **state)
{
    static const char *const same[] = {
        SAME, "{\"access_token\":\"AT2\",\"token_type\":\"Bearer\",\"refresh_token\":\"RT1\"}"};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(same); i++) {
        struct machine m;
        open(&m);
        assert_int_equal(RUN(&m, OK(same[i])), STEP_SAVE);
        assert_true(m.kept.steady && !m.kept.sending);
        assert_int_equal(machine_answer(&m, SAVED), STEP_DONE);
        m.held.steady = true;
        assert_int_equal(machine_start(&m, GRANT_ACQUIRE), STEP_HTTP);
        assert_int_equal(machine_answer(&m, OK(same[i])), STEP_DONE);
        RUN(&m, UNSENT);
        fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "");
        /* until it does */
        assert_int_equal(RUN(&m, OK(ROTATED)), STEP_SAVE);
        assert_string_equal(m.kept.token, "RT2");
        assert_false(m.kept.steady);
        machine_close(&m);
    }
}

static void asks_for_scopes_only_when_they_differ(void **state)
{
    static const struct {
        const char *held;
        const char *asked[4];
        enum dialect dialect;
        const char *sent; /* NULL: no scope */
    } cases[] = {
        {"api offline_access", {NULL}, DIALECT_OIDC, NULL},
        {"api offline_access", {"api"}, DIALECT_OIDC, NULL},
        {"api", {"api", "offline_access", "openid"}, DIALECT_OIDC, NULL},
        {"api more", {"api"}, DIALECT_OIDC, "scope=api"},
        {"api", {"api", "more"}, DIALECT_OIDC, "scope=api+more"},
        {"", {"api"}, DIALECT_OIDC, "scope=api"},
        {NULL, {"api"}, DIALECT_OIDC, "scope=api"},
        {NULL, {NULL}, DIALECT_OIDC, NULL},
        {"api", {"api"}, DIALECT_ENTRA, "scope=api+offline_access"},
        {"api", {"offline_access", "api"}, DIALECT_ENTRA, "scope=offline_access+api"},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct machine m;
        char *scopes[4] = {TEXT(cases[i].asked[0]), TEXT(cases[i].asked[1]), TEXT(cases[i].asked[2]), NULL};
        open(&m);
        machine_hold(&m, "RT1", cases[i].held);
        m.profile.scopes = scopes;
        m.profile.dialect = cases[i].dialect;
        begin(&m);
        assert_int_equal(machine_sent_name(&m, "scope"), cases[i].sent != NULL);
        assert_true(!cases[i].sent || machine_sent(&m, cases[i].sent));
        machine_close(&m);
    }
}

static void refuses_scopes_aloud(void **state)
{
    struct machine m;
    char *scopes[] = {TEXT("admin"), NULL};
    const char *less =
        "{\"access_token\":\"AT2\",\"token_type\":\"Bearer\",\"refresh_token\":\"RT2\",\"scope\":\"api\"}";
    (void)state;
    open(&m);
    m.asked.scopes = scopes;
    RUN(&m, ERROR("invalid_scope"), SAVED);
    fails(&m, FAILURE_AUTHORITY_REFUSED, "scope \"admin\"");
    assert_string_equal(m.step.fail.error, "invalid_scope");
    /* granted silently without it: the new refresh token is kept, the access token is not handed out */
    assert_int_equal(RUN(&m, OK(less)), STEP_SAVE);
    assert_string_equal(m.kept.token, "RT2");
    machine_answer(&m, SAVED);
    fails(&m, FAILURE_AUTHORITY_REFUSED, "without the scope admin");
    RUN(&m, OK(less), NO(STEP_SAVE, -EIO));
    fails(&m, FAILURE_AUTHORITY_REFUSED, "without the scope admin");
    machine_close(&m);
}

static void sends_a_person_to_sign_in(void **state)
{
    struct machine m;
    (void)state;
    open(&m);
    RUN(&m, SAYS(400, "{\"error\":\"invalid_grant\",\"error_description\":\"Session not active\"}"), SAVED);
    fails(&m, FAILURE_LOGIN_REQUIRED, "invalid_grant: Session not active");
    assert_int_equal(m.kept.count, 1);
    assert_false(m.kept.sending || m.kept.unanswered || m.kept.uncertain);
    machine_close(&m);
}

/* What the authority asks of that sign-in goes with it, when it is what it says it is. */
static void says_what_the_sign_in_is_asked_for(void **state)
{
    static const struct {
        const char *error, *claims, *kept;
    } cases[] = {
        {"interaction_required", "\"{\\\"a\\\":1}\"", "{\"a\":1}"},
        {"invalid_grant", "\"{\\\"a\\\":1}\"", "{\"a\":1}"},
        {"invalid_grant", "\"\"", ""},
        {"invalid_grant", "\"[1]\"", ""},
        {"invalid_grant", "{\"a\":1}", ""},
        {"invalid_client", "\"{\\\"a\\\":1}\"", ""},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        char body[256];
        struct machine m;
        open(&m);
        (void)snprintf(body, sizeof(body), "{\"error\":\"%s\",\"claims\":%s}", cases[i].error, cases[i].claims);
        RUN(&m, SAYS(400, body), SAVED);
        assert_int_equal(m.step.kind, STEP_FAIL);
        assert_string_equal(m.step.fail.claims, cases[i].kept);
        assert_null(strstr(m.step.fail.reason, "\"a\""));
        machine_close(&m);
    }
}

static void repeats_a_lost_request_once(void **state)
{
    struct machine m;
    (void)state;
    open(&m);
    /* recorded before the repeat, and cleared with success */
    assert_int_equal(RUN(&m, LOST), STEP_SAVE);
    assert_true(m.kept.uncertain);
    assert_string_equal(m.kept.token, "RT1");
    assert_int_equal(m.requests, 1);
    assert_int_equal(machine_answer(&m, SAVED), STEP_HTTP);
    assert_string_equal(m.body, "grant_type=refresh_token&refresh_token=RT1&client_id=me");
    assert_int_equal(machine_answer(&m, OK(ROTATED)), STEP_SAVE);
    assert_false(m.kept.uncertain || m.kept.unanswered);
    assert_string_equal(m.kept.token, "RT2");
    assert_int_equal(machine_answer(&m, SAVED), STEP_DONE);
    /* also where the old token stays the one */
    assert_int_equal(RUN(&m, LOST, SAVED, OK(SAME)), STEP_SAVE);
    assert_false(m.kept.uncertain || m.kept.unanswered);
    assert_string_equal(m.kept.token, "RT1");
    /* lost twice: no third */
    RUN(&m, LOST, SAVED, LOST, SAVED);
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "");
    assert_true(m.step.fail.uncertain);
    assert_int_equal(m.requests, 2);
    assert_true(m.kept.uncertain);
    /* and the reuse that the authority then sees is said */
    RUN(&m, LOST, SAVED, ERROR("invalid_grant"), SAVED);
    fails(&m, FAILURE_LOGIN_REQUIRED, "reuse detection");
    assert_true(m.kept.uncertain && !m.kept.sending);
    assert_non_null(strstr(m.step.fail.reason, "invalid_grant"));
    machine_close(&m);
}

/* An authority that hangs is not asked again at once: the one repeat is kept for when it may be back. */
static void keeps_the_repeat_when_time_ran_out(void **state)
{
    struct machine m;
    (void)state;
    open(&m);
    assert_int_equal(RUN(&m, TIMED_OUT), STEP_SAVE);
    assert_true(m.kept.unanswered && !m.kept.uncertain);
    machine_answer(&m, SAVED);
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "");
    assert_int_equal(m.step.fail.retry_after_ms, LIMIT_BACKOFF_MS);
    assert_int_equal(m.requests, 1);
    m.held.unanswered = true;
    RUN(&m, SAVED, TIMED_OUT, SAVED);
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "");
    assert_true(m.step.fail.uncertain);
    assert_int_equal(m.requests, 1);
    machine_close(&m);
}

static void does_not_repeat_what_cannot_be_recorded(void **state)
{
    struct machine m;
    (void)state;
    open(&m);
    RUN(&m, LOST, NO(STEP_SAVE, -EIO));
    fails(&m, FAILURE_STORE_UNAVAILABLE, "repeated");
    assert_true(m.step.fail.uncertain);
    assert_int_equal(m.requests, 1);
    machine_close(&m);
}

static void repeats_only_what_may_have_arrived(void **state)
{
    struct machine m;
    (void)state;
    open(&m);
    RUN(&m, UNSENT, SAVED);
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "");
    assert_false(m.step.fail.uncertain || m.kept.sending || m.kept.unanswered || m.kept.uncertain);
    RUN(&m, SAYS(503, ""), SAVED);
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "503");
    assert_false(m.kept.sending || m.kept.unanswered || m.kept.uncertain);
    machine_close(&m);
}

/* A laptop that leaves the net between the request and its repeat keeps its sign-in, and its one repeat. */
static void takes_back_a_repeat_that_did_not_count(void **state)
{
    static const struct reply without[] = {
        {.kind = STEP_HTTP, .error = -ECONNREFUSED},
        {.kind = STEP_HTTP, .status = 503},
        {.kind = STEP_HTTP, .status = 429, .body = "slow"},
        {.kind = STEP_HTTP, .status = 401, .body = "{\"error\":\"invalid_client\"}"},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(without); i++) {
        struct machine m;
        open(&m);
        assert_int_equal(RUN(&m, LOST, SAVED, without[i]), STEP_SAVE);
        assert_false(m.kept.uncertain);
        assert_true(m.kept.unanswered);
        machine_answer(&m, i % 2 ? SAVED : NO(STEP_SAVE, -EIO));
        fails(&m, i == 3 ? FAILURE_AUTHORITY_REFUSED : FAILURE_AUTHORITY_UNREACHABLE, "");
        /* the next call has the repeat, recorded before it goes, and no other */
        m.held.unanswered = true;
        m.kept = (struct kept){0};
        assert_int_equal(machine_start(&m, GRANT_ACQUIRE), STEP_SAVE);
        assert_true(m.kept.uncertain);
        assert_int_equal(machine_answer(&m, SAVED), STEP_HTTP);
        assert_true(machine_sent(&m, "refresh_token=RT1"));
        assert_int_equal(machine_answer(&m, LOST), STEP_SAVE);
        assert_true(m.kept.uncertain && !m.kept.sending);
        assert_int_equal(machine_answer(&m, SAVED), STEP_FAIL);
        assert_true(m.step.fail.uncertain);
        assert_int_equal(m.kept.count, 2);
        /* or, off the net still, keeps it again */
        RUN(&m, SAVED, UNSENT);
        assert_int_equal(m.step.kind, STEP_SAVE);
        assert_true(m.kept.unanswered && !m.kept.uncertain);
        machine_close(&m);
    }
}

static void does_not_use_a_token_a_third_time(void **state)
{
    struct machine m;
    (void)state;
    open(&m);
    m.held.uncertain = true;
    machine_start(&m, GRANT_ACQUIRE);
    fails(&m, FAILURE_LOGIN_REQUIRED, "third try");
    /* Entra's old refresh tokens stay valid */
    m.profile.dialect = DIALECT_ENTRA;
    m.held.unanswered = true;
    assert_int_equal(machine_start(&m, GRANT_ACQUIRE), STEP_HTTP);
    machine_answer(&m, LOST);
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "");
    assert_false(m.step.fail.uncertain);
    assert_int_equal(RUN(&m, OK(ROTATED)), STEP_SAVE);
    assert_false(m.kept.uncertain || m.kept.unanswered);
    machine_close(&m);
}

static void proves_itself_before_the_repeat_is_recorded(void **state)
{
    struct machine m;
    struct metadata metadata = {.token_endpoint = TEXT(TOKEN_URL), .basic = true};
    (void)state;
    open(&m);
    m.profile.token_endpoint = NULL;
    m.profile.client_secret.kind = SOURCE_ENV;
    m.held.unanswered = true;
    assert_int_equal(RUN(&m, METADATA_IS(&metadata), SECRET_IS("s")), STEP_SAVE);
    assert_int_equal(machine_answer(&m, SAVED), STEP_HTTP);
    assert_string_equal(m.authorization, "Basic bWU6cw==");
    RUN(&m, NO(STEP_METADATA, -EIO));
    assert_int_equal(m.step.kind, STEP_FAIL);
    assert_int_equal(m.kept.count, 0);
    machine_close(&m);
}

static void drops_the_id_token_and_bounds_the_life(void **state)
{
    struct machine m;
    (void)state;
    open(&m);
    RUN(&m, OK("{\"access_token\":\"AT2\",\"token_type\":\"Bearer\",\"id_token\":\"a.b.c\"}"), SAVED);
    assert_int_equal(m.step.kind, STEP_DONE);
    assert_null(m.step.done.tokens->id_token);
    assert_int_equal(m.step.done.tokens->expires_in_s, DEFAULT_LIFETIME_S);
    machine_close(&m);
}

static void survives_every_fault(void **state)
{
    struct machine m;
    struct metadata metadata = {.token_endpoint = TEXT(TOKEN_URL), .basic = true};
    const struct reply replies[] = {METADATA_IS(&metadata), SECRET_IS("s"), SAVED, LOST, SAVED, OK(ROTATED), SAVED};
    (void)state;
    open(&m);
    m.profile.token_endpoint = NULL;
    m.profile.client_secret.kind = SOURCE_ENV;
    machine_torture(&m, GRANT_ACQUIRE, replies, ELEMENTS(replies));
    machine_close(&m);
    assert_int_equal(secret_arena_used(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(needs_a_sign_in),
        cmocka_unit_test(keeps_a_new_token_before_it_is_done),
        cmocka_unit_test(marks_before_it_sends),
        cmocka_unit_test(leaves_a_steady_authority_alone),
        cmocka_unit_test(asks_for_scopes_only_when_they_differ),
        cmocka_unit_test(refuses_scopes_aloud),
        cmocka_unit_test(sends_a_person_to_sign_in),
        cmocka_unit_test(says_what_the_sign_in_is_asked_for),
        cmocka_unit_test(repeats_a_lost_request_once),
        cmocka_unit_test(keeps_the_repeat_when_time_ran_out),
        cmocka_unit_test(does_not_repeat_what_cannot_be_recorded),
        cmocka_unit_test(repeats_only_what_may_have_arrived),
        cmocka_unit_test(takes_back_a_repeat_that_did_not_count),
        cmocka_unit_test(does_not_use_a_token_a_third_time),
        cmocka_unit_test(proves_itself_before_the_repeat_is_recorded),
        cmocka_unit_test(drops_the_id_token_and_bounds_the_life),
        cmocka_unit_test(survives_every_fault),
    };
    return cmocka_run_group_tests(tests, machine_group, NULL);
}
