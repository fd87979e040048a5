/* Which program a process runs: compared as a file (device and inode), so that neither a copy elsewhere nor a name that
 * was given to something else passes for it. It walks paths and may block: for the worker's jobs alone. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

enum executable_verdict {
    EXECUTABLE_SAME,       /* it is one of them */
    EXECUTABLE_OTHER,      /* it is none of them */
    EXECUTABLE_UNREADABLE, /* we may not look */
    EXECUTABLE_GONE,       /* there is no such process */
};

/* `paths`: count of them, each ended by a NUL, one behind the other. A path that leads nowhere is nobody's. */
enum executable_verdict executable_compare(pid_t, const char *paths, size_t length);
