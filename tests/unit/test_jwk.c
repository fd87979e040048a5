/* JWK Sets: what is taken, what is skipped, what is refused, and which keys are candidates. */
#include "jose_fixture.h"

#include "authority/jwk.h"
#include "limits.h"
#include <errno.h>

DEFINE_CLEANUP(struct jwks *, jwks_free)
#define _cleanup_jwks_ _cleanup_(jwks_free_cleanup)

static EVP_PKEY *rsa, *rsa_short, *ec, *ec_other, *ec_384;

static int setup(void **state)
{
    (void)state;
    rsa = make_rsa(2048);
    rsa_short = make_rsa(2046); /* EVP makes even lengths only */
    ec = make_ec("P-256");
    ec_other = make_ec("P-256");
    ec_384 = make_ec("P-384");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(rsa_short);
    EVP_PKEY_free(ec);
    EVP_PKEY_free(ec_other);
    EVP_PKEY_free(ec_384);
    return 0;
}

/* The set of one JWK (freed here), or NULL when the set is refused. */
static struct jwks *set_of(char *jwk)
{
    _cleanup_free_ char *one = jwk, *document = text("{\"keys\":[%s]}", one);
    struct jwks *set = NULL;
    (void)jwks_parse(span_of(document), &set);
    return set;
}

static size_t usable(char *jwk)
{
    _cleanup_jwks_ struct jwks *set = set_of(jwk);
    assert_non_null(set);
    return jwks_count(set);
}

static unsigned algorithms(char *jwk)
{
    _cleanup_jwks_ struct jwks *set = set_of(jwk);
    assert_non_null(set);
    unsigned found = 0;
    for (unsigned i = 0; i < JWK_ALGORITHMS; i++)
        if (jwks_next(set, (enum jwk_algorithm)i, (struct span){0}, NULL))
            found |= 1u << i;
    return found;
}

static void test_algorithms(void **state)
{
    (void)state;
    assert_int_equal(algorithms(jwk_of(rsa, "")), 1u << JWK_RS256 | 1u << JWK_PS256);
    assert_int_equal(algorithms(jwk_of(rsa, "\"alg\":\"RS256\"")), 1u << JWK_RS256);
    assert_int_equal(algorithms(jwk_of(rsa, "\"alg\":\"PS256\",\"use\":\"sig\"")), 1u << JWK_PS256);
    assert_int_equal(algorithms(jwk_of(ec, "")), 1u << JWK_ES256);
    assert_int_equal(algorithms(jwk_of(ec, "\"alg\":\"ES256\",\"key_ops\":[\"verify\"]")), 1u << JWK_ES256);
}

static void test_skipped_for_what_they_say(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "\"use\":\"enc\"",
        "\"use\":7",
        "\"alg\":\"RSA-OAEP\"",
        "\"alg\":\"RS512\"",
        "\"alg\":\"none\"",
        "\"alg\":\"HS256\"",
        "\"alg\":\"ES256\"",
        "\"alg\":\"RS256\\u0000\"",
        "\"alg\":false",
        "\"key_ops\":[\"encrypt\"]",
        "\"key_ops\":\"verify\"",
        "\"key_ops\":[]",
        "\"kid\":17",
        "\"kid\":\"a\\u0000b\"",
        "\"kid\":\"a\\u001b[2J\"",
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++)
        if (usable(jwk_of(rsa, cases[i])) != 0)
            fail_msg("taken: %s", cases[i]);
    assert_int_equal(usable(jwk_of(ec, "\"alg\":\"RS256\"")), 0);
}

/* A JWK of `n_bits` whose modulus is 2^(n_bits-1) + last; not a key anyone could sign with, but its form decides. */
static char *rsa_of(size_t n_bits, uint8_t last, const char *e)
{
    uint8_t n[2048] = {0};
    size_t size = (n_bits + 7) / 8;
    n[0] = (uint8_t)(1u << ((n_bits - 1) % 8));
    n[size - 1] |= last;
    _cleanup_free_ char *encoded = encode(n, size);
    return text("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"}", encoded, e);
}

static void test_rsa_sizes(void **state)
{
    (void)state;
    assert_int_equal(usable(jwk_of(rsa_short, "")), 0);
    assert_int_equal(usable(rsa_of(1024, 1, "AQAB")), 0);
    assert_int_equal(usable(rsa_of(LEAST_RSA_BITS - 1, 1, "AQAB")), 0);
    assert_int_equal(usable(rsa_of(LEAST_RSA_BITS, 1, "AQAB")), 1);
    assert_int_equal(usable(rsa_of(LEAST_RSA_BITS + 1, 1, "AQAB")), 1);
    assert_int_equal(usable(rsa_of(LIMIT_RSA_BITS - 1, 1, "AQAB")), 1);
    assert_int_equal(usable(rsa_of(LIMIT_RSA_BITS, 1, "AQAB")), 1);
    assert_int_equal(usable(rsa_of(LIMIT_RSA_BITS + 1, 1, "AQAB")), 0);
}

