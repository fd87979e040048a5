/* The command of `mltoken-agent -- COMMAND ...`: it gets its caller's world (environment, directory, descriptors,
 * limits, umask, signals), of which nothing is left in the agent. So its process is forked before anything else
 * happens, and waits to be told where the agent's socket is; it goes through the agent's exec as a child and one
 * descriptor. */
#pragma once

#include <sys/types.h>

struct command {
    pid_t pid;
    int fd; /* write end of the pipe it waits on; -1 once started */
};

/* First of all in main(), before hardening. Forks the waiting child, or, behind the exec, finds the one that was
 * forked. `argv` is the command's, found through the caller's PATH. 0 or a negative errno. The descriptor is to be
 * given to environment_clean() as one to keep. */
int command_open(char *const argv[], struct command *ret);
/* Lets it run, with MLTOKEN_SOCK set. Without this it ends with 125 as soon as the agent does. 0 or a negative errno.
 */
int command_start(struct command *, const char *socket_path);
/* What to pass on: its exit status, or 128 + the signal, as shells do. */
int command_exit_code(int wait_status);
