/*
 * Company for the agent while something else is measured: COUNT connections that are kept open.
 *
 *   hold idle COUNT SOCKET              say nothing
 *   hold dribble COUNT SOCKET REQUEST   send REQUEST one byte a second, each connection at its own phase
 *   hold ask COUNT SOCKET REQUEST       send REQUEST at once and wait; after an answer, ask again a second later
 *
 * Prints "ready" when all are open. A connection that the agent closes is opened again. On SIGTERM it prints
 * {"opened":N,"closed":N,"answered":N} and ends.
 */
#include "bench.h"

#include <poll.h>
#include <signal.h>

enum mode { IDLE, DRIBBLE, ASK };

struct held {
    int fd;
    size_t at;       /* how much of the request has been sent */
    bool waiting;    /* ASK: the answer has not come yet */
    uint64_t due_ns; /* when this one speaks again */
};

struct hold {
    enum mode mode;
    unsigned count;
    const char *path, *request;
    size_t request_length; /* with its NUL */
    struct held *helds;
    struct pollfd *polls;
    unsigned opened, closed, answered;
};

static const uint64_t second_ns = 1000000000U;
static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

static void held_open(struct hold *hold, unsigned i)
{
    struct held *held = &hold->helds[i];

    held->fd = bench_try_connect(hold->path);
    held->at = 0;
    held->waiting = false;
    if (held->fd >= 0) {
        bench_nonblock(held->fd);
        hold->opened++;
    }
    hold->polls[i] = (struct pollfd){.fd = held->fd, .events = POLLIN};
}

static void held_close(struct hold *hold, unsigned i)
{
    (void)close(hold->helds[i].fd);
    hold->helds[i].fd = -1;
    hold->polls[i].fd = -1;
    hold->closed++;
    hold->helds[i].due_ns = bench_now_ns() + second_ns;
}

static void held_read(struct hold *hold, unsigned i)
{
    static char buffer[BENCH_REPLY_MAX];
    ssize_t got = recv(hold->helds[i].fd, buffer, sizeof buffer, 0);

    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        held_close(hold, i);
        return;
    }
    if (buffer[got - 1] != '\0')
        return;
    hold->answered++;
    hold->helds[i].waiting = false;
    hold->helds[i].due_ns = bench_now_ns() + second_ns;
}

static void held_speak(struct hold *hold, unsigned i)
{
    struct held *held = &hold->helds[i];
    size_t length = hold->mode == DRIBBLE ? 1 : hold->request_length;

    held->due_ns += second_ns;
    if (held->fd < 0)
        held_open(hold, i);
    if (held->fd < 0 || hold->mode == IDLE || held->waiting)
        return;
    if (send(held->fd, hold->request + held->at, length, MSG_NOSIGNAL) != (ssize_t)length) {
        held_close(hold, i);
        return;
    }
    held->at = (held->at + length) % hold->request_length;
    held->waiting = hold->mode == ASK;
}

static int next_wait_ms(const struct hold *hold, uint64_t now)
{
    uint64_t due = now + second_ns;

    for (unsigned i = 0; i < hold->count; i++) {
        const struct held *held = &hold->helds[i];

        if ((hold->mode != IDLE || held->fd < 0) && !held->waiting && held->due_ns < due)
            due = held->due_ns;
    }
    return due > now ? (int)((due - now) / 1000000U) + 1 : 0;
}

static void hold_run(struct hold *hold)
{
    while (!stopped) {
        uint64_t now = bench_now_ns();
        /* idle ones are polled for the agent closing them, but need no clock */
        int ready = poll(hold->polls, hold->count, next_wait_ms(hold, now));

        now = bench_now_ns();
        for (unsigned i = 0; i < hold->count; i++) {
            if (ready > 0 && hold->helds[i].fd >= 0 && hold->polls[i].revents)
                held_read(hold, i);
            if (hold->helds[i].due_ns <= now && (hold->mode != IDLE || hold->helds[i].fd < 0))
                held_speak(hold, i);
        }
    }
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};
    static struct hold hold;
    uint64_t now;

    if (argc < 4)
        bench_die("usage: hold idle|dribble|ask COUNT SOCKET [REQUEST]");
    hold.mode = strcmp(argv[1], "idle") == 0 ? IDLE : strcmp(argv[1], "dribble") == 0 ? DRIBBLE : ASK;
    if (hold.mode != IDLE && argc != 5)
        bench_die("%s needs a request", argv[1]);
    hold.count = bench_number(argv[2], "COUNT", 1, 16000);
    hold.path = argv[3];
    hold.request = hold.mode == IDLE ? "" : argv[4];
    hold.request_length = strlen(hold.request) + 1;
    hold.helds = bench_alloc(hold.count, sizeof hold.helds[0]);
    hold.polls = bench_alloc(hold.count, sizeof hold.polls[0]);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);

    now = bench_now_ns();
    for (unsigned i = 0; i < hold.count; i++) {
        held_open(&hold, i);
        if (hold.helds[i].fd < 0)
            bench_die("connection %u of %u: %s", i + 1, hold.count, strerror(errno));
        hold.helds[i].due_ns = now + (hold.mode == DRIBBLE ? second_ns * i / hold.count : 0);
    }
    (void)puts("ready");
    (void)fflush(stdout);
    hold_run(&hold);
    (void)printf("{\"opened\":%u,\"closed\":%u,\"answered\":%u}\n", hold.opened, hold.closed, hold.answered);
    return 0;
}
