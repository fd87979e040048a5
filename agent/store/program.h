/* What each program that keeps secrets does alike: it hardens itself, says hello, reads one request at a time from
 * descriptor 0, checks it, has it answered, writes the answer to descriptor 1, and ends with the stream. See
 * store/protocol.h. Requests and answers live in two blocks of memory that are locked where that is allowed, and that
 * are wiped after each request; what a request points to is valid until its function returns.
 *
 * A function answers its request exactly once, by one of store_answer_*(); one that does not is answered for, with
 * fail. Texts of a request have been checked: no function sees a profile, name or binding that is not of its form. */
#pragma once

#include "span.h"
#include <stdbool.h>
#include <stdint.h>

struct store_program;

struct store_request {
    const char *profile; /* list: NULL for all; unlock and lock: NULL */
    const char *name;    /* drop: NULL for all; list, unlock and lock: NULL */
    const char *binding; /* get and put */
    const char *after;   /* list: NULL from the first */
    bool expects;
    uint64_t expect;
    bool fresh;            /* unlock: new=1 */
    bool quiet;            /* ask=no */
    bool suspend, session; /* watch: one of them, or both */
    struct span value;     /* put: the secret; unlock: the passphrase; never empty there */
};

typedef void store_function(void *arg, const struct store_request *, struct store_program *);

/* One that is NULL is answered for, with fail of kind unsupported. */
struct store_functions {
    const char *name; /* as in mltoken-store-NAME */
    store_function *get, *put, *drop, *list, *unlock, *lock, *watch;
    /* Called before each read, by programs that have more to wait for: returns when descriptor 0 can be read. NULL. */
    void (*wait)(void *arg);
};

/* First thing in main(): hardening_apply(), and the memory for requests and answers. NULL: errno tells. */
struct store_program *store_program_new(const char *name);
/* Serves until the stream ends: 0, or a negative errno (-EBADMSG: the other side broke the protocol). */
int store_program_run(struct store_program *, const struct store_functions *, void *arg);
/* Are requests and answers in locked memory? One that holds secrets elsewhere says here that those are not. */
void store_program_unlocked(struct store_program *);
struct store_program *store_program_free(struct store_program *); /* always NULL */

/* version 0 is not said. The value is copied. */
void store_answer_ok(struct store_program *, uint64_t version, struct span value);
/* list: more is there than was told. */
void store_answer_more(struct store_program *, struct span value);
void store_answer_missing(struct store_program *);
void store_answer_bound(struct store_program *, uint64_t version);
void store_answer_conflict(struct store_program *, uint64_t version, struct span value);
/* kind as in protocol.h. The text is for a person: no secret, and no control character survives. */
void store_answer_fail(struct store_program *, const char *kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Goes with the answer to a list, for a person. A text that stays. */
void store_note(struct store_program *, const char *note);
/* watch: ok. `reason`: what does not work all the same, or "". */
void store_answer_watching(struct store_program *, const char *reason);
/* Something that was watched for. `reason` or NULL. */
void store_say_event(struct store_program *, const char *event, const char *reason);
/* No answer yet, but at once on the wire: a person is being asked. */
void store_say_waiting(struct store_program *, const char *reason);
