/* Sealed files in memory: they open with their key, for their profile, unchanged, and else not at all. */
#include "store/sealed.h"

#include "cleanup.h"
#include <errno.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
/* after these */
#include <cmocka.h>

static struct sealed_key key, other;
static const char binding[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static int set_up(void **state)
{
    (void)state;
    if (sodium_init() < 0)
        return -1;
    key.secret = sodium_malloc(SEALED_SECRET);
    other.secret = sodium_malloc(SEALED_SECRET);
    sealed_key_from_bytes(&key, SEALED_KEY_FILE, span_of("thirty-two bytes that nobody knows"));
    sealed_key_from_bytes(&other, SEALED_KEY_FILE, span_of("thirty-two bytes that nobody knowz"));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sodium_free(key.secret);
    sodium_free(other.secret);
    return 0;
}

static int try_open(const struct sealed_key *with, enum sealed_content content, const char *name, struct span bytes)
{
    char *plain = NULL;
    size_t length;
    int r = sealed_open(with, content, name, bytes, &plain, &length);
    assert_true((r == 0) == (plain != NULL));
    sodium_free(plain);
    return r;
}

static void opens_for_its_own_alone(void **state)
{
    uint8_t *file, *again;
    char *plain;
    size_t length, again_length, plain_length;
    struct sealed_head head;
    unsigned format;
    (void)state;
    assert_int_equal(0, sealed_seal(&key, SEALED_PROFILE, "work", span_of("the secret"), &file, &length));
    assert_int_equal(SEALED_HEAD + 10 + SEALED_TAG, length);
    const struct span span = {(const char *)file, length};
    assert_int_equal(0, sealed_head_read(span, &head, &format));
    assert_int_equal(SEALED_KEY_FILE, head.kind);
    assert_int_equal(SEALED_PROFILE, head.content);
    assert_memory_equal(key.id, head.id, SEALED_ID);
    assert_int_equal(0, sealed_open(&key, SEALED_PROFILE, "work", span, &plain, &plain_length));
    assert_int_equal(10, plain_length);
    assert_memory_equal("the secret", plain, 10);
    sodium_free(plain);
    assert_int_equal(-EBADMSG, try_open(&key, SEALED_PROFILE, "Work", span));
    assert_int_equal(-EBADMSG, try_open(&key, SEALED_PROFILE, "wor", span));
    assert_int_equal(-EBADMSG, try_open(&key, SEALED_PROFILE, "", span));
    assert_int_equal(-EBADMSG, try_open(&key, SEALED_STATE, "work", span));
    assert_int_equal(-EBADMSG, try_open(&other, SEALED_PROFILE, "work", span));
    assert_null(memmem(file, length, "secret", 6));
    /* the same again is another file: the nonce is random */
    assert_int_equal(0, sealed_seal(&key, SEALED_PROFILE, "work", span_of("the secret"), &again, &again_length));
    assert_memory_not_equal(sealed_tag(span), sealed_tag((struct span){(const char *)again, again_length}), SEALED_TAG);
    free(file);
    free(again);
}

static void every_bit_counts(void **state)
{
    uint8_t *file;
    size_t length;
    struct sealed_head head;
    unsigned format;
    (void)state;
    assert_int_equal(0, sealed_seal(&key, SEALED_PROFILE, "work", span_of("v"), &file, &length));
    for (size_t bit = 0; bit < length * 8; bit++) {
        file[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(-EBADMSG, try_open(&key, SEALED_PROFILE, "work", (struct span){(const char *)file, length}));
        file[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < length; cut++) {
        const struct span span = {(const char *)file, cut};
        assert_int_equal(cut < SEALED_HEAD + SEALED_TAG ? -EBADMSG : 0, sealed_head_read(span, &head, &format));
        assert_int_equal(-EBADMSG, try_open(&key, SEALED_PROFILE, "work", span));
    }
    assert_int_equal(0, try_open(&key, SEALED_PROFILE, "work", (struct span){(const char *)file, length}));
    free(file);
}

/* A changed head must not take all memory or all day. */
static void parameters_at_their_limit(void **state)
{
    static const struct {
        uint64_t passes, memory;
        int expected;
    } cases[] = {{0, 8 << 20, -EBADMSG},       {1, 8 << 20, 0},
                 {1, (8 << 20) - 1, -EBADMSG}, {16, 1 << 30, 0},
                 {17, 1 << 30, -EBADMSG},      {3, (1 << 30) + 1, -EBADMSG},
                 {3, UINT64_MAX, -EBADMSG},    {UINT64_MAX, 8 << 20, -EBADMSG}};
    uint8_t *file;
    size_t length;
    unsigned format;
    struct sealed_head head;
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct sealed_key passphrase = key;
        passphrase.kind = SEALED_PASSPHRASE;
        passphrase.passes = cases[i].passes;
        passphrase.memory = cases[i].memory;
        assert_int_equal(0, sealed_seal(&passphrase, SEALED_STATE, "", span_of("x"), &file, &length));
        assert_int_equal(cases[i].expected,
                         sealed_head_read((struct span){(const char *)file, length}, &head, &format));
        if (cases[i].expected == 0)
            assert_true(head.passes == cases[i].passes && head.memory == cases[i].memory);
        free(file);
    }
}

static void a_passphrase_gives_the_same_key_with_the_same_salt(void **state)
{
    struct sealed_key a = {.secret = sodium_malloc(SEALED_SECRET)}, b = {.secret = sodium_malloc(SEALED_SECRET)};
    (void)state;
    sealed_key_new_salt(&a);
    assert_true(a.passes >= 3 && a.memory >= 64 << 20); /* what is set for people */
    a.passes = 1;                                       /* for the test's time */
    a.memory = 8 << 20;
    b.passes = a.passes;
    b.memory = a.memory;
    memcpy(b.salt, a.salt, sizeof(a.salt));
    assert_int_equal(0, sealed_key_from_passphrase(&a, span_of("correct horse")));
    assert_int_equal(0, sealed_key_from_passphrase(&b, span_of("correct horse")));
    assert_memory_equal(a.secret, b.secret, SEALED_SECRET);
    assert_memory_equal(a.id, b.id, SEALED_ID);
    assert_int_equal(0, sealed_key_from_passphrase(&b, span_of("correct horsf")));
    assert_memory_not_equal(a.id, b.id, SEALED_ID);
    b.salt[0] ^= 1;
    assert_int_equal(0, sealed_key_from_passphrase(&b, span_of("correct horse")));
    assert_memory_not_equal(a.id, b.id, SEALED_ID);
    assert_memory_not_equal(a.secret, b.secret, SEALED_SECRET);
    sodium_free(a.secret);
    sodium_free(b.secret);
}

static void items_at_their_limit(void **state)
{
    static char names[LIMIT_STORE_SECRETS][LIMIT_SECRET_NAME + 1];
    struct sealed_items items = {.count = LIMIT_STORE_SECRETS}, back;
    char *plain;
    size_t length;
    (void)state;
    for (size_t i = 0; i < items.count; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "%0*zu", LIMIT_SECRET_NAME, i);
        items.items[i] = (struct sealed_item){names[i], binding, i + 1, {names[0], i}};
    }
    assert_int_equal(0, sealed_items_write(&items, &plain, &length));
    assert_int_equal(0, sealed_items_read((struct span){plain, length}, &back));
    assert_int_equal(items.count, back.count);
    for (size_t i = 0; i < items.count; i++) {
        struct sealed_item *item = sealed_items_find(&back, names[i]);
        assert_non_null(item);
        assert_string_equal(binding, item->binding);
        assert_int_equal(i + 1, item->version);
        assert_true(span_equals(items.items[i].value, item->value));
    }
    assert_null(sealed_items_find(&back, "0"));
    for (size_t cut = 1; cut < 109; cut++) /* inside of the last one's head and value */
        assert_int_equal(-EBADMSG, sealed_items_read((struct span){plain, length - cut}, &back));
    sodium_free(plain);
    static char large[LIMIT_SEALED_FILE];
    for (int more = -1; more <= 1; more++) {
        struct sealed_items one = {.count = 1};
        one.items[0] = (struct sealed_item){
            "n", binding, 1, {large, (size_t)(LIMIT_SEALED_FILE - SEALED_HEAD - SEALED_TAG - 110 + more)}};
        assert_int_equal(more > 0 ? -EMSGSIZE : 0, sealed_items_write(&one, &plain, &length));
        if (more <= 0)
            sodium_free(plain);
    }
}

static void the_state_knows_each_profile_once(void **state)
{
    enum { MANY = 500 };
    struct sealed_state one = {.sequence = 42, .profile = "p"}, back;
    uint8_t name[SEALED_ID], tag[SEALED_TAG];
    char text[32], *plain;
    size_t length;
    (void)state;
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < MANY; i++) {
            (void)snprintf(text, sizeof(text), "profile%d", i);
            sealed_state_name(text, name);
            randombytes_buf(tag, sizeof(tag));
            tag[0] = (uint8_t)i;
            assert_int_equal(0, sealed_state_set(&one, name, tag));
        }
    assert_int_equal(MANY, one.count);
    for (int i = 0; i < MANY; i += 2) {
        (void)snprintf(text, sizeof(text), "profile%d", i);
        sealed_state_name(text, name);
        assert_int_equal(0, sealed_state_set(&one, name, NULL));
        assert_int_equal(0, sealed_state_set(&one, name, NULL));
    }
    assert_int_equal(0, sealed_state_write(&one, &plain, &length));
    assert_int_equal(0, sealed_state_read((struct span){plain, length}, &back));
    assert_int_equal(-EBADMSG, sealed_state_read((struct span){plain, length - 1}, &(struct sealed_state){0}));
    assert_int_equal(-EBADMSG, sealed_state_read((struct span){plain, 72}, &(struct sealed_state){0}));
    sodium_free(plain);
    assert_int_equal(42, back.sequence);
    assert_string_equal("p", back.profile);
    assert_int_equal(MANY / 2, back.count);
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(text, sizeof(text), "profile%d", i);
        sealed_state_name(text, name);
        const struct sealed_entry *entry = sealed_state_find(&back, name);
        assert_true((entry != NULL) == (i % 2 == 1));
        if (entry)
            assert_int_equal((uint8_t)i, entry->tag[0]);
    }
    sealed_state_clear(&one);
    sealed_state_clear(&back);
}

