#include "settings.h"

#include "cleanup.h"
#include "ini.h"
#include "lines.h"
#include "text.h"
#include "trusted.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

enum kind { TEXT, PATH, LIST, NUMBER, FLAG };

struct key {
    const char *name;
    size_t offset;
    const char *no, *yes; /* FLAG: its two words; TEXT: `yes` holds all words that it may be */
    uint64_t least, most; /* NUMBER */
    enum kind kind;
    bool argument_only;
};

#define AT(member) offsetof(struct settings, member)
#define ARGUMENT(name, kind, member)                                                                                   \
    {                                                                                                                  \
        name, AT(member), NULL, NULL, 0, 0, kind, true                                                                 \
    }
#define TEXT_KEY(name, kind, member)                                                                                   \
    {                                                                                                                  \
        name, AT(member), NULL, NULL, 0, 0, kind, false                                                                \
    }
#define FLAG_KEY(name, member, no, yes)                                                                                \
    {                                                                                                                  \
        name, AT(member), no, yes, 0, 0, FLAG, false                                                                   \
    }
#define WORD_KEY(name, member, words)                                                                                  \
    {                                                                                                                  \
        name, AT(member), NULL, words, 0, 0, TEXT, false                                                               \
    }
#define NUMBER_KEY(name, member, least, most)                                                                          \
    {                                                                                                                  \
        name, AT(member), NULL, NULL, least, most, NUMBER, false                                                       \
    }

/* pam_mltoken(8) describes each; tests/lint/check_man_keys.sh compares */
static const struct key keys[] = {
    ARGUMENT("config", PATH, config),
    ARGUMENT("libexec", PATH, libexec),
    ARGUMENT("run", PATH, run),
    ARGUMENT("helper_user", TEXT, helper_user),
    TEXT_KEY("profile", TEXT, profile),
    NUMBER_KEY("min_uid", min_uid, 1, UINT32_MAX - 2),
    NUMBER_KEY("max_wait", max_wait, 1, LIMIT_PAM_WAIT_S),
    TEXT_KEY("rate", LIST, rate),
    TEXT_KEY("map", PATH, map),
    TEXT_KEY("user_claim", TEXT, user_claim),
    TEXT_KEY("strip_domain", TEXT, strip_domain),
    FLAG_KEY("mutable_claim", mutable_accepted, "refused", "accepted"),
    TEXT_KEY("require_group", LIST, require_group),
    TEXT_KEY("require_role", LIST, require_role),
    TEXT_KEY("verification_hosts", LIST, verification_hosts),
    FLAG_KEY("fallback", fallback_password, "none", "password"),
    FLAG_KEY("handoff", handoff, "no", "yes"),
    TEXT_KEY("handoff_profile", TEXT, handoff_profile),
    FLAG_KEY("handoff_fallback", handoff_start, "none", "start"),
    FLAG_KEY("cached", cached, "no", "yes"),
    TEXT_KEY("cached_profile", TEXT, cached_profile),
    TEXT_KEY("export", LIST, exports),
    WORD_KEY("qr", qr, "auto yes no"),
    FLAG_KEY("debug", debug, "no", "yes"),
};
_Static_assert(ELEMENTS(keys) <= 64, "struct settings has a bit for each");

static int __attribute__((format(printf, 2, 3))) bad(char *problem, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(problem, SETTINGS_PROBLEM, format, arguments);
    va_end(arguments);
    return -EINVAL;
}

static const struct key *find_key(struct span name)
{
    for (size_t i = 0; i < ELEMENTS(keys); i++)
        if (span_equals(name, span_of(keys[i].name)))
            return &keys[i];
    return NULL;
}

static bool parse_number(struct span text, uint64_t *ret)
{
    uint64_t value = 0;
    if (text.length == 0 || text.length > 10)
        return false;
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    *ret = value;
    return true;
}

static bool separates(char c)
{
    return c == ' ' || c == '\t' || c == ',';
}

