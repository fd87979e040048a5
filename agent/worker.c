#include "worker.h"

#include "buffer.h"
#include "cleanup.h"
#include "limits.h"
#include "reader.h"
#include "seal.h"
#include "text.h"
#include "worker_protocol.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* A job is over when its process was reported and what it wrote was read (a program that it left behind may keep the
 * pipe open), or when its deadline has passed. One that nobody waits for any more stays in the ring, dying, until its
 * process was reported: so its end is asked for until the worker has heard it. */
struct worker_job {
    struct worker *worker;
    struct worker_job *next, *previous; /* in the worker's ring */
    uint64_t id;
    bool sent, ended, reported, dying, kill_due;
    bool hearing; /* inside `heard` */
    int signal;   /* that ends it */
    enum worker_order order;
    uint32_t rule;
    struct buffer text;
    int pipe; /* our end */
    int give; /* its end, until it was sent */
    int status;
    int64_t timeout_ms;
    struct watch watch;
    struct timer deadline;
    struct buffer input, output;
    int error;
    worker_heard_fn *heard; /* NULL: the output is kept */
    worker_fn *fn;
    void *arg;
};

struct worker {
    struct loop *loop;
    int socket;
    pid_t pid;
    struct watch watch;
    struct worker_job jobs;          /* the ring's head */
    size_t running, programs, dying; /* programs: those of `running` that are no readers */
    bool blocked;                    /* its socket is full */
    uint64_t last_id;
};

static struct worker_job *job_free(struct worker_job *job)
{
    job->next->previous = job->previous;
    job->previous->next = job->next;
    watch_stop(&job->watch);
    timer_stop(&job->deadline);
    close_cleanup(&job->pipe);
    close_cleanup(&job->give);
    buffer_free(&job->text);
    buffer_free(&job->input);
    buffer_free(&job->output);
    free(job);
    return NULL;
}

static bool is_program(const struct worker_job *job)
{
    return job->order == WORKER_RUN || job->order == WORKER_TALK;
}

static void on_grace(void *arg);

/* Nobody waits for it any more. */
static void job_end(struct worker_job *job)
{
    if (job->sent) {
        job->worker->running--;
        job->worker->programs -= is_program(job);
    }
    if (!job->sent || job->reported) {
        job_free(job);
        return;
    }
    watch_stop(&job->watch);
    timer_stop(&job->deadline);
    buffer_free(&job->input);
    buffer_free(&job->output);
    job->dying = job->kill_due = true;
    job->worker->dying++;
    struct loop *loop = job->worker->loop;
    bool gently = job->order == WORKER_TALK &&
                  timer_start(loop, &job->deadline, loop_now(loop) + LIMIT_JOB_GRACE_MS, on_grace, job) == 0;
    job->signal = gently ? SIGINT : SIGKILL;
}

