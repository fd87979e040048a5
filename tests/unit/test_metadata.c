/* Metadata documents, honest and hostile: none may name an endpoint that the configuration did not allow. */
#include "authority/metadata.h"

#include "cleanup.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#define GUID          "11111111-2222-3333-4444-555555555555"
#define MS            "https://login.microsoftonline.com/"
#define TEXT(literal) ((char *)(uintptr_t)(literal))

static void addresses(void **state)
{
    static const struct {
        const char *authority;
        enum dialect dialect;
        const char *expected[4];
    } cases[] = {
        {"https://h",
         DIALECT_OIDC,
         {"https://h/.well-known/openid-configuration", "https://h/.well-known/oauth-authorization-server"}},
        {"https://h/",
         DIALECT_OIDC,
         {"https://h/.well-known/openid-configuration", "https://h/.well-known/oauth-authorization-server"}},
        {"https://h:8443/realms/ml",
         DIALECT_OIDC,
         {"https://h:8443/realms/ml/.well-known/openid-configuration",
          "https://h:8443/.well-known/oauth-authorization-server/realms/ml",
          "https://h:8443/realms/ml/.well-known/oauth-authorization-server"}},
        {"https://h/a/",
         DIALECT_OIDC,
         {"https://h/a/.well-known/openid-configuration", "https://h/.well-known/oauth-authorization-server/a",
          "https://h/a/.well-known/oauth-authorization-server"}},
        {"http://[::1]:9/x",
         DIALECT_OIDC,
         {"http://[::1]:9/x/.well-known/openid-configuration",
          "http://[::1]:9/.well-known/oauth-authorization-server/x",
          "http://[::1]:9/x/.well-known/oauth-authorization-server"}},
        {MS "t/v2.0", DIALECT_ENTRA, {MS "t/v2.0/.well-known/openid-configuration"}},
        {MS "t", DIALECT_ENTRA, {MS "t/v2.0/.well-known/openid-configuration"}},
        {MS "t/", DIALECT_ENTRA, {MS "t/v2.0/.well-known/openid-configuration"}},
        {MS "t", DIALECT_ENTRA_V1, {MS "t/.well-known/openid-configuration"}},
        {"http://h", DIALECT_OIDC, {0}},
        {"https://h?x", DIALECT_OIDC, {0}},
        {"https://u@h", DIALECT_OIDC, {0}},
        {NULL, DIALECT_OIDC, {0}},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct profile profile = {.authority = TEXT(cases[i].authority), .dialect = cases[i].dialect};
        char *got[4] = {0};
        int count = metadata_addresses(&profile, got, ELEMENTS(got)), expected = 0;
        while (cases[i].expected[expected])
            expected++;
        assert_int_equal(count, expected ? expected : -EINVAL);
        for (int j = 0; j < expected; j++) {
            assert_string_equal(got[j], cases[i].expected[j]);
            free(got[j]);
        }
    }
}

static void no_room(void **state)
{
    struct profile profile = {.authority = TEXT("https://h/a")};
    char *got[3] = {0};
    (void)state;
    assert_int_equal(metadata_addresses(&profile, got, 1), 1);
    assert_non_null(got[0]);
    assert_null(got[1]);
    free(got[0]);
}

