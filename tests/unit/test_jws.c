/* JWS by tokens made here with libcrypto; test_jws_vectors.c has the tables of others. */
#include "jose_fixture.h"

#include "authority/jws.h"
#include "limits.h"

#define PAYLOAD_ENCODED "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

static EVP_PKEY *rsa, *rsa_new, *rsa_1024, *ec;
static struct jwks *keys; /* ids r (RSA), e (EC), s (RSA of 1024 bits) */

static struct jwks *parse(const char *document)
{
    struct jwks *set = NULL;
    assert_int_equal(jwks_parse(span_of(document), &set), 0);
    return set;
}

static int setup(void **state)
{
    (void)state;
    rsa = make_rsa(2048);
    rsa_new = make_rsa(2048);
    rsa_1024 = make_rsa(1024);
    ec = make_ec("P-256");
    _cleanup_free_ char *r = jwk_of(rsa, "\"kid\":\"r\""), *e = jwk_of(ec, "\"kid\":\"e\""),
                        *s = jwk_of(rsa_1024, "\"kid\":\"s\"");
    _cleanup_free_ char *document = text("{\"keys\":[%s,%s,%s]}", r, e, s);
    keys = parse(document);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    jwks_free(keys);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(rsa_new);
    EVP_PKEY_free(rsa_1024);
    EVP_PKEY_free(ec);
    return 0;
}

/* The result for a token. Also copies it to memory of exactly its size, so that a sanitizer sees each byte read beyond.
 */
static enum jws_result verify(const char *token, size_t length, const struct jwks *set)
{
    _cleanup_free_ char *exact = malloc(length ? length : 1);
    assert_non_null(exact);
    memcpy(exact, token, length);
    struct jws jws = {0};
    enum jws_result result = jws_verify((struct span){exact, length}, set, &jws);
    if (result != JWS_OK) /* never touched on failure */
        assert_true(!jws.header && !jws.payload && !jws.key);
    jws_done(&jws);
    return result;
}

static enum jws_result verify_text(const char *token)
{
    return verify(token, strlen(token), keys);
}

static enum jws_result verify_signed(EVP_PKEY *key, const char *header)
{
    _cleanup_free_ char *token = sign(key, header, "{}", 2);
    return verify_text(token);
}

static void test_each_algorithm(void **state)
{
    (void)state;
    assert_int_equal(verify_signed(rsa, "{\"alg\":\"RS256\",\"kid\":\"r\"}"), JWS_OK);
    assert_int_equal(verify_signed(rsa, "{\"alg\":\"PS256\",\"kid\":\"r\"}"), JWS_OK);
    assert_int_equal(verify_signed(ec, "{\"alg\":\"ES256\",\"kid\":\"e\"}"), JWS_OK);
    /* without an id, every key of the type is tried */
    assert_int_equal(verify_signed(rsa, "{\"alg\":\"PS256\"}"), JWS_OK);
    assert_int_equal(verify_signed(ec, "{\"alg\":\"ES256\",\"typ\":\"JWT\",\"x5t\":\"abc\"}"), JWS_OK);
}

/* Each single bit of a token matters: nothing but the very text verifies. */
static void flip_all(EVP_PKEY *key, const char *header)
{
    _cleanup_free_ char *token = sign(key, header, "{\"sub\":\"a\"}", 11);
    size_t length = strlen(token);
    assert_int_equal(verify(token, length, keys), JWS_OK);
    for (size_t i = 0; i < length; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            token[i] = (char)(token[i] ^ (1 << bit));
            if (verify(token, length, keys) == JWS_OK)
                fail_msg("bit %u of byte %zu does not matter", bit, i);
            token[i] = (char)(token[i] ^ (1 << bit));
        }
    for (size_t i = 0; i < length; i++)
        if (verify(token, i, keys) == JWS_OK)
            fail_msg("cut to %zu bytes it still verifies", i);
}

static void test_flipped_and_cut(void **state)
{
    (void)state;
    flip_all(rsa, "{\"alg\":\"RS256\",\"kid\":\"r\"}");
    flip_all(rsa, "{\"alg\":\"PS256\"}");
    flip_all(ec, "{\"alg\":\"ES256\",\"kid\":\"e\"}");
}

