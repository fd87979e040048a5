#include "child.h"

#include "cleanup.h"
#include "clock.h"
#include "limits.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* What the child says when it could not become the program. */
struct failure {
    int error;
    int step;
};

enum step { STEP_NONE, STEP_PIPE, STEP_FORK, STEP_IDS, STEP_PARENT, STEP_LIMITS, STEP_FILES, STEP_EXEC };

static const char *const step_names[] = {[STEP_NONE] = "nothing",
                                         [STEP_PIPE] = "making pipes",
                                         [STEP_FORK] = "fork",
                                         [STEP_IDS] = "changing the user",
                                         [STEP_PARENT] = "tying it to its parent",
                                         [STEP_LIMITS] = "setting limits",
                                         [STEP_FILES] = "passing files",
                                         [STEP_EXEC] = "executing it"};

/* ---- in the child, between fork and exec: nothing but system calls ---- */

static __attribute__((noreturn)) void die(int status_fd, enum step step)
{
    struct failure failure = {.error = errno ? errno : EIO, .step = (int)step};
    (void)!write(status_fd, &failure, sizeof(failure));
    _exit(127);
}

static bool ids_are(uid_t uid, gid_t gid)
{
    uid_t ru, eu, su;
    gid_t rg, eg, sg;
    return getresuid(&ru, &eu, &su) == 0 && getresgid(&rg, &eg, &sg) == 0 && ru == uid && eu == uid && su == uid &&
           rg == gid && eg == gid && sg == gid;
}

static bool become(const struct child_plan *plan)
{
    uid_t uid = plan->become ? plan->uid : geteuid();
    gid_t gid = plan->become ? plan->gid : getegid();
    if (plan->become && setgroups(plan->group_count, plan->groups) < 0)
        return false;
    if (setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return false;
    errno = EPERM;
    return ids_are(uid, gid) && (uid == 0 || (setuid(0) < 0 && seteuid(0) < 0 && ids_are(uid, gid)));
}

static void forget_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++)
        (void)sigaction(number, &action, NULL);
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

struct ends {
    int in, out, log, status;
};

/* All of them are above the first few, so that none is overwritten before it is used. */
static bool pass_files(const struct ends *ends)
{
    return dup2(ends->in, 0) >= 0 && dup2(ends->out, 1) >= 0 && dup2(ends->log, 2) >= 0 &&
           dup3(ends->status, 3, O_CLOEXEC) >= 0 && close_range(4, UINT_MAX, 0) == 0;
}

static __attribute__((noreturn)) void run(const struct child_plan *plan, const struct ends *ends, pid_t parent)
{
    /* agent/login/surroundings.h */
    static const char *const environment[] = {"PATH=/usr/local/bin:/usr/bin:/bin",
                                              "GLIBC_TUNABLES=glibc.malloc.perturb=165:glibc.malloc.tcache_count=0",
                                              NULL};
    const struct rlimit none = {0, 0};
    forget_signals();
    (void)setsid();
    (void)umask(077);
    if (!become(plan))
        die(ends->status, STEP_IDS);
    /* behind the change of ids, which forgets it */
    errno = ESRCH;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        die(ends->status, STEP_PARENT);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0 || chdir("/") < 0)
        die(ends->status, STEP_LIMITS);
    if (!pass_files(ends))
        die(ends->status, STEP_FILES);
    execve(plan->argv[0], (char *const *)(uintptr_t)plan->argv, (char *const *)(uintptr_t)environment);
    die(3, STEP_EXEC);
}

/* ---- in the host ---- */

