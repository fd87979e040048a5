/* mltoken config import-mlserver: the settings that a program for Machine Learning Server has as a dictionary of Python
 * (or as JSON) become a profile. It is read here, bounded, and nothing of it is ever run; a password in it is not taken
 * over. */
#include "config_new.h"

#include "cleanup.h"
#include "options.h"
#include "output.h"
#include "text.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define COMMAND "config import-mlserver"
enum { MOST_INPUT = 16384, MOST_TEXT = 2048, MOST_PAIRS = 64 };

static const struct {
    const char *name;
    enum field field;
    bool needed;
} members[] = {{"authuri", FIELD_AUTHORITY, true},
               {"tenant", FIELD_TENANT, true},
               {"clientid", FIELD_CLIENT_ID, true},
               {"resource", FIELD_RESOURCE, true},
               {"username", FIELD_USERNAME, false}};

struct reading {
    const char *at;
    int line;
    const char *problem; /* what is wrong; NULL: nothing yet */
    bool password;       /* there is one */
    char values[ELEMENTS(members)][MOST_TEXT + 1];
    bool given[ELEMENTS(members)];
};

static bool fails(struct reading *reading, const char *problem)
{
    if (!reading->problem)
        reading->problem = problem;
    return false;
}

static void skip_blanks(struct reading *reading)
{
    for (;; reading->at++) {
        if (*reading->at == '#')
            reading->at += strcspn(reading->at, "\n");
        if (*reading->at == '\n')
            reading->line++;
        else if (!*reading->at || !strchr(" \t\r", *reading->at))
            return;
    }
}

static bool take(struct reading *reading, char byte)
{
    skip_blanks(reading);
    if (*reading->at != byte)
        return false;
    reading->at++;
    return true;
}

/* '...' or "..."; of the escapes those that such texts can need. */
static bool read_text(struct reading *reading, char to[static MOST_TEXT + 1])
{
    size_t length = 0;
    skip_blanks(reading);
    char quote = *reading->at;
    if (quote != '\'' && quote != '"')
        return fails(reading, "a text in quotes is expected");
    for (reading->at++; *reading->at != quote; reading->at++) {
        if (*reading->at == '\\') {
            reading->at++;
            if (!*reading->at || !strchr("\\'\"/", *reading->at))
                return fails(reading, "of the escapes \\\\, \\', \\\" and \\/ are understood");
        }
        if ((unsigned char)*reading->at < 0x20 || *reading->at == 0x7f)
            return fails(reading, "a text does not end, or holds a control character");
        if (length == MOST_TEXT)
            return fails(reading, "a text is longer than 2048 bytes");
        to[length++] = *reading->at;
    }
    to[length] = '\0';
    reading->at++;
    return true;
}

/* None, null, True, 12: nothing that we could use. */
static bool skip_word(struct reading *reading)
{
    const char *start = reading->at;
    while (isalnum((unsigned char)*reading->at) || (*reading->at && strchr("+-._", *reading->at)))
        reading->at++;
    return reading->at > start ? true : fails(reading, "a value is a text in quotes; nothing of it is computed here");
}

static bool read_pair(struct reading *reading)
{
    char name[MOST_TEXT + 1], value[MOST_TEXT + 1];
    size_t i = 0;
    if (!read_text(reading, name))
        return false;
    if (!take(reading, ':'))
        return fails(reading, "a colon is expected behind the name");
    skip_blanks(reading);
    bool text = *reading->at == '\'' || *reading->at == '"';
    bool ok = text ? read_text(reading, value) : skip_word(reading);
    while (i < ELEMENTS(members) && strcmp(members[i].name, name) != 0)
        i++;
    reading->password |= strcmp(name, "password") == 0;
    if (ok && text && i < ELEMENTS(members)) {
        if (reading->given[i])
            ok = fails(reading, "a name stands twice");
        reading->given[i] = true;
        memcpy(reading->values[i], value, strlen(value) + 1);
    }
    explicit_bzero(value, sizeof(value));
    return ok;
}

/* NAME = { 'name': 'value', ... } */
static bool read_dictionary(struct reading *reading)
{
    skip_blanks(reading);
    const char *start = reading->at;
    while (isalnum((unsigned char)*reading->at) || *reading->at == '_')
        reading->at++;
    if (reading->at > start && !take(reading, '='))
        return fails(reading, "a dictionary is expected: {'authuri': '...', ...}");
    if (!take(reading, '{'))
        return fails(reading, "a dictionary is expected: {'authuri': '...', ...}");
    for (int pairs = 0; !take(reading, '}'); pairs++) {
        if (pairs == MOST_PAIRS)
            return fails(reading, "it has more members than such a dictionary");
        if (!read_pair(reading))
            return false;
        if (take(reading, ','))
            continue;
        if (!take(reading, '}'))
            return fails(reading, "a comma or the dictionary's end is expected");
        break;
    }
    skip_blanks(reading);
    return *reading->at ? fails(reading, "something follows the dictionary") : true;
}

