/* The keys and tokens of Azure's resources: what is asked of each kind, how a rotation goes on wherever it stopped, how
 * long an operation is looked after, and that the parent's token goes to nobody else. */
#include "machine.h"

#define ARM                        "https://management.example.org"
#define GROUP                      "/subscriptions/S/resourceGroups/G/providers/"
#define ENDPOINT                   ARM GROUP "Microsoft.MachineLearningServices/workspaces/W/onlineEndpoints/E"
#define SERVICE                    ARM "/modelmanagement/v1.0" GROUP "Microsoft.MachineLearningServices/workspaces/W/services/X"
#define ACCOUNT                    ARM GROUP "Microsoft.CognitiveServices/accounts/A"
#define OPERATION                  ARM "/operations/1"
#define PARENT_IS(text)            ((struct reply){.kind = STEP_PARENT, .body = (text)})
#define NOTE_IS(text)              ((struct reply){.kind = STEP_RECALL, .body = (text)})
#define KEYS(one, two)             OK("{\"primaryKey\":\"" one "\",\"secondaryKey\":\"" two "\"}")
#define PAIR(one, two)             OK("{\"key1\":\"" one "\",\"key2\":\"" two "\"}")
#define GOES_ON(status_, headers_) ((struct reply){.kind = STEP_HTTP, .status = (status_), .headers = headers_})

static struct setting settings[2];

static void open(struct machine *m, const struct grant *grant, const char *authority)
{
    machine_open(m, grant);
    m->profile.authority = TEXT(authority);
    m->profile.token_endpoint = NULL;
    m->profile.parent = TEXT("arm");
    m->profile.settings = settings;
    assert_null(grant->check(&m->profile));
}

static void set(struct machine *m, const char *key, const char *value)
{
    assert_true(m->profile.setting_count < ELEMENTS(settings));
    settings[m->profile.setting_count++] = (struct setting){TEXT(key), TEXT(value), 1};
}

/* ---- keys ---- */

static void keys_are_listed(void **state)
{
    static const struct {
        const struct grant *grant;
        const char *authority, *url;
        struct reply reply;
    } cases[] = {
        {&grant_azureml_key, ENDPOINT, ENDPOINT "/listKeys?api-version=2024-10-01", KEYS("K1", "K2")},
        {&grant_azureml_key, SERVICE, SERVICE "/listkeys", KEYS("K1", "K2")},
        {&grant_azure_key, ACCOUNT, ACCOUNT "/listKeys?api-version=2025-09-01", PAIR("K1", "K2")},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct machine m;
        open(&m, cases[i].grant, cases[i].authority);
        assert_int_equal(machine_start(&m, GRANT_ACQUIRE), STEP_RECALL);
        assert_true(m.step.quiet);
        assert_int_equal(machine_answer(&m, NOTE_IS("")), STEP_PARENT);
        assert_false(m.step.parent.refresh);
        assert_int_equal(machine_answer(&m, PARENT_IS("PT")), STEP_HTTP);
        assert_string_equal(m.url, cases[i].url);
        assert_string_equal(m.authorization, "Bearer PT");
        assert_string_equal(m.method, "POST");
        assert_string_equal(m.body, "");
        assert_int_equal(machine_answer(&m, cases[i].reply), STEP_DONE);
        assert_string_equal(m.step.done.tokens->access_token, "K1");
        assert_true(m.step.done.tokens->endless);
        assert_int_equal(m.step.done.tokens->refresh_in_s, 900);
        machine_close(&m);
    }
    assert_int_equal(secret_arena_used(), 0);
}

