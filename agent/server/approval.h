/* The questions to the person whose tokens these are: may this program have one, now? One is asked at a time, the
 * others wait in order; an answer is for one request alone, but a denial holds for its profile for a while, for those
 * that wait as well. Who does not wait any more takes its question back. Answers come from the loop, never from within
 * a call. */
#pragma once

#include "loop/loop.h"
#include "server/peer.h"
#include "token/failure.h"
#include "worker.h"

struct approvals;

struct question {                /* embedded; zeroed before its first use */
    struct approvals *approvals; /* NULL: not asked */
    struct question *next, *previous;
    pid_t pid; /* of who asks; 0: not known here */
    char executable[LIMIT_AUDIT_EXECUTABLE + 1];
    char application[LIMIT_APPLICATION + 1]; /* what it calls itself */
    char profile[LIMIT_PROFILE_NAME + 1];
    char account[LIMIT_TEXT];          /* "": nobody yet */
    char terminal[PEER_TERMINAL_SIZE]; /* "": it has none */
    /* NULL: it was allowed */
    void (*done)(void *arg, const struct failure *denied);
    void *arg;
};

/* Where a question is shown: borrowed, asked for at each one (it is configured), and how long an answer may take. */
typedef const char *approvals_program_fn(void *arg);

int approvals_new(struct loop *, struct worker *, approvals_program_fn *, void *arg, int64_t timeout_ms,
                  struct approvals **ret);
struct approvals *approvals_free(struct approvals *); /* nobody is told; always NULL */
/* 0; or -EACCES or -EBUSY with *why set, when nobody will be asked. */
int approvals_ask(struct approvals *, struct question *, struct failure *why);
void question_withdraw(struct question *); /* one that is not asked is allowed */
