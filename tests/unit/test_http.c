/* HTTP against a server that does everything wrong (http_server.py). */
#include "authority/http.h"

#include "buffer.h"
#include "cleanup.h"
#include "clock.h"
#include "limits.h"
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
/* after those above */
#include <cmocka.h>

#include "http_server.h"

#define SLOW_LOOKUP_MS 20000

static struct loop *loop;
static struct http *http;
static struct http_server server;

/* What came of one call, copied. */
struct result {
    int told, error, status;
    bool maybe_sent;
    struct failure why;
    struct buffer headers, body;
    int *left; /* calls under way; the last one stops the loop */
    struct http_call *call;
};

struct ask {
    const char *path, *method, *body;
    struct header header;
    int port; /* 0: the plain one */
    const char *host;
    bool https, forbid_http;
    struct span ca;
    const char *proxy, *pin;
    bool local;
    int64_t timeout_ms;
};

/* A name server that takes its time: getaddrinfo() of libcurl's resolver threads comes here. */
__attribute__((visibility("default"))) int getaddrinfo(const char *node, const char *service,
                                                       const struct addrinfo *hints, struct addrinfo **ret)
{
    static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    if (node && strcmp(node, "slow.example") == 0) {
        usleep(SLOW_LOOKUP_MS * 1000);
        return EAI_NONAME;
    }
    if (node && strstr(node, ".example"))
        return EAI_NONAME;
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(node, service, hints, ret);
}

static void on_done(void *arg, const struct answer *answer)
{
    struct result *result = arg;
    result->told++;
    result->error = answer->error;
    result->status = answer->status;
    result->maybe_sent = answer->maybe_sent;
    result->why = answer->why;
    result->headers = BUFFER(LIMIT_RESPONSE_HEADERS);
    result->body = BUFFER(LIMIT_RESPONSE);
    buffer_append(&result->headers, answer->headers.data, answer->headers.length);
    buffer_append(&result->body, answer->body.data, answer->body.length);
    http_cancel(result->call); /* too late, and harmless */
    if (--*result->left == 0)
        loop_stop(loop, 0);
}

static int begin(const struct ask *ask, struct result *result, int *left)
{
    char url[LIMIT_URL];
    *result = (struct result){.left = left};
    (void)snprintf(url, sizeof(url), "http%s://%s:%d%s", ask->https ? "s" : "", ask->host ? ask->host : "127.0.0.1",
                   ask->port ? ask->port : server.plain, ask->path);
    struct http_step step = {.method = ask->method ? ask->method : "GET", .url = url, .body = span_of(ask->body)};
    if (ask->header.name)
        step.headers[step.header_count++] = ask->header;
    struct http_request request = {.step = &step,
                                   .trust = {.ca_pem = ask->ca, .proxy = ask->proxy, .thumbprint = ask->pin},
                                   .allow_http = !ask->forbid_http,
                                   .allow_local = ask->local,
                                   .timeout_ms = ask->timeout_ms ? ask->timeout_ms : 10000};
    int r = http_start(http, &request, on_done, result, &result->call);
    *left += r == 0;
    return r;
}

static struct result fetch(struct ask ask)
{
    struct result result;
    int left = 0;
    assert_int_equal(begin(&ask, &result, &left), 0);
    assert_int_equal(result.told, 0); /* never from inside http_start */
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(result.told, 1);
    if (result.error)
        print_message("%s: %s\n", ask.path, result.why.reason);
    return result;
}

static void drop(struct result *result)
{
    buffer_free(&result->headers);
    buffer_free(&result->body);
}

static void expect(struct ask ask, int error, bool maybe_sent, const char *says)
{
    struct result result = fetch(ask);
    assert_int_equal(result.error, error);
    assert_int_equal(result.maybe_sent, maybe_sent);
    if (error) {
        assert_int_equal(result.why.kind, FAILURE_AUTHORITY_UNREACHABLE);
        assert_int_equal(result.why.uncertain, maybe_sent);
        assert_non_null(strstr(result.why.reason, says));
    } else {
        assert_non_null(strstr(result.body.data ? result.body.data : "", says));
    }
    drop(&result);
}

