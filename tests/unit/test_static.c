/* Keys that somebody else issued: which slot is served, how each ends, what may stand in a header, and rotation. */
#include "machine.h"

#define RECALLED(text) ((struct reply){.kind = STEP_RECALL, .body = (text)})
#define NOTED          YES(STEP_NOTE)
#define NOW_S          1800000000 /* 2027-01-15T08:00:00Z, machine_open()'s */

static struct setting settings[4];

static void set(struct machine *m, const char *key, const char *value)
{
    assert_true(m->profile.setting_count < ELEMENTS(settings));
    settings[m->profile.setting_count++] = (struct setting){TEXT(key), TEXT(value), 1};
}

static void open(struct machine *m, enum source_kind primary, enum source_kind secondary)
{
    machine_open(m, &grant_static);
    m->profile.settings = settings;
    m->profile.token.kind = primary;
    m->profile.token_secondary.kind = secondary;
}

/* The next step is the secret `name`. */
static void reads(const struct machine *m, const char *name)
{
    assert_int_equal(m->step.kind, STEP_SECRET);
    assert_string_equal(m->step.secret, name);
}

static void serves(const struct machine *m, const char *value, const char *slot)
{
    assert_int_equal(m->step.kind, STEP_DONE);
    const struct tokens *tokens = m->step.done.tokens;
    assert_non_null(tokens);
    assert_string_equal(tokens->access_token, value);
    assert_string_equal(tokens->type, "Bearer");
    assert_null(tokens->refresh_token);
    assert_true(slot ? tokens->slot && strcmp(tokens->slot, slot) == 0 : !tokens->slot);
}

static void one_is_served_as_it_is(void **state)
{
    static const enum source_kind kinds[] = {SOURCE_FILE, SOURCE_ENV, SOURCE_CREDENTIAL, SOURCE_COMMAND, SOURCE_STORED};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(kinds); i++) {
        struct machine m;
        open(&m, kinds[i], SOURCE_NONE);
        assert_null(grant_static.check(&m.profile));
        machine_start(&m, GRANT_ACQUIRE);
        reads(&m, "token");
        machine_answer(&m, SECRET_IS("K-1"));
        serves(&m, "K-1", NULL);
        assert_true(m.step.done.tokens->endless);
        assert_int_equal(m.step.done.tokens->expires_in_s, LIMIT_LIFETIME_S);
        assert_true(m.step.done.tokens->refresh_in_s > 0 && m.step.done.tokens->refresh_in_s <= 600);
        assert_int_equal(m.requests, 0);
        machine_close(&m);
    }
}

static void its_end_is_the_day_s(void **state)
{
    static const struct {
        const char *date;
        int64_t life_s; /* -1: it has ended */
    } cases[] = {
        {"2027-01-15T08:00:01Z", 1},
        {"2027-01-15T08:00:00Z", -1},
        {"2027-01-15T07:59:59Z", -1},
        {"2027-01-15", 16L * 3600 - 1},
        {"2027-01-14", -1},
        {"1970-01-01", -1},
        {"2030-01-15T08:00:00Z", 1096L * 24 * 3600},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct machine m;
        open(&m, SOURCE_STORED, SOURCE_NONE);
        set(&m, "expires", cases[i].date);
        machine_start(&m, GRANT_ACQUIRE);
        if (cases[i].life_s < 0) { /* not even read */
            fails(&m, FAILURE_SECRET_MISSING, "token ended on ");
            assert_string_equal(m.step.fail.name, "token");
        } else {
            reads(&m, "token");
            machine_answer(&m, SECRET_IS("K"));
            serves(&m, "K", NULL);
            assert_false(m.step.done.tokens->endless);
            assert_int_equal(m.step.done.tokens->expires_in_s, cases[i].life_s);
        }
        machine_close(&m);
    }
}

