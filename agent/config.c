#include "config_reader.h"

#include "cleanup.h"
#include "store/stores.h"
#include "text.h"
#include <errno.h>

DEFINE_CLEANUP(struct config *, config_free)

static const char *const agent_keys[] = {"default_profile", "store", "key_file", "lock_on", "pinentry"};
enum { AGENT_DEFAULT_PROFILE, AGENT_STORE, AGENT_KEY_FILE, AGENT_LOCK_ON, AGENT_PINENTRY };

/* ---- sections ---- */

static void reset(struct section *section)
{
    for (size_t i = 0; i < ELEMENTS(section->common); i++) /* others are counted */
        section->common[i] = (struct pair){0};
    section->other_count = section->bytes = section->values = 0;
    section->overflow = false;
}

static int finish_section(struct reader *reader)
{
    int r = reader->where == IN_PROFILE ? reader_finish_profile(reader) : 0;
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
        return reader_problem(
            reader, NULL, line, "[profile]",
            "is followed by what is not a name; use 1 to %d letters, digits, . _ - and begin with a letter or digit",
            LIMIT_PROFILE_NAME);
    if (reader->entry_count == LIMIT_PROFILES)
        return reader_problem(reader, NULL, line, NULL, "is beyond the %d profiles that one agent takes; remove some",
                              LIMIT_PROFILES);
    if (reader_grow(&reader->entries, &reader->entry_capacity, reader->entry_count, sizeof(*reader->entries)) < 0)
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
            return reader_problem(reader, NULL, item->line, "[agent]", "repeated section, first at line %d; join them",
                                  reader->agent_line);
        reader->had_agent = true;
        reader->agent_line = item->line;
        reader->where = IN_AGENT;
        reset(&reader->section);
        return 0;
    }
    return reader_problem(reader, NULL, item->line, NULL, "unknown section; write [profile NAME] or [agent]");
}

static int add_store(struct reader *reader, int line, char **value)
{
    if (!stores_name_valid(*value))
        return reader_problem(reader, NULL, line, "store", KEY_STORE_WORDS);
    free(reader->config->store);
    reader->config->store = TAKE_PTR(*value);
    return 0;
}

static int add_key_file(struct reader *reader, int line, char **value)
{
    char why[LIMIT_TEXT];
    char *path = NULL;
    int r = key_path_new(*value, &path, why);
    if (r == -EINVAL)
        return reader_problem(reader, NULL, line, "key_file", "%s", why);
    if (r < 0)
        return r;
    free(reader->config->key_file);
    reader->config->key_file = path;
    return 0;
}

static int add_lock_on(struct reader *reader, int line, char *value)
{
    static const char *const words[] = {"suspend", "session"};
    bool named[ELEMENTS(words)] = {false};
    for (char *at = value + strspn(value, " \t"), *end; *at; at = end + strspn(end, " \t")) {
        size_t length = strcspn(at, " \t"), i = 0;
        end = at + length;
        while (i < ELEMENTS(words) && !span_equals((struct span){at, length}, span_of(words[i])))
            i++;
        if (i == ELEMENTS(words))
            return reader_problem(reader, NULL, line, "lock_on", "is made of the words suspend and session");
        named[i] = true;
    }
    reader->config->lock_on_suspend = named[0];
    reader->config->lock_on_session = named[1];
    return 0;
}