static void which_key_is_served(void **state)
{
    static const struct {
        const char *slot, *note, *key;
        int error;
    } cases[] = {
        {NULL, "", "K1", 0},
        {NULL, "any secondary", "K2", 0},
        {NULL, "any secondary regenerating", "K2", 0},
        {"secondary", "", "K2", 0},
        {"secondary", "any primary", "K2", 0}, /* a note for another setting */
        {"secondary", "secondary primary", "K1", 0},
        {NULL, "garbage", "K1", 0},
        {NULL, NULL, "K1", -ENOLCK}, /* a store that is locked does not stop a renewal */
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        const struct reply list[] = {
            {.kind = STEP_RECALL, .body = cases[i].note, .error = cases[i].error}, PARENT_IS("PT"), KEYS("K1", "K2")};
        struct machine m;
        open(&m, &grant_azureml_key, ENDPOINT);
        if (cases[i].slot)
            set(&m, "slot", cases[i].slot);
        assert_int_equal(machine_run(&m, GRANT_ACQUIRE, list, ELEMENTS(list)), STEP_DONE);
        assert_string_equal(m.step.done.tokens->access_token, cases[i].key);
        machine_close(&m);
    }
}

static void keys_that_cannot_be_served(void **state)
{
    static const char *const bodies[] = {
        "{}",
        "{\"primaryKey\":null}",
        "{\"primaryKey\":\"\"}",
        "{\"primaryKey\":7}",
        "{\"primaryKey\":\"a b\"}",
        "{\"primaryKey\":\"a\\r\\nX: b\"}",
        "{\"primaryKey\":\"a\\u0000b\"}",
        "{\"primaryKey\":\"\\u00e9\"}",
        "{\"secondaryKey\":\"K2\"}",
        "{\"key1\":\"K1\",\"key2\":\"K2\"}",
    };
    struct machine m;
    (void)state;
    open(&m, &grant_azureml_key, ENDPOINT);
    for (size_t i = 0; i < ELEMENTS(bodies); i++) {
        const struct reply list[] = {NOTE_IS(""), PARENT_IS("PT"), OK(bodies[i])};
        machine_run(&m, GRANT_ACQUIRE, list, ELEMENTS(list));
        fails(&m, FAILURE_AUTHORITY_REFUSED, "no primary key (primaryKey)");
    }
    machine_close(&m);
}

static void a_key_has_a_limit(void **state)
{
    (void)state;
    for (size_t length = LIMIT_TOKEN - 1; length <= LIMIT_TOKEN + 1; length++) {
        char *body = malloc(length + 64);
        assert_non_null(body);
        size_t head = (size_t)snprintf(body, 64, "{\"primaryKey\":\"");
        memset(body + head, 'k', length);
        memcpy(body + head + length, "\"}", 3);
        const struct reply list[] = {NOTE_IS(""), PARENT_IS("PT"), OK(body)};
        struct machine m;
        open(&m, &grant_azureml_key, ENDPOINT);
        machine_run(&m, GRANT_ACQUIRE, list, ELEMENTS(list));
        assert_int_equal(m.step.kind, length > LIMIT_TOKEN ? STEP_FAIL : STEP_DONE);
        machine_close(&m);
        free(body);
    }
}

/* ---- rotation ---- */

static const struct reply rotation[] = {NOTE_IS(""),      PARENT_IS("PT"),
                                        KEYS("K1", "K2"), YES(STEP_NOTE),
                                        PARENT_IS("PT2"), GOES_ON(202, "Location: " OPERATION "\r\n"),
                                        YES(STEP_WAIT),   OK("{\"status\":\"Running\"}"),
                                        YES(STEP_WAIT),   OK("{\"status\":\"Succeeded\"}"),
                                        PARENT_IS("PT3"), KEYS("N1", "K2"),
                                        YES(STEP_NOTE)};

