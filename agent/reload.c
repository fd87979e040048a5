#include "reload.h"

#include "cleanup.h"
#include "config.h"
#include "limits.h"
#include "log.h"
#include <errno.h>
#include <linux/limits.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>

enum {
    FILES = 2,
    HOLD_MS = 250, /* the longest that calls are held back */
    PUT_OFF_MS = 1000,
    PAUSE_MS = 10,   /* between the parts of what nobody has asked for yet */
    ARM_TRIES = 8,   /* one for each directory that may be made meanwhile */
    SETTLE_MS = 100, /* a file that was removed or made is about to be written */
    EVENTS = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF |
             IN_MOVE_SELF | IN_ONLYDIR,
    WRITTEN = IN_CLOSE_WRITE | IN_MOVED_TO,
};

/* A directory that is watched, and the name in it that matters. */
struct place {
    int watch; /* -1: none */
    char name[NAME_MAX + 1];
};

/* One file: watched in the nearest directory above it that is there, and, when it is a symbolic link (dotfiles often
 * are), where it leads to as well. */
struct file {
    struct reload *reload;
    char *path;
    struct place place, target;
    struct worker_job *job;
    struct buffer text;
    bool absent;
    bool
        put_off; /* it could not even be tried: for want of a descriptor or of memory, which may be there in a moment */
    char *problem;
};

struct reload {
    struct conductor *conductor;
    struct server *server;
    int inotify;
    struct watch watch;
    struct timer hold, settle, rest;
    struct file files[FILES];
    struct config *unread; /* what `rest` reads on: the one in force, or a new one, which is ours */
    int reading;           /* files whose reading has not ended */
    bool again;            /* something changed while they were read */
    bool put_off;          /* one of them could not be read just now */
    bool forgive;
};

/* Watches the nearest directory above `path` that is there; `path` is cut up: it becomes that directory. */
static void watch_above(const struct reload *reload, struct place *place, char *path)
{
    for (char *slash; place->watch < 0 && (slash = strrchr(path, '/'));) {
        (void)snprintf(place->name, sizeof(place->name), "%s", slash + 1);
        *slash = '\0';
        place->watch = inotify_add_watch(reload->inotify, *path ? path : "/", EVENTS);
    }
}

static void unwatch(const struct reload *reload, struct place *place)
{
    if (place->watch >= 0)
        (void)inotify_rm_watch(reload->inotify, place->watch);
    place->watch = -1;
}

/* Whether there is a directory now that was not when a nearer one was looked for: nobody would tell of it. */
static bool has_grown(const struct place *place, const char *directory, const char *path)
{
    char next[PATH_MAX];
    struct stat st;
    int n = snprintf(next, sizeof(next), "%s/%s", directory, place->name);
    return place->watch >= 0 && n < (int)strlen(path) && stat(next, &st) == 0 && S_ISDIR(st.st_mode);
}

/* All anew, because two places in one directory are one watch to the kernel. False when it has to be done again. */
static bool arm_once(struct reload *reload)
{
    bool settled = true;
    for (size_t i = 0; i < FILES; i++) {
        unwatch(reload, &reload->files[i].place);
        unwatch(reload, &reload->files[i].target);
    }
    for (size_t i = 0; i < FILES; i++) {
        struct file *file = &reload->files[i];
        char path[PATH_MAX];
        if (!file->path)
            continue;
        if (realpath(file->path, path) && strcmp(path, file->path) != 0)
            watch_above(reload, &file->target, path);
        if (snprintf(path, sizeof(path), "%s", file->path) >= (int)sizeof(path))
            continue;
        watch_above(reload, &file->place, path);
        settled &= !has_grown(&file->place, path, file->path);
    }
    return settled;
}

static void arm(struct reload *reload)
{
    for (int i = 0; i < ARM_TRIES && !arm_once(reload); i++)
        ;
}

static void begin(struct reload *);
static void on_settled(void *arg);

