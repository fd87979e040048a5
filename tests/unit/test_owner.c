/* Who renews a sign-in: ourselves, who has ended, who got the pid of one that has, and who cannot be looked at. */
#include "acquire/owner.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
/* after these */
#include <cmocka.h>

static owner_text self;

/* A process that waits to be ended; what it says of itself. */
static pid_t start(owner_text ret)
{
    int ends[2];
    assert_int_equal(0, pipe(ends)); /* both are closed here, and by the child's end */
    pid_t pid = fork();
    if (pid == 0) {
        owner_text own = "";
        owner_self(own);
        _exit(write(ends[1], own, sizeof(own)) == sizeof(own) ? pause() : 1);
    }
    assert_int_equal(sizeof(owner_text), read(ends[0], ret, sizeof(owner_text)));
    close(ends[0]);
    close(ends[1]);
    return pid;
}

static void lives_until_it_ends(void **state)
{
    owner_text other;
    (void)state;
    owner_self(self);
    assert_false(owner_may_live(self, self));
    pid_t pid = start(other);
    assert_true(owner_may_live(other, self));
    assert_true(owner_may_live(self, other));
    kill(pid, SIGKILL);
    siginfo_t info;
    assert_int_equal(0, waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
    assert_false(owner_may_live(other, self)); /* nobody has waited for it yet */
    assert_int_equal(pid, waitpid(pid, NULL, 0));
    assert_false(owner_may_live(other, self));
}

static void a_pid_that_is_used_again(void **state)
{
    owner_text earlier;
    (void)state;
    owner_self(self);
    (void)snprintf(earlier, sizeof(earlier), "%.*s:%d:1", (int)strcspn(self, ":"), self, getppid());
    assert_false(owner_may_live(earlier, self));
}

static void another_host_is_not_known(void **state)
{
    (void)state;
    owner_self(self);
    assert_true(owner_may_live("0123456789abcdef:1:1", self));
    assert_true(owner_may_live("0123456789abcdef:1:1", "x"));
}

static void what_is_no_owner(void **state)
{
    static const char *const texts[] = {
        "", "x", ":", "::", "a:b:c", "a:1", "a:1:", "a:1:2:3", "a:1:2x", "a:99999999999999999999:1", "a:1:-1"};
    (void)state;
    owner_self(self);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_false(owner_may_live(texts[i], self));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lives_until_it_ends),
        cmocka_unit_test(a_pid_that_is_used_again),
        cmocka_unit_test(another_host_is_not_known),
        cmocka_unit_test(what_is_no_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
