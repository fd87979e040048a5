/* What the agent's stores and its managed identities are compiled with once more, for tests: minutes become seconds,
 * and seconds less. See harness.Home.impatient(). */
#pragma once

#include "limits.h"

#undef LIMIT_STORE_WAIT_MS
#define LIMIT_STORE_WAIT_MS 8000
#undef LIMIT_STORE_MS
#define LIMIT_STORE_MS 3000
#undef LIMIT_PING_MS
#define LIMIT_PING_MS 1000
#undef LIMIT_CALL_MS
#define LIMIT_CALL_MS 4000
#undef LIMIT_UPGRADE_MS
#define LIMIT_UPGRADE_MS 700
