/* One client. Reads whole messages within LIMIT_REQUEST and LIMIT_REQUEST_MS, hands them to the methods one at a time,
 * and writes replies; a client that dribbles, stalls, floods or sends garbage costs itself its connection or its time,
 * and nobody else anything. */
#pragma once

#include "buffer.h"
#include "limits.h"
#include "loop/loop.h"
#include "server/approval.h"
#include "server/audit.h"
#include "server/server.h"
#include <sys/types.h>

struct admission;
struct call;

struct server {
    struct loop *loop;
    struct conductor *conductor;
    struct listener {
        struct server *server;
        int fd;
        bool limited;
        struct watch watch;
        struct timer
            timer; /* runs while the listener is left alone for a moment: there is no room for another client */
        int64_t full_told_ms, foreign_told_ms; /* when it was last said */
    } listeners[2];
    size_t listener_count;
    struct connection *connections;
    size_t connection_count, watch_count;
    bool held;
    struct memo *memos;
    struct audit *audit;
    struct approvals *approvals;
    struct admission *admissions; /* the line of those whose program is to be looked at */
    size_t looks;                 /* ... and how many are looked at */
    struct task look_task;
    struct timer audit_timer;        /* runs while there are repeats to tell */
    char scratch[LIMIT_REQUEST + 1]; /* for reading; never holds anything between two events */
};

struct connection {
    struct server *server;
    struct connection *next, *previous;
    int fd;
    pid_t pid; /* of who connected; 0: not known here */
    struct audit_place audit;
    bool limited;
    bool processing; /* inside call_begin */
    bool ending;     /* closes from its task */
    uint32_t events;
    struct watch watch;
    struct timer deadline;
    struct timer turn;   /* runs while it has used up its turn: others come first, then it goes on */
    unsigned calls_left; /* in this turn */
    struct task task;    /* goes on with what is in the buffer, or closes */
    struct buffer in, out;
    struct span message; /* the one being handled; valid while `processing` */
    struct call *call;   /* the one under way; NULL: ready for the next */
};

void connection_new(struct server *, int fd, pid_t pid, bool limited); /* takes fd */
void connection_free(struct connection *);
/* Sends a whole message, NUL included: at once as far as it goes, the rest when the client reads. */
void connection_send(struct connection *, struct span message);
/* Goes on with the call, or with what is in the buffer, when everybody else has had a turn. */
void connection_yield(struct connection *);
/* Closes, from a task: whoever sends may still look at the connection. */
void connection_end(struct connection *);
/* The call is over: the next one may begin (from a task). */
void connection_ready(struct connection *);
/* Tells the audit that this client is being handed a token of that profile. `application`: its hint, or NULL. */
void connection_audit(struct connection *, const char *profile, const char *application, bool fetched);
/* ... that it was not given one, and why. */
void connection_audit_denied(struct connection *, const char *profile, const char *application, const char *reason);
/* Goes on with what is in the buffer, from a task. */
void connection_resume(struct connection *);
