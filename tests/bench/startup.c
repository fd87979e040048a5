/*
 * How long the agent takes from exec until its socket answers a first call.
 *
 *   startup ROUNDS DIRECTORY AGENT CONFIG...
 *
 * Every start has a socket directory of its own below DIRECTORY; the configurations take turns. The agent is started
 * with --foreground, asked org.varlink.service.GetInfo, and ended by SIGTERM. Prints a JSON object a line for each
 * configuration: median, tenth and ninetieth percentile and the longest, in milliseconds, and the same for its end.
 */
#include "bench.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { STARTUP_CONFIGS_MAX = 8 };

static const uint64_t poll_ns = 50000;
static const uint64_t give_up_ns = UINT64_C(10000000000);
static const char get_info[] = "{\"method\":\"org.varlink.service.GetInfo\"}";

static volatile pid_t running; /* the agent of this moment: it never outlives the measurement */

extern char **environ;

struct series {
    const char *config;
    uint64_t *up_ns, *down_ns;
};

static void end_running(void)
{
    if (running > 0)
        (void)kill(running, SIGKILL);
}

static void on_signal(int number)
{
    end_running();
    _exit(128 + number);
}

static void await_reply(int fd)
{
    static char reply[BENCH_REPLY_MAX];
    size_t got = 0;

    do {
        ssize_t count = recv(fd, reply + got, sizeof reply - got, 0);

        if (count <= 0)
            bench_die("the agent closed the connection instead of answering GetInfo");
        got += (size_t)count;
    } while (reply[got - 1] != '\0');
    if (memmem(reply, got, "\"error\"", 7))
        bench_die("GetInfo answers %s", reply);
}

static int await_socket(const char *path, pid_t pid, uint64_t begin)
{
    for (;;) {
        int fd = bench_try_connect(path);

        if (fd >= 0)
            return fd;
        if (waitpid(pid, NULL, WNOHANG) == pid) {
            running = 0;
            bench_die("the agent ended before its socket answered");
        }
        if (bench_now_ns() - begin > give_up_ns)
            bench_die("no socket after 10 s: %s", path);
        bench_sleep_ns(poll_ns);
    }
}

static void await_end(pid_t pid, uint64_t begin)
{
    while (waitpid(pid, NULL, WNOHANG) != pid) {
        if (bench_now_ns() - begin > give_up_ns)
            bench_die("the agent does not end on SIGTERM");
        bench_sleep_ns(poll_ns);
    }
    running = 0;
}

static void start_once(struct series *series, unsigned round, const char *directory, char *agent)
{
    static unsigned serial;
    char *argv[] = {agent, (char[]){"--foreground"}, NULL};
    char path[108];
    uint64_t begin;
    pid_t pid;
    int fd, error;

    if (snprintf(path, sizeof path, "%s/%u", directory, serial++) >= 90 || mkdir(path, 0700) < 0)
        bench_die("cannot make %s: %s", path, strerror(errno));
    (void)snprintf(path + strlen(path), 12, "/agent.sock");
    (void)setenv("MLTOKEN_SOCK", path, 1);
    (void)setenv("MLTOKEN_CONFIG", series->config, 1);
    begin = bench_now_ns();
    error = posix_spawn(&pid, agent, NULL, NULL, argv, environ);
    if (error != 0)
        bench_die("cannot run %s: %s", agent, strerror(error));
    running = pid;
    fd = await_socket(path, pid, begin);
    bench_send(fd, get_info, sizeof get_info);
    await_reply(fd);
    series->up_ns[round] = bench_now_ns() - begin;
    (void)close(fd);
    begin = bench_now_ns();
    (void)kill(pid, SIGTERM);
    await_end(pid, begin);
    series->down_ns[round] = bench_now_ns() - begin;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};
    static struct series all[STARTUP_CONFIGS_MAX];
    unsigned rounds, count;

    if (argc < 5 || argc - 4 > STARTUP_CONFIGS_MAX)
        bench_die("usage: startup ROUNDS DIRECTORY AGENT CONFIG...");
    rounds = bench_number(argv[1], "ROUNDS", 1, 10000);
    count = (unsigned)argc - 4;
    for (unsigned c = 0; c < count; c++) {
        all[c].config = argv[4 + c];
        all[c].up_ns = bench_alloc(rounds, sizeof all[c].up_ns[0]);
        all[c].down_ns = bench_alloc(rounds, sizeof all[c].down_ns[0]);
    }
    (void)atexit(end_running);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    for (unsigned i = 0; i < rounds; i++)
        for (unsigned c = 0; c < count; c++)
            start_once(&all[c], i, argv[2], argv[3]);
    for (unsigned c = 0; c < count; c++) {
        (void)printf("{\"config\":\"%s\",\"rounds\":%u", all[c].config, rounds);
        (void)printf(",\"p10_ms\":%.3f", (double)bench_quantile(all[c].up_ns, rounds, 100) / 1e6);
        (void)printf(",\"median_ms\":%.3f", (double)bench_quantile(all[c].up_ns, rounds, 500) / 1e6);
        (void)printf(",\"p90_ms\":%.3f", (double)bench_quantile(all[c].up_ns, rounds, 900) / 1e6);
        (void)printf(",\"max_ms\":%.3f", (double)bench_quantile(all[c].up_ns, rounds, 1000) / 1e6);
        (void)printf(",\"end_median_ms\":%.3f}\n", (double)bench_quantile(all[c].down_ns, rounds, 500) / 1e6);
    }
    return 0;
}
