/* Which issuers the documents of Azure AD B2C and Entra External ID may name. */
#include "authority/b2c.h"
#include "cleanup.h"
#include "limits.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ID    "11111111-2222-3333-4444-555555555555"
#define OTHER "11111111-2222-3333-4444-666666666666"
#define HOST  "https://c.b2clogin.com"
#define CIAM  "https://c.ciamlogin.com/c.onmicrosoft.com/v2.0"

static void test_issuers(void **state)
{
    static const struct {
        const char *authority, *issuer;
        bool good;
    } cases[] = {
        {HOST "/t/B2C_1_a/v2.0", HOST "/" ID "/v2.0/", true},
        {HOST "/t/B2C_1_a/v2.0", HOST "/tfp/" ID "/b2c_1_a/v2.0/", true},
        {HOST "/tfp/t/B2C_1_a/v2.0", HOST "/T/B2C_1_A/v2.0", true},
        {HOST "/" ID "/B2C_1_a/v2.0", HOST "/" ID "/v2.0/", true},
        {HOST "/" ID "/B2C_1_a/v2.0", HOST "/" OTHER "/v2.0/", false},
        {HOST "/t/B2C_1_a/v2.0", HOST "/u/v2.0/", false},
        {HOST "/t/B2C_1_a/v2.0", HOST "/" ID "/b2c_1_b/v2.0/", false},
        {HOST "/t/B2C_1_a/v2.0", HOST "/" ID "/b2c_1_a/v1.0/", false},
        {HOST "/t/B2C_1_a/v2.0", HOST "/" ID "/b2c_1_a/v2.0/more", false},
        {HOST "/t/B2C_1_a/v2.0", HOST "/" ID "/v2.0/?p=b2c_1_a", false},
        {HOST "/t/B2C_1_a/v2.0", "https://d.b2clogin.com/" ID "/v2.0/", false},
        {HOST "/t/B2C_1_a/v2.0", "https://" ID ".ciamlogin.com/" ID "/v2.0", false},
        {HOST "/t/B2C_1_a/v2.0", "http://c.b2clogin.com/" ID "/v2.0/", false},
        {HOST "/t/B2C_1_a/v2.0", "https://c.b2clogin.com:444/" ID "/v2.0/", false},
        {CIAM, "https://" ID ".ciamlogin.com/" ID "/v2.0", true},
        {CIAM, "https://c.ciamlogin.com/" ID "/v2.0", true},
        {CIAM, "https://" OTHER ".ciamlogin.com/" ID "/v2.0", false},
        {CIAM, "https://evil.ciamlogin.com/" ID "/v2.0", false},
        {CIAM, "https://" ID ".ciamlogin.com.evil.example/" ID "/v2.0", false},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct url authority, issuer;
        assert_int_equal(url_parse(cases[i].authority, &authority), 0);
        assert_int_equal(url_parse(cases[i].issuer, &issuer), 0);
        if (b2c_is_issuer(&authority, &issuer) != cases[i].good)
            fail_msg("%s names %s", cases[i].authority, cases[i].issuer);
    }
}

static void test_hosts(void **state)
{
    static const char *const other[] = {"https://b2clogin.com/t/p", "https://.b2clogin.com.evil.example/t",
                                        "https://xb2clogin.com/t", "http://127.0.0.1/t",
                                        "https://c.b2clogin.com:8443/t"};
    struct url url;
    (void)state;
    assert_int_equal(url_parse("https://C.B2CLogin.com/t/p", &url), 0);
    assert_true(b2c_is_host(&url) && !b2c_is_external(&url));
    assert_int_equal(url_parse(CIAM, &url), 0);
    assert_true(b2c_is_host(&url) && b2c_is_external(&url));
    for (size_t i = 0; i < ELEMENTS(other); i++)
        if (url_parse(other[i], &url) == 0 && b2c_is_host(&url))
            fail_msg("taken: %s", other[i]);
}

static void test_tenants(void **state)
{
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        {HOST "/tfp/" ID "/b2c_1_a/v2.0/", HOST "/tfp/" ID "/b2c_1_b/v2.0/", true},
        {HOST "/" ID "/v2.0/", HOST "/tfp/" ID "/b2c_1_b/v2.0/", true},
        {HOST "/" ID "/v2.0/", HOST "/" OTHER "/v2.0/", false},
        {HOST "/" ID "/v2.0/", "https://d.b2clogin.com/" ID "/v2.0/", false},
        {HOST "/" ID "/v2.0/", HOST "/" ID "/a/b/c", false},
        {HOST "/", HOST "/", false},
        {"", "", false},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++)
        if (b2c_same_tenant(cases[i].a, cases[i].b) != cases[i].same)
            fail_msg("%s and %s", cases[i].a, cases[i].b);
}

static void test_policies(void **state)
{
    char name[LIMIT_CODE + 2];
    (void)state;
    assert_true(b2c_is_policy("B2C_1A_sign-in") && b2c_is_policy("x"));
    assert_false(b2c_is_policy("") || b2c_is_policy("a/b") || b2c_is_policy("a b") || b2c_is_policy("..") ||
                 b2c_is_policy("\xc3\xbc"));
    for (size_t length = LIMIT_CODE - 1; length <= LIMIT_CODE + 1; length++) {
        for (size_t i = 0; i < length; i++)
            name[i] = 'a';
        name[length] = '\0';
        assert_int_equal(b2c_is_policy(name), length <= LIMIT_CODE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_issuers), cmocka_unit_test(test_hosts),
                                       cmocka_unit_test(test_tenants), cmocka_unit_test(test_policies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
