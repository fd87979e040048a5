#include "authority/http.h"

#include "authority/http_domain.h"
#include "authority/http_queue.h"
#include "authority/http_trouble.h"
#include "authority/url.h"
#include "buffer.h"
#include "cleanup.h"
#include "clock.h"
#include "limits.h"
#include "wiping.h"
#include <curl/curl.h>
#include <errno.h>

#define IDLE_SECONDS 30
#define SHOWN        200 /* bytes of a host that a message repeats */

struct http {
    struct loop *loop;
    struct http_domains domains;
    struct http_queue queue;
    struct http_call *calls;
    struct task launch;
    uint64_t answers;
};

struct http_call {
    struct http_turn turn; /* first: a turn is its call */
    struct http_call *next, *previous;
    struct http *http;
    struct http_domain *domain;
    CURL *easy; /* added to the multi handle while running */
    bool running, telling, https, too_long;
    bool connected; /* TLS has begun */
    bool answered;
    CURLcode result;
    struct curl_slist *headers;
    char *body; /* ours, wiped */
    size_t body_length, header_bytes;
    struct buffer answer_headers, answer_body;
    struct timer deadline;
    struct task finish;
    struct failure early; /* set: it cannot even be tried */
    int early_error;
    int64_t timeout_ms, connect_ms;
    char *place, *proxy;
    char problem[CURL_ERROR_SIZE];
    http_done_fn *done;
    void *arg;
};
/* ---- one request ---- */

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct http_call *call = arg;
    call->too_long |= buffer_append(&call->answer_body, data, size * count) < 0;
    return call->too_long ? CURL_WRITEFUNC_ERROR : size * count;
}

static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
    struct http_call *call = arg;
    size_t length = size * count;
    call->header_bytes += length; /* 100 (Continue) and the like count, but are not kept */
    call->http->answers += !call->answered;
    call->answered = true;
    if (length >= 5 && memcmp(data, "HTTP/", 5) == 0)
        buffer_clear(&call->answer_headers);
    call->too_long |=
        call->header_bytes > LIMIT_RESPONSE_HEADERS || buffer_append(&call->answer_headers, data, length) < 0;
    return call->too_long ? CURL_WRITEFUNC_ERROR : length;
}

static CURLcode on_ssl(CURL *easy, void *context, void *arg)
{
    struct http_call *call = arg;
    /* an https proxy comes first, and is not whom the client's certificate is for */
    bool to_proxy = call->proxy && strncasecmp(call->proxy, "https:", 6) == 0 && !call->connected;
    (void)easy;
    call->connected = true;
    return http_domain_trust(call->domain, !to_proxy, context) ? CURLE_OK : CURLE_SSL_CERTPROBLEM;
}

static int set_headers(struct http_call *call, const struct http_step *step)
{
    static const char *const always[] = {"Expect:"};
    for (size_t i = 0; i < step->header_count; i++) {
        _cleanup_buffer_ struct buffer line = BUFFER(LIMIT_SECRET * 2);
        struct span value = step->headers[i].value;
        for (size_t j = 0; j < value.length; j++)
            if ((unsigned char)value.data[j] < 0x20 || value.data[j] == 0x7f)
                return -EINVAL;
        buffer_text(&line, step->headers[i].name);
        buffer_text(&line, ": ");
        if (buffer_append(&line, value.data, value.length) < 0)
            return buffer_error(&line);
        struct curl_slist *list = curl_slist_append(call->headers, line.data);
        if (!list)
            return -ENOMEM;
        call->headers = list;
    }
    for (size_t i = 0; i < ELEMENTS(always); i++) {
        struct curl_slist *list = curl_slist_append(call->headers, always[i]);
        if (!list)
            return -ENOMEM;
        call->headers = list;
    }
    return 0;
}