/* connections, requests, posts, most at once */
static void stats(int ret[4])
{
    struct result result = fetch((struct ask){.path = "/stats"});
    assert_int_equal(sscanf(result.body.data, "%d %d %d %d", &ret[0], &ret[1], &ret[2], &ret[3]), 4);
    drop(&result);
}

/* ---- the tests ----------------------------------------------------------------------------------------------------
 */

static void exchanges(void **state)
{
    (void)state;
    struct result result = fetch((struct ask){.path = "/echo?a=b",
                                              .method = "POST",
                                              .body = "grant=x&secret=%00",
                                              .header = {.name = "Authorization", .value = span_of("Basic c2VjcmV0")}});
    assert_int_equal(result.error, 0);
    assert_int_equal(result.status, 200);
    const char *seen = result.body.data;
    assert_non_null(strstr(seen, "POST /echo?a=b HTTP/1.1\r\n"));
    assert_non_null(strstr(seen, "\r\nAuthorization: Basic c2VjcmV0\r\n"));
    assert_non_null(strstr(seen, "\r\nContent-Type: application/x-www-form-urlencoded\r\n"));
    assert_non_null(strstr(seen, "\r\nUser-Agent: mltoken/" MLTOKEN_VERSION "\r\n"));
    assert_non_null(strstr(seen, "\r\n\r\ngrant=x&secret=%00"));
    assert_null(strcasestr(seen, "expect:"));
    assert_null(strcasestr(seen, "accept-encoding"));
    assert_non_null(strstr(result.headers.data, "Content-Length: "));
    drop(&result);
    result = fetch((struct ask){.path = "/nowhere"});
    assert_int_equal(result.error, 0);
    assert_int_equal(result.status, 404);
    drop(&result);
    result = fetch((struct ask){.path = "/redirect"});
    assert_int_equal(result.status, 302); /* not followed */
    drop(&result);
    result = fetch((struct ask){.path = "/echo"});
    assert_null(strcasestr(result.body.data, "cookie"));
    drop(&result);
    result = fetch((struct ask){.path = "/continue"});
    assert_int_equal(result.status, 200);
    assert_null(strstr(result.headers.data, "X-First"));
    assert_non_null(strstr(result.headers.data, "X-Second"));
    drop(&result);
}

static void faults(void **state)
{
    (void)state;
    expect((struct ask){.path = "/hang", .timeout_ms = 1000}, -ETIMEDOUT, true, "no answer within 1 s");
    expect((struct ask){.path = "/reset"}, -ENOTCONN, true, "connection was lost");
    expect((struct ask){.path = "/drop", .method = "POST", .body = "x"}, -ENOTCONN, true, "connection was lost");
    expect((struct ask){.path = "/short"}, -ENOTCONN, true, "connection was lost");
    expect((struct ask){.path = "/garbage"}, -EBADMSG, true, "does not answer in HTTP");
    expect((struct ask){.path = "/ok", .port = 1}, -ECONNREFUSED, false,
           "cannot reach 127.0.0.1:1: connection refused");
    expect((struct ask){.path = "/ok", .port = 1, .https = true}, -ECONNREFUSED, false, "connection refused");
    expect((struct ask){.path = "/ok", .host = "none.example", .https = true}, -EHOSTUNREACH, false,
           "does not resolve");
    expect((struct ask){.path = "/ok", .https = true}, -EPROTO, false, "no trusted TLS connection");
}

static void limits(void **state)
{
    char path[64];
    (void)state;
    for (int size = LIMIT_RESPONSE - 1; size <= LIMIT_RESPONSE + 1; size++) {
        (void)snprintf(path, sizeof(path), "/exact/%d", size);
        expect((struct ask){.path = path}, size <= LIMIT_RESPONSE ? 0 : -EMSGSIZE, true,
               size <= LIMIT_RESPONSE ? "xxx" : "longer than");
    }
    expect((struct ask){.path = "/endless"}, -EMSGSIZE, true, "longer than");
    expect((struct ask){.path = "/announced"}, -EMSGSIZE, true, "longer than");
    expect((struct ask){.path = "/headers/63"}, 0, true, "hello");
    expect((struct ask){.path = "/headers/65"}, -EMSGSIZE, true, "longer than");
    expect((struct ask){.path = "/continues/60"}, 0, true, "hello");
    expect((struct ask){.path = "/continues/70"}, -EMSGSIZE, true, "longer than");
}

