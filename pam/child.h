/* A program that is run beside the host: mltoken-pam-login as the system's user for it, mltoken-pam-import as the
 * person who signs in. struct child owns the process and its descriptors; child_end() leaves neither. What always
 * holds: the program starts with default signals, an empty environment but for PATH, the directory /, no descriptor but
 * 0 to 2, no way to more rights and none back to ours, and dies with us. The host keeps its signals: the one for ended
 * children is held back as long as the program runs, so that the host's handler does not take its end from us. Nothing
 * is waited for without a deadline, and only for our own child. */
#pragma once

#include "lines.h"
#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

struct child_plan {
    const char *const *argv; /* argv[0] is the file */
    bool become;             /* the next; else we stay who we are effectively */
    uid_t uid;
    gid_t gid;
    const gid_t *groups;
    size_t group_count;
    bool fed; /* its standard input is written to, not only held open */
    void (*said)(void *context, struct span line);
    void *context;
};

struct child {
    pid_t pid; /* 0: none */
    int in, out, log;
    struct lines lines;
    struct buffer log_line;
    unsigned said;
    const struct child_plan *plan;
    struct sigaction host_action;
    sigset_t host_mask;
    bool action_changed, mask_changed;
};

/* 0, or a negative errno and the step that failed. `plan` must outlive the child. */
int child_start(const struct child_plan *plan, struct child *ret, const char **ret_step);
/* Writes all of it, then ends its input. 0, -ETIMEDOUT, -EPIPE. */
int child_feed(struct child *, struct span bytes, int64_t deadline_ms);
/* 1: a line. 0: the end of its output. -ETIMEDOUT: nothing by then; others: its output is none (lines.h). */
int child_next(struct child *, int64_t deadline_ms, struct line *ret);
/* Tells it to stop, waits `grace_ms`, kills it. *ret_status is that of waitpid(). -ECHILD: the host took it from us. */
int child_end(struct child *, int64_t grace_ms, int *ret_status);
