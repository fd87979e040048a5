/* libmltoken against an agent that says what a script says: what a handle does, and where it may be used. */
#include "client_fixture.h"

#include "client_internal.h"
#include <poll.h>
#include <signal.h>

static void test_get(void **state)
{
    (void)state;
    static const struct line script[] = {{.act = READ}, {.act = SAY, .text = TOKEN_REPLY}, {.act = HOLD}, {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    mltoken_request *request;
    mltoken_token *token;
    assert_int_equal(mltoken_request_new(&request), 0);
    assert_int_equal(mltoken_request_profile(request, "me"), 0);
    assert_int_equal(mltoken_request_scope(request, "a"), 0);
    assert_int_equal(mltoken_request_scope(request, "b"), 0);
    assert_int_equal(mltoken_request_claims(request, "{\"x\":1}"), 0);
    assert_int_equal(mltoken_request_min_valid(request, 60), 0);
    assert_int_equal(mltoken_request_refresh(request, 7), 0);
    assert_int_equal(mltoken_request_application(request, "unit"), 0);
    assert_int_equal(mltoken_get(handle, request, 0, &token), 0);
    assert_string_equal(mltoken_token_value(token), "abc.def-ghi");
    assert_string_equal(mltoken_token_header(token), "Authorization: Bearer abc.def-ghi");
    assert_string_equal(mltoken_token_type(token), "Bearer");
    assert_string_equal(mltoken_token_profile(token), "me");
    assert_int_equal(mltoken_token_expires_at(token), 2000000000);
    assert_int_equal(mltoken_token_refresh_at(token), 1999999000);
    assert_int_equal(mltoken_token_scopes(token), 2);
    assert_string_equal(mltoken_token_scope(token, 1), "b");
    assert_null(mltoken_token_scope(token, 2));
    assert_null(mltoken_token_account(token));
    assert_null(mltoken_token_resource(token));
    assert_null(mltoken_token_audience(token));
    mltoken_free(token);
    mltoken_request_free(request);
    agent_stop(&agent, handle);
    assert_string_equal(
        agent.heard.data,
        "{\"method\":\"org.mltoken.agent.GetToken\",\"parameters\":{\"profile\":\"me\",\"claims\":\"{\\\"x\\\":1}\","
        "\"application\":\"unit\",\"scopes\":[\"a\",\"b\"],\"minValid\":60,\"refresh\":true}}");
    assert_true(agent.client_left);
    agent_free(&agent);
}

static void test_no_request_asks_for_nothing(void **state)
{
    (void)state;
    static const struct line script[] = {{.act = READ}, {.act = SAY, .text = TOKEN_REPLY}, {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    mltoken_token *token;
    assert_int_equal(mltoken_get(handle, NULL, 0, &token), 0);
    mltoken_free(token);
    agent_stop(&agent, handle);
    assert_string_equal(agent.heard.data, "{\"method\":\"org.mltoken.agent.GetToken\",\"parameters\":{}}");
    agent_free(&agent);
}

static void test_byte_by_byte(void **state)
{
    (void)state;
    static const struct line script[] = {{.act = READ},
                                         {.act = SAY_PIECES, .text = TOKEN_REPLY},
                                         {.act = READ},
                                         {.act = SAY, .text = TOKEN_REPLY},
                                         {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    mltoken_token *token;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mltoken_get(handle, NULL, 5000, &token), 0);
        mltoken_free(token);
    }
    agent_stop(&agent, handle);
    assert_int_equal(agent.connections, 1); /* it is kept */
    agent_free(&agent);
}

static void test_deadline(void **state)
{
    (void)state;
    static const struct line script[] = {{.act = READ}, {.act = HOLD}, {.act = READ}, {.act = SAY, .text = TOKEN_REPLY},
                                         {.act = HOLD}, {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    mltoken_token *token;
    assert_int_equal(mltoken_get(handle, NULL, -1, &token), MLTOKEN_EINVAL);
    assert_int_equal(mltoken_get(handle, NULL, 50, &token), MLTOKEN_ETIMEOUT);
    assert_int_equal(mltoken_events(handle), 0); /* nothing is under way */
    assert_int_equal(mltoken_fd(handle), -1);
    assert_int_equal(mltoken_get(handle, NULL, 0, &token), 0);
    mltoken_free(token);
    agent_stop(&agent, handle);
    assert_int_equal(agent.connections, 2); /* a late answer to the first cannot be taken for the second's */
    agent_free(&agent);
}

static void test_event_loop(void **state)
{
    (void)state;
    static const struct line script[] = {
        {.act = READ}, {.act = SAY_PIECES, .text = TOKEN_REPLY}, {.act = HOLD}, {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    mltoken_event event = MLTOKEN_PROMPT;
    mltoken_token *token;
    assert_int_equal(mltoken_process(handle, &event), MLTOKEN_EINVAL); /* no call */
    assert_int_equal(mltoken_start_get(handle, NULL), 0);
    assert_int_equal(mltoken_start_get(handle, NULL), MLTOKEN_EINUSE);
    assert_int_equal(mltoken_get(handle, NULL, 0, &token), MLTOKEN_EINUSE);
    assert_int_equal(mltoken_take(handle, &token), MLTOKEN_EINVAL);
    do {
        assert_int_equal(mltoken_process(handle, &event), 0);
        struct pollfd fd = {.fd = mltoken_fd(handle), .events = (short)mltoken_events(handle)};
        if (event == MLTOKEN_NOTHING)
            assert_int_equal(poll(&fd, 1, 60000), 1);
    } while (event == MLTOKEN_NOTHING);
    assert_int_equal(event, MLTOKEN_TOKEN);
    assert_int_equal(mltoken_events(handle), 0);
    assert_int_equal(mltoken_take(handle, &token), 0);
    assert_int_equal(mltoken_take(handle, &(mltoken_token *){NULL}), MLTOKEN_EINVAL); /* once */
    mltoken_free(token);
    agent_stop(&agent, handle);
    agent_free(&agent);
}

static void test_watch(void **state)
{
    (void)state;
    static const struct line script[] = {
        {.act = READ},
        {.act = SAY, .text = "{\"parameters\":{\"token\":{" TOKEN_MEMBERS("me", "one") "}},\"continues\":true}"},
        {.act = SAY, .text = "{\"parameters\":{\"token\":{" TOKEN_MEMBERS("me", "two") "}},\"continues\":true}"},
        {.act = HOLD},
        {.act = READ},
        {.act = SAY, .text = "{\"parameters\":{\"token\":{" TOKEN_MEMBERS("me", "one") "}},\"continues\":true}"},
        {.act = SAY, .text = "{\"error\":\"org.mltoken.agent.LoginRequired\",\"parameters\":{\"profile\":\"me\"}}"},
        {.act = HOLD},
        {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    mltoken_token *token;
    assert_int_equal(mltoken_next(handle, 10, &token), MLTOKEN_EINVAL);
    assert_int_equal(mltoken_watch(handle, NULL), 0);
    assert_int_equal(mltoken_next(handle, 0, &token), 0);
    assert_string_equal(mltoken_token_value(token), "one");
    mltoken_free(token);
    assert_int_equal(mltoken_next(handle, 0, &token), 0);
    assert_string_equal(mltoken_token_value(token), "two");
    mltoken_free(token);
    assert_int_equal(mltoken_next(handle, 30, &token), MLTOKEN_ETIMEOUT);
    assert_int_equal(mltoken_next(handle, 30, &token), MLTOKEN_ETIMEOUT); /* it goes on */
    assert_int_equal(mltoken_get(handle, NULL, 0, &token), MLTOKEN_EINUSE);
    mltoken_cancel(handle);
    assert_int_equal(mltoken_watch(handle, NULL), 0);
    assert_int_equal(mltoken_next(handle, 0, &token), 0);
    mltoken_free(token);
    assert_int_equal(mltoken_next(handle, 0, &token), MLTOKEN_ELOGINREQUIRED);
    agent_stop(&agent, handle);
    agent_free(&agent);
}

/* Two answers that come together: the descriptor tells only once, so the timeout must. */
static void test_two_at_once(void **state)
{
    (void)state;
    static const char two[] = "{\"parameters\":{\"token\":{" TOKEN_MEMBERS(
        "me", "one") "}},\"continues\":true}\0"
                     "{\"parameters\":{\"token\":{" TOKEN_MEMBERS("me", "two") "}},\"continues\":true}";
    static const struct line script[] = {
        {.act = READ}, {.act = SAY, .text = two, sizeof(two) - 1}, {.act = HOLD}, {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    mltoken_event event;
    assert_int_equal(mltoken_watch(handle, NULL), 0);
    for (int i = 0; i < 2; i++)
        do {
            struct pollfd fd = {.fd = mltoken_fd(handle), .events = (short)mltoken_events(handle)};
            int timeout = mltoken_timeout(handle);
            assert_true(poll(&fd, 1, timeout < 0 ? 10000 : timeout) == 1 || timeout >= 0);
            assert_int_equal(mltoken_process(handle, &event), 0);
        } while (event == MLTOKEN_NOTHING);
    assert_int_equal(event, MLTOKEN_TOKEN);
    assert_int_equal(mltoken_timeout(handle), -1);
    agent_stop(&agent, handle);
    agent_free(&agent);
}

static void test_fork(void **state)
{
    (void)state;
    static const struct line script[] = {
        {.act = READ}, {.act = SAY, .text = TOKEN_REPLY}, {.act = CLOSE}, {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    mltoken_token *token;
    assert_int_equal(mltoken_start_get(handle, NULL), 0);
    mltoken_event event;
    do
        assert_int_equal(mltoken_process(handle, &event), 0);
    while (event == MLTOKEN_NOTHING);
    int before = mltoken_fd(handle);
    assert_true(before >= 0);
    pid_t child = fork();
    if (child == 0) {
        /* nobody takes new connections: it waits on its own, and never writes into its parent's */
        int r = mltoken_get(handle, NULL, 50, &token);
        mltoken_cancel(handle);
        /* not _exit(): a thread sanitizer would miss its parent's threads there */
        (void)raise(r == MLTOKEN_ETIMEOUT || r == MLTOKEN_ECLOSED ? SIGKILL : SIGABRT);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    assert_int_equal(mltoken_fd(handle), before);
    agent_stop(&agent, handle);
    assert_int_equal(agent.heard.length, strlen(agent.heard.data) + 1); /* one call */
    agent_free(&agent);
}

static void *get_often(void *arg)
{
    for (int i = 0; i < 50; i++) {
        mltoken_token *token;
        if (mltoken_get(arg, NULL, 20000, &token) != 0)
            return arg;
        bool good = strcmp(mltoken_token_value(token), "abc.def-ghi") == 0;
        mltoken_free(token);
        if (!good)
            return arg;
    }
    return NULL;
}

/* Returns its argument when every call that waits kept its deadline. */
static void *get_soon(void *arg)
{
    mltoken_token *token = NULL;
    bool late = mltoken_get(arg, NULL, 30, &token) != MLTOKEN_ETIMEOUT ||
                mltoken_next(arg, 30, &token) != MLTOKEN_ETIMEOUT ||
                mltoken_login(arg, NULL, 30, NULL, NULL) != MLTOKEN_ETIMEOUT;
    return late || token ? NULL : arg;
}

static void test_threads(void **state)
{
    (void)state;
    static const struct line script[] = {
        {.act = READ}, {.act = SAY, .text = TOKEN_REPLY}, {.act = AGAIN}, {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    pthread_t threads[4];
    for (size_t i = 0; i < ELEMENTS(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, get_often, handle), 0);
    for (size_t i = 0; i < ELEMENTS(threads); i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    agent_stop(&agent, handle);
    assert_int_equal(agent.connections, 1);
    agent_free(&agent);
}

/* Another thread is inside a call that takes long: the wait for it counts against our deadline, and leaves the handle
 * alone. */
static void test_deadline_behind_another_thread(void **state)
{
    (void)state;
    static const struct line script[] = {{.act = READ}, {.act = HOLD}, {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    mltoken_token *token = NULL;
    pthread_t other;
    void *result = NULL;
    client_enter(handle);
    assert_int_equal(pthread_create(&other, NULL, get_soon, handle), 0);
    assert_int_equal(pthread_join(other, &result), 0);
    client_leave(handle);
    assert_ptr_equal(result, handle);
    assert_int_equal(handle->error.code, 0);
    assert_int_equal(mltoken_get(handle, NULL, 20, &token), MLTOKEN_ETIMEOUT); /* and it can be used again */
    agent_stop(&agent, handle);
    agent_free(&agent);
}

static void test_freeing_wipes(void **state)
{
    (void)state;
    static const struct line script[] = {{.act = READ}, {.act = SAY, .text = TOKEN_REPLY}, {.act = HOLD}, {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    mltoken_token *token;
    assert_int_equal(mltoken_get(handle, NULL, 0, &token), 0);
    json_object *value;
    assert_int_equal(json_member(token_object(token), "value", &value), 0);
    json_object_get(value); /* to look at it afterwards */
    mltoken_free(token);
    for (int i = 0; i < json_object_get_string_len(value); i++)
        assert_int_equal(json_object_get_string(value)[i], 0);
    json_object_put(value);
    for (size_t i = 0; i < sizeof(TOKEN_REPLY); i++) /* nor is it left where it came in */
        assert_int_equal(handle->in.data[i], 0);
    agent_stop(&agent, handle);
    agent_free(&agent);
}

static void test_nothing(void **state)
{
    (void)state;
    mltoken_token *token;
    mltoken_event event;
    mltoken_close(NULL);
    mltoken_free(NULL);
    mltoken_request_free(NULL);
    mltoken_cancel(NULL);
    assert_int_equal(mltoken_open("/x/y", NULL), MLTOKEN_EINVAL);
    assert_int_equal(mltoken_get(NULL, NULL, 0, &token), MLTOKEN_EINVAL);
    assert_int_equal(mltoken_login(NULL, NULL, 0, NULL, NULL), MLTOKEN_EINVAL);
    assert_int_equal(mltoken_watch(NULL, NULL), MLTOKEN_EINVAL);
    assert_int_equal(mltoken_next(NULL, 0, &token), MLTOKEN_EINVAL);
    assert_int_equal(mltoken_start_get(NULL, NULL), MLTOKEN_EINVAL);
    assert_int_equal(mltoken_start_login(NULL, NULL), MLTOKEN_EINVAL);
    assert_int_equal(mltoken_process(NULL, &event), MLTOKEN_EINVAL);
    assert_int_equal(mltoken_take(NULL, &token), MLTOKEN_EINVAL);
    assert_int_equal(mltoken_fd(NULL), -1);
    assert_int_equal(mltoken_events(NULL), 0);
    assert_int_equal(mltoken_timeout(NULL), -1);
    assert_null(mltoken_shown(NULL));
    assert_null(mltoken_account(NULL));
    assert_null(mltoken_detail_text(NULL, MLTOKEN_REASON));
    assert_int_equal(mltoken_detail_number(NULL, MLTOKEN_LINE), 0);
    assert_null(mltoken_token_value(NULL));
    assert_int_equal(mltoken_token_scopes(NULL), 0);
    assert_null(mltoken_prompt_uri(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get),           cmocka_unit_test(test_no_request_asks_for_nothing),
        cmocka_unit_test(test_byte_by_byte),  cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_event_loop),    cmocka_unit_test(test_watch),
        cmocka_unit_test(test_two_at_once),   cmocka_unit_test(test_fork),
        cmocka_unit_test(test_threads),       cmocka_unit_test(test_deadline_behind_another_thread),
        cmocka_unit_test(test_freeing_wipes), cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
