/* The questions of `mltoken config new`, and what an answer must be. Answers that may be secrets are never repeated. */
#include "config_new.h"

#include "cleanup.h"
#include "output.h"
#include "text.h"
#include "uri.h"
#include <ctype.h>
#include <unistd.h>

const char *profile_name_check(const char *value)
{
    size_t length = strlen(value);
    bool good = length <= LIMIT_PROFILE_NAME && isalnum((unsigned char)value[0]);
    for (size_t i = 0; good && i < length; i++)
        good = isascii(value[i]) && (isalnum((unsigned char)value[i]) || strchr("._-", value[i]));
    return good ? NULL : "a name is up to 64 letters, digits, dots, dashes and underscores";
}

static const char *check_ascii(const char *value)
{
    for (; *value; value++)
        if (!isascii(*value))
            return "ASCII alone";
    return NULL;
}

/* The name of a variable that a platform sets, for a setting that may be taken from there */
static bool is_variable(const char *value, const char *name)
{
    return strncmp(value, "env:", strlen("env:")) == 0 && strcmp(value + strlen("env:"), name) == 0;
}

static const char *check_authority(const char *value)
{
    return is_variable(value, "AZURE_AUTHORITY_HOST") || uri_is_safe(value)
               ? NULL
               : "an https address, or http to a literal loopback address";
}

static const char *check_tenant(const char *value)
{
    if (is_variable(value, "AZURE_TENANT_ID"))
        return NULL;
    for (const char *p = value; *p; p++)
        if (!isascii(*p) || !(isalnum((unsigned char)*p) || *p == '-' || *p == '.'))
            return "a tenant's id, or its domain: letters, digits, dots and dashes";
    return *value == '.' ? "a tenant's id, or its domain" : NULL;
}

static const char *check_secret(const char *value)
{
    static const char *const sources[] = {"file:", "env:", "credential:", "command:"};
    if (strcmp(value, "stored") == 0)
        return NULL;
    for (size_t i = 0; i < ELEMENTS(sources); i++)
        if (strncmp(value, sources[i], strlen(sources[i])) == 0 && value[strlen(sources[i])])
            return NULL;
    return "where the secret is, not the secret: stored (in the store), file:PATH, env:NAME, credential:NAME or "
           "command:CMDLINE";
}

static const char *check_path(const char *value)
{
    return value[0] == '/' || (value[0] == '~' && value[1] == '/') ? NULL : "a whole path: it begins with / or ~/";
}

static const char *check_assertion(const char *value)
{
    return is_variable(value, "AZURE_FEDERATED_TOKEN_FILE") ? NULL : check_path(value);
}

static const char *check_resource(const char *value)
{
    return check_ascii(value) || strpbrk(value, " \t#") ? "one address or id, without blanks and #" : NULL;
}

static const char *check_scope(const char *value)
{
    return check_ascii(value) || strpbrk(value, "\"\\") ? "scopes in ASCII, without quotes and backslashes" : NULL;
}

static const char *check_header(const char *value)
{
    return strchr(value, ':') && strstr(value, "{token}") ? NULL : "NAME: ... {token}, as in api-key: {token}";
}

static const char *check_date(const char *value)
{
    static const char form[] = "dddd-dd-dd";
    size_t i = 0;
    while (form[i] && value[i] && (form[i] == 'd' ? isdigit((unsigned char)value[i]) != 0 : value[i] == '-'))
        i++;
    return form[i] || value[i] ? "a date as in 2027-01-31" : NULL;
}

#define SOURCES "(stored, file:PATH, env:NAME, credential:NAME, command:CMDLINE)"

static const struct {
    const char *key, *option, *question;
    const char *(*check)(const char *);
} fields[FIELD_COUNT] = {
    [FIELD_AUTHORITY] = {"authority", "--authority", "Address of the authority (issuer)", check_authority},
    [FIELD_DIALECT] = {"dialect", "--dialect", "What the authority speaks", check_ascii},
    [FIELD_TENANT] = {"tenant", "--tenant", "Tenant (directory): its id or its domain", check_tenant},
    [FIELD_POLICY] = {"policy", "--policy", "User flow (policy)", check_ascii},
    [FIELD_CLIENT_ID] = {"client_id", "--client-id", "Client id", check_ascii},
    [FIELD_CLIENT_SECRET] = {"client_secret", "--client-secret", "Where the client secret is " SOURCES, check_secret},
    [FIELD_CLIENT_CERTIFICATE] = {"client_certificate", "--client-certificate", "Path of the client's certificate",
                                  check_path},
    [FIELD_CLIENT_KEY] = {"client_key", "--client-key", "Path of the client's private key", check_path},
    [FIELD_CLIENT_ASSERTION_FILE] = {"client_assertion_file", "--client-assertion-file",
                                     "Path of the federated assertion", check_assertion},
    [FIELD_USERNAME] = {"username", "--username", "User name", check_ascii},
    [FIELD_PASSWORD] = {"password", "--password", "Where the password is " SOURCES "; - to be asked for it by login",
                        check_secret},
    [FIELD_TOKEN] = {"token", "--token", "Where the token or key is " SOURCES, check_secret},
    [FIELD_EXPIRES] = {"expires", "--expires", "The date it ends (may be empty)", check_date},
    [FIELD_RESOURCE] = {"resource", "--resource", "Resource: an address or id", check_resource},
    [FIELD_SCOPE] = {"scope", "--scope", "Scopes, separated by blanks", check_scope},
    [FIELD_PARENT] = {"parent", "--parent", "Profile whose token it is made from", profile_name_check},
    [FIELD_HEADER] = {"header", "--header", "Header line", check_header},
};

