/* What may block is done elsewhere: reading a file (NFS) and running a program that the user configured. A small
 * process, forked before there is any secret or any thread, forks once more per job; the agent reads the result from a
 * pipe under a deadline and has the job killed when it passes. */
#pragma once

#include "loop/loop.h"
#include "span.h"

struct worker;
struct worker_job;

/* error: 0; -ETIMEDOUT; -EMSGSIZE; for files -ENOENT, -EACCES (readable by others or not ours: `problem` says), -EINVAL
 * (not a regular file); for programs -ECHILD (it failed; `problem` says how it ended). Output lives during the call. */
struct worker_result {
    int error;
    const char *problem; /* a sentence for the message; never output of the program */
    struct span output;
};
typedef void worker_fn(void *arg, const struct worker_result *);

enum worker_rule {
    WORKER_SECRET_FILE, /* regular, owned by us or root, no access for others */
    WORKER_PUBLIC_FILE, /* regular; owned by us or root and not writable by others */
};

int worker_new(struct loop *, struct worker **ret); /* forks; call it before anything else is set up */
struct worker *worker_free(struct worker *);        /* ends the process; always NULL */
int worker_read(struct worker *, const char *path, enum worker_rule, size_t maximum, int64_t timeout_ms, worker_fn *,
                void *arg, struct worker_job **ret);
/* argv[0] is found through the PATH of the agent's environment; stdin is /dev/null, stderr is dropped. */
int worker_run(struct worker *, char *const argv[], size_t maximum, int64_t timeout_ms, worker_fn *, void *arg,
               struct worker_job **ret);
void worker_cancel(struct worker_job *);
