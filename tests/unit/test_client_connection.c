/* Which agent libmltoken talks to: none, one that goes, a new one, a busy one, and another user's. */
#include "client_fixture.h"

static void test_no_agent(void **state)
{
    (void)state;
    mltoken_handle *handle;
    mltoken_token *token;
    assert_int_equal(mltoken_open("/nonexistent-directory/agent.sock", &handle), 0);
    assert_int_equal(mltoken_get(handle, NULL, 0, &token), MLTOKEN_ENOAGENT);
    assert_non_null(strstr(mltoken_detail_text(handle, MLTOKEN_REASON), "/nonexistent-directory/agent.sock"));
    mltoken_close(handle);
    assert_int_equal(mltoken_open("agent.sock", &handle), MLTOKEN_EINVAL);
    assert_int_equal(mltoken_open("", &handle), MLTOKEN_EINVAL);
}

static void test_closed_before_the_answer(void **state)
{
    (void)state;
    static const struct line script[] = {
        {.act = READ}, {.act = CLOSE}, {.act = READ}, {.act = SAY, .text = TOKEN_REPLY}, {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    mltoken_token *token;
    assert_int_equal(mltoken_get(handle, NULL, 0, &token), MLTOKEN_ECLOSED);
    assert_int_equal(mltoken_get(handle, NULL, 0, &token), 0);
    mltoken_free(token);
    agent_stop(&agent, handle);
    agent_free(&agent);
}

static void test_nonsense_after_a_good_answer(void **state)
{
    (void)state;
    static const struct line script[] = {{.act = READ},  {.act = SAY, .text = TOKEN_REPLY},
                                         {.act = READ},  {.act = SAY, .text = "x"},
                                         {.act = CLOSE}, {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    mltoken_token *token;
    assert_int_equal(mltoken_get(handle, NULL, 0, &token), 0);
    mltoken_free(token);
    assert_int_equal(mltoken_get(handle, NULL, 0, &token), MLTOKEN_EPROTOCOL);
    agent_stop(&agent, handle);
    agent_free(&agent);
}

static void test_agent_was_renewed_while_idle(void **state)
{
    (void)state;
    static const struct line script[] = {{.act = READ}, {.act = SAY, .text = TOKEN_REPLY}, {.act = CLOSE},
                                         {.act = READ}, {.act = SAY, .text = TOKEN_REPLY}, {.act = HOLD},
                                         {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    mltoken_token *token;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mltoken_get(handle, NULL, 0, &token), 0);
        mltoken_free(token);
    }
    agent_stop(&agent, handle);
    assert_int_equal(agent.connections, 2);
    agent_free(&agent);
}

static void test_full_queue(void **state)
{
    (void)state;
    struct agent agent;
    agent_prepare(&agent, 0); /* and nobody accepts yet */
    mltoken_handle *first, *second;
    mltoken_event event;
    assert_int_equal(mltoken_open(agent.path, &first), 0);
    assert_int_equal(mltoken_open(agent.path, &second), 0);
    assert_int_equal(mltoken_start_get(first, NULL), 0);
    assert_int_equal(mltoken_process(first, &event), 0);
    assert_int_equal(mltoken_timeout(first), -1);
    assert_int_equal(mltoken_start_get(second, NULL), 0);
    assert_int_equal(mltoken_process(second, &event), 0); /* waits its turn, is not told that nobody is there */
    assert_int_equal(event, MLTOKEN_NOTHING);
    assert_int_equal(mltoken_fd(second), -1);
    assert_true(mltoken_timeout(second) > 0);
    mltoken_cancel(second);
    assert_int_equal(mltoken_timeout(second), -1);
    mltoken_token *token;
    assert_int_equal(mltoken_get(second, NULL, 60, &token), MLTOKEN_ETIMEOUT);
    mltoken_close(first);
    agent_stop(&agent, second);
    agent_free(&agent);
}

static void test_directory_that_is_open(void **state)
{
    (void)state;
    static const struct line script[] = {{.act = READ}, {.act = SAY, .text = TOKEN_REPLY}, {.act = HOLD}, {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script), *usual;
    mltoken_token *token = NULL;
    char directory[128], path[160];
    (void)snprintf(directory, sizeof(directory), "%s/mltoken", agent.directory);
    (void)snprintf(path, sizeof(path), "%s/agent.sock", directory);
    assert_int_equal(mkdir(directory, 0755), 0);
    assert_int_equal(rename(agent.path, path), 0);
    assert_int_equal(setenv("XDG_RUNTIME_DIR", agent.directory, 1), 0);
    assert_int_equal(mltoken_open(NULL, &usual), 0);
    assert_int_equal(mltoken_get(usual, NULL, 0, &token), MLTOKEN_EPEER);
    assert_null(token);
    assert_non_null(strstr(mltoken_detail_text(usual, MLTOKEN_REASON), "open to others"));
    assert_int_equal(chmod(directory, 0700), 0);
    assert_int_equal(mltoken_get(usual, NULL, 0, &token), 0);
    mltoken_free(token);
    mltoken_close(usual);
    assert_int_equal(unsetenv("XDG_RUNTIME_DIR"), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(directory), 0);
    agent_stop(&agent, handle);
    agent_free(&agent);
}

/* Root's server, somebody else's client: not a byte is written. */
static void test_another_users_server(void **state)
{
    (void)state;
    if (geteuid() != 0)
        return; /* nobody else to be */
    static const struct line script[] = {{.act = READ}, {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    assert_int_equal(chmod(agent.directory, 0755), 0);
    assert_int_equal(chmod(agent.path, 0777), 0);
    pid_t child = fork();
    if (child == 0) {
        mltoken_handle *mine;
        mltoken_token *token;
        if (setgid(12345) != 0 || setuid(12345) != 0 || mltoken_open(agent.path, &mine) != 0)
            _exit(2);
        _exit(mltoken_get(mine, NULL, 5000, &token) == MLTOKEN_EPEER ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    agent_stop(&agent, handle);
    assert_int_equal(agent.heard.length, 0);
    assert_int_equal(agent.connections, 1);
    agent_free(&agent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_agent),
        cmocka_unit_test(test_closed_before_the_answer),
        cmocka_unit_test(test_nonsense_after_a_good_answer),
        cmocka_unit_test(test_agent_was_renewed_while_idle),
        cmocka_unit_test(test_full_queue),
        cmocka_unit_test(test_directory_that_is_open),
        cmocka_unit_test(test_another_users_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