static void the_second_follows_the_first(void **state)
{
    static const struct reply missing = {.kind = STEP_SECRET, .error = -ENOENT};
    struct machine m;
    (void)state;
    open(&m, SOURCE_FILE, SOURCE_FILE);
    assert_int_equal(machine_run(&m, GRANT_ACQUIRE, &SECRET_IS("K1"), 1), STEP_DONE);
    serves(&m, "K1", "primary");
    /* one that is not there */
    machine_run(&m, GRANT_ACQUIRE, &missing, 1);
    reads(&m, "token_secondary");
    machine_answer(&m, SECRET_IS("K2"));
    serves(&m, "K2", "secondary");
    /* neither: what is said is of the first */
    struct failure first;
    failure_set(&first, FAILURE_SECRET_MISSING, CLASS_DEFINITE, "%s", "the first is not there");
    const struct reply neither[] = {{.kind = STEP_SECRET, .error = -ENOENT, .why = &first}, missing};
    machine_run(&m, GRANT_ACQUIRE, neither, 1);
    reads(&m, "token_secondary");
    machine_answer(&m, missing);
    fails(&m, FAILURE_SECRET_MISSING, "");
    /* a store that does not answer is no reason to serve another */
    failure_set(&first, FAILURE_STORE_UNAVAILABLE, CLASS_UNREACHABLE, "%s", "the store hangs");
    machine_run(&m, GRANT_ACQUIRE, neither, 1);
    fails(&m, FAILURE_STORE_UNAVAILABLE, "the store hangs");
    /* one that has ended; then both */
    set(&m, "expires", "2027-01-14");
    machine_start(&m, GRANT_ACQUIRE);
    reads(&m, "token_secondary");
    set(&m, "expires_secondary", "2027-01-13");
    machine_start(&m, GRANT_ACQUIRE);
    fails(&m, FAILURE_SECRET_MISSING, "token_secondary ended on 2027-01-13");
    /* the one that is named, and no other */
    machine_close(&m);
    open(&m, SOURCE_FILE, SOURCE_FILE);
    set(&m, "slot", "secondary");
    machine_run(&m, GRANT_ACQUIRE, &missing, 0);
    reads(&m, "token_secondary");
    machine_answer(&m, missing);
    fails(&m, FAILURE_SECRET_MISSING, "token_secondary");
    machine_close(&m);
}

static void nothing_that_no_header_can_carry(void **state)
{
    static const char *const bad[] = {"", " ", "a b", "a\n", "\ta", "a\r\nX: y", "\x7f", "k\xc3\xa9", "\x01"};
    static const int sizes[] = {LIMIT_TOKEN - 1, LIMIT_TOKEN, LIMIT_TOKEN + 1};
    struct machine m;
    (void)state;
    open(&m, SOURCE_STORED, SOURCE_NONE);
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        machine_run(&m, GRANT_ACQUIRE, &SECRET_IS(bad[i]), 1);
        fails(&m, FAILURE_SECRET_MISSING, "cannot stand in a header");
        assert_string_equal(m.step.fail.name, "token");
        if (strlen(bad[i]) > 1)
            assert_null(strstr(m.step.fail.reason, bad[i]));
    }
    for (size_t i = 0; i < ELEMENTS(sizes); i++) {
        char *value = calloc(1, (size_t)sizes[i] + 1);
        assert_non_null(value);
        memset(value, 'k', (size_t)sizes[i]);
        machine_run(&m, GRANT_ACQUIRE, &SECRET_IS(value), 1);
        if (sizes[i] <= LIMIT_TOKEN)
            serves(&m, value, NULL);
        else
            fails(&m, FAILURE_SECRET_MISSING, "too long");
        free(value);
    }
    machine_close(&m);
}

/* ---- rotation ---- */

