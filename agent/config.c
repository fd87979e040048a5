#include "config_reader.h"

#include "cleanup.h"
#include "text.h"
#include <errno.h>

DEFINE_CLEANUP(struct config *, config_free)

/* ---- finding ---- */

/* A profile's section is noted, to be read when it is asked for; anything else is read at once. */
static int note(struct reader *reader, struct ini section)
{
    struct ini first = section;
    struct ini_item item;
    struct span name;
    if (!ini_next(&first, &item) || item.kind != INI_SECTION || !reader_profile_name(item.name, &name) ||
        !reader_name_valid(name) || reader->found_count == LIMIT_PROFILES)
        return reader_read(reader, section);
    if (reader_grow(&reader->found, &reader->found_capacity, reader->found_count, sizeof(*reader->found)) < 0)
        return -ENOMEM;
    reader->found[reader->found_count++] = (struct found){.name = name,
                                                          .text = section.rest,
                                                          .line = section.line + 1,
                                                          .file = (size_t)(reader->file - reader->files),
                                                          .place = REPLACED};
    reader->name_bytes += name.length + 1;
    return 0;
}

static int find_in(struct reader *reader, const struct config_text *text)
{
    int r = 0;
    reader->config->file_count += !text->absent;
    reader->agent_line = 0;
    if (text->problem) {
        char line[LIMIT_PROBLEM];
        reader->config->unreadable = true;
        (void)snprintf(line, sizeof(line), "%s: %s", reader->file->name, text->problem);
        return reader_keep(reader, 0, line);
    }
    for (struct ini rest = ini_open(reader->file->text); r == 0 && rest.rest.length > 0;)
        r = note(reader, ini_cut(&rest));
    return r;
}

static int compare_names(const struct found *x, const struct found *y)
{
    size_t shorter = x->name.length < y->name.length ? x->name.length : y->name.length;
    int r = memcmp(x->name.data, y->name.data, shorter);
    return r ? r : (x->name.length > y->name.length) - (x->name.length < y->name.length);
}

static int compare(const void *a, const void *b)
{
    const struct found *x = *(struct found *const *)a, *y = *(struct found *const *)b;
    int r = compare_names(x, y);
    return r ? r : (x > y) - (x < y);
}

static void sort(struct found **list, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (compare(&list[i - 1], &list[i]) > 0) {
            qsort(list, count, sizeof(struct found *), compare);
            return;
        }
}

/* Names sorted; of one name the first of the last file is kept, and a second one in that file is a mistake that
 * disables it: nobody can tell which of the two was meant. */
static int make_tables(struct reader *reader)
{
    struct config *config = reader->config;
    size_t count = reader->found_count;
    reader->kept = calloc(count + 1, sizeof(struct found *));
    config->names = calloc(count + 1, sizeof(char *));
    config->profiles = calloc(count + 1, sizeof(struct profile *));
    config->name_bytes = malloc(reader->name_bytes + 1);
    if (!reader->kept || !config->names || !config->profiles || !config->name_bytes)
        return -ENOMEM;
    struct found **list = reader->kept; /* those that are kept move to its front */
    char *to = config->name_bytes;
    for (size_t i = 0; i < count; i++)
        list[i] = &reader->found[i];
    sort(list, count);
    for (size_t i = 0, next; i < count; i = next) {
        struct found *kept = list[i], *last = kept;
        for (next = i + 1; next < count && compare_names(list[i], list[next]) == 0; next++) {
            if (list[next]->file == kept->file)
                last->repeat = list[next];
            else
                kept = list[next];
            last = list[next];
        }
        kept->place = config->profile_count;
        list[kept->place] = kept;
        config->names[config->profile_count++] = to;
        to = mempcpy(to, kept->name.data, kept->name.length);
        *to++ = '\0';
    }
    return 0;
}

static int copy(struct span text, char **ret)
{
    *ret = text.data ? strndup(text.data, text.length) : NULL;
    return text.data && !*ret ? -ENOMEM : 0;
}

static const char *const *find_name(const struct config *config, const char *name);

static int settle_agent(struct reader *reader)
{
    struct config *config = reader->config;
    if (copy(reader->store, &config->store) < 0 || copy(reader->default_profile, &config->default_profile) < 0)
        return -ENOMEM;
    if (!config->default_profile || find_name(config, config->default_profile))
        return 0;
    const char *nearest = text_nearest(config->default_profile, config->names, config->profile_count);
    reader->file = reader->default_at.file;
    return reader_problem(reader, NULL, reader->default_at.line, "default_profile", "there is no such profile%s%s",
                          nearest ? "; did you mean " : "; add it or name another", nearest ? nearest : "");
}

static int find_all(struct reader *reader, const struct config_text *texts)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < reader->file_count; i++) {
        reader->file = &reader->files[i];
        text_clean_into(reader->file->name, sizeof(reader->file->name), span_of(texts[i].file));
        r = find_in(reader, &texts[i]);
    }
    if (r == 0)
        r = make_tables(reader);
    return r < 0 ? r : settle_agent(reader);
}

