#include "jwk.h"

#include "base64url.h"
#include "cleanup.h"
#include "json.h"
#include "limits.h"
#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#define P256_BYTES 32

struct jwks {
    size_t count;
    struct jwk keys[LIMIT_JWKS_KEYS];
};

DEFINE_CLEANUP(struct jwks *, jwks_free)
DEFINE_CLEANUP(BIGNUM *, BN_free)
DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(OSSL_PARAM_BLD *, OSSL_PARAM_BLD_free)
DEFINE_CLEANUP(OSSL_PARAM *, OSSL_PARAM_free)

static void key_clear(struct jwk *key)
{
    free(key->id);
    free(key->issuer);
    EVP_PKEY_free(key->key);
    *key = (struct jwk){0};
}

struct jwks *jwks_free(struct jwks *set)
{
    if (!set)
        return NULL;
    for (size_t i = 0; i < set->count; i++)
        key_clear(&set->keys[i]);
    free(set);
    return NULL;
}

size_t jwks_count(const struct jwks *set)
{
    return set->count;
}

/* A public key from parameters: 0, -EINVAL when libcrypto does not take it. */
static int build(const char *type, OSSL_PARAM_BLD *builder, EVP_PKEY **ret)
{
    _cleanup_(OSSL_PARAM_free_cleanup) OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(builder);
    _cleanup_(EVP_PKEY_CTX_free_cleanup) EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (!parameters || !context)
        return -ENOMEM;
    EVP_PKEY *key = NULL;
    if (EVP_PKEY_fromdata_init(context) <= 0 || EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters) <= 0)
        return -EINVAL;
    *ret = key;
    return 0;
}

/* RFC 7518 section 6.3.1. */
static int parse_rsa(json_object *object, struct jwk *key)
{
    uint8_t n[LIMIT_RSA_BITS / 8], e[LIMIT_RSA_EXPONENT];
    size_t n_length, e_length;
    struct span n_text, e_text;
    if (json_bytes(object, "n", LIMIT_RESPONSE, &n_text) < 0 || json_bytes(object, "e", LIMIT_RESPONSE, &e_text) < 0 ||
        base64url_decode(n_text, n, sizeof n, &n_length) < 0 || base64url_decode(e_text, e, sizeof e, &e_length) < 0)
        return -EINVAL;
    _cleanup_(BN_free_cleanup) BIGNUM *modulus = BN_bin2bn(n, (int)n_length, NULL);
    _cleanup_(BN_free_cleanup) BIGNUM *exponent = BN_bin2bn(e, (int)e_length, NULL);
    if (!modulus || !exponent)
        return -ENOMEM;
    /* an even modulus or exponent, or an exponent of 1, is no key; libcrypto would take them */
    if (BN_num_bits(modulus) < LEAST_RSA_BITS || !BN_is_odd(modulus) || !BN_is_odd(exponent) || BN_is_one(exponent))
        return -EINVAL;
    _cleanup_(OSSL_PARAM_BLD_free_cleanup) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    if (!builder || !OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, modulus) ||
        !OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, exponent))
        return -ENOMEM;
    key->algorithms = 1u << JWK_RS256 | 1u << JWK_PS256;
    key->size = (size_t)BN_num_bytes(modulus);
    return build("RSA", builder, &key->key);
}

/* RFC 7518 section 6.2.1: both coordinates at full length. */
static int parse_ec(json_object *object, struct jwk *key)
{
    uint8_t point[1 + 2 * P256_BYTES] = {POINT_CONVERSION_UNCOMPRESSED};
    size_t x_length, y_length;
    struct span x, y;
    const char *curve;
    if (json_string(object, "crv", LIMIT_CODE, &curve) < 0 || strcmp(curve, "P-256") != 0 ||
        json_bytes(object, "x", LIMIT_CODE, &x) < 0 || json_bytes(object, "y", LIMIT_CODE, &y) < 0 ||
        base64url_decode(x, point + 1, P256_BYTES, &x_length) < 0 ||
        base64url_decode(y, point + 1 + P256_BYTES, P256_BYTES, &y_length) < 0 || x_length != P256_BYTES ||
        y_length != P256_BYTES)
        return -EINVAL;
    _cleanup_(OSSL_PARAM_BLD_free_cleanup) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    if (!builder || !OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) ||
        !OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point))
        return -ENOMEM;
    _cleanup_(EVP_PKEY_free_cleanup) EVP_PKEY *public = NULL;
    int r = build("EC", builder, &public);
    if (r < 0)
        return r;
    _cleanup_(EVP_PKEY_CTX_free_cleanup) EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, public, NULL);
    if (!context)
        return -ENOMEM;
    /* libcrypto also looks while it decodes; our safety does not hang on that */
    if (EVP_PKEY_public_check(context) != 1)
        return -EINVAL;
    key->algorithms = 1u << JWK_ES256;
    key->size = 2 * P256_BYTES;
    key->key = TAKE_PTR(public);
    return 0;
}

