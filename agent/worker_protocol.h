/* What agent and worker process say to each other over their socketpair: one fixed record a message. */
#pragma once

#include "limits.h"
#include "worker.h"
#include <stdint.h>

enum worker_order {
    WORKER_READ = 1,
    WORKER_RUN,
    WORKER_KILL,
    WORKER_TALK,
    WORKER_COMPARE,
    WORKER_DERIVE,
    WORKER_SIGN,
    WORKER_PAIR,
    WORKER_NEWEST
};

/* Agent to worker. For READ, RUN, COMPARE, DERIVE, SIGN, PAIR and NEWEST the write end of a pipe comes along
 * (SCM_RIGHTS), for TALK an end of a socketpair; the text follows the record: a path; paths, or the words of a command,
 * each ended by a NUL; the parameters of seal_derive() and behind them a passphrase, or what signer_write() or
 * signer_write_pair() made, a password behind it: both sides wipe them once they are sent and taken. */
struct worker_request {
    uint64_t id;
    uint32_t order;
    uint32_t rule; /* of KILL: the signal; of COMPARE: the process */
};
enum {
    WORKER_TEXT = 8192,
    WORKER_PROCESSES = 16 * LIMIT_JOBS, /* those included that were killed and have not ended yet */
};

/* Worker to agent, once a job's process has ended: its wait status. A reader's exit code is one of these, COMPARE's one
 * of enum executable_verdict. */
struct worker_reply {
    uint64_t id;
    int32_t status;
};
enum reader_exit {
    READER_OK,
    READER_MISSING,
    READER_UNREADABLE,
    READER_IRREGULAR,
    READER_FOREIGN,
    READER_TOO_OPEN,
    READER_LINKED,
    READER_FAILED,
    SIGNER_PROBLEM, /* what is wrong was written in place of the result */
};

/* The process: never returns. */
void worker_process(int socket) __attribute__((noreturn));
