/* A store program's process and its stream of frames (store/protocol.h): started with one socket, an environment of
 * its own and its standard error (store/said.h); ended without waiting for it. Embedded in whoever speaks to it, which
 * owns it.
 *
 * What comes in may end the program, and with it what is in `in`: a frame is taken out before anybody acts on it. */
#pragma once

#include "buffer.h"
#include "loop/loop.h"
#include "store/protocol.h"
#include "store/said.h"

enum { CHILD_CORPSES = 4 /* programs that were ended and are not gone: what they wait for never comes */ };

/* A program that was ended, until the kernel has done so. */
struct corpse {
    struct watch watch;
    struct timer grace;
    struct said *said;
    int pidfd;
    pid_t pid;
};

struct child {
    struct loop *loop;
    int fd, pidfd; /* -1: it does not run */
    pid_t pid;
    struct watch on_bytes, on_end;
    struct said *said; /* NULL: its standard error is nobody's */
    struct buffer in, out;
    size_t sent;
    struct corpse corpses[CHILD_CORPSES];
};

void child_init(struct child *, struct loop *);
bool child_runs(const struct child *);
/* Whether there is a place for one more that will have to be ended. */
bool child_may_start(const struct child *);
/* `setting`: "NAME=value" that it gets beside the agent's own environment, or NULL. on_bytes: it wrote, or can be
 * written to; on_end: it has ended, and what it wrote before may still be read. 0 or a negative errno. */
int child_start(struct child *, const char *path, const char *setting, watch_fn *on_bytes, watch_fn *on_end, void *arg);
/* Ends it. `gently`: it is waiting for a person, and may close the window first, for a moment. */
void child_end(struct child *, bool gently);
/* It reads the end of its stream, and may finish what it is at, for a moment. `gently`: as above. */
void child_free(struct child *, bool gently);

/* Reads some: 1, 0 when nothing was there, -ENOMEM, or another negative errno when nothing will come any more. */
int child_receive(struct child *);
/* Takes the first whole frame out: 1 and *ret, which points into *ret_bytes (to be freed); 0 when there is none; or
 * -EBADMSG. */
int child_take(struct child *, struct buffer *ret_bytes, struct store_frame *ret);
/* Sends a frame; the one before must have been sent. 0, or -EMSGSIZE, -EINVAL, -ENOMEM as nothing was. */
int child_send(struct child *, const struct store_field *, size_t count, struct span value);
/* Goes on with it, when it can be written to. */
void child_send_more(struct child *);
