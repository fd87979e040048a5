/* What the agent's stores are compiled with once more, for tests: minutes become seconds. See harness.Home.impatient().
 */
#pragma once

#include "limits.h"

#undef LIMIT_STORE_WAIT_MS
#define LIMIT_STORE_WAIT_MS 8000
#undef LIMIT_STORE_MS
#define LIMIT_STORE_MS 3000
#undef LIMIT_PING_MS
#define LIMIT_PING_MS 1000
