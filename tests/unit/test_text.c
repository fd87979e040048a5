/* Text for people: nothing that steers a terminal or reorders what is read comes through, and nothing is cut in a
 * character. */
#include "text.h"

#include "cleanup.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h> /* needs some of the above */

static void check_clean(const char *text, size_t length, size_t maximum, const char *expected)
{
    _cleanup_buffer_ struct buffer buffer = BUFFER(4096);
    buffer_text(&buffer, "");
    text_clean(&buffer, (struct span){text, length}, maximum);
    buffer_byte(&buffer, '\0');
    assert_string_equal(buffer.data, expected);
}

static void test_clean(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"", ""},
        {"plain ~ text", "plain ~ text"},
        {"Grüße 東京 😀", "Grüße 東京 😀"},
        {"a\x1b[31mb", "a\\x1b[31mb"},
        {"a\r\nb\tc", "a\\x0d\\x0ab\\x09c"},
        {"\x7f", "\\x7f"},
        {"\xc2\x9b", "\\u{9b}"},            /* CSI in one character */
        {"\xc2\xad", "\\u{ad}"},            /* soft hyphen */
        {"\xe2\x80\xae", "\\u{202e}"},      /* right to left override */
        {"\xe2\x81\xa6", "\\u{2066}"},      /* isolate */
        {"\xe2\x80\x8b", "\\u{200b}"},      /* zero width space */
        {"\xe2\x80\xa8", "\\u{2028}"},      /* line separator */
        {"\xef\xbb\xbf", "\\u{feff}"},      /* byte order mark */
        {"\xe3\x85\xa4", "\\u{3164}"},      /* an invisible letter */
        {"\xcd\x8f", "\\u{34f}"},           /* joiner that is not seen */
        {"\xf3\xa0\x81\x81", "\\u{e0041}"}, /* tag letter */
        {"\xf3\xa0\x84\x80", "\\u{e0100}"}, /* variation selector */
        {"\xd8\x9c", "\\u{61c}"},           /* Arabic letter mark */
        {"\xff", "\\xff"},
        {"\xc0\xaf", "\\xc0\\xaf"},          /* overlong */
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"}, /* surrogate */
        {"\xe2\x82", "\\xe2\\x82"},          /* cut */
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++)
        check_clean(cases[i].text, strlen(cases[i].text), 1000, cases[i].expected);
    check_clean("a\0b", 3, 10, "a\\x00b");
}

static void test_clean_maximum(void **state)
{
    (void)state;
    check_clean("abcd", 4, 3, "abc...");
    check_clean("abcd", 4, 4, "abcd");
    check_clean("abcd", 4, 5, "abcd");
    check_clean("a\xe2\x82\xac", 4, 4, "a\xe2\x82\xac");
    check_clean("a\xe2\x82\xac", 4, 3, "a..."); /* never in a character */
    check_clean("a\xe2\x82\xac", 4, 0, "...");
    check_clean("", 0, 0, "");
}

static void test_clean_into(void **state)
{
    (void)state;
    static const struct {
        size_t size;
        const char *text, *expected;
    } cases[] = {
        {12, "0123456789", "0123456789"},
        {12, "0123456789a", "0123456789a"},
        {12, "0123456789ab", "01234567..."},
        {5, "abcd", "abcd"},
        {5, "abcde", "a..."},
        {4, "abc", "abc"},
        {4, "abcd", "..."},
        {3, "ab", "ab"},
        {3, "abc", ""},
        {1, "", ""},
        {1, "a", ""},
        {8, "ab\x1b", "ab\\x1b"},
        {7, "ab\x1b", "ab\\x1b"},
        {6, "ab\x1b", "ab..."},
        {8, "\xe2\x82\xac\xe2\x82\xac", "\xe2\x82\xac\xe2\x82\xac"},
        {7, "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac", "\xe2\x82\xac..."},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        char to[16];
        memset(to, 'Z', sizeof(to));
        text_clean_into(to, cases[i].size, span_of(cases[i].text));
        assert_string_equal(to, cases[i].expected);
        assert_int_equal(to[cases[i].size], 'Z'); /* not a byte beyond */
    }
    text_clean_into(NULL, 0, span_of("a"));
}

