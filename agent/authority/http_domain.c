#include "authority/http_domain.h"

#include "authority/key_pair.h"
#include "clock.h"
#include "limits.h"
#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <sys/stat.h>

#ifndef MLTOKEN_CA_BUNDLE
#define MLTOKEN_CA_BUNDLE "/etc/ssl/certs/ca-certificates.crt"
#define MLTOKEN_CA_FOLDER "/etc/ssl/certs"
#endif

#define IDLE_CONNECTIONS 8 /* kept for the next request of a domain */

enum { PIN_SIZE = 20 }; /* SHA-1 */

struct http_domain {
    struct http_domain *next;
    struct http_domains *domains;
    unsigned char key[TRUST_KEY_SIZE];
    CURLM *multi;
    X509_STORE *store;
    struct key_pair pair; /* of the client; empty: none */
    bool private_ca;
    bool pinned; /* one certificate is trusted and nothing else; there is no store */
    unsigned char pin[PIN_SIZE];
    size_t users;
    struct sock *socks;
    struct timer timer; /* curl's */
    struct timer idle;
    struct task drain;
};

/* One of curl's descriptors. */
struct sock {
    struct sock *next, *previous;
    struct http_domain *domain;
    struct watch watch;
};

/* ---- curl on the loop ---- */

/* All that is there: reading one a wake-up was measured to lose completions. The owner is told here, outside of curl's
 * callbacks, and defers what it does about it. */
static void on_drain(void *arg)
{
    struct http_domain *domain = arg;
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(domain->multi, &left))) {
        void *owner = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode result = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&owner);
        domain->domains->done(owner, result);
    }
}

static void act(struct http_domain *domain, curl_socket_t fd, int mask)
{
    int running;
    curl_multi_socket_action(domain->multi, fd, mask, &running);
    task_start(domain->domains->loop, &domain->drain, on_drain, domain);
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
    struct http_domain *domain = arg;
    (void)multi;
    if (timeout_ms < 0) {
        timer_stop(&domain->timer);
        return 0;
    }
    return timer_start(domain->domains->loop, &domain->timer, clock_boot_ms() + timeout_ms, on_timeout, domain) < 0 ? -1
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

static int sock_new(struct http_domain *domain, curl_socket_t fd, uint32_t events)
{
    struct sock *sock = calloc(1, sizeof(*sock));
    if (!sock)
        return -1;
    if (watch_start(domain->domains->loop, &sock->watch, fd, events, on_fd, sock) < 0) {
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
    curl_multi_assign(((struct http_domain *)arg)->multi, fd, NULL);
    return 0;
}

/* ---- trust ---- */

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

/* "1a2b3c4d.0": a certificate found by its name's hash. */
static bool is_hash_link(const char *name)
{
    size_t digits = strspn(name, "0123456789abcdef");
    return digits == 8 && name[8] == '.' && name[9] >= '0' && name[9] <= '9';
}

static bool folder_has_hashes(const char *path)
{
    bool found = false;
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && !found && (entry = readdir(folder));)
        found = is_hash_link(entry->d_name);
    if (folder)
        closedir(folder);
    return found;
}

/* The system's authorities. Debian keeps them twice: in a folder by hash, where OpenSSL finds the one that a connection
 * needs, and in a bundle whose parsing costs the loop 15 to 30 ms. The bundle is for systems that have it alone. */
static int add_system(X509_STORE *store)
{
    if (folder_has_hashes(MLTOKEN_CA_FOLDER)) {
        X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_hash_dir());
        return lookup && X509_LOOKUP_add_dir(lookup, MLTOKEN_CA_FOLDER, X509_FILETYPE_PEM) ? 1 : -ENOMEM;
    }
    BIO *bio = BIO_new_file(MLTOKEN_CA_BUNDLE, "re");
    int count = bio ? add_certificates(store, bio) : 0;
    BIO_free(bio);
    ERR_clear_error();
    return count;
}

static int add_private(X509_STORE *store, struct span pem)
{
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.length);
    int count = bio ? add_certificates(store, bio) : -ENOMEM;
    BIO_free(bio);
    return count;
}