static void tell(const struct config *config)
{
    for (size_t i = 0; i < config->problem_count; i++)
        log_event(LOG_LEVEL_WARNING, "mistake in the configuration", "REASON", config->problems[i], NULL);
}

/* The files are done with: what was waiting for that goes on. */
static void finish(struct reload *reload)
{
    struct loop *loop = reload->conductor->loop;
    reload->reading = 0;
    timer_stop(&reload->hold);
    server_hold(reload->server, false);
    if (reload->again)
        begin(reload);
    else if (reload->put_off)
        (void)timer_start(loop, &reload->settle, loop_now(loop) + PUT_OFF_MS, on_settled, reload);
}

static void put_in_force(struct reload *reload, struct config *config)
{
    char count[24];
    (void)snprintf(count, sizeof(count), "%zu", config->profile_count);
    log_event(LOG_LEVEL_INFO, "configuration read", "PROFILES", count, NULL);
    conductor_configure(reload->conductor, config, reload->forgive);
    reload->forgive = false;
    finish(reload);
}

/* For a new configuration somebody waits. The rest of the one in force is in no hurry: who asks goes first. */
static int pause_of(const struct reload *reload)
{
    return reload->unread == reload->conductor->config ? PAUSE_MS : 0;
}

static void read_rest(void *arg)
{
    struct reload *reload = arg;
    struct loop *loop = reload->conductor->loop;
    struct config *config = reload->unread;
    int r = config_read_on(config, LIMIT_CONFIG_TURN);
    if (r != 0) { /* or out of memory: it may be there in a moment */
        (void)timer_start(loop, &reload->rest, loop_now(loop) + (r < 0 ? PUT_OFF_MS : pause_of(reload)), read_rest,
                          reload);
        return;
    }
    reload->unread = NULL;
    tell(config);
    if (config != reload->conductor->config)
        put_in_force(reload, config);
}

static void read_bit_by_bit(struct reload *reload, struct config *config)
{
    struct loop *loop = reload->conductor->loop;
    reload->unread = config;
    (void)timer_start(loop, &reload->rest, loop_now(loop) + pause_of(reload), read_rest, reload);
}

static void open_config(struct reload *reload)
{
    struct config_text texts[FILES];
    struct config *config;
    reload->reading = 1; /* ours, until finish() */
    reload->put_off = false;
    for (size_t i = 0; i < FILES; i++) {
        struct file *file = &reload->files[i];
        size_t length = file->text.length;
        char *bytes = buffer_take(&file->text);
        texts[i] = (struct config_text){.file = file->path ? file->path : "",
                                        .text = {bytes, bytes ? length : 0},
                                        .absent = file->absent,
                                        .problem = file->put_off ? "cannot be read just now" : file->problem};
        reload->put_off |= file->put_off;
    }
    if (config_open(texts, FILES, &config) < 0) {
        finish(reload);
    } else if (config->unreadable) {
        log_event(LOG_LEVEL_WARNING, "the configuration cannot be read; the old one stays in force", "REASON",
                  config->problem_count ? config->problems[0] : NULL, NULL);
        config_free(config);
        finish(reload);
    } else {
        read_bit_by_bit(reload, config);
    }
}

static void on_read(void *arg, const struct worker_result *result)
{
    struct file *file = arg;
    file->job = NULL;
    file->absent = result->error == -ENOENT;
    if (result->error == 0)
        file->put_off = buffer_append(&file->text, result->output.data, result->output.length) < 0;
    else if (!file->absent)
        file->put_off = !(file->problem = strdup(result->problem));
    if (--file->reload->reading == 0)
        open_config(file->reload);
}

static void on_held(void *arg)
{
    struct reload *reload = arg;
    server_hold(reload->server, false);
}