/* The host's handler, or its wish not to hear of ended children, would take the exit status from us. */
static void hold_signal(struct child *child)
{
    if (sigaction(SIGCHLD, NULL, &child->host_action) < 0)
        return;
    bool handled = (child->host_action.sa_flags & SA_SIGINFO) ||
                   (child->host_action.sa_handler != SIG_DFL && child->host_action.sa_handler != SIG_IGN);
    if (handled && !(child->host_action.sa_flags & SA_NOCLDWAIT)) {
        sigset_t one;
        sigemptyset(&one);
        sigaddset(&one, SIGCHLD);
        child->mask_changed = pthread_sigmask(SIG_BLOCK, &one, &child->host_mask) == 0;
    } else if (child->host_action.sa_handler != SIG_DFL || (child->host_action.sa_flags & SA_NOCLDWAIT)) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        child->action_changed = sigaction(SIGCHLD, &action, NULL) == 0;
    }
}

static void release_signal(struct child *child)
{
    if (child->action_changed)
        (void)sigaction(SIGCHLD, &child->host_action, NULL);
    if (child->mask_changed)
        (void)pthread_sigmask(SIG_SETMASK, &child->host_mask, NULL);
    child->action_changed = child->mask_changed = false;
}

/* A pair of descriptors that are none of 0 to 9, whatever the host has closed: [0] is read from. */
static int make_pair(int ends[static 2], bool both_ways)
{
    int low[2];
    if (both_ways ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, low) < 0 : pipe2(low, O_CLOEXEC) < 0)
        return -errno;
    int r = 0;
    for (int i = 0; i < 2; i++) {
        ends[i] = fcntl(low[i], F_DUPFD_CLOEXEC, 10);
        if (ends[i] < 0)
            r = -errno;
        close(low[i]);
    }
    for (int i = 0; i < 2 && r < 0; i++) {
        close_cleanup(&ends[i]);
        ends[i] = -1;
    }
    return r;
}

static int await_exec(int status_fd, const char **ret_step)
{
    struct failure failure = {0};
    ssize_t n;
    do
        n = read(status_fd, &failure, sizeof(failure));
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return 0;
    if (n != (ssize_t)sizeof(failure) || failure.step <= 0 || failure.step > STEP_EXEC || failure.error <= 0)
        return -EIO;
    *ret_step = step_names[failure.step];
    return -failure.error;
}

static void close_pairs(int pairs[static 4][2])
{
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 2; j++) {
            close_cleanup(&pairs[i][j]);
            pairs[i][j] = -1;
        }
}

/* `pairs`: input, output, log, status. */
static int start(struct child *child, int pairs[static 4][2], const char **ret_step)
{
    *ret_step = step_names[STEP_PIPE];
    for (int i = 0; i < 4; i++) {
        int r = make_pair(pairs[i], i == 0 && child->plan->fed);
        if (r < 0)
            return r;
    }
    *ret_step = step_names[STEP_FORK];
    const struct ends theirs = {pairs[0][0], pairs[1][1], pairs[2][1], pairs[3][1]};
    hold_signal(child);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        run(child->plan, &theirs, parent);
    if (pid < 0)
        return -errno;
    child->pid = pid;
    close(pairs[3][1]);
    pairs[3][1] = -1;
    return await_exec(pairs[3][0], ret_step);
}

int child_start(const struct child_plan *plan, struct child *ret, const char **ret_step)
{
    int pairs[4][2] = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
    *ret = (struct child){
        .in = -1, .out = -1, .log = -1, .lines = LINES, .log_line = BUFFER(LIMIT_LOG_VALUE), .plan = plan};
    int r = start(ret, pairs, ret_step);
    if (r == 0) {
        ret->in = TAKE_FD(pairs[0][1]);
        ret->out = TAKE_FD(pairs[1][0]);
        ret->log = TAKE_FD(pairs[2][0]);
        (void)fcntl(ret->log, F_SETFL, O_NONBLOCK);
    }
    close_pairs(pairs);
    if (r < 0) {
        int status;
        (void)child_end(ret, 0, &status);
    }
    return r;
}

