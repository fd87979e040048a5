/* mltoken: only wires. */
#include "cleanup.h"
#include "command.h"
#include "options.h"
#include "output.h"
#include <fcntl.h>
#include <signal.h>

static const struct command {
    const char *name;
    int (*run)(struct context *, int argc, char **argv);
    const char *arguments, *summary;
} commands[] = {
    {"get", command_get, "[PROFILE]", "print a token"},
    {"login", command_login, "[PROFILE]", "sign in"},
    {"logout", command_logout, "[PROFILE] [--all]", "sign out"},
    {"status", command_status, "[PROFILE]", "show the agent and its profiles"},
    {"show", command_show, "[PROFILE]", "show a token's claims and times"},
    {"verify", command_verify, "", "check a JWT from standard input"},
    {"secret", command_secret, "set|clear|list|move PROFILE ...", "keep a secret in the store"},
    {"rotate", command_rotate, "PROFILE", "serve the other one of two keys, and renew the first"},
    {"lock", command_lock, "", "seal what the agent holds under a passphrase"},
    {"unlock", command_unlock, "[--new]", "open it; else the sealed files of the store"},
    {"exec", command_exec, "[PROFILE] -- COMMAND ...", "run a command with tokens in its environment"},
    {"config", command_config, "new|check|path", "begin, check or find the configuration"},
    {"log", command_log, "[PROFILE]", "show which programs were handed or denied tokens"},
    {"doctor", command_doctor, "[PROFILE]", "test each link and say what to do"},
};

static int help(void)
{
    _cleanup_buffer_ struct buffer text = BUFFER(16384);
    buffer_text(&text, "Usage: mltoken [--socket PATH] [--json] [--quiet] COMMAND ...\n"
                       "OAuth tokens from the user's own agent.\n\n");
    for (size_t i = 0; i < ELEMENTS(commands); i++) {
        char left[64];
        (void)snprintf(left, sizeof(left), "%s %s", commands[i].name, commands[i].arguments);
        buffer_format(&text, "  %-34s %s\n", left, commands[i].summary);
    }
    buffer_text(&text, "\n  --json          answer in JSON, times in epoch seconds\n"
                       "  --quiet         nothing but results and errors\n"
                       "  --socket PATH   the agent's socket\n"
                       "  -h, --help      this text; also after a command\n"
                       "  --version       the version\n\n"
                       "See mltoken(1).\n");
    return output_write(&text);
}

static int version(void)
{
    struct buffer text = BUFFER(64);
    buffer_text(&text, "mltoken " MLTOKEN_VERSION "\n");
    return output_write(&text);
}

static int unknown(const char *given, bool option)
{
    static const char *const options[] = {"--json", "--quiet", "--socket", "--help", "--version"};
    const char *names[ELEMENTS(commands)];
    for (size_t i = 0; i < ELEMENTS(commands); i++)
        names[i] = commands[i].name;
    return option ? options_unknown("option", given, options, ELEMENTS(options), "mltoken --help")
                  : options_unknown("command", given, names, ELEMENTS(names), "mltoken --help");
}

static int dispatch(struct context *context, int argc, char **argv)
{
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0)
            return help();
        if (strcmp(argv[i], "--version") == 0)
            return version();
        int r = options_global(context, argc, argv, &i);
        if (r == EXIT_DONE)
            return unknown(argv[i], true);
        if (r != OPTIONS_GO)
            return r;
    }
    if (i >= argc) {
        complain("which command? see mltoken --help");
        return EXIT_USAGE;
    }
    for (size_t k = 0; k < ELEMENTS(commands); k++)
        if (strcmp(commands[k].name, argv[i]) == 0)
            return commands[k].run(context, argc - i, argv + i);
    return unknown(argv[i], false);
}

/* A descriptor that the caller has closed must not become the connection to the agent: what is written to it fails. */
static void open_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY); /* NOLINT: kept across exec on purpose */
}

int main(int argc, char **argv)
{
    struct context context = {0};
    open_standard();
    (void)signal(SIGCHLD, SIG_DFL); /* ignored by the caller, a started agent could not be waited for */
    (void)signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of write(), and gets its exit code */
    int r = dispatch(&context, argc, argv);
    mltoken_close(context.handle);
    return r;
}
