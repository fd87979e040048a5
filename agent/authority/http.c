#include "authority/http.h"

#include "authority/http_queue.h"
#include "authority/url.h"
#include "buffer.h"
#include "cleanup.h"
#include "clock.h"
#include "limits.h"
#include "wiping.h"
#include <curl/curl.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#ifndef MLTOKEN_CA_BUNDLE
#define MLTOKEN_CA_BUNDLE "/etc/ssl/certs/ca-certificates.crt"
#endif

#define HEADER_NAME  64
#define IDLE_LIMIT   8 /* connections kept for the next request of a domain */
#define IDLE_SECONDS 30
#define PLACE_SIZE   (LIMIT_URL + 8)
#define SHOWN        200 /* bytes of a host or a problem that a message repeats */

/* Everything that shares connections: one trust, one proxy. */
struct domain {
    struct domain *next;
    struct http *http;
    unsigned char key[TRUST_KEY_SIZE];
    CURLM *multi;
    X509_STORE *store;
    bool private_ca;
    size_t calls;
    struct sock *socks;
    struct timer timer; /* curl's */
    struct timer idle;
    struct task drain;
};

/* One of curl's descriptors. */
struct sock {
    struct sock *next, *previous;
    struct domain *domain;
    struct watch watch;
};

struct http {
    struct loop *loop;
    struct domain *domains;
    struct http_queue queue;
    struct http_call *calls;
    struct task launch;
};

struct http_call {
    struct http_turn turn; /* first: a turn is its call */
    struct http_call *next, *previous;
    struct http *http;
    struct domain *domain;
    CURL *easy; /* added to the multi handle while running */
    bool running, telling, https, too_long;
    bool connected; /* TLS has begun */
    CURLcode result;
    struct curl_slist *headers;
    char *body; /* ours, wiped */
    size_t body_length, header_bytes;
    struct buffer answer_headers, answer_body;
    struct timer deadline;
    struct task finish;
    struct failure early; /* set: it cannot even be tried */
    int early_error;
    int64_t timeout_ms;
    char *place, *proxy;
    char problem[CURL_ERROR_SIZE];
    http_done_fn *done;
    void *arg;
};

/* ---- trust domains ------------------------------------------------------------------------------------------------
 */

static void on_drain(void *arg);

static int on_curl_timer(CURLM *multi, long timeout_ms, void *arg);
static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg);

/* Certificates from PEM text: how many, or -ENOMEM. */
static int add_certificates(X509_STORE *store, BIO *bio)
{
    int count = 0;
    for (;;) {
        X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (!certificate)
            break;
        int ok = X509_STORE_add_cert(store, certificate);
        X509_free(certificate);
        if (!ok)
            return -ENOMEM;
        count++;
    }
    ERR_clear_error(); /* the end of the text is an error to OpenSSL */
    return count;
}

/* Parsed once for a domain and shared by its connections: reading the system's bundle anew for each would cost the loop
 * more than all the rest of a request. */
static int open_store(struct domain *domain, struct span ca_pem, struct failure *why)
{
    domain->private_ca = ca_pem.length > 0;
    domain->store = X509_STORE_new();
    BIO *bio =
        domain->private_ca ? BIO_new_mem_buf(ca_pem.data, (int)ca_pem.length) : BIO_new_file(MLTOKEN_CA_BUNDLE, "re");
    if (!domain->store || (!bio && domain->private_ca)) {
        BIO_free(bio);
        return -ENOMEM;
    }
    int count = bio ? add_certificates(domain->store, bio) : 0;
    BIO_free(bio);
    ERR_clear_error();
    if (count > 0)
        return 0;
    if (domain->private_ca)
        failure_set(why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE, "ca_file holds no certificate in PEM form");
    else
        failure_set(why, FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE,
                    "no certificate authorities in %s: install the package ca-certificates, or set ca_file",
                    MLTOKEN_CA_BUNDLE);
    return count < 0 ? count : -EPROTO;
}

static struct domain *domain_free(struct domain *domain)
{
    if (!domain)
        return NULL;
    struct domain **place = &domain->http->domains;
    while (*place && *place != domain)
        place = &(*place)->next;
    if (*place)
        *place = domain->next;
    timer_stop(&domain->timer);
    timer_stop(&domain->idle);
    task_stop(&domain->drain);
    if (domain->multi) {
        curl_multi_setopt(domain->multi, CURLMOPT_SOCKETFUNCTION, NULL);
        curl_multi_setopt(domain->multi, CURLMOPT_TIMERFUNCTION, NULL);
    }
    while (domain->socks) {
        struct sock *sock = domain->socks;
        domain->socks = sock->next;
        watch_stop(&sock->watch);
        free(sock);
    }
    curl_multi_cleanup(domain->multi);
    X509_STORE_free(domain->store);
    free(domain);
    return NULL;
}

