/*
 * A token authority that costs next to nothing, so that a crowd of requests measures the agent and not Python. It knows
 * metadata and the token endpoint, http on loopback, nothing of checking credentials; faults are the business of
 * tests/system/authority.
 *
 *   authority TOKEN_BYTES      (prints "ready PORT")
 *
 *   /dN/.well-known/openid-configuration, /dN/token      issuer /dN: the token endpoint answers after N milliseconds
 *   /hang/...                                            its token endpoint never answers
 *   /stats                                               {"token":N,"metadata":N,"hanging":N,"connections":N}
 */
#include "bench.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>

enum { AUTHORITY_CONNS_MAX = 4096, AUTHORITY_EVENTS = 256, AUTHORITY_REQUEST_MAX = 16384, TOKEN_BYTES_MAX = 16384 };

struct conn {
    bool open, hanging;
    uint64_t due_ns; /* when the answer to a token request is sent; 0: none is waiting */
    size_t got;
    char request[AUTHORITY_REQUEST_MAX];
};

struct authority {
    struct conn *conns; /* by descriptor */
    int epoll, listener;
    unsigned port, token_bytes, waiting;
    unsigned long tokens, metadata, hanging, connections;
};

static void reply(int fd, unsigned status, const char *body)
{
    static char text[TOKEN_BYTES_MAX + 4096];
    int length = snprintf(text, sizeof text,
                          "HTTP/1.1 %u X\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
                          "Content-Length: %zu\r\n\r\n%s",
                          status, strlen(body), body);

    /* an answer fits the socket's buffer; a client that has gone shows as the end of its connection */
    (void)send(fd, text, (size_t)length, MSG_NOSIGNAL);
}

static void reply_token(struct authority *authority, int fd)
{
    static char body[TOKEN_BYTES_MAX + 512];
    static char filler[TOKEN_BYTES_MAX + 1];
    char serial[32];
    int serial_length = snprintf(serial, sizeof serial, "b%lu.", ++authority->tokens);

    if (filler[0] == '\0')
        memset(filler, 'A', authority->token_bytes);
    (void)snprintf(body, sizeof body,
                   "{\"access_token\":\"%s%.*s\",\"token_type\":\"Bearer\",\"expires_in\":3600,\"scope\":\"bench\"}",
                   serial, (int)authority->token_bytes - serial_length, filler);
    reply(fd, 200, body);
}

static void reply_metadata(struct authority *authority, int fd, const char *name, int name_length)
{
    static const char *const members[][2] = {
        {"token_endpoint", "token"}, {"authorization_endpoint", "authorize"}, {"jwks_uri", "jwks"}};
    char body[2048];
    int at =
        snprintf(body, sizeof body, "{\"issuer\":\"http://127.0.0.1:%u/%.*s\"", authority->port, name_length, name);

    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        at += snprintf(body + at, sizeof body - (size_t)at, ",\"%s\":\"http://127.0.0.1:%u/%.*s/%s\"", members[i][0],
                       authority->port, name_length, name, members[i][1]);
    (void)snprintf(body + at, sizeof body - (size_t)at,
                   ",\"response_types_supported\":[\"code\"],\"subject_types_supported\":[\"public\"],"
                   "\"id_token_signing_alg_values_supported\":[\"RS256\"],"
                   "\"scopes_supported\":[\"openid\",\"offline_access\",\"bench\"],"
                   "\"grant_types_supported\":[\"client_credentials\",\"refresh_token\"],"
                   "\"token_endpoint_auth_methods_supported\":[\"client_secret_basic\",\"client_secret_post\"]}");
    authority->metadata++;
    reply(fd, 200, body);
}

static void answer(struct authority *authority, int fd, struct conn *conn)
{
    char name[32] = "", rest[64] = "", body[128];
    unsigned delay_ms = 0;

    if (sscanf(conn->request, "%*7s /%31[^/ ]/%63s", name, rest) < 1) {
        reply(fd, 400, "{}");
    } else if (strcmp(name, "stats") == 0) {
        (void)snprintf(body, sizeof body, "{\"token\":%lu,\"metadata\":%lu,\"hanging\":%lu,\"connections\":%lu}",
                       authority->tokens, authority->metadata, authority->hanging, authority->connections);
        reply(fd, 200, body);
    } else if (strcmp(rest, ".well-known/openid-configuration") == 0) {
        reply_metadata(authority, fd, name, (int)strlen(name));
    } else if (strcmp(rest, "token") == 0 && strcmp(name, "hang") == 0) {
        conn->hanging = true;
        authority->hanging++;
    } else if (strcmp(rest, "token") == 0 && sscanf(name, "d%u", &delay_ms) == 1) {
        if (delay_ms == 0) {
            reply_token(authority, fd);
            return;
        }
        conn->due_ns = bench_now_ns() + (uint64_t)delay_ms * 1000000U;
        authority->waiting++;
    } else {
        reply(fd, 404, "{}");
    }
}

