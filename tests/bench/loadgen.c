/*
 * Closed-loop load on Unix sockets. Every client has one connection to each target and at most one request in flight;
 * the targets take turns, a round each (A B C A B C ...), so that a drift of the machine falls on all of them alike.
 *
 *   loadgen CLIENTS ROUNDS ROUND_MS REQUEST NAME=SOCKET...
 *
 * Prints one JSON object: for each target the size of its reply and, for each round, requests a second, median and p99
 * in microseconds, and the CPU time in nanoseconds that the server spent on a request (0 where the kernel tells none).
 * A run of @ in REQUEST (at least eight) is replaced by the number of the request, so that no two of them are alike.
 * With one client nothing runs in parallel, and whether the scheduler puts both ends on one CPU or wakes another one
 * for every message decides the figure; so all of them are then kept on the CPU that loadgen began on, until it ends.
 * A reply of another size than the first, an error in the first, or a closed connection ends the run.
 */
#include "bench.h"

#include <sched.h>
#include <sys/epoll.h>

enum { LOAD_TARGETS_MAX = 8, LOAD_EVENTS = 256, LOAD_STALL_MS = 20000, LOAD_SAMPLES_START = 65536, LOAD_TRIES = 10 };

struct client {
    int fd;
    size_t got;
    uint64_t sent_ns;
};

struct round {
    double rate, median_us, p99_us, cpu_ns;
    size_t replies;
};

struct target {
    const char *name, *path;
    struct client *clients;
    struct round *rounds;
    size_t reply_length;
    int epoll;
    pid_t pid;
};

struct load {
    struct target targets[LOAD_TARGETS_MAX];
    unsigned target_count, client_count, round_count, round_ms;
    char *request, *serial; /* serial: the run of @ in it, or NULL */
    size_t request_length;  /* with its NUL */
    unsigned long sent;
    uint64_t *samples;
    size_t sample_count, sample_room;
    char reply[BENCH_REPLY_MAX];
};

static uint64_t server_cpu_ns(pid_t pid)
{
    char path[64];
    unsigned long long ns = 0;
    FILE *file;

    (void)snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pid);
    file = fopen(path, "re");
    if (!file)
        return 0;
    if (fscanf(file, "%llu", &ns) != 1)
        ns = 0;
    (void)fclose(file);
    return ns;
}

static void ask(struct load *load, int fd)
{
    if (load->serial) {
        unsigned long number = load->sent++;

        for (char *at = load->serial + strspn(load->serial, "@0123456789"); at-- > load->serial; number /= 10)
            *at = (char)('0' + number % 10);
    }
    bench_send(fd, load->request, load->request_length);
}

static void probe(struct load *load, struct target *target)
{
    struct ucred peer;
    socklen_t peer_length = sizeof peer;
    int fd = target->clients[0].fd;
    size_t got = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_length) < 0)
        bench_die("SO_PEERCRED: %s", strerror(errno));
    target->pid = peer.pid;
    ask(load, fd);
    do {
        ssize_t count = recv(fd, load->reply + got, sizeof load->reply - got, 0);

        if (count <= 0)
            bench_die("%s closed the connection or said too much", target->name);
        got += (size_t)count;
    } while (load->reply[got - 1] != '\0');
    if (memmem(load->reply, got, "\"error\"", 7))
        bench_die("%s answers %s", target->name, load->reply);
    target->reply_length = got;
}

static void target_open(struct load *load, struct target *target)
{
    target->clients = bench_alloc(load->client_count, sizeof target->clients[0]);
    target->rounds = bench_alloc(load->round_count, sizeof target->rounds[0]);
    target->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (target->epoll < 0)
        bench_die("epoll_create1: %s", strerror(errno));
    for (unsigned i = 0; i < load->client_count; i++) {
        struct client *client = &target->clients[i];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};

        client->fd = bench_connect(target->path);
        if (i == 0)
            probe(load, target);
        bench_nonblock(client->fd);
        if (epoll_ctl(target->epoll, EPOLL_CTL_ADD, client->fd, &event) < 0)
            bench_die("epoll_ctl: %s", strerror(errno));
    }
}

/* Keeps this process and the targets on one CPU; with false, gives back what they had. */
static void keep_together(struct load *load, bool together)
{
    static cpu_set_t before[LOAD_TARGETS_MAX];
    cpu_set_t one;
    int cpu = sched_getcpu();

    CPU_ZERO(&one);
    CPU_SET((unsigned)(cpu < 0 ? 0 : cpu), &one);
    if (together && sched_setaffinity(0, sizeof one, &one) < 0)
        bench_die("sched_setaffinity: %s", strerror(errno));
    for (unsigned t = 0; t < load->target_count; t++) {
        pid_t pid = load->targets[t].pid;

        if (together &&
            (sched_getaffinity(pid, sizeof before[t], &before[t]) < 0 || sched_setaffinity(pid, sizeof one, &one) < 0))
            bench_die("cannot keep %s on one CPU: %s", load->targets[t].name, strerror(errno));
        if (!together)
            (void)sched_setaffinity(pid, sizeof before[t], &before[t]);
    }
}

static void sample_add(struct load *load, uint64_t ns)
{
    if (load->sample_count == load->sample_room) {
        size_t room = load->sample_room ? load->sample_room * 2 : LOAD_SAMPLES_START;
        uint64_t *grown = reallocarray(load->samples, room, sizeof load->samples[0]);

        if (!grown)
            bench_die("out of memory");
        load->samples = grown;
        load->sample_room = room;
    }
    load->samples[load->sample_count++] = ns;
}

