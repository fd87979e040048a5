/* Claims, one by one: each case changes one thing about a token that is right, and names the error it must give. */
#include "jose_fixture.h"

#include "authority/id_token.h"

#define NOW    INT64_C(1800000000)
#define ISSUER "https://login.example.org/realms/ml"
#define TENANT "11111111-2222-3333-4444-abcdefABCDEF"
#define ENTRA  "https://login.microsoftonline.com/{tenantid}/v2.0"

static EVP_PKEY *key;
static struct jwks *keys;
static const struct id_token_rules rules = {.issuer = ISSUER, .audience = "mltoken", .now_s = NOW, .leeway_s = 60};

static struct jwks *set_with(const char *more)
{
    struct jwks *set = NULL;
    _cleanup_free_ char *jwk = jwk_of(key, more), *document = text("{\"keys\":[%s]}", jwk);
    assert_int_equal(jwks_parse(span_of(document), &set), 0);
    return set;
}

static int setup(void **state)
{
    (void)state;
    key = make_ec("P-256");
    keys = set_with("\"kid\":\"k\"");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    jwks_free(keys);
    EVP_PKEY_free(key);
    return 0;
}

/* One case: the claims iss, aud, exp and sub are right unless `claims` names them itself. */
static char *claims_with(const char *claims)
{
    static const struct {
        const char *name, *right;
    } base[] = {{"\"iss\":", "\"" ISSUER "\""},
                {"\"aud\":", "\"mltoken\""},
                {"\"exp\":", "1800000100"},
                {"\"sub\":", "\"alice\""}};
    char *all = text("{%s", claims);
    for (size_t i = 0; i < ELEMENTS(base); i++) {
        if (strstr(claims, base[i].name))
            continue;
        char *longer = text("%s%s%s%s", all, all[1] ? "," : "", base[i].name, base[i].right);
        free(all);
        all = longer;
    }
    char *whole = text("%s}", all);
    free(all);
    return whole;
}

typedef enum id_token_error verify_fn(struct span, const struct jwks *, const struct id_token_rules *,
                                      struct id_token *, struct id_token_failure *);

static enum id_token_error run(verify_fn *verify, const char *header, const char *claims,
                               const struct id_token_rules *how, struct id_token *ret, struct id_token_failure *why)
{
    _cleanup_free_ char *whole = claims_with(claims), *token = sign(key, header, whole, strlen(whole));
    return verify(span_of(token), keys, how, ret, why);
}

static enum id_token_error try_with(verify_fn *verify, const char *claims, const struct id_token_rules *how)
{
    struct id_token token = {0};
    struct id_token_failure why;
    enum id_token_error error = run(verify, "{\"alg\":\"ES256\",\"kid\":\"k\"}", claims, how, &token, &why);
    assert_int_equal(why.error, error);
    assert_true((error == ID_TOKEN_OK) == (token.claims != NULL));
    id_token_done(&token);
    return error;
}

static enum id_token_error try(const char *claims)
{
    return try_with(id_token_verify, claims, &rules);
}

struct test_case {
    const char *claims;
    enum id_token_error expected;
};

static void try_all(const struct test_case *cases, size_t count, const struct id_token_rules *how)
{
    for (size_t i = 0; i < count; i++) {
        enum id_token_error error = try_with(id_token_verify, cases[i].claims, how);
        if (error != cases[i].expected)
            fail_msg("%s: %d, expected %d", cases[i].claims, error, cases[i].expected);
    }
}

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
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_issuer),
        cmocka_unit_test(test_audience),
        cmocka_unit_test(test_number_of_audiences),
        cmocka_unit_test(test_authorized_party),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_past),
        cmocka_unit_test(test_leeway),
        cmocka_unit_test(test_nonce),
        cmocka_unit_test(test_subject),
        cmocka_unit_test(test_tenant),
        cmocka_unit_test(test_issuer_of_key),
        cmocka_unit_test(test_long_issuers),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_type),
        cmocka_unit_test(test_bearer),
        cmocka_unit_test(test_signature_first),
        cmocka_unit_test(test_account),
        cmocka_unit_test(test_explanations),
        cmocka_unit_test(test_bounded_texts),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