static void test_refused_headers(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        enum jws_result expected;
    } cases[] = {
        {"{\"alg\":\"none\"}", JWS_ALGORITHM},
        {"{\"alg\":\"None\"}", JWS_ALGORITHM},
        {"{\"alg\":\"NONE\"}", JWS_ALGORITHM},
        {"{\"alg\":\"nOnE\"}", JWS_ALGORITHM},
        {"{\"alg\":\"none \"}", JWS_ALGORITHM},
        {"{\"alg\":\"\"}", JWS_ALGORITHM},
        {"{\"alg\":\"rs256\"}", JWS_ALGORITHM},
        {"{\"alg\":\"RS256 \"}", JWS_ALGORITHM},
        {"{\"alg\":\"RS25\"}", JWS_ALGORITHM},
        {"{\"alg\":\"RS256\\u0000\"}", JWS_ALGORITHM},
        {"{\"alg\":\"RS384\"}", JWS_ALGORITHM},
        {"{\"alg\":\"RS512\"}", JWS_ALGORITHM},
        {"{\"alg\":\"PS512\"}", JWS_ALGORITHM},
        {"{\"alg\":\"ES256K\"}", JWS_ALGORITHM},
        {"{\"alg\":\"EdDSA\"}", JWS_ALGORITHM},
        {"{\"alg\":\"HS256\",\"kid\":\"r\"}", JWS_ALGORITHM},
        {"{\"alg\":\"HS384\"}", JWS_ALGORITHM},
        {"{\"alg\":\"HS512\"}", JWS_ALGORITHM},
        {"{\"alg\":\"RSA1_5\",\"enc\":\"A128CBC-HS256\"}", JWS_ALGORITHM},
        {"{\"alg\":\"RS256\",\"kid\":\"e\"}", JWS_ALGORITHM}, /* that key is an EC key */
        {"{\"alg\":\"ES256\",\"kid\":\"r\"}", JWS_ALGORITHM},
        {"{\"kid\":\"r\"}", JWS_MALFORMED},
        {"{\"alg\":null}", JWS_MALFORMED},
        {"{\"alg\":256}", JWS_MALFORMED},
        {"{\"alg\":[\"RS256\"]}", JWS_MALFORMED},
        {"{\"Alg\":\"RS256\"}", JWS_MALFORMED},
        {"{\"alg\":\"RS256\",\"crit\":[\"exp\"]}", JWS_HEADER},
        {"{\"alg\":\"RS256\",\"crit\":[]}", JWS_HEADER},
        {"{\"alg\":\"RS256\",\"crit\":null}", JWS_HEADER},
        {"{\"alg\":\"RS256\",\"crit\":[\"b64\"],\"b64\":false}", JWS_HEADER},
        {"{\"alg\":\"RS256\",\"b64\":true}", JWS_HEADER},
        {"{\"alg\":\"RS256\",\"jku\":\"https://evil.example/keys\"}", JWS_HEADER},
        {"{\"alg\":\"RS256\",\"x5u\":\"https://evil.example/cert\"}", JWS_HEADER},
        {"{\"alg\":\"RS256\",\"x5c\":[\"MII\"]}", JWS_HEADER},
        {"{\"alg\":\"RS256\",\"jwk\":{\"kty\":\"RSA\"}}", JWS_HEADER},
        {"{\"alg\":\"RS256\",\"jwk\":null}", JWS_HEADER},
        {"{\"alg\":\"RS256\",\"kid\":\"r2\"}", JWS_NO_KEY},
        {"{\"alg\":\"RS256\",\"kid\":\"R\"}", JWS_NO_KEY},
        {"{\"alg\":\"RS256\",\"kid\":\"\"}", JWS_NO_KEY},
        {"{\"alg\":\"RS256\",\"kid\":\"../../r\"}", JWS_NO_KEY},
        {"{\"alg\":\"RS256\",\"kid\":\"r\\u0000\"}", JWS_MALFORMED},
        {"{\"alg\":\"RS256\",\"kid\":\"r\\n\"}", JWS_MALFORMED},
        {"{\"alg\":\"RS256\",\"kid\":1}", JWS_MALFORMED},
        {"{\"alg\":\"RS256\",\"alg\":\"RS256\"}", JWS_MALFORMED}, /* repeated members */
        {"{\"alg\":\"none\",\"alg\":\"RS256\"}", JWS_MALFORMED},
        {"{\"alg\":\"none\",\"\\u0061lg\":\"RS256\"}", JWS_MALFORMED},
        {"{\"alg\":\"RS256\",\"x\":{\"a\":1,\"a\":1}}", JWS_MALFORMED},
        {"{\"alg\":\"RS256\",\"x\":[{\"a\":\":\",\"a\":\"\\\":\"}]}", JWS_MALFORMED},
        {"{\"alg\\u0000\":\"RS256\"}", JWS_MALFORMED}, /* reads as alg by C string */
        {"{\"alg\":\"RS256\",\"x\\u0000\":1}", JWS_MALFORMED},
        {"{\"alg\":\"RS256\",\"x\":NaN}", JWS_MALFORMED}, /* json-c reads these even when it is strict */
        {"{\"alg\":\"RS256\",\"x\":[-Infinity]}", JWS_MALFORMED},
        {"{'alg':'RS256'}", JWS_MALFORMED},
        {"{'alg':\"RS256\"}", JWS_MALFORMED},
        {"{\"alg\":\"RS256\",'x\"':1,'x\"':2}", JWS_MALFORMED},
        {"[\"alg\",\"RS256\"]", JWS_MALFORMED},
        {"\"RS256\"", JWS_MALFORMED},
        {"null", JWS_MALFORMED},
        {"", JWS_MALFORMED},
        {"{\"alg\":\"RS256\"", JWS_MALFORMED},
        {"{\"alg\":\"RS256\"}}", JWS_MALFORMED},
        {"{\"alg\":\"RS256\",}", JWS_MALFORMED},
        {"{\"alg\":\"RS256\"/**/}", JWS_MALFORMED},
        {"{\"alg\":\"RS256\",\"x\":\"\xff\"}", JWS_MALFORMED},
        {"{\"alg\":\"RS256\",\"x\":[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]}", JWS_MALFORMED},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        enum jws_result result = verify_signed(rsa, cases[i].header);
        if (result != cases[i].expected)
            fail_msg("%s: %d, expected %d", cases[i].header, result, cases[i].expected);
    }
}

