/* A reader of INI text (INTERFACE section 3), line by line: pure, allocates nothing, its spans point into the text.
 * What always holds: each line gives at most one item; a bad line is an item of its own and reading goes on behind it;
 * names and values are valid UTF-8 without NUL or control characters (a tab is a blank), trimmed, and never longer than
 * LIMIT_CONFIG_LINE. Comments (# or ;) stand on lines of their own; a value keeps every # and ; it holds.
 * Accepted because editors of other systems write them: CRLF line ends, and a byte order mark at the very start. */
#pragma once

#include "span.h"

enum ini_kind { INI_SECTION, INI_PAIR, INI_BAD };

struct ini_item {
    enum ini_kind kind;
    int line;            /* from 1 */
    struct span name;    /* SECTION: what stands between the brackets; PAIR: the key, never empty */
    struct span value;   /* PAIR: may be empty */
    bool opens;          /* BAD: the line was meant to open a section: what follows belongs to none */
    const char *problem; /* BAD: what is wrong and what to do; never a part of the line, which may be a secret */
};

struct ini {
    struct span rest;
    int line;
};

struct ini ini_open(struct span text);
/* The next item: false at the end. */
bool ini_next(struct ini *, struct ini_item *ret);
/* Cuts off what stands before the next section: a section's line and all that belongs to it, or what comes before the
 * first. Looks at nothing but where lines begin, so that a long text is divided in no time; `ini->rest` must not be
 * empty. */
struct ini ini_cut(struct ini *);
