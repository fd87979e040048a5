#include "config_reader.h"

#include "text.h"
#include <errno.h>
#include <stdarg.h>

#define HIDDEN_KEY "(a key not shown, it may be a secret)"

int reader_grow(void *array, size_t *capacity, size_t count, size_t size)
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

/* Messages come in the order in which profiles are asked for, and are shown in that of the lines. */
static size_t place_of(const struct reader *reader, int line)
{
    size_t i = reader->config->problem_count;
    for (; i > 0; i--) {
        const struct problem_place *before = &reader->places[i - 1];
        if (before->file < reader->file || (before->file == reader->file && before->line <= line))
            break;
    }
    return i;
}

static int insert(struct reader *reader, int line, const char *text)
{
    struct config *config = reader->config;
    size_t count = config->problem_count;
    if (reader_grow(&config->problems, &reader->problem_capacity, count + 1, sizeof(*config->problems)) < 0 ||
        reader_grow(&reader->places, &reader->place_capacity, count, sizeof(*reader->places)) < 0)
        return -ENOMEM;
    char *copy = strdup(text);
    if (!copy)
        return -ENOMEM;
    size_t i = place_of(reader, line);
    memmove(&config->problems[i + 1], &config->problems[i], (count - i) * sizeof(*config->problems));
    memmove(&reader->places[i + 1], &reader->places[i], (count - i) * sizeof(*reader->places));
    config->problems[i] = copy;
    reader->places[i] = (struct problem_place){reader->file, line};
    config->problems[++config->problem_count] = NULL;
    return 0;
}

int reader_keep(struct reader *reader, int line, const char *text)
{
    return ++reader->file->problems > LIMIT_CONFIG_ERRORS ? 0 : insert(reader, line, text);
}

int reader_keep_rest(struct reader *reader)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < reader->file_count; i++) {
        char more[LIMIT_PROBLEM];
        reader->file = &reader->files[i];
        if (reader->file->problems <= LIMIT_CONFIG_ERRORS)
            continue;
        (void)snprintf(more, sizeof(more), "%s: %zu more problems, not shown", reader->file->name,
                       reader->file->problems - LIMIT_CONFIG_ERRORS);
        r = insert(reader, INT32_MAX, more);
    }
    return r;
}

/* Says what is wrong at a line, and disables the profile that it stands in (NULL: none). `about`: a key or a section.
 */
int reader_problem(struct reader *reader, struct profile *profile, int line, const char *about, const char *format, ...)
{
    char text[LIMIT_PROBLEM];
    int n =
        snprintf(text, sizeof(text), "%s:%d: %s%s", reader->file->name, line, about ? about : "", about ? ": " : "");
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
    return reader_keep(reader, line, text);
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

int reader_unknown_key(struct reader *reader, struct profile *profile, const struct pair *pair,
                       const char *const *known, size_t count)
{
    char name[LIMIT_CODE], small[LIMIT_CODE];
    text_clean_into(name, sizeof(name), pair->name);
    for (size_t i = 0; i < sizeof(small); i++)
        small[i] = lower(name[i]);
    const char *nearest = pair->name.length < sizeof(small) ? text_nearest(small, known, count) : NULL;
    bool shown = nearest || looks_like_key(small);
    if (nearest)
        return reader_problem(reader, profile, pair->line, name, "unknown key; did you mean %s?", nearest);
    return reader_problem(reader, profile, pair->line, shown ? name : HIDDEN_KEY,
                          "unknown key; remove it (mltoken.conf(5) has the list)");
}

int reader_bad_pair(struct reader *reader, const struct pair *pair, bool known, const char *what)
{
    char shown[LIMIT_CODE];
    text_clean_into(shown, sizeof(shown), pair->name);
    return reader_problem(reader, reader->profile, pair->line, known || looks_like_key(shown) ? shown : HIDDEN_KEY,
                          "%s", what);
}
