/* Flights: one for all who ask, how failures are told and remembered, who is served an old token meanwhile, and renewal
 * ahead of time. With a grant of the test's own and a real loop and store. */
#include "flight_fixture.h"

/* ---- one flight for all ---- */

static void one_flight_for_many(void **state)
{
    enum { MANY = 500 };
    static struct asker askers[MANY];
    (void)state;
    world.acquire = "wd";
    for (size_t i = 0; i < MANY; i++) {
        askers[i] = (struct asker){0};
        ask(&askers[i], "alone");
    }
    spin(0);
    assert_int_equal(1, world.machines);
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(0, askers[i].told);
    let_go("alone");
    assert_int_equal(1, world.machines);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(1, askers[i].told);
        assert_string_equal("a/1", askers[i].value);
    }
    assert_int_equal(MANY - 1, world.conductor->counters.joined);
    get(&askers[0], "alone");
    assert_string_equal("a/1", askers[0].value);
    assert_int_equal(1, world.machines);
    assert_null(entry_of("alone")->flight);
    assert_null(holder_of("alone")->flights);
}

static void different_requests_fly_apart(void **state)
{
    (void)state;
    struct asker plain = {0}, scoped = {0}, audience = {0};
    char *scopes[] = {(char *)(uintptr_t) "x", NULL};
    struct request with_scopes = {.scopes = scopes, .min_valid_s = -1},
                   with_audience = {.audience = (char *)(uintptr_t) "z", .min_valid_s = -1};
    ask(&plain, "alone");
    ask_with(&scoped, "alone", &with_scopes);
    ask_with(&audience, "alone", &with_audience);
    spin(0);
    assert_int_equal(3, world.machines);
    assert_int_equal(1, plain.told + 0);
    assert_string_not_equal(plain.value, scoped.value);
    assert_string_not_equal(scoped.value, audience.value);
}

static void waiters_may_leave_at_any_time(void **state)
{
    (void)state;
    struct asker first = {0}, middle = {0}, last = {0};
    world.acquire = "wwd";
    ask(&first, "alone");
    ask(&middle, "alone");
    ask(&last, "alone");
    waiter_cancel(&middle.waiter); /* before it has begun */
    waiter_cancel(&middle.waiter); /* twice is allowed */
    spin(0);
    waiter_cancel(&first.waiter);
    let_go("alone");
    waiter_cancel(&last.waiter); /* nobody waits: it goes on, and the token is kept */
    let_go("alone");
    assert_int_equal(0, first.told + middle.told + last.told);
    waiter_cancel(&last.waiter);
    get(&first, "alone");
    assert_string_equal("a/1", first.value);
    assert_int_equal(1, world.machines);
}

static struct asker *neighbour;

static void cancel_neighbour(struct asker *asker)
{
    (void)asker;
    waiter_cancel(&neighbour->waiter);
}

static void a_waiter_cancels_its_neighbour(void **state)
{
    (void)state;
    struct asker first = {.then = cancel_neighbour}, second = {0}, third = {0};
    world.acquire = "wd";
    ask(&first, "alone");
    ask(&second, "alone");
    ask(&third, "alone");
    neighbour = &second;
    spin(0);
    let_go("alone");
    assert_int_equal(1, first.told);
    assert_int_equal(0, second.told);
    assert_int_equal(1, third.told);
}

/* Both ask while nothing is there, and are told of the one token that comes. */
static void fetch_for_both(struct asker *first, struct asker *second)
{
    ask(first, "alone");
    ask(second, "alone");
    spin(0);
    let_go("alone");
}

static void fill_the_cache(struct asker *asker)
{
    struct holder *holder = holder_of("alone");
    (void)asker;
    for (int i = 0; i < LIMIT_CACHE_PER_PROFILE + 5; i++) {
        char audience[16];
        struct entry *entry;
        (void)snprintf(audience, sizeof(audience), "%d", i);
        struct request request = {.audience = audience, .min_valid_s = -1};
        assert_int_equal(0, holder_entry(world.conductor->cache, holder, &request, &entry));
    }
}

/* The first who is told asks for so much else that the entry would have to make room. */
static void the_entry_stays_while_it_is_told_of(void **state)
{
    (void)state;
    struct asker first = {.then = fill_the_cache}, second = {0};
    world.acquire = "wd";
    fetch_for_both(&first, &second);
    assert_string_equal("a/1", first.value);
    assert_string_equal("a/1", second.value);
}

