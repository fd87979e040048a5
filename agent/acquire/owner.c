#include "acquire/owner.h"

#include "authority/digest.h"
#include "cleanup.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/utsname.h>

enum { HOST_DIGITS = 16, START_FIELD = 22 /* of proc(5), stat */ };

/* The beginning of a file of /proc, which never blocks. "" when it cannot be read. */
static void read_start(const char *path, char *to, size_t size)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, to, size - 1) : -1;
    to[n > 0 ? n : 0] = '\0';
}

/* When a process began, in ticks since the boot; 0: there is none. */
static unsigned long long started(int pid)
{
    char path[32], stat[1024];
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    read_start(path, stat, sizeof(stat));
    const char *at = strrchr(stat, ')'); /* the name before it may hold anything */
    if (at && (at[1] != ' ' || at[2] == 'Z' || at[2] == 'X'))
        return 0;
    for (int field = 2; at && field < START_FIELD; field++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at + 1, NULL, 10) : 0;
}

static void host(char ret[HOST_DIGITS + 1])
{
    struct utsname name = {0};
    char boot[64], space[64] = "", digest[DIGEST_TEXT + 1];
    read_start("/proc/sys/kernel/random/boot_id", boot, sizeof(boot));
    (void)!readlink("/proc/self/ns/pid", space, sizeof(space) - 1);
    (void)uname(&name);
    const struct span parts[] = {span_of(name.nodename), span_of(boot), span_of(space)};
    (void)snprintf(ret, HOST_DIGITS + 1, "%.*s", HOST_DIGITS,
                   digest_text(parts, ELEMENTS(parts), digest) == 0 ? digest : "");
}

void owner_self(owner_text ret)
{
    char here[HOST_DIGITS + 1];
    host(here);
    (void)snprintf(ret, LIMIT_OWNER + 1, "%s:%d:%llu", here, getpid(), started(getpid()));
}

/* HOST:PID:START */
static bool is_owner(const char *text)
{
    static const char digits[] = "0123456789";
    size_t here = strcspn(text, ":"), pid = text[here] ? strspn(text + here + 1, digits) : 0;
    const char *start = text + here + 1 + pid;
    return pid > 0 && pid < 10 && *start == ':' && start[1] && strspn(start + 1, digits) == strlen(start + 1);
}

bool owner_may_live(const char *owner, const char *self)
{
    size_t here = strcspn(owner, ":");
    if (!is_owner(owner))
        return false;
    if (strcspn(self, ":") != here || memcmp(owner, self, here) != 0)
        return true;
    char *end;
    int pid = (int)strtol(owner + here + 1, &end, 10);
    return strcmp(owner, self) != 0 && started(pid) == strtoull(end + 1, NULL, 10);
}
