#include "store/child.h"

#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum {
    GRACE_MS = 1000,   /* to close a person's window in */
    END_MS = 1000,     /* for a program to end by itself when the agent does */
    PIECE = 16 * 1024, /* read at once */
};

/* ---- its end ---- */

static void bury(struct corpse *corpse)
{
    watch_stop(&corpse->watch);
    timer_stop(&corpse->grace);
    corpse->said = said_free(corpse->said);
    close(corpse->pidfd);
    corpse->pid = 0;
}

static void on_dead(void *arg, uint32_t events)
{
    struct corpse *corpse = arg;
    (void)events;
    if (waitpid(corpse->pid, NULL, WNOHANG) != 0)
        bury(corpse);
}

/* It is not gone yet, or it would have been buried: the number is still its own. */
static void on_grace(void *arg)
{
    const struct corpse *corpse = arg;
    (void)kill(corpse->pid, SIGKILL);
}

static struct corpse *free_corpse(struct child *child)
{
    for (size_t i = 0; i < CHILD_CORPSES; i++)
        if (!child->corpses[i].pid)
            return &child->corpses[i];
    return NULL;
}

/* The program is waited for from the loop: what sleeps in the kernel may take for ever. There is a place for it, or it
 * would not have been started. */
static void lay_out(struct child *child, bool gently)
{
    struct corpse *corpse = free_corpse(child);
    gently = gently && corpse;
    (void)kill(child->pid, gently ? SIGTERM : SIGKILL);
    if (waitpid(child->pid, NULL, WNOHANG) == child->pid || !corpse) {
        close_cleanup(&child->pidfd);
        child->said = said_free(child->said);
        return;
    }
    *corpse = (struct corpse){.pidfd = child->pidfd, .pid = child->pid, .said = child->said};
    child->said = NULL;
    if (gently && timer_start(child->loop, &corpse->grace, loop_now(child->loop) + GRACE_MS, on_grace, corpse) < 0)
        on_grace(corpse);
    (void)watch_start(child->loop, &corpse->watch, corpse->pidfd, EPOLLIN, on_dead, corpse);
}

void child_end(struct child *child, bool gently)
{
    if (child->fd < 0)
        return;
    watch_stop(&child->on_bytes);
    watch_stop(&child->on_end);
    close_cleanup(&child->fd);
    child->fd = -1;
    lay_out(child, gently);
    child->pidfd = -1;
    buffer_clear(&child->in);
    buffer_clear(&child->out);
    child->sent = 0;
}

void child_free(struct child *child, bool gently)
{
    if (child->fd >= 0) {
        watch_stop(&child->on_bytes);
        watch_stop(&child->on_end);
        (void)shutdown(child->fd, SHUT_WR);
        if (gently)
            (void)kill(child->pid, SIGTERM);
        struct pollfd end = {.fd = child->pidfd, .events = POLLIN};
        (void)poll(&end, 1, END_MS);
        child_end(child, false);
    }
    for (size_t i = 0; i < CHILD_CORPSES; i++)
        if (child->corpses[i].pid) {
            on_grace(&child->corpses[i]);
            bury(&child->corpses[i]);
        }
    buffer_free(&child->in);
    buffer_free(&child->out);
}

/* ---- its start ---- */

/* What the program gets of the agent's environment: enough to find a person's bus, files and keys. */
static char **make_environment(const char *setting)
{
    static const char *const names[] = {"PATH",
                                        "HOME",
                                        "USER",
                                        "LANG",
                                        "LC_ALL",
                                        "DISPLAY",
                                        "WAYLAND_DISPLAY",
                                        "DBUS_SESSION_BUS_ADDRESS",
                                        "DBUS_SYSTEM_BUS_ADDRESS",
                                        "XDG_RUNTIME_DIR",
                                        "XDG_STATE_HOME",
                                        "XDG_CONFIG_HOME",
                                        "CREDENTIALS_DIRECTORY",
                                        "MLTOKEN_KEY_FILE",
                                        "ASAN_OPTIONS",
                                        "LSAN_OPTIONS",
                                        "UBSAN_OPTIONS",
                                        "TSAN_OPTIONS"};
    char **entries = calloc(ELEMENTS(names) + 2, sizeof(*entries));
    size_t count = 0;
    for (size_t i = 0; entries && i < ELEMENTS(names); i++) {
        const char *value = getenv(names[i]);
        size_t length = strlen(names[i]);
        bool replaced = setting && strncmp(setting, names[i], length) == 0 && setting[length] == '=';
        if (value && !replaced && asprintf(&entries[count], "%s=%s", names[i], value) >= 0)
            count++;
    }
    if (entries && setting && (entries[count] = strdup(setting)))
        count++;
    if (entries)
        entries[count] = NULL;
    return entries;
}

static void free_environment(char **entries)
{
    for (char **entry = entries; entry && *entry; entry++)
        free(*entry);
    free(entries);
}

