/* The store protocol: how the agent speaks with a program that keeps secrets, mltoken-store-NAME. `store = NAME` in the
 * configuration runs that program, from libexecdir/mltoken, so others can be added in any language.
 *
 * The program is started when it is first needed, with one stream socket as its descriptors 0 and 1 (2 goes to the
 * agent's log at debug level: store/said.h), `/` as directory, and an environment of what a store can need and no more:
 * HOME, XDG_STATE_HOME, XDG_RUNTIME_DIR, DBUS_SESSION_BUS_ADDRESS, DBUS_SYSTEM_BUS_ADDRESS, CREDENTIALS_DIRECTORY, and
 * MLTOKEN_KEY_FILE, which is key_file of [agent]. It ends when it reads the end of the stream. Both sides write frames:
 * four bytes, the big-endian length of what follows, at most LIMIT_STORE_FRAME; then lines KEY=VALUE, each ended by a
 * newline, then an empty line, then the value (any bytes, to the end of the frame). Keys are [a-z_]+ and come once,
 * STORE_FIELDS at most; values hold no control characters. Unknown keys are ignored, a frame that is not so ends the
 * program.
 *
 * First the program says: hello=1, name=NAME, memory=locked|unlocked (could it lock what holds secrets?). Then it
 * answers one request after the other, each with the request's id (1 to 32 of [A-Za-z0-9_-]):
 *
 *   op=get     profile, name, binding[, ask]     ok with version and value | missing | bound
 *   op=put     profile, name, binding[, expect][, ask]
 *                                                ok with version | conflict with version (value: what to keep) | bound
 *   op=drop    profile[, name]                   ok (also when there was nothing)
 *   op=list    [profile][, after]                ok; value: lines PROFILE TAB NAME TAB BINDING; more=1: not all
 *   op=unlock  [new]; value: a passphrase        ok
 *   op=lock                                      ok
 *   op=watch   events                            ok[, reason]
 *   op=ping                                      ok
 *
 *   result=ok|missing|bound|conflict|fail|waiting, id, version, kind, reason, more
 *
 * profile: [A-Za-z0-9._-]{1,64}. name: [a-z0-9_.-]{1,32}. A binding is 64 digits of [0-9a-f].
 * bound: there is such a secret, but it was stored for other receivers; it is not given out. It is said of a put only
 * in place of a conflict: what is there is newer, and for other receivers. A put that expects nothing, or just that
 * version, replaces a secret whatever its binding was. version: a number from 1 that grows with each put of a secret,
 * also across its removal where the store can. expect: the version that must be there for the put to happen (0: none):
 * two agents on one store must not overwrite a rotated token with an older one. A conflict of version 0 has no value:
 * the secret was dropped. `ok` to a put means that it is durable: it survives kill -9 and, for a file, a power cut.
 * After a `fail` or no answer at all the old value may be there or the new one, never neither and never half of one:
 * whoever cares asks, or says what it expects. list: sorted by profile, the lines of one profile never apart. After
 * more=1 the next call says after=PROFILE, the last one that came. unlock: for stores that a passphrase opens. new=1
 * sets one where none is set (ask twice!); it fails as denied where one is. A wrong passphrase is `fail` of kind
 * locked. lock: the program forgets every key that it holds. ask=no, with any op: nobody waits for it, or a person said
 * no just before, so no person is asked: where one would have to be, it is `fail` of kind locked, and the rest is done.
 * waiting: not an answer yet: a person is being asked (a
 * locked keyring); the deadline is put off, and `reason` is shown in `mltoken status`. fail: `reason` is a sentence for
 * a person; kind says what it is: locked (a person said no, could not be asked, or must unlock first), unavailable (no
 * such service here, or no key for it: another store may be tried), corrupt (what is there cannot be read; nothing was
 * overwritten), full, denied, busy (another agent is at it: try again), invalid (the request makes no sense),
 * unsupported (an op this store has not). An unknown kind is a failure like denied. No answer within LIMIT_STORE_MS
 * (LIMIT_STORE_WAIT_MS after `waiting`): the agent kills the program, says StoreUnavailable, and starts it anew with
 * the next request. After `waiting` it sends SIGTERM, and SIGKILL a moment later: the program may close the window in
 * which it asks, and does nothing more to what it keeps.
 *
 * watch: from the ok on the program may write frames that answer nothing, at any time: event=suspend (the computer is
 * about to sleep), event=session (one of the user's sessions was locked, or already is), those that `events` names
 * (words with a blank between them), and event=lost with a reason: nothing is watched for any more. The agent locks
 * itself and says so by op=lock; until it has answered that, the program writes no other event of that kind, and holds
 * the sleep back as long as it may. With the ok, `reason` says what does not work all the same. fail of kind
 * unavailable: there is nobody here to tell. From time to time the agent asks by op=ping whether it is still there,
 * also while an op=lock is under way; one that does not answer is ended, and another started. The agent starts a
 * program of its own for this, so that no other request is in the way; any other frame that was not asked for ends a
 * program.
 *
 * This file is the frames alone: pure, used by both sides. */
#pragma once

#include "buffer.h"
#include "span.h"
#include <stdint.h>
#include <sys/types.h>

#define STORE_FIELDS 12

struct store_field {
    const char *key;
    const char *text;
};

/* A frame, taken apart. Everything points into the bytes it was read from, which are changed (NULs are put in). */
struct store_frame {
    struct store_field fields[STORE_FIELDS];
    size_t count;
    struct span value;
};

/* The length of the first whole frame in the buffer with its four bytes, -EAGAIN while it is not whole, -EMSGSIZE when
 * it is longer than allowed. */
ssize_t store_frame_find(const struct buffer *);
/* Takes apart `length` bytes as store_frame_find() told: 0 or -EBADMSG. */
int store_frame_read(char *bytes, size_t length, struct store_frame *ret);
const char *store_frame_text(const struct store_frame *, const char *key); /* NULL when absent */
/* A number, or `otherwise` when absent: -EINVAL when it is none. */
int store_frame_number(const struct store_frame *, const char *key, uint64_t otherwise, uint64_t *ret);

/* Appends a whole frame or nothing. Fields whose text is NULL are left out: 0, -EINVAL for one that a reader would
 * refuse, -EMSGSIZE. */
int store_frame_write(struct buffer *, const struct store_field *, size_t count, struct span value);
