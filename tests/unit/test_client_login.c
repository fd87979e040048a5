/* Signing in through libmltoken: prompts, cancelling, and answers that make no sense. */
#include "client_fixture.h"

struct seen {
    int prompts, stop_after;
    char code[32];
};

static int on_prompt(void *arg, const mltoken_prompt *prompt)
{
    struct seen *seen = arg;
    seen->prompts++;
    assert_int_equal(mltoken_prompt_kind_of(prompt), MLTOKEN_PROMPT_DEVICE);
    assert_string_equal(mltoken_prompt_uri(prompt), "https://x.example/device");
    assert_null(mltoken_prompt_uri_complete(prompt));
    assert_null(mltoken_prompt_message(prompt));
    assert_int_equal(mltoken_prompt_expires_at(prompt), 2000000000);
    (void)snprintf(seen->code, sizeof(seen->code), "%s", mltoken_prompt_user_code(prompt));
    return seen->prompts == seen->stop_after;
}

#define PROMPT(code)                                                                                                   \
    "{\"parameters\":{\"state\":\"prompt\",\"session\":\"s\",\"prompt\":{\"kind\":\"device\",\"verificationUri\":"     \
    "\"https://x.example/device\",\"userCode\":\"" code "\",\"expiresAt\":2000000000}},\"continues\":true}"
#define DONE "{\"parameters\":{\"state\":\"done\",\"session\":\"s\",\"account\":\"alice\"}}"

static void test_login(void **state)
{
    (void)state;
    static const struct line script[] = {
        {.act = READ},
        {.act = SAY, .text = PROMPT("AAAA")},
        {.act = SAY, .text = "{\"parameters\":{\"state\":\"novel\",\"session\":\"s\"},\"continues\":true}"},
        {.act = SAY, .text = PROMPT("BBBB")},
        {.act = SAY, .text = DONE},
        {.act = HOLD},
        {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    struct seen seen = {0};
    mltoken_request *request;
    assert_int_equal(mltoken_request_new(&request), 0);
    assert_int_equal(mltoken_request_profile(request, "me"), 0);
    assert_int_equal(mltoken_request_switch_account(request, 1), 0);
    assert_null(mltoken_account(handle));
    assert_int_equal(mltoken_login(handle, request, 0, on_prompt, &seen), 0);
    assert_int_equal(seen.prompts, 2);
    assert_string_equal(seen.code, "BBBB");
    assert_string_equal(mltoken_account(handle), "alice");
    mltoken_request_free(request);
    agent_stop(&agent, handle);
    assert_string_equal(agent.heard.data, "{\"method\":\"org.mltoken.agent.Login\",\"parameters\":{\"profile\":\"me\","
                                          "\"switchAccount\":true},\"more\":true}");
    agent_free(&agent);
}

static void test_login_is_cancelled(void **state)
{
    (void)state;
    static const struct line script[] = {
        {.act = READ}, {.act = SAY, .text = PROMPT("AAAA")}, {.act = HOLD}, {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    struct seen seen = {.stop_after = 1};
    assert_int_equal(mltoken_login(handle, NULL, 0, on_prompt, &seen), MLTOKEN_ECANCELLED);
    (void)pthread_join(agent.thread, NULL); /* HOLD ends: the connection is closed though the handle lives */
    agent.thread = 0;
    assert_true(agent.client_left);
    agent_stop(&agent, handle);
    agent_free(&agent);
}

static void test_login_that_makes_no_sense(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "{\"parameters\":{}}",
        "{\"parameters\":{\"state\":\"prompt\",\"prompt\":{\"kind\":\"device\"}}}", /* ends without being done */
        "{\"parameters\":{\"state\":1},\"continues\":true}",
        "{\"parameters\":{\"state\":\"prompt\",\"prompt\":{}},\"continues\":true}",
        "{\"parameters\":{\"state\":\"prompt\",\"prompt\":{\"kind\":\"device\",\"userCode\":\"a\\u001bb\"}},"
        "\"continues\":true}",
        "{\"parameters\":{\"state\":\"prompt\",\"prompt\":{\"kind\":\"device\",\"expiresAt\":-5}},\"continues\":true}",
        "{\"parameters\":{\"state\":\"done\",\"account\":1}}",
    };
    for (size_t i = 0; i < ELEMENTS(answers); i++) {
        const struct line script[] = {{.act = READ}, {.act = SAY, .text = answers[i]}, {.act = HOLD}, {.act = END}};
        struct agent agent;
        mltoken_handle *handle = agent_start(&agent, script);
        assert_int_equal(mltoken_login(handle, NULL, 5000, NULL, NULL), MLTOKEN_EPROTOCOL);
        agent_stop(&agent, handle);
        agent_free(&agent);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_login),
        cmocka_unit_test(test_login_is_cancelled),
        cmocka_unit_test(test_login_that_makes_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
