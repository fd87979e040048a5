/* The PAM module's pure parts: who is who, what it is told, what it says; each limit at max-1, max and max+1. How they
 * work together is in tests/system/test_pam_*.py. */
#include "cleanup.h"
#include "conversation.h"
#include "mapping.h"
#include "rate.h"
#include "settings.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>

static void make_done(struct line *ret, const char *issuer, const char *sub, const char *tid, const char *oid)
{
    _cleanup_buffer_ struct buffer text = BUFFER(LIMIT_LINE + 1);
    line_begin(&text, "done");
    line_put_text(&text, "issuer", issuer);
    line_put_text(&text, "sub", sub);
    line_put_text(&text, "overage", "no");
    if (tid)
        line_put_text(&text, "tid", tid);
    if (oid)
        line_put_text(&text, "oid", oid);
    assert_int_equal(line_end(&text), 0);
    assert_int_equal(line_parse((struct span){text.data, text.length - 1}, ret), 0);
}

static enum verdict by_map(const char *map, const char *issuer, const char *sub, const char *tid, const char *oid)
{
    static char name[] = "/map";
    const struct settings settings = {.map = name};
    char reason[VERDICT_REASON];
    _cleanup_line_ struct line done = {0};
    make_done(&done, issuer, sub, tid, oid);
    enum verdict verdict = mapping_decide(&settings, span_of(map), &done, "alice", reason);
    assert_int_equal(verdict == VERDICT_YES, reason[0] == '\0');
    return verdict;
}

static void test_map(void **state)
{
    (void)state;
    static const struct {
        const char *map, *sub, *tid, *oid;
        enum verdict verdict;
    } rows[] = {
        {"https://a sub:1 alice", "1", NULL, NULL, VERDICT_YES},
        {"\n \t\n# x\nhttps://a\tsub:1\talice  \n", "1", NULL, NULL, VERDICT_YES},
        {"https://a sub:1 bob\nhttps://a sub:1 alice\n", "1", NULL, NULL, VERDICT_YES},
        {"https://a tid:t,oid:o alice", "1", "t", "o", VERDICT_YES},
        {"", "1", NULL, NULL, VERDICT_STRANGER},
        {"#https://a sub:1 alice", "1", NULL, NULL, VERDICT_STRANGER},
        {"https://a sub:1 alice", "2", NULL, NULL, VERDICT_STRANGER},
        {"https://a sub:1 alice", "", NULL, NULL, VERDICT_BROKEN},
        {"https://a sub:1 Alice", "1", NULL, NULL, VERDICT_STRANGER},
        {"https://a sub:1 alicex", "1", NULL, NULL, VERDICT_STRANGER},
        {"https://a sub:1 alic", "1", NULL, NULL, VERDICT_STRANGER},
        {"https://a/ sub:1 alice", "1", NULL, NULL, VERDICT_STRANGER},
        {"https://a sub:tid:t,oid:o alice", "1", "t", "o", VERDICT_STRANGER},
        {"https://a tid:t,oid:o alice", "o", "t", NULL, VERDICT_STRANGER},
        {"https://a tid:t,oid:o alice", "o", NULL, "o", VERDICT_STRANGER},
        {"https://a sub:1 alice\nx", "1", NULL, NULL, VERDICT_BROKEN},
        {"https://a sub:1 alice\nhttps://a sub: bob", "1", NULL, NULL, VERDICT_BROKEN},
        {"https://a sub:1 alice\nhttps:// sub:1 bob", "1", NULL, NULL, VERDICT_BROKEN},
        {"https://a sub:1 alice\nhttps://a tid:,oid:o bob", "1", NULL, NULL, VERDICT_BROKEN},
        {"https://a sub:1 alice\nhttps://a tid:t,oid:o,x:y bob", "1", NULL, NULL, VERDICT_BROKEN},
        {"https://a sub:1 alice # comment", "1", NULL, NULL, VERDICT_BROKEN},
    };
    for (size_t i = 0; i < ELEMENTS(rows); i++)
        assert_int_equal(by_map(rows[i].map, "https://a", rows[i].sub, rows[i].tid, rows[i].oid), rows[i].verdict);
}

static void test_map_line_limit(void **state)
{
    (void)state;
    for (size_t length = LIMIT_PAM_MAP_LINE - 1; length <= LIMIT_PAM_MAP_LINE + 1; length++) {
        char map[LIMIT_PAM_MAP_LINE + 2];
        memset(map, ' ', sizeof(map));
        memcpy(map, "https://a sub:1 alice", 21);
        map[length] = '\0';
        assert_int_equal(by_map(map, "https://a", "1", NULL, NULL),
                         length <= LIMIT_PAM_MAP_LINE ? VERDICT_YES : VERDICT_BROKEN);
    }
}

static int take(const char *text, struct settings *settings)
{
    char problem[SETTINGS_PROBLEM] = "";
    int r = settings_take_file(settings, span_of(text), problem);
    if (r == 0)
        r = settings_finish(settings, "sshd", problem);
    assert_int_equal(r == 0, problem[0] == '\0');
    return r;
}

