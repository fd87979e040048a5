/*
 * How long a command takes from posix_spawn to its end. The commands take turns, so that drift falls on all alike.
 *
 *   spawn ROUNDS NAME COMMAND [ARGUMENT...] [; NAME COMMAND ...]...
 *
 * Standard input and output are /dev/null. Prints one JSON object a line for each command: median, tenth and ninetieth
 * percentile in milliseconds, and the median of the differences to the first command of the same round.
 */
#include "bench.h"

#include <spawn.h>
#include <sys/wait.h>

enum { SPAWN_COMMANDS_MAX = 8 };

struct command {
    const char *name;
    char **argv;
    uint64_t *took_ns;
};

extern char **environ;

static uint64_t command_run(const struct command *command, const posix_spawn_file_actions_t *actions)
{
    uint64_t begin = bench_now_ns();
    uint64_t took;
    pid_t pid;
    int status = 0;
    int error = posix_spawn(&pid, command->argv[0], actions, NULL, command->argv, environ);

    if (error != 0)
        bench_die("cannot run %s: %s", command->argv[0], strerror(error));
    if (waitpid(pid, &status, 0) != pid)
        bench_die("waitpid: %s", strerror(errno));
    took = bench_now_ns() - begin;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        bench_die("%s failed with status 0x%x", command->name, (unsigned)status);
    return took;
}

static unsigned commands_parse(int argc, char **argv, struct command *commands, unsigned rounds)
{
    unsigned count = 0;

    for (int i = 2; i + 1 < argc;) {
        struct command *command = &commands[count];

        if (++count > SPAWN_COMMANDS_MAX)
            bench_die("more than %d commands", (int)SPAWN_COMMANDS_MAX);
        command->name = argv[i];
        command->argv = &argv[i + 1];
        command->took_ns = bench_alloc(rounds, sizeof command->took_ns[0]);
        while (i < argc && strcmp(argv[i], ";") != 0)
            i++;
        if (i < argc)
            argv[i++] = NULL;
    }
    return count;
}

static double median_difference_ms(const struct command *command, const struct command *base, unsigned rounds)
{
    int64_t *differences = bench_alloc(rounds, sizeof differences[0]);
    const uint64_t offset = UINT64_C(1) << 62; /* keeps them positive for the one comparison there is */
    uint64_t median;

    for (unsigned i = 0; i < rounds; i++)
        differences[i] = (int64_t)(command->took_ns[i] + offset - base->took_ns[i]);
    median = bench_quantile((uint64_t *)differences, rounds, 500);
    free(differences);
    return ((double)median - (double)offset) / 1e6;
}

int main(int argc, char **argv)
{
    static struct command commands[SPAWN_COMMANDS_MAX];
    double differences[SPAWN_COMMANDS_MAX];
    posix_spawn_file_actions_t actions;
    unsigned rounds, count;

    if (argc < 4)
        bench_die("usage: spawn ROUNDS NAME COMMAND [ARGUMENT...] [; NAME COMMAND ...]...");
    rounds = bench_number(argv[1], "ROUNDS", 1, 1000000);
    count = commands_parse(argc, argv, commands, rounds);
    if (posix_spawn_file_actions_init(&actions) != 0 ||
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0) != 0 ||
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0) != 0)
        bench_die("out of memory");
    for (unsigned c = 0; c < count; c++) /* the page cache is warm for all of them */
        (void)command_run(&commands[c], &actions);
    for (unsigned i = 0; i < rounds; i++)
        for (unsigned c = 0; c < count; c++)
            commands[c].took_ns[i] = command_run(&commands[c], &actions);
    for (unsigned c = 0; c < count; c++)
        differences[c] = median_difference_ms(&commands[c], &commands[0], rounds);
    for (unsigned c = 0; c < count; c++) {
        (void)printf("{\"name\":\"%s\",\"rounds\":%u", commands[c].name, rounds);
        (void)printf(",\"p10_ms\":%.4f", (double)bench_quantile(commands[c].took_ns, rounds, 100) / 1e6);
        (void)printf(",\"median_ms\":%.4f", (double)bench_quantile(commands[c].took_ns, rounds, 500) / 1e6);
        (void)printf(",\"p90_ms\":%.4f", (double)bench_quantile(commands[c].took_ns, rounds, 900) / 1e6);
        (void)printf(",\"over_first_ms\":%.4f}\n", differences[c]);
    }
    return 0;
}
