/* Varlink's wire format: each message is one JSON object ended by a NUL byte. This file knows the frame and the shape
 * of calls and replies, not the methods. */
#pragma once

#include "buffer.h"
#include "json.h"
#include <sys/types.h>

#define MESSAGE_INTERFACE "org.mltoken.agent"
#define MESSAGE_SERVICE   "org.varlink.service"

/* The first whole message in a buffer, without its NUL: its length, or -EAGAIN while its end has not come,
 * or -EMSGSIZE when it can no longer fit in `maximum`. */
ssize_t message_find(const struct buffer *, size_t maximum);

/* Appends one message and its NUL: 0, -ENOMEM or -EMSGSIZE, which the buffer remembers. `parameters` may be NULL
 * (nothing); it is not consumed. */
int message_call(struct buffer *, const char *method, json_object *parameters, bool more);
int message_reply(struct buffer *, json_object *parameters, bool continues);
int message_error(struct buffer *, const char *name, json_object *parameters);
