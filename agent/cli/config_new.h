/* mltoken config new: a starting configuration, or one more profile in the one that is there. Nothing that stands in a
 * file is ever changed.
 *
 * What there is to ask and to write is a table (config_template.c): a template names a system and a grant, and lists
 * the keys of such a profile with what is known of them beforehand. One more is some lines there and nothing else. */
#pragma once

#include "command.h"

#define CONFIG_PATH_SIZE 4096

/* 0 or -EINVAL after a complaint. */
int config_path(char *to, size_t size);

enum field { /* keys of a profile that can be asked for; config_ask.c knows their options and questions */
             FIELD_AUTHORITY,
             FIELD_DIALECT,
             FIELD_TENANT,
             FIELD_POLICY,
             FIELD_CLIENT_ID,
             FIELD_CLIENT_SECRET,
             FIELD_CLIENT_CERTIFICATE,
             FIELD_CLIENT_KEY,
             FIELD_CLIENT_ASSERTION_FILE,
             FIELD_USERNAME,
             FIELD_PASSWORD,
             FIELD_TOKEN,
             FIELD_EXPIRES,
             FIELD_RESOURCE,
             FIELD_SCOPE,
             FIELD_PARENT,
             FIELD_HEADER,
             FIELD_COUNT,
             FIELD_NONE,
};

enum line_kind {
    LINE_NONE,  /* ends the list */
    LINE_NEEDS, /* asked for, with `usual` for who just presses return (and where there is no terminal) */
    LINE_MAY,   /* the same, and may be left out */
    LINE_FIXED, /* `usual`, unless an option says otherwise; not asked for */
    LINE_GIVEN, /* left out unless an option gives it */
    LINE_PROOF, /* the client's secret, or what else proves who it is: a certificate, a key, an assertion's file */
};

struct template_line {
    enum line_kind kind;
    enum field field;
    const char *usual;
    const char *comment; /* stands above the line in the file; or NULL */
};

struct template
{
    const char *name; /* of the system, or of the grant where any authority will do */
    const char *grant;
    const char *about;             /* one line, without its end */
    struct template_line lines[8]; /* in the order they are asked for */
};

/* The first of that name, or of that name with that grant; either may be NULL. NULL: there is none. */
const struct template *template_find(const char *name, const char *grant);
/* The name of the one that most people want. */
const char *template_usual(void);
/* Whether a person signs in with such a profile, unless a password is given to it. */
bool template_signs_in(const struct template *);
/* One after the other; NULL after the last. */
const struct template *template_at(size_t i);

struct new_profile {
    const char *name, *from, *grant;
    const char *values[FIELD_COUNT];
    const struct template *template; /* what config_ask() chose */
};

/* The key's name in the file, and the option that gives it. */
const char *field_key(enum field);
const char *field_option(enum field);
const char *field_help(enum field);
/* What is wrong with a value, or NULL. Values that may be secrets are not repeated. */
const char *field_check(enum field, const char *value);
const char *profile_name_check(const char *value);

/* config_ask.c: fills in on a terminal what was not given, and checks everything. An exit code. */
int config_ask(struct new_profile *);
/* config_write.c: adds the profile to the file at `path`, or begins one with it. An exit code, after a complaint of
 * `command`. */
int config_write(const char *command, const char *path, const struct new_profile *);
/* Says on stderr which command comes next. */
void config_next(const struct context *, const struct new_profile *);
/* config_new.c, config_import.c */
int config_new(struct context *, int argc, char **argv);
int config_import(struct context *, int argc, char **argv);
