#include "store/keyring_lock.h"

#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <sys/file.h>
#include <sys/stat.h>

enum { PAUSE_MS = 10 };

static int open_file(void)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    g_autofree char *folder = NULL;
    if (state && state[0] == '/')
        folder = g_build_filename(state, "mltoken", NULL);
    else if (home && home[0] == '/')
        folder = g_build_filename(home, ".local/state/mltoken", NULL);
    if (!folder || g_mkdir_with_parents(folder, S_IRWXU) < 0)
        return -ENOLCK;
    g_autofree char *path = g_build_filename(folder, "keyring.lock", NULL);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, S_IRUSR | S_IWUSR);
    return fd >= 0 ? fd : -ENOLCK;
}

int keyring_lock_take(bool exclusive)
{
    _cleanup_close_ int fd = open_file();
    for (int waited = 0; fd >= 0; waited += PAUSE_MS) {
        if (flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
            return TAKE_FD(fd);
        if (errno != EWOULDBLOCK && errno != EINTR)
            return -ENOLCK;
        if (waited >= LIMIT_STORE_MS / 2)
            return -EBUSY;
        g_usleep(PAUSE_MS * 1000);
    }
    return -ENOLCK;
}
