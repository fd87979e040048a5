/* Chains of profiles: that they come to an end, and what is said of those that do not. */
#include "parents.h"

#include "cleanup.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* after the four above */
#include <cmocka.h>

struct chain {
    const char *const (*pairs)[2]; /* name, the name above it; ended by NULL */
    int asked;
};

static bool above(void *arg, const char *name, char ret[static LIMIT_PROFILE_NAME + 1])
{
    struct chain *chain = arg;
    chain->asked++;
    for (size_t i = 0; chain->pairs[i][0]; i++)
        if (strcmp(chain->pairs[i][0], name) == 0) {
            (void)snprintf(ret, LIMIT_PROFILE_NAME + 1, "%s", chain->pairs[i][1]);
            return true;
        }
    return false;
}

static void a_chain_with_an_end(void **state)
{
    static const char *const pairs[][2] = {{"a", "b"}, {"b", "c"}, {NULL, NULL}};
    struct chain chain = {pairs, 0};
    char problem[LIMIT_TEXT] = "untouched";
    (void)state;
    assert_int_equal(parents_check("a", "b", above, &chain, problem), 0);
    assert_int_equal(chain.asked, 2);
    assert_int_equal(parents_check("x", "nobody knows it", above, &chain, problem), 0);
    assert_string_equal(problem, "untouched");
}

static void circles(void **state)
{
    static const char *const pairs[][2] = {{"a", "b"}, {"b", "a"}, {"c", "c"}, {"d", "a"}, {NULL, NULL}};
    struct chain chain = {pairs, 0};
    char problem[LIMIT_TEXT];
    (void)state;
    assert_int_equal(parents_check("c", "c", above, &chain, problem), -ELOOP);
    assert_string_equal(problem, "goes round in a circle: c -> c");
    assert_int_equal(chain.asked, 0);
    assert_int_equal(parents_check("a", "b", above, &chain, problem), -ELOOP);
    assert_string_equal(problem, "goes round in a circle: a -> b -> a");
    /* one that only leads into it would wait as well */
    assert_int_equal(parents_check("d", "a", above, &chain, problem), -ELOOP);
    assert_string_equal(problem, "goes round in a circle: d -> a -> b -> a");
}

/* Each name is another: n has n + 1 above it, up to `last`. */
static bool next(void *arg, const char *name, char ret[static LIMIT_PROFILE_NAME + 1])
{
    int n = name[1] - '0', last = *(const int *)arg;
    if (n >= last)
        return false;
    (void)snprintf(ret, LIMIT_PROFILE_NAME + 1, "p%c", '0' + n + 1);
    return true;
}

static void so_many_and_no_more(void **state)
{
    char problem[LIMIT_TEXT];
    (void)state;
    for (int last = LIMIT_PARENTS - 1; last <= LIMIT_PARENTS + 1; last++) {
        int r = parents_check("p0", "p1", next, &last, problem);
        assert_int_equal(r, last > LIMIT_PARENTS ? -ELOOP : 0);
    }
    assert_string_equal(problem, "has more than 8 profiles one above the other");
}

static bool longest(void *arg, const char *name, char ret[static LIMIT_PROFILE_NAME + 1])
{
    int *n = arg;
    (void)name;
    memset(ret, 'a' + ++*n % LIMIT_PARENTS, LIMIT_PROFILE_NAME);
    ret[LIMIT_PROFILE_NAME] = '\0';
    return true;
}

/* The longest names fill the sentence, and do not overflow it. */
static void a_long_circle_is_cut(void **state)
{
    char name[LIMIT_PROFILE_NAME + 1], parent[LIMIT_PROFILE_NAME + 1], problem[LIMIT_TEXT];
    int n = -1;
    (void)state;
    (void)longest(&n, "", name);
    (void)longest(&n, "", parent);
    assert_int_equal(parents_check(name, parent, longest, &n, problem), -ELOOP);
    assert_int_equal(strlen(problem), LIMIT_TEXT - 1);
    assert_non_null(strstr(problem, "goes round in a circle: aaa"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_with_an_end),
        cmocka_unit_test(circles),
        cmocka_unit_test(so_many_and_no_more),
        cmocka_unit_test(a_long_circle_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