static int spawn(struct child *child, const char *path, const char *setting, int fd, int error_fd)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    char *argv[] = {(char *)(uintptr_t)path, NULL};
    char **environment = make_environment(setting);
    if (!environment)
        return -ENOMEM;
    sigemptyset(&none);
    sigfillset(&all);
    int r = posix_spawn_file_actions_init(&actions);
    if (r == 0 && (r = posix_spawnattr_init(&attributes)) != 0)
        (void)posix_spawn_file_actions_destroy(&actions);
    if (r != 0) {
        free_environment(environment);
        return -r;
    }
    r = posix_spawn_file_actions_adddup2(&actions, fd, 0);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, fd, 1);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, error_fd, 2);
    if (r == 0)
        r = posix_spawnattr_setsigmask(&attributes, &none);
    if (r == 0)
        r = posix_spawnattr_setsigdefault(&attributes, &all);
    if (r == 0)
        r = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (r == 0)
        r = posix_spawn(&child->pid, path, &actions, &attributes, argv, environment);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attributes);
    free_environment(environment);
    return -r;
}

bool child_runs(const struct child *child)
{
    return child->fd >= 0;
}

bool child_may_start(const struct child *child)
{
    for (size_t i = 0; i < CHILD_CORPSES; i++)
        if (!child->corpses[i].pid)
            return true;
    return false;
}

void child_init(struct child *child, struct loop *loop)
{
    *child = (struct child){.loop = loop, .fd = -1, .pidfd = -1};
    child->in = child->out = BUFFER(LIMIT_STORE_FRAME + 4);
}

static int watch(struct child *child, watch_fn *on_bytes, watch_fn *on_end, void *arg)
{
    child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
    int r = child->pidfd < 0 ? -errno : 0;
    if (r == 0)
        r = watch_start(child->loop, &child->on_end, child->pidfd, EPOLLIN, on_end, arg);
    if (r == 0)
        r = watch_start(child->loop, &child->on_bytes, child->fd, EPOLLIN, on_bytes, arg);
    return r;
}

int child_start(struct child *child, const char *path, const char *setting, watch_fn *on_bytes, watch_fn *on_end,
                void *arg)
{
    int pair[2];
    if (access(path, X_OK) < 0)
        return -errno;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    int error_fd = -1;
    int r = said_new(child->loop, path, &error_fd, &child->said);
    if (r == 0)
        r = spawn(child, path, setting, pair[1], error_fd);
    close_cleanup(&error_fd);
    close(pair[1]);
    if (r < 0) {
        child->said = said_free(child->said);
        close(pair[0]);
        return r;
    }
    child->fd = pair[0];
    (void)fcntl(child->fd, F_SETFL, O_NONBLOCK);
    r = watch(child, on_bytes, on_end, arg);
    if (r < 0) {
        if (child->pidfd < 0) { /* nothing tells of its end: wait for it here, it has just begun */
            (void)kill(child->pid, SIGKILL);
            (void)waitpid(child->pid, NULL, 0);
            close(child->fd);
            child->fd = -1;
            child->said = said_free(child->said);
        }
        child_end(child, false);
    }
    return r;
}

/* ---- its stream ---- */

int child_receive(struct child *child)
{
    struct buffer *in = &child->in;
    size_t room = in->maximum - in->length < PIECE ? in->maximum - in->length : PIECE;
    if (buffer_reserve(in, room) < 0)
        return -ENOMEM;
    ssize_t n = recv(child->fd, in->data + in->length, room, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (n == 0)
        return -EPIPE;
    in->length += (size_t)n;
    in->data[in->length] = '\0';
    return 1;
}

int child_take(struct child *child, struct buffer *ret_bytes, struct store_frame *ret)
{
    ssize_t length = child->fd < 0 ? -EAGAIN : store_frame_find(&child->in);
    if (length == -EAGAIN)
        return 0;
    if (length < 0 || store_frame_read(child->in.data, (size_t)length, ret) < 0)
        return -EBADMSG;
    *ret_bytes = child->in;
    child->in = BUFFER(LIMIT_STORE_FRAME + 4);
    buffer_append(&child->in, ret_bytes->data + length, ret_bytes->length - (size_t)length);
    return 1;
}

void child_send_more(struct child *child)
{
    size_t left = child->out.length - child->sent;
    ssize_t n = left ? send(child->fd, child->out.data + child->sent, left, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
    if (n > 0)
        child->sent += (size_t)n;
    if (child->sent == child->out.length) {
        buffer_free(&child->out);
        child->sent = 0;
    }
    (void)watch_modify(&child->on_bytes, child->sent < child->out.length ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

int child_send(struct child *child, const struct store_field *fields, size_t count, struct span value)
{
    buffer_free(&child->out); /* what is left of a request that was answered before it was read to its end */
    child->sent = 0;
    int r = store_frame_write(&child->out, fields, count, value);
    if (r < 0)
        buffer_free(&child->out);
    else
        child_send_more(child);
    return r;
}
