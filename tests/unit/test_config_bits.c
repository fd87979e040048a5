/* The configuration, read bit by bit: whatever is asked for first, it comes out the same. */
#include "cleanup.h"
#include "config_asserts.h"
#include "grant/grant.h"

static struct config *open_two(const char *system, const char *user)
{
    const struct config_text texts[] = {{.file = "/etc/f", .text = span_of(system), .absent = !system},
                                        {.file = "f", .text = span_of(user), .absent = !user}};
    struct config *config = NULL;
    assert_int_equal(config_copy_and_open(texts, 2, &config), 0);
    assert_non_null(config->unread);
    return config;
}

static size_t count_read(const struct config *config)
{
    size_t count = 0;
    for (size_t i = 0; i < config->profile_count; i++)
        count += config->profiles[i] != NULL;
    return count;
}

static void assert_same(const struct config *a, const struct config *b)
{
    assert_null(a->unread);
    assert_null(b->unread);
    assert_int_equal(a->profile_count, b->profile_count);
    for (size_t i = 0; i < a->profile_count; i++) {
        const struct profile *x = a->profiles[i], *y = b->profiles[i];
        assert_string_equal(x->name, y->name);
        assert_string_equal(x->file, y->file);
        assert_string_equal(x->fingerprint, y->fingerprint);
        assert_string_equal(x->store ? x->store : "", y->store ? y->store : "");
        assert_string_equal(x->problem ? x->problem : "", y->problem ? y->problem : "");
        assert_int_equal(x->line, y->line);
        assert_ptr_equal(x->grant, y->grant);
    }
    assert_int_equal(a->problem_count, b->problem_count);
    for (size_t i = 0; i < a->problem_count; i++)
        assert_string_equal(a->problems[i], b->problems[i]);
}

/* Whatever is asked for first, and however small the bits: the same profiles, the same messages in the same order. */
static void test_early_and_late(void **state)
{
    (void)state;
    static const char system[] =
        "stray = 1\n[agent]\nstore = file\n[profile a]\n" GOOD "[profile b]\ngrant = nonsense\n"
        "[profile c]\n" GOOD "[profile c]\n" GOOD "odd = 1\n[wrong]\n",
                      user[] = "\xef\xbb\xbf[profile d]\nscope = d\n  [profile b]\n" GOOD
                               "[profile e\nx = 1\n[profile d]\n" GOOD "[profile d]\nodd\n[ profile  f ] \r\n" GOOD
                               "[profile]\n[agent]\nstore = memory\n";
    _cleanup_config_ struct config *whole = read_two(system, user);
    static const char *const names[] = {"a", "b", "c", "d", "f"};
    assert_int_equal(whole->profile_count, ELEMENTS(names));
    for (size_t first = 0; first < ELEMENTS(names); first++)
        for (size_t bytes = 1; bytes <= 64; bytes *= 8) {
            _cleanup_config_ struct config *config = open_two(system, user);
            assert_int_equal(count_read(config), 0);
            assert_string_equal(config->store, "memory");
            struct profile *early = config_profile(config, names[first]);
            assert_string_equal(early->name, names[first]);
            assert_int_equal(count_read(config), 1);
            if (first == 3)
                assert_int_equal(config_read_on(config, bytes), 1);
            assert_ptr_equal(config_profile(config, names[ELEMENTS(names) - 1 - first]),
                             config_at(config, ELEMENTS(names) - 1 - first));
            while (config_read_on(config, bytes) > 0)
                continue;
            assert_ptr_equal(early, config_profile(config, names[first]));
            assert_same(config, whole);
        }
}

/* One read at a time, and a profile that is asked for outlives the configuration it came from. */
static void test_bits(void **state)
{
    (void)state;
    _cleanup_config_ struct config *config =
        open_two(NULL, "[profile a]\n" GOOD "[profile b]\n" GOOD "[profile c]\n" GOOD);
    struct profile *b = profile_ref(config_profile(config, "b"));
    static const size_t expected[] = {2, 3};
    for (size_t i = 0; i < ELEMENTS(expected); i++) {
        assert_int_equal(config_read_on(config, 1), i + 1 < ELEMENTS(expected));
        assert_int_equal(count_read(config), expected[i]);
    }
    assert_null(config->unread);
    assert_int_equal(config_read_on(config, 1), 0);
    config = config_free(config);
    assert_string_equal(b->name, "b");
    profile_free(b);
    config = open_two(NULL, "[profile a]\n" GOOD); /* freed half read: no leak */
    (void)config_default(config);
}

/* A section that a later file's replaces is read all the same: its mistakes are told, and disable nobody. */
static void test_replaced_mistake(void **state)
{
    (void)state;
    _cleanup_config_ struct config *config = open_two("[profile a]\n" GOOD "odd = 1\n", "[profile a]\n" GOOD);
    assert_null(config_profile(config, "a")->problem);
    assert_int_equal(config->problem_count, 0);
    assert_int_equal(config_read_on(config, SIZE_MAX), 0);
    assert_problem(config, "/etc/f:6: odd: ", "unknown key");
    assert_non_null(config_profile(config, "a")->grant);
}

/* Of ten thousand one is bad: nobody knows until it is asked for or all was read, and then it is told once. */
static void test_one_of_many_is_bad(void **state)
{
    (void)state;
    const int count = 10000;
    size_t size = (size_t)count * 160, used = 0;
    _cleanup_free_ char *text = malloc(size);
    for (int i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, size - used, "[profile p%d]\n" GOOD "%s = a b\n", i,
                                 i == 7777 ? "scoop" : "scope");
    for (int asked = 0; asked < 2; asked++) {
        _cleanup_config_ struct config *config = open_two(NULL, text);
        assert_int_equal(config->profile_count, count);
        assert_int_equal(config->problem_count, 0);
        if (asked) {
            const struct profile *bad = config_profile(config, "p7777");
            assert_null(bad->grant);
            assert_non_null(strstr(bad->problem, "did you mean scope?"));
        }
        assert_int_equal(count_read(config), asked);
        int turns = 0;
        while (config_read_on(config, LIMIT_CONFIG_TURN) > 0)
            turns++;
        assert_true(turns > 5);
        assert_problem(config, "f:46668: scoop: ", "did you mean scope?");
        assert_string_equal(config_profile(config, "p7777")->problem, config->problems[0]);
        assert_int_equal(count_read(config), count);
    }
}

static void test_many(void **state)
{
    (void)state;
    const int count = 10000;
    size_t size = (size_t)count * 160, used = 0;
    _cleanup_free_ char *text = malloc(size);
    for (int i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, size - used, "[profile p%d]\n" GOOD "scope = a b\n", (i * 7919) % count);
    _cleanup_config_ struct config *config = read_one(text);
    assert_sound(config);
    assert_int_equal(config->profile_count, count);
    for (int i = 0; i < count; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "p%d", i);
        assert_string_equal(config_profile(config, name)->name, name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_early_and_late),     cmocka_unit_test(test_bits), cmocka_unit_test(test_replaced_mistake),
        cmocka_unit_test(test_one_of_many_is_bad), cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
