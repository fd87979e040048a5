/* JWS: the RFCs' own vectors, our own of PS256 made with libcrypto, and a table of what must be refused and how. */
#include "jose_fixture.h"

#include "authority/jws.h"
#include "limits.h"

#define PAYLOAD         "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}"
#define PAYLOAD_ENCODED "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

/* RFC 7515 appendix A.2 */
static const char a2_key[] =
    "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddx"
    "HmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-"
    "bSf63kpaSH"
    "SXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-"
    "DWNmoudF8"
    "NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\",\"e\":\"AQAB\"}]}";
static const char a2_token[] =
    "eyJhbGciOiJSUzI1NiJ9." PAYLOAD_ENCODED
    ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_"
    "O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZ"
    "cAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--"
    "xi12jzDwusC-e"
    "OkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

/* RFC 7515 appendix A.3 */
static const char a3_key[] =
    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}";
static const char a3_token[] =
    "eyJhbGciOiJFUzI1NiJ9." PAYLOAD_ENCODED
    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

/* RFC 7520 sections 3.3, 4.1 and 4.2 */
static const char cookbook_key[] =
    "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"bilbo.baggins@hobbiton.example\",\"use\":\"sig\",\"n\":"
    "\"n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZd"
    "R8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-"
    "QtiWN2lbzcEe6XC0dApr5ydQLrHqkHH"
    "ig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_"
    "3L_"
    "vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw\",\"e\":\"AQAB\"}]}";
#define COOKBOOK_PAYLOAD                                                                                               \
    "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5k" \
    "IGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4"
static const char cookbook_rs256[] =
    "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9." COOKBOOK_PAYLOAD
    ".MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-"
    "BDkoBwA7818"
    "5hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_"
    "qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_"
    "de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg";
static const char cookbook_ps384[] =
    "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9." COOKBOOK_PAYLOAD
    ".cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_"
    "1OLPpcbUrhi"
    "USMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_"
    "ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2X"
    "ez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw";

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

static void check_vector(const char *document, const char *token, const char *payload, size_t payload_length)
{
    struct jwks *set = parse(document);
    struct jws jws;
    assert_int_equal(jws_verify(span_of(token), set, &jws), JWS_OK);
    if (payload)
        assert_memory_equal(jws.payload, payload, payload_length + 1);
    assert_true(jws.payload_length == strlen(jws.payload));
    assert_non_null(jws.key);
    jws_done(&jws);
    jwks_free(set);
}

static void test_rfc_vectors(void **state)
{
    (void)state;
    check_vector(a2_key, a2_token, PAYLOAD, strlen(PAYLOAD));
    check_vector(a3_key, a3_token, PAYLOAD, strlen(PAYLOAD));
    check_vector(cookbook_key, cookbook_rs256, NULL, 0);
    struct jwks *set = parse(cookbook_key);
    assert_int_equal(verify(cookbook_ps384, strlen(cookbook_ps384), set), JWS_ALGORITHM);
    jwks_free(set);
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
    assert_int_equal(verify(a2_token, strlen(a2_token), none), JWS_NO_KEY);
    jwks_free(none);
}

/* PKCS#1 v1.5 under a PS256 header and the other way round, and salts that RFC 7518 does not allow. */
static void test_paddings(void **state)
{
    (void)state;
    static const struct {
        const char *algorithm;
        bool pss;
        int salt;
        enum jws_result expected;
    } cases[] = {
        {"PS256", true, 32, JWS_OK},
        {"PS256", true, 0, JWS_BAD_SIGNATURE},
        {"PS256", true, 20, JWS_BAD_SIGNATURE},
        {"PS256", true, 64, JWS_BAD_SIGNATURE},
        {"PS256", false, 0, JWS_BAD_SIGNATURE},
        {"RS256", true, 32, JWS_BAD_SIGNATURE},
        {"RS256", false, 0, JWS_OK},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        uint8_t bytes[2048];
        _cleanup_free_ char *header = text("{\"alg\":\"%s\"}", cases[i].algorithm),
                            *first = encode(header, strlen(header)), *input = text("%s.e30", first);
        size_t length = sign_raw(rsa, cases[i].pss, cases[i].salt, input, bytes);
        _cleanup_free_ char *signature = encode(bytes, length), *token = text("%s.%s", input, signature);
        assert_int_equal(verify_text(token), cases[i].expected);
    }
}

