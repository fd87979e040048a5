/* The pure parts of the sign-in helper of PAM: its command line, which profiles decide a login, and what is told of
 * claims. */
#include "login/fitness.h"
#include "login/parts.h"
#include "login/person.h"

#include "cleanup.h"
#include "config_fixture.h"
#include "json.h"
#include "lines.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
/* after the four above */
#include <cmocka.h>

/* ---- the command line ---- */

#define ARGV(...)  ((char *const[]){(char *)(uintptr_t) "mltoken-pam-login", __VA_ARGS__, NULL})
#define WORD(text) ((char *)(uintptr_t)(text))

static void reads_what_the_module_writes(void **state)
{
    struct wanted wanted;
    char problem[LIMIT_TEXT];
    (void)state;
    assert_int_equal(0, wanted_read(ARGV(WORD("--config"), WORD("/f"), WORD("--profile"), WORD("p"), WORD("--max-wait"),
                                         WORD("3600"), WORD("--claim"), WORD("upn"), WORD("--claim"), WORD("upn"),
                                         WORD("--verification-host"), WORD("h"), WORD("--qr"), WORD("--debug")),
                                    &wanted, problem));
    assert_string_equal("/f", wanted.config);
    assert_string_equal("p", wanted.profile);
    assert_int_equal(3600 * 1000, wanted.wait_ms);
    assert_int_equal(1, wanted.claim_count);
    assert_int_equal(1, wanted.host_count);
    assert_null(wanted.hosts[1]);
    assert_true(wanted.qr && wanted.debug && wanted.what == WANTED_SIGN_IN);
    assert_int_equal(0, wanted_read(ARGV(WORD("--verify")), &wanted, problem));
    assert_int_equal(100 * 1000, wanted.wait_ms);
    assert_null(wanted.profile);
    assert_string_equal(MLTOKEN_SYSCONFDIR "/mltoken/pam.conf", wanted.config);
    assert_int_equal(WANTED_VERIFY, wanted.what);
    assert_int_equal(0, wanted_read((char *const[]){NULL}, &wanted, problem));
}

static void holds_the_limits_of_the_command_line(void **state)
{
    static char names[LIMIT_LOGIN_CLAIMS + 1][8], hosts[LIMIT_HOSTS + 1][8];
    char *argv[2 * (LIMIT_HOSTS + 1) + 2] = {names[0]};
    char longest[LIMIT_LINE_NAME + 1] = "", problem[LIMIT_TEXT];
    struct wanted wanted;
    (void)state;
    for (size_t i = 0; i <= LIMIT_LOGIN_CLAIMS; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "c%zu", i);
        argv[1 + 2 * i] = WORD("--claim");
        argv[2 + 2 * i] = names[i];
    }
    assert_int_equal(-EINVAL, wanted_read(argv, &wanted, problem));
    argv[1 + 2 * LIMIT_LOGIN_CLAIMS] = NULL;
    assert_int_equal(0, wanted_read(argv, &wanted, problem));
    assert_int_equal(LIMIT_LOGIN_CLAIMS, wanted.claim_count);
    for (size_t i = 0; i <= LIMIT_HOSTS; i++) {
        (void)snprintf(hosts[i], sizeof(hosts[i]), "h%zu", i);
        argv[1 + 2 * i] = WORD("--verification-host");
        argv[2 + 2 * i] = hosts[i];
    }
    assert_int_equal(-EINVAL, wanted_read(argv, &wanted, problem));
    argv[1 + 2 * LIMIT_HOSTS] = NULL;
    assert_int_equal(0, wanted_read(argv, &wanted, problem));
    for (size_t length = 57; length <= 59; length++) {
        for (size_t i = 0; i < length; i++)
            longest[i] = 'a';
        longest[length] = '\0';
        assert_int_equal(length <= 58 ? 0 : -EINVAL, wanted_read(ARGV(WORD("--claim"), longest), &wanted, problem));
    }
    assert_int_equal(0, wanted_read(ARGV(WORD("--max-wait"), WORD("1")), &wanted, problem));
    assert_int_equal(-EINVAL, wanted_read(ARGV(WORD("--max-wait"), WORD("0")), &wanted, problem));
    assert_int_equal(-EINVAL, wanted_read(ARGV(WORD("--max-wait"), WORD("3601")), &wanted, problem));
}

