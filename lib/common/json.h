/* JSON that came from outside: parsed strictly, within limits, then read by type. Strings with NUL or control
 * characters are refused by json_string(): "alice\u0000@evil" must never read as alice. Objects are json-c's, with its
 * reference counts. */
#pragma once

#include "buffer.h"
#include "span.h"
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

/* Parses exactly `length` bytes as one JSON object, array or string: RFC 8259 to the letter (json_check.h), nothing
 * after it, at most `depth` containers deep. Of two members of the same name the last counts. -EBADMSG for anything
 * else, -ENOMEM. What json-c buffered is wiped. */
int json_parse(const char *text, size_t length, int depth, json_object **ret);

/* Each finds a member of an object: 0 and *ret set; -ENOENT when it is absent or null (*ret untouched);
 * -EINVAL when it is of another type, out of range, too long, or (json_string) holds NUL or control characters. */
int json_string(json_object *, const char *name, size_t maximum, const char **ret);
int json_bytes(json_object *, const char *name, size_t maximum,
               struct span *ret);                                /* any content but a type of string */
int json_integer(json_object *, const char *name, int64_t *ret); /* a JSON integer only */
int json_number(json_object *, const char *name,
                int64_t *ret); /* also a decimal string, or 3600.0: how authorities write lifetimes */
int json_boolean(json_object *, const char *name, bool *ret);
int json_array(json_object *, const char *name, json_object **ret);
int json_member(json_object *, const char *name, json_object **ret);

/* Puts one member into an object; the object is left unchanged on failure: 0 or -ENOMEM, which a NULL object (one that
 * could not be made) gives too. A NULL text and a negative time put nothing: absent and null mean the same in our
 * messages. */
int json_put(json_object *, const char *name,
             json_object *value); /* takes `value`, also on failure; NULL value is -ENOMEM */
int json_put_text(json_object *, const char *name, const char *text);
int json_put_integer(json_object *, const char *name, int64_t value);
int json_put_time(json_object *, const char *name, int64_t epoch_s);
int json_put_boolean(json_object *, const char *name, bool value);

/* Appends a text as a JSON string, quotes included: for secrets, which no json_object should hold. Any bytes but what
 * must be escaped go out as they are. The buffer's error. */
int json_quote(struct buffer *, struct span text);
/* Appends a value without blanks. json-c's own rendering silently leaves out what it has no memory for. The buffer's
 * error. */
int json_write(struct buffer *, json_object *);

/* Overwrites every string below (json-c does not), then drops the reference. Only for objects nobody else holds. */
void json_wipe(json_object *);

static inline void json_cleanup(json_object **object)
{
    json_object_put(*object);
}
static inline void json_wipe_cleanup(json_object **object)
{
    json_wipe(*object);
}
#define _cleanup_json_      __attribute__((cleanup(json_cleanup)))
#define _cleanup_json_wipe_ __attribute__((cleanup(json_wipe_cleanup)))
