#include "acquire/redirect.h"

#include "acquire/tcp_owner.h"
#include "acquire/visit.h"
#include "buffer.h"
#include "cleanup.h"
#include "grant/redirect_answer.h"
#include "limits.h"
#include "log.h"
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/socket.h>

enum { MARK = 32 /* hexadecimal digits */, MOST_TRIES = 32, MOST_ACCEPTS = 8, BACKLOG = 32 };

/* A connection; owned by its redirect. */
struct visitor {
    struct redirect *redirect; /* NULL: a free place */
    int fd;
    uint64_t turn;
    struct watch watch;
    struct timer timer;
    struct buffer in, out;
    size_t sent;
};

struct redirect {
    struct loop *loop;
    bool localhost;
    int port;
    int fds[2];
    struct watch watches[2];
    size_t listeners;
    struct visitor visitors[LIMIT_VISITORS];
    uint64_t turns;
    char uri[48], host[32], page[96];
    char mark[MARK + 1], cookie_name[MARK], cookie[MARK + 1];
    char *address, *state; /* NULL: nobody is expected */
    bool opened, over;
    struct secret *query;
    struct failure why;
    struct task task;
    redirect_fn *fn;
    void *arg;
};

/* ---- visitors ---- */

static void visitor_end(struct visitor *visitor)
{
    if (!visitor->redirect)
        return;
    watch_stop(&visitor->watch);
    timer_stop(&visitor->timer);
    close(visitor->fd);
    buffer_free(&visitor->in);
    buffer_free(&visitor->out);
    visitor->redirect = NULL;
}

static void on_late(void *arg)
{
    visitor_end(arg);
}

static void send_out(struct visitor *visitor)
{
    while (visitor->sent < visitor->out.length) {
        ssize_t n = send(visitor->fd, visitor->out.data + visitor->sent, visitor->out.length - visitor->sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR) && watch_modify(&visitor->watch, EPOLLOUT) == 0)
            return;
        if (n <= 0)
            break;
        visitor->sent += (size_t)n;
    }
    (void)shutdown(visitor->fd, SHUT_WR);
    visitor_end(visitor);
}

/* No script, nothing from elsewhere, and no address of ours to be told to anybody. `more`: further header lines. */
static void reply(struct visitor *visitor, const char *status, const char *more, const char *title, const char *words)
{
    char page[512];
    int length = snprintf(page, sizeof(page),
                          "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%s</title></head>"
                          "<body><h1>%s</h1><p>%s</p></body></html>\n",
                          title, title, words);
    buffer_format(&visitor->out,
                  "HTTP/1.1 %s\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n"
                  "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n"
                  "Content-Security-Policy: default-src 'none'; base-uri 'none'; form-action 'none'; "
                  "frame-ancestors 'none'\r\n"
                  "X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\nConnection: close\r\n",
                  status, length);
    buffer_text(&visitor->out, more);
    buffer_text(&visitor->out, "\r\n");
    buffer_append(&visitor->out, page, (size_t)length);
    if (buffer_error(&visitor->out))
        visitor_end(visitor);
    else
        send_out(visitor);
}

static void not_found(struct visitor *visitor)
{
    reply(visitor, "404 Not Found", "", "Nothing here", "There is nothing at this address.");
}

static void on_over(void *arg)
{
    struct redirect *redirect = arg;
    _cleanup_secret_ struct secret *query = TAKE_PTR(redirect->query);
    struct failure why = redirect->why;
    redirect->fn(redirect->arg, query, query ? NULL : &why);
}

/* Told from the loop: whoever is told may close everything. */
static void end(struct redirect *redirect)
{
    redirect->over = true;
    task_start(redirect->loop, &redirect->task, on_over, redirect);
}

static void send_on(struct visitor *visitor)
{
    struct redirect *redirect = visitor->redirect;
    _cleanup_buffer_ struct buffer more = BUFFER(LIMIT_AUTHORIZATION + 256);
    if (redirect->opened) {
        failure_set(
            &redirect->why, FAILURE_DENIED, CLASS_DEFINITE,
            "the sign-in's page was opened twice, and the second time may have been somebody else on this host; "
            "nothing was taken: sign in again");
        log_event(LOG_LEVEL_WARNING, "a sign-in's page was opened twice", NULL);
        end(redirect);
        reply(visitor, "410 Gone", "", "This page was open before",
              "It counts once, so the sign-in has ended. Please start again.");
        return;
    }
    redirect->opened = true;
    buffer_format(&more,
                  "Set-Cookie: %s=%s; Path=/; HttpOnly; SameSite=Lax; Max-Age=%d\r\nLocation: ", redirect->cookie_name,
                  redirect->cookie, LIMIT_BROWSER_S);
    buffer_text(&more, redirect->address);
    buffer_text(&more, "\r\n");
    if (buffer_error(&more))
        visitor_end(visitor);
    else
        reply(visitor, "303 See Other", more.data, "Sign in", "Your browser is being sent to the authority.");
}

