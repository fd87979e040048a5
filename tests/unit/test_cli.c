/* Parts of the command that decide: which address is safe, which option was meant, what a starting configuration takes.
 */
#include "cli/config_ask.c"
#include "cli/config_template.c"
#include "cli/log.c"
#include "cli/options.c"
#include "cli/output.c"
#include "cli/uri.c"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_safe_addresses(void **state)
{
    (void)state;
    static const char *const safe[] = {"https://a.example",       "HTTPS://A.example/x?y#z", "https://a.example:8443/d",
                                       "https://[2001:db8::1]/d", "http://127.0.0.1/d",      "http://127.9.9.9:80",
                                       "http://[::1]:8080/d"};
    static const char *const unsafe[] = {"",
                                         "a.example",
                                         "http://a.example/d",
                                         "ftp://a.example",
                                         "javascript:alert(1)",
                                         "https://",
                                         "https:///d",
                                         "https://a.example@evil.example/",
                                         "https://127.0.0.1:80@evil.example",
                                         "http://127.0.0.1@evil.example",
                                         "http://localhost/d",
                                         "http://127.0.0.1.evil.example/",
                                         "http://[::2]/",
                                         "http://[::1",
                                         "https://[::1]x/",
                                         "https://a b.example",
                                         "https://a.example/\n",
                                         "https://\xd0\xb0.example/",
                                         "http://0x7f000001/",
                                         "http://127.1/",
                                         "https://a.example\\@evil.example/",
                                         "https://a.example/\x1b[31m",
                                         "//a.example",
                                         "file:///x"};
    for (size_t i = 0; i < ELEMENTS(safe); i++)
        if (!uri_is_safe(safe[i]))
            fail_msg("refused: %s", safe[i]);
    for (size_t i = 0; i < ELEMENTS(unsafe); i++)
        if (uri_is_safe(unsafe[i]))
            fail_msg("taken: %s", unsafe[i]);
}

static void test_hosts(void **state)
{
    (void)state;
    static const struct {
        const char *uri, *host;
    } cases[] = {{"https://a.example/x@y", "a.example"},
                 {"https://a.example:1?x", "a.example"},
                 {"https://[::1]:1/", "::1"},
                 {"https://a.example\\@evil.example/", "a.example"}};
    char host[64];
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        assert_int_equal(uri_host(cases[i].uri, host, sizeof(host)), 0);
        assert_string_equal(host, cases[i].host);
    }
    char tight[10];
    assert_int_equal(uri_host("https://a.example", tight, 10), 0);
    assert_int_equal(uri_host("https://a.example", tight, 9), -EINVAL);
}

static struct {
    bool flag;
    const char *text;
    int64_t number;
    struct option_list list;
    struct context context;
    struct arguments arguments;
} got;

static int parse_all(bool rest, char **argv)
{
    static const struct option options[] = {{"--flag", OPTION_FLAG, &got.flag, NULL, ""},
                                            {"--text", OPTION_TEXT, &got.text, "T", ""},
                                            {"--number", OPTION_NUMBER, &got.number, "N", ""},
                                            {"--list", OPTION_LIST, &got.list, "L", ""}};
    const struct usage usage = {.command = "test",
                                .arguments = "",
                                .summary = "",
                                .options = options,
                                .option_count = 4,
                                .most = 1,
                                .rest = rest};
    int argc = 0;
    while (argv[argc])
        argc++;
    memset(&got, 0, sizeof(got));
    return options_parse(&got.context, &usage, argc, argv, &got.arguments);
}

#define PARSE(rest, ...) parse_all(rest, (char *[]){(char *)(uintptr_t) "test", __VA_ARGS__, NULL})
#define A(text)          (char *)(uintptr_t)(text)

