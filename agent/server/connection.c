#include "server/connection.h"

#include "cleanup.h"
#include "limits.h"
#include "message.h"
#include "server/call.h"
#include "server/memo.h"
#include <errno.h>
#include <sys/param.h>
#include <sys/socket.h>

enum { COST_OF_CALL = 4 }; /* of one that is not answered from the memo, in a turn's LIMIT_TURN_CALLS */

static void on_ready(void *arg, uint32_t events);
static void on_task(void *arg);

/* What to wait for follows from the state alone: output first, then input unless a call is under way. HUP always comes.
 */
static void adjust(struct connection *connection)
{
    bool waits = connection->call || connection->turn.loop || (connection->server->held && connection->in.length);
    uint32_t events = connection->out.length ? EPOLLOUT : waits ? 0 : EPOLLIN;
    if (events != connection->events && watch_modify(&connection->watch, events) == 0)
        connection->events = events;
}

static void on_deadline(void *arg)
{
    connection_free(arg);
}

static void set_deadline(struct connection *connection, int64_t ms)
{
    struct loop *loop = connection->server->loop;
    (void)timer_start(loop, &connection->deadline, loop_now(loop) + ms, on_deadline, connection);
}

void connection_new(struct server *server, int fd, pid_t pid, bool limited)
{
    struct connection *connection = calloc(1, sizeof(*connection));
    if (!connection || watch_start(server->loop, &connection->watch, fd, EPOLLIN, on_ready, connection) < 0) {
        free(connection);
        close(fd);
        return;
    }
    connection->server = server;
    connection->fd = fd;
    connection->pid = pid;
    connection->limited = limited;
    connection->events = EPOLLIN;
    connection->in = BUFFER(LIMIT_REQUEST + 1);
    connection->out = BUFFER(2 * (LIMIT_REPLY + 1));
    connection->next = server->connections;
    if (connection->next)
        connection->next->previous = connection;
    server->connections = connection;
    server->connection_count++;
}

void connection_free(struct connection *connection)
{
    struct server *server = connection->server;
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        server->connections = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    server->connection_count--;
    call_free(connection->call);
    watch_stop(&connection->watch);
    timer_stop(&connection->deadline);
    timer_stop(&connection->turn);
    task_stop(&connection->task);
    close(connection->fd);
    buffer_free(&connection->in);
    buffer_free(&connection->out);
    free(connection);
}

/* Closes from a task, because whoever sends may still look at the connection. */
void connection_end(struct connection *connection)
{
    connection->ending = true;
    buffer_clear(&connection->out);
    connection_resume(connection);
}

void connection_resume(struct connection *connection)
{
    task_start(connection->server->loop, &connection->task, on_task, connection);
}

void connection_ready(struct connection *connection)
{
    connection->call = call_free(connection->call);
    if (!connection->processing)
        connection_resume(connection);
}

static void on_audit(void *arg)
{
    struct server *server = arg;
    audit_tell(server->audit, loop_now(server->loop));
}

static void note(struct connection *connection, const struct audit_use *use)
{
    struct server *server = connection->server;
    audit_note(server->audit, &connection->audit, use, loop_now(server->loop));
    if (!server->audit_timer.loop && audit_due_ms(server->audit) >= 0)
        (void)timer_start(server->loop, &server->audit_timer, audit_due_ms(server->audit), on_audit, server);
}

void connection_audit(struct connection *connection, const char *profile, const char *application, bool fetched)
{
    note(connection, &(struct audit_use){
                         .pid = connection->pid, .profile = profile, .application = application, .fetched = fetched});
}

void connection_audit_denied(struct connection *connection, const char *profile, const char *application,
                             const char *reason)
{
    note(connection,
         &(struct audit_use){.pid = connection->pid, .profile = profile, .application = application, .denied = reason});
}

void connection_send(struct connection *connection, struct span message)
{
    if (connection->ending)
        return;
    if (!connection->out.length) {
        ssize_t n = send(connection->fd, message.data, message.length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            connection_end(connection);
            return;
        }
        if (n > 0) {
            message.data += n;
            message.length -= (size_t)n;
        }
        if (message.length == 0)
            return;
        set_deadline(connection, LIMIT_REPLY_MS);
    }
    if (buffer_append(&connection->out, message.data, message.length) < 0)
        connection_end(connection); /* it does not read what it follows */
    else
        adjust(connection);
}

static bool is_ready(const struct connection *connection)
{
    return !connection->call && !connection->ending && !connection->out.length && !connection->server->held;
}

