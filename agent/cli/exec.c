/* mltoken exec: a command with tokens in its environment. It replaces this process, so its exit status is ours. */
#include "command.h"

#include "cleanup.h"
#include "options.h"
#include "output.h"
#include "report.h"
#include "text.h"
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#define DEFAULT_VARIABLE "MLTOKEN_TOKEN"

DEFINE_CLEANUP(mltoken_request *, mltoken_request_free)
DEFINE_CLEANUP(mltoken_token *, mltoken_free)

static bool valid_variable(const char *name, size_t length)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
    if (length == 0 || !strchr(letters, name[0]))
        return false;
    for (size_t i = 0; i < length; i++)
        if (!strchr(letters, name[i]) && (name[i] < '0' || name[i] > '9'))
            return false;
    return true;
}

/* Puts the token of `profile` (NULL: the default one) into a variable of our own environment. */
static int put_token(struct context *context, const char *variable, const char *profile)
{
    _cleanup_(mltoken_request_free_cleanup) mltoken_request *request = NULL;
    _cleanup_(mltoken_free_cleanup) mltoken_token *token = NULL;
    if (mltoken_request_new(&request) < 0 || mltoken_request_application(request, "mltoken exec") < 0)
        return report(context, MLTOKEN_ENOMEM, "cannot get a token", profile);
    if (mltoken_request_profile(request, profile) < 0) {
        complain("exec: the name of a profile is not valid");
        return EXIT_USAGE;
    }
    int r = mltoken_get(context->handle, request, 0, &token);
    if (r < 0)
        return report(context, r, "cannot get a token", profile);
    if (setenv(variable, mltoken_token_value(token), 1) < 0) {
        complain("exec: %s", strerror(errno));
        return EXIT_FAILED;
    }
    return EXIT_DONE;
}

static int put_all(struct context *context, const struct option_list *variables, const char *profile)
{
    if (variables->count == 0)
        return put_token(context, DEFAULT_VARIABLE, profile);
    for (size_t i = 0; i < variables->count; i++) {
        const char *given = variables->values[i], *equals = strchr(given, '=');
        char name[256];
        (void)snprintf(name, sizeof(name), "%.*s", equals ? (int)(equals - given) : (int)strlen(given), given);
        int r = put_token(context, name, equals ? equals + 1 : profile);
        if (r != EXIT_DONE)
            return r;
    }
    return EXIT_DONE;
}

static int check_variables(const struct option_list *variables)
{
    for (size_t i = 0; i < variables->count; i++) {
        size_t length = strcspn(variables->values[i], "=");
        if (length < 256 && valid_variable(variables->values[i], length))
            continue;
        complain("exec: --env takes NAME or NAME=PROFILE, and a NAME is letters, digits and _");
        return EXIT_USAGE;
    }
    return EXIT_DONE;
}

static int become(char **command)
{
    char shown[LIMIT_TEXT];
    (void)signal(SIGPIPE, SIG_DFL);
    execvp(command[0], command);
    int error = errno;
    text_clean_into(shown, sizeof(shown), span_of(command[0]));
    complain("exec: cannot run %s: %s", shown, strerror(error));
    return error == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
}

int command_exec(struct context *context, int argc, char **argv)
{
    struct option_list variables = {.count = 0};
    const struct option options[] = {{"--env", OPTION_LIST, &variables, "NAME[=PROFILE]",
                                      "the variable for the token (" DEFAULT_VARIABLE "); repeatable"}};
    const struct usage usage = {.command = "exec",
                                .arguments = "[PROFILE] [--env NAME[=PROFILE]]... -- COMMAND ...",
                                .summary = "Runs a command with tokens in its environment.",
                                USAGE_OPTIONS(options),
                                .most = 1,
                                .rest = true};
    struct arguments arguments;
    int r = options_parse(context, &usage, argc, argv, &arguments);
    if (r != OPTIONS_GO)
        return r;
    r = check_variables(&variables);
    if (r != EXIT_DONE)
        return r;
    if (!arguments.rest || !arguments.rest[0]) {
        complain("exec: which command? mltoken exec [PROFILE] -- COMMAND ...");
        return EXIT_USAGE;
    }
    r = context_open(context);
    if (r == EXIT_DONE)
        r = put_all(context, &variables, arguments.count > 0 ? arguments.values[0] : NULL);
    return r == EXIT_DONE ? become(arguments.rest) : EXIT_EXEC_FAILED;
}
