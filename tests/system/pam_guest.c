/* A PAM application for the tests: it calls the phases it is told to, and looks at itself before and after each.
 *
 * pam_guest FOLDER SERVICE USER WORD...: FOLDER holds the service's file; a word is a phase (auth, account, open,
 * close, setcred), or NAME=VALUE for what follows: conv=enter|none|error|eof     what the application does when it is
 * asked     silent=yes   PAM_SILENT sigchld=default|ignore|handler|reap|nocldwait close=0,1    descriptors to close
 *   user=NAME, rhost=NAME, tty=NAME   items                                        env=A=B      the PAM environment
 *   wait=FILE                     the conversation's Enter comes when FILE is there
 *   fail=CALL:N                   the N-th of those calls from now on fails; CALL may be "any" and N 0 (count them)
 * Output (standard output before it may be closed): lines "phase NAME CODE", "changed WHAT", "asked STYLE HEX",
 * "log PRIORITY TEXT", "pamenv ENTRY", "calls N". */
#include "failing_calls.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <security/pam_appl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

static FILE *output;

/* ---- calls that fail when they are told to ---- */

static const char *failing = ""; /* the call, "any", or "" */
static int countdown, counted;
static bool armed;

static bool fails(const char *name)
{
    if (!armed || (strcmp(failing, name) != 0 && strcmp(failing, "any") != 0))
        return false;
    counted++;
    return countdown > 0 && --countdown == 0;
}

WRAP(pid_t, fork, -1, EAGAIN, (void), )
WRAP(int, pipe2, -1, EMFILE, (int fds[2], int flags), fds, flags)
WRAP(int, socketpair, -1, EMFILE, (int domain, int type, int protocol, int fds[2]), domain, type, protocol, fds)
WRAP(int, dup2, -1, EBADF, (int from, int to), from, to)
WRAP(int, dup3, -1, EBADF, (int from, int to, int flags), from, to, flags)
WRAP(int, close_range, -1, EINVAL, (unsigned first, unsigned last, int flags), first, last, flags)
WRAP(int, execve, -1, ENOEXEC, (const char *path, char *const argv[], char *const env[]), path, argv, env)
WRAP(int, setgroups, -1, EPERM, (size_t count, const gid_t *groups), count, groups)
WRAP(int, setresuid, -1, EAGAIN, (uid_t r, uid_t e, uid_t s), r, e, s)
WRAP(int, setresgid, -1, EPERM, (gid_t r, gid_t e, gid_t s), r, e, s)
WRAP(int, chdir, -1, EACCES, (const char *path), path)
WRAP(int, setrlimit, -1, EPERM, (__rlimit_resource_t what, const struct rlimit *limit), what, limit)
WRAP(pid_t, waitpid, -1, ECHILD, (pid_t pid, int *status, int flags), pid, status, flags)
WRAP(int, poll, -1, EINTR, (struct pollfd * fds, nfds_t count, int wait), fds, count, wait)
WRAP(ssize_t, write, -1, EPIPE, (int fd, const void *bytes, size_t length), fd, bytes, length)
WRAP(ssize_t, send, -1, EPIPE, (int fd, const void *bytes, size_t length, int flags), fd, bytes, length, flags)
WRAP(int, shutdown, -1, ENOTCONN, (int fd, int how), fd, how)
WRAP(int, mkdirat, -1, EROFS, (int at, const char *path, mode_t mode), at, path, mode)
WRAP(int, unlinkat, -1, EROFS, (int at, const char *path, int flags), at, path, flags)
WRAP(int, flock, -1, ENOLCK, (int fd, int what), fd, what)
WRAP(ssize_t, pread, -1, EIO, (int fd, void *to, size_t size, off_t at), fd, to, size, at)
WRAP(ssize_t, pwrite, -1, ENOSPC, (int fd, const void *bytes, size_t size, off_t at), fd, bytes, size, at)
WRAP(int, ftruncate, -1, ENOSPC, (int fd, off_t length), fd, length)
WRAP(int, fstat, -1, EIO, (int fd, struct stat *to), fd, to)
WRAP(ssize_t, getrandom, -1, ENOSYS, (void *to, size_t size, unsigned flags), to, size, flags)

