#include "config_reader.h"

#include "cleanup.h"
#include "dialect.h"
#include "environment.h"
#include "grant/grant.h"
#include <errno.h>

static size_t known_keys(const struct grant *grant, const char **ret, size_t size)
{
    size_t count = 0;
    for (; count < KEY_COUNT; count++)
        ret[count] = profile_keys[count].name;
    for (const struct key *key = grant ? grant->keys : NULL; key && key->name && count < size; key++)
        ret[count++] = key->name;
    return count;
}

/* What a platform sets for a workload's identity stands for these settings: env:NAME, and for each key that one. */
static const struct platform {
    int key;
    const char *name, *usual;
} platforms[] = {
    {KEY_AUTHORITY, "AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com"},
    {KEY_TENANT, "AZURE_TENANT_ID", NULL},
    {KEY_CLIENT_ID, "AZURE_CLIENT_ID", NULL},
    {KEY_USERNAME, "AZURE_USERNAME", NULL},
    {KEY_CLIENT_ASSERTION_FILE, "AZURE_FEDERATED_TOKEN_FILE", NULL},
    {KEY_CLIENT_CERTIFICATE, "AZURE_CLIENT_CERTIFICATE_PATH", NULL},
};

/* 0 and *value replaced where it is one of these; -EINVAL; -ENOMEM. */
static int look_up(struct profile *profile, int key, char **value, char why[static LIMIT_TEXT])
{
    static const char prefix[] = "env:";
    const struct platform *known = NULL;
    if (strncmp(*value, prefix, sizeof(prefix) - 1) != 0)
        return 0;
    for (size_t i = 0; i < ELEMENTS(platforms); i++)
        known = platforms[i].key == key ? &platforms[i] : known;
    if (!known)
        return 0;
    if (strcmp(*value + sizeof(prefix) - 1, known->name) != 0)
        return key_problem(why, "can be taken from the environment as env:%s alone; write the value itself",
                           known->name);
    const char *found = environment_setting(known->name);
    if (!found || !*found)
        found = known->usual;
    if (!found)
        return key_problem(why,
                           "is env:%s, and that was not in the agent's environment when it started; start the agent "
                           "where the platform sets it, or write the value itself",
                           known->name);
    if (strlen(found) > profile_keys[key].maximum)
        return key_problem(why, "is longer in the environment than %zu bytes", profile_keys[key].maximum);
    *value = profile_text(profile, span_of(found));
    return *value ? 0 : -ENOMEM;
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
        int r = look_up(profile, i, &value, why);
        if (r == 0)
            r = profile_keys[i].read(&profile_keys[i], profile, value, why);
        if (r == -EINVAL)
            r = reader_problem(reader, profile, pair->line, profile_keys[i].name, "%s", why);
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
        return reader_unknown_key(reader, profile, pair, known, known_keys(profile->grant, known, ELEMENTS(known)));
    }
    if (pair->value.length == 0)
        return 0; /* complained about when it was read */
    struct setting *setting = &profile->settings[profile->setting_count++];
    *setting = (struct setting){profile_text(profile, pair->name), profile_text(profile, pair->value), pair->line};
    if (!setting->key || !setting->value)
        return -ENOMEM;
    const char *why = key->check ? key->check(setting->value) : NULL;
    return why ? reader_problem(reader, profile, pair->line, key->name, "%s", why) : 0;
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
        return reader_problem(reader, profile, profile->line, "grant",
                              "is missing; add grant = client_credentials or another one");
    for (const char *const *name = grant ? grant->required : NULL; name && *name; name++) {
        int key = key_find(span_of(*name));
        if (key < 0 || reader->section.common[key].line)
            continue;
        int r = reader_problem(reader, profile, profile->line, *name, "is missing, and %s needs it; add %s = ...",
                               grant->name, *name);
        if (r < 0)
            return r;
    }
    for (const struct key *key = grant ? grant->keys : NULL; key && key->name; key++)
        if (key->required && !profile_setting(profile, key->name)) {
            int r = reader_problem(reader, profile, profile->line, key->name,
                                   "is missing, and %s needs it; add %s = ...", grant->name, key->name);
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
    return reader_problem(reader, profile, line ? line : profile->line, profile_keys[key].name, "%s", why);
}

static char *put(char *to, const char *key, struct span value)
{
    to = mempcpy(to, key, strlen(key));
    *to++ = '=';
    to = mempcpy(to, value.data, value.length);
    *to++ = '\n';
    return to;
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

int reader_finish_profile(struct reader *reader)
{
    static char header[] = "Authorization: Bearer {token}";
    struct profile *profile = reader->profile;
    int r = read_common(reader);
    if (r == 0)
        r = read_others(reader);
    if (r == 0)
        r = check_required(reader);
    if (r == 0)
        r = reader_check_parent(reader);
    if (r == 0 && !profile->problem)
        r = check_whole(reader);
    if (r == 0)
        r = fingerprint(reader);
    if (profile->dialect == DIALECT_AUTO)
        profile->dialect = DIALECT_OIDC;
    if (!profile->header)
        profile->header = profile->grant && profile->grant->header ? (char *)(uintptr_t)profile->grant->header : header;
    if (profile->problem)
        profile->grant = NULL;
    return r;
}