static void refused_at_once(void **state)
{
    static const struct ask cases[] = {
        {.path = "/ok", .forbid_http = true},
        {.path = "/ok", .host = "localhost"}, /* http to a name */
        {.path = "/ok", .host = "192.0.2.1"}, /* http to elsewhere */
        {.path = "/ok", .host = "u:p@127.0.0.1"},
        {.path = "/ok", .method = "PUT"},
        {.path = "/ok", .header = {.name = "X", .value = {"a\r\nY: b", 7}}},
        {.path = "/ok", .header = {.name = "X", .value = {"a\0b", 3}}},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct result result;
        int left = 0;
        assert_int_equal(begin(&cases[i], &result, &left), -EINVAL);
    }
}

static void certificates(void **state)
{
    struct span first = buffer_span(&server.ca), second = buffer_span(&server.ca2);
    (void)state;
    expect((struct ask){.path = "/ok", .https = true, .port = server.good, .ca = first}, 0, true, "hello");
    expect((struct ask){.path = "/ok", .https = true, .port = server.good, .ca = first, .host = "localhost"}, 0, true,
           "hello");
    expect((struct ask){.path = "/ok", .https = true, .port = server.good}, -EPROTO, false, "set ca_file");
    expect((struct ask){.path = "/ok", .https = true, .port = server.good, .ca = second}, -EPROTO, false,
           "not issued by an authority in ca_file");
    expect((struct ask){.path = "/ok", .https = true, .port = server.other_ca, .ca = first}, -EPROTO, false,
           "in ca_file");
    expect((struct ask){.path = "/ok", .https = true, .port = server.other_ca, .ca = second}, 0, true, "hello");
    expect((struct ask){.path = "/ok", .https = true, .port = server.wrong_host, .ca = first}, -EPROTO, false,
           "another host name");
    expect((struct ask){.path = "/ok", .https = true, .port = server.expired, .ca = first}, -EPROTO, false, "expired");
    struct result result =
        fetch((struct ask){.path = "/ok", .https = true, .port = server.good, .ca = span_of("no PEM")});
    assert_int_equal(result.why.kind, FAILURE_INVALID_CONFIGURATION);
    assert_non_null(strstr(result.why.reason, "ca_file holds no certificate"));
    drop(&result);
}

/* A connection that one trust made is not for another: after a trusted exchange an untrusting one is still refused. */
static void domains_are_apart(void **state)
{
    (void)state;
    expect((struct ask){.path = "/ok", .https = true, .port = server.good, .ca = buffer_span(&server.ca)}, 0, true,
           "hello");
    expect((struct ask){.path = "/ok", .https = true, .port = server.good, .ca = buffer_span(&server.ca2)}, -EPROTO,
           false, "ca_file");
    expect((struct ask){.path = "/ok", .https = true, .port = server.good, .ca = buffer_span(&server.ca)}, 0, true,
           "hello");
}

/* The thumbprint of a listener's certificate, as the openssl command sees it. */
static void read_pin(int port, char ret[static 41])
{
    char command[256], line[128] = "";
    size_t length = 0;
    (void)snprintf(command, sizeof(command),
                   "openssl s_client -connect 127.0.0.1:%d </dev/null 2>/dev/null | openssl x509 -noout -fingerprint "
                   "-sha1",
                   port);
    FILE *pipe = popen(command, "re"); /* NOLINT(cert-env33-c): a test's own words */
    assert_non_null(pipe);
    assert_non_null(fgets(line, sizeof(line), pipe));
    assert_int_equal(pclose(pipe), 0);
    for (const char *p = strchr(line, '='); p && *p; p++)
        if (*p != '=' && *p != ':' && *p != '\n' && length < 40)
            ret[length++] = *p;
    ret[length] = '\0';
    assert_int_equal(length, 40);
}