static void test_settings(void **state)
{
    (void)state;
    _cleanup_settings_ struct settings settings = {0};
    assert_int_equal(
        take("[pam]\nmap = /m\nrequire_group = a, b  c\nrate = 3/60\nexport = p:A_TOKEN\n[profile x]\nany = 1",
             &settings),
        0);
    assert_int_equal(settings.require_group.count, 3);
    assert_string_equal(settings.require_group.items[2], "c");
    assert_int_equal(settings.rate_count, 3);
    assert_int_equal(settings.rate_seconds, 60);
    assert_int_equal(settings.max_wait, DEFAULT_PAM_WAIT_S);
}

static int take_numbered(const char *key, int number, const char *rest)
{
    _cleanup_settings_ struct settings settings = {0};
    char text[256];
    (void)snprintf(text, sizeof(text), "[pam]\nmap=/m\n%s=%d%s\n", key, number, rest);
    return take(text, &settings);
}

static int take_list(size_t count)
{
    _cleanup_settings_ struct settings settings = {0};
    _cleanup_buffer_ struct buffer text = BUFFER(4096);
    buffer_text(&text, "[pam]\nmap=/m\nrequire_role=");
    for (size_t i = 0; i < count; i++)
        buffer_text(&text, "r,");
    buffer_byte(&text, '\n');
    return take(text.data, &settings);
}

static int take_value(size_t length)
{
    _cleanup_settings_ struct settings settings = {0};
    _cleanup_buffer_ struct buffer text = BUFFER(4096);
    buffer_text(&text, "[pam]\nmap=/");
    for (size_t i = 1; i < length; i++)
        buffer_byte(&text, 'm');
    buffer_byte(&text, '\n');
    return take(text.data, &settings);
}

static void test_settings_limits(void **state)
{
    (void)state;
    for (int beyond = -1; beyond <= 1; beyond++) {
        int expected = beyond <= 0 ? 0 : -EINVAL;
        assert_int_equal(take_numbered("max_wait", LIMIT_PAM_WAIT_S + beyond, ""), expected);
        assert_int_equal(take_numbered("rate", LIMIT_PAM_ATTEMPTS / 4 + beyond, "/60"), expected);
        assert_int_equal(take_list((size_t)(LIMIT_PAM_LIST + beyond)), expected);
        assert_int_equal(take_value((size_t)(LIMIT_PAM_VALUE + beyond)), expected);
    }
    assert_int_equal(take_numbered("max_wait", 0, ""), -EINVAL);
}

static void test_min_uid_without_the_rest(void **state)
{
    (void)state;
    const char *words[] = {"nonsense", "min_uid=many", "min_uid=500"};
    assert_int_equal(settings_min_uid(2, words), DEFAULT_PAM_MIN_UID);
    assert_int_equal(settings_min_uid(3, words), 500);
    words[2] = "min_uid=0";
    assert_int_equal(settings_min_uid(3, words), DEFAULT_PAM_MIN_UID);
}

static void test_prompt(void **state)
{
    (void)state;
    char name[4097], uri[LIMIT_PAM_PROMPT + 2], text[LIMIT_PAM_PROMPT + 1];
    memset(name, '\x1b', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    struct prompt_facts facts = {
        .user = name, .service = name, .machine = name, .from = name, .uri = uri, .code = "AB", .again = true};
    size_t fits = 0;
    for (size_t length = 10; length <= LIMIT_PAM_PROMPT; length++) {
        memset(uri, 'u', length);
        uri[length] = '\0';
        if (prompt_write(&facts, text) < 0)
            break;
        assert_non_null(strstr(text, uri)); /* never cut */
        assert_null(strchr(text, '\x1b'));
        fits = length;
    }
    assert_in_range(fits, 100, LIMIT_PAM_PROMPT);
    assert_int_equal(strlen(text), LIMIT_PAM_PROMPT);
}

static void test_sources(void **state)
{
    (void)state;
    static const struct {
        const char *one, *two;
        bool same;
    } rows[] = {{"192.0.2.1", "192.0.2.1", true},
                {"192.0.2.1", "192.0.2.2", false},
                {"2001:db8::1", "2001:db8::2", true},
                {"2001:db8::1", "2001:db8:0:1::1", false},
                {"::ffff:192.0.2.1", "192.0.2.1", true},
                {"::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
                {"fe80::1%eth0", "fe80::2%eth1", true},
                {"host.example", "other.example", false},
                {NULL, "", true},
                {"../../etc", "../../etc/x", false},
                {"1.2.3.4 ", "1.2.3.4", false}};
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        struct rate_key one, two;
        rate_key_make(rows[i].one, 7, &one);
        rate_key_make(rows[i].two, 7, &two);
        assert_int_equal(strcmp(one.source, two.source) == 0, rows[i].same);
        assert_null(strchr(one.pair, '/'));
        rate_key_make(rows[i].one, 8, &two);
        assert_string_not_equal(one.pair, two.pair);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_map_line_limit),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_settings_limits),
        cmocka_unit_test(test_min_uid_without_the_rest),
        cmocka_unit_test(test_prompt),
        cmocka_unit_test(test_sources),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