/* ---- reading ---- */

static struct reader *reader_free(struct reader *reader)
{
    if (!reader)
        return NULL;
    for (size_t i = 0; i < reader->file_count; i++)
        config_text_clear(&(struct config_text){.text = reader->files[i].text});
    free(reader->files);
    free(reader->found);
    free(reader->kept);
    free(reader->places);
    free(reader);
    return NULL;
}

/* What a section alone cannot know. */
static int settle(struct reader *reader, struct profile *profile, const struct found *found)
{
    const struct config *config = reader->config;
    int r = 0;
    for (const struct found *repeat = found->repeat; r == 0 && repeat; repeat = repeat->repeat)
        r = reader_problem(reader, profile, repeat->line, profile->name,
                           "repeated section, first at line %d; remove one", found->line);
    if (profile->problem)
        profile->grant = NULL;
    /* profiles live longer than the configuration that they were read with */
    if (r == 0 && config->store && !profile->store && !(profile->store = profile_text(profile, span_of(config->store))))
        r = -ENOMEM;
    return r;
}

static int read_found(struct reader *reader, struct found *found)
{
    if (found->read)
        return 0;
    reader->file = &reader->files[found->file];
    reader->at = found;
    int r = reader_read(reader, (struct ini){found->text, found->line - 1});
    struct profile *profile = TAKE_PTR(reader->profile);
    if (r == 0)
        r = settle(reader, profile, found);
    found->read = r == 0;
    if (r == 0 && found->place != REPLACED)
        reader->config->profiles[found->place] = TAKE_PTR(profile);
    profile_free(profile);
    return r;
}

int config_open(struct config_text *texts, size_t count, struct config **ret)
{
    _cleanup_(config_free_cleanup) struct config *config = calloc(1, sizeof(*config));
    struct reader *reader = calloc(1, sizeof(*reader));
    struct reader_file *files = calloc(count, sizeof(*files));
    if (!config || !reader || !files) {
        for (size_t i = 0; i < count; i++)
            config_text_clear(&texts[i]);
        free(reader);
        free(files);
        return -ENOMEM;
    }
    *reader = (struct reader){.config = config, .files = files, .file_count = count};
    config->unread = reader;
    for (size_t i = 0; i < count; i++) {
        files[i].text = texts[i].text;
        files[i].others = texts[i].others;
        texts[i].text = (struct span){0};
    }
    int r = find_all(reader, texts);
    if (r == 0)
        *ret = TAKE_PTR(config);
    return r;
}

int config_read_on(struct config *config, size_t bytes)
{
    struct reader *reader = config->unread;
    for (size_t done = 0; reader && reader->next < reader->found_count && done < bytes; reader->next++) {
        struct found *found = &reader->found[reader->next];
        done += found->read ? 0 : found->text.length;
        int r = read_found(reader, found);
        if (r < 0)
            return r;
    }
    if (!reader)
        return 0;
    if (reader->next < reader->found_count)
        return 1;
    int r = reader_keep_rest(reader);
    if (r == 0)
        config->unread = reader_free(reader);
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
    reader_free(config->unread);
    free(config->profiles);
    free(config->names);
    free(config->name_bytes);
    free(config->problems);
    free(config->default_profile);
    free(config->store);
    free(config->key_file);
    free(config->pinentry);
    free(config);
    return NULL;
}

/* ---- asking ---- */

/* What a profile is for which there is no memory. It is never freed: one reference is its own. */
static struct profile *no_memory(void)
{
    static char problem[] = "there is no memory to read this profile; try again", nothing[] = "";
    static struct profile stand_in = {
        .problem = problem, .file = nothing, .header = nothing, .fingerprint = nothing, .references = 1};
    return &stand_in;
}

struct profile *config_at(struct config *config, size_t place)
{
    if (!config->profiles[place] && read_found(config->unread, config->unread->kept[place]) < 0)
        return no_memory();
    return config->profiles[place];
}

static int compare_name(const void *name, const void *known)
{
    return strcmp(name, *(const char *const *)known);
}

static const char *const *find_name(const struct config *config, const char *name)
{
    if (config->profile_count == 0)
        return NULL;
    return bsearch(name, config->names, config->profile_count, sizeof(*config->names), compare_name);
}

const struct found *reader_find(const struct reader *reader, const char *name)
{
    const char *const *place = find_name(reader->config, name);
    return place ? reader->kept[place - reader->config->names] : NULL;
}

struct profile *config_profile(struct config *config, const char *name)
{
    const char *const *found = find_name(config, name);
    return found ? config_at(config, (size_t)(found - config->names)) : NULL;
}

struct profile *config_default(struct config *config)
{
    if (config->default_profile)
        return config_profile(config, config->default_profile);
    return config->profile_count == 1 ? config_at(config, 0) : NULL;
}
