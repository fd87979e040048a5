/* Asking the authority about a token that the agent has: one flight of GRANT_INSPECT. */
#pragma once

#include "acquire/conductor.h"

struct json_object;

/* Somebody who wants to know. Embedded. */
struct inspection {
    struct flight *flight; /* NULL: none */
    /* claims: what the authority said, the callee's to reference; NULL: it failed, and *why says how */
    void (*done)(void *arg, struct json_object *claims, const struct failure *why);
    void *arg;
};
/* 0: done will be called; -1: *why. The token is copied. */
int conductor_inspect(struct conductor *, struct holder *, const char *token, struct inspection *, struct failure *why);
void inspection_cancel(struct inspection *);

/* Called when a flight of INSPECT has ended. */
void inspection_landed(struct flight *, struct json_object *claims, const struct failure *);
