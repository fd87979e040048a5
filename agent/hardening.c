#include "hardening.h"

#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <malloc.h>
#include <openssl/crypto.h>
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

void hardening_release_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* ---- memory -------------------------------------------------------------------------------------------------------
 */

void *hardening_malloc(size_t size)
{
    return malloc(size);
}

void *hardening_calloc(size_t count, size_t size)
{
    return calloc(count, size);
}

void hardening_free(void *pointer)
{
    if (pointer)
        explicit_bzero(pointer, malloc_usable_size(pointer));
    free(pointer);
}

/* Never realloc(): what it leaves behind could not be wiped. */
void *hardening_realloc(void *pointer, size_t size)
{
    if (!pointer)
        return malloc(size);
    if (size == 0) {
        hardening_free(pointer);
        return NULL;
    }
    size_t old = malloc_usable_size(pointer);
    if (size <= old && size >= old / 2)
        return pointer;
    void *bigger = malloc(size);
    if (!bigger)
        return NULL;
    memcpy(bigger, pointer, old < size ? old : size);
    hardening_free(pointer);
    return bigger;
}

char *hardening_strdup(const char *text)
{
    return strdup(text);
}

static void *openssl_malloc(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return hardening_malloc(size);
}

static void *openssl_realloc(void *pointer, size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return hardening_realloc(pointer, size);
}

static void openssl_free(void *pointer, const char *file, int line)
{
    (void)file, (void)line;
    hardening_free(pointer);
}

int hardening_allocators(void)
{
    return CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) == 1 ? 0 : -EALREADY;
}
