/* Documents fetched once, kept, and found where they may be (http_server.py serves them by the authority's path). */
#include "authority/jwk.h"
#include "limits.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
/* after those above */
#include <cmocka.h>

#include "http_server.h"

/* The cache with a clock that a test can put forward, and memory that it can let run out; the loop and libcurl keep the
 * true ones. */
#include "clock.h"
static int64_t ahead_ms;
static int64_t test_boot_ms(void)
{
    return clock_boot_ms() + ahead_ms;
}
#define clock_boot_ms test_boot_ms
static int blocks_left = -1; /* -1: no end of them */
static void *scarce_calloc(size_t count, size_t size)
{
    if (blocks_left < 0)
        return calloc(count, size);
    return blocks_left-- > 0 ? calloc(count, size) : NULL;
}
#define calloc scarce_calloc
#include "../../agent/authority/documents.c"

static enum endpoint needed = ENDPOINT_TOKEN;
static struct loop *loop;
static struct http *http;
static struct documents *documents;
static struct http_server server;
static int under_way;

struct result {
    int told, error, order;
    char issuer[LIMIT_URL], token_endpoint[LIMIT_URL], key[64];
    struct failure why;
};

static void told(struct result *result, int error, const struct failure *why)
{
    static int order;
    result->told++;
    result->order = ++order;
    result->error = error;
    if (error) {
        assert_non_null(why);
        assert_int_not_equal(why->kind, FAILURE_NONE);
        result->why = *why;
        print_message("%s\n", why->reason);
    }
    if (--under_way == 0)
        loop_stop(loop, 0);
}

static void on_metadata(void *arg, int error, const struct metadata *metadata, const struct failure *why)
{
    struct result *result = arg;
    if (!error) {
        (void)snprintf(result->issuer, sizeof(result->issuer), "%s", metadata->issuer ? metadata->issuer : "");
        (void)snprintf(result->token_endpoint, sizeof(result->token_endpoint), "%s", metadata->token_endpoint);
    }
    told(result, error, why);
}

static void on_jwks(void *arg, int error, const struct jwks *jwks, const struct failure *why)
{
    struct result *result = arg;
    if (!error) {
        const struct jwk *key = jwks_next(jwks, JWK_ES256, (struct span){0}, NULL);
        (void)snprintf(result->key, sizeof(result->key), "%s", key ? key->id : "");
    }
    told(result, error, why);
}

static void on_http(void *arg, const struct answer *answer)
{
    int *number = arg;
    assert_int_equal(answer->error, 0);
    *number = answer->body.length > 0 ? (int)strtol(answer->body.data, NULL, 10) : -1;
    loop_stop(loop, 0);
}

static int ask_server(const char *method, const char *path)
{
    char url[LIMIT_URL];
    int number = 0;
    struct http_call *call;
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", server.plain, path);
    struct http_step step = {.method = method, .url = url};
    struct http_request request = {.step = &step, .allow_http = true, .timeout_ms = 5000};
    assert_int_equal(http_start(http, &request, on_http, &number, &call), 0);
    assert_int_equal(loop_run(loop), 0);
    return number;
}

static int hits(const char *name)
{
    char path[LIMIT_URL];
    (void)snprintf(path, sizeof(path), "/hits/%s", name);
    return ask_server("GET", path);
}

static char authority[LIMIT_URL];
static struct profile profile_of(const char *name)
{
    (void)snprintf(authority, sizeof(authority), "http://127.0.0.1:%d/%s", server.plain, name);
    return (struct profile){.authority = authority, .dialect = DIALECT_OIDC, .timeout_ms = 5000};
}

