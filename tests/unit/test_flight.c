/* The conductor and its flights, with a grant of the test's own and a real loop and store. */
#include "flight_fixture.h"

#include <sys/stat.h>

static void fail_with(enum failure_kind kind, enum failure_class class)
{
    failure_set(&world.failure, kind, class, "because");
}

/* ---- one flight for all
 * ------------------------------------------------------------------------------------------------ */

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
    ask(&first, "alone");
    ask(&second, "alone");
    spin(0);
    let_go("alone");
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
    ask(&first, "alone");
    ask(&second, "alone");
    spin(0);
    let_go("alone");
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
    ask(&first, "alone");
    ask(&second, "alone");
    spin(0);
    let_go("alone");
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

/* ---- failures
 * ---------------------------------------------------------------------------------------------------------- */

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

/* ---- patience
 * ---------------------------------------------------------------------------------------------------------- */

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

/* ---- configuration
 * ----------------------------------------------------------------------------------------------------- */

static void configure(struct config *config)
{
    conductor_configure(world.conductor, config, false);
}

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

/* ---- people
 * ------------------------------------------------------------------------------------------------------------ */

struct person {
    struct login login;
    int prompts, done;
    bool cancels; /* at the first prompt */
    char account[64];
    struct failure why;
};

static void on_prompted(void *arg, const struct prompt_step *step)
{
    struct person *person = arg;
    assert_string_equal("A", step->user_code);
    person->prompts++;
    if (person->cancels)
        login_cancel(&person->login);
}

static void on_signed_in(void *arg, const struct identity *identity, int64_t expires_at, const struct failure *failure)
{
    struct person *person = arg;
    (void)expires_at;
    person->done++;
    person->why = failure ? *failure : (struct failure){.kind = FAILURE_NONE};
    (void)snprintf(person->account, sizeof(person->account), "%.60s", identity ? identity->account : "");
    login_cancel(&person->login); /* too late, and allowed */
}

static void begin_login(struct person *person)
{
    struct failure why;
    person->login = (struct login){.prompted = on_prompted, .done = on_signed_in, .arg = person};
    assert_int_equal(0, conductor_login(world.conductor, holder_of("person"), &person->login, &why));
}

static void sign_in(const char *account)
{
    struct person person = {0};
    world.login = "psd";
    world.account = account;
    begin_login(&person);
    spin(0);
    assert_int_equal(1, person.done);
    assert_int_equal(FAILURE_NONE, person.why.kind);
    assert_string_equal(account, person.account);
    assert_int_equal(0, world.conductor->logins);
}

static void signing_in(void **state)
{
    (void)state;
    struct asker asker;
    world.acquire = "f";
    fail_with(FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE);
    get(&asker, "person");
    assert_int_equal(FAILURE_LOGIN_REQUIRED, asker.why.kind);
    sign_in("alice");
    get(&asker, "person"); /* the sign-in's own token */
    assert_string_equal("p/2", asker.value);
    world.acquire = "sd";
    age("person", 3599 * 1000);
    spin(0);
    assert_string_equal("r2", world.held);
    get(&asker, "person");
    assert_string_equal("p/3", asker.value);
}

static void signing_in_is_cancelled_at_each_step(void **state)
{
    static const char *const scripts[] = {"wpsd", "pwsd", "pswd", "psd"};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(scripts); i++) {
        struct person person = {0};
        world.login = scripts[i];
        begin_login(&person);
        if (i < 3)
            spin(0);
        login_cancel(&person.login);
        login_cancel(&person.login);
        spin(0);
        assert_int_equal(0, person.done);
        assert_int_equal(0, world.conductor->logins);
        assert_null(holder_of("person")->flights);
    }
}

static void signing_in_is_cancelled_by_its_prompt(void **state)
{
    (void)state;
    struct person person = {.cancels = true};
    world.login = "psd";
    begin_login(&person);
    spin(0);
    assert_int_equal(1, person.prompts);
    assert_int_equal(0, person.done);
    assert_null(holder_of("person")->identity);
    assert_int_equal(0, world.conductor->logins);
}