static void come_back(struct visitor *visitor, const struct visit *visit)
{
    struct redirect *redirect = visitor->redirect;
    if (!redirect->opened || !visit_has_cookie(visit, redirect->cookie_name, redirect->cookie)) {
        not_found(visitor);
        return;
    }
    if (!redirect_answer_is_for(visit->query, redirect->state)) {
        reply(visitor, "400 Bad Request", "", "Not of this sign-in",
              "This address does not belong to the sign-in that is under way. Nothing was taken.");
        return;
    }
    if (secret_new(visit->query.data, visit->query.length, &redirect->query) < 0)
        failure_set(&redirect->why, FAILURE_BUSY, CLASS_UNREACHABLE, "what the browser brought could not be kept");
    end(redirect);
    reply(visitor, "200 OK", "", "You may close this window",
          "The sign-in goes on where you began it, which says how it ended.");
}

static void answer(struct visitor *visitor, const struct visit *visit)
{
    struct redirect *redirect = visitor->redirect;
    if (!span_equals(visit->host, span_of(redirect->host))) {
        reply(visitor, "421 Misdirected Request", "", "Nothing here", "This is not the host that was asked for.");
        return;
    }
    bool page = visit->path.length == MARK + 1 && !visit->query.data &&
                span_equals_secret((struct span){visit->path.data + 1, MARK}, span_of(redirect->mark));
    bool expected = redirect->address && !redirect->over && !visit->ahead;
    if (expected && page)
        send_on(visitor);
    else if (expected && visit->path.length == 1 && visit->query.length > 0)
        come_back(visitor, visit);
    else
        not_found(visitor);
}

static void on_visitor(void *arg, uint32_t events)
{
    struct visitor *visitor = arg;
    struct visit visit;
    (void)events;
    if (visitor->out.length > 0) {
        send_out(visitor);
        return;
    }
    if (buffer_reserve(&visitor->in, 1024) < 0) {
        reply(visitor, "431 Request Header Fields Too Large", "", "Too long", "The request is too long.");
        return;
    }
    ssize_t n = recv(visitor->fd, visitor->in.data + visitor->in.length, 1024, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        visitor_end(visitor);
        return;
    }
    visitor->in.length += (size_t)n;
    int r = visit_read(buffer_span(&visitor->in), &visit);
    if (r == -EAGAIN)
        return;
    if (r == 0)
        answer(visitor, &visit);
    else if (r == -ENOTSUP)
        reply(visitor, "405 Method Not Allowed", "Allow: GET\r\n", "Not like this", "Only GET is answered.");
    else
        reply(visitor, "400 Bad Request", "", "Not understood", "That is no request of a browser.");
}

/* A free place, or that of whoever has been there longest. */
static struct visitor *find_place(struct redirect *redirect)
{
    struct visitor *oldest = &redirect->visitors[0];
    for (size_t i = 0; i < LIMIT_VISITORS; i++) {
        struct visitor *visitor = &redirect->visitors[i];
        if (!visitor->redirect)
            return visitor;
        if (visitor->turn < oldest->turn)
            oldest = visitor;
    }
    visitor_end(oldest);
    return oldest;
}

static void take_visitor(struct redirect *redirect, int fd)
{
    struct visitor *visitor = find_place(redirect);
    *visitor = (struct visitor){.redirect = redirect,
                                .fd = fd,
                                .turn = ++redirect->turns,
                                .in = BUFFER(LIMIT_VISIT + 1024),
                                .out = BUFFER(2 * LIMIT_AUTHORIZATION)};
    if (watch_start(redirect->loop, &visitor->watch, fd, EPOLLIN, on_visitor, visitor) < 0 ||
        timer_start(redirect->loop, &visitor->timer, loop_now(redirect->loop) + LIMIT_VISIT_MS, on_late, visitor) < 0)
        visitor_end(visitor);
}

