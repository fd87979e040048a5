/* http_server.py as a child of a test. Include after cmocka.h's own needs. */
#pragma once

#include "buffer.h"
#include "cleanup.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

struct http_server {
    int plain, good, wrong_host, other_ca, expired; /* ports */
    struct buffer ca, ca2;                          /* PEM */
    FILE *in;                                       /* its end ends the server */
    pid_t pid;
};

static inline int http_server_read(const char *path, struct buffer *to)
{
    char block[4096];
    FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    *to = BUFFER(sizeof(block));
    buffer_append(to, block, fread(block, 1, sizeof(block), file));
    (void)fclose(file);
    return to->length > 0 ? 0 : -1;
}

/* Blocks all signals first, as the agent does. */
static inline int http_server_start(struct http_server *server)
{
    char line[1024] = "", first[400], second[400];
    int in[2], out[2];
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
        return -1;
    server->pid = fork();
    if (server->pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        execl("/usr/bin/python3", "python3", "tests/unit/http_server.py", (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    server->in = fdopen(in[1], "w");
    FILE *from = fdopen(out[0], "r");
    if (!server->in || !from || !fgets(line, sizeof(line), from))
        return -1;
    (void)fclose(from);
    if (sscanf(line, "%d %d %d %d %d %399s %399s", &server->plain, &server->good, &server->wrong_host,
               &server->other_ca, &server->expired, first, second) != 7)
        return -1;
    return http_server_read(first, &server->ca) < 0 || http_server_read(second, &server->ca2) < 0 ? -1 : 0;
}

static inline int http_server_stop(struct http_server *server)
{
    buffer_free(&server->ca);
    buffer_free(&server->ca2);
    (void)fclose(server->in);
    return waitpid(server->pid, NULL, 0) == server->pid ? 0 : -1;
}
