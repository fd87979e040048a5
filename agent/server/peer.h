/* What /proc tells of the process at the other end of a connection, without walking a path of its own: nothing here
 * waits for a file system that hangs. What it tells was true a moment ago, and the process may be another one since. */
#pragma once

#include "limits.h"
#include <stdbool.h>
#include <sys/types.h>

enum { PEER_TERMINAL_SIZE = 32 };

/* The path of what it runs, cut to LIMIT_AUDIT_EXECUTABLE; "?": cannot be read, or pid is 0. */
void peer_executable(pid_t, char to[static LIMIT_AUDIT_EXECUTABLE + 1]);
/* The terminal that it is in front of, ours: false when it has none, or another job there is in front. */
bool peer_terminal(pid_t, char to[static PEER_TERMINAL_SIZE]);
/* The same from the text of /proc/PID/stat: the device's number, 0 if there is none. */
dev_t peer_terminal_of(const char *stat);
