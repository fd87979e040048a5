#include "client_internal.h"

#include "cleanup.h"
#include "clock.h"
#include "message.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>

#define READ_SIZE 8192
#define LOCK_MS   100

static int lock_init(mltoken_handle *handle)
{
    pthread_mutexattr_t recursive;
    if (pthread_mutexattr_init(&recursive) != 0)
        return -1;
    (void)pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    int r = pthread_mutex_init(&handle->lock, &recursive);
    (void)pthread_mutexattr_destroy(&recursive);
    return r == 0 ? 0 : -1;
}

int mltoken_open(const char *socket_path, mltoken_handle **ret_handle)
{
    struct socket_path path;
    if (!ret_handle || socket_path_find(socket_path, &path) < 0)
        return MLTOKEN_EINVAL;
    mltoken_handle *handle = calloc(1, sizeof(*handle));
    if (!handle || lock_init(handle) < 0) {
        free(handle);
        return MLTOKEN_ENOMEM;
    }
    handle->pid = getpid();
    handle->path = path;
    handle->fd = -1;
    handle->out = BUFFER(LIMIT_REQUEST + 1);
    handle->in = BUFFER(LIMIT_REPLY + 1);
    *ret_handle = handle;
    return 0;
}

static void end_call(mltoken_handle *handle)
{
    handle->call = CALL_NONE;
    buffer_clear(&handle->out);
    handle->sent = 0;
}

void client_drop(mltoken_handle *handle)
{
    if (handle->fd >= 0)
        close(TAKE_FD(handle->fd));
    buffer_clear(&handle->in);
    end_call(handle);
}

void mltoken_close(mltoken_handle *handle)
{
    if (!handle)
        return;
    client_drop(handle);
    buffer_free(&handle->in);
    buffer_free(&handle->out);
    json_wipe(handle->asked);
    mltoken_free(handle->token);
    prompt_clear(&handle->prompt);
    free(handle->account);
    if (handle->pid == getpid()) /* else it may be held by a thread that was not forked with us */
        (void)pthread_mutex_destroy(&handle->lock);
    free(handle);
}

/* A child must not write into its parent's connection. It has one thread yet, so the lock can be made anew. */
static void own(mltoken_handle *handle)
{
    pid_t pid = getpid();
    if (handle->pid == pid)
        return;
    (void)lock_init(handle);
    client_drop(handle);
    handle->pid = pid;
}

void client_enter(mltoken_handle *handle)
{
    own(handle);
    (void)pthread_mutex_lock(&handle->lock);
}

/* A mutex waits by the clock that people set, so only for a moment at a time. (pthread_mutex_clocklock() would do, but
 * the thread sanitizer of gcc 12 does not know it, and would find fault with every application.) */
int client_enter_by(mltoken_handle *handle, int64_t deadline_ms)
{
    own(handle);
    for (;;) {
        int64_t left = deadline_ms - clock_boot_ms();
        int64_t until_ms = clock_wall_ms() + (left <= 0 ? 0 : left < LOCK_MS ? left : LOCK_MS);
        const struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
        if (pthread_mutex_timedlock(&handle->lock, &until) == 0)
            return 0;
        if (left <= 0)
            return MLTOKEN_ETIMEOUT;
    }
}

void client_leave(mltoken_handle *handle)
{
    (void)pthread_mutex_unlock(&handle->lock);
}

void mltoken_cancel(mltoken_handle *handle)
{
    if (!handle)
        return;
    client_enter(handle);
    if (handle->call != CALL_NONE)
        client_drop(handle);
    client_leave(handle);
}

int client_connect(mltoken_handle *handle)
{
    if (handle->fd >= 0)
        return 0;
    const struct socket_path *path = &handle->path;
    /* a path that was given may be mounted anywhere; what counts for it is who answers */
    int r = path->given ? 0 : socket_directory_check(path->directory, false);
    if (r < 0 && r != -ENOENT)
        return client_fail(handle, MLTOKEN_EPEER, "the directory %s %s", path->directory, socket_directory_problem(r));
    if (r == 0)
        r = socket_connect(path->agent, SOCK_NONBLOCK, &handle->fd);
    switch (r) {
    case 0:
        return 0;
    case -EAGAIN:
        return CLIENT_AGAIN;
    case -ENOENT:
    case -ECONNREFUSED:
        return client_fail(handle, MLTOKEN_ENOAGENT, "no agent listens at %s", path->agent);
    case -EPERM:
        return client_fail(handle, MLTOKEN_EPEER, "the server at %s belongs to another user", path->agent);
    default:
        return client_fail(handle, MLTOKEN_ESYSTEM, "cannot connect to %s: %s", path->agent, strerror(-r));
    }
}