static void both_keys_are_good_at_each_step_of_a_rotation(void **state)
{
    struct machine m;
    (void)state;
    open(&m, &grant_azureml_key, ENDPOINT);
    assert_int_equal(machine_start(&m, GRANT_ROTATE), STEP_RECALL);
    assert_false(m.step.quiet);
    machine_answer(&m, rotation[0]);
    machine_answer(&m, rotation[1]);
    assert_int_equal(machine_answer(&m, rotation[2]), STEP_NOTE);
    assert_string_equal(m.note, "any secondary regenerating");
    assert_string_equal(m.step.note.tokens->access_token, "K2");
    assert_int_equal(machine_answer(&m, rotation[3]), STEP_PARENT);
    assert_int_equal(machine_answer(&m, rotation[4]), STEP_HTTP);
    assert_string_equal(m.url, ENDPOINT "/regenerateKeys?api-version=2024-10-01");
    assert_string_equal(m.body, "{\"keyType\":\"Primary\"}");
    assert_int_equal(machine_answer(&m, rotation[5]), STEP_WAIT);
    assert_int_equal(m.step.wait_ms, DEFAULT_OPERATION_POLL_S * 1000L);
    assert_int_equal(machine_answer(&m, rotation[6]), STEP_HTTP);
    assert_string_equal(m.method, "GET");
    assert_string_equal(m.url, OPERATION);
    assert_string_equal(m.authorization, "Bearer PT2");
    for (size_t i = 7; i < 11; i++)
        machine_answer(&m, rotation[i]);
    assert_string_equal(m.url, ENDPOINT "/listKeys?api-version=2024-10-01");
    assert_int_equal(machine_answer(&m, rotation[11]), STEP_NOTE);
    assert_string_equal(m.note, "any secondary");
    assert_string_equal(m.step.note.tokens->access_token, "K2");
    assert_int_equal(machine_answer(&m, rotation[12]), STEP_DONE);
    assert_string_equal(m.step.done.slot, "secondary");
    assert_null(m.step.done.tokens);
    machine_close(&m);
}

static void an_account_answers_with_its_keys(void **state)
{
    const struct reply list[] = {NOTE_IS("any secondary"), PARENT_IS("PT"),  PAIR("K1", "K2"), YES(STEP_NOTE),
                                 PARENT_IS("PT"),          PAIR("K1", "N2"), YES(STEP_NOTE)};
    struct machine m;
    (void)state;
    open(&m, &grant_azure_key, ACCOUNT);
    machine_run(&m, GRANT_ROTATE, list, 5);
    assert_string_equal(m.url, ACCOUNT "/regenerateKey?api-version=2025-09-01");
    assert_string_equal(m.body, "{\"keyName\":\"Key2\"}");
    machine_run(&m, GRANT_ROTATE, list, ELEMENTS(list));
    assert_int_equal(m.step.kind, STEP_DONE);
    assert_string_equal(m.step.done.slot, "primary");
    machine_torture(&m, GRANT_ROTATE, list, ELEMENTS(list));
    machine_lie(&m, GRANT_ROTATE, list, ELEMENTS(list));
    machine_close(&m);
    assert_int_equal(secret_arena_used(), 0);
}

static void a_web_service_has_numbers_for_its_keys(void **state)
{
    const struct reply list[] = {NOTE_IS("any secondary"), PARENT_IS("PT"),  KEYS("K1", "K2"),
                                 YES(STEP_NOTE),           PARENT_IS("PT"),  SAYS(200, ""),
                                 PARENT_IS("PT"),          KEYS("K1", "N2"), YES(STEP_NOTE)};
    struct machine m;
    (void)state;
    open(&m, &grant_azureml_key, SERVICE);
    machine_run(&m, GRANT_ROTATE, list, 5);
    assert_string_equal(m.url, SERVICE "/regenerateKeys");
    assert_string_equal(m.body, "{\"keyType\":1}");
    machine_run(&m, GRANT_ROTATE, list, ELEMENTS(list));
    assert_int_equal(m.step.kind, STEP_DONE);
    machine_torture(&m, GRANT_ROTATE, list, ELEMENTS(list));
    machine_close(&m);
}

