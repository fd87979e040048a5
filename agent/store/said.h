/* What a store program writes to its standard error: goes to the log at debug level line by line, cleaned, each cut at
 * LIMIT_LOG_VALUE, and only so many at a time; what is too much is lost. The pipe never makes the program wait, and the
 * program never makes the agent wait. Nothing is read while the log is not at debug level. */
#pragma once

#include "loop/loop.h"

struct said;

/* *ret_to: what the program gets as its standard error, to be closed by the caller once it has it. When the log would
 * not tell of it, /dev/null, and *ret is NULL. `path` is the program's. 0 or a negative errno. */
int said_new(struct loop *, const char *path, int *ret_to, struct said **ret);
/* What it wrote until now is told. Always NULL. */
struct said *said_free(struct said *);