static void too_many_sign_ins(void **state)
{
    static struct person people[LIMIT_LOGINS + 1];
    struct failure why;
    (void)state;
    world.login = "w";
    for (size_t i = 0; i < LIMIT_LOGINS; i++)
        begin_login(&people[i]);
    people[LIMIT_LOGINS].login = (struct login){.arg = &people[LIMIT_LOGINS]};
    assert_int_equal(-1, conductor_login(world.conductor, holder_of("person"), &people[LIMIT_LOGINS].login, &why));
    assert_int_equal(FAILURE_BUSY, why.kind);
    for (size_t i = 0; i < LIMIT_LOGINS; i++)
        login_cancel(&people[i].login);
    assert_int_equal(0, world.conductor->logins);
    assert_int_equal(-1, conductor_login(world.conductor, holder_of("alone"), &people[0].login, &why));
    assert_int_equal(FAILURE_NOT_SUPPORTED, why.kind);
}

/* Bob signs in while Alice's renewal is in the air: her new refresh token must not replace his. */
static void a_new_sign_in_outlives_an_old_renewal(void **state)
{
    (void)state;
    struct asker asker;
    sign_in("alice"); /* r1 */
    world.acquire = "wsd";
    age("person", 3599 * 1000);
    spin(0);        /* machine 2 */
    sign_in("bob"); /* r3 */
    world.account = "alice";
    let_go("person");
    assert_string_equal("bob", holder_of("person")->identity->account);
    get(&asker, "person");
    assert_string_equal("p/3", asker.value);
    world.account = "bob";
    world.acquire = "sd";
    age("person", 3599 * 1000);
    spin(0);
    assert_string_equal("r3", world.held);
}

/* A refresh token that is used up must be replaced even when the settings have changed, or the profile is gone for a
 * moment, as long as it is the same sign-in. */
static void a_rotated_token_is_kept_whatever_changes(void **state)
{
    (void)state;
    struct asker asker;
    for (int gone = 0; gone < 2; gone++) {
        sign_in("alice");
        world.acquire = "wsd";
        age("person", 3599 * 1000);
        spin(0);
        int renewal = world.machines;
        char rotated[16];
        (void)snprintf(rotated, sizeof(rotated), "r%d", renewal);
        if (gone)
            configure(CONFIG(ALONE));
        else
            configure(CONFIG({.name = "person", .grant = &grant_person, .client_id = "p", .settings = "scope=y"}));
        let_go("person");
        configure(CONFIG(PERSON));
        world.acquire = "d";
        get(&asker, "person");
        assert_string_equal(rotated, world.held);
    }
}

/* Another client id: the sign-in does not belong to it. */
static void a_sign_in_is_bound(void **state)
{
    (void)state;
    struct asker asker, waiting = {0};
    sign_in("alice");
    world.acquire = "wsd";
    age("person", 3599 * 1000);
    spin(0);
    configure(CONFIG({.name = "person", .grant = &grant_person, .client_id = "q"}));
    assert_null(holder_of("person")->identity);
    ask(&waiting, "person");
    let_go("person");
    world.acquire = "d";
    spin(0);
    assert_null(holder_of("person")->identity);
    assert_string_equal("", world.held);
    let_go("person");
    get(&asker, "person");
    assert_int_equal('q', asker.value[0]);
}

/* A renewal waits its turn; meanwhile the settings change and somebody signs in under the new ones. The old machine
 * must not be given the new refresh token. */
static void a_queued_renewal_never_sees_a_new_binding(void **state)
{
    (void)state;
    struct asker first = {0}, queued = {0};
    char *scopes[] = {(char *)(uintptr_t) "x", NULL};
    struct request with_scopes = {.scopes = scopes, .min_valid_s = -1};
    sign_in("alice");
    world.acquire = "wd";
    age("person", 3599 * 1000);
    spin(0);
    ask_with(&queued, "person", &with_scopes);
    spin(0);
    int before = world.machines;
    configure(CONFIG({.name = "person", .grant = &grant_person, .client_id = "q"}));
    sign_in("bob");
    let_go("person");                             /* now the queue moves */
    assert_int_equal(before + 2, world.machines); /* bob's sign-in, and one for who waits, by the new settings */
    let_go("person");
    assert_int_equal(1, queued.told);
    assert_int_equal('q', queued.value[0]);
    get(&first, "person");
    assert_int_equal('q', first.value[0]);
}

struct leaver {
    struct logout logout;
    int done;
    bool revoked;
};

static void on_signed_out(void *arg, bool revoked, const struct failure *why)
{
    struct leaver *leaver = arg;
    (void)why;
    leaver->done++;
    leaver->revoked = revoked;
}

static void sign_out(struct leaver *leaver)
{
    struct failure why;
    leaver->logout = (struct logout){.done = on_signed_out, .arg = leaver};
    assert_int_equal(0, conductor_logout(world.conductor, holder_of("person"), &leaver->logout, &why));
}