int client_start(mltoken_handle *handle, enum client_call call, const char *method, json_object *parameters, bool more)
{
    _cleanup_json_wipe_ json_object *taken = parameters;
    if (handle->call != CALL_NONE)
        return MLTOKEN_EINUSE;
    handle->error = (struct client_error){0};
    int r = message_call(&handle->out, method, parameters, more);
    if (r == -EMSGSIZE || (r == 0 && handle->out.length > LIMIT_REQUEST + 1)) {
        buffer_clear(&handle->out);
        return client_fail(handle, MLTOKEN_EINVAL, "the request is longer than %d bytes", LIMIT_REQUEST);
    }
    if (r < 0) {
        buffer_clear(&handle->out);
        return client_fail(handle, MLTOKEN_ENOMEM, "out of memory");
    }
    json_wipe(handle->asked);
    handle->asked = TAKE_PTR(taken);
    handle->call = call;
    handle->more = more;
    handle->sent = 0;
    handle->answered = false;
    handle->reused = handle->fd >= 0;
    return 0;
}

/* The connection broke. One that was idle may have been ended long ago by an agent that is gone: then a new one gets
 * the whole call again, which no agent can have answered. */
static int broken(mltoken_handle *handle, int error)
{
    if (handle->reused && !handle->answered) {
        close(TAKE_FD(handle->fd));
        buffer_clear(&handle->in);
        handle->sent = 0;
        handle->reused = false;
        return 0;
    }
    client_drop(handle);
    return error ? client_fail(handle, MLTOKEN_ESYSTEM, "the connection to the agent: %s", strerror(error))
                 : client_fail(handle, MLTOKEN_ECLOSED, "the agent ended the connection");
}

/* 0: all is sent, or it has to start over */
static int send_some(mltoken_handle *handle)
{
    while (handle->fd >= 0 && handle->sent < handle->out.length) {
        ssize_t n = send(handle->fd, handle->out.data + handle->sent, handle->out.length - handle->sent, MSG_NOSIGNAL);
        if (n >= 0)
            handle->sent += (size_t)n;
        else if (errno == EAGAIN)
            return CLIENT_AGAIN;
        else if (errno == EPIPE || errno == ECONNRESET)
            handle->sent = handle->out.length; /* there may be an answer that says why: reading will tell */
        else if (errno != EINTR)
            return broken(handle, errno);
    }
    return 0;
}

static int receive_some(mltoken_handle *handle)
{
    struct buffer *in = &handle->in;
    size_t room = in->maximum - in->length < READ_SIZE ? in->maximum - in->length : READ_SIZE;
    if (buffer_reserve(in, room) < 0) {
        client_drop(handle);
        return client_fail(handle, MLTOKEN_ENOMEM, "out of memory");
    }
    ssize_t n = recv(handle->fd, in->data + in->length, room, 0);
    if (n < 0 && errno == EINTR)
        return 0;
    if (n < 0 && errno == EAGAIN)
        return CLIENT_AGAIN;
    if (n <= 0)
        return broken(handle, n < 0 && errno != ECONNRESET ? errno : 0);
    in->length += (size_t)n;
    in->data[in->length] = '\0';
    handle->answered = true;
    return 0;
}

static int nonsense(mltoken_handle *handle, const char *what)
{
    client_drop(handle);
    return client_fail(handle, MLTOKEN_EPROTOCOL, "%s", what);
}

/* One whole message: a reply, or an error, which ends the call */
static int understand(mltoken_handle *handle, json_object *message, json_object **ret_parameters, bool *ret_continues)
{
    json_object *member = NULL;
    bool continues = false;
    const char *name;
    if (!json_object_is_type(message, json_type_object))
        return nonsense(handle, "the agent's answer is not an object");
    _cleanup_json_wipe_ json_object *parameters = NULL;
    if (json_member(message, "parameters", &member) == 0) {
        if (!json_object_is_type(member, json_type_object))
            return nonsense(handle, "the agent's answer has parameters that are not an object");
        parameters = json_object_get(member);
        json_object_object_del(message, "parameters"); /* now ours alone */
    } else {
        parameters = json_object_new_object();
    }
    if (!parameters) {
        client_drop(handle);
        return client_fail(handle, MLTOKEN_ENOMEM, "out of memory");
    }
    if (json_boolean(message, "continues", &continues) == -EINVAL || (continues && !handle->more))
        return nonsense(handle, "the agent's answer continues where it must not");
    int r = json_string(message, "error", LIMIT_ERROR_NAME, &name);
    if (r == -EINVAL)
        return nonsense(handle, "the agent's answer has an error without a name");
    if (r == 0)
        r = client_refused(handle, name, parameters);
    else
        r = 0;
    if (r < 0 || !continues) {
        end_call(handle);
        if (handle->in.length > 0) /* nobody asked for more */
            client_drop(handle);
    }
    if (r < 0)
        return r;
    *ret_parameters = TAKE_PTR(parameters);
    *ret_continues = continues;
    return 0;
}