/* The one that was to be made anew still is; what is served stays. */
static void an_interrupted_rotation_goes_on(void **state)
{
    const struct reply list[] = {NOTE_IS("any secondary regenerating"), PARENT_IS("PT"), KEYS("K1", "K2"),
                                 YES(STEP_NOTE), PARENT_IS("PT")};
    struct machine m;
    (void)state;
    open(&m, &grant_azureml_key, ENDPOINT);
    machine_run(&m, GRANT_ROTATE, list, 3);
    assert_string_equal(m.note, "any secondary regenerating");
    machine_run(&m, GRANT_ROTATE, list, ELEMENTS(list));
    assert_string_equal(m.body, "{\"keyType\":\"Primary\"}");
    machine_close(&m);
}

static void what_is_served_is_said_when_it_fails(void **state)
{
    struct machine m;
    (void)state;
    open(&m, &grant_azureml_key, ENDPOINT);
    struct reply list[ELEMENTS(rotation)];
    static const struct {
        size_t at;
        struct reply reply;
        const char *words;
    } cases[] = {
        {0, NO(STEP_RECALL, -EIO), "which slot is served"},
        {2, SAYS(403, "{\"error\":{\"code\":\"AuthorizationFailed\",\"message\":\"no\"}}"),
         "onlineEndpoints/listKeys/action"},
        {2, SAYS(500, ""), "the primary key is served as before"},
        {2, KEYS("K1", ""), "has no secondary key"},
        {3, NO(STEP_NOTE, -EIO), "the primary key is served as before"},
        {5, SAYS(403, ""), "onlineEndpoints/regenerateKeys/action"},
        {5, SAYS(409, "{\"error\":{\"code\":\"Conflict\"}}"), "the secondary key is served and good"},
        {5, SAYS(500, ""), "the secondary key is served and good"},
        {5, GOES_ON(202, ""), "nothing says where"},
        {5, GOES_ON(202, "Location: https://evil.example/1\r\n"), "another origin"},
        {5, GOES_ON(202, "Location: //evil.example/1\r\n"), "cannot be read"},
        {5, GOES_ON(202, "Location: " ARM "@evil.example/1\r\n"), "cannot be read"},
        {5, GOES_ON(202, "Location: http://management.example.org/1\r\n"), "another origin"},
        {5, GOES_ON(202, "Location: \r\n"), "cannot be read"},
        {5, GOES_ON(202, "Location: javascript:1\r\n"), "cannot be read"},
        {5, GOES_ON(202, "Azure-AsyncOperation: https://evil.example/1\r\nLocation: " OPERATION "\r\n"),
         "another origin"},
        {9, OK("{\"status\":\"Failed\",\"error\":{\"message\":\"quota\\u001b[2J\"}}"), "ended as Failed: quota"},
        {9, OK("{\"status\":\"canceled\"}"), "ended as canceled"},
        {9, SAYS(404, ""), "rotate again"},
        {11, KEYS("K1", "K2"), "lists the same one"},
        {11, KEYS("N1", ""), "has no secondary key"},
        {11, KEYS("", "K2"), "has no primary key"},
        {12, NO(STEP_NOTE, -EIO), "rotate again"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        memcpy(list, rotation, sizeof(list));
        list[cases[i].at] = cases[i].reply;
        machine_run(&m, GRANT_ROTATE, list, cases[i].at + 1);
        assert_int_equal(m.step.kind, STEP_FAIL);
        machine_says(&m, cases[i].words);
        assert_null(strchr(m.step.fail.reason, '\x1b'));
    }
    machine_torture(&m, GRANT_ROTATE, rotation, ELEMENTS(rotation));
    machine_close(&m);
    assert_int_equal(secret_arena_used(), 0);
}

/* ---- an operation that goes on ---- */

static void where_an_operation_is_looked_for(void **state)
{
    static const struct {
        int status;
        const char *headers, *url;
        int64_t wait_ms;
    } cases[] = {
        {202, "Location: " OPERATION "\r\n", OPERATION, 5000},
        {201, "location: " OPERATION "\r\nRetry-After: 7\r\n", OPERATION, 7000},
        {200, "Azure-AsyncOperation: " OPERATION "\r\nRetry-After: 0\r\n", OPERATION, 500},
        {202, "Azure-AsyncOperation: " OPERATION "\r\nLocation: " ARM "/2\r\n", OPERATION, 5000},
        {202, "Location: /operations/2?a=b\r\n", ARM "/operations/2?a=b", 5000},
        {202, "Location: " OPERATION "\r\nRetry-After: 999999\r\n", OPERATION, 600000},
    };
    struct machine m;
    (void)state;
    open(&m, &grant_azureml_key, ENDPOINT);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct reply list[ELEMENTS(rotation)];
        memcpy(list, rotation, sizeof(list));
        list[5] = (struct reply){.kind = STEP_HTTP, .status = cases[i].status, .headers = cases[i].headers};
        assert_int_equal(machine_run(&m, GRANT_ROTATE, list, 6), STEP_WAIT);
        assert_int_equal(m.step.wait_ms, cases[i].wait_ms);
        machine_answer(&m, YES(STEP_WAIT));
        assert_string_equal(m.url, cases[i].url);
    }
    machine_close(&m);
}

