/* A sign-in that was made elsewhere, handed to a profile of this user (PAM): one flight of IMPORT. It goes on to its
 * end when who brought it has gone, for the refresh token is nowhere else. What comes of it is what comes of a sign-in
 * here: durable before it is told, and the first token of the profile. Where the same person is signed in already, her
 * tokens stay, and nobody who watches is ended. */
#pragma once

#include "acquire/conductor.h"
#include "grant/importing.h"

/* Somebody who brings one. Embedded. */
struct import {
    struct flight *flight; /* NULL: none */
    /* why: NULL when it went well */
    void (*done)(void *arg, const struct failure *why);
    void *arg;
};

/* Takes the parcel in any case. 0: done will be called; -1: *why (Denied, NotSupported, Busy). */
int conductor_import(struct conductor *, struct holder *, const char *client_id, struct parcel *, struct import *,
                     struct failure *why);
void import_cancel(struct import *); /* the import goes on */

/* Called by the flight: is this the person that the profile knows? */
bool import_accepts(struct flight *, const struct identity *, struct failure *why);
/* Called when a flight of IMPORT has ended. */
void import_landed(struct flight *, struct tokens *, const struct failure *);