static void test_rsa_malformed(void **state)
{
    (void)state;
    assert_int_equal(usable(rsa_of(2048, 0, "AQAB")), 0); /* even modulus */
    assert_int_equal(usable(rsa_of(2048, 1, "AQ")), 0);   /* exponent 1: every text would be its own signature */
    assert_int_equal(usable(rsa_of(2048, 1, "Ag")), 0);   /* even */
    assert_int_equal(usable(rsa_of(2048, 1, "AA")), 0);
    assert_int_equal(usable(rsa_of(2048, 1, "")), 0);
    assert_int_equal(usable(rsa_of(2048, 1, "AQ==")), 0);
    assert_int_equal(usable(rsa_of(2048, 1, "AQAAAQ")), 1);  /* 4 bytes */
    assert_int_equal(usable(rsa_of(2048, 1, "AQAAAAE")), 0); /* 5 bytes */
    assert_int_equal(usable(text("{\"kty\":\"RSA\",\"e\":\"AQAB\"}")), 0);
    assert_int_equal(usable(text("{\"kty\":\"RSA\",\"n\":5,\"e\":\"AQAB\"}")), 0);
    assert_int_equal(usable(text("{\"kty\":\"rsa\",\"n\":\"AQAB\",\"e\":\"AQAB\"}")), 0);
}

/* RFC 7515 appendix A.3's point, with y as given. */
static char *ec_of(const char *curve, const char *x, const char *y)
{
    return text("{\"kty\":\"EC\",\"crv\":\"%s\",\"x\":\"%s\",\"y\":\"%s\"}", curve, x, y);
}

static void test_ec(void **state)
{
    (void)state;
    static const char x[] = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                      y[] = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
                      zero[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert_int_equal(usable(ec_of("P-256", x, y)), 1);
    assert_int_equal(usable(ec_of("P-256", x, "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a4")), 0); /* off the curve */
    assert_int_equal(usable(ec_of("P-256", y, x)), 0);
    assert_int_equal(usable(ec_of("P-256", zero, zero)), 0); /* no way to spell infinity */
    assert_int_equal(usable(ec_of("P-256", x, "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5Q")), 0); /* 31 bytes */
    assert_int_equal(usable(ec_of("P-256", x, "")), 0);
    assert_int_equal(usable(ec_of("secp256k1", x, y)), 0);
    assert_int_equal(usable(ec_of("P-384", x, y)), 0);
    assert_int_equal(usable(jwk_of(ec_384, "")), 0);
    /* a coordinate beyond the field's prime, and the same one reduced: p + 5 and 5 */
    assert_int_equal(usable(ec_of("P-256", "_____wAAAAEAAAAAAAAAAAAAAAEAAAAAAAAAAAAAAAQ", y)), 0);
}

/* RFC 7518 section 6.2.1.2 wants all 32 bytes of a coordinate: one that ends in a zero byte must not do without it. */
static void test_ec_short_coordinates(void **state)
{
    (void)state;
    bool seen[2] = {false, false};
    while (!seen[0] || !seen[1]) {
        uint8_t point[65];
        size_t length;
        EVP_PKEY *key = make_ec("P-256");
        assert_true(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &length));
        EVP_PKEY_free(key);
        for (size_t i = 0; i < 2; i++) {
            if (point[32 + 32 * i] != 0)
                continue;
            seen[i] = true;
            _cleanup_free_ char *x = encode(point + 1, 32), *y = encode(point + 33, 32),
                                *cut = encode(point + 1 + 32 * i, 31);
            assert_int_equal(usable(ec_of("P-256", x, y)), 1);
            assert_int_equal(usable(ec_of("P-256", i == 0 ? cut : x, i == 1 ? cut : y)), 0);
        }
    }
}

static void test_other_types(void **state)
{
    (void)state;
    assert_int_equal(usable(text("{\"kty\":\"oct\",\"k\":\"AAAA\",\"alg\":\"HS256\"}")), 0);
    assert_int_equal(
        usable(text("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}")), 0);
    assert_int_equal(usable(text("{}")), 0);
    assert_int_equal(usable(text("null")), 0);
    assert_int_equal(usable(text("[[]]")), 0);
    assert_int_equal(usable(text("\"RSA\"")), 0);
}