/* The public key as an HMAC secret, in the forms a confused verifier would use it. */
static void test_hmac_with_public_key(void **state)
{
    (void)state;
    unsigned char *der = NULL, mac[32];
    int length = i2d_PUBKEY(rsa, &der);
    unsigned mac_length;
    assert_true(length > 0);
    _cleanup_free_ char *header = encode("{\"alg\":\"HS256\"}", 15), *input = text("%s.e30", header);
    assert_non_null(HMAC(EVP_sha256(), der, length, (const uint8_t *)input, strlen(input), mac, &mac_length));
    _cleanup_free_ char *signature = encode(mac, mac_length), *token = text("%s.%s", input, signature);
    assert_int_equal(verify_text(token), JWS_ALGORITHM);
    OPENSSL_free(der);
}

static void test_ecdsa_signatures(void **state)
{
    (void)state;
    _cleanup_free_ char *header = encode("{\"alg\":\"ES256\"}", 15), *input = text("%s.e30", header);
    static const uint8_t order[32] = {0xff, 0xff, 0xff, 0xff, 0,    0,    0,    0,    0xff, 0xff, 0xff,
                                      0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17,
                                      0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};
    for (unsigned which = 0; which < 10; which++) {
        uint8_t bytes[2048] = {0};
        size_t length = sign_raw(ec, false, 0, input, bytes);
        assert_int_equal(length, 64);
        switch (which) {
        case 1:
            explicit_bzero(bytes, 32);
            break; /* r = 0 */
        case 2:
            explicit_bzero(bytes + 32, 32);
            break; /* s = 0 */
        case 3:
            explicit_bzero(bytes, 64);
            break; /* both: CVE-2022-21449 */
        case 4:
            memcpy(bytes, order, 32);
            break; /* r = n */
        case 5:
            memcpy(bytes + 32, order, 32);
            break; /* s = n */
        case 6:
            length = 63;
            break;
        case 7:
            length = 65;
            break;
        case 8:
            memcpy(bytes, order, 32), memcpy(bytes + 32, order, 32);
            break;
        case 9:
            length = 0;
            break;
        default:
            break;
        }
        _cleanup_free_ char *signature = encode(bytes, length), *token = text("%s.%s", input, signature);
        assert_int_equal(verify_text(token), which == 0 ? JWS_OK : JWS_BAD_SIGNATURE);
    }
}

/* A good signature, but in DER instead of r || s. */
static void test_ecdsa_in_der(void **state)
{
    (void)state;
    _cleanup_free_ char *header = encode("{\"alg\":\"ES256\"}", 15), *input = text("%s.e30", header);
    uint8_t bytes[128];
    size_t length = sizeof bytes;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_true(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, ec));
    assert_true(EVP_DigestSign(context, bytes, &length, (const uint8_t *)input, strlen(input)));
    EVP_MD_CTX_free(context);
    _cleanup_free_ char *signature = encode(bytes, length), *token = text("%s.%s", input, signature);
    assert_int_equal(verify_text(token), JWS_BAD_SIGNATURE);
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
        cmocka_unit_test(test_rfc_vectors),
        cmocka_unit_test(test_each_algorithm),
        cmocka_unit_test(test_flipped_and_cut),
        cmocka_unit_test(test_refused_headers),
        cmocka_unit_test(test_accepted_headers),
        cmocka_unit_test(test_wrong_keys),
        cmocka_unit_test(test_paddings),
        cmocka_unit_test(test_hmac_with_public_key),
        cmocka_unit_test(test_ecdsa_signatures),
        cmocka_unit_test(test_ecdsa_in_der),
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
