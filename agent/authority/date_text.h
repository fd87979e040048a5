/* Dates as identity endpoints write them (WIRE section 6): ISO 8601 as in 2027-01-31T12:00:00.123+01:00, and the text
 * of .NET, 06/20/2019 02:57:58 +00:00 or 6/20/2019 2:57:58 AM +00:00. Without a zone it is UTC. Pure. */
#pragma once

#include "span.h"
#include <stdbool.h>
#include <stdint.h>

/* True and epoch seconds, when the whole text is such a date. */
bool date_text_read(struct span, int64_t *ret);