static void sign_everybody_out(struct asker *asker)
{
    struct failure why;
    asker->then = NULL;
    failure_set(&why, FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE, "gone");
    conductor_drop(world.conductor, holder_of("alone"), &why);
}

/* The first who is told drops the entry; who is left is asked for again. */
static void the_entry_is_dropped_while_it_is_told_of(void **state)
{
    (void)state;
    struct asker first = {.then = sign_everybody_out}, second = {0};
    world.acquire = "wd";
    fetch_for_both(&first, &second);
    assert_string_equal("a/1", first.value);
    assert_int_equal(0, second.told);
    let_go("alone");
    assert_string_equal("a/2", second.value);
}

static void the_entry_is_dropped_by_failure(void **state)
{
    (void)state;
    struct asker first = {.then = sign_everybody_out}, second = {0};
    world.acquire = "wf";
    fail_with(FAILURE_AUTHORITY_REFUSED, CLASS_DEFINITE);
    fetch_for_both(&first, &second);
    assert_int_equal(FAILURE_AUTHORITY_REFUSED, first.why.kind);
    assert_string_equal("because", first.why.reason);
    assert_int_equal(0, second.told);
    let_go("alone");
    assert_int_equal(FAILURE_AUTHORITY_REFUSED, second.why.kind);
}

static void a_machine_that_breaks(void **state)
{
    (void)state;
    struct asker asker;
    world.acquire = "x";
    get(&asker, "alone");
    assert_int_equal(FAILURE_BUSY, asker.why.kind);
    world.acquire = "d";
    get(&asker, "alone");
    assert_string_equal("a/2", asker.value);
}

/* ---- failures ---- */

static void refusals_are_remembered(void **state)
{
    (void)state;
    struct asker asker;
    struct request refresh = {.min_valid_s = -1, .refresh = true};
    world.acquire = "f";
    fail_with(FAILURE_AUTHORITY_REFUSED, CLASS_DEFINITE);
    get(&asker, "alone");
    assert_int_equal(FAILURE_AUTHORITY_REFUSED, asker.why.kind);
    world.acquire = "d";
    get(&asker, "alone");
    assert_int_equal(FAILURE_AUTHORITY_REFUSED, asker.why.kind);
    ask_with(&asker, "alone", &refresh);
    assert_int_equal(FAILURE_AUTHORITY_REFUSED, asker.why.kind);
    assert_int_equal(1, world.machines);
    entry_of("alone")->failed_until_ms = loop_now(world.loop) + 1;
    get(&asker, "alone");
    assert_int_equal(FAILURE_AUTHORITY_REFUSED, asker.why.kind);
    entry_of("alone")->failed_until_ms = loop_now(world.loop);
    get(&asker, "alone");
    assert_string_equal("a/2", asker.value);
    assert_null(entry_of("alone")->failed);
}

static void own_failures_are_not_remembered(void **state)
{
    static const enum failure_kind kinds[] = {FAILURE_SECRET_MISSING, FAILURE_STORE_UNAVAILABLE,
                                              FAILURE_INVALID_CONFIGURATION, FAILURE_BUSY};
    (void)state;
    struct asker asker;
    for (size_t i = 0; i < ELEMENTS(kinds); i++) {
        int before = world.machines;
        world.acquire = "f";
        fail_with(kinds[i], CLASS_DEFINITE);
        get(&asker, "alone");
        assert_int_equal(kinds[i], asker.why.kind);
        get(&asker, "alone");
        assert_int_equal(kinds[i], asker.why.kind);
        assert_int_equal(before + 2, world.machines);
    }
}

/* What was remembered earlier is not said of a failure that came later. */
static void the_newest_failure_is_said(void **state)
{
    (void)state;
    struct asker asker;
    struct report report;
    world.acquire = "f";
    fail_with(FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE);
    get(&asker, "alone");
    assert_int_equal(FAILURE_AUTHORITY_UNREACHABLE, asker.why.kind);
    assert_true(asker.why.retry_at > 0);
    entry_of("alone")->failed_until_ms = loop_now(world.loop);
    fail_with(FAILURE_SECRET_MISSING, CLASS_DEFINITE);
    get(&asker, "alone");
    assert_int_equal(FAILURE_SECRET_MISSING, asker.why.kind);
    report_profile(world.conductor, holder_of("alone")->profile, &report);
    assert_string_equal("secret_missing", report.state);
    assert_string_equal("because", report.error);
}

