/* Digests, and a sign-in as text: what is written is read. */
#include "acquire/keeper.h"

#include "cleanup.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
/* after these */
#include <cmocka.h>

static bool no_memory;

char *strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = no_memory ? NULL : malloc(size);
    return copy ? memcpy(copy, text, size) : NULL;
}

/* By which user flow somebody signed in is known with who it was, or neither is: then the store is asked again. */
static void who_is_known_whole_or_not_at_all(void **state)
{
    struct holder holder = {0};
    struct credential credential = {.renew_by = 7}, plain = {.ends_at = 9};
    (void)state;
    (void)snprintf(credential.identity.subject, sizeof(credential.identity.subject), "alice");
    (void)snprintf(credential.policy, sizeof(credential.policy), "B2C_1_up");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(keeper_note_sign_in(&holder, &credential), 0);
        assert_true(holder.looked && holder.renew_by == 7);
        assert_string_equal(holder.policy, "B2C_1_up");
        assert_string_equal(holder.identity->subject, "alice");
        no_memory = true;
        assert_int_equal(keeper_note_sign_in(&holder, &credential), -ENOMEM);
        assert_true(!holder.looked && !holder.identity && !holder.policy);
        no_memory = false;
    }
    assert_int_equal(keeper_note_sign_in(&holder, &plain), 0);
    assert_true(holder.looked && holder.identity && !holder.policy && holder.ends_at == 9);
    assert_int_equal(keeper_note_sign_in(&holder, NULL), 0);
    assert_true(holder.looked && !holder.identity && !holder.policy && !holder.ends_at);
}

static void digests(void **state)
{
    char text[DIGEST_TEXT + 1], other[DIGEST_TEXT + 1];
    const struct span parts[] = {span_of("abc"), {0}, span_of("")};
    const struct span joined[] = {span_of("ab"), span_of("c"), {0}, span_of("")};
    (void)state;
    assert_int_equal(0, digest_text(parts, 3, text));
    assert_string_equal("13a2689f3b7d86586fd3db243c8f4d495b39556dd8c2f5b8a8aae0640010c81b",
                        text); /* by another program */
    assert_int_equal(0, digest_text(joined, 4, other));
    assert_string_not_equal(text, other);
    assert_int_equal(0, digest_text(parts, 2, other));
    assert_string_not_equal(text, other);
}

static void what_is_written_is_read(void **state)
{
    static const char token[] = "a\"b\\c \xc3\xbc";
    struct credential credential = {.scope = (char *)(uintptr_t) "openid \"x\"", .unanswered = true}, read;
    struct secret *text;
    (void)state;
    assert_int_equal(0, secret_new(token, strlen(token), &credential.refresh_token));
    (void)snprintf(credential.identity.issuer, sizeof(credential.identity.issuer), "https://a");
    (void)snprintf(credential.identity.account, sizeof(credential.identity.account), "\xc3\xa4@x");
    assert_int_equal(0, credential_write(&credential, &text));
    assert_int_equal(0, credential_read(text, &read));
    assert_true(span_equals(span_of(token), secret_span(read.refresh_token)));
    assert_string_equal(credential.scope, read.scope);
    assert_string_equal("https://a", read.identity.issuer);
    assert_string_equal("", read.identity.subject);
    assert_string_equal("\xc3\xa4@x", read.identity.account);
    assert_true(read.unanswered && !read.uncertain && !read.sending && !read.steady);
    assert_string_equal("", read.policy);
    secret_unref(text);
    credential_clear(&read);
    (void)snprintf(credential.policy, sizeof(credential.policy), "B2C_1_stepup");
    assert_int_equal(0, credential_write(&credential, &text));
    assert_int_equal(0, credential_read(text, &read));
    assert_string_equal("B2C_1_stepup", read.policy);
    secret_unref(text);
    credential_clear(&read);
    credential.sending = credential.steady = true;
    (void)snprintf(credential.sender, sizeof(credential.sender), "0123456789abcdef:1:2");
    assert_int_equal(0, credential_write(&credential, &text));
    assert_int_equal(0, credential_read(text, &read));
    assert_true(read.sending && read.steady);
    assert_string_equal("0123456789abcdef:1:2", read.sender);
    secret_unref(text);
    credential_clear(&read);
    credential.sending = false; /* whoever it was */
    assert_int_equal(0, credential_write(&credential, &text));
    assert_int_equal(0, credential_read(text, &read));
    assert_true(!read.sending && !*read.sender);
    secret_unref(text);
    credential_clear(&read);
    credential.refresh_token = secret_unref(credential.refresh_token);
    credential.scope = NULL; /* a sign-in without either */
    assert_int_equal(0, credential_write(&credential, &text));
    assert_int_equal(0, credential_read(text, &read));
    assert_null(read.refresh_token);
    assert_null(read.scope);
    secret_unref(text);
    credential_clear(&read);
}

static void what_is_no_sign_in(void **state)
{
    static const char *const texts[] = {"",
                                        "{",
                                        "[]",
                                        "\"x\"",
                                        "{\"refresh_token\":7}",
                                        "{\"refresh_token\":\"x\",\"scope\":[]}",
                                        "{\"unanswered\":1}",
                                        "{\"account\":\"a\\u0000b\"}",
                                        "{\"issuer\":7}",
                                        "{\"sender\":true}",
                                        "{\"policy\":7}",
                                        "{\"policy\":\"../b\"}"};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        struct credential read;
        struct secret *text;
        assert_int_equal(0, secret_new(texts[i], strlen(texts[i]), &text));
        assert_int_equal(-EBADMSG, credential_read(text, &read));
        secret_unref(text);
    }
}

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_arena, close_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_is_known_whole_or_not_at_all),
        TEST(digests),
        TEST(what_is_written_is_read),
        TEST(what_is_no_sign_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