static void test_options(void **state)
{
    (void)state;
    assert_int_equal(
        PARSE(false, A("--flag"), A("p"), A("--text=a=b"), A("--number"), A("7"), A("--list"), A("x"), A("--list=y")),
        OPTIONS_GO);
    assert_true(got.flag);
    assert_string_equal(got.text, "a=b");
    assert_int_equal(got.number, 7);
    assert_int_equal(got.list.count, 2);
    assert_string_equal(got.list.values[1], "y");
    assert_int_equal(got.arguments.count, 1);
    assert_int_equal(PARSE(false, A("--json"), A("--quiet"), A("--socket"), A("/x/y")), OPTIONS_GO);
    assert_true(got.context.json && got.context.quiet);
    assert_string_equal(got.context.socket, "/x/y");
    assert_int_equal(PARSE(false, A("--"), A("--flag")), OPTIONS_GO);
    assert_false(got.flag);
    assert_string_equal(got.arguments.values[0], "--flag");
    assert_int_equal(PARSE(true, A("p"), A("--"), A("cmd"), A("--flag")), OPTIONS_GO);
    assert_string_equal(got.arguments.rest[1], "--flag");
    static const char *const wrong[] = {
        "--flg",      "--flag=1",    "--json=1",    "--text",    "--socket",
        "--number=x", "--number=-1", "--number=1x", "--number=", "--number=99999999999999999999",
        "-x",         "--"};
    for (size_t i = 0; i < ELEMENTS(wrong) - 1; i++)
        assert_int_equal(PARSE(false, A(wrong[i])), EXIT_USAGE);
    assert_int_equal(PARSE(false, A("a"), A("b")), EXIT_USAGE);
    char number[32];
    for (int64_t value = LIMIT_LIFETIME_S - 1; value <= LIMIT_LIFETIME_S + 1; value++) {
        (void)snprintf(number, sizeof(number), "--number=%lld", (long long)value);
        assert_int_equal(PARSE(false, number), value <= LIMIT_LIFETIME_S ? OPTIONS_GO : EXIT_USAGE);
    }
}

static void test_list_maximum(void **state)
{
    (void)state;
    for (size_t count = OPTION_LIST_MAXIMUM - 1; count <= OPTION_LIST_MAXIMUM + 1; count++) {
        char *argv[OPTION_LIST_MAXIMUM + 3] = {A("test")};
        for (size_t i = 1; i <= count; i++)
            argv[i] = A("--list=x");
        assert_int_equal(parse_all(false, argv), count <= OPTION_LIST_MAXIMUM ? OPTIONS_GO : EXIT_USAGE);
    }
}

static void test_new_profiles(void **state)
{
    (void)state;
    struct new_profile good = {.name = "a", .grant = "client_credentials"};
    good.values[FIELD_AUTHORITY] = "https://a.example";
    good.values[FIELD_CLIENT_ID] = "c";
    struct new_profile stored = good, filed = good, keyed = good, person = good;
    assert_int_equal(config_ask(&stored), EXIT_DONE);
    assert_string_equal(stored.values[FIELD_CLIENT_SECRET], "stored");
    filed.values[FIELD_CLIENT_SECRET] = "file:/x";
    assert_int_equal(config_ask(&filed), EXIT_DONE);
    keyed.values[FIELD_CLIENT_KEY] = "/k";
    assert_int_equal(config_ask(&keyed), EXIT_DONE);
    assert_null(keyed.values[FIELD_CLIENT_SECRET]);
    person.grant = "device_code"; /* a person needs none */
    assert_int_equal(config_ask(&person), EXIT_DONE);
    assert_null(person.values[FIELD_CLIENT_SECRET]);
    static const struct {
        enum field field;
        const char *value;
    } wrong[] = {
        {FIELD_CLIENT_SECRET, "hunter2"},      {FIELD_CLIENT_SECRET, "file:"}, {FIELD_AUTHORITY, "http://a.example"},
        {FIELD_CLIENT_ID, "c\n[agent]"},       {FIELD_CLIENT_ID, ""},          {FIELD_CLIENT_KEY, "k.pem"},
        {FIELD_USERNAME, "means nothing here"}};
    for (size_t i = 0; i < ELEMENTS(wrong); i++) {
        struct new_profile bad = good;
        bad.values[wrong[i].field] = wrong[i].value;
        assert_int_equal(config_ask(&bad), EXIT_USAGE);
    }
    struct new_profile name = good, grant = good, from = good, both = good, none = {.name = "a"};
    name.name = "-a";
    grant.grant = "implicit";
    from.from = "entr";
    both.values[FIELD_CLIENT_SECRET] = "stored";
    both.values[FIELD_CLIENT_KEY] = "/k";
    assert_int_equal(config_ask(&name), EXIT_USAGE);
    assert_int_equal(config_ask(&grant), EXIT_USAGE);
    assert_int_equal(config_ask(&from), EXIT_USAGE);
    assert_int_equal(config_ask(&both), EXIT_USAGE);
    assert_int_equal(config_ask(&none), EXIT_USAGE);
}

