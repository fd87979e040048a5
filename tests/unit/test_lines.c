/* The line protocol: what is written is read back, however the bytes come; everything else ends the conversation; each
 * limit at max-1, max and max+1. */
#include "cleanup.h"
#include "limits.h"
#include "lines.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>

static void assert_value(const struct line *line, const char *name, const char *expected)
{
    const char *text = NULL;
    assert_int_equal(line_text(line, name, &text), 0);
    assert_string_equal(text, expected);
}

static void write_done(struct buffer *text)
{
    line_begin(text, "done");
    line_put_text(text, "sub", "alice");
    line_put_text(text, "claim.preferred_username", "");
    line_put_text(text, "group", "one");
    line_put_number(text, "iat", -1234567890123);
    line_put_text(text, "group", "two");
    line_put(text, "odd", (struct span){"a\0b", 3});
    assert_int_equal(line_end(text), 0);
}

static void check_done(const struct line *line)
{
    assert_string_equal(line->word, "done");
    assert_int_equal(line->count, 6);
    assert_value(line, "sub", "alice");
    assert_value(line, "claim.preferred_username", "");
    int64_t number = 0;
    assert_int_equal(line_number(line, "iat", &number), 0);
    assert_true(number == -1234567890123);
    size_t at = 0;
    assert_string_equal(line_next(line, "group", &at)->value.data, "one");
    assert_string_equal(line_next(line, "group", &at)->value.data, "two");
    assert_null(line_next(line, "group", &at));
    const char *text;
    assert_int_equal(line_text(line, "odd", &text), -EBADMSG);
    assert_int_equal(line_find(line, "odd")->value.length, 3);
    assert_int_equal(line_text(line, "missing", &text), -ENOENT);
    assert_int_equal(line_number(line, "sub", &number), -EBADMSG);
    assert_int_equal(line_number(line, "claim.preferred_username", &number), -EBADMSG);
}

static void test_round_trip(void **state)
{
    (void)state;
    _cleanup_buffer_ struct buffer text = BUFFER(LIMIT_LINE + 1);
    write_done(&text);
    for (size_t step = 1; step <= text.length; step++) {
        _cleanup_lines_ struct lines lines = LINES;
        struct line line = {0};
        size_t found = 0;
        for (size_t i = 0; i < text.length; i += step) {
            size_t n = text.length - i < step ? text.length - i : step;
            assert_int_equal(lines_feed(&lines, text.data + i, n), 0);
            assert_int_equal(lines_partial(&lines), true);
            int r = lines_next(&lines, &line);
            assert_int_equal(r, i + n == text.length);
            found += (size_t)r;
        }
        assert_int_equal(found, 1);
        assert_false(lines_partial(&lines));
        check_done(&line);
        line_free(&line);
    }
}

static void test_several_at_once(void **state)
{
    (void)state;
    _cleanup_lines_ struct lines lines = LINES;
    assert_int_equal(lines_feed(&lines, "pending\npending\nfail class=eA", 29), 0);
    for (int i = 0; i < 2; i++) {
        _cleanup_line_ struct line line = {0};
        assert_int_equal(lines_next(&lines, &line), 1);
        assert_string_equal(line.word, "pending");
        assert_int_equal(line.count, 0);
    }
    _cleanup_line_ struct line line = {0};
    assert_int_equal(lines_next(&lines, &line), 0);
    assert_true(lines_partial(&lines));
    assert_int_equal(lines_feed(&lines, "\n", 1), 0);
    assert_int_equal(lines_next(&lines, &line), 1);
    assert_value(&line, "class", "x");
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      " ",
                                      "Done",
                                      "done ",
                                      " done",
                                      "done  sub=eA",
                                      "done sub",
                                      "done =eA",
                                      "done sub=eA=",
                                      "done sub=e",
                                      "done sub=eB", /* not canonical */
                                      "done sub=e+",
                                      "done sub=eA sub=eA",
                                      "done sub=eA x=eA sub=",
                                      "done su/b=eA",
                                      "done su:b=eA",
                                      "done su\xc3\xa9=eA",
                                      "done SUB=eA SUB=eA",
                                      "done\tsub=eA",
                                      "done\r",
                                      "d\xc3\xa9",
                                      "done1 sub=eA",
                                      "%n%n"};
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        struct line line = {0};
        assert_int_equal(line_parse(span_of(bad[i]), &line), -EBADMSG);
        assert_null(line.bytes);
        /* and nothing is read any more behind it */
        _cleanup_lines_ struct lines lines = LINES;
        assert_int_equal(lines_feed(&lines, bad[i], strlen(bad[i])), 0);
        assert_int_equal(lines_feed(&lines, "\npending\n", 9), 0);
        assert_int_equal(lines_next(&lines, &line), -EBADMSG);
        assert_int_equal(lines_next(&lines, &line), -EBADMSG);
        assert_int_equal(lines_feed(&lines, "pending\n", 8), -EBADMSG);
    }
    struct line line = {0};
    assert_int_equal(line_parse((struct span){"done\0sub=eA", 11}, &line), -EBADMSG);
    assert_int_equal(line_parse((struct span){"done sub=eA\0", 12}, &line), -EBADMSG);
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int result;
        int64_t value;
    } rows[] = {
        {"0", 0, 0},          {"-1", 0, -1},       {"007", 0, 7},        {"999999999999999999", 0, 999999999999999999},
        {"", -EBADMSG, 0},    {"-", -EBADMSG, 0},  {"--1", -EBADMSG, 0}, {"1999999999999999999", -EBADMSG, 0},
        {"+1", -EBADMSG, 0},  {" 1", -EBADMSG, 0}, {"1 ", -EBADMSG, 0},  {"0x1", -EBADMSG, 0},
        {"1e3", -EBADMSG, 0}, {"1.", -EBADMSG, 0}, {"one", -EBADMSG, 0}};
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        _cleanup_buffer_ struct buffer text = BUFFER(LIMIT_LINE + 1);
        line_begin(&text, "n");
        line_put_text(&text, "n", rows[i].text);
        assert_int_equal(line_end(&text), 0);
        _cleanup_line_ struct line line = {0};
        assert_int_equal(line_parse((struct span){text.data, text.length - 1}, &line), 0);
        int64_t value = 0;
        assert_int_equal(line_number(&line, "n", &value), rows[i].result);
        assert_true(value == rows[i].value);
    }
}

