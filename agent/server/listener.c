#include "cleanup.h"
#include "clock.h"
#include "limits.h"
#include "log.h"
#include "server/connection.h"
#include "server/memo.h"
#include "socket_path.h"
#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { REST_MS = 100, TELL_MS = 60000 };

/* How many clients there may be: a crowd that is only connected must not take the descriptors that a fetch needs. */
static size_t most_connections(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= LIMIT_CONNECTIONS + LIMIT_RESERVE)
        return LIMIT_CONNECTIONS;
    size_t all = (size_t)limit.rlim_cur;
    return all >= 2 * LIMIT_RESERVE ? all - LIMIT_RESERVE : all / 2;
}

/* Once in a while: nobody may fill the log by knocking. */
static void tell(const struct listener *listener, int64_t *told_ms, const char *what)
{
    int64_t now = loop_now(listener->server->loop);
    if (*told_ms && now - *told_ms < TELL_MS)
        return;
    *told_ms = now;
    log_event(LOG_LEVEL_WARNING, what, NULL);
}

static void on_rested(void *arg)
{
    struct listener *listener = arg;
    (void)watch_modify(&listener->watch, EPOLLIN);
}

/* Out of descriptors: clients wait in the queue, and we do not spin. */
static void rest(struct listener *listener)
{
    struct loop *loop = listener->server->loop;
    if (timer_start(loop, &listener->timer, loop_now(loop) + REST_MS, on_rested, listener) < 0)
        return;
    tell(listener, &listener->full_told_ms, "no more connections can be taken for now");
    (void)watch_modify(&listener->watch, 0);
}

static void on_client(void *arg, uint32_t events)
{
    (void)events;
    struct listener *listener = arg;
    struct server *server = listener->server;
    size_t most = most_connections();
    for (int i = 0; i < LIMIT_ACCEPTS; i++) {
        uid_t uid;
        pid_t pid;
        if (server->connection_count >= most) {
            rest(listener);
            return;
        }
        _cleanup_close_ int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
            return;
        if (fd < 0) {
            rest(listener);
            return;
        }
        if (socket_peer(fd, &uid, &pid) < 0 || uid != geteuid()) {
            tell(listener, &listener->foreign_told_ms, "another user's connection was refused");
            continue;
        }
        connection_new(server, TAKE_FD(fd), pid, listener->limited);
    }
}

/* Which of the tokens of a line had to be fetched for it. */
static const char *source_of(const struct audit_line *line)
{
    return line->denied ? "denied" : line->fetched == 0 ? "hit" : line->fetched == line->count ? "fetched" : "both";
}

static const char *told(const struct audit_line *line)
{
    if (line->denied)
        return line->first ? "a token was denied" : "more tokens were denied";
    if (!line->first)
        return "more tokens were handed out";
    return line->application ? "a token was handed out; application is what the client calls itself"
                             : "a token was handed out";
}

static const char *pinentry_program(void *arg)
{
    const struct conductor *conductor = arg;
    return conductor->config->pinentry;
}

static void tell_audit(void *arg, const struct audit_line *line)
{
    (void)arg;
    char when[32] = "?", pid[24], count[24];
    time_t now = (time_t)clock_wall_s();
    struct tm utc;
    if (gmtime_r(&now, &utc))
        (void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &utc);
    (void)snprintf(pid, sizeof(pid), "%ld", (long)line->pid);
    (void)snprintf(count, sizeof(count), "%llu", (unsigned long long)line->count);
    log_event(line->denied ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, told(line), "EVENT",
              line->denied ? "token-denied" : "token-handed-out", "TIME", when, "PROFILE", line->profile, "PID",
              line->pid > 0 ? pid : "?", "EXE", line->executable, "APPLICATION", line->application, "SOURCE",
              source_of(line), "COUNT", count, "REASON", line->denied, NULL);
}

int server_new(struct loop *loop, struct conductor *conductor, struct server **ret)
{
    struct server *server = calloc(1, sizeof(*server));
    if (!server)
        return -ENOMEM;
    server->loop = loop;
    server->conductor = conductor;
    if (!(server->memos = memos_new()) || audit_new(LIMIT_AUDIT_MS, tell_audit, NULL, &server->audit) < 0 ||
        approvals_new(loop, conductor->worker, pinentry_program, conductor, LIMIT_CONFIRM_MS, &server->approvals) < 0) {
        server_free(server);
        return -ENOMEM;
    }
    *ret = server;
    return 0;
}

int server_listen(struct server *server, int fd, bool limited)
{
    if (server->listener_count == ELEMENTS(server->listeners))
        return -ENOSPC;
    struct listener *listener = &server->listeners[server->listener_count];
    *listener = (struct listener){.server = server, .fd = fd, .limited = limited};
    int r = watch_start(server->loop, &listener->watch, fd, EPOLLIN, on_client, listener);
    if (r == 0)
        server->listener_count++;
    return r;
}

void server_hold(struct server *server, bool hold)
{
    server->held = hold;
    if (hold)
        return;
    for (struct connection *connection = server->connections; connection; connection = connection->next)
        if (connection->in.length && !connection->call)
            connection_resume(connection);
}

struct server *server_free(struct server *server)
{
    if (!server)
        return NULL;
    while (server->connections)
        connection_free(server->connections);
    for (size_t i = 0; i < server->listener_count; i++) {
        watch_stop(&server->listeners[i].watch);
        timer_stop(&server->listeners[i].timer);
        close(server->listeners[i].fd);
    }
    task_stop(&server->look_task);
    approvals_free(server->approvals);
    timer_stop(&server->audit_timer);
    audit_free(server->audit);
    free(server->memos);
    free(server);
    return NULL;
}