/* One certificate in place of a chain: whoever made it, whatever it is called and however old it is; no other. */
static void a_thumbprint_is_all_that_counts(void **state)
{
    const int ports[] = {server.good, server.other_ca, server.wrong_host, server.expired};
    char pins[ELEMENTS(ports)][41];
    (void)state;
    for (size_t i = 0; i < ELEMENTS(ports); i++)
        read_pin(ports[i], pins[i]);
    for (size_t i = 0; i < ELEMENTS(ports); i++)
        for (size_t j = 0; j < ELEMENTS(ports); j++)
            expect((struct ask){.path = "/ok", .https = true, .port = ports[i], .pin = pins[j]}, i == j ? 0 : -EPROTO,
                   i == j, i == j ? "hello" : "thumbprint was announced");
    /* what trusts a chain does not get what a thumbprint connected, nor the other way round */
    struct span ca = buffer_span(&server.ca);
    expect((struct ask){.path = "/ok", .https = true, .port = server.other_ca, .ca = ca}, -EPROTO, false, "in ca_file");
    expect((struct ask){.path = "/ok", .https = true, .port = server.good, .ca = ca}, 0, true, "hello");
    expect((struct ask){.path = "/ok", .https = true, .port = server.good, .ca = ca, .pin = pins[1]}, -EPROTO, false,
           "thumbprint was announced");
    unsigned char keys[3][TRUST_KEY_SIZE];
    assert_int_equal(trust_key(&(struct trust){.thumbprint = pins[0]}, keys[0]), 0);
    assert_int_equal(trust_key(&(struct trust){.thumbprint = pins[1]}, keys[1]), 0);
    assert_int_equal(trust_key(&(struct trust){0}, keys[2]), 0);
    assert_memory_not_equal(keys[0], keys[1], TRUST_KEY_SIZE);
    assert_memory_not_equal(keys[0], keys[2], TRUST_KEY_SIZE);
    for (size_t length = 0; length < 40; length += 13) {
        pins[0][length] = 'g';
        struct result result = fetch((struct ask){.path = "/ok", .https = true, .port = server.good, .pin = pins[0]});
        assert_int_equal(result.why.kind, FAILURE_INVALID_CONFIGURATION);
        drop(&result);
    }
}

static void services_of_this_host(void **state)
{
    struct result result;
    int left = 0;
    (void)state;
    expect((struct ask){.path = "/ok", .local = true, .host = "localhost"}, 0, true, "hello");
    expect((struct ask){.path = "/ok", .local = true, .forbid_http = true}, 0, true, "hello");
    assert_int_equal(begin(&(struct ask){.path = "/ok", .local = true, .host = "192.0.2.1"}, &result, &left), -EINVAL);
    assert_int_equal(begin(&(struct ask){.path = "/ok", .local = true, .host = "localhost.example"}, &result, &left),
                     -EINVAL);
    assert_int_equal(begin(&(struct ask){.path = "/ok", .host = "169.254.169.254"}, &result, &left), -EINVAL);
    assert_int_equal(
        begin(&(struct ask){.path = "/ok", .pin = "0123456789012345678901234567890123456789"}, &result, &left),
        -EINVAL); /* a certificate is for https */
}

static void environment_counts_for_nothing(void **state)
{
    static const char *const names[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(names); i++)
        setenv(names[i], "http://127.0.0.1:1", 1);
    setenv("no_proxy", "*", 1);
    expect((struct ask){.path = "/ok"}, 0, true, "hello");
    expect((struct ask){.path = "/ok", .https = true, .port = server.good, .ca = buffer_span(&server.ca)}, 0, true,
           "hello");
    expect((struct ask){.path = "/ok", .proxy = "http://127.0.0.1:1"}, 0, true,
           "hello"); /* plain text goes through none */
    expect((struct ask){.path = "/ok",
                        .https = true,
                        .port = server.good,
                        .ca = buffer_span(&server.ca),
                        .proxy = "http://127.0.0.1:1"},
           -EHOSTUNREACH, false, "the proxy http://127.0.0.1:1");
    for (size_t i = 0; i < ELEMENTS(names); i++)
        unsetenv(names[i]);
    unsetenv("no_proxy");
}

/* GETs share a connection; a POST has its own, so that libcurl never sends it a second time. */
static void posts_are_sent_once(void **state)
{
    int before[4], after[4];
    (void)state;
    expect((struct ask){.path = "/ok"}, 0, true, "hello");
    stats(before);
    expect((struct ask){.path = "/ok"}, 0, true, "hello");
    stats(after);
    assert_int_equal(after[0], before[0]);
    expect((struct ask){.path = "/once", .method = "POST", .body = "x"}, 0, true, "hello");
    stats(before);
    assert_int_equal(before[2], after[2] + 1);
    expect((struct ask){.path = "/drop", .method = "POST", .body = "x"}, -ENOTCONN, true, "lost");
    stats(after);
    assert_int_equal(after[2], before[2] + 1);
}

