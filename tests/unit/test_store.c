/* The memory store: answers come from the loop and in order, versions grow, a binding is kept, a cancelled call's deed
 * is done, nothing is left behind. */
#include "store_fixture.h"

static int open_store(void **state)
{
    (void)state;
    assert_int_equal(0, secret_arena_open());
    assert_int_equal(0, loop_new(&loop));
    return store_memory_new(loop, &store);
}

static int close_store(void **state)
{
    (void)state;
    store = store_free(store);
    loop = loop_free(loop);
    assert_int_equal(0, secret_arena_used());
    secret_arena_close();
    return 0;
}

static void what_is_put_is_got(void **state)
{
    struct told first = {0}, second = {0}, none = {0};
    (void)state;
    get(&none, key("p", "t", 'a'));
    assert_int_equal(0, none.count); /* from the loop, never from inside the call */
    spin(0);
    assert_int_equal(STORE_MISSING, none.error);
    put(&first, key("p", "t", 'a'), "one", STORE_ANY);
    get(&second, key("p", "t", 'a')); /* in order */
    spin(0);
    assert_int_equal(0, first.error);
    assert_string_equal("one", second.value);
    assert_int_equal(first.version, second.version);
    assert_true(first.version > 0);
    get(&none, key("p", "other", 'a'));
    spin(0);
    assert_int_equal(STORE_MISSING, none.error);
    assert_string_equal("memory", store_name(store));
    assert_null(store_waiting(store));
}

static void versions(void **state)
{
    struct told first = {0}, second = {0}, third = {0};
    (void)state;
    put(&first, key("p", "t", 'a'), "one", 0);
    spin(0);
    assert_int_equal(0, first.error);
    put(&second, key("p", "t", 'a'), "two", 0); /* there is one */
    spin(0);
    assert_int_equal(STORE_CONFLICT, second.error);
    assert_int_equal(first.version, second.version);
    assert_string_equal("one", second.value);
    put(&second, key("p", "t", 'a'), "two", first.version);
    spin(0);
    assert_int_equal(0, second.error);
    assert_true(second.version > first.version);
    put(&third, key("p", "t", 'b'), "old", first.version);
    spin(0);
    assert_int_equal(STORE_CONFLICT, third.error);
    assert_string_equal("", third.value); /* bound to others */
    drop(&third, "p", "t");
    put(&first, key("p", "t", 'a'), "three", second.version);
    spin(0);
    assert_int_equal(STORE_CONFLICT, first.error);
    assert_int_equal(0, first.version);
    put(&first, key("p", "t", 'a'), "three", 0);
    spin(0);
    assert_true(first.version > second.version); /* across its removal */
}

static void bindings(void **state)
{
    struct told told = {0};
    (void)state;
    put(&told, key("p", "t", 'a'), "one", STORE_ANY);
    spin(0);
    get(&told, key("p", "t", 'b'));
    spin(0);
    assert_int_equal(STORE_BOUND, told.error);
    assert_string_equal("", told.value);
    put(&told, key("p", "t", 'b'), "two", STORE_ANY);
    get(&told, key("p", "t", 'b'));
    spin(0);
    assert_string_equal("two", told.value);
}

static void dropping_and_listing(void **state)
{
    struct told told = {0};
    (void)state;
    drop(&told, "p", NULL);
    spin(0);
    assert_int_equal(0, told.error);
    put(&told, key("p", "a", 'a'), "1", STORE_ANY);
    put(&told, key("p", "b", 'b'), "2", STORE_ANY);
    put(&told, key("q", "a", 'c'), "3", STORE_ANY);
    list(&told, NULL);
    spin(0);
    assert_string_equal("p/a:aa p/b:bb q/a:cc ", told.list);
    list(&told, "p");
    spin(0);
    assert_string_equal("p/a:aa p/b:bb ", told.list);
    drop(&told, "p", "a");
    list(&told, "p");
    spin(0);
    assert_string_equal("p/b:bb ", told.list);
    put(&told, key("p", "a", 'a'), "1", STORE_ANY);
    drop(&told, "p", NULL);
    list(&told, NULL);
    spin(0);
    assert_string_equal("q/a:cc ", told.list);
}

