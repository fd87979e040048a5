/* Reading a file whole, by the rules for secrets and for what all may see. It may block: for the worker's processes. */
#pragma once

#include "buffer.h"
#include "worker_protocol.h"

/* Opens it and checks who else could read or write it: READER_OK and *ret_fd. */
enum reader_exit reader_open(const char *path, enum worker_rule, int *ret_fd);
/* The same, and all of it; one that does not fit the buffer is READER_FAILED. */
enum reader_exit reader_load(const char *path, enum worker_rule, struct buffer *to);
/* "there is no such file" */
const char *reader_verdict_text(enum reader_exit, int *ret_error);
