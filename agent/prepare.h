/* What the agent does before it has a secret, a thread or a child: the command's process (command.h), hardening, and
 * its clean environment (environment.h).
 *
 * The agent is two programs, so that it starts fast: mltoken-agent (first_main.c) is linked with libc alone, prepares
 * and executes mltoken-agent-main (main.c) in the clean environment. The thirty libraries behind libcurl, most of the
 * time that a start takes, are loaded once, and never in an environment that somebody else has made. The second program
 * prepares again, because an exec makes a process dumpable; started by itself it executes itself anew. */
#pragma once

#include "arguments.h"
#include "command.h"
#include "socket_path.h"

/* In mltoken-agent: does not return but by an exit status, when something failed. */
int prepare_first(const struct arguments *, char **argv);
/* In mltoken-agent-main: 0, or an exit status. */
int prepare(const struct arguments *, char **argv, struct command *ret);
/* Where the sockets are to be: 0, or an exit status, and why was told. */
int prepare_path(struct socket_path *ret);
