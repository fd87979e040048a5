/* The INI reader: every form of line, each limit at max-1, max and max+1, and that a bad line costs only itself. */
#include "cleanup.h"
#include "ini.h"
#include "limits.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>

static struct ini_item only(const char *text, size_t length)
{
    struct ini ini = ini_open((struct span){text, length});
    struct ini_item item, more;
    assert_true(ini_next(&ini, &item));
    assert_false(ini_next(&ini, &more));
    return item;
}

#define ONLY(text) only((text), sizeof(text) - 1)

static void assert_span(struct span span, const char *text)
{
    assert_int_equal(span.length, strlen(text));
    assert_memory_equal(span.data, text, span.length);
}

static void assert_pair(const char *text, const char *name, const char *value)
{
    struct ini_item item = only(text, strlen(text));
    assert_int_equal(item.kind, INI_PAIR);
    assert_span(item.name, name);
    assert_span(item.value, value);
}

static void test_pairs(void **state)
{
    (void)state;
    assert_pair("key = value", "key", "value");
    assert_pair("key=value\n", "key", "value");
    assert_pair(" \tkey\t = \t value with  blanks \t\n", "key", "value with  blanks");
    assert_pair("key = a # b ; c", "key", "a # b ; c"); /* comments stand on lines of their own */
    assert_pair("key = a = b", "key", "a = b");
    assert_pair("key = [x]", "key", "[x]");
    assert_pair("key =", "key", "");
    assert_pair("key = value\r\n", "key", "value");
    assert_pair("\xef\xbb\xbfkey = value", "key", "value");
    assert_pair("n\xc3\xa4me = \xf0\x9f\x94\x91 \xe2\x82\xac", "n\xc3\xa4me", "\xf0\x9f\x94\x91 \xe2\x82\xac");
    assert_pair("key = value \\\n", "key", "value \\"); /* and no line goes on in the next */
}

static void test_sections(void **state)
{
    (void)state;
    struct ini_item item = ONLY("  [ profile  a ]\t\r\n");
    assert_int_equal(item.kind, INI_SECTION);
    assert_span(item.name, "profile  a");
    assert_int_equal(ONLY("[]").name.length, 0);
    assert_int_equal(ONLY("[agent]").kind, INI_SECTION);
    item = ONLY("[agent] # mine");
    assert_int_equal(item.kind, INI_BAD);
    assert_true(item.opens);
    assert_int_equal(ONLY("[").kind, INI_BAD);
    assert_int_equal(ONLY("[agent").kind, INI_BAD);
}

static void test_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\n", "\r\n\r\n", "# c = d", "  ; [x]\n\t\n", "\xef\xbb\xbf", " \t "};
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        struct ini ini = ini_open(span_of(texts[i]));
        struct ini_item item;
        assert_false(ini_next(&ini, &item));
    }
}

static void test_bad_lines(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "key",
        "= value",
        "key = \xff",
        "key = \xc0\xaf",
        "key = \xe0\x80\xaf",
        "key = \xed\xa0\x80",
        "\xf4\x90\x80\x80 = 1",
        "key = \xc3",
        "key = a\rb",
        "key = \x1b[31m",
        "key = \x7f",
        "key = 1234567\x7f",
        "key = 12345678901\x01"
        "2345678",
        "key = \xc2\x85",
        "\xf0\x82\x82\xac = 1",
        "key = 12345678\xe2\x82",
        "ke\xef\xbb",
        "\xef\xbb",
    };
    for (size_t i = 0; i < ELEMENTS(lines); i++) {
        struct ini_item item = only(lines[i], strlen(lines[i]));
        assert_int_equal(item.kind, INI_BAD);
        assert_non_null(item.problem);
    }
    assert_int_equal(ONLY("key = a\0b").kind, INI_BAD);
    assert_int_equal(ONLY("# comment \xff").kind, INI_BAD); /* the file is UTF-8, not only what we read of it */
}

/* Each byte that may not stand alone is found at each of eight places, whatever stands around it. */
static void test_every_byte(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        for (size_t at = 0; at < 16; at++) {
            char line[] = "k=abcdefghijklmnopqrstuv";
            line[2 + at] = (char)byte;
            struct ini ini = ini_open((struct span){line, sizeof(line) - 1});
            struct ini_item item;
            assert_true(ini_next(&ini, &item));
            bool good = (byte >= 0x20 && byte < 0x7f) || byte == '\t';
            if (byte == '\n')
                continue;
            assert_int_equal(item.kind, good ? INI_PAIR : INI_BAD);
        }
    }
}

static void test_going_on(void **state)
{
    (void)state;
    struct ini ini = ini_open(span_of("a = 1\nbad\n\n# c\r\n[s]\n\xff\nb = 2"));
    static const struct {
        enum ini_kind kind;
        int line;
    } expected[] = {{INI_PAIR, 1}, {INI_BAD, 2}, {INI_SECTION, 5}, {INI_BAD, 6}, {INI_PAIR, 7}};
    struct ini_item item;
    for (size_t i = 0; i < ELEMENTS(expected); i++) {
        assert_true(ini_next(&ini, &item));
        assert_int_equal(item.kind, expected[i].kind);
        assert_int_equal(item.line, expected[i].line);
    }
    assert_false(ini_next(&ini, &item));
}

static void test_line_limit(void **state)
{
    (void)state;
    for (size_t length = LIMIT_CONFIG_LINE - 1; length <= LIMIT_CONFIG_LINE + 1; length++) {
        _cleanup_free_ char *line = malloc(length + 2);
        memset(line, 'x', length);
        memcpy(line, "k=", 2);
        memcpy(line + length, "\r\n", 2); /* its end does not count */
        assert_int_equal(only(line, length + 2).kind, length > LIMIT_CONFIG_LINE ? INI_BAD : INI_PAIR);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs),      cmocka_unit_test(test_sections),   cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_bad_lines),  cmocka_unit_test(test_every_byte), cmocka_unit_test(test_going_on),
        cmocka_unit_test(test_line_limit),
    };
    return cmocka_run_group_tests_name("ini", tests, NULL, NULL);
}
