/* The questions of `mltoken config new`, and what an answer must be. Answers that may be secrets are never repeated. */
#include "config_new.h"

#include "cleanup.h"
#include "output.h"
#include "text.h"
#include "uri.h"
#include <ctype.h>
#include <unistd.h>

static const char *check_name(const char *value)
{
    size_t length = strlen(value);
    bool good = length <= LIMIT_PROFILE_NAME && isalnum((unsigned char)value[0]);
    for (size_t i = 0; good && i < length; i++)
        good = isascii(value[i]) && (isalnum((unsigned char)value[i]) || strchr("._-", value[i]));
    return good ? NULL : "a name is up to 64 letters, digits, dots, dashes and underscores";
}

static const char *check_grant(const char *value)
{
    return strcmp(value, "client_credentials") == 0 || strcmp(value, "device_code") == 0
               ? NULL
               : "client_credentials (a service) or device_code (a person)";
}

static const char *check_authority(const char *value)
{
    return uri_is_safe(value) ? NULL : "an https address, or http to a literal loopback address";
}

static const char *check_secret(const char *value)
{
    static const char *const sources[] = {"file:", "env:", "credential:", "command:"};
    for (size_t i = 0; i < ELEMENTS(sources); i++)
        if (strncmp(value, sources[i], strlen(sources[i])) == 0 && value[strlen(sources[i])])
            return NULL;
    return "where the secret is, not the secret: file:PATH, env:NAME, credential:NAME or command:CMDLINE";
}

static const char *check_any(const char *value)
{
    (void)value;
    return NULL;
}

/* The file's own rules: one line, no blanks around, bounded */
static const char *check_line(const char *value)
{
    size_t length = strlen(value);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
            return "one line without control characters";
    bool blanks = length > 0 && (value[0] == ' ' || value[length - 1] == ' ');
    return length > LIMIT_URL ? "at most 2048 bytes" : blanks ? "without blanks around it" : NULL;
}

/* A line from the terminal, without its end and the blanks around; NULL at the end of input. Lives as long as we do. */
static char *ask(const char *question, const char *usual)
{
    char line[LIMIT_URL + 2];
    (void)fprintf(stderr, usual ? "%s [%s]: " : "%s: ", question, usual);
    if (!fgets(line, sizeof(line), stdin))
        return NULL;
    char *start = line + strspn(line, " \t");
    size_t length = strcspn(start, "\r\n");
    while (length > 0 && (start[length - 1] == ' ' || start[length - 1] == '\t'))
        length--;
    start[length] = '\0';
    return strdup(*start || !usual ? start : usual);
}

struct question {
    const char **value;
    const char *option, *text, *usual;
    const char *(*check)(const char *);
    bool needed;
};

static int settle(const struct question *question, bool terminal)
{
    while (!*question->value && terminal) {
        char *answer = ask(question->text, question->usual);
        if (!answer) {
            (void)fputc('\n', stderr);
            complain("config new: nothing was written");
            return EXIT_USAGE;
        }
        const char *wrong = *answer ? check_line(answer) : NULL;
        if (*answer && !wrong)
            wrong = question->check(answer);
        if (!*answer && !question->needed)
            wrong = NULL;
        else if (!*answer)
            wrong = "this is needed";
        if (!wrong) {
            *question->value = *answer ? answer : NULL;
            return EXIT_DONE;
        }
        free(answer);
        (void)fprintf(stderr, "  %s\n", wrong);
    }
    const char *given = *question->value;
    if (!given) {
        if (question->needed)
            complain("config new: %s is needed: %s", question->option, question->text);
        return question->needed ? EXIT_USAGE : EXIT_DONE;
    }
    const char *wrong = *given ? check_line(given) : "it must not be empty";
    if (!wrong)
        wrong = question->check(given);
    if (wrong)
        complain("config new: %s: %s", question->option, wrong);
    return wrong ? EXIT_USAGE : EXIT_DONE;
}

int config_ask(struct new_profile *profile)
{
    bool terminal = isatty(STDIN_FILENO) == 1 && isatty(STDERR_FILENO) == 1;
    const struct question first[] = {
        {&profile->name, "--profile", "Name of the profile", "me", check_name, true},
        {&profile->grant, "--grant", "Grant: client_credentials (a service) or device_code (a person)", "device_code",
         check_grant, true},
        {&profile->authority, "--authority", "Address of the authority (issuer)", NULL, check_authority, true},
        {&profile->client_id, "--client-id", "Client id", NULL, check_any, true},
        {&profile->scope, "--scope", "Scopes, separated by blanks (may be empty)", NULL, check_any, false},
    };
    for (size_t i = 0; i < ELEMENTS(first); i++) {
        int r = settle(&first[i], terminal);
        if (r != EXIT_DONE)
            return r;
    }
    bool service = strcmp(profile->grant, "client_credentials") == 0;
    const struct question secret = {
        &profile->client_secret,
        "--client-secret",
        "Where the client secret is (file:PATH, env:NAME, credential:NAME, command:CMDLINE)",
        NULL,
        check_secret,
        service};
    return settle(&secret, terminal && service);
}