/* "use" and "key_ops" (RFC 7517 sections 4.2, 4.3): absent, or for signatures. */
static bool may_verify(json_object *object)
{
    const char *use;
    json_object *operations;
    int r = json_string(object, "use", LIMIT_CODE, &use);
    if (r != -ENOENT && (r < 0 || strcmp(use, "sig") != 0))
        return false;
    r = json_array(object, "key_ops", &operations);
    if (r < 0)
        return r == -ENOENT;
    for (size_t i = 0; i < json_object_array_length(operations); i++) {
        json_object *operation = json_object_array_get_idx(operations, i);
        if (json_object_is_type(operation, json_type_string) && json_object_get_string_len(operation) == 6 &&
            memcmp(json_object_get_string(operation), "verify", 6) == 0)
            return true;
    }
    return false;
}

/* "alg" of a key (RFC 7517 section 4.4): absent means all of its type. */
static unsigned named_algorithms(json_object *object)
{
    const char *name;
    int r = json_string(object, "alg", LIMIT_CODE, &name);
    if (r < 0)
        return r == -ENOENT ? ~0u : 0;
    return strcmp(name, "RS256") == 0   ? 1u << JWK_RS256
           : strcmp(name, "PS256") == 0 ? 1u << JWK_PS256
           : strcmp(name, "ES256") == 0 ? 1u << JWK_ES256
                                        : 0;
}

/* An optional text into memory of our own: absent is fine. */
static int copy_text(json_object *object, const char *name, size_t maximum, char **ret)
{
    const char *text;
    int r = json_string(object, name, maximum, &text);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    *ret = strdup(text);
    return *ret ? 0 : -ENOMEM;
}

/* 0, -EINVAL for a key that is to be skipped, -ENOMEM. */
static int parse_key(json_object *object, struct jwk *key)
{
    const char *type;
    if (json_string(object, "kty", LIMIT_CODE, &type) < 0 || !may_verify(object))
        return -EINVAL;
    int r = copy_text(object, "kid", LIMIT_KEY_ID, &key->id);
    if (r == 0)
        r = copy_text(object, "issuer", LIMIT_URL, &key->issuer);
    if (r < 0)
        return r;
    r = strcmp(type, "RSA") == 0 ? parse_rsa(object, key) : strcmp(type, "EC") == 0 ? parse_ec(object, key) : -EINVAL;
    if (r < 0)
        return r;
    key->algorithms &= named_algorithms(object);
    return key->algorithms ? 0 : -EINVAL;
}

int jwks_parse(struct span document, struct jwks **ret)
{
    _cleanup_json_ json_object *object = NULL;
    json_object *entries;
    int r = json_parse(document.data, document.length, LIMIT_RESPONSE_DEPTH, &object);
    if (r < 0)
        return r;
    if (json_array(object, "keys", &entries) < 0)
        return -EBADMSG;
    size_t count = json_object_array_length(entries);
    if (count > LIMIT_JWKS_KEYS)
        return -E2BIG;
    _cleanup_(jwks_free_cleanup) struct jwks *set = calloc(1, sizeof *set);
    if (!set)
        return -ENOMEM;
    ERR_set_mark(); /* what libcrypto says about odd keys must not be taken for somebody else's error */
    for (size_t i = 0; i < count && r != -ENOMEM; i++) {
        struct jwk *key = &set->keys[set->count];
        r = parse_key(json_object_array_get_idx(entries, i), key);
        if (r == 0)
            set->count++;
        else
            key_clear(key);
    }
    ERR_pop_to_mark();
    if (r == -ENOMEM)
        return r;
    *ret = TAKE_PTR(set);
    return 0;
}

static bool has_id(const struct jwk *key, struct span id)
{
    return key->id && span_equals(span_of(key->id), id);
}

const struct jwk *jwks_next(const struct jwks *set, enum jwk_algorithm algorithm, struct span id,
                            const struct jwk *previous)
{
    for (size_t i = previous ? (size_t)(previous - set->keys) + 1 : 0; i < set->count; i++) {
        const struct jwk *key = &set->keys[i];
        if ((key->algorithms & 1u << algorithm) && (!id.data || has_id(key, id)))
            return key;
    }
    return NULL;
}

bool jwks_has_id(const struct jwks *set, struct span id)
{
    for (size_t i = 0; i < set->count; i++)
        if (has_id(&set->keys[i], id))
            return true;
    return false;
}