static void many_at_once(void **state)
{
    enum { MANY = 200 };
    static struct result results[MANY];
    struct ask ask = {.path = "/slow/3000", .method = "POST", .body = "x"};
    int left = 0;
    (void)state;
    int64_t start = clock_boot_ms();
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(begin(&ask, &results[i], &left), 0);
    assert_int_equal(loop_run(loop), 0);
    print_message("200 at once, each 3 s: %lld ms\n", (long long)(clock_boot_ms() - start));
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(results[i].told, 1);
        assert_int_equal(results[i].error, 0);
        drop(&results[i]);
    }
    int after[4];
    stats(after);
    assert_true(after[3] > 100); /* they were under way together */
}

/* One place takes its share only: 300 hang, and another place is answered. */
static void a_hanging_place_leaves_room(void **state)
{
    enum { MANY = LIMIT_HTTP_IN_FLIGHT + 50 };
    static struct result results[MANY];
    struct ask ask = {.path = "/hang", .timeout_ms = 60000};
    int ignored = 1;
    (void)state;
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(begin(&ask, &results[i], &ignored), 0);
    struct ask other = {.path = "/ok", .https = true, .port = server.good, .ca = buffer_span(&server.ca)};
    for (int i = 0; i < 2; i++) /* the second comes when all the others have had their turn */
        expect(other, 0, true, "hello");
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(results[i].told, 0);
        http_cancel(results[i].call);
    }
    expect((struct ask){.path = "/ok"}, 0, true, "hello");
}

/* A name server that does not answer holds up nobody: neither another call, nor the end of its own. */
static void slow_names_block_nothing(void **state)
{
    struct ask slow = {.path = "/ok", .host = "slow.example", .https = true, .timeout_ms = 60000};
    struct result results[2];
    int ignored = 2;
    (void)state;
    int64_t start = clock_boot_ms();
    assert_int_equal(begin(&slow, &results[0], &ignored), 0);
    expect((struct ask){.path = "/ok"}, 0, true, "hello");
    http_cancel(results[0].call);
    slow.timeout_ms = 100;
    expect(slow, -ETIMEDOUT, false, "its name was not resolved within 0.1 s");
    assert_int_equal(begin(&slow, &results[1], &ignored), 0);
    http_cancel(results[1].call);
    assert_true(clock_boot_ms() - start < SLOW_LOOKUP_MS);
}

/* Every call of `results` is cancelled by the first one that is told. */
static struct result cancelled[20];
static void on_done_cancel(void *arg, const struct answer *answer)
{
    struct result *result = arg;
    (void)answer;
    result->told++;
    for (size_t i = 0; i < ELEMENTS(cancelled); i++)
        if (&cancelled[i] != result)
            http_cancel(TAKE_PTR(cancelled[i].call));
    loop_stop(loop, 0);
}

static void cancelling(void **state)
{
    int told = 0;
    char url[64];
    (void)state;
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%d/slow/50", server.plain);
    struct http_step step = {.method = "GET", .url = url};
    struct http_request request = {.step = &step, .allow_http = true, .timeout_ms = 10000};
    memset(cancelled, 0, sizeof(cancelled));
    for (size_t i = 0; i < ELEMENTS(cancelled); i++)
        assert_int_equal(http_start(http, &request, on_done_cancel, &cancelled[i], &cancelled[i].call), 0);
    assert_int_equal(loop_run(loop), 0);
    expect((struct ask){.path = "/slow/100"}, 0, true, "late");
    for (size_t i = 0; i < ELEMENTS(cancelled); i++)
        told += cancelled[i].told;
    assert_int_equal(told, 1);
    http_cancel(NULL);
}

