/* What the sign-in helper is born into. The module gives it an environment and descriptors that are already clean; a
 * person who runs it by hand does not, and neither does whoever else may find it: so nothing of either is believed. */
#pragma once

#include <stdbool.h>

/* The whole environment: the tunables have freed memory overwritten at once. Whoever executes the helper with it, as
 * pam/child.c does, spares it one exec of itself. */
#define SURROUNDINGS_PATH     "PATH=/usr/local/bin:/usr/bin:/bin"
#define SURROUNDINGS_TUNABLES "GLIBC_TUNABLES=glibc.malloc.perturb=165:glibc.malloc.tcache_count=0"

/* First of all in main(): hardens (hardening.h), goes with its parent, closes what is not standard input, output and
 * error, and executes itself anew where the environment holds anything else. `terminal`: what tells the terminal's kind
 * may stay. 0 or a negative errno. */
int surroundings_settle(char *const argv[], bool terminal);
/* Once the configuration's file has been found, which may be named from where a person is: 0 or a negative errno. */
int surroundings_leave(void);
