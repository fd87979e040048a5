/* Those who follow a profile's token: told of each renewal, through failures, until it ends; they may leave at any
 * time.
 */
#include "flight_fixture.h"

struct follower {
    struct watcher watcher;
    struct waiter waiter;
    int told, ended;
    char value[64];
    struct failure why;
    struct follower *cancels;
};

static void on_told(void *arg, struct entry *entry, const struct failure *end)
{
    struct follower *follower = arg;
    if (entry) {
        follower->told++;
        (void)snprintf(follower->value, sizeof(follower->value), "%s", entry->value);
    } else {
        follower->ended++;
        follower->why = *end;
    }
    if (follower->cancels)
        watcher_cancel(&follower->cancels->watcher);
}

static void follow(struct follower *follower, struct entry *entry)
{
    follower->watcher = (struct watcher){.told = on_told, .arg = follower};
    conductor_watch(world.conductor, entry, &follower->watcher);
}

static void watchers_survive_failures(void **state)
{
    static const struct {
        enum failure_kind kind;
        enum failure_class class;
    } failures[] = {{FAILURE_AUTHORITY_REFUSED, CLASS_DEFINITE},
                    {FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE},
                    {FAILURE_SECRET_MISSING, CLASS_DEFINITE},
                    {FAILURE_AUTHORITY_UNREACHABLE, CLASS_THROTTLED}};
    (void)state;
    struct asker asker;
    struct follower follower = {0};
    get(&asker, "alone");
    follow(&follower, entry_of("alone"));
    for (size_t i = 0; i < ELEMENTS(failures); i++) {
        world.acquire = "f";
        fail_with(failures[i].kind, failures[i].class);
        age("alone", 3599 * 1000);
        spin(0);
        assert_int_equal(0, follower.ended);
        assert_int_equal(i, follower.told);
        struct entry *entry = entry_of("alone");
        assert_non_null(entry->timer.loop); /* it is tried again, without anybody asking */
        assert_true(entry->timer.due_ms > loop_now(world.loop));
        assert_true(entry->timer.due_ms <= loop_now(world.loop) + LIMIT_BACKOFF_MS);
        world.acquire = "d";
        entry->retry_ms = 0;
        conductor_plan(world.conductor, entry);
        spin(0);
        assert_int_equal(i + 1, follower.told);
    }
    world.acquire = "f";
    fail_with(FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE);
    age("alone", 3599 * 1000);
    spin(0);
    assert_int_equal(1, follower.ended);
    assert_int_equal(FAILURE_LOGIN_REQUIRED, follower.why.kind);
    assert_null(follower.watcher.entry);
    watcher_cancel(&follower.watcher);
}

static void on_first(void *arg, struct entry *entry, const struct failure *failure)
{
    struct follower *follower = arg;
    assert_null(failure);
    follower->told++;
    follow(follower, entry);
}

/* Who begins to follow with a cold profile is told of the first token once. */
static void following_a_cold_profile(void **state)
{
    (void)state;
    static const struct request plain = {.min_valid_s = -1};
    struct follower follower = {0};
    struct entry *entry;
    struct failure why;
    follower.waiter = (struct waiter){.request = &plain, .done = on_first, .arg = &follower};
    assert_int_equal(VERDICT_FETCH,
                     conductor_get(world.conductor, holder_of("alone"), &plain, &follower.waiter, &entry, &why));
    spin(0);
    assert_int_equal(1, follower.told);
    age("alone", 3599 * 1000);
    spin(0);
    assert_int_equal(2, follower.told);
    assert_string_equal("a/2", follower.value);
    watcher_cancel(&follower.watcher);
}

static void watchers_leave_while_they_are_told(void **state)
{
    (void)state;
    struct asker asker;
    struct follower followers[4] = {0};
    for (int way = 0; way < 3; way++) {
        get(&asker, "alone");
        for (size_t i = 0; i < 4; i++) {
            followers[i] = (struct follower){0};
            follow(&followers[i], entry_of("alone"));
        }
        /* the list is told from its head, which is the last: itself, the next, one that was told */
        followers[way == 2 ? 1 : 2].cancels = &followers[way == 0 ? 2 : way == 1 ? 1 : 3];
        age("alone", 3599 * 1000);
        spin(0);
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(way == 1 && i == 1 ? 0 : 1, followers[i].told);
        for (size_t i = 0; i < 4; i++)
            watcher_cancel(&followers[i].watcher);
    }
}

static void watchers_end_with_the_profile(void **state)
{
    (void)state;
    struct asker asker;
    struct follower followers[2] = {0};
    get(&asker, "alone");
    followers[1].cancels = &followers[1];
    follow(&followers[0], entry_of("alone"));
    follow(&followers[1], entry_of("alone"));
    configure(CONFIG(OTHER));
    assert_int_equal(1, followers[0].ended);
    assert_int_equal(1, followers[1].ended);
    assert_int_equal(FAILURE_NO_SUCH_PROFILE, followers[0].why.kind);
    assert_null(cache_find(world.conductor->cache, "alone"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(watchers_survive_failures),
        TEST(following_a_cold_profile),
        TEST(watchers_leave_while_they_are_told),
        TEST(watchers_end_with_the_profile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
