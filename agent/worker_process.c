#include "worker_protocol.h"

#include "cleanup.h"
#include "executable.h"
#include "limits.h"
#include "reader.h"
#include "seal.h"
#include "signer.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { WORKER_FD = 3 };

/* One thread, no secrets but in passing: it forks, waits and reports. The jobs themselves do what may block. */
struct job {
    uint64_t id;
    pid_t pid;
};
static struct job jobs[WORKER_PROCESSES];

static struct job *job_of(pid_t pid)
{
    for (size_t i = 0; i < ELEMENTS(jobs); i++)
        if (jobs[i].pid == pid)
            return &jobs[i];
    return NULL;
}

static enum reader_exit read_file(const char *path, enum worker_rule rule, int to)
{
    _cleanup_close_ int fd = -1;
    enum reader_exit verdict = reader_open(path, rule, &fd);
    if (verdict != READER_OK || rule == WORKER_PRESENT_FILE)
        return verdict;
    char bytes[8192];
    ssize_t n;
    while ((n = read(fd, bytes, sizeof(bytes))) > 0)
        for (ssize_t done = 0, w; done < n; done += w)
            if ((w = write(to, bytes + done, (size_t)(n - done))) < 0)
                return READER_FAILED;
    explicit_bzero(bytes, sizeof(bytes));
    return n < 0 ? READER_FAILED : READER_OK;
}

/* Its standard output is `to`, and so is its input when it is talked with. */
static void run_program(char *text, size_t length, bool talk, int to)
{
    char *words[WORKER_TEXT / 2 + 1];
    size_t count = 0;
    for (size_t at = 0; at < length; at += strlen(text + at) + 1)
        words[count++] = text + at;
    words[count] = NULL;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (count == 0 || null < 0 || dup2(talk ? to : null, 0) < 0 || dup2(to, 1) < 0 || dup2(null, 2) < 0)
        _exit(126);
    close_range(3, ~0U, 0);
    execvp(words[0], words);
    _exit(errno == ENOENT ? 127 : 126);
}

static enum reader_exit derive(const char *text, size_t length, int to)
{
    uint8_t seed[SEAL_SEED];
    if (length < SEAL_PARAMETERS)
        return READER_FAILED;
    const struct span passphrase = {text + SEAL_PARAMETERS, length - SEAL_PARAMETERS};
    bool written = seal_derive((const uint8_t *)text, passphrase, seed) == 0 &&
                   write(to, seed, sizeof(seed)) == (ssize_t)sizeof(seed);
    explicit_bzero(seed, sizeof(seed));
    return written ? READER_OK : READER_FAILED;
}

static int64_t changed_ms(const char *path, int flags)
{
    struct stat st;
    if (fstatat(AT_FDCWD, path, &st, flags) < 0)
        return 0;
    return (int64_t)st.st_ctim.tv_sec * 1000 + st.st_ctim.tv_nsec / 1000000;
}

static enum reader_exit newest(const char *text, size_t length, int to)
{
    int64_t last = 0;
    for (size_t at = 0; at < length; at += strlen(text + at) + 1) {
        const int64_t times[] = {changed_ms(text + at, 0), changed_ms(text + at, AT_SYMLINK_NOFOLLOW)};
        for (size_t i = 0; i < ELEMENTS(times); i++)
            last = times[i] > last ? times[i] : last;
    }
    return dprintf(to, "%lld", (long long)last) > 0 ? READER_OK : READER_FAILED;
}

static int work(const struct worker_request *request, const char *text, size_t length, int to)
{
    if (request->order == WORKER_COMPARE)
        return (int)executable_compare((pid_t)request->rule, text, length);
    if (request->order == WORKER_SIGN)
        return signer_run(text, length, to);
    if (request->order == WORKER_PAIR)
        return signer_run_pair(text, length, to);
    if (request->order == WORKER_NEWEST)
        return (int)newest(text, length, to);
    return (int)(request->order == WORKER_READ ? read_file(text, (enum worker_rule)request->rule, to)
                                               : derive(text, length, to));
}

static void job_process(const struct worker_request *request, pid_t worker, char *text, size_t length, int to)
{
    sigset_t none;
    sigemptyset(&none);
    if (request->order != WORKER_TALK || setsid() < 0) /* no terminal of ours may stop one that asks on another */
        (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != worker) /* it went before that was set */
        _exit(126);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    for (int number = 1; number < SIGRTMIN; number++) /* whatever whoever started the agent had ignored */
        (void)signal(number, SIG_DFL);
    if (request->order != WORKER_RUN && request->order != WORKER_TALK) {
        to = dup2(to, WORKER_FD); /* a reader that hangs must not keep the worker's socket open */
        close_range(WORKER_FD + 1, ~0U, 0);
        _exit(work(request, text, length, to));
    }
    run_program(text, length, request->order == WORKER_TALK, to);
}

static void report(int socket, uint64_t id, int status)
{
    struct worker_reply reply = {.id = id, .status = status};
    (void)!send(socket, &reply, sizeof(reply), MSG_NOSIGNAL);
}

static void start_job(int socket, const struct worker_request *request, char *text, size_t length, int to)
{
    struct job *job = job_of(0);
    pid_t worker = getpid(), pid = job ? fork() : -1;
    if (pid == 0)
        job_process(request, worker, text, length, to);
    if (pid < 0)
        report(socket, request->id, 126 << 8);
    else
        *job = (struct job){.id = request->id, .pid = pid};
}

static void kill_job(uint64_t id, int signal)
{
    for (size_t i = 0; i < ELEMENTS(jobs); i++)
        if (jobs[i].pid && jobs[i].id == id && kill(-jobs[i].pid, signal) < 0)
            (void)kill(jobs[i].pid, signal); /* it has not made its group yet */
}

/* One request, or the end: when the agent is gone, so are we and (by PDEATHSIG) the jobs. */
static void take_request(int socket)
{
    struct worker_request request;
    char text[WORKER_TEXT + 1];
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec parts[] = {{&request, sizeof(request)}, {text, WORKER_TEXT}};
    struct msghdr message = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = control.space, .msg_controllen = sizeof(control.space)};
    ssize_t n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (n < (ssize_t)sizeof(request))
        _exit(0);
    size_t length = (size_t)n - sizeof(request);
    text[length] = '\0';
    _cleanup_close_ int to = -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_type == SCM_RIGHTS)
        memcpy(&to, CMSG_DATA(header), sizeof(to));
    if (request.order == WORKER_KILL)
        kill_job(request.id, (int)request.rule);
    else
        start_job(socket, &request, text, length, to);
    explicit_bzero(text, length);
}

static void reap(int socket)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        struct job *job = job_of(pid);
        if (!job)
            continue;
        report(socket, job->id, status);
        *job = (struct job){0};
    }
}

void worker_process(int socket)
{
    sigset_t children, all;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigfillset(&all);
    socket = dup2(socket, WORKER_FD);
    close_range(WORKER_FD + 1, ~0U, 0); /* the agent's listeners and loop are not ours */
    (void)fcntl(socket, F_SETFD, FD_CLOEXEC);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)prctl(PR_SET_NAME, "mltoken-worker");
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    int signals = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    struct pollfd polls[] = {{.fd = socket, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    if (signals < 0)
        _exit(1);
    for (;;) {
        struct signalfd_siginfo info;
        if (poll(polls, 2, -1) < 0 && errno != EINTR)
            _exit(1);
        if (polls[0].revents) /* first: one that is to be killed with its group must not be forgotten before */
            take_request(socket);
        else if (polls[1].revents && read(signals, &info, sizeof(info)) > 0)
            reap(socket);
    }
}
