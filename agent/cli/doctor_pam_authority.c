/* The authority, by the module's own helper: it is asked for a code, as at a sign-in, which proves name, TLS, metadata,
 * client and device endpoint at once. The code is left to expire. */
#include "cleanup.h"
#include "clock.h"
#include "doctor_pam.h"
#include "lines.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/limits.h> /* <limits.h> would find our own limits.h on its way */
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_MS = 40000 };

struct helper {
    pid_t pid;
    int in, out;
};

static void find_program(const struct pam_visit *visit, char to[static PAM_PATH])
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n > 0) { /* the build tree's */
        self[n] = '\0';
        *strrchr(self, '/') = '\0';
        int length = snprintf(to, PAM_PATH, "%s/mltoken-pam-login", self);
        if (length > 0 && length < PAM_PATH && access(to, X_OK) == 0)
            return;
    }
    (void)snprintf(to, PAM_PATH, "%s/mltoken-pam-login", visit->settings.libexec);
}

static _Noreturn void become_helper(const struct pam_visit *visit, char *const argv[], int in, int out)
{
    char *const none[] = {(char *)(uintptr_t) "PATH=/usr/bin:/bin", NULL};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    bool drop = geteuid() == 0 && !*visit->root && visit->has_helper;
    if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0)
        _exit(127);
    if (drop && (setgroups(0, NULL) < 0 || setresgid(visit->helper_gid, visit->helper_gid, visit->helper_gid) < 0 ||
                 setresuid(visit->helper_uid, visit->helper_uid, visit->helper_uid) < 0))
        _exit(127);
    (void)signal(SIGPIPE, SIG_DFL);
    execve(argv[0], argv, none);
    _exit(127);
}

static int start(const struct pam_visit *visit, struct helper *ret)
{
    char program[PAM_PATH], config[PAM_PATH];
    char *argv[10];
    size_t n = 0;
    int in[2], out[2];
    find_program(visit, program);
    pam_path(visit, visit->config, config);
    argv[n++] = program;
    argv[n++] = (char *)(uintptr_t) "--config";
    argv[n++] = config;
    argv[n++] = (char *)(uintptr_t) "--max-wait";
    argv[n++] = (char *)(uintptr_t) "30";
    if (visit->settings.profile) {
        argv[n++] = (char *)(uintptr_t) "--profile";
        argv[n++] = visit->settings.profile;
    }
    argv[n] = NULL;
    if (pipe2(in, O_CLOEXEC) < 0)
        return -errno;
    if (pipe2(out, O_CLOEXEC) < 0) {
        int error = -errno;
        close(in[0]);
        close(in[1]);
        return error;
    }
    ret->pid = fork();
    if (ret->pid == 0)
        become_helper(visit, argv, in[0], out[1]);
    close(in[0]);
    close(out[1]);
    ret->in = in[1];
    ret->out = out[0];
    return ret->pid < 0 ? -EAGAIN : 0;
}

/* Its first line: 1; 0: it ended or said nothing in time. */
static int first_line(const struct helper *helper, struct line *ret)
{
    _cleanup_lines_ struct lines lines = LINES;
    int64_t deadline = clock_boot_ms() + WAIT_MS;
    for (;;) {
        char bytes[LIMIT_LINE_CHUNK];
        int64_t left = deadline - clock_boot_ms();
        struct pollfd out = {.fd = helper->out, .events = POLLIN};
        int r = lines_next(&lines, ret);
        if (r != 0)
            return r > 0;
        if (left <= 0 || poll(&out, 1, (int)left) <= 0)
            return 0;
        ssize_t n = read(helper->out, bytes, sizeof(bytes));
        if (n <= 0 || lines_feed(&lines, bytes, (size_t)n) < 0)
            return 0;
    }
}

static void tell(struct pam_visit *visit, const struct line *line)
{
    const char *uri = "?", *class = "", *text = "";
    if (strcmp(line->word, "prompt") == 0) {
        (void)line_text(line, "uri", &uri);
        pam_say(visit, PAM_FINE, "the authority gives out codes; people enter them at %s", uri);
        return;
    }
    (void)line_text(line, "class", &class);
    (void)line_text(line, "text", &text);
    if (strcmp(class, "unreachable") == 0)
        pam_say(visit, PAM_UNREACHABLE, "the authority cannot be reached: %s; until then nobody but root can come in%s",
                text, visit->settings.fallback_password ? " without a password" : "");
    else
        pam_say(visit, PAM_BAD, "no code can be had: %s", text);
}

void pam_check_authority(struct pam_visit *visit)
{
    _cleanup_line_ struct line line = {0};
    struct helper helper = {.pid = -1, .in = -1, .out = -1};
    int status;
    if (!visit->known)
        return;
    int r = start(visit, &helper);
    if (r < 0 || helper.pid <= 0) {
        pam_say(visit, PAM_BAD, "mltoken-pam-login cannot be started: %s", strerror(-r));
        return;
    }
    if (first_line(&helper, &line) > 0)
        tell(visit, &line);
    else
        pam_say(visit, PAM_BAD, "mltoken-pam-login says nothing: is it there, and may the helper's user execute it?");
    close(helper.in); /* that tells it to stop */
    close(helper.out);
    (void)kill(helper.pid, SIGTERM);
    (void)waitpid(helper.pid, &status, 0);
}
