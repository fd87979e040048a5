/* Who may have issued an ID token: the configured issuer, Entra's tenants, and the issuer that a key is bound to. */
#include "id_token_fixture.h"

static void test_issuer(void **state)
{
    (void)state;
    static const struct test_case cases[] = {
        {"\"iss\":\"" ISSUER "\"", ID_TOKEN_OK},
        {"\"iss\":\"" ISSUER "/\"", ID_TOKEN_ISSUER},
        {"\"iss\":\"https://login.example.org/realms/m\"", ID_TOKEN_ISSUER},
        {"\"iss\":\"https://login.example.org/realms/mlx\"", ID_TOKEN_ISSUER},
        {"\"iss\":\"https://login.example.org\"", ID_TOKEN_ISSUER},
        {"\"iss\":\"https://LOGIN.example.org/realms/ml\"", ID_TOKEN_ISSUER},
        {"\"iss\":\"http://login.example.org/realms/ml\"", ID_TOKEN_ISSUER},
        {"\"iss\":\"" ISSUER "\\u0000\"", ID_TOKEN_ISSUER},
        {"\"iss\":\"" ISSUER "\\u0000@evil\"", ID_TOKEN_ISSUER},
        {"\"iss\":\" " ISSUER "\"", ID_TOKEN_ISSUER},
        {"\"iss\":\"\"", ID_TOKEN_ISSUER},
        {"\"iss\":null", ID_TOKEN_ISSUER},
        {"\"iss\":7", ID_TOKEN_ISSUER},
        {"\"iss\":[\"" ISSUER "\"]", ID_TOKEN_ISSUER},
        {"\"iss\":\"https://login.example.org\\/realms\\u002fml\"", ID_TOKEN_OK}, /* the same bytes, escaped */
        {"\"iss\":\"" ISSUER "\",\"iss\":\"" ISSUER "\"", ID_TOKEN_MALFORMED},
    };
    try_all(cases, ELEMENTS(cases), &rules);
}

static void test_tenant(void **state)
{
    (void)state;
    struct id_token_rules how = rules;
    how.issuer = ENTRA;
    how.microsoft = true;
#define ENTRA_OF(tenant) "\"iss\":\"https://login.microsoftonline.com/" tenant "/v2.0\""
    static const struct test_case cases[] = {
        {ENTRA_OF(TENANT) ",\"tid\":\"" TENANT "\"", ID_TOKEN_OK},
        {ENTRA_OF(TENANT), ID_TOKEN_TENANT},
        {ENTRA_OF(TENANT) ",\"tid\":\"11111111-2222-3333-4444-abcdefabcdef\"", ID_TOKEN_ISSUER},
        {ENTRA_OF(TENANT) ",\"tid\":\"99999999-2222-3333-4444-abcdefabcdef\"", ID_TOKEN_ISSUER},
        {ENTRA_OF("{tenantid}") ",\"tid\":\"" TENANT "\"", ID_TOKEN_ISSUER},
        {ENTRA_OF("{tenantid}") ",\"tid\":\"{tenantid}\"", ID_TOKEN_TENANT},
        {ENTRA_OF("common") ",\"tid\":\"common\"", ID_TOKEN_TENANT},
        {ENTRA_OF("") ",\"tid\":\"\"", ID_TOKEN_TENANT},
        {ENTRA_OF(TENANT) ",\"tid\":\"" TENANT "\\u0000\"", ID_TOKEN_TENANT},
        {ENTRA_OF("11111111-2222-3333-4444-abcdef/../x1") ",\"tid\":\"11111111-2222-3333-4444-abcdef/../x1\"",
         ID_TOKEN_TENANT},
        {ENTRA_OF("111111112222-3333-4444-abcdefabcdef1") ",\"tid\":\"111111112222-3333-4444-abcdefabcdef1\"",
         ID_TOKEN_TENANT},
        {ENTRA_OF("11111111-2222-3333-4444-abcdefabcde") ",\"tid\":\"11111111-2222-3333-4444-abcdefabcde\"",
         ID_TOKEN_TENANT},
        {ENTRA_OF("111111112222233334444aabcdefabcdef11") ",\"tid\":\"111111112222233334444aabcdefabcdef11\"",
         ID_TOKEN_TENANT},
        {"\"iss\":\"https://evil.example/" TENANT "/v2.0\",\"tid\":\"" TENANT "\"", ID_TOKEN_ISSUER},
    };
    try_all(cases, ELEMENTS(cases), &how);
    how.microsoft = false; /* elsewhere the braces are four letters of an issuer like any other */
    assert_int_equal(try_with(id_token_verify, ENTRA_OF(TENANT) ",\"tid\":\"" TENANT "\"", &how), ID_TOKEN_ISSUER);
    how = rules;
    how.microsoft = true; /* a fixed issuer of Microsoft's needs no tid */
    assert_int_equal(try_with(id_token_verify, "", &how), ID_TOKEN_OK);
}

static void test_issuer_of_key(void **state)
{
    (void)state;
    static const struct {
        const char *issuer;
        bool microsoft;
        enum id_token_error expected;
    } cases[] = {
        {ENTRA, true, ID_TOKEN_OK},
        {ISSUER, true, ID_TOKEN_OK},
        {"https://login.microsoftonline.com/" TENANT "/v2.0", true, ID_TOKEN_KEY_ISSUER},
        {"https://login.microsoftonline.com/" TENANT "/v2.0", false, ID_TOKEN_OK},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_free_ char *member = text("\"issuer\":\"%s\"", cases[i].issuer), *claims = claims_with(""),
                            *token = sign(key, "{\"alg\":\"ES256\"}", claims, strlen(claims));
        struct jwks *set = set_with(member);
        struct id_token_rules how = rules;
        how.microsoft = cases[i].microsoft;
        struct id_token verified = {0};
        assert_int_equal(id_token_verify(span_of(token), set, &how, &verified, NULL), cases[i].expected);
        id_token_done(&verified);
        jwks_free(set);
    }
}

static void test_long_issuers(void **state)
{
    (void)state;
    char issuer[LIMIT_URL + 2];
    for (size_t length = LIMIT_URL - 1; length <= LIMIT_URL + 1; length++) {
        memset(issuer, 'i', length);
        issuer[length] = '\0';
        struct id_token_rules how = rules;
        how.issuer = issuer;
        _cleanup_free_ char *claims = text("\"iss\":\"%s\"", issuer);
        assert_int_equal(try_with(id_token_verify, claims, &how), length <= LIMIT_URL ? ID_TOKEN_OK : ID_TOKEN_RULES);
    }
    /* the placeholder may make it longer than what we keep: refused, not cut */
    memset(issuer, 'i', LIMIT_URL - 10);
    memcpy(issuer + LIMIT_URL - 10, "{tenantid}", 11);
    struct id_token_rules how = rules;
    how.issuer = issuer;
    how.microsoft = true;
    _cleanup_free_ char *claims = text("\"iss\":\"%.*s" TENANT "\",\"tid\":\"" TENANT "\"", LIMIT_URL - 10, issuer);
    assert_int_equal(try_with(id_token_verify, claims, &how), ID_TOKEN_ISSUER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_issuer),
        cmocka_unit_test(test_tenant),
        cmocka_unit_test(test_issuer_of_key),
        cmocka_unit_test(test_long_issuers),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
