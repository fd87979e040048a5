/* Sign-in and sign-out of a person, with a grant of the test's own and a real loop and store. */
#include "flight_fixture.h"

#include "clock.h"

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

struct seen {
    struct person person; /* first: its arg is the witness's */
    int pending, landed;
    char token[64];
};

static void on_pending(void *arg)
{
    ((struct seen *)arg)->pending++;
}

static void on_verified(void *arg, struct json_object *claims, const struct failure *why)
{
    (void)arg;
    (void)claims;
    (void)why;
    fail();
}

static void on_landed(void *arg, const struct tokens *tokens, int64_t expires_at)
{
    struct seen *seen = arg;
    assert_in_range(expires_at, clock_wall_s() + 3500, clock_wall_s() + 3600);
    assert_int_equal(0, seen->person.done);
    seen->landed++;
    (void)snprintf(seen->token, sizeof(seen->token), "%s", tokens->access_token);
}

static void a_witness_is_told(void **state)
{
    static const struct witness witness = {.pending = on_pending, .verified = on_verified, .landed = on_landed};
    struct seen seen = {0};
    struct failure why;
    (void)state;
    world.login = "pPPsd";
    seen.person.login =
        (struct login){.prompted = on_prompted, .done = on_signed_in, .arg = &seen, .witness = &witness};
    assert_int_equal(0, conductor_login(world.conductor, holder_of("person"), &seen.person.login, &why));
    for (int i = 0; i < 10 && !seen.person.done; i++)
        spin(1);
    assert_int_equal(1, seen.person.done);
    assert_int_equal(2, seen.pending);
    assert_int_equal(1, seen.landed);
    assert_string_equal("p/1", seen.token);
    seen = (struct seen){0};
    world.login = "pPf";
    fail_with(FAILURE_AUTHORITY_REFUSED, CLASS_DEFINITE);
    seen.person.login =
        (struct login){.prompted = on_prompted, .done = on_signed_in, .arg = &seen, .witness = &witness};
    assert_int_equal(0, conductor_login(world.conductor, holder_of("person"), &seen.person.login, &why));
    for (int i = 0; i < 10 && !seen.person.done; i++)
        spin(1);
    assert_int_equal(1, seen.person.done);
    assert_int_equal(0, seen.landed);
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

/* Alice signs out behind a renewal that hangs; meanwhile the settings change, and Bob signs in. His sign-in is neither
 * revoked by the old settings nor forgotten. */
static void signing_out_spares_who_came_later(void **state)
{
    (void)state;
    struct leaver leaver = {0};
    struct asker asker;
    for (int rebound = 0; rebound < 2; rebound++) {
        configure(CONFIG(PERSON));
        sign_in("alice");
        world.acquire = "wd";
        age("person", 3599 * 1000);
        spin(0);
        leaver = (struct leaver){0};
        sign_out(&leaver);
        if (rebound)
            configure(CONFIG({.name = "person", .grant = &grant_person, .client_id = "q"}));
        sign_in("bob");
        let_go("person");
        assert_int_equal(1, leaver.done);
        assert_string_equal("", world.held);
        assert_non_null(holder_of("person")->identity);
        assert_string_equal("bob", holder_of("person")->identity->account);
        get(&asker, "person");
        assert_int_equal(rebound ? 'q' : 'p', asker.value[0]);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(signing_in),
        TEST(signing_in_is_cancelled_at_each_step),
        TEST(signing_in_is_cancelled_by_its_prompt),
        TEST(a_witness_is_told),
        TEST(too_many_sign_ins),
        TEST(a_new_sign_in_outlives_an_old_renewal),
        TEST(a_rotated_token_is_kept_whatever_changes),
        TEST(a_sign_in_is_bound),
        TEST(a_queued_renewal_never_sees_a_new_binding),
        TEST(signing_out),
        TEST(signing_out_during_a_renewal),
        TEST(signing_out_that_fails_forgets_all_the_same),
        TEST(signing_out_spares_who_came_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