static struct result metadata_of(const struct profile *profile)
{
    struct trust trust = {0};
    struct result result = {0};
    struct documents_wait *wait;
    under_way++;
    assert_int_equal(documents_metadata(documents, profile, needed, &trust, on_metadata, &result, &wait), 0);
    assert_int_equal(result.told, 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(result.told, 1);
    return result;
}

static struct result keys_of(const char *name, bool newer)
{
    char uri[LIMIT_URL];
    struct profile profile = profile_of("good");
    struct trust trust = {0};
    struct result result = {0};
    struct documents_wait *wait;
    (void)snprintf(uri, sizeof(uri), "http://127.0.0.1:%d/keys/%s", server.plain, name);
    under_way++;
    assert_int_equal(documents_jwks(documents, &profile, uri, &trust, newer, on_jwks, &result, &wait), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(result.told, 1);
    return result;
}

#define OPENID(name) name "/.well-known/openid-configuration"
#define OAUTH(name)  ".well-known/oauth-authorization-server/" name

static void places(void **state)
{
    static const char *const found[] = {"good", "openid", "inserted", "appended", "html", "login"};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(found); i++) {
        struct profile profile = profile_of(found[i]);
        struct result result = metadata_of(&profile);
        print_message("%s\n", found[i]);
        assert_int_equal(result.error, 0);
        assert_string_equal(result.issuer, authority);
    }
    assert_int_equal(hits(OPENID("html")), 1);
    assert_int_equal(hits(OAUTH("good")), 0);
}

static void failures(void **state)
{
    static const struct {
        const char *name;
        int error;
        enum failure_kind kind;
        enum failure_class class;
        int64_t retry_after_ms;
    } cases[] = {
        {"none", -ENOENT, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE, -1},
        {"liar", -EBADMSG, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE, -1},
        {"throttled", -EAGAIN, FAILURE_AUTHORITY_UNREACHABLE, CLASS_THROTTLED, 9000},
        {"cut", -ENOTCONN, FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE, 0},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct profile profile = profile_of(cases[i].name);
        struct result result = metadata_of(&profile);
        assert_int_equal(result.error, cases[i].error);
        assert_int_equal(result.why.kind, cases[i].kind);
        assert_int_equal(result.why.class, cases[i].class);
        assert_false(result.why.uncertain);
        if (cases[i].retry_after_ms)
            assert_int_equal(result.why.retry_after_ms, cases[i].retry_after_ms);
    }
    /* trouble and lost connections do not go on to the next place */
    assert_int_equal(hits(OAUTH("throttled")), 0);
    assert_int_equal(hits(OAUTH("cut")), 0);
    struct profile bad = {.authority = (char[]){"http://h.example"}};
    assert_int_equal(metadata_of(&bad).error, -EINVAL);
    struct profile down = {.authority = (char[]){"http://127.0.0.1:1"}, .timeout_ms = 5000};
    assert_int_equal(metadata_of(&down).error, -ECONNREFUSED);
}

/* Not found is remembered briefly, a lost connection not at all, a lie is looked at again after a while. */
static void remembering(void **state)
{
    struct profile profile = profile_of("none");
    (void)state;
    documents_forget(documents);
    int before = hits(OPENID("none"));
    assert_int_equal(metadata_of(&profile).error, -ENOENT);
    assert_int_equal(metadata_of(&profile).error, -ENOENT);
    assert_int_equal(hits(OPENID("none")), before + 1);
    ahead_ms += LIMIT_METADATA_RETRY_MS;
    assert_int_equal(metadata_of(&profile).error, -ENOENT);
    assert_int_equal(hits(OPENID("none")), before + 2);

    profile = profile_of("cut");
    before = hits(OPENID("cut"));
    assert_int_equal(metadata_of(&profile).error, -ENOTCONN);
    assert_int_equal(metadata_of(&profile).error, -ENOTCONN);
    assert_true(hits(OPENID("cut")) >= before + 2);

    profile = profile_of("liar");
    assert_int_equal(metadata_of(&profile).error, -EBADMSG);
    before = hits(OPENID("liar"));
    assert_int_equal(metadata_of(&profile).error, -EBADMSG);
    assert_int_equal(hits(OPENID("liar")), before);
    ahead_ms += LIMIT_METADATA_RETRY_MS;
    assert_int_equal(metadata_of(&profile).error, -EBADMSG);
    assert_int_equal(hits(OPENID("liar")), before + 1);
}

/* Fetched once, kept for its age, and longer while no newer one can be had. */
static void ages(void **state)
{
    struct profile profile = profile_of("good");
    (void)state;
    documents_forget(documents);
    int before = hits(OPENID("good"));
    for (int i = 0; i < 3; i++)
        assert_int_equal(metadata_of(&profile).error, 0);
    assert_int_equal(hits(OPENID("good")), before + 1);
    ahead_ms += LIMIT_METADATA_AGE_MS;
    assert_int_equal(metadata_of(&profile).error, 0);
    assert_int_equal(hits(OPENID("good")), before + 2);
    (void)ask_server("POST", "/break/good");
    ahead_ms += LIMIT_METADATA_AGE_MS;
    assert_int_equal(metadata_of(&profile).error, 0); /* the old one */
    assert_int_equal(metadata_of(&profile).error, 0);
    assert_int_equal(hits(OPENID("good")), before + 3);
    documents_forget(documents);
    struct result result = metadata_of(&profile);
    assert_int_equal(result.error, -EAGAIN);
    assert_int_equal(result.why.retry_after_ms, 7000);
    (void)ask_server("POST", "/break/good");
    assert_int_equal(metadata_of(&profile).error, 0);
}

/* 200 who ask at once are told in order, after one fetch. Every third changes its mind. */
static void flight(void **state)
{
    enum { MANY = 200 };
    static struct result results[MANY];
    struct documents_wait *waits[MANY];
    struct profile profile = profile_of("slowdoc");
    struct trust trust = {0};
    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        under_way++;
        assert_int_equal(documents_metadata(documents, &profile, needed, &trust, on_metadata, &results[i], &waits[i]),
                         0);
    }
    for (size_t i = 0; i < MANY; i += 3) {
        documents_cancel(waits[i]);
        under_way--;
    }
    assert_int_equal(loop_run(loop), 0);
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(results[i].told, i % 3 != 0);
    for (size_t i = 4; i < MANY; i += 3)
        assert_true(results[i].order == results[i - 2].order + 1 && results[i - 2].order > results[i - 3].order);
    assert_int_equal(hits(OPENID("slowdoc")), 1);
    documents_cancel(NULL);
}

