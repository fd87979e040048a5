/* A client's key and certificate: from PEM as people have it, with what is said of what is wrong, and from one process
 * to another. */
#include "authority/key_pair.h"

#include "jose_fixture.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <time.h>

#define DAY (24L * 3600)

static EVP_PKEY *rsa, *ec;

static int make_keys(void **state)
{
    (void)state;
    rsa = make_rsa(2048);
    ec = make_ec("P-256");
    return 0;
}

static int free_keys(void **state)
{
    (void)state;
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ec);
    return 0;
}

static char *text_of(BIO *bio)
{
    char *data;
    long length = BIO_get_mem_data(bio, &data);
    char *copy = strndup(data, (size_t)length);
    assert_non_null(copy);
    BIO_free(bio);
    return copy;
}

static char *key_text(EVP_PKEY *key, const char *password)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_true(PEM_write_bio_PKCS8PrivateKey(bio, key, password ? EVP_aes_256_cbc() : NULL, password,
                                              password ? (int)strlen(password) : 0, NULL, NULL));
    return text_of(bio);
}

static char *certificate_text(EVP_PKEY *key, long from_s, long to_s)
{
    X509 *certificate = X509_new();
    BIO *bio = BIO_new(BIO_s_mem());
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_time_adj_ex(X509_getm_notBefore(certificate), 0, from_s, NULL);
    X509_time_adj_ex(X509_getm_notAfter(certificate), 0, to_s, NULL);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC, (const uint8_t *)"client", -1,
                               -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    X509_set_pubkey(certificate, key);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    assert_true(PEM_write_bio_X509(bio, certificate));
    X509_free(certificate);
    return text_of(bio);
}

static int pair_of(const char *key, const char *certificate, const char *password, struct key_pair *ret,
                   char problem[static LIMIT_TEXT])
{
    problem[0] = '\0';
    int r = key_pair_read(span_of(key), span_of(certificate), span_of(password), ret, problem);
    assert_true(r == 0 || (r == -EINVAL && problem[0]));
    assert_int_equal(ERR_peek_error(), 0); /* nothing is left for whoever looks next */
    return r;
}

static void fails_with(const char *key, const char *certificate, const char *password, const char *words)
{
    struct key_pair pair;
    char problem[LIMIT_TEXT];
    assert_int_equal(pair_of(key, certificate, password, &pair, problem), -EINVAL);
    if (!strstr(problem, words))
        fail_msg("\"%s\" lacks \"%s\"", problem, words);
    if (*password)
        assert_null(strstr(problem, password));
    key_pair_clear(&pair);
    key_pair_clear(&pair);
}

static void a_key_alone_and_with_its_certificate(void **state)
{
    EVP_PKEY *keys[] = {rsa, ec};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(keys); i++) {
        _cleanup_free_ char *key = key_text(keys[i], NULL), *own = certificate_text(keys[i], -DAY, DAY);
        _cleanup_free_ char *issuer = certificate_text(rsa, -9 * DAY, 9 * DAY), *both = text("%s%s", own, issuer);
        _cleanup_free_ char *one_file = text("%s%s", key, own), *other_way = text("%s%s", own, key);
        char problem[LIMIT_TEXT];
        struct key_pair pair;
        assert_int_equal(pair_of(key, "", "", &pair, problem), 0);
        assert_int_equal(pair.count, 0);
        assert_int_equal(key_pair_ends_at(&pair), -1);
        assert_int_equal(EVP_PKEY_eq(pair.key, keys[i]), 1);
        key_pair_clear(&pair);
        assert_int_equal(pair_of(key, both, "", &pair, problem), 0);
        assert_int_equal(pair.count, 2);
        assert_true(labs(key_pair_ends_at(&pair) - time(NULL) - DAY) < 3600);
        key_pair_clear(&pair);
        assert_int_equal(pair_of(one_file, one_file, "", &pair, problem), 0);
        key_pair_clear(&pair);
        assert_int_equal(pair_of(other_way, other_way, "", &pair, problem), 0);
        assert_int_equal(pair.count, 1);
        key_pair_clear(&pair);
    }
}

static void an_encrypted_key(void **state)
{
    _cleanup_free_ char *key = key_text(rsa, "passwordMARK"), *own = certificate_text(rsa, -DAY, DAY);
    char problem[LIMIT_TEXT];
    struct key_pair pair;
    (void)state;
    assert_int_equal(pair_of(key, own, "passwordMARK", &pair, problem), 0);
    key_pair_clear(&pair);
    fails_with(key, own, "", "set key_password");
    fails_with(key, own, "passwordMARL", "is key_password the right one?");
    fails_with(key, own, "passwordMARKpasswordMARK", "is key_password the right one?");
    char longest[2048];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    fails_with(key, own, longest, "is key_password the right one?");
}

