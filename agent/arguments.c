#include "arguments.h"

#include "cleanup.h"
#include "text.h"
#include <stdio.h>

static const char usage[] =
    "usage: mltoken-agent [--foreground] [--debug]\n"
    "       mltoken-agent --check [FILE]\n"
    "       mltoken-agent --doctor [PROFILE]\n"
    "       mltoken-agent [--debug] -- COMMAND [ARGUMENT ...]\n"
    "Serves tokens to this user's programs; mltoken starts it by itself. See mltoken-agent(1).\n";

static int refuse_option(const char *option)
{
    static const char *const known[] = {"--foreground", "--debug",   "--autostart", "--check",
                                        "--doctor",     "--version", "--help"};
    const char *nearest = text_nearest(option, known, ELEMENTS(known));
    char clean[64];
    text_clean_into(clean, sizeof(clean), span_of(option));
    (void)fprintf(stderr, "mltoken-agent: unknown option %s%s%s%s\n", clean, nearest ? "; did you mean " : "",
                  nearest ? nearest : "", nearest ? "?" : "");
    return EXIT_USAGE;
}

int arguments_read(char **argv, struct arguments *ret)
{
    for (char **arg = argv + 1; *arg; arg++) {
        if (strcmp(*arg, "--foreground") == 0) {
            ret->foreground = true;
        } else if (strcmp(*arg, "--debug") == 0) {
            ret->debug = true;
        } else if (strcmp(*arg, "--autostart") == 0) {
            ret->autostart = true;
        } else if (strcmp(*arg, "--check") == 0 || strcmp(*arg, "--doctor") == 0) {
            *(arg[0][2] == 'c' ? &ret->check : &ret->doctor) = true;
            if (arg[1] && arg[1][0] != '-')
                ret->file = *++arg;
        } else if (strcmp(*arg, "--version") == 0) {
            (void)printf("mltoken-agent %s\n", MLTOKEN_VERSION);
            return 0;
        } else if (strcmp(*arg, "--help") == 0 || strcmp(*arg, "-h") == 0) {
            (void)fputs(usage, stdout);
            return 0;
        } else if (strcmp(*arg, "--") == 0 && arg[1]) {
            ret->command = arg + 1;
            return -1;
        } else {
            return refuse_option(*arg);
        }
    }
    return -1;
}

int arguments_fail(const struct arguments *arguments, const char *what, int error)
{
    (void)fprintf(stderr, "mltoken-agent: cannot %s: %s\n", what, strerror(-error));
    return arguments->command ? EXIT_OWN : 1;
}
