#include "store/said.h"

#include "cleanup.h"
#include "limits.h"
#include "log.h"
#include "span.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/param.h>

enum { PIECE = 4096 /* read at once */, PIPE = 64 * 1024 /* what may be left in it */ };

struct said {
    struct loop *loop;
    struct watch watch;
    struct timer turn; /* runs while no more is read */
    int fd;
    int64_t since_ms;
    unsigned lines; /* since then */
    size_t length;
    bool cut; /* the rest of the line is left out */
    char line[LIMIT_LOG_VALUE + 1];
    char name[LIMIT_STORE_NAME + sizeof("mltoken-store-")];
};

static void on_said(void *arg, uint32_t events);

static bool may_say(struct said *said)
{
    int64_t now = loop_now(said->loop);
    if (now - said->since_ms >= LIMIT_STORE_SAID_MS) {
        said->since_ms = now;
        said->lines = 0;
    }
    return said->lines < LIMIT_STORE_SAID;
}

static void tell(struct said *said)
{
    said->line[said->length] = '\0';
    if (said->length > 0 && may_say(said)) {
        said->lines++;
        log_event(LOG_LEVEL_DEBUG, "a store program says", "PROGRAM", said->name, "LINE", said->line, NULL);
        if (said->lines == LIMIT_STORE_SAID)
            log_event(LOG_LEVEL_DEBUG, "a store program says more than is told", "PROGRAM", said->name, NULL);
    }
    explicit_bzero(said->line, said->length);
    said->length = 0;
    said->cut = false;
}

static void take(struct said *said, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == '\n')
            tell(said);
        else if (said->length < LIMIT_LOG_VALUE)
            said->line[said->length++] = bytes[i] ? bytes[i] : '?';
        else if (!said->cut) {
            memcpy(said->line + said->length - 3, "...", 3);
            said->cut = true;
        }
    }
}

/* false: there is nothing now, or nothing will come any more (*ret_ended). */
static bool read_some(struct said *said, bool *ret_ended)
{
    char bytes[PIECE];
    ssize_t n = read(said->fd, bytes, sizeof(bytes));
    *ret_ended = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
    if (n > 0) {
        take(said, bytes, (size_t)n);
        explicit_bzero(bytes, (size_t)n);
    }
    return n > 0;
}

static void on_turn(void *arg)
{
    struct said *said = arg;
    (void)watch_start(said->loop, &said->watch, said->fd, EPOLLIN, on_said, said);
}

/* The pipe is left full when it was too much: then the program's own writes fail, and nobody works for them. */
static void on_said(void *arg, uint32_t events)
{
    struct said *said = arg;
    bool ended;
    (void)events;
    (void)read_some(said, &ended);
    if (ended) {
        watch_stop(&said->watch);
    } else if (!may_say(said)) {
        watch_stop(&said->watch);
        (void)timer_start(said->loop, &said->turn, said->since_ms + LIMIT_STORE_SAID_MS, on_turn, said);
    }
}

int said_new(struct loop *loop, const char *path, int *ret_to, struct said **ret)
{
    int pair[2];
    if (!log_debugging()) {
        *ret = NULL;
        *ret_to = open("/dev/null", O_WRONLY | O_CLOEXEC);
        return *ret_to < 0 ? -errno : 0;
    }
    struct said *said = calloc(1, sizeof(*said));
    if (!said || pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0) {
        free(said);
        return -ENOMEM;
    }
    said->loop = loop;
    said->fd = pair[0];
    said->since_ms = loop_now(loop);
    const char *slash = strrchr(path, '/');
    const struct span name = span_of(slash ? slash + 1 : path);
    memcpy(said->name, name.data, MIN(name.length, sizeof(said->name) - 1));
    int r = watch_start(loop, &said->watch, said->fd, EPOLLIN, on_said, said);
    if (r < 0) {
        close(pair[1]);
        said_free(said);
        return r;
    }
    *ret_to = pair[1];
    *ret = said;
    return 0;
}

struct said *said_free(struct said *said)
{
    bool ended = false;
    if (!said)
        return NULL;
    watch_stop(&said->watch);
    timer_stop(&said->turn);
    for (size_t i = 0; i < PIPE / PIECE && may_say(said) && read_some(said, &ended); i++)
        ;
    tell(said);
    close(said->fd);
    free(said);
    return NULL;
}
