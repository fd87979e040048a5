/* What a flight reads before it may begin: the CA file, and the secret from wherever the profile says. With a real
 * worker. */
#include "flight_fixture.h"

static void wait_for(const struct asker *asker)
{
    for (int i = 0; i < 500 && !asker->told; i++)
        spin(10);
    assert_int_equal(1, asker->told);
}

static void open_worker(void)
{
    assert_int_equal(0, worker_new(world.loop, &world.worker));
    world.conductor->worker = world.worker;
}

static void the_ca_file_is_read_first(void **state)
{
    (void)state;
    char path[] = "/tmp/mltoken-test-XXXXXX";
    struct asker asker = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "pem", 3) == 3);
    close(fd);
    open_worker();
    configure(CONFIG({.name = "alone", .grant = &grant_alone, .client_id = "a", .ca_file = path, .settings = "1"}));
    ask(&asker, "alone");
    wait_for(&asker);
    assert_string_equal("a/1", asker.value);
    unlink(path);
    configure(CONFIG({.name = "alone", .grant = &grant_alone, .client_id = "a", .ca_file = path, .settings = "2"}));
    asker = (struct asker){0};
    ask(&asker, "alone");
    wait_for(&asker);
    assert_int_equal(FAILURE_INVALID_CONFIGURATION, asker.why.kind);
    assert_non_null(strstr(asker.why.reason, "there is no such file"));
    assert_int_equal(1, world.machines); /* nothing was begun without it */
}

/* A profile whose secret is what a program or a file gives. */
static struct config *with_source(enum source_kind kind, const char *value, const char *settings)
{
    struct config *config =
        CONFIG({.name = "alone", .grant = &grant_alone, .client_id = "a", .settings = settings}, OTHER);
    static char *argv[4] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", NULL, NULL};
    struct profile *profile = config->profiles[0];
    argv[2] = text_of(profile, value);
    profile->client_secret = (struct source){.kind = kind, .value = argv[2], .argv = argv};
    return config;
}

static void secrets_from_everywhere(void **state)
{
    static const struct {
        enum source_kind kind;
        const char *value, *got, *problem;
    } cases[] = {
        {SOURCE_COMMAND, "echo s3cret", "s3cret", NULL},
        {SOURCE_COMMAND, "printf 's3cret\r\n'", "s3cret", NULL},
        {SOURCE_COMMAND, "printf 's3cret\n\n'", "s3cret\n", NULL},
        {SOURCE_COMMAND, "true", NULL, "it is empty"},
        {SOURCE_COMMAND, "echo s3cret; exit 1", NULL, "it exited with status 1"},
        {SOURCE_FILE, "/nonexistent/s3cret-file", NULL, "there is no such file"},
        {SOURCE_FILE, "/etc", NULL, "it is not a regular file"},
        {SOURCE_ENV, "MLTOKEN_NOT_THERE", NULL, "not in the agent's environment"},
        {SOURCE_CREDENTIAL, "none", NULL, "CREDENTIALS_DIRECTORY"},
        {SOURCE_NONE, "", NULL, "says nothing about it"},
    };
    (void)state;
    open_worker();
    world.acquire = "Sd";
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct asker asker = {0};
        char settings[16];
        (void)snprintf(settings, sizeof(settings), "%zu", i);
        configure(with_source(cases[i].kind, cases[i].value, settings));
        *world.secret = '\0';
        ask(&asker, "alone");
        wait_for(&asker);
        if (cases[i].got) {
            assert_int_equal('a', asker.value[0]);
            assert_string_equal(cases[i].got, world.secret);
            continue;
        }
        assert_int_equal(FAILURE_SECRET_MISSING, asker.why.kind);
        assert_string_equal("client_secret", asker.why.name);
        if (!strstr(asker.why.reason, cases[i].problem))
            fail_msg("case %zu: %s", i, asker.why.reason);
        if (cases[i].kind == SOURCE_COMMAND) /* its arguments may hold what nobody else should see */
            assert_null(strstr(asker.why.reason, "s3cret"));
    }
}

/* The program that was to give the secret is under way when everything ends. */
static void ending_while_a_secret_is_awaited(void **state)
{
    (void)state;
    static struct asker asker;
    open_worker();
    world.acquire = "Sd";
    configure(with_source(SOURCE_COMMAND, "sleep 1000", "1"));
    asker = (struct asker){0};
    ask(&asker, "alone");
    spin(50);
    assert_non_null(holder_of("alone")->flights->job);
    configure(CONFIG(OTHER));
    assert_int_equal(FAILURE_NO_SUCH_PROFILE, asker.why.kind);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_ca_file_is_read_first),
        TEST(secrets_from_everywhere),
        TEST(ending_while_a_secret_is_awaited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