static int set_list(struct text_list *list, struct span value)
{
    size_t i = 0;
    for (;;) {
        while (i < value.length && separates(value.data[i]))
            i++;
        size_t start = i;
        while (i < value.length && !separates(value.data[i]))
            i++;
        if (i == start)
            return list->count > 0 ? 0 : -EINVAL;
        if (list->count == LIMIT_PAM_LIST)
            return -E2BIG;
        char *item = strndup(value.data + start, i - start);
        if (!item)
            return -ENOMEM;
        list->items[list->count++] = item;
    }
}

static void list_free(struct text_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    list->count = 0;
}

/* One of the words of `choices`, which are parted by blanks. */
static bool is_choice(struct span value, const char *choices)
{
    while (*choices) {
        size_t length = strcspn(choices, " ");
        if (span_equals(value, (struct span){choices, length}))
            return true;
        choices += length + (choices[length] == ' ');
    }
    return false;
}

static int set_text(const struct key *key, char **to, struct span value, char *problem)
{
    if (value.length == 0)
        return bad(problem, "%s has no value", key->name);
    if (key->kind == PATH && value.data[0] != '/')
        return bad(problem, "%s must be an absolute path", key->name);
    if (key->yes && !is_choice(value, key->yes))
        return bad(problem, "%s must be one of: %s", key->name, key->yes);
    free(*to);
    *to = strndup(value.data, value.length);
    return *to ? 0 : -ENOMEM;
}

static int set_value(struct settings *settings, const struct key *key, struct span value, char *problem)
{
    void *to = (char *)settings + key->offset;
    if (value.length > LIMIT_PAM_VALUE || text_plain(value) != value.length)
        return bad(problem, "%s: the value is too long or not plain text", key->name);
    switch (key->kind) {
    case TEXT:
    case PATH:
        return set_text(key, to, value, problem);
    case LIST:
        list_free(to);
        int r = set_list(to, value);
        return r == 0 || r == -ENOMEM ? r : bad(problem, "%s must be a list of 1 to %d", key->name, LIMIT_PAM_LIST);
    case NUMBER:
        if (!parse_number(value, to) || *(uint64_t *)to < key->least || *(uint64_t *)to > key->most)
            return bad(problem, "%s must be a number from %llu to %llu", key->name, (unsigned long long)key->least,
                       (unsigned long long)key->most);
        return 0;
    case FLAG:
        *(bool *)to = span_equals(value, span_of(key->yes));
        if (!*(bool *)to && !span_equals(value, span_of(key->no)))
            return bad(problem, "%s must be %s or %s", key->name, key->no, key->yes);
        return 0;
    }
    return -EINVAL;
}

static uint64_t bit(const struct key *key)
{
    return UINT64_C(1) << (key - keys);
}

static struct span argument_name(const char *argument)
{
    return (struct span){argument, strcspn(argument, "=")};
}

uid_t settings_min_uid(int argc, const char **argv)
{
    uint64_t value = 0;
    for (int i = 0; i < argc; i++) {
        struct span name = argument_name(argv[i]);
        if (span_equals(name, span_of("min_uid")) && argv[i][name.length] == '=' &&
            parse_number(span_of(argv[i] + name.length + 1), &value) && value > 0 && value < UINT32_MAX)
            return (uid_t)value;
    }
    return DEFAULT_PAM_MIN_UID;
}

int settings_take_arguments(struct settings *settings, int argc, const char **argv,
                            char problem[static SETTINGS_PROBLEM])
{
    for (int i = 0; i < argc; i++) {
        struct span name = argument_name(argv[i]);
        const struct key *key = find_key(name);
        char shown[LIMIT_CODE + 1];
        text_clean_into(shown, sizeof(shown), name);
        if (!key || argv[i][name.length] != '=')
            return bad(problem, "the argument %s is not known; arguments are key=value", shown);
        if (settings->given & bit(key))
            return bad(problem, "the argument %s stands twice", shown);
        int r = set_value(settings, key, span_of(argv[i] + name.length + 1), problem);
        if (r < 0)
            return r;
        settings->given |= bit(key);
    }
    return 0;
}

