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
    assert_int_equal(mltoken_request_policy(request, "B2C_1_x"), 0);
    assert_int_equal(mltoken_request_policy(request, ""), MLTOKEN_EINVAL); /* then it is as before */
    assert_int_equal(mltoken_request_policy(request, "a\nb"), MLTOKEN_EINVAL);
    assert_int_equal(mltoken_request_policy(NULL, "a"), MLTOKEN_EINVAL);
    assert_null(mltoken_account(handle));
    assert_int_equal(mltoken_login(handle, request, 0, on_prompt, &seen), 0);
    assert_int_equal(seen.prompts, 2);
    assert_string_equal(seen.code, "BBBB");
    assert_string_equal(mltoken_account(handle), "alice");
    mltoken_request_free(request);
    agent_stop(&agent, handle);
    assert_string_equal(agent.heard.data, "{\"method\":\"org.mltoken.agent.Login\",\"parameters\":{\"profile\":\"me\","
                                          "\"policy\":\"B2C_1_x\",\"switchAccount\":true},\"more\":true}");
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

#define BROWSER                                                                                                        \
    "{\"parameters\":{\"state\":\"prompt\",\"session\":\"5e55\",\"prompt\":{\"kind\":\"browser\",\"verificationUri\":" \
    "\"http://127.0.0.1:1/a\",\"verificationUriComplete\":\"https://x.example/b\"}},\"continues\":true}"
#define SECRET                                                                                                         \
    "{\"parameters\":{\"state\":\"prompt\",\"session\":\"5e55\",\"prompt\":{\"kind\":\"secret\",\"name\":"             \
    "\"password\"}},"                                                                                                  \
    "\"continues\":true}"

static int on_kind(void *arg, const mltoken_prompt *prompt)
{
    int *seen = arg;
    assert_string_equal(mltoken_prompt_session(prompt), "5e55");
    if ((*seen)++ == 0) {
        assert_int_equal(mltoken_prompt_kind_of(prompt), MLTOKEN_PROMPT_BROWSER);
        assert_string_equal(mltoken_prompt_uri(prompt), "http://127.0.0.1:1/a");
        assert_string_equal(mltoken_prompt_uri_complete(prompt), "https://x.example/b");
        assert_null(mltoken_prompt_name(prompt));
    } else {
        assert_int_equal(mltoken_prompt_kind_of(prompt), MLTOKEN_PROMPT_SECRET);
        assert_string_equal(mltoken_prompt_name(prompt), "password");
        assert_null(mltoken_prompt_uri(prompt));
    }
    return 0;
}

static void test_prompts_that_want_an_answer(void **state)
{
    (void)state;
    static const struct line script[] = {{.act = READ},
                                         {.act = SAY, .text = BROWSER},
                                         {.act = SAY, .text = SECRET},
                                         {.act = SAY, .text = DONE},
                                         {.act = HOLD},
                                         {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    int seen = 0;
    assert_int_equal(mltoken_login(handle, NULL, 0, on_kind, &seen), 0);
    assert_int_equal(seen, 2);
    agent_stop(&agent, handle);
    agent_free(&agent);
}

static void test_answer(void **state)
{
    (void)state;
    static const struct {
        const char *reply;
        int code;
    } cases[] = {
        {"{\"parameters\":{}}", 0},
        {"{\"error\":\"org.mltoken.agent.Denied\",\"parameters\":{\"reason\":\"not it\"}}", MLTOKEN_EDENIED},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        const struct line script[] = {{.act = READ}, {.act = SAY, .text = cases[i].reply}, {.act = HOLD}, {.act = END}};
        struct agent agent;
        mltoken_handle *handle = agent_start(&agent, script);
        assert_int_equal(mltoken_answer(handle, "5e55", "http://127.0.0.1:1/?code=c", 5000), cases[i].code);
        agent_stop(&agent, handle);
        assert_string_equal(agent.heard.data, "{\"method\":\"org.mltoken.agent.Answer\",\"parameters\":{\"session\":"
                                              "\"5e55\",\"value\":\"http://127.0.0.1:1/?code=c\"}}");
        agent_free(&agent);
    }
    assert_int_equal(mltoken_answer(NULL, "s", "v", 0), MLTOKEN_EINVAL);
    assert_string_equal(mltoken_prompt_session(NULL), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_login),
        cmocka_unit_test(test_login_is_cancelled),
        cmocka_unit_test(test_login_that_makes_no_sense),
        cmocka_unit_test(test_prompts_that_want_an_answer),
        cmocka_unit_test(test_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
