/* The memory store: answers come from the loop, a cancelled call's deed is done, nothing is left behind. */
#include "store/store.h"

#include "cleanup.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
/* after these */
#include <cmocka.h>

static struct loop *loop;
static struct store *store;

struct told {
    struct store_call *call;
    int count, error;
    bool any;
    char token[64], subject[64];
    void (*then)(struct told *);
};

static void on_told(void *arg, int error, const struct credential *credential)
{
    struct told *told = arg;
    told->count++;
    told->error = error;
    told->any = credential != NULL;
    if (credential) {
        struct span token = credential->refresh_token ? secret_span(credential->refresh_token) : (struct span){0};
        (void)snprintf(told->token, sizeof(told->token), "%.*s", (int)token.length, token.data ? token.data : "");
        (void)snprintf(told->subject, sizeof(told->subject), "%.60s", credential->identity.subject);
    }
    if (told->then)
        told->then(told);
}

static void end(void *arg)
{
    (void)arg;
    loop_stop(loop, 0);
}

static void spin(void)
{
    struct timer timer = {0};
    assert_int_equal(0, timer_start(loop, &timer, 0, end, NULL));
    assert_int_equal(0, loop_run(loop));
}

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

static void save(struct told *told, const char *profile, const char *token)
{
    struct credential credential = {.uncertain = true};
    (void)snprintf(credential.identity.subject, sizeof(credential.identity.subject), "of %s", token);
    if (*token)
        assert_int_equal(0, secret_new(token, strlen(token), &credential.refresh_token));
    assert_int_equal(0, store_save(store, profile, &credential, on_told, told, &told->call));
    credential_clear(&credential);
}

static void load(struct told *told, const char *profile)
{
    assert_int_equal(0, store_load(store, profile, on_told, told, &told->call));
}

static void what_is_saved_is_loaded(void **state)
{
    struct told first = {0}, second = {0}, none = {0};
    (void)state;
    load(&none, "p");
    assert_int_equal(0, none.count); /* from the loop, never from inside the call */
    spin();
    assert_int_equal(-ENOENT, none.error);
    assert_false(none.any);
    save(&first, "p", "one");
    assert_int_equal(0, first.count);
    spin();
    assert_int_equal(1, first.count);
    assert_int_equal(0, first.error);
    assert_false(first.any);
    load(&second, "p");
    spin();
    assert_string_equal("one", second.token);
    assert_string_equal("of one", second.subject);
    save(&first, "p", "two"); /* the old one is gone at once */
    save(&first, "q", "");
    load(&second, "p");
    load(&none, "q");
    spin();
    assert_string_equal("two", second.token);
    assert_int_equal(0, none.error);
    assert_string_equal("", none.token);
    assert_string_equal("of ", none.subject);
    assert_string_equal("memory", store_name(store));
}

static void forgetting(void **state)
{
    struct told told = {0}, loaded = {0};
    (void)state;
    save(&told, "p", "one");
    save(&told, "q", "two");
    spin();
    load(&loaded, "p"); /* asked before, looked up when its turn comes */
    assert_int_equal(0, store_forget(store, "p", on_told, &told, &told.call));
    assert_int_equal(0, store_forget(store, "none", on_told, &told, &told.call));
    spin();
    assert_int_equal(0, told.error);
    assert_int_equal(-ENOENT, loaded.error);
    load(&loaded, "q");
    spin();
    assert_string_equal("two", loaded.token);
}

static void cancelling(void **state)
{
    struct told saved = {0}, loaded = {0}, forgotten = {0};
    (void)state;
    save(&saved, "p", "one");
    store_cancel(saved.call);
    store_cancel(NULL);
    load(&loaded, "p");
    store_cancel(loaded.call);
    spin();
    assert_int_equal(0, saved.count + loaded.count);
    load(&loaded, "p"); /* the save took place */
    spin();
    assert_string_equal("one", loaded.token);
    assert_int_equal(0, store_forget(store, "p", on_told, &forgotten, &forgotten.call));
    store_cancel(forgotten.call);
    assert_int_equal(0, secret_arena_used());
    load(&loaded, "p");
    load(&saved, "p"); /* left when the store goes */
}

static struct told other;

static void cancel_other(struct told *told)
{
    (void)told;
    store_cancel(other.call);
}

static void forget_it(struct told *told)
{
    assert_int_equal(0, store_forget(store, "p", on_told, &other, &other.call));
    (void)told;
}

static void calls_within_calls(void **state)
{
    struct told saved = {0}, first = {.then = cancel_other};
    (void)state;
    save(&saved, "p", "one");
    spin();
    other = (struct told){0};
    load(&first, "p");
    load(&other, "p");
    spin();
    assert_int_equal(1, first.count);
    assert_int_equal(0, other.count);
    first.then = forget_it; /* what it was shown goes within the call */
    load(&first, "p");
    spin();
    assert_int_equal(2, first.count);
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
        told[i] = (struct told){0};
        save(&told[i], name, name);
    }
    spin();
    for (size_t i = 0; i < ELEMENTS(told); i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "p%zu", i);
        load(&told[i], name);
        spin();
        assert_string_equal(name, told[i].token);
    }
}

/* One secret is held once, however many hold it. */
static void copies_refer_to_the_same_secret(void **state)
{
    struct told told = {0};
    (void)state;
    save(&told, "p", "one");
    assert_int_equal(64, secret_arena_used());
    spin();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_store, close_store)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_saved_is_loaded), TEST(forgetting), TEST(cancelling),
        TEST(calls_within_calls),      TEST(thousands),  TEST(copies_refer_to_the_same_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