static void test_clean_json(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"{\"a\":\"b\"}\n", "{\"a\":\"b\"}\n"},
        {"\"\xe2\x80\xae\"", "\"\\u202e\""},
        {"\"\xc2\x9b\x7f\"", "\"\\u009b\\u007f\""},
        {"\"\xf3\xa0\x81\x81\"", "\"\\udb40\\udc41\""},
        {"\"\xff\"", "\"\\ufffd\""},
        {"\"Grüße 😀\"", "\"Grüße 😀\""},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_buffer_ struct buffer buffer = BUFFER(4096);
        text_clean_json(&buffer, span_of(cases[i].text));
        assert_string_equal(buffer.data, cases[i].expected);
    }
}

/* Each byte at each place, in texts shorter and longer than what is looked at at once. */
static void test_plain(void **state)
{
    (void)state;
    for (size_t length = 0; length <= 24; length++) {
        char *text = malloc(length ? length : 1); /* of exactly that size: a byte too far is seen */
        assert_non_null(text);
        for (size_t i = 0; i < length; i++)
            text[i] = i % 2 ? ' ' : '~';
        assert_int_equal(text_plain((struct span){text, length}), length);
        for (size_t at = 0; at < length; at++)
            for (int byte = 0; byte < 256; byte++) {
                char before = text[at];
                text[at] = (char)byte;
                size_t expected = byte >= 0x20 && byte < 0x7f ? length : at;
                assert_int_equal(text_plain((struct span){text, length}), expected);
                text[at] = before;
            }
        free(text);
    }
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const known[] = {"get", "login", "logout", "status", "show", "verify", "exec"};
    static const struct {
        const char *typed, *expected;
    } cases[] = {
        {"gett", "get"},     {"egt", "get"},   {"logn", "login"}, {"lgoout", "logout"}, {"stauts", "status"},
        {"verfy", "verify"}, {"banana", NULL}, {"", NULL},        {"zzzzzzzz", NULL},   {"get", "get"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        const char *near = text_nearest(cases[i].typed, known, ELEMENTS(known));
        if (!cases[i].expected)
            assert_null(near);
        else
            assert_string_equal(near, cases[i].expected);
    }
    char longest[1000];
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_null(text_nearest(longest, known, ELEMENTS(known)));
    assert_null(text_nearest("get", known, 0));
}

static void test_duration(void **state)
{
    (void)state;
    static const struct {
        int64_t seconds;
        const char *expected;
    } cases[] = {
        {-5, "0 s"},
        {0, "0 s"},
        {59, "59 s"},
        {60, "1 min"},
        {61, "1 min 1 s"},
        {3599, "59 min 59 s"},
        {3600, "1 h"},
        {3659, "1 h"},
        {3660, "1 h 1 min"},
        {86399, "23 h 59 min"},
        {86400, "1 d"},
        {273600, "3 d 4 h"},
        {86400 * 366L, "366 d"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        char to[32];
        text_duration(to, sizeof(to), cases[i].seconds);
        assert_string_equal(to, cases[i].expected);
    }
    char to[32];
    text_duration(to, sizeof(to), INT64_MAX);
    assert_true(strlen(to) < sizeof(to));
}

static void test_decode_never_reads_on(void **state)
{
    (void)state;
    static const char whole[] = "\xf0\x9f\x98\x80";
    uint32_t c;
    for (size_t length = 1; length <= 4; length++) {
        char *exact = malloc(length); /* a sanitizer would see it */
        memcpy(exact, whole, length);
        assert_int_equal(text_decode((struct span){exact, length}, &c), length == 4 ? 4 : 0);
        free(exact);
    }
    assert_int_equal(c, 0x1f600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean),      cmocka_unit_test(test_clean_maximum),
        cmocka_unit_test(test_clean_into), cmocka_unit_test(test_clean_json),
        cmocka_unit_test(test_plain),      cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_duration),   cmocka_unit_test(test_decode_never_reads_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