static void what_is_no_key(void **state)
{
    _cleanup_free_ char *key = key_text(rsa, NULL), *own = certificate_text(rsa, -DAY, DAY);
    _cleanup_free_ char *cut = strndup(key, strlen(key) / 2), *damaged = strdup(key);
    (void)state;
    damaged[strcspn(damaged, "\n") + 3] ^= 2; /* in the lengths at its head */
    fails_with("", own, "", "no private key in PEM form");
    fails_with("\n", own, "", "no private key in PEM form");
    fails_with(own, own, "", "no private key in PEM form");
    fails_with("-----BEGIN PUBLIC KEY-----\n", own, "", "no private key in PEM form");
    fails_with(cut, own, "", "cannot be read");
    fails_with(damaged, own, "", "cannot be read");
    fails_with("-----BEGIN PRIVATE KEY-----\n", own, "", "cannot be read");
    fails_with("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", own, "", "cannot be read");
}

static void what_is_no_certificate_of_it(void **state)
{
    _cleanup_free_ char *key = key_text(rsa, NULL), *other = certificate_text(ec, -DAY, DAY);
    _cleanup_free_ char *ended = certificate_text(rsa, -2 * DAY, -DAY), *early = certificate_text(rsa, DAY, 2 * DAY);
    _cleanup_free_ char *own = certificate_text(rsa, -DAY, DAY), *wrong_order = text("%s%s", other, own);
    (void)state;
    fails_with(key, "text", "", "no certificate in PEM form");
    fails_with(key, key, "", "no certificate in PEM form");
    fails_with(key, other, "", "does not belong");
    fails_with(key, wrong_order, "", "does not belong");
    fails_with(key, ended, "", "has ended");
    fails_with(key, early, "", "not valid yet");
}

static void issuers_have_a_limit(void **state)
{
    _cleanup_free_ char *key = key_text(rsa, NULL), *own = certificate_text(rsa, -DAY, DAY);
    _cleanup_buffer_ struct buffer all = BUFFER(LIMIT_CONFIG_FILE);
    char problem[LIMIT_TEXT];
    (void)state;
    for (size_t n = 1; n <= KEY_PAIR_CERTIFICATES + 1; n++) {
        struct key_pair pair;
        buffer_text(&all, own);
        assert_int_equal(key_pair_read(span_of(key), buffer_span(&all), span_of(""), &pair, problem), 0);
        assert_int_equal(pair.count, n < KEY_PAIR_CERTIFICATES ? n : KEY_PAIR_CERTIFICATES);
        key_pair_clear(&pair);
    }
}

static void from_one_process_to_another(void **state)
{
    EVP_PKEY *keys[] = {rsa, ec};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(keys); i++) {
        _cleanup_free_ char *key = key_text(keys[i], NULL), *own = certificate_text(keys[i], -DAY, DAY);
        _cleanup_free_ char *issuer = certificate_text(rsa, -DAY, DAY), *both = text("%s%s", own, issuer);
        _cleanup_buffer_ struct buffer one = BUFFER(64 * 1024), two = BUFFER(64 * 1024), tight = BUFFER(8);
        char problem[LIMIT_TEXT];
        struct key_pair pair, again;
        assert_int_equal(pair_of(key, both, "", &pair, problem), 0);
        assert_int_equal(key_pair_write(&pair, &one), 0);
        assert_int_equal(key_pair_write(&pair, &tight), -ENOMEM);
        assert_int_equal(key_pair_parse(buffer_span(&one), &again), 0);
        assert_int_equal(again.count, 2);
        assert_int_equal(EVP_PKEY_eq(again.key, keys[i]), 1);
        assert_int_equal(key_pair_ends_at(&again), key_pair_ends_at(&pair));
        assert_int_equal(key_pair_write(&again, &two), 0);
        assert_true(span_equals(buffer_span(&one), buffer_span(&two))); /* equal bytes are equal pairs */
        key_pair_clear(&again);
        key_pair_clear(&pair);
        for (size_t length = 0; length < one.length; length += length < 64 || length + 64 > one.length ? 1 : 37) {
            struct key_pair part;
            char *exact = length ? malloc(length) : NULL; /* for AddressSanitizer to see what is read behind it */
            if (exact)
                memcpy(exact, one.data, length);
            int r = key_pair_parse((struct span){exact, length}, &part);
            assert_true(r == -EINVAL || (r == 0 && part.count == 1)); /* cut right behind the first certificate */
            key_pair_clear(&part);
            free(exact);
        }
        buffer_byte(&one, 'x');
        assert_int_equal(key_pair_parse(buffer_span(&one), &again), -EINVAL);
        key_pair_clear(&again);
    }
}

static void a_key_alone_is_no_pair(void **state)
{
    _cleanup_free_ char *key = key_text(ec, NULL);
    _cleanup_buffer_ struct buffer bytes = BUFFER(64 * 1024);
    char problem[LIMIT_TEXT];
    struct key_pair pair;
    (void)state;
    assert_int_equal(pair_of(key, "", "", &pair, problem), 0);
    assert_int_equal(key_pair_write(&pair, &bytes), 0);
    key_pair_clear(&pair);
    assert_int_equal(key_pair_parse(buffer_span(&bytes), &pair), -EINVAL);
    key_pair_clear(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_alone_and_with_its_certificate),
        cmocka_unit_test(an_encrypted_key),
        cmocka_unit_test(what_is_no_key),
        cmocka_unit_test(what_is_no_certificate_of_it),
        cmocka_unit_test(issuers_have_a_limit),
        cmocka_unit_test(from_one_process_to_another),
        cmocka_unit_test(a_key_alone_is_no_pair),
    };
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
