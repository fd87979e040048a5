/* Claims, one by one: each case changes one thing about a token that is right, and names the error it must give. */
#include "id_token_fixture.h"

static void test_good(void **state)
{
    (void)state;
    struct id_token token;
    assert_int_equal(run(id_token_verify, "{\"alg\":\"ES256\"}", "\"name\":\"Alice\",\"email\":\"a@example.org\"",
                         &rules, &token, NULL),
                     ID_TOKEN_OK);
    assert_string_equal(token.subject, "alice");
    assert_string_equal(token.issuer, ISSUER);
    assert_string_equal(token.account, "a@example.org");
    assert_int_equal(token.expires_s, 1800000100);
    const char *name;
    assert_int_equal(json_string(token.claims, "name", 10, &name), 0);
    id_token_done(&token);
    assert_null(token.claims);
}

static void test_audience(void **state)
{
    (void)state;
    static const struct test_case cases[] = {
        {"\"aud\":\"mltoken\"", ID_TOKEN_OK},
        {"\"aud\":[\"mltoken\"]", ID_TOKEN_OK},
        {"\"aud\":\"mltoken2\"", ID_TOKEN_AUDIENCE},
        {"\"aud\":\"mltoke\"", ID_TOKEN_AUDIENCE},
        {"\"aud\":\"MLTOKEN\"", ID_TOKEN_AUDIENCE},
        {"\"aud\":\"other mltoken\"", ID_TOKEN_AUDIENCE},
        {"\"aud\":\"\"", ID_TOKEN_AUDIENCE},
        {"\"aud\":null", ID_TOKEN_AUDIENCE},
        {"\"aud\":{\"mltoken\":1}", ID_TOKEN_AUDIENCE},
        {"\"aud\":\"mltoken\\u0000\"", ID_TOKEN_AUDIENCE},
        {"\"aud\":\"mltoken\\u0000x\"", ID_TOKEN_AUDIENCE},
        {"\"aud\":[]", ID_TOKEN_AUDIENCE},
        {"\"aud\":[\"a\",\"b\"]", ID_TOKEN_AUDIENCE},
        {"\"aud\":[[\"mltoken\"]]", ID_TOKEN_AUDIENCE},
        {"\"aud\":[\"mltoken\",1],\"azp\":\"mltoken\"", ID_TOKEN_AUDIENCE},
        {"\"aud\":[\"mltoken\",null],\"azp\":\"mltoken\"", ID_TOKEN_AUDIENCE},
        {"\"aud\":[\"mltoken\",\"a\\u0000\"],\"azp\":\"mltoken\"", ID_TOKEN_AUDIENCE},
        {"\"aud\":[\"mltoken\",\"a\\n\"],\"azp\":\"mltoken\"", ID_TOKEN_AUDIENCE},
    };
    try_all(cases, ELEMENTS(cases), &rules);
    struct id_token token;
    _cleanup_free_ char *signed_token =
        sign(key, "{\"alg\":\"ES256\"}", "{\"iss\":\"" ISSUER "\",\"exp\":1800000100,\"sub\":\"a\"}",
             strlen("{\"iss\":\"" ISSUER "\",\"exp\":1800000100,\"sub\":\"a\"}"));
    assert_int_equal(id_token_verify(span_of(signed_token), keys, &rules, &token, NULL), ID_TOKEN_AUDIENCE);
}

static void test_number_of_audiences(void **state)
{
    (void)state;
    for (size_t count = LIMIT_AUDIENCES - 1; count <= LIMIT_AUDIENCES + 1; count++) {
        _cleanup_free_ char *list = strdup("\"mltoken\"");
        for (size_t i = 1; i < count; i++) {
            char *longer = text("%s,\"x\"", list);
            free(list);
            list = longer;
        }
        _cleanup_free_ char *claims = text("\"azp\":\"mltoken\",\"aud\":[%s]", list);
        assert_int_equal(try(claims), count <= LIMIT_AUDIENCES ? ID_TOKEN_OK : ID_TOKEN_AUDIENCE);
    }
}

