/* What the files of the configuration's reader share: config.c (sections, files), config_profile.c (one profile),
 * config_problem.c (what is wrong). Nobody else includes this. */
#pragma once

#include "config.h"
#include "ini.h"
#include "keys.h"

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

/* Makes room for one more element in an array of `size`-byte elements: `array` points to the pointer. -ENOMEM. */
int reader_grow(void *array, size_t *capacity, size_t count, size_t size);
/* Keeps a message as it is, within the file's limit. Only -ENOMEM is an error, here and below. */
int reader_keep(struct reader *, const char *text);
/* Says what is wrong at a line, and disables the profile that it stands in (NULL: none). `about`: a key, or NULL. */
int reader_problem(struct reader *, struct profile *, int line, const char *about, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* The same about a key as it was written, in the profile at hand; named only if `known` or if it looks like a key. */
int reader_bad_pair(struct reader *, const struct pair *, bool known, const char *what);
int reader_unknown_key(struct reader *, struct profile *, const struct pair *, const char *const *known, size_t count);

/* The section at hand is whole: makes the profile of it. */
int reader_finish_profile(struct reader *);