/* One odd key must not disable the others, and private or certificate members change nothing. */
static void test_odd_keys_beside_good_ones(void **state)
{
    (void)state;
    _cleanup_free_ char *good = jwk_of(
                            rsa, "\"kid\":\"a\",\"d\":\"AAAA\",\"x5c\":[\"!!\"],\"x5u\":\"http://evil\",\"jku\":4"),
                        *encryption = jwk_of(rsa, "\"kid\":\"e\",\"use\":\"enc\""),
                        *other = jwk_of(ec, "\"kid\":\"b\"");
    _cleanup_free_ char *document =
        text("{\"keys\":[null,%s,{\"kty\":\"EC\"},%s,7,%s,{\"kty\":\"oct\"}],\"x\":1}", good, encryption, other);
    _cleanup_jwks_ struct jwks *set = NULL;
    assert_int_equal(jwks_parse(span_of(document), &set), 0);
    assert_int_equal(jwks_count(set), 2);
    assert_true(jwks_has_id(set, span_of("a")));
    assert_true(jwks_has_id(set, span_of("b")));
    assert_false(jwks_has_id(set, span_of("e")));
}

static void test_candidates(void **state)
{
    (void)state;
    _cleanup_free_ char *one = jwk_of(rsa, "\"kid\":\"a\""), *two = jwk_of(ec, "\"kid\":\"a\""),
                        *three = jwk_of(ec_other, "\"kid\":\"a\""), *four = jwk_of(ec, "");
    _cleanup_free_ char *document = text("{\"keys\":[%s,%s,%s,%s]}", one, two, three, four);
    _cleanup_jwks_ struct jwks *set = NULL;
    assert_int_equal(jwks_parse(span_of(document), &set), 0);
    assert_int_equal(jwks_count(set), 4);
    const struct jwk *first = jwks_next(set, JWK_ES256, span_of("a"), NULL);
    const struct jwk *second = jwks_next(set, JWK_ES256, span_of("a"), first);
    assert_non_null(first);
    assert_ptr_equal(second, first + 1);
    assert_null(jwks_next(set, JWK_ES256, span_of("a"), second)); /* not the one without an id */
    assert_ptr_equal(jwks_next(set, JWK_ES256, (struct span){0}, second), first + 2);
    assert_ptr_equal(jwks_next(set, JWK_RS256, span_of("a"), NULL), first - 1);
    assert_null(jwks_next(set, JWK_RS256, span_of("A"), NULL));
    assert_null(jwks_next(set, JWK_RS256, span_of("aa"), NULL));
    assert_null(jwks_next(set, JWK_RS256, span_of(""), NULL));
}

static void test_documents(void **state)
{
    (void)state;
    static const char *const refused[] = {"",
                                          "{}",
                                          "[]",
                                          "null",
                                          "{\"keys\":{}}",
                                          "{\"keys\":null}",
                                          "{\"keys\":[]",
                                          "{\"keys\":[]}x",
                                          "<html>",
                                          "{\"keys\":\"RSA\"}"};
    struct jwks *set = NULL;
    for (size_t i = 0; i < ELEMENTS(refused); i++)
        assert_int_equal(jwks_parse(span_of(refused[i]), &set), -EBADMSG);
    assert_null(set);
    assert_int_equal(jwks_parse(span_of("{\"keys\":[]}"), &set), 0);
    assert_int_equal(jwks_count(set), 0);
    assert_null(jwks_next(set, JWK_RS256, (struct span){0}, NULL));
    jwks_free(set);
    assert_null(jwks_free(NULL));
}

static void test_number_of_keys(void **state)
{
    (void)state;
    _cleanup_free_ char *one = jwk_of(ec, "");
    for (size_t count = LIMIT_JWKS_KEYS - 1; count <= LIMIT_JWKS_KEYS + 1; count++) {
        _cleanup_free_ char *document = text("{\"keys\":[%s", one);
        for (size_t i = 1; i < count; i++) {
            char *longer = text("%s,%s", document, one);
            free(document);
            document = longer;
        }
        _cleanup_free_ char *whole = text("%s]}", document);
        _cleanup_jwks_ struct jwks *set = NULL;
        assert_int_equal(jwks_parse(span_of(whole), &set), count > LIMIT_JWKS_KEYS ? -E2BIG : 0);
        if (set)
            assert_int_equal(jwks_count(set), count);
    }
}

static void test_key_id_length(void **state)
{
    (void)state;
    char id[LIMIT_KEY_ID + 2];
    for (size_t length = LIMIT_KEY_ID - 1; length <= LIMIT_KEY_ID + 1; length++) {
        memset(id, 'k', length);
        id[length] = '\0';
        _cleanup_free_ char *member = text("\"kid\":\"%s\"", id);
        assert_int_equal(usable(jwk_of(ec, member)), length <= LIMIT_KEY_ID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_algorithms),
        cmocka_unit_test(test_skipped_for_what_they_say),
        cmocka_unit_test(test_rsa_sizes),
        cmocka_unit_test(test_rsa_malformed),
        cmocka_unit_test(test_ec),
        cmocka_unit_test(test_ec_short_coordinates),
        cmocka_unit_test(test_other_types),
        cmocka_unit_test(test_odd_keys_beside_good_ones),
        cmocka_unit_test(test_candidates),
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_number_of_keys),
        cmocka_unit_test(test_key_id_length),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
