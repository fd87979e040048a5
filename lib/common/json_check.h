/* Is this text JSON by RFC 8259, to the letter? json-c's strict mode lets through single quotes, NaN, "1.", raw control
 * characters, overlong UTF-8 and surrogates, and cuts a member's name at \u0000, so that "error\u0000x" would read as
 * "error". So text is checked here first. */
#pragma once

#include "span.h"

/* One value with white space around it, at most `depth` objects and arrays deep, UTF-8, no NUL in a member's name. */
bool json_check(struct span text, int depth);
