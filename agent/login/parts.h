/* The parts of the agent that the sign-in helper is made of: loop, worker, HTTP, documents, a store in memory and the
 * conductor. No socket, no file, no cache that outlives it. */
#pragma once

#include "acquire/conductor.h"

struct parts {
    struct loop *loop;
    struct worker *worker;
    struct http *http;
    struct documents *documents;
    struct stores *stores;
    struct conductor *conductor;
};

/* Takes the configuration, whatever comes. A negative errno: what is there is for parts_close(). */
int parts_open(struct parts *, struct config *);
void parts_close(struct parts *);
/* Which class a failure is of, and a sentence for people: what the authority said is cleaned already. */
#define PARTS_TEXT (4 * LIMIT_TEXT)
void parts_explain(const struct failure *, char to[static PARTS_TEXT]);
