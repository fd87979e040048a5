/* What every program of ours does to itself first, before it has anything worth stealing. */
#pragma once

#include <stddef.h>

/* First thing in main(): no core dumps and no ptrace or /proc/PID/mem by others of our uid, umask 077, no new
 * privileges, every signal blocked but those of faults (threads of libraries inherit that; the loop reads signals from
 * a signalfd), as many descriptors as the hard limit allows (65,536 at most), and a name that survives /proc/self/exe.
 * No new privileges holds for command: sources too: they cannot use sudo or another set-uid helper. A token agent is no
 * way to become root; whoever needs that points file: at what a root service wrote for them.
 * 0; -EPERM when the program was started set-uid or with file capabilities (nothing was done); another negative errno.
 */
int hardening_apply(void);
/* For a child that will execute a program of the user's: unblocks the signals. */
void hardening_release_signals(void);

/* Memory functions that wipe what they free. hardening_allocators() gives them to OpenSSL and must come before its
 * first call (-EALREADY after it); the HTTP client gives them to curl_global_init_mem(). */
int hardening_allocators(void);
void *hardening_malloc(size_t size);
void *hardening_calloc(size_t count, size_t size);
void *hardening_realloc(void *, size_t size);
char *hardening_strdup(const char *);
void hardening_free(void *);
