/* What the agent tells its service manager (sd_notify(3)'s protocol): nothing at all when nobody asked. Never blocks.
 */
#pragma once

#include <stdint.h>

/* Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment, so that no child speaks in our name. */
void notify_open(void);
void notify_close(void);
void notify_ready(const char *status);  /* a sentence for `systemctl status` */
void notify_status(const char *status); /* shown there from now on */
void notify_reloading(void);            /* notify_ready() ends it */
void notify_stopping(void);
void notify_watchdog(void); /* "alive": to be sent at least every notify_watchdog_ms() */
/* Half the time after which the manager takes the agent for dead; 0: nobody watches. */
int64_t notify_watchdog_ms(void);
