/* mltoken-agent --doctor against configurations that are wrong in one place each. */
#include "doctor.h"
#include "doctor_guard.h"

#include "authority/http.h"
#include "secret.h"
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/wait.h>
/* after those above */
#include <cmocka.h>

#include "http_server.h"

static struct http_server server;
static char folder[] = "/tmp/mltoken-doctor-XXXXXX", config[64], secret[64], ca_file[64];

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    (void)fputs(text, file);
    (void)fclose(file);
    assert_int_equal(chmod(path, mode), 0);
}

/* Runs it on a configuration, and returns what it said. */
static char *run(const char *profile, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
static char *run(const char *profile, int status, const char *format, ...)
{
    char text[4096], *said = NULL;
    size_t length;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    write_file(config, text, 0600);
    FILE *out = open_memstream(&said, &length);
    assert_non_null(out);
    int r = doctor_run(out, profile);
    (void)fclose(out);
    print_message("%s", said);
    assert_int_equal(r, status);
    assert_null(strstr(said, "s3cr3t"));
    return said;
}

static void expect(char *said, const char *words)
{
    assert_non_null(strstr(said, words));
    free(said);
}

#define PROFILE "[profile p]\ngrant = client_credentials\nclient_id = x\nscope = s\nclient_secret = "
#define GOOD    "file:%s\nauthority = http://127.0.0.1:%d/good\n"

static void healthy(void **state)
{
    (void)state;
    write_file(secret, "s3cr3t\n", 0600);
    char *said = run(NULL, 0, PROFILE GOOD, secret, server.plain);
    assert_null(strstr(said, "FAIL"));
    assert_non_null(strstr(said, "ok    p: client_secret can be read"));
    assert_non_null(strstr(said, "accepts connections"));
    expect(said, "ok    p: the metadata is the authority's; tokens come from http://127.0.0.1:");
}

static void configuration(void **state)
{
    (void)state;
    expect(run(NULL, 3, "[profile p]\ngrnt = x\n"), "FAIL  /tmp/mltoken-doctor-");
    expect(run("q", 3, PROFILE GOOD, secret, server.plain), "FAIL  there is no profile q");
    expect(run("p", 0, PROFILE GOOD "[profile q]\ngrnt = x\n", secret, server.plain), "warn  /tmp/mltoken-doctor-");
    write_file(secret, "s3cr3t\n", 0644);
    expect(run(NULL, 3, PROFILE GOOD, secret, server.plain), "FAIL  p: client_secret: file:/tmp/mltoken-doctor-");
    write_file(secret, "s3cr3t\n", 0600);
    expect(run(NULL, 3, PROFILE "command:/bin/false\nauthority = http://127.0.0.1:%d/good\n", server.plain),
           "FAIL  p: client_secret: command:");
    expect(run(NULL, 0, PROFILE "env:NOPE\nauthority = http://127.0.0.1:%d/good\n", server.plain),
           "warn  p: client_secret: env:NOPE");
    expect(run(NULL, 3, PROFILE "file:%s\nauthority = http://127.0.0.1:%d/liar\n", secret, server.plain),
           "FAIL  p: the metadata of http://127.0.0.1:");
    expect(run(NULL, 3, PROFILE "file:%s\nauthority = http://127.0.0.1:%d/none\n", secret, server.plain),
           "FAIL  p: no metadata document");
    expect(run(NULL, 3, PROFILE "file:%s\nca_file = /nonexistent\nauthority = https://127.0.0.1:%d/good\n", secret,
               server.good),
           "FAIL  p: ca_file /nonexistent");
}

/* Who may have its tokens, and can be. */
static void guards(void **state)
{
    (void)state;
    _cleanup_buffer_ struct buffer words = BUFFER(4 * LIMIT_TEXT);
    unsetenv("DISPLAY");
    unsetenv("WAYLAND_DISPLAY");
    expect(run(NULL, 3, "[agent]\npinentry = no-such-pinentry\n" PROFILE GOOD "confirm = yes\n", secret, server.plain),
           "FAIL  p: confirm needs no-such-pinentry");
    expect(run(NULL, 3, "[agent]\npinentry = /etc/passwd\n" PROFILE GOOD "confirm = yes\n", secret, server.plain),
           "FAIL  p: confirm needs /etc/passwd");
    expect(run(NULL, 0, "[agent]\npinentry = true\n" PROFILE GOOD "confirm = yes\n", secret, server.plain),
           "ok    p: confirm asks by true, and without a display");
    expect(run(NULL, 0, PROFILE GOOD "allow = /bin/sh /nowhere\n", secret, server.plain),
           "warn  p: allow names /nowhere, which is no program");
    expect(run(NULL, 0, PROFILE GOOD "allow = /bin/sh\n", secret, server.plain), "ok    p: allow names what is there");
    assert_true(guard_check_agent(getpid(), &words));
    assert_non_null(strstr(words.data, "can see"));
    pid_t child = fork();
    if (child == 0) {
        (void)(unshare(CLONE_NEWUSER) < 0 ? raise(SIGKILL) : raise(SIGSTOP));
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    bool separate = WIFSTOPPED(status); /* user namespaces are a machine's to give: here they must be */
    bool sees = guard_check_agent(child, &words);
    (void)kill(child, SIGKILL);
    (void)waitpid(child, &status, 0);
    assert_true(separate);
    assert_false(sees);
    assert_non_null(strstr(words.data, "user namespace of its own"));
}

static void network(void **state)
{
    (void)state;
    expect(run(NULL, 6, PROFILE "file:%s\nauthority = https://127.0.0.1:1\n", secret),
           "FAIL  p: 127.0.0.1:1 does not answer: Connection refused");
    expect(run(NULL, 6, PROFILE "file:%s\nauthority = https://nowhere.invalid\n", secret),
           "FAIL  p: the name nowhere.invalid does not resolve");
    expect(run(NULL, 6, PROFILE "file:%s\nauthority = https://127.0.0.1:%d/x\n", secret, server.good), "set ca_file");
    expect(run(NULL, 6, PROFILE "file:%s\nca_file = %s\nauthority = https://127.0.0.1:%d/x\n", secret, ca_file,
               server.wrong_host),
           "its certificate is for another host name");
    expect(run(NULL, 3, PROFILE "file:%s\nca_file = %s\nauthority = https://127.0.0.1:%d/none\n", secret, ca_file,
               server.good),
           "ok    p: TLS is trusted by ca_file");
    expect(run(NULL, 6, PROFILE "file:%s\nproxy = http://127.0.0.1:1\nauthority = https://127.0.0.1:%d/x\n", secret,
               server.good),
           "FAIL  p: the proxy 127.0.0.1:1 does not answer");
}

/* http_server.py sends no Date but below /clock. */
static void clocks(void **state)
{
    (void)state;
    expect(run(NULL, 0, PROFILE "file:%s\nauthority = http://127.0.0.1:%d/clock-3600\n", secret, server.plain),
           "warn  p: this machine's clock is 1 h ahead of the authority's");
    expect(run(NULL, 0, PROFILE "file:%s\nauthority = http://127.0.0.1:%d/clock7200\n", secret, server.plain),
           "behind the authority's");
    expect(run(NULL, 0, PROFILE "file:%s\nauthority = http://127.0.0.1:%d/clock0\n", secret, server.plain),
           "ok    p: the clock agrees");
}

static int set_up(void **state)
{
    (void)state;
    if (http_server_start(&server) < 0 || secret_arena_open() < 0 || http_global_init() < 0 || !mkdtemp(folder))
        return -1;
    (void)snprintf(config, sizeof(config), "%s/config", folder);
    (void)snprintf(secret, sizeof(secret), "%s/secret", folder);
    (void)snprintf(ca_file, sizeof(ca_file), "%s/ca.pem", folder);
    write_file(ca_file, server.ca.data, 0644);
    return setenv("MLTOKEN_CONFIG", config, 1);
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(config);
    (void)unlink(secret);
    (void)unlink(ca_file);
    (void)rmdir(folder);
    secret_arena_close();
    return http_server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(healthy), cmocka_unit_test(configuration), cmocka_unit_test(guards),
        cmocka_unit_test(network), cmocka_unit_test(clocks),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