#ifndef WITHOUT_MALLOC /* a sanitizer has its own */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
void *malloc(size_t size)
{
    if (fails("malloc")) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_malloc(size);
}
void *calloc(size_t count, size_t size)
{
    if (fails("malloc")) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_calloc(count, size);
}
#endif

#define WRAP_OPEN(name, parameters, ...)                                                                               \
    int name parameters;                                                                                               \
    int name parameters                                                                                                \
    {                                                                                                                  \
        REAL(name);                                                                                                    \
        va_list arguments;                                                                                             \
        va_start(arguments, flags);                                                                                    \
        mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;                                                 \
        va_end(arguments);                                                                                             \
        if (fails(#name)) {                                                                                            \
            errno = EMFILE;                                                                                            \
            return -1;                                                                                                 \
        }                                                                                                              \
        return real(__VA_ARGS__, flags, mode);                                                                         \
    }
WRAP_OPEN(open, (const char *path, int flags, ...), path)
WRAP_OPEN(openat, (int at, const char *path, int flags, ...), at, path)

ssize_t read(int fd, void *to, size_t size)
{
    REAL(read);
    if (fails("read")) {
        errno = EIO;
        return -1;
    }
    return real(fd, to, size);
}

int fcntl(int fd, int what, ...)
{
    REAL(fcntl);
    va_list arguments;
    va_start(arguments, what);
    long value = va_arg(arguments, long);
    va_end(arguments);
    if (fails("fcntl")) {
        errno = EMFILE;
        return -1;
    }
    return real(fd, what, value);
}

/* the module's first call: what fails before is libpam's own */
static bool waiting;
int pam_get_user(pam_handle_t *pamh, const char **user, const char *prompt);
int pam_get_user(pam_handle_t *pamh, const char **user, const char *prompt)
{
    REAL(pam_get_user);
    armed = armed || waiting;
    return real(pamh, user, prompt);
}

/* libpam's last: the module has returned */
int audit_open(void);
int audit_open(void)
{
    armed = waiting = false;
    errno = EPROTONOSUPPORT;
    return -1;
}

/* the module's log */
void pam_syslog(const pam_handle_t *pamh, int priority, const char *format, ...);
void pam_syslog(const pam_handle_t *pamh, int priority, const char *format, ...)
{
    (void)pamh;
    bool was = armed;
    armed = false;
    va_list arguments;
    va_start(arguments, format);
    fprintf(output, "log %d ", LOG_PRI(priority));
    vfprintf(output, format, arguments);
    fputc('\n', output);
    fflush(output);
    va_end(arguments);
    armed = was;
}

/* ---- what a guest must leave as it was ---- */

enum { FDS = 64, SIGNALS = 64 };

struct self {
    struct sigaction actions[SIGNALS + 1];
    sigset_t mask;
    mode_t umask;
    char directory[512];
    uid_t ids[6];
    char environment[4096];
    char fds[FDS][128];
    struct rlimit limits[RLIM_NLIMITS];
    struct itimerval timer;
    int threads, children, dumpable, death, new_privileges;
    long session;
};

static int count_lines(const char *path, const char *start)
{
    char line[256];
    int value = -1;
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file))
        if (strncmp(line, start, strlen(start)) == 0)
            value = (int)strtol(line + strlen(start), NULL, 10);
    if (file)
        fclose(file);
    return value;
}