int child_feed(struct child *child, struct span bytes, int64_t deadline_ms)
{
    while (bytes.length > 0) {
        ssize_t n = send(child->in, bytes.data, bytes.length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            bytes.data += n;
            bytes.length -= (size_t)n;
            continue;
        }
        int64_t left = deadline_ms - clock_boot_ms();
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        if (left <= 0)
            return -ETIMEDOUT;
        struct pollfd poll_fd = {.fd = child->in, .events = POLLOUT};
        (void)poll(&poll_fd, 1, (int)left);
    }
    return shutdown(child->in, SHUT_WR) < 0 ? -errno : 0;
}

static void say_line(struct child *child)
{
    if (child->log_line.length > 0 && child->said++ < LIMIT_PAM_SAID)
        child->plan->said(child->plan->context, buffer_span(&child->log_line));
    buffer_clear(&child->log_line);
}

/* What it says on its standard error; an endless line is cut, endless lines are dropped. */
static void read_log(struct child *child)
{
    char chunk[LIMIT_LINE_CHUNK];
    ssize_t n = read(child->log, chunk, sizeof(chunk));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        say_line(child);
        close(child->log);
        child->log = -1;
    }
    for (ssize_t i = 0; i < n; i++) {
        if (chunk[i] == '\n')
            say_line(child);
        else
            (void)buffer_byte(&child->log_line, chunk[i]);
    }
}

/* 0: the end. */
static int read_output(struct child *child)
{
    char chunk[LIMIT_LINE_CHUNK];
    ssize_t n = read(child->out, chunk, sizeof(chunk));
    if (n < 0)
        return errno == EINTR ? 1 : -errno;
    if (n == 0)
        return lines_partial(&child->lines) ? -EBADMSG : 0;
    int r = lines_feed(&child->lines, chunk, (size_t)n);
    explicit_bzero(chunk, sizeof(chunk));
    return r < 0 ? r : 1;
}

int child_next(struct child *child, int64_t deadline_ms, struct line *ret)
{
    for (bool looked = false;; looked = true) {
        int r = lines_next(&child->lines, ret);
        if (r != 0)
            return r;
        int64_t left = deadline_ms - clock_boot_ms();
        if (left <= 0 && looked)
            return -ETIMEDOUT;
        struct pollfd fds[] = {{.fd = child->out, .events = POLLIN}, {.fd = child->log, .events = POLLIN}};
        if (poll(fds, ELEMENTS(fds), left > 0 ? (int)left : 0) <= 0)
            continue;
        if (fds[1].revents)
            read_log(child);
        if (fds[0].revents) {
            r = read_output(child);
            if (r <= 0)
                return r;
        }
    }
}

/* Takes its end if it came: 1, 0 when it runs on, -ECHILD. */
static int reap(struct child *child, int flags, int *ret_status)
{
    pid_t pid;
    do
        pid = waitpid(child->pid, ret_status, flags);
    while (pid < 0 && errno == EINTR);
    return pid < 0 ? -errno : pid > 0;
}

static int wait_for(struct child *child, int64_t grace_ms, int *ret_status)
{
    int64_t deadline = clock_boot_ms() + grace_ms;
    for (;;) {
        int r = reap(child, WNOHANG, ret_status);
        if (r != 0)
            return r;
        if (clock_boot_ms() >= deadline)
            break;
        struct pollfd log = {.fd = child->log, .events = POLLIN};
        if (poll(&log, 1, 10) > 0)
            read_log(child);
    }
    (void)kill(child->pid, SIGKILL); /* it is ours and not waited for yet: nobody else has its number */
    return reap(child, 0, ret_status);
}

int child_end(struct child *child, int64_t grace_ms, int *ret_status)
{
    *ret_status = -1;
    close_cleanup(&child->in);
    int r = child->pid > 0 ? wait_for(child, grace_ms, ret_status) : -ECHILD;
    if (child->log >= 0)
        read_log(child); /* the rest, if it fits */
    close_cleanup(&child->out);
    close_cleanup(&child->log);
    lines_free(&child->lines);
    buffer_free(&child->log_line);
    release_signal(child);
    child->in = child->out = child->log = -1;
    child->pid = 0;
    return r < 0 ? r : 0;
}