static void cancelling(void **state)
{
    struct told saved = {0}, loaded = {0}, gone = {0};
    (void)state;
    put(&saved, key("p", "t", 'a'), "one", STORE_ANY);
    store_cancel(saved.call);
    store_cancel(NULL);
    get(&loaded, key("p", "t", 'a'));
    store_cancel(loaded.call);
    spin(0);
    assert_int_equal(0, saved.count + loaded.count);
    get(&loaded, key("p", "t", 'a')); /* the put took place */
    spin(0);
    assert_string_equal("one", loaded.value);
    drop(&gone, "p", "t");
    store_cancel(gone.call);
    spin(0);
    assert_int_equal(0, secret_arena_used());
    put(&saved, key("p", "t", 'a'), "left when the store goes", STORE_ANY);
    get(&loaded, key("p", "t", 'a'));
}

static struct told other;

static void drop_it(struct told *told)
{
    (void)told;
    drop(&other, "p", "t");
}

static void calls_within_calls(void **state)
{
    struct told saved = {0}, first = {.then = drop_it};
    (void)state;
    put(&saved, key("p", "t", 'a'), "one", STORE_ANY);
    get(&first, key("p", "t", 'a'));
    other = (struct told){0};
    spin(0);
    assert_int_equal(1, first.count);
    assert_int_equal(1, other.count);
    assert_int_equal(0, secret_arena_used());
}

static void thousands(void **state)
{
    static struct told told[2000];
    (void)state;
    for (size_t i = 0; i < ELEMENTS(told); i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "p%zu", i);
        put(&told[i], key(name, "t", 'a'), name, STORE_ANY);
    }
    spin(0);
    for (size_t i = 0; i < ELEMENTS(told); i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "p%zu", i);
        get(&told[i], key(name, "t", 'a'));
        spin(0);
        assert_string_equal(name, told[i].value);
    }
}

/* One secret is held once, however many hold it. */
static void copies_refer_to_the_same_secret(void **state)
{
    struct told told = {0};
    (void)state;
    put(&told, key("p", "t", 'a'), "one", STORE_ANY);
    spin(0);
    assert_int_equal(64, secret_arena_used());
}

/* Nothing is in the arena while it is locked, also not of what comes meanwhile. */
static void locked_and_unlocked(void **state)
{
    (void)state;
    static const struct span seed = {"0123456789abcdef0123456789ABCDEF", SEAL_SEED};
    struct told told = {0}, forgot = {0};
    struct seal seal;
    struct seal_key opener = {0};
    assert_int_equal(0, seal_new_salt(&seal));
    assert_int_equal(0, seal_from_seed(&seal, seed));
    put(&told, key("p", "n", 'a'), "before", 0);
    wait_for(&told);
    uint64_t version = told.version;
    assert_int_equal(0, store_lock(store, &seal));
    assert_int_equal(0, secret_arena_used());
    assert_int_equal(0, store_forget(store, on_told, &forgot));
    get(&told, key("p", "n", 'a'));
    wait_for(&told);
    assert_int_equal(STORE_LOCKED, told.error);
    assert_int_equal(1, forgot.count);
    put(&told, key("p", "n", 'a'), "older", version + 7); /* not a conflict: what is there could not be shown */
    wait_for(&told);
    assert_int_equal(STORE_LOCKED, told.error);
    put(&told, key("p", "n", 'a'), "meanwhile", version);
    wait_for(&told);
    assert_int_equal(0, told.error);
    put(&told, key("p", "other", 'a'), "new", 0);
    wait_for(&told);
    assert_int_equal(0, told.error);
    assert_int_equal(0, secret_arena_used());
    assert_true(seal_unlock(&seal, seed, &opener));
    assert_int_equal(0, store_unlock(store, &opener));
    seal_key_wipe(&opener);
    get(&told, key("p", "n", 'a'));
    wait_for(&told);
    assert_string_equal("meanwhile", told.value);
    get(&told, key("p", "other", 'a'));
    wait_for(&told);
    assert_string_equal("new", told.value);
    get(&told, key("p", "n", 'b'));
    wait_for(&told);
    assert_int_equal(STORE_BOUND, told.error);
    drop(&told, "p", NULL);
    wait_for(&told);
    assert_true(store_memory_empty(store));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_store, close_store)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_put_is_got),  TEST(versions),           TEST(bindings),  TEST(dropping_and_listing),
        TEST(cancelling),          TEST(calls_within_calls), TEST(thousands), TEST(copies_refer_to_the_same_secret),
        TEST(locked_and_unlocked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