static int add_pinentry(struct reader *reader, int line, char **value)
{
    char why[LIMIT_TEXT];
    char *program = NULL;
    int r = key_program_new(*value, &program, why);
    if (r == -EINVAL)
        return reader_problem(reader, NULL, line, "pinentry", "%s", why);
    if (r < 0)
        return r;
    free(reader->config->pinentry);
    reader->config->pinentry = program;
    return 0;
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
            return reader_problem(reader, NULL, pair->line, profile_keys[common].name,
                                  "belongs into a profile; move it below [profile NAME]");
        return reader_unknown_key(reader, NULL, pair, agent_keys, ELEMENTS(agent_keys));
    }
    if (reader->section.common[key].line)
        return reader_problem(reader, NULL, pair->line, agent_keys[key], "repeated key, first at line %d; remove one",
                              reader->section.common[key].line);
    reader->section.common[key] = *pair;
    _cleanup_free_ char *value = strndup(pair->value.data, pair->value.length);
    if (!value)
        return -ENOMEM;
    if (!*value)
        return reader_problem(reader, NULL, pair->line, agent_keys[key], "has no value; give one or remove the line");
    if (key == AGENT_STORE)
        return add_store(reader, pair->line, &value);
    if (key == AGENT_KEY_FILE)
        return add_key_file(reader, pair->line, &value);
    if (key == AGENT_LOCK_ON)
        return add_lock_on(reader, pair->line, value);
    if (key == AGENT_PINENTRY)
        return add_pinentry(reader, pair->line, &value);
    if (!name_valid(pair->value))
        return reader_problem(reader, NULL, pair->line, "default_profile",
                              "is not the name of a profile; write the name alone");
    free(config->default_profile);
    config->default_profile = TAKE_PTR(value);
    reader->default_line = pair->line;
    free(reader->default_file);
    reader->default_file = strdup(reader->file);
    return reader->default_file ? 0 : -ENOMEM;
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
        return reader_bad_pair(reader, pair, key >= 0, what);
    }
    if (key < 0 && section->other_count == LIMIT_CONFIG_KEYS) {
        bool told = section->overflow;
        section->overflow = true;
        return told ? 0
                    : reader_problem(reader, reader->profile, pair->line, NULL,
                                     "too many unknown keys; is this a profile?");
    }
    *(key >= 0 ? &section->common[key] : &section->others[section->other_count++]) = *pair;
    section->bytes += pair->name.length + pair->value.length;
    section->values++;
    return pair->value.length > 0
               ? 0
               : reader_bad_pair(reader, pair, key >= 0, "has no value; give one or remove the line");
}

static int read_item(struct reader *reader, const struct ini_item *item)
{
    const struct pair pair = {item->name, item->value, item->line};
    if (item->kind == INI_SECTION)
        return begin_section(reader, item);
    if (item->kind == INI_BAD) {
        int r = item->opens ? finish_section(reader) : 0;
        return r < 0 ? r : reader_problem(reader, reader->profile, item->line, NULL, "%s", item->problem);
    }
    switch (reader->where) {
    case NOWHERE:
        return reader_problem(reader, NULL, item->line, NULL,
                              "a key before any section; write [profile NAME] above it");
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
        return reader_keep(reader, line);
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
    return reader_keep(reader, more);
}

/* ---- the whole ---- */

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
    config->profiles = calloc(count, sizeof(struct profile *));
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
            r = reader_problem(reader, first, entries[next].profile->line, first->name,
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
    int r = reader_problem(reader, NULL, reader->default_line, "default_profile", "there is no such profile%s%s",
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

/* Profiles live longer than the configuration that they were read with. */
static int inherit_store(struct config *config)
{
    for (size_t i = 0; config->store && i < config->profile_count; i++) {
        struct profile *profile = config->profiles[i];
        if (!profile->store && !(profile->store = profile_text(profile, span_of(config->store))))
            return -ENOMEM;
    }
    return 0;
}

int config_read(const struct config_text *texts, size_t count, struct config **ret)
{
    _cleanup_(config_free_cleanup) struct config *config = calloc(1, sizeof(*config));
    _cleanup_free_ struct reader *reader = calloc(1, sizeof(*reader));
    if (!config || !reader)
        return -ENOMEM;
    reader->config = config;
    int r = read_all(reader, texts, count);
    if (r == 0)
        r = inherit_store(config);
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
    free(config->store);
    free(config->key_file);
    free(config->pinentry);
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
        found = bsearch(name, config->profiles, config->profile_count, sizeof(struct profile *), compare_name);
    return found ? *found : NULL;
}

struct profile *config_default(const struct config *config)
{
    if (config->default_profile)
        return config_profile(config, config->default_profile);
    return config->profile_count == 1 ? config->profiles[0] : NULL;
}
