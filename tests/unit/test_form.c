/* The form encoding of RFC 6749 appendix B, and the Basic header made from it. */
#include "grant/form.h"

#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

static void encodes_the_example_of_the_rfc(void **state)
{
    (void)state;
    _cleanup_buffer_ struct buffer buffer = BUFFER(LIMIT_FORM);
    assert_int_equal(form_encode(&buffer, span_of(" %&+\xc2\xa3\xe2\x82\xac")), 0);
    assert_string_equal(buffer.data, "+%25%26%2B%C2%A3%E2%82%AC");
}

static void encodes_every_byte(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 256; c++) {
        _cleanup_buffer_ struct buffer buffer = BUFFER(LIMIT_FORM);
        char byte = (char)c, expected[8];
        bool plain =
            c < 0x80 && c && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*-._", (int)c);
        (void)snprintf(expected, sizeof(expected), plain ? "%c" : c == ' ' ? "+" : "%%%02X", c);
        assert_int_equal(form_encode(&buffer, (struct span){&byte, 1}), 0);
        assert_string_equal(buffer.data, expected);
    }
}

static void joins_pairs(void **state)
{
    (void)state;
    _cleanup_buffer_ struct buffer buffer = BUFFER(LIMIT_FORM);
    form_text(&buffer, "grant_type", "x");
    form_text(&buffer, "absent", NULL);
    form_text(&buffer, "empty", "");
    form_pair(&buffer, "secret", (struct span){"a\0b&c=d", 7});
    assert_string_equal(buffer.data, "grant_type=x&empty=&secret=a%00b%26c%3Dd");
}

static void writes_basic(void **state)
{
    static const struct {
        const char *id, *secret, *expected;
    } cases[] = {
        {"s6BhdRkqt3", "gX1fBat3bV", "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW"}, /* RFC 6749 section 2.3.1 */
        {"a", "b", "Basic YTpi"},
        {"a", "bc", "Basic YTpiYw=="},
        {"a", "bcd", "Basic YTpiY2Q="},
        {"a:b", "c d+e", "Basic YSUzQWI6YytkJTJCZQ=="}, /* a%3Ab:c+d%2Be */
        {"a", "", "Basic YTo="},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_buffer_ struct buffer buffer = BUFFER(LIMIT_FORM);
        assert_int_equal(form_basic(&buffer, cases[i].id, span_of(cases[i].secret)), 0);
        assert_string_equal(buffer.data, cases[i].expected);
    }
}

static void holds_its_limit(void **state)
{
    (void)state;
    char *text = malloc(LIMIT_FORM);
    assert_non_null(text);
    for (size_t i = 0; i < LIMIT_FORM; i++)
        text[i] = 'a';
    for (int more = -1; more <= 1; more++) {
        _cleanup_buffer_ struct buffer buffer = BUFFER(LIMIT_FORM);
        int r = form_pair(&buffer, "n", (struct span){text, (size_t)(LIMIT_FORM - 2 + more)});
        assert_int_equal(r, more > 0 ? -EMSGSIZE : 0);
    }
    /* the longest secret, each byte escaped, goes into a body and into a header */
    for (size_t i = 0; i < LIMIT_SECRET; i++)
        text[i] = '/';
    _cleanup_buffer_ struct buffer body = BUFFER(LIMIT_FORM), header = BUFFER(LIMIT_FORM);
    assert_int_equal(form_pair(&body, "refresh_token", (struct span){text, LIMIT_SECRET}), 0);
    assert_int_equal(form_basic(&header, "id", (struct span){text, LIMIT_SECRET}), 0);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodes_the_example_of_the_rfc),
        cmocka_unit_test(encodes_every_byte),
        cmocka_unit_test(joins_pairs),
        cmocka_unit_test(writes_basic),
        cmocka_unit_test(holds_its_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
