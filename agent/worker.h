/* What may block or take long is done elsewhere: reading a file (NFS), running a program that the user configured,
 * deriving a key from a passphrase, reading a private key and signing with it (the agent itself
 * holds one only while TLS needs it). A small process,
 * forked before there is any secret or any thread, forks once more per job; the agent reads the result from a pipe
 * under a deadline and has the job killed when it passes. */
#pragma once

#include "executable.h"
#include "loop/loop.h"
#include "signer.h"
#include "span.h"

struct worker;
struct worker_job;

/* error: 0; -ETIMEDOUT; -EMSGSIZE; for files -ENOENT, -EACCES (readable by others or not ours: `problem` says), -EINVAL
 * (not a regular file), -ELOOP (a symbolic link, where none may be); for programs -ECHILD (it failed; `problem` says
 * how it ended). Output lives during the call. */
struct worker_result {
    int error;
    const char *problem;             /* a sentence for the message; never output of the program */
    enum executable_verdict verdict; /* of worker_compare() */
    struct span output;
};
typedef void worker_fn(void *arg, const struct worker_result *);
typedef void worker_heard_fn(void *arg, struct span);

enum worker_rule {
    WORKER_SECRET_FILE,  /* regular, owned by us or root, no access for others */
    WORKER_PUBLIC_FILE,  /* regular; owned by us or root and not writable by others */
    WORKER_PLACED_FILE,  /* regular, anybody's, at this very path: no part of it is a symbolic link */
    WORKER_PRESENT_FILE, /* whether it is there, regular, and may be looked at: its bytes are not read */
};

int worker_new(struct loop *, struct worker **ret); /* forks; call it before anything else is set up */
struct worker *worker_free(struct worker *);        /* ends the process; always NULL */
int worker_read(struct worker *, const char *path, enum worker_rule, size_t maximum, int64_t timeout_ms, worker_fn *,
                void *arg, struct worker_job **ret);
/* argv[0] is found through the PATH of the agent's environment; stdin is /dev/null, stderr is dropped. */
int worker_run(struct worker *, char *const argv[], size_t maximum, int64_t timeout_ms, worker_fn *, void *arg,
               struct worker_job **ret);
/* Whether a process runs one of these programs (absolute paths, NULL at the end): `verdict` when there is no error. */
int worker_compare(struct worker *, pid_t, char *const paths[], int64_t timeout_ms, worker_fn *, void *arg,
                   struct worker_job **ret);
/* When the last change was of these files (absolute paths, NULL at the end) or of what leads to them as a link: epoch
 * in ms, as decimal digits; 0 when there are none. */
int worker_newest(struct worker *, char *const paths[], int64_t timeout_ms, worker_fn *, void *arg,
                  struct worker_job **ret);
/* A program that is talked with: it reads what worker_say() gives it from its standard input, and `heard` is told at
 * once what it writes (there is no output at the end). It may be cancelled from there. A person may be looking at what
 * it shows: its end is a SIGINT, and a SIGKILL if that did not do. */
int worker_talk(struct worker *, char *const argv[], int64_t timeout_ms, worker_heard_fn *heard, worker_fn *, void *arg,
                struct worker_job **ret);
/* 0, -EMSGSIZE (it does not read), -ENOMEM. The bytes are wiped once they are written. */
int worker_say(struct worker_job *, struct span);
/* seal_derive(): `output` is the seed. -ENOMEM: it did not come to its end, most likely for want of memory. It waits
 * for no other job.
 */
int worker_derive(struct worker *, const uint8_t *parameters, struct span passphrase, worker_fn *, void *arg,
                  struct worker_job **ret);
/* signer.h: `output` is the assertion; -EINVAL: it could not be made, and `problem` says why. */
int worker_sign(struct worker *, const struct signer *, struct span password, int64_t timeout_ms, worker_fn *,
                void *arg, struct worker_job **ret);
/* signer.h: `output` is a key pair (key_pair_write()); errors as with worker_sign(). */
int worker_pair(struct worker *, const char *key_path, const char *certificate_path, struct span password,
                int64_t timeout_ms, worker_fn *, void *arg, struct worker_job **ret);
void worker_cancel(struct worker_job *);
