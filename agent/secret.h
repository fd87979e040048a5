/* Long-lived secrets (refresh tokens, client secrets, passwords) in one guarded, locked region of memory: guard pages
 * at both ends, locked against swapping, left out of core dumps, wiped on fork. A struct secret cannot be printed or
 * logged; its bytes are reached through secret_span() alone, by the code that sends or stores them. Reference counted;
 * the last secret_unref() wipes. One thread. */
#pragma once

#include "span.h"
#include <stdbool.h>
#include <stddef.h>

struct secret;

/* Makes the region. Called once, early; when it cannot be locked the agent goes on and says so (secret_arena_locked()).
 */
int secret_arena_open(void);
void secret_arena_close(void);
size_t secret_arena_locked(void); /* bytes that are locked: 0 when RLIMIT_MEMLOCK forbade it */
size_t secret_arena_used(void);

/* Copies `length` bytes in. -ENOMEM when the arena is full, -EMSGSIZE beyond LIMIT_SECRET. The caller wipes its copy.
 */
int secret_new(const char *bytes, size_t length, struct secret **ret);
struct secret *secret_ref(struct secret *);
struct secret *secret_unref(struct secret *); /* always NULL */
struct span secret_span(const struct secret *);

static inline void secret_cleanup(struct secret **secret)
{
    secret_unref(*secret);
}
#define _cleanup_secret_ __attribute__((cleanup(secret_cleanup)))
