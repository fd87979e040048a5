/* The lines of the Assuan protocol, client's side (libassuan's manual, "Client requests" and "Server responses"): what
 * pinentry speaks. Pure, and bounded: a line has ASSUAN_LINE bytes at most, in both directions. */
#pragma once

#include "buffer.h"
#include "span.h"

enum { ASSUAN_LINE = 1000 /* without its newline */ };

/* Appends one command; of its argument (NULL: none) what would end or steer a line is escaped. 0; -EMSGSIZE: it does
 * not fit into a line, and nothing was appended; -ENOMEM. */
int assuan_command(struct buffer *, const char *command, const char *argument);

enum assuan_kind {
    ASSUAN_MORE,    /* no whole line is there */
    ASSUAN_OK,      /* what was asked is done */
    ASSUAN_ERROR,   /* it is not: `code` and `text` */
    ASSUAN_ASIDE,   /* status, data, comments: no answer yet */
    ASSUAN_GARBAGE, /* not Assuan, or a question to us, which we never asked for */
};
struct assuan_line {
    enum assuan_kind kind;
    unsigned code; /* libgpg-error's, without its source */
    struct span text;
};
/* The line that `input` begins with, its text inside `input`: how many bytes that was, newline included. */
size_t assuan_next(struct span input, struct assuan_line *ret);