/* Parsed once for a domain and shared by its connections. */
static int open_store(struct http_domain *domain, struct span ca_pem, struct failure *why)
{
    domain->private_ca = ca_pem.length > 0;
    domain->store = X509_STORE_new();
    if (!domain->store)
        return -ENOMEM;
    int count = domain->private_ca ? add_private(domain->store, ca_pem) : add_system(domain->store);
    if (count > 0)
        return 0;
    if (count < 0)
        return count;
    if (domain->private_ca)
        failure_set(why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE, "ca_file holds no certificate in PEM form");
    else
        failure_set(why, FAILURE_AUTHORITY_UNREACHABLE, CLASS_UNREACHABLE,
                    "no certificate authorities in %s: install the package ca-certificates, or set ca_file",
                    MLTOKEN_CA_FOLDER);
    return -EPROTO;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int open_pin(struct http_domain *domain, const char *thumbprint, struct failure *why)
{
    bool good = strlen(thumbprint) == (size_t)2 * PIN_SIZE;
    for (size_t i = 0; good && i < PIN_SIZE; i++) {
        int high = hex_digit(thumbprint[2 * i]), low = hex_digit(thumbprint[2 * i + 1]);
        good = high >= 0 && low >= 0;
        domain->pin[i] = (unsigned char)(good ? high * 16 + low : 0);
    }
    domain->pinned = good;
    if (good)
        return 0;
    failure_set(why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE,
                "the thumbprint of the server's certificate is not 40 hexadecimal digits");
    return -EPROTO;
}

static int open_trust(struct http_domain *domain, const struct trust *trust, struct failure *why)
{
    return trust->thumbprint ? open_pin(domain, trust->thumbprint, why) : open_store(domain, trust->ca_pem, why);
}

static struct http_domain *domain_free(struct http_domain *domain)
{
    if (!domain)
        return NULL;
    struct http_domain **place = &domain->domains->first;
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
    key_pair_clear(&domain->pair);
    free(domain);
    return NULL;
}

static void on_idle(void *arg)
{
    domain_free(arg);
}

/* By content; the system's authorities count by the identity of their files. */
int trust_key(const struct trust *trust, unsigned char ret[TRUST_KEY_SIZE])
{
    struct stat bundle = {0}, folder = {0};
    unsigned length = 0;
    int ok = 0;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    const char *proxy = trust->proxy ? trust->proxy : "", *pin = trust->thumbprint ? trust->thumbprint : "";
    if (trust->ca_pem.length == 0) {
        (void)stat(MLTOKEN_CA_BUNDLE, &bundle);
        (void)stat(MLTOKEN_CA_FOLDER, &folder);
    }
    int64_t numbers[] = {(int64_t)trust->ca_pem.length, (int64_t)bundle.st_ino, bundle.st_size,
                         bundle.st_mtim.tv_sec,         bundle.st_mtim.tv_nsec, (int64_t)folder.st_ino,
                         folder.st_mtim.tv_sec,         folder.st_mtim.tv_nsec, (int64_t)strlen(pin),
                         (int64_t)trust->pair.length};
    if (context)
        ok = EVP_DigestInit_ex(context, EVP_sha256(), NULL) && EVP_DigestUpdate(context, numbers, sizeof(numbers)) &&
             EVP_DigestUpdate(context, trust->ca_pem.data, trust->ca_pem.length) &&
             EVP_DigestUpdate(context, trust->pair.data, trust->pair.length) &&
             EVP_DigestUpdate(context, pin, strlen(pin)) && EVP_DigestUpdate(context, proxy, strlen(proxy)) &&
             EVP_DigestFinal_ex(context, ret, &length);
    EVP_MD_CTX_free(context);
    return ok ? 0 : -ENOMEM;
}

/* ---- domains ---- */

/* What a new domain rests on. */
static int equip(struct http_domain *domain, const struct trust *trust, bool https, struct failure *why)
{
    domain->multi = curl_multi_init();
    if (!domain->multi)
        return -ENOMEM;
    int r = https && trust->pair.length ? key_pair_parse(trust->pair, &domain->pair) : 0;
    return r == 0 && https ? open_trust(domain, trust, why) : r;
}

int http_domain_open(struct http_domains *domains, const struct trust *trust, bool https, struct http_domain **ret,
                     struct failure *why)
{
    unsigned char key[TRUST_KEY_SIZE] = {0}; /* of plain http: nothing is trusted */
    int r = https ? trust_key(trust, key) : trust->pair.length ? -EINVAL : 0;
    if (r < 0)
        return r;
    for (struct http_domain *domain = domains->first; domain; domain = domain->next) {
        if (memcmp(domain->key, key, sizeof(key)) != 0)
            continue;
        domain->users++;
        timer_stop(&domain->idle);
        *ret = domain;
        return 0;
    }
    struct http_domain *domain = calloc(1, sizeof(*domain));
    if (!domain)
        return -ENOMEM;
    domain->domains = domains;
    memcpy(domain->key, key, sizeof(key));
    r = equip(domain, trust, https, why);
    if (r < 0) {
        domain_free(domain);
        return r;
    }
    curl_multi_setopt(domain->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl_multi_setopt(domain->multi, CURLMOPT_SOCKETDATA, domain);
    curl_multi_setopt(domain->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(domain->multi, CURLMOPT_TIMERDATA, domain);
    curl_multi_setopt(domain->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
    curl_multi_setopt(domain->multi, CURLMOPT_MAXCONNECTS, (long)IDLE_CONNECTIONS);
    domain->users = 1;
    domain->next = domains->first;
    *ret = domains->first = domain;
    return 0;
}

void http_domain_close(struct http_domain *domain)
{
    if (!domain || --domain->users > 0)
        return;
    int64_t patience = domain->pair.key ? 0 : LIMIT_HTTP_IDLE_MS;
    (void)timer_start(domain->domains->loop, &domain->idle, clock_boot_ms() + patience, on_idle, domain);
}

void http_domains_free(struct http_domains *domains)
{
    while (domains->first)
        domain_free(domains->first);
}

int http_domain_add(struct http_domain *domain, CURL *easy)
{
    return curl_multi_add_handle(domain->multi, easy) == CURLM_OK ? 0 : -ENOMEM;
}

void http_domain_remove(struct http_domain *domain, CURL *easy)
{
    curl_multi_remove_handle(domain->multi, easy);
}

/* In place of OpenSSL's look at the chain: during the handshake, so that nothing is sent to another server. */
static int verify_pin(X509_STORE_CTX *context, void *arg)
{
    const struct http_domain *domain = arg;
    const X509 *certificate = X509_STORE_CTX_get0_cert(context);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    bool same = certificate && X509_digest(certificate, EVP_sha1(), digest, &length) && length == PIN_SIZE &&
                CRYPTO_memcmp(digest, domain->pin, PIN_SIZE) == 0;
    X509_STORE_CTX_set_error(context, same ? X509_V_OK : X509_V_ERR_APPLICATION_VERIFICATION);
    return same;
}

/* OpenSSL keeps a connection's last records decrypted in its buffers: released after each read, our free wipes them. */
bool http_domain_trust(struct http_domain *domain, bool show, void *ssl_context)
{
    const struct key_pair *pair = &domain->pair;
    SSL_CTX_set_mode(ssl_context, SSL_MODE_RELEASE_BUFFERS);
    if (domain->pinned)
        SSL_CTX_set_cert_verify_callback(ssl_context, verify_pin, domain);
    else
        SSL_CTX_set1_cert_store(ssl_context, domain->store);
    if (!show || !pair->key)
        return true;
    bool good = SSL_CTX_use_certificate(ssl_context, pair->certificates[0]) == 1 &&
                SSL_CTX_use_PrivateKey(ssl_context, pair->key) == 1;
    for (size_t i = 1; good && i < pair->count; i++)
        good = SSL_CTX_add1_chain_cert(ssl_context, pair->certificates[i]) == 1;
    ERR_clear_error();
    return good;
}

bool http_domain_is_pinned(const struct http_domain *domain)
{
    return domain->pinned;
}

bool http_domain_is_private(const struct http_domain *domain)
{
    return domain->private_ca;
}

bool http_domain_shows(const struct http_domain *domain)
{
    return domain->pair.key;
}
