/* The example of pam.conf: the module reads it, as it stands and with any line of it taken in. */
#include "cleanup.h"
#include "settings.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char *read_example(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = fopen("pam/examples/pam.conf", "re");
    assert_non_null(file);
    assert_true(getdelim(&text, &size, '\0', file) > 0);
    (void)fclose(file);
    return text;
}

static void check_read(const char *text, bool whole)
{
    char problem[SETTINGS_PROBLEM] = "";
    _cleanup_settings_ struct settings settings = {0};
    if (settings_take_file(&settings, span_of(text), problem) < 0)
        fail_msg("%s", problem);
    if (whole && settings_finish(&settings, "sshd", problem) < 0)
        fail_msg("%s", problem);
    if (whole)
        assert_string_equal(settings.profile, "company");
}

static void test_as_it_stands(void **state)
{
    (void)state;
    _cleanup_free_ char *text = read_example();
    check_read(text, true);
}

static void test_each_line_that_is_commented_out(void **state)
{
    (void)state;
    _cleanup_free_ char *text = read_example();
    size_t count = 0;
    for (char *line = strstr(text, "\n#"); line; line = strstr(line + 1, "\n#")) {
        char next = line[2];
        if (next < 'a' || next > 'z') /* words */
            continue;
        size_t length = strcspn(line + 1, "\n");
        if (!memchr(line + 1, '=', length))
            continue;
        line[1] = ' ';
        check_read(text, false);
        line[1] = '#';
        count++;
    }
    assert_true(count >= 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_it_stands),
        cmocka_unit_test(test_each_line_that_is_commented_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
