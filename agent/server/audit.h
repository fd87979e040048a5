/* Who was handed whose tokens. The audit owns a bounded number of records, one for each use of a profile by a process
 * (pid, start time and executable: neither a reused pid nor what an exec() made of it is the same). The first use is
 * told at once, repeats are counted and told once an interval, and when the record goes. Beyond LIMIT_AUDIT_RECORDS the
 * oldest that was not used again lately makes room. It never sees a token. Time comes in as a parameter. */
#pragma once

#include "limits.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct audit;

/* One line, of tokens handed out or of requests denied: `fetched` of the `count` tokens had to be fetched or waited
 * for, the others were there. */
struct audit_line {
    const char *profile, *executable;
    const char *application; /* what the client calls itself: its own word, not cleaned; NULL: nothing */
    pid_t pid;
    uint64_t count, fetched;
    bool first;
    const char *denied; /* why none was handed out, the first time of `count`; NULL: they were */
};
typedef void audit_tell_fn(void *arg, const struct audit_line *);

/* Where a connection's last use is recorded: a record that went is noticed by its serial. Zeroed: nowhere. */
struct audit_place {
    uint64_t serial;
    uint32_t slot;
};

struct audit_use {
    pid_t pid; /* 0: not known */
    const char *profile, *application;
    bool fetched;
    const char *denied; /* why it was not given one; NULL: it was */
};

int audit_new(int64_t interval_ms, audit_tell_fn *, void *arg, struct audit **ret);
struct audit *audit_free(struct audit *); /* tells what was not told yet; always NULL */
/* Notes one token handed out, or denied. The process is looked up in /proc unless `place` knows it. */
void audit_note(struct audit *, struct audit_place *place, const struct audit_use *, int64_t now_ms);
/* When audit_tell() has something to say; -1: not at all as things stand. */
int64_t audit_due_ms(const struct audit *);
/* Tells the repeats if they are due. */
void audit_tell(struct audit *, int64_t now_ms);

/* The 22nd field of /proc/PID/stat: when the process began, in ticks. 0: cannot be read from this text. */
uint64_t audit_start_of(const char *stat);