/* Cut off, throttled and failing for a while: it goes on behind that. Never for ever. */
static void an_operation_is_looked_after_until_its_time_is_up(void **state)
{
    const struct reply troubles[] = {SAYS(503, ""), LOST, UNSENT, SAYS(429, "busy"), OK("{\"status\":\"Running\"}"),
                                     SAYS(202, "")};
    struct machine m;
    (void)state;
    open(&m, &grant_azureml_key, ENDPOINT);
    machine_run(&m, GRANT_ROTATE, rotation, 7);
    int64_t began = m.tick.boot_ms;
    for (size_t i = 0; m.step.kind != STEP_FAIL; i++) {
        assert_true(i < 1000);
        machine_answer(&m, m.step.kind == STEP_WAIT ? YES(STEP_WAIT) : troubles[i / 2 % ELEMENTS(troubles)]);
    }
    fails(&m, FAILURE_AUTHORITY_UNREACHABLE, "has not ended within 600 s");
    assert_true(m.tick.boot_ms - began <= LIMIT_OPERATION_S * 1000L);
    assert_true(m.tick.boot_ms - began >= LIMIT_OPERATION_S * 1000L - 10000);
    machine_close(&m);
}

static void a_parents_token_that_is_refused_is_asked_for_anew_once(void **state)
{
    const struct reply list[] = {NOTE_IS(""), PARENT_IS("P1"), SAYS(401, ""), PARENT_IS("P2"), SAYS(401, "")};
    struct machine m;
    (void)state;
    open(&m, &grant_azureml_key, ENDPOINT);
    machine_run(&m, GRANT_ACQUIRE, list, 3);
    assert_int_equal(m.step.kind, STEP_PARENT);
    assert_true(m.step.parent.refresh);
    machine_answer(&m, list[3]);
    assert_string_equal(m.authorization, "Bearer P2");
    machine_answer(&m, list[4]);
    fails(&m, FAILURE_AUTHORITY_REFUSED, "http_401");
    /* a poll's too, and it is the poll that is sent again */
    machine_run(&m, GRANT_ROTATE, rotation, 7);
    machine_answer(&m, SAYS(401, ""));
    assert_int_equal(machine_answer(&m, PARENT_IS("P9")), STEP_HTTP);
    assert_string_equal(m.url, OPERATION);
    assert_string_equal(m.authorization, "Bearer P9");
    machine_close(&m);
}

/* ---- tokens ---- */