/* What looks odd to the check for repeated members, but is not. */
static void test_accepted_headers(void **state)
{
    (void)state;
    static const char *const cases[] = {
        " {\"alg\" : \"RS256\"} ",
        "{\"alg\":\"RS256\",\"x\":{\"alg\":\"none\",\"a\":[{\"alg\":1},{\"alg\":2}]}}",
        "{\"alg\":\"RS256\",\"x\":\"a:b\\\":\\\\\",\"y\":\"it's\"}",
        "{\"alg\":\"RS256\",\"a:b\":\"\\u0000\"}",
        "{\"\\u0061lg\":\"RS256\"}",
        "{\"alg\":\"RS256\",\"NaN\":\"Infinity\",\"x\":1E5}",
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++)
        if (verify_signed(rsa, cases[i]) != JWS_OK)
            fail_msg("refused: %s", cases[i]);
}

static void test_wrong_keys(void **state)
{
    (void)state;
    assert_int_equal(verify_signed(rsa_new, "{\"alg\":\"RS256\",\"kid\":\"r\"}"), JWS_BAD_SIGNATURE);
    assert_int_equal(verify_signed(rsa_new, "{\"alg\":\"RS256\"}"), JWS_BAD_SIGNATURE);
    assert_int_equal(verify_signed(rsa_new, "{\"alg\":\"RS256\",\"kid\":\"new\"}"), JWS_NO_KEY);
    assert_int_equal(verify_signed(rsa_1024, "{\"alg\":\"RS256\",\"kid\":\"s\"}"),
                     JWS_NO_KEY); /* too short to be a key */
    assert_int_equal(verify_signed(rsa_1024, "{\"alg\":\"RS256\"}"), JWS_BAD_SIGNATURE);
    assert_int_equal(verify_signed(ec, "{\"alg\":\"RS256\",\"kid\":\"r\"}"), JWS_BAD_SIGNATURE);
    struct jwks *none = parse("{\"keys\":[]}");
    _cleanup_free_ char *token = sign(rsa, "{\"alg\":\"RS256\"}", "{}", 2);
    assert_int_equal(verify(token, strlen(token), none), JWS_NO_KEY);
    jwks_free(none);
}

