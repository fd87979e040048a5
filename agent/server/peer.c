#include "server/peer.h"

#include "cleanup.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { MAJOR_CONSOLE = 4, MAJOR_PTS = 136, LAST_CONSOLE = 63 }; /* Documentation/admin-guide/devices.txt */

void peer_executable(pid_t pid, char to[static LIMIT_AUDIT_EXECUTABLE + 1])
{
    char path[48];
    (void)snprintf(path, sizeof(path), "/proc/%ld/exe", (long)pid);
    ssize_t n = pid > 0 ? readlink(path, to, LIMIT_AUDIT_EXECUTABLE) : -1;
    if (n <= 0)
        to[0] = '?';
    to[n > 0 ? n : 1] = '\0';
}

/* proc(5): behind the name in parentheses come state, ppid, pgrp, session, tty_nr, tpgid. */
dev_t peer_terminal_of(const char *stat)
{
    enum { PARENT, GROUP, SESSION, TERMINAL, FOREGROUND, FIELDS };
    long fields[FIELDS];
    const char *at = strrchr(stat, ')'); /* the name may hold anything */
    at = at && at[1] == ' ' && at[2] ? at + 3 : "";
    for (size_t i = 0; i < FIELDS; i++) {
        char *end;
        fields[i] = strtol(at, &end, 10);
        if (end == at)
            return 0;
        at = end;
    }
    if (fields[GROUP] != fields[FOREGROUND])
        return 0;
    unsigned number = (unsigned)fields[TERMINAL]; /* minor: bits 0 to 7 and 20 to 31 */
    return makedev(number >> 8 & 0xfff, (number & 0xff) | (number >> 12 & 0xfff00));
}

bool peer_terminal(pid_t pid, char to[static PEER_TERMINAL_SIZE])
{
    char path[48], text[1024];
    struct stat file;
    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    _cleanup_close_ int fd = pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0)
        return false;
    text[n] = '\0';
    dev_t device = peer_terminal_of(text);
    unsigned number = minor(device);
    if (major(device) == MAJOR_PTS)
        (void)snprintf(to, PEER_TERMINAL_SIZE, "/dev/pts/%u", number);
    else if (major(device) == MAJOR_CONSOLE && number > 0 && number <= LAST_CONSOLE)
        (void)snprintf(to, PEER_TERMINAL_SIZE, "/dev/tty%u", number);
    else
        return false;
    /* of another devpts, as in a container, the name would mean somebody else's */
    return stat(to, &file) == 0 && S_ISCHR(file.st_mode) && file.st_rdev == device && file.st_uid == geteuid();
}
