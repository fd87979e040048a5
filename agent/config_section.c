#include "config_reader.h"

#include "cleanup.h"
#include "store/stores.h"
#include "text.h"
#include <errno.h>

static const char *const agent_keys[] = {"default_profile", "store", "key_file", "lock_on", "pinentry"};
enum { AGENT_DEFAULT_PROFILE, AGENT_STORE, AGENT_KEY_FILE, AGENT_LOCK_ON, AGENT_PINENTRY };

static void reset(struct section *section)
{
    for (size_t i = 0; i < ELEMENTS(section->common); i++) /* others are counted */
        section->common[i] = (struct pair){0};
    section->other_count = section->bytes = section->values = 0;
    section->overflow = false;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool sign(char c)
{
    return c == '.' || c == '_' || c == '-';
}

bool reader_name_valid(struct span name)
{
    if (name.length == 0 || name.length > LIMIT_PROFILE_NAME || sign(name.data[0]))
        return false;
    for (size_t i = 0; i < name.length; i++) {
        char c = name.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || sign(c)))
            return false;
    }
    return true;
}

bool reader_profile_name(struct span section, struct span *ret)
{
    static const char word[] = "profile";
    const size_t length = sizeof(word) - 1;
    if (section.length <= length || memcmp(section.data, word, length) != 0 || !blank(section.data[length]))
        return false;
    *ret = (struct span){section.data + length, section.length - length};
    while (ret->length > 0 && blank(ret->data[0]))
        ret->data++, ret->length--;
    return true;
}

static int begin_profile(struct reader *reader, struct span name, int line)
{
    if (!reader_name_valid(name))
        return reader_problem(
            reader, NULL, line, "[profile]",
            "is followed by what is not a name; use 1 to %d letters, digits, . _ - and begin with a letter or digit",
            LIMIT_PROFILE_NAME);
    if (!reader->at)
        return reader_problem(reader, NULL, line, NULL, "is beyond the %d profiles that one agent takes; remove some",
                              LIMIT_PROFILES);
    struct profile *profile = profile_new(LIMIT_PROFILE_HINT);
    if (!profile)
        return -ENOMEM;
    reader->where = IN_PROFILE;
    reader->profile = profile;
    memcpy(profile->name, name.data, name.length);
    profile->line = line;
    profile->file = profile_text(profile, span_of(reader->file->name));
    reset(&reader->section);
    return profile->file ? 0 : -ENOMEM;
}

static int begin_section(struct reader *reader, const struct ini_item *item)
{
    struct span name;
    reader->where = IGNORED;
    if (reader_profile_name(item->name, &name))
        return begin_profile(reader, name, item->line);
    if (reader->file->others && span_equals(item->name, span_of(reader->file->others)))
        return 0;
    if (!span_equals(item->name, span_of("agent")))
        return reader_problem(reader, NULL, item->line, NULL, "unknown section; write [profile NAME] or [agent]");
    if (reader->agent_line)
        return reader_problem(reader, NULL, item->line, "[agent]", "repeated section, first at line %d; join them",
                              reader->agent_line);
    reader->agent_line = item->line;
    reader->where = IN_AGENT;
    reset(&reader->section);
    return 0;
}

static int add_store(struct reader *reader, const struct pair *pair, const char *value)
{
    if (!stores_name_valid(value))
        return reader_problem(reader, NULL, pair->line, "store", KEY_STORE_WORDS);
    reader->store = pair->value;
    return 0;
}

static int add_key_file(struct reader *reader, int line, const char *value)
{
    char why[LIMIT_TEXT];
    char *path = NULL;
    int r = key_path_new(value, &path, why);
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

static int add_pinentry(struct reader *reader, int line, const char *value)
{
    char why[LIMIT_TEXT];
    char *program = NULL;
    int r = key_program_new(value, &program, why);
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
        return add_store(reader, pair, value);
    if (key == AGENT_KEY_FILE)
        return add_key_file(reader, pair->line, value);
    if (key == AGENT_LOCK_ON)
        return add_lock_on(reader, pair->line, value);
    if (key == AGENT_PINENTRY)
        return add_pinentry(reader, pair->line, value);
    if (!reader_name_valid(pair->value))
        return reader_problem(reader, NULL, pair->line, "default_profile",
                              "is not the name of a profile; write the name alone");
    reader->default_profile = pair->value;
    reader->default_at = (struct problem_place){reader->file, pair->line};
    return 0;
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
        if (item->opens)
            reader->where = IGNORED;
        return reader_problem(reader, reader->profile, item->line, NULL, "%s", item->problem);
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
        break; /* its section was complained about, or is for others */
    }
    return 0;
}

int reader_read(struct reader *reader, struct ini ini)
{
    struct ini_item item;
    int r = 0;
    reader->where = NOWHERE;
    while (r == 0 && ini_next(&ini, &item))
        r = read_item(reader, &item);
    return r == 0 && reader->where == IN_PROFILE ? reader_finish_profile(reader) : r;
}
