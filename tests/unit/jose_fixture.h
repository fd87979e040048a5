/* Keys, JWK Sets and signed tokens for the tests of agent/authority, made with libcrypto's signing side. Each returned
 * text is malloc'd; the programs are short and free what they hold so that the leak checker stays useful. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h wants the four above first */
#include <cmocka.h>

#include "cleanup.h"
#include "span.h"
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdio.h>

__attribute__((unused, format(printf, 1, 2))) static char *text(const char *format, ...)
{
    va_list arguments;
    char *result = NULL;
    va_start(arguments, format);
    assert_true(vasprintf(&result, format, arguments) >= 0);
    va_end(arguments);
    return result;
}

__attribute__((unused)) static char *encode(const void *bytes, size_t length)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const uint8_t *from = bytes;
    char *result = malloc(length / 3 * 4 + 5), *to = result;
    assert_non_null(result);
    uint32_t bits = 0;
    unsigned held = 0;
    for (size_t i = 0; i < length; i++) {
        bits = bits << 8 | from[i];
        for (held += 8; held >= 6; held -= 6)
            *to++ = alphabet[bits >> (held - 6) & 63];
    }
    if (held)
        *to++ = alphabet[bits << (6 - held) & 63];
    *to = '\0';
    return result;
}

__attribute__((unused)) static EVP_PKEY *make_rsa(unsigned bits)
{
    EVP_PKEY *key = EVP_RSA_gen(bits);
    assert_non_null(key);
    return key;
}

__attribute__((unused)) static EVP_PKEY *make_ec(const char *curve)
{
    EVP_PKEY *key = EVP_EC_gen(curve);
    assert_non_null(key);
    return key;
}

/* The public half as a JWK; `more` is put among its members, such as "\"kid\":\"a\"", or is empty. */
__attribute__((unused)) static char *jwk_of(EVP_PKEY *key, const char *more)
{
    const char *comma = *more ? "," : "";
    if (EVP_PKEY_is_a(key, "RSA")) {
        uint8_t bytes[2][2048];
        _cleanup_free_ char *n = NULL, *e = NULL;
        BIGNUM *numbers[2] = {NULL, NULL};
        assert_true(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &numbers[0]));
        assert_true(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &numbers[1]));
        n = encode(bytes[0], (size_t)BN_bn2bin(numbers[0], bytes[0]));
        e = encode(bytes[1], (size_t)BN_bn2bin(numbers[1], bytes[1]));
        BN_free(numbers[0]);
        BN_free(numbers[1]);
        return text("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"%s%s}", n, e, comma, more);
    }
    uint8_t point[256];
    size_t length;
    assert_true(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &length));
    size_t half = (length - 1) / 2;
    _cleanup_free_ char *x = encode(point + 1, half), *y = encode(point + 1 + half, half);
    return text("{\"kty\":\"EC\",\"crv\":\"P-%d\",\"x\":\"%s\",\"y\":\"%s\"%s%s}", EVP_PKEY_get_bits(key), x, y, comma,
                more);
}

/* The raw signature as JWS wants it; for ES256 r || s. */
__attribute__((unused)) static size_t sign_raw(EVP_PKEY *key, bool pss, int salt, const char *input, uint8_t to[2048])
{
    uint8_t bytes[2048];
    size_t length = sizeof bytes;
    EVP_PKEY_CTX *options = NULL;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_true(EVP_DigestSignInit(context, &options, EVP_sha256(), NULL, key));
    if (pss) {
        assert_true(EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING) > 0);
        assert_true(EVP_PKEY_CTX_set_rsa_pss_saltlen(options, salt) > 0);
    }
    assert_true(EVP_DigestSign(context, bytes, &length, (const uint8_t *)input, strlen(input)));
    EVP_MD_CTX_free(context);
    if (!EVP_PKEY_is_a(key, "EC")) {
        memcpy(to, bytes, length);
        return length;
    }
    const uint8_t *der = bytes;
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &der, (long)length);
    assert_non_null(signature);
    int half = (EVP_PKEY_get_bits(key) + 7) / 8;
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(signature), to, half), half);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(signature), to + half, half), half);
    ECDSA_SIG_free(signature);
    return 2 * (size_t)half;
}

/* A token with this header, signed by `key` whatever the header says; PSS when the header's alg begins with P. */
__attribute__((unused)) static char *sign(EVP_PKEY *key, const char *header, const char *payload, size_t length)
{
    uint8_t bytes[2048];
    _cleanup_free_ char *first = encode(header, strlen(header)), *second = encode(payload, length);
    _cleanup_free_ char *input = text("%s.%s", first, second);
    size_t size = sign_raw(key, strstr(header, "\"PS") != NULL, RSA_PSS_SALTLEN_DIGEST, input, bytes);
    _cleanup_free_ char *third = encode(bytes, size);
    return text("%s.%s", input, third);
}
