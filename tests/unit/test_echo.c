/* Secrets that an authority repeats in an error: struck out of it, and nothing else. */
#include "acquire/echo.h"
#include "cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct http_step step_with(const char *url, const char *body)
{
    return (struct http_step){.method = "POST", .url = url, .body = span_of(body)};
}

static void strikes(const struct http_step *step, int status, const char *said, const char *wanted)
{
    _cleanup_buffer_ struct buffer struck = BUFFER(4096);
    struct answer answer = {.status = status, .body = span_of(said)};
    assert_int_equal(echo_strike(step, &answer, &struck), wanted != NULL);
    if (wanted)
        assert_string_equal(struck.data, wanted);
}

static void test_forms(void **state)
{
    struct http_step step = step_with("https://a/token?api-version=2024-10-01&sig=queried1",
                                      "grant_type=refresh_token&refresh_token=a%2Fb%2Bc+%C3%BCd&client_id=mltoken1");
    (void)state;
    strikes(&step, 400,
            "{\"error\":\"invalid_grant\",\"error_description\":\"Invalid refresh token: a/b+c \xc3\xbc"
            "d\"}",
            "{\"error\":\"invalid_grant\",\"error_description\":\"Invalid refresh token: *********\"}");
    strikes(&step, 400, "{\"error\":\"x\",\"error_description\":\"a\\/b+c \\u00fcd\"}",
            "{\"error\":\"x\",\"error_description\":\"*********\"}"); /* however it is escaped */
    strikes(&step, 400, "{\"error\":\"a%2Fb%2Bc+%C3%BCd\"}", "{\"error\":\"*****************\"}"); /* as it was sent */
    strikes(&step, 400, "{\"error\":\"x\",\"more\":[{\"deep\":\"queried1 queried1\"}]}",
            "{\"error\":\"x\",\"more\":[{\"deep\":\"******** ********\"}]}");
    strikes(&step, 200, "{\"error\":\"queried1\"}", "{\"error\":\"********\"}"); /* some say 200 to everything */
    strikes(&step, 400, "{\"error\":\"refresh_token of mltoken1\"}", NULL);      /* no secrets */
    strikes(&step, 400, "queried1 is wrong", NULL); /* no JSON: nobody repeats a word of it */
    strikes(&step, 400, "", NULL);
}

static void test_tokens_stay(void **state)
{
    struct http_step step = step_with("https://a/token", "refresh_token=abcdefgh");
    (void)state;
    strikes(&step, 200, "{\"access_token\":\"x\",\"refresh_token\":\"abcdefgh\"}", NULL);
    strikes(&step, 200, "{\"access_token\":\"x\",\"refresh_token\":\"abcdefgh\",\"error\":\"\"}", NULL);
    strikes(&step, 200, "{\"primaryKey\":\"abcdefgh\"}", NULL);
}

static void test_what_is_short_or_all_stars(void **state)
{
    struct http_step step = step_with("https://a/token", "client_secret=abcde&code=******&code_verifier");
    (void)state;
    strikes(&step, 400, "{\"error\":\"abcde\"}", NULL);
    strikes(&step, 400, "{\"error\":\"********\"}", "{\"error\":\"********\"}");
    step.body = span_of("=&&=x&a=%&b=%4&c=%zz%zz&d");
    strikes(&step, 400, "{\"error\":\"%zz%zz\"}", "{\"error\":\"******\"}");
    step.body = (struct span){0};
    strikes(&step, 400, "{\"error\":\"x\"}", NULL);
}

static void test_codes_stay(void **state)
{
    struct http_step step = step_with("https://a/token", "password=invalid_grant&username=alice");
    (void)state;
    strikes(&step, 400, "{\"error\":\"invalid_grant\",\"suberror\":\"invalid_grant\",\"more\":\"invalid_grant\"}",
            "{\"error\":\"invalid_grant\",\"suberror\":\"invalid_grant\",\"more\":\"*************\"}");
    strikes(&step, 400, "{\"error\":\"no invalid_grant\"}", "{\"error\":\"no *************\"}");
    strikes(&step, 400, "{\"error\":{\"message\":\"invalid_grant\"}}", "{\"error\":{\"message\":\"*************\"}}");
}

static void test_headers(void **state)
{
    struct http_step step = step_with("https://a/token", "scope=api");
    (void)state;
    step.headers[0] = (struct header){"Authorization", span_of("Basic bWU6cCUyRnNzOnc=")}; /* me:p%2Fss:w */
    step.headers[1] = (struct header){"X-IDENTITY-HEADER", span_of("headed12")};
    step.headers[2] = (struct header){"Accept", span_of("application/json")};
    step.header_count = 3;
    strikes(&step, 401, "{\"error\":\"p/ss:w p%2Fss:w bWU6cCUyRnNzOnc= headed12 application/json\"}",
            "{\"error\":\"****** ******** **************** ******** application/json\"}");
    step.headers[0] = (struct header){"Authorization", span_of("Bearer bearer12")};
    strikes(&step, 401, "{\"message\":\"bearer12\"}", "{\"message\":\"********\"}");
    step.headers[0] = (struct header){"Authorization", span_of("Basic =?!")};
    strikes(&step, 401, "{\"message\":\"x\"}", NULL);
}

static void test_objects(void **state)
{
    struct http_step step =
        step_with("https://a/login", "{\"username\":\"alice123\",\"password\":\"p\\\"ss\\u00fcword\",\"n\":1}");
    (void)state;
    step.headers[step.header_count++] = (struct header){"Content-Type", span_of("application/json")};
    strikes(&step, 401, "{\"message\":\"alice123 and p\\\"ss\xc3\xbcword\"}",
            "{\"message\":\"alice123 and **********\"}");
    step.body = span_of("[\"password\"]");
    strikes(&step, 401, "{\"message\":\"password\"}", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_tokens_stay),
        cmocka_unit_test(test_what_is_short_or_all_stars),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_objects),
        cmocka_unit_test(test_codes_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
