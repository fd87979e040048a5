/* The growing buffer: its hard maximum at -1, 0, +1, what is remembered after a failure, and that what is dropped is
 * wiped. */
#include "buffer.h"

#include "cleanup.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h> /* needs some of the above */

static void test_maximum(void **state)
{
    (void)state;
    char bytes[101];
    memset(bytes, 'x', sizeof(bytes));
    for (size_t length = 99; length <= 101; length++) {
        _cleanup_buffer_ struct buffer whole = BUFFER(100), pieces = BUFFER(100);
        int expected = length <= 100 ? 0 : -EMSGSIZE;
        assert_int_equal(buffer_append(&whole, bytes, length), expected);
        assert_int_equal(buffer_error(&whole), expected);
        assert_int_equal(whole.length, length <= 100 ? length : 0); /* all or nothing */
        for (size_t i = 0; i < length; i++)
            buffer_byte(&pieces, 'y');
        assert_int_equal(buffer_error(&pieces), expected);
        assert_int_equal(pieces.length, length <= 100 ? length : 100);
        assert_int_equal(pieces.data[pieces.length], '\0');
        assert_true(pieces.capacity <= 101);
    }
}

static void test_zero_maximum(void **state)
{
    (void)state;
    _cleanup_buffer_ struct buffer buffer = BUFFER(0);
    assert_int_equal(buffer_append(&buffer, "", 0), 0);
    assert_int_equal(buffer_reserve(&buffer, 0), 0);
    assert_string_equal(buffer.data, "");
    assert_int_equal(buffer_byte(&buffer, 'a'), -EMSGSIZE);
}

static void test_huge(void **state)
{
    (void)state;
    _cleanup_buffer_ struct buffer buffer = BUFFER(SIZE_MAX);
    assert_int_equal(buffer_text(&buffer, "abc"), 0);
    assert_int_equal(buffer_reserve(&buffer, SIZE_MAX), -EMSGSIZE);
    buffer_clear(&buffer);
    assert_int_equal(buffer_reserve(&buffer, SIZE_MAX - 3), -EMSGSIZE);
    buffer_clear(&buffer);
    assert_int_equal(buffer_text(&buffer, "abc"), 0);
    assert_string_equal(buffer.data, "abc");
}

static void test_failure_stays(void **state)
{
    (void)state;
    _cleanup_buffer_ struct buffer buffer = BUFFER(4);
    assert_int_equal(buffer_text(&buffer, "abc"), 0);
    assert_int_equal(buffer_text(&buffer, "de"), -EMSGSIZE);
    assert_int_equal(buffer_text(&buffer, "d"), -EMSGSIZE); /* though it would fit */
    assert_int_equal(buffer_append(&buffer, "", 0), -EMSGSIZE);
    assert_int_equal(buffer_format(&buffer, "%d", 1), -EMSGSIZE);
    assert_string_equal(buffer.data, "abc");
    assert_null(buffer_take(&buffer));
    assert_int_equal(buffer_error(&buffer), 0);
    assert_int_equal(buffer_text(&buffer, "abcd"), 0);
}

static void test_format(void **state)
{
    (void)state;
    for (size_t maximum = 6; maximum <= 8; maximum++) {
        _cleanup_buffer_ struct buffer buffer = BUFFER(maximum);
        int r = buffer_format(&buffer, "%s-%03d", "abc", 7);
        assert_int_equal(r, maximum >= 7 ? 0 : -EMSGSIZE);
        if (r == 0)
            assert_string_equal(buffer.data, "abc-007");
        else
            assert_int_equal(buffer.length, 0);
    }
}

static void test_consume_wipes(void **state)
{
    (void)state;
    _cleanup_buffer_ struct buffer buffer = BUFFER(100);
    buffer_text(&buffer, "secretrest");
    buffer_consume(&buffer, 0);
    assert_int_equal(buffer.length, 10);
    buffer_consume(&buffer, 6);
    assert_int_equal(buffer.length, 4);
    assert_string_equal(buffer.data, "rest");
    assert_memory_equal(buffer.data, "rest\0\0\0\0\0\0", 10);
    buffer_consume(&buffer, 4);
    assert_int_equal(buffer.length, 0);
    assert_memory_equal(buffer.data, "\0\0\0\0", 4);
    buffer_text(&buffer, "more");
    buffer_consume(&buffer, 99); /* more than there is: all */
    assert_int_equal(buffer.length, 0);
}

static void test_clear_wipes(void **state)
{
    (void)state;
    _cleanup_buffer_ struct buffer buffer = BUFFER(100);
    buffer_text(&buffer, "secret");
    buffer_clear(&buffer);
    assert_memory_equal(buffer.data, "\0\0\0\0\0\0", 6);
    buffer_clear(&(struct buffer){0}); /* nothing there is allowed */
    buffer_free(NULL);
}

static void test_binary(void **state)
{
    (void)state;
    _cleanup_buffer_ struct buffer buffer = BUFFER(1000);
    for (int i = 0; i < 100; i++)
        buffer_append(&buffer, "a\0b", 3);
    assert_int_equal(buffer.length, 300);
    for (size_t i = 0; i < 300; i += 3)
        assert_memory_equal(buffer.data + i, "a\0b", 3);
    assert_true(span_equals(buffer_span(&buffer), (struct span){buffer.data, 300}));
}

static void test_take(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER(10);
    _cleanup_free_ char *nothing = buffer_take(&buffer);
    assert_string_equal(nothing, "");
    buffer_text(&buffer, "text");
    _cleanup_free_ char *text = buffer_take(&buffer);
    assert_string_equal(text, "text");
    assert_null(buffer.data);
    assert_int_equal(buffer.maximum, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_maximum),       cmocka_unit_test(test_zero_maximum), cmocka_unit_test(test_huge),
        cmocka_unit_test(test_failure_stays), cmocka_unit_test(test_format),       cmocka_unit_test(test_consume_wipes),
        cmocka_unit_test(test_clear_wipes),   cmocka_unit_test(test_binary),       cmocka_unit_test(test_take),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