/* ---- profiles ---- */

static struct config *read_profile(const char *settings)
{
    char text[2048];
    struct config *config;
    (void)snprintf(text, sizeof(text), "[pam]\nx = y\n[profile p]\nclient_id = c\n%s", settings);
    struct config_text texts[] = {{.file = "f", .text = {text, strlen(text)}, .others = "pam"}};
    assert_int_equal(0, config_read_all(texts, 1, &config));
    assert_non_null(config->profiles[0]);
    if (config->profiles[0]->problem)
        fail_msg("%s", config->profiles[0]->problem);
    return config;
}

static void fits_when(const char *settings, bool trial, const char *unfit)
{
    const char *key, *problem;
    struct config *config = read_profile(settings);
    problem = fitness_problem(config->profiles[0], trial, &key);
    if (unfit) {
        assert_non_null(problem);
        assert_string_equal(unfit, key);
    } else if (problem) {
        fail_msg("%s: %s: %s", settings, key, problem);
    }
    config_free(config);
}

static void fits(const char *settings, const char *unfit)
{
    fits_when(settings, false, unfit);
}

#define DEVICE "grant = device_code\n"
#define OPENID "scope = openid profile\n"
#define ENTRA  "authority = https://login.microsoftonline.com"

static void knows_whose_word_counts(void **state)
{
    (void)state;
    fits(DEVICE OPENID "authority = https://login.example.org", NULL);
    fits(DEVICE OPENID "authority = https://login.example.org/realms/common", NULL);
    fits(DEVICE OPENID ENTRA "/contoso.onmicrosoft.com/v2.0", NULL);
    fits(DEVICE OPENID ENTRA "/11111111-2222-3333-4444-555555555555", NULL);
    fits(DEVICE OPENID ENTRA "/commons/v2.0", NULL);
    fits(DEVICE OPENID ENTRA "/common/v2.0", "authority");
    fits(DEVICE OPENID ENTRA "/Organizations", "authority");
    fits(DEVICE OPENID ENTRA "\ntenant = consumers", "authority");
    fits(DEVICE OPENID ENTRA "/9188040D-6c67-4c5b-b112-36a304b66dad/v2.0", "authority");
    fits(DEVICE OPENID "dialect = entra\nauthority = https://login.example.org/common/v2.0", "authority");
    fits(DEVICE OPENID "token_endpoint = https://a.example/t\ndevice_authorization_endpoint = https://a.example/d",
         "authority");
    static const char *const plain[] = {"http://127.0.0.1", "http://127.0.0.1:8080/realms/x", "http://[::1]:80",
                                        "http://127.1.2.3/"};
    for (size_t i = 0; i < ELEMENTS(plain); i++) {
        char settings[256];
        (void)snprintf(settings, sizeof(settings), DEVICE OPENID "authority = %s", plain[i]);
        fits_when(settings, false, "authority");
        fits_when(settings, true, NULL);
    }
    fits(DEVICE OPENID "authority = http://127.0.0.1\njwks_uri = https://login.example.org/keys", "authority");
    fits_when(DEVICE OPENID ENTRA "/common/v2.0", true, "authority");
    fits(DEVICE "scope = openidconnect\nauthority = https://a.example", "scope");
    fits(DEVICE "authority = https://a.example", "scope");
    fits(DEVICE OPENID "authority = https://a.example\nclient_secret = stored", "client_secret");
    fits(DEVICE OPENID "authority = https://a.example\nclient_secret = env:X", "client_secret");
    fits(DEVICE OPENID "authority = https://a.example\nclient_secret = file:/etc/x", NULL);
    fits("grant = authorization_code\n" OPENID "authority = https://a.example", "grant");
    fits("grant = static\ntoken = file:/x", "grant");
}

