/* Addresses: what is plain is read, whatever two readers could understand differently is refused. */
#include "authority/url.h"

#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

static void plain(void **state)
{
    static const struct {
        const char *text;
        bool https;
        const char *host;
        int port;
        const char *path, *query;
        bool loopback;
    } cases[] = {
        {"https://login.example.org", true, "login.example.org", 443, "", "", false},
        {"https://login.example.org/", true, "login.example.org", 443, "/", "", false},
        {"http://127.0.0.1:8080/a/b?c=d", false, "127.0.0.1", 8080, "/a/b", "c=d", true},
        {"http://127.255.0.3", false, "127.255.0.3", 80, "", "", true},
        {"http://128.0.0.1", false, "128.0.0.1", 80, "", "", false},
        {"http://[::1]:1/x", false, "::1", 1, "/x", "", true},
        {"http://[0:0:0:0:0:0:0:1]", false, "0:0:0:0:0:0:0:1", 80, "", "", true},
        {"https://[2001:db8::2]/", true, "2001:db8::2", 443, "/", "", false},
        {"http://[::ffff:127.0.0.1]", false, "::ffff:127.0.0.1", 80, "", "", false},
        {"http://localhost/", false, "localhost", 80, "/", "", false},
        {"http://127.0.0.1.example.org/", false, "127.0.0.1.example.org", 80, "/", "", false},
        {"https://Login.Example.org:65535", true, "Login.Example.org", 65535, "", "", false},
        {"https://a_b.example?x=1?y=/", true, "a_b.example", 443, "", "x=1?y=/", false},
        {"https://h/a%2Fb/%20", true, "h", 443, "/a%2Fb/%20", "", false},
        {"https://h/...", true, "h", 443, "/...", "", false},
        {"https://h/.well-known/x", true, "h", 443, "/.well-known/x", "", false},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct url url;
        print_message("%s\n", cases[i].text);
        assert_int_equal(url_parse(cases[i].text, &url), 0);
        assert_int_equal(url.https, cases[i].https);
        assert_true(span_equals(url.host, span_of(cases[i].host)));
        assert_int_equal(url.port, cases[i].port);
        assert_true(span_equals(url.path, span_of(cases[i].path)));
        assert_true(span_equals(url.query, span_of(cases[i].query)));
        assert_int_equal(url_is_loopback(&url), cases[i].loopback);
    }
}

static void places_of_this_host(void **state)
{
    static const struct {
        const char *text;
        bool link_local, localhost;
    } cases[] = {
        {"http://169.254.169.254/x", true, false},  {"http://169.254.0.0", true, false},
        {"http://169.254.255.255", true, false},    {"http://169.253.255.255", false, false},
        {"http://169.255.0.0", false, false},       {"http://254.169.0.1", false, false},
        {"http://169.254.169.254.x", false, false}, {"http://[fe80::1]", false, false},
        {"http://localhost:1/", false, true},       {"http://LOCALHOST", false, true},
        {"http://localhost.x", false, false},       {"http://xlocalhost", false, false},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct url url;
        assert_int_equal(url_parse(cases[i].text, &url), 0);
        assert_int_equal(url_is_link_local(&url), cases[i].link_local);
        assert_int_equal(url_is_localhost(&url), cases[i].localhost);
    }
}

