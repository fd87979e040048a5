/* Sealing in memory: what opens a box, what does not, and what is left behind. */
#include "seal.h"

#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
/* after these */
#include <cmocka.h>

static const struct span seed = {"0123456789abcdef0123456789ABCDEF", SEAL_SEED};
static const struct span other = {"0123456789abcdef0123456789ABCDEf", SEAL_SEED};

static int open_arena(void **state)
{
    (void)state;
    return secret_arena_open();
}

static int close_arena(void **state)
{
    (void)state;
    assert_int_equal(0, secret_arena_used());
    secret_arena_close();
    return 0;
}

static struct seal make_seal(void)
{
    struct seal seal;
    assert_int_equal(0, seal_new_salt(&seal));
    assert_int_equal(0, seal_from_seed(&seal, seed));
    return seal;
}

static void expect_open(struct seal_key *key, const struct box *box, const char *text)
{
    char *plain;
    size_t length;
    assert_int_equal(0, seal_open(key, box, &plain, &length));
    assert_int_equal(strlen(text), length);
    assert_string_equal(text, plain);
    free(plain);
}

static void the_seed_alone_opens(void **state)
{
    (void)state;
    struct seal seal = make_seal();
    struct seal_key key = {0};
    struct box *box, *empty;
    assert_int_equal(0, seal_close(&seal, span_of("one"), span_of("two"), &box));
    assert_int_equal(0, seal_close(&seal, (struct span){0}, (struct span){0}, &empty));
    assert_false(seal_unlock(&seal, other, &key));
    assert_false(seal_unlock(&seal, (struct span){seed.data, SEAL_SEED - 1}, &key));
    assert_false(seal_unlock(&seal, (struct span){0}, &key));
    assert_true(seal_unlock(&seal, seed, &key));
    expect_open(&key, box, "onetwo");
    expect_open(&key, empty, "");
    expect_open(&key, box, "onetwo"); /* as often as one likes */
    seal_key_wipe(&key);
    box_free(box);
    box_free(empty);
    box_free(NULL);
}

static void boxes_of_many_batches(void **state)
{
    (void)state;
    struct seal seal = make_seal();
    struct seal_key key = {0};
    struct box *boxes[9];
    for (size_t i = 0; i < ELEMENTS(boxes); i++) {
        char text[8];
        if (i % 3 == 0)
            assert_int_equal(0, seal_batch_begin(&seal));
        (void)snprintf(text, sizeof(text), "v%zu", i);
        assert_int_equal(0, seal_close(&seal, span_of(text), (struct span){0}, &boxes[i]));
        if (i % 3 == 1) /* the third of each comes alone */
            seal_batch_end(&seal);
    }
    assert_true(seal_unlock(&seal, seed, &key));
    for (size_t i = ELEMENTS(boxes); i-- > 0;) {
        char text[8];
        (void)snprintf(text, sizeof(text), "v%zu", i);
        expect_open(&key, boxes[i], text);
        box_free(boxes[i]);
    }
    seal_key_wipe(&key);
}

/* The box starts with the batch's key, sealed; then come nonce, length and what is sealed. */
static void a_changed_box_does_not_open(void **state)
{
    (void)state;
    struct seal seal = make_seal();
    struct seal_key key = {0};
    assert_true(seal_unlock(&seal, seed, &key));
    const size_t places[] = {
        0, SEAL_KEY, SEAL_BATCH - 1, SEAL_BATCH, SEAL_BATCH + 23, SEAL_BATCH + 32, SEAL_BATCH + 32 + 5 + 15};
    for (size_t i = 0; i < ELEMENTS(places); i++) {
        struct box *box;
        struct secret *secret;
        char *plain;
        size_t length;
        assert_int_equal(0, seal_close(&seal, span_of("value"), (struct span){0}, &box));
        ((uint8_t *)box)[places[i]] ^= 1;
        assert_int_equal(-EBADMSG, seal_open(&key, box, &plain, &length));
        assert_int_equal(-EBADMSG, seal_open_secret(&key, box, &secret));
        ((uint8_t *)box)[places[i]] ^= 1;
        expect_open(&key, box, "value");
        box_free(box);
    }
    seal_key_wipe(&key);
}

static bool holds(const void *where, size_t length, const char *needle)
{
    return memmem(where, length, needle, strlen(needle)) != NULL;
}

