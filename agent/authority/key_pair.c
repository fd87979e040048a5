#include "authority/key_pair.h"

#include "cleanup.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <time.h>

DEFINE_CLEANUP(BIO *, BIO_free)

void key_pair_clear(struct key_pair *pair)
{
    EVP_PKEY_free(pair->key);
    for (size_t i = 0; i < pair->count; i++)
        X509_free(pair->certificates[i]);
    *pair = (struct key_pair){0};
}

static int fail(char problem[static LIMIT_TEXT], const char *text)
{
    (void)snprintf(problem, LIMIT_TEXT, "%s", text);
    return -EINVAL;
}

/* ---- from files ---- */

static int give_password(char *to, int size, int rwflag, void *arg)
{
    const struct span *password = arg;
    (void)rwflag;
    if (password->length == 0 || password->length > (size_t)size)
        return -1;
    memcpy(to, password->data, password->length);
    return (int)password->length;
}

static int read_key(struct span pem, struct span password, EVP_PKEY **ret, char problem[static LIMIT_TEXT])
{
    _cleanup_(BIO_free_cleanup) BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.length);
    ERR_clear_error();
    *ret = bio ? PEM_read_bio_PrivateKey(bio, NULL, give_password, &password) : NULL;
    if (*ret)
        return 0;
    static const char mark[] = "PRIVATE KEY-----", encrypted[] = "ENCRYPTED";
    ERR_clear_error();
    if (!pem.length || !memmem(pem.data, pem.length, mark, sizeof(mark) - 1))
        return fail(problem, "client_key holds no private key in PEM form");
    if (!password.length && memmem(pem.data, pem.length, encrypted, sizeof(encrypted) - 1))
        return fail(problem, "client_key is encrypted: set key_password to where its password is");
    return fail(problem, password.length ? "client_key cannot be read: is key_password the right one?"
                                         : "client_key cannot be read: it is damaged, or of a kind that is not known");
}

static int read_certificates(struct span pem, struct key_pair *ret, char problem[static LIMIT_TEXT])
{
    _cleanup_(BIO_free_cleanup) BIO *bio = pem.length ? BIO_new_mem_buf(pem.data, (int)pem.length) : NULL;
    while (bio && ret->count < KEY_PAIR_CERTIFICATES) {
        X509 *one = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (!one)
            break;
        ret->certificates[ret->count++] = one;
    }
    ERR_clear_error();
    return pem.length && !ret->count ? fail(problem, "client_certificate holds no certificate in PEM form") : 0;
}

static int check_certificate(const X509 *certificate, const EVP_PKEY *key, char problem[static LIMIT_TEXT])
{
    if (X509_check_private_key(certificate, key) != 1) {
        ERR_clear_error();
        return fail(problem, "client_key does not belong to client_certificate");
    }
    if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
        return fail(problem, "client_certificate has ended: have a new one issued and registered at the authority");
    if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
        return fail(problem, "client_certificate is not valid yet: is the clock of this host right?");
    return 0;
}

int key_pair_read(struct span key, struct span certificate, struct span password, struct key_pair *ret,
                  char problem[static LIMIT_TEXT])
{
    *ret = (struct key_pair){0};
    int r = read_key(key, password, &ret->key, problem);
    if (r == 0)
        r = read_certificates(certificate, ret, problem);
    return r == 0 && ret->count ? check_certificate(ret->certificates[0], ret->key, problem) : r;
}

int64_t key_pair_ends_at(const struct key_pair *pair)
{
    struct tm broken = {0};
    if (!pair->count || ASN1_TIME_to_tm(X509_get0_notAfter(pair->certificates[0]), &broken) != 1)
        return -1;
    return (int64_t)timegm(&broken);
}

/* ---- from one process to another: the key's DER (PKCS #8), then each certificate's ---- */

int key_pair_write(const struct key_pair *pair, struct buffer *to)
{
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(pair->key);
    uint8_t *der = NULL;
    int length = info ? i2d_PKCS8_PRIV_KEY_INFO(info, &der) : -1;
    PKCS8_PRIV_KEY_INFO_free(info);
    if (length > 0)
        buffer_append(to, (const char *)der, (size_t)length);
    if (der)
        OPENSSL_clear_free(der, (size_t)length);
    for (size_t i = 0; length > 0 && i < pair->count; i++) {
        der = NULL;
        length = i2d_X509(pair->certificates[i], &der);
        if (length > 0)
            buffer_append(to, (const char *)der, (size_t)length);
        OPENSSL_free(der);
    }
    return length <= 0 || buffer_error(to) ? -ENOMEM : 0;
}

int key_pair_parse(struct span bytes, struct key_pair *ret)
{
    const uint8_t *at = (const uint8_t *)bytes.data, *end = at + bytes.length;
    *ret = (struct key_pair){0};
    PKCS8_PRIV_KEY_INFO *info = bytes.length ? d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, end - at) : NULL;
    ret->key = info ? EVP_PKCS82PKEY(info) : NULL;
    PKCS8_PRIV_KEY_INFO_free(info);
    while (ret->key && at < end && ret->count < KEY_PAIR_CERTIFICATES) {
        X509 *one = d2i_X509(NULL, &at, end - at);
        if (!one)
            break;
        ret->certificates[ret->count++] = one;
    }
    ERR_clear_error();
    return ret->key && ret->count && at == end ? 0 : -EINVAL;
}