static void test_serialization(void **state)
{
    (void)state;
    _cleanup_free_ char *good = sign(rsa, "{\"alg\":\"RS256\"}", "{}", 2);
    char *last = strrchr(good, '.');
    int before = (int)(last - good);
    static const char *const formats[] = {"%.*s%s.",  ".%.*s%s", "%.*s.%s", "%.*s%s=",    "%.*s%s==",
                                          "%.*s%s\n", " %.*s%s", "%.*s%s ", "%.*s%s.e30", "%.*s%s.e30.e30"};
    for (size_t i = 0; i < ELEMENTS(formats); i++) {
        char *token = NULL;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        assert_true(asprintf(&token, formats[i], before, good, last) > 0);
#pragma GCC diagnostic pop
        if (verify_text(token) != JWS_MALFORMED)
            fail_msg("not malformed: %s", formats[i]);
        free(token);
    }
    static const char *const texts[] = {
        "", ".", "..", "...", "e30", "e30.e30", "e30.e30.", "{}", "eyJhbGciOiJSUzI1NiJ9", "a.b.c"};
    for (size_t i = 0; i < ELEMENTS(texts); i++)
        assert_int_equal(verify_text(texts[i]), JWS_MALFORMED);
    assert_int_equal(verify_text("eyJhbGciOiJub25lIn0.e30."), JWS_ALGORITHM);
    assert_int_equal(verify_text("eyJhbGciOiJSUzI1NiJ9.e30."), JWS_BAD_SIGNATURE);
    assert_int_equal(verify_text("eyJhbGciOiJSUzI1NiJ9.e30=.AAAA"), JWS_MALFORMED);
    /* garbage as signature is said before an unknown key id is: it must not make anyone fetch keys */
    assert_int_equal(verify_text("eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.e30.!!!!"), JWS_MALFORMED);
}

/* Tokens of max-1, max and max+1 bytes, all well signed. */
static void test_size(void **state)
{
    (void)state;
    static char payload[LIMIT_JWS];
    memset(payload, ' ', sizeof payload);
    size_t seen = 0;
    for (size_t pad = 0; pad < 4; pad++)
        for (size_t length = (LIMIT_JWS - 500) / 4 * 3; length < (LIMIT_JWS - 300) / 4 * 3; length++) {
            /* the parts' sizes in base64url: only the tokens of interest are signed */
            size_t header = 22 + pad, size = (header * 4 + 2) / 3 + 1 + (length * 4 + 2) / 3 + 1 + 342;
            if (size < LIMIT_JWS - 1 || size > LIMIT_JWS + 1 || (seen & 1u << (size - LIMIT_JWS + 1)))
                continue;
            seen |= 1u << (size - LIMIT_JWS + 1);
            _cleanup_free_ char *json = text("{\"alg\":\"RS256\",\"x\":\"%.*s\"}", (int)pad, "aaaa");
            assert_int_equal(strlen(json), header);
            _cleanup_free_ char *token = sign(rsa, json, payload, length);
            assert_int_equal(strlen(token), size);
            assert_int_equal(verify(token, size, keys), size <= LIMIT_JWS ? JWS_OK : JWS_MALFORMED);
        }
    assert_int_equal(seen, 7);
}

static void test_header_size(void **state)
{
    (void)state;
    char filler[LIMIT_JWS_HEADER];
    memset(filler, 'a', sizeof filler);
    for (size_t size = LIMIT_JWS_HEADER - 1; size <= LIMIT_JWS_HEADER + 1; size++) {
        _cleanup_free_ char *header = text("{\"alg\":\"RS256\",\"x\":\"%.*s\"}", (int)size - 22, filler);
        assert_int_equal(strlen(header), size);
        assert_int_equal(verify_signed(rsa, header), size <= LIMIT_JWS_HEADER ? JWS_OK : JWS_MALFORMED);
    }
}

