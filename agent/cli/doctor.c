/* mltoken doctor: our end of the chain (socket, directory, versions); the agent's program tests its own. */
#include "command.h"

#include "cleanup.h"
#include "doctor_pam.h"
#include "message.h"
#include "options.h"
#include "output.h"
#include "report.h"
#include "text.h"
#include <errno.h>
#include <stdarg.h>

static int line(const char *result, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int line(const char *result, const char *format, ...)
{
    char words[2 * LIMIT_TEXT];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    struct buffer text = BUFFER(4 * LIMIT_TEXT);
    buffer_format(&text, "%-5s %s\n", result, words);
    return output_write(&text);
}

/* false: something is wrong */
static bool check_directory(const struct socket_path *path)
{
    int r = socket_directory_check(path->directory, false);
    if (r == -ENOENT)
        (void)line("note", "the directory %s is not there yet; the agent makes it", path->directory);
    else if (r < 0)
        (void)line(path->given ? "note" : "FAIL", "the directory %s %s%s", path->directory, socket_directory_problem(r),
                   path->given ? " (it was given, so only who answers counts)" : "; remove it, or set MLTOKEN_SOCK");
    else
        (void)line("ok", "the directory %s is yours alone", path->directory);
    return r == 0 || r == -ENOENT || path->given;
}

static bool check_agent(struct context *context)
{
    _cleanup_json_ json_object *status = NULL;
    char version[64] = "?";
    struct span text;
    int64_t pid = 0;
    const struct socket_path *path = &context->handle->path;
    int r = client_connect(context->handle);
    if (r == MLTOKEN_ENOAGENT) {
        (void)line("note", "no agent listens at %s; the next mltoken get starts one", path->agent);
        return true;
    }
    if (r == 0)
        r = agent_call(context, MESSAGE_INTERFACE ".Status", NULL, &status);
    if (r == MLTOKEN_EOLDAGENT || r == MLTOKEN_EDENIED) {
        (void)line("ok", "an agent answers at %s; it tells no more there", path->agent);
        return true;
    }
    if (r < 0) {
        (void)line("FAIL", "the agent at %s: %s: %s", path->agent, mltoken_strerror(r), context->handle->error.reason);
        return false;
    }
    if (json_bytes(status, "version", LIMIT_CODE, &text) == 0)
        text_clean_into(version, sizeof(version), text);
    (void)json_integer(status, "pid", &pid);
    bool same = strcmp(version, MLTOKEN_VERSION) == 0;
    (void)line("ok", "the agent %s (pid %lld) answers at %s", version, (long long)pid, path->agent);
    if (!same)
        (void)line("note", "this is mltoken %s: end the agent, and the next call starts the new one", MLTOKEN_VERSION);
    return true;
}

int command_doctor(struct context *context, int argc, char **argv)
{
    bool pam = false;
    const char *profile, *user = NULL, *root = NULL;
    const struct option options[] = {
        {"--pam", OPTION_FLAG, &pam, NULL, "look at pam_mltoken.so instead: the PAM stack, sshd, files, the authority"},
        {"--user", OPTION_TEXT, &user, "NAME", "with --pam: whether this person can come in"},
        {"--root", OPTION_TEXT, &root, "DIRECTORY", "with --pam: look at the system below it"}};
    const struct usage usage = {.command = "doctor",
                                .arguments = "[PROFILE]",
                                .summary = "Tests each link from here to the authority and says what to do.",
                                USAGE_OPTIONS(options),
                                .most = 1};
    struct arguments arguments;
    int r = options_parse(context, &usage, argc, argv, &arguments);
    if (r != OPTIONS_GO)
        return r;
    profile = arguments.count > 0 ? arguments.values[0] : NULL;
    if (pam ? profile != NULL || (root && root[0] != '/') : user || root) {
        complain("doctor: %s",
                 pam ? "--pam takes no profile, and --root an absolute path" : "--user and --root belong to --pam");
        return EXIT_USAGE;
    }
    if (pam)
        return doctor_pam(root, user);
    if (mltoken_open(context->socket, &context->handle) < 0) {
        complain("%s must be an absolute path of at most %d bytes", context->socket ? "--socket" : "MLTOKEN_SOCK",
                 SOCKET_PATH_SIZE - 1);
        return EXIT_USAGE;
    }
    bool good = check_directory(&context->handle->path);
    good = check_agent(context) && good;
    r = agent_run("--doctor", profile);
    return r == EXIT_DONE && !good ? EXIT_FAILED : r;
}
