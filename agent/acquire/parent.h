/* STEP_PARENT: the token of the profile that a flight's `parent` names, had from the conductor as any client would have
 * it, so that whoever wants the same at the time shares one flight. The parent's `confirm` and `allow` are for clients:
 * who may have the child's token is said by the child's own.
 *
 * The wait has an end of its own (PARENT_TIMEOUTS of the child's `timeout`). What the parent could not do is the
 * child's failure: it says which parent, and is remembered by that alone. A change of the parent's account or settings
 * drops what was made from its token (conductor_drop()). */
#pragma once

#include "acquire/conductor.h"

enum { PARENT_TIMEOUTS = 3 /* its metadata, its token, and some time for its store */ };

/* Embedded in a flight. */
struct parent_wait {
    struct waiter waiter;
    struct request request;
    struct buffer token; /* until the answer has been given */
};

void parent_start(struct flight *);
void parent_end(struct flight *); /* cancels, and wipes */