/* How often `hidden` (each byte with its top bit turned) is in our writable memory. */
static int count_copies(const char *hidden)
{
    static char block[65536];
    char line[512], wanted[64];
    size_t length = strlen(hidden);
    int copies = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    _cleanup_close_ int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    assert_true(maps && memory >= 0 && length < sizeof(wanted));
    for (size_t i = 0; i < length; i++)
        wanted[i] = (char)(hidden[i] ^ 0x80);
    while (fgets(line, sizeof(line), maps)) {
        unsigned long start, end;
        ssize_t got;
        if (sscanf(line, "%lx-%lx rw", &start, &end) != 2 || !strstr(line, " rw") || end - start > 1ul << 30)
            continue; /* the sanitizer's shadow is larger */
        for (unsigned long at = start; at < end; at += sizeof(block) - sizeof(wanted)) {
            size_t want = end - at < sizeof(block) ? end - at : sizeof(block);
            if ((got = pread(memory, block, want, (off_t)at)) <= 0)
                break;
            for (char *hit = block; (hit = memmem(hit, (size_t)(block + got - hit), wanted, length)); hit++) {
                const char *place = (const char *)(uintptr_t)(at + (unsigned long)(hit - block)); /* not our own two */
                copies += !(place >= block && place < block + sizeof(block)) &&
                          !(place >= wanted && place < wanted + sizeof(wanted));
            }
        }
    }
    explicit_bzero(block, sizeof(block));
    explicit_bzero(wanted, sizeof(wanted));
    (void)fclose(maps);
    return copies;
}

/* Of what was sent and received nothing stays, neither in libcurl's nor in OpenSSL's memory nor in a kept connection's.
 */
static void nothing_is_left(void **state)
{
    static char hidden[] = "\xd3\xf5\xf0\xe5\xf2\xd3\xe5\xe3\xf2\xe5\xf4\xd4\xef\xeb\xe5\xee"; /* SuperSecretToken */
    enum { LENGTH = sizeof(hidden) - 1 };
    static const char *const methods[] = {"POST", "GET"};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        bool https = i / 2 == 1;
        char *secret = calloc(1, LENGTH + 1);
        assert_non_null(secret);
        for (size_t j = 0; j < LENGTH; j++)
            secret[j] = (char)(hidden[j] ^ 0x80);
        struct result result;
        int left = 0;
        struct ask ask = {
            .path = "/echo", .method = methods[i % 2], .https = https, .port = https ? server.good : server.plain};
        ask.ca = https ? buffer_span(&server.ca) : (struct span){0};
        ask.body = i % 2 == 0 ? secret : NULL;
        ask.header = (struct header){.name = "Authorization", .value = {secret, LENGTH}};
        assert_int_equal(begin(&ask, &result, &left), 0);
        assert_int_equal(count_copies(hidden) > 1, 1); /* the search finds what is there */
        wipe_free(secret);
        assert_int_equal(loop_run(loop), 0);
        assert_int_equal(result.error, 0);
        drop(&result);
        assert_int_equal(count_copies(hidden), 0);
    }
}

/* All of it may go while calls are under way, also from within one. */
static void freeing(void **state)
{
    struct ask ask = {.path = "/hang"};
    struct result results[3];
    int ignored = 1;
    (void)state;
    for (size_t i = 0; i < ELEMENTS(results); i++)
        assert_int_equal(begin(&ask, &results[i], &ignored), 0);
    expect((struct ask){.path = "/ok"}, 0, true, "hello");
    http = http_free(http);
    assert_int_equal(results[0].told, 0);
    assert_null(http_free(NULL));
    assert_int_equal(http_new(loop, &http), 0);
    expect((struct ask){.path = "/ok"}, 0, true, "hello");
}

static int set_up(void **state)
{
    (void)state;
    if (http_server_start(&server) < 0)
        return -1;
    return http_global_init() < 0 || loop_new(&loop) < 0 || http_new(loop, &http) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    http_free(http);
    loop_free(loop);
    return http_server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exchanges),
        cmocka_unit_test(faults),
        cmocka_unit_test(limits),
        cmocka_unit_test(refused_at_once),
        cmocka_unit_test(certificates),
        cmocka_unit_test(domains_are_apart),
        cmocka_unit_test(a_thumbprint_is_all_that_counts),
        cmocka_unit_test(services_of_this_host),
        cmocka_unit_test(environment_counts_for_nothing),
        cmocka_unit_test(posts_are_sent_once),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(a_hanging_place_leaves_room),
        cmocka_unit_test(slow_names_block_nothing),
        cmocka_unit_test(cancelling),
        cmocka_unit_test(nothing_is_left),
        cmocka_unit_test(freeing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