/* The issuer rule, byte for byte but on Microsoft's hosts. */
static void issuers(void **state)
{
    static const struct {
        const char *authority, *issuer;
        enum dialect dialect;
        int result;
        bool template;
    } cases[] = {
        {"https://h/a", "https://h/a", DIALECT_OIDC, 0, false},
        {"https://h/a", "https://h/a/", DIALECT_OIDC, -EBADMSG, false},
        {"https://h/a", "https://H/a", DIALECT_OIDC, -EBADMSG, false},
        {"https://h/a", "https://h:443/a", DIALECT_OIDC, -EBADMSG, false},
        {"https://h", "https://evil", DIALECT_OIDC, -EBADMSG, false},
        {"https://h/{tenantid}", "https://h/{tenantid}", DIALECT_OIDC, -EBADMSG, false}, /* not an address */
        {"https://h/common", "https://h/{tenantid}", DIALECT_ENTRA, -EBADMSG, false},
        {"https://h/x.example/v2.0", "https://h/" GUID "/v2.0", DIALECT_ENTRA, -EBADMSG, false},
        {MS GUID "/v2.0", MS GUID "/v2.0", DIALECT_ENTRA, 0, false},
        {MS "x.example/v2.0", MS GUID "/v2.0", DIALECT_ENTRA, 0, false},
        {MS "x.example", MS GUID "/v2.0", DIALECT_ENTRA, 0, false},
        {MS "x.example", "https://sts.windows.net/" GUID "/", DIALECT_ENTRA, -EBADMSG, false}, /* version 1 for 2 */
        {MS "x.example", "https://sts.windows.net/" GUID "/", DIALECT_ENTRA_V1, 0, false},
        {MS "x.example/", "https://sts.windows.net/" GUID "/", DIALECT_ENTRA_V1, 0, false},
        {MS "x.example", MS GUID "/v2.0", DIALECT_ENTRA_V1, -EBADMSG, false},
        {MS "x.example/v2.0", MS "{tenantid}/v2.0", DIALECT_ENTRA, -EBADMSG, false},
        {MS "common/v2.0", MS "{tenantid}/v2.0", DIALECT_ENTRA, 0, true},
        {MS "common", "https://sts.windows.net/{tenantid}/", DIALECT_ENTRA_V1, 0, true},
        {MS "organizations/v2.0", MS "{tenantid}/v2.0", DIALECT_ENTRA, 0, true},
        {MS "consumers/v2.0", MS "9188040d-6c67-4c5b-b112-36a304b66dad/v2.0", DIALECT_ENTRA, 0, false},
        {MS "common/v2.0", "https://{tenantid}/" GUID "/v2.0", DIALECT_ENTRA, -EBADMSG, false},
        {MS "common/v2.0", MS "{tenantid}/{tenantid}/v2.0", DIALECT_ENTRA, -EBADMSG, false},
        {MS "common/v2.0", MS "{tenantid}{tenantid}/v2.0", DIALECT_ENTRA, -EBADMSG, false},
        {MS "common/v2.0", MS "x/{tenantid}/v2.0", DIALECT_ENTRA, -EBADMSG, false},
        {MS "common/v2.0", "https://login.microsoftonline.us/{tenantid}/v2.0", DIALECT_ENTRA, -EBADMSG, false},
        {MS "common/v2.0", "https://evil.example/{tenantid}/v2.0", DIALECT_ENTRA, -EBADMSG, false},
        {MS "common/v2.0", "http://login.microsoftonline.com/{tenantid}/v2.0", DIALECT_ENTRA, -EBADMSG, false},
        {MS "common/v2.0", "https://login.microsoftonline.com:8443/{tenantid}/v2.0", DIALECT_ENTRA, -EBADMSG, false},
        {MS GUID "/v2.0", MS "11111111-2222-3333-4444-555555555556/v2.0", DIALECT_ENTRA, -EBADMSG, false},
        {MS GUID "/v2.0", MS "{tenantid}/v2.0", DIALECT_ENTRA, -EBADMSG, false},
        {MS "x.example/v2.0", MS "y.example/v2.0", DIALECT_ENTRA, -EBADMSG, false},
        {"http://login.microsoftonline.com/common", MS "{tenantid}/v2.0", DIALECT_ENTRA, -EBADMSG, false},
        {"https://login.microsoftonline.us/x.example/v2.0", "https://login.microsoftonline.us/" GUID "/v2.0",
         DIALECT_ENTRA, 0, false},
        {"https://login.chinacloudapi.cn/x.example", "https://sts.chinacloudapi.cn/" GUID "/", DIALECT_ENTRA_V1, 0,
         false},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct profile profile = {.authority = TEXT(cases[i].authority), .dialect = cases[i].dialect};
        struct metadata *metadata = NULL;
        struct failure why;
        char document[512];
        print_message("%s names %s\n", cases[i].authority, cases[i].issuer);
        (void)snprintf(document, sizeof(document), "{\"issuer\":\"%s\"}", cases[i].issuer);
        assert_int_equal(metadata_parse(&profile, span_of(document), &metadata, &why), cases[i].result);
        if (cases[i].result == 0) {
            assert_string_equal(metadata->issuer, cases[i].issuer);
            assert_int_equal(metadata->issuer_is_template, cases[i].template);
        } else {
            assert_int_equal(why.kind, FAILURE_INVALID_CONFIGURATION);
            assert_int_equal(why.class, CLASS_DEFINITE);
        }
        metadata_free(metadata);
    }
}