static void look(struct self *self)
{
    extern char **environ;
    *self = (struct self){0};
    for (int i = 1; i <= SIGNALS; i++)
        (void)sigaction(i, NULL, &self->actions[i]);
    sigprocmask(SIG_SETMASK, NULL, &self->mask);
    self->umask = umask(0);
    umask(self->umask);
    (void)!getcwd(self->directory, sizeof(self->directory));
    (void)getresuid(&self->ids[0], &self->ids[1], &self->ids[2]);
    (void)getresgid(&self->ids[3], &self->ids[4], &self->ids[5]);
    for (char **entry = environ; *entry; entry++)
        if (strlen(self->environment) + strlen(*entry) + 2 < sizeof(self->environment))
            strcat(strcat(self->environment, *entry), "\n");
    for (int fd = 0; fd < FDS; fd++) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        (void)!readlink(path, self->fds[fd], sizeof(self->fds[fd]) - 1);
    }
    for (int i = 0; i < RLIM_NLIMITS; i++)
        (void)getrlimit((__rlimit_resource_t)i, &self->limits[i]);
    getitimer(ITIMER_REAL, &self->timer);
    self->threads = count_lines("/proc/self/status", "Threads:");
    self->children = waitpid(-1, NULL, WNOHANG | WNOWAIT) == -1 && errno == ECHILD ? 0 : 1;
    self->dumpable = prctl(PR_GET_DUMPABLE);
    prctl(PR_GET_PDEATHSIG, &self->death);
    self->new_privileges = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    self->session = (long)getsid(0) << 20 | getpgrp();
}

static void compare(const struct self *a, const struct self *b)
{
#define SAME(what)                                                                                                     \
    if (memcmp(&a->what, &b->what, sizeof(a->what)) != 0)                                                              \
    fprintf(output, "changed " #what "\n")
    for (int i = 1; i <= SIGNALS; i++)
        if (a->actions[i].sa_handler != b->actions[i].sa_handler || a->actions[i].sa_flags != b->actions[i].sa_flags)
            fprintf(output, "changed signal %d\n", i);
    for (int i = 0; i < FDS; i++)
        if (strcmp(a->fds[i], b->fds[i]) != 0)
            fprintf(output, "changed descriptor %d: %s, %s\n", i, a->fds[i], b->fds[i]);
    for (int i = 1; i <= SIGNALS; i++)
        if (sigismember(&a->mask, i) != sigismember(&b->mask, i))
            fprintf(output, "changed mask of %d\n", i);
    SAME(umask);
    SAME(directory);
    SAME(ids);
    SAME(environment);
    SAME(limits);
    SAME(timer);
    SAME(threads);
    SAME(children);
    SAME(dumpable);
    SAME(death);
    SAME(new_privileges);
    SAME(session);
}

/* ---- the application ---- */

static const char *conversation = "enter", *enter_file;

static int converse(int count, const struct pam_message **messages, struct pam_response **ret, void *data)
{
    (void)data;
    bool was = armed;
    armed = false;
    int result = strcmp(conversation, "error") == 0 ? PAM_CONV_ERR : PAM_SUCCESS;
    struct pam_response *responses = calloc((size_t)count, sizeof(*responses));
    bool waits = false;
    for (int i = 0; i < count; i++) {
        fprintf(output, "asked %d ", messages[i]->msg_style);
        for (const char *p = messages[i]->msg; *p; p++)
            fprintf(output, "%02x", (unsigned char)*p);
        fputc('\n', output);
        bool prompt = messages[i]->msg_style == PAM_PROMPT_ECHO_OFF || messages[i]->msg_style == PAM_PROMPT_ECHO_ON;
        if (prompt && result == PAM_SUCCESS && strcmp(conversation, "eof") != 0)
            responses[i].resp = strdup("typed in vain");
        waits = waits || prompt;
    }
    fflush(output);
    while (waits && enter_file && access(enter_file, F_OK) != 0)
        usleep(20000);
    armed = was;
    if (result == PAM_SUCCESS)
        *ret = responses;
    else
        free(responses);
    return result;
}

static void on_child(int number)
{
    (void)number;
}

static void reap_all(int number)
{
    (void)number;
    int saved = errno;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    errno = saved;
}

static void set_sigchld(const char *how)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    if (strcmp(how, "ignore") == 0)
        action.sa_handler = SIG_IGN;
    else if (strcmp(how, "handler") == 0)
        action.sa_handler = on_child;
    else if (strcmp(how, "reap") == 0)
        action.sa_handler = reap_all;
    else if (strcmp(how, "nocldwait") == 0)
        action.sa_flags = SA_NOCLDWAIT;
    sigaction(SIGCHLD, &action, NULL);
}

