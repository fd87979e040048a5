/* Varlink's frame: where a message ends, at each limit, and what calls and replies look like. */
#include "message.h"

#include "cleanup.h"
#include "limits.h"
#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h> /* needs some of the above */

static bool no_memory;

static void test_find(void **state)
{
    (void)state;
    _cleanup_buffer_ struct buffer buffer = BUFFER(100);
    assert_int_equal(message_find(&buffer, 10), -EAGAIN);
    buffer_append(&buffer, "", 1);
    assert_int_equal(message_find(&buffer, 10), 0); /* an empty message is one */
    buffer_clear(&buffer);
    buffer_append(&buffer, "one\0two", 7);
    assert_int_equal(message_find(&buffer, 10), 3);
    buffer_consume(&buffer, 4);
    assert_int_equal(message_find(&buffer, 10), -EAGAIN);
    buffer_append(&buffer, "", 1);
    assert_int_equal(message_find(&buffer, 10), 3);
}

static void test_find_maximum(void **state)
{
    (void)state;
    static const size_t limits[] = {10, LIMIT_REQUEST, LIMIT_REPLY};
    for (size_t k = 0; k < ELEMENTS(limits); k++)
        for (size_t length = limits[k] - 1; length <= limits[k] + 1; length++) {
            _cleanup_buffer_ struct buffer buffer = BUFFER(LIMIT_REPLY + 10);
            for (size_t i = 0; i < length; i++)
                buffer_byte(&buffer, 'x');
            bool fits = length <= limits[k];
            assert_int_equal(message_find(&buffer, limits[k]), fits ? -EAGAIN : -EMSGSIZE); /* its end has not come */
            buffer_byte(&buffer, '\0');
            if (fits)
                assert_int_equal(message_find(&buffer, limits[k]), length);
            else
                assert_int_equal(message_find(&buffer, limits[k]), -EMSGSIZE);
        }
}

static void check(struct buffer *buffer, const char *expected)
{
    assert_int_equal(buffer->length, strlen(expected) + 1); /* the NUL counts, and it is the last */
    assert_string_equal(buffer->data, expected);
    buffer_clear(buffer);
}

static void test_shapes(void **state)
{
    (void)state;
    _cleanup_buffer_ struct buffer buffer = BUFFER(1000);
    _cleanup_json_ json_object *parameters = json_object_new_object();
    assert_int_equal(json_put_text(parameters, "a", "x/y\"\n"), 0);
    assert_int_equal(message_call(&buffer, "i.M", NULL, false), 0);
    check(&buffer, "{\"method\":\"i.M\"}");
    assert_int_equal(message_call(&buffer, "i.M", parameters, true), 0);
    check(&buffer, "{\"method\":\"i.M\",\"parameters\":{\"a\":\"x/y\\\"\\n\"},\"more\":true}");
    assert_int_equal(message_reply(&buffer, parameters, false), 0);
    check(&buffer, "{\"parameters\":{\"a\":\"x/y\\\"\\n\"}}");
    assert_int_equal(message_reply(&buffer, NULL, true), 0);
    check(&buffer, "{\"continues\":true}");
    assert_int_equal(message_error(&buffer, "i.E", parameters), 0);
    check(&buffer, "{\"error\":\"i.E\",\"parameters\":{\"a\":\"x/y\\\"\\n\"}}");
    assert_int_equal(json_object_put(json_object_get(parameters)), 0); /* not consumed: ours is still a reference */
}

static void test_nul_in_a_string_is_escaped(void **state)
{
    (void)state;
    _cleanup_buffer_ struct buffer buffer = BUFFER(1000);
    _cleanup_json_ json_object *parameters = json_object_new_object();
    assert_int_equal(json_put(parameters, "a", json_object_new_string_len("x\0y", 3)), 0);
    assert_int_equal(message_reply(&buffer, parameters, false), 0);
    check(&buffer, "{\"parameters\":{\"a\":\"x\\u0000y\"}}");
}

static void test_too_long(void **state)
{
    (void)state;
    static const char whole[] = "{\"method\":\"i.M\"}";
    for (size_t maximum = sizeof(whole) - 1; maximum <= sizeof(whole) + 1; maximum++) {
        _cleanup_buffer_ struct buffer buffer = BUFFER(maximum);
        assert_int_equal(message_call(&buffer, "i.M", NULL, false), maximum >= sizeof(whole) ? 0 : -EMSGSIZE);
        assert_int_equal(buffer.length, maximum >= sizeof(whole) ? sizeof(whole) : 0); /* never half of one */
    }
}

/* json-c makes its objects with this one */
json_object *json_object_new_object(void)
{
    static json_object *(*made_by_json_c)(void);
    if (!made_by_json_c)
        *(void **)&made_by_json_c = dlsym(RTLD_NEXT, "json_object_new_object");
    return no_memory ? NULL : made_by_json_c();
}

/* Whoever appends may look at the buffer alone: a client must not be sent nothing, and wait for it. */
static void test_out_of_memory(void **state)
{
    (void)state;
    _cleanup_buffer_ struct buffer buffer = BUFFER(1000);
    no_memory = true;
    assert_int_equal(message_reply(&buffer, NULL, false), -ENOMEM);
    no_memory = false;
    assert_int_equal(buffer_error(&buffer), -ENOMEM);
    assert_int_equal(message_reply(&buffer, NULL, false), -ENOMEM); /* not half of what was meant */
    buffer_clear(&buffer);
    assert_int_equal(message_reply(&buffer, NULL, true), 0);
    check(&buffer, "{\"continues\":true}");
}

static void test_several(void **state)
{
    (void)state;
    _cleanup_buffer_ struct buffer buffer = BUFFER(1000);
    for (int i = 0; i < 3; i++)
        assert_int_equal(message_call(&buffer, "i.M", NULL, false), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(message_find(&buffer, 100), 16);
        buffer_consume(&buffer, 17);
    }
    assert_int_equal(buffer.length, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),     cmocka_unit_test(test_find_maximum),
        cmocka_unit_test(test_shapes),   cmocka_unit_test(test_nul_in_a_string_is_escaped),
        cmocka_unit_test(test_too_long), cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_several),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
