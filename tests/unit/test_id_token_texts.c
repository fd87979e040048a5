/* What is told of an ID token: whose it is, and what was wrong with it, in bounded words. */
#include "id_token_fixture.h"

static void test_account(void **state)
{
    (void)state;
    static const struct {
        const char *claims, *account;
    } cases[] = {
        {"{\"preferred_username\":\"p\",\"upn\":\"u\",\"email\":\"e\",\"unique_name\":\"q\",\"name\":\"n\",\"sub\":"
         "\"s\"}",
         "p"},
        {"{\"upn\":\"u\",\"email\":\"e\",\"unique_name\":\"q\",\"name\":\"n\",\"sub\":\"s\"}", "u"},
        {"{\"email\":\"e\",\"unique_name\":\"q\",\"name\":\"n\",\"sub\":\"s\"}", "e"},
        {"{\"unique_name\":\"q\",\"name\":\"n\",\"sub\":\"s\"}", "q"},
        {"{\"name\":\"n\",\"sub\":\"s\"}", "n"},
        {"{\"sub\":\"s\"}", "s"},
        {"{\"preferred_username\":\"\",\"name\":\"Zo\xc3\xab\"}", "Zo\xc3\xab"},
        {"{\"preferred_username\":7,\"sub\":\"s\"}", "s"},
        {"{\"preferred_username\":\"alice\\u0000@evil\",\"sub\":\"s\"}", "s"},
        {"{\"preferred_username\":\"a\\u001b[31m\",\"sub\":\"s\"}", "s"},
        {"{\"preferred_username\":\"a\\u202egnp\",\"sub\":\"s\"}", "s"}, /* reorders text */
        {"{\"preferred_username\":\"a\\u200b\",\"sub\":\"s\"}", "s"},    /* invisible */
        {"{\"preferred_username\":\"a\\u0085\",\"sub\":\"s\"}", "s"},    /* C1 */
        {"{\"sub\":\"\\u202e\"}", NULL},
        {"{}", NULL},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        json_object *claims = NULL;
        assert_int_equal(json_parse(cases[i].claims, strlen(cases[i].claims), 4, &claims), 0);
        const char *account = id_token_account(claims);
        assert_true((account == NULL) == (cases[i].account == NULL));
        if (account)
            assert_string_equal(account, cases[i].account);
        json_object_put(claims);
    }
}

static void explained(const char *claims, const struct id_token_rules *how, const char *expected)
{
    struct id_token token;
    struct id_token_failure why;
    char line[1024];
    assert_int_not_equal(run(id_token_verify, "{\"alg\":\"ES256\"}", claims, how, &token, &why), ID_TOKEN_OK);
    id_token_explain(&why, "id_token", line, sizeof line);
    assert_string_equal(line, expected);
}

static void test_explanations(void **state)
{
    (void)state;
    explained("\"iss\":\"https://evil.example\"", &rules,
              "the id_token's issuer is https://evil.example, expected " ISSUER);
    explained("\"iss\":null", &rules, "the id_token's issuer is missing or empty, expected " ISSUER);
    explained("\"iss\":\"a\\u001b[2J\\r\\n\\u202e\\u0000b\"", &rules,
              "the id_token's issuer is a\\x1b[2J\\x0d\\x0a\\u{202e}\\x00b, expected " ISSUER);
    explained("\"aud\":[\"a\",\"b\"]", &rules, "the id_token's audience is [\"a\",\"b\"], expected mltoken");
    explained("\"exp\":\"soon\"", &rules, "the id_token's expiry (exp) is soon, expected a time");
    explained("\"exp\":1799999900", &rules, "the id_token expired 1 min 40 s ago (is this machine's clock right?)");
    explained("\"nbf\":1800000100", &rules,
              "the id_token is not valid for another 1 min 40 s (is this machine's clock right?)");
    explained("\"azp\":\"x\"", &rules, "the id_token's authorized party (azp) is x, expected mltoken");
    struct id_token_failure why = {0};
    char small[8], lines[ID_TOKEN_SUBJECT + 1][256];
    for (unsigned a = ID_TOKEN_OK; a <= ID_TOKEN_SUBJECT; a++) {
        why.error = (enum id_token_error)a;
        id_token_explain(&why, "token", lines[a], sizeof lines[a]);
        assert_null(strchr(lines[a], '%'));
        for (unsigned b = 0; b < a; b++)
            assert_string_not_equal(lines[a], lines[b]);
    }
    id_token_explain(&why, "token", small, sizeof small);
    assert_string_equal(small, "the tok");
}

/* What is told of a claim is bounded, however long it is. */
static void test_bounded_texts(void **state)
{
    (void)state;
    char issuer[4000];
    memset(issuer, 'x', sizeof issuer);
    _cleanup_free_ char *claims = text("\"iss\":\"%.*s\"", (int)sizeof issuer, issuer);
    struct id_token token;
    struct id_token_failure why;
    assert_int_equal(run(id_token_verify, "{\"alg\":\"ES256\"}", claims, &rules, &token, &why), ID_TOKEN_ISSUER);
    assert_int_equal(why.got.length, LIMIT_CLAIM_SHOWN);
    assert_int_equal(why.expected.length, strlen(ISSUER));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_account),
        cmocka_unit_test(test_explanations),
        cmocka_unit_test(test_bounded_texts),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
