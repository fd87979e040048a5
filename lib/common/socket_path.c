#include "socket_path.h"

#include "cleanup.h"
#include "limits.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define SERVICES "/run/mltoken" /* of root's */

static int set(struct socket_path *ret, const char *directory, const char *name)
{
    int a = snprintf(ret->directory, sizeof(ret->directory), "%s", directory);
    int b = snprintf(ret->agent, sizeof(ret->agent), "%s/%s", directory, name);
    int c = snprintf(ret->get, sizeof(ret->get), "%s/get.sock", directory);
    if (a < 0 || b < 0 || c < 0 || (size_t)b >= sizeof(ret->agent) || (size_t)c >= sizeof(ret->get))
        return -ENAMETOOLONG;
    return 0;
}

static int set_given(const char *path, struct socket_path *ret)
{
    const char *slash = strrchr(path, '/');
    if (path[0] != '/' || slash[1] == '\0')
        return -EINVAL;
    if (strlen(path) >= SOCKET_PATH_SIZE)
        return -ENAMETOOLONG;
    ret->given = true;
    (void)snprintf(ret->directory, sizeof(ret->directory), "%.*s", slash > path ? (int)(slash - path) : 1, path);
    (void)snprintf(ret->agent, sizeof(ret->agent), "%s", path);
    int n = snprintf(ret->get, sizeof(ret->get), "%.*s/get.sock", (int)(slash - path), path);
    return n < 0 || (size_t)n >= sizeof(ret->get) ? -ENAMETOOLONG : 0;
}

static bool own_directory(const char *path, uid_t uid)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == uid;
}

/* Those of the PAM module, and of no account. */
static bool is_reserved(const char *name)
{
    return strcmp(name, "handoff") == 0 || strcmp(name, "rate") == 0;
}

/* That of mltoken-agent@NAME.service: a directory of the account's own in one of root's, found by its owner, so that no
 * name has to be looked up. */
static bool find_service(uid_t uid, char directory[static SOCKET_PATH_SIZE])
{
    DIR *all = opendir(SERVICES);
    bool found = false;
    if (!all)
        return false;
    for (int seen = 0; !found && seen < LIMIT_SERVICE_ACCOUNTS; seen++) {
        struct stat st;
        const struct dirent *entry = readdir(all);
        if (!entry)
            break;
        if (entry->d_name[0] == '.' || is_reserved(entry->d_name) ||
            fstatat(dirfd(all), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode) ||
            st.st_uid != uid)
            continue;
        char path[sizeof(SERVICES) + sizeof(entry->d_name)];
        int n = snprintf(path, sizeof(path), SERVICES "/%s", entry->d_name);
        if (n > 0 && n < SOCKET_PATH_SIZE) {
            memcpy(directory, path, (size_t)n + 1);
            found = true;
        }
    }
    (void)closedir(all);
    return found;
}

/* In a runtime directory, unless the account has an agent of the system's: one that su and the like bring up for a
 * moment, with the account's own user manager, has none of its profiles and keys. */
static int set_below(const char *runtime, uid_t uid, struct socket_path *ret)
{
    char directory[SOCKET_PATH_SIZE];
    int n = snprintf(directory, sizeof(directory), "%s/mltoken", runtime);
    if (n < 0 || (size_t)n >= sizeof(directory))
        return -ENAMETOOLONG;
    (void)find_service(uid, directory);
    return set(ret, directory, "agent.sock");
}

int socket_path_for(uid_t uid, struct socket_path *ret)
{
    char runtime[SOCKET_PATH_SIZE], directory[SOCKET_PATH_SIZE];
    *ret = (struct socket_path){0};
    (void)snprintf(runtime, sizeof(runtime), "/run/user/%lu", (unsigned long)uid);
    if (own_directory(runtime, uid))
        return set_below(runtime, uid, ret);
    if (!find_service(uid, directory))
        (void)snprintf(directory, sizeof(directory), "/tmp/mltoken-%lu", (unsigned long)uid);
    return set(ret, directory, "agent.sock");
}

int socket_path_find(const char *given, struct socket_path *ret)
{
    *ret = (struct socket_path){0};
    if (given)
        return set_given(given, ret);
    given = secure_getenv("MLTOKEN_SOCK");
    if (given && *given) /* set to nothing is not set */
        return set_given(given, ret);
    const char *runtime = secure_getenv("XDG_RUNTIME_DIR");
    if (runtime && runtime[0] == '/' && own_directory(runtime, geteuid()))
        return set_below(runtime, geteuid(), ret);
    return socket_path_for(geteuid(), ret);
}

const char *socket_path_service(const struct socket_path *path)
{
    static const char start[] = SERVICES "/";
    const char *name = path->directory + sizeof(start) - 1;
    return strncmp(path->directory, start, sizeof(start) - 1) == 0 && *name && !strchr(name, '/') ? name : NULL;
}

int socket_directory_check(const char *directory, bool create)
{
    struct stat st;
    if (create && mkdir(directory, 0700) < 0 && errno != EEXIST)
        return -errno;
    if (lstat(directory, &st) < 0)
        return -errno;
    if (S_ISLNK(st.st_mode))
        return -ELOOP;
    if (!S_ISDIR(st.st_mode))
        return -ENOTDIR;
    if (st.st_uid != geteuid())
        return -EPERM;
    return st.st_mode & 077 ? -EACCES : 0;
}

const char *socket_directory_problem(int error)
{
    switch (error) {
    case -ELOOP:
        return "is a symbolic link";
    case -ENOTDIR:
        return "is not a directory";
    case -EPERM:
        return "belongs to another user";
    case -EACCES:
        return "is open to others (it must have mode 0700)";
    default:
        return strerror(-error);
    }
}

int socket_peer(int fd, uid_t *ret_uid, pid_t *ret_pid)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return -errno;
    *ret_uid = peer.uid;
    if (ret_pid)
        *ret_pid = peer.pid;
    return 0;
}

int socket_connect(const char *path, int flags, int *ret_fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    uid_t uid = (uid_t)-1; /* nobody's */
    int r = socket_peer(fd, &uid, NULL);
    if (r < 0)
        return r;
    if (uid != geteuid())
        return -EPERM;
    *ret_fd = TAKE_FD(fd);
    return 0;
}
