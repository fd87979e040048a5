/* A rotation: one flight of GRANT_ROTATE, at most one at a time for a profile. It goes on to its end when who asked for
 * it has gone, for a slot that is half made anew is of no use to anybody. */
#pragma once

#include "acquire/conductor.h"

/* Somebody who rotates a profile's slots. Embedded. */
struct rotation {
    struct flight *flight; /* NULL: none */
    /* slot: the one that is served now; NULL: it failed, and *why says which one is */
    void (*done)(void *arg, const char *slot, const struct failure *why);
    void *arg;
};
/* 0: done will be called; -1: *why. */
int conductor_rotate(struct conductor *, struct holder *, struct rotation *, struct failure *why);
void rotation_cancel(struct rotation *); /* the rotation goes on */

/* Called when a flight of ROTATE has ended. */
void rotation_landed(struct flight *, const char *slot, const struct failure *);
