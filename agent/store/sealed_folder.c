#include "store/sealed_folder.h"

#include "cleanup.h"
#include "clock.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <time.h>

enum { LOCK_PAUSE_MS = 2, LOCK_PAUSE_MOST_MS = 50 };
#define LOCK_FILE "lock"

int trouble_set(struct trouble *trouble, const char *kind, const char *format, ...)
{
    va_list arguments;
    if (trouble->kind)
        return -EIO;
    va_start(arguments, format);
    (void)vsnprintf(trouble->reason, sizeof(trouble->reason), format, arguments);
    va_end(arguments);
    trouble->kind = kind;
    return -EIO;
}

void trouble_add(struct trouble *trouble, const char *format, ...)
{
    va_list arguments;
    size_t length = strlen(trouble->reason);
    va_start(arguments, format);
    (void)vsnprintf(trouble->reason + length, sizeof(trouble->reason) - length, format, arguments);
    va_end(arguments);
}

int trouble_errno(struct trouble *trouble, int error, const char *what, const char *path, const char *name)
{
    const char *kind = "denied";
    if (error == ENOSPC || error == EDQUOT || error == EFBIG || error == ENOMEM)
        kind = "full";
    return trouble_set(trouble, kind, "cannot %s %s%s%s: %s", what, path, name ? "/" : "", name ? name : "",
                       strerror(error));
}

int folder_find(struct folder *folder, struct trouble *trouble)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n;
    if (state && state[0] == '/')
        n = snprintf(folder->path, sizeof(folder->path), "%s/mltoken", state);
    else if (home && home[0] == '/')
        n = snprintf(folder->path, sizeof(folder->path), "%s/.local/state/mltoken", home);
    else
        return trouble_set(trouble, "unavailable", "sealed files need XDG_STATE_HOME or HOME to be set");
    if (n < 0 || (size_t)n >= sizeof(folder->path))
        return trouble_set(trouble, "unavailable", "the path of the sealed files is too long");
    return 0;
}

/* Ours alone? */
static int check(const struct folder *folder, const char *name, const struct stat *stat, struct trouble *trouble)
{
    const char *slash = name ? "/" : "";
    const char *shown = name ? name : "";
    if (stat->st_uid != geteuid())
        return trouble_set(trouble, "denied", "%s%s%s belongs to uid %u, not to us (%u): it is not used", folder->path,
                           slash, shown, stat->st_uid, geteuid());
    if (stat->st_mode & (S_IRWXG | S_IRWXO))
        return trouble_set(trouble, "denied", "%s%s%s has mode %04o, open to others: make it %s", folder->path, slash,
                           shown, stat->st_mode & 07777, name ? "0600" : "0700");
    return 0;
}

int folder_open(struct folder *folder, struct trouble *trouble)
{
    struct stat stat;
    int fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return -ENOENT;
    if (fd < 0 && (errno == ELOOP || errno == ENOTDIR))
        return trouble_set(trouble, "denied", "%s is a symbolic link or no directory: it is not used", folder->path);
    if (fd < 0)
        return trouble_errno(trouble, errno, "open", folder->path, NULL);
    folder->fd = fd;
    if (fstat(fd, &stat) < 0)
        return trouble_errno(trouble, errno, "read", folder->path, NULL);
    return check(folder, NULL, &stat, trouble);
}

/* A new directory is durable when the one that holds it is. */
static int sync_parent(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash)
        *slash = '\0';
    _cleanup_close_ int fd = open(*path ? path : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = fd < 0 || fsync(fd) < 0 ? -errno : 0;
    if (slash)
        *slash = '/';
    return r;
}

int folder_make(struct folder *folder, struct trouble *trouble)
{
    char path[sizeof(folder->path)];
    memcpy(path, folder->path, sizeof(path));
    for (char *at = path + 1;; at++) {
        if (*at && *at != '/')
            continue;
        char end = *at;
        *at = '\0';
        if (mkdir(path, S_IRWXU) == 0)
            (void)sync_parent(path); /* best effort above ours: some file systems cannot */
        else if (errno != EEXIST && access(path, F_OK) < 0)
            return trouble_errno(trouble, errno, "make", path, NULL);
        if (!end)
            break;
        *at = end;
    }
    int r = folder_open(folder, trouble);
    return r == -ENOENT ? trouble_errno(trouble, ENOENT, "open", folder->path, NULL) : r;
}

void folder_close(struct folder *folder)
{
    if (folder->lock >= 0)
        close(folder->lock);
    if (folder->fd >= 0)
        close(folder->fd);
    folder->fd = folder->lock = -1;
}

/* ---- the lock ---- */

/* An open file description lock: NFS passes it to its server, and it ends with us however we end. */
static int wait_for(int fd, short type)
{
    int64_t end = clock_boot_ms() + LIMIT_STORE_LOCK_MS;
    for (long pause = LOCK_PAUSE_MS;; pause = pause * 2 < LOCK_PAUSE_MOST_MS ? pause * 2 : LOCK_PAUSE_MOST_MS) {
        struct flock lock = {.l_type = type, .l_whence = SEEK_SET};
        if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
            return 0;
        if (errno != EAGAIN && errno != EACCES && errno != EINTR)
            return -errno;
        if (clock_boot_ms() >= end)
            return -ETIMEDOUT;
        const struct timespec time = {.tv_nsec = pause * 1000000};
        (void)nanosleep(&time, NULL);
    }
}