/* What holds for every request, whatever it is. */
static CURLcode set_rules(CURL *easy)
{
    static const struct {
        CURLoption option;
        long value;
    } rules[] = {
        {CURLOPT_NOSIGNAL, 1},
        {CURLOPT_FOLLOWLOCATION, 0},
        {CURLOPT_NETRC, CURL_NETRC_IGNORED},
        {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
        {CURLOPT_HTTP09_ALLOWED, 0},
        {CURLOPT_DISALLOW_USERNAME_IN_URL, 1},
        {CURLOPT_PATH_AS_IS, 1},
        {CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2},
        {CURLOPT_SSL_VERIFYPEER, 1},
        {CURLOPT_SSL_VERIFYHOST, 2},
        {CURLOPT_SSL_SESSIONID_CACHE, 0},
        {CURLOPT_PROXY_SSLVERSION, CURL_SSLVERSION_TLSv1_2},
        {CURLOPT_HTTPPROXYTUNNEL, 1},
        {CURLOPT_SUPPRESS_CONNECT_HEADERS, 1},
        {CURLOPT_CONNECTTIMEOUT_MS, LIMIT_CONNECT_MS},
        {CURLOPT_MAXFILESIZE, LIMIT_RESPONSE},
        {CURLOPT_MAXAGE_CONN, IDLE_SECONDS},
        {CURLOPT_QUICK_EXIT, 1}, /* else ending a call waits for its resolver thread, and the loop with it */
    };
    CURLcode result = CURLE_OK;
    for (size_t i = 0; i < ELEMENTS(rules) && result == CURLE_OK; i++)
        result = curl_easy_setopt(easy, rules[i].option, rules[i].value);
    if (result == CURLE_OK)
        result = curl_easy_setopt(easy, CURLOPT_USERAGENT, "mltoken/" MLTOKEN_VERSION);
    if (result == CURLE_OK) /* the trust domain's store holds them, see on_ssl() */
        result = curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
    if (result == CURLE_OK)
        result = curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    if (result == CURLE_OK) /* "": whatever the environment says */
        result = curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
    return result;
}

/* A request with a body gets a connection of its own: libcurl silently sends it again when a reused one dies, and a
 * refresh token must never be sent twice unnoticed. */
static CURLcode set_method(struct http_call *call, const char *method)
{
    CURL *easy = call->easy;
    CURLcode result = CURLE_OK;
    if (strcmp(method, "POST") == 0) {
        result = curl_easy_setopt(easy, CURLOPT_POST, 1L);
        if (result == CURLE_OK)
            result = curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)call->body_length);
        if (result == CURLE_OK)
            result = curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->body ? call->body : "");
        if (result == CURLE_OK)
            result = curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
        if (result == CURLE_OK)
            result = curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    } else if (strcmp(method, "DELETE") == 0) {
        result = curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, "DELETE");
    } else if (strcmp(method, "GET") != 0) {
        result = CURLE_UNSUPPORTED_PROTOCOL;
    }
    return result;
}

static CURLcode set_place(struct http_call *call, const char *url)
{
    const char *protocol = call->https ? "https" : "http";
    CURL *easy = call->easy;
    CURLcode result = curl_easy_setopt(easy, CURLOPT_URL, url);
    if (result == CURLE_OK)
        result = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, protocol);
    if (result == CURLE_OK)
        result = curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, protocol);
    if (result == CURLE_OK)
        result = curl_easy_setopt(easy, CURLOPT_PROXY, call->proxy ? call->proxy : "");
    if (result == CURLE_OK && call->https)
        result = curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_ssl);
    if (result == CURLE_OK && call->https)
        result = curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, call);
    return result;
}

static CURLcode set_functions(struct http_call *call)
{
    CURL *easy = call->easy;
    CURLcode result = curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
    if (result == CURLE_OK)
        result = curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->problem);
    if (result == CURLE_OK)
        result = curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers);
    if (result == CURLE_OK)
        result = curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    if (result == CURLE_OK)
        result = curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    if (result == CURLE_OK)
        result = curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    if (result == CURLE_OK)
        result = curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
    return result;
}

/* ---- the life of a call ---- */

static void fill_answer(struct http_call *call, struct answer *answer)
{
    char reason[2 * CURL_ERROR_SIZE];
    struct http_trouble trouble = {
        .easy = call->easy,
        .result = call->too_long ? CURLE_FILESIZE_EXCEEDED : call->result,
        .words = call->problem,
        .proxy = call->proxy,
        .timeout_ms = call->timeout_ms,
        .connect_ms = call->connect_ms,
        .queued = !call->turn.in_flight,
        .connected = call->connected,
        .private_ca = call->domain && http_domain_is_private(call->domain),
        .shows = call->domain && http_domain_shows(call->domain),
    };
    long status = 0;
    if (call->early_error) {
        answer->error = call->early_error;
        answer->why = call->early;
        return;
    }
    const char *refusal = call->result != CURLE_OK && call->https ? http_trouble_refusal(&trouble) : NULL;
    if (refusal) {
        answer->error = -EPROTO;
        failure_set(&answer->why, FAILURE_AUTHORITY_REFUSED, CLASS_DEFINITE, "%s", "");
        (void)snprintf(answer->why.error, sizeof(answer->why.error), "tls_certificate");
        (void)snprintf(answer->why.description, sizeof(answer->why.description), "%s", refusal);
        return;
    }
    if (call->result != CURLE_OK) {
        answer->maybe_sent = http_trouble_sent(call->easy);
        answer->error = http_trouble_describe(&trouble, reason, sizeof(reason));
        failure_set(&answer->why, FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE, "cannot reach %.*s: %s", SHOWN,
                    call->place, reason);
        answer->why.uncertain = answer->maybe_sent;
        return;
    }
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    answer->status = (int)status;
    answer->maybe_sent = true;
    answer->headers = buffer_span(&call->answer_headers);
    answer->body = buffer_span(&call->answer_body);
}