static void test_authorized_party(void **state)
{
    (void)state;
    static const struct test_case cases[] = {
        {"\"azp\":\"mltoken\"", ID_TOKEN_OK},
        {"\"azp\":\"other\"", ID_TOKEN_PARTY},
        {"\"azp\":\"mltoken\\u0000\"", ID_TOKEN_PARTY},
        {"\"azp\":\"\"", ID_TOKEN_PARTY},
        {"\"azp\":[\"mltoken\"]", ID_TOKEN_PARTY},
        {"\"azp\":null", ID_TOKEN_OK},
        {"\"aud\":[\"mltoken\",\"b\"]", ID_TOKEN_PARTY},
        {"\"aud\":[\"mltoken\",\"b\"],\"azp\":\"b\"", ID_TOKEN_PARTY},
        {"\"aud\":[\"mltoken\",\"b\"],\"azp\":null", ID_TOKEN_PARTY},
        {"\"aud\":[\"b\",\"mltoken\"],\"azp\":\"mltoken\"", ID_TOKEN_OK},
    };
    try_all(cases, ELEMENTS(cases), &rules);
}

/* now is 1800000000, the leeway 60. */
static void test_expiry(void **state)
{
    (void)state;
    static const struct test_case cases[] = {
        {"\"exp\":1800000001", ID_TOKEN_OK},
        {"\"exp\":1800000000", ID_TOKEN_OK},
        {"\"exp\":1799999941", ID_TOKEN_OK},
        {"\"exp\":1799999940", ID_TOKEN_EXPIRED},
        {"\"exp\":1799999939", ID_TOKEN_EXPIRED},
        {"\"exp\":1800000001.5", ID_TOKEN_OK},
        {"\"exp\":1.8e9", ID_TOKEN_OK},
        {"\"exp\":0", ID_TOKEN_EXPIRED},
        {"\"exp\":1", ID_TOKEN_EXPIRED},
        {"\"exp\":253402300799", ID_TOKEN_OK},
        {"\"exp\":253402300800", ID_TOKEN_NO_EXPIRY},
        {"\"exp\":253402300800.0", ID_TOKEN_NO_EXPIRY},
        {"\"exp\":1800000100000", ID_TOKEN_NO_EXPIRY}, /* milliseconds */
        {"\"exp\":9223372036854775807", ID_TOKEN_NO_EXPIRY},
        {"\"exp\":9223372036854775808", ID_TOKEN_NO_EXPIRY},
        {"\"exp\":18446744073709551616", ID_TOKEN_NO_EXPIRY},
        {"\"exp\":-1", ID_TOKEN_NO_EXPIRY},
        {"\"exp\":-1800000100", ID_TOKEN_NO_EXPIRY},
        {"\"exp\":-0.5", ID_TOKEN_NO_EXPIRY},
        {"\"exp\":1e300", ID_TOKEN_NO_EXPIRY},
        {"\"exp\":1e999", ID_TOKEN_NO_EXPIRY},
        {"\"exp\":-1e300", ID_TOKEN_NO_EXPIRY},
        {"\"exp\":\"1800000100\"", ID_TOKEN_NO_EXPIRY},
        {"\"exp\":true", ID_TOKEN_NO_EXPIRY},
        {"\"exp\":null", ID_TOKEN_NO_EXPIRY},
        {"\"exp\":[1800000100]", ID_TOKEN_NO_EXPIRY},
    };
    try_all(cases, ELEMENTS(cases), &rules);
    static const char *const odd[] = {"\"exp\":NaN",
                                      "\"exp\":Infinity"}; /* json-c reads these even when it is strict */
    for (size_t i = 0; i < ELEMENTS(odd); i++)
        assert_int_not_equal(try(odd[i]), ID_TOKEN_OK);
}

