#include "machine.h"

#include "acquire/visit.h"
#include "authority/digest.h"
#include "base64url.h"
#include "grant/redirect_answer.h"
#include "secret.h"

#define PAGE_URL "https://login.example.org/authorize"
#define BACK     "http://127.0.0.1:4711/"

#define LISTENS       ((struct reply){.kind = STEP_LISTEN, .body = BACK})
#define BACK_IS(text) ((struct reply){.kind = STEP_BROWSE, .body = (text)})

static void open_at(struct machine *m)
{
    machine_open(m, &grant_authorization_code);
    m->profile.authorization_endpoint = TEXT(PAGE_URL);
    for (size_t i = 0; i < sizeof(m->tick.random); i++)
        m->tick.random[i] = (uint8_t)(i * 3 + 1);
}

/* The text with @ for the state that open_at()'s random bytes make. */
static const char *back(const struct machine *m, const char *text)
{
    static char whole[512];
    char state[64];
    const char *place = strchr(text, '@');
    base64url_encode(m->tick.random + 32, 16, state);
    (void)snprintf(whole, sizeof(whole), "%.*s%s%s", (int)(place ? place - text : 0), text, place ? state : "",
                   place ? place + 1 : text);
    return whole;
}

static void test_the_example_of_rfc_7636(void **state)
{
    static const uint8_t octets[] = {116, 24,  223, 180, 151, 153, 224, 37,  79, 250, 96, 125, 216, 173, 187, 186,
                                     22,  212, 37,  77,  105, 214, 191, 240, 91, 88,  5,  88,  83,  132, 141, 121};
    char verifier[64], challenge[64];
    uint8_t digest[DIGEST_BYTES];
    (void)state;
    base64url_encode(octets, sizeof(octets), verifier);
    assert_string_equal(verifier, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    assert_int_equal(digest_bytes(span_of(verifier), digest), 0);
    base64url_encode(digest, sizeof(digest), challenge);
    assert_string_equal(challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
}

static void test_base64url_both_ways(void **state)
{
    uint8_t bytes[64] = {0}, again[64];
    char text[128];
    size_t length;
    (void)state;
    for (size_t n = 0; n < sizeof(bytes); n++) {
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)(i * 7 + n);
        base64url_encode(bytes, n, text);
        assert_int_equal(strlen(text), base64url_encoded_size(n));
        assert_int_equal(base64url_decode(span_of(text), again, sizeof(again), &length), 0);
        assert_int_equal(length, n);
        assert_memory_equal(bytes, again, n);
    }
}

static void test_a_whole_sign_in(void **state)
{
    struct machine m;
    (void)state;
    open_at(&m);
    struct reply all[] = {
        LISTENS, BACK_IS(back(&m, "code=c%2Fd&state=@&more=1")),
        OK("{\"access_token\":\"a\",\"token_type\":\"Bearer\",\"expires_in\":60,\"refresh_token\":\"r\"}"),
        YES(STEP_SAVE)};
    machine_run(&m, GRANT_LOGIN, all, 1);
    assert_int_equal(m.step.kind, STEP_BROWSE);
    assert_non_null(strstr(m.step.browse.address, PAGE_URL "?client_id=me&response_type=code&redirect_uri=http%3A"));
    assert_non_null(strstr(m.step.browse.address, "&code_challenge_method=S256"));
    assert_null(strstr(m.step.browse.address, "verifier"));
    assert_int_equal(m.step.browse.expires_at, 1800000000 + LIMIT_BROWSER_S);
    machine_answer(&m, all[1]);
    assert_int_equal(m.step.kind, STEP_HTTP);
    assert_string_equal(m.url, TOKEN_URL);
    assert_true(machine_sent(&m, "grant_type=authorization_code") && machine_sent(&m, "code=c%2Fd"));
    assert_true(machine_sent(&m, "redirect_uri=http%3A%2F%2F127.0.0.1%3A4711%2F"));
    assert_true(machine_sent_name(&m, "code_verifier") && machine_sent(&m, "client_id=me"));
    machine_answer(&m, all[2]);
    assert_int_equal(m.step.kind, STEP_SAVE);
    assert_string_equal(m.kept.token, "r");
    machine_torture(&m, GRANT_LOGIN, all, ELEMENTS(all));
}

static void test_what_comes_back_is_judged(void **state)
{
    static const struct {
        const char *back;
        enum failure_kind kind;
        const char *words;
    } cases[] = {
        {"code=c&state=x", FAILURE_AUTHORITY_REFUSED, "invalid_state"},
        {"code=c", FAILURE_AUTHORITY_REFUSED, "invalid_state"},
        {"", FAILURE_AUTHORITY_REFUSED, "invalid_state"},
        {"error=access_denied", FAILURE_AUTHORITY_REFUSED, "invalid_state"},
        {"code=c&state=@&state=x", FAILURE_AUTHORITY_REFUSED, "cannot be read"},
        {"code=c&code=d&state=@", FAILURE_AUTHORITY_REFUSED, "cannot be read"},
        {"code=c%0a&state=@", FAILURE_AUTHORITY_REFUSED, "cannot be read"},
        {"code=c%0&state=@", FAILURE_AUTHORITY_REFUSED, "cannot be read"},
        {"code=&state=@", FAILURE_AUTHORITY_REFUSED, "without a code"},
        {"state=@", FAILURE_AUTHORITY_REFUSED, "without a code"},
        {"code=c&state=@&iss=https://evil.example.org", FAILURE_AUTHORITY_REFUSED, "another authority"},
        {"code=c&error=access_denied&state=@", FAILURE_SIGN_IN_FAILED, "declined"},
        {"error=temporarily_unavailable&error_description=later&state=@", FAILURE_AUTHORITY_REFUSED, "later"},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct machine m;
        open_at(&m);
        const struct reply all[] = {LISTENS, BACK_IS(back(&m, cases[i].back))};
        machine_run(&m, GRANT_LOGIN, all, 2);
        fails(&m, cases[i].kind, cases[i].words);
        machine_close(&m);
    }
}

static void test_nobody_comes(void **state)
{
    struct machine m;
    (void)state;
    open_at(&m);
    const struct reply all[] = {LISTENS, NO(STEP_BROWSE, -ETIMEDOUT)};
    machine_run(&m, GRANT_LOGIN, all, 2);
    fails(&m, FAILURE_SIGN_IN_FAILED, "expired");
    machine_close(&m);
}

static void test_the_metadata_name_the_issuer(void **state)
{
    static const struct {
        const char *issuer, *said;
        bool template, good;
    } cases[] = {
        {"https://login.example.org", "https%3A%2F%2Flogin.example.org", false, true},
        {"https://login.example.org", "https://login.example.org/", false, false},
        {"https://e.org/{tenantid}/v2.0", "https://e.org/0b-1/v2.0", true, true},
        {"https://e.org/{tenantid}/v2.0", "https://e.org//v2.0", true, false},
        {"https://e.org/{tenantid}/v2.0", "https://e.org/0b/x/v2.0", true, false},
        {"https://e.org/{tenantid}/v2.0", "https://f.org/0b/v2.0", true, false},
        {"https://e.org/{tenantid}/v2.0", "https://e.org/v2.0", true, false},
        {"https://login.example.org", NULL, false, false},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct machine m;
        char text[256];
        struct metadata metadata = {.issuer = TEXT(cases[i].issuer),
                                    .issuer_is_template = cases[i].template,
                                    .token_endpoint = TEXT(TOKEN_URL),
                                    .authorization_endpoint = TEXT(PAGE_URL),
                                    .names_itself = true};
        open_at(&m);
        m.profile.authorization_endpoint = NULL;
        (void)snprintf(text, sizeof(text), "code=c&state=@%s%s", cases[i].said ? "&iss=" : "",
                       cases[i].said ? cases[i].said : "");
        const struct reply all[] = {METADATA_IS(&metadata), LISTENS, BACK_IS(back(&m, text))};
        machine_run(&m, GRANT_LOGIN, all, 3);
        if (cases[i].good)
            assert_int_equal(m.step.kind, STEP_HTTP);
        else
            fails(&m, FAILURE_AUTHORITY_REFUSED, "iss");
        machine_close(&m);
    }
}

static void test_a_pushed_request(void **state)
{
    struct machine m;
    struct metadata metadata = {.issuer = TEXT("https://login.example.org"),
                                .token_endpoint = TEXT(TOKEN_URL),
                                .authorization_endpoint = TEXT(PAGE_URL),
                                .pushed_authorization_request_endpoint = TEXT("https://login.example.org/par"),
                                .requires_push = true};
    (void)state;
    open_at(&m);
    m.profile.authorization_endpoint = NULL;
    struct reply all[] = {METADATA_IS(&metadata),
                          LISTENS,
                          SAYS(201, "{\"request_uri\":\"urn:x\",\"expires_in\":60}"),
                          BACK_IS(back(&m, "code=c&state=@")),
                          OK("{\"access_token\":\"a\",\"token_type\":\"Bearer\"}"),
                          YES(STEP_SAVE)};
    machine_run(&m, GRANT_LOGIN, all, 2);
    assert_string_equal(m.url, "https://login.example.org/par");
    assert_true(machine_sent(&m, "client_id=me") && machine_sent_name(&m, "code_challenge"));
    machine_answer(&m, all[2]);
    assert_string_equal(m.step.browse.address, PAGE_URL "?client_id=me&request_uri=urn%3Ax");
    assert_int_equal(m.step.browse.wait_ms, 60000);
    machine_torture(&m, GRANT_LOGIN, all, ELEMENTS(all));
    all[2] = SAYS(201, "{\"expires_in\":60}");
    machine_run(&m, GRANT_LOGIN, all, 3);
    fails(&m, FAILURE_AUTHORITY_REFUSED, "request_uri");
    metadata.pushed_authorization_request_endpoint = NULL;
    machine_run(&m, GRANT_LOGIN, all, 2);
    fails(&m, FAILURE_INVALID_CONFIGURATION, "pushed_authorization_request_endpoint");
    machine_close(&m);
}

static void test_an_address_that_is_too_long(void **state)
{
    static char claims[LIMIT_CLAIMS + 1];
    struct machine m;
    (void)state;
    open_at(&m);
    memcpy(claims, "{\"a\":\"", 6);
    for (size_t i = 6; i < LIMIT_CLAIMS; i++)
        claims[i] = '"';
    m.asked.claims = claims;
    const struct reply all[] = {LISTENS};
    machine_run(&m, GRANT_LOGIN, all, 1);
    fails(&m, FAILURE_AUTHORITY_REFUSED, "too long");
    machine_close(&m);
}

static void test_a_pasted_address(void **state)
{
    static const struct {
        const char *text, *code;
    } cases[] = {
        {"http://127.0.0.1:1/?code=a&state=s", "a"},
        {"  code=a&state=s  ", "a"},
        {"?code=a&state=s#fragment", "a"},
        {"http://localhost:1?state=s&code=%41+b", "A b"},
        {"https://x.org/?code=a&state=s&iss", "a"},
        {"code=a&state=s&&", "a"},
        {"code&state=s", ""},
        {"http://127.0.0.1:1/", NULL},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct redirect_answer answer = {0};
        assert_int_equal(redirect_answer_read(span_of(cases[i].text), &answer), 0);
        assert_int_equal(redirect_answer_is_for(span_of(cases[i].text), "s"), cases[i].code != NULL);
        if (cases[i].code)
            assert_string_equal(answer.code, cases[i].code);
        redirect_answer_clear(&answer);
    }
    static char long_one[LIMIT_REDIRECT + 1];
    for (size_t i = 0; i < sizeof(long_one); i++)
        long_one[i] = 'a';
    struct redirect_answer answer = {0};
    assert_int_equal(redirect_answer_read((struct span){long_one, LIMIT_REDIRECT}, &answer), 0);
    assert_int_equal(redirect_answer_read((struct span){long_one, LIMIT_REDIRECT + 1}, &answer), -EMSGSIZE);
}

/* Every start of a request is not whole; every byte that is changed to a control character spoils it. */
static void test_a_request_of_a_browser(void **state)
{
    static const char text[] = "GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:1\r\nCookie: x=1; m=abc\r\nAccept: */*\r\n\r\n";
    struct visit visit;
    (void)state;
    for (size_t n = 0; n < strlen(text); n++) {
        struct span part = machine_copy(text);
        assert_int_equal(visit_read((struct span){part.data, n}, &visit), -EAGAIN);
        free((char *)(uintptr_t)part.data);
    }
    assert_int_equal(visit_read(span_of(text), &visit), 0);
    assert_true(span_equals(visit.path, span_of("/a")) && span_equals(visit.query, span_of("b=c")));
    assert_true(span_equals(visit.host, span_of("127.0.0.1:1")));
    assert_true(visit_has_cookie(&visit, "m", "abc") && visit_has_cookie(&visit, "x", "1"));
    assert_false(visit_has_cookie(&visit, "m", "ab") || visit_has_cookie(&visit, "c", "") ||
                 visit_has_cookie(&visit, "m", "abcd"));
    for (size_t i = 0; i + 4 < strlen(text); i++) {
        char changed[sizeof(text)];
        memcpy(changed, text, sizeof(text));
        changed[i] = '\x01';
        assert_int_equal(visit_read(span_of(changed), &visit), -EBADMSG);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_example_of_rfc_7636),
        cmocka_unit_test(test_base64url_both_ways),
        cmocka_unit_test(test_a_whole_sign_in),
        cmocka_unit_test(test_what_comes_back_is_judged),
        cmocka_unit_test(test_nobody_comes),
        cmocka_unit_test(test_the_metadata_name_the_issuer),
        cmocka_unit_test(test_a_pushed_request),
        cmocka_unit_test(test_an_address_that_is_too_long),
        cmocka_unit_test(test_a_pasted_address),
        cmocka_unit_test(test_a_request_of_a_browser),
    };
    return cmocka_run_group_tests(tests, machine_group, NULL);
}
