/* Reading the configuration anew, on real files in a directory of the test's own. */
#include "reload.h"

#include "cleanup.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
/* after these */
#include <cmocka.h>

#define PROFILE(name)                                                                                                  \
    "[profile " name "]\ngrant = client_credentials\nauthority = https://login.example.org\nclient_id = "              \
    "x\nclient_secret = env:CI_SECRET\n"

static struct {
    struct loop *loop;
    struct worker *worker;
    struct stores *stores;
    struct conductor *conductor;
    struct server *server;
    struct reload *reload;
    char home[64];
} world;

static void in_shell(const char *format, const char *argument)
{
    char command[512];
    (void)snprintf(command, sizeof(command), "cd %s && ", world.home);
    size_t length = strlen(command);
    (void)snprintf(command + length, sizeof(command) - length, "%s%s", format, argument);
    assert_int_equal(0, system(command));
}

static void write_file(const char *name, const char *text)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", world.home, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(strlen(text), write(fd, text, strlen(text)));
    close(fd);
}

static void end(void *arg)
{
    (void)arg;
    loop_stop(world.loop, 0);
}

static void run_for(int64_t ms)
{
    struct timer timer = {0};
    assert_int_equal(0, timer_start(world.loop, &timer, loop_now(world.loop) + ms, end, NULL));
    assert_int_equal(0, loop_run(world.loop));
}

/* Runs until there are so many profiles, or for five seconds. */
static void await(size_t count)
{
    for (int i = 0; i < 500 && world.conductor->config->profile_count != count; i++)
        run_for(10);
    assert_int_equal(count, world.conductor->config->profile_count);
}

static int open_world(void **state)
{
    struct config *config;
    (void)state;
    (void)snprintf(world.home, sizeof(world.home), "/tmp/mltoken-test-XXXXXX");
    assert_non_null(mkdtemp(world.home));
    assert_int_equal(0, setenv("HOME", world.home, 1));
    assert_int_equal(0, unsetenv("XDG_CONFIG_HOME"));
    assert_int_equal(0, secret_arena_open());
    assert_int_equal(0, loop_new(&world.loop));
    assert_int_equal(0, worker_new(world.loop, &world.worker));
    assert_int_equal(0, stores_new(world.loop, &(struct stores_options){.memory_only = true}, &world.stores));
    assert_int_equal(0, config_load(NULL, &config));
    struct conductor parts = {.loop = world.loop, .worker = world.worker, .stores = world.stores, .config = config};
    assert_int_equal(0, conductor_new(&parts, &world.conductor));
    assert_int_equal(0, server_new(world.loop, world.conductor, &world.server));
    return reload_new(world.conductor, world.server, &world.reload);
}

static int close_world(void **state)
{
    (void)state;
    world.reload = reload_free(world.reload);
    world.server = server_free(world.server);
    world.conductor = conductor_free(world.conductor);
    world.stores = stores_free(world.stores);
    world.worker = worker_free(world.worker);
    world.loop = loop_free(world.loop);
    secret_arena_close();
    in_shell("rm -rf ", world.home);
    return 0;
}

static void the_directory_comes_later(void **state)
{
    (void)state;
    await(0);
    in_shell("mkdir .config", "");
    run_for(150);
    in_shell("mkdir .config/mltoken", "");
    run_for(150);
    write_file(".config/mltoken/config", PROFILE("a"));
    await(1);
    write_file(".config/mltoken/config", PROFILE("a") PROFILE("b"));
    await(2);
}

static void all_at_once(void **state)
{
    (void)state;
    in_shell("mkdir -p .config/mltoken", "");
    write_file(".config/mltoken/config", PROFILE("a"));
    await(1);
}

/* As editors and configuration managers do it. */
static void ways_to_write(void **state)
{
    (void)state;
    in_shell("mkdir -p .config/mltoken", "");
    write_file(".config/mltoken/config", PROFILE("a"));
    await(1);
    write_file(".config/mltoken/config.new", PROFILE("a") PROFILE("b"));
    in_shell("mv .config/mltoken/config.new .config/mltoken/config", "");
    await(2);
    in_shell("mv .config/mltoken/config .config/mltoken/config~", "");
    write_file(".config/mltoken/config", PROFILE("a"));
    await(1);
    in_shell("cp -r .config/mltoken .config/other && mv .config/mltoken .config/old", "");
    write_file(".config/other/config", PROFILE("a") PROFILE("b") PROFILE("c"));
    in_shell("mv .config/other .config/mltoken", "");
    await(3);
    write_file(".config/mltoken/config", PROFILE("a")); /* it is the new directory that is watched */
    await(1);
    in_shell("rm .config/mltoken/config", "");
    await(0);
}

/* One that must not be trusted is not taken; what was in force stays. */
static void what_cannot_be_read_changes_nothing(void **state)
{
    (void)state;
    in_shell("mkdir -p .config/mltoken", "");
    write_file(".config/mltoken/config", PROFILE("a"));
    await(1);
    in_shell("chmod 666 .config/mltoken/config", "");
    run_for(300);
    write_file(".config/mltoken/config", PROFILE("a") PROFILE("b"));
    run_for(300);
    await(1);
    in_shell("chmod 600 .config/mltoken/config", "");
    await(2);
}

