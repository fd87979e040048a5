/* The line protocol of the PAM programs: what mltoken-pam-login and mltoken-pam-import say to pam_mltoken.so, and what
 * a hand-off record holds. A message is one line: a word of [a-z_]+, then fields " name=value" with names of
 * [A-Za-z0-9_.-] and values as base64url without padding, then "\n". What always holds: libc alone, no input is trusted
 * and all of it is bounded (LIMIT_LINE bytes and LIMIT_LINE_FIELDS fields in a line); a line that is no line of this
 * form, or has a field twice that is no list, ends the conversation: the reader gives no further line. A line owns its
 * bytes and wipes them when it is freed: they may be tokens. */
#pragma once

#include "buffer.h"
#include "span.h"
#include <stdint.h>

/* A claim that can be told, as the field "claim.NAME"; it is no option of a command line either. */
#define LINE_CLAIM_FORM "1 to 58 of a-z, A-Z, 0-9, _, . and -, the first no -"
bool line_claim_sound(const char *claim);

/* ---- writing ---- */

/* Zero-initialise with BUFFER(LIMIT_LINE + 1); failures are remembered by the buffer, and line_end() tells them:
 * -EMSGSIZE, -ENOMEM, or -EINVAL for a word or a name that the reader would refuse. */
void line_begin(struct buffer *, const char *word);
void line_put(struct buffer *, const char *name, struct span value);
void line_put_text(struct buffer *, const char *name, const char *value);
void line_put_number(struct buffer *, const char *name, int64_t value);
int line_end(struct buffer *);

/* ---- a line that was read ---- */

struct line_field {
    const char *name;
    struct span value; /* a NUL follows it that is not counted */
};

struct line {
    const char *word; /* NULL: no line */
    size_t count;
    struct line_field *fields;
    char *bytes; /* all of the above point into it */
    size_t length;
};

/* Parses one line, without its "\n": 0, -EBADMSG, -EMSGSIZE or -ENOMEM; *ret is written to on success alone. */
int line_parse(struct span text, struct line *ret);
void line_free(struct line *);

/* The only field of that name, or NULL. */
const struct line_field *line_find(const struct line *, const char *name);
/* The same as a text: -ENOENT, or -EBADMSG when it holds a NUL. */
int line_text(const struct line *, const char *name, const char **ret);
/* The same as a number, decimal digits after an optional minus: -ENOENT, -EBADMSG. */
int line_number(const struct line *, const char *name, int64_t *ret);
/* The values of a list, one after the other: starts with *at = 0, NULL at the end. */
const struct line_field *line_next(const struct line *, const char *name, size_t *at);

/* ---- reading as the bytes come ---- */

struct lines {
    struct buffer bytes;
    int error; /* the conversation is broken */
};

#define LINES ((struct lines){.bytes = BUFFER(LIMIT_LINE + LIMIT_LINE_CHUNK)})

/* Takes what came: at most LIMIT_LINE_CHUNK bytes, after all whole lines were taken. 0 or the error that stays. */
int lines_feed(struct lines *, const void *bytes, size_t length);
/* 1: a line, which the caller frees. 0: there is no whole one yet. Negative: as line_parse(), for good. */
int lines_next(struct lines *, struct line *ret);
/* Bytes are left that are no whole line: at the end of the input that is a broken conversation too. */
bool lines_partial(const struct lines *);
void lines_free(struct lines *);

#define _cleanup_line_  __attribute__((cleanup(line_free)))
#define _cleanup_lines_ __attribute__((cleanup(lines_free)))
