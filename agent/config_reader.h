/* What the files of the configuration's reader share: config.c (the whole), config_section.c (one section),
 * config_profile.c (one profile), config_parent.c (those above it), config_problem.c (what is wrong). Nobody else
 * includes this. */
#pragma once

#include "config.h"
#include "ini.h"
#include "keys.h"
#include <stdint.h>

enum where { NOWHERE, IGNORED, IN_AGENT, IN_PROFILE };

struct pair {
    struct span name, value;
    int line;
};

/* A profile's section, found but perhaps not yet read. */
struct found {
    struct span name, text; /* the text: from its own line to the next section */
    int line;
    size_t file;
    size_t place;         /* in the configuration's tables, or REPLACED */
    struct found *repeat; /* the next section of this name in this file, which nobody will use */
    bool read;
};
#define REPLACED SIZE_MAX /* by a later file's or an earlier section: read for its mistakes alone */

struct reader_file {
    struct span text;      /* malloc'd, ours */
    char name[LIMIT_TEXT]; /* cleaned */
    const char *others;    /* of config_text */
    size_t problems;
};

/* Where a message belongs: it decides their order. */
struct problem_place {
    struct reader_file *file;
    int line;
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
    struct reader_file *files, *file; /* all, and the one at hand */
    size_t file_count;
    enum where where;
    const struct found *at;             /* whose section is being read; NULL: one that is no profile's */
    struct profile *profile;            /* IN_PROFILE: what becomes of it */
    int agent_line;                     /* of this file's [agent]; 0: not met */
    struct span store, default_profile; /* [agent]'s, of the last file that has one; data NULL: none */
    struct problem_place default_at;
    struct section section;
    struct found *found; /* in the order of the files */
    size_t found_count, found_capacity, name_bytes;
    struct found **kept;          /* by place */
    size_t next;                  /* all before it were read */
    struct problem_place *places; /* of the configuration's problems */
    size_t place_capacity, problem_capacity;
};

/* Makes room for one more element in an array of `size`-byte elements: `array` points to the pointer. -ENOMEM. */
int reader_grow(void *array, size_t *capacity, size_t count, size_t size);
/* Keeps a message as it is, in the order of lines and within the file's limit. Only -ENOMEM is an error, here and
 * below.
 */
int reader_keep(struct reader *, int line, const char *text);
/* Says of each file how many messages were beyond its limit. */
int reader_keep_rest(struct reader *);
/* Says what is wrong at a line, and disables the profile that it stands in (NULL: none). `about`: a key, or NULL. */
int reader_problem(struct reader *, struct profile *, int line, const char *about, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* The same about a key as it was written, in the profile at hand; named only if `known` or if it looks like a key. */
int reader_bad_pair(struct reader *, const struct pair *, bool known, const char *what);
int reader_unknown_key(struct reader *, struct profile *, const struct pair *, const char *const *known, size_t count);

/* Reads a section from its line on, or what stands before the first one. */
int reader_read(struct reader *, struct ini);
/* The name in a section's brackets, if it is a profile's: "profile NAME". */
bool reader_profile_name(struct span section, struct span *ret);
/* Whether that is a profile's name indeed. */
bool reader_name_valid(struct span name);
/* The section that counts for a profile's name, or NULL. */
const struct found *reader_find(const struct reader *, const char *name);
/* What is wrong with the profile's parent, and with the parents of that. */
int reader_check_parent(struct reader *);
/* The section at hand is whole: makes the profile of it. */
int reader_finish_profile(struct reader *);
