#include "doctor_agent.h"

#include "cleanup.h"
#include "clock.h"
#include "message.h"
#include "socket_path.h"
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

/* In all: what is at hand comes at once. */
enum { PATIENCE_MS = 5000, CHUNK = 4096 };

struct talk {
    int fd;
    int64_t deadline_ms;
    struct buffer in;
};

static int wait_for(const struct talk *talk, short events)
{
    struct pollfd poll_fd = {.fd = talk->fd, .events = events};
    int64_t left = talk->deadline_ms - clock_boot_ms();
    int r = left > 0 ? poll(&poll_fd, 1, (int)left) : 0;
    return r < 0 ? -errno : r == 0 ? -ETIMEDOUT : 0;
}

static int say(struct talk *talk, const char *method, json_object *parameters, bool more)
{
    _cleanup_buffer_ struct buffer out = BUFFER(LIMIT_REQUEST);
    int r = message_call(&out, method, parameters, more);
    for (size_t sent = 0; r == 0 && sent < out.length;) {
        r = wait_for(talk, POLLOUT);
        ssize_t n = r == 0 ? send(talk->fd, out.data + sent, out.length - sent, MSG_NOSIGNAL) : 0;
        r = n < 0 && errno != EAGAIN ? -errno : r;
        sent += n > 0 ? (size_t)n : 0;
    }
    return r;
}

/* The next reply's parameters; -ENOENT: it is an error. */
static int hear(struct talk *talk, json_object **ret)
{
    ssize_t length;
    while ((length = message_find(&talk->in, LIMIT_REPLY)) == -EAGAIN) {
        int r = wait_for(talk, POLLIN);
        if (r == 0)
            r = buffer_reserve(&talk->in, CHUNK);
        ssize_t n = r == 0 ? recv(talk->fd, talk->in.data + talk->in.length, CHUNK, 0) : 0;
        if (r < 0 || n <= 0)
            return r < 0 ? r : n < 0 ? -errno : -ECONNRESET;
        talk->in.length += (size_t)n;
    }
    if (length < 0)
        return (int)length;
    _cleanup_json_wipe_ json_object *reply = NULL;
    json_object *parameters = NULL, *error;
    int r = json_parse(talk->in.data, (size_t)length, LIMIT_REPLY_DEPTH, &reply);
    buffer_consume(&talk->in, (size_t)length + 1);
    if (r < 0)
        return r;
    if (json_member(reply, "error", &error) == 0 || json_member(reply, "parameters", &parameters) < 0)
        return -ENOENT;
    *ret = json_object_get(parameters);
    json_object_object_del(reply, "parameters"); /* or it would be wiped with the reply */
    return 0;
}

/* Whether a reply to List is about the profile, with a token at hand from the authority that is configured now. */
static bool is_ready(json_object *reply, const struct profile *profile)
{
    json_object *item = NULL;
    const char *name = "", *state = "", *authority = "";
    if (json_member(reply, "profile", &item) < 0)
        return false;
    (void)json_string(item, "name", LIMIT_PROFILE_NAME, &name);
    (void)json_string(item, "state", LIMIT_CODE, &state);
    (void)json_string(item, "authority", LIMIT_URL, &authority);
    return strcmp(name, profile->name) == 0 && strcmp(state, "ready") == 0 &&
           strcmp(authority, profile->authority) == 0;
}

/* 0, or -ENOENT. */
static int look(struct talk *talk, const struct profile *profile)
{
    int r = say(talk, MESSAGE_INTERFACE ".List", NULL, true);
    bool found = false;
    for (size_t i = 0; r == 0 && !found && i < LIMIT_PROFILES; i++) {
        _cleanup_json_ json_object *reply = NULL;
        r = hear(talk, &reply);
        found = r == 0 && is_ready(reply, profile);
    }
    return r == 0 && !found ? -ENOENT : r;
}

static int take(struct talk *talk, const struct profile *profile, struct secret **ret)
{
    _cleanup_json_ json_object *parameters = json_object_new_object();
    _cleanup_json_wipe_ json_object *reply = NULL;
    json_object *token = NULL;
    struct span value = {0};
    if (!parameters || json_put_text(parameters, "profile", profile->name) < 0 ||
        json_put_text(parameters, "application", "mltoken doctor") < 0)
        return -ENOMEM;
    int r = say(talk, MESSAGE_INTERFACE ".GetToken", parameters, false);
    if (r == 0)
        r = hear(talk, &reply);
    if (r == 0 && json_member(reply, "token", &token) == 0)
        (void)json_bytes(token, "value", LIMIT_TOKEN, &value);
    return r < 0 ? r : value.length ? secret_new(value.data, value.length, ret) : -ENOENT;
}

/* On a connection of its own each: List goes on, and what is left of it is nothing to us. */
static int with_agent(const struct profile *profile, struct secret **ret)
{
    struct socket_path path;
    _cleanup_close_ int fd = -1;
    int r = socket_path_find(NULL, &path);
    if (r == 0)
        r = socket_connect(path.agent, SOCK_NONBLOCK, &fd);
    if (r < 0)
        return -ENOENT;
    struct talk talk = {.fd = fd, .deadline_ms = clock_boot_ms() + PATIENCE_MS, .in = BUFFER(LIMIT_REPLY + CHUNK)};
    r = ret ? take(&talk, profile, ret) : look(&talk, profile);
    buffer_free(&talk.in);
    return r;
}

int doctor_ask_token(const struct profile *profile, struct secret **ret)
{
    if (profile_guarded(profile)) /* a person would be asked, or we are not on the list */
        return -ENOENT;
    int r = with_agent(profile, NULL);
    return r < 0 ? r : with_agent(profile, ret);
}

bool doctor_bearer(const struct profile *profile, struct buffer *ret)
{
    struct secret *token = NULL;
    if (doctor_ask_token(profile, &token) < 0)
        return false;
    struct span value = secret_span(token);
    buffer_text(ret, "Bearer ");
    buffer_append(ret, value.data, value.length);
    secret_unref(token);
    return buffer_error(ret) == 0;
}