/* One differs from another by its capitals too. */
static void test_names_with_capitals(void **state)
{
    (void)state;
    static const char text[] = "done claim.onPremisesSamAccountName=YQ claim.onpremisessamaccountname=Yg X-9=Yw";
    _cleanup_line_ struct line line = {0};
    const char *value;
    assert_int_equal(line_parse(span_of(text), &line), 0);
    assert_int_equal(line_text(&line, "claim.onPremisesSamAccountName", &value), 0);
    assert_string_equal(value, "a");
    assert_int_equal(line_text(&line, "claim.onpremisessamaccountname", &value), 0);
    assert_string_equal(value, "b");
    assert_int_equal(line_text(&line, "X-9", &value), 0);
    assert_int_equal(line_text(&line, "x-9", &value), -ENOENT);
    char name[64] = "";
    for (size_t i = 0; i < 59; i++)
        name[i] = 'x';
    assert_false(line_claim_sound(name));
    name[58] = '\0';
    assert_true(line_claim_sound(name) && line_claim_sound("A-") && line_claim_sound("_.-9"));
    assert_false(line_claim_sound("") || line_claim_sound("-a") || line_claim_sound("a b") || line_claim_sound("a/b"));
}

static int parse_with(size_t length)
{
    _cleanup_lines_ struct lines lines = LINES;
    _cleanup_line_ struct line line = {0};
    int r = 0;
    for (size_t sent = 0; sent < length && r == 0; sent++)
        r = lines_feed(&lines, "a", 1) < 0 ? -1 : lines_next(&lines, &line);
    return r < 0 || lines_feed(&lines, "\n", 1) < 0 ? -EMSGSIZE : lines_next(&lines, &line);
}

static int parse_fields(size_t count)
{
    _cleanup_buffer_ struct buffer text = BUFFER(LIMIT_LINE + 1);
    line_begin(&text, "done");
    for (size_t i = 0; i < count; i++)
        line_put_text(&text, "group", "g");
    assert_int_equal(line_end(&text), 0);
    _cleanup_line_ struct line line = {0};
    return line_parse((struct span){text.data, text.length - 1}, &line);
}

static void test_limits(void **state)
{
    (void)state;
    /* a word is never that long, so a line of the greatest length is a broken one, but not for its length */
    assert_int_equal(parse_with(LIMIT_LINE - 1), -EBADMSG);
    assert_int_equal(parse_with(LIMIT_LINE), -EBADMSG);
    assert_int_equal(parse_with(LIMIT_LINE + 1), -EMSGSIZE);
    assert_int_equal(parse_with(LIMIT_LINE_NAME - 1), 1);
    assert_int_equal(parse_with(LIMIT_LINE_NAME), 1);
    assert_int_equal(parse_with(LIMIT_LINE_NAME + 1), -EBADMSG);
    assert_int_equal(parse_fields(LIMIT_LINE_FIELDS - 1), 0);
    assert_int_equal(parse_fields(LIMIT_LINE_FIELDS), 0);
    assert_int_equal(parse_fields(LIMIT_LINE_FIELDS + 1), -EMSGSIZE);
}

static void test_writer_refuses(void **state)
{
    (void)state;
    _cleanup_buffer_ struct buffer text = BUFFER(LIMIT_LINE + 1);
    line_begin(&text, "Done");
    assert_int_equal(line_end(&text), -EINVAL);
    buffer_clear(&text);
    line_begin(&text, "done");
    line_put_text(&text, "a b", "x");
    assert_int_equal(line_end(&text), -EINVAL);
    buffer_clear(&text);
    line_begin(&text, "done");
    _cleanup_free_ char *much = malloc(LIMIT_LINE);
    memset(much, 'x', LIMIT_LINE);
    size_t fits = (LIMIT_LINE - strlen("done x=")) / 4 * 3;
    line_put(&text, "x", (struct span){much, fits});
    assert_int_equal(line_end(&text), 0);
    buffer_clear(&text);
    line_begin(&text, "done");
    line_put(&text, "x", (struct span){much, fits + 3});
    assert_int_equal(line_end(&text), -EMSGSIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),      cmocka_unit_test(test_names_with_capitals),
        cmocka_unit_test(test_several_at_once), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_numbers),         cmocka_unit_test(test_limits),
        cmocka_unit_test(test_writer_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