/* True when the client's reply is complete. */
static bool client_read(struct load *load, const struct target *target, struct client *client)
{
    ssize_t count = recv(client->fd, load->reply, sizeof load->reply, 0);

    if (count < 0 && errno == EAGAIN)
        return false;
    if (count <= 0)
        bench_die("%s closed a connection in the run", target->name);
    client->got += (size_t)count;
    if (load->reply[count - 1] != '\0')
        return false;
    if (client->got != target->reply_length)
        bench_die("%s: a reply of %zu bytes after one of %zu: %.200s", target->name, client->got, target->reply_length,
                  load->reply);
    client->got = 0;
    return true;
}

static void client_ask(struct load *load, struct client *client, uint64_t now)
{
    client->sent_ns = now;
    ask(load, client->fd);
}

/* False when nothing was answered in time: a busy machine can keep a process waiting for longer than a round. */
static bool round_run(struct load *load, struct target *target, struct round *ret_round)
{
    struct epoll_event events[LOAD_EVENTS];
    uint64_t cpu = server_cpu_ns(target->pid);
    uint64_t begin = bench_now_ns();
    /* the first tenth warms caches and queues and is not counted */
    uint64_t counted = begin + (uint64_t)load->round_ms * 100000U;
    uint64_t end = begin + (uint64_t)load->round_ms * 1000000U;
    size_t replies = 0;
    unsigned open = load->client_count;

    load->sample_count = 0;
    for (unsigned i = 0; i < load->client_count; i++)
        client_ask(load, &target->clients[i], bench_now_ns());
    while (open > 0) {
        int count = epoll_wait(target->epoll, events, LOAD_EVENTS, LOAD_STALL_MS);

        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            bench_die("%s: no reply for %d ms", target->name, (int)LOAD_STALL_MS);
        for (int i = 0; i < count; i++) {
            struct client *client = events[i].data.ptr;
            uint64_t now;

            if (!client_read(load, target, client))
                continue;
            now = bench_now_ns();
            replies++;
            if (now >= counted && now < end)
                sample_add(load, now - client->sent_ns);
            if (now < end)
                client_ask(load, client, now);
            else
                open--;
        }
    }
    cpu = server_cpu_ns(target->pid) - cpu;
    if (load->sample_count == 0)
        return false;
    ret_round->replies = replies;
    ret_round->cpu_ns = (double)cpu / (double)replies;
    ret_round->rate = (double)load->sample_count * 1e9 / (double)(end - counted);
    ret_round->p99_us = (double)bench_quantile(load->samples, load->sample_count, 990) / 1e3;
    ret_round->median_us = (double)load->samples[(load->sample_count - 1) / 2] / 1e3;
    return true;
}

static void print_target(const struct load *load, const struct target *target)
{
    (void)printf("{\"name\":\"%s\",\"reply_bytes\":%zu,\"rounds\":[", target->name, target->reply_length);
    for (unsigned i = 0; i < load->round_count; i++) {
        const struct round *round = &target->rounds[i];

        (void)printf("%s{\"rate\":%.1f,\"median_us\":%.2f,\"p99_us\":%.2f,\"cpu_ns\":%.0f,\"replies\":%zu}",
                     i ? "," : "", round->rate, round->median_us, round->p99_us, round->cpu_ns, round->replies);
    }
    (void)printf("]}");
}

int main(int argc, char **argv)
{
    static struct load load;

    if (argc < 6 || argc - 5 > LOAD_TARGETS_MAX)
        bench_die("usage: loadgen CLIENTS ROUNDS ROUND_MS REQUEST NAME=SOCKET... (at most %d)", (int)LOAD_TARGETS_MAX);
    load.client_count = bench_number(argv[1], "CLIENTS", 1, 8000);
    load.round_count = bench_number(argv[2], "ROUNDS", 1, 10000);
    load.round_ms = bench_number(argv[3], "ROUND_MS", 10, 60000);
    load.request = argv[4];
    load.request_length = strlen(argv[4]) + 1;
    load.serial = strstr(argv[4], "@@@@@@@@");
    for (int i = 5; i < argc; i++) {
        struct target *target = &load.targets[load.target_count++];
        char *equals = strchr(argv[i], '=');

        if (!equals)
            bench_die("a target is NAME=SOCKET: %s", argv[i]);
        *equals = '\0';
        target->name = argv[i];
        target->path = equals + 1;
        target_open(&load, target);
    }
    if (load.client_count == 1)
        keep_together(&load, true);
    for (unsigned r = 0; r < load.round_count; r++)
        for (unsigned t = 0; t < load.target_count; t++)
            for (int tries = 0; !round_run(&load, &load.targets[t], &load.targets[t].rounds[r]);)
                if (++tries == LOAD_TRIES)
                    bench_die("%s: no reply inside a round of %u ms", load.targets[t].name, load.round_ms);
    if (load.client_count == 1)
        keep_together(&load, false);
    (void)printf("{\"clients\":%u,\"targets\":[", load.client_count);
    for (unsigned t = 0; t < load.target_count; t++) {
        if (t > 0)
            (void)putchar(',');
        print_target(&load, &load.targets[t]);
    }
    (void)printf("]}\n");
    return 0;
}
