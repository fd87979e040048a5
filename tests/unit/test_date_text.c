/* Dates as identity endpoints write them, and what is none. */
#include "authority/date_text.h"
#include "cleanup.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* after the four above */
#include <cmocka.h>

enum { AT = 1560999478 }; /* 2019-06-20 02:57:58 UTC */

static void reads(void **state)
{
    static const struct {
        const char *text;
        int64_t at;
    } cases[] = {
        {"06/20/2019 02:57:58 +00:00", AT},
        {"6/20/2019 2:57:58 AM +00:00", AT},
        {"6/20/2019 2:57:58 PM +00:00", AT + 12 * 3600},
        {"06/20/2019 12:57:58 AM +00:00", AT - 2 * 3600},
        {"06/20/2019 12:57:58 PM +00:00", AT + 10 * 3600},
        {"06/20/2019 02:57:58 am", AT},
        {"06/20/2019 04:57:58 +02:00", AT},
        {"06/20/2019 02:57:58", AT},
        {"2019-06-20T02:57:58Z", AT},
        {"2019-06-20T02:57:58.1234567Z", AT},
        {"2019-06-20T02:57:58+00:00", AT},
        {"2019-06-19T21:27:58-0530", AT},
        {"2019-06-20 02:57:58 UTC", AT},
        {"2019-06-20T02:57:58.9 GMT", AT},
        {"2020-02-29T00:00:00Z", 1582934400},
        {"1970-01-01T00:00:00Z", 0},
        {"9999-12-31T23:59:59Z", 253402300799},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        int64_t at = -1;
        assert_true(date_text_read(span_of(cases[i].text), &at));
        assert_int_equal(at, cases[i].at);
    }
}

static void refuses(void **state)
{
    static const char *const cases[] = {
        "",
        "soon",
        "1560999478",
        "2019-06-20",
        "2019-06-20T02:57",
        "2019-06-20T02:57:58.Z",
        "2019-06-20T02:57:58Zulu",
        "2019-06-20T02:57:58+25:00",
        "2019-06-20T02:57:58+01:60",
        "2019-06-20T02:57:58+",
        "2019-06-20T24:00:00Z",
        "2019-06-20T02:60:00Z",
        "2019-02-29T00:00:00Z",
        "2019-13-01T00:00:00Z",
        "2019-00-01T00:00:00Z",
        "2019-01-00T00:00:00Z",
        "13/20/2019 02:57:58 +00:00",
        "20/06/2019 02:57:58 +00:00",
        "06/20/2019 13:57:58 PM +00:00",
        "06/20/2019 00:57:58 AM +00:00",
        "06/20/19 02:57:58 +00:00",
        "06/20/2019T02:57:58",
        "1969-12-31T23:59:59Z",
        " 2019-06-20T02:57:58Z",
        "2019-06-20T02:57:58Z ",
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        int64_t at = -1;
        if (date_text_read(span_of(cases[i]), &at))
            fail_msg("%s was read as %lld", cases[i], (long long)at);
        assert_int_equal(at, -1);
    }
    int64_t at = -1;
    assert_false(date_text_read((struct span){"2019-06-20T02:57:58Z", 19}, &at) && at != AT);
    assert_false(date_text_read((struct span){"2019-06-20T02:57:58\0Z", 21}, &at) && at != AT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reads), cmocka_unit_test(refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
