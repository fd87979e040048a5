/* When a token is renewed, how long to back off: the arithmetic at its edges. */
#include "token/renewal.h"

#include "cleanup.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
/* after these */
#include <cmocka.h>

#define HOUR_MS (3600L * 1000)
#define YEAR_S  (365L * 24 * 3600)

static struct profile with(int64_t min_valid_s, int64_t refresh_ahead_s)
{
    return (struct profile){.min_valid_s = min_valid_s, .refresh_ahead_s = refresh_ahead_s};
}

/* Only the default and what is configured are capped at a tenth of the life; what a call asks for is not. */
static void what_must_be_left(void **state)
{
    (void)state;
    struct profile usual = with(300, REFRESH_AHEAD_DEFAULT), none = with(0, REFRESH_AHEAD_DEFAULT);
    assert_int_equal(300000, renewal_min_valid_ms(&usual, -1, HOUR_MS));
    assert_int_equal(300000, renewal_min_valid_ms(&usual, -1, 3000 * 1000));
    assert_int_equal(299900, renewal_min_valid_ms(&usual, -1, 2999 * 1000));
    assert_int_equal(30000, renewal_min_valid_ms(&usual, -1, 300 * 1000));
    assert_int_equal(100, renewal_min_valid_ms(&usual, -1, 1000));
    assert_int_equal(0, renewal_min_valid_ms(&usual, -1, 0));
    assert_int_equal(0, renewal_min_valid_ms(&none, -1, HOUR_MS));
    assert_int_equal(0, renewal_min_valid_ms(&usual, 0, HOUR_MS));
    assert_int_equal(3600000, renewal_min_valid_ms(&usual, 3600, 1000));
    assert_int_equal(INT64_MAX, renewal_min_valid_ms(&usual, INT64_MAX, 1000));
    assert_int_equal(INT64_MAX / 1000 * 1000, renewal_min_valid_ms(&usual, INT64_MAX / 1000, 1000));
}

/* At every life and every jitter: before the token is no longer fresh, not without end, and jittered by a tenth at
 * most. */
static void renewal_at_every_life(void **state)
{
    static const int64_t lives[] = {1, 2, 5, 10, 60, 300, 3600, 86400, YEAR_S, LIMIT_LIFETIME_S};
    static const int64_t aheads[] = {REFRESH_AHEAD_DEFAULT, 0, 1, 60, 1800, 3600, 86400, LIMIT_LIFETIME_S};
    static const int64_t advice[] = {-1, 1, 1800, LIMIT_LIFETIME_S};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(lives); i++)
        for (size_t j = 0; j < ELEMENTS(aheads); j++)
            for (size_t k = 0; k < ELEMENTS(advice); k++) {
                int64_t life = lives[i] * 1000, latest, earliest;
                struct profile profile = with(300, aheads[j]);
                latest = renewal_after_ms(&profile, life, advice[k], 0);
                earliest = renewal_after_ms(&profile, life, advice[k], UINT16_MAX);
                assert_true(earliest <= latest);
                assert_true(latest <= life - renewal_min_valid_ms(&profile, -1, life));
                assert_true(earliest >= 500 || earliest == latest);
                assert_true(earliest >= life / 10 - life / 100 - 1 || earliest == 500);
                assert_true(latest - earliest <= latest / 10 + 1);
                for (uint16_t random = 0; random < UINT16_MAX - 5000; random = (uint16_t)(random + 4999)) {
                    int64_t after = renewal_after_ms(&profile, life, advice[k], random);
                    assert_true(after >= earliest && after <= latest);
                }
            }
}

