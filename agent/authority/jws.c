#include "jws.h"

#include "base64url.h"
#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#define P256_BYTES 32

DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)
DEFINE_CLEANUP(ECDSA_SIG *, ECDSA_SIG_free)
DEFINE_CLEANUP(BIGNUM *, BN_free)

struct parts {
    struct span header, payload, signature;
    struct span signed_bytes; /* header "." payload, RFC 7515 section 5.2 step 8 */
};

struct header {
    enum jwk_algorithm algorithm;
    struct span key_id; /* data NULL: none */
};

static bool split(struct span token, struct parts *ret)
{
    if (token.length == 0 || token.length > LIMIT_JWS)
        return false;
    const char *end = token.data + token.length;
    const char *first = memchr(token.data, '.', token.length);
    const char *second = first ? memchr(first + 1, '.', (size_t)(end - first) - 1) : NULL;
    if (!second || memchr(second + 1, '.', (size_t)(end - second) - 1))
        return false;
    *ret = (struct parts){.header = {token.data, (size_t)(first - token.data)},
                          .payload = {first + 1, (size_t)(second - first) - 1},
                          .signature = {second + 1, (size_t)(end - second) - 1},
                          .signed_bytes = {token.data, (size_t)(second - token.data)}};
    return true;
}

static size_t count_members(json_object *value)
{
    size_t count = 0;
    if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++)
            count += count_members(json_object_array_get_idx(value, i));
    } else if (json_object_is_type(value, json_type_object)) {
        json_object_object_foreach (value, name, member) {
            (void)name;
            count += 1 + count_members(member);
        }
    }
    return count;
}

/* json-c keeps the last of several members with one name. In text that json_parse() took, each colon outside a string
 * is one member: when the object holds fewer, a name was repeated, however it was spelled. */
static bool unambiguous(struct span text, json_object *object)
{
    size_t colons = 0;
    bool inside = false;
    for (size_t i = 0; i < text.length; i++) {
        if (inside && text.data[i] == '\\')
            i++;
        else if (text.data[i] == '"')
            inside = !inside;
        else
            colons += text.data[i] == ':' && !inside;
    }
    return colons == count_members(object);
}

static enum jws_result parse_object(struct span text, json_object **ret)
{
    _cleanup_json_ json_object *object = NULL;
    int r = json_parse(text.data, text.length, LIMIT_RESPONSE_DEPTH, &object);
    if (r == -ENOMEM)
        return JWS_NO_MEMORY;
    if (r < 0 || !json_object_is_type(object, json_type_object) || !unambiguous(text, object))
        return JWS_MALFORMED;
    *ret = TAKE_PTR(object);
    return JWS_OK;
}

static enum jws_result decode(struct span text, size_t maximum, uint8_t **ret, size_t *ret_length)
{
    int r = base64url_decode_new(text, maximum, ret, ret_length);
    return r == 0 ? JWS_OK : r == -ENOMEM ? JWS_NO_MEMORY : JWS_MALFORMED;
}

static enum jws_result decode_object(struct span text, size_t maximum, json_object **ret)
{
    _cleanup_free_ uint8_t *bytes = NULL;
    size_t length;
    enum jws_result result = decode(text, maximum, &bytes, &length);
    return result ? result : parse_object((struct span){(const char *)bytes, length}, ret);
}

static enum jws_result read_header(json_object *object, struct header *ret)
{
    static const char *const names[JWK_ALGORITHMS] = {
        [JWK_RS256] = "RS256", [JWK_PS256] = "PS256", [JWK_ES256] = "ES256"};
    static const char *const refused[] = {"crit", "b64", "jku", "x5u", "jwk", "x5c"};
    struct span name, id = {0};
    if (json_bytes(object, "alg", LIMIT_JWS_HEADER, &name) < 0)
        return JWS_MALFORMED;
    unsigned algorithm = 0;
    while (algorithm < JWK_ALGORITHMS && !span_equals(name, span_of(names[algorithm])))
        algorithm++;
    if (algorithm == JWK_ALGORITHMS)
        return JWS_ALGORITHM;
    for (size_t i = 0; i < ELEMENTS(refused); i++)
        if (json_object_object_get_ex(object, refused[i], NULL)) /* also when it is null */
            return JWS_HEADER;
    const char *text;
    int r = json_string(object, "kid", LIMIT_KEY_ID, &text);
    if (r == 0)
        id = span_of(text);
    else if (r != -ENOENT)
        return JWS_MALFORMED;
    *ret = (struct header){.algorithm = (enum jwk_algorithm)algorithm, .key_id = id};
    return JWS_OK;
}

