/* What mltoken-agent was asked for on its command line: mltoken-agent(1). Both of the agent's programs read it, see
 * prepare.h. */
#pragma once

#include <stdbool.h>

enum { EXIT_USAGE = 2, EXIT_OWN = 125 /* our own failure when a command's status is to be passed on */ };

struct arguments {
    bool foreground, debug, autostart;
    bool check, doctor;
    const char *file; /* --check's, or --doctor's profile; borrowed, as the command is */
    char **command;
};

/* -1: go on; else the exit status: what was asked for is done, or the mistake was told. */
int arguments_read(char **argv, struct arguments *ret);
/* Says that the agent cannot do `what` and returns the exit status for it. */
int arguments_fail(const struct arguments *, const char *what, int error);
