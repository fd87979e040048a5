/*
 * Many requests in one instant: each NUL-terminated request on stdin gets a connection of its own; when all are open,
 * all requests are sent, and the time until each is answered is taken.
 *
 *   burst SOCKET TIMEOUT_MS < REQUESTS
 *
 * Prints one JSON object: how many asked, how many got a token, how many anything else, and when the first, the median
 * and the last of them were answered.
 */
#include "bench.h"

#include <sys/epoll.h>

enum { BURST_INPUT_MAX = 4 * 1024 * 1024, BURST_CLIENTS_MAX = 8000, BURST_EVENTS = 256 };

struct asker {
    int fd;
    const char *request;
    char *reply;
    size_t got, room;
};

struct burst {
    struct asker *askers;
    uint64_t *took_ns;
    unsigned count, answered, tokens;
    char first_error[256];
};

static char *input_read(size_t *ret_length)
{
    char *input = bench_alloc(BURST_INPUT_MAX, 1);
    size_t length = fread(input, 1, BURST_INPUT_MAX, stdin);

    if (length == 0 || length == BURST_INPUT_MAX || input[length - 1] != '\0')
        bench_die("stdin must hold NUL-terminated requests");
    *ret_length = length;
    return input;
}

static void askers_open(struct burst *burst, const char *path, const char *input, size_t length, int epoll)
{
    burst->askers = bench_alloc(BURST_CLIENTS_MAX, sizeof burst->askers[0]);
    for (const char *at = input; at < input + length; at += strlen(at) + 1) {
        struct asker *asker = &burst->askers[burst->count];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = asker};

        if (++burst->count > BURST_CLIENTS_MAX)
            bench_die("more than %d requests", (int)BURST_CLIENTS_MAX);
        asker->request = at;
        asker->fd = bench_connect(path);
        bench_nonblock(asker->fd);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, asker->fd, &event) < 0)
            bench_die("epoll_ctl: %s", strerror(errno));
    }
    burst->took_ns = bench_alloc(burst->count, sizeof burst->took_ns[0]);
}

static void asker_read(struct burst *burst, struct asker *asker, uint64_t begin)
{
    ssize_t got;

    if (asker->room - asker->got < 16384) {
        char *grown = realloc(asker->reply, asker->room + 32768);

        if (!grown || asker->room > BENCH_REPLY_MAX)
            bench_die("a reply without end");
        asker->reply = grown;
        asker->room += 32768;
    }
    got = recv(asker->fd, asker->reply + asker->got, asker->room - asker->got, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got > 0) {
        asker->got += (size_t)got;
        if (asker->reply[asker->got - 1] != '\0')
            return;
    }
    burst->took_ns[burst->answered++] = bench_now_ns() - begin;
    if (got > 0 && bench_is_token(asker->reply, asker->got))
        burst->tokens++;
    else if (burst->first_error[0] == '\0')
        (void)snprintf(burst->first_error, sizeof burst->first_error, "%s", got > 0 ? asker->reply : "closed");
    (void)close(asker->fd);
}

int main(int argc, char **argv)
{
    struct epoll_event events[BURST_EVENTS];
    static struct burst burst; /* static: what lives as long as the program is nobody's leak */
    const char *input;
    size_t length;
    uint64_t begin;
    unsigned timeout_ms;
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    if (argc != 3)
        bench_die("usage: burst SOCKET TIMEOUT_MS < REQUESTS");
    timeout_ms = bench_number(argv[2], "TIMEOUT_MS", 1, 600000);
    input = input_read(&length);
    askers_open(&burst, argv[1], input, length, epoll);
    begin = bench_now_ns();
    for (unsigned i = 0; i < burst.count; i++)
        bench_send(burst.askers[i].fd, burst.askers[i].request, strlen(burst.askers[i].request) + 1);
    while (burst.answered < burst.count) {
        int count = epoll_wait(epoll, events, BURST_EVENTS, (int)timeout_ms);

        if (count <= 0)
            break;
        for (int i = 0; i < count; i++)
            asker_read(&burst, events[i].data.ptr, begin);
    }
    if (burst.first_error[0] != '\0')
        (void)fprintf(stderr, "burst: the first answer that is no token: %s\n", burst.first_error);
    (void)printf("{\"asked\":%u,\"tokens\":%u,\"errors\":%u,\"unanswered\":%u", burst.count, burst.tokens,
                 burst.answered - burst.tokens, burst.count - burst.answered);
    (void)printf(",\"first_ms\":%.3f", (double)bench_quantile(burst.took_ns, burst.answered, 0) / 1e6);
    (void)printf(",\"median_ms\":%.3f", (double)bench_quantile(burst.took_ns, burst.answered, 500) / 1e6);
    (void)printf(",\"all_ms\":%.3f}\n", (double)bench_quantile(burst.took_ns, burst.answered, 1000) / 1e6);
    return 0;
}