/* r || s (RFC 7518 section 3.4) as the DER that libcrypto takes: its length, 0 for r or s zero or out of memory. */
static size_t ecdsa_to_der(const uint8_t *raw, uint8_t **ret)
{
    _cleanup_(BN_free_cleanup) BIGNUM *r = BN_bin2bn(raw, P256_BYTES, NULL);
    _cleanup_(BN_free_cleanup) BIGNUM *s = BN_bin2bn(raw + P256_BYTES, P256_BYTES, NULL);
    _cleanup_(ECDSA_SIG_free_cleanup) ECDSA_SIG *signature = ECDSA_SIG_new();
    if (!r || !s || !signature || BN_is_zero(r) || BN_is_zero(s) || !ECDSA_SIG_set0(signature, r, s))
        return 0;
    (void)TAKE_PTR(r);
    (void)TAKE_PTR(s);
    int length = i2d_ECDSA_SIG(signature, ret);
    return length > 0 ? (size_t)length : 0;
}

static bool set_padding(EVP_PKEY_CTX *context, enum jwk_algorithm algorithm)
{
    if (algorithm == JWK_ES256)
        return true;
    if (algorithm == JWK_RS256)
        return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) > 0;
    /* RFC 7518 section 3.5: MGF1 with SHA-256, a salt as long as the digest */
    return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) > 0 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha256()) > 0 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) > 0;
}

static bool verifies(const struct jwk *key, enum jwk_algorithm algorithm, struct span bytes, const uint8_t *signature,
                     size_t length)
{
    if (length != key->size)
        return false;
    uint8_t *der = NULL;
    if (algorithm == JWK_ES256) {
        length = ecdsa_to_der(signature, &der);
        signature = der;
    }
    _cleanup_(EVP_MD_CTX_free_cleanup) EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *key_context = NULL; /* the digest context's own */
    bool good = length > 0 && context &&
                EVP_DigestVerifyInit(context, &key_context, EVP_sha256(), NULL, key->key) > 0 &&
                set_padding(key_context, algorithm) &&
                EVP_DigestVerify(context, signature, length, (const uint8_t *)bytes.data, bytes.length) == 1;
    OPENSSL_free(der);
    return good;
}

static enum jws_result find_key(const struct parts *parts, const struct header *header, const struct jwks *set,
                                const struct jwk **ret)
{
    _cleanup_free_ uint8_t *signature = NULL;
    size_t length;
    enum jws_result result = decode(parts->signature, LIMIT_JWS, &signature, &length);
    if (result)
        return result;
    const struct jwk *key = jwks_next(set, header->algorithm, header->key_id, NULL);
    if (!key)
        return header->key_id.data && jwks_has_id(set, header->key_id) ? JWS_ALGORITHM : JWS_NO_KEY;
    ERR_set_mark(); /* a wrong signature must not be taken for somebody else's error */
    while (key && !verifies(key, header->algorithm, parts->signed_bytes, signature, length))
        key = jwks_next(set, header->algorithm, header->key_id, key);
    ERR_pop_to_mark();
    if (!key)
        return JWS_BAD_SIGNATURE;
    *ret = key;
    return JWS_OK;
}

enum jws_result jws_verify(struct span token, const struct jwks *set, struct jws *ret)
{
    struct parts parts;
    struct header header;
    const struct jwk *key;
    _cleanup_json_ json_object *object = NULL;
    _cleanup_free_ uint8_t *payload = NULL;
    size_t length;
    if (!split(token, &parts))
        return JWS_MALFORMED;
    enum jws_result result = decode_object(parts.header, LIMIT_JWS_HEADER, &object);
    if (!result)
        result = read_header(object, &header);
    if (!result)
        result = decode(parts.payload, LIMIT_JWS, &payload, &length);
    if (!result)
        result = find_key(&parts, &header, set, &key);
    if (result)
        return result;
    *ret = (struct jws){.header = TAKE_PTR(object), .payload_length = length, .key = key};
    ret->payload = (char *)TAKE_PTR(payload);
    return JWS_OK;
}

void jws_done(struct jws *jws)
{
    json_object_put(jws->header);
    free(jws->payload);
    *jws = (struct jws){0};
}

enum jws_result jws_claims(const struct jws *jws, json_object **ret)
{
    return parse_object((struct span){jws->payload, jws->payload_length}, ret);
}

enum jws_result jws_claims_unverified(struct span token, json_object **ret)
{
    struct parts parts;
    _cleanup_json_ json_object *header = NULL;
    if (!split(token, &parts))
        return JWS_MALFORMED;
    enum jws_result result = decode_object(parts.header, LIMIT_JWS_HEADER, &header);
    return result ? result : decode_object(parts.payload, LIMIT_JWS, ret);
}

const char *jws_result_text(enum jws_result result)
{
    switch (result) {
    case JWS_OK:
        return "it is verified";
    case JWS_MALFORMED:
        return "it is not a well-formed JWT";
    case JWS_ALGORITHM:
        return "its signature algorithm is not accepted (RS256, PS256 and ES256 are)";
    case JWS_HEADER:
        return "its header names a key or an extension, which is not accepted";
    case JWS_NO_KEY:
        return "the authority has no key with its key id";
    case JWS_BAD_SIGNATURE:
        return "its signature is wrong";
    case JWS_NO_MEMORY:
        break;
    }
    return "out of memory";
}
