/* Reads the configuration anew when it changes: inotify on the directories it lies in, the files themselves by the
 * worker, because a home may be on a file system that hangs. While it is read, calls are held back, though never for
 * longer than a moment: who edits the file and then asks gets what the file says. */
#pragma once

#include "acquire/conductor.h"
#include "server/server.h"

struct reload;

int reload_new(struct conductor *, struct server *, struct reload **ret);
struct reload *reload_free(struct reload *); /* always NULL */
/* Reads now, and forgets refusals (SIGHUP). */
void reload_now(struct reload *, bool forgive);
