/* Reads what of the configuration nobody has asked for yet, bit by bit, tells its mistakes, and reads it anew when it
 * changes: inotify on the directories it lies in, the files themselves by the
 * worker, because a home may be on a file system that hangs. While it is read, calls are held back, though never for
 * longer than a moment: who edits the file and then asks gets what the file says. A new configuration is in force when
 * all of it was read, which stops the loop for a few milliseconds at a time, however large it is. */
#pragma once

#include "acquire/conductor.h"
#include "server/server.h"

struct reload;

int reload_new(struct conductor *, struct server *, struct reload **ret);
struct reload *reload_free(struct reload *); /* always NULL */
/* Reads now, and forgets refusals (SIGHUP). */
void reload_now(struct reload *, bool forgive);
