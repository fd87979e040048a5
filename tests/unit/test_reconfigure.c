/* The conductor is given a new configuration while flights are under way: what is kept, what begins anew, what ends. */
#include "flight_fixture.h"

static void changed_in_flight(void **state)
{
    (void)state;
    struct asker asker = {0}, other = {0};
    world.acquire = "wd";
    ask(&asker, "alone");
    ask(&other, "other");
    spin(0);
    configure(CONFIG({.name = "alone", .grant = &grant_alone, .client_id = "new"}, OTHER));
    spin(0);
    assert_int_equal(3, world.machines); /* at once, not when the old one has landed */
    let_go("alone");                     /* the old one, for nobody */
    assert_int_equal(0, asker.told);
    let_go("alone");
    assert_string_equal("new/3", asker.value);
    let_go("other");
    assert_int_equal('o', other.value[0]);
    assert_int_equal(3, world.machines);
    get(&asker, "alone");
    assert_string_equal("new/3", asker.value);
}

static void unchanged_keeps_everything(void **state)
{
    (void)state;
    struct asker asker, other;
    get(&asker, "alone");
    get(&other, "other");
    configure(CONFIG({.name = "alone", .grant = &grant_alone, .client_id = "new"}, OTHER));
    get(&other, "other");
    assert_string_equal("o/2", other.value);
    get(&asker, "alone");
    assert_string_equal("new/3", asker.value);
}

static void removed_in_flight(void **state)
{
    (void)state;
    struct asker asker = {0};
    world.acquire = "wd";
    ask(&asker, "alone");
    spin(0);
    configure(CONFIG(OTHER, PERSON));
    assert_int_equal(1, asker.told);
    assert_int_equal(FAILURE_NO_SUCH_PROFILE, asker.why.kind);
    assert_non_null(cache_find(world.conductor->cache, "alone"));
    let_go("alone");
    assert_null(cache_find(world.conductor->cache, "alone"));
    get(&asker, "alone");
    assert_int_equal(FAILURE_NO_SUCH_PROFILE, asker.why.kind);
}

static void removed_and_back(void **state)
{
    (void)state;
    struct asker asker = {0};
    world.acquire = "wd";
    ask(&asker, "alone");
    spin(0);
    configure(CONFIG(OTHER));
    configure(CONFIG(ALONE, OTHER));
    ask(&asker, "alone");
    spin(0);
    let_go("alone");
    let_go("alone");
    assert_string_equal("a/2", asker.value);
}

static void broken_in_flight(void **state)
{
    (void)state;
    struct asker asker = {0};
    world.acquire = "wd";
    ask(&asker, "alone");
    spin(0);
    configure(
        CONFIG({.name = "alone", .grant = &grant_alone, .client_id = "a", .problem = "x:1: scope: wrong"}, OTHER));
    assert_int_equal(1, asker.told);
    assert_int_equal(FAILURE_INVALID_CONFIGURATION, asker.why.kind);
    let_go("alone");
    get(&asker, "alone");
    assert_int_equal(FAILURE_INVALID_CONFIGURATION, asker.why.kind);
    configure(CONFIG(ALONE, OTHER)); /* mended: what was held is good */
    get(&asker, "alone");
    assert_string_equal("a/1", asker.value);
}

static void forgiveness(void **state)
{
    (void)state;
    struct asker asker;
    world.acquire = "f";
    fail_with(FAILURE_AUTHORITY_REFUSED, CLASS_DEFINITE);
    get(&asker, "alone");
    world.acquire = "d";
    configure(CONFIG(ALONE));
    get(&asker, "alone");
    assert_int_equal(FAILURE_AUTHORITY_REFUSED, asker.why.kind);
    conductor_configure(world.conductor, CONFIG(ALONE), true);
    get(&asker, "alone");
    assert_string_equal("a/2", asker.value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(changed_in_flight), TEST(unchanged_keeps_everything), TEST(removed_in_flight),
        TEST(removed_and_back),  TEST(broken_in_flight),           TEST(forgiveness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
