/* mltoken-agent --doctor [PROFILE]: walks each link from the configuration to the authority's metadata, a line for
 * each: `ok`, `warn` or `FAIL`, what, why, and what to do. It asks only for what anybody may ask (names, connections,
 * the public metadata document): nothing of a secret is sent or shown. Blocking; for a process of its own. */
#pragma once

#include <stdio.h>

/* After http_global_init(). The exit code: 0, 3 when the configuration or a secret is at fault, 6 when the way to an
 * authority is (INTERFACE section 4), 1. */
int doctor_run(FILE *out, const char *profile);