static void the_state_at_its_limit(void **state)
{
    struct sealed_state one = {0}, back;
    uint8_t name[SEALED_ID] = {0};
    char *plain;
    uint8_t *file;
    size_t length, file_length,
        most = (LIMIT_SEALED_STATE - SEALED_HEAD - SEALED_TAG - 73) / sizeof(struct sealed_entry);
    (void)state;
    assert_true(most > LIMIT_PROFILES);
    for (size_t i = 0; i <= most; i++) {
        name[0] = (uint8_t)(i >> 16);
        name[1] = (uint8_t)(i >> 8);
        name[2] = (uint8_t)i;
        assert_int_equal(i < most ? 0 : -EMSGSIZE, sealed_state_set(&one, name, name));
    }
    assert_int_equal(most, one.count);
    assert_int_equal(0, sealed_state_write(&one, &plain, &length));
    assert_int_equal(0, sealed_seal(&key, SEALED_STATE, "", (struct span){plain, length}, &file, &file_length));
    assert_true(file_length <= LIMIT_SEALED_STATE);
    assert_int_equal(0, sealed_state_read((struct span){plain, length}, &back));
    assert_int_equal(most, back.count);
    free(file);
    sodium_free(plain);
    sealed_state_clear(&one);
    sealed_state_clear(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_for_its_own_alone),
        cmocka_unit_test(every_bit_counts),
        cmocka_unit_test(parameters_at_their_limit),
        cmocka_unit_test(a_passphrase_gives_the_same_key_with_the_same_salt),
        cmocka_unit_test(items_at_their_limit),
        cmocka_unit_test(the_state_knows_each_profile_once),
        cmocka_unit_test(the_state_at_its_limit),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
