/* A lock file in the state directory, $XDG_STATE_HOME/mltoken/keyring.lock: the Secret Service cannot compare and set,
 * so two agents on one keyring take turns. Where the file cannot be made they do without: then a put may overwrite what
 * the other one wrote between its own reading and writing, some milliseconds.
 *
 * Whoever takes the lock closes the descriptor. Nobody holds it while a person is asked. */
#pragma once

#include <stdbool.h>

/* A descriptor; -ENOLCK when there can be none here; -EBUSY when others held it for half of a request's time. */
int keyring_lock_take(bool exclusive);
