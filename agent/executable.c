#include "executable.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum executable_verdict executable_compare(pid_t pid, const char *paths, size_t length)
{
    char link[48];
    struct stat runs, file;
    (void)snprintf(link, sizeof(link), "/proc/%ld/exe", (long)pid);
    if (stat(link, &runs) < 0)
        return errno == ENOENT || errno == ESRCH ? EXECUTABLE_GONE : EXECUTABLE_UNREADABLE;
    for (size_t at = 0; at < length; at += strlen(paths + at) + 1)
        if (stat(paths + at, &file) == 0 && file.st_dev == runs.st_dev && file.st_ino == runs.st_ino)
            return EXECUTABLE_SAME;
    return EXECUTABLE_OTHER;
}
