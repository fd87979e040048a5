#include "login/surroundings.h"

#include "cleanup.h"
#include "hardening.h"
#include "limits.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>

#define MARK "MLTOKEN_PAM_LOGIN=anew" /* it was executed anew, and is not so again */

static const char *const always[] = {SURROUNDINGS_PATH, SURROUNDINGS_TUNABLES};

/* Whether a variable may stay as it is: nothing that a library would open, connect to or load. */
static bool may_stay(const char *entry, bool terminal)
{
    static const char *const terminals[] = {"TERM=", "LANG=", "LC_ALL=", "LC_CTYPE="};
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@+-";
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    static const char *const sanitizers[] = {"ASAN_OPTIONS=", "LSAN_OPTIONS=", "UBSAN_OPTIONS="};
    for (size_t i = 0; i < ELEMENTS(sanitizers); i++)
        if (strncmp(entry, sanitizers[i], strlen(sanitizers[i])) == 0)
            return true;
#endif
    for (size_t i = 0; terminal && i < ELEMENTS(terminals); i++) {
        size_t length = strlen(terminals[i]);
        if (strncmp(entry, terminals[i], length) == 0)
            return strlen(entry + length) <= LIMIT_CODE && entry[length + strspn(entry + length, plain)] == '\0';
    }
    return false;
}

static int clean_environment(char *const argv[], bool terminal)
{
    const char *kept[ELEMENTS(always) + 16] = {SURROUNDINGS_PATH, SURROUNDINGS_TUNABLES, MARK};
    size_t count = ELEMENTS(always) + 1, found = 0;
    bool clean = true, anew = false;
    for (char **entry = environ; *entry; entry++) {
        bool ours = false;
        for (size_t i = 0; i < ELEMENTS(always) && !ours; i++)
            ours = strcmp(*entry, always[i]) == 0;
        found += ours;
        if (strcmp(*entry, MARK) == 0)
            anew = true;
        else if (!ours && may_stay(*entry, terminal) && count + 1 < ELEMENTS(kept))
            kept[count++] = *entry;
        else if (!ours)
            clean = false;
    }
    if (clean && found == ELEMENTS(always))
        return 0;
    if (anew)
        return -ELOOP;
    (void)execve("/proc/self/exe", argv, (char *const *)(uintptr_t)kept);
    return -errno;
}

/* A file that is opened must never become descriptor 1 and be written what is meant for the module. */
static int settle_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) /* NOLINT: kept across exec on purpose */
            return -EBADF;
    return close_range(STDERR_FILENO + 1, ~0U, 0) < 0 ? -errno : 0;
}

int surroundings_settle(char *const argv[], bool terminal)
{
    int r = hardening_apply();
    if (r == 0)
        r = settle_descriptors();
    if (r == 0)
        r = clean_environment(argv, terminal);
    if (r == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || prctl(PR_SET_NAME, "mltoken-pam-log", 0, 0, 0) < 0))
        r = -errno;
    return r;
}

int surroundings_leave(void)
{
    return chdir("/") < 0 ? -errno : 0;
}