static void on_launch(void *arg);

static void stop(struct http_call *call)
{
    struct http *http = call->http;
    struct http_domain *domain = call->domain;
    timer_stop(&call->deadline);
    task_stop(&call->finish);
    if (call->running)
        http_domain_remove(domain, call->easy);
    call->running = false;
    http_queue_remove(&http->queue, &call->turn);
    call->domain = NULL;
    http_domain_close(domain);
    if (call->previous)
        call->previous->next = call->next;
    else
        http->calls = call->next;
    if (call->next)
        call->next->previous = call->previous;
    task_start(http->loop, &http->launch, on_launch, http);
}

static struct http_call *call_free(struct http_call *call)
{
    if (!call)
        return NULL;
    curl_easy_cleanup(call->easy);
    curl_slist_free_all(call->headers);
    if (call->body)
        explicit_bzero(call->body, call->body_length);
    free(call->body);
    buffer_free(&call->answer_headers);
    buffer_free(&call->answer_body);
    free(call->place);
    free(call->proxy);
    free(call);
    return NULL;
}

DEFINE_CLEANUP(struct http_call *, call_free)

static void tell(struct http_call *call)
{
    struct answer answer = {0};
    fill_answer(call, &answer);
    stop(call);
    call->telling = true; /* a cancel from within comes too late, and must not free what is being read */
    call->done(call->arg, &answer);
    call_free(call);
}

static void on_finish(void *arg)
{
    tell(arg);
}

static void on_deadline(void *arg)
{
    struct http_call *call = arg;
    call->result = CURLE_OPERATION_TIMEDOUT;
    tell(call);
}

/* A transfer has ended. Told from a task of its own, as its owner may start or cancel any other. */
static void on_done(void *owner, CURLcode result)
{
    struct http_call *call = owner;
    call->result = result;
    task_start(call->http->loop, &call->finish, on_finish, call);
}

static void on_launch(void *arg)
{
    struct http *http = arg;
    struct http_turn *turn;
    while ((turn = http_queue_take(&http->queue))) {
        struct http_call *call = (struct http_call *)turn;
        call->running = http_domain_add(call->domain, call->easy) == 0;
        if (call->running)
            continue;
        call->result = CURLE_OUT_OF_MEMORY;
        task_start(http->loop, &call->finish, on_finish, call);
    }
}

static bool may_be_plain(const struct http_request *request, const struct url *url)
{
    if (request->allow_local && (url_is_link_local(url) || url_is_localhost(url)))
        return true;
    return (request->allow_http || request->allow_local) && url_is_loopback(url);
}

static int call_new(struct http *http, const struct http_request *request, struct http_call **ret)
{
    const struct http_step *step = request->step;
    struct url url;
    if (url_parse(step->url, &url) < 0 || (!url.https && !may_be_plain(request, &url)) ||
        (request->trust.thumbprint && !url.https))
        return -EINVAL;
    _cleanup_(call_free_cleanup) struct http_call *call = calloc(1, sizeof(*call));
    if (!call)
        return -ENOMEM;
    call->http = http;
    call->https = url.https;
    call->timeout_ms = request->timeout_ms > 0 ? request->timeout_ms : LIMIT_HTTP_MS;
    if (step->timeout_ms > 0 && step->timeout_ms < call->timeout_ms)
        call->timeout_ms = step->timeout_ms;
    call->connect_ms = step->connect_ms > 0 ? step->connect_ms : LIMIT_CONNECT_MS;
    call->answer_headers = BUFFER(LIMIT_RESPONSE_HEADERS);
    call->answer_body = BUFFER(LIMIT_RESPONSE);
    call->easy = curl_easy_init();
    bool six = memchr(url.host.data, ':', url.host.length);
    if (asprintf(&call->place, url.port == (url.https ? 443 : 80) ? "%s%.*s%s" : "%s%.*s%s:%d", six ? "[" : "",
                 (int)url.host.length, url.host.data, six ? "]" : "", url.port) < 0)
        call->place = NULL;
    if (url.https && request->trust.proxy && *request->trust.proxy) /* never plain text through a proxy */
        call->proxy = strdup(request->trust.proxy);
    if (step->body.length > 0 && (call->body = malloc(step->body.length))) {
        memcpy(call->body, step->body.data, step->body.length);
        call->body_length = step->body.length;
    }
    if (!call->easy || !call->place || (url.https && request->trust.proxy && *request->trust.proxy && !call->proxy) ||
        call->body_length != step->body.length)
        return -ENOMEM;
    int r = set_headers(call, step);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(call);
    return 0;
}