static int read_input(const char *path, struct buffer *to)
{
    _cleanup_close_ int opened = -1;
    int fd = STDIN_FILENO;
    if (path && strcmp(path, "-") != 0) {
        opened = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        fd = opened;
    }
    if (fd < 0) {
        char shown[LIMIT_URL];
        text_clean_into(shown, sizeof(shown), span_of(path));
        complain(COMMAND ": %s: %s", shown, strerror(errno));
        return EXIT_USAGE;
    }
    if (isatty(fd) == 1)
        remark(false, "paste the dictionary, then press Ctrl-D");
    for (;;) {
        char part[1024];
        ssize_t n = read(fd, part, sizeof(part));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            complain(COMMAND ": cannot read it: %s", strerror(errno));
            return EXIT_FAILED;
        }
        int r = n > 0 ? buffer_append(to, part, (size_t)n) : 0;
        explicit_bzero(part, sizeof(part)); /* there may be a password */
        if (r < 0) {
            complain(COMMAND ": it is longer than %d bytes; only the dictionary is wanted", MOST_INPUT);
            return EXIT_USAGE;
        }
        if (n == 0)
            break;
    }
    if (to->length > 0 && !memchr(to->data, '\0', to->length))
        return EXIT_DONE;
    complain(COMMAND ": %s", to->length ? "it is no text" : "there is nothing to read");
    return EXIT_USAGE;
}

static bool is_guid(const char *text)
{
    static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    if (strlen(text) != sizeof(form) - 1)
        return false;
    for (size_t i = 0; form[i]; i++)
        if (form[i] == '-' ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
    return true;
}

static int take_values(const struct reading *reading, struct new_profile *profile)
{
    bool password = strcmp(profile->grant, "password") == 0;
    for (size_t i = 0; i < ELEMENTS(members); i++) {
        enum field field = members[i].field;
        bool person = field == FIELD_USERNAME;
        if (person && !password)
            continue;
        const char *value = reading->values[i], *wrong = NULL;
        if (!reading->given[i])
            wrong = "it is missing";
        else
            wrong = field_check(field, value);
        if (!wrong && field == FIELD_RESOURCE && !is_guid(value))
            wrong = "it is the web application's client id, 8-4-4-4-12 hexadecimal digits";
        if (wrong) {
            complain(COMMAND ": %s: %s; nothing was written", members[i].name, wrong);
            return EXIT_USAGE;
        }
        profile->values[field] = value;
    }
    profile->values[FIELD_DIALECT] = "entra_v1";
    if (password && !profile->values[FIELD_PASSWORD])
        profile->values[FIELD_PASSWORD] = "stored";
    return EXIT_DONE;
}

static int check_options(struct new_profile *profile)
{
    const char *wrong = profile_name_check(profile->name), *password = profile->values[FIELD_PASSWORD];
    if (wrong) {
        complain(COMMAND ": --profile: %s", wrong);
        return EXIT_USAGE;
    }
    profile->template = template_find("mlserver-entra", profile->grant);
    if (!profile->template) {
        complain(COMMAND ": --grant: device_code (a person signs in with a browser) or password");
        return EXIT_USAGE;
    }
    if (password && strcmp(profile->grant, "password") != 0)
        wrong = "it goes with --grant password";
    else if (password)
        wrong = field_check(FIELD_PASSWORD, password);
    if (wrong)
        complain(COMMAND ": --password: %s", wrong);
    return wrong ? EXIT_USAGE : EXIT_DONE;
}

static int import(const struct context *context, const char *from, const char *path, struct new_profile *profile)
{
    _cleanup_buffer_ struct buffer input = BUFFER(MOST_INPUT);
    struct reading reading = {.line = 1};
    int r = read_input(from, &input);
    if (r != EXIT_DONE)
        return r;
    reading.at = input.data;
    if (!read_dictionary(&reading)) {
        complain(COMMAND ": line %d: %s; nothing was written", reading.line, reading.problem);
        return EXIT_USAGE;
    }
    r = take_values(&reading, profile);
    if (r == EXIT_DONE)
        r = config_write(COMMAND, path, profile);
    if (r != EXIT_DONE)
        return r;
    if (reading.password)
        remark(context->quiet, "the password in it was not taken over: a profile says where a secret is, never what");
    config_next(context, profile);
    return EXIT_DONE;
}

int config_import(struct context *context, int argc, char **argv)
{
    struct new_profile profile = {.name = "mlserver", .grant = "device_code"};
    const struct option options[] = {
        {"--profile", OPTION_TEXT, &profile.name, "NAME", "the profile's name; mlserver"},
        {"--grant", OPTION_TEXT, &profile.grant, "GRANT", "device_code, or password with the username in it"},
        {"--password", OPTION_TEXT, &profile.values[FIELD_PASSWORD], "SOURCE", "where the password is; stored"},
    };
    const struct usage usage = {.command = COMMAND,
                                .arguments = "[FILE]",
                                .summary = "Makes a profile of the context dictionary of a program for Machine "
                                           "Learning Server, from a file or standard input.",
                                .most = 1,
                                USAGE_OPTIONS(options)};
    struct arguments arguments;
    char path[CONFIG_PATH_SIZE];
    int r = options_parse(context, &usage, argc, argv, &arguments);
    if (r != OPTIONS_GO)
        return r;
    if (config_path(path, sizeof(path)) < 0)
        return EXIT_CONFIGURATION;
    r = check_options(&profile);
    if (r == EXIT_DONE)
        r = import(context, arguments.count > 0 ? arguments.values[0] : NULL, path, &profile);
    if (r != EXIT_DONE)
        return r;
    struct buffer text = BUFFER(2 * CONFIG_PATH_SIZE);
    buffer_format(&text, "the profile %s stands in %s\n", profile.name, path);
    return output_write(&text);
}