/* A renewal that fails for want of a secret must not be tried again and again in the same second. */
static void background_failures_do_not_spin(void **state)
{
    static const struct {
        enum failure_kind kind;
        enum failure_class class;
    } failures[] = {{FAILURE_SECRET_MISSING, CLASS_DEFINITE},        {FAILURE_STORE_UNAVAILABLE, CLASS_UNREACHABLE},
                    {FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE}, {FAILURE_BUSY, CLASS_UNREACHABLE},
                    {FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE},        {FAILURE_AUTHORITY_REFUSED, CLASS_DEFINITE}};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(failures); i++) {
        struct asker asker;
        struct failure why;
        world.acquire = "d";
        get(&asker, "alone");
        assert_int_equal(1, asker.value[0] == 'a');
        world.acquire = "f";
        fail_with(failures[i].kind, failures[i].class);
        int before = world.machines;
        age("alone", 3599 * 1000);
        spin(30);
        assert_int_equal(before + 1, world.machines);
        failure_set(&why, FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE, "next");
        conductor_drop(world.conductor, holder_of("alone"), &why);
    }
}

static void an_alive_token_is_served_while_renewal_fails(void **state)
{
    (void)state;
    struct asker asker;
    struct request asked = {.min_valid_s = 600};
    get(&asker, "alone");
    world.acquire = "f";
    fail_with(FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE);
    age("alone", 3500 * 1000);
    spin(0);
    assert_int_equal(2, world.machines);
    get(&asker, "alone");
    assert_string_equal("a/1", asker.value);
    ask_with(&asker, "alone", &asked);
    assert_int_equal(FAILURE_AUTHORITY_UNREACHABLE, asker.why.kind);
    entry_of("alone")->expires_ms = loop_now(world.loop);
    get(&asker, "alone");
    assert_int_equal(FAILURE_AUTHORITY_UNREACHABLE, asker.why.kind);
    assert_string_equal("", asker.value);
}

static void too_short_is_said_of_new_tokens(void **state)
{
    (void)state;
    struct asker asker = {0};
    struct request asked = {.min_valid_s = 601};
    world.life_s = 600;
    ask_with(&asker, "alone", &asked);
    spin(0);
    assert_int_equal(FAILURE_TOKEN_TOO_SHORT, asker.why.kind);
    assert_int_equal(601, asker.why.min_valid_s);
    assert_int_equal(1, world.machines);
    ask_with(&asker, "alone", &asked); /* the next one would be no longer */
    assert_int_equal(FAILURE_TOKEN_TOO_SHORT, asker.why.kind);
    assert_int_equal(1, world.machines);
    asked.min_valid_s = 595; /* ten seconds later a new one would do */
    age("alone", 10000);
    ask_with(&asker, "alone", &asked);
    spin(0);
    assert_string_equal("a/2", asker.value);
}

/* ---- patience ---- */

static void run_patience(const char *profile)
{
    struct flight *flight = holder_of(profile)->flights;
    flight->since_ms -= 2000;
    assert_int_equal(0, timer_start(world.loop, &flight->patience, 0, flight->patience.fn, flight));
    spin(0);
}

static void ask_once_more(struct asker *asker)
{
    asker->then = NULL;
    ask(asker->arg, "alone");
}

static void patience_ends_for_those_who_would_take_it(void **state)
{
    (void)state;
    struct asker asker, first = {.then = ask_once_more}, again = {0}, strict = {0}, fresh = {0}, late = {0},
                        third = {0};
    struct request strictly = {.min_valid_s = 1000}, anew = {.min_valid_s = -1, .refresh = true};
    get(&asker, "alone");
    world.acquire = "wd";
    age("alone", 3500 * 1000);
    ask_with(&strict, "alone", &strictly);
    first.arg = &again;
    ask(&first, "alone");
    ask_with(&fresh, "alone", &anew);
    ask(&third, "alone");
    spin(0);
    assert_int_equal(0, first.told);
    run_patience("alone");
    assert_int_equal(1, first.told);
    assert_string_equal("a/1", first.value);
    assert_string_equal("a/1", third.value);
    assert_string_equal("a/1", again.value);
    assert_int_equal(0, strict.told + fresh.told);
    ask(&late, "alone"); /* it has been long enough: at once */
    assert_string_equal("a/1", late.value);
    let_go("alone");
    assert_string_equal("a/2", strict.value);
    assert_string_equal("a/2", fresh.value);
}

