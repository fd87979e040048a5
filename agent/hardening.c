#include "hardening.h"

#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

static int raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -errno;
    rlim_t wanted = limit.rlim_max < LIMIT_DESCRIPTORS ? limit.rlim_max : LIMIT_DESCRIPTORS;
    if (limit.rlim_cur >= wanted)
        return 0;
    limit.rlim_cur = wanted;
    return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? -errno : 0;
}

static int block_signals(void)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t set;
    sigfillset(&set);
    for (size_t i = 0; i < ELEMENTS(faults); i++)
        sigdelset(&set, faults[i]);
    return sigprocmask(SIG_BLOCK, &set, NULL) < 0 ? -errno : 0;
}

int hardening_apply(void)
{
    static const struct rlimit none = {0, 0};
    if (getauxval(AT_SECURE) || getuid() != geteuid() || getgid() != getegid())
        return -EPERM;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    (void)umask(S_IRWXG | S_IRWXO);
    (void)prctl(PR_SET_NAME, "mltoken-agent", 0, 0, 0);
    int r = block_signals();
    return r < 0 ? r : raise_descriptors();
}
