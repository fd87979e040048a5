/* JSON from outside: what is JSON to the letter, what a member may be, and that wiping wipes. */
#include "json.h"

#include "buffer.h"
#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h> /* needs some of the above */

static int parse(const char *text, json_object **ret)
{
    return json_parse(text, strlen(text), 8, ret);
}

static json_object *parsed(const char *text)
{
    json_object *object = NULL;
    if (parse(text, &object) != 0)
        fail_msg("not accepted: %s", text);
    return object;
}

static void test_accepted(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}",
        "[]",
        "\"a\"",
        " \t\r\n[ 1 , 2 ] \t\r\n",
        "[0,-0,10,-1,1.5,1e5,1E+5,1e-5,0.0]",
        "[true,false,null]",
        "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"]",
        "{\"\":1}",
        "{\"a\":{\"b\":[]}}",
        "[\"\x7f\"]",
        "[\"\\u0000\"]",
        "[\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"]",
        "{\"a\":1,\"a\":2}",
    };
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        _cleanup_json_ json_object *object = parsed(texts[i]);
        assert_non_null(object);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        " ",
        "1",
        "1 ",
        "null\n",
        "null",
        "[",
        "]",
        "{",
        "}",
        "[1",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1,,2]",
        "{\"a\":1,}",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\" 1}",
        "{a:1}",
        "{'a':1}",
        "{1:1}",
        "{null:1}",
        "[1]x",
        "[1] [2]",
        "[1]]",
        "[}",
        "{]",
        /* numbers */
        "[01]",
        "[1.]",
        "[.5]",
        "[-]",
        "[+1]",
        "[1e]",
        "[1e+]",
        "[0x10]",
        "[1-2]",
        "[NaN]",
        "[Infinity]",
        "[-Infinity]",
        "[--1]",
        /* words */
        "[TRUE]",
        "[tru]",
        "[truex]",
        "[nul]",
        "[True]",
        /* comments and blanks that are none */
        "/*c*/[1]",
        "[1]//c",
        "\v[1]",
        "[1]\f",
        "[1\xc2\xa0]",
        "\xef\xbb\xbf[]",
        /* strings */
        "[\"a]",
        "[\"a\\\"]",
        "[\"\x01\"]",
        "[\"\n\"]",
        "[\"\t\"]",
        "[\"\\x41\"]",
        "[\"\\u12\"]",
        "[\"\\u12g4\"]",
        "[\"\\\n\"]",
        /* UTF-8: stray, overlong, surrogate, beyond, cut */
        "[\"\x80\"]",
        "[\"\xff\"]",
        "[\"\xc0\x80\"]",
        "[\"\xc1\xbf\"]",
        "[\"\xe0\x80\x80\"]",
        "[\"\xe0\x9f\xbf\"]",
        "[\"\xed\xa0\x80\"]",
        "[\"\xf0\x80\x80\x80\"]",
        "[\"\xf4\x90\x80\x80\"]",
        "[\"\xf5\x80\x80\x80\"]",
        "[\"\xe2\x82\"]",
        /* a name that would be cut at the NUL and read as another */
        "{\"a\\u0000b\":1}",
        "{\"\\u0000\":1}",
        "{\"x\":{\"error\\u0000\":1}}",
    };
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        json_object *object = NULL;
        if (parse(texts[i], &object) != -EBADMSG)
            fail_msg("accepted: %s", texts[i]);
        assert_null(object);
    }
}