static void on_idle(void *arg)
{
    domain_free(arg);
}

/* By content; the system's bundle counts by its file's identity. */
int trust_key(const struct trust *trust, unsigned char ret[TRUST_KEY_SIZE])
{
    struct stat st = {0};
    unsigned length = 0;
    int ok = 0;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    const char *proxy = trust->proxy ? trust->proxy : "";
    if (trust->ca_pem.length == 0)
        (void)stat(MLTOKEN_CA_BUNDLE, &st);
    int64_t numbers[] = {(int64_t)trust->ca_pem.length, (int64_t)st.st_ino, st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec};
    if (context)
        ok = EVP_DigestInit_ex(context, EVP_sha256(), NULL) && EVP_DigestUpdate(context, numbers, sizeof(numbers)) &&
             EVP_DigestUpdate(context, trust->ca_pem.data, trust->ca_pem.length) &&
             EVP_DigestUpdate(context, proxy, strlen(proxy)) && EVP_DigestFinal_ex(context, ret, &length);
    EVP_MD_CTX_free(context);
    return ok ? 0 : -ENOMEM;
}

static int domain_open(struct http *http, const struct trust *trust, bool https, struct domain **ret,
                       struct failure *why)
{
    unsigned char key[TRUST_KEY_SIZE] = {0}; /* of plain http: nothing is trusted */
    int r = https ? trust_key(trust, key) : 0;
    if (r < 0)
        return r;
    for (struct domain *domain = http->domains; domain; domain = domain->next) {
        if (memcmp(domain->key, key, sizeof(key)) != 0)
            continue;
        *ret = domain;
        return 0;
    }
    struct domain *domain = calloc(1, sizeof(*domain));
    if (!domain)
        return -ENOMEM;
    domain->http = http;
    memcpy(domain->key, key, sizeof(key));
    domain->multi = curl_multi_init();
    r = !domain->multi ? -ENOMEM : https ? open_store(domain, trust->ca_pem, why) : 0;
    if (r < 0) {
        domain_free(domain);
        return r;
    }
    curl_multi_setopt(domain->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl_multi_setopt(domain->multi, CURLMOPT_SOCKETDATA, domain);
    curl_multi_setopt(domain->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(domain->multi, CURLMOPT_TIMERDATA, domain);
    curl_multi_setopt(domain->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
    curl_multi_setopt(domain->multi, CURLMOPT_MAXCONNECTS, (long)IDLE_LIMIT);
    domain->next = http->domains;
    *ret = http->domains = domain;
    return 0;
}

/* ---- curl on the loop -----------------------------------------------------------------------------------------------
 */

static void act(struct domain *domain, curl_socket_t fd, int mask)
{
    int running;
    curl_multi_socket_action(domain->multi, fd, mask, &running);
    task_start(domain->http->loop, &domain->drain, on_drain, domain);
}

static void on_fd(void *arg, uint32_t events)
{
    struct sock *sock = arg; /* may be freed by act() */
    int mask = 0;
    if (events & EPOLLIN)
        mask |= CURL_CSELECT_IN;
    if (events & EPOLLOUT)
        mask |= CURL_CSELECT_OUT;
    if (events & (EPOLLERR | EPOLLHUP))
        mask |= CURL_CSELECT_ERR;
    act(sock->domain, sock->watch.fd, mask);
}

static void on_timeout(void *arg)
{
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct domain *domain = arg;
    (void)multi;
    if (timeout_ms < 0) {
        timer_stop(&domain->timer);
        return 0;
    }
    return timer_start(domain->http->loop, &domain->timer, clock_boot_ms() + timeout_ms, on_timeout, domain) < 0 ? -1
                                                                                                                 : 0;
}

static void sock_free(struct sock *sock)
{
    if (!sock) /* curl removes also what it never added */
        return;
    if (sock->previous)
        sock->previous->next = sock->next;
    else
        sock->domain->socks = sock->next;
    if (sock->next)
        sock->next->previous = sock->previous;
    watch_stop(&sock->watch);
    free(sock);
}

static int sock_new(struct domain *domain, curl_socket_t fd, uint32_t events)
{
    struct sock *sock = calloc(1, sizeof(*sock));
    if (!sock)
        return -1;
    if (watch_start(domain->http->loop, &sock->watch, fd, events, on_fd, sock) < 0) {
        free(sock);
        return -1;
    }
    sock->domain = domain;
    sock->next = domain->socks;
    if (sock->next)
        sock->next->previous = sock;
    domain->socks = sock;
    curl_multi_assign(domain->multi, fd, sock);
    return 0;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    struct sock *sock = socket_arg;
    (void)easy;
    if (what != CURL_POLL_REMOVE && !sock)
        return sock_new(arg, fd, events);
    if (what != CURL_POLL_REMOVE)
        return watch_modify(&sock->watch, events) < 0 ? -1 : 0;
    sock_free(sock);
    curl_multi_assign(((struct domain *)arg)->multi, fd, NULL);
    return 0;
}

/* ---- one call
 * --------------------------------------------------------------------------------------------------------- */

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
    if (length >= 5 && memcmp(data, "HTTP/", 5) == 0)
        buffer_clear(&call->answer_headers);
    call->too_long |=
        call->header_bytes > LIMIT_RESPONSE_HEADERS || buffer_append(&call->answer_headers, data, length) < 0;
    return call->too_long ? CURL_WRITEFUNC_ERROR : length;
}

/* OpenSSL keeps a connection's last records decrypted in its buffers: released after each read, our free wipes them. */
static CURLcode on_ssl(CURL *easy, void *context, void *arg)
{
    struct http_call *call = arg;
    (void)easy;
    call->connected = true;
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set1_cert_store(context, call->domain->store);
    return CURLE_OK;
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

/* ---- what went wrong, in words
 * ------------------------------------------------------------------------------------------ */

static const char *certificate_problem(const struct http_call *call, long verify)
{
    switch (verify) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "its certificate has expired; check also this machine's clock";
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "its certificate is not valid yet; check this machine's clock";
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        return call->domain && call->domain->private_ca ? "its certificate was not issued by an authority in ca_file"
                                                        : "its certificate was issued by an authority that this system "
                                                          "does not trust; if that is a private one, set ca_file";
    default:
        return NULL;
    }
}

static int tls_failure(struct http_call *call, char *to, size_t size)
{
    long verify = 0;
    curl_easy_getinfo(call->easy, CURLINFO_SSL_VERIFYRESULT, &verify);
    const char *problem = certificate_problem(call, verify);
    if (!problem && verify > X509_V_ERR_UNSPECIFIED) /* that one is libcurl's word for "not there yet" */
        problem = X509_verify_cert_error_string(verify);
    if (!problem && call->result == CURLE_PEER_FAILED_VERIFICATION)
        problem = "its certificate is for another host name";
    (void)snprintf(to, size, "no trusted TLS connection: %s", problem ? problem : call->problem);
    return -EPROTO;
}

static int connect_failure(struct http_call *call, char *to, size_t size)
{
    long error = 0;
    curl_easy_getinfo(call->easy, CURLINFO_OS_ERRNO, &error);
    (void)snprintf(to, size, "%s",
                   error == ECONNREFUSED ? "connection refused"
                   : error               ? strerrordesc_np((int)error)
                                         : call->problem);
    return error == ECONNREFUSED ? -ECONNREFUSED : error == ETIMEDOUT ? -ETIMEDOUT : -EHOSTUNREACH;
}

static curl_off_t time_of(const struct http_call *call, CURLINFO info)
{
    curl_off_t time = 0;
    if (call->easy)
        curl_easy_getinfo(call->easy, info, &time);
    return time;
}

static int timeout_failure(const struct http_call *call, char *to, size_t size)
{
    const char *phase = "no answer";
    int64_t limit = call->timeout_ms;
    if (!call->turn.in_flight)
        phase = "too many other requests were under way";
    else if (time_of(call, CURLINFO_NAMELOOKUP_TIME_T) == 0)
        phase = "its name was not resolved";
    else if (time_of(call, CURLINFO_PRETRANSFER_TIME_T) == 0)
        phase = call->connected ? "TLS was not set up" : "no connection";
    if (call->result == CURLE_OPERATION_TIMEDOUT && limit > LIMIT_CONNECT_MS &&
        time_of(call, CURLINFO_PRETRANSFER_TIME_T) == 0)
        limit = LIMIT_CONNECT_MS;
    (void)snprintf(to, size, "%s within %.3g s", phase, (double)limit / 1000);
    return -ETIMEDOUT;
}

static int proxy_failure(struct http_call *call, char *to, size_t size)
{
    long status = 0;
    curl_easy_getinfo(call->easy, CURLINFO_HTTP_CONNECTCODE, &status);
    if (status)
        (void)snprintf(to, size, "the proxy %.*s refused the connection (%ld)", SHOWN, call->proxy, status);
    else
        (void)snprintf(to, size, "the proxy %.*s does not work: %s", SHOWN, call->proxy, call->problem);
    return -EHOSTUNREACH;
}

/* The errno and the reason for a libcurl result. */
static int describe(struct http_call *call, char *to, size_t size)
{
    bool sent = time_of(call, CURLINFO_PRETRANSFER_TIME_T) > 0;
    if (call->too_long)
        call->result = CURLE_FILESIZE_EXCEEDED;
    if (call->proxy && !sent &&
        (call->result == CURLE_RECV_ERROR || call->result == CURLE_COULDNT_RESOLVE_PROXY ||
         call->result == CURLE_PROXY || call->result == CURLE_COULDNT_CONNECT))
        return proxy_failure(call, to, size);
    switch ((int)call->result) {
    case CURLE_COULDNT_RESOLVE_HOST:
        (void)snprintf(to, size, "its name does not resolve");
        return -EHOSTUNREACH;
    case CURLE_COULDNT_CONNECT:
        return connect_failure(call, to, size);
    case CURLE_OPERATION_TIMEDOUT:
        return timeout_failure(call, to, size);
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CERTPROBLEM:
        return tls_failure(call, to, size);
    case CURLE_FILESIZE_EXCEEDED:
        (void)snprintf(to, size, "its answer is longer than %d bytes", LIMIT_RESPONSE);
        return -EMSGSIZE;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_CONTENT_ENCODING:
        (void)snprintf(to, size, "it does not answer in HTTP");
        return -EBADMSG;
    case CURLE_OUT_OF_MEMORY:
        (void)snprintf(to, size, "out of memory");
        return -ENOMEM;
    default:
        (void)snprintf(to, size, "the connection was lost %s",
                       sent ? "before its whole answer came" : "before anything was sent");
        return -ENOTCONN;
    }
}

static void fill_answer(struct http_call *call, struct answer *answer)
{
    char reason[2 * CURL_ERROR_SIZE];
    long status = 0;
    if (call->early_error) {
        answer->error = call->early_error;
        answer->why = call->early;
        return;
    }
    if (call->result != CURLE_OK) {
        answer->maybe_sent = time_of(call, CURLINFO_PRETRANSFER_TIME_T) > 0;
        answer->error = describe(call, reason, sizeof(reason));
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

/* ---- the life of a call
 * ------------------------------------------------------------------------------------------------ */

static void on_launch(void *arg);

static void stop(struct http_call *call)
{
    struct http *http = call->http;
    struct domain *domain = call->domain;
    timer_stop(&call->deadline);
    task_stop(&call->finish);
    if (call->running)
        curl_multi_remove_handle(domain->multi, call->easy);
    call->running = false;
    http_queue_remove(&http->queue, &call->turn);
    call->domain = NULL;
    if (domain && --domain->calls == 0)
        (void)timer_start(http->loop, &domain->idle, clock_boot_ms() + LIMIT_HTTP_IDLE_MS, on_idle, domain);
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

/* All that is there: reading one a wake-up was measured to lose completions. Each is told from a task of its own, as
 * its owner may start or cancel any other. */
static void on_drain(void *arg)
{
    struct domain *domain = arg;
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(domain->multi, &left))) {
        struct http_call *call = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode result = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        call->result = result;
        task_start(domain->http->loop, &call->finish, on_finish, call);
    }
}

static void on_launch(void *arg)
{
    struct http *http = arg;
    struct http_turn *turn;
    while ((turn = http_queue_take(&http->queue))) {
        struct http_call *call = (struct http_call *)turn;
        call->running = curl_multi_add_handle(call->domain->multi, call->easy) == CURLM_OK;
        if (call->running)
            continue;
        call->result = CURLE_OUT_OF_MEMORY;
        task_start(http->loop, &call->finish, on_finish, call);
    }
}

static int call_new(struct http *http, const struct http_request *request, struct http_call **ret)
{
    const struct http_step *step = request->step;
    struct url url;
    if (url_parse(step->url, &url) < 0 || (!url.https && !(request->allow_http && url_is_loopback(&url))))
        return -EINVAL;
    _cleanup_(call_free_cleanup) struct http_call *call = calloc(1, sizeof(*call));
    if (!call)
        return -ENOMEM;
    call->http = http;
    call->https = url.https;
    call->timeout_ms = request->timeout_ms > 0 ? request->timeout_ms : LIMIT_HTTP_MS;
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
    struct domain *domain = NULL;
    int r = domain_open(call->http, &request->trust, call->https, &domain, &call->early);
    if (r < 0)
        return r;
    call->domain = domain;
    domain->calls++;
    timer_stop(&domain->idle);
    CURLcode result = set_rules(call->easy);
    if (result == CURLE_OK)
        result = set_place(call, request->step->url);
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

/* ---- all of it
 * ----------------------------------------------------------------------------------------------------------- */

int http_global_init(void)
{
    /* libcurl writes session keys to a file that this names; a private agent keeps its caller's environment */
    _cleanup_free_ char *key_log = getenv("SSLKEYLOGFILE") ? strdup(getenv("SSLKEYLOGFILE")) : NULL;
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
    *ret = http;
    return 0;
}

struct http *http_free(struct http *http)
{
    if (!http)
        return NULL;
    while (http->calls)
        http_cancel(http->calls);
    while (http->domains)
        domain_free(http->domains);
    task_stop(&http->launch);
    free(http);
    return NULL;
}