/* Handles the whole messages that `input` begins with: how many bytes those were, or -1 when the connection has gone.
 */
static ssize_t handle(struct connection *connection, struct span input)
{
    size_t taken = 0;
    while (taken < input.length && is_ready(connection)) {
        struct buffer rest = {.data = (char *)(uintptr_t)input.data + taken, .length = input.length - taken};
        ssize_t length = message_find(&rest, LIMIT_REQUEST);
        if (length == -EAGAIN)
            break;
        if (connection->calls_left == 0) {
            connection_yield(connection);
            break;
        }
        timer_stop(&connection->deadline);
        struct span message = {rest.data, length < 0 ? 0 : (size_t)length};
        connection->processing = true;
        bool hit = length >= 0 && memo_serve(connection, message);
        if (!hit && (length < 0 || call_begin(connection, message) < 0)) {
            connection_free(connection); /* garbage */
            return -1;
        }
        connection->processing = false;
        connection->calls_left -= hit ? 1 : MIN(connection->calls_left, (unsigned)COST_OF_CALL);
        taken += (size_t)length + 1;
    }
    return (ssize_t)taken;
}

/* What follows from the state after something was handled: 0, or -1 when the connection has gone. */
static int settle(struct connection *connection)
{
    struct buffer *in = &connection->in;
    if (connection->ending && !connection->out.length) {
        connection_free(connection);
        return -1;
    }
    if (in->capacity && in->length == 0)
        buffer_free(in); /* an idle connection holds no memory */
    if (in->length > 0 && is_ready(connection) && !connection->turn.loop && !connection->deadline.loop)
        set_deadline(connection, LIMIT_REQUEST_MS);
    adjust(connection);
    return 0;
}

static int process(struct connection *connection)
{
    ssize_t taken = handle(connection, buffer_span(&connection->in));
    if (taken < 0)
        return -1;
    buffer_consume(&connection->in, (size_t)taken);
    return settle(connection);
}

static void on_task(void *arg)
{
    (void)process(arg);
}

static void on_turn(void *arg)
{
    struct connection *connection = arg;
    connection->calls_left = LIMIT_TURN_CALLS;
    if (connection->call && connection->call->resumed && !connection->out.length)
        connection->call->resumed(connection->call);
    (void)process(connection);
}

void connection_yield(struct connection *connection)
{
    struct loop *loop = connection->server->loop;
    if (!connection->turn.loop && timer_start(loop, &connection->turn, loop_now(loop), on_turn, connection) < 0)
        connection_end(connection);
}

/* Nearly always one read is one whole message: it is handled where it lies, and only what is left over is kept. While
 * something is kept, no more is read than the longest message has room for. */
static int take_input(struct connection *connection)
{
    struct buffer *in = &connection->in;
    char *scratch = connection->server->scratch;
    /* no more than can be kept: what follows a whole call is the next one, however much of it there is */
    size_t room = in->maximum - in->length;
    if (room == 0)
        return 0;
    ssize_t n = recv(connection->fd, scratch, room, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0) {
        connection_free(connection);
        return -1;
    }
    ssize_t taken = in->length ? 0 : handle(connection, (struct span){scratch, (size_t)n});
    if (taken < 0)
        return -1;
    int r = buffer_append(in, scratch + taken, (size_t)(n - taken));
    explicit_bzero(scratch, (size_t)n);
    if (r < 0) {
        connection_free(connection); /* out of memory */
        return -1;
    }
    return process(connection);
}

static int flush(struct connection *connection)
{
    struct buffer *out = &connection->out;
    ssize_t n = send(connection->fd, out->data, out->length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n < 0) {
        connection_free(connection);
        return -1;
    }
    buffer_consume(out, (size_t)n);
    if (out->length == 0) {
        buffer_free(out);
        timer_stop(&connection->deadline);
        if (connection->call && connection->call->resumed)
            connection->call->resumed(connection->call);
    } else {
        set_deadline(connection, LIMIT_REPLY_MS);
    }
    return 0;
}

static void on_ready(void *arg, uint32_t events)
{
    struct connection *connection = arg;
    if ((events & EPOLLERR) || ((events & EPOLLHUP) && !(events & EPOLLIN))) {
        connection_free(connection); /* the client has gone; its call goes with it */
        return;
    }
    connection->calls_left = LIMIT_TURN_CALLS;
    if ((events & EPOLLOUT) && (flush(connection) < 0 || process(connection) < 0))
        return;
    if (events & EPOLLIN)
        (void)take_input(connection);
}
