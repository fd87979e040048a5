#include "options.h"

#include "cleanup.h"
#include "output.h"
#include "text.h"
#include <errno.h>

static const char *const globals[] = {"--json", "--quiet", "--socket", "--help", "--version"};

int options_unknown(const char *what, const char *given, const char *const *known, size_t count, const char *help)
{
    char shown[LIMIT_TEXT];
    text_clean_into(shown, sizeof(shown), span_of(given));
    const char *near = text_nearest(given, known, count);
    if (near)
        complain("unknown %s %s: did you mean %s?", what, shown, near);
    else
        complain("unknown %s %s: see %s", what, shown, help);
    return EXIT_USAGE;
}

/* An option's value: after "=", or the next argument. */
static const char *value_of(int argc, char **argv, int *i, size_t name_length)
{
    if (argv[*i][name_length] == '=')
        return argv[*i] + name_length + 1;
    if (*i + 1 < argc)
        return argv[++*i];
    complain("%.*s needs a value", (int)name_length, argv[*i]);
    return NULL;
}

/* The length of "--name" in "--name=value" */
static size_t name_length(const char *argument)
{
    return strcspn(argument, "=");
}

static bool is(const char *argument, const char *name)
{
    size_t length = name_length(argument);
    return strlen(name) == length && memcmp(argument, name, length) == 0;
}

static int no_value(const char *argument)
{
    if (!argument[name_length(argument)])
        return OPTIONS_GO;
    complain("%.*s takes no value", (int)name_length(argument), argument);
    return EXIT_USAGE;
}

int options_global(struct context *context, int argc, char **argv, int *i)
{
    const char *argument = argv[*i];
    bool json = is(argument, "--json"), quiet = is(argument, "--quiet");
    context->json |= json;
    context->quiet |= quiet;
    if (json || quiet)
        return no_value(argument);
    if (!is(argument, "--socket"))
        return EXIT_DONE;
    context->socket = value_of(argc, argv, i, strlen("--socket"));
    return context->socket ? OPTIONS_GO : EXIT_USAGE;
}

static int number(const char *name, const char *text, int64_t *ret)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < 0 || value > LIMIT_LIFETIME_S || *text < '0' || *text > '9') {
        char shown[64];
        text_clean_into(shown, sizeof(shown), span_of(text));
        complain("%s: %s is no number from 0 to %ld", name, shown, LIMIT_LIFETIME_S);
        return EXIT_USAGE;
    }
    *ret = value;
    return OPTIONS_GO;
}

static int set(const struct option *option, int argc, char **argv, int *i)
{
    if (option->kind == OPTION_FLAG) {
        *(bool *)option->to = true;
        return no_value(argv[*i]);
    }
    const char *value = value_of(argc, argv, i, strlen(option->name));
    if (!value)
        return EXIT_USAGE;
    if (option->kind == OPTION_NUMBER)
        return number(option->name, value, option->to);
    if (option->kind == OPTION_TEXT) {
        *(const char **)option->to = value;
        return OPTIONS_GO;
    }
    struct option_list *list = option->to;
    if (list->count == OPTION_LIST_MAXIMUM) {
        complain("%s is given more than %d times", option->name, OPTION_LIST_MAXIMUM);
        return EXIT_USAGE;
    }
    list->values[list->count++] = value;
    return OPTIONS_GO;
}

static int help(const struct usage *usage)
{
    _cleanup_buffer_ struct buffer text = BUFFER(16384);
    buffer_format(&text, "Usage: mltoken %s %s\n%s\n\n", usage->command, usage->arguments, usage->summary);
    for (size_t i = 0; i < usage->option_count; i++) {
        const struct option *option = &usage->options[i];
        char left[64];
        (void)snprintf(left, sizeof(left), "%s%s%s", option->name, option->value ? " " : "",
                       option->value ? option->value : "");
        buffer_format(&text, "  %-24s %s\n", left, option->help);
    }
    buffer_text(&text, "  --json                   answer in JSON, times in epoch seconds\n"
                       "  --quiet                  nothing but results and errors\n"
                       "  --socket PATH            the agent's socket\n"
                       "  -h, --help               this text\n");
    return output_write(&text);
}

static int unknown(const struct usage *usage, const char *given)
{
    const char *known[OPTION_LIST_MAXIMUM];
    size_t count = 0;
    for (size_t i = 0; i < usage->option_count && count < ELEMENTS(known); i++)
        known[count++] = usage->options[i].name;
    for (size_t i = 0; i + 1 < ELEMENTS(globals) && count < ELEMENTS(known); i++)
        known[count++] = globals[i];
    char typed[LIMIT_TEXT], see[64];
    (void)snprintf(typed, sizeof(typed), "%.*s", (int)name_length(given), given);
    (void)snprintf(see, sizeof(see), "mltoken %s -h", usage->command);
    return options_unknown("option", typed, known, count, see);
}

static int one(struct context *context, const struct usage *usage, int argc, char **argv, int *i)
{
    for (size_t k = 0; k < usage->option_count; k++)
        if (is(argv[*i], usage->options[k].name))
            return set(&usage->options[k], argc, argv, i);
    if (strcmp(argv[*i], "-h") == 0 || strcmp(argv[*i], "--help") == 0)
        return help(usage);
    int r = options_global(context, argc, argv, i);
    return r == EXIT_DONE ? unknown(usage, argv[*i]) : r;
}

int options_parse(struct context *context, const struct usage *usage, int argc, char **argv, struct arguments *ret)
{
    *ret = (struct arguments){.count = 0};
    bool plain = false;
    for (int i = 1; i < argc; i++) {
        if (!plain && strcmp(argv[i], "--") == 0) {
            plain = true;
            if (usage->rest) {
                ret->rest = argv + i + 1;
                return OPTIONS_GO;
            }
            continue;
        }
        if (!plain && argv[i][0] == '-' && argv[i][1]) {
            int r = one(context, usage, argc, argv, &i);
            if (r != OPTIONS_GO)
                return r;
            continue;
        }
        if (ret->count >= usage->most || ret->count >= ELEMENTS(ret->values)) {
            char shown[LIMIT_TEXT];
            text_clean_into(shown, sizeof(shown), span_of(argv[i]));
            complain("%s: one argument too many: %s: see mltoken %s -h", usage->command, shown, usage->command);
            return EXIT_USAGE;
        }
        ret->values[ret->count++] = argv[i];
    }
    return OPTIONS_GO;
}

int options_profile(struct context *context, const struct usage *usage, int argc, char **argv, const char **ret)
{
    struct usage with_profile = *usage;
    struct arguments arguments;
    with_profile.arguments = "[PROFILE]";
    with_profile.most = 1;
    int r = options_parse(context, &with_profile, argc, argv, &arguments);
    if (r == OPTIONS_GO)
        *ret = arguments.values[0];
    return r;
}