const char *field_key(enum field field)
{
    return fields[field].key;
}

const char *field_option(enum field field)
{
    return fields[field].option;
}

const char *field_help(enum field field)
{
    return fields[field].question;
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

const char *field_check(enum field field, const char *value)
{
    const char *wrong = *value ? check_line(value) : "it must not be empty";
    return wrong ? wrong : fields[field].check(value);
}

/* A line from the terminal, without its end and the blanks around; NULL at the end of input. Lives as long as we do. */
static char *ask(const char *question, const char *usual)
{
    char line[LIMIT_URL + 2];
    (void)fprintf(stderr, usual ? "%s [%s]: " : "%s: ", question, usual);
    if (!fgets(line, sizeof(line), stdin)) {
        (void)fputc('\n', stderr);
        complain("config new: nothing was written");
        return NULL;
    }
    char *start = line + strspn(line, " \t");
    size_t length = strcspn(start, "\r\n");
    while (length > 0 && (start[length - 1] == ' ' || start[length - 1] == '\t'))
        length--;
    start[length] = '\0';
    return strdup(*start || !usual ? start : usual);
}

static bool is_terminal(void)
{
    return isatty(STDIN_FILENO) == 1 && isatty(STDERR_FILENO) == 1;
}

/* Asks until the answer will do; an empty one leaves a field out that may be. */
static int ask_field(struct new_profile *profile, const struct template_line *line)
{
    for (;;) {
        _cleanup_free_ char *answer = ask(fields[line->field].question, line->usual);
        if (!answer)
            return EXIT_USAGE;
        bool out = line->kind == LINE_MAY && (!*answer || strcmp(answer, "-") == 0);
        const char *wrong = out ? NULL : *answer ? field_check(line->field, answer) : "this is needed";
        if (!wrong) {
            profile->values[line->field] = out ? NULL : TAKE_PTR(answer);
            return EXIT_DONE;
        }
        (void)fprintf(stderr, "  %s\n", wrong);
    }
}

static int settle(struct new_profile *profile, const struct template_line *line)
{
    const char **value = &profile->values[line->field];
    if (*value && line->kind == LINE_MAY && strcmp(*value, "-") == 0) {
        *value = NULL;
        return EXIT_DONE;
    }
    if (*value || line->kind == LINE_GIVEN)
        return EXIT_DONE; /* checked with all the others */
    if (line->kind != LINE_FIXED && is_terminal())
        return ask_field(profile, line);
    *value = line->usual;
    if (*value || line->kind == LINE_MAY)
        return EXIT_DONE;
    complain("config new: %s is needed: %s", fields[line->field].option, fields[line->field].question);
    return EXIT_USAGE;
}

/* One of: a secret, a certificate (its key may stand in the same file), a key, an assertion that somebody else makes.
 */
static int settle_proof(struct new_profile *profile, const struct template_line *line)
{
    const struct template_line certificate = {LINE_NEEDS, FIELD_CLIENT_CERTIFICATE, NULL, NULL},
                               key = {LINE_NEEDS, FIELD_CLIENT_KEY, NULL, NULL},
                               own = {LINE_MAY, FIELD_CLIENT_KEY, NULL, NULL},
                               assertion = {LINE_NEEDS, FIELD_CLIENT_ASSERTION_FILE, NULL, NULL};
    const char **values = profile->values;
    bool keyed = values[FIELD_CLIENT_CERTIFICATE] || values[FIELD_CLIENT_KEY];
    int given = (values[FIELD_CLIENT_SECRET] != NULL) + keyed + (values[FIELD_CLIENT_ASSERTION_FILE] != NULL);
    if (given > 1) {
        complain("config new: the client proves who it is in one way: --client-secret, --client-certificate (with "
                 "--client-key) or --client-assertion-file");
        return EXIT_USAGE;
    }
    if (given == 1)
        return EXIT_DONE;
    while (is_terminal()) {
        _cleanup_free_ char *how =
            ask("Proof of the client: secret, certificate, key or assertion (of a federated identity)", "secret");
        if (!how)
            return EXIT_USAGE;
        if (strcmp(how, "secret") == 0)
            break;
        if (strcmp(how, "key") == 0)
            return settle(profile, &key);
        if (strcmp(how, "assertion") == 0)
            return settle(profile, &assertion);
        if (strcmp(how, "certificate") == 0) {
            int r = settle(profile, &certificate);
            return r == EXIT_DONE ? settle(profile, &own) : r;
        }
        (void)fprintf(stderr, "  secret, certificate, key or assertion\n");
    }
    const struct template_line secret = {LINE_NEEDS, line->field, line->usual, NULL};
    return settle(profile, &secret);
}

static bool is_known(const struct template *template, enum field field)
{
    for (const struct template_line *line = template->lines; line->kind != LINE_NONE; line++) {
        bool proof = line->kind == LINE_PROOF && (field == FIELD_CLIENT_CERTIFICATE || field == FIELD_CLIENT_KEY ||
                                                  field == FIELD_CLIENT_ASSERTION_FILE);
        if (proof || line->field == field)
            return true;
    }
    return false;
}

static int check_given(const struct new_profile *profile)
{
    for (enum field field = 0; field < FIELD_COUNT; field++) {
        const char *value = profile->values[field];
        const char *wrong = !value                                ? NULL
                            : !is_known(profile->template, field) ? "it means nothing to such a profile"
                                                                  : field_check(field, value);
        if (!wrong)
            continue;
        complain("config new: %s: %s", fields[field].option, wrong);
        return EXIT_USAGE;
    }
    return EXIT_DONE;
}

/* All names, or all grants of a name, each once. */
static void list_choices(const char *from, char *to, size_t size)
{
    size_t used = 0;
    *to = '\0';
    for (size_t i = 0; template_at(i) && used < size; i++) {
        const struct template *template = template_at(i);
        if (from ? strcmp(template->name, from) == 0 : template_find(template->name, NULL) == template)
            used += (size_t)snprintf(to + used, size - used, "%s%s", used ? ", " : "",
                                     from ? template->grant : template->name);
    }
}

/* An unknown name may be a slip, or anything: it is shown clean. */
static int no_such(const char *option, const char *given, const char *from)
{
    char shown[LIMIT_CODE], list[2 * LIMIT_TEXT];
    list_choices(from, list, sizeof(list));
    text_clean_into(shown, sizeof(shown), span_of(given));
    complain("config new: %s: there is no %s%s%s; use one of: %s", option, shown, from ? " for " : "", from ? from : "",
             list);
    return EXIT_USAGE;
}

/* A name of the table, or a grant of that name. NULL: the input has ended. */
static const struct template *ask_template(const char *question, const char *usual, const char *from)
{
    const struct template *found = NULL;
    char list[2 * LIMIT_TEXT], text[3 * LIMIT_TEXT];
    list_choices(from, list, sizeof(list));
    (void)snprintf(text, sizeof(text), "%s (%s)", question, list);
    while (!found) {
        _cleanup_free_ char *answer = ask(text, usual);
        if (!answer)
            return NULL;
        found = from ? template_find(from, answer) : template_find(answer, NULL);
    }
    return found;
}

static int ask_both(struct new_profile *profile)
{
    const struct template *first = ask_template("What for?", template_usual(), NULL);
    const struct template *chosen = first;
    size_t grants = 0;
    for (size_t i = 0; first && template_at(i); i++)
        grants += strcmp(template_at(i)->name, first->name) == 0;
    if (grants > 1)
        chosen = ask_template("Grant:", first->grant, first->name);
    if (!chosen)
        return EXIT_USAGE;
    profile->from = chosen->name;
    profile->grant = chosen->grant;
    return EXIT_DONE;
}

static int choose_template(struct new_profile *profile)
{
    if (!profile->from && !profile->grant && is_terminal() && ask_both(profile) != EXIT_DONE)
        return EXIT_USAGE;
    if (!profile->from && !profile->grant) {
        complain("config new: --from or --grant is needed: for which system, or how tokens are got; mltoken config new "
                 "--list shows them");
        return EXIT_USAGE;
    }
    if (profile->from && !template_find(profile->from, NULL))
        return no_such("--from", profile->from, NULL);
    profile->template = template_find(profile->from ? profile->from : profile->grant, profile->grant);
    if (!profile->template)
        return no_such("--grant", profile->grant, profile->from);
    profile->grant = profile->template->grant;
    return EXIT_DONE;
}

static int settle_name(struct new_profile *profile)
{
    const char *wrong = NULL;
    if (!profile->name && !is_terminal())
        profile->name = profile->template->name;
    if (profile->name) {
        wrong = profile_name_check(profile->name);
        if (wrong)
            complain("config new: --profile: %s", wrong);
        return wrong ? EXIT_USAGE : EXIT_DONE;
    }
    for (;;) {
        _cleanup_free_ char *answer = ask("Name of the profile", profile->template->name);
        if (!answer)
            return EXIT_USAGE;
        wrong = profile_name_check(answer);
        if (!wrong) {
            profile->name = TAKE_PTR(answer);
            return EXIT_DONE;
        }
        (void)fprintf(stderr, "  %s\n", wrong);
    }
}

int config_ask(struct new_profile *profile)
{
    int r = choose_template(profile);
    if (r == EXIT_DONE)
        r = settle_name(profile);
    const struct template_line *line = r == EXIT_DONE ? profile->template->lines : NULL;
    for (; r == EXIT_DONE && line->kind != LINE_NONE; line++)
        r = line->kind == LINE_PROOF ? settle_proof(profile, line) : settle(profile, line);
    return r == EXIT_DONE ? check_given(profile) : r;
}
