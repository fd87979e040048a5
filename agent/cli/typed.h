/* What a person types and nobody may see (secrets, passwords, passphrases): asked for on a terminal without echo, else
 * read from standard input. */
#pragma once

#include "buffer.h"
#include <stdbool.h>

struct typed {
    const char *command; /* whose messages begin with it: "secret set" */
    const char *label;   /* what is asked for; may come from outside */
    size_t most;         /* bytes */
    bool line;           /* from a pipe one line is taken, too; else all there is */
    const int *wake;     /* a descriptor that ends the asking when it can be read; NULL: none. The line may then be of
                            any length, which a terminal's own lines are not */
};

enum { TYPED_WOKEN = -1 };

/* Puts it into the buffer (which is set up here, and wiped by its owner) with a NUL behind, without the line's end. An
 * exit code; what is empty is for the caller to judge. EXIT_INTERRUPTED: Ctrl-C. TYPED_WOKEN: what `wake` is for. */
int typed_read(const struct typed *, struct buffer *to);