static void renewal_by_the_rule(void **state)
{
    (void)state;
    struct profile usual = with(300, REFRESH_AHEAD_DEFAULT), ahead = with(300, 600), longer = with(300, 7200),
                   never = with(300, REFRESH_AHEAD_NEVER);
    assert_int_equal(2880000, renewal_after_ms(&usual, HOUR_MS, -1, 0));
    assert_int_equal(2592000, renewal_after_ms(&usual, HOUR_MS, -1, UINT16_MAX));
    assert_int_equal(1800000, renewal_after_ms(&usual, HOUR_MS, 1800, 0));
    assert_int_equal(2880000, renewal_after_ms(&usual, HOUR_MS, 3500, 0)); /* later than our own rule */
    assert_int_equal(360000, renewal_after_ms(&usual, HOUR_MS, 1, 0));     /* at once, for ever? */
    assert_int_equal(3000000, renewal_after_ms(&ahead, HOUR_MS, -1, 0));
    assert_int_equal(3000000, renewal_after_ms(&ahead, HOUR_MS, 60, 0)); /* the user's word counts more */
    assert_int_equal(1800000, renewal_after_ms(&longer, HOUR_MS, -1, 0));
    assert_int_equal(-1, renewal_after_ms(&never, HOUR_MS, 60, 0));
}

static struct failure failed(enum failure_class class, int64_t retry_after_ms)
{
    struct failure failure;
    failure_set(&failure, FAILURE_AUTHORITY_UNREACHABLE, class, "x");
    failure.retry_after_ms = retry_after_ms;
    return failure;
}

static void back_off_grows_to_its_cap(void **state)
{
    static const unsigned many[] = {1000, 1u << 31, UINT32_MAX};
    (void)state;
    struct failure failure = failed(CLASS_UNREACHABLE, -1);
    int64_t expected = LIMIT_BACKOFF_FIRST_MS;
    for (unsigned n = 1; n < 80; n++) {
        assert_int_equal(expected, renewal_backoff_ms(&failure, n, 0));
        assert_int_equal(expected - expected / 10, renewal_backoff_ms(&failure, n, UINT16_MAX));
        expected = expected * 2 < LIMIT_BACKOFF_MS ? expected * 2 : LIMIT_BACKOFF_MS;
    }
    for (size_t i = 0; i < ELEMENTS(many); i++)
        assert_int_equal(LIMIT_BACKOFF_MS, renewal_backoff_ms(&failure, many[i], 0));
    failure.class = CLASS_DEFINITE;
    assert_int_equal(LIMIT_REFUSAL_MS, renewal_backoff_ms(&failure, 1, UINT16_MAX));
    assert_int_equal(LIMIT_REFUSAL_MS, renewal_backoff_ms(&failure, 1000, 0));
}

static void what_the_authority_asks_for_wins(void **state)
{
    (void)state;
    static const struct {
        int64_t asked, expected;
    } cases[] = {{0, LIMIT_BACKOFF_FIRST_MS},
                 {999, LIMIT_BACKOFF_FIRST_MS},
                 {1001, 1001},
                 {120000, 120000},
                 {LIMIT_RETRY_AFTER_S * 1000L, LIMIT_RETRY_AFTER_S * 1000L},
                 {LIMIT_RETRY_AFTER_S * 1000L + 1, LIMIT_RETRY_AFTER_S * 1000L},
                 {INT64_MAX, LIMIT_RETRY_AFTER_S * 1000L}};
    for (size_t i = 0; i < ELEMENTS(cases); i++)
        for (int class = CLASS_DEFINITE; class <= CLASS_UNREACHABLE; class ++) {
            struct failure failure = failed((enum failure_class) class, cases[i].asked);
            assert_int_equal(cases[i].expected, renewal_backoff_ms(&failure, 1, 0));
            assert_int_equal(cases[i].expected, renewal_backoff_ms(&failure, 1u << 20, UINT16_MAX));
        }
}

static void idle_has_bounds(void **state)
{
    (void)state;
    assert_int_equal(600000, renewal_idle_ms(0));
    assert_int_equal(600000, renewal_idle_ms(1000));
    assert_int_equal(10 * HOUR_MS, renewal_idle_ms(HOUR_MS));
    assert_int_equal(24 * HOUR_MS, renewal_idle_ms(LIMIT_LIFETIME_S * 1000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_must_be_left),
        cmocka_unit_test(renewal_at_every_life),
        cmocka_unit_test(renewal_by_the_rule),
        cmocka_unit_test(back_off_grows_to_its_cap),
        cmocka_unit_test(what_the_authority_asks_for_wins),
        cmocka_unit_test(idle_has_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
