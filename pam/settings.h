/* What the module is told: its arguments in the PAM stack, and the section [pam] of its file. Both have the same keys;
 * an argument wins. struct settings owns all its texts. What always holds: an unknown key, a key that stands twice, and
 * a value that is not understood is an error of the whole; nothing is ever left out in silence. A file that others than
 * root could have written is not read. The environment is not looked at. */
#pragma once

#include "limits.h"
#include "span.h"
#include <stdint.h>
#include <sys/types.h>

struct text_list {
    char *items[LIMIT_PAM_LIST];
    size_t count;
};

struct settings {
    /* arguments alone */
    char *config;
    char *libexec; /* where the helpers are */
    char *run;     /* hand-off records and counts of attempts */
    char *helper_user;
    /* who and how long */
    char *profile; /* NULL: the only one */
    uint64_t min_uid;
    uint64_t max_wait;
    struct text_list rate; /* "5/600", read into the next two */
    unsigned rate_count;   /* 0: no limit */
    unsigned rate_seconds;
    /* who is who */
    char *map;
    char *user_claim;
    char *strip_domain;
    bool mutable_accepted;
    struct text_list require_group;
    struct text_list require_role;
    struct text_list verification_hosts;
    /* what else */
    bool fallback_password;
    bool handoff;
    char *handoff_profile;
    bool handoff_start;
    bool cached;
    char *cached_profile;
    struct text_list exports; /* PROFILE:VARIABLE */
    char *qr;                 /* "auto", "yes", "no" */
    bool debug;
    uint64_t given; /* one bit a key */
};

#define SETTINGS_PROBLEM 256

/* min_uid as far as it can be told without a file and with arguments that may be wrong. */
uid_t settings_min_uid(int argc, const char **argv);
/* Arguments, then the file, then what is left: -EINVAL or another negative errno, and a sentence in `problem`. *ret is
 * always to be freed. `service` decides how long a person has. */
int settings_read(int argc, const char **argv, const char *service, struct settings *ret,
                  char problem[static SETTINGS_PROBLEM]);
void settings_free(struct settings *);

/* The parts of settings_read(), for tests and the doctor: settings_begin() first, where defaults count. */
int settings_begin(struct settings *);
int settings_take_arguments(struct settings *, int argc, const char **argv, char problem[static SETTINGS_PROBLEM]);
int settings_take_file(struct settings *, struct span text, char problem[static SETTINGS_PROBLEM]);
int settings_finish(struct settings *, const char *service, char problem[static SETTINGS_PROBLEM]);

#define _cleanup_settings_ __attribute__((cleanup(settings_free)))
