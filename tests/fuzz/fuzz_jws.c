/* libFuzzer: what an authority and a client can say in keys and tokens. The first byte picks: a JWK Set and a token
 * parted by the first newline; a token alone that is only shown; claims that a good key signs, so that what stands
 * behind the signature is reached. What must hold: only our own signature is good, and what is accepted is as the rules
 * say. */
#include "authority/id_token.h"
#include "cleanup.h"
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NOW = 1800000000, LEEWAY = 60, HALF = 32, NAME_SIZE = 256 };

static EVP_PKEY *key;
static struct jwks *set;

static void hold(bool truth)
{
    if (!truth)
        abort();
}

static char *encode(const void *bytes, size_t length)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const uint8_t *from = bytes;
    char *text = malloc(length / 3 * 4 + 5), *to = text;
    hold(text != NULL);
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
    return text;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    uint8_t point[1 + 2 * HALF];
    size_t length = 0;
    key = EVP_EC_gen("P-256");
    hold(key && EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point), &length));
    hold(length == sizeof(point));
    _cleanup_free_ char *x = encode(point + 1, HALF), *y = encode(point + 1 + HALF, HALF), *text = NULL;
    hold(asprintf(&text, "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"k\",\"x\":\"%s\",\"y\":\"%s\"}]}", x,
                  y) > 0);
    hold(jwks_parse((struct span){text, strlen(text)}, &set) == 0 && jwks_count(set) == 1);
    return 0;
}

static char *sign(const uint8_t *claims, size_t size)
{
    static const char header[] = "{\"alg\":\"ES256\",\"kid\":\"k\"}";
    uint8_t der[128], raw[2 * HALF];
    size_t length = sizeof(der);
    _cleanup_free_ char *first = encode(header, strlen(header)), *second = encode(claims, size), *input = NULL;
    hold(asprintf(&input, "%s.%s", first, second) > 0);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    hold(context && EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key));
    hold(EVP_DigestSign(context, der, &length, (const uint8_t *)input, strlen(input)));
    EVP_MD_CTX_free(context);
    const uint8_t *from = der;
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &from, (long)length);
    hold(signature && BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, HALF) == HALF &&
         BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + HALF, HALF) == HALF);
    ECDSA_SIG_free(signature);
    _cleanup_free_ char *third = encode(raw, sizeof(raw));
    char *token = NULL;
    hold(asprintf(&token, "%s.%s", input, third) > 0);
    return token;
}

static bool clean(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return false;
    return true;
}

static void check_failure(const struct id_token_failure *why)
{
    char line[NAME_SIZE];
    hold(why->error > ID_TOKEN_OK && why->error <= ID_TOKEN_SUBJECT);
    hold(why->got.length <= LIMIT_CLAIM_SHOWN && why->expected.length <= LIMIT_CLAIM_SHOWN);
    id_token_explain(why, "id_token", line, sizeof(line));
    hold(*line && clean(line));
}

static void check_accepted(struct id_token *token, bool bearer)
{
    hold(json_object_is_type(token->claims, json_type_object));
    hold(strcmp(token->issuer, "https://a.example") == 0);
    hold(bearer || (token->subject && *token->subject));
    hold(!token->subject || (clean(token->subject) && strlen(token->subject) <= LIMIT_SUBJECT));
    hold(!token->account || clean(token->account));
    hold(token->expires_s > NOW - LEEWAY);
    id_token_done(token);
}

static void check_token(struct span text, const struct jwks *keys, bool ours)
{
    for (int bearer = 0; bearer < 2; bearer++) {
        const struct id_token_rules rules = {
            .issuer = "https://a.example", .audience = "c", .now_s = NOW, .leeway_s = LEEWAY};
        struct id_token token;
        struct id_token_failure why;
        enum id_token_error error = bearer ? id_token_verify_bearer(text, keys, &rules, &token, &why)
                                           : id_token_verify(text, keys, &rules, &token, &why);
        if (error == ID_TOKEN_OK) {
            hold(ours); /* nobody else has the key */
            check_accepted(&token, bearer);
        } else {
            hold(error == why.error);
            hold(!ours || (error != ID_TOKEN_SIGNATURE && error != ID_TOKEN_NO_KEY && error != ID_TOKEN_ALGORITHM));
            check_failure(&why);
        }
    }
}

static void check_keys(struct span document, struct span token)
{
    struct jwks *keys = NULL;
    if (jwks_parse(document, &keys) < 0)
        return;
    hold(jwks_count(keys) <= LIMIT_JWKS_KEYS);
    for (int algorithm = 0; algorithm < JWK_ALGORITHMS; algorithm++) {
        const struct jwk *one = NULL;
        while ((one = jwks_next(keys, (enum jwk_algorithm)algorithm, (struct span){0}, one))) {
            hold(one->key && one->algorithms & (1u << algorithm) && one->size <= LIMIT_JWS);
            hold(!one->id || (clean(one->id) && jwks_has_id(keys, span_of(one->id))));
        }
    }
    struct jws jws;
    enum jws_result result = jws_verify(token, keys, &jws);
    hold(*jws_result_text(result));
    if (result == JWS_OK)
        jws_done(&jws);
    jwks_free(keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return -1;
    _cleanup_free_ char *copy = malloc(size > 1 ? size - 1 : 1); /* of exactly that size: a byte too far is seen */
    hold(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    struct span text = {copy, size - 1};
    if (data[0] % 3 == 0) {
        const char *end = memchr(text.data, '\n', text.length);
        size_t first = end ? (size_t)(end - text.data) : text.length;
        check_keys((struct span){text.data, first},
                   end ? (struct span){end + 1, text.length - first - 1} : (struct span){0});
    } else if (data[0] % 3 == 1) {
        json_object *claims = NULL;
        if (jws_claims_unverified(text, &claims) == JWS_OK) {
            const char *account = id_token_account(claims);
            hold(!account || clean(account));
            json_object_put(claims);
        }
        check_token(text, set, false);
    } else {
        _cleanup_free_ char *token = sign(data + 1, size - 1);
        check_token(span_of(token), set, strlen(token) <= LIMIT_JWS);
    }
    return 0;
}