static void the_other_is_served_once_it_is_noted(void **state)
{
    static const struct {
        const char *note, *served, *next, *slot, *kept;
    } cases[] = {
        {NULL, "token", "token_secondary", "secondary", "any secondary"},
        {"", "token", "token_secondary", "secondary", "any secondary"},
        {"any secondary", "token_secondary", "token", "primary", "any primary"},
        {"any primary", "token", "token_secondary", "secondary", "any secondary"},
        {"primary secondary", "token", "token_secondary", "secondary", "any secondary"}, /* another setting's */
        {"any third", "token", "token_secondary", "secondary", "any secondary"},
        {"any secondary\n", "token", "token_secondary", "secondary", "any secondary"},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct machine m;
        open(&m, SOURCE_STORED, SOURCE_STORED);
        assert_int_equal(machine_start(&m, GRANT_ACQUIRE), STEP_RECALL);
        machine_answer(&m, RECALLED(cases[i].note));
        reads(&m, cases[i].served);
        assert_int_equal(machine_start(&m, GRANT_ROTATE), STEP_RECALL);
        machine_answer(&m, RECALLED(cases[i].note));
        reads(&m, cases[i].next);
        assert_int_equal(machine_answer(&m, SECRET_IS("K")), STEP_NOTE);
        assert_string_equal(m.note, cases[i].kept);
        assert_string_equal(m.step.note.tokens->access_token, "K");
        assert_int_equal(machine_answer(&m, NOTED), STEP_DONE);
        assert_string_equal(m.step.done.slot, cases[i].slot);
        assert_null(m.step.done.tokens);
        machine_close(&m);
    }
}

static void what_is_not_good_is_not_rotated_to(void **state)
{
    static const struct reply missing = {.kind = STEP_SECRET, .error = -ENOENT};
    struct machine m;
    (void)state;
    open(&m, SOURCE_STORED, SOURCE_STORED);
    const struct reply absent[] = {RECALLED(NULL), missing}, empty[] = {RECALLED(NULL), SECRET_IS("")};
    machine_run(&m, GRANT_ROTATE, absent, 2);
    fails(&m, FAILURE_SECRET_MISSING, "token_secondary");
    machine_run(&m, GRANT_ROTATE, empty, 2);
    fails(&m, FAILURE_SECRET_MISSING, "cannot stand in a header");
    const struct reply unkept[] = {RECALLED(NULL), SECRET_IS("K"), NO(STEP_NOTE, -EIO)};
    machine_run(&m, GRANT_ROTATE, unkept, 3);
    fails(&m, FAILURE_STORE_UNAVAILABLE, "which slot is served");
    for (int op = GRANT_ACQUIRE; op <= GRANT_ROTATE; op += GRANT_ROTATE - GRANT_ACQUIRE) {
        machine_run(&m, (enum grant_op)op, &NO(STEP_RECALL, -EIO), 1);
        fails(&m, FAILURE_STORE_UNAVAILABLE, "which slot is served");
    }
    set(&m, "expires_secondary", "2027-01-14");
    machine_run(&m, GRANT_ROTATE, &RECALLED(NULL), 1);
    fails(&m, FAILURE_SECRET_MISSING, "token_secondary ended on 2027-01-14");
    assert_int_equal(m.notes, 1);
    machine_close(&m);
}

static void where_nothing_can_be_rotated(void **state)
{
    struct machine m;
    (void)state;
    open(&m, SOURCE_STORED, SOURCE_NONE);
    machine_start(&m, GRANT_ROTATE);
    fails(&m, FAILURE_NOT_SUPPORTED, "but one token");
    machine_close(&m);
    open(&m, SOURCE_STORED, SOURCE_FILE);
    machine_start(&m, GRANT_ROTATE);
    fails(&m, FAILURE_NOT_SUPPORTED, "not both in the store");
    machine_close(&m);
    open(&m, SOURCE_STORED, SOURCE_STORED);
    set(&m, "slot", "primary");
    machine_start(&m, GRANT_ROTATE);
    fails(&m, FAILURE_NOT_SUPPORTED, "slot in the configuration");
    machine_close(&m);
}

/* ---- settings ---- */

static const char *wrong(const char *name, const char *value)
{
    const struct key *key = grant_static.keys;
    while (key->name && strcmp(key->name, name) != 0)
        key++;
    assert_non_null(key->name);
    return key->check(value);
}