static int take_pair(struct settings *settings, const struct ini_item *item, uint64_t *seen, char *problem)
{
    const struct key *key = find_key(item->name);
    char shown[LIMIT_CODE + 1];
    text_clean_into(shown, sizeof(shown), item->name);
    if (!key || key->argument_only)
        return bad(problem, "line %d: %s is no key of [pam]", item->line, shown);
    if (*seen & bit(key))
        return bad(problem, "line %d: %s stands twice", item->line, shown);
    *seen |= bit(key);
    /* an argument wins, but a wrong value is still one */
    _cleanup_settings_ struct settings unused = {0};
    char what[SETTINGS_PROBLEM] = "";
    int r = set_value(settings->given & bit(key) ? &unused : settings, key, item->value, what);
    return r == -EINVAL ? bad(problem, "line %d: %.200s", item->line, what) : r;
}

static bool known_section(struct span name)
{
    static const char profile[] = "profile ";
    return span_equals(name, span_of("pam")) ||
           (name.length >= sizeof(profile) && memcmp(name.data, profile, sizeof(profile) - 1) == 0);
}

int settings_take_file(struct settings *settings, struct span text, char problem[static SETTINGS_PROBLEM])
{
    struct ini ini = ini_open(text);
    struct ini_item item;
    uint64_t seen = 0;
    bool ours = false, any = false;
    while (ini_next(&ini, &item)) {
        int r = 0;
        if (item.kind == INI_BAD)
            r = bad(problem, "line %d %s", item.line, item.problem);
        else if (item.kind == INI_PAIR && !any)
            r = bad(problem, "line %d: a key stands before the first section", item.line);
        else if (item.kind == INI_PAIR && ours)
            r = take_pair(settings, &item, &seen, problem);
        else if (item.kind == INI_SECTION && !known_section(item.name))
            r = bad(problem, "line %d: a section is [pam] or [profile NAME]", item.line);
        if (r < 0)
            return r;
        if (item.kind == INI_SECTION)
            any = true, ours = span_equals(item.name, span_of("pam"));
    }
    return 0;
}

/* "5/600": so many attempts in so many seconds; "no": any number. */
static int finish_rate(struct settings *settings, char *problem)
{
    settings->rate_count = 5;
    settings->rate_seconds = 600;
    if (settings->rate.count == 0)
        return 0;
    const char *text = settings->rate.items[0];
    if (settings->rate.count == 1 && strcmp(text, "no") == 0) {
        settings->rate_count = 0;
        return 0;
    }
    size_t slash = strcspn(text, "/");
    uint64_t count = 0, seconds = 0;
    if (settings->rate.count != 1 || text[slash] != '/' || !parse_number((struct span){text, slash}, &count) ||
        !parse_number(span_of(text + slash + 1), &seconds) || count < 1 || count > LIMIT_PAM_ATTEMPTS / 4 ||
        seconds < 1 || seconds > 86400)
        return bad(problem, "rate must be ATTEMPTS/SECONDS, up to %d in a day, or no", LIMIT_PAM_ATTEMPTS / 4);
    settings->rate_count = (unsigned)count;
    settings->rate_seconds = (unsigned)seconds;
    return 0;
}

/* What a person, not an administrator, decides about himself. */
static const char *find_mutable(const char *claim)
{
    static const char *const claims[] = {"preferred_username", "email",      "upn",         "unique_name", "name",
                                         "nickname",           "given_name", "family_name", "middle_name", "profile",
                                         "phone_number",       "website"};
    for (size_t i = 0; i < ELEMENTS(claims); i++)
        if (strcasecmp(claim, claims[i]) == 0)
            return claims[i];
    return NULL;
}

static int check_identity(const struct settings *settings, char *problem)
{
    const char *claim = settings->user_claim;
    if (!settings->map == !claim)
        return bad(problem, "exactly one of map and user_claim must be set: nothing else says who is who");
    if (!claim)
        return settings->strip_domain ? bad(problem, "strip_domain belongs to user_claim") : 0;
    if (!line_claim_sound(claim))
        return bad(problem, "user_claim must be the name of a claim: " LINE_CLAIM_FORM);
    const char *known = find_mutable(claim);
    if (known && strcmp(claim, known) != 0) /* what holds for it would not hold for the other */
        return bad(problem, "user_claim: the claim is called %s", known);
    if (known && !settings->mutable_accepted)
        return bad(problem, "people can change %s themselves: use a map, or set mutable_claim=accepted", claim);
    return 0;
}

