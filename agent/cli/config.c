/* mltoken config: where the configuration is, whether it is right, and how to begin one. */
#include "command.h"

#include "cleanup.h"
#include "config_new.h"
#include "options.h"
#include "output.h"
#include "text.h"
#include <errno.h>

int config_path(char *to, size_t size)
{
    const char *given = getenv("MLTOKEN_CONFIG"), *directory = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    int n = -1;
    if (given && *given)
        n = snprintf(to, size, "%s", given);
    else if (directory && directory[0] == '/')
        n = snprintf(to, size, "%s/mltoken/config", directory);
    else if (home && home[0] == '/')
        n = snprintf(to, size, "%s/.config/mltoken/config", home);
    if (n >= 0 && (size_t)n < size)
        return 0;
    complain(n < 0 ? "config: where is your configuration? neither MLTOKEN_CONFIG nor XDG_CONFIG_HOME nor HOME is set"
                   : "config: the path of the configuration is too long");
    return -EINVAL;
}

static int path(struct context *context, int argc, char **argv)
{
    const struct usage usage = {
        .command = "config path", .arguments = "", .summary = "Prints where your configuration is, or would be."};
    struct arguments arguments;
    char where[CONFIG_PATH_SIZE];
    int r = options_parse(context, &usage, argc, argv, &arguments);
    if (r != OPTIONS_GO)
        return r;
    if (config_path(where, sizeof(where)) < 0)
        return EXIT_CONFIGURATION;
    if (context->json) {
        _cleanup_json_ json_object *object = json_object_new_object();
        if (!object || json_put_text(object, "path", where) < 0)
            return EXIT_FAILED;
        return output_json(object);
    }
    struct buffer text = BUFFER(2 * CONFIG_PATH_SIZE);
    buffer_format(&text, "%s\n", where);
    return output_write(&text);
}

static int check(struct context *context, int argc, char **argv)
{
    const struct usage usage = {.command = "config check",
                                .arguments = "[FILE]",
                                .summary = "Checks the configuration, or a file that is to become one.",
                                .most = 1};
    struct arguments arguments;
    int r = options_parse(context, &usage, argc, argv, &arguments);
    return r != OPTIONS_GO ? r : agent_run("--check", arguments.count > 0 ? arguments.values[0] : NULL);
}

static int help(void)
{
    struct buffer text = BUFFER(1024);
    buffer_text(&text, "Usage: mltoken config new|import-mlserver|check|path\n\n"
                       "  new            write a starting configuration, or add a profile to one\n"
                       "  import-mlserver [FILE]\n"
                       "                 make a profile of a context dictionary for Machine Learning Server\n"
                       "  check [FILE]   check the configuration\n"
                       "  path           print where it is\n");
    return output_write(&text);
}

int command_config(struct context *context, int argc, char **argv)
{
    static const char *const names[] = {"new", "import-mlserver", "check", "path"};
    static int (*const runs[])(struct context *, int, char **) = {config_new, config_import, check, path};
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0)
            return help();
        int r = options_global(context, argc, argv, &i);
        if (r == EXIT_DONE)
            return options_unknown("option", argv[i], (const char *const[]){"--help"}, 1, "mltoken config -h");
        if (r != OPTIONS_GO)
            return r;
    }
    if (i >= argc) {
        complain("config: new, import-mlserver, check or path? see mltoken config -h");
        return EXIT_USAGE;
    }
    for (size_t k = 0; k < ELEMENTS(names); k++)
        if (strcmp(names[k], argv[i]) == 0)
            return runs[k](context, argc - i, argv + i);
    return options_unknown("command config", argv[i], names, ELEMENTS(names), "mltoken config -h");
}
