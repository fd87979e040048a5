/* Options of one command: a table, from which its help, its parser and the nearest known option come. Every command
 * also takes the global options (--json, --quiet, --socket, -h, --help), before or after its name. */
#pragma once

#include "command.h"

enum option_kind {
    OPTION_FLAG,   /* bool */
    OPTION_TEXT,   /* const char * */
    OPTION_NUMBER, /* int64_t: decimal, from 0 to LIMIT_LIFETIME_S */
    OPTION_LIST,   /* struct option_list */
};

struct option {
    const char *name; /* with its dashes */
    enum option_kind kind;
    void *to;
    const char *value; /* what to call it in the help; NULL for a flag */
    const char *help;
};

#define OPTION_LIST_MAXIMUM 64
struct option_list {
    const char *values[OPTION_LIST_MAXIMUM];
    size_t count;
};

struct usage {
    const char *command;
    const char *arguments; /* "[PROFILE]" */
    const char *summary;
    const struct option *options;
    size_t option_count;
    size_t most; /* arguments that are no options */
    bool rest;   /* what follows -- is a command line of its own */
};
#define USAGE_OPTIONS(array) .options = (array), .option_count = ELEMENTS(array)

struct arguments {
    const char *values[3];
    size_t count;
    char **rest; /* after --, or NULL */
};

#define OPTIONS_GO (-1)
/* OPTIONS_GO, or the exit code: after a help text, or after a complaint. */
int options_parse(struct context *, const struct usage *, int argc, char **argv, struct arguments *ret);
/* The same for a command whose only argument is [PROFILE]; without one, *ret is NULL: the default profile. */
int options_profile(struct context *, const struct usage *, int argc, char **argv, const char **ret);
/* One global option at argv[*i]; OPTIONS_GO when it was one, EXIT_DONE when it was none, else an exit code. */
int options_global(struct context *, int argc, char **argv, int *i);
/* Says that an option or command is not known, and which is near. EXIT_USAGE. */
int options_unknown(const char *what, const char *given, const char *const *known, size_t count, const char *help);
