/* libmltoken against an agent that says what a script says. */
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
            assert_int_equal(poll(&fd, 1, 10000), 1);
    } while (event == MLTOKEN_NOTHING);
    assert_int_equal(event, MLTOKEN_TOKEN);
    assert_int_equal(mltoken_events(handle), 0);
    assert_int_equal(mltoken_take(handle, &token), 0);
    assert_int_equal(mltoken_take(handle, &(mltoken_token *){NULL}), MLTOKEN_EINVAL); /* once */
    mltoken_free(token);
    agent_stop(&agent, handle);
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
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_no_request_asks_for_nothing),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_answers_that_make_no_sense),
        cmocka_unit_test(test_answers_that_do),
        cmocka_unit_test(test_old_agents),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_details),
        cmocka_unit_test(test_long_answers),
        cmocka_unit_test(test_long_tokens),
        cmocka_unit_test(test_deep_answers),
        cmocka_unit_test(test_answer_nobody_asked_for),
        cmocka_unit_test(test_no_agent),
        cmocka_unit_test(test_closed_before_the_answer),
        cmocka_unit_test(test_nonsense_after_a_good_answer),
        cmocka_unit_test(test_agent_was_renewed_while_idle),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_event_loop),
        cmocka_unit_test(test_full_queue),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_two_at_once),
        cmocka_unit_test(test_login),
        cmocka_unit_test(test_login_is_cancelled),
        cmocka_unit_test(test_login_that_makes_no_sense),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_freeing_wipes),
        cmocka_unit_test(test_directory_that_is_open),
        cmocka_unit_test(test_another_users_server),
        cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
