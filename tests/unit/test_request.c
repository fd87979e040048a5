/* Requests and lists of scopes. */
#include "cleanup.h"
#include "token/request.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>

static void assert_list(char *const *list, const char *joined)
{
    _cleanup_free_ char *text = scopes_join(list);
    assert_string_equal(text, joined);
}

static void assert_parsed(const char *text, const char *joined)
{
    char **list = NULL;
    assert_int_equal(scopes_parse(text, &list), 0);
    assert_non_null(list);
    assert_list(list, joined);
    scopes_free(list);
}

static void test_parse(void **state)
{
    (void)state;
    assert_parsed("openid", "openid");
    assert_parsed("b a", "a b");
    assert_parsed("  b   a  b a a ", "a b");
    assert_parsed("a a a a", "a");
    assert_parsed("", "");
    assert_parsed("   ", "");
    assert_parsed("https://x.example/.default !#[]~", "!#[]~ https://x.example/.default");
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"a\tb", "a\"", "a\\b", "\x7f", "a\nb", "\xc3\xa4", "ok \x01"};
    char **list = (char **)&list;
    for (size_t i = 0; i < ELEMENTS(texts); i++)
        assert_int_equal(scopes_parse(texts[i], &list), -EINVAL);
    assert_ptr_equal(list, &list); /* untouched on failure */
}

static void test_limits(void **state)
{
    (void)state;
    for (int count = LIMIT_SCOPES - 1; count <= LIMIT_SCOPES + 1; count++) {
        char text[8 * (LIMIT_SCOPES + 1) + 1], **list = NULL;
        size_t used = 0;
        for (int i = 0; i < count; i++)
            used += (size_t)snprintf(text + used, sizeof(text) - used, "s%d ", i);
        assert_int_equal(scopes_parse(text, &list), count > LIMIT_SCOPES ? -E2BIG : 0);
        scopes_free(list);
    }
    for (size_t length = LIMIT_SCOPE - 1; length <= LIMIT_SCOPE + 1; length++) {
        char text[LIMIT_SCOPE + 2] = "", **list = NULL;
        memset(text, 'x', length);
        assert_int_equal(scopes_parse(text, &list), length > LIMIT_SCOPE ? -E2BIG : 0);
        scopes_free(list);
    }
}

static void test_normalise(void **state)
{
    (void)state;
    char **list = calloc(6, sizeof(*list));
    static const char *const words[] = {"c", "a", "c", "b", "a"};
    for (size_t i = 0; i < ELEMENTS(words); i++)
        list[i] = strdup(words[i]);
    scopes_normalise(list);
    assert_list(list, "a b c");
    assert_null(list[3]);
    scopes_free(list);
    scopes_normalise(NULL);
    assert_null(scopes_free(NULL));
    assert_list(NULL, "");
}

static void test_what_counts(void **state)
{
    (void)state;
    char *own[] = {(char[]){"p"}, NULL}, *asked[] = {(char[]){"r"}, NULL}, *none[] = {NULL};
    struct profile profile = {.scopes = own, .resource = (char[]){"pr"}, .audience = (char[]){"pa"}};
    struct request request = {.min_valid_s = -1};
    assert_ptr_equal(request_scopes(NULL, &profile), own);
    assert_ptr_equal(request_scopes(&request, &profile), own);
    assert_string_equal(request_resource(&request, &profile), "pr");
    assert_string_equal(request_audience(NULL, &profile), "pa");
    request = (struct request){.scopes = asked, .resource = (char[]){"rr"}, .audience = (char[]){"ra"}};
    assert_ptr_equal(request_scopes(&request, &profile), asked);
    assert_string_equal(request_resource(&request, &profile), "rr");
    assert_string_equal(request_audience(&request, &profile), "ra");
    request.scopes = none; /* asked for none: that is not the profile's */
    assert_ptr_equal(request_scopes(&request, &profile), none);
}

static void test_copy(void **state)
{
    (void)state;
    struct request request = {.min_valid_s = 7, .refresh = true, .claims = strdup("{}")}, copy, empty;
    assert_int_equal(scopes_parse("b a", &request.scopes), 0);
    assert_int_equal(request_copy(&request, &copy), 0);
    request_clear(&request);
    assert_int_equal(request.min_valid_s, -1);
    assert_null(request.scopes);
    assert_list(copy.scopes, "a b");
    assert_string_equal(copy.claims, "{}");
    assert_null(copy.resource);
    assert_int_equal(copy.min_valid_s, 7);
    assert_true(copy.refresh);
    request_clear(&copy);
    assert_int_equal(request_copy(&request, &empty), 0);
    assert_null(empty.scopes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),     cmocka_unit_test(test_refused),     cmocka_unit_test(test_limits),
        cmocka_unit_test(test_normalise), cmocka_unit_test(test_what_counts), cmocka_unit_test(test_copy),
    };
    return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