static int take_message(mltoken_handle *handle, json_object **ret_parameters, bool *ret_continues)
{
    ssize_t length = message_find(&handle->in, LIMIT_REPLY);
    if (length == -EAGAIN)
        return CLIENT_AGAIN;
    if (length < 0)
        return nonsense(handle, "the agent's answer is too long");
    _cleanup_json_wipe_ json_object *message = NULL;
    int r = json_parse(handle->in.data, (size_t)length, LIMIT_REPLY_DEPTH, &message);
    buffer_consume(&handle->in, (size_t)length + 1);
    if (r < 0)
        return nonsense(handle, "the agent's answer is not JSON");
    return understand(handle, message, ret_parameters, ret_continues);
}

int client_step(mltoken_handle *handle, json_object **ret_parameters, bool *ret_continues)
{
    if (handle->call == CALL_NONE)
        return MLTOKEN_EINVAL;
    for (;;) {
        int r = take_message(handle, ret_parameters, ret_continues);
        if (r != CLIENT_AGAIN)
            return r;
        r = client_connect(handle);
        if (r < 0)
            client_drop(handle);
        if (r != 0)
            return r;
        r = send_some(handle);
        if (r == 0 && handle->fd >= 0 && handle->sent == handle->out.length)
            r = receive_some(handle);
        if (r != 0)
            return r;
    }
}

int client_wait(mltoken_handle *handle, int64_t deadline_ms)
{
    int64_t left = deadline_ms - clock_boot_ms();
    if (left <= 0)
        return MLTOKEN_ETIMEOUT;
    struct pollfd poll_fd = {.fd = handle->fd, .events = (short)mltoken_events(handle)};
    int pause = mltoken_timeout(handle);
    if (pause >= 0 && pause < left)
        left = pause;
    (void)poll(&poll_fd, 1, left > INT_MAX ? INT_MAX : (int)left); /* whatever it was, client_step() will see it */
    return 0;
}

int client_next(mltoken_handle *handle, int64_t deadline_ms, json_object **ret_parameters, bool *ret_continues)
{
    for (;;) {
        int r = client_step(handle, ret_parameters, ret_continues);
        if (r != CLIENT_AGAIN)
            return r;
        r = client_wait(handle, deadline_ms);
        if (r < 0)
            return client_fail(handle, r, "the agent did not answer in time");
    }
}

int client_deadline(int timeout_ms, int64_t standard_ms, int64_t *ret)
{
    if (timeout_ms < 0)
        return MLTOKEN_EINVAL;
    *ret = clock_boot_ms() + (timeout_ms ? timeout_ms : standard_ms);
    return 0;
}

int mltoken_fd(mltoken_handle *handle)
{
    if (!handle)
        return -1;
    client_enter(handle);
    int fd = handle->fd;
    client_leave(handle);
    return fd;
}

int mltoken_events(mltoken_handle *handle)
{
    if (!handle)
        return 0;
    client_enter(handle);
    int events = handle->call == CALL_NONE ? 0 : handle->sent < handle->out.length ? POLLOUT : POLLIN;
    client_leave(handle);
    return events;
}

int mltoken_timeout(mltoken_handle *handle)
{
    if (!handle)
        return -1;
    client_enter(handle);
    int timeout = -1;
    if (handle->call != CALL_NONE && message_find(&handle->in, LIMIT_REPLY) != -EAGAIN)
        timeout = 0; /* it came together with the one before: the descriptor will not tell */
    else if (handle->call != CALL_NONE && handle->fd < 0)
        timeout = LIMIT_CONNECT_PAUSE_MS;
    client_leave(handle);
    return timeout;
}

static int process_reply(mltoken_handle *handle, mltoken_event *ret_event)
{
    enum client_call call = handle->call;
    _cleanup_json_wipe_ json_object *parameters = NULL;
    bool continues = false;
    int r = client_step(handle, &parameters, &continues);
    if (r != 0)
        return r;
    r = call == CALL_LOGIN ? login_event(handle, parameters, ret_event) : get_event(handle, parameters, ret_event);
    if (r < 0 || (*ret_event == MLTOKEN_SIGNED_IN && continues))
        client_drop(handle);
    return r;
}

int mltoken_process(mltoken_handle *handle, mltoken_event *ret_event)
{
    if (!handle || !ret_event)
        return MLTOKEN_EINVAL;
    client_enter(handle);
    *ret_event = MLTOKEN_NOTHING;
    int r = handle->call == CALL_NONE || handle->call == CALL_OTHER ? MLTOKEN_EINVAL : 0;
    while (r == 0 && *ret_event == MLTOKEN_NOTHING)
        r = process_reply(handle, ret_event);
    client_leave(handle);
    return r == CLIENT_AGAIN ? 0 : r;
}