static void signing_out(void **state)
{
    (void)state;
    struct leaver leaver = {0};
    struct failure why;
    struct asker asker;
    sign_in("alice");
    sign_out(&leaver);
    spin(0);
    assert_int_equal(1, leaver.done);
    assert_true(leaver.revoked);
    assert_string_equal("r1", world.held);
    assert_null(holder_of("person")->identity);
    assert_int_equal(0, secret_arena_used());
    get(&asker, "person");
    assert_string_equal("", world.held);
    assert_int_equal(1, conductor_logout(world.conductor, holder_of("alone"), &leaver.logout, &why));
}

static void signing_out_during_a_renewal(void **state)
{
    (void)state;
    struct leaver leaver = {0}, another = {0};
    struct asker waiting = {0};
    sign_in("alice");
    world.acquire = "wsd";
    age("person", 3599 * 1000);
    spin(0); /* machine 2 */
    ask(&waiting, "person");
    sign_out(&leaver);
    sign_out(&another);
    logout_cancel(&another.logout);
    spin(0);
    assert_int_equal(2, world.machines);
    assert_int_equal(0, leaver.done);
    world.revoke = "d";
    let_go("person");
    assert_int_equal(1, leaver.done);
    assert_int_equal(0, another.done);
    assert_int_equal(1, waiting.told);
    assert_null(holder_of("person")->identity);
    assert_null(holder_of("person")->flights);
    spin(0);
    assert_int_equal(0, secret_arena_used());
}

static void signing_out_that_fails_forgets_all_the_same(void **state)
{
    (void)state;
    struct leaver leaver = {0};
    sign_in("alice");
    world.revoke = "f";
    fail_with(FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE);
    sign_out(&leaver);
    spin(0);
    assert_int_equal(1, leaver.done);
    assert_false(leaver.revoked);
    assert_null(holder_of("person")->identity);
    assert_int_equal(0, secret_arena_used());
}

/* ---- watchers
 * ---------------------------------------------------------------------------------------------------------- */

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

/* ---- renewal
 * ----------------------------------------------------------------------------------------------------------- */

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

/* ---- the CA file
 * ------------------------------------------------------------------------------------------------------- */

static void the_ca_file_is_read_first(void **state)
{
    (void)state;
    char path[] = "/tmp/mltoken-test-XXXXXX";
    struct asker asker = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "pem", 3) == 3);
    close(fd);
    /* the loop of this test is made before the worker, as nowhere else: it is only forked */
    assert_int_equal(0, worker_new(world.loop, &world.worker));
    world.conductor->worker = world.worker;
    configure(CONFIG({.name = "alone", .grant = &grant_alone, .client_id = "a", .ca_file = path, .settings = "1"}));
    ask(&asker, "alone");
    for (int i = 0; i < 500 && !asker.told; i++)
        spin(10);
    assert_string_equal("a/1", asker.value);
    unlink(path);
    configure(CONFIG({.name = "alone", .grant = &grant_alone, .client_id = "a", .ca_file = path, .settings = "2"}));
    asker = (struct asker){0};
    ask(&asker, "alone");
    for (int i = 0; i < 500 && !asker.told; i++)
        spin(10);
    assert_int_equal(FAILURE_INVALID_CONFIGURATION, asker.why.kind);
    assert_non_null(strstr(asker.why.reason, "there is no such file"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

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
        TEST(changed_in_flight),
        TEST(unchanged_keeps_everything),
        TEST(removed_in_flight),
        TEST(removed_and_back),
        TEST(broken_in_flight),
        TEST(forgiveness),
        TEST(signing_in),
        TEST(signing_in_is_cancelled_at_each_step),
        TEST(signing_in_is_cancelled_by_its_prompt),
        TEST(too_many_sign_ins),
        TEST(a_new_sign_in_outlives_an_old_renewal),
        TEST(a_rotated_token_is_kept_whatever_changes),
        TEST(a_sign_in_is_bound),
        TEST(a_queued_renewal_never_sees_a_new_binding),
        TEST(signing_out),
        TEST(signing_out_during_a_renewal),
        TEST(signing_out_that_fails_forgets_all_the_same),
        TEST(watchers_survive_failures),
        TEST(following_a_cold_profile),
        TEST(watchers_leave_while_they_are_told),
        TEST(watchers_end_with_the_profile),
        TEST(renewal_runs_ahead_while_somebody_asks),
        TEST(lives_of_every_length),
        TEST(the_ca_file_is_read_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
