/* The lock: `mltoken lock` and `unlock`. While the agent is locked nothing that it holds can be read without the
 * passphrase, also not by who reads its memory: each secret is sealed by its owner (seal.h), and nobody is served. What
 * has sent a refresh token to its authority goes on to its end, for the rotated one must not be lost: it goes to the
 * store, or is sealed on arrival. Nothing else begins, and nothing is renewed.
 *
 * Argon2id runs in the worker, once at a time; who locks or unlocks meanwhile waits in line. The line is as long as
 * there are connections: a flood of wrong passphrases puts the right one off, and never has it refused.
 *
 * On an agent that is not locked, unlock opens the sealed files of the store. The key of the passphrase that was last
 * used in either way stays known, its public half: so the agent can be locked with nobody there. */
#pragma once

#include "acquire/conductor.h"

struct lock;

/* Somebody who locks or unlocks. Embedded; waits while `lock` is set. */
struct lock_call {
    struct lock *lock;
    struct lock_call *next, *previous;
    char *passphrase; /* wiped as soon as it has been passed on */
    bool unlock, fresh;
    void (*done)(void *arg, const struct failure *why); /* why: NULL when it went well */
    void *arg;
};

/* Each: done will be called, from the loop; -ENOMEM. The passphrase is copied, at most LIMIT_PASSPHRASE bytes. */
int conductor_lock(struct conductor *, const char *passphrase, struct lock_call *);
/* `fresh`: sets a passphrase for the sealed files, where none is set. */
int conductor_unlock(struct conductor *, const char *passphrase, bool fresh, struct lock_call *);
void lock_call_cancel(struct lock_call *);

/* Locks without a person: with the passphrase that was last used, as far as it is known (see above). Where none is
 * known, nothing could be unlocked again: then cached tokens are forgotten, and stores forget their keys. `why` is for
 * the log ("the session was locked"). Whether it is locked now. */
bool conductor_lock_known(struct conductor *, const char *why);

/* ---- between the files of this room ---- */

int lock_new(struct conductor *, struct lock **ret);
struct lock *lock_free(struct lock *); /* always NULL; nobody is told */
void lock_failure(struct failure *ret);
/* What a flight brought that went on is sealed as well, when it is locked; and stores forget the keys that this took.
 */
void lock_entry(struct conductor *, struct entry *);
void lock_unsaved(struct conductor *, struct holder *);
void lock_again(struct conductor *);
