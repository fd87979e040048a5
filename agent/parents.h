/* The profiles that one's token is made from, one above the other. They must come to an end: in a circle each would
 * wait for the next. Pure: whoever knows the profiles says which is above which. */
#pragma once

#include "limits.h"
#include <stdbool.h>

/* The name above `name`; false: there is none. */
typedef bool parent_fn(void *arg, const char *name, char ret[static LIMIT_PROFILE_NAME + 1]);

/* 0; -ELOOP, and `problem` names the chain: a circle, or more than LIMIT_PARENTS. */
int parents_check(const char *name, const char *parent, parent_fn *, void *arg, char problem[static LIMIT_TEXT]);