static void test_past(void **state)
{
    (void)state;
    static const char *const names[] = {"nbf", "iat"};
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        enum id_token_error future = i == 0 ? ID_TOKEN_NOT_BEFORE : ID_TOKEN_ISSUED,
                            odd = i == 0 ? ID_TOKEN_NOT_BEFORE_ODD : ID_TOKEN_ISSUED_ODD;
        const struct {
            const char *value;
            enum id_token_error expected;
        } cases[] = {
            {"1799999000", ID_TOKEN_OK},
            {"1800000060", ID_TOKEN_OK},
            {"1800000061", future},
            {"253402300799", future},
            {"0", ID_TOKEN_OK},
            {"1800000000.9", ID_TOKEN_OK},
            {"null", ID_TOKEN_OK},
            {"-1", odd},
            {"1e300", odd},
            {"\"1799999000\"", odd},
            {"{}", odd},
        };
        for (size_t k = 0; k < ELEMENTS(cases); k++) {
            _cleanup_free_ char *claims = text("\"%s\":%s", names[i], cases[k].value);
            if (try(claims) != cases[k].expected)
                fail_msg("%s", claims);
        }
    }
}

/* The leeway is held to its bounds whatever the caller gives, and no clock overflows. */
static void test_leeway(void **state)
{
    (void)state;
    static const struct {
        int64_t now, leeway;
        enum id_token_error expected; /* of exp = 1800000100 */
    } cases[] = {
        {1800000099, 0, ID_TOKEN_OK},
        {1800000100, 0, ID_TOKEN_EXPIRED},
        {1800000099, -5000, ID_TOKEN_OK},
        {1800000100, -5000, ID_TOKEN_EXPIRED},
        {1800000099 + LIMIT_LEEWAY_S, LIMIT_LEEWAY_S - 1, ID_TOKEN_EXPIRED},
        {1800000099 + LIMIT_LEEWAY_S, LIMIT_LEEWAY_S, ID_TOKEN_OK},
        {1800000100 + LIMIT_LEEWAY_S, LIMIT_LEEWAY_S + 1, ID_TOKEN_EXPIRED},
        {1800000100 + LIMIT_LEEWAY_S, INT64_MAX, ID_TOKEN_EXPIRED},
        {INT64_MAX, INT64_MAX, ID_TOKEN_EXPIRED},
        {INT64_MIN / 2, INT64_MIN, ID_TOKEN_OK},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct id_token_rules how = rules;
        how.now_s = cases[i].now;
        how.leeway_s = cases[i].leeway;
        assert_int_equal(try_with(id_token_verify, "", &how), cases[i].expected);
    }
}

static void test_nonce(void **state)
{
    (void)state;
    struct id_token_rules how = rules;
    assert_int_equal(try_with(id_token_verify, "\"nonce\":\"any\"", &how), ID_TOKEN_OK);
    how.nonce = "n-0S6_WzA2Mj";
    static const struct test_case cases[] = {
        {"\"nonce\":\"n-0S6_WzA2Mj\"", ID_TOKEN_OK},
        {"\"nonce\":\"n-0S6_WzA2M\"", ID_TOKEN_NONCE},
        {"\"nonce\":\"n-0S6_WzA2Mjx\"", ID_TOKEN_NONCE},
        {"\"nonce\":\"n-0S6_WzA2Mj\\u0000\"", ID_TOKEN_NONCE},
        {"\"nonce\":\"\"", ID_TOKEN_NONCE},
        {"\"nonce\":null", ID_TOKEN_NONCE},
        {"\"nonce\":[\"n-0S6_WzA2Mj\"]", ID_TOKEN_NONCE},
        {"", ID_TOKEN_NONCE},
    };
    try_all(cases, ELEMENTS(cases), &how);
}

