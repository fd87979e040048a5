/* An agent of few words for the tests of libmltoken: a thread that takes connections and plays a script on each. */
#pragma once

#include "buffer.h"
#include "cleanup.h"
#include "limits.h"
#include "mltoken.h"
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum act { END, READ, SAY, SAY_PIECES, CLOSE, HOLD, AGAIN };
/* READ one call; SAY text and a NUL; SAY_PIECES the same byte by byte; CLOSE the connection (the next one goes on with
 * the script); HOLD until the client goes; AGAIN: from the start of the script, for ever */
struct line {
    enum act act;
    const char *text;
    size_t length; /* of the text; 0: strlen */
};

struct agent {
    char directory[64], path[96];
    int listener;
    const struct line *script;
    pthread_t thread;
    struct buffer heard; /* every call, each with its NUL */
    int connections;
    bool client_left; /* seen by HOLD */
};

static inline void agent_write(int fd, const char *bytes, size_t length, size_t piece)
{
    for (size_t done = 0; done < length;) {
        size_t n = length - done < piece ? length - done : piece;
        ssize_t sent = send(fd, bytes + done, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        done += (size_t)sent;
    }
}

static inline bool agent_read(struct agent *agent, int fd)
{
    char byte = 'x';
    while (byte) {
        if (recv(fd, &byte, 1, 0) != 1)
            return false;
        buffer_byte(&agent->heard, byte);
    }
    return true;
}

static inline void *agent_run_script(void *arg)
{
    struct agent *agent = arg;
    int fd = -1;
    for (const struct line *line = agent->script; line->act != END; line++) {
        if (line->act == AGAIN)
            line = agent->script;
        if (fd < 0) {
            fd = accept(agent->listener, NULL, NULL);
            if (fd < 0)
                return NULL;
            agent->connections++;
        }
        size_t length = line->text ? (line->length ? line->length : strlen(line->text)) + 1 : 0;
        if (line->act == READ && !agent_read(agent, fd)) {
            close(TAKE_FD(fd));
            line--; /* the client came to say nothing: the next one may */
        } else if (line->act == SAY) {
            agent_write(fd, line->text, length, length);
        } else if (line->act == SAY_PIECES) {
            agent_write(fd, line->text, length, 1);
        } else if (line->act == CLOSE) {
            close(TAKE_FD(fd));
        } else if (line->act == HOLD) {
            char byte;
            agent->client_left = recv(fd, &byte, 1, 0) <= 0;
            close(TAKE_FD(fd));
        }
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

static inline void agent_prepare(struct agent *agent, int backlog)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *agent = (struct agent){.heard = BUFFER(1024 * 1024)};
    (void)snprintf(agent->directory, sizeof(agent->directory), "/tmp/mltoken-unit-XXXXXX");
    assert_non_null(mkdtemp(agent->directory));
    (void)snprintf(agent->path, sizeof(agent->path), "%s/agent.sock", agent->directory);
    memcpy(address.sun_path, agent->path, strlen(agent->path) + 1);
    agent->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(agent->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(agent->listener, backlog), 0);
}

static inline mltoken_handle *agent_start(struct agent *agent, const struct line *script)
{
    mltoken_handle *handle = NULL;
    agent_prepare(agent, 16);
    agent->script = script;
    assert_int_equal(pthread_create(&agent->thread, NULL, agent_run_script, agent), 0);
    assert_int_equal(mltoken_open(agent->path, &handle), 0);
    return handle;
}

/* Ends the agent; what it heard stays until agent_free(). */
static inline void agent_stop(struct agent *agent, mltoken_handle *handle)
{
    mltoken_close(handle);
    (void)shutdown(agent->listener, SHUT_RDWR);
    if (agent->thread)
        (void)pthread_join(agent->thread, NULL);
    close(agent->listener);
    (void)unlink(agent->path);
    (void)rmdir(agent->directory);
}

static inline void agent_free(struct agent *agent)
{
    buffer_free(&agent->heard);
}

#define TOKEN_MEMBERS(profile, value)                                                                                  \
    "\"profile\":\"" profile "\",\"value\":\"" value                                                                   \
    "\",\"type\":\"Bearer\",\"header\":\"Authorization: Bearer " value                                                 \
    "\",\"expiresAt\":2000000000,\"refreshAt\":1999999000,\"scopes\":[\"a\",\"b\"]"
#define TOKEN_REPLY "{\"parameters\":{\"token\":{" TOKEN_MEMBERS("me", "abc.def-ghi") "}}}"