static int without_a_terminal(void **state)
{
    (void)state;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    return null >= 0 && dup2(null, STDIN_FILENO) >= 0 && close(null) == 0 ? 0 : -1;
}

static const char *entry_text(bool json, const char *line)
{
    static char shown[4096];
    _cleanup_buffer_ struct buffer text = BUFFER(sizeof(shown) - 1);
    assert_int_equal(append_entry(&text, json, span_of(line)), 0);
    (void)snprintf(shown, sizeof(shown), "%s", text.data ? text.data : "");
    return shown;
}

/* What journalctl -o json says; of it only our fields come through, and nothing steers a terminal. */
static void test_log_entries(void **state)
{
    (void)state;
    (void)setenv("TZ", "UTC", 1);
    tzset();
    static const char first[] =
        "{\"__REALTIME_TIMESTAMP\":\"1795344684123456\",\"MLTOKEN_PROFILE\":\"p\",\"MLTOKEN_PID\":\"12\","
        "\"MLTOKEN_EXE\":\"/usr/bin/\xe2\x80\xae x\",\"MLTOKEN_SOURCE\":\"hit\",\"MLTOKEN_COUNT\":\"1\","
        "\"MLTOKEN_APPLICATION\":\"me\",\"MESSAGE\":\"a token was handed out\",\"_BOOT_ID\":\"b\"}";
    assert_string_equal(entry_text(false, first),
                        "2026-11-22 10:51:24  p  1 hit  /usr/bin/\\u{202e} x (pid 12), calls itself \"me\"\n");
    assert_string_equal(entry_text(true, first),
                        "{\"time\":1795344684,\"profile\":\"p\",\"pid\":12,\"executable\":\"/usr/bin/\\u202e x\","
                        "\"application\":\"me\",\"source\":\"hit\",\"count\":1}\n");
    static const char more[] =
        "{\"__REALTIME_TIMESTAMP\":\"1795344684123456\",\"MLTOKEN_PROFILE\":[112,10],\"MLTOKEN_PID\":\"?\","
        "\"MLTOKEN_EXE\":null,\"MLTOKEN_SOURCE\":\"both\",\"MLTOKEN_COUNT\":\"37\",\"MESSAGE\":\"more tokens\"}";
    assert_string_equal(entry_text(false, more), "2026-11-22 10:51:24  ?  37 more both  ? (pid ?)\n");
    assert_string_equal(entry_text(true, more), "{\"time\":1795344684,\"source\":\"both\",\"count\":37}\n");
    static const char *const none[] = {"", "{", "[]", "{}", "{\"__REALTIME_TIMESTAMP\":\"x\"}", "-- No entries --"};
    for (size_t i = 0; i < ELEMENTS(none); i++)
        assert_string_equal(entry_text(true, none[i]), "");
}

static void test_an_end_that_is_too_soon(void **state)
{
    (void)state;
    static const struct {
        int64_t left, asked;
        const char *text;
    } cases[] = {
        {120, 600, " (2 min left), and 600 s were asked for"},
        {18, 19, " (18 s left), and 19 s were asked for"},
        {-5, 19, " (0 s left), and 19 s were asked for"},
        {0, 0, ", less than the 0 s that were asked for from now"},
        {19, 19, ", less than the 19 s that were asked for from now"}, /* 18.5 s, told in whole ones */
        {20, 19, ", less than the 19 s that were asked for from now"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_buffer_ struct buffer line = BUFFER(LIMIT_TEXT);
        char wanted[LIMIT_TEXT];
        (void)snprintf(wanted, sizeof(wanted), "it expires 2023-11-14 22:13:20%s", cases[i].text);
        output_too_soon(&line, 1700000000, cases[i].asked, 1700000000 - cases[i].left);
        assert_string_equal(wanted, line.data);
    }
}

int main(void)
{
    (void)setenv("TZ", "UTC", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_end_that_is_too_soon),
        cmocka_unit_test(test_log_entries),
        cmocka_unit_test(test_safe_addresses),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_list_maximum),
        cmocka_unit_test(test_new_profiles),
    };
    return cmocka_run_group_tests(tests, without_a_terminal, NULL);
}
