#include "place.h"

#include "cleanup.h"
#include "clock.h"
#include "limits.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static int open_folder(int at, const char *path, mode_t mode, mode_t forbidden, int *ret_fd)
{
    bool made = mkdirat(at, path, mode) == 0;
    if (!made && errno != EEXIST)
        return -errno;
    _cleanup_close_ int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat state;
    if (fd < 0 || fstat(fd, &state) < 0)
        return -errno;
    if ((state.st_uid != 0 && state.st_uid != geteuid()) || (state.st_mode & forbidden))
        return -EPERM;
    if (made && fchmod(fd, mode) < 0) /* whatever the host's umask is */
        return -errno;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int place_open(const char *run, const char *name, int *ret_fd)
{
    _cleanup_close_ int above = -1;
    _cleanup_close_ int fd = -1;
    int r = open_folder(AT_FDCWD, run, 0755, S_IWGRP | S_IWOTH, &above);
    if (r == 0)
        r = open_folder(above, name, 0700, S_IRWXG | S_IRWXO, &fd);
    if (r < 0)
        return r;
    struct stat state;
    if (fstat(fd, &state) < 0 || state.st_uid != geteuid())
        return -EPERM;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

void place_sweep(int fd, int64_t age_s)
{
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = again >= 0 ? fdopendir(again) : NULL;
    if (!folder) {
        close_cleanup(&again);
        return;
    }
    struct dirent *entry;
    int64_t now = clock_wall_s();
    for (int i = 0; i < LIMIT_PAM_SWEEP && (entry = readdir(folder)); i++) {
        struct stat state;
        if (entry->d_name[0] == '.' || fstatat(fd, entry->d_name, &state, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISREG(state.st_mode) && (state.st_mtime + age_s < now || state.st_mtime > now + age_s))
            (void)unlinkat(fd, entry->d_name, 0);
    }
    (void)closedir(folder);
}