/* A different trust is a different document. */
static void trusts(void **state)
{
    struct profile profile = profile_of("openid");
    struct trust other = {.ca_pem = buffer_span(&server.ca)};
    struct result result = {0};
    struct documents_wait *wait;
    (void)state;
    assert_int_equal(metadata_of(&profile).error, 0);
    int before = hits(OPENID("openid"));
    under_way++;
    assert_int_equal(documents_metadata(documents, &profile, needed, &other, on_metadata, &result, &wait), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(result.error, 0);
    assert_int_equal(hits(OPENID("openid")), before + 1);
}

/* The profile's own endpoints: over the document's, and without any document when they are all there. */
static void own_endpoints(void **state)
{
    struct profile profile = profile_of("good");
    (void)state;
    profile.token_endpoint = (char[]){"http://127.0.0.1:1/mine"};
    assert_string_equal(metadata_of(&profile).token_endpoint, profile.token_endpoint);
    profile.jwks_uri = (char[]){"http://127.0.0.1:1/keys"};
    profile.authority = (char[]){"https://none.example"};
    assert_string_equal(metadata_of(&profile).issuer, "https://none.example");
    needed = ENDPOINT_DEVICE; /* one more, which only the document could name */
    profile.authority = (char[]){"http://127.0.0.1:1/nobody"};
    assert_int_not_equal(metadata_of(&profile).error, 0);
    profile.authorization_endpoint = (char[]){"http://127.0.0.1:1/page"};
    assert_int_not_equal(metadata_of(&profile).error, 0);
    profile.device_authorization_endpoint = (char[]){"http://127.0.0.1:1/device"};
    assert_int_equal(metadata_of(&profile).error, 0);
    needed = ENDPOINT_TOKEN;
    profile.authority = NULL;
    profile.jwks_uri = NULL;
    assert_int_equal(metadata_of(&profile).error, 0);
}

static void key_sets(void **state)
{
    (void)state;
    assert_string_equal(keys_of("one", false).key, "one");
    assert_string_equal(keys_of("one", false).key, "one");
    assert_int_equal(hits("keys/one"), 1);
    assert_string_equal(keys_of("one", true).key, "one"); /* keys may roll over right after they were fetched */
    assert_int_equal(hits("keys/one"), 2);
    ahead_ms += LIMIT_JWKS_REFETCH_MS - 1000;
    assert_string_equal(keys_of("one", true).key, "one"); /* too soon for another */
    assert_int_equal(hits("keys/one"), 2);
    ahead_ms += 1000;
    assert_string_equal(keys_of("one", true).key, "one");
    assert_int_equal(hits("keys/one"), 3);
    (void)ask_server("POST", "/break/one");
    ahead_ms += LIMIT_JWKS_REFETCH_MS;
    assert_string_equal(keys_of("one", true).key, "one"); /* the old one */
    assert_int_equal(hits("keys/one"), 4);
    struct result result = keys_of("garbage", false);
    assert_int_equal(result.error, -EBADMSG);
    assert_int_equal(result.why.kind, FAILURE_AUTHORITY_REFUSED);
}

/* A forgotten document still answers who waits for it; a freed cache tells nobody. */
static void forgetting(void **state)
{
    struct result results[2] = {0};
    struct documents_wait *wait;
    struct profile profile = profile_of("slowdoc");
    struct trust trust = {0};
    (void)state;
    documents_forget(documents);
    under_way = 1;
    assert_int_equal(documents_metadata(documents, &profile, needed, &trust, on_metadata, &results[0], &wait), 0);
    documents_forget(documents);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(results[0].error, 0);
    assert_int_equal(documents_metadata(documents, &profile, needed, &trust, on_metadata, &results[1], &wait), 0);
    (void)hits("x");
    documents_forget(documents);
    documents = documents_free(documents);
    (void)hits("x");
    assert_int_equal(results[1].told, 0);
    assert_int_equal(documents_new(loop, http, &documents), 0);
}

/* What could not be begun leaves nothing to be cancelled, at whichever block memory runs out. */
static void lack_of_memory(void **state)
{
    struct profile profile = profile_of("good");
    struct trust trust = {0};
    struct result result = {0};
    (void)state;
    for (int left = 0; left < 2; left++) {
        struct documents_wait *wait = NULL;
        blocks_left = left;
        assert_int_equal(documents_metadata(documents, &profile, needed, &trust, on_metadata, &result, &wait), -ENOMEM);
        assert_null(wait);
        blocks_left = left;
        assert_int_equal(documents_jwks(documents, &profile, profile.authority, &trust, false, on_jwks, &result, &wait),
                         -ENOMEM);
        assert_null(wait);
        blocks_left = -1;
    }
    assert_null(documents->first);
    assert_int_equal(result.told, 0);
}

static int set_up(void **state)
{
    (void)state;
    if (http_server_start(&server) < 0)
        return -1;
    return http_global_init() < 0 || loop_new(&loop) < 0 || http_new(loop, &http) < 0 ||
                   documents_new(loop, http, &documents) < 0
               ? -1
               : 0;
}

static int tear_down(void **state)
{
    (void)state;
    documents_free(documents);
    http_free(http);
    loop_free(loop);
    return http_server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places),         cmocka_unit_test(failures), cmocka_unit_test(remembering),
        cmocka_unit_test(ages),           cmocka_unit_test(flight),   cmocka_unit_test(trusts),
        cmocka_unit_test(own_endpoints),  cmocka_unit_test(key_sets), cmocka_unit_test(forgetting),
        cmocka_unit_test(lack_of_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