/* PROFILE:VARIABLE, where the variable cannot be one that steers a program. */
static bool export_sound(const char *text)
{
    static const char ending[] = "_TOKEN";
    const char *variable = strchr(text, ':');
    size_t length = variable ? strlen(++variable) : 0;
    return variable && variable - text > 1 && variable - text <= LIMIT_PROFILE_NAME + 1 && length >= sizeof(ending) &&
           length <= 64 && variable[0] >= 'A' && variable[0] <= 'Z' &&
           strspn(variable, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == length &&
           strcmp(variable + length - strlen(ending), ending) == 0;
}

static int set_default(char **text, const char *value)
{
    if (!*text && value)
        *text = strdup(value);
    return *text || !value ? 0 : -ENOMEM;
}

int settings_finish(struct settings *settings, const char *service, char problem[static SETTINGS_PROBLEM])
{
    bool login = strcmp(service, "login") == 0;
    if (settings->max_wait == 0)
        settings->max_wait = login ? DEFAULT_PAM_LOGIN_WAIT_S : DEFAULT_PAM_WAIT_S;
    /* its session is of another user than the one who signs in: nobody would fetch the tokens */
    if (strcmp(service, "sudo") == 0 || strcmp(service, "sudo-i") == 0)
        settings->handoff = false;
    if (set_default(&settings->qr, "auto") < 0 || set_default(&settings->handoff_profile, settings->profile) < 0 ||
        set_default(&settings->cached_profile, settings->handoff_profile) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < settings->exports.count; i++)
        if (!export_sound(settings->exports.items[i]))
            return bad(problem,
                       "export must be PROFILE:VARIABLE, with a variable of A-Z, 0-9 and _ that ends in _TOKEN");
    if (settings->cached && !settings->cached_profile)
        return bad(problem, "cached=yes needs the name of the agent's profile: set cached_profile, or profile");
    int r = finish_rate(settings, problem);
    return r < 0 ? r : check_identity(settings, problem);
}

int settings_begin(struct settings *settings)
{
    *settings = (struct settings){.min_uid = DEFAULT_PAM_MIN_UID, .handoff = true};
    if (set_default(&settings->config, MLTOKEN_SYSCONFDIR "/mltoken/pam.conf") < 0 ||
        set_default(&settings->libexec, MLTOKEN_LIBEXECDIR "/mltoken") < 0 ||
        set_default(&settings->run, "/run/mltoken") < 0 || set_default(&settings->helper_user, "_mltoken") < 0)
        return -ENOMEM;
    return 0;
}

int settings_read(int argc, const char **argv, const char *service, struct settings *ret,
                  char problem[static SETTINGS_PROBLEM])
{
    (void)bad(problem, "out of memory");
    int r = settings_begin(ret);
    if (r == 0)
        r = settings_take_arguments(ret, argc, argv, problem);
    if (r < 0)
        return r;
    _cleanup_buffer_ struct buffer text = BUFFER(LIMIT_PAM_CONFIG);
    r = trusted_read(ret->config, &text);
    if (r < 0) {
        (void)bad(problem, "%s: %s", ret->config, trusted_problem(r));
        return r;
    }
    r = settings_take_file(ret, buffer_span(&text), problem);
    return r < 0 ? r : settings_finish(ret, service, problem);
}

void settings_free(struct settings *settings)
{
    char **texts[] = {&settings->config,
                      &settings->libexec,
                      &settings->run,
                      &settings->helper_user,
                      &settings->profile,
                      &settings->map,
                      &settings->user_claim,
                      &settings->strip_domain,
                      &settings->handoff_profile,
                      &settings->cached_profile,
                      &settings->qr};
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        free(*texts[i]);
        *texts[i] = NULL;
    }
    list_free(&settings->rate);
    list_free(&settings->require_group);
    list_free(&settings->require_role);
    list_free(&settings->verification_hosts);
    list_free(&settings->exports);
}
