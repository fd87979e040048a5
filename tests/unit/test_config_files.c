/* The files of the configuration: where they are, whose they must be, and checking them. */
#include "cleanup.h"
#include "config_asserts.h"
#include "grant/grant.h"
#include <sys/stat.h>

static int load(const char *path, struct config **ret)
{
    int r = config_load(path, ret);
    return r < 0 ? r : config_read_on(*ret, SIZE_MAX);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    (void)unlink(path);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void assert_file_problem(const char *path, const char *part)
{
    _cleanup_config_ struct config *config = NULL;
    assert_int_equal(load(path, &config), 0);
    assert_problem(config, path, part);
    assert_true(config->unreadable);
    assert_int_equal(config->profile_count, 0);
}

static void test_files(void **state)
{
    const char *directory = *state;
    char path[256], link[256];
    (void)snprintf(path, sizeof(path), "%s/config", directory);
    (void)snprintf(link, sizeof(link), "%s/link", directory);
    write_file(path, "[profile a]\n" GOOD, 0600);
    assert_int_equal(symlink(path, link), 0);
    _cleanup_config_ struct config *config = NULL;
    assert_int_equal(load(link, &config), 0); /* dotfiles are often links */
    assert_sound(config);
    assert_int_equal(config->profile_count, 1);
    assert_false(config->unreadable);
    assert_int_equal(chmod(path, 0644), 0);
    config = config_free(config);
    assert_int_equal(load(path, &config), 0);
    assert_sound(config);
    assert_int_equal(chmod(path, 0620), 0);
    assert_file_problem(link, "chmod go-w");
    assert_int_equal(chmod(path, 0602), 0);
    assert_file_problem(path, "chmod go-w");
    assert_file_problem(directory, "not a regular file");
    (void)unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_file_problem(path, "not a regular file"); /* and it did not wait for a writer */
    (void)unlink(path);
    config = config_free(config);
    assert_int_equal(load(path, &config), 0);
    assert_int_equal(config->file_count, 0);
    assert_int_equal(config->problem_count, 0);
    assert_false(config->unreadable);
}

static void test_owner(void **state)
{
    const char *directory = *state;
    char path[256];
    if (geteuid() != 0)
        return; /* only root can give a file away */
    (void)snprintf(path, sizeof(path), "%s/owned", directory);
    write_file(path, "[profile a]\n" GOOD, 0600);
    assert_int_equal(chown(path, 65534, 65534), 0);
    assert_file_problem(path, "belongs to another user");
}

static void test_check(void **state)
{
    const char *directory = *state;
    static const struct {
        const char *text, *said;
        int code;
    } cases[] = {{"[profile a]\n" GOOD, "OK: 1 profile\n", 0},
                 {"[profile a]\n" GOOD "[profile b]\n" GOOD, "OK: 2 profiles\n", 0},
                 {"[profile a]\n" GOOD "scop = x\n", ":6: scop: unknown key; did you mean scope?\n", 3},
                 {NULL, "there is no such file", 3}};
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        char path[256], *said = NULL;
        size_t length = 0;
        (void)snprintf(path, sizeof(path), "%s/check", directory);
        if (cases[i].text)
            write_file(path, cases[i].text, 0600);
        else
            (void)unlink(path);
        FILE *out = open_memstream(&said, &length);
        int code = config_check(out, path);
        (void)fclose(out);
        assert_int_equal(code, cases[i].code);
        if (!strstr(said, cases[i].said))
            fail_msg("\"%s\" does not hold \"%s\"", said, cases[i].said);
        free(said);
    }
}

static void assert_user_path(const char *expected)
{
    _cleanup_free_ char *system = NULL, *user = NULL;
    assert_int_equal(config_paths(&system, &user), 0);
    assert_string_equal(system, MLTOKEN_SYSCONFDIR "/mltoken/config");
    if (expected)
        assert_string_equal(user, expected);
    else
        assert_null(user);
}

static void test_paths(void **state)
{
    (void)state;
    assert_user_path("/home/tester/.config/mltoken/config");
    setenv("XDG_CONFIG_HOME", "/x", 1);
    assert_user_path("/x/mltoken/config");
    setenv("XDG_CONFIG_HOME", "relative", 1); /* the XDG specification: to be ignored */
    assert_user_path("/home/tester/.config/mltoken/config");
    setenv("MLTOKEN_CONFIG", "/m", 1);
    assert_user_path("/m");
    unsetenv("MLTOKEN_CONFIG");
    unsetenv("XDG_CONFIG_HOME");
    unsetenv("HOME");
    assert_user_path(NULL);
    setenv("HOME", "/home/tester", 1);
}

static char folder[] = "/tmp/mltoken-test-config-XXXXXX";

static int set_up(void **state)
{
    setenv("HOME", "/home/tester", 1);
    unsetenv("XDG_CONFIG_HOME");
    unsetenv("MLTOKEN_CONFIG");
    *state = mkdtemp(folder);
    return *state ? 0 : -1;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"config", "link", "owned", "check"};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        char path[256];
        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_owner),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_paths),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
