/* What libmltoken makes of an agent's answers: good ones, nonsense, those of older agents, and the long. */
#include "client_fixture.h"

/* What an answer gives, for a request for profile "me" and, where said, a resource */
static void check_answer(const char *answer, size_t length, const char *resource, int expected)
{
    const struct line script[] = {{.act = READ}, {.act = SAY, .text = answer, length}, {.act = HOLD}, {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    mltoken_request *request;
    mltoken_token *token = NULL;
    assert_int_equal(mltoken_request_new(&request), 0);
    assert_int_equal(mltoken_request_profile(request, "me"), 0);
    assert_int_equal(mltoken_request_resource(request, resource), 0);
    int r = mltoken_get(handle, request, 10000, &token);
    if (r != expected)
        fail_msg("%d, not %d: %.200s", r, expected, answer);
    assert_true((r == 0) == (token != NULL));
    if (r < 0)
        assert_non_null(mltoken_detail_text(handle, MLTOKEN_REASON));
    mltoken_free(token);
    mltoken_request_free(request);
    agent_stop(&agent, handle);
    agent_free(&agent);
}

#define TOKEN_OF(members) "{\"parameters\":{\"token\":{" members "}}}"
#define CORE              "\"profile\":\"me\",\"type\":\"Bearer\""

static void test_answers_that_make_no_sense(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "",
        "x",
        "1",
        "null",
        "\"a\"",
        "[]",
        "{}",
        "{\"parameters\":{}}",
        "{\"parameters\":[]}",
        "{\"parameters\":{\"token\":1}}",
        "{\"parameters\":{\"token\":null}}",
        "{\"parameters\":{\"token\":{}}}",
        "{\"parameters\":{\"token\":{}},\"continues\":1}",
        "{\"parameters\":{\"token\":{" TOKEN_MEMBERS("me", "a") "}},\"continues\":true}",
        "{\"error\":1}",
        "{\"error\":\"a\\nb\"}",
        "{'parameters':{}}",
        "{\"err\\u0000or\":1}",
        /* the token's bytes */
        TOKEN_OF(CORE ",\"value\":\"\",\"header\":\"a\",\"scopes\":[]"),
        TOKEN_OF(CORE ",\"value\":\"a b\",\"header\":\"a\",\"scopes\":[]"),
        TOKEN_OF(CORE ",\"value\":\"a\\u0000b\",\"header\":\"a\",\"scopes\":[]"),
        TOKEN_OF(CORE ",\"value\":\"a\\r\\nX: y\",\"header\":\"a\",\"scopes\":[]"),
        TOKEN_OF(CORE ",\"value\":\"a\\u007f\",\"header\":\"a\",\"scopes\":[]"),
        TOKEN_OF(CORE ",\"value\":\"\xc3\xa9\",\"header\":\"a\",\"scopes\":[]"),
        TOKEN_OF(CORE ",\"value\":1,\"header\":\"a\",\"scopes\":[]"),
        TOKEN_OF(CORE ",\"header\":\"a\",\"scopes\":[]"),
        /* its header */
        TOKEN_OF(CORE ",\"value\":\"a\",\"scopes\":[]"),
        TOKEN_OF(CORE ",\"value\":\"a\",\"header\":\"\",\"scopes\":[]"),
        TOKEN_OF(CORE ",\"value\":\"a\",\"header\":\"a\\r\\nX: y\",\"scopes\":[]"),
        TOKEN_OF(CORE ",\"value\":\"a\",\"header\":\"\xc3\xa9\",\"scopes\":[]"),
        /* the rest */
        TOKEN_OF("\"type\":\"Bearer\",\"value\":\"a\",\"header\":\"a\",\"scopes\":[]"),
        TOKEN_OF("\"profile\":\"me\",\"value\":\"a\",\"header\":\"a\",\"scopes\":[]"),
        TOKEN_OF(CORE ",\"value\":\"a\",\"header\":\"a\""),
        TOKEN_OF(CORE ",\"value\":\"a\",\"header\":\"a\",\"scopes\":\"a\""),
        TOKEN_OF(CORE ",\"value\":\"a\",\"header\":\"a\",\"scopes\":[1]"),
        TOKEN_OF(CORE ",\"value\":\"a\",\"header\":\"a\",\"scopes\":[\"a b\"]"),
        TOKEN_OF(CORE ",\"value\":\"a\",\"header\":\"a\",\"scopes\":[\"a\\u0000\"]"),
        TOKEN_OF(CORE ",\"value\":\"a\",\"header\":\"a\",\"scopes\":[],\"expiresAt\":-1"),
        TOKEN_OF(CORE ",\"value\":\"a\",\"header\":\"a\",\"scopes\":[],\"expiresAt\":\"1\""),
        TOKEN_OF(CORE ",\"value\":\"a\",\"header\":\"a\",\"scopes\":[],\"expiresAt\":1.5"),
        TOKEN_OF(CORE ",\"value\":\"a\",\"header\":\"a\",\"scopes\":[],\"expiresAt\":9223372036854775808"),
        TOKEN_OF(CORE ",\"value\":\"a\",\"header\":\"a\",\"scopes\":[],\"account\":\"a\\u0000b\""),
        TOKEN_OF(CORE ",\"value\":\"a\",\"header\":\"a\",\"scopes\":[],\"account\":1"),
    };
    for (size_t i = 0; i < ELEMENTS(answers); i++)
        check_answer(answers[i], 0, NULL, MLTOKEN_EPROTOCOL);
    check_answer("{\"parameters\"\0:{}}", 18, NULL, MLTOKEN_EPROTOCOL);
}

static void test_answers_that_do(void **state)
{
    (void)state;
    static const char *const answers[] = {
        TOKEN_OF(CORE ",\"value\":\"a\",\"header\":\"a\",\"scopes\":[]"),
        TOKEN_OF(CORE ",\"value\":\"!~\",\"header\":\"a "
                      "b\",\"scopes\":[],\"expiresAt\":null,\"account\":null,\"new\":{\"x\":[]}"),
        "{\"new\":1,\"parameters\":{\"new\":1,\"token\":{" TOKEN_MEMBERS("me", "a") "}},\"continues\":false}",
    };
    for (size_t i = 0; i < ELEMENTS(answers); i++)
        check_answer(answers[i], 0, NULL, 0);
}

static void test_old_agents(void **state)
{
    (void)state;
    static const char resource[] = "https://r.example";
    static const char *const old[] = {
        TOKEN_OF(CORE ",\"value\":\"a\",\"header\":\"a\",\"scopes\":[]"), /* ignored what was asked for */
        TOKEN_OF(CORE ",\"value\":\"a\",\"header\":\"a\",\"scopes\":[],\"resource\":null"),
        TOKEN_OF(CORE ",\"value\":\"a\",\"header\":\"a\",\"scopes\":[],\"resource\":\"https://other.example\""),
        "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":\"resource\"}}",
        "{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":{\"method\":\"org.mltoken.agent.GetToken\"}}",
    };
    for (size_t i = 0; i < ELEMENTS(old); i++) {
        const struct line script[] = {{.act = READ}, {.act = SAY, .text = old[i]}, {.act = HOLD}, {.act = END}};
        struct agent agent;
        mltoken_handle *handle = agent_start(&agent, script);
        mltoken_request *request;
        mltoken_token *token = NULL;
        assert_int_equal(mltoken_request_new(&request), 0);
        assert_int_equal(mltoken_request_resource(request, resource), 0);
        assert_int_equal(mltoken_get(handle, request, 0, &token), MLTOKEN_EOLDAGENT);
        assert_null(token);
        if (i < 4)
            assert_string_equal(mltoken_detail_text(handle, MLTOKEN_NAME), "resource");
        mltoken_request_free(request);
        agent_stop(&agent, handle);
        agent_free(&agent);
    }
    check_answer(TOKEN_OF(CORE ",\"value\":\"a\",\"header\":\"a\",\"scopes\":[],\"resource\":\"https://r.example\""), 0,
                 resource, 0);
    check_answer(TOKEN_OF("\"profile\":\"other\",\"type\":\"Bearer\",\"value\":\"a\",\"header\":\"a\",\"scopes\":[]"),
                 0, NULL, MLTOKEN_EOLDAGENT);
}

static void test_errors(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int code;
    } cases[] = {
        {"org.mltoken.agent.NoSuchProfile", MLTOKEN_ENOSUCHPROFILE},
        {"org.mltoken.agent.InvalidConfiguration", MLTOKEN_ECONFIGURATION},
        {"org.mltoken.agent.SecretMissing", MLTOKEN_ESECRETMISSING},
        {"org.mltoken.agent.NotSupported", MLTOKEN_ENOTSUPPORTED},
        {"org.mltoken.agent.LoginRequired", MLTOKEN_ELOGINREQUIRED},
        {"org.mltoken.agent.SignInFailed", MLTOKEN_ESIGNINFAILED},
        {"org.mltoken.agent.AuthorityRefused", MLTOKEN_EREFUSED},
        {"org.mltoken.agent.InvalidToken", MLTOKEN_EINVALIDTOKEN},
        {"org.mltoken.agent.AuthorityUnreachable", MLTOKEN_EUNREACHABLE},
        {"org.mltoken.agent.TokenTooShort", MLTOKEN_ETOOSHORT},
        {"org.mltoken.agent.StoreUnavailable", MLTOKEN_ESTORE},
        {"org.mltoken.agent.Locked", MLTOKEN_ELOCKED},
        {"org.mltoken.agent.Denied", MLTOKEN_EDENIED},
        {"org.mltoken.agent.Busy", MLTOKEN_EBUSY},
        {"org.mltoken.agent.Novel", MLTOKEN_EUNKNOWN},
        {"org.mltoken.agent.", MLTOKEN_EUNKNOWN},
        {"com.example.LoginRequired", MLTOKEN_EUNKNOWN},
        {"LoginRequired", MLTOKEN_EUNKNOWN},
        {"", MLTOKEN_EUNKNOWN},
        {"org.varlink.service.InvalidParameter", MLTOKEN_EPROTOCOL},
        {"org.varlink.service.ExpectedMore", MLTOKEN_EPROTOCOL},
        {"org.varlink.service.MethodNotFound", MLTOKEN_EOLDAGENT},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        char answer[512];
        (void)snprintf(answer, sizeof(answer),
                       "{\"error\":\"%s\",\"parameters\":{\"reason\":\"why\",\"parameter\":\"x\"}}", cases[i].name);
        check_answer(answer, 0, NULL, cases[i].code);
        assert_string_not_equal(mltoken_strerror(cases[i].code), "unknown error");
    }
    assert_string_equal(mltoken_strerror(-9999), "unknown error");
    assert_string_equal(mltoken_strerror(1), "unknown error");
}

static void test_details(void **state)
{
    (void)state;
    static const struct line script[] = {{.act = READ},
                                         {.act = SAY,
                                          .text = "{\"error\":\"org.mltoken.agent.AuthorityRefused\",\"parameters\":{"
                                                  "\"profile\":\"me\",\"error\":\"invalid_client\","
                                                  "\"description\":\"AADSTS\\u001b[31m \\u202e\\u0000 "
                                                  "x\",\"correlationId\":\"c-1\",\"traceId\":\"t-1\",\"reason\":null,"
                                                  "\"retryAt\":1700000000,\"minValid\":60,\"expiresAt\":1700000001,"
                                                  "\"name\":\"client_secret\",\"file\":\"/f\",\"line\":7}}"},
                                         {.act = READ},
                                         {.act = SAY, .text = TOKEN_REPLY},
                                         {.act = HOLD},
                                         {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    mltoken_token *token;
    assert_int_equal(mltoken_get(handle, NULL, 0, &token), MLTOKEN_EREFUSED);
    assert_string_equal(mltoken_detail_text(handle, MLTOKEN_NAME_OF_ERROR), "org.mltoken.agent.AuthorityRefused");
    assert_string_equal(mltoken_detail_text(handle, MLTOKEN_PROFILE), "me");
    assert_string_equal(mltoken_detail_text(handle, MLTOKEN_ERROR), "invalid_client");
    assert_string_equal(mltoken_detail_text(handle, MLTOKEN_DESCRIPTION), "AADSTS\\x1b[31m \\u{202e}\\x00 x");
    assert_string_equal(mltoken_detail_text(handle, MLTOKEN_CORRELATION_ID), "c-1");
    assert_string_equal(mltoken_detail_text(handle, MLTOKEN_TRACE_ID), "t-1");
    assert_string_equal(mltoken_detail_text(handle, MLTOKEN_NAME), "client_secret");
    assert_string_equal(mltoken_detail_text(handle, MLTOKEN_FILE), "/f");
    assert_null(mltoken_detail_text(handle, MLTOKEN_REASON));
    assert_null(mltoken_detail_text(handle, MLTOKEN_LINE)); /* a number */
    assert_int_equal(mltoken_detail_number(handle, MLTOKEN_LINE), 7);
    assert_int_equal(mltoken_detail_number(handle, MLTOKEN_RETRY_AT), 1700000000);
    assert_int_equal(mltoken_detail_number(handle, MLTOKEN_MIN_VALID), 60);
    assert_int_equal(mltoken_detail_number(handle, MLTOKEN_EXPIRES_AT), 1700000001);
    assert_int_equal(mltoken_detail_number(handle, MLTOKEN_PROFILE), 0);
    assert_int_equal(mltoken_get(handle, NULL, 0, &token), 0); /* the connection stays good, the failure is over */
    mltoken_free(token);
    assert_null(mltoken_detail_text(handle, MLTOKEN_ERROR));
    agent_stop(&agent, handle);
    assert_int_equal(agent.connections, 1);
    agent_free(&agent);
}

static void test_long_answers(void **state)
{
    (void)state;
    static const char start[] = "{\"parameters\":{\"token\":{" TOKEN_MEMBERS("me", "a") "},\"pad\":\"", end[] = "\"}}";
    for (size_t length = LIMIT_REPLY - 1; length <= LIMIT_REPLY + 1; length++) {
        _cleanup_free_ char *answer = malloc(length + 1);
        memset(answer, 'p', length);
        memcpy(answer, start, strlen(start));
        memcpy(answer + length - strlen(end), end, sizeof(end));
        check_answer(answer, length, NULL, length <= LIMIT_REPLY ? 0 : MLTOKEN_EPROTOCOL);
    }
}

static void test_long_tokens(void **state)
{
    (void)state;
    for (size_t length = LIMIT_TOKEN - 1; length <= LIMIT_TOKEN + 1; length++) {
        _cleanup_buffer_ struct buffer answer = BUFFER(LIMIT_REPLY);
        buffer_text(&answer, "{\"parameters\":{\"token\":{" CORE ",\"scopes\":[],\"header\":\"a\",\"value\":\"");
        for (size_t i = 0; i < length; i++)
            buffer_byte(&answer, 'v');
        buffer_text(&answer, "\"}}}");
        check_answer(answer.data, answer.length, NULL, length <= LIMIT_TOKEN ? 0 : MLTOKEN_EPROTOCOL);
    }
}

static void test_deep_answers(void **state)
{
    (void)state;
    for (int depth = LIMIT_REPLY_DEPTH - 1; depth <= LIMIT_REPLY_DEPTH + 1; depth++) {
        _cleanup_buffer_ struct buffer answer = BUFFER(4096);
        buffer_text(&answer, "{\"parameters\":{\"token\":{" TOKEN_MEMBERS("me", "a") "},\"deep\":");
        for (int i = 2; i < depth; i++)
            buffer_byte(&answer, '[');
        for (int i = 2; i < depth; i++)
            buffer_byte(&answer, ']');
        buffer_text(&answer, "}}");
        check_answer(answer.data, answer.length, NULL, depth <= LIMIT_REPLY_DEPTH ? 0 : MLTOKEN_EPROTOCOL);
    }
}

static void test_answer_nobody_asked_for(void **state)
{
    (void)state;
    static const struct line script[] = {
        {.act = READ},
        {.act = SAY, .text = TOKEN_REPLY "\0" TOKEN_REPLY, 2 * sizeof(TOKEN_REPLY) - 1},
        {.act = HOLD},
        {.act = READ},
        {.act = SAY, .text = "{\"error\":\"org.mltoken.agent.Locked\"}"},
        {.act = HOLD},
        {.act = END}};
    struct agent agent;
    mltoken_handle *handle = agent_start(&agent, script);
    mltoken_token *token;
    assert_int_equal(mltoken_get(handle, NULL, 0, &token), 0);
    mltoken_free(token);
    assert_int_equal(mltoken_get(handle, NULL, 0, &token), MLTOKEN_ELOCKED); /* its own answer, on a new connection */
    agent_stop(&agent, handle);
    assert_int_equal(agent.connections, 2);
    agent_free(&agent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_that_make_no_sense),
        cmocka_unit_test(test_answers_that_do),
        cmocka_unit_test(test_old_agents),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_details),
        cmocka_unit_test(test_long_answers),
        cmocka_unit_test(test_long_tokens),
        cmocka_unit_test(test_deep_answers),
        cmocka_unit_test(test_answer_nobody_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
