/* Who signed in, as a line of lines.h tells the module: from the claims of a token that has been verified, and from
 * nothing else. A text is told as it is, to the byte, or not at all: one that is too long, is no valid UTF-8, or holds
 * a NUL or another control character is left out. No claim ever stands in for another. Pure. */
#pragma once

#include "buffer.h"
#include "login/wanted.h"
#include <stdbool.h>

struct json_object;

/* Told of what was left out, and why; neither holds anything from the token. */
typedef void person_left_fn(void *arg, const char *claim, const char *why);

/* Appends issuer, client_id, sub, tid, oid, the claims that are wanted, group, role, overage and iat; `grouped`: false
 * leaves the groups and roles out, as if there were too many. 0; -EBADMSG: issuer or sub cannot be told; or the
 * buffer's error. */
int person_tell(struct buffer *line, struct json_object *claims, const char *client_id, const struct wanted *,
                bool grouped, person_left_fn *, void *arg);
/* What Entra writes where a token has no room for the groups: then nobody knows which they are. */
bool person_is_over(struct json_object *claims);
