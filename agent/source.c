#include "source.h"

#include "cleanup.h"
#include "keys.h"
#include <errno.h>
#include <strings.h>

/* One file name, so that it cannot leave $CREDENTIALS_DIRECTORY. */
static bool credential_name(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length <= 255 && name[0] != '.' && !strchr(name, '/');
}

/* Copies the quoted part behind `*from` to `*to` and steps over it: NULL, or what is wrong. */
static const char *quoted(const char **from, char **to)
{
    char quote = *(*from)++;
    for (; **from != quote; (*from)++) {
        if (!**from)
            return "a quote is not closed; close it";
        if (quote == '"' && (**from == '$' || **from == '`'))
            return "there is no shell to expand $ or `; quote it with '...', or run sh -c '...'";
        if (quote == '"' && **from == '\\' && (*from)[1] && strchr("\"\\$`", (*from)[1]))
            (*from)++;
        *(*to)++ = **from;
    }
    (*from)++;
    return NULL;
}

/* One word in the manner of sh, but nothing is expanded: '...' is literal, in "..." a backslash keeps ", \, $ and `,
 * outside quotes it keeps the next character. */
static const char *word(const char **from, char **to)
{
    while (**from && **from != ' ' && **from != '\t') {
        const char *problem = NULL;
        if (**from == '\'' || **from == '"')
            problem = quoted(from, to);
        else if (strchr("|&;<>()$`", **from))
            problem = "there is no shell for | & ; < > ( ) $ `; quote them, or run sh -c '...'";
        else {
            if (**from == '\\' && !*++*from)
                problem = "ends in a backslash; remove it";
            else
                *(*to)++ = *(*from)++;
        }
        if (problem)
            return problem;
    }
    *(*to)++ = '\0';
    return NULL;
}

static int command(struct profile *profile, const char *line, struct source *ret, char problem[static LIMIT_TEXT])
{
    char *words = profile_allocate(profile, strlen(line) + 2); /* unquoting never makes a word longer */
    char **argv = profile_allocate(profile, (LIMIT_COMMAND_WORDS + 1) * sizeof(*argv));
    size_t count = 0;
    if (!words || !argv)
        return -ENOMEM;
    for (line += strspn(line, " \t"); *line; line += strspn(line, " \t")) {
        if (count == LIMIT_COMMAND_WORDS)
            return key_problem(problem, "the command has more than %d words; put it into a script",
                               LIMIT_COMMAND_WORDS);
        bool tilde = line[0] == '~' && line[1] == '/';
        argv[count] = words;
        const char *wrong = word(&line, &words);
        if (wrong)
            return key_problem(problem, "command: %s", wrong);
        int r = tilde ? key_path(profile, argv[count], &argv[count], problem) : 0;
        if (r < 0)
            return r;
        count++;
    }
    if (count == 0 || !argv[0][0])
        return key_problem(problem, "command: names no program; write command:PROGRAM ARGUMENTS");
    ret->argv = argv;
    return 0;
}

int source_read(struct profile *profile, char *value, struct source *ret, char problem[static LIMIT_TEXT])
{
    static const struct {
        const char *prefix;
        enum source_kind kind;
    } kinds[] = {
        {"file:", SOURCE_FILE}, {"env:", SOURCE_ENV}, {"credential:", SOURCE_CREDENTIAL}, {"command:", SOURCE_COMMAND}};
    struct source source = {0};
    for (size_t i = 0; i < ELEMENTS(kinds) && !source.kind; i++)
        if (strncmp(value, kinds[i].prefix, strlen(kinds[i].prefix)) == 0) {
            source.kind = kinds[i].kind;
            source.value = value + strlen(kinds[i].prefix);
        }
    int r = 0;
    switch (source.kind) {
    case SOURCE_NONE:
        if (strcmp(value, "stored") == 0) {
            source = (struct source){.kind = SOURCE_STORED, .value = value};
            break;
        }
        return key_problem(
            problem, "says where the secret is, never the secret itself (not repeated here); write stored and put it "
                     "there with mltoken secret set, or use file:PATH, env:NAME, credential:NAME or command:CMDLINE");
    case SOURCE_STORED:
        break;
    case SOURCE_FILE:
        r = key_path(profile, source.value, &source.value, problem);
        break;
    case SOURCE_ENV:
        if (!source_env_allowed(span_of(source.value)))
            r = key_problem(
                problem,
                "env: needs the name of a variable, letters, digits and _, and none that the agent or a library "
                "reads for itself; choose another name");
        break;
    case SOURCE_CREDENTIAL:
        if (!credential_name(source.value))
            r = key_problem(problem,
                            "credential: needs the name of a file in $CREDENTIALS_DIRECTORY, without a slash; as in "
                            "LoadCredential=NAME:...");
        break;
    case SOURCE_COMMAND:
        r = command(profile, source.value, &source, problem);
        break;
    }
    if (r == 0)
        *ret = source;
    return r;
}
