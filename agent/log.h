/* The one way to log: a message and key/value fields, to the journal when it is there, to stderr else. A struct secret
 * cannot be passed (there is no field for one), and payloads are never logged at any level. Values from outside are
 * cleaned. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum log_level {
    LOG_LEVEL_ERROR = 3,
    LOG_LEVEL_WARNING = 4,
    LOG_LEVEL_INFO = 6,
    LOG_LEVEL_DEBUG = 7
}; /* syslog's numbers */

/* to_stderr: never the journal (foreground). */
void log_open(bool to_stderr, bool debug);
/* The name of the program in each line; a constant. */
void log_as(const char *program);
bool log_debugging(void);

/* log_event(LOG_LEVEL_INFO, "renewed", "PROFILE", profile->name, "HOST", host, NULL): pairs of constant key and text,
 * NULL ends. A pair whose text is NULL is left out. */
void log_event(enum log_level, const char *message, ...) __attribute__((sentinel));