/* Where endpoints may be. `says`: a part of the message; NULL: allowed. */
static void endpoints(void **state)
{
    static const struct {
        const char *authority, *endpoint, *allowed, *says;
    } cases[] = {
        {"https://h.example/a", "https://h.example/token", NULL, NULL},
        {"https://h.example/a", "https://H.example:8443/token?x=1", NULL, NULL},
        {"https://h.example/a", "https://e.example/token", NULL, "set endpoint_hosts = e.example"},
        {"https://h.example/a", "https://e.example/token", "e.example", NULL},
        {"https://h.example/a", "https://sub.h.example/token", NULL, "set endpoint_hosts = sub.h.example"},
        {"https://h.example/a", "https://h.example.evil/token", "e.example", "endpoint_hosts"},
        {"https://h.example/a", "http://h.example/token", NULL, "not https"},
        {"https://h.example/a", "http://e.example/token", "e.example", "not https"},
        {"https://h.example/a", "http://127.0.0.1/token", "127.0.0.1", "not https"},
        {"https://h.example/a", "https://127.0.0.1/token", "127.0.0.1", "this very machine"},
        {"https://h.example/a", "https://[::1]/token", "::1", "this very machine"},
        {"https://h.example/a", "https://localhost/token", "localhost", "this very machine"},
        {"https://h.example/a", "https://x.LOCALHOST/token", "x.localhost", "this very machine"},
        {"https://h.example/a", "https://notlocalhost/token", "notlocalhost", NULL},
        {"https://localhost/a", "https://localhost:1/token", NULL, NULL},
        {"https://h.example/a", "https://user@h.example/token", NULL, "token_endpoint: not a plain"},
        {"https://h.example/a", "https://h.example\\\\@evil/token", NULL, "not a plain"},
        {"https://h.example/a", "https://h.example\\u0000.evil/token", NULL, "control"},
        {"https://h.example/a", "https://h.example/\\u001b[2J", NULL, "control"},
        {"https://h.example/a", "https://h.example/\\u202e", NULL, "not a plain"},
        {"https://h.example/a", "https://127.1/token", NULL, "not a plain"},
        {"https://h.example/a", "file:///etc/passwd", NULL, "not a plain"},
        {"https://h.example/a", "", NULL, "not a plain"},
        {"http://127.0.0.1:8080", "http://127.0.0.1:8081/token", NULL, NULL},
        {"http://127.0.0.1:8080", "http://[::1]:8081/token", NULL, NULL},
        {"http://127.0.0.1:8080", "http://localhost/token", "localhost", "not on a loopback"},
        {"http://127.0.0.1:8080", "https://h.example/token", "h.example", "not on a loopback"},
        {"http://127.0.0.1:8080", "http://169.254.169.254/token", NULL, "not on a loopback"},
        {"https://127.0.0.1:8080", "https://127.0.0.1:8081/token", NULL, NULL},
        {"https://127.0.0.1:8080", "http://127.0.0.1:8081/token", NULL, "not https"},
        {"https://127.0.0.1:8080", "https://127.0.0.2/token", NULL, "endpoint_hosts = 127.0.0.2"},
        {"https://accounts.google.com", "https://oauth2.googleapis.com/token", NULL, NULL},
        {"https://accounts.google.com", "https://storage.googleapis.com/token", NULL, "endpoint_hosts"},
        {"https://oauth2.googleapis.com.evil", "https://oauth2.googleapis.com/token", NULL, "endpoint_hosts"},
        {MS "t/v2.0", MS "t/oauth2/v2.0/token", NULL, NULL},
        {MS "t/v2.0", "https://login.windows.net/t/oauth2/v2.0/token", NULL, NULL},
        {MS "t/v2.0", "https://login.microsoftonline.us/t/oauth2/v2.0/token", NULL, "endpoint_hosts"},
        {MS "t/v2.0", "https://oauth2.googleapis.com/token", NULL, "endpoint_hosts"},
    };
    static const char *const members[] = {"token_endpoint", "device_authorization_endpoint", "revocation_endpoint",
                                          "jwks_uri"};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        for (size_t m = 0; m < ELEMENTS(members); m++) {
            char *hosts[] = {TEXT(cases[i].allowed), NULL};
            struct profile profile = {.authority = TEXT(cases[i].authority),
                                      .endpoint_hosts = cases[i].allowed ? hosts : NULL};
            struct metadata *metadata = NULL;
            struct failure why = {0};
            char document[512];
            (void)snprintf(document, sizeof(document), "{\"issuer\":\"%s\",\"%s\":\"%s\"}", cases[i].authority,
                           members[m], cases[i].endpoint);
            int r = metadata_parse(&profile, span_of(document), &metadata, &why);
            if (m == 0)
                print_message("%s -> %s: %s\n", cases[i].authority, cases[i].endpoint, why.reason);
            assert_int_equal(r, cases[i].says ? -EBADMSG : 0);
            if (cases[i].says) {
                if (m == 0)
                    assert_non_null(strstr(why.reason, cases[i].says));
                assert_non_null(strstr(why.reason, members[m]));
            }
            metadata_free(metadata);
        }
    }
}