static void test_subject(void **state)
{
    (void)state;
    static const struct test_case cases[] = {
        {"\"sub\":\"a\"", ID_TOKEN_OK},
        {"\"sub\":\"\xc3\xa9\"", ID_TOKEN_OK},
        {"\"sub\":\"\"", ID_TOKEN_SUBJECT},
        {"\"sub\":null", ID_TOKEN_SUBJECT},
        {"\"sub\":248289761001", ID_TOKEN_SUBJECT},
        {"\"sub\":\"alice\\u0000@evil\"", ID_TOKEN_SUBJECT},
        {"\"sub\":\"\\u0000\"", ID_TOKEN_SUBJECT},
        {"\"sub\":\"alice\\r\\nroot\"", ID_TOKEN_SUBJECT},
        {"\"sub\":\"\\u001b[2J\"", ID_TOKEN_SUBJECT},
        {"\"sub\":\"\\u007f\"", ID_TOKEN_SUBJECT},
        {"\"sub\":\"alice\",\"sub\":\"bob\"", ID_TOKEN_MALFORMED},
        {"\"sub\\u0000\":\"x\"", ID_TOKEN_MALFORMED},
    };
    try_all(cases, ELEMENTS(cases), &rules);
    char subject[LIMIT_SUBJECT + 2];
    for (size_t length = LIMIT_SUBJECT - 1; length <= LIMIT_SUBJECT + 1; length++) {
        memset(subject, 's', length);
        subject[length] = '\0';
        _cleanup_free_ char *claims = text("\"sub\":\"%s\"", subject);
        assert_int_equal(try(claims), length <= LIMIT_SUBJECT ? ID_TOKEN_OK : ID_TOKEN_SUBJECT);
        if (length > LIMIT_SUBJECT)
            continue;
        struct id_token token;
        assert_int_equal(run(id_token_verify, "{\"alg\":\"ES256\"}", claims, &rules, &token, NULL), ID_TOKEN_OK);
        assert_string_equal(token.account, subject);
        id_token_done(&token);
    }
}

static void test_rules(void **state)
{
    (void)state;
    struct id_token_rules how = rules;
    how.audience = NULL;
    assert_int_equal(try_with(id_token_verify, "", &how), ID_TOKEN_RULES);
    assert_int_equal(try_with(id_token_verify_bearer, "\"aud\":null", &how), ID_TOKEN_RULES);
    how.audience = "";
    assert_int_equal(try_with(id_token_verify_bearer, "\"aud\":\"\"", &how), ID_TOKEN_RULES);
    how = rules;
    how.issuer = NULL;
    assert_int_equal(try_with(id_token_verify, "", &how), ID_TOKEN_RULES);
    how.issuer = "";
    assert_int_equal(try_with(id_token_verify_bearer, "\"iss\":\"\"", &how), ID_TOKEN_RULES);
}

static void test_type(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        enum id_token_error id_token, bearer;
    } cases[] = {
        {"{\"alg\":\"ES256\",\"typ\":\"JWT\"}", ID_TOKEN_OK, ID_TOKEN_OK},
        {"{\"alg\":\"ES256\",\"typ\":\"at+jwt\"}", ID_TOKEN_TYPE, ID_TOKEN_OK},
        {"{\"alg\":\"ES256\",\"typ\":\"application/AT+JWT\"}", ID_TOKEN_TYPE, ID_TOKEN_OK},
        {"{\"alg\":\"ES256\",\"typ\":\"logout+jwt\"}", ID_TOKEN_TYPE, ID_TOKEN_OK},
        {"{\"alg\":\"ES256\",\"typ\":3}", ID_TOKEN_TYPE, ID_TOKEN_OK},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct id_token token = {0};
        assert_int_equal(run(id_token_verify, cases[i].header, "", &rules, &token, NULL), cases[i].id_token);
        id_token_done(&token);
        assert_int_equal(run(id_token_verify_bearer, cases[i].header, "", &rules, &token, NULL), cases[i].bearer);
        id_token_done(&token);
    }
}