int folder_lock(struct folder *folder, bool exclusive, struct trouble *trouble)
{
    struct stat stat;
    int fd = openat(folder->fd, LOCK_FILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0 && errno == EROFS && !exclusive)
        return 0;
    if (fd < 0)
        return trouble_errno(trouble, errno, "open", folder->path, LOCK_FILE);
    folder->lock = fd;
    if (fstat(fd, &stat) < 0)
        return trouble_errno(trouble, errno, "read", folder->path, LOCK_FILE);
    int r = check(folder, LOCK_FILE, &stat, trouble);
    if (r < 0)
        return r;
    r = wait_for(fd, exclusive ? F_WRLCK : F_RDLCK);
    if (r == -ETIMEDOUT)
        return trouble_set(trouble, "busy", "another agent holds %s/" LOCK_FILE " for too long", folder->path);
    if (r < 0)
        return trouble_errno(trouble, -r, "lock", folder->path, LOCK_FILE);
    /* NFS: what was known of the names may be from before the wait; opening a directory asks the server */
    _cleanup_close_ int again = openat(folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return again < 0 ? trouble_errno(trouble, errno, "read", folder->path, NULL) : 0;
}

/* ---- files ---- */

static int read_all(int fd, char *to, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = read(fd, to + done, length - done);
        if (n == 0)
            return -ENODATA; /* cut off between fstat() and here */
        if (n > 0)
            done += (size_t)n;
        else if (errno != EINTR)
            return -errno;
    }
    return 0;
}

int folder_read(const struct folder *folder, const char *name, size_t maximum, char **ret, size_t *ret_length,
                struct trouble *trouble)
{
    struct stat stat;
    _cleanup_close_ int fd = openat(folder->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return -ENOENT;
    if (fd < 0 && errno == ELOOP)
        return trouble_set(trouble, "denied", "%s/%s is a symbolic link: it is not used", folder->path, name);
    if (fd < 0 || fstat(fd, &stat) < 0)
        return trouble_errno(trouble, errno, "read", folder->path, name);
    if (!S_ISREG(stat.st_mode))
        return trouble_set(trouble, "denied", "%s/%s is no regular file: it is not used", folder->path, name);
    int r = check(folder, name, &stat, trouble);
    if (r < 0)
        return r;
    if (stat.st_size < 0 || (uint64_t)stat.st_size > maximum)
        return trouble_set(trouble, "corrupt", "%s/%s is larger than a sealed file can be", folder->path, name);
    size_t length = (size_t)stat.st_size;
    _cleanup_free_ char *bytes = malloc(length + 1);
    r = bytes ? read_all(fd, bytes, length) : -ENOMEM;
    if (r < 0)
        return trouble_errno(trouble, -r, "read", folder->path, name);
    *ret = TAKE_PTR(bytes);
    *ret_length = length;
    return 0;
}

static int write_all(int fd, struct span bytes)
{
    for (size_t done = 0; done < bytes.length;) {
        ssize_t n = write(fd, bytes.data + done, bytes.length - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            return n == 0 ? -EIO : -errno;
    }
    return 0;
}

int folder_write(const struct folder *folder, const char *temporary, struct span bytes, struct trouble *trouble)
{
    int fd = openat(folder->fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0)
        return trouble_errno(trouble, errno, "create", folder->path, temporary);
    int r = write_all(fd, bytes);
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    if (close(fd) < 0 && r == 0) /* NFS tells of a full disk only here */
        r = -errno;
    if (r == 0)
        return 0;
    (void)unlinkat(folder->fd, temporary, 0);
    return trouble_errno(trouble, -r, "write", folder->path, temporary);
}

int folder_rename(const struct folder *folder, const char *from, const char *to, struct trouble *trouble)
{
    if (renameat(folder->fd, from, folder->fd, to) == 0)
        return 0;
    return trouble_errno(trouble, errno, "replace", folder->path, to);
}

int folder_remove(const struct folder *folder, const char *name, struct trouble *trouble)
{
    if (unlinkat(folder->fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    return trouble_errno(trouble, errno, "remove", folder->path, name);
}

int folder_sync(const struct folder *folder, struct trouble *trouble)
{
    if (fsync(folder->fd) == 0)
        return 0;
    return trouble_errno(trouble, errno, "write", folder->path, NULL);
}

/* ---- names ---- */

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void folder_list_free(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

static bool add_name(const char *name, size_t length, char ***names, size_t *count)
{
    if ((*count & (*count - 1)) == 0) { /* powers of two */
        char **more = reallocarray(*names, *count > 0 ? *count * 2 : 1, sizeof(char *));
        if (!more)
            return false;
        *names = more;
    }
    (*names)[*count] = strndup(name, length);
    return (*names)[*count] && ++*count;
}

int folder_list(const struct folder *folder, const char *suffix, char ***ret, size_t *ret_count,
                struct trouble *trouble)
{
    char **names = NULL;
    size_t count = 0, tail = strlen(suffix);
    int fd = openat(folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    int error = directory ? 0 : errno;
    if (!directory && fd >= 0)
        close(fd);
    while (directory && !error) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        size_t length = entry ? strlen(entry->d_name) : 0;
        if (!entry) {
            error = errno;
            break;
        }
        if (length > tail && length - tail <= LIMIT_PROFILE_NAME &&
            strcmp(entry->d_name + length - tail, suffix) == 0 &&
            !add_name(entry->d_name, length - tail, &names, &count))
            error = ENOMEM;
    }
    if (directory)
        closedir(directory);
    if (error) {
        folder_list_free(names, count);
        return trouble_errno(trouble, error, "read", folder->path, NULL);
    }
    if (count > 0)
        qsort(names, count, sizeof(char *), compare);
    *ret = names;
    *ret_count = count;
    return 0;
}