static void patience_ends_when_the_entry_goes(void **state)
{
    (void)state;
    struct asker asker, first = {.then = sign_everybody_out}, second = {0};
    get(&asker, "alone");
    world.acquire = "wd";
    age("alone", 3500 * 1000);
    ask(&first, "alone");
    ask(&second, "alone");
    spin(0);
    run_patience("alone");
    assert_int_equal(1, first.told);
    assert_int_equal(0, second.told);
    let_go("alone"); /* the old flight: asked again */
    let_go("alone");
    assert_string_equal("a/3", second.value);
}

/* Also behind a renewal that waits its turn. */
static void patience_in_the_queue(void **state)
{
    (void)state;
    struct asker asker, scoped = {0}, late = {0};
    char *scopes[] = {(char *)(uintptr_t) "x", NULL};
    struct request with_scopes = {.scopes = scopes, .min_valid_s = -1};
    get(&asker, "person");
    assert_string_equal("p/1", asker.value);
    world.acquire = "wd";
    ask_with(&scoped, "person", &with_scopes); /* hangs, and the next has to wait for it */
    struct holder *holder = holder_of("person");
    struct entry *plain = holder->entries->next;
    plain->expires_ms = loop_now(world.loop) + 10000;
    ask(&late, "person");
    spin(0);
    assert_int_equal(2, world.machines);
    struct flight *queued = plain->flight;
    assert_false(queued->running);
    queued->since_ms -= 2000;
    assert_int_equal(0, timer_start(world.loop, &queued->patience, 0, queued->patience.fn, queued));
    spin(0);
    assert_string_equal("p/1", late.value);
    ask(&late, "person");
    assert_string_equal("p/1", late.value);
}

/* ---- renewal ---- */

static void renewal_runs_ahead_while_somebody_asks(void **state)
{
    (void)state;
    struct asker asker;
    get(&asker, "alone");
    struct entry *entry = entry_of("alone");
    assert_true(entry->timer.due_ms >= entry->fetched_ms + 3600 * 720);
    assert_true(entry->timer.due_ms <= entry->fetched_ms + 3600 * 800);
    entry->asked_ms -= 24L * 3600 * 1000; /* nobody for a day: it is left to end */
    conductor_plan(world.conductor, entry);
    assert_null(entry->timer.loop);
    get(&asker, "alone"); /* somebody again */
    assert_string_equal("a/1", asker.value);
    assert_non_null(entry->timer.loop);
}

static void lives_of_every_length(void **state)
{
    static const int64_t lives[] = {1, 2, 5, 299, 3600, LIMIT_LIFETIME_S};
    (void)state;
    struct asker asker;
    for (size_t i = 0; i < ELEMENTS(lives); i++) {
        struct request anew = {.min_valid_s = -1, .refresh = true};
        world.life_s = lives[i];
        asker = (struct asker){0};
        ask_with(&asker, "alone", &anew);
        spin(0);
        assert_int_equal(1, asker.told);
        assert_int_equal('a', asker.value[0]);
    }
    world.life_s = 0; /* a token that has ended is never handed out */
    asker = (struct asker){0};
    struct request anew = {.min_valid_s = -1, .refresh = true};
    ask_with(&asker, "other", &anew);
    spin(0);
    assert_int_equal(FAILURE_BUSY, asker.why.kind);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_flight_for_many),
        TEST(different_requests_fly_apart),
        TEST(waiters_may_leave_at_any_time),
        TEST(a_waiter_cancels_its_neighbour),
        TEST(the_entry_stays_while_it_is_told_of),
        TEST(the_entry_is_dropped_while_it_is_told_of),
        TEST(the_entry_is_dropped_by_failure),
        TEST(a_machine_that_breaks),
        TEST(refusals_are_remembered),
        TEST(own_failures_are_not_remembered),
        TEST(the_newest_failure_is_said),
        TEST(background_failures_do_not_spin),
        TEST(an_alive_token_is_served_while_renewal_fails),
        TEST(too_short_is_said_of_new_tokens),
        TEST(patience_ends_for_those_who_would_take_it),
        TEST(patience_ends_when_the_entry_goes),
        TEST(patience_in_the_queue),
        TEST(renewal_runs_ahead_while_somebody_asks),
        TEST(lives_of_every_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
