#include "authority/assertion.h"

#include "authority/key_pair.h"
#include "base64url.h"
#include "cleanup.h"
#include "json.h"
#include <errno.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>

#define P256_BYTES 32

DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)
DEFINE_CLEANUP(ECDSA_SIG *, ECDSA_SIG_free)

static int fail(char problem[static LIMIT_TEXT], const char *text)
{
    (void)snprintf(problem, LIMIT_TEXT, "%s", text);
    return -EINVAL;
}

static int choose_algorithm(const char *asked, const EVP_PKEY *key, const char **ret, char problem[static LIMIT_TEXT])
{
    bool rsa = EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA, ec = EVP_PKEY_get_base_id(key) == EVP_PKEY_EC;
    char curve[32] = "";
    if (ec && (EVP_PKEY_get_utf8_string_param(key, "group", curve, sizeof(curve), NULL) != 1 ||
               strcmp(curve, "prime256v1") != 0))
        return fail(problem, "client_key is on another curve than P-256");
    if (!rsa && !ec)
        return fail(problem, "client_key is neither RSA nor of the curve P-256");
    if (rsa && EVP_PKEY_get_bits(key) < LEAST_RSA_BITS)
        return fail(problem, "client_key is too short: 2048 bits are the least");
    *ret = *asked ? asked : rsa ? "PS256" : "ES256";
    return (strcmp(*ret, "ES256") == 0) == ec ? 0
                                              : fail(problem, "assertion_alg does not go with the kind of client_key");
}

/* ---- what is written ---- */

static int append_base64url(struct buffer *to, const uint8_t *bytes, size_t length)
{
    _cleanup_free_ char *text = malloc(4 * (length / 3 + 1) + 1);
    if (!text)
        return -ENOMEM;
    int n = EVP_EncodeBlock((unsigned char *)text, bytes, (int)length);
    while (n > 0 && text[n - 1] == '=')
        n--;
    for (int i = 0; i < n; i++)
        text[i] = (char)(text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i]);
    return buffer_append(to, text, (size_t)n);
}

static void put(struct buffer *to, const char *name, const char *value)
{
    buffer_format(to, "%s\"%s\":", to->length > 1 ? "," : "", name);
    json_quote(to, span_of(value));
}

static int put_thumbprint(struct buffer *to, const X509 *certificate, enum assertion_thumbprint kind)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    if (X509_digest(certificate, kind == ASSERTION_X5T ? EVP_sha1() : EVP_sha256(), digest, &length) != 1)
        return -EINVAL;
    buffer_format(to, ",\"%s\":\"", kind == ASSERTION_X5T ? "x5t" : "x5t#S256");
    append_base64url(to, digest, length);
    return buffer_byte(to, '"');
}

/* Base64 with padding here: RFC 7515 section 4.1.6. */
static int put_chain(struct buffer *to, const struct key_pair *pair)
{
    buffer_text(to, ",\"x5c\":[");
    for (size_t i = 0; i < pair->count; i++) {
        uint8_t *der = NULL;
        int length = i2d_X509(pair->certificates[i], &der);
        _cleanup_free_ char *text = length > 0 ? malloc(4 * ((size_t)length / 3 + 1) + 1) : NULL;
        if (text) {
            (void)EVP_EncodeBlock((unsigned char *)text, der, length);
            buffer_format(to, "%s\"%s\"", i ? "," : "", text);
        }
        OPENSSL_free(der);
        if (!text)
            return -ENOMEM;
    }
    return buffer_byte(to, ']');
}

static int write_unsigned(const struct assertion *assertion, const char *algorithm, const struct key_pair *pair,
                          struct buffer *to)
{
    _cleanup_buffer_ struct buffer header = BUFFER(LIMIT_JWS), claims = BUFFER(LIMIT_JWS);
    int r = 0;
    buffer_byte(&header, '{');
    put(&header, "alg", algorithm);
    put(&header, "typ", "JWT");
    if (*assertion->key_id)
        put(&header, "kid", assertion->key_id);
    if (pair->count && assertion->thumbprint != ASSERTION_NO_THUMBPRINT)
        r = put_thumbprint(&header, pair->certificates[0], assertion->thumbprint);
    if (r == 0 && pair->count && assertion->chain)
        r = put_chain(&header, pair);
    buffer_byte(&header, '}');
    buffer_byte(&claims, '{');
    put(&claims, "aud", assertion->audience);
    put(&claims, "iss", assertion->client_id);
    put(&claims, "sub", assertion->client_id);
    put(&claims, "jti", assertion->jti);
    buffer_format(&claims, ",\"nbf\":%lld,\"iat\":%lld,\"exp\":%lld}", (long long)assertion->issued_at,
                  (long long)assertion->issued_at, (long long)assertion->issued_at + ASSERTION_LIFE_S);
    if (r < 0 || buffer_error(&header) || buffer_error(&claims))
        return -ENOMEM;
    append_base64url(to, (const uint8_t *)header.data, header.length);
    buffer_byte(to, '.');
    return append_base64url(to, (const uint8_t *)claims.data, claims.length);
}

/* RFC 7518 section 3.4: R and S as they are, not in DER. */
static bool unwrap_es256(const uint8_t *der, size_t length, uint8_t ret[static 2 * P256_BYTES])
{
    const uint8_t *at = der;
    _cleanup_(ECDSA_SIG_free_cleanup) ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &at, (long)length);
    return signature && BN_bn2binpad(ECDSA_SIG_get0_r(signature), ret, P256_BYTES) == P256_BYTES &&
           BN_bn2binpad(ECDSA_SIG_get0_s(signature), ret + P256_BYTES, P256_BYTES) == P256_BYTES;
}

static int sign(const char *algorithm, EVP_PKEY *key, struct buffer *to)
{
    _cleanup_(EVP_MD_CTX_free_cleanup) EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *options = NULL;
    uint8_t signature[LIMIT_RSA_BITS / 8 + 64], plain[2 * P256_BYTES];
    size_t length = sizeof(signature);
    bool ec = strcmp(algorithm, "ES256") == 0;
    if (!key || !to->data)
        return -EINVAL;
    bool good = context && EVP_DigestSignInit(context, &options, EVP_sha256(), NULL, key) == 1;
    if (good && strcmp(algorithm, "PS256") == 0)
        good = EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING) == 1 &&
               EVP_PKEY_CTX_set_rsa_pss_saltlen(options, RSA_PSS_SALTLEN_DIGEST) == 1;
    good = good && EVP_PKEY_get_bits(key) <= LIMIT_RSA_BITS &&
           EVP_DigestSign(context, signature, &length, (const uint8_t *)to->data, to->length) == 1;
    if (good && ec)
        good = unwrap_es256(signature, length, plain);
    if (!good)
        return -EINVAL;
    buffer_byte(to, '.');
    return ec ? append_base64url(to, plain, sizeof(plain)) : append_base64url(to, signature, length);
}

int assertion_make(const struct assertion *assertion, struct span key, struct span certificate, struct span password,
                   struct buffer *to, char problem[static LIMIT_TEXT])
{
    _cleanup_(key_pair_clear) struct key_pair pair = {0};
    const char *algorithm = "";
    int r = key_pair_read(key, certificate, password, &pair, problem);
    if (r == 0)
        r = choose_algorithm(assertion->algorithm, pair.key, &algorithm, problem);
    if (r < 0)
        return r;
    r = write_unsigned(assertion, algorithm, &pair, to);
    if (r == 0)
        r = sign(algorithm, pair.key, to);
    return r == -EINVAL ? fail(problem, "client_key could not sign") : r;
}
