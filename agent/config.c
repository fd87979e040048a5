#include "config.h"

#include "cleanup.h"
#include "dialect.h"
#include "grant/grant.h"
#include "ini.h"
#include "keys.h"
#include "text.h"
#include <errno.h>
#include <stdarg.h>

DEFINE_CLEANUP(struct config *, config_free)

enum where { NOWHERE, IGNORED, IN_AGENT, IN_PROFILE };

struct pair {
    struct span name, value;
    int line;
};

/* A profile, and where it stands: what decides when a name comes twice. */
struct entry {
    struct profile *profile;
    size_t file, order;
};

/* One section, gathered before it is understood: a grant that is named last must still be known first. */
struct section {
    struct pair common[KEY_COUNT];
    struct pair others[LIMIT_CONFIG_KEYS];
    size_t other_count, bytes, values;
    bool overflow;
};

struct reader {
    struct config *config;
    const char *file; /* cleaned */
    size_t file_number, file_problems, problem_capacity;
    enum where where;
    struct profile *profile; /* IN_PROFILE: also the last of `entries` */
    bool had_agent;
    int agent_line, default_line;
    char *default_file;
    struct section section;
    struct entry *entries;
    size_t entry_count, entry_capacity;
};

#define HIDDEN_KEY "(a key not shown, it may be a secret)"

static const char *const agent_keys[] = {"default_profile", "store"};

static int grow(void *array, size_t *capacity, size_t count, size_t size)
{
    void **list = array;
    if (count < *capacity)
        return 0;
    size_t wanted = *capacity ? *capacity * 2 : 16;
    void *bigger = reallocarray(*list, wanted, size);
    if (!bigger)
        return -ENOMEM;
    *list = bigger;
    *capacity = wanted;
    return 0;
}

/* ---- problems ---------------------------------------------------------------------------------------------------- */

static int keep_problem(struct reader *reader, const char *text)
{
    struct config *config = reader->config;
    if (++reader->file_problems > LIMIT_CONFIG_ERRORS)
        return 0;
    if (grow(&config->problems, &reader->problem_capacity, config->problem_count + 1, sizeof(*config->problems)) < 0)
        return -ENOMEM;
    char *copy = strdup(text);
    if (!copy)
        return -ENOMEM;
    config->problems[config->problem_count++] = copy;
    config->problems[config->problem_count] = NULL;
    return 0;
}

/* Says what is wrong at a line, and disables the profile that it stands in (NULL: none). `about`: a key or a section.
 */