/* The pipe is closed after that: a program that ends by itself then is not forgotten before its group is killed. */
static int send_kill(struct worker_job *job)
{
    struct worker_request request = {.id = job->id, .order = WORKER_KILL, .rule = (uint32_t)job->signal};
    if (send(job->worker->socket, &request, sizeof(request), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return -errno;
    job->kill_due = false;
    close_cleanup(&job->pipe);
    job->pipe = -1;
    return 0;
}

static void pump(struct worker *);

static void on_grace(void *arg)
{
    struct worker_job *job = arg;
    job->signal = SIGKILL;
    job->kill_due = true;
    pump(job->worker);
}

static bool says_problem(const struct worker_job *job)
{
    return (job->order == WORKER_SIGN || job->order == WORKER_PAIR) && WIFEXITED(job->status) &&
           WEXITSTATUS(job->status) == SIGNER_PROBLEM;
}

static void finish(struct worker_job *job)
{
    struct worker *worker = job->worker;
    char problem[LIMIT_TEXT] = "";
    struct worker_result result = {.error = job->error, .problem = problem, .output = buffer_span(&job->output)};
    if (job->error == -ETIMEDOUT) {
        (void)snprintf(problem, sizeof(problem), "it took more than %lld s", (long long)(job->timeout_ms / 1000));
    } else if (job->error == -EMSGSIZE) {
        (void)snprintf(problem, sizeof(problem), "it gave more than %zu bytes", job->output.maximum);
    } else if (job->error == 0 && job->status != 0) {
        if (job->order == WORKER_DERIVE) {
            result.error = -ENOMEM;
            result.problem = "Argon2id, which takes 256 MiB of memory, did not come to its end";
        } else if (says_problem(job)) {
            result.error = -EINVAL;
            text_clean_into(problem, sizeof(problem), result.output);
        } else if (job->order == WORKER_READ && WIFEXITED(job->status)) {
            result.problem = reader_verdict_text((enum reader_exit)WEXITSTATUS(job->status), &result.error);
        } else if (job->order == WORKER_COMPARE && WIFEXITED(job->status) &&
                   WEXITSTATUS(job->status) <= EXECUTABLE_GONE) {
            result.verdict = (enum executable_verdict)WEXITSTATUS(job->status);
        } else {
            result.error = -ECHILD;
            if (WIFEXITED(job->status) && WEXITSTATUS(job->status) == 127)
                (void)snprintf(problem, sizeof(problem), "there is no such program");
            else if (WIFEXITED(job->status))
                (void)snprintf(problem, sizeof(problem), "it exited with status %d", WEXITSTATUS(job->status));
            else
                (void)snprintf(problem, sizeof(problem), "it was ended by signal %d", WTERMSIG(job->status));
        }
    }
    worker_fn *fn = job->fn;
    job->fn = NULL;
    if (fn)
        fn(job->arg, &result);
    job_end(job);
    pump(worker);
}

static void abandon(struct worker_job *job, int error)
{
    job->error = error;
    finish(job);
}

static void on_deadline(void *arg)
{
    abandon(arg, -ETIMEDOUT);
}

/* 1: it took some; 0: there is nothing now, or no more (job->ended); or what is wrong (-ECANCELED: nobody waits). */
static int take_output(struct worker_job *job)
{
    char bytes[16384];
    ssize_t n = read(job->pipe, bytes, sizeof(bytes));
    if (n <= 0) {
        job->ended = n == 0 || (errno != EAGAIN && errno != EINTR);
        return 0;
    }
    int r = 0;
    if (job->heard) {
        job->hearing = true;
        job->heard(job->arg, (struct span){bytes, (size_t)n});
        job->hearing = false;
        r = job->fn ? 0 : -ECANCELED;
    } else {
        r = buffer_append(&job->output, bytes, (size_t)n);
    }
    explicit_bzero(bytes, (size_t)n);
    return r < 0 ? r : 1;
}

/* Writes what waits, as far as it goes. A program that reads no more is about to end, and its report tells. */
static void give_input(struct worker_job *job)
{
    ssize_t n = 1;
    while (job->input.length > 0 && n > 0) {
        n = send(job->pipe, job->input.data, job->input.length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            buffer_consume(&job->input, (size_t)n);
    }
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        buffer_clear(&job->input);
    if (job->watch.loop)
        (void)watch_modify(&job->watch, job->input.length ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void on_output(void *arg, uint32_t events)
{
    struct worker_job *job = arg;
    if (events & EPOLLOUT)
        give_input(job);
    int r = take_output(job);
    if (r < 0)
        abandon(job, r);
    else if (job->ended)
        watch_stop(&job->watch); /* its report will come */
}

static void on_report(struct worker_job *job, int status)
{
    struct worker *worker = job->worker;
    int r = 1;
    job->reported = true;
    job->status = status;
    if (job->dying) {
        worker->dying--;
        job_free(job);
        pump(worker);
        return;
    }
    while (!job->ended && r > 0)
        r = take_output(job);
    if (r < 0)
        abandon(job, r);
    else
        finish(job);
}

/* Hands one job to the process; -EAGAIN when its socket is full. */
static int send_job(struct worker_job *job)
{
    struct worker_request request = {.id = job->id, .order = job->order, .rule = job->rule};
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec parts[] = {{&request, sizeof(request)}, {job->text.data, job->text.length}};
    struct msghdr message = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = control.space, .msg_controllen = sizeof(control.space)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &job->give, sizeof(int));
    if (sendmsg(job->worker->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return -errno;
    close_cleanup(&job->give);
    job->give = -1;
    job->sent = true;
    buffer_free(&job->text);
    job->worker->running++;
    job->worker->programs += is_program(job);
    return 0;
}

static bool has_room(const struct worker *worker, const struct worker_job *job)
{
    if (worker->running + worker->dying >= WORKER_PROCESSES)
        return false;
    if (job->order == WORKER_DERIVE) /* whatever hangs: what is locked can be unlocked */
        return true;
    return worker->running < LIMIT_JOBS && (!is_program(job) || worker->programs < LIMIT_PROGRAMS);
}

/* Ends those that nobody waits for and starts those that have waited, as far as the socket takes it. */
static void pump(struct worker *worker)
{
    int r = 0;
    for (struct worker_job *job = worker->jobs.next; job != &worker->jobs && r == 0; job = job->next) {
        if (job->kill_due)
            r = send_kill(job);
        else if (!job->sent && has_room(worker, job))
            r = send_job(job);
    }
    bool blocked = r == -EAGAIN || r == -ENOBUFS;
    if (worker->watch.loop && blocked != worker->blocked &&
        watch_modify(&worker->watch, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN) == 0)
        worker->blocked = blocked;
}

static void on_reply(void *arg, uint32_t events)
{
    struct worker *worker = arg;
    struct worker_reply reply;
    if (events & EPOLLOUT)
        pump(worker);
    ssize_t n = recv(worker->socket, &reply, sizeof(reply), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n != sizeof(reply)) { /* without it no secret can be read: let the supervisor start us anew */
        watch_stop(&worker->watch);
        loop_stop(worker->loop, -EPIPE);
        return;
    }
    for (struct worker_job *job = worker->jobs.next; job != &worker->jobs; job = job->next) {
        if (job->id != reply.id)
            continue;
        on_report(job, reply.status);
        return;
    }
}

static int make_channel(const struct worker_job *job, int ret[static 2])
{
    return job->heard ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ret)
                      : pipe2(ret, O_CLOEXEC | O_NONBLOCK);
}

static int start(struct worker *worker, struct worker_job *model, size_t maximum, struct worker_job **ret)
{
    int pipes[2];
    struct worker_job *job = calloc(1, sizeof(*job));
    if (!job || make_channel(model, pipes) < 0) {
        int error = job ? -errno : -ENOMEM;
        free(job);
        buffer_free(&model->text);
        return error;
    }
    *job = *model;
    job->worker = worker;
    job->id = ++worker->last_id;
    job->input = BUFFER(LIMIT_JOB_INPUT);
    job->output = BUFFER(maximum);
    job->pipe = pipes[0];
    job->give = pipes[1];
    job->next = &worker->jobs;
    job->previous = worker->jobs.previous;
    job->previous->next = worker->jobs.previous = job;
    (void)fcntl(job->give, F_SETFL, 0); /* the job's end may block, ours not */
    int r = buffer_error(&job->text);
    if (r == 0)
        r = watch_start(worker->loop, &job->watch, job->pipe, EPOLLIN, on_output, job);
    if (r == 0)
        r = timer_start(worker->loop, &job->deadline, loop_now(worker->loop) + job->timeout_ms, on_deadline, job);
    if (r < 0) {
        job_free(job);
        return r;
    }
    pump(worker);
    *ret = job;
    return 0;
}

int worker_read(struct worker *worker, const char *path, enum worker_rule rule, size_t maximum, int64_t timeout_ms,
                worker_fn *fn, void *arg, struct worker_job **ret)
{
    struct worker_job model = {.order = WORKER_READ,
                               .rule = (uint32_t)rule,
                               .timeout_ms = timeout_ms,
                               .fn = fn,
                               .arg = arg,
                               .text = BUFFER(WORKER_TEXT)};
    buffer_append(&model.text, path, strlen(path) + 1);
    return start(worker, &model, maximum, ret);
}

int worker_run(struct worker *worker, char *const argv[], size_t maximum, int64_t timeout_ms, worker_fn *fn, void *arg,
               struct worker_job **ret)
{
    struct worker_job model = {
        .order = WORKER_RUN, .timeout_ms = timeout_ms, .fn = fn, .arg = arg, .text = BUFFER(WORKER_TEXT)};
    for (char *const *word = argv; *word; word++)
        buffer_append(&model.text, *word, strlen(*word) + 1);
    return start(worker, &model, maximum, ret);
}

int worker_derive(struct worker *worker, const uint8_t *parameters, struct span passphrase, worker_fn *fn, void *arg,
                  struct worker_job **ret)
{
    struct worker_job model = {
        .order = WORKER_DERIVE, .timeout_ms = LIMIT_DERIVE_MS, .fn = fn, .arg = arg, .text = BUFFER(WORKER_TEXT)};
    buffer_append(&model.text, parameters, SEAL_PARAMETERS);
    buffer_append(&model.text, passphrase.data, passphrase.length);
    return start(worker, &model, SEAL_SEED, ret);
}

int worker_sign(struct worker *worker, const struct signer *signer, struct span password, int64_t timeout_ms,
                worker_fn *fn, void *arg, struct worker_job **ret)
{
    struct worker_job model = {
        .order = WORKER_SIGN, .timeout_ms = timeout_ms, .fn = fn, .arg = arg, .text = BUFFER(WORKER_TEXT)};
    signer_write(signer, password, &model.text);
    return start(worker, &model, LIMIT_JWS, ret);
}

int worker_pair(struct worker *worker, const char *key_path, const char *certificate_path, struct span password,
                int64_t timeout_ms, worker_fn *fn, void *arg, struct worker_job **ret)
{
    struct worker_job model = {
        .order = WORKER_PAIR, .timeout_ms = timeout_ms, .fn = fn, .arg = arg, .text = BUFFER(WORKER_TEXT)};
    signer_write_pair(key_path, certificate_path, password, &model.text);
    return start(worker, &model, LIMIT_SECRET, ret);
}

int worker_talk(struct worker *worker, char *const argv[], int64_t timeout_ms, worker_heard_fn *heard, worker_fn *fn,
                void *arg, struct worker_job **ret)
{
    struct worker_job model = {.order = WORKER_TALK,
                               .timeout_ms = timeout_ms,
                               .heard = heard,
                               .fn = fn,
                               .arg = arg,
                               .text = BUFFER(WORKER_TEXT)};
    for (char *const *word = argv; *word; word++)
        buffer_append(&model.text, *word, strlen(*word) + 1);
    return start(worker, &model, 0, ret);
}

int worker_compare(struct worker *worker, pid_t pid, char *const paths[], int64_t timeout_ms, worker_fn *fn, void *arg,
                   struct worker_job **ret)
{
    struct worker_job model = {.order = WORKER_COMPARE,
                               .rule = (uint32_t)pid,
                               .timeout_ms = timeout_ms,
                               .fn = fn,
                               .arg = arg,
                               .text = BUFFER(WORKER_TEXT)};
    for (char *const *path = paths; *path; path++)
        buffer_append(&model.text, *path, strlen(*path) + 1);
    return start(worker, &model, 0, ret);
}

int worker_newest(struct worker *worker, char *const paths[], int64_t timeout_ms, worker_fn *fn, void *arg,
                  struct worker_job **ret)
{
    struct worker_job model = {
        .order = WORKER_NEWEST, .timeout_ms = timeout_ms, .fn = fn, .arg = arg, .text = BUFFER(WORKER_TEXT)};
    for (char *const *path = paths; *path; path++)
        buffer_append(&model.text, *path, strlen(*path) + 1);
    return start(worker, &model, LIMIT_CODE, ret);
}

int worker_say(struct worker_job *job, struct span bytes)
{
    int r = buffer_append(&job->input, bytes.data, bytes.length);
    if (r == 0)
        give_input(job);
    return r;
}

void worker_cancel(struct worker_job *job)
{
    if (!job || !job->fn)
        return;
    if (job->hearing) { /* ended once it has been heard */
        job->fn = NULL;
        return;
    }
    struct worker *worker = job->worker;
    job_end(job);
    pump(worker);
}

int worker_new(struct loop *loop, struct worker **ret)
{
    int pair[2];
    struct worker *worker = calloc(1, sizeof(*worker));
    if (!worker)
        return -ENOMEM;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        int error = -errno;
        free(worker);
        return error;
    }
    worker->pid = fork();
    if (worker->pid < 0) {
        int error = -errno;
        close(pair[0]);
        close(pair[1]);
        free(worker);
        return error;
    }
    if (worker->pid == 0) {
        close(pair[0]);
        worker_process(pair[1]);
    }
    close(pair[1]);
    worker->loop = loop;
    worker->socket = pair[0];
    worker->jobs.next = worker->jobs.previous = &worker->jobs;
    int r = watch_start(loop, &worker->watch, worker->socket, EPOLLIN, on_reply, worker);
    if (r < 0) {
        worker_free(worker);
        return r;
    }
    *ret = worker;
    return 0;
}

struct worker *worker_free(struct worker *worker)
{
    if (!worker)
        return NULL;
    while (worker->jobs.next != &worker->jobs)
        job_free(worker->jobs.next);
    watch_stop(&worker->watch);
    close(worker->socket); /* the process ends with its socket */
    (void)kill(worker->pid, SIGKILL);
    (void)waitpid(worker->pid, NULL, 0);
    free(worker);
    return NULL;
}