static void a_token_and_its_times(void **state)
{
    static const struct {
        const char *authority;
        int status;
        const char *body;
        int64_t life, refresh;
    } cases[] = {
        {ENDPOINT, 200,
         "{\"accessToken\":\"AT\",\"tokenType\":\"Bearer\",\"expiryTimeUtc\":1800003600,\"refreshAfterTimeUtc\":"
         "1800001800}",
         3600, 1800},
        {SERVICE, 201,
         "{\"accessToken\":\"AT\",\"tokenType\":\"bearer\",\"expiryOn\":\"1800003600\",\"refreshAfter\":1800000060}",
         3600, 60},
        {ENDPOINT, 200, "{\"accessToken\":\"AT\"}", DEFAULT_LIFETIME_S, -1},
        {ENDPOINT, 200, "{\"accessToken\":\"AT\",\"expiryTimeUtc\":1800003600,\"refreshAfterTimeUtc\":1800003600}",
         3600, -1},
        {ENDPOINT, 200, "{\"accessToken\":\"AT\",\"expiryTimeUtc\":1800003600,\"refreshAfterTimeUtc\":1}", 3600, -1},
        {ENDPOINT, 200, "{\"accessToken\":\"AT\",\"expiryTimeUtc\":99999999999999999999}", LIMIT_LIFETIME_S, -1},
        {ENDPOINT, 200, "{\"accessToken\":\"AT\",\"expiryTimeUtc\":\"soon\"}", DEFAULT_LIFETIME_S, -1},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        const struct reply list[] = {PARENT_IS("PT"), SAYS(cases[i].status, cases[i].body)};
        struct machine m;
        open(&m, &grant_azureml_token, cases[i].authority);
        machine_run(&m, GRANT_ACQUIRE, list, 1);
        assert_string_equal(m.url, i == 1 ? SERVICE "/token" : ENDPOINT "/token?api-version=2024-10-01");
        assert_int_equal(machine_answer(&m, list[1]), STEP_DONE);
        assert_string_equal(m.step.done.tokens->access_token, "AT");
        assert_string_equal(m.step.done.tokens->type, "Bearer");
        assert_false(m.step.done.tokens->endless);
        assert_int_equal(m.step.done.tokens->expires_in_s, cases[i].life);
        assert_int_equal(m.step.done.tokens->refresh_in_s, cases[i].refresh);
        machine_torture(&m, GRANT_ACQUIRE, list, ELEMENTS(list));
        machine_close(&m);
    }
}

static void tokens_that_are_none(void **state)
{
    static const struct {
        const char *body, *words;
    } cases[] = {
        {"{}", "no accessToken"},
        {"{\"accessToken\":\"\"}", "no accessToken"},
        {"{\"accessToken\":\"A\\nB\"}", "no accessToken"},
        {"{\"accessToken\":\"A B\"}", "no accessToken"},
        {"{\"accessToken\":7}", "no accessToken"},
        {"{\"primaryKey\":\"K\"}", "no accessToken"},
        {"{\"accessToken\":\"AT\",\"tokenType\":\"MAC\"}", "not Bearer"},
        {"{\"accessToken\":\"AT\",\"expiryTimeUtc\":1800000000}", "expired already"},
        {"{\"accessToken\":\"AT\",\"expiryOn\":-1}", "expired already"},
    };
    const struct reply good[] = {PARENT_IS("PT"), OK("{\"accessToken\":\"AT\"}")};
    struct machine m;
    (void)state;
    open(&m, &grant_azureml_token, ENDPOINT);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        const struct reply list[] = {PARENT_IS("PT"), OK(cases[i].body)};
        machine_run(&m, GRANT_ACQUIRE, list, ELEMENTS(list));
        fails(&m, FAILURE_AUTHORITY_REFUSED, cases[i].words);
    }
    machine_lie(&m, GRANT_ACQUIRE, good, ELEMENTS(good));
    machine_close(&m);
}

/* ---- settings ---- */