static int problem(struct reader *reader, struct profile *profile, int line, const char *about, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
static int problem(struct reader *reader, struct profile *profile, int line, const char *about, const char *format, ...)
{
    char text[LIMIT_PROBLEM];
    int n = snprintf(text, sizeof(text), "%s:%d: %s%s", reader->file, line, about ? about : "", about ? ": " : "");
    if (n > 0 && (size_t)n < sizeof(text)) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(text + n, sizeof(text) - (size_t)n, format, arguments);
        va_end(arguments);
    }
    if (profile && !profile->problem) {
        profile->problem = profile_text(profile, span_of(text));
        profile->problem_line = line;
        if (!profile->problem)
            return -ENOMEM;
    }
    return keep_problem(reader, text);
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* A key that nobody knows is named only when it looks like one: the last line of a pasted secret may be "c2VjcmV0==".
 */
static bool looks_like_key(const char *name)
{
    size_t length = strlen(name);
    return length <= 32 && strspn(name, "abcdefghijklmnopqrstuvwxyz_-") == length;
}

static int unknown_key(struct reader *reader, struct profile *profile, const struct pair *pair,
                       const char *const *known, size_t count)
{
    char name[LIMIT_CODE], small[LIMIT_CODE];
    text_clean_into(name, sizeof(name), pair->name);
    for (size_t i = 0; i < sizeof(small); i++)
        small[i] = lower(name[i]);
    const char *nearest = pair->name.length < sizeof(small) ? text_nearest(small, known, count) : NULL;
    bool shown = nearest || looks_like_key(small);
    if (nearest)
        return problem(reader, profile, pair->line, name, "unknown key; did you mean %s?", nearest);
    return problem(reader, profile, pair->line, shown ? name : HIDDEN_KEY,
                   "unknown key; remove it (mltoken.conf(5) has the list)");
}

/* ---- one profile ------------------------------------------------------------------------------------------------- */

static size_t known_keys(const struct grant *grant, const char **ret, size_t size)
{
    size_t count = 0;
    for (; count < KEY_COUNT; count++)
        ret[count] = profile_keys[count].name;
    for (const struct key *key = grant ? grant->keys : NULL; key && key->name && count < size; key++)
        ret[count++] = key->name;
    return count;
}

static int read_common(struct reader *reader)
{
    struct profile *profile = reader->profile;
    char why[LIMIT_TEXT];
    for (int i = 0; i < KEY_COUNT; i++) {
        const struct pair *pair = &reader->section.common[i];
        if (!pair->line || pair->value.length == 0)
            continue;
        char *value = profile_text(profile, pair->value);
        if (!value)
            return -ENOMEM;
        int r = profile_keys[i].read(&profile_keys[i], profile, value, why);
        if (r == -EINVAL)
            r = problem(reader, profile, pair->line, profile_keys[i].name, "%s", why);
        if (r < 0)
            return r;
    }
    return 0;
}

static const struct key *own_key(const struct grant *grant, struct span name)
{
    for (const struct key *key = grant ? grant->keys : NULL; key && key->name; key++)
        if (span_equals(name, span_of(key->name)))
            return key;
    return NULL;
}

static int read_other(struct reader *reader, const struct pair *pair)
{
    struct profile *profile = reader->profile;
    const struct key *key = own_key(profile->grant, pair->name);
    if (!key) {
        const char *known[KEY_COUNT + LIMIT_CONFIG_KEYS];
        return unknown_key(reader, profile, pair, known, known_keys(profile->grant, known, ELEMENTS(known)));
    }
    if (pair->value.length == 0)
        return 0; /* complained about when it was read */
    struct setting *setting = &profile->settings[profile->setting_count++];
    *setting = (struct setting){profile_text(profile, pair->name), profile_text(profile, pair->value), pair->line};
    if (!setting->key || !setting->value)
        return -ENOMEM;
    const char *why = key->check ? key->check(setting->value) : NULL;
    return why ? problem(reader, profile, pair->line, key->name, "%s", why) : 0;
}

/* Keys that the common table does not know: the grant's own, or nobody's. */
static int read_others(struct reader *reader)
{
    struct profile *profile = reader->profile;
    struct section *section = &reader->section;
    if (section->other_count == 0)
        return 0;
    profile->settings = profile_allocate(profile, section->other_count * sizeof(*profile->settings));
    if (!profile->settings)
        return -ENOMEM;
    for (size_t i = 0; i < section->other_count; i++) {
        int r = read_other(reader, &section->others[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

static int check_required(struct reader *reader)
{
    struct profile *profile = reader->profile;
    const struct grant *grant = profile->grant;
    if (!grant && !reader->section.common[KEY_GRANT].line)
        return problem(reader, profile, profile->line, "grant",
                       "is missing; add grant = client_credentials or another one");
    for (const char *const *name = grant ? grant->required : NULL; name && *name; name++) {
        int key = key_find(span_of(*name));
        if (key < 0 || reader->section.common[key].line)
            continue;
        int r = problem(reader, profile, profile->line, *name, "is missing, and %s needs it; add %s = ...", grant->name,
                        *name);
        if (r < 0)
            return r;
    }
    for (const struct key *key = grant ? grant->keys : NULL; key && key->name; key++)
        if (key->required && !profile_setting(profile, key->name)) {
            int r = problem(reader, profile, profile->line, key->name, "is missing, and %s needs it; add %s = ...",
                            grant->name, key->name);
            if (r < 0)
                return r;
        }
    return 0;
}

/* The rules across keys; they may rely on each value being sound. */
static int check_whole(struct reader *reader)
{
    struct profile *profile = reader->profile;
    char why[LIMIT_TEXT];
    int key = KEY_GRANT;
    int r = keys_check_endpoints(profile, &key, why);
    if (r == 0)
        r = dialect_settle(profile, &key, why);
    if (r == 0 && profile->grant && profile->grant->check) {
        const char *text = profile->grant->check(profile);
        key = KEY_GRANT;
        r = text ? key_problem(why, "%s", text) : 0;
    }
    if (r != -EINVAL)
        return r;
    int line = reader->section.common[key].line;
    return problem(reader, profile, line ? line : profile->line, profile_keys[key].name, "%s", why);
}

static char *put(char *to, const char *key, struct span value)
{
    size_t length = strlen(key);
    memcpy(to, key, length);
    to[length] = '=';
    memcpy(to + length + 1, value.data, value.length);
    to[length + 1 + value.length] = '\n';
    return to + length + 2 + value.length;
}

/* Every setting in the order of the table, the grant's own after them: moving lines about changes nothing. */
static int fingerprint(struct reader *reader)
{
    struct profile *profile = reader->profile;
    struct section *section = &reader->section;
    char *to = profile_allocate(profile, section->bytes + 2 * section->values + 1);
    profile->fingerprint = to;
    if (!to)
        return -ENOMEM;
    for (int i = 0; i < KEY_COUNT; i++)
        if (section->common[i].line && section->common[i].value.length > 0)
            to = put(to, profile_keys[i].name, section->common[i].value);
    for (const struct key *key = profile->grant ? profile->grant->keys : NULL; key && key->name; key++) {
        const char *value = profile_setting(profile, key->name);
        if (value)
            to = put(to, key->name, span_of(value));
    }
    return 0;
}

static int finish_profile(struct reader *reader)
{
    static char header[] = "Authorization: Bearer {token}", memory[] = "memory";
    struct profile *profile = reader->profile;
    int r = read_common(reader);
    if (r == 0)
        r = read_others(reader);
    if (r == 0)
        r = check_required(reader);
    if (r == 0 && !profile->problem)
        r = check_whole(reader);
    if (r == 0)
        r = fingerprint(reader);
    if (profile->dialect == DIALECT_AUTO)
        profile->dialect = DIALECT_OIDC;
    if (!profile->header)
        profile->header = header;
    if (!profile->store)
        profile->store = memory;
    if (profile->problem)
        profile->grant = NULL;
    return r;
}

/* ---- sections ---------------------------------------------------------------------------------------------------- */

static void reset(struct section *section)
{
    memset(section->common, 0, sizeof(section->common)); /* others are counted */
    section->other_count = section->bytes = section->values = 0;
    section->overflow = false;
}

static int finish_section(struct reader *reader)
{
    int r = reader->where == IN_PROFILE ? finish_profile(reader) : 0;
    reader->where = IGNORED;
    reader->profile = NULL;
    return r;
}

static bool name_valid(struct span name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    if (name.length == 0 || name.length > LIMIT_PROFILE_NAME || strchr("._-", name.data[0]))
        return false;
    for (size_t i = 0; i < name.length; i++)
        if (!strchr(allowed, name.data[i]))
            return false;
    return true;
}

static int begin_profile(struct reader *reader, struct span name, int line)
{
    if (!name_valid(name))
        return problem(
            reader, NULL, line, "[profile]",
            "is followed by what is not a name; use 1 to %d letters, digits, . _ - and begin with a letter or digit",
            LIMIT_PROFILE_NAME);
    if (reader->entry_count == LIMIT_PROFILES)
        return problem(reader, NULL, line, NULL, "is beyond the %d profiles that one agent takes; remove some",
                       LIMIT_PROFILES);
    if (grow(&reader->entries, &reader->entry_capacity, reader->entry_count, sizeof(*reader->entries)) < 0)
        return -ENOMEM;
    struct profile *profile = profile_new(LIMIT_PROFILE_HINT);
    if (!profile)
        return -ENOMEM;
    reader->entries[reader->entry_count] = (struct entry){profile, reader->file_number, reader->entry_count};
    reader->entry_count++;
    memcpy(profile->name, name.data, name.length);
    profile->line = line;
    profile->file = profile_text(profile, span_of(reader->file));
    reset(&reader->section);
    reader->where = IN_PROFILE;
    reader->profile = profile;
    return profile->file ? 0 : -ENOMEM;
}

static int begin_section(struct reader *reader, const struct ini_item *item)
{
    static const char word[] = "profile";
    const size_t length = sizeof(word) - 1;
    int r = finish_section(reader);
    if (r < 0)
        return r;
    if (item->name.length > length && memcmp(item->name.data, word, length) == 0 &&
        strchr(" \t", item->name.data[length])) {
        struct span name = {item->name.data + length, item->name.length - length};
        while (name.length > 0 && strchr(" \t", name.data[0]))
            name.data++, name.length--;
        return begin_profile(reader, name, item->line);
    }
    if (span_equals(item->name, span_of("agent"))) {
        if (reader->had_agent)
            return problem(reader, NULL, item->line, "[agent]", "repeated section, first at line %d; join them",
                           reader->agent_line);
        reader->had_agent = true;
        reader->agent_line = item->line;
        reader->where = IN_AGENT;
        reset(&reader->section);
        return 0;
    }
    return problem(reader, NULL, item->line, NULL, "unknown section; write [profile NAME] or [agent]");
}

static int add_agent(struct reader *reader, const struct pair *pair)
{
    struct config *config = reader->config;
    size_t key = 0;
    while (key < ELEMENTS(agent_keys) && !span_equals(pair->name, span_of(agent_keys[key])))
        key++;
    if (key == ELEMENTS(agent_keys)) {
        int common = key_find(pair->name);
        if (common >= 0)
            return problem(reader, NULL, pair->line, profile_keys[common].name,
                           "belongs into a profile; move it below [profile NAME]");
        return unknown_key(reader, NULL, pair, agent_keys, ELEMENTS(agent_keys));
    }
    if (reader->section.common[key].line)
        return problem(reader, NULL, pair->line, agent_keys[key], "repeated key, first at line %d; remove one",
                       reader->section.common[key].line);
    reader->section.common[key] = *pair;
    _cleanup_free_ char *value = strndup(pair->value.data, pair->value.length);
    if (!value)
        return -ENOMEM;
    if (!*value)
        return problem(reader, NULL, pair->line, agent_keys[key], "has no value; give one or remove the line");
    if (key == 1)
        return key_store_known(value)
                   ? 0
                   : problem(reader, NULL, pair->line, "store", "this version has only memory; use that");
    if (!name_valid(pair->value))
        return problem(reader, NULL, pair->line, "default_profile",
                       "is not the name of a profile; write the name alone");
    free(config->default_profile);
    config->default_profile = TAKE_PTR(value);
    reader->default_line = pair->line;
    free(reader->default_file);
    reader->default_file = strdup(reader->file);
    return reader->default_file ? 0 : -ENOMEM;
}

/* A complaint about a key as it was written, in the profile at hand. */
static int bad_pair(struct reader *reader, const struct pair *pair, bool known, const char *what)
{
    char shown[LIMIT_CODE];
    text_clean_into(shown, sizeof(shown), pair->name);
    return problem(reader, reader->profile, pair->line, known || looks_like_key(shown) ? shown : HIDDEN_KEY, "%s",
                   what);
}

static int add_profile(struct reader *reader, const struct pair *pair)
{
    struct section *section = &reader->section;
    int key = key_find(pair->name), first = key >= 0 ? section->common[key].line : 0;
    for (size_t i = 0; key < 0 && i < section->other_count; i++)
        if (span_equals(section->others[i].name, pair->name))
            first = section->others[i].line;
    if (first) {
        char what[LIMIT_CODE];
        (void)snprintf(what, sizeof(what), "repeated key, first at line %d; remove one", first);
        return bad_pair(reader, pair, key >= 0, what);
    }
    if (key < 0 && section->other_count == LIMIT_CONFIG_KEYS) {
        bool told = section->overflow;
        section->overflow = true;
        return told ? 0
                    : problem(reader, reader->profile, pair->line, NULL, "too many unknown keys; is this a profile?");
    }
    *(key >= 0 ? &section->common[key] : &section->others[section->other_count++]) = *pair;
    section->bytes += pair->name.length + pair->value.length;
    section->values++;
    return pair->value.length > 0 ? 0 : bad_pair(reader, pair, key >= 0, "has no value; give one or remove the line");
}

static int read_item(struct reader *reader, const struct ini_item *item)
{
    const struct pair pair = {item->name, item->value, item->line};
    if (item->kind == INI_SECTION)
        return begin_section(reader, item);
    if (item->kind == INI_BAD) {
        int r = item->opens ? finish_section(reader) : 0;
        return r < 0 ? r : problem(reader, reader->profile, item->line, NULL, "%s", item->problem);
    }
    switch (reader->where) {
    case NOWHERE:
        return problem(reader, NULL, item->line, NULL, "a key before any section; write [profile NAME] above it");
    case IN_AGENT:
        return add_agent(reader, &pair);
    case IN_PROFILE:
        return add_profile(reader, &pair);
    case IGNORED:
        break; /* its section was complained about */
    }
    return 0;
}

static int read_text(struct reader *reader, const struct config_text *text)
{
    struct ini ini = ini_open(text->text);
    struct ini_item item;
    reader->config->file_count += !text->absent;
    if (text->problem) {
        char line[LIMIT_PROBLEM];
        reader->config->unreadable = true;
        (void)snprintf(line, sizeof(line), "%s: %s", reader->file, text->problem);
        return keep_problem(reader, line);
    }
    while (ini_next(&ini, &item)) {
        int r = read_item(reader, &item);
        if (r < 0)
            return r;
    }
    int r = finish_section(reader);
    if (r < 0 || reader->file_problems <= LIMIT_CONFIG_ERRORS)
        return r;
    char more[LIMIT_PROBLEM];
    (void)snprintf(more, sizeof(more), "%s: %zu more problems, not shown", reader->file,
                   reader->file_problems - LIMIT_CONFIG_ERRORS);
    reader->file_problems = 0;
    return keep_problem(reader, more);
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int r = strcmp(x->profile->name, y->profile->name);
    return r ? r : x->order < y->order ? -1 : 1;
}

/* Sorts by name; of one name the first of the last file stays, and a second one in that file is a mistake that disables
 * it: nobody can tell which of the two was meant. */
static int join(struct reader *reader)
{
    struct config *config = reader->config;
    struct entry *entries = reader->entries;
    size_t count = reader->entry_count;
    if (count == 0)
        return 0;
    for (size_t i = 1; i < count; i++)
        if (compare(&entries[i - 1], &entries[i]) > 0) {
            qsort(entries, count, sizeof(*entries), compare);
            break;
        }
    config->profiles = calloc(count, sizeof(*config->profiles));
    if (!config->profiles)
        return -ENOMEM;
    for (size_t i = 0, next; i < count; i = next) {
        size_t kept = i;
        int r = 0;
        for (next = i + 1; next < count && strcmp(entries[i].profile->name, entries[next].profile->name) == 0; next++) {
            if (entries[next].file != entries[kept].file) {
                kept = next;
                continue;
            }
            struct profile *first = entries[kept].profile;
            reader->file = first->file;
            r = problem(reader, first, entries[next].profile->line, first->name,
                        "repeated section, first at line %d; remove one", first->line);
            first->grant = NULL;
            if (r < 0)
                return r;
        }
        config->profiles[config->profile_count++] = TAKE_PTR(entries[kept].profile);
    }
    return 0;
}

static int check_default(struct reader *reader)
{
    struct config *config = reader->config;
    if (!config->default_profile || config_profile(config, config->default_profile))
        return 0;
    const char **names = calloc(config->profile_count + 1, sizeof(*names));
    if (!names)
        return -ENOMEM;
    for (size_t i = 0; i < config->profile_count; i++)
        names[i] = config->profiles[i]->name;
    const char *nearest = text_nearest(config->default_profile, names, config->profile_count);
    reader->file = reader->default_file;
    int r = problem(reader, NULL, reader->default_line, "default_profile", "there is no such profile%s%s",
                    nearest ? "; did you mean " : "; add it or name another", nearest ? nearest : "");
    free(names);
    return r;
}

static int read_all(struct reader *reader, const struct config_text *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char shown[LIMIT_TEXT];
        text_clean_into(shown, sizeof(shown), span_of(texts[i].file));
        reader->file = shown;
        reader->file_number = i;
        reader->file_problems = 0;
        reader->where = NOWHERE;
        reader->had_agent = false;
        int r = read_text(reader, &texts[i]);
        if (r < 0)
            return r;
    }
    reader->file_problems = 0;
    int r = join(reader);
    return r < 0 ? r : check_default(reader);
}

int config_read(const struct config_text *texts, size_t count, struct config **ret)
{
    _cleanup_(config_free_cleanup) struct config *config = calloc(1, sizeof(*config));
    _cleanup_free_ struct reader *reader = calloc(1, sizeof(*reader));
    if (!config || !reader)
        return -ENOMEM;
    reader->config = config;
    int r = read_all(reader, texts, count);
    for (size_t i = 0; i < reader->entry_count; i++)
        profile_free(reader->entries[i].profile);
    free(reader->entries);
    free(reader->default_file);
    if (r == 0)
        *ret = TAKE_PTR(config);
    return r;
}

struct config *config_free(struct config *config)
{
    if (!config)
        return NULL;
    for (size_t i = 0; i < config->profile_count; i++)
        profile_free(config->profiles[i]);
    for (size_t i = 0; i < config->problem_count; i++)
        free(config->problems[i]);
    free(config->profiles);
    free(config->problems);
    free(config->default_profile);
    free(config);
    return NULL;
}

static int compare_name(const void *name, const void *profile)
{
    return strcmp(name, (*(struct profile *const *)profile)->name);
}

struct profile *config_profile(const struct config *config, const char *name)
{
    struct profile *const *found = NULL;
    if (config->profile_count > 0)
        found = bsearch(name, config->profiles, config->profile_count, sizeof(*config->profiles), compare_name);
    return found ? *found : NULL;
}

struct profile *config_default(const struct config *config)
{
    if (config->default_profile)
        return config_profile(config, config->default_profile);
    return config->profile_count == 1 ? config->profiles[0] : NULL;
}