static void test_bearer(void **state)
{
    (void)state;
    struct id_token_rules how = rules;
    how.audience = "https://api.example.org";
    static const struct test_case cases[] = {
        {"\"aud\":\"https://api.example.org\"", ID_TOKEN_OK},
        {"\"aud\":[\"x\",\"https://api.example.org\"],\"azp\":\"anyone\"", ID_TOKEN_OK},
        {"\"aud\":\"https://api.example.org\",\"sub\":null", ID_TOKEN_OK},
        {"\"aud\":\"https://api.example.org\",\"sub\":\"a\\u0000\"", ID_TOKEN_SUBJECT},
        {"\"aud\":\"https://api.example.org/\"", ID_TOKEN_AUDIENCE},
        {"\"aud\":\"mltoken\"", ID_TOKEN_AUDIENCE},
        {"\"aud\":\"https://api.example.org\",\"iss\":\"" ISSUER "/\"", ID_TOKEN_ISSUER},
        {"\"aud\":\"https://api.example.org\",\"exp\":1", ID_TOKEN_EXPIRED},
        {"\"aud\":\"https://api.example.org\",\"exp\":null", ID_TOKEN_NO_EXPIRY},
        {"\"aud\":\"https://api.example.org\",\"nbf\":1900000000", ID_TOKEN_NOT_BEFORE},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++)
        if (try_with(id_token_verify_bearer, cases[i].claims, &how) != cases[i].expected)
            fail_msg("%s", cases[i].claims);
    struct id_token token;
    assert_int_equal(run(id_token_verify_bearer, "{\"alg\":\"ES256\"}", cases[2].claims, &how, &token, NULL),
                     ID_TOKEN_OK);
    assert_true(!token.subject && !token.account);
    id_token_done(&token);
    /* by which user flow matters once a person has chosen one */
    static const struct test_case flows[] = {
        {"\"aud\":\"https://api.example.org\",\"tfp\":\"b2c_1_UP\"", ID_TOKEN_OK},
        {"\"aud\":\"https://api.example.org\",\"acr\":\"B2C_1_up\"", ID_TOKEN_OK},
        {"\"aud\":\"https://api.example.org\",\"tfp\":\"B2C_1_in\"", ID_TOKEN_POLICY},
        {"\"aud\":\"https://api.example.org\",\"tfp\":\"B2C_1_in\",\"acr\":\"B2C_1_up\"", ID_TOKEN_POLICY},
        {"\"aud\":\"https://api.example.org\",\"tfp\":7", ID_TOKEN_POLICY},
        {"\"aud\":\"https://api.example.org\"", ID_TOKEN_POLICY},
    };
    how.policy = "B2C_1_up";
    for (size_t i = 0; i < 2 * ELEMENTS(flows); i++) {
        how.policy_chosen = i % 2;
        if (try_with(id_token_verify_bearer, flows[i / 2].claims, &how) !=
            (i % 2 ? flows[i / 2].expected : ID_TOKEN_OK))
            fail_msg("%s", flows[i / 2].claims);
    }
}

/* Nothing of the claims counts before the signature does. */
static void test_signature_first(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        enum id_token_error expected;
    } cases[] = {
        {"{\"alg\":\"none\"}", ID_TOKEN_ALGORITHM},
        {"{\"alg\":\"ES256\",\"crit\":[]}", ID_TOKEN_HEADER},
        {"{\"alg\":\"ES256\",\"kid\":\"other\"}", ID_TOKEN_NO_KEY},
        {"{\"alg\":\"RS256\",\"kid\":\"k\"}", ID_TOKEN_ALGORITHM},
        {"[]", ID_TOKEN_MALFORMED},
    };
    struct id_token token = {0};
    for (size_t i = 0; i < ELEMENTS(cases); i++)
        assert_int_equal(run(id_token_verify, cases[i].header, "\"iss\":\"evil\"", &rules, &token, NULL),
                         cases[i].expected);
    EVP_PKEY *other = make_ec("P-256");
    _cleanup_free_ char *claims = claims_with("\"exp\":1"),
                        *forged = sign(other, "{\"alg\":\"ES256\",\"kid\":\"k\"}", claims, strlen(claims));
    assert_int_equal(id_token_verify(span_of(forged), keys, &rules, &token, NULL), ID_TOKEN_SIGNATURE);
    _cleanup_free_ char *odd = sign(key, "{\"alg\":\"ES256\"}", "[1]", 3);
    assert_int_equal(id_token_verify(span_of(odd), keys, &rules, &token, NULL), ID_TOKEN_MALFORMED);
    assert_null(token.claims);
    EVP_PKEY_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_audience),
        cmocka_unit_test(test_number_of_audiences),
        cmocka_unit_test(test_authorized_party),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_past),
        cmocka_unit_test(test_leeway),
        cmocka_unit_test(test_nonce),
        cmocka_unit_test(test_subject),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_type),
        cmocka_unit_test(test_bearer),
        cmocka_unit_test(test_signature_first),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