static void values_are_checked(void **state)
{
    static const char *const good[] = {"2027-01-31", "2028-02-29", "2027-01-31T12:00:00Z", "2027-12-31T23:59:59Z"};
    static const char *const bad[] = {"",
                                      "tomorrow",
                                      "2027",
                                      "2027-1-31",
                                      "2027-01-32",
                                      "2027-02-29",
                                      "2027-02-31",
                                      "2027-13-01",
                                      "2027-01-31 ",
                                      " 2027-01-31",
                                      "2027-01-31T12:00:00",
                                      "2027-01-31T12:00:00+01:00",
                                      "2027-01-31T25:00:00Z",
                                      "31.01.2027",
                                      "99999-01-01"};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(good); i++)
        assert_true(!wrong("expires", good[i]) && !wrong("expires_secondary", good[i]));
    for (size_t i = 0; i < ELEMENTS(bad); i++)
        if (!wrong("expires", bad[i]) || !wrong("expires_secondary", bad[i]))
            fail_msg("%s is taken", bad[i]);
    assert_true(!wrong("slot", "primary") && !wrong("slot", "secondary"));
    assert_true(wrong("slot", "") && wrong("slot", "Primary") && wrong("slot", "both"));
}

static void profiles_are_checked(void **state)
{
    struct machine m;
    (void)state;
    open(&m, SOURCE_NONE, SOURCE_NONE);
    assert_string_equal(grant_static.check(&m.profile), "needs token");
    open(&m, SOURCE_NONE, SOURCE_ENV);
    assert_null(grant_static.check(&m.profile));
    set(&m, "slot", "primary");
    assert_non_null(strstr(grant_static.check(&m.profile), "slot names one that has no token"));
    open(&m, SOURCE_ENV, SOURCE_NONE);
    set(&m, "expires_secondary", "2027-01-31");
    assert_non_null(strstr(grant_static.check(&m.profile), "an end is given for a token that is not"));
}

static void the_last_end_is_told(void **state)
{
    struct machine m;
    (void)state;
    open(&m, SOURCE_ENV, SOURCE_ENV);
    assert_int_equal(grant_static.ends_at(&m.profile), 0);
    set(&m, "expires", "2027-01-15T08:00:00Z");
    assert_int_equal(grant_static.ends_at(&m.profile), 0); /* the other one has none */
    set(&m, "expires_secondary", "2027-01-15T09:00:00Z");
    assert_int_equal(grant_static.ends_at(&m.profile), NOW_S + 3600);
    set(&m, "slot", "primary");
    assert_int_equal(grant_static.ends_at(&m.profile), NOW_S);
}

static void ends_wherever_it_is_stopped(void **state)
{
    const struct reply first[] = {RECALLED("any primary"), SECRET_IS("K1")};
    const struct reply rotate[] = {RECALLED(NULL), SECRET_IS("K2"), NOTED};
    struct machine m;
    (void)state;
    open(&m, SOURCE_STORED, SOURCE_STORED);
    machine_torture(&m, GRANT_ACQUIRE, first, ELEMENTS(first));
    machine_torture(&m, GRANT_ROTATE, rotate, ELEMENTS(rotate));
    machine_close(&m);
    assert_int_equal(secret_arena_used(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_is_served_as_it_is),
        cmocka_unit_test(its_end_is_the_day_s),
        cmocka_unit_test(the_second_follows_the_first),
        cmocka_unit_test(nothing_that_no_header_can_carry),
        cmocka_unit_test(the_other_is_served_once_it_is_noted),
        cmocka_unit_test(what_is_not_good_is_not_rotated_to),
        cmocka_unit_test(where_nothing_can_be_rotated),
        cmocka_unit_test(values_are_checked),
        cmocka_unit_test(profiles_are_checked),
        cmocka_unit_test(the_last_end_is_told),
        cmocka_unit_test(ends_wherever_it_is_stopped),
    };
    return cmocka_run_group_tests(tests, machine_group, NULL);
}
