/* Files that decide who may come in: regular, of root, and writable by nobody else. A module that does not run as root
 * (in tests, or in a screen lock) believes the files of its own user as well. */
#pragma once

#include "buffer.h"

/* Reads all of it into `ret`, whose maximum bounds it: 0, -errno of open(), -EPERM when it is not to be believed,
 * -EMSGSIZE, -ENOMEM. */
int trusted_read(const char *path, struct buffer *ret);
/* The sentence for such an error. */
const char *trusted_problem(int error);
