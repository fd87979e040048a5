/* Where text leaves the command: results to stdout in one go, with every failure noticed; words to stderr. */
#pragma once

#include "buffer.h"
#include "json.h"
#include <stdint.h>

/* Writes all of the buffer to stdout, then wipes it. EXIT_DONE or EXIT_FAILED. */
int output_write(struct buffer *);
/* One JSON value and a newline to stdout, control and bidirectional characters escaped. */
int output_json(json_object *);
/* "mltoken: ..." and a newline on stderr. What is shown must have been cleaned. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A line on stderr, unless `quiet`. */
void remark(bool quiet, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* An outsider's text, cleaned and bounded, appended. */
void output_clean(struct buffer *, const char *text);

#define TIME_SIZE 80
/* "2026-11-22 10:12:03 (47 min 10 s left)" in local time, or "... (2 h ago)". */
void output_time(char to[static TIME_SIZE], int64_t epoch_s);

/* Appends when a token ends that should have lived `asked_s` from now on, in words that hold after rounding too. */
void output_too_soon(struct buffer *line, int64_t expires_at, int64_t asked_s, int64_t now_s);