static void nothing_can_be_read(void **state)
{
    (void)state;
    static const char text[] = "a refresh token of some length";
    struct seal seal = make_seal();
    struct seal_key key = {0};
    struct secret *secret, *back;
    struct box *box;
    assert_int_equal(0, secret_new(text, strlen(text), &secret));
    assert_int_equal(0, seal_batch_begin(&seal));
    assert_int_equal(0, seal_close_secret(&seal, secret, &box));
    secret_unref(secret);
    seal_batch_end(&seal);
    assert_false(holds(box, SEAL_BATCH + 32 + strlen(text), "refresh"));
    static const uint8_t none[SEAL_KEY];
    assert_memory_equal(none, seal.batch.key, SEAL_KEY);
    assert_true(seal_unlock(&seal, seed, &key));
    assert_int_equal(0, seal_open_secret(&key, box, &back));
    assert_true(span_equals(span_of(text), secret_span(back)));
    secret_unref(back);
    seal_key_wipe(&key);
    assert_memory_equal(none, key.secret, SEAL_KEY);
    assert_memory_equal(none, key.batch, SEAL_KEY);
    box_free(box);
}

static void a_full_arena_keeps_the_box(void **state)
{
    (void)state;
    enum { MANY = LIMIT_ARENA / LIMIT_SECRET };
    static char bytes[LIMIT_SECRET];
    struct seal seal = make_seal();
    struct seal_key key = {0};
    struct secret *secrets[MANY] = {0}, *back;
    struct box *box;
    assert_true(seal_unlock(&seal, seed, &key));
    assert_int_equal(0, seal_close(&seal, (struct span){bytes, sizeof(bytes)}, (struct span){0}, &box));
    size_t count = 0;
    while (count < MANY && secret_new(bytes, sizeof(bytes), &secrets[count]) == 0)
        count++;
    assert_int_equal(-ENOMEM, seal_open_secret(&key, box, &back));
    secret_unref(secrets[--count]);
    assert_int_equal(0, seal_open_secret(&key, box, &back));
    secret_unref(back);
    while (count > 0)
        secret_unref(secrets[--count]);
    box_free(box);
    seal_key_wipe(&key);
}

static void a_passphrase_with_its_salt(void **state)
{
    (void)state;
    struct seal seal, again;
    uint8_t parameters[SEAL_PARAMETERS], seeds[3][SEAL_SEED];
    static char longest[LIMIT_PASSPHRASE + 1];
    for (size_t i = 0; i < sizeof(longest); i++)
        longest[i] = 'x';
    assert_int_equal(0, seal_new_salt(&seal));
    seal.passes = 1; /* what is shown here does not depend on how long it takes */
    seal.memory = 8192;
    seal_parameters(&seal, parameters);
    assert_int_equal(0, seal_derive(parameters, span_of("hunter2"), seeds[0]));
    assert_int_equal(0, seal_derive(parameters, span_of("hunter2"), seeds[1]));
    assert_memory_equal(seeds[0], seeds[1], SEAL_SEED);
    assert_int_equal(0, seal_derive(parameters, span_of("hunter3"), seeds[1]));
    assert_memory_not_equal(seeds[0], seeds[1], SEAL_SEED);
    assert_int_equal(0, seal_new_salt(&again));
    again.passes = seal.passes;
    again.memory = seal.memory;
    seal_parameters(&again, parameters);
    assert_int_equal(0, seal_derive(parameters, span_of("hunter2"), seeds[2]));
    assert_memory_not_equal(seeds[0], seeds[2], SEAL_SEED);
    assert_int_equal(0, seal_derive(parameters, (struct span){longest, LIMIT_PASSPHRASE}, seeds[0]));
    assert_int_equal(-EINVAL, seal_derive(parameters, (struct span){longest, LIMIT_PASSPHRASE + 1}, seeds[0]));
}

static void the_parameters_are_moderate(void **state)
{
    (void)state;
    struct seal seal;
    assert_int_equal(0, seal_new_salt(&seal));
    assert_int_equal(3, seal.passes);
    assert_int_equal(256 * 1024 * 1024, seal.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_seed_alone_opens),        cmocka_unit_test(boxes_of_many_batches),
        cmocka_unit_test(a_changed_box_does_not_open), cmocka_unit_test(nothing_can_be_read),
        cmocka_unit_test(a_full_arena_keeps_the_box),  cmocka_unit_test(a_passphrase_with_its_salt),
        cmocka_unit_test(the_parameters_are_moderate),
    };
    return cmocka_run_group_tests(tests, open_arena, close_arena);
}