static void test_every_prefix_is_refused(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[1.5e3,\"\xe2\x82\xac\\u20ac\",true,{\"b\":null}]}";
    for (size_t length = 0; length < sizeof(text) - 1; length++) {
        json_object *object = NULL;
        char *exact = malloc(length + 1); /* so that a sanitizer sees one byte too many */
        memcpy(exact, text, length);
        assert_int_equal(json_parse(exact, length, 8, &object), -EBADMSG);
        free(exact);
    }
}

static void test_raw_nul(void **state)
{
    (void)state;
    json_object *object = NULL;
    assert_int_equal(json_parse("[\"a\0b\"]", 7, 8, &object), -EBADMSG);
    assert_int_equal(json_parse("[1]\0", 4, 8, &object), -EBADMSG);
    assert_int_equal(json_parse("\0", 1, 8, &object), -EBADMSG);
}

static void test_depth(void **state)
{
    (void)state;
    static const struct {
        const char *open, *core, *close;
    } shapes[] = {{"[", "", "]"}, {"[", "1", "]"}, {"{\"a\":", "{}", "}"}, {"{\"a\":", "1", "}"}, {"[", "\"x\"", "]"}};
    for (size_t s = 0; s < ELEMENTS(shapes); s++)
        for (int limit = 1; limit <= LIMIT_REPLY_DEPTH; limit++)
            for (int depth = limit - 1; depth <= limit + 1; depth++) {
                _cleanup_buffer_ struct buffer text = BUFFER(4096);
                int inner = shapes[s].core[0] == '{';
                if (depth - inner < 1)
                    continue;
                for (int i = 0; i < depth - inner; i++)
                    buffer_text(&text, shapes[s].open);
                buffer_text(&text, shapes[s].core);
                for (int i = 0; i < depth - inner; i++)
                    buffer_text(&text, shapes[s].close);
                _cleanup_json_ json_object *object = NULL;
                assert_int_equal(json_parse(text.data, text.length, limit, &object), depth <= limit ? 0 : -EBADMSG);
            }
}

static void test_deep_nonsense_does_not_crash(void **state)
{
    (void)state;
    _cleanup_buffer_ struct buffer text = BUFFER(2000000);
    json_object *object = NULL;
    for (int i = 0; i < 1000000; i++)
        buffer_byte(&text, '[');
    assert_int_equal(json_parse(text.data, text.length, LIMIT_REPLY_DEPTH, &object), -EBADMSG);
}

static void test_strings(void **state)
{
    (void)state;
    _cleanup_json_ json_object *object =
        parsed("{\"s\":\"abcd\",\"n\":null,\"i\":1,\"nul\":\"alice\\u0000@evil\",\"c\":\"a\\u001bb\","
               "\"del\":\"\x7f\",\"e\":\"\"}");
    const char *text = "untouched";
    struct span bytes;
    assert_int_equal(json_string(object, "s", 4, &text), 0);
    assert_string_equal(text, "abcd");
    assert_int_equal(json_string(object, "s", 5, &text), 0);
    text = "untouched";
    assert_int_equal(json_string(object, "s", 3, &text), -EINVAL);
    assert_int_equal(json_string(object, "x", 9, &text), -ENOENT);
    assert_int_equal(json_string(object, "n", 9, &text), -ENOENT);
    assert_int_equal(json_string(object, "i", 9, &text), -EINVAL);
    assert_int_equal(json_string(object, "nul", 99, &text), -EINVAL);
    assert_int_equal(json_string(object, "c", 99, &text), -EINVAL);
    assert_int_equal(json_string(object, "del", 99, &text), -EINVAL);
    assert_string_equal(text, "untouched");
    assert_int_equal(json_string(object, "e", 0, &text), 0);
    assert_string_equal(text, "");
    assert_int_equal(json_bytes(object, "nul", 99, &bytes), 0);
    assert_int_equal(bytes.length, 11);
    assert_int_equal(json_bytes(object, "nul", 10, &bytes), -EINVAL);
}

static void test_not_an_object(void **state)
{
    (void)state;
    _cleanup_json_ json_object *array = parsed("[1]");
    const char *text;
    int64_t number;
    assert_int_equal(json_string(array, "a", 9, &text), -ENOENT);
    assert_int_equal(json_string(NULL, "a", 9, &text), -ENOENT);
    assert_int_equal(json_integer(array, "a", &number), -ENOENT);
}

struct number {
    const char *json;
    int r;
    int64_t value;
};

/* A value that is refused leaves what was there. */
static void check_numbers(int (*read)(json_object *, const char *, int64_t *), const struct number *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char text[64];
        int64_t value = 4711;
        (void)snprintf(text, sizeof(text), "{\"v\":%s}", cases[i].json);
        _cleanup_json_ json_object *object = parsed(text);
        if (read(object, "v", &value) != cases[i].r || value != (cases[i].r == 0 ? cases[i].value : 4711))
            fail_msg("%s read as %lld", cases[i].json, (long long)value);
    }
}

static void test_integers(void **state)
{
    (void)state;
    static const struct number cases[] = {
        {"0", 0, 0},
        {"-1", 0, -1},
        {"9223372036854775806", 0, INT64_MAX - 1},
        {"9223372036854775807", 0, INT64_MAX},
        {"9223372036854775808", -EINVAL, 0},
        {"18446744073709551615", -EINVAL, 0},
        {"18446744073709551616", -EINVAL, 0},
        {"99999999999999999999999", -EINVAL, 0},
        {"-9223372036854775807", 0, -INT64_MAX},
        {"-9223372036854775809", -EINVAL, 0},
        {"1.0", -EINVAL, 0},
        {"1e3", -EINVAL, 0},
        {"\"1\"", -EINVAL, 0},
        {"true", -EINVAL, 0},
        {"null", -ENOENT, 0},
    };
    check_numbers(json_integer, cases, ELEMENTS(cases));
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct number cases[] = {
        {"3600", 0, 3600},
        {"3600.0", 0, 3600},
        {"3.6e3", 0, 3600},
        {"\"3600\"", 0, 3600},
        {"\"-5\"", 0, -5},
        {"\"9223372036854775807\"", 0, INT64_MAX},
        {"\"9223372036854775808\"", -EINVAL, 0},
        {"\"12345678901234567890\"", -EINVAL, 0},
        {"\"\"", -EINVAL, 0},
        {"\"-\"", -EINVAL, 0},
        {"\" 5\"", -EINVAL, 0},
        {"\"+5\"", -EINVAL, 0},
        {"\"5 \"", -EINVAL, 0},
        {"\"5s\"", -EINVAL, 0},
        {"\"0x10\"", -EINVAL, 0},
        {"\"12\\u0000\"", -EINVAL, 0},
        {"\"12\\u000034\"", -EINVAL, 0},
        {"1e999", -EINVAL, 0},
        {"-1e16", -EINVAL, 0},
        {"1e15", 0, 1000000000000000},
        {"18446744073709551615", -EINVAL, 0},
        {"true", -EINVAL, 0},
        {"[]", -EINVAL, 0},
        {"null", -ENOENT, 0},
    };
    check_numbers(json_number, cases, ELEMENTS(cases));
}