static void refused(void **state)
{
    static const char *const cases[] = {
        "",
        "https",
        "https:",
        "https:/",
        "https://",
        "https:///x",
        "https://:443",
        "ftp://h",
        "HTTPS://h",
        "file:///etc/passwd",
        " https://h",
        "https://h ",
        "//h/x",
        "h/x",
        "javascript:x",
        "https:\\\\h",
        /* who is the host? */
        "https://user@h",
        "https://user:pw@h",
        "https://good.example:443@evil.example",
        "https://good.example\\@evil.example",
        "https://good.example\\.evil.example",
        "https://good\t.example",
        "https://good.example\n",
        "https://good.example\r\nX: y",
        "https://h/a b",
        "https://h/\x01",
        "https://h/\x7f",
        "https://h%2eexample",
        "https://h%00.example",
        "https://h/%00",
        "https://h/%0a",
        "https://h/%0D",
        "https://h/%7f",
        "https://h/%1f",
        "https://h/%",
        "https://h/%2",
        "https://h/%zz",
        "https://h/?q=%00",
        "https://h/?q=%",
        "https://h/#f",
        "https://h#f",
        "https://h?#",
        "https://evil.example#good.example",
        "https://b\xc3\xbc"
        "cher.example",
        "https://good.example\xe3\x80\x82"
        "evil",
        "https://g\xef\xbd\x8fod",
        "https://h/\xc3\xbc",
        "https://h..example",
        "https://.h",
        "https://h.",
        "https://-h",
        "https://h-",
        "https://*.h",
        "https://h,i",
        "https://h;i",
        /* numbers that readers resolve differently */
        "http://127.1",
        "http://0177.0.0.1",
        "http://0177.1",
        "http://2130706433",
        "http://0x7f000001",
        "http://0x7f.1",
        "http://127.0.0.0x1",
        "http://127.0.0.01",
        "http://127.0.0.256",
        "http://127.0.0.1.",
        "http://1.2.3.4.5",
        "http://0",
        /* IPv6 */
        "http://::1",
        "http://[::1",
        "http://::1]",
        "http://[]",
        "http://[::1]x",
        "http://[::1]:",
        "http://[::1%25lo]",
        "http://[::1%lo]",
        "http://[127.0.0.1]",
        "http://[::g]",
        "http://[h]",
        "http://[::1]]",
        "http://[[::1]]",
        /* ports */
        "https://h:",
        "https://h:/x",
        "https://h:0",
        "https://h:00443",
        "https://h:0443",
        "https://h:65536",
        "https://h:99999",
        "https://h:443443",
        "https://h:-1",
        "https://h:+1",
        "https://h:4a",
        "https://h: 443",
        "https://h:443:443",
        "https://h:443?#",
        /* paths that readers fold differently */
        "https://h/..",
        "https://h/.",
        "https://h/a/../b",
        "https://h/a/./b",
        "https://h/%2e%2E/b",
        "https://h/.%2e",
        "https://h/a\\b",
        "https://h/<",
        "https://h/\"",
        "https://h/{x}",
        "https://h/[",
        "https://h/|",
        "https://h/^",
        "https://h/`",
        "https://h/?{",
    };
    (void)state;
    struct url url;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        print_message("case %zu: %s\n", i, cases[i]);
        assert_int_equal(url_parse(cases[i], &url), -EINVAL);
    }
    assert_int_equal(url_parse(NULL, &url), -EINVAL);
}

static void fill(char *text, size_t length, const char *prefix)
{
    memset(text, 'a', length);
    memcpy(text, prefix, strlen(prefix));
    text[length] = '\0';
}

static void lengths(void **state)
{
    char text[LIMIT_URL + 2];
    struct url url;
    (void)state;
    for (size_t length = LIMIT_URL - 1; length <= LIMIT_URL + 1; length++) {
        fill(text, length, "https://h/");
        assert_int_equal(url_parse(text, &url), length <= LIMIT_URL ? 0 : -EINVAL);
    }
    for (size_t length = 62; length <= 64; length++) {
        fill(text, 8 + length, "https://");
        assert_int_equal(url_parse(text, &url), length <= 63 ? 0 : -EINVAL);
    }
}

static void comparing(void **state)
{
    static const struct {
        const char *a, *b;
        bool host, origin;
    } cases[] = {
        {"https://h", "https://h/x?y", true, true},
        {"https://H.example", "https://h.EXAMPLE:443", true, true},
        {"https://h", "http://h", true, false},
        {"https://h", "https://h:444", true, false},
        {"https://h.example", "https://h.exampl", false, false},
        {"https://h", "https://hh", false, false},
        {"http://[::1]", "http://[::1]:80", true, true},
        {"http://h:443", "https://h", true, false},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct url a, b;
        assert_int_equal(url_parse(cases[i].a, &a), 0);
        assert_int_equal(url_parse(cases[i].b, &b), 0);
        assert_int_equal(url_same_host(&a, &b), cases[i].host);
        assert_int_equal(url_same_origin(&a, &b), cases[i].origin);
    }
}

static bool entra(const char *text)
{
    struct url url;
    assert_int_equal(url_parse(text, &url), 0);
    return url_is_entra(&url);
}

static void lists(void **state)
{
    char *hosts[] = {(char *)(uintptr_t) "one.example", (char *)(uintptr_t) "two.example", NULL};
    struct url url;
    (void)state;
    assert_int_equal(url_parse("https://TWO.example/x", &url), 0);
    assert_true(url_host_in(&url, hosts));
    assert_false(url_host_in(&url, NULL));
    assert_int_equal(url_parse("https://a.two.example/x", &url), 0);
    assert_false(url_host_in(&url, hosts));
    assert_int_equal(url_parse("https://two.exampl", &url), 0);
    assert_false(url_host_in(&url, hosts));
    assert_true(entra("https://login.microsoftonline.com/common/v2.0"));
    assert_true(entra("https://LOGIN.microsoftonline.us/x"));
    assert_true(entra("https://login.partner.microsoftonline.cn"));
    assert_false(entra("http://login.microsoftonline.com/common"));
    assert_false(entra("https://login.microsoftonline.com:8443/common"));
    assert_false(entra("https://login.microsoftonline.com.evil.example/"));
    assert_false(entra("https://evil-login.microsoftonline.com/"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),   cmocka_unit_test(places_of_this_host), cmocka_unit_test(refused),
        cmocka_unit_test(lengths), cmocka_unit_test(comparing),           cmocka_unit_test(lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