static void addresses_are_checked(void **state)
{
    static const struct {
        const struct grant *grant;
        const char *authority, *words;
    } cases[] = {
        {&grant_azureml_key, ACCOUNT, "azure_key is for that"},
        {&grant_azure_key, ENDPOINT, "azureml_key is for that"},
        {&grant_azure_key, SERVICE, "azureml_key is for that"},
        {&grant_azure_key, ARM, "whole address"},
        {&grant_azureml_key, ARM, "whole address"},
        {&grant_azureml_token, ACCOUNT, "whole address"},
        {&grant_azureml_token, ARM, "whole address"},
        {&grant_azureml_token, ENDPOINT "/", "whole address"},
        {&grant_azureml_token, ENDPOINT "/token", "whole address"},
        {&grant_azureml_token, "not an address", "whole address"},
        {&grant_azure_key, ARM "/subscriptions//resourceGroups/G/providers/Microsoft.CognitiveServices/accounts/A",
         "whole"},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct profile profile = {.name = "p", .authority = TEXT(cases[i].authority)};
        const char *said = cases[i].grant->check(&profile);
        assert_non_null(said);
        assert_non_null(strstr(said, cases[i].words));
    }
    struct profile lower = {
        .authority = TEXT(ARM "/subscriptions/s/RESOURCEGROUPS/g/providers/microsoft.cognitiveservices/Accounts/a")};
    assert_null(grant_azure_key.check(&lower));
}

static void a_version_is_checked(void **state)
{
    const struct key *key = grant_azureml_token.keys;
    char text[LIMIT_CODE + 2];
    (void)state;
    assert_null(key->check("2025-01-01-preview"));
    assert_non_null(key->check(""));
    assert_non_null(key->check("2024-10-01&x=y"));
    memset(text, '1', sizeof(text));
    text[LIMIT_CODE + 1] = '\0';
    assert_non_null(key->check(text));
    text[LIMIT_CODE] = '\0';
    assert_null(key->check(text));
    struct machine m;
    open(&m, &grant_azureml_token, ENDPOINT);
    set(&m, "api_version", "2025-12-01");
    const struct reply list[] = {PARENT_IS("PT")};
    machine_run(&m, GRANT_ACQUIRE, list, 1);
    assert_string_equal(m.url, ENDPOINT "/token?api-version=2025-12-01");
    machine_close(&m);
}

static void a_listing_ends_wherever_it_is_stopped(void **state)
{
    const struct reply list[] = {NOTE_IS("any secondary"), PARENT_IS("P1"), SAYS(401, ""), PARENT_IS("P2"),
                                 KEYS("K1", "K2")};
    struct machine m;
    (void)state;
    open(&m, &grant_azureml_key, ENDPOINT);
    machine_torture(&m, GRANT_ACQUIRE, list, ELEMENTS(list));
    machine_lie(&m, GRANT_ACQUIRE, list, ELEMENTS(list));
    machine_close(&m);
    assert_int_equal(secret_arena_used(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_listed),
        cmocka_unit_test(which_key_is_served),
        cmocka_unit_test(keys_that_cannot_be_served),
        cmocka_unit_test(a_key_has_a_limit),
        cmocka_unit_test(both_keys_are_good_at_each_step_of_a_rotation),
        cmocka_unit_test(an_account_answers_with_its_keys),
        cmocka_unit_test(a_web_service_has_numbers_for_its_keys),
        cmocka_unit_test(an_interrupted_rotation_goes_on),
        cmocka_unit_test(what_is_served_is_said_when_it_fails),
        cmocka_unit_test(where_an_operation_is_looked_for),
        cmocka_unit_test(an_operation_is_looked_after_until_its_time_is_up),
        cmocka_unit_test(a_parents_token_that_is_refused_is_asked_for_anew_once),
        cmocka_unit_test(a_token_and_its_times),
        cmocka_unit_test(tokens_that_are_none),
        cmocka_unit_test(addresses_are_checked),
        cmocka_unit_test(a_version_is_checked),
        cmocka_unit_test(a_listing_ends_wherever_it_is_stopped),
    };
    return cmocka_run_group_tests(tests, machine_group, NULL);
}