static int set_up(struct http_call *call, const struct http_request *request)
{
    struct http_domain *domain = NULL;
    int r = http_domain_open(&call->http->domains, &request->trust, call->https, &domain, &call->early);
    if (r < 0)
        return r;
    call->domain = domain;
    CURLcode result = set_rules(call->easy);
    if (result == CURLE_OK)
        result = set_place(call, request->step->url);
    if (result == CURLE_OK && request->step->connect_ms > 0)
        result = curl_easy_setopt(call->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)request->step->connect_ms);
    if (result == CURLE_OK &&
        http_domain_is_pinned(domain)) /* the certificate is known itself, its name says nothing */
        result = curl_easy_setopt(call->easy, CURLOPT_SSL_VERIFYHOST, 0L);
    if (result == CURLE_OK)
        result = set_method(call, request->step->method);
    if (result == CURLE_OK)
        result = set_functions(call);
    return result == CURLE_OK ? 0 : result == CURLE_OUT_OF_MEMORY ? -ENOMEM : -EINVAL;
}

int http_start(struct http *http, const struct http_request *request, http_done_fn *done, void *arg,
               struct http_call **ret)
{
    struct http_call *call = NULL;
    int r = call_new(http, request, &call);
    if (r < 0)
        return r;
    call->done = done;
    call->arg = arg;
    call->next = http->calls;
    if (call->next)
        call->next->previous = call;
    http->calls = call;
    r = set_up(call, request);
    if (r == 0 && (r = http_queue_add(&http->queue, &call->turn, call->place)) == 0)
        r = timer_start(http->loop, &call->deadline, clock_boot_ms() + call->timeout_ms, on_deadline, call);
    if (r < 0 && call->early.kind == FAILURE_NONE) {
        stop(call);
        call_free(call);
        return r;
    }
    if (r < 0) {
        call->early_error = r;
        task_start(http->loop, &call->finish, on_finish, call);
    } else {
        task_start(http->loop, &http->launch, on_launch, http);
    }
    *ret = call;
    return 0;
}

void http_cancel(struct http_call *call)
{
    if (!call || call->telling)
        return;
    stop(call);
    call_free(call);
}

uint64_t http_answers(const struct http *http)
{
    return http->answers;
}

/* ---- all of it ---- */

int http_global_init(void)
{
    /* libcurl writes session keys to a file that this names; a private agent keeps its caller's environment */
    const char *given = getenv("SSLKEYLOGFILE");
    _cleanup_free_ char *key_log = given ? strdup(given) : NULL;
    (void)unsetenv("SSLKEYLOGFILE");
    int r = wiping_openssl();
    if (r < 0)
        return r;
    CURLcode result = curl_global_init_mem(CURL_GLOBAL_DEFAULT, wiping_malloc, wiping_free, wiping_realloc,
                                           wiping_strdup, wiping_calloc);
    if (key_log)
        (void)setenv("SSLKEYLOGFILE", key_log, 1);
    return result == CURLE_OK ? 0 : -ENOMEM;
}

int http_new(struct loop *loop, struct http **ret)
{
    struct http *http = calloc(1, sizeof(*http));
    if (!http)
        return -ENOMEM;
    http->loop = loop;
    http->domains = (struct http_domains){.loop = loop, .done = on_done};
    *ret = http;
    return 0;
}

struct http *http_free(struct http *http)
{
    if (!http)
        return NULL;
    while (http->calls)
        http_cancel(http->calls);
    http_domains_free(&http->domains);
    task_stop(&http->launch);
    free(http);
    return NULL;
}
