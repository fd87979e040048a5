/* base64url: RFC 4648 vectors without padding, every spelling that is not canonical, and the bounds. */
#include "jose_fixture.h"

#include "base64url.h"
#include <errno.h>

static void test_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *encoded;
        const char *bytes;
        size_t length;
    } cases[] = {
        {"", "", 0},
        {"Zg", "f", 1},
        {"Zm8", "fo", 2},
        {"Zm9v", "foo", 3},
        {"Zm9vYg", "foob", 4},
        {"Zm9vYmE", "fooba", 5},
        {"Zm9vYmFy", "foobar", 6},
        {"A-z_4ME", "\x03\xec\xff\xe0\xc1", 5}, /* RFC 7515 appendix C */
        {"AA", "\0", 1},
        {"____", "\xff\xff\xff", 3},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        uint8_t to[8];
        size_t length = 99;
        assert_int_equal(base64url_decode(span_of(cases[i].encoded), to, sizeof to, &length), 0);
        assert_int_equal(length, cases[i].length);
        assert_memory_equal(to, cases[i].bytes, length);
        assert_int_equal(base64url_decoded_size(strlen(cases[i].encoded)), length);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "A",
        "AAAAA", /* one character carries no byte */
        "Zg==",
        "Zm8=",
        "=", /* padding */
        "Zh",
        "Zm9",
        "Zm9vYf", /* bits left over that are not zero */
        "Zm9v\n",
        " Zm9v",
        "Zm 9", /* whitespace */
        "Zm+v",
        "Zm/v", /* the other alphabet */
        "Zm9v\xc3\xa9",
        "Zm9\x80", /* not ASCII */
        "Zm9v.Zm9v",
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        uint8_t to[16];
        size_t length;
        if (base64url_decode(span_of(cases[i]), to, sizeof to, &length) != -EINVAL)
            fail_msg("accepted: %s", cases[i]);
    }
    uint8_t to[16];
    size_t length;
    assert_int_equal(base64url_decode((struct span){"Zm\0v", 4}, to, sizeof to, &length), -EINVAL);
}

static void test_every_byte_and_length(void **state)
{
    (void)state;
    uint8_t bytes[256], back[256];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 151 + 7);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        _cleanup_free_ char *encoded = encode(bytes, n);
        size_t length;
        assert_int_equal(base64url_decode(span_of(encoded), back, n, &length), 0);
        assert_int_equal(length, n);
        assert_memory_equal(back, bytes, n);
    }
}

static void test_bounds(void **state)
{
    (void)state;
    uint8_t to[4] = {0, 0, 0, 0xee};
    size_t length = 7;
    assert_int_equal(base64url_decode(span_of("Zm9v"), to, 2, &length), -ENOBUFS);
    assert_int_equal(length, 7);
    assert_int_equal(base64url_decode(span_of("Zm9v"), to, 3, &length), 0);
    assert_int_equal(to[3], 0xee);
    uint8_t *fresh = NULL;
    assert_int_equal(base64url_decode_new(span_of("Zm9v"), 2, &fresh, &length), -ENOBUFS);
    assert_int_equal(base64url_decode_new(span_of("Zm9="), 3, &fresh, &length), -EINVAL);
    assert_null(fresh);
    assert_int_equal(base64url_decode_new(span_of("Zm9v"), 3, &fresh, &length), 0);
    assert_string_equal((char *)fresh, "foo");
    free(fresh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_every_byte_and_length),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