static int flags;

static void phase(pam_handle_t *pamh, const char *name)
{
    struct self before, after;
    int code = -1;
    look(&before);
    counted = 0;
    (void)getpwnam("root"); /* glibc's own state is there: it does not survive each failure to make it */
    waiting = *failing != '\0';
    if (strcmp(name, "auth") == 0)
        code = pam_authenticate(pamh, flags);
    else if (strcmp(name, "account") == 0)
        code = pam_acct_mgmt(pamh, flags);
    else if (strcmp(name, "open") == 0)
        code = pam_open_session(pamh, flags);
    else if (strcmp(name, "close") == 0)
        code = pam_close_session(pamh, flags);
    else if (strcmp(name, "setcred") == 0)
        code = pam_setcred(pamh, flags | PAM_ESTABLISH_CRED);
    armed = waiting = false;
    look(&after);
    if (*failing)
        fprintf(output, "calls %d\n", counted);
    failing = "";
    compare(&before, &after);
    char **list = pam_getenvlist(pamh);
    for (char **entry = list; entry && *entry; free(*entry++))
        fprintf(output, "pamenv %s\n", *entry);
    free(list);
    fprintf(output, "phase %s %d\n", name, code);
    fflush(output);
}

static bool option(pam_handle_t *pamh, const char *word, const char *name, const char **ret)
{
    (void)pamh;
    size_t length = strlen(name);
    if (strncmp(word, name, length) != 0 || word[length] != '=')
        return false;
    *ret = word + length + 1;
    return true;
}

static void one_word(pam_handle_t *pamh, const char *word)
{
    const char *value;
    static const struct pam_conv none = {0}, some = {.conv = converse};
    if (option(pamh, word, "conv", &value)) {
        conversation = value;
        pam_set_item(pamh, PAM_CONV, strcmp(value, "none") == 0 ? &none : &some);
    } else if (option(pamh, word, "silent", &value)) {
        flags = strcmp(value, "yes") == 0 ? (int)PAM_SILENT : 0;
    } else if (option(pamh, word, "sigchld", &value)) {
        set_sigchld(value);
    } else if (option(pamh, word, "close", &value)) {
        for (; *value; value++)
            if (*value >= '0' && *value <= '9')
                close(*value - '0');
    } else if (option(pamh, word, "user", &value)) {
        pam_set_item(pamh, PAM_USER, value);
    } else if (option(pamh, word, "rhost", &value)) {
        pam_set_item(pamh, PAM_RHOST, value);
    } else if (option(pamh, word, "tty", &value)) {
        pam_set_item(pamh, PAM_TTY, value);
    } else if (option(pamh, word, "env", &value)) {
        pam_putenv(pamh, value);
    } else if (option(pamh, word, "wait", &value)) {
        enter_file = *value ? value : NULL;
    } else if (option(pamh, word, "fail", &value)) {
        static char call[32];
        snprintf(call, sizeof(call), "%.*s", (int)strcspn(value, ":"), value);
        failing = call;
        countdown = (int)strtol(strchr(value, ':') + 1, NULL, 10);
    } else {
        phase(pamh, word);
    }
}

int main(int argc, char **argv)
{
    pam_handle_t *pamh = NULL;
    static const struct pam_conv some = {.conv = converse};
    int copy = fcntl(1, F_DUPFD_CLOEXEC, 40);
    output = fdopen(copy, "w");
    if (argc < 5 || !output || pam_start_confdir(argv[2], argv[3], &some, argv[1], &pamh) != PAM_SUCCESS)
        return 2;
    for (int i = 4; i < argc; i++)
        one_word(pamh, argv[i]);
    pam_end(pamh, 0);
    fprintf(output, "end\n");
    fclose(output);
    return 0;
}