/* ---- claims ---- */

static int left_out;

static void on_left(void *arg, const char *claim, const char *why)
{
    (void)arg;
    assert_non_null(claim);
    assert_non_null(why);
    left_out++;
}

/* Tells of such claims, and reads the line as the module does. */
static int tell(const char *text, const struct wanted *wanted, struct line *ret)
{
    json_object *claims;
    _cleanup_buffer_ struct buffer line = BUFFER(LIMIT_LINE + 1);
    left_out = 0;
    assert_int_equal(0, json_parse(text, strlen(text), LIMIT_RESPONSE_DEPTH, &claims));
    line_begin(&line, "done");
    int r = person_tell(&line, claims, "client", wanted, true, on_left, NULL);
    json_wipe(claims);
    if (r < 0)
        return r;
    assert_int_equal(0, line_end(&line));
    assert_int_equal(0, line_parse((struct span){line.data, line.length - 1}, ret));
    return 0;
}

static const char *told(const struct line *line, const char *name)
{
    const char *text;
    return line_text(line, name, &text) == 0 ? text : NULL;
}

#define WHO "\"iss\":\"https://a\",\"sub\":\"s\""

static void tells_who_it_is(void **state)
{
    static const struct wanted wanted = {.claims = {"email", "upn", "email_verified"}, .claim_count = 3};
    _cleanup_line_ struct line line = {0};
    (void)state;
    assert_int_equal(0, tell("{" WHO ",\"tid\":\"t\",\"oid\":\"o\",\"email\":\"e\",\"email_verified\":true,\"upn\":7,"
                             "\"preferred_username\":\"never\",\"iat\":1700000000}",
                             &wanted, &line));
    assert_string_equal("https://a", told(&line, "issuer"));
    assert_string_equal("s", told(&line, "sub"));
    assert_string_equal("client", told(&line, "client_id"));
    assert_string_equal("t", told(&line, "tid"));
    assert_string_equal("o", told(&line, "oid"));
    assert_string_equal("e", told(&line, "claim.email"));
    assert_string_equal("true", told(&line, "claim.email_verified"));
    assert_string_equal("1700000000", told(&line, "iat"));
    assert_null(told(&line, "claim.upn"));
    assert_null(told(&line, "claim.preferred_username"));
    assert_int_equal(1, left_out);
}

static void tells_nobody_without_a_subject(void **state)
{
    static const struct wanted none = {0};
    static const char *const texts[] = {
        "{\"iss\":\"a\"}",
        "{\"sub\":\"a\"}",
        "{\"iss\":\"a\",\"sub\":\"\"}",
        "{\"iss\":\"a\",\"sub\":\"x\\u0000\"}",
        "{\"iss\":\"a\",\"sub\":7}",
        "{\"iss\":\"a\",\"sub\":[\"s\"]}",
        "{\"iss\":\"\",\"sub\":\"a\"}",
        "[]",
    };
    struct line line;
    (void)state;
    for (size_t i = 0; i < ELEMENTS(texts); i++)
        assert_int_equal(-EBADMSG, tell(texts[i], &none, &line));
}

static void holds_a_text_to_its_length(void **state)
{
    static const struct wanted none = {0};
    char text[1024];
    (void)state;
    for (int length = LIMIT_SUBJECT - 1; length <= LIMIT_SUBJECT + 1; length++) {
        _cleanup_line_ struct line line = {0};
        (void)snprintf(text, sizeof(text), "{\"iss\":\"https://a\",\"sub\":\"%0*d\"}", length, 0);
        int r = tell(text, &none, &line);
        assert_int_equal(length <= LIMIT_SUBJECT ? 0 : -EBADMSG, r);
    }
}

