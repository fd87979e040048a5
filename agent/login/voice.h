/* How the sign-in helper tells what happens: to the module by lines (lines.h), or to a person at a terminal. An attempt
 * (attempt.h) says everything through one of these, and nothing in another way but by the log. */
#pragma once

#include "buffer.h"
#include "grant/grant.h"
#include "login/wanted.h"

/* Why there is no sign-in: the contract with the module (pam_mltoken(8)), which lets a password in its place for
 * `unreachable` alone. */
enum failing {
    FAILING_CONFIG,      /* the file or the profile is wrong */
    FAILING_UNREACHABLE, /* the authority never answered anything */
    FAILING_DENIED,      /* the person said no */
    FAILING_EXPIRED,     /* nobody entered the code in its time */
    FAILING_REFUSED,     /* whatever else the authority answered */
    FAILING_UNTRUSTED,   /* the id_token proves nothing */
    FAILING_TIMEOUT,     /* --max-wait is over */
    FAILING_INTERNAL,
};
const char *failing_name(enum failing);

/* Each is 0, or a negative errno: nobody listens any more. */
struct voice {
    int (*prompt)(void *arg, const struct prompt_step *, int64_t life_s);
    int (*pending)(void *arg);
    int (*done)(void *arg, struct buffer *line); /* the whole line; the caller wipes it */
    int (*fail)(void *arg, enum failing, const char *text);
    void *arg;
};

/* The module's. What it says goes to standard output as the module takes it, which may be busy with a conversation for
 * as long as the whole sign-in may last; the end of standard input ends the waiting for that. */
struct voice voice_lines(const struct wanted *);
