/* Frames of the store protocol: what is written is read, what is not so is refused, at each limit. */
#include "store/protocol.h"

#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
/* after these */
#include <cmocka.h>

enum { HEAD = 4 };

static char value[LIMIT_STORE_FRAME + 1];

/* A frame around `body`, taken apart. */
static int read_body(const char *body, size_t length, struct store_frame *ret)
{
    static char bytes[LIMIT_STORE_FRAME + HEAD];
    memcpy(bytes, "\0\0\0\0", HEAD);
    memcpy(bytes + HEAD, body, length);
    return store_frame_read(bytes, HEAD + length, ret);
}

#define READ(body) read_body(body, sizeof(body) - 1, &frame)

static void comes_back_as_it_was(void **state)
{
    static const struct store_field fields[] = {
        {"op", "put"}, {"absent", NULL}, {"empty", ""}, {"text", "a=b \xc3\xa9"}};
    _cleanup_buffer_ struct buffer buffer = BUFFER(100000);
    struct store_frame frame;
    (void)state;
    assert_int_equal(0, store_frame_write(&buffer, fields, ELEMENTS(fields), (struct span){"a\0\n\nb", 5}));
    ssize_t length = store_frame_find(&buffer);
    assert_int_equal(buffer.length, length);
    assert_int_equal(0, store_frame_read(buffer.data, (size_t)length, &frame));
    assert_int_equal(3, frame.count);
    assert_string_equal("put", store_frame_text(&frame, "op"));
    assert_string_equal("", store_frame_text(&frame, "empty"));
    assert_string_equal("a=b \xc3\xa9", store_frame_text(&frame, "text"));
    assert_null(store_frame_text(&frame, "absent"));
    assert_int_equal(5, frame.value.length);
    assert_memory_equal("a\0\n\nb", frame.value.data, 5);
}

static void is_found_when_it_is_whole(void **state)
{
    _cleanup_buffer_ struct buffer whole = BUFFER(100000), part = BUFFER(100000);
    (void)state;
    assert_int_equal(0, store_frame_write(&whole, &(struct store_field){"op", "get"}, 1, (struct span){"v", 1}));
    for (size_t i = 0; i < whole.length; i++) {
        assert_int_equal(-EAGAIN, store_frame_find(&part));
        assert_int_equal(0, buffer_byte(&part, whole.data[i]));
    }
    assert_int_equal(whole.length, store_frame_find(&part));
    assert_int_equal(0, buffer_byte(&part, 'x')); /* the next one's */
    assert_int_equal(whole.length, store_frame_find(&part));
}

static void lengths_at_their_limit(void **state)
{
    (void)state;
    for (int more = -1; more <= 1; more++) {
        _cleanup_buffer_ struct buffer buffer = BUFFER(200000);
        const size_t body = (size_t)(LIMIT_STORE_FRAME + more);
        int expected = more > 0 ? -EMSGSIZE : 0;
        assert_int_equal(expected, store_frame_write(&buffer, NULL, 0, (struct span){value, body - 1}));
        assert_int_equal(more > 0 ? 0 : HEAD + body, buffer.length);
        const char head[HEAD] = {0, (char)(body >> 16), (char)(body >> 8), (char)body};
        buffer_clear(&buffer);
        assert_int_equal(0, buffer_append(&buffer, head, HEAD));
        assert_int_equal(more > 0 ? -EMSGSIZE : -EAGAIN, store_frame_find(&buffer));
    }
    _cleanup_buffer_ struct buffer buffer = BUFFER(200000);
    assert_int_equal(-EMSGSIZE, store_frame_write(&buffer, NULL, 0, (struct span){value, SIZE_MAX}));
    assert_int_equal(0, buffer.length);
    _cleanup_buffer_ struct buffer small = BUFFER(10);
    assert_int_equal(-EMSGSIZE, store_frame_write(&small, NULL, 0, (struct span){value, 10}));
    assert_int_equal(0, small.length); /* no half of one */
}

