#include "service.h"

#include "acquire/lock.h"
#include "authority/http.h"
#include "cleanup.h"
#include "config.h"
#include "limits.h"
#include "log.h"
#include "notify.h"
#include "reload.h"
#include "secret.h"
#include "server/server.h"
#include "store/lock_on.h"
#include "store/stores.h"
#include "worker.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { END_LOOK_MS = 20 };

struct service {
    struct loop *loop;
    struct worker *worker;
    struct http *http;
    struct documents *documents;
    struct stores *stores;
    struct lock_on *lock_on;
    struct conductor *conductor;
    struct server *server;
    struct reload *reload;
    struct sockets sockets;
    struct command *command;
    int signals, presence, child;
    struct watch on_signal, on_presence, on_child;
    struct timer watchdog, ending;
    int64_t end_by_ms; /* 0: nobody has asked it to end */
};

/* A refresh token that was sent is used up: the next one is waited for, but not for ever. */
static void try_to_end(void *arg)
{
    struct service *service = arg;
    int64_t now = loop_now(service->loop);
    if (now >= service->end_by_ms || !conductor_renews(service->conductor) ||
        timer_start(service->loop, &service->ending, now + END_LOOK_MS, try_to_end, service) < 0)
        loop_stop(service->loop, 0);
}

static void end(struct service *service)
{
    if (!service->end_by_ms)
        service->end_by_ms = loop_now(service->loop) + LIMIT_END_MS;
    else
        service->end_by_ms = 0; /* asked twice: at once */
    try_to_end(service);
}

static void take_signal(void *arg, uint32_t events)
{
    (void)events;
    struct service *service = arg;
    struct signalfd_siginfo info;
    if (read(service->signals, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGHUP)
        reload_now(service->reload, true);
    else if (service->command) /* a private agent ends with its command, which it passes the signal on to */
        (void)kill(service->command->pid, (int)info.ssi_signo);
    else
        end(service);
}

static int watch_signals(struct service *service)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    if (!service->command)
        sigaddset(&set, SIGINT); /* the terminal sends it to the command as well */
    service->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return service->signals < 0
               ? -errno
               : watch_start(service->loop, &service->on_signal, service->signals, EPOLLIN, take_signal, service);
}

static void check_presence(void *arg, uint32_t events)
{
    (void)events;
    struct service *service = arg;
    _Alignas(struct inotify_event) char bytes[4096];
    while (read(service->presence, bytes, sizeof(bytes)) > 0)
        continue;
    if (sockets_present(&service->sockets))
        return;
    log_event(LOG_LEVEL_INFO, "the socket is gone, and so is the agent", "PATH", service->sockets.path.agent, NULL);
    loop_stop(service->loop, 0);
}

static int watch_presence(struct service *service)
{
    service->presence = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (service->presence < 0)
        return -errno;
    if (inotify_add_watch(service->presence, service->sockets.path.directory,
                          IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF | IN_MOVE_SELF) < 0)
        return -errno;
    return watch_start(service->loop, &service->on_presence, service->presence, EPOLLIN, check_presence, service);
}

static void take_child(void *arg, uint32_t events)
{
    (void)events;
    struct service *service = arg;
    int status;
    if (waitpid(service->command->pid, &status, WNOHANG) != service->command->pid)
        return;
    watch_stop(&service->on_child);
    loop_stop(service->loop, command_exit_code(status));
}

static int watch_command(struct service *service)
{
    if (!service->command)
        return 0;
    service->child = (int)syscall(SYS_pidfd_open, service->command->pid, 0);
    if (service->child < 0)
        return -errno;
    int r = watch_start(service->loop, &service->on_child, service->child, EPOLLIN, take_child, service);
    return r < 0 ? r : command_start(service->command, service->sockets.path.agent);
}

static void on_watchdog(void *arg)
{
    struct service *service = arg;
    notify_watchdog();
    (void)timer_start(service->loop, &service->watchdog, loop_now(service->loop) + notify_watchdog_ms(), on_watchdog,
                      service);
}

static void on_lock(void *arg, const char *why)
{
    const struct service *service = arg;
    (void)conductor_lock_known(service->conductor, why);
}