/* Out of descriptors for a moment: nobody loses their profiles, and the new ones come by themselves. */
static void out_of_descriptors(void **state)
{
    struct rlimit limit, none;
    (void)state;
    in_shell("mkdir -p .config/mltoken", "");
    write_file(".config/mltoken/config", PROFILE("a"));
    await(1);
    write_file(".config/mltoken/config", PROFILE("a") PROFILE("b"));
    run_for(400);
    await(2);
    assert_int_equal(0, getrlimit(RLIMIT_NOFILE, &limit));
    none = limit;
    none.rlim_cur = 3;
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &none));
    reload_now(world.reload, false);
    run_for(50);
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &limit));
    assert_int_equal(2, world.conductor->config->profile_count);
    struct config *before = world.conductor->config;
    for (int i = 0; i < 500 && world.conductor->config == before; i++)
        run_for(10);
    assert_ptr_not_equal(before, world.conductor->config); /* it was tried again */
    await(2);
}

static char *many_profiles(int count, const char *last)
{
    size_t size = (size_t)count * 160 + strlen(last) + 1, used = 0;
    char *text = malloc(size);
    assert_non_null(text);
    for (int i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, size - used, "[profile p%d]\ngrant = client_credentials\nauthority = %s",
                                 i, "https://login.example.org\nclient_id = x\nclient_secret = env:CI_SECRET\n");
    memcpy(text + used, last, strlen(last) + 1);
    return text;
}

/* Runs in each turn of the loop, and counts those with work in them, by the processor time that went by. */
static struct {
    struct timer timer;
    int64_t before_ns;
    int busy;
} turns;

enum { BUSY_NS = 250000 }; /* one turn of reading takes several times as long, one without it a tenth of that */

static int64_t processor_ns(void)
{
    struct timespec now;
    assert_int_equal(0, clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now));
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void on_turn(void *arg)
{
    (void)arg;
    int64_t now = processor_ns();
    turns.busy += now - turns.before_ns > BUSY_NS;
    turns.before_ns = now;
    assert_int_equal(0, timer_start(world.loop, &turns.timer, loop_now(world.loop), on_turn, NULL));
}

/* A new configuration is read in parts; the old one stays in force until the last, and a late mistake is known then. */
static void ten_thousand(void **state)
{
    (void)state;
    in_shell("mkdir -p .config/mltoken", "");
    write_file(".config/mltoken/config", PROFILE("a"));
    await(1);
    _cleanup_free_ char *text = many_profiles(10000, PROFILE("z") "scoop = x\n");
    write_file(".config/mltoken/config.new", text);
    run_for(10);
    in_shell("mv .config/mltoken/config.new .config/mltoken/config", "");
    on_turn(NULL);
    turns.busy = 0;
    await(10001);
    timer_stop(&turns.timer);
    struct config *config = world.conductor->config;
    assert_null(config->unread);
    assert_true(turns.busy >= (int)(strlen(text) / LIMIT_CONFIG_TURN) / 2);
    assert_int_equal(1, config->problem_count);
    assert_non_null(strstr(config->problems[0], "scoop: unknown key; did you mean scope?"));
    /* what is changed while a new one is read is read in its turn */
    write_file(".config/mltoken/config", text);
    for (int i = 0; i < 500 && world.conductor->config == config; i++) {
        run_for(1);
        if (i == 1)
            write_file(".config/mltoken/config", PROFILE("a") PROFILE("b"));
    }
    await(2);
}

/* What the agent starts with is in force at once, and is read bit by bit by itself; also when a new one comes. */
static void the_first_one(void **state)
{
    (void)state;
    in_shell("mkdir -p .config/mltoken", "");
    _cleanup_free_ char *text = many_profiles(10000, PROFILE("z") "scoop = x\n");
    write_file(".config/mltoken/config", text);
    for (int again = 0; again < 2; again++) {
        world.reload = reload_free(world.reload);
        world.server = server_free(world.server);
        world.conductor = conductor_free(world.conductor);
        struct config *config;
        assert_int_equal(0, config_load(NULL, &config));
        struct conductor parts = {.loop = world.loop, .worker = world.worker, .stores = world.stores, .config = config};
        assert_int_equal(0, conductor_new(&parts, &world.conductor));
        assert_int_equal(0, server_new(world.loop, world.conductor, &world.server));
        assert_int_equal(0, reload_new(world.conductor, world.server, &world.reload));
        run_for(1);
        assert_non_null(config->unread);
        assert_null(config_profile(config, "p9999")->problem);
        assert_int_equal(0, config->problem_count);
        if (again)
            break;
        for (int i = 0; i < 500 && config->unread; i++)
            run_for(10);
        assert_null(config->unread);
        assert_int_equal(1, config->problem_count);
    }
    write_file(".config/mltoken/config", PROFILE("a"));
    await(1);
    run_for(100);
    await(1);
}

static void asked_again_and_again(void **state)
{
    (void)state;
    in_shell("mkdir -p .config/mltoken", "");
    for (int i = 0; i < 20; i++) {
        write_file(".config/mltoken/config", i % 2 ? PROFILE("a") : PROFILE("a") PROFILE("b"));
        reload_now(world.reload, i % 3 == 0);
        run_for(i % 5);
    }
    await(1);
    run_for(300);
    await(1);
    reload_now(world.reload, true); /* and ends while it is read */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_directory_comes_later),
        TEST(all_at_once),
        TEST(ways_to_write),
        TEST(what_cannot_be_read_changes_nothing),
        TEST(out_of_descriptors),
        TEST(asked_again_and_again),
        TEST(ten_thousand),
        TEST(the_first_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
