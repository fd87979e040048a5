/* Two agents on one store: the mark of another one is waited for while that one may live, and no longer. */
#include "flight_fixture.h"

#define ELSEWHERE "0123456789abcdef:7:7"

static uint64_t version;

static void on_put(void *arg, const struct store_result *result)
{
    (void)arg;
    assert_int_equal(0, result->error);
    version = result->version;
}

/* What another agent keeps. */
static void keep(const char *token, const char *sender)
{
    struct credential credential = {.sending = sender != NULL};
    struct secret *value;
    struct store *store;
    struct store_call *call;
    binding_text binding;
    (void)snprintf(credential.sender, sizeof(credential.sender), "%s", sender ? sender : "");
    assert_int_equal(0, secret_new(token, strlen(token), &credential.refresh_token));
    assert_int_equal(0, credential_write(&credential, &value));
    assert_int_equal(0, binding_of(holder_of("person")->profile, (struct span){0}, binding));
    const struct store_key key = {.profile = "person", .name = SECRET_REFRESH_TOKEN, .binding = binding};
    assert_int_equal(0, stores_find(world.stores, NULL, &store));
    assert_int_equal(0, store_put(store, &key, value, STORE_ANY, on_put, NULL, &call));
    spin(0);
    secret_unref(value);
    credential_clear(&credential);
}

/* Until the next look at the store. */
static void look(void)
{
    spin(RENEWAL_LOOK_MS + 1);
    spin(0);
}

static void goes_on_with_what_the_other_got(void **state)
{
    (void)state;
    struct asker asker = {0};
    keep("r1", ELSEWHERE);
    ask(&asker, "person");
    look();
    look();
    assert_int_equal(0, world.machines + asker.told);
    keep("r2", NULL);
    look();
    assert_string_equal("p/1", asker.value);
    assert_string_equal("r2", world.held);
}

static void waits_anew_for_the_next_one(void **state)
{
    (void)state;
    struct asker asker = {0};
    keep("r1", ELSEWHERE);
    ask(&asker, "person");
    look();
    holder_of("person")->await_until_ms = loop_now(world.loop) + 1;
    keep("r2", ELSEWHERE); /* it renews again */
    look();
    look();
    assert_int_equal(0, world.machines + asker.told);
    assert_int_equal(version, holder_of("person")->awaited);
    keep("r3", NULL);
    look();
    assert_string_equal("r3", world.held);
}

static void does_not_wait_for_ever(void **state)
{
    (void)state;
    struct asker asker = {0};
    keep("r1", ELSEWHERE);
    ask(&asker, "person");
    look();
    int64_t until = holder_of("person")->await_until_ms, now = loop_now(world.loop);
    assert_true(until > now && until <= now + LIMIT_RENEWAL_MS);
    holder_of("person")->await_until_ms = now;
    look();
    assert_string_equal("r1", world.held);
    assert_string_equal("p/1", asker.value);
    struct request anew = {.min_valid_s = -1, .refresh = true};
    ask_with(&asker, "person", &anew); /* and no second time for the same mark */
    spin(0);
    assert_string_equal("p/2", asker.value);
}

static void who_ended_is_not_waited_for(void **state)
{
    (void)state;
    struct asker asker = {0};
    owner_text ended;
    (void)snprintf(ended, sizeof(ended), "%.*s:1:1", (int)strcspn(world.conductor->self, ":"), world.conductor->self);
    const char *const senders[] = {ended, world.conductor->self, "no owner"};
    for (size_t i = 0; i < ELEMENTS(senders); i++) {
        struct request anew = {.min_valid_s = -1, .refresh = true};
        keep("r1", senders[i]);
        asker = (struct asker){0};
        ask_with(&asker, "person", &anew);
        spin(0);
        assert_int_equal(1, asker.told);
        assert_string_equal("r1", world.held);
    }
}

static void may_be_dropped_while_it_waits(void **state)
{
    (void)state;
    struct asker asker = {0};
    keep("r1", ELSEWHERE);
    ask(&asker, "person");
    look();
    struct failure why;
    failure_set(&why, FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE, "gone");
    conductor_drop(world.conductor, holder_of("person"), &why); /* while it waits */
    keep("r2", NULL);
    look();
    assert_int_equal(1, asker.told);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(goes_on_with_what_the_other_got), TEST(waits_anew_for_the_next_one),   TEST(does_not_wait_for_ever),
        TEST(who_ended_is_not_waited_for),     TEST(may_be_dropped_while_it_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