/* From the lowest part up. The worker is forked first: before there is a socket, a token or a thread. */
static int put_together(struct service *service, const struct service_options *options, char *problem, size_t size)
{
    struct config *config = NULL;
    int r = loop_new(&service->loop);
    if (r == 0)
        r = worker_new(service->loop, &service->worker);
    if (r == 0)
        r = http_new(service->loop, &service->http);
    if (r == 0)
        r = documents_new(service->loop, service->http, &service->documents);
    if (r == 0)
        r = stores_new(service->loop, &(struct stores_options){.memory_only = service->command != NULL},
                       &service->stores);
    if (r == 0)
        r = lock_on_new(service->loop, service->stores, &(struct lock_on_functions){.lock = on_lock, .arg = service},
                        &service->lock_on);
    if (r == 0)
        r = config_load(NULL, &config);
    if (r == 0)
        r = stores_set_key_file(service->stores, config->key_file);
    if (r == 0) {
        struct conductor parts = {.loop = service->loop,
                                  .http = service->http,
                                  .documents = service->documents,
                                  .worker = service->worker,
                                  .stores = service->stores,
                                  .lock_on = service->lock_on,
                                  .config = config};
        r = conductor_new(&parts, &service->conductor);
        if (r < 0)
            config_free(config);
    }
    if (r == 0)
        lock_on_configure(service->lock_on, service->conductor->config->lock_on_suspend,
                          service->conductor->config->lock_on_session);
    if (r == 0)
        r = server_new(service->loop, service->conductor, &service->server);
    if (r == 0)
        r = reload_new(service->conductor, service->server, &service->reload);
    if (r < 0)
        return r;
    r = sockets_open(&options->path, &service->sockets, problem, size);
    if (r == 0)
        r = server_listen(service->server, service->sockets.agent, false);
    if (r == 0)
        r = server_listen(service->server, service->sockets.get, true);
    if (r == 0)
        r = watch_signals(service);
    if (r == 0)
        r = watch_presence(service);
    return r < 0 ? r : watch_command(service);
}

static void take_apart(struct service *service)
{
    service->lock_on = lock_on_free(service->lock_on);
    service->reload = reload_free(service->reload);
    service->server = server_free(service->server);
    service->conductor = conductor_free(service->conductor);
    service->documents = documents_free(service->documents);
    service->http = http_free(service->http);
    service->stores = stores_free(service->stores);
    service->worker = worker_free(service->worker);
    watch_stop(&service->on_signal);
    watch_stop(&service->on_presence);
    watch_stop(&service->on_child);
    timer_stop(&service->watchdog);
    timer_stop(&service->ending);
    close_cleanup(&service->signals);
    close_cleanup(&service->presence);
    close_cleanup(&service->child);
    sockets_close(&service->sockets);
    service->loop = loop_free(service->loop);
}

static void say_problems(void)
{
    if (!secret_arena_locked())
        log_event(LOG_LEVEL_WARNING, "secrets are not locked in memory: RLIMIT_MEMLOCK is too small for them", NULL);
}

int service_run(const struct service_options *options)
{
    struct service service = {
        .sockets = SOCKETS_NONE, .signals = -1, .presence = -1, .child = -1, .command = options->command};
    char problem[512] = "";
    int status = put_together(&service, options, problem, sizeof(problem));
    if (status == 0) {
        log_event(LOG_LEVEL_INFO, "serving", "PATH", service.sockets.path.agent, NULL);
        say_problems();
        notify_ready("serving tokens");
        if (notify_watchdog_ms() > 0)
            on_watchdog(&service);
        if (options->ready)
            options->ready(options->arg);
        status = loop_run(service.loop);
        status = status < 0 ? SERVICE_FAILED : status;
        notify_stopping();
        log_event(LOG_LEVEL_INFO, "ending", NULL);
    } else if (status == -EBUSY) {
        (void)fprintf(stderr, "mltoken-agent: %s\n", problem);
        status = SERVICE_BUSY;
    } else {
        (void)fprintf(stderr, "mltoken-agent: cannot start: %s\n", *problem ? problem : strerror(-status));
        status = SERVICE_FAILED;
    }
    take_apart(&service);
    return status;
}