static void test_other_types(void **state)
{
    (void)state;
    _cleanup_json_ json_object *object = parsed("{\"t\":true,\"a\":[1],\"o\":{},\"n\":null,\"s\":\"true\",\"i\":1}");
    bool flag = false;
    json_object *member = NULL;
    assert_int_equal(json_boolean(object, "t", &flag), 0);
    assert_true(flag);
    assert_int_equal(json_boolean(object, "s", &flag), -EINVAL);
    assert_int_equal(json_boolean(object, "i", &flag), -EINVAL);
    assert_int_equal(json_boolean(object, "n", &flag), -ENOENT);
    assert_int_equal(json_array(object, "a", &member), 0);
    assert_int_equal(json_array(object, "o", &member), -EINVAL);
    assert_int_equal(json_array(object, "x", &member), -ENOENT);
    assert_int_equal(json_member(object, "o", &member), 0);
    assert_int_equal(json_member(object, "n", &member), -ENOENT);
}

static void test_put(void **state)
{
    (void)state;
    _cleanup_json_ json_object *object = json_object_new_object();
    assert_int_equal(json_put_text(object, "text", "a"), 0);
    assert_int_equal(json_put_text(object, "none", NULL), 0);
    assert_int_equal(json_put_integer(object, "i", -5), 0);
    assert_int_equal(json_put_time(object, "when", 0), 0);
    assert_int_equal(json_put_time(object, "never", -1), 0);
    assert_int_equal(json_put_boolean(object, "b", false), 0);
    assert_int_equal(json_put(object, "x", NULL), -ENOMEM);
    assert_int_equal(json_put_text(NULL, "x", "a"), -ENOMEM);
    assert_string_equal(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN),
                        "{\"text\":\"a\",\"i\":-5,\"when\":0,\"b\":false}");
}

static void test_wipe(void **state)
{
    (void)state;
    json_object *object =
        parsed("{\"a\":[{\"t\":\"secret that is quite a bit longer than an inline string\"}],\"b\":\"short\"}");
    json_object *array, *inner, *text;
    assert_int_equal(json_array(object, "a", &array), 0);
    inner = json_object_array_get_idx(array, 0);
    assert_int_equal(json_member(inner, "t", &text), 0);
    json_object_get(text);
    json_wipe(object);
    for (int i = 0; i < json_object_get_string_len(text); i++)
        assert_int_equal(json_object_get_string(text)[i], 0);
    json_object_put(text);
    json_wipe(NULL);
}

/* What it writes reads as the same, and is as short as json-c's own. */
static void writes_what_it_reads(void **state)
{
    static const char *const texts[] = {
        "{}",
        "[]",
        "{\"a\":[],\"b\":{},\"c\":[{},[1,2]]}",
        "[true,false,null,0,-1,9223372036854775807,-9223372036854775808]",
        "[18446744073709551615]",
        "[0.1,1.5,-2.5,1e+100,3.0,1e-07,123456789.25,1e999,-1e999]",
        "{\"\":\"\",\"a\\\"b\":\"\\\\/\xc3\xa9\",\"c\":\"x\\u0000y\"}",
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        _cleanup_json_ json_object *json = NULL;
        _cleanup_buffer_ struct buffer written = BUFFER(1024);
        assert_int_equal(json_parse(texts[i], strlen(texts[i]), 8, &json), 0);
        assert_int_equal(json_write(&written, json), 0);
        assert_int_equal(buffer_byte(&written, '\0'), 0);
        assert_string_equal(written.data, texts[i]);
        _cleanup_buffer_ struct buffer small = BUFFER(strlen(texts[i]) - 1);
        assert_int_equal(json_write(&small, json), -EMSGSIZE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_every_prefix_is_refused),
        cmocka_unit_test(test_raw_nul),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_deep_nonsense_does_not_crash),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_not_an_object),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_other_types),
        cmocka_unit_test(test_put),
        cmocka_unit_test(test_wipe),
        cmocka_unit_test(writes_what_it_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
