/* Where a secret is (INTERFACE section 3: file:, env:, credential:, command:), read from a configured value. Anything
 * else may be the secret itself: it is refused, and no text made here repeats any of it. */
#pragma once

#include "token/profile.h"

/* 0, -EINVAL with `problem` set, or -ENOMEM. What *ret refers to is in the profile's storage. `value` is cut up. */
int source_read(struct profile *, char *value, struct source *ret, char problem[static LIMIT_TEXT]);
/* Whether env:NAME may be given to the agent: a proper name, and none that steers the loader, libc or a library. */
bool source_env_allowed(struct span name);