static size_t count(const struct line *line, const char *name)
{
    size_t at = 0, found = 0;
    while (line_next(line, name, &at))
        found++;
    return found;
}

static void holds_groups_to_their_number(void **state)
{
    static const struct wanted none = {0};
    (void)state;
    for (size_t many = LIMIT_LOGIN_GROUPS - 1; many <= LIMIT_LOGIN_GROUPS + 1; many++) {
        _cleanup_line_ struct line line = {0};
        _cleanup_buffer_ struct buffer text = BUFFER(65536);
        buffer_text(&text, "{" WHO ",\"roles\":\"r\",\"groups\":[");
        for (size_t i = 0; i < many; i++)
            buffer_format(&text, "%s\"g%zu\"", i ? "," : "", i);
        buffer_text(&text, "]}");
        assert_int_equal(0, tell(text.data, &none, &line));
        bool fit = many <= LIMIT_LOGIN_GROUPS;
        assert_int_equal(fit ? many : 0, count(&line, "group"));
        assert_int_equal(1, count(&line, "role"));
        assert_string_equal(fit ? "no" : "yes", told(&line, "overage"));
    }
}

static void sees_that_groups_were_left_out(void **state)
{
    static const struct {
        const char *text;
        bool over;
    } rows[] = {
        {"{}", false},
        {"{\"_claim_names\":{\"groups\":\"s\"}}", true},
        {"{\"_claim_names\":{\"roles\":\"s\"}}", true},
        {"{\"_claim_names\":{\"address\":\"s\"}}", false},
        {"{\"_claim_names\":{\"address\":\"s\"},\"_claim_sources\":{}}", false},
        {"{\"_claim_names\":[]}", true},
        {"{\"_claim_sources\":{}}", true},
        {"{\"hasgroups\":true}", true},
        {"{\"hasgroups\":\"false\"}", true},
        {"{\"hasgroups\":0}", true},
        {"{\"hasgroups\":false}", false},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        json_object *claims;
        assert_int_equal(0, json_parse(rows[i].text, strlen(rows[i].text), 8, &claims));
        assert_int_equal(rows[i].over, person_is_over(claims));
        json_wipe(claims);
    }
}

/* ---- words ---- */

static void explains_a_failure(void **state)
{
    char text[PARTS_TEXT];
    struct failure why;
    (void)state;
    failure_set(&why, FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE, "cannot reach x");
    parts_explain(&why, text);
    assert_string_equal("cannot reach x", text);
    failure_set(&why, FAILURE_AUTHORITY_REFUSED, CLASS_DEFINITE, "%s", "");
    parts_explain(&why, text);
    assert_string_equal("AuthorityRefused", text);
    (void)snprintf(why.error, sizeof(why.error), "invalid_grant");
    parts_explain(&why, text);
    assert_string_equal("the authority says: invalid_grant", text);
    (void)snprintf(why.description, sizeof(why.description), "no");
    (void)snprintf(why.reason, sizeof(why.reason), "ours");
    (void)snprintf(why.correlation_id, sizeof(why.correlation_id), "1-2");
    parts_explain(&why, text);
    assert_string_equal("the authority says: invalid_grant: no; ours (correlation id 1-2)", text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_the_module_writes),
        cmocka_unit_test(holds_the_limits_of_the_command_line),
        cmocka_unit_test(knows_whose_word_counts),
        cmocka_unit_test(tells_who_it_is),
        cmocka_unit_test(tells_nobody_without_a_subject),
        cmocka_unit_test(holds_a_text_to_its_length),
        cmocka_unit_test(holds_groups_to_their_number),
        cmocka_unit_test(sees_that_groups_were_left_out),
        cmocka_unit_test(explains_a_failure),
    };
    return cmocka_run_group_tests_name("login", tests, NULL, NULL);
}