static void fields_at_their_limit(void **state)
{
    static const char *const keys[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"};
    struct store_field fields[STORE_FIELDS + 1];
    _cleanup_buffer_ struct buffer buffer = BUFFER(10000);
    struct store_frame frame;
    (void)state;
    assert_int_equal(STORE_FIELDS + 1, ELEMENTS(keys));
    for (size_t i = 0; i < ELEMENTS(keys); i++)
        fields[i] = (struct store_field){keys[i], "v"};
    assert_int_equal(-EINVAL, store_frame_write(&buffer, fields, STORE_FIELDS + 1, (struct span){0}));
    assert_int_equal(0, buffer.length);
    assert_int_equal(0, store_frame_write(&buffer, fields, STORE_FIELDS, (struct span){0}));
    assert_int_equal(0, store_frame_read(buffer.data, buffer.length, &frame));
    assert_int_equal(STORE_FIELDS, frame.count);
    assert_int_equal(0, READ("a=\nb=\nc=\nd=\ne=\nf=\ng=\nh=\ni=\nj=\nk=\nl=\n\n"));
    assert_int_equal(-EBADMSG, READ("a=\nb=\nc=\nd=\ne=\nf=\ng=\nh=\ni=\nj=\nk=\nl=\nm=\n\n"));
}

static void what_is_not_so_is_refused(void **state)
{
    struct store_frame frame;
    (void)state;
    assert_int_equal(0, READ("\n"));
    assert_int_equal(0, frame.value.length);
    assert_int_equal(0, READ("op=get\n\n"));
    assert_int_equal(-EBADMSG, READ(""));
    assert_int_equal(-EBADMSG, READ("op=get"));
    assert_int_equal(-EBADMSG, READ("op=get\n"));
    assert_int_equal(-EBADMSG, READ("op\n\n"));
    assert_int_equal(-EBADMSG, READ("=x\n\n"));
    assert_int_equal(-EBADMSG, READ("Op=x\n\n"));
    assert_int_equal(-EBADMSG, READ(" op=x\n\n"));
    assert_int_equal(-EBADMSG, READ("op\0x=x\n\n")); /* it would be read as op */
    assert_int_equal(-EBADMSG, READ("op=x\0y\n\n"));
    assert_int_equal(-EBADMSG, READ("op=x\ty\n\n"));
    assert_int_equal(-EBADMSG, READ("op=x\x7f\n\n"));
    assert_int_equal(-EBADMSG, READ("op=x\r\n\r\n"));
    assert_int_equal(-EBADMSG, READ("op=a\nid=1\nop=b\n\n")); /* which one would it be? */
}

static void numbers(void **state)
{
    struct store_frame frame;
    uint64_t number = 7;
    (void)state;
    assert_int_equal(0, READ("a=0\nb=999999999999999999\nc=1000000000000000000\nd=\ne=-1\nf=1x\ng= 1\n\n"));
    assert_int_equal(0, store_frame_number(&frame, "a", 5, &number));
    assert_int_equal(0, number);
    assert_int_equal(0, store_frame_number(&frame, "b", 5, &number));
    assert_int_equal(999999999999999999, number);
    assert_int_equal(0, store_frame_number(&frame, "absent", 5, &number));
    assert_int_equal(5, number);
    for (const char *key = "c\0d\0e\0f\0g\0"; *key; key += 2)
        assert_int_equal(-EINVAL, store_frame_number(&frame, key, 5, &number));
    assert_int_equal(5, number);
}

static void nothing_is_written_that_would_be_refused(void **state)
{
    static const struct store_field bad[] = {{"op", "a\nb=c"}, {"op", "\x01"}, {"op", "\x7f"},
                                             {"OP", "x"},      {"", "x"},      {"a b", "x"}};
    _cleanup_buffer_ struct buffer buffer = BUFFER(1000);
    (void)state;
    for (size_t i = 0; i < ELEMENTS(bad); i++)
        assert_int_equal(-EINVAL, store_frame_write(&buffer, &bad[i], 1, (struct span){0}));
    assert_int_equal(0, buffer.length);
    assert_int_equal(0, buffer_error(&buffer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back_as_it_was),
        cmocka_unit_test(is_found_when_it_is_whole),
        cmocka_unit_test(lengths_at_their_limit),
        cmocka_unit_test(fields_at_their_limit),
        cmocka_unit_test(what_is_not_so_is_refused),
        cmocka_unit_test(numbers),
        cmocka_unit_test(nothing_is_written_that_would_be_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
