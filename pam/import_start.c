#include "import_start.h"

#include "agent_start.h"
#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <linux/limits.h> /* <limits.h> would find our own limits.h on its way */
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>

enum { VARIABLES = 6 };

struct surroundings {
    char home[PATH_MAX], user[LIMIT_USERNAME + 16], logname[LIMIT_USERNAME + 16], runtime[64];
    char *variables[VARIABLES];
};

static bool set(char *to, size_t size, const char *name, const char *value)
{
    int n = snprintf(to, size, "%s=%s", name, value);
    return n > 0 && (size_t)n < size;
}

/* HOME, USER, LOGNAME, PATH, and the runtime directory if it is ours. */
static int surround(struct surroundings *ret)
{
    char text[PATH_MAX + 1024], runtime[NAME_MAX];
    struct passwd entry, *found = NULL;
    struct stat st;
    if (getpwuid_r(getuid(), &entry, text, sizeof(text), &found) != 0 || !found)
        return -ENOENT;
    if (!set(ret->home, sizeof(ret->home), "HOME", entry.pw_dir) ||
        !set(ret->user, sizeof(ret->user), "USER", entry.pw_name) ||
        !set(ret->logname, sizeof(ret->logname), "LOGNAME", entry.pw_name))
        return -ENAMETOOLONG;
    (void)snprintf(runtime, sizeof(runtime), "/run/user/%lu", (unsigned long)getuid());
    bool own = set(ret->runtime, sizeof(ret->runtime), "XDG_RUNTIME_DIR", runtime) && lstat(runtime, &st) == 0 &&
               S_ISDIR(st.st_mode) && st.st_uid == getuid();
    size_t n = 0;
    ret->variables[n++] = ret->home;
    ret->variables[n++] = ret->user;
    ret->variables[n++] = ret->logname;
    ret->variables[n++] = (char *)(uintptr_t) "PATH=/usr/local/bin:/usr/bin:/bin";
    if (own)
        ret->variables[n++] = ret->runtime;
    ret->variables[n] = NULL;
    return 0;
}

int import_start(int64_t deadline_ms)
{
    struct surroundings around = {0};
    int r = surround(&around);
    const struct agent_start plan = {.environment = around.variables, .own_session = true, .deadline_ms = deadline_ms};
    return r < 0 ? r : agent_start(&plan, NULL);
}
