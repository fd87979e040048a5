/* The running agent: its parts, put together and taken apart in order, and what ends it: SIGTERM, the end of the
 * command it runs for, or the loss of its socket. */
#pragma once

#include "command.h"
#include "sockets.h"

struct service_options {
    struct socket_path path;
    struct command *command;  /* a private agent for this command; NULL: the user's agent */
    void (*ready)(void *arg); /* told once, when the sockets answer */
    void *arg;
};

/* Runs until the end and returns the exit status, its own or the command's. SERVICE_BUSY: another agent is there
 * already; SERVICE_FAILED: it could not start, or go on. */
enum { SERVICE_BUSY = -1, SERVICE_FAILED = -2 };
int service_run(const struct service_options *);
