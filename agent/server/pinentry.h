/* One conversation with pinentry: shows a text, and asks whether to allow it. Pure: bytes that it said go in, bytes to
 * say come out. It is asked one thing at a time; whatever is not a clear yes is none. */
#pragma once

#include "buffer.h"
#include "limits.h"

struct pinentry_question {
    const char *program;     /* the path of who asks; shown cleaned and cut, like all of these */
    const char *application; /* what it calls itself, "" */
    const char *profile;
    const char *account;  /* "" */
    const char *terminal; /* where a person may be asked who has no display; "": not there */
    const char *locale;   /* of characters, "" */
    long pid;             /* 0: not known here */
    int timeout_s;
};

enum pinentry_verdict { PINENTRY_TALKS, PINENTRY_ALLOWED, PINENTRY_DENIED, PINENTRY_TIMEOUT, PINENTRY_BROKEN };

/* Zeroed, but for the question, whose texts live as long. */
struct pinentry {
    const struct pinentry_question *question;
    int step; /* of the table in pinentry.c */
    size_t heard;
    struct buffer in;
    char problem[LIMIT_TEXT]; /* BROKEN: what was wrong, a sentence */
};

/* Takes what pinentry said, and appends to `say` what it is to be told. */
enum pinentry_verdict pinentry_hear(struct pinentry *, struct span bytes, struct buffer *say);
void pinentry_clear(struct pinentry *);