static void on_knock(void *arg, uint32_t events)
{
    struct redirect *redirect = arg;
    (void)events;
    for (size_t i = 0; i < redirect->listeners; i++)
        for (int n = 0; n < MOST_ACCEPTS; n++) {
            _cleanup_close_ int fd = accept4(redirect->fds[i], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
            if (fd < 0)
                break;
            if (tcp_owner_foreign(fd))
                log_event(LOG_LEVEL_WARNING, "another user's connection to a sign-in's page was refused", NULL);
            else
                take_visitor(redirect, TAKE_FD(fd));
        }
}

/* ---- listening ---- */

static int new_mark(char mark[static MARK + 1])
{
    uint8_t bytes[MARK / 2];
    if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
        return -EIO;
    for (size_t i = 0; i < sizeof(bytes); i++)
        (void)snprintf(mark + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

/* A listener on the loopback address of a family: its descriptor or a negative errno; *port 0 is set. */
static int listen_on(int family, int *port)
{
    const int on = 1;
    struct sockaddr_in v4 = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)*port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr *address = family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
    socklen_t length = family == AF_INET ? sizeof(v4) : sizeof(v6);
    _cleanup_close_ int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0) ||
        bind(fd, address, length) < 0 || listen(fd, BACKLOG) < 0 || getsockname(fd, address, &length) < 0)
        return -errno;
    *port = ntohs(family == AF_INET ? v4.sin_port : v6.sin6_port);
    return TAKE_FD(fd);
}

static void close_listeners(struct redirect *redirect)
{
    for (size_t i = 0; i < redirect->listeners; i++) {
        watch_stop(&redirect->watches[i]);
        close(redirect->fds[i]);
    }
    redirect->listeners = 0;
}

/* A browser takes localhost for ::1 or 127.0.0.1: where there are both, both must be ours. */
static int try_port(struct redirect *redirect, int port)
{
    int fd = listen_on(AF_INET, &port);
    if (fd < 0)
        return fd;
    redirect->fds[redirect->listeners++] = fd;
    redirect->port = port;
    if (!redirect->localhost)
        return 0;
    fd = listen_on(AF_INET6, &port);
    if (fd >= 0)
        redirect->fds[redirect->listeners++] = fd;
    if (fd >= 0 || fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL)
        return 0;
    close_listeners(redirect);
    return fd;
}

static int start(struct redirect *redirect, int port)
{
    int r = -EADDRINUSE;
    for (int i = 0; r == -EADDRINUSE && i < (port ? 1 : MOST_TRIES); i++)
        r = try_port(redirect, port);
    for (size_t i = 0; r == 0 && i < redirect->listeners; i++)
        r = watch_start(redirect->loop, &redirect->watches[i], redirect->fds[i], EPOLLIN, on_knock, redirect);
    return r;
}

int redirect_open(struct loop *loop, int port, bool localhost, struct redirect **ret, struct failure *why)
{
    struct redirect *redirect = calloc(1, sizeof(*redirect));
    int r = redirect ? 0 : -ENOMEM;
    if (redirect) {
        redirect->loop = loop;
        redirect->localhost = localhost;
        r = start(redirect, port);
    }
    if (r < 0) {
        redirect_close(redirect);
        if (r == -EADDRINUSE && port)
            failure_set(
                why, FAILURE_BUSY, CLASS_UNREACHABLE,
                "port %d, which redirect_port names for the browser to come back to, is in use: end what uses it, "
                "or choose another that is registered for the client",
                port);
        else
            failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE, "no port for the browser to come back to: %s",
                        strerror(-r));
        return r;
    }
    (void)snprintf(redirect->host, sizeof(redirect->host), "%s:%d", localhost ? "localhost" : "127.0.0.1",
                   redirect->port);
    (void)snprintf(redirect->uri, sizeof(redirect->uri), "http://%s%s", redirect->host, localhost ? "" : "/");
    *ret = redirect;
    return 0;
}

const char *redirect_uri(const struct redirect *redirect)
{
    return redirect->uri;
}

int redirect_expect(struct redirect *redirect, const char *address, const char *state, redirect_fn *fn, void *arg)
{
    char name[MARK + 1];
    if (new_mark(redirect->mark) < 0 || new_mark(redirect->cookie) < 0 || new_mark(name) < 0)
        return -EIO;
    (void)snprintf(redirect->cookie_name, sizeof(redirect->cookie_name), "mltoken_%.8s", name);
    (void)snprintf(redirect->page, sizeof(redirect->page), "http://%s/%s", redirect->host, redirect->mark);
    redirect->address = strdup(address);
    redirect->state = strdup(state);
    redirect->fn = fn;
    redirect->arg = arg;
    return redirect->address && redirect->state ? 0 : -ENOMEM;
}

const char *redirect_page(const struct redirect *redirect)
{
    return redirect->page;
}

struct redirect *redirect_close(struct redirect *redirect)
{
    if (!redirect)
        return NULL;
    close_listeners(redirect);
    for (size_t i = 0; i < LIMIT_VISITORS; i++)
        visitor_end(&redirect->visitors[i]);
    task_stop(&redirect->task);
    secret_unref(redirect->query);
    wipe_free(redirect->address);
    wipe_free(redirect->state);
    explicit_bzero(redirect, sizeof(*redirect));
    free(redirect);
    return NULL;
}
