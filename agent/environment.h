/* The agent's environment is an allow-list of its own, whoever started it (INTERFACE section 2): it is executed with
 * that (prepare.h), from /, with no descriptors but 0 to 2, the manager's listening sockets and those it asks to
 * keep. What the loader and the libraries would act on (LD_*, SSLKEYLOGFILE, proxies, locale paths) is gone before
 * the agent's main() runs.
 *
 * The values of env: sources travel through that exec under names of our own (MLTOKEN_VALUE_...), are then moved into
 * the arena of secrets and wiped from the memory that /proc/PID/environ shows. Only names that the configuration
 * mentions at the start are taken along; one that is written into it later was not in the agent's environment. A
 * profile mentions the names that its grant looks at (grant/variables.h): those that are not set are taken along empty,
 * so that it can be told whether anybody looked for them.
 *
 * Order in main(): command_open(), hardening_apply(), environment_clean(), secret_arena_open(), environment_keep(), and
 * only then worker_new(), whose process would otherwise show the values in its own environ for ever. */
#pragma once

#include "seal.h"
#include <stddef.h>

#define ENVIRONMENT_VALUE "MLTOKEN_VALUE_"

/* Does not return, but executes `program` in the clean environment with the descriptors that environment_clean() is to
 * find. A negative errno: it could not. */
int environment_execute(const char *program, char *const argv[], const int *keep, size_t keep_count);
/* Returns 0 when the process already runs in the clean environment; else it does not return but executes itself anew.
 * `keep`: further descriptors to leave open, known by number to the new image. A negative errno: it could not (-ELOOP:
 * it was executed anew and the environment is still not clean). */
int environment_clean(char *const argv[], const int *keep, size_t keep_count);
/* Moves the values of env: sources into the arena: 0, -ENOMEM, or -EMSGSIZE when one is larger than LIMIT_SECRET (the
 * others are kept; that one is missing). */
int environment_keep(void);
/* The value of an env: source, borrowed until environment_lock(), or NULL: there is none, or it is sealed. */
struct secret *environment_secret(const char *name);
/* The same as bytes, for a grant that reads what its platform put there (grant.h). */
struct span environment_value(const char *name);
/* What a platform says in a variable that may stand for a setting (config_profile.c): no secret, so it is there while
 * the agent is locked too. NULL: it was not set, or not mentioned. */
const char *environment_setting(const char *name);
void environment_forget(void);             /* drops them all */
int environment_lock(struct seal *);       /* seals them: 0, or -ENOMEM: not all */
int environment_unlock(struct seal_key *); /* the same */
/* How many listening sockets the service manager passed, from descriptor 3 on; they are CLOEXEC now, and the variables
 * that told so are taken out. 0: none, or they were meant for another process. */
int environment_sockets(void);