static void begin(struct reload *reload)
{
    struct loop *loop = reload->conductor->loop;
    timer_stop(&reload->settle);
    reload->again = reload->reading > 0;
    if (reload->again)
        return;
    arm(reload);
    server_hold(reload->server, true);
    (void)timer_start(loop, &reload->hold, loop_now(loop) + HOLD_MS, on_held, reload);
    reload->reading = 1; /* ours, so that open_config() runs once, at the end */
    for (size_t i = 0; i < FILES; i++) {
        struct file *file = &reload->files[i];
        buffer_clear(&file->text);
        free(file->problem);
        file->problem = NULL;
        file->absent = !file->path;
        if (!file->path)
            continue;
        file->put_off = worker_read(reload->conductor->worker, file->path, WORKER_PUBLIC_FILE, LIMIT_CONFIG_FILE,
                                    LIMIT_COMMAND_MS, on_read, file, &file->job) < 0;
        reload->reading += !file->put_off;
    }
    if (--reload->reading == 0)
        open_config(reload);
}

static void on_settled(void *arg)
{
    begin(arg);
}

void reload_now(struct reload *reload, bool forgive)
{
    reload->forgive |= forgive;
    begin(reload);
}

static bool is_at(const struct place *place, const struct inotify_event *event)
{
    return place->watch == event->wd && (event->len == 0 || strcmp(event->name, place->name) == 0);
}

/* What an event asks for: nothing, to wait until things have settled, or to read at once. */
static uint32_t concerns(const struct reload *reload, const struct inotify_event *event)
{
    static const uint32_t made = IN_CREATE | IN_ISDIR; /* a directory may hold the file before we watch it */
    for (size_t i = 0; i < FILES; i++) {
        const struct file *file = &reload->files[i];
        if (is_at(&file->place, event) || is_at(&file->target, event))
            return (event->mask & made) == made ? (uint32_t)IN_CLOSE_WRITE : event->mask;
    }
    return 0;
}

static void on_event(void *arg, uint32_t events)
{
    (void)events;
    struct reload *reload = arg;
    struct loop *loop = reload->conductor->loop;
    _Alignas(struct inotify_event) char bytes[4096];
    uint32_t mask = 0;
    ssize_t n;
    while ((n = read(reload->inotify, bytes, sizeof(bytes))) > 0)
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *event = (const struct inotify_event *)(const void *)(bytes + at);
            mask |= concerns(reload, event) | (event->mask & IN_Q_OVERFLOW ? (uint32_t)IN_CLOSE_WRITE : 0);
            at += (ssize_t)(sizeof(*event) + event->len);
        }
    if (mask & WRITTEN)
        begin(reload);
    else if (mask & ~(uint32_t)IN_IGNORED)
        (void)timer_start(loop, &reload->settle, loop_now(loop) + SETTLE_MS, on_settled, reload);
}

int reload_new(struct conductor *conductor, struct server *server, struct reload **ret)
{
    struct reload *reload = calloc(1, sizeof(*reload));
    if (!reload)
        return -ENOMEM;
    reload->conductor = conductor;
    reload->server = server;
    for (size_t i = 0; i < FILES; i++)
        reload->files[i] = (struct file){
            .reload = reload, .place = {.watch = -1}, .target = {.watch = -1}, .text = BUFFER(LIMIT_CONFIG_FILE)};
    reload->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    int r = reload->inotify < 0 ? -errno : config_paths(&reload->files[0].path, &reload->files[1].path);
    if (r == 0)
        r = watch_start(conductor->loop, &reload->watch, reload->inotify, EPOLLIN, on_event, reload);
    if (r < 0) {
        reload_free(reload);
        return r;
    }
    arm(reload);
    read_bit_by_bit(reload, conductor->config);
    *ret = reload;
    return 0;
}

struct reload *reload_free(struct reload *reload)
{
    if (!reload)
        return NULL;
    watch_stop(&reload->watch);
    timer_stop(&reload->hold);
    timer_stop(&reload->settle);
    timer_stop(&reload->rest);
    if (reload->unread != reload->conductor->config)
        config_free(reload->unread);
    close_cleanup(&reload->inotify);
    for (size_t i = 0; i < FILES; i++) {
        worker_cancel(reload->files[i].job);
        free(reload->files[i].path);
        free(reload->files[i].problem);
        buffer_free(&reload->files[i].text);
    }
    free(reload);
    return NULL;
}