/* Two keys with one id, as some authorities have while they change keys: each verifies its own tokens. */
static void test_one_id_twice(void **state)
{
    (void)state;
    _cleanup_free_ char *one = jwk_of(rsa, "\"kid\":\"k\""), *two = jwk_of(rsa_new, "\"kid\":\"k\""),
                        *document = text("{\"keys\":[%s,%s]}", one, two),
                        *token = sign(rsa_new, "{\"alg\":\"PS256\",\"kid\":\"k\"}", "{}", 2);
    struct jwks *set = parse(document);
    struct jws jws;
    assert_int_equal(jws_verify(span_of(token), set, &jws), JWS_OK);
    assert_ptr_equal(jws.key, jwks_next(set, JWK_PS256, span_of("k"), jwks_next(set, JWK_PS256, span_of("k"), NULL)));
    jws_done(&jws);
    jwks_free(set);
}

static enum jws_result claims_of(const char *payload, size_t length)
{
    _cleanup_free_ char *token = sign(rsa, "{\"alg\":\"RS256\"}", payload, length);
    struct jws jws;
    json_object *claims = NULL, *unverified = NULL;
    assert_int_equal(jws_verify(span_of(token), keys, &jws), JWS_OK);
    enum jws_result result = jws_claims(&jws, &claims);
    assert_int_equal(jws_claims_unverified(span_of(token), &unverified), result);
    assert_true((result == JWS_OK) == (claims != NULL) && (result == JWS_OK) == (unverified != NULL));
    assert_true(json_object_equal(claims, unverified));
    json_object_put(claims);
    json_object_put(unverified);
    jws_done(&jws);
    return result;
}

static void test_claims(void **state)
{
    (void)state;
    assert_int_equal(claims_of("{\"sub\":\"a\"}", 11), JWS_OK);
    assert_int_equal(claims_of("{\"sub\":\"a\",\"sub\":\"b\"}", 21), JWS_MALFORMED);
    assert_int_equal(claims_of("[]", 2), JWS_MALFORMED);
    assert_int_equal(claims_of("", 0), JWS_MALFORMED);
    assert_int_equal(claims_of("{}\0{}", 5), JWS_MALFORMED);
    assert_int_equal(claims_of("{}\0", 3), JWS_MALFORMED);
    assert_int_equal(claims_of("{\"sub\\u0000x\":\"a\"}", 18), JWS_MALFORMED);
}

static void test_unverified(void **state)
{
    (void)state;
    json_object *claims = NULL;
    /* whatever the algorithm and signature */
    assert_int_equal(jws_claims_unverified(span_of("eyJhbGciOiJub25lIn0." PAYLOAD_ENCODED "."), &claims), JWS_OK);
    const char *issuer;
    assert_int_equal(json_string(claims, "iss", 10, &issuer), 0);
    assert_string_equal(issuer, "joe");
    json_object_put(claims);
    claims = NULL;
    static const char *const refused[] = {"opaque",        "a.b.c",    "",         "e30.e30",
                                          "e30.e30.a.b.c", "W10.e30.", "e30.W10.", "e30.e30=."};
    for (size_t i = 0; i < ELEMENTS(refused); i++)
        assert_int_equal(jws_claims_unverified(span_of(refused[i]), &claims), JWS_MALFORMED);
    assert_null(claims);
}

static void test_texts(void **state)
{
    (void)state;
    for (unsigned a = JWS_OK; a <= JWS_NO_MEMORY; a++)
        for (unsigned b = 0; b < a; b++)
            assert_string_not_equal(jws_result_text((enum jws_result)a), jws_result_text((enum jws_result)b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_algorithm),
        cmocka_unit_test(test_flipped_and_cut),
        cmocka_unit_test(test_refused_headers),
        cmocka_unit_test(test_accepted_headers),
        cmocka_unit_test(test_wrong_keys),
        cmocka_unit_test(test_serialization),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_header_size),
        cmocka_unit_test(test_one_id_twice),
        cmocka_unit_test(test_claims),
        cmocka_unit_test(test_unverified),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