static void broken_documents(void **state)
{
    static const char *const cases[] = {
        "",
        "null",
        "[]",
        "\"x\"",
        "{",
        "<html>",
        "{}",
        "{\"issuer\":null}",
        "{\"issuer\":1}",
        "{\"issuer\":[\"https://h\"]}",
        "{\"issuer\":\"https://h\"} x",
        "{\"issuer\":\"https://h\",\"token_endpoint\":{}}",
        "{\"issuer\":\"https://h\\u0000\"}",
        "{\"issuer\":\"https://h\",\"token_endpoint_auth_methods_supported\":\"client_secret_post\"}",
        "{\"issuer\":\"https://h\",\"token_endpoint_auth_methods_supported\":[1]}",
        "{\"issuer\":\"https://h\",\"x\":\"\xff\"}",
        "{\"issuer\":\"https://h\",\"x\":[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]}",
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct profile profile = {.authority = TEXT("https://h")};
        struct metadata *metadata = NULL;
        struct failure why = {0};
        assert_int_equal(metadata_parse(&profile, span_of(cases[i]), &metadata, &why), -EBADMSG);
        assert_null(metadata);
        assert_int_equal(why.kind, FAILURE_AUTHORITY_REFUSED);
        assert_string_equal(why.error, "invalid_metadata");
        assert_true(strlen(why.reason) > 0);
    }
}

static void auth_methods(void **state)
{
    static const struct {
        const char *methods;
        bool basic, post;
    } cases[] = {
        {"", true, false},
        {",\"token_endpoint_auth_methods_supported\":null", true, false},
        {",\"token_endpoint_auth_methods_supported\":[]", false, false},
        {",\"token_endpoint_auth_methods_supported\":[\"private_key_jwt\",\"client_secret_post\"]", false, true},
        {",\"token_endpoint_auth_methods_supported\":[\"client_secret_basic\",\"client_secret_post\"]", true, true},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct profile profile = {.authority = TEXT("https://h")};
        struct metadata *metadata = NULL;
        struct failure why;
        char document[256];
        (void)snprintf(document, sizeof(document), "{\"issuer\":\"https://h\"%s}", cases[i].methods);
        assert_int_equal(metadata_parse(&profile, span_of(document), &metadata, &why), 0);
        assert_int_equal(metadata->basic, cases[i].basic);
        assert_int_equal(metadata->post, cases[i].post);
        metadata_free(metadata);
    }
}

/* What the document says is quoted cleaned and bounded. */
static void messages(void **state)
{
    static char document[4096];
    struct profile profile = {.authority = TEXT("https://h")};
    struct metadata *metadata = NULL;
    struct failure why;
    (void)state;
    (void)snprintf(document, sizeof(document), "{\"issuer\":\"https://h/\u202e%0500d\"}", 0);
    assert_int_equal(metadata_parse(&profile, span_of(document), &metadata, &why), -EBADMSG);
    assert_null(strstr(why.reason, "\u202e"));
    assert_non_null(strstr(why.reason, "\\u{202e}"));
    assert_true(strlen(why.reason) < 400);
}

/* The profile's own endpoints win, and what the document says in their place is not judged. */
static void merging(void **state)
{
    static const char document[] =
        "{\"issuer\":\"https://h\",\"token_endpoint\":\"https://evil/t\",\"jwks_uri\":\"https://h/j\","
        "\"revocation_endpoint\":\"https://h/r\"}";
    struct profile profile = {.authority = TEXT("https://h"),
                              .token_endpoint = TEXT("https://other/t"),
                              .revocation_endpoint = TEXT("https://h/mine")};
    struct metadata *read = NULL, *merged = NULL;
    struct failure why;
    (void)state;
    assert_int_equal(metadata_parse(&profile, span_of(document), &read, &why), 0);
    assert_null(read->token_endpoint);
    assert_int_equal(metadata_merge(&profile, read, &merged), 0);
    assert_string_equal(merged->issuer, "https://h");
    assert_string_equal(merged->token_endpoint, "https://other/t");
    assert_string_equal(merged->revocation_endpoint, "https://h/mine");
    assert_string_equal(merged->jwks_uri, "https://h/j");
    assert_null(merged->device_authorization_endpoint);
    assert_true(merged->basic);
    metadata_free(read);
    metadata_free(merged);
    profile.authority = NULL;
    assert_int_equal(metadata_merge(&profile, NULL, &merged), 0);
    assert_null(merged->issuer);
    assert_string_equal(merged->token_endpoint, "https://other/t");
    assert_null(merged->jwks_uri);
    assert_true(merged->basic);
    metadata_free(merged);
    assert_null(metadata_free(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses), cmocka_unit_test(no_room),          cmocka_unit_test(issuers),
        cmocka_unit_test(endpoints), cmocka_unit_test(broken_documents), cmocka_unit_test(auth_methods),
        cmocka_unit_test(messages),  cmocka_unit_test(merging),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
