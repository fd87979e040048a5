/* Failures as one line: what failed, for which profile, why in the authority's own words, and what to do next. */
#pragma once

#include "command.h"

/* `what` is "cannot get a token"; `profile` is what was asked for, or NULL. Returns the exit code for the MLTOKEN_E...
 */
int report(struct context *, int code, const char *what, const char *profile);
int exit_code_of(int code);