static void conn_close(struct authority *authority, int fd, struct conn *conn)
{
    if (conn->hanging)
        authority->hanging--;
    if (conn->due_ns)
        authority->waiting--;
    conn->open = false;
    (void)close(fd);
}

/* One request at a time: nobody here pipelines. */
static void conn_read(struct authority *authority, int fd, struct conn *conn)
{
    ssize_t got = recv(fd, conn->request + conn->got, sizeof conn->request - 1 - conn->got, 0);
    const char *end, *header;
    size_t body = 0;

    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        conn_close(authority, fd, conn);
        return;
    }
    conn->got += (size_t)got;
    conn->request[conn->got] = '\0';
    end = strstr(conn->request, "\r\n\r\n");
    if (!end) {
        if (conn->got == sizeof conn->request - 1)
            conn_close(authority, fd, conn);
        return;
    }
    header = strcasestr(conn->request, "\r\nContent-Length:");
    if (header && header < end)
        body = strtoul(header + strlen("\r\nContent-Length:"), NULL, 10);
    if (conn->got < (size_t)(end - conn->request) + 4 + body)
        return;
    conn->got = 0;
    answer(authority, fd, conn);
}

static void accept_all(struct authority *authority)
{
    const int on = 1;
    int fd;

    while ((fd = accept4(authority->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

        if (fd >= AUTHORITY_CONNS_MAX)
            bench_die("more than %d connections", (int)AUTHORITY_CONNS_MAX);
        authority->conns[fd].open = true;
        authority->conns[fd].hanging = false;
        authority->conns[fd].due_ns = 0;
        authority->conns[fd].got = 0;
        authority->connections++;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (epoll_ctl(authority->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
            bench_die("epoll_ctl: %s", strerror(errno));
    }
}

/* Sends what is due and returns how long epoll may sleep. */
static int send_due(struct authority *authority)
{
    uint64_t now = bench_now_ns();
    uint64_t next = UINT64_MAX;

    if (authority->waiting == 0)
        return -1;
    for (int fd = 0; fd < AUTHORITY_CONNS_MAX; fd++) {
        struct conn *conn = &authority->conns[fd];

        if (!conn->open || conn->due_ns == 0)
            continue;
        if (conn->due_ns <= now) {
            conn->due_ns = 0;
            authority->waiting--;
            reply_token(authority, fd);
        } else if (conn->due_ns < next) {
            next = conn->due_ns;
        }
    }
    return next == UINT64_MAX ? -1 : (int)((next - now) / 1000000U) + 1;
}

static void authority_listen(struct authority *authority)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN};
    socklen_t length = sizeof address;

    authority->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    authority->epoll = epoll_create1(EPOLL_CLOEXEC);
    event.data.fd = authority->listener;
    if (authority->listener < 0 || authority->epoll < 0 ||
        bind(authority->listener, (const struct sockaddr *)&address, sizeof address) < 0 ||
        listen(authority->listener, 4096) < 0 ||
        getsockname(authority->listener, (struct sockaddr *)&address, &length) < 0 ||
        epoll_ctl(authority->epoll, EPOLL_CTL_ADD, authority->listener, &event) < 0)
        bench_die("cannot listen: %s", strerror(errno));
    authority->port = ntohs(address.sin_port);
}

int main(int argc, char **argv)
{
    struct epoll_event events[AUTHORITY_EVENTS];
    static struct authority authority;

    if (argc != 2)
        bench_die("usage: authority TOKEN_BYTES");
    authority.token_bytes = bench_number(argv[1], "TOKEN_BYTES", 64, TOKEN_BYTES_MAX);
    authority.conns = bench_alloc(AUTHORITY_CONNS_MAX, sizeof authority.conns[0]);
    authority_listen(&authority);
    (void)printf("ready %u\n", authority.port);
    (void)fflush(stdout);
    for (;;) {
        int count = epoll_wait(authority.epoll, events, AUTHORITY_EVENTS, send_due(&authority));

        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;

            if (fd == authority.listener)
                accept_all(&authority);
            else if (authority.conns[fd].open)
                conn_read(&authority, fd, &authority.conns[fd]);
        }
    }
}
